//! What the streams of a table's trained networks do: an analysis a run, in `analysis/RUN/`, and their means over seeds.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::statistics::Estimate;
use crate::analyze::plots::OverLayers;
use crate::analyze::{self, Analysis, Effect, LayerReport, Progress, analyze, sample};
use crate::error::{Error, Kind, Result};
use crate::graph::Fusions;
use crate::plot::{Axis, Level, Point, Scale, Series};
use crate::train::{Checkpoint, Config, Environment, accuracy_label, file_digest, find_checkpoint};

/// Test images that are classified at once.
const BATCH: usize = 100;

/// Seeds from which on a picture shows intervals over seeds: of two they are 13 standard errors wide on either side, and hide
/// what they are of.
const LEAST_SEEDS: usize = 3;

/// Test images for the sizes of activations and the likeness of layers.
const SIMILARITY_IMAGES: usize = 500;

/// The analysis of `images` test images that lies in `folder`, where it is of the network that the run in `run` has come
/// to; none otherwise.
///
/// # Errors
/// If a file cannot be read, or is no analysis.
pub(super) fn known(run: &Path, folder: &Path, images: usize) -> Result<Option<Analysis>> {
    let path = folder.join("analysis.json");
    let text = match std::fs::read(&path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|e| Error::io("read", &path, &e))?,
    };
    let analysis: Analysis = serde_json::from_slice(&text).map_err(|e| {
        let path = path.display();
        Error::new(Kind::Io, format!("{path} is no analysis ({e}); delete it, and it is made again"))
    })?;
    let digest = file_digest(&find_checkpoint(run)?)?;
    let is_of_run = analysis.images == images && analysis.source.checkpoint_digest == digest;
    Ok(is_of_run.then_some(analysis))
}

/// Analyzes the network that the run in `run` has come to on `images` test images, and leaves all in `folder`. None where
/// `goes_on`, asked before every pass over the images, ends it.
///
/// # Errors
/// If the run's files cannot be read or the folder not written, or the device failed.
pub(super) fn make(
    run: &Path,
    folder: &Path,
    images: usize,
    environment: &Environment<'_>,
    device: &str,
    goes_on: &mut dyn FnMut() -> bool,
) -> Result<Option<Analysis>> {
    let config = Config::load(run)?;
    let dataset = (environment.open_data)(&config.data, config.image)?.dataset;
    let file = find_checkpoint(run)?;
    let checkpoint = Checkpoint::load(&file)?;
    let open = |layout: &_, precision| (environment.open_device)(device, layout, precision);
    let mut session = checkpoint.session(config.precision, Fusions::ALL, open)?;
    let options = analyze::Options {
        batch: BATCH,
        similarity_images: SIMILARITY_IMAGES.min(images),
        source: analyze::Source {
            checkpoint: file.display().to_string(),
            data: dataset.name,
            synthetic: dataset.synthetic,
            data_digest: dataset.digest,
            seed: config.seed,
            epoch: checkpoint.info.epoch,
            checkpoint_digest: file_digest(&file)?,
        },
    };
    let few = Arc::new(sample(&dataset.test, images)?);
    let mut is_ended = false;
    let mut progress = |_: Progress<'_>| {
        is_ended = !goes_on();
        if is_ended { Err(Error::usage("the analysis was stopped")) } else { Ok(()) }
    };
    let analysis = analyze(&mut session, &few, &Arc::new(checkpoint.normaliser), &options, &mut progress);
    if is_ended {
        return Ok(None);
    }
    let analysis = analysis?;
    analysis.save(folder)?;
    Ok(Some(analysis))
}

/// What accuracy becomes without a part of a layer, over the seeds that were analyzed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LayerEffects {
    /// Such as `1.2.1`; `stem`.
    pub layer: String,
    /// Its group, from 1; 0 of the stem.
    pub group: usize,
    /// Change in points with r zero behind it.
    pub without_residual: Estimate,
    /// Change in points with t zero behind it.
    pub without_transient: Estimate,
    /// Change in points without its identity E; the stem has none.
    pub without_identity: Option<Estimate>,
}

/// The analyses of a cell's runs, taken together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Streams {
    /// How many runs were analyzed.
    pub analyzed: usize,
    /// Test images of each analysis, the fewest of them.
    pub images: usize,
    /// Test accuracy of the whole networks on them, in per cent.
    pub whole: Estimate,
    /// The stem, then every generalized layer.
    pub layers: Vec<LayerEffects>,
    /// Change in points without any identity E.
    pub without_identities: Estimate,
    /// Half of the 95 % interval of each change over test images, of the first analysis: of r and of t, layer by layer.
    #[serde(skip)]
    own_spreads: Vec<[f64; 2]>,
}

impl Streams {
    /// Of analyses of the same network from several seeds; none of none.
    pub(super) fn of(analyses: &[Analysis]) -> Option<Self> {
        let first = analyses.first()?;
        let over = |change: &dyn Fn(&Analysis) -> f64| {
            Estimate::of(&analyses.iter().map(change).collect::<Vec<_>>())
        };
        let layers = (first.layers.iter().enumerate())
            .map(|(at, layer)| LayerEffects {
                layer: layer.short.clone(),
                group: layer.group,
                without_residual: over(&|a| a.layers[at].without_residual.change),
                without_transient: over(&|a| a.layers[at].without_transient.change),
                without_identity: layer.without_identity.map(|_| {
                    over(&|a| a.layers[at].without_identity.map_or(f64::NAN, |effect: Effect| effect.change))
                }),
            })
            .collect();
        let own = |layer: &LayerReport| [layer.without_residual.spread, layer.without_transient.spread];
        Some(Self {
            analyzed: analyses.len(),
            images: analyses.iter().map(|a| a.images).min().unwrap_or(0),
            whole: over(&|a| a.accuracy),
            layers,
            without_identities: over(&|a| a.without_identities.change),
            own_spreads: first.layers.iter().map(own).collect(),
        })
    }

    /// Accuracy over the layers with either stream zero behind one of them, as SVG with this title.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub(super) fn figure(&self, title: &str, synthetic: bool) -> Result<String> {
        let whole = self.whole.mean.unwrap_or(f64::NAN);
        let is_over_seeds = self.analyzed >= LEAST_SEEDS;
        let series = |stream: usize, name: &str, of: fn(&LayerEffects) -> &Estimate| {
            let point = |(at, layer): (usize, &LayerEffects)| {
                let change = of(layer);
                let over_seeds = change.half_interval.filter(|_| is_over_seeds);
                let spread = over_seeds.unwrap_or(self.own_spreads[at][stream]);
                Some(Point { x: at as f64, y: whole + change.mean?, spread: Some(spread) })
            };
            Series { name: name.into(), points: self.layers.iter().enumerate().filter_map(point).collect() }
        };
        let series = [
            series(0, "without the residual stream r", |layer| &layer.without_residual),
            series(1, "without the transient stream t", |layer| &layer.without_transient),
        ];
        let over = if is_over_seeds { "seeds" } else { "test images, of the first seed" };
        let remark = format!("; bars: 95 % intervals over {over}");
        let y = Axis { title: format!("{}, %", accuracy_label(synthetic, "test")), scale: Scale::Linear };
        let layers: Vec<(&str, usize)> = self.layers.iter().map(|l| (l.layer.as_str(), l.group)).collect();
        let levels = [Level { name: "the whole network".into(), y: whole }];
        OverLayers { title, remark: &remark, layers: &layers, y: &y, series: &series, levels: &levels }.draw()
    }
}
