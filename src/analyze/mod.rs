//! What the two streams of a trained network do (paper: its analyses), without training it again.
//!
//! | question | answer |
//! |---|---|
//! | which stream carries the accuracy, at which depth? | test accuracy with r or t zero behind one layer ([`Ablation`]) |
//! | which of the paths between them? | with one quarter of a layer's filter zero ([`Quarter`]) |
//! | what is the identity worth? | without E in one layer, and in all |
//! | how strong are paths and streams? | norms of the quarters; root mean squares of r and t |
//! | what does r keep, what does it forget? | the likeness of r behind every two layers ([`similarity`]) |
//!
//! [`analyze`] answers all of it as one [`Analysis`]: plain data that becomes JSON, tables, sentences and figures.

mod activations;
mod findings;
mod layers;
mod measure;
pub(crate) mod plots;
mod quarters;
mod result;
pub mod similarity;
mod table;

use std::sync::Arc;

pub use quarters::Quarter;
pub use result::{Analysis, Effect, LayerReport, QuarterReport, Source};

use crate::data::split::stratified_subset;
use crate::data::{Images, Normaliser};
use crate::error::{Error, Result};
use crate::nn::{Ablation, Stream};
use crate::train::Session;
use layers::Layer;
use measure::Measurer;

/// Draws samples of images: a property of the analysis, so that two of them are of the same images.
const SAMPLE_SEED: u64 = 0;

/// Images for the likeness of layers, at most: its tables grow with their square.
const MOST_SIMILARITY_IMAGES: usize = 2000;

/// How a network is analyzed.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Images at a time.
    pub batch: usize,
    /// Images for the activations and their likeness: so many of the given ones, as many of each class; all, where there are fewer.
    pub similarity_images: usize,
    /// Where network and images are from.
    pub source: Source,
}

/// How far an analysis is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress<'a> {
    /// Passes over the images that are done.
    pub done: usize,
    /// Of so many.
    pub total: usize,
    /// What the next one is without.
    pub what: &'a str,
}

/// Whether the network of `session` has two streams to analyze.
///
/// # Errors
/// If not; says why.
pub fn check(session: &Session) -> Result<()> {
    layers::of(session).map(|_| ())
}

/// Analyzes the network of `session` on `images`: one pass over them for every stream, quarter and identity. The session
/// is then as it was. `progress` is told before every pass; an error of its own ends the analysis.
///
/// # Errors
/// For a network without two streams, images that do not suit it, or a device that failed; and those of `progress`.
pub fn analyze(
    session: &mut Session,
    images: &Arc<Images>,
    normaliser: &Arc<Normaliser>,
    options: &Options,
    progress: &mut dyn FnMut(Progress<'_>) -> Result<()>,
) -> Result<Analysis> {
    if options.similarity_images > MOST_SIMILARITY_IMAGES {
        return Err(Error::usage(format!(
            "the likeness of layers takes at most {MOST_SIMILARITY_IMAGES} images, {} are asked for: tables of every two \
             images would fill the memory",
            options.similarity_images
        )));
    }
    let layers = layers::of(session)?;
    let looks = activations::passes(&layers, options.similarity_images.min(images.len()));
    let filters = layers.iter().filter(|layer| layer.filter.is_some()).count();
    let total = 1 + 2 * layers.len() + filters * (1 + Quarter::ALL.len()) + 1 + looks.len();
    let mut done = 0;
    let mut tell = |what: &str| {
        progress(Progress { done, total, what })?;
        done += 1;
        Ok(())
    };
    tell("the whole network")?;
    let mut measurer = Measurer::new(session, images, normaliser, options.batch)?;
    let mut reports = Vec::new();
    for (at, layer) in layers.iter().enumerate() {
        reports.push(report(&mut measurer, at, layer, &mut tell)?);
    }
    tell("without E")?;
    let without_identities = measurer.ablated(Ablation::Identities)?;
    let (accuracy, chance) = (measurer.accuracy(), measurer.chance());

    let few = Arc::new(sample(images, options.similarity_images)?);
    let seen = activations::look(session, &few, normaliser, options.batch, &layers, looks, &mut tell)?;
    for (report, [r, t]) in reports.iter_mut().zip(seen.rms) {
        (report.residual_rms, report.transient_rms) = (r, t);
    }
    let model = &session.options().model;
    Ok(Analysis {
        version: env!("CARGO_PKG_VERSION").into(),
        commit: crate::version::COMMIT.into(),
        model: model.name.clone(),
        family: model.family,
        residual_share: model.residual_share,
        source: options.source.clone(),
        device: session.device_name(),
        precision: session.options().precision,
        images: images.len(),
        similarity_images: few.len(),
        accuracy,
        chance,
        layers: reports,
        without_identities,
        similarity: seen.similarity,
    })
}

/// One layer's part, but for its activations.
fn report(
    measurer: &mut Measurer<'_>,
    at: usize,
    layer: &Layer,
    tell: &mut dyn FnMut(&str) -> Result<()>,
) -> Result<LayerReport> {
    let short = &layer.short;
    let mut without = |measurer: &mut Measurer<'_>, stream: Stream, letter: &str| {
        tell(&format!("without {letter} behind {short}"))?;
        measurer.ablated(Ablation::Stream { layer: at, stream })
    };
    let without_residual = without(measurer, Stream::Residual, "r")?;
    let without_transient = without(measurer, Stream::Transient, "t")?;
    let mut without_identity = None;
    let mut quarters = Vec::new();
    if let Some(filter) = &layer.filter {
        tell(&format!("without E in {short}"))?;
        without_identity = Some(measurer.ablated(Ablation::Identity { layer: at })?);
        for quarter in Quarter::ALL {
            tell(&format!("without {} in {short}", quarter.name()))?;
            let (norm, weights) = filter.norm(measurer.session, quarter)?;
            let without = measurer.without_quarter(filter, quarter)?;
            quarters.push(QuarterReport { quarter, norm, rms: norm / (weights as f64).sqrt(), without });
        }
    }
    Ok(LayerReport {
        name: layer.name.clone(),
        short: short.clone(),
        group: layer.group,
        residual_channels: layer.residual,
        transient_channels: layer.channels - layer.residual,
        without_residual,
        without_transient,
        without_identity,
        quarters,
        residual_rms: 0.0,
        transient_rms: 0.0,
    })
}

/// `wanted` of the images, drawn at random but always the same, as many of each class as there are of the others; all where
/// there are no more.
///
/// # Errors
/// If none is wanted.
pub fn sample(images: &Images, wanted: usize) -> Result<Images> {
    let chosen = stratified_subset(&images.labels, wanted.min(images.len()), SAMPLE_SEED)?;
    Ok(images.subset(&chosen))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever order the classes come in.
    #[test]
    fn a_sample_has_as_many_images_of_each_class() {
        for class in [|i: u16| i % 5, |i: u16| i / 20] {
            let images = Images::new(1, 1, 1, vec![7; 100], (0..100).map(class).collect()).unwrap();
            let few = sample(&images, 20).unwrap();
            assert_eq!(few.class_counts(5), [4; 5]);
            assert_eq!(few, sample(&images, 20).unwrap());
            assert_eq!(sample(&images, 500).unwrap(), images);
            assert!(sample(&images, 0).is_err());
        }
    }
}
