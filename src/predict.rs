//! Prediction: images to classes and their probabilities.

use std::sync::Arc;

use serde::Serialize;

use crate::data::{Images, Loader, Normaliser};
use crate::error::Result;
use crate::train::Session;

/// Images that are predicted at a time.
const BATCH: usize = 64;

/// A class and how likely the network takes an image for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Prediction {
    /// The class' label.
    pub label: usize,
    /// Its name.
    pub class: String,
    /// The network's softmax, 0 to 1.
    pub probability: f64,
}

/// The `top` likeliest classes of every image, the likeliest first.
///
/// # Errors
/// If the images do not suit the network or the normalisation, or the device failed.
pub fn predict(
    session: &mut Session,
    images: Images,
    normaliser: &Arc<Normaliser>,
    classes: &[String],
    top: usize,
) -> Result<Vec<Vec<Prediction>>> {
    let mut predictions = Vec::with_capacity(images.len());
    for batch in Loader::evaluation(Arc::new(images), Arc::clone(normaliser), BATCH)? {
        let logits = session.predict(&batch?.images)?;
        for logits in logits.chunks_exact(session.options().classes) {
            let mut ranked: Vec<Prediction> = (softmax(logits).into_iter().enumerate())
                .map(|(label, probability)| {
                    let class = classes.get(label).cloned().unwrap_or_else(|| label.to_string());
                    Prediction { label, class, probability }
                })
                .collect();
            ranked.sort_by(|a, b| b.probability.total_cmp(&a.probability));
            ranked.truncate(top);
            predictions.push(ranked);
        }
    }
    Ok(predictions)
}

/// `exp(x_k) / sum over j of exp(x_j)`, in f64.
fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f64> = logits.iter().map(|&x| (f64::from(x) - f64::from(largest)).exp()).collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|p| p / sum).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softmax_sums_to_one_at_any_height() {
        for shift in [-1e4, 0.0, 1e4] {
            let p = softmax(&[shift, shift + 2.0f32.ln(), shift]);
            assert!((p.iter().sum::<f64>() - 1.0).abs() < 1e-12);
            assert!((p[1] - 0.5).abs() < 1e-3, "{p:?}");
        }
    }
}
