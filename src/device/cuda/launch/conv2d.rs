//! `kernels/conv2d/`: the three products of a convolution, naive, tiled, or on tensor cores.

use bytemuck::{Pod, Zeroable};

use super::batch_stats::{self, Matrix};
use super::pass::Chunks;
use super::tensor_map::TensorMap;
use super::{Address, Launch, Site, View, extent, suffix};
use super::{batch_norm, mma, two_stream, wgmma};
use crate::device::cuda::Choice;
use crate::device::cuda::kernels::{self, Generation, Kernels};
use crate::graph::{DType, Graph, Node, Shape};
use crate::ops::{Addend, Conv2d, Epilogue, Op};

/// Threads of a naive block: NAIVE_THREADS of `naive.cu`; and of the sum of splits: SUM_THREADS of
/// `tiled_weight_grad.cu`.
const ELEMENT_THREADS: u32 = 256;
/// Rows of a tile: TILE_ROWS of `index.cuh`.
pub const TILE_ROWS: u32 = 128;
/// Depth of a stage of the tiled kernels, which have two: TILE_DEPTH of `index.cuh`.
pub(super) const TILED_DEPTH: u32 = 16;
/// Widths of tiles, the widest first, for which each tiled product has a kernel.
const TILE_COLUMNS: [u32; 3] = [96, 64, 32];
/// Columns of a warp, and threads of the two warps that share them: `tile_threads` of `index.cuh`.
const WARP_COLUMNS: u32 = 32;
const THREADS_PER_WARP_COLUMNS: u32 = 64;

/// Blocks that a weight gradient aims at: several for every multiprocessor of the largest cards. On tensor cores fewer,
/// since they take less time and their partial sums as much.
const SPLIT_BLOCKS: u32 = 1024;
const MMA_SPLIT_BLOCKS: u32 = 512;
/// Pixels of a split, at least: fewer are not worth a partial sum of all weights.
pub const LEAST_SPLIT_PIXELS: u32 = 512;
/// A split is a whole number of steps of this depth: twice TILE_DEPTH of `index.cuh`, and MMA_DEPTH of `mma_index.cuh`.
const SPLIT_DEPTH: u32 = mma::DEPTH;

/// `Extents` of `params.cuh`.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C)]
/// The extents of a convolution, the same for all three products.
pub struct Extents {
    /// N H W C.
    pub x: [u32; 4],
    /// K R S.
    pub w: [u32; 3],
    /// P Q.
    pub z: [u32; 2],
    /// Of the filter's positions.
    pub stride: u32,
    /// Pixels of zeros on every side.
    pub pad: u32,
    /// Channels of E.
    pub identity: u32,
}

impl Extents {
    /// Of one of the three products.
    pub(super) fn new(op: &Op, x: &Shape, w: &Shape) -> Self {
        let conv = match op {
            Op::Conv2d(conv) => conv,
            Op::Conv2dDataGrad(op) => &op.conv,
            Op::Conv2dWeightGrad(op) => &op.conv,
            _ => unreachable!("{} is no convolution", op.operation().name()),
        };
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

    /// Of an operation on inputs of these shapes; `None` of any but the three.
    pub fn of_op(op: &Op, inputs: &[&Shape]) -> Option<Self> {
        operands(op, inputs).map(|(x, w)| Self::new(op, x, w))
    }

    /// Of a node of the three; `None` for any other.
    fn of(graph: &Graph, node: &Node) -> Option<Self> {
        let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
        Self::of_op(&node.op, &inputs)
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
    pub fn output_pixels(&self) -> u32 {
        product(&[self.x[0], self.z[0], self.z[1]])
    }
    /// R S C.
    pub fn filter_elements(&self) -> u32 {
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
    /// Columns of the product.
    pub fn columns(&self, op: &Op) -> u32 {
        if let Op::Conv2dDataGrad(_) = op { self.x[3] } else { self.w[0] }
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

/// Whether there is a kernel of this form for a product of an input and a filter of these shapes.
pub fn suits(form: Kernels, op: &Op, x: &Shape, w: &Shape) -> bool {
    !form.needs_hopper() || wgmma::suits(form, op, &Extents::new(op, x, w))
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

/// How a product is cut: into elements, a thread each, or into the tiles of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    Elements,
    Tiled(mma::Tile),
    Mma { tile: mma::Tile, whole: bool },
    Wgmma(wgmma::Tile),
}

impl Cut {
    pub(super) fn new(op: &Op, extents: &Extents, choice: &Choice) -> Self {
        let across = extents.columns(op);
        let whole = extents.whole(op);
        // A width that was chosen for another shape counts for nothing.
        let chosen = choice.columns.filter(|columns| widths(op, extents, choice.kernels).contains(columns));
        match choice.kernels {
            Kernels::Auto | Kernels::Naive => Self::Elements,
            Kernels::Tiled => {
                let columns = chosen.unwrap_or_else(|| tile_columns(across));
                let threads = columns / WARP_COLUMNS * THREADS_PER_WARP_COLUMNS;
                Self::Tiled(mma::Tile { columns, threads, shared: 0 })
            }
            Kernels::Mma => {
                let mut tile = mma::tile(chosen.unwrap_or_else(|| mma::columns(across, whole)));
                if let Op::Conv2dWeightGrad(_) = op {
                    tile.shared += mma::PLACES;
                }
                Self::Mma { tile, whole }
            }
            form => {
                let columns = chosen.unwrap_or_else(|| wgmma::columns(form, is_weight_grad(op), across));
                Self::Wgmma(wgmma::Tile::new(form, op, extents, columns))
            }
        }
    }

    /// Columns of a tile.
    pub(super) fn columns(self) -> Option<u32> {
        match self {
            Self::Elements => None,
            Self::Tiled(tile) | Self::Mma { tile, .. } => Some(tile.columns),
            Self::Wgmma(tile) => Some(tile.columns),
        }
    }
    /// What the kernel's name says of it.
    fn suffix(self) -> String {
        match self {
            Self::Elements => String::new(),
            Self::Tiled(tile) | Self::Mma { tile, whole: true } => format!("_{}", tile.columns),
            Self::Mma { tile, whole: false } => format!("_any_{}", tile.columns),
            Self::Wgmma(tile) => tile.suffix(),
        }
    }
    /// Rows of one of the partial results that tiles leave; `None`, where there are no tiles.
    fn part_rows(self) -> Option<u32> {
        match self {
            Self::Elements => None,
            Self::Tiled(_) | Self::Mma { .. } => Some(TILE_ROWS),
            Self::Wgmma(tile) => Some(tile.part_rows()),
        }
    }
    /// Partial results of so many rows.
    fn parts(self, rows: u32) -> u32 {
        match self {
            Self::Wgmma(tile) => tile.parts(rows),
            _ => rows.div_ceil(TILE_ROWS),
        }
    }
    /// How a weight gradient cuts the pixels, into about `wanted` parts, if anybody wants so many.
    pub(super) fn splits(self, extents: &Extents, wanted: Option<u32>) -> Splits {
        let (elements, filters, pixels) = (extents.filter_elements(), extents.w[0], extents.output_pixels());
        let most = pixels.div_ceil(LEAST_SPLIT_PIXELS);
        let blocks = |tile: mma::Tile, blocks: u32| {
            blocks.div_ceil(elements.div_ceil(TILE_ROWS) * filters.div_ceil(tile.columns)).min(most)
        };
        let (suggested, depth) = match self {
            Self::Elements => (1, SPLIT_DEPTH),
            Self::Tiled(tile) => (blocks(tile, SPLIT_BLOCKS), SPLIT_DEPTH),
            Self::Mma { tile, .. } => (blocks(tile, MMA_SPLIT_BLOCKS), SPLIT_DEPTH),
            Self::Wgmma(tile) => (tile.splits(extents, most), tile.stage_pixels()),
        };
        Splits::of(wanted.unwrap_or(suggested), pixels, depth)
    }
}

fn is_weight_grad(op: &Op) -> bool {
    matches!(op, Op::Conv2dWeightGrad(_))
}

/// Every width of tile that this form has kernels for, and can make this product with.
fn widths(op: &Op, extents: &Extents, form: Kernels) -> Vec<u32> {
    match form {
        Kernels::Auto | Kernels::Naive => vec![],
        Kernels::Tiled => TILE_COLUMNS.to_vec(),
        Kernels::Mma if extents.whole(op) => mma::COLUMNS.to_vec(),
        Kernels::Mma => mma::ANY_COLUMNS.to_vec(),
        form => wgmma::widths(form, is_weight_grad(op), extents.columns(op)),
    }
}

/// The widths of tile worth trying for a product of an input and a filter of these shapes in one of its forms: those of
/// its kernels, but for all that are wider than one that holds every column. What [`Choice::columns`] may be.
pub fn candidates(op: &Op, x: &Shape, w: &Shape, form: Kernels) -> Vec<u32> {
    let extents = Extents::new(op, x, w);
    let mut widths = widths(op, &extents, form);
    let enough = widths.iter().copied().filter(|&width| width >= extents.columns(op)).min();
    widths.retain(|&width| enough.is_none_or(|enough| width <= enough));
    widths
}

/// The numbers of splits worth trying for a weight gradient with tiles of this width: about as many as the shape
/// suggests, half, and twice as many, as far as there is scratch. What [`Choice::splits`] may be; none for another
/// operation, or without tiles.
pub fn split_candidates(op: &Op, x: &Shape, w: &Shape, dtype: DType, choice: &Choice) -> Vec<u32> {
    let Op::Conv2dWeightGrad(_) = op else { return vec![] };
    let extents = Extents::new(op, x, w);
    let cut = Cut::new(op, &extents, choice);
    if cut == Cut::Elements {
        return vec![];
    }
    let suggested = cut.splits(&extents, None).count;
    let most = most_splits(op, &extents, &cuts(op, x, w, dtype));
    let mut counts: Vec<u32> = [suggested / 2, suggested, 2 * suggested]
        .map(|wanted| cut.splits(&extents, Some(wanted.clamp(1, most))).count)
        .into();
    counts.dedup();
    counts
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

/// The width of tiles that pads `columns` the least; of equal ones the widest.
fn tile_columns(columns: u32) -> u32 {
    *TILE_COLUMNS.iter().min_by_key(|&&tile| columns.next_multiple_of(tile)).expect("there are three")
}

/// The width with which a product's tiles read the fewest numbers; of equal ones the first. A wide tile reads the rows
/// less often, a narrow one leaves fewer columns empty.
pub(super) fn fewest_read(widths: &[u32], columns: u32) -> u32 {
    let read = |width: &&u32| columns.div_ceil(**width) * (TILE_ROWS + **width);
    *widths.iter().min_by_key(read).expect("there are some")
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

/// How a weight gradient cuts the pixels: a function of the shapes alone, so that sums are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Splits {
    /// Pixels of every split but the last.
    pixels: u32,
    pub(super) count: u32,
}

impl Splits {
    /// At most so many, each a whole number of steps.
    fn of(wanted: u32, pixels: u32, depth: u32) -> Self {
        let split = pixels.div_ceil(wanted.max(1)).next_multiple_of(depth);
        Self { pixels: split, count: pixels.div_ceil(split) }
    }
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

/// Every way to cut the product of an input and a filter of these shapes into tiles, on any card.
fn cuts(op: &Op, x: &Shape, w: &Shape, dtype: DType) -> Vec<Cut> {
    let extents = &Extents::new(op, x, w);
    let of_form = |form| {
        let choice = move |columns| Choice { kernels: form, columns: Some(columns), splits: None };
        candidates(op, x, w, form).into_iter().map(move |columns| Cut::new(op, extents, &choice(columns)))
    };
    let forms = kernels::all_forms(op, dtype, Generation::Hopper);
    forms.into_iter().filter(|&form| suits(form, op, x, w)).flat_map(of_form).collect()
}

/// Splits of a weight gradient at most.
fn most_splits(op: &Op, extents: &Extents, cuts: &[Cut]) -> u32 {
    let Op::Conv2dWeightGrad(_) = op else { return 1 };
    cuts.iter().map(|cut| cut.splits(extents, None).count).max().unwrap_or(1)
}

/// As [`most_splits`], of all cuts.
pub(super) fn most_splits_of(op: &Op, x: &Shape, w: &Shape, dtype: DType) -> u32 {
    most_splits(op, &Extents::new(op, x, w), &cuts(op, x, w, dtype))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv2dWeightGrad;

    #[test]
    fn tiles_pad_as_little_as_they_can() {
        let widths = [1, 10, 32, 33, 64, 96, 128, 192, 256, 384];
        assert_eq!(widths.map(tile_columns), [32, 32, 32, 64, 64, 96, 64, 96, 64, 96]);
    }

    #[test]
    fn splits_cover_every_pixel_once() {
        for (wanted, pixels) in [(1, 1), (1, 512_000), (7, 512_000), (54, 32_000), (2000, 32_000), (0, 5)] {
            for depth in [SPLIT_DEPTH, 64, 128] {
                let Splits { pixels: split, count } = Splits::of(wanted, pixels, depth);
                assert!(split.is_multiple_of(depth) && (1..=wanted.max(1)).contains(&count));
                assert!((count - 1) * split < pixels && pixels <= count * split);
            }
        }
    }

    #[test]
    fn what_is_worth_trying_is_what_can_run() {
        let (x, w) = (Shape::from([500, 32, 32, 96]), Shape::from([96, 3, 3, 96]));
        let conv = Conv2d::same(3, 1);
        let op = Op::from(conv);
        let of = |form| candidates(&op, &x, &w, form);
        assert!(of(Kernels::Naive).is_empty());
        assert_eq!(of(Kernels::Tiled), [96, 64, 32]);
        assert_eq!(of(Kernels::Mma), [96, 64, 32]);
        assert_eq!(of(Kernels::WgmmaHalo), [96, 64]);
        assert_eq!(of(Kernels::WgmmaResident), [96], "all filters stay");
        let narrow = Shape::from([10, 3, 3, 96]);
        assert_eq!(candidates(&op, &x, &narrow, Kernels::Wgmma), [64]);
        assert!(split_candidates(&op, &x, &w, DType::Bf16, &choice(Kernels::Wgmma)).is_empty());

        let op = Op::from(Conv2dWeightGrad { conv, filter: w.clone() });
        for form in [Kernels::Tiled, Kernels::Mma, Kernels::Wgmma, Kernels::WgmmaCluster] {
            for columns in candidates(&op, &x, &w, form) {
                let choice = Choice { columns: Some(columns), ..choice(form) };
                let counts = split_candidates(&op, &x, &w, DType::Bf16, &choice);
                let extents = Extents::new(&op, &x, &w);
                let suggested = Cut::new(&op, &extents, &choice).splits(&extents, None).count;
                assert!(counts.is_sorted() && counts.contains(&suggested), "{form}: {counts:?}, {suggested}");
            }
        }
        assert!(split_candidates(&op, &x, &w, DType::Bf16, &choice(Kernels::Naive)).is_empty());
    }

    fn choice(kernels: Kernels) -> Choice {
        Choice { kernels, columns: None, splits: None }
    }

    #[test]
    fn a_choice_is_kept_where_there_is_such_a_kernel() {
        let op = Op::from(Conv2d::same(3, 1));
        let extents = Extents::new(&op, &[2, 8, 8, 96].into(), &[96, 3, 3, 96].into());
        let suffix =
            |kernels, columns| Cut::new(&op, &extents, &Choice { columns, ..choice(kernels) }).suffix();
        assert_eq!(suffix(Kernels::Mma, Some(64)), "_64");
        assert_eq!(suffix(Kernels::Mma, Some(48)), "_96");
        assert_eq!(suffix(Kernels::WgmmaWs, Some(64)), "_64_span32");
        assert_eq!(suffix(Kernels::WgmmaWs, Some(32)), "_96_span32");
        assert_eq!(suffix(Kernels::Naive, Some(32)), "");
    }
}
