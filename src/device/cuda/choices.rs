//! Which kernel runs a node: the form, and what the form leaves open.

use super::kernels::{Generation, Kernels, forms};
use crate::graph::{DType, Shape};
use crate::ops::Op;

/// What is chosen for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Choice {
    /// The form, one that the node has.
    pub kernels: Kernels,
    /// Columns of a tile; `None`: as the shape suggests.
    pub columns: Option<u32>,
    /// Parts into which a weight gradient cuts the pixels; `None`: as the shape suggests.
    pub splits: Option<u32>,
}

/// How kernels are chosen on a device.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Choices {
    /// The form that is asked for.
    pub kernels: Kernels,
    /// What the card has.
    pub generation: Generation,
    /// Its multiprocessors.
    pub multiprocessors: u32,
    /// As [`Options::ascending`](super::Options::ascending).
    pub ascending: bool,
}

impl Choices {
    /// For an operation on inputs of these shapes, the first stored as `dtype`.
    pub fn of(&self, op: &Op, inputs: &[&Shape], dtype: DType) -> Choice {
        let kernels = self.kernels.of(&forms(op, inputs, dtype, self.generation));
        Choice { kernels, columns: None, splits: None }
    }
}
