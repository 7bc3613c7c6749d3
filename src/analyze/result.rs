//! What an analysis found, as plain data.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Quarter;
use crate::error::{Error, Result};
use crate::graph::Precision;
use crate::nn::Family;
use crate::train::atomic;

/// Where network and images are from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Source {
    /// The file of the network.
    pub checkpoint: String,
    /// The name of the data set.
    pub data: String,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// The digest of the data set.
    pub data_digest: String,
    /// The seed that the network was trained with.
    pub seed: u64,
    /// Epochs it was trained for.
    pub epoch: u32,
    /// SHA-256 of the file of the network.
    pub checkpoint_digest: String,
}

/// What accuracy becomes without a part of the network.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Effect {
    /// Per cent.
    pub accuracy: f64,
    /// Per cent points more than the whole network has: negative for a loss.
    pub change: f64,
    /// Half of the 95 % interval of `change`, over what images there might be.
    pub spread: f64,
}

impl Effect {
    /// From which images the whole network and the ablated one get right.
    ///
    /// The interval is that of a difference between paired proportions, with half an image added to each of the four
    /// counts (Agresti and Min, 2005), so that few images, or none that change, have one too.
    pub(super) fn of(whole: &[bool], ablated: &[bool]) -> Self {
        let count =
            |a: bool, b: bool| whole.iter().zip(ablated).filter(|&pair| pair == (&a, &b)).count() as f64;
        let (n, lost, won) = (whole.len() as f64, count(true, false), count(false, true));
        let (total, lost_more, won_more) = (n + 2.0, lost + 0.5, won + 0.5);
        let variance = (lost_more + won_more) - (won_more - lost_more).powi(2) / total;
        Self {
            accuracy: 100.0 * (count(true, true) + won) / n,
            change: 100.0 * (won - lost) / n,
            spread: 100.0 * 1.96 * variance.sqrt() / total,
        }
    }

    /// Whether the change is more than these images leave to chance.
    pub fn is_measurable(&self) -> bool {
        self.change.abs() > self.spread
    }

    /// Whether it is a loss, and more than these images leave to chance.
    pub fn is_loss(&self) -> bool {
        self.change < -self.spread
    }
}

/// A quarter of a layer's filter.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct QuarterReport {
    /// Which.
    pub quarter: Quarter,
    /// Root of the sum of its squares.
    pub norm: f64,
    /// Root of their mean: the size of a weight.
    pub rms: f64,
    /// Accuracy with the quarter zero.
    pub without: Effect,
}

/// A layer, and what its parts do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerReport {
    /// Such as `group1.block2.layer1`.
    pub name: String,
    /// Such as `1.2.1`.
    pub short: String,
    /// Its group, from 1; 0 of the stem.
    pub group: usize,
    /// Channels of r.
    pub residual_channels: usize,
    /// Channels of t.
    pub transient_channels: usize,
    /// Accuracy with r zero behind the layer.
    pub without_residual: Effect,
    /// Accuracy with t zero behind the layer.
    pub without_transient: Effect,
    /// Accuracy without E in the layer; the stem has none.
    pub without_identity: Option<Effect>,
    /// In the order of [`Quarter::ALL`]; none in the stem.
    pub quarters: Vec<QuarterReport>,
    /// Root mean square of r behind the layer.
    pub residual_rms: f64,
    /// Root mean square of t behind the layer.
    pub transient_rms: f64,
}

impl LayerReport {
    /// How much larger r is than t, by their root mean squares; none where t is zero.
    pub fn ratio(&self) -> Option<f64> {
        (self.transient_rms > 0.0).then(|| self.residual_rms / self.transient_rms)
    }
}

/// What the streams of a network do, and of which.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Analysis {
    /// The version of the program.
    pub version: String,
    /// The commit that it was built from.
    pub commit: String,
    /// The network.
    pub model: String,
    /// Its family.
    pub family: Family,
    /// The part of a layer's channels that are r.
    pub residual_share: f64,
    /// Where network and images are from.
    #[serde(flatten)]
    pub source: Source,
    /// Device and threads.
    pub device: String,
    /// The arithmetic.
    pub precision: Precision,
    /// Images that accuracies are of.
    pub images: usize,
    /// Images that activations and similarity are of.
    pub similarity_images: usize,
    /// Accuracy of the whole network, in per cent.
    pub accuracy: f64,
    /// Accuracy of always naming the commonest class, in per cent.
    pub chance: f64,
    /// The stem, then every generalized layer.
    pub layers: Vec<LayerReport>,
    /// Accuracy without E in any layer.
    pub without_identities: Effect,
    /// `similarity[a][b]` of r behind layers a and b: debiased linear CKA. None in a row whose r is the same for every
    /// image; none at all of fewer than four images.
    pub similarity: Option<Vec<Vec<Option<f64>>>>,
}

impl Analysis {
    /// Writes `analysis.json` and the figures to `folder`, which is made where it is not there; gives their paths.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn save(&self, folder: &Path) -> Result<Vec<PathBuf>> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create", folder, &e))?;
        let json = serde_json::to_string_pretty(self)
            .map_err(|e| Error::usage(format!("the analysis cannot be written as JSON: {e}")))?;
        let mut files = vec![("analysis.json", json + "\n")];
        files.extend(self.plots()?);
        let write = |(name, text): (&str, String)| {
            let path = folder.join(name);
            atomic::replace(&path, text.as_bytes()).map(|()| path)
        };
        files.into_iter().map(write).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn right(first: usize, of: usize) -> Vec<bool> {
        (0..of).map(|i| i < first).collect()
    }

    #[test]
    fn what_is_measurable_depends_on_how_many_images_change() {
        let none = Effect::of(&right(500, 1000), &right(500, 1000));
        assert_eq!((none.accuracy, none.change), (50.0, 0.0));
        assert!(none.spread > 0.0 && !none.is_measurable());
        let four = Effect::of(&right(500, 1000), &right(496, 1000));
        assert!((four.change + 0.4).abs() < 1e-9 && !four.is_measurable(), "{four:?}");
        let many = Effect::of(&right(500, 1000), &right(450, 1000));
        // Paired: the interval is that of the fifty images that change, not of the five hundred.
        let binomial = 100.0 * 1.96 * (2.0_f64 * 0.25 / 1000.0).sqrt();
        assert!(many.is_measurable() && many.spread < binomial / 2.0, "{many:?}");
        assert!(many.is_loss());
        let gain = Effect::of(&right(450, 1000), &right(500, 1000));
        assert!(gain.change > 0.0 && gain.is_measurable() && !gain.is_loss());
    }
}
