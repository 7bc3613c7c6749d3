//! The batch-norm family: statistics, normalisation, reductions, backward pass, running averages, and folding.
//!
//! Reductions are two-pass and ordered: each image's partial results, then those in the order of the images.

use pulp::Arch;
use rayon::prelude::*;

use super::element::{Element, Real};
use crate::ops::{EPSILON, UpdateRunning};

/// An image's mean and sum of squared deviations per channel: z [rows C] to partial [2 C].
pub fn partial_statistics<T: Element>(z: &[T], partial: &mut [T::Acc]) {
    let c = partial.len() / 2;
    let (mean, squares) = partial.split_at_mut(c);
    Arch::new().dispatch(|| {
        mean.fill(T::Acc::default());
        for row in z.chunks_exact(c) {
            mean.iter_mut().zip(row).for_each(|(m, z)| *m += z.load());
        }
        let rows = T::Acc::from_f64((z.len() / c) as f64);
        mean.iter_mut().for_each(|m| *m = *m / rows);
        squares.fill(T::Acc::default());
        for row in z.chunks_exact(c) {
            for ((s, m), z) in squares.iter_mut().zip(&*mean).zip(row) {
                let d = z.load() - *m;
                *s += d * d;
            }
        }
    });
}

/// Combines the partial statistics of images of `rows` rows each, in order, by Chan's formula (Chan, Golub and LeVeque,
/// 1979), in f64: mean and biased variance, [2 C].
pub fn combine_statistics<T: Real>(partials: &[T], rows: usize, stats: &mut [T]) {
    let c = stats.len() / 2;
    for i in 0..c {
        let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
        for partial in partials.chunks_exact(2 * c) {
            let (m, s) = (partial[i].to_f64(), partial[c + i].to_f64());
            let (n, delta) = (rows as f64, m - mean);
            let total = count + n;
            mean += delta * n / total;
            squares += s + delta * delta * count * n / total;
            count = total;
        }
        stats[i] = T::from_f64(mean);
        stats[c + i] = T::from_f64(squares / count);
    }
}

/// `batch_stats`: z [N ... C]; partials: N x [2 C].
pub fn batch_stats<T: Element>(z: &[T], batch: usize, partials: &mut [T::Acc], stats: &mut [T::Acc]) {
    let image = z.len() / batch;
    z.par_chunks(image).zip(partials.par_chunks_mut(stats.len())).for_each(|(z, partial)| {
        partial_statistics(z, partial);
    });
    combine_statistics(&partials[..batch * stats.len()], image / (stats.len() / 2), stats);
}

/// Batch norm as one multiply-add per element: `y = a * z + b`.
pub struct Affine<A> {
    /// `scale / deviation`.
    pub a: Vec<A>,
    /// `shift - mean * a`.
    pub b: Vec<A>,
}

/// `1 / sqrt(variance + EPSILON)` of each channel.
pub fn inverse_deviations<A: Real>(stats: &[A]) -> impl Iterator<Item = A> {
    stats[stats.len() / 2..].iter().map(|v| A::from_f64(1.0 / (v.to_f64() + EPSILON).sqrt()))
}

/// From statistics [2 C], scale and shift `[C]`.
pub fn affine<A: Real>(stats: &[A], scale: &[A], shift: &[A]) -> Affine<A> {
    let a: Vec<A> = scale.iter().zip(inverse_deviations(stats)).map(|(s, d)| *s * d).collect();
    let b = shift.iter().zip(stats).zip(&a).map(|((shift, mean), a)| *shift - *mean * *a).collect();
    Affine { a, b }
}

/// `y = a[c] * z + b[c]`, rows in parallel: `batch_norm`, and `scale_shift` with the folded pair.
pub fn apply<T: Element>(z: &[T], a: &[T::Acc], b: &[T::Acc], batch: usize, y: &mut [T]) {
    let image = z.len() / batch;
    y.par_chunks_mut(image).zip(z.par_chunks(image)).for_each(|(y, z)| {
        Arch::new().dispatch(|| {
            for (y, z) in y.chunks_exact_mut(a.len()).zip(z.chunks_exact(a.len())) {
                for ((y, z), (a, b)) in y.iter_mut().zip(z).zip(a.iter().zip(b)) {
                    *y = T::store(*a * z.load() + *b);
                }
            }
        });
    });
}

/// Sums an image's `g` and `g * (z - mean)` per channel into partial [2 C].
pub fn partial_reductions<T: Element>(g: &[T], z: &[T], mean: &[T::Acc], partial: &mut [T::Acc]) {
    let c = mean.len();
    let (sum, product) = partial.split_at_mut(c);
    sum.fill(T::Acc::default());
    product.fill(T::Acc::default());
    for (g, z) in g.chunks_exact(c).zip(z.chunks_exact(c)) {
        for ((((sum, product), mean), g), z) in sum.iter_mut().zip(&mut *product).zip(mean).zip(g).zip(z) {
            let g = g.load();
            *sum += g;
            *product += g * (z.load() - *mean);
        }
    }
}

/// Adds up the images' partial sums in order, in f64; each result is scaled by its factor.
pub fn combine_sums<'a, A: Real>(partials: impl Iterator<Item = &'a [A]>, factor: &[A], out: &mut [A]) {
    let mut total = vec![0.0; out.len()];
    for partial in partials {
        total.iter_mut().zip(partial).for_each(|(t, p)| *t += p.to_f64());
    }
    for ((out, total), factor) in out.iter_mut().zip(total).zip(factor) {
        *out = A::from_f64(total * factor.to_f64());
    }
}

/// `batch_norm_reduce`: the gradients of shift and scale. Partials: N x [2 C].
pub fn reduce<T: Element>(
    (g, z, stats): (&[T], &[T], &[T::Acc]),
    batch: usize,
    partials: &mut [T::Acc],
    dshift: &mut [T::Acc],
    dscale: &mut [T::Acc],
) {
    let (image, c) = (z.len() / batch, dshift.len());
    let images = g.par_chunks(image).zip(z.par_chunks(image)).zip(partials.par_chunks_mut(2 * c));
    images.for_each(|((g, z), partial)| {
        Arch::new().dispatch(|| partial_reductions(g, z, &stats[..c], partial));
    });
    let partials = || partials[..batch * 2 * c].chunks_exact(2 * c);
    combine_sums(partials().map(|p| &p[..c]), &vec![T::Acc::from_f64(1.0); c], dshift);
    combine_sums(partials().map(|p| &p[c..]), &inverse_deviations(stats).collect::<Vec<_>>(), dscale);
}

/// The backward pass as one expression per element: `dz = a * g + b * z + c`.
pub struct Backward<A> {
    /// `scale / deviation`.
    pub a: Vec<A>,
    /// `-a * dscale / (M * deviation)`.
    pub b: Vec<A>,
    /// `-a * dshift / M - b * mean`.
    pub c: Vec<A>,
}

impl<A: Real> Backward<A> {
    /// One row: dz `[C]` from g and z.
    #[inline(always)]
    pub fn row<T: Element<Acc = A>>(&self, g: impl Iterator<Item = A>, z: &[T], dz: &mut [T]) {
        let constants = self.a.iter().zip(&self.b).zip(&self.c);
        for (((dz, g), z), ((a, b), c)) in dz.iter_mut().zip(g).zip(z).zip(constants) {
            *dz = T::store(*a * g + *b * z.load() + *c);
        }
    }
}

/// From statistics [2 C], scale, dshift and dscale `[C]`, and M.
pub fn backward<A: Real>(stats: &[A], scale: &[A], dshift: &[A], dscale: &[A], count: usize) -> Backward<A> {
    let m = A::from_f64(count as f64);
    let inverse: Vec<A> = inverse_deviations(stats).collect();
    let a: Vec<A> = scale.iter().zip(&inverse).map(|(s, d)| *s * *d).collect();
    let b: Vec<A> = (0..a.len()).map(|i| -a[i] * dscale[i] * inverse[i] / m).collect();
    let c = (0..a.len()).map(|i| -a[i] * dshift[i] / m - b[i] * stats[i]).collect();
    Backward { a, b, c }
}

/// `batch_norm_backward`.
pub fn backward_apply<T: Element>(g: &[T], z: &[T], k: &Backward<T::Acc>, batch: usize, dz: &mut [T]) {
    let (image, c) = (z.len() / batch, k.a.len());
    dz.par_chunks_mut(image).zip(g.par_chunks(image)).zip(z.par_chunks(image)).for_each(|((dz, g), z)| {
        Arch::new().dispatch(|| {
            for ((dz, g), z) in dz.chunks_exact_mut(c).zip(g.chunks_exact(c)).zip(z.chunks_exact(c)) {
                k.row(g.iter().map(|g| g.load()), z, dz);
            }
        });
    });
}

/// `update_running`.
pub fn update_running<A: Real>(op: &UpdateRunning, stats: &[A], mean: &mut [A], variance: &mut [A]) {
    let weight = A::from_f64(UpdateRunning::WEIGHT);
    let keep = A::from_f64(1.0 - UpdateRunning::WEIGHT);
    let unbiased = A::from_f64(op.unbiased());
    let (batch_mean, batch_variance) = stats.split_at(mean.len());
    mean.iter_mut().zip(batch_mean).for_each(|(r, b)| *r = keep * *r + weight * *b);
    variance.iter_mut().zip(batch_variance).for_each(|(r, b)| *r = keep * *r + weight * (*b * unbiased));
}

/// `fold_batch_norm`: [2 C] from scale, shift, running mean and variance `[C]`.
pub fn fold<A: Real>(scale: &[A], shift: &[A], mean: &[A], variance: &[A], out: &mut [A]) {
    let c = scale.len();
    for i in 0..c {
        let a = A::from_f64(scale[i].to_f64() / (variance[i].to_f64() + EPSILON).sqrt());
        out[i] = a;
        out[c + i] = shift[i] - mean[i] * a;
    }
}
