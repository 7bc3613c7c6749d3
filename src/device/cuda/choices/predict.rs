//! What a convolution on wgmma should take, by the arithmetic of its tiles.
//!
//! A block's tile takes, for every 16 of its depth, the longest of three times: the tensor cores' products, what bulk
//! copies write to shared memory and products read from it, and what the copies ask of L2. The epilogue is added, or lies
//! behind the next tile's products where two warp groups take tiles in turns. Tiles go in whole rounds over the
//! multiprocessors; all of it takes no less than memory needs for the tensors. What the card does is in [`h100`]; nothing
//! was fitted to a measurement. `wgmma-store` differs from `wgmma-halo`, or `wgmma-cluster`, in its epilogue's
//! instructions alone, and is predicted as they are.

use std::fmt;

use serde::Serialize;

use super::h100;
use crate::device::cuda::Kernels;
use crate::device::cuda::launch::conv2d::{Extents, convolution};
use crate::device::cuda::launch::wgmma::Tile;
use crate::ops::{Addend, Op};

/// What bounds a prediction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum By {
    /// The tensor cores.
    Tensor,
    /// Shared memory.
    Shared,
    /// The L2 cache.
    L2,
    /// Memory.
    Memory,
}

/// A prediction.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Predicted {
    /// Microseconds.
    pub us: f64,
    /// TFLOP/s.
    pub tflop_s: f64,
    /// What bounds it.
    pub by: By,
    /// Bytes that all blocks ask of L2, by floating-point operation.
    pub l2_bytes_per_flop: f64,
    /// The same of shared memory.
    pub shared_bytes_per_flop: f64,
}

/// The product of a convolution, by residue class where it has some.
pub struct Product {
    /// Pixels; of a weight gradient elements of a filter.
    pub rows: u32,
    /// Filters; of a data gradient channels.
    pub columns: u32,
    /// What a sum is over.
    pub depth: u32,
    /// Classes, or filters that have a launch each.
    pub batches: u32,
}

impl Product {
    /// That of an operation.
    ///
    /// # Panics
    /// If it is no convolution.
    pub fn of(op: &Op, extents: &Extents) -> Self {
        let [n, h, w, c] = extents.x;
        let [k, r, s] = extents.w;
        let (filter, stride) = (extents.filter_elements(), extents.stride);
        let pixels = extents.output_pixels();
        // A projection beside the layer is a launch more, and of a data gradient so much more depth.
        let branches = branches(op);
        match op {
            // All classes together have every tap once.
            Op::Conv2dDataGrad(_) => Self {
                rows: n * h.div_ceil(stride) * w.div_ceil(stride),
                columns: c,
                depth: (branches * r * s * k).div_ceil(stride * stride),
                batches: stride * stride,
            },
            Op::Conv2dWeightGrad(_) => Self { rows: filter, columns: k, depth: pixels, batches: branches },
            Op::Conv2d(_) => Self { rows: pixels, columns: k, depth: filter, batches: branches },
            _ => unreachable!("{} is no convolution", op.operation().name()),
        }
    }
    fn flops(&self) -> f64 {
        2.0 * [self.rows, self.columns, self.depth, self.batches].map(f64::from).iter().product::<f64>()
    }
}

/// The layer's convolution, and a projection's beside it.
fn branches(op: &Op) -> u32 {
    convolution(op).branches() as u32
}

/// Seconds that memory needs for a convolution: for x, z and w, each once, and for what else is read on the way out: of
/// a data gradient the addend and the batch norms' inputs.
pub fn memory(op: &Op, extents: &Extents) -> f64 {
    let [n, h, w, c] = extents.x;
    let images = [n, h, w, c].map(f64::from).iter().product::<f64>();
    let (k, pixels) = (f64::from(extents.w[0]), f64::from(extents.output_pixels()));
    let filters = k * f64::from(extents.filter_elements());
    let beside = match op {
        Op::Conv2dDataGrad(op) => {
            f64::from(u8::from(op.addend != Addend::None)) + op.epilogue.branches() as f64
        }
        _ => 0.0,
    };
    2.0 * (images * (1.0 + beside) + f64::from(branches(op)) * (k * pixels + filters)) / h100::MEMORY
}

/// What a convolution should take with this tile on a card of so many multiprocessors; a weight gradient in `splits` parts.
pub fn predict(multiprocessors: u32, tile: Tile, op: &Op, extents: &Extents, splits: u32) -> Predicted {
    use h100::*;
    const STEP: f64 = 16.0;
    const BF16: f64 = 2.0;
    let product = Product::of(op, extents);
    let flops = product.flops();
    let (rows, columns) = (f64::from(tile.rows()), f64::from(tile.columns));
    // What wgmma makes of them, by 64 rows.
    let multiplied = (rows / 64.0).ceil() * 64.0;
    let [row_bytes, column_bytes] = [rows, columns].map(|width| width * STEP * BF16);
    // How much of its rows and columns a tile copies for a step of the depth, and asks of L2; and what stays with its
    // block, and comes before the first tile.
    let rows_copied = row_bytes * tile.rows_copied(extents);
    let (columns_copied, stay) = if tile.columns_stay() { (0.0, column_bytes) } else { (column_bytes, 0.0) };
    let copied = rows_copied + columns_copied;
    let asked = rows_copied + columns_copied / f64::from(tile.sharers());
    let read = multiplied / 64.0 * (64.0 + columns) * STEP * BF16;
    let tensor = multiplied * columns * STEP / PRODUCTS / BUSY;
    let (shared, l2) = ((copied + read) / SHARED, asked / L2);
    let (step, by) = [(tensor, By::Tensor), (shared, By::Shared), (l2, By::L2)]
        .into_iter()
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .expect("there are three");

    let depth = f64::from(product.depth) / f64::from(splits);
    let steps = (depth / STEP).ceil();
    let barriers =
        if tile.form == Kernels::Wgmma { BARRIER * depth / f64::from(tile.stage_depth()) } else { 0.0 };
    let main = steps * step + barriers;
    let out = f64::from(tile.rows() / tile.groups()) * columns / 128.0 * EPILOGUE;
    let one = match tile.form {
        Kernels::Wgmma | Kernels::WgmmaWs => main + out + FILL,
        _ if tile.groups() == 1 => main.max((main + out) / 2.0),
        _ => main + out,
    };
    let tiles =
        tile.row_tiles(product.rows) * product.columns.div_ceil(tile.columns) * product.batches * splits;
    let rounds = f64::from(tiles.div_ceil((multiprocessors / tile.sharers()).max(1)));
    // A split's sums are written and read once more.
    let sums =
        if splits > 1 { 8.0 * f64::from(splits * product.rows) * f64::from(product.columns) } else { 0.0 };
    let memory = memory(op, extents) + sums / MEMORY;
    let first = if stay > 0.0 { (steps * (stay + asked) / L2 - main).max(0.0) } else { 0.0 };
    let blocks = (rounds * one + first) / CLOCK;
    let (seconds, by) = if memory > blocks { (memory, By::Memory) } else { (blocks + sums / MEMORY, by) };
    let seconds = seconds + LAUNCH;
    let all = f64::from(tiles * tile.sharers()) * steps / flops;
    Predicted {
        us: seconds * 1e6,
        tflop_s: flops / seconds / 1e12,
        by,
        l2_bytes_per_flop: asked * all,
        shared_bytes_per_flop: (copied + read) * all,
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tensor => "tensor cores",
            Self::Shared => "shared memory",
            Self::L2 => "L2",
            Self::Memory => "memory",
        })
    }
}
