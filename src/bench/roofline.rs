//! The time that a machine needs at least: for its arithmetic, or for its memory, whichever is longer.

use serde::Serialize;

use super::Rates;
use crate::graph::Precision;
use crate::ops::Cost;

/// What bounds a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Limit {
    /// Arithmetic.
    Compute,
    /// Memory.
    Memory,
}

/// The least time of a case.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    /// Seconds.
    pub seconds: f64,
    /// What takes them.
    pub by: Limit,
}

impl Rates {
    /// The arithmetic that operations of this precision may use, in TFLOP/s.
    pub fn tflop_s(&self, precision: Precision) -> f64 {
        match (precision, self.matrix_tflop_s) {
            (Precision::Bf16, Some(matrix)) => matrix,
            _ => self.multiply_add_tflop_s,
        }
    }

    /// The faster of the copies, in GB/s.
    pub fn gb_s(&self) -> f64 {
        self.driver_copy_gb_s.map_or(self.copy_gb_s, |driver| driver.max(self.copy_gb_s))
    }

    /// The least time for `cost`.
    pub fn bound(&self, cost: Cost, precision: Precision) -> Bound {
        let compute = cost.flops as f64 / (self.tflop_s(precision) * 1e12);
        let memory = cost.bytes as f64 / (self.gb_s() * 1e9);
        match compute > memory {
            true => Bound { seconds: compute, by: Limit::Compute },
            false => Bound { seconds: memory, by: Limit::Memory },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longer_of_two_times_bounds() {
        let rates = Rates {
            copy_gb_s: 1000.0,
            driver_copy_gb_s: Some(2000.0),
            matrix_tflop_s: Some(100.0),
            multiply_add_tflop_s: 10.0,
        };
        let cost = Cost { flops: 100_000_000_000, bytes: 10_000_000_000 };
        let bound = |precision| rates.bound(cost, precision);
        assert_eq!(bound(Precision::Bf16), Bound { seconds: 5e-3, by: Limit::Memory });
        assert_eq!(bound(Precision::F32), Bound { seconds: 1e-2, by: Limit::Compute });
    }
}
