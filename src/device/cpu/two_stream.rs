//! The two-stream update and its gradient, one pass each over both streams.

use std::cell::RefCell;

use pulp::Arch;
use rayon::prelude::*;

use super::batch_norm::{Affine, Backward, combine_sums, inverse_deviations};
use super::element::{Element, Real};
use super::mask;
use super::memory::Buffer;
use crate::ops::Shortcut;

thread_local! {
    /// A row in the arithmetic, and gates.
    static ROWS: RefCell<[Buffer; 2]> = RefCell::default();
}

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
    let task = images_a_task(image).min(batch) * image;
    y.par_chunks_mut(task).zip(mask.par_chunks_mut(task.div_ceil(8))).enumerate().for_each(
        |(t, (y, mask))| {
            ROWS.with_borrow_mut(|[row, gates]| {
                let (row, gates) = (row.first::<T::Acc>(c), gates.first::<u8>(y.len()));
                Arch::new().dispatch(|| {
                    for (r, y) in y.chunks_exact_mut(c).enumerate() {
                        let at = t * task + r * c;
                        for ((row, z), (a, b)) in
                            row.iter_mut().zip(&z[at..at + c]).zip(main.a.iter().zip(&main.b))
                        {
                            *row = *a * z.load() + *b;
                        }
                        add_outer(outer, at, [height, width, c], row);
                        for ((y, row), gate) in y.iter_mut().zip(&*row).zip(&mut gates[r * c..]) {
                            let stored = T::store(*row);
                            // NaN neither passes nor becomes zero: a diverged network must show.
                            *gate = u8::from(stored.load() > T::Acc::default());
                            *y = if stored.load() <= T::Acc::default() { T::default() } else { stored };
                        }
                    }
                    mask::pack(gates, mask);
                });
            });
        },
    );
}

/// Adds the outer shortcut's channels of the pixel that starts at element `at`.
#[inline(always)]
fn add_outer<T: Element>(
    outer: &Outer<'_, T>,
    at: usize,
    [height, width, c]: [usize; 3],
    row: &mut [T::Acc],
) {
    match outer {
        Outer::None => {}
        Outer::Identity(x) => row.iter_mut().zip(&x[at..at + c]).for_each(|(row, x)| *row += x.load()),
        Outer::Projection(zp, Affine { a, b }) => {
            for ((row, zp), (a, b)) in row.iter_mut().zip(&zp[at..at + c]).zip(a.iter().zip(b)) {
                *row += *a * zp.load() + *b;
            }
        }
        Outer::Subsampled(x, s, [h_in, w_in, c_in]) => {
            let pixel = at / c;
            let (n, h, w) = (pixel / (height * width), pixel / width % height, pixel % width);
            let from = ((n * h_in + h * s.stride) * w_in + w * s.stride) * c_in + s.from;
            let x = &x[from..from + s.copied];
            row[s.to..s.to + s.copied].iter_mut().zip(x).for_each(|(row, x)| *row += x.load());
        }
    }
}

/// `g = dy` where the mask is set, else 0, of the elements from `at` on.
#[inline(always)]
fn masked<T: Element>(dy: &[T], mask: &[u8], at: usize, gates: &mut [u8], g: &mut [T::Acc]) {
    mask::expand(mask, at, gates);
    for ((g, dy), gate) in g.iter_mut().zip(&dy[at..at + gates.len()]).zip(&*gates) {
        let dy = dy.load();
        *g = if *gate != 0 { dy } else { T::Acc::default() };
    }
}

/// One batch norm that the reductions of a masked gradient belong to.
pub struct Reduction<'a, T: Element> {
    /// z [N H W C].
    pub z: &'a [T],
    /// Its statistics [2 C].
    pub stats: &'a [T::Acc],
    /// `sum g` `[C]`.
    pub dshift: &'a mut [T::Acc],
    /// `sum g * zhat` `[C]`.
    pub dscale: &'a mut [T::Acc],
}

/// Sums of each channel that the reductions of so many batch norms with the same g begin with.
pub fn sums(branches: usize) -> usize {
    if branches == 0 { 0 } else { 1 + branches }
}

/// `two_stream_reduce`, of a dy that is masked on the fly, or of a g. Partials: N x [sums C].
pub fn reduce<T: Element>(
    dy: &[T],
    mask: Option<&[u8]>,
    branches: &mut [Reduction<'_, T>],
    batch: usize,
    partials: &mut [T::Acc],
) {
    let (image, c) = (dy.len() / batch, branches[0].dshift.len());
    let sums = sums(branches.len()) * c;
    let sources: Vec<(&[T], &[T::Acc])> = branches.iter().map(|b| (b.z, &b.stats[..c])).collect();
    partials.par_chunks_mut(sums).take(batch).enumerate().for_each(|(n, partial)| {
        ROWS.with_borrow_mut(|[row, gates]| {
            let (g, gates) = (row.first::<T::Acc>(c), gates.first::<u8>(c));
            Arch::new().dispatch(|| {
                partial.fill(T::Acc::default());
                let (sum, products) = partial.split_at_mut(c);
                for at in (n * image..(n + 1) * image).step_by(c) {
                    match mask {
                        Some(mask) => masked(dy, mask, at, gates, g),
                        None => g.iter_mut().zip(&dy[at..]).for_each(|(g, dy)| *g = dy.load()),
                    }
                    sum.iter_mut().zip(&*g).for_each(|(sum, g)| *sum += *g);
                    for ((z, mean), products) in sources.iter().zip(products.chunks_exact_mut(c)) {
                        for (((p, g), z), mean) in products.iter_mut().zip(&*g).zip(&z[at..]).zip(*mean) {
                            *p += *g * (z.load() - *mean);
                        }
                    }
                }
            });
        });
    });
    let ones = vec![T::Acc::from_f64(1.0); c];
    for (b, branch) in branches.iter_mut().enumerate() {
        let parts = || partials[..batch * sums].chunks_exact(sums);
        combine_sums(parts().map(|p| &p[..c]), &ones, branch.dshift);
        let inverse: Vec<T::Acc> = inverse_deviations(branch.stats).collect();
        combine_sums(parts().map(|p| &p[(1 + b) * c..(2 + b) * c]), &inverse, branch.dscale);
    }
}

/// `two_stream_backward` of one batch norm: dz from its z and its backward pass' constants.
pub fn backward<T: Element>(
    dy: &[T],
    mask: &[u8],
    z: &[T],
    k: &Backward<T::Acc>,
    batch: usize,
    dz: &mut [T],
) {
    let (image, c) = (dy.len() / batch, k.a.len());
    dz.par_chunks_mut(image).enumerate().for_each(|(n, dz)| {
        ROWS.with_borrow_mut(|[row, gates]| {
            let (g, gates) = (row.first::<T::Acc>(c), gates.first::<u8>(c));
            Arch::new().dispatch(|| {
                for (row, dz) in dz.chunks_exact_mut(c).enumerate() {
                    let at = n * image + row * c;
                    masked(dy, mask, at, gates, g);
                    k.row(g.iter().copied(), &z[at..at + c], dz);
                }
            });
        });
    });
}
