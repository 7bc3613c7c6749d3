//! Batch norm: statistics, normalisation, its gradient, and its folded form.

use super::Tensor;
use crate::ops::EPSILON;

/// Mean and biased variance per channel, [2 C].
pub(super) fn statistics(z: &Tensor) -> Tensor {
    let (channels, count) = (z.channels(), z.shape.rows() as f64);
    let mut stats = Tensor::zeros([2, channels]);
    for (i, value) in z.data.iter().enumerate() {
        *stats.at_mut([0, i % channels]) += value / count;
    }
    for (i, value) in z.data.iter().enumerate() {
        let deviation = value - stats.at([0, i % channels]);
        *stats.at_mut([1, i % channels]) += deviation * deviation / count;
    }
    stats
}

/// `1 / sqrt(variance + EPSILON)` of channel `c`.
fn inverse_deviation(stats: &Tensor, c: usize) -> f64 {
    1.0 / (stats.at([1, c]) + EPSILON).sqrt()
}

/// `zhat`, the normalised z.
fn normalised(z: &Tensor, stats: &Tensor) -> Tensor {
    let channels = z.channels();
    Tensor::from_fn(z.shape.clone(), |i| {
        let c = i % channels;
        (z.data[i] - stats.at([0, c])) * inverse_deviation(stats, c)
    })
}

/// `scale * zhat + shift`; inputs z, statistics, scale, shift.
pub(super) fn batch_norm(inputs: &[&Tensor]) -> Tensor {
    let (zhat, scale, shift) = (normalised(inputs[0], inputs[1]), inputs[2], inputs[3]);
    let channels = zhat.channels();
    Tensor::from_fn(zhat.shape.clone(), |i| {
        scale.at([i % channels]) * zhat.data[i] + shift.at([i % channels])
    })
}

/// `sum g` and `sum g * zhat` per channel.
pub(super) fn reduce(g: &Tensor, z: &Tensor, stats: &Tensor) -> [Tensor; 2] {
    let (zhat, channels) = (normalised(z, stats), z.channels());
    let [mut dshift, mut dscale] = [Tensor::zeros([channels]), Tensor::zeros([channels])];
    for i in 0..g.data.len() {
        *dshift.at_mut([i % channels]) += g.data[i];
        *dscale.at_mut([i % channels]) += g.data[i] * zhat.data[i];
    }
    [dshift, dscale]
}

/// dz from g and z, statistics, scale, dshift, dscale.
pub(super) fn backward(g: &Tensor, rest: &[&Tensor]) -> Tensor {
    let (z, stats, scale, dshift, dscale) = (rest[0], rest[1], rest[2], rest[3], rest[4]);
    let (zhat, channels, count) = (normalised(z, stats), z.channels(), z.shape.rows() as f64);
    Tensor::from_fn(z.shape.clone(), |i| {
        let c = i % channels;
        let centred = g.data[i] - dshift.at([c]) / count - zhat.data[i] * dscale.at([c]) / count;
        scale.at([c]) * inverse_deviation(stats, c) * centred
    })
}

/// The scale and shift per channel that batch norm with running statistics is, [2 C].
pub(super) fn fold(scale: &Tensor, shift: &Tensor, mean: &Tensor, variance: &Tensor) -> Tensor {
    let channels = scale.channels();
    let mut folded = Tensor::zeros([2, channels]);
    for c in 0..channels {
        let factor = scale.at([c]) / (variance.at([c]) + EPSILON).sqrt();
        *folded.at_mut([0, c]) = factor;
        *folded.at_mut([1, c]) = shift.at([c]) - mean.at([c]) * factor;
    }
    folded
}

/// `scale[c] * z + shift[c]`.
pub(super) fn scale_shift(z: &Tensor, pair: &Tensor) -> Tensor {
    let channels = z.channels();
    Tensor::from_fn(z.shape.clone(), |i| pair.at([0, i % channels]) * z.data[i] + pair.at([1, i % channels]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two channels, worked by hand: 1, 3 and 10, 30.
    #[test]
    fn statistics_worked_by_hand() {
        let z = Tensor::new([2, 2], vec![1.0, 10.0, 3.0, 30.0]);
        assert_eq!(statistics(&z).data, [2.0, 20.0, 1.0, 100.0]);
    }
}
