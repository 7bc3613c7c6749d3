//! The convolutions on Hopper's instructions: `kernels/conv2d/wgmma*`. Which shapes they take, their tiles, and the tensor
//! maps by which bulk copies bring their operands.
//!
//! As of every form, a tile and the order of every sum follow from the shapes alone; of the card only the number of
//! blocks does that take tiles in turns.

use std::array::from_fn;

use bytemuck::NoUninit;

use super::conv2d::{Extents, TILE_ROWS, fewest_read};
use super::tensor_map::{MapBytes, Swizzle, TensorMap};
use super::{Launch, View};
use crate::device::cuda::Kernels;
use crate::ops::{Addend, Conv2dDataGrad, Epilogue, GradEpilogue, Op};

/// Widths of tiles for which each product has a kernel, the widest first.
pub const COLUMNS: [u32; 4] = [192, 128, 96, 64];

/// Shared memory that every kernel asks for: HOPPER_SHARED of `wgmma.cuh`.
const SHARED: u32 = 227 * 1024;
/// Threads of a warp group.
const GROUP_THREADS: u32 = 128;
/// Rows of one wgmma.
const WGMMA_ROWS: u32 = 64;
/// Channels of a line in shared memory, as wide as its swizzle, the widest first; and how many of them a stage holds:
/// `stage_depth` of `wgmma_forward.cuh`.
const SPANS: [(u32, u32); 2] = [(64, 1), (32, 3)];
/// Pixels of a stage of the weight gradient: WEIGHT_GRAD_DEPTH of `wgmma_weight_grad.cuh`; in patches PATCH_PIXELS of
/// `wgmma_weight_grad_halo.cuh`.
const WEIGHT_GRAD_DEPTH: u32 = 64;
/// Rows of a tile of the weight gradient of 192 columns, from `wgmma-persistent` on: its sums go out from registers.
const TALL_ROWS: u32 = 256;
/// Channels of a tile of the weight gradient in patches, which has all taps of a filter's column: PATCH_SPANS of 32.
const PATCH_CHANNELS: u32 = 96;
/// Blocks of a cluster: CLUSTER of `wgmma_cluster.cuh`.
const CLUSTER: u32 = 2;
/// Residue classes of a data gradient at most are 4: MOST_CLASSES of `wgmma_params.cuh`.
const MOST_STRIDE: u32 = 2;
const MOST_CLASSES: usize = (MOST_STRIDE * MOST_STRIDE) as usize;
/// Tensor maps of `TransposedMaps`: dz as each class sees it, and w.
const TRANSPOSED_MAPS: usize = MOST_CLASSES + 1;
/// Lines of a patch with its halo, beyond the tile's rows: MOST_LINES of `wgmma_halo.cuh`.
const MOST_HALO_LINES: u32 = 64;
const HALO_TAPS: u32 = 3;
/// Lines after which a swizzle of 64 bytes, that of a patch, is what it was.
const SWIZZLE_LINES: u32 = 8;
/// Columns of the tiles whose filters stay in shared memory, and channels of their depth, at most: RESIDENT_CHANNELS of
/// `wgmma_resident.cuh`. The weight gradient in patches has the same widths.
const RESIDENT_COLUMNS: [u32; 2] = [96, 64];
const RESIDENT_CHANNELS: u32 = 96;
/// Channels whose bytes are a multiple of 16, as every stride of a tensor map is.
const CHUNK: u32 = 8;
/// The step of a tensor map at most, in elements (`cuTensorMapEncodeIm2col`).
const MOST_STEP: u32 = 8;
/// Multiprocessors of an H100 or H200, for which a weight gradient's splits are counted, so that they are the same on
/// a card that has fewer.
const MULTIPROCESSORS: u32 = 132;

/// A form's tile of one of the three products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// The form.
    pub form: Kernels,
    /// Columns.
    pub columns: u32,
    /// Channels of a line of the rows.
    span: u32,
    /// The rows as patches of images, which hold what all taps below each other read.
    patch: Option<Patch>,
    weight_grad: bool,
}

impl Tile {
    /// The tile of `form` with so many columns.
    ///
    /// # Panics
    /// If the form does not suit the shapes.
    pub fn new(form: Kernels, op: &Op, extents: &Extents, columns: u32) -> Self {
        let [_, height, width, _] = extents.x;
        let halo = match form {
            form if in_patches(form) => true,
            Kernels::WgmmaStore => suits(Kernels::WgmmaHalo, op, extents),
            _ => false,
        };
        let patch = if halo { Patch::of(height, width) } else { None };
        let (span, _) = span(halo, depth_channels(op, extents)).expect("the form suits the shapes");
        Self { form, columns, span, patch, weight_grad: matches!(op, Op::Conv2dWeightGrad(_)) }
    }
    /// What the kernel's name says of the tile.
    pub fn suffix(self) -> String {
        let halo = self.form == Kernels::WgmmaStore && self.patch.is_some();
        let narrow = self.span == 32 && self.patch.is_none();
        format!("{}_{}{}", if halo { "_halo" } else { "" }, self.columns, if narrow { "_span32" } else { "" })
    }
    /// Rows.
    pub fn rows(self) -> u32 {
        match self.weight_grad {
            true if self.patch.is_some() => HALO_TAPS * PATCH_CHANNELS,
            true if self.form >= Kernels::WgmmaPersistent && self.columns == 192 => TALL_ROWS,
            _ => TILE_ROWS,
        }
    }
    /// Blocks that share their columns, one tile below the other.
    pub fn sharers(self) -> u32 {
        match self.form {
            Kernels::WgmmaHalo if self.weight_grad => 1,
            Kernels::WgmmaCluster | Kernels::WgmmaHalo | Kernels::WgmmaStore => CLUSTER,
            _ => 1,
        }
    }
    /// Warp groups that share a tile. Of a narrow one a group holds all rows, so that two can take tiles in turns.
    pub fn groups(self) -> u32 {
        let in_turns = self.form >= Kernels::WgmmaPersistent && self.columns <= 96;
        if in_turns && !(self.weight_grad && self.patch.is_some()) { 1 } else { 2 }
    }
    /// Rows of a partial result: those of a warp group.
    pub fn part_rows(self) -> u32 {
        TILE_ROWS / self.groups()
    }
    /// Tiles of so many rows, those counted that are there only to make a cluster full.
    pub fn row_tiles(self, rows: u32) -> u32 {
        match self.weight_grad && self.patch.is_some() {
            true => HALO_TAPS * (rows / (HALO_TAPS * HALO_TAPS)).div_ceil(PATCH_CHANNELS),
            false => rows.div_ceil(self.rows() * self.sharers()),
        }
    }
    /// Partial results of so many rows.
    pub fn parts(self, rows: u32) -> u32 {
        self.row_tiles(rows) * self.sharers() * self.groups()
    }
    /// Numbers of rows that a tile copies for each that it multiplies with: a patch is copied once for the three taps of
    /// a column.
    pub fn rows_copied(self, extents: &Extents) -> f64 {
        let lines = |patch: Patch| f64::from(patch.lines(extents.x[2])) / f64::from(HALO_TAPS * TILE_ROWS);
        self.patch.map_or(1.0, lines)
    }
    /// The same of columns: those that stay are copied once for all tiles.
    pub fn columns_copied(self) -> f64 {
        if self.form == Kernels::WgmmaResident { 0.0 } else { 1.0 }
    }
    /// The depth of a stage.
    pub fn stage_depth(self) -> u32 {
        match self.weight_grad {
            true => self.stage_pixels(),
            false if self.span == 64 => 64,
            false => 96,
        }
    }
    /// Pixels of a stage of a weight gradient.
    pub fn stage_pixels(self) -> u32 {
        if self.patch.is_some() { TILE_ROWS } else { WEIGHT_GRAD_DEPTH }
    }
    /// Whether its rows are patches with their halo.
    pub fn is_halo(self) -> bool {
        self.patch.is_some()
    }
    /// Depth of a stage, and stages of a block's ring: as many as fit beside its ways out and what stays (`stages_beside`
    /// of `wgmma.cuh`, `Resident` of `wgmma_resident.cuh`).
    pub fn ring(self) -> (u32, u32) {
        /// MOST_STAGES, each with two mbarriers; and ways out, one for each warp group that multiplies.
        const MOST_STAGES: u32 = 8;
        const OUTS: u32 = 2;
        let depth = self.stage_depth();
        let stays = self.form == Kernels::WgmmaResident;
        let row_bytes = match self.patch {
            Some(_) => (TILE_ROWS + MOST_HALO_LINES) * 2 * self.span * if self.weight_grad { 3 } else { 1 },
            None => 2 * self.rows() * depth,
        };
        let column_bytes = 2 * self.columns * depth;
        let sums = 4 * self.columns;
        let part = 4 * WGMMA_ROWS * 32;
        let out_bytes = match self.form {
            // From registers; an empty structure has a byte.
            _ if self.weight_grad => 1,
            // StoredRows: the rows, the sums of four warps and their means, two mbarriers.
            Kernels::WgmmaStore => {
                (2 * self.part_rows() * self.columns + 5 * sums + 16).next_multiple_of(1024)
            }
            // WayOut: parts of 64 x 32 sums, two of them where there is room, and means.
            _ => part * if stays { 1 } else { 2 } + sums,
        };
        let (steps, stage_bytes) = match stays {
            true => (RESIDENT_CHANNELS / 32 * HALO_TAPS, row_bytes),
            false => (0, row_bytes + column_bytes),
        };
        let beside = OUTS * out_bytes + steps * column_bytes + 8 * (2 * MOST_STAGES + steps);
        (depth, ((SHARED - beside) / stage_bytes).min(MOST_STAGES))
    }
    fn swizzle(self) -> Swizzle {
        swizzle_of(self.span)
    }
    /// Columns of a line where lines lie across the depth.
    fn across(self) -> u32 {
        if self.columns.is_multiple_of(64) { 64 } else { 32 }
    }

    /// A launch over `batches` products of [rows x columns], whose parameters follow their maps, where each has one.
    pub fn over(
        self,
        mut launch: Launch,
        [rows, columns]: [u32; 2],
        batches: u32,
        multiprocessors: u32,
        maps: Vec<Option<TensorMap>>,
        params: &impl NoUninit,
    ) -> Launch {
        let tiles = self.row_tiles(rows) * columns.div_ceil(self.columns) * batches;
        let blocks = match self.form {
            // A block a tile.
            Kernels::Wgmma | Kernels::WgmmaWs => tiles,
            _ => self.sharers() * tiles.min((multiprocessors / self.sharers()).max(1)),
        };
        let copying = if self.form == Kernels::Wgmma { 0 } else { GROUP_THREADS };
        launch.dynamic_shared = SHARED;
        launch.params = vec![0; maps.len() * size_of::<MapBytes>()];
        launch.params.extend(bytemuck::bytes_of(params));
        let whole = launch.params.len().next_multiple_of(align_of::<MapBytes>());
        launch.params.resize(whole, 0);
        for (place, map) in maps.into_iter().enumerate() {
            map.into_iter().for_each(|map| launch.map(place * size_of::<MapBytes>(), map));
        }
        launch.over([blocks, 1, 1], [2 * GROUP_THREADS + copying, 1, 1])
    }

    /// `WgmmaForwardParams`: x, w; behind those of the way out, where copies store z.
    pub fn forward_maps(self, extents: &Extents, x: View, w: View, z: View) -> Vec<Option<TensorMap>> {
        let ([n, ..], [k, r, s], [p, q]) = (extents.x, extents.w, extents.z);
        let mut maps = self.out_maps(extents, (x, extents.x), (z, [n * p * q, k]));
        maps.push(Some(match self.patch {
            Some(patch) => self.patches(patch, x, extents.x),
            None => self.pixels(x, extents.x, Corners::forward(extents), TILE_ROWS, extents.stride),
        }));
        let depth = r * s * extents.x[3];
        let filters =
            TensorMap::tiled(w, &[depth, k].map(u64::from), &[self.span, self.columns / self.sharers()]);
        maps.push(Some(filters.swizzled(self.swizzle())));
        maps
    }

    /// `WgmmaDataGradParams`: of each of at most two convolutions, the layer's and a projection's, dz as each residue class
    /// sees it, and w; behind those of the way out, where copies store dx.
    pub fn data_grad_maps(
        self,
        extents: &Extents,
        convolutions: &[[View; 2]],
        dx: View,
    ) -> Vec<Option<TensorMap>> {
        let ([n, height, width, c], [p, q]) = (extents.x, extents.z);
        let [dz, _] = convolutions[0];
        let mut maps = self.out_maps(extents, (dz, [n, p, q, extents.w[0]]), (dx, [n * height * width, c]));
        let of_out = maps.len();
        maps.extend(convolutions.iter().flat_map(|of| self.transposed_maps(extents, *of)));
        maps.resize(of_out + 2 * TRANSPOSED_MAPS, None);
        maps
    }
    /// `TransposedMaps`.
    fn transposed_maps(self, extents: &Extents, [dz, w]: [View; 2]) -> [Option<TensorMap>; TRANSPOSED_MAPS] {
        let ([n, .., c], [k, r, s], [p, q]) = (extents.x, extents.w, extents.z);
        let shape = [n, p, q, k];
        let of_class = |class| match self.patch {
            Some(patch) => (class == 0).then(|| self.patches(patch, dz, shape)),
            None => Class::of(extents, class)
                .filter(|class| class.taps > 0)
                .map(|class| self.pixels(dz, shape, class.corners, TILE_ROWS, 1)),
        };
        let across = self.across();
        let filters =
            TensorMap::tiled(w, &[c, r * s, k].map(u64::from), &[across, 1, self.span / self.sharers()]);
        let filters = filters.swizzled(swizzle_of(across));
        from_fn(|i| if i < MOST_CLASSES { of_class(i as u32) } else { Some(filters.clone()) })
    }

    /// `WgmmaWeightGradParams`: x, dz.
    pub fn weight_grad_maps(self, extents: &Extents, x: View, dz: View) -> Vec<Option<TensorMap>> {
        let ([n, ..], [k, ..], [p, q]) = (extents.x, extents.w, extents.z);
        let corners = Corners::forward(extents);
        let rows = match self.patch {
            Some(patch) => self.patches(patch, x, extents.x),
            None => self.pixels(x, extents.x, corners, WEIGHT_GRAD_DEPTH, extents.stride),
        };
        let (across, pixels) = (self.across(), [n, p, q].map(u64::from).iter().product());
        let filters =
            TensorMap::tiled(dz, &[k.into(), pixels], &[across, self.stage_pixels() / self.sharers()]);
        vec![Some(rows), Some(filters.swizzled(swizzle_of(across)))]
    }

    fn pixels(self, view: View, shape: [u32; 4], corners: Corners, pixels: u32, stride: u32) -> TensorMap {
        let Corners { lower, upper } = corners;
        TensorMap::im2col(view, shape, lower, upper, self.span, pixels, stride).swizzled(self.swizzle())
    }
    /// `WgmmaStoreParams`: the images that E copies from, if it does, and the result, a matrix; none of the other forms.
    fn out_maps(
        self,
        extents: &Extents,
        (source, shape): (View, [u32; 4]),
        (result, [rows, columns]): (View, [u32; 2]),
    ) -> Vec<Option<TensorMap>> {
        if self.form != Kernels::WgmmaStore {
            return vec![];
        }
        let (across, part_rows) = (self.across(), self.part_rows());
        let identity = || {
            // Of every stride-th pixel of every stride-th line, as E's outputs are.
            TensorMap::im2col(source, shape, [0; 2], [0; 2], across, part_rows, extents.stride)
        };
        let result = TensorMap::tiled(result, &[columns, rows].map(u64::from), &[across, part_rows]);
        let identity = (extents.identity > 0).then(identity);
        [identity, Some(result)].map(|map| map.map(|map| map.swizzled(swizzle_of(across)))).into()
    }
    /// The pixels of a tile, with a row above and one below.
    fn patches(self, patch: Patch, view: View, [n, h, w, c]: [u32; 4]) -> TensorMap {
        let extents = [self.span, w, patch.rows + HALO_TAPS - 1, patch.images];
        TensorMap::tiled(view, &[c, w, h, n].map(u64::from), &extents).swizzled(self.swizzle())
    }

    /// Parts into which a weight gradient best cuts its pixels, in the time that its rounds of blocks take and its partial
    /// sums, by the card's limits: an idle multiprocessor costs a round's time, a part more bytes.
    pub fn splits(self, extents: &Extents, most: u32) -> u32 {
        /// Bytes that memory moves in a cycle: 3 TB/s.
        const BYTES_A_CYCLE: u64 = 1700;
        /// Cycles until the first products of a round, and from its last to its sums' stores.
        const ROUND: u64 = 4000;
        let (elements, filters) = (extents.filter_elements(), extents.w[0]);
        let tiles = self.row_tiles(elements) * filters.div_ceil(self.columns);
        let cycles = |&splits: &u32| {
            let rounds = (splits * tiles).div_ceil(MULTIPROCESSORS / self.sharers());
            let stages = extents.output_pixels().div_ceil(splits).div_ceil(self.stage_pixels());
            // 2048 products of bf16 a cycle.
            let products =
                u64::from(stages) * u64::from(self.rows() * self.columns * self.stage_pixels() / 2048);
            // Written by the product, read by the sum.
            let bytes = u64::from(splits) * u64::from(elements) * u64::from(filters) * 8;
            u64::from(rounds) * (products + ROUND) + bytes / BYTES_A_CYCLE
        };
        (1..=most.max(1)).min_by_key(cycles).expect("there is one")
    }
}

/// The widths of tiles that this form has kernels for, and can make a product of so many columns with.
pub fn widths(form: Kernels, weight_grad: bool, columns: u32) -> Vec<u32> {
    match form {
        Kernels::WgmmaResident => RESIDENT_COLUMNS.into_iter().filter(|&width| width >= columns).collect(),
        Kernels::WgmmaHalo if weight_grad => RESIDENT_COLUMNS.to_vec(),
        _ => COLUMNS.to_vec(),
    }
}

/// The width of tiles of a form for a product of so many columns.
pub fn columns(form: Kernels, weight_grad: bool, columns: u32) -> u32 {
    fewest_read(&widths(form, weight_grad, columns), columns)
}

fn swizzle_of(span: u32) -> Swizzle {
    if span == 64 { Swizzle::Bytes128 } else { Swizzle::Bytes64 }
}

/// Whether rows always come as patches with their halo.
fn in_patches(form: Kernels) -> bool {
    matches!(form, Kernels::WgmmaHalo | Kernels::WgmmaResident)
}

/// Channels of the images that a product's rows read.
fn depth_channels(op: &Op, extents: &Extents) -> u32 {
    if let Op::Conv2dDataGrad(_) = op { extents.w[0] } else { extents.x[3] }
}

/// The span for so many channels, and how many of it a stage holds.
fn span(halo: bool, channels: u32) -> Option<(u32, u32)> {
    let spans = if halo { &SPANS[1..] } else { &SPANS[..] };
    spans.iter().find(|(span, _)| channels.is_multiple_of(*span)).copied()
}

/// The bounding box of the first taps of a tensor map's pixels, x y: where it begins in an image, and where it ends,
/// counted from the image's last pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Corners {
    lower: [i32; 2],
    upper: [i32; 2],
}

impl Corners {
    /// Of x.
    fn forward(extents: &Extents) -> Self {
        let [_, r, s] = extents.w;
        let pad = extents.pad as i32;
        Self { lower: [-pad; 2], upper: [s, r].map(|filter| pad - (filter as i32 - 1)) }
    }
    /// What `cuTensorMapEncodeIm2col` takes of images: a signed byte each.
    fn fit(&self) -> bool {
        self.lower.iter().chain(&self.upper).all(|&corner| i8::try_from(corner).is_ok())
    }
}

/// A residue class of a data gradient: its taps, and where they lie in dz.
struct Class {
    taps: u32,
    corners: Corners,
}

impl Class {
    /// Class `class` of stride x stride; `None` where it has no pixels. See `gradient_line` of `index.cuh`.
    fn of(extents: &Extents, class: u32) -> Option<Self> {
        let ([_, h, w, _], [_, r, s], [p, q], stride) = (extents.x, extents.w, extents.z, extents.stride);
        let line = |residue: u32, inputs: u32, filter: u32, outputs: u32| {
            let positions = inputs.saturating_sub(residue).div_ceil(stride);
            let reach = residue + extents.pad;
            let taps = filter.saturating_sub(reach % stride).div_ceil(stride) as i32;
            // The last tap lies first.
            let lower = (reach / stride) as i32 - (taps - 1);
            (positions > 0).then_some((taps as u32, lower, lower + positions as i32 - outputs as i32))
        };
        if class >= stride * stride {
            return None;
        }
        let (tap_rows, lower_y, upper_y) = line(class / stride, h, r, p)?;
        let (tap_columns, lower_x, upper_x) = line(class % stride, w, s, q)?;
        let corners = Corners { lower: [lower_x, lower_y], upper: [upper_x, upper_y] };
        Some(Self { taps: tap_rows * tap_columns, corners })
    }
}

/// A tile's rows as whole rows of images: `Patch` of `wgmma_halo.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Patch {
    /// Rows of an image, without the halo.
    rows: u32,
    images: u32,
}

impl Patch {
    /// Of images of these extents; `None` where a tile is none, or more than there is room for.
    fn of(height: u32, width: u32) -> Option<Self> {
        let rows = height.min(TILE_ROWS / width);
        if !width.is_multiple_of(SWIZZLE_LINES) || rows == 0 || !height.is_multiple_of(rows) {
            return None;
        }
        let images = TILE_ROWS / (rows * width);
        // The rows of one wgmma follow each other in the patch.
        let in_one = images == 1 || (rows * width).is_multiple_of(WGMMA_ROWS);
        let patch = Self { rows, images };
        let suits =
            images * rows * width == TILE_ROWS && in_one && patch.lines(width) <= TILE_ROWS + MOST_HALO_LINES;
        suits.then_some(patch)
    }
    /// Lines, the halo's among them.
    fn lines(self, width: u32) -> u32 {
        self.images * (self.rows + HALO_TAPS - 1) * width
    }
}

/// Whether there is a kernel of this form for a convolution's product of these extents.
pub fn suits(form: Kernels, op: &Op, extents: &Extents) -> bool {
    let ([_, h, width, c], [k, r, s]) = (extents.x, extents.w);
    let halo = in_patches(form);
    let Some((span, spans)) = span(halo, depth_channels(op, extents)) else { return false };
    if ![c, k].iter().all(|channels| channels.is_multiple_of(CHUNK)) {
        return false;
    }
    // A stage is full, and the eight channels that a thread stores are all of E or none.
    let full = |taps: u32, channels: u32| (taps * (channels / span)).is_multiple_of(spans);
    let by_eight = extents.identity.is_multiple_of(CHUNK);
    let patches = !halo
        || (r, s, extents.stride, extents.pad) == (HALO_TAPS, HALO_TAPS, 1, 1)
            && Patch::of(h, width).is_some();
    // Copies store what is rounded and nothing else, as a matrix.
    let stores = form != Kernels::WgmmaStore
        || match op {
            Op::Conv2d(conv) => matches!(conv.epilogue, Epilogue::None | Epilogue::Statistics),
            Op::Conv2dDataGrad(Conv2dDataGrad { addend, epilogue, .. }) => {
                (*addend, *epilogue, extents.stride) == (Addend::None, GradEpilogue::None, 1)
            }
            _ => false,
        };
    // All columns in one tile, and their whole depth in shared memory.
    let projected = matches!(op, Op::Conv2dDataGrad(op) if op.conv.projected);
    let stays = |columns: u32, depth: u32| {
        form != Kernels::WgmmaResident
            || columns <= RESIDENT_COLUMNS[0] && depth <= RESIDENT_CHANNELS && !projected
    };
    let pixels = extents.stride <= MOST_STEP && Corners::forward(extents).fit();
    match op {
        Op::Conv2d(_) => by_eight && full(r * s, c) && pixels && patches && stores && stays(k, c),
        Op::Conv2dDataGrad(_) => {
            let mut classes =
                (0..extents.stride * extents.stride).filter_map(|class| Class::of(extents, class));
            let fit = |class: Class| class.taps == 0 || full(class.taps, k) && class.corners.fit();
            by_eight && extents.stride <= MOST_STRIDE && classes.all(fit) && patches && stores && stays(c, k)
        }
        Op::Conv2dWeightGrad(_) => pixels && patches && stores && form != Kernels::WgmmaResident,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::launch::Address;
    use crate::graph::Shape;
    use crate::ops::{Conv2d, Conv2dDataGrad, Conv2dWeightGrad};

    /// Each takes no more than the one before.
    const FORMS: [Kernels; 6] = [
        Kernels::Wgmma,
        Kernels::WgmmaWs,
        Kernels::WgmmaPersistent,
        Kernels::WgmmaCluster,
        Kernels::WgmmaHalo,
        Kernels::WgmmaResident,
    ];

    /// The three products of images of these extents by `k` filters.
    fn products(image: [usize; 4], k: usize, size: usize, stride: usize) -> [(Op, Extents); 3] {
        let (conv, x, w) =
            (Conv2d::same(size, stride), Shape::from(image), Shape::from([k, size, size, image[3]]));
        let ops: [Op; 3] = [
            conv.into(),
            Conv2dDataGrad::new(conv, x.clone()).into(),
            Conv2dWeightGrad { conv, filter: w.clone() }.into(),
        ];
        ops.map(|op| {
            let extents = Extents::new(&op, &x, &w);
            (op, extents)
        })
    }

    /// The last form that suits each product, each with all before it.
    fn suiting(image: [usize; 4], k: usize, size: usize, stride: usize) -> [Option<Kernels>; 3] {
        products(image, k, size, stride).map(|(op, extents)| {
            let suit = FORMS.map(|form| suits(form, &op, &extents));
            assert!(suit.is_sorted_by(|before, after| before >= after), "{op:?}: {suit:?}");
            FORMS.into_iter().zip(suit).rfind(|(_, suits)| *suits).map(|(form, _)| form)
        })
    }

    #[test]
    fn the_layers_of_the_network_have_every_form() {
        let [resident, halo, cluster] =
            [Kernels::WgmmaResident, Kernels::WgmmaHalo, Kernels::WgmmaCluster].map(Some);
        for (extent, channels, most) in [(32, 96, resident), (16, 192, halo), (8, 384, halo)] {
            assert_eq!(suiting([500, extent, extent, channels], channels, 3, 1), [most, most, cluster]);
        }
        // The first of a stage, and its projection: 96 channels are three spans, 192 filters of the first tap too.
        assert_eq!(suiting([500, 32, 32, 96], 192, 3, 2), [cluster; 3]);
        assert_eq!(suiting([500, 32, 32, 96], 192, 1, 2), [cluster; 3]);
        // The stem.
        assert_eq!(suiting([500, 32, 32, 3], 96, 3, 1), [None, None, None]);
    }

    #[test]
    fn copies_store_what_is_only_rounded() {
        let (x, w) = (Shape::from([2, 7, 5, 64]), Shape::from([64, 3, 3, 64]));
        let takes = |op: Op| suits(Kernels::WgmmaStore, &op, &Extents::new(&op, &x, &w));
        let conv = Conv2d::same(3, 1);
        assert!(takes(conv.into()));
        assert!(takes(Conv2d { epilogue: Epilogue::Statistics, identity: 32, ..conv }.into()));
        assert!(takes(Conv2d::same(3, 2).into()));
        assert!(!takes(Conv2d { identity: 12, ..conv }.into()));
        let scaled = Epilogue::ScaleShift { outer: false, relu: false };
        assert!(!takes(Conv2d { epilogue: scaled, ..conv }.into()));

        let data = Conv2dDataGrad::new(conv, x.clone());
        assert!(takes(data.clone().into()));
        assert!(!takes(Conv2dDataGrad { addend: Addend::Tensor, ..data.clone() }.into()));
        assert!(!takes(Conv2dDataGrad { epilogue: GradEpilogue::Relu { projected: false }, ..data }.into()));
        assert!(!takes(Conv2dDataGrad::new(Conv2d::same(3, 2), x.clone()).into()));
        assert!(!takes(Conv2dWeightGrad { conv, filter: w.clone() }.into()));
    }

    #[test]
    fn a_form_takes_what_its_copies_can_bring() {
        let cluster = Some(Kernels::WgmmaCluster);
        // A stage of three spans of 32 channels is full of nine taps, not of one or of 25.
        assert_eq!(suiting([2, 7, 5, 32], 64, 3, 1), [cluster; 3]);
        assert_eq!(suiting([2, 7, 5, 32], 64, 1, 1), [None, cluster, cluster]);
        assert_eq!(suiting([2, 7, 5, 64], 32, 5, 1), [cluster, None, cluster]);
        // Classes of four, two, two and one taps.
        assert_eq!(suiting([2, 8, 8, 64], 32, 3, 2), [cluster, None, cluster]);
        // Channels across the depth come by eight; and strides of three have nine classes.
        assert_eq!(suiting([2, 7, 5, 64], 40, 3, 1), [cluster, None, cluster]);
        assert_eq!(suiting([2, 7, 5, 64], 36, 3, 1), [None; 3]);
        assert_eq!(suiting([2, 9, 9, 64], 64, 3, 3), [cluster, None, cluster]);
        assert_eq!(suiting([1, 70, 70, 64], 64, 1, 9), [None; 3]);
    }

    #[test]
    fn patches_are_whole_rows_of_images() {
        let patch = |rows, images| Some(Patch { rows, images });
        let extents = [(32, 32), (16, 16), (8, 8), (4, 16), (16, 8), (64, 16)];
        let patches = [patch(4, 1), patch(8, 1), patch(8, 2), patch(4, 2), patch(16, 1), patch(8, 1)];
        assert_eq!(extents.map(|(height, width)| Patch::of(height, width)), patches);
        // Widths that are no rounds of the swizzle; rows that tiles do not divide; wgmma of two images; too long lines.
        for (height, width) in [(7, 7), (12, 12), (6, 32), (24, 24), (4, 8), (2, 16), (64, 64), (8, 256)] {
            assert_eq!(Patch::of(height, width), None, "{height} x {width}");
        }
    }

    #[test]
    fn corners_hold_the_pixels_of_a_product() {
        let [(_, forward), ..] = products([2, 7, 5, 64], 64, 3, 2);
        assert_eq!(Corners::forward(&forward), Corners { lower: [-1; 2], upper: [-1; 2] });
        // Of 7 x 5 pixels, 4 x 3 have even places and one tap, in the middle; 3 x 2 have odd ones, and two taps a side.
        let class =
            |n| Class::of(&forward, n).map(|class| (class.taps, class.corners.lower, class.corners.upper));
        assert_eq!(class(0), Some((1, [0, 0], [0, 0])));
        assert_eq!(class(1), Some((2, [0, 0], [-1, 0])));
        assert_eq!(class(2), Some((2, [0, 0], [0, -1])));
        assert_eq!(class(3), Some((4, [0, 0], [-1, -1])));
        assert_eq!(class(4), None);
        let [(_, wide), ..] = products([2, 1, 5, 64], 64, 5, 1);
        let class = Class::of(&wide, 0).unwrap();
        assert_eq!((class.taps, class.corners.lower, class.corners.upper), (25, [-2; 2], [-2; 2]));
        let [(_, single), ..] = products([2, 1, 5, 64], 64, 1, 2);
        assert_eq!(Class::of(&single, 1).unwrap().taps, 0);
        assert!(Class::of(&single, 2).is_none(), "there is no second row");
    }

    #[test]
    fn tiles_and_their_parts() {
        let widths = [8, 64, 96, 128, 160, 192, 256, 384];
        assert_eq!(widths.map(|c| columns(Kernels::Wgmma, false, c)), [64, 64, 96, 128, 192, 192, 128, 192]);
        let [(op, extents), ..] = products([8, 32, 32, 96], 96, 3, 1);
        let tile = |form, columns| Tile::new(form, &op, &extents, columns);
        let parts = |form, columns| (tile(form, columns).part_rows(), tile(form, columns).parts(700));
        assert_eq!(parts(Kernels::WgmmaWs, 96), (64, 12));
        assert_eq!(parts(Kernels::WgmmaPersistent, 96), (128, 6));
        assert_eq!(parts(Kernels::WgmmaPersistent, 192), (64, 12));
        assert_eq!(parts(Kernels::WgmmaCluster, 96), (128, 6));
        assert_eq!(tile(Kernels::WgmmaCluster, 96).parts(900), 8);
        assert_eq!(tile(Kernels::WgmmaCluster, 192).suffix(), "_192_span32");
        assert_eq!(tile(Kernels::WgmmaHalo, 96).suffix(), "_96");
        assert_eq!(tile(Kernels::WgmmaStore, 96).suffix(), "_halo_96");
        let [(op, odd), ..] = products([8, 7, 5, 96], 96, 3, 1);
        assert_eq!(Tile::new(Kernels::WgmmaStore, &op, &odd, 64).suffix(), "_64_span32");
    }

    #[test]
    fn blocks_are_as_many_as_tiles_or_multiprocessors() {
        let (view, none) = (|bytes| View { address: Address(1 << 20), bytes }, 0_u64);
        let [(op, extents), (data_op, data), (weight_op, weight)] = products([3, 16, 16, 96], 96, 3, 1);
        let (x, w) = (view(2 * 3 * 256 * 96), view(2 * 96 * 9 * 96));
        let launch = |form, multiprocessors| {
            let tile = Tile::new(form, &op, &extents, 96);
            let maps = tile.forward_maps(&extents, x, w, x);
            let launch = tile.over(Launch::new("k"), [768, 96], 1, multiprocessors, maps, &none);
            (launch.grid[0], launch.block[0])
        };
        assert_eq!(launch(Kernels::Wgmma, 4), (6, 256));
        assert_eq!(launch(Kernels::WgmmaWs, 4), (6, 384));
        assert_eq!(launch(Kernels::WgmmaPersistent, 4), (4, 384));
        assert_eq!(launch(Kernels::WgmmaPersistent, 132), (6, 384));
        // Pairs of blocks.
        assert_eq!(launch(Kernels::WgmmaCluster, 5), (4, 384));
        assert_eq!(launch(Kernels::WgmmaHalo, 132), (6, 384));
        assert_eq!(launch(Kernels::WgmmaHalo, 0), (2, 384));

        let tile = Tile::new(Kernels::WgmmaHalo, &data_op, &data, 96);
        let maps = tile.data_grad_maps(&data, &[[x, w]], x);
        let launch = tile.over(Launch::new("k"), [768, 96], 1, 4, maps, &none);
        let offsets: Vec<usize> = launch.maps.iter().map(|(offset, _)| *offset).collect();
        assert_eq!((launch.params.len(), offsets), (11 * 128, vec![0, 4 * 128]));
        let tile = Tile::new(Kernels::WgmmaCluster, &weight_op, &weight, 192);
        let maps = tile.weight_grad_maps(&weight, x, x);
        // Four tiles of 256 rows, one of columns, two splits.
        let launch = tile.over(Launch::new("k"), [864, 96], 2, 132, maps, &none);
        assert_eq!((launch.grid[0], launch.params.len(), launch.maps.len()), (16, 384, 2));
    }

    #[test]
    fn splits_fill_the_multiprocessors() {
        for (extent, channels, columns) in [(32, 96, 96), (16, 192, 192), (8, 384, 192)] {
            let [.., (op, extents)] = products([500, extent, extent, channels], channels, 3, 1);
            for form in FORMS.into_iter().filter(|&form| suits(form, &op, &extents)) {
                let tile = Tile::new(form, &op, &extents, columns);
                let tiles = tile.row_tiles(extents.filter_elements()) * extents.w[0].div_ceil(columns);
                let splits = tile.splits(&extents, 1000);
                let units = MULTIPROCESSORS / tile.sharers();
                let rounds = (splits * tiles).div_ceil(units);
                assert!(
                    splits * tiles * 100 >= rounds * units * 80,
                    "{form}, {channels} channels: {splits} splits of {tiles} tiles in {rounds} rounds"
                );
            }
        }
        let [.., (op, small)] = products([1, 4, 4, 32], 32, 3, 1);
        assert_eq!(Tile::new(Kernels::Wgmma, &op, &small, 64).splits(&small, 1), 1);
    }
}
