//! What a few runs from different seeds say of the mean over all seeds.

use serde::Serialize;

use crate::train::mean_and_deviation;

/// The 97.5 % quantiles of Student's t for 1 to 30 degrees of freedom.
const QUANTILES: [f64; 30] = [
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604,
    2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555,
    2.0518, 2.0484, 2.0452, 2.0423,
];

/// That of the normal distribution, which is t's limit.
const NORMAL: f64 = 1.959_964;

/// The 97.5 % quantile of Student's t: so many standard errors to each side of a mean hold 95 %.
fn quantile(freedom: usize) -> f64 {
    let tabled = freedom.checked_sub(1).and_then(|i| QUANTILES.get(i));
    tabled.copied().unwrap_or_else(|| expansion(freedom as f64))
}

/// The quantile's expansion (Cornish and Fisher) about the normal distribution's, in powers of 1 / `freedom`; from 30 on
/// the term left out is below 1e-5.
fn expansion(freedom: f64) -> f64 {
    let z = NORMAL;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / freedom + second / freedom.powi(2) + third / freedom.powi(3)
}

/// A mean over seeds, and how sure it is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimate {
    /// How many seeds.
    pub n: usize,
    /// Their mean; none of no seed.
    pub mean: Option<f64>,
    /// Their sample standard deviation (divided by n - 1); none of fewer than two seeds.
    pub standard_deviation: Option<f64>,
    /// Half of the mean's 95 % interval, by Student's t; none of fewer than two seeds.
    pub half_interval: Option<f64>,
}

impl Estimate {
    /// Of one number a seed.
    pub fn of(numbers: &[f64]) -> Self {
        let n = numbers.len();
        let (mean, standard_deviation) = mean_and_deviation(numbers);
        let half_interval = standard_deviation.map(|s| quantile(n - 1) * s / (n as f64).sqrt());
        Self { n, mean, standard_deviation, half_interval }
    }

    /// The ends of the 95 % interval.
    pub fn interval(&self) -> Option<[f64; 2]> {
        let (mean, half) = (self.mean?, self.half_interval?);
        Some([mean - half, mean + half])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        // Known to four decimals.
        for (freedom, t) in
            [(1, 12.7062), (2, 4.3027), (4, 2.7764), (9, 2.2622), (29, 2.0452), (40, 2.0211), (120, 1.9799)]
        {
            assert!((quantile(freedom) - t).abs() < 1e-4, "{freedom}: {}", quantile(freedom));
        }
        assert!((quantile(1_000_000_000) - NORMAL).abs() < 1e-6);
        // Table and expansion, made independently, meet.
        assert!((expansion(30.0) - QUANTILES[29]).abs() < 1e-4, "{}", expansion(30.0));
        assert!((1..100).all(|freedom| quantile(freedom) > quantile(freedom + 1)));
    }

    #[test]
    fn an_estimate_holds_what_so_many_seeds_can_say() {
        let none = Estimate::of(&[]);
        assert_eq!((none.n, none.mean, none.interval()), (0, None, None));
        let one = Estimate::of(&[90.0]);
        assert_eq!((one.mean, one.standard_deviation, one.interval()), (Some(90.0), None, None));
        // 2, 4, 6: deviation 2, standard error 2 / sqrt(3), t of two degrees of freedom 4.3027.
        let three = Estimate::of(&[2.0, 4.0, 6.0]);
        assert_eq!((three.n, three.mean, three.standard_deviation), (3, Some(4.0), Some(2.0)));
        let [low, high] = three.interval().unwrap();
        assert!((high - 4.0 - 4.968_33).abs() < 1e-4 && (low + 0.968_33).abs() < 1e-4, "{low} {high}");
    }
}
