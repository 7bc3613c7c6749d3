//! `kernels/conv2d/`: the three products of a convolution, naive, tiled, or on tensor cores.

mod cut;
mod extents;

use bytemuck::{Pod, Zeroable};
pub use cut::{Cut, LEAST_SPLIT_PIXELS, candidates, fewest_read, most_splits_of, split_candidates};
use cut::{cuts, most_splits};
pub use extents::{Extents, convolution, operands};

use super::batch_stats::{self, Matrix};
use super::pass::Chunks;
use super::tensor_map::TensorMap;
use super::{Address, Launch, Site, View, extent, suffix};
use super::{batch_norm, two_stream, wgmma};
use crate::device::cuda::kernels::Kernels;
use crate::graph::{Graph, Node, Shape};
use crate::ops::{Addend, Conv2d, Epilogue, Op};
use extents::{floats, product};

/// Threads of a naive block: NAIVE_THREADS of `naive.cu`; and of the sum of splits: SUM_THREADS of
/// `tiled_weight_grad.cu`.
const ELEMENT_THREADS: u32 = 256;
/// Rows of a tile: TILE_ROWS of `index.cuh`.
pub const TILE_ROWS: u32 = 128;
/// Depth of a stage of the tiled kernels, which have two: TILE_DEPTH of `index.cuh`.
pub const TILED_DEPTH: u32 = 16;

/// Whether there is a kernel of this form for a product of an input and a filter of these shapes.
pub fn suits(form: Kernels, op: &Op, x: &Shape, w: &Shape) -> bool {
    !form.needs_hopper() || wgmma::suits(form, op, &Extents::new(op, x, w))
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
    projection: [Address; 2],
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

/// A launch and its grid.
struct Shaped {
    launch: Launch,
    cut: Cut,
    columns: u32,
    multiprocessors: u32,
}

impl Shaped {
    fn new(site: &Site<'_>, operation: &str) -> Self {
        let (op, extents, choice) = (&site.node().op, Extents::at(site), site.choice());
        let cut = Cut::new(op, &extents, &choice);
        let dtype = suffix(site.input_dtype(0));
        let kernel = format!("{operation}_{}{}_{dtype}", choice.kernels.id(), cut.suffix());
        let multiprocessors = site.choices.multiprocessors;
        Self { launch: Launch::new(kernel), cut, columns: extents.columns(op), multiprocessors }
    }

    /// The launch over a [rows x columns] product, `batches` of it for tiles, along y and z where they are a block each.
    /// `maps` are asked for by the forms that copy in bulk.
    fn over(
        mut self,
        rows: u32,
        batches: [u32; 2],
        params: &impl bytemuck::NoUninit,
        maps: impl FnOnce(wgmma::Tile) -> Vec<Option<TensorMap>>,
    ) -> Launch {
        let (grid, block) = match self.cut {
            Cut::Elements => (blocks(u64::from(rows) * u64::from(self.columns)), ELEMENT_THREADS),
            Cut::Tiled(tile) | Cut::Mma { tile, .. } => {
                let tiles = product(&[rows.div_ceil(TILE_ROWS), self.columns.div_ceil(tile.columns)]);
                self.launch.dynamic_shared = tile.shared;
                ([tiles, batches[0], batches[1]], tile.threads)
            }
            Cut::Wgmma(tile) => {
                let (extents, batches) = ([rows, self.columns], product(&batches));
                let multiprocessors = self.multiprocessors;
                return tile.over(self.launch, extents, batches, multiprocessors, maps(tile), params);
            }
        };
        self.launch.over(grid, [block, 1, 1]).with(params)
    }
}

/// A grid of one thread an element.
fn blocks(elements: u64) -> [u32; 3] {
    let blocks = elements.div_ceil(ELEMENT_THREADS.into());
    [u32::try_from(blocks).expect("fewer than 2^31 blocks"), 1, 1]
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
    let (w, z) = (site.input(1 + branch), site.output(first));
    let folded = |i: usize| site.maybe_input(i).filter(|_| !op.projected);
    let (pixels, filters) = (extents.output_pixels(), extents.w[0]);
    let mut shaped = Shaped::new(site, "conv2d");
    let launch = &mut shaped.launch;
    let statistics = op.epilogue == Epilogue::Statistics;
    let in_tiles = shaped.cut.part_rows().filter(|_| statistics);
    let params = ForwardParams {
        x: launch.reads(site.input(0)),
        w: launch.reads(w),
        scale_shift: launch.may_read(folded(2)),
        outer: launch.may_read(folded(3)),
        z: launch.writes(z),
        partials: launch.may_write(in_tiles.map(|_| site.scratch())),
        extents,
        relu: u32::from(matches!(op.epilogue, Epilogue::ScaleShift { relu: true, .. })),
        padding: 0,
    };
    let maps = |tile: wgmma::Tile| tile.forward_maps(&extents, site.input(0), w, z);
    let mut launches = vec![shaped.over(pixels, [1, 1], &params, maps)];
    if let Some(part_rows) = in_tiles {
        let stats = site.output(first + 1);
        launches.push(batch_stats::finalise(site.scratch(), stats, [pixels, filters], part_rows));
    } else if statistics {
        let z = Matrix {
            view: z,
            kernel_suffix: suffix(site.output_dtype(first)),
            rows: pixels as usize,
            channels: filters,
        };
        launches.extend(batch_stats::of(&z, site.scratch(), site.output(first + 1)));
    }
    launches
}

/// `conv2d_data_grad`.
pub fn conv2d_data_grad(site: &Site<'_>) -> Vec<Launch> {
    let Op::Conv2dDataGrad(op) = &site.node().op else { unreachable!("launched as another operation") };
    let extents = Extents::at(site);
    let [images, height, width, channels] = extents.x;
    let mut shaped = Shaped::new(site, "conv2d_data_grad");
    let cut = shaped.cut;
    let tiled = cut.part_rows().is_some();
    // Tiles take the pixels by their residues under the stride; the first class is the largest.
    let classes = if tiled { extents.stride } else { 1 };
    let rows = product(&[images, height.div_ceil(classes), width.div_ceil(classes)]);

    let (added, epilogue) = (op.first_of_addend(), op.first_of_epilogue());
    let sums: Vec<View> = (1..site.node().outputs.len()).map(|o| site.output(o)).collect();
    let branches = two_stream::reduced(site, epilogue + 1, &sums);
    // A naive kernel leaves the sums to passes over the g that it stored.
    let in_tiles = if tiled { &branches[..] } else { &[] };
    let launch = &mut shaped.launch;
    let params = DataGradParams {
        dz: launch.reads(site.input(0)),
        w: launch.reads(site.input(1)),
        addend: launch.may_read((op.addend != Addend::None).then(|| site.input(added))),
        mask: launch.may_read((op.addend == Addend::Masked).then(|| site.input(added + 1))),
        dx: launch.writes(site.output(0)),
        relu: launch.may_read((!branches.is_empty()).then(|| site.input(epilogue))),
        z: [0, 1].map(|b| launch.may_read(in_tiles.get(b).map(|branch| branch.z))),
        stats: [0, 1].map(|b| launch.may_read(in_tiles.get(b).map(|branch| branch.stats))),
        partials: launch.may_write((!in_tiles.is_empty()).then(|| site.scratch())),
        projection: [2, 3].map(|i| launch.may_read(op.conv.projected.then(|| site.input(i)))),
        extents,
    };
    let convolutions: Vec<[View; 2]> =
        (0..op.conv.branches()).map(|b| [2 * b, 2 * b + 1].map(|i| site.input(i))).collect();
    let maps = |tile: wgmma::Tile| tile.data_grad_maps(&extents, &convolutions, site.output(0));
    let mut launches = vec![shaped.over(rows, [1, classes * classes], &params, maps)];
    if tiled && !branches.is_empty() {
        let parts = classes * classes * cut.parts(rows);
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

/// `conv2d_weight_grad`: launches for each filter.
pub fn conv2d_weight_grad(site: &Site<'_>) -> Vec<Launch> {
    (0..site.node().outputs.len()).flat_map(|branch| weight_grad(site, branch)).collect()
}

/// dw, or a projection's.
fn weight_grad(site: &Site<'_>, branch: usize) -> Vec<Launch> {
    let (dz, dw) = (site.input(1 + branch), site.output(branch));
    let extents = Extents::at(site);
    let (rows, filters) = (extents.filter_elements(), extents.w[0]);
    let mut shaped = Shaped::new(site, "conv2d_weight_grad");
    // As many as there is scratch for.
    let most = extent(site.scratch().bytes / floats(&[filters, rows])).max(1);
    let splits = shaped.cut.splits(&extents, site.choice().splits.map(|wanted| wanted.min(most)));
    let in_splits = shaped.cut.part_rows().is_some() && splits.count > 1;
    let launch = &mut shaped.launch;
    let params = WeightGradParams {
        x: launch.reads(site.input(0)),
        dz: launch.reads(dz),
        dw: launch.writes(if in_splits { site.scratch() } else { dw }),
        extents,
        pixels_per_split: splits.pixels,
        padding: 0,
    };
    let maps = |tile: wgmma::Tile| tile.weight_grad_maps(&extents, site.input(0), dz);
    let mut launches = vec![shaped.over(rows, [splits.count, 1], &params, maps)];
    if in_splits {
        launches.push(sum_splits(site.scratch(), dw, product(&[filters, rows]), splits.count));
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
    let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
    let Some((x, w)) = operands(&node.op, &inputs) else { return 0 };
    let extents = Extents::new(&node.op, x, w);
    let cuts = || cuts(&node.op, x, w, graph.value(node.inputs[0]).dtype);
    let filters = extents.w[0];
    match &node.op {
        Op::Conv2d(Conv2d { epilogue: Epilogue::Statistics, .. }) => {
            let pixels = extents.output_pixels();
            let parts = cuts().iter().map(|cut| cut.parts(pixels)).max().unwrap_or(0);
            floats(&[parts.max(Chunks::of(pixels as usize).count), 2, filters])
        }
        Op::Conv2dDataGrad(op) if op.epilogue.branches() > 0 => {
            let [images, height, width, channels] = extents.x;
            let stride = extents.stride;
            let class = product(&[images, height.div_ceil(stride), width.div_ceil(stride)]);
            let chunks = Chunks::of(product(&[images, height, width]) as usize).count;
            let parts = cuts().iter().map(|cut| stride * stride * cut.parts(class)).max().unwrap_or(0);
            floats(&[parts.max(chunks), extent(1 + op.epilogue.branches()), channels])
        }
        Op::Conv2dWeightGrad(_) => match most_splits(&node.op, &extents, &cuts()) {
            1 => 0,
            splits => floats(&[splits, filters, extents.filter_elements()]),
        },
        _ => 0,
    }
}
