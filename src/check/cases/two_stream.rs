//! The two-stream update with every outer shortcut, and its two backward passes.

use super::{Fill, Row, activation};
use crate::graph::Shape;
use crate::ops::{Outer, Shortcut, TwoStreamBackward, TwoStreamReduce, TwoStreamUpdate};

const SHAPES: [[usize; 4]; 9] = [
    [1, 1, 1, 3],
    [1, 7, 5, 10],
    [2, 7, 5, 20],
    [3, 7, 5, 33], // two chunks of a reduction on cards, the second a short one
    [2, 8, 8, 96],
    [9, 16, 16, 10],
    [2, 2, 2, 384],
    [1, 7, 5, 8],
    [3, 1, 2, 131], // more channels than a block of a reduction takes on cards
];

/// Inputs of one batch norm: z, statistics, scale, shift.
fn normalised(row: Row, z: &Shape) -> Row {
    let c = z.channels();
    row.with(z.clone(), Fill::Normal)
        .with([2, c], Fill::Statistics)
        .with([c], Fill::Normal)
        .with([c], Fill::Normal)
}

/// Outer shortcuts whose result is [N H W C], and the extents of what they read.
fn subsampled([n, h, w, c]: [usize; 4]) -> Vec<(String, Shortcut, Shape)> {
    let narrow = c.div_ceil(2);
    let mut forms = vec![
        ("-pad".into(), Shortcut::new(1, c, narrow), [n, h, w, narrow].into()),
        ("-halved".into(), Shortcut::new(2, c, narrow), [n, 2 * h, 2 * w, narrow].into()),
        ("-halved-odd".into(), Shortcut::new(2, c, c), [n, 2 * h - 1, 2 * w - 1, c].into()),
        (
            "-offsets".into(),
            Shortcut { from: 1, to: c - narrow, ..Shortcut::new(2, c, narrow) },
            [n, 2 * h, 2 * w - 1, narrow + 2].into(),
        ),
    ];
    if narrow.is_multiple_of(8) {
        let offsets = Shortcut { from: 8, to: c - narrow, ..Shortcut::new(2, c, narrow) };
        forms.push(("-offsets8".into(), offsets, [n, 2 * h, 2 * w - 1, narrow + 16].into()));
    }
    forms
}

/// TwoStreamUpdate, TwoStreamReduce, TwoStreamBackward.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for extents in SHAPES {
        let (z, form) = (Shape::from(extents), activation(extents));
        let update = |outer, suffix: &str| {
            normalised(Row::new(TwoStreamUpdate { outer }, format!("{form}{suffix}"), []), &z)
        };
        rows.push(update(Outer::None, ""));
        rows.push(update(Outer::Identity, "-identity").with(z.clone(), Fill::Normal));
        for (suffix, shortcut, input) in subsampled(extents) {
            rows.push(update(Outer::Subsampled(shortcut), &suffix).with(input, Fill::Normal));
        }
        rows.push(normalised(update(Outer::Projection, "-projection"), &z));

        let (m, c) = (z.rows(), z.channels());
        for (projected, suffix) in [(false, ""), (true, "-projection")] {
            let branches = if projected { 2 } else { 1 };
            let form = format!("{form}{suffix}");
            let mut reduce = Row::new(TwoStreamReduce { projected }, &form, [z.clone()]);
            reduce = reduce.with(z.clone(), Fill::Mask);
            let backward = |masked, suffix: &str| {
                let op = TwoStreamBackward { projected, masked };
                let row = Row::new(op, format!("{form}{suffix}"), [z.clone()]);
                let row = if masked { row.with(z.clone(), Fill::Mask) } else { row };
                let sums = Fill::Scaled(m as f64);
                (0..branches).fold(row, |row, _| {
                    row.with(z.clone(), Fill::Normal)
                        .with([2, c], Fill::Statistics)
                        .with([c], Fill::Normal)
                        .with([c], sums)
                        .with([c], sums)
                })
            };
            for _ in 0..branches {
                reduce = reduce.with(z.clone(), Fill::Normal).with([2, c], Fill::Statistics);
            }
            rows.extend([reduce.sums(m), backward(true, ""), backward(false, "-g")]);
        }
    }
    rows
}
