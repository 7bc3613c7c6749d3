//! `kernels/two_stream.cu`.

use bytemuck::{Pod, Zeroable};

use super::batch_norm::{Norm, NormGradient, Reduced, finalise};
use super::batch_stats::Matrix;
use super::pass::{Chunks, EIGHT, REDUCE_THREADS, descending, form, grid};
use super::{Address, Launch, Site, THREADS, View, extent, spread, suffix};
use crate::ops::{EPSILON, Outer, TwoStreamBackward, TwoStreamUpdate};

/// Elements whose mask bits share a byte: MASK_ELEMENTS of `kernels/layout.cuh`.
const MASK_ELEMENTS: u64 = 8;

#[derive(Clone, Copy, Pod, Zeroable, Default)]
#[repr(C)]
struct OuterParams {
    x: Address,
    norm: Norm,
    height: u32,
    width: u32,
    channels: u32,
    stride: u32,
    copied: u32,
    from: u32,
    to: u32,
    is_identity: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UpdateParams {
    z: Address,
    norm: Norm,
    y: Address,
    mask: Address,
    outer: OuterParams,
    rows: u64,
    height: u32,
    width: u32,
    channels: u32,
    epsilon: f32,
    descending: u32,
    padding: u32,
}

/// The name of a kernel of this kind that reads input 0.
fn kernel(name: &str, kind: &str, site: &Site<'_>) -> String {
    let [.., channels] = site.input_image(0);
    format!("{name}_{kind}{}{}", form(channels), suffix(site.input_dtype(0)))
}

/// The kind of a gradient's kernel.
fn projected(is_projected: bool) -> &'static str {
    if is_projected { "projected_" } else { "" }
}

/// `two_stream_update`.
pub fn update(site: &Site<'_>, op: &TwoStreamUpdate) -> Launch {
    let ([_, height, width, channels], rows) = (site.input_image(0), site.input_rows(0));
    let kind = match op.outer {
        Outer::None | Outer::Identity => "",
        Outer::Subsampled(_) => "subsampled_",
        Outer::Projection => "projected_",
    };
    let mut launch = Launch::new(kernel("two_stream_update", kind, site));
    let mut outer =
        OuterParams { x: launch.may_read(site.maybe_input(4)), stride: 1, ..OuterParams::default() };
    match op.outer {
        Outer::None => {}
        Outer::Identity => outer.is_identity = 1,
        Outer::Subsampled(s) => {
            let [_, height, width, channels] = site.input_image(4);
            let [stride, copied, from, to] = [s.stride, s.copied, s.from, s.to].map(extent);
            outer = OuterParams { height, width, channels, stride, copied, from, to, ..outer };
        }
        Outer::Projection => outer.norm = Norm::read(&mut launch, [5, 6, 7].map(|i| site.input(i))),
    }
    let params = UpdateParams {
        z: launch.reads(site.input(0)),
        norm: Norm::read(&mut launch, [1, 2, 3].map(|i| site.input(i))),
        y: launch.writes(site.output(0)),
        mask: launch.writes(site.output(1)),
        outer,
        rows: rows as u64,
        height,
        width,
        channels,
        epsilon: EPSILON as f32,
        descending: descending(site),
        padding: 0,
    };
    let grid = match channels % EIGHT {
        0 => grid(rows, channels),
        _ => spread(site.output_elements(0).div_ceil(MASK_ELEMENTS)),
    };
    launch.over(grid, THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReduceParams {
    dy: Address,
    mask: Address,
    z: [Address; 2],
    stats: [Address; 2],
    partials: Address,
    rows: u64,
    channels: u32,
    chunk_rows: u32,
}

/// `two_stream_reduce`.
pub fn reduce(site: &Site<'_>) -> Vec<Launch> {
    let outputs: Vec<View> = (0..site.node().outputs.len()).map(|o| site.output(o)).collect();
    let dy = Matrix {
        view: site.input(0),
        kernel_suffix: suffix(site.input_dtype(0)),
        rows: site.input_rows(0),
        channels: site.input_image(0)[3],
    };
    reductions(&dy, Some(site.input(1)), &reduced(site, 2, &outputs), site.scratch())
}

/// The batch norms whose z and statistics are the inputs from `first` on, and whose dshift and dscale are `outputs`.
pub fn reduced(site: &Site<'_>, first: usize, outputs: &[View]) -> Vec<Reduced> {
    (outputs.chunks(2).enumerate())
        .map(|(b, sums)| {
            let [z, stats] = [2 * b, 2 * b + 1].map(|i| site.input(first + i));
            Reduced { z, stats, outputs: [sums[0], sums[1]] }
        })
        .collect()
}

/// The sums of dy under a mask, or where there is none of g, in two passes. Partials: [chunks, 1 + branches, C].
pub fn reductions(dy: &Matrix, mask: Option<View>, branches: &[Reduced], partials: View) -> Vec<Launch> {
    let (channels, chunks) = (dy.channels, Chunks::of(dy.rows));
    let kind = projected(branches.len() > 1);
    let mut first = Launch::new(format!("two_stream_reduce_{kind}{}{}", form(channels), dy.kernel_suffix));
    let params = ReduceParams {
        dy: first.reads(dy.view),
        mask: first.may_read(mask),
        z: [0, 1].map(|b| first.may_read(branches.get(b).map(|branch| branch.z))),
        stats: [0, 1].map(|b| first.may_read(branches.get(b).map(|branch| branch.stats))),
        partials: first.writes(partials),
        rows: dy.rows as u64,
        channels,
        chunk_rows: chunks.rows,
    };
    let first = first.over(chunks.grid(channels), REDUCE_THREADS).with(&params);
    vec![first, finalise(partials, branches, channels, chunks.count)]
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardBranch {
    z: Address,
    norm: NormGradient,
    dz: Address,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardParams {
    dy: Address,
    mask: Address,
    branches: [BackwardBranch; 2],
    rows: u64,
    channels: u32,
    epsilon: f32,
    share: f32,
    descending: u32,
}

/// `two_stream_backward`. The kernel takes a mask of null as one that lets everything pass.
pub fn backward(site: &Site<'_>, op: &TwoStreamBackward) -> Launch {
    /// Inputs of one batch norm: z, statistics, scale, dshift, dscale.
    const BRANCH: usize = 5;
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let mut launch = Launch::new(kernel("two_stream_backward", projected(op.projected), site));
    let mut params = BackwardParams {
        dy: launch.reads(site.input(0)),
        mask: launch.may_read(op.masked.then(|| site.input(1))),
        rows: rows as u64,
        channels,
        epsilon: EPSILON as f32,
        share: (1.0 / rows as f64) as f32,
        descending: descending(site),
        ..BackwardParams::zeroed()
    };
    for (b, branch) in params.branches.iter_mut().enumerate().take(if op.projected { 2 } else { 1 }) {
        let first = op.first_branch() + b * BRANCH;
        *branch = BackwardBranch {
            z: launch.reads(site.input(first)),
            norm: NormGradient::read(&mut launch, [1, 2, 3, 4].map(|i| site.input(first + i))),
            dz: launch.writes(site.output(b)),
        };
    }
    launch.over(grid(rows, channels), THREADS).with(&params)
}
