//! `kernels/batch_stats.cu`: a batch's mean and variance, in two passes.

use bytemuck::{Pod, Zeroable};

use super::batch_norm::partials_bytes;
use super::pass::{Chunks, REDUCE_THREADS, finalise_grid, finalise_threads, form};
use super::{Address, Launch, Site, View, extent, suffix};
use crate::graph::{Graph, Node};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PartialParams {
    z: Address,
    partials: Address,
    rows: u32,
    channels: u32,
    rows_per_partial: u32,
    padding: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FinaliseParams {
    partials: Address,
    stats: Address,
    rows: u32,
    channels: u32,
    rows_per_partial: u32,
    padding: u32,
}

/// `batch_stats`.
pub fn batch_stats(site: &Site<'_>) -> Vec<Launch> {
    let [.., channels] = site.input_image(0);
    let z = Matrix {
        view: site.input(0),
        kernel_suffix: suffix(site.input_dtype(0)),
        rows: site.input_rows(0),
        channels,
    };
    of(&z, site.scratch(), site.output(0))
}

/// Bytes of scratch of [`batch_stats`].
pub fn scratch(graph: &Graph, node: &Node) -> usize {
    partials_bytes(graph, node, 2)
}

/// A matrix whose columns have statistics.
pub struct Matrix {
    /// Its elements.
    pub view: View,
    /// The suffix of kernels that read it.
    pub kernel_suffix: &'static str,
    /// Its extents.
    pub rows: usize,
    /// Its extents.
    pub channels: u32,
}

/// Mean and variance of every channel of z, to stats [2 C].
pub fn of(z: &Matrix, scratch: View, stats: View) -> Vec<Launch> {
    let chunks = Chunks::of(z.rows);
    let mut launch = Launch::new(format!("batch_stats_partial_{}{}", form(z.channels), z.kernel_suffix));
    let params = PartialParams {
        z: launch.reads(z.view),
        partials: launch.writes(scratch),
        rows: extent(z.rows),
        channels: z.channels,
        rows_per_partial: chunks.rows,
        padding: 0,
    };
    let partial = launch.over(chunks.grid(z.channels), REDUCE_THREADS).with(&params);
    vec![partial, finalise(scratch, stats, [extent(z.rows), z.channels], chunks.rows)]
}

/// Combines partial statistics [parts, 2, C] of `rows_per_partial` of the rows each, the last perhaps of fewer.
pub fn finalise(partials: View, stats: View, [rows, channels]: [u32; 2], rows_per_partial: u32) -> Launch {
    let mut launch = Launch::new("batch_stats_finalise");
    let params = FinaliseParams {
        partials: launch.reads(partials),
        stats: launch.writes(stats),
        rows,
        channels,
        rows_per_partial,
        padding: 0,
    };
    let parts = rows.div_ceil(rows_per_partial);
    launch.over(finalise_grid(channels, 1), finalise_threads(parts)).with(&params)
}
