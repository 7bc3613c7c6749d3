//! What is chosen where nothing was measured: what should take the least time by arithmetic, of the forms that are known
//! to be fast. Of Hopper's forms that is [`super::predict`]'s.

use super::predict::{Product, memory};
use super::tile::Tile;
use super::{Choice, Choices, Kernels, h100};
use crate::device::cuda::kernels;
use crate::device::cuda::launch::conv2d::Extents;
use crate::device::cuda::launch::tiling;
use crate::graph::Shape;
use crate::ops::Op;

/// Blocks of the form `mma` that share a multiprocessor.
const MMA_BLOCKS: u32 = 2;

/// What is chosen of the forms of an operation, the simplest of which comes first: none that was not measured to be faster
/// than the simpler ones.
pub fn of(card: &Choices, op: &Op, inputs: &[&Shape], forms: &[Kernels]) -> Choice {
    let fastest = kernels::fastest(forms);
    if !fastest.needs_hopper() {
        return Choice::of(fastest);
    }
    let mut measured = forms.to_vec();
    measured.retain(|form| (Kernels::Mma..=fastest).contains(form));
    best(card, op, inputs, &measured).unwrap_or(Choice::of(fastest))
}

/// The form and width of tile that should take the least time, of equal ones the last; `None` where the card can run none
/// of these forms.
pub fn best(card: &Choices, op: &Op, inputs: &[&Shape], forms: &[Kernels]) -> Option<Choice> {
    let widths = |&form| {
        let widths = tiling::widths(op, inputs, form).into_iter();
        widths.map(move |width| Choice { columns: Some(width), ..Choice::of(form) })
    };
    let choices = forms.iter().flat_map(widths);
    let timed = choices.filter_map(|choice| Some((seconds(card, op, inputs, choice)?, choice)));
    let better = |a: (f64, Choice), b: (f64, Choice)| if b.0 <= a.0 { b } else { a };
    timed.reduce(better).map(|(_, choice)| choice)
}

/// What a choice should take; `None` of what the card cannot do.
fn seconds(card: &Choices, op: &Op, inputs: &[&Shape], choice: Choice) -> Option<f64> {
    if choice.kernels.needs_hopper() {
        let fits = card.shared_limit >= super::SHARED_LIMIT;
        let predicted = || tiling::predicted(card.multiprocessors, op, inputs, choice);
        return fits.then(predicted).flatten().map(|predicted| predicted.us * 1e-6);
    }
    let Tile { rows, columns, splits, .. } = Tile::of(op, inputs, choice)?;
    let extents = Extents::of_op(op, inputs)?;
    let (product, splits) = (Product::of(op, &extents), splits.unwrap_or(1));
    let tiles = product.rows.div_ceil(rows) * product.columns.div_ceil(columns) * product.batches * splits;
    let rounds = tiles.div_ceil(card.multiprocessors * MMA_BLOCKS);
    let of_tile = [rows, columns, product.depth].map(f64::from).iter().product::<f64>() / f64::from(splits);
    let rate = h100::MMA * h100::PRODUCTS * h100::CLOCK;
    let products = f64::from(rounds * MMA_BLOCKS) * of_tile / rate;
    Some(products.max(memory(op, &extents)) + h100::LAUNCH)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::Generation;
    use crate::graph::DType;
    use crate::ops::{Conv2d, Conv2dWeightGrad};

    const CARD: Choices = Choices::new(Kernels::Auto, Generation::Hopper);

    const FORMS: [Kernels; 6] = [
        Kernels::Mma,
        Kernels::WgmmaWs,
        Kernels::WgmmaPersistent,
        Kernels::WgmmaCluster,
        Kernels::WgmmaHalo,
        Kernels::WgmmaResident,
    ];

    fn suggested(op: &Op, inputs: &[&Shape]) -> (Kernels, u32) {
        let forms = kernels::forms(op, inputs, DType::Bf16, Generation::Hopper);
        let forms: Vec<Kernels> = FORMS.into_iter().filter(|form| forms.contains(form)).collect();
        let choice = best(&CARD, op, inputs, &forms).unwrap();
        (choice.kernels, choice.columns.unwrap())
    }

    #[test]
    fn layers_of_the_wide_network() {
        let (halo, resident, cluster) = (Kernels::WgmmaHalo, Kernels::WgmmaResident, Kernels::WgmmaCluster);
        // Filters that stay, where they fit; patches; and of a weight gradient tall tiles in clusters, where there are
        // channels enough.
        let layers = [
            (96, 32, (resident, 96), (halo, 96)),
            (192, 16, (halo, 192), (halo, 96)),
            (384, 8, (halo, 192), (cluster, 192)),
        ];
        for (channels, size, forward, gradient) in layers {
            let (x, w) = (Shape::from([500, size, size, channels]), Shape::from([channels, 3, 3, channels]));
            let conv = Conv2d::same(3, 1);
            assert_eq!(suggested(&conv.into(), &[&x, &w]), forward, "{channels} channels");
            let op = Conv2dWeightGrad { conv, filter: w };
            assert_eq!(suggested(&op.into(), &[&x, &x]), gradient, "{channels} channels");
        }
    }

    #[test]
    fn what_was_not_measured_is_not_chosen() {
        let (x, w) = (Shape::from([500, 16, 16, 192]), Shape::from([192, 3, 3, 192]));
        let forms = [Kernels::Naive, Kernels::Tiled, Kernels::Mma, Kernels::WgmmaCluster];
        let op: Op = Conv2d::same(3, 1).into();
        assert_eq!(of(&CARD, &op, &[&x, &w], &forms), Choice::of(kernels::fastest(&forms)));
        let small = Choices { shared_limit: 99 << 10, ..CARD };
        let cluster = Choice { columns: Some(192), ..Choice::of(Kernels::WgmmaCluster) };
        assert_eq!(seconds(&small, &op, &[&x, &w], cluster), None);
    }
}
