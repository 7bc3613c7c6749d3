//! What follows from a choice: the tile of a block, the stages of its ring, and the cluster that shares what it copies.

use std::fmt;

use serde::Serialize;

use super::{Choice, Kernels};
use crate::device::cuda::launch::{conv2d, mma, tiling};
use crate::graph::Shape;
use crate::ops::Op;
use crate::text::counted;

/// How a block cuts a convolution's product.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Tile {
    /// Rows of a block: pixels, or of a weight gradient elements of a filter.
    pub rows: u32,
    /// Columns: filters, or of a data gradient channels.
    pub columns: u32,
    /// Depth of a stage.
    pub depth: u32,
    /// Stages in shared memory.
    pub stages: u32,
    /// Blocks that share the columns that they copy.
    pub cluster: u32,
    /// Parts into which the pixels are cut; of a weight gradient alone.
    pub splits: Option<u32>,
}

/// Shared memory of a block on Hopper, and its stages at most: HOPPER_SHARED and MOST_STAGES of
/// `kernels/conv2d/wgmma.cuh`.
const HOPPER_SHARED: u32 = 227 * 1024;
const MOST_STAGES: u32 = 8;
/// Warp groups that go out by themselves, in every form of Hopper.
const OUTS: u32 = 2;
/// Bytes of a way out: two parts of 64 x 32 sums (WayOut of `wgmma_epilogue.cuh`), and a mean a column.
const OUT_BYTES: u32 = 2 * 64 * 32 * 4;
/// Two mbarriers a stage.
const BARRIER_BYTES: u32 = 2 * MOST_STAGES * 8;
const BF16_BYTES: u32 = 2;
/// Lines of a patch with its halo, each 32 channels: MOST_LINES of `wgmma_halo.cuh`.
const PATCH_BYTES: u32 = (conv2d::TILE_ROWS + 64) * 32 * BF16_BYTES;
/// Depth of a stage of its three taps.
const PATCH_DEPTH: u32 = 3 * 32;
/// CLUSTER of `wgmma_cluster.cuh`.
const CLUSTER: u32 = 2;
/// TILE_DEPTH of `index.cuh`; there are two stages.
const TILED_DEPTH: u32 = 16;

impl Tile {
    /// The tile of a choice for an operation on inputs of these shapes; `None` where it has none.
    pub fn of(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<Self> {
        let columns = tiling::width(op, inputs, choice)?;
        let (rows, splits) = (conv2d::TILE_ROWS, tiling::splits(op, inputs, choice));
        let plain = |depth, stages| Self { rows, columns, depth, stages, cluster: 1, splits };
        Some(match choice.kernels {
            Kernels::Tiled => plain(TILED_DEPTH, 2),
            Kernels::Mma => plain(mma::DEPTH, mma::STAGES),
            form => {
                let (depth, stages) = ring(form, op, columns, spanned(op, inputs)?);
                let cluster = if form >= Kernels::WgmmaCluster { CLUSTER } else { 1 };
                Self { cluster, ..plain(depth, stages) }
            }
        })
    }
}

/// The channels that the depth, or of a weight gradient the rows, come in: 64 where they are a multiple, else 32.
fn spanned(op: &Op, inputs: &[&Shape]) -> Option<u32> {
    let (x, w) = conv2d::operands(op, inputs)?;
    let channels = if let Op::Conv2dDataGrad(_) = op { *w.0.first()? } else { x.channels() };
    Some(if channels.is_multiple_of(64) { 64 } else { 32 })
}

/// Depth and number of a ring's stages, of a form of Hopper.
fn ring(form: Kernels, op: &Op, columns: u32, span: u32) -> (u32, u32) {
    let gradient = matches!(op, Op::Conv2dWeightGrad(_));
    let (depth, row_bytes) = match form {
        Kernels::WgmmaHalo => (PATCH_DEPTH, PATCH_BYTES),
        // WEIGHT_GRAD_DEPTH, and stage_depth.
        _ => {
            let depth = if gradient || span == 64 { 64 } else { 96 };
            (depth, conv2d::TILE_ROWS * depth * BF16_BYTES)
        }
    };
    // A weight gradient goes out from registers; an empty structure has a byte.
    let out_bytes = if gradient { 1 } else { OUT_BYTES + 4 * columns };
    let stage_bytes = row_bytes + columns * depth * BF16_BYTES;
    let fit = (HOPPER_SHARED - OUTS * out_bytes - BARRIER_BYTES) / stage_bytes;
    (depth, fit.min(MOST_STAGES))
}

/// `128 x 192, 4 stages of 64, clusters of 2, 8 parts`.
impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { rows, columns, depth, stages, cluster, splits } = self;
        let cluster = if *cluster > 1 { format!(", clusters of {cluster}") } else { String::new() };
        let splits = splits.map_or_else(String::new, |n| format!(", {}", counted(n.into(), "part")));
        f.pad(&format!("{rows} x {columns}, {stages} stages of {depth}{cluster}{splits}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, Conv2dWeightGrad};

    /// A 3 x 3 convolution of so many channels, forward or as a weight gradient, on images of this size.
    fn conv(channels: usize, size: usize, weight_grad: bool) -> (Op, [Shape; 2]) {
        let (x, w) = (Shape::from([500, size, size, channels]), Shape::from([channels, 3, 3, channels]));
        let conv = Conv2d::same(3, 1);
        match weight_grad {
            true => (Conv2dWeightGrad { conv, filter: w }.into(), [x.clone(), x]),
            false => (conv.into(), [x, w]),
        }
    }

    #[test]
    fn a_choice_is_told_as_a_tile() {
        let told = |channels, weight_grad, choice: Choice| {
            let (op, [x, w]) = conv(channels, 16, weight_grad);
            Tile::of(&op, &[&x, &w], choice).map(|tile| tile.to_string())
        };
        let of = Choice::of;
        assert_eq!(told(192, false, of(Kernels::Mma)).unwrap(), "128 x 192, 4 stages of 32");
        assert_eq!(told(192, false, of(Kernels::Naive)), None);
        let parts = Choice { splits: Some(16), columns: Some(96), ..of(Kernels::Mma) };
        assert_eq!(told(192, true, parts).unwrap(), "128 x 96, 4 stages of 32, 16 parts");
        let cluster = Choice { columns: Some(192), ..of(Kernels::WgmmaCluster) };
        assert_eq!(told(192, false, cluster).unwrap(), "128 x 192, 4 stages of 64, clusters of 2");
        let halo = Choice { columns: Some(96), ..of(Kernels::WgmmaHalo) };
        assert_eq!(told(96, false, halo).unwrap(), "128 x 96, 6 stages of 96, clusters of 2");
    }
}
