//! Activations of every layer: how large the streams are, and how alike r is behind every two layers.

use std::sync::Arc;

use super::layers::Layer;
use super::similarity::{Centred, cka};
use crate::data::{Images, Loader, Normaliser};
use crate::error::Result;
use crate::train::Session;

/// Bytes of features that are held at a time. Layers that do not fit wait for another pass over the images.
const FEATURES: usize = 512 << 20;

/// What was seen.
pub(super) struct Seen {
    /// Root mean squares of r and t, by layer.
    pub rms: Vec<[f64; 2]>,
    /// Of r behind every two layers.
    pub similarity: Option<Vec<Vec<Option<f64>>>>,
}

/// The passes over so many images: which layers each is for.
pub(super) fn passes(layers: &[Layer], images: usize) -> Vec<std::ops::Range<usize>> {
    let mut passes = Vec::new();
    let (mut start, mut held) = (0, 0);
    for (at, layer) in layers.iter().enumerate() {
        let bytes = images * layer.pixels * layer.residual * size_of::<f32>();
        if held + bytes > FEATURES && at > start {
            passes.push(start..at);
            (start, held) = (at, 0);
        }
        held += bytes;
    }
    passes.push(start..layers.len());
    passes
}

/// Evaluates the network on all of `images` and looks at every layer.
pub(super) fn look(
    session: &mut Session,
    images: &Arc<Images>,
    normaliser: &Arc<Normaliser>,
    batch: usize,
    layers: &[Layer],
    passes: Vec<std::ops::Range<usize>>,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<Seen> {
    let mut squares = vec![[0.0; 2]; layers.len()];
    let mut tables: Vec<Option<Centred>> = Vec::new();
    for pass in passes {
        tell("activations")?;
        // (N, pixels * channels of r), by layer.
        let mut features: Vec<Vec<f32>> = pass.clone().map(|_| Vec::new()).collect();
        for batch in Loader::evaluation(Arc::clone(images), Arc::clone(normaliser), batch)? {
            let batch = batch?;
            session.observe(
                &batch.images,
                &batch.labels,
                |at| pass.contains(&at),
                |at, values| {
                    let Layer { channels, residual, .. } = layers[at];
                    for pixel in values.chunks_exact(channels) {
                        let (r, t) = pixel.split_at(residual);
                        features[at - pass.start].extend(r.iter().map(|&x| x as f32));
                        squares[at][0] += r.iter().map(|x| x * x).sum::<f64>();
                        squares[at][1] += t.iter().map(|x| x * x).sum::<f64>();
                    }
                },
            )?;
        }
        tables.extend(features.into_iter().map(|features| Centred::of(features, images.len())));
    }
    let rms = |(layer, [r, t]): (&Layer, [f64; 2])| {
        let pixels = (images.len() * layer.pixels) as f64;
        let mean = |sum: f64, channels: usize| (sum / (pixels * channels as f64)).sqrt();
        [mean(r, layer.residual), mean(t, layer.channels - layer.residual)]
    };
    let tables: Option<Vec<Centred>> = tables.into_iter().collect();
    Ok(Seen {
        rms: layers.iter().zip(squares).map(rms).collect(),
        similarity: tables
            .map(|tables| tables.iter().map(|a| tables.iter().map(|b| cka(a, b)).collect()).collect()),
    })
}
