//! What a form leaves open of a convolution's product: how wide its tiles are, and into how many parts a weight gradient
//! cuts the pixels. For each there is what the shapes suggest, on every card alike; and what a measurement may choose in
//! its place.

use super::conv2d::{Extents, LEAST_SPLIT_PIXELS, TILE_COLUMNS, TILE_ROWS, operands, tile_columns};
use super::{mma, wgmma};
use crate::device::cuda::Choice;
use crate::device::cuda::kernels::{self, Generation, Kernels};
use crate::graph::{DType, Shape};
use crate::ops::Op;

/// The width of a choice's tiles; `None` where there are none, or the operation is no convolution.
pub fn width(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<u32> {
    let extents = Extents::of(op, inputs)?;
    let columns = extents.columns(op);
    match choice.kernels {
        Kernels::Tiled => choice.columns.or_else(|| Some(tile_columns(columns))),
        Kernels::Mma => Some(mma::tile(columns, extents.whole(op), choice.columns).columns),
        form if form.needs_hopper() => choice.columns.or_else(|| widths(op, inputs, form).first().copied()),
        _ => None,
    }
}

/// The widths for which a form has a kernel, those left out that would leave most of a tile empty.
pub fn widths(op: &Op, inputs: &[&Shape], form: Kernels) -> Vec<u32> {
    let (Some(extents), Some((x, w))) = (Extents::of(op, inputs), operands(op, inputs)) else {
        return Vec::new();
    };
    let all = match form {
        Kernels::Tiled => TILE_COLUMNS.to_vec(),
        Kernels::Mma => mma::widths(extents.whole(op)).to_vec(),
        form if form.needs_hopper() => wgmma::widths(form, op, x, w),
        _ => return Vec::new(),
    };
    let columns = extents.columns(op);
    let least = all.iter().copied().min().unwrap_or(0);
    all.into_iter().filter(|&width| width == least || width < 2 * columns).collect()
}

/// The parts into which a choice cuts the pixels; `None` where it is no weight gradient in tiles.
pub fn splits(op: &Op, inputs: &[&Shape], choice: Choice) -> Option<u32> {
    let extents = Extents::of(op, inputs).filter(|_| matches!(op, Op::Conv2dWeightGrad(_)))?;
    (choice.kernels > Kernels::Naive).then(|| extents.splits(op, choice).count)
}

/// The most parts that any choice may have: what scratch there is for. As many as the shapes suggest for any form and
/// width.
pub fn most_splits(op: &Op, inputs: &[&Shape], dtype: DType) -> u32 {
    let forms = kernels::forms(op, inputs, dtype, Generation::Hopper);
    let suggested = |form: Kernels| {
        let usual = Choice { kernels: form, columns: None, splits: None };
        let narrower =
            widths(op, inputs, form).into_iter().map(move |w| Choice { columns: Some(w), ..usual });
        std::iter::once(usual).chain(narrower)
    };
    forms.into_iter().flat_map(suggested).filter_map(|choice| splits(op, inputs, choice)).max().unwrap_or(0)
}

/// Numbers of parts that are worth measuring on a card of so many multiprocessors, for tiles of this width: twice and half
/// of what the shapes suggest, and those with which the tiles fill whole rounds of the card best.
pub fn splits_to_try(
    op: &Op,
    inputs: &[&Shape],
    choice: Choice,
    most: u32,
    multiprocessors: u32,
) -> Vec<u32> {
    let (Some(extents), Some(usual), Some(width)) =
        (Extents::of(op, inputs), splits(op, inputs, choice), width(op, inputs, choice))
    else {
        return Vec::new();
    };
    let tiles = extents.filter_elements().div_ceil(TILE_ROWS) * extents.columns(op).div_ceil(width);
    let most = most.min(extents.output_pixels() / LEAST_SPLIT_PIXELS);
    // The part of the card's places that the last round leaves empty, of those of all rounds.
    let empty = |count: &u32| {
        let rounds = (tiles * count).div_ceil(multiprocessors);
        f64::from(rounds * multiprocessors - tiles * count) / f64::from(rounds * multiprocessors)
    };
    let mut full: Vec<u32> = (1..=most).collect();
    // Stable: of equally full ones the fewest parts come first, which move the fewest partial sums.
    full.sort_by(|a, b| empty(a).total_cmp(&empty(b)));
    full.truncate(MOST_FULL);
    full.extend([1, usual / 2, usual, 2 * usual]);
    full.retain(|count| (1..=most).contains(count));
    full.sort_unstable();
    full.dedup();
    full
}

/// Numbers of parts that are tried for the sake of full rounds.
const MOST_FULL: usize = 2;
