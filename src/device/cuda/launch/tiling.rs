//! What a choice comes to for a convolution, where it leaves something to the shapes: the width of its tiles, and of a
//! weight gradient the parts into which it cuts the pixels.

use super::conv2d::{self, Cut, Extents, operands};
use super::mma;
use crate::device::cuda::Choice;
use crate::device::cuda::choices::predict::{Predicted, predict};
use crate::device::cuda::choices::tile::Tile;
use crate::device::cuda::kernels::Kernels;
use crate::graph::{DType, Shape};
use crate::ops::Op;

/// The width of a choice's tiles; `None` where there are none, or the operation is no convolution.
pub fn width(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<u32> {
    cut(op, inputs, choice)?.0.columns()
}

/// The tile of a choice; `None` where [`width`] has none.
pub fn tile(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<Tile> {
    let (cut, extents) = cut(op, inputs, choice)?;
    let splits = splits_of(cut, op, &extents, choice);
    let (rows, columns, cluster, halo) = (conv2d::TILE_ROWS, cut.columns()?, 1, false);
    let plain = |depth, stages| Tile { rows, columns, depth, stages, cluster, halo, splits };
    Some(match cut {
        Cut::Elements => return None,
        Cut::Tiled(_) => plain(conv2d::TILED_DEPTH, 2),
        Cut::Mma { .. } => plain(mma::DEPTH, mma::STAGES),
        Cut::Wgmma(tile) => {
            let (depth, stages) = tile.ring();
            Tile { rows: tile.rows(), cluster: tile.sharers(), halo: tile.is_halo(), ..plain(depth, stages) }
        }
    })
}

/// What a choice of Hopper's forms should take; `None` of any other.
pub fn predicted(multiprocessors: u32, op: &Op, inputs: &[&Shape], choice: Choice) -> Option<Predicted> {
    let (cut, extents) = cut(op, inputs, choice)?;
    let Cut::Wgmma(tile) = cut else { return None };
    let splits = splits_of(cut, op, &extents, choice).unwrap_or(1);
    Some(predict(multiprocessors, tile, op, &extents, splits))
}

/// The widths that are worth trying in a form; see [`conv2d::candidates`].
pub fn widths(op: &Op, inputs: &[&Shape], form: Kernels) -> Vec<u32> {
    operands(op, inputs).map_or_else(Vec::new, |(x, w)| conv2d::candidates(op, x, w, form))
}

/// The parts into which a choice cuts the pixels; `None` where it is no weight gradient in tiles.
pub fn splits(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<u32> {
    let (cut, extents) = cut(op, inputs, choice)?;
    splits_of(cut, op, &extents, choice)
}

fn splits_of(cut: Cut, op: &Op, extents: &Extents, choice: Choice) -> Option<u32> {
    let in_tiles = matches!(op, Op::Conv2dWeightGrad(_)) && cut.columns().is_some();
    in_tiles.then(|| cut.splits(extents, choice.splits).count)
}

/// The numbers of parts that are worth trying with a width; see [`conv2d::split_candidates`].
pub fn splits_to_try(op: &Op, inputs: &[&Shape], dtype: DType, choice: Choice) -> Vec<u32> {
    let tried = |(x, w)| conv2d::split_candidates(op, x, w, dtype, &choice);
    operands(op, inputs).map_or_else(Vec::new, tried)
}

/// The most parts that any choice may have: those that there is scratch for.
pub fn most_splits(op: &Op, inputs: &[&Shape], dtype: DType) -> u32 {
    operands(op, inputs).map_or(1, |(x, w)| conv2d::most_splits_of(op, x, w, dtype))
}

/// How a choice that there is a kernel for cuts a convolution's product.
fn cut(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<(Cut, Extents)> {
    let (x, w) = operands(op, inputs)?;
    let extents = Extents::new(op, x, w);
    conv2d::suits(choice.kernels, op, x, w).then(|| (Cut::new(op, &extents, &choice), extents))
}
