//! What a caller chooses of a training run.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Stop;
use crate::data::Loaded;
use crate::data::split::Share;
use crate::device::Device;
use crate::error::{Error, Result};
use crate::graph::{Fusions, Precision, StateLayout};
use crate::nn::Description;
use crate::optim::Recipe;

/// How long a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Length {
    /// Passes over the training set.
    Epochs(u32),
    /// Steps, which may end inside an epoch.
    Steps(u64),
}

/// What goes to stderr while training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Verbosity {
    /// Warnings only.
    Quiet,
    /// A bar where stderr is a terminal, else a line an epoch and one every half minute.
    #[default]
    Progress,
}

/// A training run as its user asks for it: what is `None` was not asked for.
///
/// A new run takes defaults for that (see [`super::Config::new`]); a resumed one takes everything from its
/// `config.toml`, and refuses to change what would make it another run: only device, choices of kernels, time limit, the
/// intervals of evaluation and checkpoints and verbosity may differ, and the data may lie elsewhere if its digest is the
/// same.
#[derive(Debug, Clone, Default)]
pub struct TrainOptions {
    /// The folder of a run to continue.
    pub resume: Option<PathBuf>,
    /// The network.
    pub model: Option<Description>,
    /// The data, as [`Environment::open_data`] understands it.
    pub data: Option<String>,
    /// A checkpoint of this network whose weights the run starts from, in place of random ones.
    pub weights: Option<PathBuf>,
    /// Height and width of the images that the network reads; 32 x 32 by default.
    pub image: Option<[usize; 2]>,
    /// The recipe.
    pub recipe: Option<Recipe>,
    /// Another length than the recipe's; the schedule keeps its shape.
    pub length: Option<Length>,
    /// Another batch size than the recipe's.
    pub batch_size: Option<usize>,
    /// Another learning rate than the recipe's.
    pub learning_rate: Option<f64>,
    /// Of a resumed run: its device chooses kernels anew, in place of those that the run has recorded.
    pub choose_anew: bool,
    /// The device, as [`Environment::open_device`] understands it.
    pub device: Option<String>,
    /// The arithmetic.
    pub precision: Option<Precision>,
    /// Which operations are fused.
    pub fuse: Option<Fusions>,
    /// The seed of weights, orders, augmentation and splits.
    pub seed: Option<u64>,
    /// So many training images, the same number of each class.
    pub subset: Option<usize>,
    /// This part of the training images becomes a validation set, which chooses `best.safetensors`.
    pub val_split: Option<Share>,
    /// The run folder; by default a new one below `runs`.
    pub output: Option<PathBuf>,
    /// Stops, with a result, before this much time has passed.
    pub time_limit: Option<Duration>,
    /// Epochs from one evaluation to the next; 1 by default. The last epoch is always evaluated.
    pub evaluate_every: Option<u32>,
    /// The longest time between checkpoints where no evaluation makes one; 5 minutes by default.
    pub checkpoint_every: Option<Duration>,
    /// What goes to stderr.
    pub verbosity: Verbosity,
    /// Who may stop the run.
    pub stop: Stop,
}

/// Opens a device by its name, with a State in the given precision.
pub type OpenDevice<'a> = &'a dyn Fn(&str, &StateLayout, Precision) -> Result<Box<dyn Device>>;

/// How a run gets at data and devices: the command line's ways, or a test's own.
#[derive(Clone, Copy)]
pub struct Environment<'a> {
    /// Reads a data set by what the user calls it, for a network that reads images of this height and width.
    pub open_data: &'a dyn Fn(&str, [usize; 2]) -> Result<Loaded>,
    /// Opens a device.
    pub open_device: OpenDevice<'a>,
}

/// A length of time such as `90s`, `9m`, `1h30m` or, in seconds, `45`.
///
/// # Errors
/// A sentence with what was given and examples.
pub fn parse_duration(text: &str) -> Result<Duration> {
    let fail = || Error::usage(format!("'{text}' is no length of time; write it as 90s, 9m or 1h30m"));
    let (mut seconds, mut digits, mut smallest) = (0u64, String::new(), u64::MAX);
    let mut add = |digits: &mut String, unit: u64, smallest: &mut u64| {
        let count: u64 = digits.parse().map_err(|_| fail())?;
        let part = count.checked_mul(unit).filter(|_| unit < *smallest).ok_or_else(fail)?;
        seconds = seconds.checked_add(part).filter(|&s| s < 1 << 40).ok_or_else(fail)?;
        digits.clear();
        *smallest = unit;
        Ok::<(), Error>(())
    };
    for c in text.trim().chars() {
        match c {
            '0'..='9' => digits.push(c),
            'h' => add(&mut digits, 3600, &mut smallest)?,
            'm' => add(&mut digits, 60, &mut smallest)?,
            's' => add(&mut digits, 1, &mut smallest)?,
            _ => return Err(fail()),
        }
    }
    if !digits.is_empty() {
        add(&mut digits, 1, &mut smallest)?;
    }
    if seconds == 0 { Err(fail()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_parse() {
        for (text, seconds) in [("90s", 90), ("9m", 540), ("1h30m", 5400), ("45", 45), ("1h2m3s", 3723)] {
            assert_eq!(parse_duration(text).unwrap().as_secs(), seconds, "{text}");
        }
        for text in [
            "",
            "0",
            "m",
            "9x",
            "-1s",
            "1m1m",
            "1s1h",
            "1.5m",
            "99999999999999999999h",
            "18446744073709551615h",
        ] {
            let message = parse_duration(text).unwrap_err().to_string();
            assert!(message.contains("1h30m"), "{text}: {message}");
        }
    }
}
