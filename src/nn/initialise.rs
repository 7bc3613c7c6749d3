//! Initial weights: He normal (fan in) for every weight, a pure function of (seed, parameter).

use rand_distr::{Distribution, StandardNormal};

use crate::graph::{ParameterKind, StateLayout};
use crate::random::{Purpose, Stream};

/// The initial values of every parameter, in the State's order, each in memory order.
///
/// Weights: normal with mean 0 and variance `2 / fan_in` (He et al., 2015); scales 1; shifts and biases 0.
pub fn initial_parameters(layout: &StateLayout, seed: u64) -> Vec<Vec<f64>> {
    (layout.parameters.iter().enumerate())
        .map(|(i, parameter)| {
            let count = parameter.shape.elements();
            match parameter.kind {
                ParameterKind::Weight { fan_in } => {
                    let deviation = (2.0 / fan_in as f64).sqrt();
                    let mut stream = Stream::new(seed, Purpose::Initialise, 0, i as u32);
                    let normals = (0..count).map(|_| -> f64 { StandardNormal.sample(&mut stream) });
                    // Rounded to f32, which is what checkpoints hold: f64 plans start from the same weights.
                    normals.map(|z| f64::from((z * deviation) as f32)).collect()
                }
                ParameterKind::Scale => vec![1.0; count],
                ParameterKind::Shift | ParameterKind::Bias => vec![0.0; count],
            }
        })
        .collect()
}
