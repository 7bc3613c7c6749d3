//! The convolutions of Hopper's instructions.

use crate::device::cuda::Kernels;
use crate::graph::Shape;
use crate::ops::Op;

/// Whether there is a kernel of this form for a convolution's product of an input and a filter of these shapes.
pub fn suits(_form: Kernels, _op: &Op, _x: &Shape, _w: &Shape) -> bool {
    false
}

/// The widths of tiles for which this form has a kernel of that product, that which the shape suggests first.
pub fn widths(_form: Kernels, _op: &Op, _x: &Shape, _w: &Shape) -> Vec<u32> {
    Vec::new()
}
