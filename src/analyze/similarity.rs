//! How alike two layers see the same images: linear centred kernel alignment (Kornblith et al., "Similarity of neural
//! network representations revisited", 2019), debiased.
//!
//! Of n images a layer makes n vectors of features X, and a table K = X X^T of how alike every two images are; two layers
//! are alike where their tables are, whatever their numbers of features. With more features than images the plain measure
//! calls any two layers alike, so tables are centred without their diagonal, by which the sum of products becomes the
//! unbiased estimate of HSIC (Song et al., "Feature selection via dependence maximization", 2012; Nguyen, Raghu and
//! Kornblith, "Do wide and deep networks learn the same things?", 2021): 0 on average for layers that have nothing in
//! common, and sometimes a little below.

use rayon::prelude::*;

/// Products that are summed in f32 before they go to an f64.
const BLOCK: usize = 512;
/// Sums that run side by side.
const LANES: usize = 16;

/// A table of how alike every two images are to a layer, centred.
#[derive(Debug, Clone, PartialEq)]
pub struct Centred {
    /// (n, n), its diagonal 0, the sum of every row 0.
    table: Vec<f64>,
    /// Root of the sum of its squares.
    norm: f64,
}

impl Centred {
    /// Of the features (n, d) of n images; none of fewer than four, of which there is no estimate.
    pub fn of(features: Vec<f32>, n: usize) -> Option<Self> {
        if n < 4 {
            return None;
        }
        let mut table = gram(&without_mean(features, n), n);
        for i in 0..n {
            table[i * n + i] = 0.0;
        }
        let rows: Vec<f64> = table.chunks_exact(n).map(|row| row.iter().sum()).collect();
        let (total, n_f) = (rows.iter().sum::<f64>(), n as f64);
        let constant = total / ((n_f - 1.0) * (n_f - 2.0));
        for (i, row) in table.chunks_exact_mut(n).enumerate() {
            for (j, k) in row.iter_mut().enumerate().filter(|(j, _)| *j != i) {
                *k += constant - (rows[i] + rows[j]) / (n_f - 2.0);
            }
        }
        let norm = dot_f64(&table, &table).sqrt();
        Some(Self { table, norm })
    }
}

/// Debiased linear CKA: 1 for features that differ by rotation and scale alone, 0 on average for those that have nothing
/// in common. None where a layer sees no difference between images, or the tables are of different images.
pub fn cka(a: &Centred, b: &Centred) -> Option<f64> {
    let comparable = a.table.len() == b.table.len() && a.norm > 0.0 && b.norm > 0.0;
    comparable.then(|| dot_f64(&a.table, &b.table) / (a.norm * b.norm))
}

/// Subtracts from every feature its mean over the images. It changes no result, but activations behind ReLU are far from
/// 0, and products of their means would take up the digits.
fn without_mean(mut features: Vec<f32>, n: usize) -> Vec<f32> {
    let d = features.len() / n;
    let mut mean = vec![0.0; d];
    for row in features.chunks_exact(d.max(1)) {
        mean.iter_mut().zip(row).for_each(|(mean, x)| *mean += f64::from(*x));
    }
    mean.iter_mut().for_each(|mean| *mean /= n as f64);
    for row in features.chunks_exact_mut(d.max(1)) {
        row.iter_mut().zip(&mean).for_each(|(x, mean)| *x = (f64::from(*x) - mean) as f32);
    }
    features
}

/// X X^T of X (n, d).
fn gram(x: &[f32], n: usize) -> Vec<f64> {
    let d = x.len() / n;
    let row = |i: usize| &x[i * d..(i + 1) * d];
    let upper: Vec<Vec<f64>> =
        (0..n).into_par_iter().map(|i| (i..n).map(|j| dot(row(i), row(j))).collect()).collect();
    let mut table = vec![0.0; n * n];
    for (i, values) in upper.iter().enumerate() {
        for (j, value) in (i..n).zip(values) {
            (table[i * n + j], table[j * n + i]) = (*value, *value);
        }
    }
    table
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    let block = |(a, b): (&[f32], &[f32])| {
        let mut lanes = [0.0f32; LANES];
        let (a_lanes, b_lanes) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
        let rest: f32 = a_lanes.remainder().iter().zip(b_lanes.remainder()).map(|(a, b)| a * b).sum();
        for (a, b) in a_lanes.zip(b_lanes) {
            for ((sum, a), b) in lanes.iter_mut().zip(a).zip(b) {
                *sum += a * b;
            }
        }
        f64::from(rest) + lanes.iter().map(|&sum| f64::from(sum)).sum::<f64>()
    };
    a.chunks(BLOCK).zip(b.chunks(BLOCK)).map(block).sum()
}

fn dot_f64(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use rand_distr::{Distribution, StandardNormal};

    fn normals(count: usize, item: u32) -> Vec<f32> {
        let mut stream = Stream::new(7, Purpose::Test, 0, item);
        (0..count).map(|_| StandardNormal.sample(&mut stream)).collect()
    }

    fn alike(a: &[f32], b: &[f32], n: usize) -> f64 {
        let [a, b] = [a, b].map(|x| Centred::of(x.to_vec(), n).unwrap());
        cka(&a, &b).unwrap()
    }

    /// The definition of Song et al. in their own terms, from the uncentred table.
    #[test]
    fn it_is_the_unbiased_estimate_of_hsic() {
        let n = 9;
        let (x, y) = (normals(n * 5, 1), normals(n * 3, 2));
        let table = |x: &[f32]| {
            let d = x.len() / n;
            let product = |i: usize, j: usize| -> f64 {
                (0..d).map(|k| f64::from(x[i * d + k]) * f64::from(x[j * d + k])).sum()
            };
            let value = |at: usize| if at / n == at % n { 0.0 } else { product(at / n, at % n) };
            (0..n * n).map(value).collect::<Vec<f64>>()
        };
        let hsic = |k: &[f64], l: &[f64]| {
            let sum = |k: &[f64]| k.iter().sum::<f64>();
            let rows = |k: &[f64]| k.chunks(n).map(sum).collect::<Vec<f64>>();
            let nf = n as f64;
            (dot_f64(k, l) + sum(k) * sum(l) / ((nf - 1.0) * (nf - 2.0))
                - 2.0 / (nf - 2.0) * dot_f64(&rows(k), &rows(l)))
                / (nf * (nf - 3.0))
        };
        let (k, l) = (table(&x), table(&y));
        let want = hsic(&k, &l) / (hsic(&k, &k) * hsic(&l, &l)).sqrt();
        // Products are rounded to f32: some units of 6e-8, of sums that partly cancel.
        assert!((alike(&x, &y, n) - want).abs() < 1e-5, "{} {want}", alike(&x, &y, n));
    }

    #[test]
    fn rotation_scale_and_shift_change_nothing() {
        let (n, d) = (40, 6);
        let x = normals(n * d, 3);
        // Givens rotations of neighbouring features, one after the other, then a scale and a shift of each feature.
        let mut moved = x.clone();
        for row in moved.chunks_exact_mut(d) {
            for i in 0..d - 1 {
                let (sin, cos) = (0.3 + i as f32).sin_cos();
                (row[i], row[i + 1]) = (cos * row[i] - sin * row[i + 1], sin * row[i] + cos * row[i + 1]);
            }
            row.iter_mut().enumerate().for_each(|(i, x)| *x = 2.5 * *x + i as f32);
        }
        assert!((alike(&x, &x, n) - 1.0).abs() < 1e-12);
        assert!((alike(&x, &moved, n) - 1.0).abs() < 1e-5);
        // A different scale for each feature is another layer.
        let mut stretched = x.clone();
        stretched.iter_mut().enumerate().for_each(|(at, x)| *x *= if at % d == 0 { 20.0 } else { 1.0 });
        assert!(alike(&x, &stretched, n) < 0.8);
    }

    /// What debiasing is for: with ten times more features than images, the plain measure calls noise alike.
    #[test]
    fn independent_features_have_nothing_in_common() {
        let (n, d) = (50, 500);
        let (x, y) = (normals(n * d, 4), normals(n * d, 5));
        let plain = {
            let [k, l] = [&x, &y].map(|x| gram(&without_mean(x.clone(), n), n));
            dot_f64(&k, &l) / (dot_f64(&k, &k) * dot_f64(&l, &l)).sqrt()
        };
        assert!(plain > 0.8, "{plain}");
        // Off the diagonal are n (n - 1) / 2 products of independent signs: a deviation of sqrt(2) / n is 0.03.
        assert!(alike(&x, &y, n).abs() < 0.12, "{}", alike(&x, &y, n));
    }

    #[test]
    fn a_layer_that_sees_no_difference_is_like_none() {
        let n = 5;
        let [dead, alive] = [vec![0.75; n * 4], normals(n * 4, 6)].map(|x| Centred::of(x, n).unwrap());
        assert_eq!(cka(&dead, &alive), None);
        assert_eq!(cka(&dead, &dead), None);
        assert!(Centred::of(normals(12, 7), 3).is_none());
    }

    /// Blocks, lanes and the rest: every element is counted once.
    #[test]
    fn products_of_any_length_are_whole() {
        for d in [1, 15, 16, 17, 511, 512, 530, 1100] {
            let ones = vec![1.0; d];
            assert_eq!(dot(&ones, &ones), d as f64);
        }
    }
}
