//! The two-stream residual update and its gradient: compositions of batch norm, shortcut and ReLU.

use super::Tensor;
use super::elementwise::{add, gate, relu, shortcut};
use super::normalise::{self, batch_norm};
use crate::ops::{Outer, TwoStreamBackward, TwoStreamUpdate};

/// `y = ReLU(batch_norm(z) + outer)` and the mask of `y > 0`.
pub(super) fn update(op: &TwoStreamUpdate, inputs: &[&Tensor]) -> [Tensor; 2] {
    let main = batch_norm(&inputs[..4]);
    let sum = match op.outer {
        Outer::None => main,
        Outer::Identity => add(&[&main, inputs[4]]),
        Outer::Subsampled(outer) => add(&[&main, &shortcut(&outer, inputs[4])]),
        Outer::Projection => add(&[&main, &batch_norm(&inputs[4..8])]),
    };
    let y = relu(&sum);
    let mask = Tensor::from_fn(y.shape.clone(), |i| f64::from(u8::from(y.data[i] > 0.0)));
    [y, mask]
}

/// The reductions of one batch norm, or of two with the same masked gradient. Inputs: dy, mask, then z and statistics
/// of each.
pub(super) fn reduce(inputs: &[&Tensor]) -> Vec<Tensor> {
    reductions(&gate(inputs[0], inputs[1]), &inputs[2..])
}

/// `sum g` and `sum g * zhat` of every batch norm. Branches: z and statistics of each.
pub(super) fn reductions(g: &Tensor, branches: &[&Tensor]) -> Vec<Tensor> {
    branches.chunks(2).flat_map(|branch| normalise::reduce(g, branch[0], branch[1])).collect()
}

/// The gradient of one batch norm, or of two. Inputs: dy and mask, or g, then z, statistics, scale, dshift, dscale of
/// each.
pub(super) fn backward(op: &TwoStreamBackward, inputs: &[&Tensor]) -> Vec<Tensor> {
    let g = if op.masked { gate(inputs[0], inputs[1]) } else { inputs[0].clone() };
    inputs[op.first_branch()..].chunks(5).map(|branch| normalise::backward(&g, branch)).collect()
}
