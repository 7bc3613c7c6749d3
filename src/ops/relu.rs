//! ReLU.

use super::{Backward, Operation, expect_inputs, expect_shape};
use crate::error::Result;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// `y = max(x, 0)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Relu;

impl Operation for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        Ok(vec![(inputs[0].shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (dy, y) = (back.dy()?, back.outputs[0]);
        Ok(vec![back.when_wanted(0, ReluBackward { masked: false }.into(), &[dy, y])?])
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
}

/// `dx = dy` where ReLU passed, else 0. The derivative at 0 is 0.
///
/// Inputs: `dy`, and ReLU's output `y` or, where `masked`, its bit mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReluBackward {
    /// Reads one bit an element in place of the whole output.
    pub masked: bool,
}

impl ReluBackward {
    fn gate(self) -> Role {
        if self.masked { Role::Mask } else { Role::Activation }
    }
}

impl Operation for ReluBackward {
    fn name(&self) -> &'static str {
        "relu_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 2)?;
        expect_shape(inputs[1], &inputs[0].shape, "ReLU's output or mask")?;
        Ok(vec![(inputs[0].shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation, self.gate()]
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
}
