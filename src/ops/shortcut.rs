//! The shortcut without parameters: the identity, subsampled where strided and zero-padded in channels.
//!
//! With offsets the same operation takes a stream out of the channels, or puts one back.

use super::{Backward, Operation, elements, expect_inputs, expect_shape, nhwc};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// `y[n, p, q, to + i] = x[n, p * stride, q * stride, from + i]` for `i < copied`, else 0.
///
/// As the constant `E` of ResNet Init (paper: "ResNet Init"): `copied = min(K, C, C/2)`, the residual stream. As a
/// block's outer shortcut: `copied = C`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shortcut {
    /// Every `stride`-th row and column is read.
    pub stride: usize,
    /// Channels of the output, K.
    pub channels: usize,
    /// Channels that are copied; the rest are 0.
    pub copied: usize,
    /// The first channel that is read.
    pub from: usize,
    /// The first channel that is written.
    pub to: usize,
}

impl Shortcut {
    /// Copies the first `copied` channels into the first of `channels`.
    pub fn new(stride: usize, channels: usize, copied: usize) -> Self {
        Self { stride, channels, copied, from: 0, to: 0 }
    }
}

impl Operation for Shortcut {
    fn name(&self) -> &'static str {
        "shortcut"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        let [n, h, w, c] = nhwc(inputs[0], "the input")?;
        if self.from + self.copied > c || self.to + self.copied > self.channels || self.stride == 0 {
            return Err(shape_error(format!(
                "cannot copy {} of {c} channels into {}",
                self.copied, self.channels
            )));
        }
        let shape = [n, h.div_ceil(self.stride), w.div_ceil(self.stride), self.channels];
        Ok(vec![(shape.into(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (dy, shape) = (back.dy()?, back.graph.shape(back.inputs[0]).clone());
        Ok(vec![back.when_wanted(0, ShortcutBackward { shortcut: *self, input: shape }.into(), &[dy])?])
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
    fn bytes(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        copied_bytes(self, inputs[0], outputs[0]) + outputs[0].bytes() as u64
    }
}

/// The transpose: `dx[n, p * stride, q * stride, from + i] = dy[n, p, q, to + i]` for `i < copied`, else 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShortcutBackward {
    /// The forward operation.
    pub shortcut: Shortcut,
    /// Extents of its input, N H W C.
    pub input: Shape,
}

impl Operation for ShortcutBackward {
    fn name(&self) -> &'static str {
        "shortcut_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        let Some([n, h, w, _]) = self.input.dims4() else {
            return Err(shape_error("input must be [N H W C]"));
        };
        let Shortcut { stride, channels, .. } = self.shortcut;
        expect_shape(inputs[0], &[n, h.div_ceil(stride), w.div_ceil(stride), channels].into(), "dy")?;
        Ok(vec![(self.input.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        0
    }
    fn bytes(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        copied_bytes(&self.shortcut, outputs[0], inputs[0]) + outputs[0].bytes() as u64
    }
}

/// Bytes of the copied part of the strided side `small`, in the storage type of `big`.
fn copied_bytes(shortcut: &Shortcut, big: &Value, small: &Value) -> u64 {
    elements(small) / shortcut.channels as u64 * (shortcut.copied * big.dtype.size()) as u64
}
