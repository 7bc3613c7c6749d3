//! Batch norm in training: statistics, normalisation, and their joint gradient.
//!
//! `y = scale * zhat + shift`, `zhat = (z - mean) / sqrt(variance + EPSILON)`, with the batch's mean and biased
//! variance per channel, taken over all other dimensions (M elements). Ioffe and Szegedy, 2015.

use super::{Backward, Operation, elements, expect_inputs, expect_shape};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// Added to the variance.
pub const EPSILON: f64 = 1e-5;

/// Additions and multiplications for an ordered two-pass mean and variance of `z`.
pub(super) fn statistics_flops(z: &Value) -> u64 {
    // Sum; then subtract the mean, square, sum.
    4 * elements(z)
}

/// `[2 C]`: each channel's mean, and its biased variance. Input: z [... C].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchStats;

impl Operation for BatchStats {
    fn name(&self) -> &'static str {
        "batch_stats"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        Ok(vec![([2, inputs[0].shape.channels()].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        statistics_flops(inputs[0])
    }
}

/// Normalises with the batch's own statistics. Inputs: z [... C], its statistics [2 C], scale `[C]`, shift `[C]`.
///
/// The gradient rule is that of the whole: since the statistics are a function of z, their gradient is part of
/// z's, and [`BatchStats`] needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNorm;

fn check(z: &Value, stats: &Value, vectors: &[&Value]) -> Result<()> {
    let c = z.shape.channels();
    expect_shape(stats, &[2, c].into(), "the statistics")?;
    vectors.iter().try_for_each(|v| expect_shape(v, &[c].into(), "every per-channel vector"))
}

impl Operation for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 4)?;
        check(inputs[0], inputs[1], &inputs[2..])?;
        Ok(vec![(inputs[0].shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation, Role::Exact, Role::Exact, Role::Exact]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (g, [z, stats, scale, _]) =
            (back.dy()?, [back.inputs[0], back.inputs[1], back.inputs[2], back.inputs[3]]);
        let own =
            |n: Option<&crate::graph::Node>| n.is_some_and(|n| n.op == BatchStats.into() && n.inputs == [z]);
        if !own(back.graph.producer(stats)) {
            return Err(shape_error("batch_norm differentiates only with the batch_stats of its own input"));
        }
        let sums = back.graph.push(BatchNormReduce.into(), &[g, z, stats])?;
        let (dshift, dscale) = (sums[0], sums[1]);
        let dz = back.when_wanted(0, BatchNormBackward.into(), &[g, z, stats, scale, dshift, dscale])?;
        Ok(vec![dz, None, Some(dscale), Some(dshift)])
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        2 * elements(inputs[0])
    }
}

/// The two reductions of the backward pass. Inputs: g [... C], z, statistics. Outputs, `[C]` each: `sum g`, which is
/// shift's gradient, and `sum g * zhat`, which is scale's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNormReduce;

impl Operation for BatchNormReduce {
    fn name(&self) -> &'static str {
        "batch_norm_reduce"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 3)?;
        expect_shape(inputs[1], &inputs[0].shape, "z")?;
        check(inputs[0], inputs[2], &[])?;
        let vector = Shape::from([inputs[0].shape.channels()]);
        Ok(vec![(vector.clone(), Role::Exact), (vector, Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation, Role::Activation, Role::Exact]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Sum g; subtract the mean, times g, sum (the inverse deviation multiplies the sums).
        4 * elements(inputs[0])
    }
}

/// `dz = scale / sqrt(variance + EPSILON) * (g - dshift / M - zhat * dscale / M)`: one pass `a*g + b*z + c`.
///
/// Inputs: g, z, statistics, scale, dshift, dscale.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchNormBackward;

impl Operation for BatchNormBackward {
    fn name(&self) -> &'static str {
        "batch_norm_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 6)?;
        expect_shape(inputs[1], &inputs[0].shape, "z")?;
        check(inputs[0], inputs[2], &inputs[3..])?;
        Ok(vec![(inputs[0].shape.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation, Role::Activation, Role::Exact, Role::Exact, Role::Exact, Role::Exact]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        4 * elements(inputs[0])
    }
}

/// `running = 0.9 running + 0.1 batch`, the variance made unbiased with M / (M - 1).
///
/// Inputs: the batch's statistics [2 C], and the running mean and variance `[C]`, which it changes in the State.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UpdateRunning {
    /// M: how many elements the batch's statistics were taken over.
    pub count: usize,
}

impl UpdateRunning {
    /// The batch's weight in the running average.
    pub const WEIGHT: f64 = 0.1;

    /// The factor that makes the batch's variance unbiased; 1 for a single element.
    pub fn unbiased(&self) -> f64 {
        self.count as f64 / (self.count.max(2) - 1) as f64
    }
}

impl Operation for UpdateRunning {
    fn name(&self) -> &'static str {
        "update_running"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 3)?;
        let c = inputs[0].shape.channels();
        expect_shape(inputs[0], &[2, c].into(), "the statistics")?;
        for running in &inputs[1..] {
            expect_shape(running, &[c].into(), "a running statistic")?;
        }
        Ok(Vec::new())
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; 3]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Mean: two products and a sum; variance: one product more.
        7 * inputs[0].shape.channels() as u64
    }
    fn bytes(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        inputs[0].bytes() as u64 + 2 * (inputs[1].bytes() + inputs[2].bytes()) as u64
    }
}
