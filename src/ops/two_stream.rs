//! The two-stream residual update: batch norm, outer shortcut and ReLU over both streams in one pass.
//!
//! In a generalized residual block (paper: "The generalized residual block") every sum, the shortcut included, comes
//! before batch norm, so what follows a layer's convolution is one elementwise pass over r and t together:
//! `[r'; t'] = ReLU(scale * zhat + shift (+ outer shortcut))`. Fusion makes these operations; nobody writes them.

use super::{Operation, Shortcut, elements, expect_inputs, expect_shape, nhwc};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value};

/// The outer shortcut of a block's last layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Outer {
    /// None: any other layer.
    #[default]
    None,
    /// The block's input as it is. One more input, [N H W C].
    Identity,
    /// The block's input, subsampled and zero-padded on the fly. One more input, [N H' W' C'].
    Subsampled(Shortcut),
    /// A projection with a batch norm of its own, applied in the same pass. Four more inputs: zp, its statistics,
    /// its scale and its shift.
    Projection,
}

/// `y = ReLU(batch_norm(z) + outer)` and ReLU's mask.
///
/// Inputs: z [N H W C], statistics [2 C], scale `[C]`, shift `[C]`, then the outer shortcut's. Outputs: y, mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TwoStreamUpdate {
    /// The outer shortcut.
    pub outer: Outer,
}

fn normalised(z: &Value, inputs: &[&Value]) -> Result<()> {
    let c = z.shape.channels();
    expect_shape(inputs[0], &[2, c].into(), "the statistics")?;
    inputs[1..].iter().try_for_each(|v| expect_shape(v, &[c].into(), "every per-channel vector"))
}

impl Operation for TwoStreamUpdate {
    fn name(&self) -> &'static str {
        "two_stream_update"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        let extra = match self.outer {
            Outer::None => 0,
            Outer::Identity | Outer::Subsampled(_) => 1,
            Outer::Projection => 4,
        };
        expect_inputs(inputs, 4 + extra)?;
        let z = &inputs[0].shape;
        normalised(inputs[0], &inputs[1..4])?;
        match self.outer {
            Outer::None => {}
            Outer::Identity => expect_shape(inputs[4], z, "the outer shortcut")?,
            Outer::Subsampled(shortcut) => {
                let subsampled = &shortcut.infer(&inputs[4..5])?[0].0;
                if subsampled != z {
                    return Err(shape_error(format!("the shortcut gives {subsampled}, z is {z}")));
                }
            }
            Outer::Projection => {
                expect_shape(inputs[4], z, "the projection")?;
                normalised(inputs[4], &inputs[5..8])?;
            }
        }
        Ok(vec![(z.clone(), Role::Activation), (z.clone(), Role::Mask)])
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        let branch = [Role::Activation, Role::Exact, Role::Exact, Role::Exact];
        [branch, branch].concat()[..inputs.len()].to_vec()
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        let added = match self.outer {
            Outer::None => 0,
            Outer::Identity => elements(outputs[0]),
            Outer::Subsampled(shortcut) => inputs[0].shape.rows() as u64 * shortcut.copied as u64,
            Outer::Projection => 3 * elements(outputs[0]),
        };
        2 * elements(outputs[0]) + added
    }
    fn bytes(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        let written: usize = outputs.iter().map(|v| v.bytes()).sum();
        let read: usize = match self.outer {
            Outer::Subsampled(shortcut) => {
                let main: usize = inputs[..4].iter().map(|v| v.bytes()).sum();
                main + inputs[0].shape.rows() * shortcut.copied * inputs[4].dtype.size()
            }
            _ => inputs.iter().map(|v| v.bytes()).sum(),
        };
        (read + written) as u64
    }
}

/// Sum g; for each batch norm subtract the mean, times g, sum (the inverse deviation multiplies the sums).
pub(super) fn reduction_flops(g: &Value, branches: u64) -> u64 {
    elements(g) * (1 + 3 * branches)
}

/// The reductions of the backward pass, with `g = dy` where the mask is set, else 0.
///
/// Inputs: dy, mask, z, statistics; where `projected` also zp and its statistics. Outputs, `[C]` each: `sum g` and
/// `sum g * zhat` (the gradients of shift and scale); where `projected` the same two of the projection's batch norm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoStreamReduce {
    /// One masked g feeds two batch norms: three different reductions.
    pub projected: bool,
}

impl Operation for TwoStreamReduce {
    fn name(&self) -> &'static str {
        "two_stream_reduce"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, if self.projected { 6 } else { 4 })?;
        let [_, _, _, c] = nhwc(inputs[0], "dy")?;
        expect_shape(inputs[1], &inputs[0].shape, "the mask")?;
        for branch in inputs[2..].chunks(2) {
            expect_shape(branch[0], &inputs[0].shape, "z")?;
            expect_shape(branch[1], &[2, c].into(), "the statistics")?;
        }
        Ok(vec![([c].into(), Role::Exact); if self.projected { 4 } else { 2 }])
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        use Role::{Activation, Exact, Mask};
        [Activation, Mask, Activation, Exact, Activation, Exact][..inputs.len()].to_vec()
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        reduction_flops(inputs[0], 1 + u64::from(self.projected))
    }
}

/// One apply pass `dz = a (g - dshift / M) + b (z - mean)` of one or two batch norms, with the same g.
///
/// Inputs: dy and the mask, or g where not `masked`; then z, statistics, scale, dshift, dscale; where `projected` the
/// same five of the projection. Outputs: dz; where `projected` also dzp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoStreamBackward {
    /// Also differentiates the projection's batch norm.
    pub projected: bool,
    /// Masks dy on the fly; else it reads a g that was masked before.
    pub masked: bool,
}

impl TwoStreamBackward {
    /// Which input is the first batch norm's z.
    pub fn first_branch(self) -> usize {
        1 + usize::from(self.masked)
    }
}

impl Operation for TwoStreamBackward {
    fn name(&self) -> &'static str {
        "two_stream_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        let first = self.first_branch();
        expect_inputs(inputs, first + if self.projected { 10 } else { 5 })?;
        nhwc(inputs[0], "dy")?;
        for mask in &inputs[1..first] {
            expect_shape(mask, &inputs[0].shape, "the mask")?;
        }
        for branch in inputs[first..].chunks(5) {
            expect_shape(branch[0], &inputs[0].shape, "z")?;
            normalised(branch[0], &branch[1..])?;
        }
        let dz = (inputs[0].shape.clone(), Role::Activation);
        Ok(vec![dz; if self.projected { 2 } else { 1 }])
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        let branch = [Role::Activation, Role::Exact, Role::Exact, Role::Exact, Role::Exact];
        let g = &[Role::Activation, Role::Mask][..self.first_branch()];
        [g, &branch, &branch].concat()[..inputs.len()].to_vec()
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        4 * elements(inputs[0]) * outputs.len() as u64
    }
}
