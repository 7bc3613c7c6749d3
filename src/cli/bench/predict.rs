//! `rir bench predict`: what convolutions on wgmma should take, by arithmetic.

use rir::bench::{Network, predict};
use rir::error::Result;
use rir::graph::Precision;

use crate::cli::model::Model;
use crate::cli::output::Output;
use crate::cli::setup::{Fusion, at_least_one};

#[derive(clap::Args)]
pub struct Args {
    /// A network's name or .toml file [default: rir-18-wide]
    model: Option<String>,
    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Images of a batch
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = at_least_one)]
    batch: usize,
    /// Every form of wgmma, not only the one that should be fastest
    #[arg(long)]
    forms: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    fusion: Fusion,
}

/// # Errors
/// If there is no such network, or it is wrong; or what is printed cannot be written.
pub fn run(asked: &Args, out: &mut Output) -> Result<()> {
    let model = Model::find(asked.model.as_deref().unwrap_or("rir-18-wide"))?;
    let network = Network {
        description: model.description,
        image: model.image.unwrap_or([32, 32, 3]),
        classes: model.classes.unwrap_or(10),
        batch: asked.batch,
        precision: Precision::Bf16,
        fusions: asked.fusion.fusions(),
    };
    let findings = predict::layers(&network, asked.filter.as_deref(), asked.forms)?;
    match asked.json {
        true => out.json(&findings),
        false => out.print(&findings.table),
    }
}
