//! `config.toml`: everything needed to repeat a run.

use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::checkpoint::Info;
use super::options::{Length, TrainOptions};
use super::weights::Weights;
use crate::data::split::Share;
use crate::error::{Error, Result};
use crate::graph::{Fusions, Precision};
use crate::nn::{self, Description};
use crate::optim::Recipe;

/// What trains where nothing else is asked for.
const DEFAULT_MODEL: &str = "rir-32";
const DEFAULT_DATA: &str = "auto";
const DEFAULT_DEVICE: &str = "cpu";
const DEFAULT_IMAGE: [usize; 2] = [32, 32];

/// A run, fully spelled out: names of models and recipes are expanded, so that a later program repeats it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The version of the program that began the run.
    pub version: String,
    /// The data: a name, or the absolute path where it was found.
    pub data: String,
    /// Its digest.
    pub data_digest: String,
    /// Height and width of the images that the network reads.
    pub image: [usize; 2],
    /// The device, as the user called it.
    pub device: String,
    /// The arithmetic.
    pub precision: Precision,
    /// Which operations are fused.
    pub fuse: Fusions,
    /// The seed of weights, orders, augmentation and splits.
    pub seed: u64,
    /// How many training images, the same number of each class; all without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subset: Option<usize>,
    /// The part of the training images that is a validation set; none without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub val_split: Option<Share>,
    /// The weights that the run starts from; random ones without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<Weights>,
    /// Epochs from one evaluation to the next.
    #[serde(default = "every", skip_serializing_if = "is_every")]
    pub evaluate_every: u32,
    /// How long.
    pub length: Length,
    /// The recipe. Its `epochs` is the length that its schedule is written for.
    pub recipe: Recipe,
    /// The network.
    pub model: Description,
}

/// Every epoch is evaluated.
fn every() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_every(epochs: &u32) -> bool {
    *epochs == every()
}

impl Config {
    /// A new run: what `options` do not say is the `quick` recipe, its length, whatever data there is, the cpu, f32, fused
    /// plans, and seed 0. The digest is empty until the data is read.
    ///
    /// # Errors
    /// For values that cannot be, each by name.
    pub fn new(options: &TrainOptions) -> Result<Self> {
        let mut recipe = options.recipe.clone().unwrap_or_default();
        recipe.batch_size = options.batch_size.unwrap_or(recipe.batch_size);
        recipe.learning_rate = options.learning_rate.unwrap_or(recipe.learning_rate);
        recipe.validate()?;
        let model = options.model.clone().map_or_else(|| nn::by_name(DEFAULT_MODEL), Ok)?;
        model.validate()?;
        let config = Self {
            version: env!("CARGO_PKG_VERSION").into(),
            data: options.data.clone().unwrap_or_else(|| DEFAULT_DATA.into()),
            data_digest: String::new(),
            image: options.image.unwrap_or(DEFAULT_IMAGE),
            device: options.device.clone().unwrap_or_else(|| DEFAULT_DEVICE.into()),
            precision: options.precision.unwrap_or(Precision::F32),
            fuse: options.fuse.unwrap_or(Fusions::ALL),
            seed: options.seed.unwrap_or(0),
            subset: options.subset,
            val_split: options.val_split,
            weights: options.weights.as_deref().map(Weights::new).transpose()?,
            evaluate_every: options.evaluate_every.unwrap_or(every()),
            length: options.length.unwrap_or(Length::Epochs(recipe.epochs)),
            recipe,
            model,
        };
        config.validate()?;
        Ok(config)
    }

    fn validate(&self) -> Result<()> {
        if matches!(self.length, Length::Epochs(0) | Length::Steps(0)) {
            return Err(Error::usage("a run has at least one epoch or step; give a number from 1"));
        }
        if self.evaluate_every == 0 {
            return Err(Error::usage("evaluation comes every so many epochs; give a number from 1"));
        }
        if i64::try_from(self.seed).is_err() {
            return Err(Error::usage(format!("seed {} is too large; give one below 2^63", self.seed)));
        }
        Ok(())
    }

    /// Reads `path`, or the `config.toml` of the run folder there.
    ///
    /// # Errors
    /// If it cannot be read, or does not say what a run needs.
    pub fn load(path: &Path) -> Result<Self> {
        let inside = path.join("config.toml");
        let path = if path.is_dir() { &inside } else { path };
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        let explained = |e| Error::usage(nn::toml::explain(&text, &path.display().to_string(), &e));
        let config: Self = toml::from_str(&text).map_err(explained)?;
        config.validate().and_then(|()| config.recipe.validate()).map_err(|e| e.at(path.display()))?;
        config.model.validate().map_err(|e| e.at(path.display()))?;
        Ok(config)
    }

    /// The text that [`Config::load`] reads.
    ///
    /// # Errors
    /// For a number that TOML cannot hold.
    pub fn to_toml(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| Error::usage(format!("the configuration cannot be written: {e}")))
    }

    /// Images that are evaluated at once.
    pub fn evaluation_batch(&self) -> usize {
        self.recipe.batch_size.clamp(100, 500)
    }

    /// Steps of the whole run, where an epoch has `steps_per_epoch`.
    pub fn total_steps(&self, steps_per_epoch: usize) -> u64 {
        match self.length {
            Length::Epochs(epochs) => u64::from(epochs) * steps_per_epoch as u64,
            Length::Steps(steps) => steps,
        }
    }

    /// The first setting, and its values here and there, that makes `other` another run than this one. The program's
    /// version, the device, where the data lies and when it is evaluated do not.
    pub(crate) fn difference(&self, other: &Self) -> Option<(String, String, String)> {
        let settings = |config: &Self| {
            let mut value = json!(config);
            if let Value::Object(table) = &mut value {
                table.retain(|key, _| {
                    !["version", "device", "data", "evaluate-every"].contains(&key.as_str())
                });
            }
            value
        };
        let (own, others) = (settings(self), settings(other));
        let keys = own.as_object().into_iter().chain(others.as_object()).flat_map(|table| table.keys());
        keys.into_iter().find_map(|key| difference(key, &own[key.as_str()], &others[key.as_str()]))
    }

    /// # Errors
    /// If the run's checkpoint was trained in another way than this says; names what differs.
    pub fn check_checkpoint(&self, info: &Info) -> Result<()> {
        let known = [
            ("model", json!(self.model), json!(info.model)),
            ("recipe", json!(self.recipe), json!(info.recipe)),
            ("seed", json!(self.seed), json!(info.seed)),
            ("precision", json!(self.precision), json!(info.precision)),
        ];
        match known.iter().find_map(|(what, own, saved)| difference(what, own, saved)) {
            None => Ok(()),
            Some((what, own, saved)) => Err(Error::usage(format!(
                "config.toml says {what} {own}, the checkpoint was trained with {saved}; set config.toml back, or \
                 start a new run"
            ))),
        }
    }

    /// # Errors
    /// If `options`, given to a resumed run, ask for another run than this; names the option.
    pub fn check_resume(&self, options: &TrainOptions) -> Result<()> {
        let recipe = options.recipe.as_ref().is_none_or(|r| {
            let Recipe { batch_size, learning_rate, .. } = self.recipe;
            Recipe { batch_size, learning_rate, ..r.clone() } == self.recipe
        });
        let weights = match (&options.weights, &self.weights) {
            (None, _) => true,
            (Some(asked), Some(own)) => Weights::new(asked)?.file == own.file,
            (Some(_), None) => false,
        };
        let same = [
            ("weights at the start", weights),
            ("model", options.model.as_ref().is_none_or(|m| *m == self.model)),
            ("image size", options.image.is_none_or(|i| i == self.image)),
            ("recipe", recipe),
            ("number of epochs or steps", options.length.is_none_or(|l| l == self.length)),
            ("batch size", options.batch_size.is_none_or(|b| b == self.recipe.batch_size)),
            ("learning rate", options.learning_rate.is_none_or(|r| r == self.recipe.learning_rate)),
            ("precision", options.precision.is_none_or(|p| p == self.precision)),
            ("fusion", options.fuse.is_none_or(|f| f == self.fuse)),
            ("seed", options.seed.is_none_or(|s| s == self.seed)),
            ("subset", options.subset.is_none_or(|s| Some(s) == self.subset)),
            ("validation split", options.val_split.is_none_or(|s| Some(s) == self.val_split)),
        ];
        match same.iter().find(|(_, same)| !same) {
            None => Ok(()),
            Some((what, _)) => Err(Error::usage(format!(
                "a resumed run keeps its {what}, and this asks for another; leave the option out, or start a new run"
            ))),
        }
    }
}

/// The first value that is not the same in both, led by its keys.
fn difference(what: &str, own: &Value, saved: &Value) -> Option<(String, String, String)> {
    if let (Value::Object(a), Value::Object(b)) = (own, saved) {
        let value = |table: &serde_json::Map<String, Value>, key| table.get(key).cloned().unwrap_or_default();
        let keys = a.keys().chain(b.keys().filter(|key| !a.contains_key(*key)));
        return keys
            .into_iter()
            .find_map(|key| difference(&format!("{what}.{key}"), &value(a, key), &value(b, key)));
    }
    (own != saved).then(|| (what.into(), own.to_string(), saved.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_holds_everything() {
        for model in nn::zoo::NAMES {
            for recipe in crate::optim::NAMES {
                let options = TrainOptions {
                    model: Some(nn::by_name(model).unwrap()),
                    recipe: Some(Recipe::by_name(recipe).unwrap()),
                    image: Some([48, 40]),
                    subset: Some(100),
                    val_split: Some(Share::Fraction(0.1)),
                    learning_rate: Some(0.1 + 0.2),
                    evaluate_every: Some(3),
                    length: Some(Length::Steps(77)),
                    ..TrainOptions::default()
                };
                let config = Config { data_digest: "ab".into(), ..Config::new(&options).unwrap() };
                let path = tempfile::NamedTempFile::new().unwrap();
                std::fs::write(path.path(), config.to_toml().unwrap()).unwrap();
                assert_eq!(Config::load(path.path()).unwrap(), config);
            }
        }
    }

    #[test]
    fn a_slip_in_the_file_is_explained() {
        let folder = tempfile::tempdir().unwrap();
        let text = Config::new(&TrainOptions::default()).unwrap().to_toml().unwrap();
        std::fs::write(folder.path().join("config.toml"), text.replace("seed = 0", "sed = 0")).unwrap();
        let error = Config::load(folder.path()).unwrap_err().to_string();
        assert!(error.contains("config.toml, line ") && error.ends_with("did you mean 'seed'?"), "{error}");
    }

    #[test]
    fn a_run_has_at_least_one_step() {
        for length in [Length::Epochs(0), Length::Steps(0)] {
            let options = TrainOptions { length: Some(length), ..TrainOptions::default() };
            assert!(Config::new(&options).unwrap_err().to_string().contains("at least one"));
        }
    }

    #[test]
    fn a_resumed_run_stays_the_same_run() {
        let config = Config::new(&TrainOptions::default()).unwrap();
        config.check_resume(&TrainOptions::default()).unwrap();
        let same = TrainOptions {
            seed: Some(0),
            recipe: Some(Recipe::default()),
            device: Some("other".into()),
            ..TrainOptions::default()
        };
        config.check_resume(&same).unwrap();
        let message = |options| config.check_resume(&options).unwrap_err().to_string();
        let none = TrainOptions::default;
        assert!(message(TrainOptions { seed: Some(1), ..none() }).contains("keeps its seed"));
        let paper = Recipe::by_name("paper").unwrap();
        assert!(message(TrainOptions { recipe: Some(paper), ..none() }).contains("keeps its recipe"));
        assert!(message(TrainOptions { subset: Some(9), ..none() }).contains("keeps its subset"));
        assert!(message(TrainOptions { length: Some(Length::Epochs(99)), ..none() }).contains("epochs"));
    }
}
