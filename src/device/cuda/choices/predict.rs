//! What a convolution on wgmma should take, by the arithmetic of its tiles.
//!
//! A block's tile takes, for every 16 of its depth, the longest of three times: the tensor cores' products, what bulk
//! copies write to shared memory and products read from it, and what the copies ask of L2. Going out is added, or lies
//! behind the next tile's products where two warp groups take tiles in turns. Tiles go in whole rounds over the
//! multiprocessors; all of it takes no less than memory needs for the tensors. Nothing here was fitted to a measurement.

use std::fmt;

use serde::Serialize;

use crate::device::cuda::Kernels;
use crate::device::cuda::launch::conv2d::Extents;
use crate::device::cuda::launch::wgmma::Tile;
use crate::ops::{Addend, Conv2d, Op};

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

/// An H100 SXM, by its datasheet and by what public kernels reach on it; an H200 has faster memory alone.
mod card {
    /// Cycles a second under load.
    pub const CLOCK: f64 = 1.755e9;
    /// bf16 multiply-adds of a multiprocessor a cycle, and the part of them that a large library product keeps busy.
    pub const PRODUCTS: f64 = 2048.0;
    pub const BUSY: f64 = 0.88;
    /// Bytes a cycle of a multiprocessor's shared memory, and of its part of L2 (5.5 TB/s).
    pub const SHARED: f64 = 128.0;
    pub const L2: f64 = 24.0;
    /// Bytes a second of memory.
    pub const MEMORY: f64 = 3.0e12;
    /// Seconds from a launch's beginning to its first products, and from the last to its end.
    pub const LAUNCH: f64 = 2.5e-6;
    /// Cycles of a block that is not there yet when its tile begins: barriers, the first copies.
    pub const FILL: f64 = 1500.0;
    /// Cycles of the block's barrier that the first form has in every step.
    pub const BARRIER: f64 = 60.0;
    /// Issue slots that an element takes on its way out.
    pub const WAY_OUT: f64 = 22.0;
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

/// The product of a convolution: its rows, columns and depth, by residue class where it has some.
struct Product {
    rows: u32,
    columns: u32,
    depth: u32,
    batches: u32,
}

impl Product {
    fn of(op: &Op, extents: &Extents) -> Self {
        let [n, h, w, c] = extents.x;
        let [k, r, s] = extents.w;
        let (filter, stride) = (extents.filter_elements(), extents.stride);
        let pixels = extents.output_pixels();
        // A projection beside the layer is a launch more, and of a data gradient so much more depth.
        let branches = |conv: &Conv2d| conv.branches() as u32;
        match op {
            // All classes together have every tap once.
            Op::Conv2dDataGrad(op) => Self {
                rows: n * h.div_ceil(stride) * w.div_ceil(stride),
                columns: c,
                depth: (branches(&op.conv) * r * s * k).div_ceil(stride * stride),
                batches: stride * stride,
            },
            Op::Conv2dWeightGrad(op) => {
                Self { rows: filter, columns: k, depth: pixels, batches: branches(&op.conv) }
            }
            Op::Conv2d(conv) => Self { rows: pixels, columns: k, depth: filter, batches: branches(conv) },
            _ => unreachable!("{} is no convolution", op.operation().name()),
        }
    }
    fn flops(&self) -> f64 {
        2.0 * [self.rows, self.columns, self.depth, self.batches].map(f64::from).iter().product::<f64>()
    }
    /// Of x, z and w, each once; and of what else is read on the way out: of a data gradient's the addend with the batch
    /// norms' inputs.
    fn bytes(&self, op: &Op, extents: &Extents) -> f64 {
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
        2.0 * (images * (1.0 + beside) + k * pixels + filters)
    }
}

/// What a convolution should take with this tile on a card of so many multiprocessors; a weight gradient in `splits` parts.
pub fn predict(multiprocessors: u32, tile: Tile, op: &Op, extents: &Extents, splits: u32) -> Predicted {
    use card::*;
    const STEP: f64 = 16.0;
    const BF16: f64 = 2.0;
    let product = Product::of(op, extents);
    let flops = product.flops();
    let (rows, columns) = (f64::from(tile.rows()), f64::from(tile.columns));
    // What wgmma makes of them, by 64 rows.
    let multiplied = (rows / 64.0).ceil() * 64.0;
    let [row_bytes, column_bytes] = [rows, columns].map(|width| width * STEP * BF16);
    // How much of its rows and columns a tile copies for a step of the depth, and asks of L2.
    let copied = row_bytes * tile.rows_copied(extents) + column_bytes * tile.columns_copied();
    let asked = row_bytes * tile.rows_copied(extents)
        + column_bytes * tile.columns_copied() / f64::from(tile.sharers());
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
    let out = f64::from(tile.rows() / tile.groups()) * columns / 128.0 * WAY_OUT;
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
    let memory = (product.bytes(op, extents) + sums) / MEMORY;
    let blocks = rounds * one / CLOCK;
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
