//! A form's tile: what follows from it for the launch, the partial results, and shared memory.

use bytemuck::NoUninit;

use super::pixels::{HALO_TAPS, MOST_HALO_LINES, Patch};
use super::{RESIDENT_CHANNELS, depth_channels, in_patches, span, suits};
use crate::device::cuda::Kernels;
use crate::device::cuda::choices::h100;
use crate::device::cuda::launch::Launch;
use crate::device::cuda::launch::conv2d::{Extents, TILE_ROWS};
use crate::device::cuda::launch::tensor_map::{MapBytes, TensorMap};
use crate::ops::Op;

/// Shared memory that every kernel asks for: HOPPER_SHARED of `wgmma.cuh`.
const SHARED: u32 = 227 * 1024;
/// Threads of a warp group.
const GROUP_THREADS: u32 = 128;
/// Rows of one wgmma.
pub(super) const WGMMA_ROWS: u32 = 64;
/// Pixels of a stage of the weight gradient, where they are no patch: WEIGHT_GRAD_DEPTH of `wgmma_weight_grad.cuh`.
pub(super) const WEIGHT_GRAD_DEPTH: u32 = 64;
/// Rows of a tile of the weight gradient of 192 columns, from `wgmma-persistent` on: its sums go out from registers.
const TALL_ROWS: u32 = 256;
/// Channels of a tile of the weight gradient in patches, which has all taps of a filter's column: PATCH_SPANS of 32.
const PATCH_CHANNELS: u32 = 96;
/// Blocks of a cluster: CLUSTER of `wgmma_cluster.cuh`.
const CLUSTER: u32 = 2;

/// The three products of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Product {
    Forward,
    DataGrad,
    WeightGrad,
}

/// A form's tile of one of the three products.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// The form.
    pub form: Kernels,
    /// Columns.
    pub columns: u32,
    /// Channels of a line of the rows.
    pub(super) span: u32,
    /// The rows as patches of images, which hold what all taps below each other read.
    pub(super) patch: Option<Patch>,
    product: Product,
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
        let product = match op {
            Op::Conv2dDataGrad(_) => Product::DataGrad,
            Op::Conv2dWeightGrad(_) => Product::WeightGrad,
            _ => Product::Forward,
        };
        let (span, _) = span(halo, depth_channels(op, extents)).expect("the form suits the shapes");
        Self { form, columns, span, patch, product }
    }
    fn is_weight_grad(self) -> bool {
        self.product == Product::WeightGrad
    }
    /// `wgmma_weight_grad_halo.cuh`: a block makes the taps of a filter's column.
    fn is_weight_grad_in_patches(self) -> bool {
        self.is_weight_grad() && self.patch.is_some()
    }
    /// What the kernel's name says of the tile.
    pub fn suffix(self) -> String {
        let halo = self.form == Kernels::WgmmaStore && self.patch.is_some();
        let narrow = self.span == 32 && self.patch.is_none();
        format!("{}_{}{}", if halo { "_halo" } else { "" }, self.columns, if narrow { "_span32" } else { "" })
    }
    /// Rows.
    pub fn rows(self) -> u32 {
        let tall = self.is_weight_grad() && self.form >= Kernels::WgmmaPersistent && self.columns == 192;
        match self.patch {
            Some(_) if self.is_weight_grad() => HALO_TAPS * PATCH_CHANNELS,
            _ if tall => TALL_ROWS,
            _ => TILE_ROWS,
        }
    }
    /// Blocks that share their columns, one tile below the other.
    pub fn sharers(self) -> u32 {
        match self.form {
            _ if self.is_weight_grad_in_patches() => 1,
            Kernels::WgmmaCluster | Kernels::WgmmaHalo | Kernels::WgmmaStore => CLUSTER,
            _ => 1,
        }
    }
    /// Warp groups that share a tile. Of a narrow one a group holds all rows, so that two can take tiles in turns.
    pub fn groups(self) -> u32 {
        let in_turns = self.form >= Kernels::WgmmaPersistent && self.columns <= 96;
        if in_turns && !self.is_weight_grad_in_patches() { 1 } else { 2 }
    }
    /// Rows of a partial result: those of a warp group.
    pub fn part_rows(self) -> u32 {
        TILE_ROWS / self.groups()
    }
    /// Tiles of so many rows, those counted that are there only to make a cluster full.
    pub fn row_tiles(self, rows: u32) -> u32 {
        match self.is_weight_grad_in_patches() {
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
    /// Whether its columns stay in shared memory: they are copied once for all tiles of a block.
    pub fn columns_stay(self) -> bool {
        self.form == Kernels::WgmmaResident
    }
    /// The depth of a stage.
    pub fn stage_depth(self) -> u32 {
        match self.is_weight_grad() {
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
        let row_bytes = match self.patch {
            Some(_) => {
                (TILE_ROWS + MOST_HALO_LINES) * 2 * self.span * if self.is_weight_grad() { 3 } else { 1 }
            }
            None => 2 * self.rows() * depth,
        };
        let column_bytes = 2 * self.columns * depth;
        let sums = 4 * self.columns;
        let part = 4 * WGMMA_ROWS * 32;
        let out_bytes = match self.form {
            // From registers; an empty structure has a byte.
            _ if self.is_weight_grad() => 1,
            // StoredRows: the rows, the sums of four warps and their means, two mbarriers.
            Kernels::WgmmaStore => {
                (2 * self.part_rows() * self.columns + 5 * sums + 16).next_multiple_of(1024)
            }
            // Parts of 64 x 32 sums, two of them where there is room: with means in ForwardOut, in DataGradOut with three
            // quantities of four warps.
            _ => {
                let beside = if self.product == Product::DataGrad { 3 * 4 * 4 * 32 } else { sums };
                part * if self.columns_stay() { 1 } else { 2 } + beside
            }
        };
        let (steps, stage_bytes) = match self.columns_stay() {
            true => (RESIDENT_CHANNELS / 32 * HALO_TAPS, row_bytes),
            false => (0, row_bytes + column_bytes),
        };
        let beside = OUTS * out_bytes + steps * column_bytes + 8 * (2 * MOST_STAGES + steps);
        (depth, ((SHARED - beside) / stage_bytes).min(MOST_STAGES))
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

    /// Parts into which a weight gradient best cuts its pixels, in the time that its rounds of blocks take and its partial
    /// sums, by an H100's limits, on a card with fewer multiprocessors as well: so sums are the same there. An idle
    /// multiprocessor costs a round's time, a part more bytes.
    pub fn splits(self, extents: &Extents, most: u32) -> u32 {
        const BYTES_A_CYCLE: u64 = (h100::MEMORY / h100::CLOCK) as u64;
        const PRODUCTS: u32 = h100::PRODUCTS as u32;
        /// Cycles until the first products of a round, and from its last to its sums' stores.
        const ROUND: u64 = 4000;
        let (elements, filters) = (extents.filter_elements(), extents.w[0]);
        let tiles = self.row_tiles(elements) * filters.div_ceil(self.columns);
        let cycles = |&splits: &u32| {
            let rounds = (splits * tiles).div_ceil(h100::MULTIPROCESSORS / self.sharers());
            let stages = extents.output_pixels().div_ceil(splits).div_ceil(self.stage_pixels());
            let products =
                u64::from(stages) * u64::from(self.rows() * self.columns * self.stage_pixels() / PRODUCTS);
            // Written by the product, read by the sum.
            let bytes = u64::from(splits) * u64::from(elements) * u64::from(filters) * 8;
            u64::from(rounds) * (products + ROUND) + bytes / BYTES_A_CYCLE
        };
        (1..=most.max(1)).min_by_key(cycles).expect("there is one")
    }
}
