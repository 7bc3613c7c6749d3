//! `rir trace`: one batch through a network, everything kept.

use std::path::PathBuf;

use rir::error::{Error, Result};
use rir::graph::Precision;
use rir::trace::{Batch, Options, check_output, save, trace};

use super::output::Output;
use super::setup::{Fusion, Machine, Trained};

/// Run one batch and write every layer's output, and every gradient, for comparison with another program
#[derive(clap::Args)]
#[command(
    after_help = "The input holds images [N 3 H W] (F32 or F64), taken as they are, and labels [N] (integers).
The output holds logits [N K], loss [] (mean cross-entropy), activation.LAYER [N C H W] and, with --train,
grad.PARAMETER as in the checkpoint (O I H W); F64 where computed in f64, else F32.

Examples:
  rir trace --checkpoint runs/NAME --input batch.safetensors --output trace.safetensors
  rir trace --checkpoint rir-32.safetensors --input batch.safetensors --output trace.safetensors --train
  rir trace --checkpoint runs/NAME --input batch.safetensors --output bf16.safetensors --precision bf16"
)]
pub struct Args {
    /// A run folder or a checkpoint (rir init writes one)
    #[arg(long, value_name = "RUN|FILE")]
    checkpoint: PathBuf,
    /// The batch
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// The file to write; an older trace there is replaced, nothing else
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// The batch's own statistics, and gradients; without it the running statistics
    #[arg(long)]
    train: bool,
    /// f64, which the cpu alone computes in, f32 or bf16
    #[arg(long, value_name = "P", default_value_t = Precision::F64)]
    precision: Precision,
    #[command(flatten)]
    fusion: Fusion,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let device = args.machine.prepare(args.precision)?;
    let Trained { checkpoint, path, .. } = Trained::find(&args.checkpoint)?;
    check_output(&args.output, &[&args.input, &path])?;
    let bytes = std::fs::read(&args.input).map_err(|e| Error::io("read", &args.input, &e))?;
    let batch = Batch::from_bytes(&bytes).map_err(|e| e.at(args.input.display()))?;
    let options = Options { train: args.train, precision: args.precision, fusions: args.fusion.fusions() };
    let traced = trace(&checkpoint, &batch, &options, |layout, precision| device.open(layout, precision))?;
    save(&args.output, &traced, args.precision)?;
    let loss = traced.iter().find(|t| t.name == "loss").and_then(|t| t.data.first());
    let loss = loss.map_or(String::new(), |loss| format!(", loss {loss:.6}"));
    out.line(format_args!("{}: {} tensors{loss}", args.output.display(), traced.len()))
}
