//! The two-stream update and its gradient, one pass each over both streams.

use pulp::Arch;
use rayon::prelude::*;

use super::batch_norm::{Affine, Backward, combine_sums, inverse_deviations};
use super::element::{Element, Real};
use crate::ops::Shortcut;

/// Images of one task: so many that a task's mask bits fill whole bytes.
fn images_a_task(image: usize) -> usize {
    let odd = 8 / gcd(image, 8);
    debug_assert_eq!(image * odd % 8, 0);
    odd
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The outer shortcut as this pass reads it.
pub enum Outer<'a, T: Element> {
    /// None.
    None,
    /// The block's input, [N H W C].
    Identity(&'a [T]),
    /// The block's input [N H' W' C'] with its width W' and channels C', subsampled and zero-padded.
    Subsampled(&'a [T], Shortcut, [usize; 3]),
    /// zp [N H W C] and its batch norm.
    Projection(&'a [T], Affine<T::Acc>),
}

/// `two_stream_update`: y = ReLU(a * z + b + outer), and one bit an element where it passed. z [N H W C].
pub fn update<T: Element>(
    z: &[T],
    main: &Affine<T::Acc>,
    outer: &Outer<'_, T>,
    [batch, height, width, c]: [usize; 4],
    y: &mut [T],
    mask: &mut [u8],
) {
    let image = height * width * c;
    let group = images_a_task(image).min(batch);
    let zero = T::Acc::default();
    let tasks = y.par_chunks_mut(group * image).zip(mask.par_chunks_mut((group * image).div_ceil(8)));
    tasks.enumerate().for_each(|(task, (y, mask))| {
        Arch::new().dispatch(|| {
            let start = task * group * image;
            let z = &z[start..start + y.len()];
            for (row, (y, z)) in y.chunks_exact_mut(c).zip(z.chunks_exact(c)).enumerate() {
                let at = start + row * c;
                match outer {
                    Outer::None => {
                        for i in 0..c {
                            y[i] = T::store(main.a[i] * z[i].load() + main.b[i]);
                        }
                    }
                    Outer::Identity(x) => {
                        let x = &x[at..at + c];
                        for i in 0..c {
                            y[i] = T::store(main.a[i] * z[i].load() + main.b[i] + x[i].load());
                        }
                    }
                    Outer::Projection(zp, branch) => {
                        let zp = &zp[at..at + c];
                        for i in 0..c {
                            let p = branch.a[i] * zp[i].load() + branch.b[i];
                            y[i] = T::store(main.a[i] * z[i].load() + main.b[i] + p);
                        }
                    }
                    Outer::Subsampled(x, s, [h_in, w_in, c_in]) => {
                        let pixel = at / c;
                        let (n, h, w) = (pixel / (height * width), pixel / width % height, pixel % width);
                        let from = ((n * h_in + h * s.stride) * w_in + w * s.stride) * c_in + s.from;
                        let x = &x[from..from + s.copied];
                        for i in 0..c {
                            let e =
                                if (s.to..s.to + s.copied).contains(&i) { x[i - s.to].load() } else { zero };
                            y[i] = T::store(main.a[i] * z[i].load() + main.b[i] + e);
                        }
                    }
                }
            }
            rectify(y, mask);
        });
    });
}

/// ReLU in place, and its mask. A value that rounds to zero does not pass, as its stored form says.
#[inline(always)]
fn rectify<T: Element>(y: &mut [T], mask: &mut [u8]) {
    let zero = T::default();
    for (y, mask) in y.chunks_mut(8).zip(mask) {
        let mut bits = 0;
        for (bit, y) in y.iter_mut().enumerate() {
            let passed = y.load() > T::Acc::default();
            bits |= u8::from(passed) << bit;
            // NaN neither passes nor becomes zero: a diverged network must show.
            if y.load() <= T::Acc::default() {
                *y = zero;
            }
        }
        *mask = bits;
    }
}

#[inline(always)]
fn masked<T: Element>(dy: &[T], mask: &[u8], i: usize) -> T::Acc {
    if mask[i / 8] >> (i % 8) & 1 == 1 { dy[i].load() } else { T::Acc::default() }
}

/// `two_stream_reduce`: per branch z, statistics [2 C], and the outputs dshift and dscale [C].
///
/// Partials: N x [(1 + branches) C].
pub fn reduce<T: Element>(
    dy: &[T],
    mask: &[u8],
    branches: &mut [(&[T], &[T::Acc], &mut [T::Acc], &mut [T::Acc])],
    batch: usize,
    partials: &mut [T::Acc],
) {
    let (image, c) = (dy.len() / batch, branches[0].2.len());
    let sums = (1 + branches.len()) * c;
    let sources: Vec<(&[T], &[T::Acc])> = branches.iter().map(|(z, stats, ..)| (*z, &stats[..c])).collect();
    partials.par_chunks_mut(sums).take(batch).enumerate().for_each(|(n, partial)| {
        Arch::new().dispatch(|| {
            partial.fill(T::Acc::default());
            let (sum, products) = partial.split_at_mut(c);
            for at in (n * image..(n + 1) * image).step_by(c) {
                for i in 0..c {
                    let g = masked(dy, mask, at + i);
                    sum[i] += g;
                    for ((z, mean), product) in sources.iter().zip(products.chunks_exact_mut(c)) {
                        product[i] += g * (z[at + i].load() - mean[i]);
                    }
                }
            }
        });
    });
    let ones = vec![T::Acc::from_f64(1.0); c];
    for (b, (_, stats, dshift, dscale)) in branches.iter_mut().enumerate() {
        let parts = || partials[..batch * sums].chunks_exact(sums);
        combine_sums(parts().map(|p| &p[..c]), &ones, dshift);
        let inverse: Vec<T::Acc> = inverse_deviations(stats).collect();
        combine_sums(parts().map(|p| &p[(1 + b) * c..(2 + b) * c]), &inverse, dscale);
    }
}

/// `two_stream_backward`: per branch z, its backward pass, and the output dz.
pub fn backward<T: Element>(
    dy: &[T],
    mask: &[u8],
    branches: &mut [(&[T], Backward<T::Acc>, &mut [T])],
    batch: usize,
) {
    let image = dy.len() / batch;
    for (z, k, dz) in branches {
        let c = k.a.len();
        dz.par_chunks_mut(image).enumerate().for_each(|(n, dz)| {
            Arch::new().dispatch(|| {
                for (row, dz) in dz.chunks_exact_mut(c).enumerate() {
                    let at = n * image + row * c;
                    let z = &z[at..at + c];
                    for i in 0..c {
                        let g = masked(dy, mask, at + i);
                        dz[i] = T::store(k.a[i] * g + k.b[i] * z[i].load() + k.c[i]);
                    }
                }
            });
        });
    }
}
