//! What is chosen where nothing was measured: by arithmetic.
//!
//! A multiprocessor multiplies a tile as fast as its tensor cores do, or as fast as L2 brings the operands, whichever
//! takes longer; and a card is as slow as its last round of tiles. Every tap reads its pixels anew, but for a patch with
//! its halo, which three taps share; blocks of a cluster share the columns. That is all that this compares: it takes no
//! account of what starts and ends a tile. Memory bounds all forms alike, so the sizes of caches do not matter here.
//!
//! At 96 channels nine reads of every pixel are more than L2 brings, so patches win; a projection or a weight gradient has
//! none, and takes clusters; a single block where a cluster's second would have nothing to do.

use super::tile::Tile;
use super::{Choice, Choices, Kernels};
use crate::device::cuda::kernels;
use crate::device::cuda::launch::{conv2d, tiling};
use crate::graph::Shape;
use crate::ops::Op;

/// bf16 multiply-adds of a multiprocessor in a clock of Hopper by wgmma (989 TFLOP/s of 132 at 1.83 GHz); and by mma,
/// which public kernels find to be about five eighths of that.
const WGMMA_PER_CLOCK: f64 = 2048.0;
const MMA_PER_CLOCK: f64 = 1280.0;
/// Bytes that L2 brings a multiprocessor in a clock: 5.5 TB/s over all of an H100. Assumed, not measured.
const L2_BYTES_PER_CLOCK: f64 = 24.0;
const BF16_BYTES: f64 = 2.0;
/// Blocks of the form `mma` that share a multiprocessor of Hopper.
const MMA_BLOCKS: u32 = 2;

/// What is chosen of the forms of an operation, the simplest of which comes first: none that was not measured to be faster
/// than the simpler ones.
pub fn of(card: &Choices, op: &Op, inputs: &[&Shape], forms: &[Kernels]) -> Choice {
    let fastest = kernels::fastest(forms);
    if !fastest.needs_hopper() {
        return Choice::of(fastest);
    }
    let measured = forms.iter().filter(|&&form| Kernels::Mma <= form && form <= fastest);
    let tiles = |&form: &Kernels| {
        let widths = tiling::widths(op, inputs, form).into_iter();
        widths.map(move |width| Choice { columns: Some(width), ..Choice::of(form) })
    };
    best(card, op, inputs, measured.flat_map(tiles)).unwrap_or(Choice::of(fastest))
}

/// The choice that takes the fewest clocks, of equal ones the last.
fn best(card: &Choices, op: &Op, inputs: &[&Shape], choices: impl Iterator<Item = Choice>) -> Option<Choice> {
    let timed = choices.filter_map(|choice| Some((clocks(card, op, inputs, choice)?, choice)));
    let better = |a: (f64, Choice), b: (f64, Choice)| if b.0 <= a.0 { b } else { a };
    timed.reduce(better).map(|(_, choice)| choice)
}

/// Clocks of a multiprocessor for a unit of the product's depth, over all rounds; `None` of what the card cannot do.
fn clocks(card: &Choices, op: &Op, inputs: &[&Shape], choice: Choice) -> Option<f64> {
    let form = choice.kernels;
    if form.needs_hopper() && card.shared_limit < super::SHARED_LIMIT {
        return None;
    }
    let Tile { rows, columns, cluster, halo, splits, .. } = Tile::of(op, inputs, choice)?;
    let (x, w) = conv2d::operands(op, inputs)?;
    let ([_, height, width, channels], [filters, ..]) = (x.dims4()?, w.dims4()?);
    let (product_rows, product_columns) = match op {
        Op::Conv2dDataGrad(_) => (x.rows(), channels),
        Op::Conv2dWeightGrad(_) => (w.elements() / filters, filters),
        _ => (inputs[0].rows() / stride(op).pow(2), filters),
    };
    let row_tiles = product_rows.div_ceil((rows * cluster) as usize) * cluster as usize;
    let parts = splits.unwrap_or(1) as usize;
    let blocks = row_tiles * product_columns.div_ceil(columns as usize) * parts;

    let (per_clock, beside) =
        if form.needs_hopper() { (WGMMA_PER_CLOCK, 1) } else { (MMA_PER_CLOCK, MMA_BLOCKS) };
    let rounds = blocks.div_ceil((card.multiprocessors * beside) as usize) as f64;
    let read_anew = if halo { patch_reads(rows as usize, height, width) } else { 1.0 };
    let (rows, columns) = (f64::from(rows), f64::from(columns));
    let products = rows * columns / per_clock;
    let operands = BF16_BYTES * (rows * read_anew + columns / f64::from(cluster)) / L2_BYTES_PER_CLOCK;
    Some(rounds * f64::from(beside) * products.max(operands) / parts as f64)
}

/// How often a patch brings a pixel, over the three taps that it serves: its lines over those of three tiles without.
fn patch_reads(rows: usize, height: usize, width: usize) -> f64 {
    let image_rows = height.min(rows / width).max(1);
    (image_rows + 2) as f64 / (3 * image_rows) as f64
}

fn stride(op: &Op) -> usize {
    match op {
        Op::Conv2d(conv) => conv.stride,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::Generation;
    use crate::ops::{Conv2d, Conv2dWeightGrad};

    const CARD: Choices = Choices::new(Kernels::Auto, Generation::Hopper);

    /// Every form and width that Hopper has for a convolution.
    fn every(forms: &[Kernels]) -> impl Iterator<Item = Choice> {
        let widths = |&form| [192, 128, 96, 64].map(|w| Choice { columns: Some(w), ..Choice::of(form) });
        forms.iter().flat_map(widths)
    }

    const WITHOUT_HALO: [Kernels; 4] =
        [Kernels::Mma, Kernels::WgmmaWs, Kernels::WgmmaPersistent, Kernels::WgmmaCluster];

    fn suggested(op: &Op, inputs: &[&Shape], halo: bool) -> (Kernels, u32) {
        let forms = [&WITHOUT_HALO[..], &[Kernels::WgmmaHalo]].concat();
        let forms = if halo { &forms[..] } else { &WITHOUT_HALO[..] };
        let choice = best(&CARD, op, inputs, every(forms)).unwrap();
        (choice.kernels, choice.columns.unwrap())
    }

    #[test]
    fn layers_of_the_wide_network() {
        for (channels, size, columns) in [(96, 32, 96), (192, 16, 192), (384, 8, 192)] {
            let (x, w) = (Shape::from([500, size, size, channels]), Shape::from([channels, 3, 3, channels]));
            let conv = Conv2d::same(3, 1);
            let forward = suggested(&conv.into(), &[&x, &w], true);
            assert_eq!(forward, (Kernels::WgmmaHalo, columns), "{channels} channels");
            let without = suggested(&conv.into(), &[&x, &w], false);
            assert_eq!(without, (Kernels::WgmmaCluster, columns), "{channels} channels");
            let gradient = Conv2dWeightGrad { conv, filter: w };
            let gradient = suggested(&gradient.into(), &[&x, &x], false);
            assert_eq!(gradient.0, Kernels::WgmmaCluster, "{channels} channels");
        }
    }

    /// A card has places for 132 tiles: one more takes another round.
    #[test]
    fn rounds_count() {
        let conv = |pixels: usize| {
            (Conv2d::same(1, 1).into(), Shape::from([1, 1, pixels, 64]), Shape::from([64, 1, 1, 64]))
        };
        let clocks = |pixels, kernels| {
            let (op, x, w) = conv(pixels);
            clocks(&CARD, &op, &[&x, &w], Choice { columns: Some(64), ..Choice::of(kernels) }).unwrap()
        };
        let persistent = |tiles: usize| clocks(128 * tiles, Kernels::WgmmaPersistent);
        assert_eq!(persistent(133), 2.0 * persistent(132));
        assert_eq!(persistent(1), persistent(132));
        // A cluster makes two, whether there are two or one.
        assert_eq!(clocks(128 * 131, Kernels::WgmmaCluster), clocks(128 * 132, Kernels::WgmmaCluster));
    }

    #[test]
    fn a_patch_is_read_as_often_as_it_has_rows_beside_the_tiles() {
        let times = |size| 9.0 * patch_reads(128, size, size);
        assert_eq!([32, 16, 8].map(times), [4.5, 3.75, 3.75]);
    }

    #[test]
    fn what_was_not_measured_is_not_chosen() {
        let (x, w) = (Shape::from([500, 16, 16, 192]), Shape::from([192, 3, 3, 192]));
        let forms = [Kernels::Naive, Kernels::Tiled, Kernels::Mma, Kernels::WgmmaCluster];
        let op: Op = Conv2d::same(3, 1).into();
        assert_eq!(of(&CARD, &op, &[&x, &w], &forms), Choice::of(kernels::fastest(&forms)));
        let small = Choices { shared_limit: 99 << 10, ..CARD };
        let cluster = Choice { columns: Some(192), ..Choice::of(Kernels::WgmmaCluster) };
        assert_eq!(clocks(&small, &op, &[&x, &w], cluster), None);
    }
}
