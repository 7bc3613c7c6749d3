//! Batch norm, and its folded form.

use super::{Fill, Limit, Row};
use crate::graph::Shape;
use crate::ops::{BatchNorm, BatchNormBackward, BatchNormReduce, BatchStats, FoldBatchNorm, ScaleShift};

/// z: rows times channels, of images or of vectors.
const SHAPES: [&[usize]; 10] = [
    &[1, 1, 1, 3],
    &[1, 7, 5, 10],
    &[2, 7, 5, 20],
    &[3, 7, 5, 33], // two chunks of a reduction on cards, the second a short one
    &[2, 8, 8, 96],
    &[9, 16, 16, 10],
    &[5, 10],
    &[2, 1, 1, 384],
    &[3, 1, 2, 131], // on cards more vectors than a block of a reduction takes, one by one ...
    &[3, 1048],      // ... and by eight
];

/// BatchStats, BatchNorm, BatchNormReduce, BatchNormBackward, FoldBatchNorm, ScaleShift.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for extents in SHAPES {
        let z = Shape(extents.to_vec());
        let (c, m) = (z.channels(), z.rows());
        let form = extents.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
        let vector = || Shape::from([c]);
        rows.push(Row::new(BatchStats, &form, [z.clone()]).sums(m));
        let distance = 64.0;
        let far = Row::new(BatchStats, format!("{form}-mean{distance}"), []);
        let limit = Limit::Variance { terms: m, distance };
        rows.push(Row { limit, ..far.with(z.clone(), Fill::Offset(distance)) });
        let normalised = Row::new(BatchNorm, &form, [z.clone()]).with([2, c], Fill::Statistics);
        rows.push(normalised.with(vector(), Fill::Normal).with(vector(), Fill::Normal));
        let reduced = Row::new(BatchNormReduce, &form, [z.clone(), z.clone()]);
        rows.push(reduced.with([2, c], Fill::Statistics).sums(m));
        let sums = Fill::Scaled(m as f64);
        rows.push(
            Row::new(BatchNormBackward, &form, [z.clone(), z.clone()])
                .with([2, c], Fill::Statistics)
                .with(vector(), Fill::Normal)
                .with(vector(), sums)
                .with(vector(), sums),
        );
        let state = Row::new(FoldBatchNorm, &form, [vector(), vector(), vector()]);
        rows.push(state.with(vector(), Fill::Positive));
        rows.push(Row::new(ScaleShift, &form, [z, [2, c].into()]));
    }
    rows
}
