//! Softmax cross-entropy with optional label smoothing.

use super::{Backward, Operation, elements, expect_inputs, expect_shape};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// Mean over the batch of `-sum over k of t[n, k] log softmax(logits[n, :])[k]`, and how many samples are right.
///
/// The target is `t = (1 - smoothing) onehot(label) + smoothing / K`. Inputs: logits [N K], labels `[N]`. Outputs: the
/// loss `[1]`, and `[1]` the number of samples whose largest logit (the first among equals) is the label's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxCrossEntropy {
    /// Share of the target that is spread evenly over all classes, 0 to 1.
    pub smoothing: f64,
}

fn check(logits: &Value, labels: &Value) -> Result<()> {
    let Some([n, _]) = logits.shape.dims2() else {
        return Err(shape_error(format!("logits must be [N K], got {}", logits.shape)));
    };
    expect_shape(labels, &[n].into(), "labels")
}

impl Operation for SoftmaxCrossEntropy {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 2)?;
        check(inputs[0], inputs[1])?;
        Ok(vec![([1].into(), Role::Exact), ([1].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact, Role::Label]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let inputs = [back.dy()?, back.inputs[0], back.inputs[1]];
        let op = SoftmaxCrossEntropyBackward { smoothing: self.smoothing };
        Ok(vec![back.when_wanted(0, op.into(), &inputs)?, None])
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Each logit: subtract the maximum, exponential, sum, and its term of the target's product and sum.
        5 * elements(inputs[0])
    }
}

/// `dlogits = dloss * (softmax(logits) - t) / N`. Inputs: dloss `[1]`, logits, labels.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SoftmaxCrossEntropyBackward {
    /// As in the forward operation.
    pub smoothing: f64,
}

impl Operation for SoftmaxCrossEntropyBackward {
    fn name(&self) -> &'static str {
        "softmax_cross_entropy_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 3)?;
        check(inputs[1], inputs[2])?;
        Ok(vec![(inputs[1].shape.clone(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact, Role::Exact, Role::Label]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Each logit: subtract the maximum, exponential, sum, divide, subtract the target, scale.
        6 * elements(inputs[1])
    }
}
