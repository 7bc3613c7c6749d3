//! The living definition of every operation: plain loops over explicit indices, in f64.
//!
//! Nothing here knows of a device, a tile, a thread or a fusion; a fused operation is the composition of the plain
//! ones. It is slow, and meant to be read beside the documentation in [`ops`](crate::ops): where a device disagrees,
//! the device is wrong.
//!
//! Arithmetic is f64 throughout. Rounding happens only where a value is stored, by [`store`]. One operation reads what
//! it has just stored: a convolution with [`Epilogue::Statistics`](crate::ops::Epilogue) takes them of z as stored, so
//! [`evaluate`] is told the precision.

mod classifier;
mod convolution;
mod device;
mod elementwise;
mod normalise;
mod optimise;
mod sampled;
mod two_stream;

pub use device::ReferenceDevice;
pub use sampled::sampled;

use crate::device::StepInputs;
use crate::graph::{DType, ParameterKind, Precision, Shape};
use crate::ops::Op;

/// A tensor in memory order: activations N H W C, filters K R S C. Masks hold 0 and 1, labels whole numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    /// Extents.
    pub shape: Shape,
    /// Elements, the innermost extent fastest.
    pub data: Vec<f64>,
}

impl Tensor {
    /// A tensor of `data`.
    ///
    /// # Panics
    /// If `data` does not fill `shape`.
    pub fn new(shape: impl Into<Shape>, data: Vec<f64>) -> Self {
        let shape = shape.into();
        assert_eq!(shape.elements(), data.len(), "{} numbers do not fill {shape}", data.len());
        Self { shape, data }
    }
    /// Zeros.
    pub fn zeros(shape: impl Into<Shape>) -> Self {
        let shape = shape.into();
        Self { data: vec![0.0; shape.elements()], shape }
    }
    /// One number an element, from its position in memory order.
    pub fn from_fn(shape: impl Into<Shape>, f: impl FnMut(usize) -> f64) -> Self {
        let shape = shape.into();
        Self { data: (0..shape.elements()).map(f).collect(), shape }
    }
    /// The same with every element rounded to `dtype`.
    pub fn stored(mut self, dtype: DType) -> Self {
        self.data.iter_mut().for_each(|x| *x = store(dtype, *x));
        self
    }
    /// Channels: the innermost extent.
    fn channels(&self) -> usize {
        self.shape.channels()
    }
    /// The extents of an activation or a filter.
    fn dims4(&self) -> [usize; 4] {
        self.shape.dims4().expect("shape rules have checked that there are four extents")
    }
    /// The extents of a matrix.
    fn dims2(&self) -> [usize; 2] {
        self.shape.dims2().expect("shape rules have checked that there are two extents")
    }
    /// The element at an index.
    fn at<const N: usize>(&self, index: [usize; N]) -> f64 {
        self.data[self.offset(index)]
    }
    /// The element at an index, to be written.
    fn at_mut<const N: usize>(&mut self, index: [usize; N]) -> &mut f64 {
        let offset = self.offset(index);
        &mut self.data[offset]
    }
    fn offset<const N: usize>(&self, index: [usize; N]) -> usize {
        let extents = &self.shape.0;
        assert!(
            N == extents.len() && index.iter().zip(extents).all(|(i, extent)| i < extent),
            "index {index:?} lies outside {}",
            self.shape
        );
        index.iter().zip(extents).fold(0, |offset, (i, extent)| offset * extent + i)
    }
}

/// The number that is read back after `x` was stored as `dtype`.
///
/// To bf16 it rounds to nearest, ties to even, by way of f32: that is what accumulators are.
pub fn store(dtype: DType, x: f64) -> f64 {
    match dtype {
        DType::F64 => x,
        DType::F32 => f64::from(x as f32),
        DType::Bf16 => f64::from(half::bf16::from_f32(x as f32)),
        DType::I32 => f64::from(x as i32),
        DType::U8 => f64::from(u8::from(x != 0.0)),
    }
}

/// What an evaluation needs beside the inputs of its node.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The arithmetic of the plan, which decides how a convolution stores the z whose statistics it takes.
    pub precision: Precision,
    /// What the optimiser is given.
    pub step: StepInputs,
    /// What each parameter of the State is.
    pub kinds: &'a [ParameterKind],
}

impl Context<'_> {
    /// For every operation but the optimiser's.
    pub fn new(precision: Precision) -> Self {
        Self { precision, step: StepInputs::default(), kinds: &[] }
    }
}

/// The outputs of an operation, in f64, not yet rounded to their storage types.
///
/// Two operations change the State in place of having outputs. Their result is what they leave there:
/// [`Op::UpdateRunning`] gives the new mean and variance; [`Op::Sgd`], whose `inputs` are all gradients, then all
/// parameters, then all velocities and, with lookahead, all slow weights, gives the new ones in that order.
///
/// # Panics
/// If the inputs are not what the operation's shape rule allows.
pub fn evaluate(op: &Op, inputs: &[&Tensor], context: &Context<'_>) -> Vec<Tensor> {
    let x = inputs;
    match op {
        Op::Conv2d(op) => convolution::forward(op, x, context),
        Op::Conv2dDataGrad(op) => convolution::data_grad(op, x, context),
        Op::Conv2dWeightGrad(op) => convolution::weight_grad(op, x[0], &x[1..]),
        Op::BatchStats(_) => vec![normalise::statistics(x[0])],
        Op::BatchNorm(_) => vec![normalise::batch_norm(x)],
        Op::BatchNormReduce(_) => normalise::reduce(x[0], x[1], x[2]).to_vec(),
        Op::BatchNormBackward(_) => vec![normalise::backward(x[0], &x[1..])],
        Op::UpdateRunning(op) => optimise::update_running(op, x[0], x[1], x[2]).to_vec(),
        Op::FoldBatchNorm(_) => vec![normalise::fold(x[0], x[1], x[2], x[3])],
        Op::ScaleShift(_) => vec![normalise::scale_shift(x[0], x[1])],
        Op::TwoStreamUpdate(op) => two_stream::update(op, x).to_vec(),
        Op::TwoStreamReduce(_) => two_stream::reduce(x),
        Op::TwoStreamBackward(op) => two_stream::backward(op, x),
        Op::Shortcut(op) => vec![elementwise::shortcut(op, x[0])],
        Op::ShortcutBackward(op) => vec![elementwise::shortcut_backward(op, x[0])],
        Op::Relu(_) => vec![elementwise::relu(x[0])],
        Op::ReluBackward(_) => vec![elementwise::gate(x[0], x[1])],
        Op::Add(_) => vec![elementwise::add(x)],
        Op::GlobalAvgPool(_) => vec![elementwise::global_avg_pool(x[0])],
        Op::GlobalAvgPoolBackward(op) => vec![elementwise::global_avg_pool_backward(op, x[0])],
        Op::Linear(_) => vec![classifier::linear(x[0], x[1], x[2])],
        Op::LinearDataGrad(_) => vec![classifier::linear_data_grad(x[0], x[1])],
        Op::LinearWeightGrad(_) => vec![classifier::linear_weight_grad(x[0], x[1])],
        Op::BiasGrad(_) => vec![classifier::bias_grad(x[0])],
        Op::SoftmaxCrossEntropy(op) => classifier::cross_entropy(op, x[0], x[1]).to_vec(),
        Op::SoftmaxCrossEntropyBackward(op) => {
            vec![classifier::cross_entropy_backward(op, x[0], x[1], x[2])]
        }
        Op::Reshape(op) => vec![Tensor::new(op.shape.clone(), x[0].data.clone())],
        Op::Cast(_) => vec![x[0].clone()],
        Op::ShadowWeights(op) => convolution::shadow_weights(op, x),
        Op::Fill(op) => vec![Tensor::from_fn(op.shape.clone(), |_| op.value)],
        Op::Sgd(op) => optimise::sgd(op, x, context),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn storing_as_bf16_rounds_to_nearest_and_ties_to_even() {
        let ulp = 2f64.powi(-7); // the step between bf16 numbers from 1 to 2
        for (x, want) in [(0.4, 0.0), (0.5, 0.0), (0.6, 1.0), (1.5, 2.0), (2.5, 2.0)] {
            assert_eq!(store(DType::Bf16, 1.0 + x * ulp), 1.0 + want * ulp, "1 + {x} ulp");
        }
    }

    #[test]
    #[should_panic(expected = "index [0, 2] lies outside [3 2]")]
    fn an_index_outside_is_named() {
        Tensor::zeros([3, 2]).at([0, 2]);
    }
}
