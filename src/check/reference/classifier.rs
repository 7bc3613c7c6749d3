//! The linear layer and softmax cross-entropy.

use super::Tensor;
use crate::ops::{SoftmaxCrossEntropy, SoftmaxCrossEntropyBackward};

/// `y[n, k] = sum over c of x[n, c] w[k, c] + b[k]`.
pub(super) fn linear(x: &Tensor, w: &Tensor, b: &Tensor) -> Tensor {
    let ([n, channels], [k, _]) = (x.dims2(), w.dims2());
    Tensor::from_fn([n, k], |i| {
        let (n, k) = (i / k, i % k);
        (0..channels).map(|c| x.at([n, c]) * w.at([k, c])).sum::<f64>() + b.at([k])
    })
}

/// `dx[n, c] = sum over k of dy[n, k] w[k, c]`.
pub(super) fn linear_data_grad(dy: &Tensor, w: &Tensor) -> Tensor {
    let ([n, classes], [_, c]) = (dy.dims2(), w.dims2());
    Tensor::from_fn([n, c], |i| (0..classes).map(|k| dy.at([i / c, k]) * w.at([k, i % c])).sum())
}

/// `dw[k, c] = sum over n of dy[n, k] x[n, c]`.
pub(super) fn linear_weight_grad(dy: &Tensor, x: &Tensor) -> Tensor {
    let ([batch, k], [_, c]) = (dy.dims2(), x.dims2());
    Tensor::from_fn([k, c], |i| (0..batch).map(|n| dy.at([n, i / c]) * x.at([n, i % c])).sum())
}

/// `db[k] = sum over n of dy[n, k]`.
pub(super) fn bias_grad(dy: &Tensor) -> Tensor {
    let [batch, k] = dy.dims2();
    Tensor::from_fn([k], |k| (0..batch).map(|n| dy.at([n, k])).sum())
}

/// `log softmax(logits[n, :])[k]`: relative to the largest logit, so that no exponential overflows.
fn log_softmax(logits: &Tensor, n: usize, k: usize) -> f64 {
    let [_, classes] = logits.dims2();
    let largest = (0..classes).map(|j| logits.at([n, j])).fold(f64::NEG_INFINITY, f64::max);
    let sum: f64 = (0..classes).map(|j| (logits.at([n, j]) - largest).exp()).sum();
    logits.at([n, k]) - largest - sum.ln()
}

/// `t[n, k] = (1 - smoothing) onehot(label) + smoothing / K`.
fn target(smoothing: f64, label: f64, k: usize, classes: usize) -> f64 {
    let hard = if k as f64 == label { 1.0 - smoothing } else { 0.0 };
    hard + smoothing / classes as f64
}

/// The mean loss, and how many samples are right.
pub(super) fn cross_entropy(op: &SoftmaxCrossEntropy, logits: &Tensor, labels: &Tensor) -> [Tensor; 2] {
    let [batch, classes] = logits.dims2();
    let (mut loss, mut correct) = (0.0, 0.0);
    for n in 0..batch {
        let label = labels.at([n]);
        for k in 0..classes {
            loss -= target(op.smoothing, label, k, classes) * log_softmax(logits, n, k) / batch as f64;
        }
        let first_largest =
            (1..classes).fold(0, |best, k| if logits.at([n, k]) > logits.at([n, best]) { k } else { best });
        correct += f64::from(u8::from(first_largest as f64 == label));
    }
    [Tensor::new([1], vec![loss]), Tensor::new([1], vec![correct])]
}

/// `dloss * (softmax(logits) - t) / N`.
pub(super) fn cross_entropy_backward(
    op: &SoftmaxCrossEntropyBackward,
    dloss: &Tensor,
    logits: &Tensor,
    labels: &Tensor,
) -> Tensor {
    let [batch, classes] = logits.dims2();
    Tensor::from_fn([batch, classes], |i| {
        let (n, k) = (i / classes, i % classes);
        let t = target(op.smoothing, labels.at([n]), k, classes);
        dloss.at([0]) * (log_softmax(logits, n, k).exp() - t) / batch as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two equal logits: each has probability 1/2, and the first counts as the answer.
    #[test]
    fn cross_entropy_worked_by_hand() {
        let logits = Tensor::new([2, 2], vec![3.0, 3.0, 3.0, 3.0]);
        let labels = Tensor::new([2], vec![0.0, 1.0]);
        let [loss, correct] = cross_entropy(&SoftmaxCrossEntropy { smoothing: 0.0 }, &logits, &labels);
        assert!((loss.data[0] - 2f64.ln()).abs() < 1e-15);
        assert_eq!(correct.data, [1.0]);
        let op = SoftmaxCrossEntropyBackward { smoothing: 0.5 };
        let d = cross_entropy_backward(&op, &Tensor::new([1], vec![2.0]), &logits, &labels);
        let want = [-0.25, 0.25, 0.25, -0.25];
        assert!(d.data.iter().zip(want).all(|(d, want)| (d - want).abs() < 1e-15), "{:?}", d.data);
    }
}
