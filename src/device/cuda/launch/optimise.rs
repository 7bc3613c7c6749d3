//! `kernels/optimise.cu`.

use bytemuck::{Pod, Zeroable};

use super::pass::EIGHT;
use super::{Address, Launch, Site, THREADS, View, extent, spread};
use crate::graph::{DType, Region, StateLayout};
use crate::ops::{Op, Sgd, UpdateRunning};

/// A parameter's place in the regions, in elements, its L2 term, and its factor of the learning rate.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SgdTensor {
    first: u64,
    elements: u64,
    decay: f32,
    center: f32,
    rate: f32,
    padding: u32,
}

/// The table that [`sgd`] reads: one row a parameter.
pub fn sgd_table(op: &Sgd, layout: &StateLayout) -> Vec<u8> {
    let (offsets, _) = layout.parameter_offsets(DType::F32);
    let row = |(offset, parameter): (usize, &crate::graph::Parameter)| {
        let (decay, center) = op.decay(parameter.kind);
        SgdTensor {
            first: (offset / size_of::<f32>()) as u64,
            elements: parameter.shape.elements() as u64,
            decay: decay as f32,
            center: center as f32,
            rate: op.rate(parameter.kind) as f32,
            padding: 0,
        }
    };
    let rows: Vec<SgdTensor> = offsets.into_iter().zip(&layout.parameters).map(row).collect();
    bytemuck::cast_slice(&rows).to_vec()
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SgdParams {
    step: Address,
    state: Address,
    tensors: Address,
    parameters: Address,
    momentum: Address,
    gradients: Address,
    slow: Address,
    keep: f32,
    nesterov: u32,
    lookahead: u32,
    padding: u32,
}

/// `sgd`: a row of blocks for every parameter, long enough for the largest. None where there is nothing to train.
pub fn sgd(site: &Site<'_>, op: &Sgd) -> Option<Launch> {
    let layout = &site.graph().state;
    let largest = layout.parameters.iter().map(|p| p.shape.elements()).max()?;
    let bytes = layout.parameter_offsets(DType::F32).1;
    let region = |region| View { bytes, ..site.memory.state(region, 0, 0) };
    let mut launch = Launch::new("sgd_f32");
    let params = SgdParams {
        step: launch.reads(site.memory.inputs()),
        state: launch.reads(site.memory.flag()),
        tensors: launch.reads(site.table),
        parameters: launch.writes(region(Region::Parameters)),
        momentum: launch.writes(region(Region::Momentum)),
        gradients: launch.reads(region(Region::Gradients)),
        slow: launch.writes(region(Region::Slow)),
        keep: op.momentum as f32,
        nesterov: op.nesterov.into(),
        lookahead: op.lookahead.into(),
        padding: 0,
    };
    let [blocks, ..] = spread((largest as u64).div_ceil(EIGHT.into()));
    Some(launch.over([blocks, extent(layout.parameters.len()), 1], THREADS).with(&params))
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Running {
    stats: Address,
    mean: Address,
    variance: Address,
    unbiased: f32,
    channels: u32,
}

/// Batch norms that one launch serves at most: MOST_RUNNING of the kernels.
pub const MOST_RUNNING: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct RunningParams {
    state: Address,
    running: [Running; MOST_RUNNING],
    weight: f32,
    keep: f32,
}

/// `update_running` of all `sites`, a row of blocks each.
pub fn update_running(sites: &[Site<'_>]) -> Launch {
    let mut launch = Launch::new("update_running_f32");
    let mut params = RunningParams {
        state: launch.reads(sites[0].memory.flag()),
        running: [Running::zeroed(); MOST_RUNNING],
        weight: UpdateRunning::WEIGHT as f32,
        keep: (1.0 - UpdateRunning::WEIGHT) as f32,
    };
    let mut most = 0;
    for (running, site) in params.running.iter_mut().zip(sites) {
        let Op::UpdateRunning(op) = &site.node().op else {
            unreachable!("{} does not update running statistics", site.describe())
        };
        let [.., channels] = site.input_image(0);
        most = most.max(channels);
        *running = Running {
            stats: launch.reads(site.input(0)),
            mean: launch.writes(site.input(1)),
            variance: launch.writes(site.input(2)),
            unbiased: op.unbiased() as f32,
            channels,
        };
    }
    let [blocks, ..] = spread(most.into());
    launch.over([blocks, extent(sites.len()), 1], THREADS).with(&params)
}
