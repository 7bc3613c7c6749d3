//! From values to pixels, and where the ticks stand.

use super::{Axis, Scale};
use crate::error::{Error, Result};
use crate::text;

/// About how many ticks an axis of numbers has.
const TICKS: f64 = 6.0;

/// The part of the values' range that is left free on either side.
const PADDING: f64 = 0.04;

/// An axis that knows its range.
pub(super) struct Ruler {
    log: bool,
    /// Of values, or their decimal logarithms.
    low: f64,
    high: f64,
    /// Values and what stands beside them.
    pub ticks: Vec<(f64, String)>,
}

impl Ruler {
    /// For the finite ones of these values.
    ///
    /// # Errors
    /// If none is finite, or one does not suit the scale.
    pub fn new(axis: &Axis, values: impl Iterator<Item = f64>) -> Result<Self> {
        let (mut least, mut most) = (f64::INFINITY, f64::NEG_INFINITY);
        for value in values.filter(|value| value.is_finite()) {
            (least, most) = (least.min(value), most.max(value));
        }
        if least > most {
            return Err(Error::usage("there is nothing to plot: no value is a finite number"));
        }
        match &axis.scale {
            Scale::Named(names) => {
                let ticks = names.iter().enumerate().map(|(i, name)| (i as f64, name.clone())).collect();
                Ok(Self { log: false, low: -0.5, high: names.len() as f64 - 0.5, ticks })
            }
            Scale::Linear => {
                let (low, high) = padded(least, most);
                // An axis of what is never negative does not begin below 0.
                let low = if least >= 0.0 { low.max(0.0) } else { low };
                Ok(Self { log: false, low, high, ticks: even(low, high) })
            }
            Scale::Log if least <= 0.0 => Err(Error::usage(format!(
                "{least} has no place on the logarithmic axis '{}'; give values above 0, or a linear axis",
                axis.title
            ))),
            Scale::Log => {
                let (low, high) = padded(least.log10(), most.log10());
                Ok(Self { log: true, low, high, ticks: decades(low, high) })
            }
        }
    }

    /// Where a value lies, from 0 at the low end to 1 at the high one.
    pub fn place(&self, value: f64) -> f64 {
        let value = if self.log { value.log10() } else { value };
        (value - self.low) / (self.high - self.low)
    }
}

fn padded(least: f64, most: f64) -> (f64, f64) {
    let span = most - least;
    // Of one value alone, a range that has it in the middle.
    let padding = if span > 0.0 { PADDING * span } else { 0.1 * least.abs().max(1e-3) };
    (least - padding, most + padding)
}

/// 1, 2 or 5 times a power of ten: the step that comes nearest to [`TICKS`].
fn step(span: f64) -> f64 {
    let rough = span / TICKS;
    let power = 10f64.powf(rough.log10().floor());
    // Between two of them decides the middle of their logarithms.
    let times = match rough / power {
        ..1.41 => 1.0,
        ..3.16 => 2.0,
        ..7.07 => 5.0,
        _ => 10.0,
    };
    times * power
}

/// Round values from `low` to `high`.
pub(super) fn even(low: f64, high: f64) -> Vec<(f64, String)> {
    let step = step(high - low);
    let (first, last) = ((low / step).ceil() as i64, (high / step).floor() as i64);
    (first..=last).map(|i| (i as f64 * step, label(i as f64 * step, step))).collect()
}

/// A multiple of `step` with as many decimals as that has.
fn label(value: f64, step: f64) -> String {
    let decimals = (-step.log10().floor()).max(0.0) as usize;
    match value.abs() {
        0.0 => "0".into(),
        size if size >= 1e6 || decimals > 5 => text::number(format!("{value:.6e}").parse().unwrap_or(value)),
        _ => format!("{value:.decimals$}"),
    }
}

/// Powers of ten between two logarithms; where these are few, their doubles and fivefolds too; within less than a
/// decade, round values.
fn decades(low: f64, high: f64) -> Vec<(f64, String)> {
    let span = high - low;
    if span < 0.8 {
        return even(10f64.powf(low), 10f64.powf(high));
    }
    let times: &[f64] = if span < 3.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = (span / 10.0).ceil() as usize;
    let powers = (low.floor() as i32..=high.floor() as i32).step_by(every);
    let values = powers.flat_map(|power| times.iter().map(move |times| times * 10f64.powi(power)));
    let inside = values.filter(|value| (low..=high).contains(&value.log10()));
    // The product of a power of ten is off by a unit in the last place; what is meant has one digit.
    let meant = inside.map(|value| format!("{value:.0e}").parse().unwrap_or(value));
    meant.map(|value: f64| (value, text::number(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(scale: Scale, values: &[f64]) -> Vec<String> {
        let axis = Axis { title: "t".into(), scale };
        let ruler = Ruler::new(&axis, values.iter().copied()).unwrap();
        assert!(ruler.ticks.iter().all(|(value, _)| (-1e-9..=1.0 + 1e-9).contains(&ruler.place(*value))));
        ruler.ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_within() {
        assert_eq!(labels(Scale::Linear, &[0.0, 97.0]), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(
            labels(Scale::Linear, &[-0.1, 0.32]),
            ["-0.1", "0.0", "0.1", "0.2", "0.3"].map(|l| l.replace("0.0", "0"))
        );
        assert_eq!(labels(Scale::Log, &[0.01, 2000.0]), ["0.01", "0.1", "1", "10", "100", "1000"]);
        assert_eq!(labels(Scale::Log, &[0.012, 0.4]), ["0.02", "0.05", "0.1", "0.2"]);
        assert_eq!(labels(Scale::Named(vec!["a".into(), "b".into()]), &[0.0]), ["a", "b"]);
        assert!(labels(Scale::Linear, &[3.0]).len() > 2, "one value has an axis");
    }

    #[test]
    fn what_has_no_place_is_refused() {
        let axis = Axis { title: "time".into(), scale: Scale::Log };
        let error = |values: &[f64]| Ruler::new(&axis, values.iter().copied()).err().unwrap().to_string();
        assert!(error(&[1.0, 0.0]).contains("'time'"));
        assert!(error(&[f64::NAN]).contains("nothing to plot"));
    }
}
