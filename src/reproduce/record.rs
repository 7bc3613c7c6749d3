//! `results/NAME.json`: what a run came to. It is enough to draw a table from; the run's folder may be gone.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::work::Source;
use crate::error::{Error, Kind, Result};
use crate::train::atomic::replace;
use crate::train::{Config, Info, Measured, find_checkpoint};
use crate::version::COMMIT;

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// With all its steps: loss and accuracy on the test images after the last.
    Finished(Measured),
    /// By divergence: the sentence that says where.
    Diverged(String),
}

/// A run that ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the program that ended it.
    pub version: String,
    /// The commit of that program's sources.
    pub commit: String,
    /// When it was recorded, in UTC.
    pub when: String,
    /// The data set's name.
    pub data: String,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// Test images.
    pub test_images: usize,
    /// Trained numbers.
    pub parameters: usize,
    /// Device and threads.
    pub device: String,
    /// Steps made.
    pub steps: u64,
    /// Wall seconds of the run.
    pub seconds: f64,
    /// Those of them that were spent on steps.
    pub training_seconds: f64,
    /// How it ended.
    pub outcome: Outcome,
    /// How it was trained: network, recipe, length, seed, precision, and the digest of the data.
    pub config: Config,
}

impl Record {
    /// Of the run in `folder`, whose last checkpoint says where it stands; `diverged`: why it went no further.
    ///
    /// # Errors
    /// If the run's files cannot be read, or it has not ended.
    pub fn of_run(
        folder: &Path,
        source: &Source,
        parameters: usize,
        diverged: Option<String>,
    ) -> Result<Self> {
        let config = Config::load(folder)?;
        let info = Info::read(&find_checkpoint(folder)?)?;
        let position = info.position.unwrap_or_default();
        let measured = position.test.filter(|_| position.finished);
        let outcome =
            diverged.map(Outcome::Diverged).or(measured.map(Outcome::Finished)).ok_or_else(|| {
                let steps = position.step;
                Error::new(
                    Kind::Io,
                    format!("the run {} has not ended: it stands at step {steps}", folder.display()),
                )
            })?;
        Ok(Self {
            version: info.version,
            commit: COMMIT.into(),
            when: jiff::Timestamp::now().strftime("%FT%TZ").to_string(),
            data: source.name.clone(),
            synthetic: source.synthetic,
            test_images: source.test_images,
            parameters,
            device: info.device,
            steps: position.step,
            seconds: position.seconds,
            training_seconds: position.training_seconds,
            outcome,
            config,
        })
    }

    /// The record at `path`; none where there is no such file.
    ///
    /// # Errors
    /// If it cannot be read, or says something else.
    pub fn read(path: &Path) -> Result<Option<Self>> {
        let text = match std::fs::read(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(|e| Error::io("read", path, &e))?,
        };
        serde_json::from_slice(&text).map(Some).map_err(|e| {
            let path = path.display();
            Error::new(
                Kind::Io,
                format!("{path} is not the result of a run ({e}); delete it, and it is made again from the run's folder"),
            )
        })
    }

    /// Writes it to `path`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Io, format!("the result of a run cannot be written: {e}")))?;
        replace(path, format!("{text}\n").as_bytes())
    }

    /// Test accuracy in per cent, of a run that finished.
    pub fn accuracy(&self) -> Option<f64> {
        match &self.outcome {
            Outcome::Finished(test) => Some(test.accuracy),
            Outcome::Diverged(_) => None,
        }
    }
}
