//! `kernels/batch_norm.cu`: passes that make their channels' constants themselves; reductions in two.

use bytemuck::{Pod, Zeroable};

use super::pass::{Chunks, REDUCE_THREADS, descending, finalise_grid, finalise_threads, form, grid};
use super::{Address, Launch, Site, THREADS, View, extent, spread, suffix};
use crate::graph::{Graph, Node};
use crate::ops::EPSILON;

/// Bytes of scratch for the partial sums of a reduction over input 0.
pub fn partials_bytes(graph: &Graph, node: &Node, quantities: usize) -> usize {
    let shape = graph.shape(node.inputs[0]);
    Chunks::of(shape.rows()).count as usize * quantities * shape.channels() * size_of::<f32>()
}

/// `Norm` of `kernels/normalise.cuh`.
#[derive(Clone, Copy, Pod, Zeroable, Default)]
#[repr(C)]
pub struct Norm {
    stats: Address,
    scale: Address,
    shift: Address,
}

impl Norm {
    /// What `launch` reads of one batch norm: statistics, scale, shift.
    pub fn read(launch: &mut Launch, [stats, scale, shift]: [View; 3]) -> Self {
        Self { stats: launch.reads(stats), scale: launch.reads(scale), shift: launch.reads(shift) }
    }
}

/// `NormGradient` of `kernels/normalise.cuh`.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct NormGradient {
    stats: Address,
    scale: Address,
    dshift: Address,
    dscale: Address,
}

impl NormGradient {
    /// What `launch` reads of one batch norm: statistics, scale, dshift, dscale.
    pub fn read(launch: &mut Launch, views: [View; 4]) -> Self {
        let [stats, scale, dshift, dscale] = views.map(|view| launch.reads(view));
        Self { stats, scale, dshift, dscale }
    }
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FoldParams {
    scale: Address,
    shift: Address,
    mean: Address,
    variance: Address,
    pair: Address,
    epsilon: f64,
    channels: u32,
    padding: u32,
}

/// `fold_batch_norm`.
pub fn fold(site: &Site<'_>) -> Launch {
    let mut launch = Launch::new("fold_batch_norm_f32");
    let [.., channels] = site.output_image(0);
    let params = FoldParams {
        scale: launch.reads(site.input(0)),
        shift: launch.reads(site.input(1)),
        mean: launch.reads(site.input(2)),
        variance: launch.reads(site.input(3)),
        pair: launch.writes(site.output(0)),
        epsilon: EPSILON,
        channels,
        padding: 0,
    };
    launch.over(spread(channels.into()), super::THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ScaleShiftParams {
    z: Address,
    pair: Address,
    y: Address,
    rows: u64,
    channels: u32,
    descending: u32,
}

/// The name of a pass' kernel that reads input 0.
fn kernel(name: &str, site: &Site<'_>) -> String {
    let [.., channels] = site.input_image(0);
    format!("{name}_{}{}", form(channels), suffix(site.input_dtype(0)))
}

/// `scale_shift`.
pub fn scale_shift(site: &Site<'_>) -> Launch {
    let mut launch = Launch::new(kernel("scale_shift", site));
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let params = ScaleShiftParams {
        z: launch.reads(site.input(0)),
        pair: launch.reads(site.input(1)),
        y: launch.writes(site.output(0)),
        rows: rows as u64,
        channels,
        descending: descending(site),
    };
    launch.over(grid(rows, channels), THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BatchNormParams {
    z: Address,
    norm: Norm,
    y: Address,
    rows: u64,
    channels: u32,
    epsilon: f32,
    descending: u32,
    padding: u32,
}

/// `batch_norm`.
pub fn batch_norm(site: &Site<'_>) -> Launch {
    let mut launch = Launch::new(kernel("batch_norm", site));
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let params = BatchNormParams {
        z: launch.reads(site.input(0)),
        norm: Norm::read(&mut launch, [1, 2, 3].map(|i| site.input(i))),
        y: launch.writes(site.output(0)),
        rows: rows as u64,
        channels,
        epsilon: EPSILON as f32,
        descending: descending(site),
        padding: 0,
    };
    launch.over(grid(rows, channels), THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReduceParams {
    g: Address,
    z: Address,
    stats: Address,
    partials: Address,
    rows: u64,
    channels: u32,
    chunk_rows: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReducedBranch {
    stats: Address,
    dshift: Address,
    dscale: Address,
    product: u32,
    padding: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReduceFinaliseParams {
    partials: Address,
    branches: [ReducedBranch; 2],
    epsilon: f64,
    channels: u32,
    parts: u32,
    quantities: u32,
    count: u32,
}

/// A batch norm whose reductions are taken.
#[derive(Clone, Copy)]
pub struct Reduced {
    /// What it normalises.
    pub z: View,
    /// Its statistics [2 C].
    pub stats: View,
    /// What is written: dshift and dscale, `[C]` each.
    pub outputs: [View; 2],
}

/// The second pass for one batch norm, or for two that share g: from `parts` partial sums, of g, then of g times z less
/// the mean of each.
pub fn finalise(partials: View, branches: &[Reduced], channels: u32, parts: u32) -> Launch {
    let mut launch = Launch::new("batch_norm_reduce_finalise_f32");
    let count = extent(branches.len());
    let mut params = ReduceFinaliseParams {
        partials: launch.reads(partials),
        branches: Zeroable::zeroed(),
        epsilon: EPSILON,
        channels,
        parts,
        quantities: 1 + count,
        count,
    };
    for (b, (to, Reduced { stats, outputs: [dshift, dscale], .. })) in
        params.branches.iter_mut().zip(branches).enumerate()
    {
        *to = ReducedBranch {
            stats: launch.reads(*stats),
            dshift: launch.writes(*dshift),
            dscale: launch.writes(*dscale),
            product: 1 + extent(b),
            padding: 0,
        };
    }
    launch.over(finalise_grid(channels, 1 + count), finalise_threads(parts)).with(&params)
}

/// `batch_norm_reduce`.
pub fn reduce(site: &Site<'_>) -> Vec<Launch> {
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let (chunks, partials) = (Chunks::of(rows), site.scratch());
    let branch =
        Reduced { z: site.input(1), stats: site.input(2), outputs: [site.output(0), site.output(1)] };
    let mut first = Launch::new(kernel("batch_norm_reduce_partial", site));
    let params = ReduceParams {
        g: first.reads(site.input(0)),
        z: first.reads(branch.z),
        stats: first.reads(branch.stats),
        partials: first.writes(partials),
        rows: rows as u64,
        channels,
        chunk_rows: chunks.rows,
    };
    let first = first.over(chunks.grid(channels), REDUCE_THREADS).with(&params);
    vec![first, finalise(partials, &[branch], channels, chunks.count)]
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardParams {
    g: Address,
    z: Address,
    norm: NormGradient,
    dz: Address,
    rows: u64,
    channels: u32,
    epsilon: f32,
    share: f32,
    descending: u32,
}

/// `batch_norm_backward`.
pub fn backward(site: &Site<'_>) -> Launch {
    let mut launch = Launch::new(kernel("batch_norm_backward", site));
    let (rows, [.., channels]) = (site.input_rows(1), site.input_image(0));
    let params = BackwardParams {
        g: launch.reads(site.input(0)),
        z: launch.reads(site.input(1)),
        norm: NormGradient::read(&mut launch, [2, 3, 4, 5].map(|i| site.input(i))),
        dz: launch.writes(site.output(0)),
        rows: rows as u64,
        channels,
        epsilon: EPSILON as f32,
        share: (1.0 / rows as f64) as f32,
        descending: descending(site),
    };
    launch.over(grid(rows, channels), THREADS).with(&params)
}
