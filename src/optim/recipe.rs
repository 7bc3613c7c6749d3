//! Recipes: everything about a training run but the model, the data and the seed.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::Schedule;
use crate::data::{Augment, Preprocess};
use crate::device::StepInputs;
use crate::error::{Error, Result, unknown};
use crate::ops::Sgd;
use crate::text::number;

/// The built-in recipes, in the order in which help lists them; the first is the default.
pub const NAMES: [&str; 5] = ["quick", "paper", "paper-82", "fast", "best"];

/// How to train. Weights always start from He's normal distribution ([`crate::nn::initial_parameters`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Recipe {
    /// For people and run folders.
    pub name: String,
    /// Passes over the training set.
    pub epochs: u32,
    /// Images a step; an epoch's last partial batch is dropped.
    pub batch_size: usize,
    /// The learning rate that the schedule multiplies.
    pub learning_rate: f64,
    /// Share of the velocity that each step keeps.
    pub momentum: f64,
    /// Whether a step looks ahead along the velocity.
    #[serde(default)]
    pub nesterov: bool,
    /// Coefficient of the L2 gradient; see [`Sgd`].
    pub weight_decay: f64,
    /// Whether batch norm's scale decays toward 1.
    #[serde(default)]
    pub decay_scale: bool,
    /// Factor of the learning rate for batch norm's shift and the linear layer's bias.
    #[serde(default = "one")]
    pub shift_rate: f64,
    /// Share of the target that is spread evenly over all classes.
    #[serde(default)]
    pub label_smoothing: f64,
    /// How pixels are normalised.
    pub preprocess: Preprocess,
    /// How the learning rate changes.
    pub schedule: Schedule,
    /// How training images are changed.
    pub augment: Augment,
    /// Whether slow weights follow, and how.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookahead: Option<Lookahead>,
}

/// Slow weights that follow the fast ones every few steps, which then go on from them (Zhang et al., "Lookahead
/// optimizer: k steps forward, 1 step back", 2019).
///
/// The share that they go falls from 1 to `share` with the cube of the run's progress, as in Jordan, "94% on CIFAR-10 in
/// 3.29 seconds" (2024): early on the slow weights are the fast ones, late they are a mean of many.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lookahead {
    /// Steps from one to the next; the run's last step is always one.
    pub every: u32,
    /// The share of the way that the slow weights go at the end of the run, above 0 to 1.
    pub share: f64,
}

impl Lookahead {
    /// The share of the way that the slow weights go after `step` (from 0) of `total`; 0 where they stay.
    pub fn share(&self, step: u64, total: u64) -> f64 {
        let done = step + 1;
        if !done.is_multiple_of(u64::from(self.every.max(1))) && done != total {
            return 0.0;
        }
        1.0 - (1.0 - self.share) * (done as f64 / total.max(1) as f64).powi(3)
    }
}

fn one() -> f64 {
    1.0
}

const KEYS: [&str; 14] = [
    "name",
    "epochs",
    "batch-size",
    "learning-rate",
    "momentum",
    "nesterov",
    "weight-decay",
    "decay-scale",
    "shift-rate",
    "label-smoothing",
    "preprocess",
    "schedule",
    "augment",
    "lookahead",
];
const AUGMENT_KEYS: [&str; 4] = ["pad", "flip", "border", "cutout"];
const LOOKAHEAD_KEYS: [&str; 2] = ["every", "share"];

impl Default for Recipe {
    /// `quick`.
    fn default() -> Self {
        Self::built_in(NAMES[0]).expect("the tests parse every built-in recipe")
    }
}

impl Recipe {
    /// The commented TOML of a built-in recipe.
    pub fn source(name: &str) -> Option<&'static str> {
        match name {
            "quick" => Some(include_str!("recipes/quick.toml")),
            "paper" => Some(include_str!("recipes/paper.toml")),
            "paper-82" => Some(include_str!("recipes/paper-82.toml")),
            "fast" => Some(include_str!("recipes/fast.toml")),
            "best" => Some(include_str!("recipes/best.toml")),
            _ => None,
        }
    }

    fn built_in(name: &str) -> Option<Self> {
        Self::source(name).and_then(|text| Self::parse(text, name).ok())
    }

    /// A built-in recipe by its name, or a recipe from the TOML file at that path.
    ///
    /// # Errors
    /// For a name that is neither, the nearest known one; for a file, what is wrong in it.
    pub fn by_name(name: &str) -> Result<Self> {
        if let Some(recipe) = Self::built_in(name) {
            return Ok(recipe);
        }
        let path = Path::new(name);
        if path.extension().is_none_or(|e| e != "toml") && !path.is_file() {
            let known = unknown("recipe", name, &NAMES);
            return Err(Error::usage(format!("{known} (a recipe of your own is a path to a .toml file)")));
        }
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        Self::parse(&text, name)
    }

    /// The recipe in `text`, which errors call `origin`.
    ///
    /// # Errors
    /// Text that is no TOML, an unknown or missing key, or a value that cannot be; each by name.
    pub fn parse(text: &str, origin: &str) -> Result<Self> {
        let fail = |message: String| Error::usage(format!("recipe {origin}: {message}"));
        let table: toml::Table = toml::from_str(text).map_err(|e| fail(toml_sentence(text, &e)))?;
        check_keys(&table).map_err(fail)?;
        let recipe: Self = toml::from_str(text).map_err(|e| fail(toml_sentence(text, &e)))?;
        recipe.validate().map_err(|e| fail(e.to_string()))?;
        Ok(recipe)
    }

    /// The TOML of this recipe, which [`Recipe::parse`] reads back.
    ///
    /// # Errors
    /// Never for a recipe that [`Recipe::validate`] accepts.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::usage(format!("recipe {}: {e}", self.name)))
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what it may be.
    pub fn validate(&self) -> Result<()> {
        let positive = |key: &str, fine: bool| {
            if fine { Ok(()) } else { Err(Error::usage(format!("{key} must be at least 1"))) }
        };
        let range = |key: &str, value: f64, low: f64, high: f64| {
            if value >= low && value < high {
                return Ok(());
            }
            Err(Error::usage(format!("{key} = {value} must be at least {low} and below {high}")))
        };
        positive("epochs", self.epochs > 0)?;
        positive("batch-size", self.batch_size > 0)?;
        if !(self.learning_rate.is_finite() && self.learning_rate > 0.0) {
            let rate = number(self.learning_rate);
            return Err(Error::usage(format!("learning-rate = {rate} must be above 0 and finite")));
        }
        range("momentum", self.momentum, 0.0, 1.0)?;
        range("weight-decay", self.weight_decay, 0.0, 1.0)?;
        range("label-smoothing", self.label_smoothing, 0.0, 1.0)?;
        if !(self.shift_rate.is_finite() && self.shift_rate > 0.0) {
            let rate = number(self.shift_rate);
            return Err(Error::usage(format!("shift-rate = {rate} must be above 0 and finite")));
        }
        if let Some(Lookahead { every, share }) = self.lookahead {
            positive("lookahead.every", every > 0)?;
            if !(share > 0.0 && share <= 1.0) {
                return Err(Error::usage(format!("lookahead.share = {share} must be above 0 and at most 1")));
            }
        }
        self.schedule.validate(self.epochs)
    }

    /// The learning rate of `step` (from 0) of `total`. A run of another length than [`Recipe::epochs`] keeps the
    /// schedule's shape.
    pub fn rate(&self, step: u64, total: u64) -> f64 {
        self.learning_rate * self.schedule.factor(step, total, self.epochs)
    }

    /// What the optimiser is given at `step` (from 0) of `total`.
    pub fn inputs(&self, step: u64, total: u64) -> StepInputs {
        StepInputs {
            learning_rate: self.rate(step, total),
            lookahead: self.lookahead.map_or(0.0, |lookahead| lookahead.share(step, total)),
        }
    }

    /// The optimiser's step.
    pub fn sgd(&self) -> Sgd {
        Sgd {
            momentum: self.momentum,
            nesterov: self.nesterov,
            weight_decay: self.weight_decay,
            decay_scale: self.decay_scale,
            shift_rate: self.shift_rate,
            lookahead: self.lookahead.is_some(),
        }
    }
}

/// Every key must be known; serde would say so too, but not suggest the nearest.
fn check_keys(table: &toml::Table) -> Result<(), String> {
    let check = |what: &str, table: &toml::Table, known: &[&str]| {
        let stranger = table.keys().find(|key| !known.contains(&key.as_str()));
        stranger.map_or(Ok(()), |key| Err(unknown(what, key, known)))
    };
    check("key", table, &KEYS)?;
    for (name, known) in [("augment", &AUGMENT_KEYS[..]), ("lookahead", &LOOKAHEAD_KEYS)] {
        if let Some(toml::Value::Table(inner)) = table.get(name) {
            check(&format!("key in [{name}]"), inner, known)?;
        }
    }
    if let Some(toml::Value::Table(schedule)) = table.get("schedule") {
        let Some(toml::Value::String(kind)) = schedule.get("kind") else {
            return Err(format!("[schedule] needs kind, one of {}", Schedule::KINDS.join(", ")));
        };
        if !Schedule::KINDS.contains(&kind.as_str()) {
            return Err(unknown("schedule.kind", kind, &Schedule::KINDS));
        }
        let keys = [&["kind"], Schedule::keys(kind)].concat();
        check(&format!("key in [schedule] of kind {kind}"), schedule, &keys)?;
    }
    Ok(())
}

/// A TOML error in one sentence, with the line it is in.
fn toml_sentence(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    match error.span().and_then(|span| text.get(..span.start)) {
        Some(before) => format!("line {}: {message}", before.matches('\n').count() + 1),
        None => message,
    }
}

#[cfg(test)]
#[path = "recipe_tests.rs"]
mod tests;
