//! Which network a name or a path means.

use std::path::Path;

use clap::builder::PossibleValuesParser;
use rir::error::{Error, Result};
use rir::nn::{self, Description, Form, Projection};
use serde::de::DeserializeOwned;

use super::setup::Trained;

/// Changes to a network, shared by the commands that build one.
#[derive(clap::Args, Default)]
#[command(next_help_heading = "Changes to the network")]
pub struct Changes {
    /// The outer shortcut where extents or width change
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["3x3", "1x1", "pad"]))]
    projection: Option<String>,
    /// How generalized layers are computed: one convolution with W + E, or four between the streams
    #[arg(long, value_name = "FORM",
        value_parser = PossibleValuesParser::new(["one-convolution", "four-convolutions"]))]
    form: Option<String>,
    /// Layers of a block
    #[arg(long, value_name = "N")]
    layers_per_block: Option<usize>,
    /// The residual stream's share of the channels, 0 to 1
    #[arg(long, value_name = "SHARE", allow_negative_numbers = true)]
    residual_share: Option<f64>,
    /// No ReLU after the sum with the outer shortcut
    #[arg(long)]
    no_outer_relu: bool,
}

impl Changes {
    /// The changed network.
    pub fn apply(&self, description: Description) -> Result<Description> {
        let changed = Description {
            projection: option::<Projection>(&self.projection)?.unwrap_or(description.projection),
            form: option::<Form>(&self.form)?.unwrap_or(description.form),
            layers_per_block: self.layers_per_block.unwrap_or(description.layers_per_block),
            residual_share: self.residual_share.unwrap_or(description.residual_share),
            outer_relu: description.outer_relu && !self.no_outer_relu,
            ..description
        };
        changed.validate()?;
        Ok(changed)
    }
}

/// An option of the description by the name that files give it.
pub fn option<T: DeserializeOwned>(name: &Option<String>) -> Result<Option<T>> {
    let read = |name: &String| {
        serde_json::from_value(serde_json::Value::String(name.clone()))
            .map_err(|e| Error::usage(format!("'{name}': {e}")))
    };
    name.as_ref().map(read).transpose()
}

/// What `MODEL` stands for: a network and, where it was trained, what it was trained for.
pub struct Model {
    pub description: Description,
    /// Height, width and channels of its images.
    pub image: Option<[usize; 3]>,
    pub classes: Option<usize>,
}

impl Model {
    /// A name of the zoo, a TOML file, a run folder or a checkpoint.
    pub fn find(model: &str) -> Result<Self> {
        if is_trained(model) {
            let info = Trained::find(Path::new(model))?.checkpoint.info;
            let (image, classes) = (Some(info.image), Some(info.classes.len()));
            return Ok(Self { description: info.model, image, classes });
        }
        Ok(Self { description: description(model)?, image: None, classes: None })
    }
}

/// Whether `MODEL` stands for a run folder or a checkpoint.
pub fn is_trained(model: &str) -> bool {
    let path = Path::new(model);
    let is_known = nn::zoo::NAMES.contains(&model);
    !is_known && (path.is_dir() || path.extension().is_some_and(|e| e == "safetensors"))
}

/// A network without weights: a name of the zoo, or a TOML file.
pub fn description(model: &str) -> Result<Description> {
    let path = Path::new(model);
    if path.extension().is_some_and(|e| e == "toml") || path.is_file() {
        let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
        return nn::toml::read(&text, model);
    }
    nn::by_name(model).map_err(|e| {
        Error::new(e.kind(), format!("{e} (a network of your own is a .toml file: see rir inspect --help)"))
    })
}
