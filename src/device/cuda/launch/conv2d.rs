//! `kernels/conv2d/`: the three products of a convolution, naive, tiled, or on tensor cores.

use bytemuck::{Pod, Zeroable};

use super::batch_stats::{self, Matrix};
use super::mma::{self, Tile};
use super::pass::Chunks;
use super::{Address, Launch, Site, View, extent, suffix};
use super::{batch_norm, two_stream};
use crate::device::cuda::kernels::{self, Generation, Kernels};
use crate::graph::{Graph, Node, Shape};
use crate::ops::{Addend, Conv2d, Conv2dDataGrad, Epilogue, GradEpilogue, Op};

/// Threads of a naive block: NAIVE_THREADS of `naive.cu`; and of the sum of splits: SUM_THREADS of
/// `tiled_weight_grad.cu`.
const ELEMENT_THREADS: u32 = 256;
/// Rows of a tile: TILE_ROWS of `index.cuh`.
pub(super) const TILE_ROWS: u32 = 128;
/// Columns of a tile, the widest first, for which each tiled product has a kernel.
const TILE_COLUMNS: [u32; 3] = [96, 64, 32];
/// Columns of a warp, and threads of the two warps that share them: `tile_threads` of `index.cuh`.
const WARP_COLUMNS: u32 = 32;
const THREADS_PER_WARP_COLUMNS: u32 = 64;

/// Blocks that a weight gradient aims at: several for every multiprocessor of the largest cards. On tensor cores fewer,
/// since they take less time and their partial sums as much.
const SPLIT_BLOCKS: u32 = 1024;
const MMA_SPLIT_BLOCKS: u32 = 512;
/// Pixels of a split, at least: fewer are not worth a partial sum of all weights.
const LEAST_SPLIT_PIXELS: u32 = 512;
/// A split is a whole number of steps of this depth: twice TILE_DEPTH of `index.cuh`, and MMA_DEPTH of `mma_index.cuh`.
const SPLIT_DEPTH: u32 = mma::DEPTH;

#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Extents {
    /// N H W C.
    x: [u32; 4],
    /// K R S.
    w: [u32; 3],
    /// P Q.
    z: [u32; 2],
    stride: u32,
    pad: u32,
    identity: u32,
}

impl Extents {
    fn new(conv: &Conv2d, x: &Shape, w: &Shape) -> Self {
        let four = |shape: &Shape| shape.dims4().expect("shape rules have checked it").map(extent);
        let ([n, h, width, _], [k, r, s, _]) = (four(x), four(w));
        let [stride, pad] = [conv.stride, conv.pad].map(extent);
        let output = |image: u32, filter: u32| (image + 2 * pad - filter) / stride + 1;
        let z = [output(h, r), output(width, s)];
        // Kernels count pixels in 31 bits, since a tap may lie before the first, and elements of all filters in 32.
        // Memory ends long before.
        let most = product(&[n, h, width]).max(product(&[n, z[0], z[1]]));
        assert!(
            most < 1 << 31 && u32::try_from(w.elements()).is_ok(),
            "{x} by {w} is more than kernels count"
        );
        Self { x: four(x), w: [k, r, s], z, stride, pad, identity: extent(conv.identity) }
    }

    /// Of a node of the three; `None` for any other.
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        let (x, w) = operands(&node.op, &inputs)?;
        match &node.op {
            Op::Conv2d(op) => Some(Self::new(op, x, w)),
            Op::Conv2dDataGrad(op) => Some(Self::new(&op.conv, x, w)),
            Op::Conv2dWeightGrad(op) => Some(Self::new(&op.conv, x, w)),
            _ => None,
        }
    }

    fn at(site: &Site<'_>) -> Self {
        Self::of(site.graph(), site.node()).expect("only convolutions are launched here")
    }

    /// Those of the convolution with this filter alone: only the first has E.
    fn branch(mut self, branch: usize) -> Self {
        self.identity = if branch == 0 { self.identity } else { 0 };
        self
    }
    /// N P Q.
    fn output_pixels(&self) -> u32 {
        product(&[self.x[0], self.z[0], self.z[1]])
    }
    /// R S C.
    fn filter_elements(&self) -> u32 {
        product(&[self.w[1], self.w[2], self.x[3]])
    }
    /// Whether the faster kernels on tensor cores can compute this product: its depth comes in whole stages where that
    /// is channels, the channels across it in whole chunks, and a mask has a bit for every tap.
    fn whole(&self, op: &Op) -> bool {
        let [filters, rows, columns] = self.w;
        let channels = self.x[3];
        let suits = match op {
            Op::Conv2d(_) => channels.is_multiple_of(mma::DEPTH),
            Op::Conv2dDataGrad(_) => {
                filters.is_multiple_of(mma::DEPTH) && channels.is_multiple_of(mma::CHUNK)
            }
            _ => [channels, filters].iter().all(|c| c.is_multiple_of(mma::CHUNK)),
        };
        suits && rows.max(columns) <= mma::MOST_TAPS
    }
    /// How a weight gradient in this form cuts the pixels.
    fn splits(&self, op: &Op, form: Kernels) -> Splits {
        let (elements, filters, pixels) = (self.filter_elements(), self.w[0], self.output_pixels());
        let (columns, blocks) = match form {
            Kernels::Mma => (mma::tile(filters, self.whole(op)).columns, MMA_SPLIT_BLOCKS),
            _ => (tile_columns(filters), SPLIT_BLOCKS),
        };
        Splits::of(elements.div_ceil(TILE_ROWS) * filters.div_ceil(columns), blocks, pixels)
    }
}

/// The images and the filter of one of the three products, which its inputs and the operation itself tell; `None` for
/// any other operation.
pub fn operands<'a>(op: &'a Op, inputs: &[&'a Shape]) -> Option<(&'a Shape, &'a Shape)> {
    match op {
        Op::Conv2d(_) => Some((inputs[0], inputs[1])),
        Op::Conv2dDataGrad(op) => Some((&op.input, inputs[1])),
        Op::Conv2dWeightGrad(op) => Some((inputs[0], &op.filter)),
        _ => None,
    }
}

/// Elements of some extents.
fn product(extents: &[u32]) -> u32 {
    extent(extents.iter().map(|&e| e as usize).product())
}

/// Bytes of f32 numbers.
fn floats(elements: &[u32]) -> usize {
    elements.iter().map(|&e| e as usize).product::<usize>() * size_of::<f32>()
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ForwardParams {
    x: Address,
    w: Address,
    scale_shift: Address,
    outer: Address,
    z: Address,
    partials: Address,
    extents: Extents,
    relu: u32,
    padding: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct DataGradParams {
    dz: Address,
    w: Address,
    addend: Address,
    mask: Address,
    dx: Address,
    relu: Address,
    z: [Address; 2],
    stats: [Address; 2],
    partials: Address,
    extents: Extents,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct WeightGradParams {
    x: Address,
    dz: Address,
    dw: Address,
    extents: Extents,
    pixels_per_split: u32,
    padding: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct SumSplitsParams {
    partials: Address,
    dw: Address,
    elements: u32,
    splits: u32,
}

/// A launch and its grid: one thread an element, or tiles.
struct Shaped {
    launch: Launch,
    form: Kernels,
    tile: Option<Tile>,
    columns: u32,
}

impl Shaped {
    fn new(site: &Site<'_>, operation: &str, columns: u32) -> Self {
        let (form, dtype) = (site.choice().kernels, suffix(site.input_dtype(0)));
        let extents = Extents::at(site);
        let whole = extents.whole(&site.node().op);
        let (tile, width) = match form {
            Kernels::Mma => {
                let mut tile = mma::tile(columns, whole);
                if let Op::Conv2dWeightGrad(_) = site.node().op {
                    tile.shared += mma::PLACES;
                }
                (Some(tile), format!("_{}{}", if whole { "" } else { "any_" }, tile.columns))
            }
            Kernels::Tiled => {
                let columns = tile_columns(columns);
                let threads = columns / WARP_COLUMNS * THREADS_PER_WARP_COLUMNS;
                (Some(Tile { columns, threads, shared: 0 }), format!("_{columns}"))
            }
            _ => (None, String::new()),
        };
        Self { launch: Launch::new(format!("{operation}_{}{width}_{dtype}", form.id())), form, tile, columns }
    }

    /// The launch over a [rows x columns] product, `batches` of it for a tiled kernel along y and z.
    fn over(mut self, rows: u32, batches: [u32; 2], params: &impl bytemuck::NoUninit) -> Launch {
        let (grid, block) = if let Some(Tile { columns, threads, shared }) = self.tile {
            let tiles = product(&[rows.div_ceil(TILE_ROWS), self.columns.div_ceil(columns)]);
            self.launch.dynamic_shared = shared;
            ([tiles, batches[0], batches[1]], threads)
        } else {
            (blocks(u64::from(rows) * u64::from(self.columns)), ELEMENT_THREADS)
        };
        self.launch.over(grid, [block, 1, 1]).with(params)
    }
}

/// A grid of one thread an element.
fn blocks(elements: u64) -> [u32; 3] {
    let blocks = elements.div_ceil(ELEMENT_THREADS.into());
    [u32::try_from(blocks).expect("fewer than 2^31 blocks"), 1, 1]
}

/// The width of tiles that pads `columns` the least; of equal ones the widest.
fn tile_columns(columns: u32) -> u32 {
    *TILE_COLUMNS.iter().min_by_key(|&&tile| columns.next_multiple_of(tile)).expect("there are three")
}

/// `conv2d`: a launch a filter.
pub fn conv2d(site: &Site<'_>) -> Vec<Launch> {
    let Op::Conv2d(op) = &site.node().op else { unreachable!("launched as another operation") };
    (0..op.branches()).flat_map(|branch| forward(site, op, branch)).collect()
}

/// z, or a projection's, and its statistics.
fn forward(site: &Site<'_>, op: &Conv2d, branch: usize) -> Vec<Launch> {
    let extents = Extents::at(site).branch(branch);
    let first = branch * site.node().outputs.len() / op.branches();
    let (pixels, filters) = (extents.output_pixels(), extents.w[0]);
    let mut shaped = Shaped::new(site, "conv2d", filters);
    let launch = &mut shaped.launch;
    let statistics = op.epilogue == Epilogue::Statistics;
    let in_tiles = statistics && shaped.tile.is_some();
    let folded = |i: usize| site.maybe_input(i).filter(|_| matches!(op.epilogue, Epilogue::ScaleShift { .. }));
    let params = ForwardParams {
        x: launch.reads(site.input(0)),
        w: launch.reads(site.input(1 + branch)),
        scale_shift: launch.may_read(folded(2)),
        outer: launch.may_read(folded(3)),
        z: launch.writes(site.output(first)),
        partials: launch.may_write(in_tiles.then(|| site.scratch())),
        extents,
        relu: u32::from(matches!(op.epilogue, Epilogue::ScaleShift { relu: true, .. })),
        padding: 0,
    };
    let mut launches = vec![shaped.over(pixels, [1, 1], &params)];
    if in_tiles {
        let stats = site.output(first + 1);
        launches.push(batch_stats::finalise(site.scratch(), stats, [pixels, filters], TILE_ROWS));
    } else if statistics {
        let z = Matrix {
            view: site.output(first),
            kernel_suffix: suffix(site.output_dtype(first)),
            rows: pixels as usize,
            channels: filters,
        };
        launches.extend(batch_stats::of(&z, site.scratch(), site.output(first + 1)));
    }
    launches
}

/// `conv2d_data_grad`: a launch a filter. A projection's comes first and stores dx, in the storage's type, which the last
/// has as its addend: a thread reads an element before it writes it.
pub fn conv2d_data_grad(site: &Site<'_>) -> Vec<Launch> {
    let Op::Conv2dDataGrad(op) = &site.node().op else { unreachable!("launched as another operation") };
    let Conv2dDataGrad { addend, epilogue, .. } = *op;
    if !op.conv.projected {
        return data_grad(site, op, 0, (addend, epilogue));
    }
    let projection = data_grad(site, op, 1, (addend, GradEpilogue::None));
    [projection, data_grad(site, op, 0, (Addend::None, epilogue))].concat()
}

/// dx of layer 1, or of its projection, with the parts of the ends that are its own.
fn data_grad(
    site: &Site<'_>,
    op: &Conv2dDataGrad,
    branch: usize,
    (addend, end): (Addend, GradEpilogue),
) -> Vec<Launch> {
    let extents = Extents::at(site).branch(branch);
    let onto = op.conv.projected && branch == 0;
    let [images, height, width, channels] = extents.x;
    let mut shaped = Shaped::new(site, "conv2d_data_grad", channels);
    // A tiled kernel takes the pixels by their residues under the stride; the first class is the largest.
    let classes = if shaped.tile.is_some() { extents.stride } else { 1 };
    let rows = product(&[images, height.div_ceil(classes), width.div_ceil(classes)]);

    let (added, epilogue) = (op.first_of_addend(), op.first_of_epilogue());
    let sums: Vec<View> = (1..=2 * end.branches()).map(|o| site.output(o)).collect();
    let branches = two_stream::reduced(site, epilogue + 1, &sums);
    // A naive kernel leaves the sums to passes over the g that it stored.
    let in_tiles = if shaped.tile.is_some() { &branches[..] } else { &[] };
    let launch = &mut shaped.launch;
    let dx = launch.writes(site.output(0));
    let addend_view = (addend != Addend::None).then(|| site.input(added));
    let params = DataGradParams {
        dz: launch.reads(site.input(2 * branch)),
        w: launch.reads(site.input(2 * branch + 1)),
        addend: if onto { dx } else { launch.may_read(addend_view) },
        mask: launch.may_read((addend == Addend::Masked).then(|| site.input(added + 1))),
        dx,
        relu: launch.may_read((!branches.is_empty()).then(|| site.input(epilogue))),
        z: [0, 1].map(|b| launch.may_read(in_tiles.get(b).map(|branch| branch.z))),
        stats: [0, 1].map(|b| launch.may_read(in_tiles.get(b).map(|branch| branch.stats))),
        partials: launch.may_write((!in_tiles.is_empty()).then(|| site.scratch())),
        extents,
    };
    let tiled = shaped.tile.is_some();
    let mut launches = vec![shaped.over(rows, [1, classes * classes], &params)];
    if tiled && !branches.is_empty() {
        let parts = classes * classes * rows.div_ceil(TILE_ROWS);
        launches.push(batch_norm::finalise(site.scratch(), &branches, channels, parts));
    } else if !branches.is_empty() {
        let g = Matrix {
            view: site.output(0),
            kernel_suffix: suffix(site.output_dtype(0)),
            rows: product(&[images, height, width]) as usize,
            channels,
        };
        launches.extend(two_stream::reductions(&g, None, &branches, site.scratch()));
    }
    launches
}

/// How a weight gradient cuts the pixels: a function of the shapes alone, so that sums are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Splits {
    /// Pixels of every split but the last.
    pixels: u32,
    count: u32,
}

impl Splits {
    /// As many as make about `blocks` blocks of `tiles` tiles.
    fn of(tiles: u32, blocks: u32, pixels: u32) -> Self {
        let wanted = blocks.div_ceil(tiles);
        let split = pixels.div_ceil(wanted).max(LEAST_SPLIT_PIXELS).next_multiple_of(SPLIT_DEPTH);
        Self { pixels: split, count: pixels.div_ceil(split) }
    }
}

/// `conv2d_weight_grad`: a launch a filter.
pub fn conv2d_weight_grad(site: &Site<'_>) -> Vec<Launch> {
    (0..site.node().outputs.len()).flat_map(|branch| weight_grad(site, branch)).collect()
}

/// dw, or a projection's.
fn weight_grad(site: &Site<'_>, branch: usize) -> Vec<Launch> {
    let extents = Extents::at(site);
    let (rows, filters) = (extents.filter_elements(), extents.w[0]);
    let mut shaped = Shaped::new(site, "conv2d_weight_grad", filters);
    let splits = extents.splits(&site.node().op, shaped.form);
    let in_splits = shaped.tile.is_some() && splits.count > 1;
    let launch = &mut shaped.launch;
    let params = WeightGradParams {
        x: launch.reads(site.input(0)),
        dz: launch.reads(site.input(1 + branch)),
        dw: launch.writes(if in_splits { site.scratch() } else { site.output(branch) }),
        extents,
        pixels_per_split: splits.pixels,
        padding: 0,
    };
    let mut launches = vec![shaped.over(rows, [splits.count, 1], &params)];
    if in_splits {
        launches.push(sum_splits(site.scratch(), site.output(branch), product(&[filters, rows]), splits.count));
    }
    launches
}

/// dw = the sum of its splits, in order.
fn sum_splits(partials: View, dw: View, elements: u32, splits: u32) -> Launch {
    let mut launch = Launch::new("conv2d_weight_grad_sum");
    let params =
        SumSplitsParams { partials: launch.reads(partials), dw: launch.writes(dw), elements, splits };
    launch.over(blocks(elements.into()), [ELEMENT_THREADS, 1, 1]).with(&params)
}

/// Bytes of scratch, enough for every form. Launches of several filters take turns in it.
pub fn scratch(graph: &Graph, node: &Node) -> usize {
    let Some(extents) = Extents::of(graph, node) else { return 0 };
    let filters = extents.w[0];
    match &node.op {
        Op::Conv2d(Conv2d { epilogue: Epilogue::Statistics, .. }) => {
            let pixels = extents.output_pixels();
            let parts = pixels.div_ceil(TILE_ROWS).max(Chunks::of(pixels as usize).count);
            floats(&[parts, 2, filters])
        }
        Op::Conv2dDataGrad(op) if op.epilogue.branches() > 0 => {
            let [images, height, width, channels] = extents.x;
            let stride = extents.stride;
            let class = product(&[images, height.div_ceil(stride), width.div_ceil(stride)]);
            let chunks = Chunks::of(product(&[images, height, width]) as usize).count;
            let parts = (stride * stride * class.div_ceil(TILE_ROWS)).max(chunks);
            floats(&[parts, extent(1 + op.epilogue.branches()), channels])
        }
        Op::Conv2dWeightGrad(_) => {
            let dtype = graph.value(node.inputs[0]).dtype;
            let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
            let forms = kernels::forms(&node.op, &inputs, dtype, Generation::Hopper);
            match forms.into_iter().map(|form| extents.splits(&node.op, form).count).max() {
                None | Some(1) => 0,
                Some(splits) => floats(&[splits, filters, extents.filter_elements()]),
            }
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_pad_as_little_as_they_can() {
        let widths = [1, 10, 32, 33, 64, 96, 128, 192, 256, 384];
        assert_eq!(widths.map(tile_columns), [32, 32, 32, 64, 64, 96, 64, 96, 64, 96]);
    }

    #[test]
    fn splits_cover_every_pixel_once() {
        for (tiles, pixels) in [(1, 1), (1, 512_000), (7, 512_000), (54, 32_000), (2000, 32_000)] {
            let Splits { pixels: split, count } = Splits::of(tiles, SPLIT_BLOCKS, pixels);
            assert!(split.is_multiple_of(SPLIT_DEPTH) && split >= LEAST_SPLIT_PIXELS);
            assert!(count >= 1 && (count - 1) * split < pixels && pixels <= count * split);
        }
    }
}
