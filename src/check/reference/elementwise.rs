//! Shortcut, ReLU, sum and global average pool.

use super::Tensor;
use crate::ops::{GlobalAvgPoolBackward, Shortcut, ShortcutBackward};

/// Extents that a strided shortcut gives of `extent`.
fn subsampled(extent: usize, stride: usize) -> usize {
    extent.div_ceil(stride)
}

/// Visits every copied element: where it is read, and where it is written.
fn copies(op: &Shortcut, [n, h, w, _]: [usize; 4], mut visit: impl FnMut([usize; 4], [usize; 4])) {
    for n in 0..n {
        for p in 0..subsampled(h, op.stride) {
            for q in 0..subsampled(w, op.stride) {
                for i in 0..op.copied {
                    visit([n, p * op.stride, q * op.stride, op.from + i], [n, p, q, op.to + i]);
                }
            }
        }
    }
}

/// Subsampled, some channels kept, zero-padded.
pub(super) fn shortcut(op: &Shortcut, x: &Tensor) -> Tensor {
    let [n, h, w, _] = x.dims4();
    let mut y = Tensor::zeros([n, subsampled(h, op.stride), subsampled(w, op.stride), op.channels]);
    copies(op, x.dims4(), |read, written| *y.at_mut(written) = x.at(read));
    y
}

/// The transpose of [`shortcut`].
pub(super) fn shortcut_backward(op: &ShortcutBackward, dy: &Tensor) -> Tensor {
    let mut dx = Tensor::zeros(op.input.clone());
    let extents = dx.dims4();
    copies(&op.shortcut, extents, |read, written| *dx.at_mut(read) = dy.at(written));
    dx
}

/// `max(x, 0)`; what is not a number stays so, or a diverged network would look sound.
pub(super) fn relu(x: &Tensor) -> Tensor {
    Tensor::from_fn(x.shape.clone(), |i| if x.data[i] <= 0.0 { 0.0 } else { x.data[i] })
}

/// `dy` where ReLU passed: where its output, or its mask, is above 0.
pub(super) fn gate(dy: &Tensor, passed: &Tensor) -> Tensor {
    Tensor::from_fn(dy.shape.clone(), |i| if passed.data[i] > 0.0 { dy.data[i] } else { 0.0 })
}

/// The sum of all terms.
pub(super) fn add(terms: &[&Tensor]) -> Tensor {
    Tensor::from_fn(terms[0].shape.clone(), |i| terms.iter().map(|x| x.data[i]).sum())
}

/// The mean over all pixels.
pub(super) fn global_avg_pool(x: &Tensor) -> Tensor {
    let [n, h, w, c] = x.dims4();
    let mut y = Tensor::zeros([n, c]);
    for n in 0..n {
        for h_ in 0..h {
            for w_ in 0..w {
                for c in 0..c {
                    *y.at_mut([n, c]) += x.at([n, h_, w_, c]) / (h * w) as f64;
                }
            }
        }
    }
    y
}

/// Every pixel's equal share.
pub(super) fn global_avg_pool_backward(op: &GlobalAvgPoolBackward, dy: &Tensor) -> Tensor {
    let [_, h, w, c] = op.input.dims4().expect("shape rules have checked that there are four extents");
    Tensor::from_fn(op.input.clone(), |i| dy.at([i / (h * w * c), i % c]) / (h * w) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A 3x3 image of two channels, subsampled to 2x2: channel 1 goes to channel 2 of 3.
    #[test]
    fn a_shortcut_worked_by_hand() {
        let x = Tensor::from_fn([1, 3, 3, 2], |i| i as f64);
        let op = Shortcut { stride: 2, channels: 3, copied: 1, from: 1, to: 2 };
        let y = shortcut(&op, &x);
        assert_eq!(y.data, [0., 0., 1., 0., 0., 5., 0., 0., 13., 0., 0., 17.]);
        let dx = shortcut_backward(&ShortcutBackward { shortcut: op, input: x.shape.clone() }, &y);
        let want = |i: usize| if [1, 5, 13, 17].contains(&i) { i as f64 } else { 0.0 };
        assert_eq!(dx, Tensor::from_fn(x.shape, want));
    }
}
