//! Learning-rate schedules: pure functions of the step.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How the learning rate changes over a run; every schedule is a factor of the recipe's learning rate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Schedule {
    /// 1 throughout.
    Constant {},
    /// Multiplied by `factor` after each of some epochs.
    Steps {
        /// Epochs of the recipe after which the rate drops, ascending. In a run of another length they move in
        /// proportion: a drop after 84 of 164 epochs comes after 42 of 82.
        drops: Vec<u32>,
        /// What a drop multiplies the rate by.
        factor: f64,
    },
    /// Half a cosine from 1 to 0.
    Cosine {},
    /// A straight line from `start` up to 1, then half a cosine down to `end`.
    OneCycle {
        /// Share of the run that goes up, 0 to 1.
        warmup: f64,
        /// The factor of the first step.
        start: f64,
        /// The factor that the last step approaches.
        end: f64,
    },
}

impl Schedule {
    /// Every kind, as recipes spell them.
    pub const KINDS: [&str; 4] = ["constant", "steps", "cosine", "one-cycle"];

    /// The keys of a kind beside `kind` itself.
    pub fn keys(kind: &str) -> &'static [&'static str] {
        match kind {
            "steps" => &["drops", "factor"],
            "one-cycle" => &["warmup", "start", "end"],
            _ => &[],
        }
    }

    /// The factor of the learning rate at `step` (from 0) of `total`; `epochs` is the length of the recipe that
    /// [`Schedule::Steps`] counts its drops in.
    ///
    /// ```
    /// use rir::optim::Schedule;
    /// let paper = Schedule::Steps { drops: vec![84, 124], factor: 0.1 };
    /// assert_eq!(paper.factor(8_399, 16_400, 164), 1.0);
    /// assert_eq!(paper.factor(8_400, 16_400, 164), 0.1);
    /// ```
    pub fn factor(&self, step: u64, total: u64, epochs: u32) -> f64 {
        let done = step as f64 / total.max(1) as f64;
        match self {
            Schedule::Constant {} => 1.0,
            Schedule::Steps { drops, factor } => {
                let passed = drops.iter().filter(|&&drop| step >= drop_step(drop, total, epochs)).count();
                factor.powi(passed as i32)
            }
            Schedule::Cosine {} => half_cosine(done),
            Schedule::OneCycle { warmup, start, end } => {
                if done < *warmup {
                    start + (1.0 - start) * done / warmup
                } else {
                    end + (1.0 - end) * half_cosine((done - warmup) / (1.0 - warmup).max(f64::MIN_POSITIVE))
                }
            }
        }
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what it may be.
    pub fn validate(&self, epochs: u32) -> Result<()> {
        let share = |key: &str, value: f64| {
            if (0.0..=1.0).contains(&value) {
                return Ok(());
            }
            Err(Error::usage(format!("schedule.{key} = {value} must lie between 0 and 1")))
        };
        match self {
            Schedule::Constant {} | Schedule::Cosine {} => Ok(()),
            Schedule::OneCycle { warmup, start, end } => {
                share("warmup", *warmup)?;
                share("start", *start)?;
                share("end", *end)
            }
            Schedule::Steps { drops, factor } => {
                share("factor", *factor)?;
                if drops.is_sorted() && drops.iter().all(|d| (1..=epochs).contains(d)) {
                    return Ok(());
                }
                Err(Error::usage(format!(
                    "schedule.drops = {drops:?} must be ascending epochs between 1 and the recipe's {epochs}"
                )))
            }
        }
    }
}

/// The first step after `drop` of `epochs` epochs, of a run of `total` steps; to the nearest step.
fn drop_step(drop: u32, total: u64, epochs: u32) -> u64 {
    let (drop, total, epochs) = (u128::from(drop), u128::from(total), u128::from(epochs.max(1)));
    ((drop * total + epochs / 2) / epochs) as u64
}

/// From 1 at 0 to 0 at 1.
fn half_cosine(x: f64) -> f64 {
    0.5 + 0.5 * (std::f64::consts::PI * x.clamp(0.0, 1.0)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_drop_exactly_at_the_papers_steps() {
        let paper = Schedule::Steps { drops: vec![84, 124], factor: 0.1 };
        let at = |step| paper.factor(step, 16_400, 164);
        assert_eq!([at(0), at(8_399)], [1.0; 2]);
        assert_eq!([at(8_400), at(12_399)], [0.1; 2]);
        assert!((at(12_400) - 0.01).abs() < 1e-17 && (at(16_399) - 0.01).abs() < 1e-17);
        let literal = Schedule::Steps { drops: vec![42, 62], factor: 0.1 };
        assert_eq!([literal.factor(4_199, 8_200, 82), literal.factor(4_200, 8_200, 82)], [1.0, 0.1]);
    }

    #[test]
    fn drops_keep_their_place_in_a_run_of_another_length() {
        let paper = Schedule::Steps { drops: vec![84, 124], factor: 0.1 };
        // Half the epochs, at any number of steps an epoch.
        assert_eq!([paper.factor(419, 820, 164), paper.factor(420, 820, 164)], [1.0, 0.1]);
        // 10 steps: 84/164 of 10 is 5.1, 124/164 is 7.6.
        let ten: Vec<f64> = (0..10).map(|s| paper.factor(s, 10, 164)).collect();
        assert_eq!(ten.iter().filter(|&&f| f == 1.0).count(), 5);
        assert_eq!(ten.iter().filter(|&&f| f == 0.1).count(), 3);
    }

    #[test]
    fn one_cycle_and_cosine_hit_their_corners() {
        let cycle = Schedule::OneCycle { warmup: 0.25, start: 0.2, end: 0.02 };
        let at = |step| cycle.factor(step, 100, 1);
        assert!((at(0) - 0.2).abs() < 1e-15);
        assert!((at(25) - 1.0).abs() < 1e-15);
        assert!((at(100) - 0.02).abs() < 1e-15);
        assert!((0..24).all(|s| at(s) < at(s + 1)) && (25..99).all(|s| at(s) > at(s + 1)));
        assert!((Schedule::Cosine {}.factor(50, 100, 1) - 0.5).abs() < 1e-15);
        assert_eq!(Schedule::Constant {}.factor(7, 9, 1), 1.0);
        // The edges of what `validate` allows stay finite.
        for warmup in [0.0, 1.0] {
            let edge = Schedule::OneCycle { warmup, start: 0.0, end: 0.0 };
            assert!((0..=10).all(|s| edge.factor(s, 10, 1).is_finite()));
        }
        assert!(cycle.factor(0, 0, 0).is_finite());
    }

    #[test]
    fn impossible_schedules_are_refused_by_key() {
        let message = |s: Schedule| s.validate(10).unwrap_err().to_string();
        assert!(message(Schedule::Steps { drops: vec![5, 3], factor: 0.1 }).contains("drops = [5, 3]"));
        assert!(message(Schedule::Steps { drops: vec![11], factor: 0.1 }).contains("the recipe's 10"));
        let cycle = Schedule::OneCycle { warmup: 1.5, start: 0.0, end: 0.0 };
        assert_eq!(message(cycle), "schedule.warmup = 1.5 must lie between 0 and 1");
    }
}
