//! `kernels/two_stream.cu`.

use bytemuck::{Pod, Zeroable};

use super::batch_norm::{Chunks, REDUCE_THREADS, affine, constants, constants_bytes, finalise, pair_bytes};
use super::{Address, Launch, Site, View, extent, spread, suffix};
use crate::ops::{Outer, TwoStreamUpdate};

/// Elements whose mask bits share a byte: MASK_ELEMENTS of `kernels/layout.cuh`.
const MASK_ELEMENTS: u64 = 8;

#[derive(Clone, Copy, Pod, Zeroable, Default)]
#[repr(C)]
struct OuterParams {
    x: Address,
    pair: Address,
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
    pair: Address,
    y: Address,
    mask: Address,
    elements: u64,
    height: u32,
    width: u32,
    channels: u32,
    padding: u32,
    outer: OuterParams,
}

/// Bytes of scratch of an update: the pair of its batch norm, and of its projection's.
pub fn update_scratch(op: &TwoStreamUpdate, channels: usize) -> usize {
    pair_bytes(channels) * if op.outer == Outer::Projection { 2 } else { 1 }
}

/// Part `i` of a scratch that is cut in parts of `bytes`.
fn part(scratch: View, i: usize, bytes: usize) -> View {
    View { address: scratch.address.offset(i * bytes), bytes }
}

/// `two_stream_update`.
pub fn update(site: &Site<'_>, op: &TwoStreamUpdate) -> Vec<Launch> {
    let ([_, height, width, channels], elements) = (site.input_image(0), site.output_elements(0));
    let pair = |i| part(site.scratch(), i, pair_bytes(channels as usize));
    let mut launches = vec![affine([1, 2, 3].map(|i| site.input(i)), pair(0), channels)];
    let mut launch = Launch::new(format!("two_stream_update_{}", suffix(site.input_dtype(0))));
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
        Outer::Projection => {
            launches.push(affine([5, 6, 7].map(|i| site.input(i)), pair(1), channels));
            outer.pair = launch.reads(pair(1));
        }
    }
    let params = UpdateParams {
        z: launch.reads(site.input(0)),
        pair: launch.reads(pair(0)),
        y: launch.writes(site.output(0)),
        mask: launch.writes(site.output(1)),
        elements,
        height,
        width,
        channels,
        padding: 0,
        outer,
    };
    let grid = spread(elements.div_ceil(MASK_ELEMENTS));
    launches.push(launch.over(grid, super::THREADS).with(&params));
    launches
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

fn projected(projected: bool) -> &'static str {
    if projected { "projected_" } else { "" }
}

/// `two_stream_reduce`.
pub fn reduce(site: &Site<'_>, is_projected: bool) -> Vec<Launch> {
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let (chunks, partials) = (Chunks::of(rows), site.scratch());
    let kernel = format!("two_stream_reduce_{}{}", projected(is_projected), suffix(site.input_dtype(0)));
    let mut first = Launch::new(kernel);
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
    let mut launches = vec![first.over(chunks.grid(channels), REDUCE_THREADS).with(&params)];
    let branches = if is_projected { 2 } else { 1 };
    for branch in 0..branches {
        let outputs = [site.output(2 * branch), site.output(2 * branch + 1)];
        let sums = (extent(branches) + 1, extent(branch) + 1);
        launches.push(finalise([partials, site.input(3 + 2 * branch)], outputs, channels, chunks, sums));
    }
    launches
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardParams {
    dy: Address,
    mask: Address,
    z: [Address; 2],
    constants: [Address; 2],
    dz: [Address; 2],
    elements: u64,
    channels: u32,
    padding: u32,
}

/// Bytes of scratch of a backward pass: the constants of one batch norm or two.
pub fn backward_scratch(is_projected: bool, channels: usize) -> usize {
    constants_bytes(channels) * if is_projected { 2 } else { 1 }
}

/// `two_stream_backward`.
pub fn backward(site: &Site<'_>, is_projected: bool) -> Vec<Launch> {
    /// Inputs of one batch norm: z, statistics, scale, dshift, dscale.
    const BRANCH: usize = 5;
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let kernel = format!("two_stream_backward_{}{}", projected(is_projected), suffix(site.input_dtype(0)));
    let mut apply = Launch::new(kernel);
    let mut params = BackwardParams {
        dy: apply.reads(site.input(0)),
        mask: apply.reads(site.input(1)),
        elements: site.output_elements(0),
        channels,
        ..BackwardParams::zeroed()
    };
    let mut launches = Vec::new();
    for branch in 0..if is_projected { 2 } else { 1 } {
        let first = 2 + branch * BRANCH;
        let scratch = part(site.scratch(), branch, constants_bytes(channels as usize));
        let vectors = [1, 2, 3, 4].map(|i| site.input(first + i));
        launches.push(constants(vectors, scratch, rows, channels));
        params.z[branch] = apply.reads(site.input(first));
        params.constants[branch] = apply.reads(scratch);
        params.dz[branch] = apply.writes(site.output(branch));
    }
    launches.push(apply.over(spread(params.elements), super::THREADS).with(&params));
    launches
}
