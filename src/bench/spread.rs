//! Figures of one thing, and what they have in common.

use serde::Serialize;

/// The order statistics of repeated measurements, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Half of the figures are below.
    pub median_us: f64,
    /// The smallest.
    pub min_us: f64,
    /// A quarter are below.
    pub p25_us: f64,
    /// Three quarters are below.
    pub p75_us: f64,
    /// The largest.
    pub max_us: f64,
    /// How many figures.
    pub samples: usize,
    /// Runs in a row, of which each figure is the mean.
    pub runs_per_sample: usize,
}

impl Spread {
    /// Of figures in seconds; `None` of none.
    pub fn of(seconds: &[f64], runs_per_sample: usize) -> Option<Self> {
        let mut sorted: Vec<f64> = seconds.iter().map(|s| s * 1e6).collect();
        sorted.sort_by(f64::total_cmp);
        // Between two figures, the straight line through them.
        let quantile = |part: f64| {
            let at = part * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
            low + (high - low) * at.fract()
        };
        (!sorted.is_empty()).then(|| Self {
            median_us: quantile(0.5),
            min_us: quantile(0.0),
            p25_us: quantile(0.25),
            p75_us: quantile(0.75),
            max_us: quantile(1.0),
            samples: sorted.len(),
            runs_per_sample,
        })
    }

    /// The median in seconds.
    pub fn seconds(&self) -> f64 {
        self.median_us / 1e6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quartiles_lie_between_figures() {
        let spread = Spread::of(&[4e-6, 1e-6, 2e-6, 3e-6], 7).unwrap();
        let Spread { median_us, min_us, p25_us, p75_us, max_us, samples, runs_per_sample } = spread;
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(median_us, 2.5) && near(min_us, 1.0) && near(p25_us, 1.75), "{spread:?}");
        assert!(near(p75_us, 3.25) && near(max_us, 4.0) && near(spread.seconds(), 2.5e-6), "{spread:?}");
        assert_eq!((samples, runs_per_sample), (4, 7));
        assert_eq!(Spread::of(&[], 1), None);
    }
}
