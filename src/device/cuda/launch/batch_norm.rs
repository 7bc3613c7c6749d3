//! `kernels/batch_norm.cu`: constants of every channel, then one pass; reductions in two.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, Site, View, extent, spread, suffix};
use crate::graph::{Graph, Node};
use crate::ops::EPSILON;

/// Channels of a block of the first pass of a reduction: COLUMNS of `kernels/reduce.cuh`.
const COLUMNS: u32 = 32;
/// Threads of such a block.
pub const REDUCE_THREADS: [u32; 3] = [256, 1, 1];
/// Rows of a chunk, at least: fewer are not worth a partial result.
const LEAST_CHUNK_ROWS: u32 = 64;
/// Chunks at most, which one thread a channel adds up.
const MOST_CHUNKS: u32 = 512;

/// How the rows of a matrix are cut into chunks: a function of the shape alone, so that sums are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Rows of every chunk but the last.
    pub rows: u32,
    /// How many.
    pub count: u32,
}

impl Chunks {
    /// The chunks of `rows` rows.
    pub fn of(rows: usize) -> Self {
        let rows = extent(rows);
        let chunk = rows.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK_ROWS);
        Self { rows: chunk, count: rows.div_ceil(chunk) }
    }

    /// Blocks of the first pass.
    pub fn grid(self, channels: u32) -> [u32; 3] {
        [self.count, channels.div_ceil(COLUMNS), 1]
    }
}

/// Bytes of [quantities, channels] f32 numbers.
fn floats(quantities: usize, channels: usize) -> usize {
    quantities * channels * size_of::<f32>()
}

/// Bytes of scratch for the pair (a, b) of one batch norm, at a multiple of 256 so that another can follow.
pub fn pair_bytes(channels: usize) -> usize {
    floats(2, channels).next_multiple_of(256)
}

/// Bytes of scratch for the constants (a, b, c) of one batch norm's gradient, at a multiple of 256.
pub fn constants_bytes(channels: usize) -> usize {
    floats(3, channels).next_multiple_of(256)
}

/// Bytes of scratch for the partial sums of a reduction over input 0.
pub fn partials_bytes(graph: &Graph, node: &Node, quantities: usize) -> usize {
    let shape = graph.shape(node.inputs[0]);
    Chunks::of(shape.rows()).count as usize * floats(quantities, shape.channels())
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AffineParams {
    stats: Address,
    scale: Address,
    shift: Address,
    pair: Address,
    epsilon: f64,
    channels: u32,
    padding: u32,
}

/// The pair (a, b) from statistics, scale and shift.
pub fn affine([stats, scale, shift]: [View; 3], pair: View, channels: u32) -> Launch {
    let mut launch = Launch::new("batch_norm_affine_f32");
    let params = AffineParams {
        stats: launch.reads(stats),
        scale: launch.reads(scale),
        shift: launch.reads(shift),
        pair: launch.writes(pair),
        epsilon: EPSILON,
        channels,
        padding: 0,
    };
    launch.over(spread(channels.into()), super::THREADS).with(&params)
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
    elements: u64,
    channels: u32,
    padding: u32,
}

fn apply(site: &Site<'_>, pair: View) -> Launch {
    let mut launch = Launch::new(format!("scale_shift_{}", suffix(site.input_dtype(0))));
    let ([.., channels], elements) = (site.input_image(0), site.output_elements(0));
    let params = ScaleShiftParams {
        z: launch.reads(site.input(0)),
        pair: launch.reads(pair),
        y: launch.writes(site.output(0)),
        elements,
        channels,
        padding: 0,
    };
    launch.over(spread(elements), super::THREADS).with(&params)
}

/// `scale_shift`.
pub fn scale_shift(site: &Site<'_>) -> Launch {
    apply(site, site.input(1))
}

/// `batch_norm`.
pub fn batch_norm(site: &Site<'_>) -> Vec<Launch> {
    let [.., channels] = site.input_image(0);
    let pair = site.scratch();
    vec![affine([1, 2, 3].map(|i| site.input(i)), pair, channels), apply(site, pair)]
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
struct ReduceFinaliseParams {
    partials: Address,
    stats: Address,
    dshift: Address,
    dscale: Address,
    epsilon: f64,
    channels: u32,
    chunks: u32,
    quantities: u32,
    product: u32,
}

/// The second pass: from the chunks' sums, `quantities` each, of which number `product` is this batch norm's.
pub fn finalise(
    [partials, stats]: [View; 2],
    [dshift, dscale]: [View; 2],
    channels: u32,
    chunks: Chunks,
    (quantities, product): (u32, u32),
) -> Launch {
    let mut launch = Launch::new("batch_norm_reduce_finalise_f32");
    let params = ReduceFinaliseParams {
        partials: launch.reads(partials),
        stats: launch.reads(stats),
        dshift: launch.writes(dshift),
        dscale: launch.writes(dscale),
        epsilon: EPSILON,
        channels,
        chunks: chunks.count,
        quantities,
        product,
    };
    launch.over(spread(channels.into()), super::THREADS).with(&params)
}

/// `batch_norm_reduce`.
pub fn reduce(site: &Site<'_>) -> Vec<Launch> {
    let (rows, [.., channels]) = (site.input_rows(0), site.input_image(0));
    let (chunks, partials, stats) = (Chunks::of(rows), site.scratch(), site.input(2));
    let mut first = Launch::new(format!("batch_norm_reduce_partial_{}", suffix(site.input_dtype(0))));
    let params = ReduceParams {
        g: first.reads(site.input(0)),
        z: first.reads(site.input(1)),
        stats: first.reads(stats),
        partials: first.writes(partials),
        rows: rows as u64,
        channels,
        chunk_rows: chunks.rows,
    };
    let first = first.over(chunks.grid(channels), REDUCE_THREADS).with(&params);
    let outputs = [site.output(0), site.output(1)];
    vec![first, finalise([partials, stats], outputs, channels, chunks, (2, 1))]
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardConstantsParams {
    stats: Address,
    scale: Address,
    dshift: Address,
    dscale: Address,
    constants: Address,
    epsilon: f64,
    rows: u64,
    channels: u32,
    padding: u32,
}

/// The constants (a, b, c) from statistics, scale, dshift and dscale.
pub fn constants(
    [stats, scale, dshift, dscale]: [View; 4],
    constants: View,
    rows: usize,
    channels: u32,
) -> Launch {
    let mut launch = Launch::new("batch_norm_backward_constants_f32");
    let params = BackwardConstantsParams {
        stats: launch.reads(stats),
        scale: launch.reads(scale),
        dshift: launch.reads(dshift),
        dscale: launch.reads(dscale),
        constants: launch.writes(constants),
        epsilon: EPSILON,
        rows: rows as u64,
        channels,
        padding: 0,
    };
    launch.over(spread(channels.into()), super::THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BackwardParams {
    g: Address,
    z: Address,
    constants: Address,
    dz: Address,
    elements: u64,
    channels: u32,
    padding: u32,
}

/// `batch_norm_backward`.
pub fn backward(site: &Site<'_>) -> Vec<Launch> {
    let [.., channels] = site.input_image(0);
    let scratch = site.scratch();
    let vectors = [2, 3, 4, 5].map(|i| site.input(i));
    let mut apply = Launch::new(format!("batch_norm_backward_{}", suffix(site.input_dtype(0))));
    let elements = site.output_elements(0);
    let params = BackwardParams {
        g: apply.reads(site.input(0)),
        z: apply.reads(site.input(1)),
        constants: apply.reads(scratch),
        dz: apply.writes(site.output(0)),
        elements,
        channels,
        padding: 0,
    };
    let apply = apply.over(spread(elements), super::THREADS).with(&params);
    vec![constants(vectors, scratch, site.input_rows(1), channels), apply]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_rows_and_are_not_too_many() {
        for rows in [1, 63, 64, 65, 4096, 32_768, 32_769, 512_000, 1_048_576] {
            let Chunks { rows: chunk, count } = Chunks::of(rows);
            assert!(u64::from(chunk) * u64::from(count) >= rows as u64, "{rows}");
            assert!(u64::from(chunk) * u64::from(count - 1) < rows as u64, "{rows}");
            assert!(count <= MOST_CHUNKS && chunk >= LEAST_CHUNK_ROWS);
        }
    }
}
