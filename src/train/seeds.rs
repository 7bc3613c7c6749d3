//! The same run from several seeds.

use super::config::Config;
use super::looping::median;
use super::memory::peak_rss_bytes;
use super::options::{Environment, TrainOptions};
use super::run::RunFolder;
use super::summary::{SeedsSummary, Summary};
use super::trainer::{run_name, train};
use crate::error::{Error, Result};

/// Trains the same run from `count` seeds, the options' and those after it, each in a folder `s<seed>` of its own below
/// one folder. A stop ends the run under way, which can be resumed on its own, and begins no other.
///
/// # Errors
/// As [`train`]; no seed, or options to resume.
pub fn train_seeds(
    options: &TrainOptions,
    count: u32,
    environment: &Environment<'_>,
) -> Result<SeedsSummary> {
    if count == 0 {
        return Err(Error::usage("there is no seed to train from; give a number from 1"));
    }
    if options.resume.is_some() {
        return Err(Error::usage("resume the run of one seed at a time: give its own folder"));
    }
    let config = Config::new(options)?;
    let first = config.seed;
    let last = first
        .checked_add(u64::from(count - 1))
        .ok_or_else(|| Error::usage(format!("there are no {count} seeds from {first} on")))?;
    let name = run_name(&config, &config.data, &format!("{first}-{last}"));
    let parent = RunFolder::create(options.output.as_deref(), &name)?;
    let mut runs: Vec<Summary> = Vec::new();
    for seed in first..=last {
        let output = parent.path().join(format!("s{seed}"));
        let one = TrainOptions { seed: Some(seed), output: Some(output), ..options.clone() };
        let summary = train(&one, environment)?;
        let finished = summary.finished;
        runs.push(summary);
        if !finished {
            break;
        }
    }
    Ok(summarise(parent, count, runs))
}

fn summarise(parent: RunFolder, count: u32, runs: Vec<Summary>) -> SeedsSummary {
    let accuracies: Vec<f64> = runs.iter().filter(|r| r.finished).filter_map(|r| r.test_accuracy).collect();
    let speeds: Vec<f64> = runs.iter().filter_map(|r| r.images_per_second).collect();
    let (mean, deviation) = mean_and_deviation(&accuracies);
    SeedsSummary {
        test_accuracy: mean,
        standard_deviation: deviation,
        synthetic: runs.iter().any(|r| r.synthetic),
        data: runs.first().map_or(String::new(), |r| r.data.clone()),
        images_per_second: median(&speeds),
        peak_rss_bytes: peak_rss_bytes(),
        finished: accuracies.len() == count as usize,
        run: parent.path().into(),
        runs,
    }
}

/// The mean of some numbers, and their sample standard deviation where there are at least two.
pub(crate) fn mean_and_deviation(numbers: &[f64]) -> (Option<f64>, Option<f64>) {
    if numbers.is_empty() {
        return (None, None);
    }
    let n = numbers.len() as f64;
    let mean = numbers.iter().sum::<f64>() / n;
    let squares = numbers.iter().map(|x| (x - mean).powi(2)).sum::<f64>();
    (Some(mean), (numbers.len() > 1).then(|| (squares / (n - 1.0)).sqrt()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_that_of_a_sample() {
        assert_eq!(mean_and_deviation(&[]), (None, None));
        assert_eq!(mean_and_deviation(&[3.0]), (Some(3.0), None));
        assert_eq!(mean_and_deviation(&[2.0, 4.0, 6.0]), (Some(4.0), Some(2.0)));
    }
}
