//! How close to its definition an operation must come: every limit, in one place, derived and not observed.
//!
//! The error is `‖out − ref‖ / ‖ref‖` against the f64 reference on the same rounded inputs, so only the operation's
//! own rounding counts. With the unit roundoff u of the accumulator and sums of K terms:
//!
//! - Each of up to eight roundings beside the sum (a square root, a division, a product, ...) moves a result by u.
//! - The K partial sums of zero-mean terms grow like the square root of their number, and each is rounded by u:
//!   relative to the sum that is u sqrt(K) / 2.4 in the mean square, and twice u sqrt(K) is five deviations away.
//!   Where the mean is not zero both sum and error grow by the same factor.
//!
//! That gives `u (8 + 2 sqrt(K))`. A variance of numbers that lie d deviations from zero is a sum of squared differences
//! from a mean rounded at that distance: up to u d more, where a difference of squares would err by u d². An accumulator in f64 is compared with another of its kind: twice that. Under bf16
//! the accumulator is f32, but tensor cores align and truncate their products instead of rounding the sum: u is a whole
//! unit in the last place there. What is stored as bf16 may move by bf16's unit roundoff, 2^-8, more.
//!
//! Nothing is allowed where nothing is computed.

use super::cases::Limit;
use crate::graph::{DType, Precision};

/// Half a unit in the last place of 1: eight significant bits, the first of them implied.
const BF16_ROUNDOFF: f64 = 1.0 / 256.0;
/// Half a unit in the last place of 1, 2^-24.
const F32_ROUNDOFF: f64 = f32::EPSILON as f64 / 2.0;
/// Half a unit in the last place of 1, 2^-53.
const F64_ROUNDOFF: f64 = f64::EPSILON / 2.0;

/// The largest relative error of an output stored as `dtype`.
pub fn limit(precision: Precision, dtype: DType, rule: Limit) -> f64 {
    let (terms, distance) = match rule {
        Limit::Exact => return 0.0,
        Limit::Sum(terms) => (terms, 0.0),
        Limit::Variance { terms, distance } => (terms, distance),
    };
    let unit = match precision {
        Precision::F64 => 2.0 * F64_ROUNDOFF,
        Precision::F32 => F32_ROUNDOFF,
        Precision::Bf16 => 2.0 * F32_ROUNDOFF,
    };
    let stored = if dtype == DType::Bf16 { BF16_ROUNDOFF } else { 0.0 };
    stored + unit * (8.0 + 2.0 * (terms as f64).sqrt() + distance)
}

/// `‖out − want‖ / ‖want‖`; absolute where the wanted result is 0; NaN where anything is not a number, or infinite.
pub fn relative_error(out: &[f64], want: &[f64]) -> f64 {
    if out.len() != want.len() {
        return f64::NAN;
    }
    let norm = |squares: &mut dyn Iterator<Item = f64>| squares.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut out.iter().zip(want).map(|(a, b)| a - b));
    let size = norm(&mut want.iter().copied());
    if size == 0.0 { difference } else { difference / size }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_that_is_not_a_number_passes_no_limit() {
        let passes = |out: &[f64], want: &[f64]| relative_error(out, want) <= 1e300;
        assert!(passes(&[1.0, 2.0], &[1.0, 2.5]));
        assert!(!passes(&[1.0, f64::NAN], &[1.0, 2.0]));
        assert!(!passes(&[1.0, f64::INFINITY], &[1.0, 2.0]));
        assert!(!passes(&[1.0, f64::INFINITY], &[1.0, f64::INFINITY]));
        assert!(!passes(&[1.0], &[1.0, 2.0]));
        assert_eq!(relative_error(&[3.0, 4.5], &[3.0, 4.0]), 0.1);
        assert_eq!(relative_error(&[0.0, 2.0], &[0.0, 0.0]), 2.0);
    }

    #[test]
    fn limits_grow_with_precision_and_length() {
        let f32 = |terms| limit(Precision::F32, DType::F32, Limit::Sum(terms));
        assert!(f32(1) < 1e-6 && f32(1) < f32(1000) && f32(1000) < 5e-6);
        assert!(limit(Precision::F64, DType::F64, Limit::Sum(1000)) < 1e-13);
        assert!(limit(Precision::Bf16, DType::Bf16, Limit::Sum(1000)) < 0.004);
        assert_eq!(limit(Precision::Bf16, DType::Bf16, Limit::Exact), 0.0);
    }
}
