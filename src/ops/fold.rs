//! Batch norm in evaluation: folded into a scale and a shift per channel.

use super::{Operation, elements, expect_inputs, expect_shape};
use crate::error::Result;
use crate::graph::value::{Role, Shape, Value};

/// `[2 C]`: `scale / sqrt(running_variance + EPSILON)`, and `shift - running_mean * that`.
///
/// Inputs, `[C]` each: scale, shift, running mean, running variance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoldBatchNorm;

impl Operation for FoldBatchNorm {
    fn name(&self) -> &'static str {
        "fold_batch_norm"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 4)?;
        let c = inputs[0].shape.channels();
        inputs.iter().try_for_each(|v| expect_shape(v, &[c].into(), "every per-channel vector"))?;
        Ok(vec![([2, c].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; 4]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Add epsilon, square root, divide; multiply, subtract.
        5 * elements(inputs[0])
    }
}

/// `y = scale[c] * z + shift[c]`. Inputs: z [... C], [2 C] (scale, shift).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScaleShift;

impl Operation for ScaleShift {
    fn name(&self) -> &'static str {
        "scale_shift"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 2)?;
        expect_shape(inputs[1], &[2, inputs[0].shape.channels()].into(), "scale and shift")?;
        Ok(vec![(inputs[0].shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation, Role::Exact]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        2 * elements(inputs[0])
    }
}
