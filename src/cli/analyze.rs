//! `rir analyze`: what the two streams of a trained network do.

use std::path::PathBuf;
use std::sync::Arc;

use indicatif::{ProgressBar, ProgressStyle};
use rir::analyze::{Options, Progress, Source, analyze, check, sample};
use rir::error::{Error, Result};
use rir::graph::Precision;
use rir::train::file_digest;

use super::measured;
use super::output::Output;
use super::setup::{Machine, Trained, at_least_one};

/// Analyze the two streams of a trained network: what accuracy is without each, without the paths between them and without
/// the identity, layer by layer; how large they are; what the residual stream keeps and forgets
#[derive(clap::Args)]
#[command(
    after_help = "The network is not trained again, and its run not changed. A network of the family rir or resnet-init
has streams; a layer takes seven passes over the images, so fewer images make a first look.

Writes analysis.json, streams.svg, quarters.svg, identity.svg, norms.svg, activations.svg and similarity.svg.

Examples:
  rir analyze runs/NAME
  rir analyze runs/NAME --images 1000
  rir analyze runs/NAME/best.safetensors --output analysis --json"
)]
pub struct Args {
    /// A run folder or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Data to measure on, as for rir train [default: what the network was trained with]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Test images, as many of each class [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    images: Option<usize>,
    /// Of these, images for the sizes of activations and the likeness of layers
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = at_least_one)]
    similarity_images: usize,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    batch_size: usize,
    /// f32, bf16 or f64
    #[arg(long, value_name = "P", default_value_t = Precision::F32)]
    precision: Precision,
    /// The folder for what is written [default: the run's folder analysis]
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let device = args.machine.prepare(args.precision)?;
    let trained = Trained::find(&args.checkpoint)?;
    let output = args.output.clone().map_or_else(|| default_output(&trained), Ok)?;
    let mut session = trained.session(&device, args.precision)?;
    check(&session)?;
    let dataset = measured::open(&args.checkpoint, &trained, args.data.as_deref())?;
    let images = Arc::new(sample(&dataset.test, args.images.unwrap_or(dataset.test.len()))?);
    let info = &trained.checkpoint.info;
    let options = Options {
        batch: args.batch_size,
        similarity_images: args.similarity_images,
        source: Source {
            checkpoint: trained.path.display().to_string(),
            data: dataset.name,
            synthetic: dataset.synthetic,
            data_digest: dataset.digest,
            seed: info.seed,
            epoch: info.epoch,
            checkpoint_digest: file_digest(&trained.path)?,
        },
    };
    let normaliser = Arc::new(trained.checkpoint.normaliser.clone());
    let bar = bar();
    let analysis = analyze(&mut session, &images, &normaliser, &options, &mut |progress| {
        show(&bar, progress);
        Ok(())
    });
    bar.finish_and_clear();
    let analysis = analysis?;
    let files = analysis.save(&output)?;
    if args.json {
        return out.json(&analysis);
    }
    out.line(&analysis)?;
    let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
    out.line(format_args!("\nin {}: {}", output.display(), names.join(", ")))
}

/// `analysis` in the folder of a run.
fn default_output(trained: &Trained) -> Result<PathBuf> {
    match (&trained.config, trained.path.parent()) {
        (Some(_), Some(run)) => Ok(run.join("analysis")),
        _ => Err(Error::usage("the checkpoint lies in no run folder; say where to write with --output DIR")),
    }
}

/// On stderr where that is a terminal, else nowhere.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    match ProgressStyle::with_template("{bar:24} {pos}/{len} {msg}, {eta} left") {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    }
}

fn show(bar: &ProgressBar, progress: Progress<'_>) {
    bar.set_length(progress.total as u64);
    bar.set_position(progress.done as u64);
    bar.set_message(progress.what.to_owned());
}
