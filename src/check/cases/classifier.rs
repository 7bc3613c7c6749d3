//! The linear layer and softmax cross-entropy.

use super::{Fill, Row};
use crate::ops::{
    BiasGrad, Linear, LinearDataGrad, LinearWeightGrad, SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward,
};

/// Linear and its gradients, SoftmaxCrossEntropy and its gradient.
pub(super) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for [n, c, k] in [[1, 3, 2], [1, 1, 10], [5, 20, 10], [7, 33, 3], [64, 64, 10], [33, 96, 100]] {
        let form = format!("n{n}c{c}k{k}");
        let (x, w, dy) = ([n, c].into(), [k, c].into(), [n, k].into());
        let shapes = |a: &crate::graph::Shape, b: &crate::graph::Shape| [a.clone(), b.clone()];
        rows.push(Row::new(Linear, &form, shapes(&x, &w)).with([k], Fill::Normal).sums(c));
        rows.push(Row::new(LinearDataGrad, &form, shapes(&dy, &w)).sums(k));
        rows.push(Row::new(LinearWeightGrad, &form, shapes(&dy, &x)).sums(n));
        rows.push(Row::new(BiasGrad, form, [dy]).sums(n));
    }
    for [n, k] in [[1, 2], [1, 10], [5, 3], [7, 33], [64, 10], [33, 100], [300, 10]] {
        // Logits near each other: softmax - t is no small difference of large numbers.
        for (logits, kind) in [(Fill::Scaled(1.0), ""), (Fill::Integers, "-ties")] {
            for (smoothing, suffix) in [(0.0, ""), (0.1, "-smoothing")] {
                let form = format!("n{n}k{k}{kind}{suffix}");
                let forward = Row::new(SoftmaxCrossEntropy { smoothing }, &form, []);
                rows.push(forward.with([n, k], logits).with([n], Fill::Labels(k)).sums(n * k));
                let backward = Row::new(SoftmaxCrossEntropyBackward { smoothing }, form, [[1].into()]);
                rows.push(backward.with([n, k], logits).with([n], Fill::Labels(k)).sums(k));
            }
        }
    }
    // Exponentials of these overflow f32 unless the largest logit is subtracted first.
    let far = Row::new(SoftmaxCrossEntropy { smoothing: 0.1 }, "n5k10-large", []);
    rows.push(far.with([5, 10], Fill::Scaled(200.0)).with([5], Fill::Labels(10)).sums(10));
    let far = Row::new(SoftmaxCrossEntropyBackward { smoothing: 0.1 }, "n5k10-large", [[1].into()]);
    rows.push(far.with([5, 10], Fill::Scaled(200.0)).with([5], Fill::Labels(10)).sums(10));
    rows
}
