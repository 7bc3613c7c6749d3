//! `rir init`: a network with its initial weights, in a file.

use std::path::PathBuf;

use rir::data::Normaliser;
use rir::device::cpu::CpuDevice;
use rir::error::{Error, Kind, Result};
use rir::graph::{Fusions, Precision};
use rir::optim::Recipe;
use rir::train::{Checkpoint, Info, Session, SessionOptions};

use super::inspect::extents;
use super::model::{Changes, description};
use super::output::Output;

/// Write a network with its initial weights to a file: where training with that seed starts
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir init --model rir-32 --classes 10 --seed 0 --output rir-32.safetensors
  rir trace --checkpoint rir-32.safetensors --input batch.safetensors --output trace.safetensors")]
pub struct Args {
    /// A network's name or .toml file
    #[arg(long, value_name = "M", default_value = "rir-32")]
    model: String,
    /// Classes
    #[arg(long, value_name = "N", default_value_t = 10)]
    classes: usize,
    /// Height and width of an image
    #[arg(long, value_name = "HxW", default_value = "32x32", value_parser = extents)]
    image: [usize; 2],
    /// Seed of the weights
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    changes: Changes,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    if args.output.exists() && !args.force {
        let file = args.output.display();
        return Err(Error::new(Kind::Io, format!("{file} exists; --force replaces it")));
    }
    let model = args.changes.apply(description(&args.model)?)?;
    let [height, width] = args.image;
    let recipe = Recipe::default();
    let options = SessionOptions {
        model: model.clone(),
        image: [height, width, 3],
        classes: args.classes,
        precision: Precision::F32,
        fusions: Fusions::ALL,
        sgd: recipe.sgd(),
        label_smoothing: 0.0,
    };
    let image = options.image;
    let mut session =
        Session::new(options, |layout, precision| Ok(Box::new(CpuDevice::new(layout, precision)?)))?;
    session.initialise(args.seed)?;
    let checkpoint = Checkpoint {
        info: Info::untrained(model, image, args.classes, args.seed),
        normaliser: Normaliser { mean: vec![0.0; 3], inv_std: vec![1.0; 3] },
        tensors: session.export()?,
        momentum: Vec::new(),
        slow: Vec::new(),
    };
    checkpoint.save(&args.output)?;
    out.line(format_args!(
        "{}: {}, {} classes, seed {}",
        args.output.display(),
        checkpoint.info.model.name,
        args.classes,
        args.seed
    ))
}
