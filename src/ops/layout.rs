//! Operations that move or convert, and compute nothing.

use super::{Backward, Operation, expect_inputs};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// The same elements in the same order with other extents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reshape {
    /// The new extents.
    pub shape: Shape,
}

impl Operation for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        if self.shape.elements() != inputs[0].shape.elements() {
            return Err(shape_error(format!(
                "{} elements do not fill {}",
                inputs[0].shape.elements(),
                self.shape
            )));
        }
        Ok(vec![(self.shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (dy, shape) = (back.dy()?, back.graph.shape(back.inputs[0]).clone());
        Ok(vec![back.when_wanted(0, Reshape { shape }.into(), &[dy])?])
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
}

/// Conversion between the storage types of two roles; to bf16 it rounds to nearest, ties to even.
///
/// Lowering inserts it; written by hand it copies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cast {
    /// The role whose storage type is read.
    pub from: Role,
    /// The role whose storage type is written.
    pub to: Role,
}

impl Operation for Cast {
    fn name(&self) -> &'static str {
        "cast"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        Ok(vec![(inputs[0].shape.clone(), self.to)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![self.from]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let dy = back.dy()?;
        Ok(vec![back.when_wanted(0, Cast { from: self.to, to: self.from }.into(), &[dy])?])
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
}

/// A constant in every element. Differentiation starts from one: the loss' gradient with respect to itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Fill {
    /// Extents.
    pub shape: Shape,
    /// The constant.
    pub value: f64,
}

impl Operation for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 0)?;
        Ok(vec![(self.shape.clone(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        Vec::new()
    }
    fn gradient(&self, _: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        Ok(Vec::new())
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
}
