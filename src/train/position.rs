//! Where a run stands between two steps: all that a checkpoint needs beside the State to continue it.

use serde::{Deserialize, Serialize};

/// Sums over the steps since the last report.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Sums {
    /// Of the batches' mean losses, each times its images.
    pub loss: f64,
    /// Images that the network got right.
    pub correct: u64,
    /// Images.
    pub images: u64,
}

impl Sums {
    /// Adds a batch.
    pub fn add(&mut self, loss: f64, correct: u64, images: usize) {
        self.loss += loss * images as f64;
        self.correct += correct;
        self.images += images as u64;
    }
    /// Loss and accuracy in per cent; none of no images.
    pub fn measured(&self) -> Option<Measured> {
        let n = self.images as f64;
        (self.images > 0).then(|| Measured { loss: self.loss / n, accuracy: 100.0 * self.correct as f64 / n })
    }
}

/// How the network does on some images.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// Mean loss.
    pub loss: f64,
    /// Images that it got right, in per cent.
    pub accuracy: f64,
}

/// Where a run stands between two steps.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Position {
    /// Epochs completed and evaluated.
    pub epoch: u32,
    /// Steps made in the epoch after those.
    pub step_in_epoch: usize,
    /// Steps made in all.
    pub step: u64,
    /// Wall seconds of training so far.
    pub seconds: f64,
    /// Those of them that were spent on steps: without loading, evaluation and checkpoints.
    #[serde(default)]
    pub training_seconds: f64,
    /// Over the steps of this epoch.
    pub epoch_sums: Sums,
    /// Over the steps since the last line of the metrics.
    pub line_sums: Sums,
    /// On the test images, at the end of the last completed epoch.
    pub test: Option<Measured>,
    /// On the validation images, likewise.
    pub validation: Option<Measured>,
    /// The best accuracy so far on the validation images.
    pub best_validation: Option<f64>,
    /// Length of the metrics file in bytes.
    pub metrics_bytes: u64,
    /// Length of the TensorBoard file in bytes.
    pub events_bytes: u64,
    /// Whether the run's last step is made and evaluated.
    pub finished: bool,
}
