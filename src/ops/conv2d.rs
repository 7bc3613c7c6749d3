//! Two-dimensional convolution, with ResNet Init's identity, a layer's statistics as epilogue, and a second filter for a
//! block's projection.

use super::{Backward, Operation, Shortcut, ShortcutBackward, elements, expect_inputs, expect_shape, nhwc};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// What happens to an output element while it is still in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Epilogue {
    /// Nothing: it is stored.
    #[default]
    None,
    /// It is stored, and enters its channel's mean and variance, taken of the value as stored (training).
    Statistics,
    /// `scale[k] * z + shift[k]`, then an outer shortcut is added, then ReLU (evaluation: batch norm is folded).
    ScaleShift {
        /// Adds one more input, of the output's shape.
        outer: bool,
        /// Ends with ReLU.
        relu: bool,
    },
}

/// `z[n, p, q, k] = sum over r, s, c of x[n, p*stride + r - pad, q*stride + s - pad, c] w[k, r, s, c]`, and E.
///
/// Where `identity > 0` the effective filter is W + E (paper: "ResNet Init"): the first `identity` channels of x,
/// subsampled, are added in the accumulator. Inputs: x [N H W C], w [K R S C]; with [`Epilogue::ScaleShift`] also
/// [2 K] (scale, shift) and, with `outer`, [N P Q K]. Outputs: z [N P Q K]; with [`Epilogue::Statistics`] also
/// [2 K] (mean, biased variance).
///
/// A block whose outer shortcut is a projection (paper: "RiR block") reads its input twice: in layer 1 and in the
/// projection. Where both are alike but for E, `projected` makes them one operation: wp [K R S C] follows w, and
/// zp = conv(x, wp) [N P Q K], with statistics of its own, follows z and its statistics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Conv2d {
    /// Step between filter positions.
    pub stride: usize,
    /// Zero pixels on each side.
    pub pad: usize,
    /// Channels that E copies: 0 in an ordinary convolution.
    pub identity: usize,
    /// A second filter without E, that of a block's projection, reads the same input.
    pub projected: bool,
    /// What is done with z before it is stored.
    pub epilogue: Epilogue,
}

impl Conv2d {
    /// A convolution whose output is `1/stride` as large, for an odd filter of `size` x `size`.
    pub fn same(size: usize, stride: usize) -> Self {
        Self { stride, pad: size / 2, ..Self::default() }
    }
    /// Output extent along one dimension; `None` where the filter does not fit.
    pub fn output_extent(&self, input: usize, filter: usize) -> Option<usize> {
        (input + 2 * self.pad).checked_sub(filter).map(|room| room / self.stride + 1)
    }
    /// Filters [K R S C], each with outputs of its own.
    pub fn branches(&self) -> usize {
        1 + usize::from(self.projected)
    }
    /// The convolution with its first filter, or with its second, alone.
    pub fn branch(&self, branch: usize) -> Self {
        let identity = if branch == 0 { self.identity } else { 0 };
        Self { identity, projected: false, ..*self }
    }
    /// The identity E as the shortcut it is.
    pub fn shortcut(&self, channels: usize) -> Shortcut {
        Shortcut::new(self.stride, channels, self.identity)
    }

    /// Extents of z for these inputs.
    fn output(&self, x: &Value, w: &Value) -> Result<Shape> {
        let [n, h, width, c] = nhwc(x, "the input")?;
        let [k, r, s, wc] = w
            .shape
            .dims4()
            .ok_or_else(|| shape_error(format!("the filter must be [K R S C], got {}", w.shape)))?;
        if wc != c {
            return Err(shape_error(format!("the filter reads {wc} channels, the input has {c}")));
        }
        if self.stride == 0 || self.pad >= r.max(s) {
            return Err(shape_error(format!("stride {} and padding {} do not fit", self.stride, self.pad)));
        }
        let (Some(p), Some(q)) = (self.output_extent(h, r), self.output_extent(width, s)) else {
            return Err(shape_error(format!("a {r}x{s} filter does not fit a {h}x{width} image")));
        };
        let z = Shape::from([n, p, q, k]);
        if self.identity > 0 {
            let subsampled = (h.div_ceil(self.stride), width.div_ceil(self.stride));
            if (p, q) != subsampled || self.identity > k.min(c) {
                return Err(shape_error("the identity needs an odd filter with padding (size - 1) / 2"));
            }
        }
        Ok(z)
    }
}

/// Multiply-adds of the whole problem, zero padding counted as the published tables do.
fn multiply_adds(z: &Value, w: &Value) -> u64 {
    elements(z) / w.shape.0[0] as u64 * elements(w)
}

/// Elements that E adds to.
fn identity_adds(z: &Value, identity: usize) -> u64 {
    z.shape.rows() as u64 * identity as u64
}

impl Operation for Conv2d {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        let extra = match self.epilogue {
            Epilogue::ScaleShift { outer, .. } => 1 + usize::from(outer),
            _ => 0,
        };
        expect_inputs(inputs, 1 + self.branches() + extra)?;
        let z = self.output(inputs[0], inputs[1])?;
        if self.projected {
            if extra > 0 {
                return Err(shape_error("a convolution with a projection has no folded batch norm"));
            }
            expect_shape(inputs[2], &inputs[1].shape, "the projection's filter")?;
        }
        let pair = Shape::from([2, z.channels()]);
        if extra > 0 {
            expect_shape(inputs[2], &pair, "scale and shift")?;
        }
        if extra > 1 {
            expect_shape(inputs[3], &z, "the outer shortcut")?;
        }
        let mut outputs = vec![(z, Role::Activation)];
        if self.epilogue == Epilogue::Statistics {
            outputs.push((pair, Role::Exact));
        }
        Ok(vec![outputs; self.branches()].concat())
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        let mut roles = vec![Role::Activation; inputs.len()];
        if let Epilogue::ScaleShift { .. } = self.epilogue {
            roles[2] = Role::Exact;
        }
        roles
    }
    /// Differentiation comes before fusion, so E, the epilogues and the projection are separate nodes then.
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        if self.identity > 0 || self.projected || self.epilogue != Epilogue::None {
            return Err(shape_error("differentiate before fusing: a fused conv2d has no gradient rule"));
        }
        let (dz, x, w) = (back.dy()?, back.inputs[0], back.inputs[1]);
        let data = Conv2dDataGrad::new(*self, back.graph.shape(x).clone());
        let weight = Conv2dWeightGrad { conv: *self, filter: back.graph.shape(w).clone() };
        Ok(vec![back.when_wanted(0, data.into(), &[dz, w])?, back.when_wanted(1, weight.into(), &[x, dz])?])
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        let z = outputs[0];
        let epilogue = match self.epilogue {
            Epilogue::None => 0,
            Epilogue::Statistics => super::batch_norm::statistics_flops(z),
            Epilogue::ScaleShift { outer, .. } => elements(z) * (2 + u64::from(outer)),
        };
        let branch = 2 * multiply_adds(z, inputs[1]) + epilogue;
        self.branches() as u64 * branch + identity_adds(z, self.identity)
    }
}

/// What the data gradient's epilogue adds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Addend {
    /// Nothing.
    #[default]
    None,
    /// A tensor of the output's shape: gradients that arrive on other ways.
    Tensor,
    /// `dy` where its mask bit is set: the outer shortcut's gradient, masked by the block's ReLU on the fly.
    Masked,
}

/// What happens to an element of the data gradient after its addend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum GradEpilogue {
    /// It is stored.
    #[default]
    None,
    /// The gradient of the ReLU that made x: it is stored where the mask's bit is set, else 0 is; and, as stored, it
    /// enters the reductions of the batch norm before that ReLU.
    Relu {
        /// One g feeds the batch norms of a block's last layer and of its projection: three different reductions.
        projected: bool,
    },
}

impl GradEpilogue {
    /// How many batch norms have reductions here.
    pub fn branches(self) -> usize {
        match self {
            GradEpilogue::None => 0,
            GradEpilogue::Relu { projected } => 1 + usize::from(projected),
        }
    }
}

/// `dx = conv_transposed(dz, w) + E^T dz (+ conv_transposed(dzp, wp)) (+ addend)`, then its epilogue.
///
/// Inputs: dz [N P Q K], w [K R S C]; where the convolution is projected also dzp [N P Q K], wp [K R S C], so that a
/// block's input gains the gradient of layer 1 and of its projection at once; with [`Addend::Tensor`] one [N H W C]; with [`Addend::Masked`] dy [N H W C] and
/// its mask; with [`GradEpilogue::Relu`] ReLU's mask, then z [N H W C] and statistics [2 C] of each batch norm.
/// Outputs: dx [N H W C]; with [`GradEpilogue::Relu`] g in its place, then `sum g` and `sum g * zhat`, `[C]`, of each
/// batch norm: the gradients of its shift and its scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv2dDataGrad {
    /// The forward convolution.
    pub conv: Conv2d,
    /// Extents of its input, N H W C.
    pub input: Shape,
    /// What else is added.
    pub addend: Addend,
    /// What is done with dx before it is stored.
    pub epilogue: GradEpilogue,
}

impl Conv2dDataGrad {
    /// The gradient of a convolution of an input of these extents, and nothing else.
    pub fn new(conv: Conv2d, input: Shape) -> Self {
        Self { conv, input, addend: Addend::None, epilogue: GradEpilogue::None }
    }
    /// Which input is the addend, where there is one: it follows the gradients and their filters.
    pub fn first_of_addend(&self) -> usize {
        2 * self.conv.branches()
    }
    /// Which input is ReLU's mask, where there is one: those of the epilogue follow those of the addend.
    pub fn first_of_epilogue(&self) -> usize {
        self.first_of_addend()
            + match self.addend {
                Addend::None => 0,
                Addend::Tensor => 1,
                Addend::Masked => 2,
            }
    }
    /// The transpose of E, as the operation of its own that it is before fusion.
    pub fn shortcut_backward(&self, channels: usize, copied: usize) -> ShortcutBackward {
        let shortcut = Shortcut::new(self.conv.stride, channels, copied);
        ShortcutBackward { shortcut, input: self.input.clone() }
    }
}

impl Operation for Conv2dDataGrad {
    fn name(&self) -> &'static str {
        "conv2d_data_grad"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        let (first, branches) = (self.first_of_epilogue(), self.epilogue.branches());
        expect_inputs(inputs, first + if branches > 0 { 1 + 2 * branches } else { 0 })?;
        let x = Value { shape: self.input.clone(), ..inputs[0].clone() };
        let z = self.conv.output(&x, inputs[1])?;
        for branch in inputs[..self.first_of_addend()].chunks(2) {
            expect_shape(branch[0], &z, "dz")?;
            expect_shape(branch[1], &inputs[1].shape, "the projection's filter")?;
        }
        for addend in &inputs[self.first_of_addend()..first] {
            expect_shape(addend, &self.input, "the addend")?;
        }
        let c = self.input.channels();
        if let Some((relu, batch_norms)) = inputs[first..].split_first() {
            expect_shape(relu, &self.input, "ReLU's mask")?;
            for batch_norm in batch_norms.chunks(2) {
                expect_shape(batch_norm[0], &self.input, "the batch norm's z")?;
                expect_shape(batch_norm[1], &[2, c].into(), "the statistics")?;
            }
        }
        let sums = vec![([c].into(), Role::Exact); 2 * branches];
        Ok([vec![(self.input.clone(), Role::Activation)], sums].concat())
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        use Role::{Activation, Exact, Mask};
        let addend: &[Role] = match self.addend {
            Addend::None => &[],
            Addend::Tensor => &[Activation],
            Addend::Masked => &[Activation, Mask],
        };
        let epilogue: &[Role] = match self.epilogue {
            GradEpilogue::None => &[],
            GradEpilogue::Relu { projected: false } => &[Mask, Activation, Exact],
            GradEpilogue::Relu { projected: true } => &[Mask, Activation, Exact, Activation, Exact],
        };
        [&vec![Activation; self.first_of_addend()], addend, epilogue].concat()
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        let added = if self.addend == Addend::None { 0 } else { elements(outputs[0]) };
        let reduced = match self.epilogue.branches() as u64 {
            0 => 0,
            branches => super::two_stream::reduction_flops(outputs[0], branches),
        };
        let epilogue = added + reduced;
        let products = self.conv.branches() as u64 * 2 * multiply_adds(inputs[0], inputs[1]);
        products + identity_adds(inputs[0], self.conv.identity) + epilogue
    }
}

/// `dw[k, r, s, c] = sum over n, p, q of dz[n, p, q, k] x[n, p*stride + r - pad, q*stride + s - pad, c]`.
///
/// E is constant: it has no part in this. Inputs: x [N H W C], dz [N P Q K]; where the convolution is projected also
/// dzp [N P Q K]. Outputs: dw [K R S C], and dwp.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conv2dWeightGrad {
    /// The forward convolution.
    pub conv: Conv2d,
    /// Extents of a filter, K R S C.
    pub filter: Shape,
}

impl Operation for Conv2dWeightGrad {
    fn name(&self) -> &'static str {
        "conv2d_weight_grad"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1 + self.conv.branches())?;
        let w = Value { shape: self.filter.clone(), ..inputs[0].clone() };
        let z = self.conv.output(inputs[0], &w)?;
        inputs[1..].iter().try_for_each(|dz| expect_shape(dz, &z, "dz"))?;
        Ok(vec![(self.filter.clone(), Role::Exact); self.conv.branches()])
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        vec![Role::Activation; inputs.len()]
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        self.conv.branches() as u64 * 2 * multiply_adds(inputs[1], outputs[0])
    }
}
