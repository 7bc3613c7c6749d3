//! `metrics.jsonl`: one JSON object a line, for scripts; the same numbers go to TensorBoard.
//!
//! `kind` is `step`, for the training steps since the line before, or `epoch`, for those of a whole epoch and the
//! evaluation after it. Accuracies are in per cent; on the synthetic set their keys begin with `synthetic_`. But for
//! `images_per_second` and the seconds, the lines of a resumed run are those of one that was never interrupted.

use std::path::PathBuf;

use serde::ser::{Serialize, SerializeMap, Serializer};

use super::append::Appender;
use super::position::Measured;
use super::tensorboard::Events;
use crate::error::{Error, Result};

/// A line.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    /// Whether it ends an epoch.
    pub ends_epoch: bool,
    /// Whether the data is the synthetic set.
    pub synthetic: bool,
    /// Steps made.
    pub step: u64,
    /// The epoch that the last of them belongs to, from 1.
    pub epoch: u32,
    /// The rate of the last of them.
    pub learning_rate: f64,
    /// On the training batches, each before its step.
    pub train: Measured,
    /// On the test images.
    pub test: Option<Measured>,
    /// On the validation images.
    pub validation: Option<Measured>,
    /// Training images a second since the line before; none where too few steps were made to tell.
    pub images_per_second: Option<f64>,
    /// Seconds spent on steps so far: without loading, evaluation and checkpoints.
    pub training_seconds: f64,
    /// Wall seconds of the run so far.
    pub seconds: f64,
}

impl Line {
    /// What was measured, with the key of its accuracy.
    fn splits(&self) -> impl Iterator<Item = (&'static str, Measured)> {
        let splits = [("train", Some(self.train)), ("test", self.test), ("validation", self.validation)];
        splits.into_iter().filter_map(|(split, measured)| Some((split, measured?)))
    }

    /// Names and values for charts.
    fn scalars(&self) -> Vec<(String, f64)> {
        let accuracy = if self.synthetic { "synthetic_accuracy" } else { "accuracy" };
        let group = |split| if split == "train" && self.ends_epoch { "train_epoch" } else { split };
        let mut scalars = Vec::new();
        for (split, measured) in self.splits() {
            scalars.push((format!("{}/loss", group(split)), measured.loss));
            scalars.push((format!("{}/{accuracy}", group(split)), measured.accuracy));
        }
        if !self.ends_epoch {
            scalars.push(("learning_rate".into(), self.learning_rate));
            scalars.extend(self.images_per_second.map(|speed| ("images_per_second".into(), speed)));
        }
        scalars
    }
}

impl Serialize for Line {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let prefix = if self.synthetic { "synthetic_" } else { "" };
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", if self.ends_epoch { "epoch" } else { "step" })?;
        map.serialize_entry("step", &self.step)?;
        map.serialize_entry("epoch", &self.epoch)?;
        map.serialize_entry("learning_rate", &self.learning_rate)?;
        for (split, measured) in self.splits() {
            map.serialize_entry(&format!("{split}_loss"), &measured.loss)?;
            map.serialize_entry(&format!("{prefix}{split}_accuracy"), &measured.accuracy)?;
        }
        map.serialize_entry("images_per_second", &self.images_per_second)?;
        map.serialize_entry("training_seconds", &self.training_seconds)?;
        map.serialize_entry("seconds", &self.seconds)?;
        map.end()
    }
}

/// Lengths of the files, for a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Lengths {
    /// Of `metrics.jsonl`, in bytes.
    pub metrics: u64,
    /// Of the TensorBoard file, in bytes.
    pub events: u64,
}

/// Both files of a run.
#[derive(Debug)]
pub(super) struct Metrics {
    lines: Appender,
    events: Events,
}

impl Metrics {
    /// Opens or creates the files, cut to `keep`; the lines at `path`, TensorBoard's beside it.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(path: PathBuf, keep: Lengths) -> Result<Self> {
        let folder = path.parent().map(PathBuf::from).unwrap_or_default();
        Ok(Self { events: Events::open(&folder, keep.events)?, lines: Appender::open(path, keep.metrics)? })
    }

    /// Writes a line to both.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write(&mut self, line: &Line) -> Result<()> {
        let mut text = serde_json::to_string(line)
            .map_err(|e| Error::usage(format!("cannot write the metrics: {e}")))?;
        text.push('\n');
        self.lines.append(text.as_bytes())?;
        self.events.write(line.step, &line.scalars())
    }

    /// Brings both to the disk.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<Lengths> {
        Ok(Lengths { metrics: self.lines.sync()?, events: self.events.sync()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: Line = Line {
        ends_epoch: true,
        synthetic: true,
        step: 7,
        epoch: 1,
        learning_rate: 0.1,
        train: Measured { loss: 0.5, accuracy: 80.0 },
        test: Some(Measured { loss: f64::NAN, accuracy: 70.0 }),
        validation: None,
        images_per_second: Some(100.0),
        training_seconds: 2.0,
        seconds: 2.5,
    };

    #[test]
    fn synthetic_accuracies_say_so_everywhere() {
        let text = serde_json::to_string(&LINE).unwrap();
        assert_eq!(
            text,
            "{\"kind\":\"epoch\",\"step\":7,\"epoch\":1,\"learning_rate\":0.1,\"train_loss\":0.5,\
             \"synthetic_train_accuracy\":80.0,\"test_loss\":null,\"synthetic_test_accuracy\":70.0,\
             \"images_per_second\":100.0,\"training_seconds\":2.0,\"seconds\":2.5}"
        );
        for line in [LINE, Line { ends_epoch: false, ..LINE }] {
            let accuracies: Vec<_> =
                line.scalars().into_iter().filter(|(n, _)| n.contains("accuracy")).collect();
            assert!(accuracies.len() == 2 && accuracies.iter().all(|(n, _)| n.contains("synthetic")));
        }
        let unknown = serde_json::to_string(&Line { images_per_second: None, ..LINE }).unwrap();
        assert!(unknown.contains("\"images_per_second\":null"), "{unknown}");
        let real = serde_json::to_string(&Line { synthetic: false, ..LINE }).unwrap();
        assert!(!real.contains("synthetic") && real.contains("\"test_accuracy\":70.0"));
    }
}
