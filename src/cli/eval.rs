//! `rir eval`: how a trained network does on test images.

use std::path::PathBuf;
use std::sync::Arc;

use rir::error::Result;
use rir::graph::Precision;
use rir::text::grouped;
use rir::train::evaluate;
use serde_json::json;

use super::measured;
use super::output::Output;
use super::setup::{Machine, Trained, at_least_one};

/// Measure a trained network on test images: accuracy, by class, and what it takes for what
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir eval runs/NAME
  rir eval runs/NAME/best.safetensors --data cifar10
  rir eval runs/NAME --json")]
pub struct Args {
    /// A run folder or a checkpoint
    #[arg(value_name = "RUN|CHECKPOINT")]
    checkpoint: PathBuf,
    /// Data to measure on, as for rir train [default: what the network was trained with]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// f32, bf16 or f64
    #[arg(long, value_name = "P", default_value_t = Precision::F32)]
    precision: Precision,
    /// Images at a time
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = at_least_one)]
    batch_size: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let device = args.machine.prepare(args.precision)?;
    let trained = Trained::find(&args.checkpoint)?;
    let info = &trained.checkpoint.info;
    let dataset = measured::open(&args.checkpoint, &trained, args.data.as_deref())?;
    let mut session = trained.session(&device, args.precision)?;
    let normaliser = Arc::new(trained.checkpoint.normaliser.clone());
    let result = evaluate(&mut session, &Arc::new(dataset.test), &normaliser, args.batch_size)?;
    if args.json {
        return out.json(&json!({
            "checkpoint": trained.path,
            "model": info.model.name,
            "epoch": info.epoch,
            "step": info.step,
            "data": dataset.name,
            "synthetic": dataset.synthetic,
            "device": session.device_name(),
            "precision": args.precision,
            "test_images": result.images,
            "test_loss": result.loss,
            "test_accuracy": result.accuracy,
            "classes": dataset.classes,
            "per_class": result.per_class,
            "confusion": result.confusion,
        }));
    }
    let synthetic = if dataset.synthetic { "synthetic " } else { "" };
    out.line(format_args!(
        "checkpoint  {}: {}, epoch {}, step {}",
        trained.path.display(),
        info.model.name,
        info.epoch,
        grouped(info.step)
    ))?;
    out.line(format_args!("data        {}: {} test images", dataset.name, grouped(result.images)))?;
    out.line(format_args!("device      {}, {}\n", session.device_name(), args.precision))?;
    out.line(result.per_class_table(&dataset.classes))?;
    out.line("confusion: a row a true class, a column a predicted one")?;
    out.line(result.confusion_table(&dataset.classes))?;
    out.line(format_args!("{synthetic}test loss {:.4}", result.loss))?;
    out.line(format_args!("{synthetic}test accuracy {:.2} %", result.accuracy))
}
