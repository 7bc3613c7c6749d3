//! Elementwise sum of two or more tensors of one shape, left to right.

use super::{Backward, Operation, elements, expect_shape};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// `y = x_0 + x_1 + ...`. Any number of inputs from two up; also how gradients of several uses are summed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Add;

impl Operation for Add {
    fn name(&self) -> &'static str {
        "add"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        if inputs.len() < 2 {
            return Err(shape_error(format!("takes at least 2 inputs, got {}", inputs.len())));
        }
        for x in &inputs[1..] {
            expect_shape(x, &inputs[0].shape, "every term")?;
        }
        Ok(vec![(inputs[0].shape.clone(), inputs[0].role)])
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        vec![inputs[0].role; inputs.len()]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let dy = back.dy()?;
        Ok(vec![Some(dy); back.inputs.len()])
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        (inputs.len() as u64 - 1) * elements(outputs[0])
    }
}
