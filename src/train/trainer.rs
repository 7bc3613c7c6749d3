//! The training loop.

use super::options::{Environment, TrainOptions};
use super::summary::{SeedsSummary, Summary};
use crate::error::{Error, Result};

/// Trains a network, or continues a run.
///
/// # Errors
/// Whatever stands in the way, in one sentence; divergence has a kind of its own.
pub fn train(_options: &TrainOptions, _environment: &Environment<'_>) -> Result<Summary> {
    Err(Error::usage("training is not there yet"))
}

/// Trains the same run from `count` seeds, the options' and those after it.
///
/// # Errors
/// As [`train`].
pub fn train_seeds(_: &TrainOptions, _count: u32, _: &Environment<'_>) -> Result<SeedsSummary> {
    Err(Error::usage("training is not there yet"))
}
