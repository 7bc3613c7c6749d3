//! What a training run comes to, for people and for scripts.

use std::fmt;
use std::path::PathBuf;

use serde::Serialize;

use crate::text::{counted, grouped};

/// Why a run ended before its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stopped {
    /// By a signal, or whoever holds its [`super::Stop`].
    Interrupted,
    /// By its time limit.
    TimeLimit,
}

/// The result of a run. Its JSON has these keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Summary {
    /// Per cent of the test images that the network got right; none where the run was interrupted before an epoch's
    /// end.
    pub test_accuracy: Option<f64>,
    /// Mean loss over the test images.
    pub test_loss: Option<f64>,
    /// Per cent of the validation images that the network got right, where the run has some.
    pub validation_accuracy: Option<f64>,
    /// Whether the data is the built-in synthetic set.
    pub synthetic: bool,
    /// The data set's name.
    pub data: String,
    /// Its training images, after the split and the subset.
    pub train_images: usize,
    /// Its test images.
    pub test_images: usize,
    /// The network's name.
    pub model: String,
    /// Trained numbers.
    pub parameters: usize,
    /// The recipe's name.
    pub recipe: String,
    /// The seed.
    pub seed: u64,
    /// Device and threads.
    pub device: String,
    /// Which kernels ran, on a device that has several.
    pub kernels: Option<String>,
    /// The arithmetic.
    pub precision: String,
    /// Epochs completed.
    pub epochs: u32,
    /// Steps made, of the run's `total_steps`.
    pub steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// Whether every step was made.
    pub finished: bool,
    /// Why not.
    pub stopped: Option<Stopped>,
    /// Wall seconds of the run, those before a resume included.
    pub seconds: f64,
    /// Those of them that were spent on steps: the time that a faster kernel shortens.
    pub training_seconds: f64,
    /// Seconds of this process before its first step: reading the data, opening the device, making plans.
    pub load_seconds: f64,
    /// Training images a second: the median over the steps of this process after the first few; none before those.
    pub images_per_second: Option<f64>,
    /// The most memory that this process held, in bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// The run folder.
    pub run: PathBuf,
}

/// The results of one training run from several seeds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SeedsSummary {
    /// Mean of the test accuracies of the finished runs, in per cent.
    pub test_accuracy: Option<f64>,
    /// Their sample standard deviation (divided by n - 1); none of fewer than two.
    pub standard_deviation: Option<f64>,
    /// Whether the data is the built-in synthetic set.
    pub synthetic: bool,
    /// The data set's name.
    pub data: String,
    /// Median of the runs' images a second.
    pub images_per_second: Option<f64>,
    /// The most memory that this process held, in bytes, where the system tells.
    pub peak_rss_bytes: Option<u64>,
    /// Whether every seed's run finished.
    pub finished: bool,
    /// The folder of the runs.
    pub run: PathBuf,
    /// One a seed.
    pub runs: Vec<Summary>,
}

/// `42.0 s`, `3 min 7 s`, `2 h 5 min`.
pub(super) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `, 1234 images/s`; nothing where that is not known yet.
pub(super) fn speed(images_per_second: Option<f64>) -> String {
    match images_per_second {
        Some(speed) if speed < 10.0 => format!(", {speed:.1} images/s"),
        Some(speed) => format!(", {speed:.0} images/s"),
        None => String::new(),
    }
}

/// The last line of a run on stdout, such as `test accuracy 94.99 %`; synthetic data always says so.
pub(crate) fn accuracy_line(synthetic: bool, accuracy: f64) -> String {
    format!("{} {accuracy:.2} %", accuracy_label(synthetic, "test"))
}

/// `test accuracy`, or `synthetic test accuracy`.
pub(crate) fn accuracy_label(synthetic: bool, split: &str) -> String {
    format!("{}{split} accuracy", if synthetic { "synthetic " } else { "" })
}

fn json<T: Serialize>(summary: &T) -> String {
    serde_json::to_string(summary).unwrap_or_else(|e| format!("{{\"error\":{:?}}}", e.to_string()))
}

fn resume(run: &std::path::Path) -> String {
    format!("rir train --resume {}", run.display())
}

impl Summary {
    /// One JSON object on one line.
    pub fn json(&self) -> String {
        json(self)
    }
}

/// Several lines for stdout, without a newline at the end; the last is exactly `test accuracy NN.NN %` (or `synthetic
/// test accuracy NN.NN %`) where there is one, else how to continue.
impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [train, test] = [self.train_images, self.test_images].map(|n| grouped(n as u64));
        let run = self.run.display();
        writeln!(f, "data        {}: {train} training images, {test} test images", self.data)?;
        writeln!(f, "model       {}: {} parameters", self.model, grouped(self.parameters as u64))?;
        writeln!(f, "device      {}, {}", self.device, self.precision)?;
        if let Some(kernels) = &self.kernels {
            writeln!(f, "kernels     {kernels}")?;
        }
        writeln!(
            f,
            "training    {}, seed {}: {}, {} of {}",
            self.recipe,
            self.seed,
            counted(self.epochs.into(), "epoch"),
            grouped(self.steps),
            counted(self.total_steps, "step")
        )?;
        writeln!(f, "time        {}{}", duration(self.seconds), speed(self.images_per_second))?;
        writeln!(f, "run         {run}")?;
        if let Some(accuracy) = self.validation_accuracy {
            let synthetic = if self.synthetic { "synthetic " } else { "" };
            writeln!(f, "validation  {synthetic}accuracy {accuracy:.2} %")?;
        }
        if self.stopped == Some(Stopped::TimeLimit) {
            let resume = resume(&self.run);
            writeln!(f, "stopped     by the time limit after step {}; continue with: {resume}", self.steps)?;
        }
        writeln!(f, "next        rir eval {run}, or rir predict {run} IMAGE")?;
        match (self.test_accuracy, self.stopped) {
            (Some(accuracy), None | Some(Stopped::TimeLimit)) => {
                f.write_str(&accuracy_line(self.synthetic, accuracy))
            }
            _ => write!(f, "stopped after step {}; continue with: {}", self.steps, resume(&self.run)),
        }
    }
}

impl SeedsSummary {
    /// One JSON object on one line.
    pub fn json(&self) -> String {
        json(self)
    }
}

/// Several lines for stdout, without a newline at the end: one a seed, the deviation, and last the mean as exactly
/// `test accuracy NN.NN %` (or `synthetic test accuracy NN.NN %`).
impl fmt::Display for SeedsSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for run in &self.runs {
            let accuracy = run.test_accuracy.filter(|_| run.finished);
            let result = accuracy.map_or("not finished".into(), |a| accuracy_line(self.synthetic, a));
            writeln!(f, "seed {:<6} {result}  {}", run.seed, run.run.display())?;
        }
        let finished = self.runs.iter().filter(|r| r.finished).count();
        if let Some(deviation) = self.standard_deviation {
            writeln!(
                f,
                "the mean of {finished} seeds, with a sample standard deviation of {deviation:.2} %:"
            )?;
        }
        match self.test_accuracy {
            Some(mean) => f.write_str(&accuracy_line(self.synthetic, mean)),
            None => f.write_str("no seed's run finished"),
        }
    }
}
