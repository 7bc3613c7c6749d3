//! One case: its outputs against the definition, then its time.

use super::{Bench, Settings, Spread};
use crate::check::reference::Tensor;
use crate::check::{Case, Checked, Prepared};
use crate::device::Pace;
use crate::device::cuda::launch::Launch;
use crate::error::{Error, Result};

/// A right result, and what it took.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// How near it is to the definition.
    pub checked: Checked,
    /// A run that finds in the cache what the last one left.
    pub warm: Spread,
    /// A run that finds a cache full of other things; `None` where the device cannot arrange that.
    pub cold: Option<Spread>,
    /// The kernels that it launches, in order; none on a device that is no card.
    pub kernels: Vec<String>,
}

/// What one figure takes at least, in seconds: thousands of the clock's ticks, and a hundred times the host's share of
/// a launch.
const LEAST_FIGURE: f64 = 1e-3;

/// Runs in a row at most: their launches are one graph.
const MOST_RUNS: usize = 256;

/// Figures at most.
const MOST_FIGURES: usize = 1000;

/// Numbers after which large inputs repeat: random all the same, and drawn in a moment. A prime, so that no two rows or
/// images of a tensor are alike.
const PERIOD: usize = 1_048_583;

/// Checks and times a case.
///
/// # Errors
/// A result that is not within its limit, or a device that failed: one sentence, and no time.
pub fn measure(bench: &Bench<'_>, case: &Case) -> Result<Measured> {
    let case = &Case { kernels: bench.kernels.or(case.kernels), ..case.clone() };
    let (mut prepared, checked) = run(bench, case)?;
    let (warm, pace) = warm(&mut prepared, &bench.settings, &case.name())?;
    let cold = Pace { samples: pace.samples.min(MOST_FIGURES / 4), runs: 1, cold: true };
    let cold = Spread::of(&prepared.time(cold)?, 1);
    Ok(Measured { checked, warm, cold, kernels: prepared.launches().into_iter().map(|l| l.kernel).collect() })
}

/// Times a case as it is, warm; and how it was timed.
pub(super) fn warm(prepared: &mut Prepared, settings: &Settings, name: &str) -> Result<(Spread, Pace)> {
    prepared.time(Pace { samples: 1, runs: settings.warmup.clamp(1, MOST_RUNS), cold: false })?;
    let once = prepared.time(Pace { samples: 3, runs: 1, cold: false })?;
    let once = Spread::of(&once, 1).map_or(LEAST_FIGURE, |spread| spread.seconds());
    let pace = pace(settings, once);
    let spread = Spread::of(&prepared.time(pace)?, pace.runs)
        .ok_or_else(|| Error::device(format!("{name} gave no time")))?;
    Ok((spread, pace))
}

/// Runs a case once, for a profiler, and gives its launches. The run is checked afterwards.
///
/// # Errors
/// As [`measure`].
pub fn once(bench: &Bench<'_>, case: &Case) -> Result<(Vec<Launch>, Checked)> {
    let case = &Case { kernels: bench.kernels.or(case.kernels), ..case.clone() };
    let (prepared, checked) = run(bench, case)?;
    Ok((prepared.launches(), checked))
}

/// The first run, from memory full of NaN, checked.
fn run(bench: &Bench<'_>, case: &Case) -> Result<(Prepared, Checked)> {
    let inputs = inputs(case);
    let mut prepared = Prepared::new(case, &inputs, bench.factory)?;
    prepared.run()?;
    let checked = right(prepared.check(case, &inputs)?, "")?;
    Ok((prepared, checked))
}

/// Random numbers for a case.
pub(super) fn inputs(case: &Case) -> Vec<Tensor> {
    (0..case.inputs.len()).map(|i| case.repeated_input(i, PERIOD)).collect()
}

/// # Errors
/// If the result is not within its limit; `of` says of what, beside the definition.
pub(super) fn right(checked: Checked, of: &str) -> Result<Checked> {
    let Checked { error, limit, .. } = checked;
    // Not a number is within no limit.
    if error <= limit {
        return Ok(checked);
    }
    Err(Error::device(format!("a wrong result: its error{of} is {error:.1e}, the limit {limit:.1e}")))
}

/// So many figures, of so many runs, that they take the time of a case, where a run takes `once` seconds.
fn pace(settings: &Settings, once: f64) -> Pace {
    let once = once.max(1e-9);
    let runs = (LEAST_FIGURE / once).ceil().clamp(1.0, MOST_RUNS as f64) as usize;
    let fitting = settings.budget().as_secs_f64() / (once * runs as f64);
    let samples = settings.repeats.unwrap_or(fitting.clamp(5.0, MOST_FIGURES as f64) as usize);
    Pace { samples: samples.max(1), runs, cold: false }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn short_runs_are_timed_together_and_long_ones_seldom() {
        let settings = Settings { time: Duration::from_secs(1), ..Settings::default() };
        assert_eq!(pace(&settings, 1e-5), Pace { samples: 1000, runs: 100, cold: false });
        assert_eq!(pace(&settings, 0.01), Pace { samples: 100, runs: 1, cold: false });
        assert_eq!(pace(&settings, 10.0), Pace { samples: 5, runs: 1, cold: false });
        let two = Settings { repeats: Some(2), ..settings };
        assert_eq!(pace(&two, 0.0), Pace { samples: 2, runs: MOST_RUNS, cold: false });
    }
}
