//! The classifier's end: linear layer and softmax cross-entropy. Small: plain loops, samples or classes in parallel.

use rayon::prelude::*;

use super::element::Real;

fn dot<A: Real>(a: &[A], b: &[A]) -> A {
    a.iter().zip(b).map(|(a, b)| *a * *b).sum()
}

/// `linear`: x [N C], w [K C], b `[K]` to y [N K].
pub fn linear<A: Real>(x: &[A], w: &[A], b: &[A], y: &mut [A]) {
    let (k, c) = (b.len(), w.len() / b.len());
    y.par_chunks_mut(k).zip(x.par_chunks(c)).for_each(|(y, x)| {
        for ((y, w), b) in y.iter_mut().zip(w.chunks_exact(c)).zip(b) {
            *y = *b + dot(x, w);
        }
    });
}

/// `linear_data_grad`: dy [N K], w [K C] to dx [N C].
pub fn linear_data_grad<A: Real>(dy: &[A], w: &[A], batch: usize, dx: &mut [A]) {
    let (k, c) = (dy.len() / batch, dx.len() / batch);
    dx.par_chunks_mut(c).zip(dy.par_chunks(k)).for_each(|(dx, dy)| {
        dx.fill(A::default());
        for (dy, w) in dy.iter().zip(w.chunks_exact(c)) {
            dx.iter_mut().zip(w).for_each(|(dx, w)| *dx += *dy * *w);
        }
    });
}

/// `linear_weight_grad`: dy [N K], x [N C] to dw [K C]; samples in order.
pub fn linear_weight_grad<A: Real>(dy: &[A], x: &[A], batch: usize, dw: &mut [A]) {
    let (k, c) = (dy.len() / batch, x.len() / batch);
    dw.par_chunks_mut(c).enumerate().for_each(|(i, dw)| {
        dw.fill(A::default());
        for (dy, x) in dy.chunks_exact(k).zip(x.chunks_exact(c)) {
            dw.iter_mut().zip(x).for_each(|(dw, x)| *dw += dy[i] * *x);
        }
    });
}

/// `bias_grad`: dy [N K] to db `[K]`; samples in order.
pub fn bias_grad<A: Real>(dy: &[A], db: &mut [A]) {
    db.fill(A::default());
    for row in dy.chunks_exact(db.len()) {
        db.iter_mut().zip(row).for_each(|(db, dy)| *db += *dy);
    }
}

/// A row's largest logit and the index of the first such, and its log-sum-exp over the largest.
fn log_sum_exp<A: Real>(logits: &[A]) -> (A, usize, A) {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] {
            best = i;
        }
    }
    let sum: A = logits.iter().map(|x| (*x - logits[best]).exp()).sum();
    (logits[best], best, sum.ln())
}

/// The target of class `k`.
fn target<A: Real>(k: usize, label: i32, classes: usize, smoothing: f64) -> A {
    let hard = if k as i32 == label { 1.0 - smoothing } else { 0.0 };
    A::from_f64(hard + smoothing / classes as f64)
}

/// `softmax_cross_entropy`: mean loss `[1]` and number of right answers `[1]`; samples in order, summed in f64.
pub fn softmax_cross_entropy<A: Real>(
    logits: &[A],
    labels: &[i32],
    smoothing: f64,
    loss: &mut [A],
    correct: &mut [A],
) {
    let k = logits.len() / labels.len();
    let (mut total, mut right) = (0.0, 0usize);
    for (row, &label) in logits.chunks_exact(k).zip(labels) {
        let (largest, best, log_sum) = log_sum_exp(row);
        let terms = row.iter().enumerate().map(|(i, x)| {
            let weight: A = target(i, label, k, smoothing);
            // A class without weight adds nothing, even where its logit is infinitely unlikely.
            if weight == A::default() { 0.0 } else { (weight * (log_sum - (*x - largest))).to_f64() }
        });
        total += terms.sum::<f64>();
        right += usize::from(best as i32 == label);
    }
    loss[0] = A::from_f64(total / labels.len() as f64);
    correct[0] = A::from_f64(right as f64);
}

/// `softmax_cross_entropy_backward`: dlogits [N K].
pub fn softmax_cross_entropy_backward<A: Real>(
    dloss: &[A],
    logits: &[A],
    labels: &[i32],
    smoothing: f64,
    dlogits: &mut [A],
) {
    let k = logits.len() / labels.len();
    let factor = dloss[0] / A::from_f64(labels.len() as f64);
    for ((d, row), &label) in dlogits.chunks_exact_mut(k).zip(logits.chunks_exact(k)).zip(labels) {
        let (largest, _, log_sum) = log_sum_exp(row);
        for (i, (d, x)) in d.iter_mut().zip(row).enumerate() {
            let probability = (*x - largest - log_sum).exp();
            *d = factor * (probability - target(i, label, k, smoothing));
        }
    }
}
