//! Operations on one element at a time: sums, ReLU, conversions, and the parameter-free shortcut.

use pulp::Arch;
use rayon::prelude::*;

use super::element::{Element, Real};
use super::mask;
use crate::ops::Shortcut;

/// Elements of one task: small enough to stay in a core's cache between reading and writing.
const BLOCK: usize = 1 << 15;

/// `y[i] = f(i)`, in parallel blocks.
fn map<T: Element>(y: &mut [T], f: impl Fn(usize) -> T + Sync) {
    y.par_chunks_mut(BLOCK).enumerate().for_each(|(block, y)| {
        Arch::new().dispatch(|| {
            for (i, y) in y.iter_mut().enumerate() {
                *y = f(block * BLOCK + i);
            }
        });
    });
}

/// `add`: left to right.
pub fn add<T: Element>(terms: &[&[T]], y: &mut [T]) {
    match terms {
        [a, b] => map(y, |i| T::store(a[i].load() + b[i].load())),
        _ => map(y, |i| T::store(terms.iter().map(|t| t[i].load()).sum())),
    }
}

/// `relu`. NaN stays: a diverged network must show.
pub fn relu<T: Element>(x: &[T], y: &mut [T]) {
    map(y, |i| if x[i].load() <= T::Acc::default() { T::default() } else { x[i] });
}

/// `relu_backward` from ReLU's output.
pub fn relu_backward<T: Element>(dy: &[T], y: &[T], dx: &mut [T]) {
    map(dx, |i| if y[i].load() > T::Acc::default() { dy[i] } else { T::default() });
}

/// `relu_backward` from ReLU's mask.
pub fn masked<T: Element>(dy: &[T], mask: &[u8], dx: &mut [T]) {
    dx.par_chunks_mut(BLOCK).enumerate().for_each(|(block, dx)| {
        Arch::new().dispatch(|| {
            let mut gates = [0; 64];
            for (row, dx) in dx.chunks_mut(gates.len()).enumerate() {
                let at = block * BLOCK + row * gates.len();
                let gates = &mut gates[..dx.len()];
                mask::expand(mask, at, gates);
                for ((dx, dy), gate) in dx.iter_mut().zip(&dy[at..]).zip(gates) {
                    *dx = if *gate != 0 { *dy } else { T::default() };
                }
            }
        });
    });
}

/// `cast` between storage types of one arithmetic.
pub fn cast<A: Element, B: Element<Acc = A::Acc>>(x: &[A], y: &mut [B]) {
    map(y, |i| B::store(x[i].load()));
}

/// `shadow_weights` of one filter: each element converted, after 1 was added to so many of those that lie (step, first)
/// apart.
pub fn shadow_weights<T: Element>(w: &[T::Acc], e: Option<((usize, usize), usize)>, shadow: &mut [T]) {
    cast(w, shadow);
    if let Some(((step, first), identity)) = e {
        for i in (0..identity).map(|i| first + i * step) {
            shadow[i] = T::store(w[i] + T::Acc::from_f64(1.0));
        }
    }
}

/// `shortcut`: x [N H W C] to y [N P Q K].
pub fn shortcut<T: Element>(
    s: &Shortcut,
    [h, w, c]: [usize; 3],
    [p, q, k]: [usize; 3],
    x: &[T],
    y: &mut [T],
) {
    y.par_chunks_mut(p * q * k).zip(x.par_chunks(h * w * c)).for_each(|(y, x)| {
        for (pixel, y) in y.chunks_exact_mut(k).enumerate() {
            let from = ((pixel / q) * s.stride * w + (pixel % q) * s.stride) * c + s.from;
            y.fill(T::default());
            y[s.to..s.to + s.copied].copy_from_slice(&x[from..from + s.copied]);
        }
    });
}

/// `shortcut_backward`: dy [N P Q K] to dx [N H W C].
pub fn shortcut_backward<T: Element>(
    s: &Shortcut,
    [h, w, c]: [usize; 3],
    [p, q, k]: [usize; 3],
    dy: &[T],
    dx: &mut [T],
) {
    dx.par_chunks_mut(h * w * c).zip(dy.par_chunks(p * q * k)).for_each(|(dx, dy)| {
        dx.fill(T::default());
        for (pixel, dy) in dy.chunks_exact(k).enumerate() {
            let to = ((pixel / q) * s.stride * w + (pixel % q) * s.stride) * c + s.from;
            dx[to..to + s.copied].copy_from_slice(&dy[s.to..s.to + s.copied]);
        }
    });
}

/// `global_avg_pool`: x [N H W C] to y [N C].
pub fn global_avg_pool<T: Element>(x: &[T], batch: usize, y: &mut [T::Acc]) {
    let (image, c) = (x.len() / batch, y.len() / batch);
    let pixels = T::Acc::from_f64((image / c) as f64);
    y.par_chunks_mut(c).zip(x.par_chunks(image)).for_each(|(y, x)| {
        y.fill(T::Acc::default());
        for row in x.chunks_exact(c) {
            y.iter_mut().zip(row).for_each(|(y, x)| *y += x.load());
        }
        y.iter_mut().for_each(|y| *y = *y / pixels);
    });
}

/// `global_avg_pool_backward`: dy [N C] to dx [N H W C].
pub fn global_avg_pool_backward<T: Element>(dy: &[T::Acc], batch: usize, dx: &mut [T]) {
    let (image, c) = (dx.len() / batch, dy.len() / batch);
    let pixels = T::Acc::from_f64((image / c) as f64);
    dx.par_chunks_mut(image).zip(dy.par_chunks(c)).for_each(|(dx, dy)| {
        for row in dx.chunks_exact_mut(c) {
            row.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = T::store(*dy / pixels));
        }
    });
}
