//! `kernels/two_stream.cu`.

use bytemuck::{Pod, Zeroable};

use super::batch_norm::{Norm, NormGradient, Reduced, finalise_all};
use super::pass::{Chunks, EIGHT, REDUCE_THREADS, form, grid};
use super::{Address, Launch, Site, THREADS, extent, spread, suffix};
use crate::ops::{EPSILON, Outer, TwoStreamUpdate};

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
pub fn reduce(site: &Site<'_>, is_projected: bool) -> Vec<Launch> {
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let (chunks, partials) = (Chunks::of(rows), site.scratch());
    let mut first = Launch::new(kernel("two_stream_reduce", projected(is_projected), site));
    let params = ReduceParams {
        dy: first.reads(site.input(0)),
        mask: first.reads(site.input(1)),
        z: [2, 4].map(|i| first.may_read(site.maybe_input(i))),
        stats: [3, 5].map(|i| first.may_read(site.maybe_input(i))),
        partials: first.writes(partials),
        rows: rows as u64,
        channels,
        chunk_rows: chunks.rows,
    };
    let first = first.over(chunks.grid(channels), REDUCE_THREADS).with(&params);
    let branches: Vec<Reduced> = (0..if is_projected { 2 } else { 1 })
        .map(|branch| Reduced {
            stats: site.input(3 + 2 * branch),
            outputs: [site.output(2 * branch), site.output(2 * branch + 1)],
            product: 1 + extent(branch),
        })
        .collect();
    let quantities = 1 + extent(branches.len());
    vec![first, finalise_all(partials, &branches, channels, chunks.count, quantities)]
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
    padding: u32,
}

/// `two_stream_backward`. The kernel takes a mask of null as one that lets everything pass.
pub fn backward(site: &Site<'_>, is_projected: bool) -> Launch {
    /// Inputs of one batch norm: z, statistics, scale, dshift, dscale.
    const BRANCH: usize = 5;
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let mut launch = Launch::new(kernel("two_stream_backward", projected(is_projected), site));
    let mut params = BackwardParams {
        dy: launch.reads(site.input(0)),
        mask: launch.reads(site.input(1)),
        rows: rows as u64,
        channels,
        epsilon: EPSILON as f32,
        share: (1.0 / rows as f64) as f32,
        ..BackwardParams::zeroed()
    };
    for (b, branch) in params.branches.iter_mut().enumerate().take(if is_projected { 2 } else { 1 }) {
        let first = 2 + b * BRANCH;
        *branch = BackwardBranch {
            z: launch.reads(site.input(first)),
            norm: NormGradient::read(&mut launch, [1, 2, 3, 4].map(|i| site.input(first + i))),
            dz: launch.writes(site.output(b)),
        };
    }
    launch.over(grid(rows, channels), THREADS).with(&params)
}
