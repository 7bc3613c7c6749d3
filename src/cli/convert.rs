//! `rir convert`: a trained network with or without the identity E, in our format or PyTorch's.

use std::path::PathBuf;

use clap::ValueEnum;
use clap::builder::PossibleValuesParser;
use rir::convert::{Origin, Rounding, read, save, to_family, to_torch};
use rir::error::{Error, Kind, Result};
use rir::nn::Family;
use rir::text::grouped;
use rir::train::{Checkpoint, find_checkpoint};

use super::inspect::extents;
use super::model::{description, is_trained, option};
use super::output::{Output, note};

/// Convert a trained network: to the family with or without the identity E, to or from PyTorch's names
#[derive(clap::Args)]
#[command(
    after_help = "A ResNet becomes the RiR of the same geometry and logits, with W - E for W, to go on training with
two streams; a RiR becomes an ordinary ResNet, with W + E in its filters, that any runtime serves.
Filters stay f32: a w - 1 or w + 1 that does not fit is rounded once, by some 6e-8; the command counts them.

--format torch writes a state dict for PyTorch's load_state_dict(strict=True), whose module is in
data-scripts/rir_torch.py. A state dict (F32, F64, BF16 or F16) is also an input; where its metadata
does not say what it holds, --model does.

Examples:
  rir convert runs/NAME --to rir --output rir-32.safetensors
  rir train --weights rir-32.safetensors
  rir convert runs/NAME --to resnet --format torch --output served.safetensors
  rir convert tuned.safetensors --model runs/NAME --output tuned-rir.safetensors"
)]
pub struct Args {
    /// A run folder, a checkpoint, or a state dict
    #[arg(value_name = "RUN|FILE")]
    input: PathBuf,
    /// The family to convert to: resnet to rir or back, cnn to resnet-init or back
    #[arg(long, value_name = "FAMILY", value_parser = PossibleValuesParser::new(Family::ALL.map(Family::name)))]
    to: Option<String>,
    /// What to write: a checkpoint, or a state dict
    #[arg(long, value_name = "FORMAT", default_value = "rir")]
    format: Format,
    /// What a state dict holds: a network's name or .toml file, or a run, checkpoint or state dict like it
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Height and width of an image, where --model does not say them [default: 32x32]
    #[arg(long, value_name = "HxW", value_parser = extents, requires = "model")]
    image: Option<[usize; 2]>,
    /// The file to write
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it exists
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// A checkpoint
    Rir,
    /// A state dict for PyTorch
    Torch,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let input = find_checkpoint(&args.input)?;
    check_output(&args, &input)?;
    let bytes = std::fs::read(&input).map_err(|e| Error::io("read", &input, &e))?;
    let place = |e: Error| e.at(input.display());
    let (mut checkpoint, is_state_dict) = read(&bytes, origin(&args)?).map_err(place)?;
    let mut rounding = None;
    if let Some(family) = option::<Family>(&args.to)? {
        let converted = to_family(&checkpoint, family).map_err(place)?;
        (checkpoint, rounding) = (converted.checkpoint, Some(converted.rounding));
    } else if is_state_dict == (args.format == Format::Torch) {
        return Err(Error::usage(format!(
            "there is nothing to convert in {}; give --to a family, or the other --format",
            input.display()
        )));
    }
    let bytes = match args.format {
        Format::Rir => checkpoint.to_bytes(),
        Format::Torch => to_torch(&checkpoint),
    };
    save(&args.output, &bytes.map_err(place)?)?;
    report(&args, &checkpoint, rounding, out)
}

/// The network is only ever lost where the user says so.
fn check_output(args: &Args, input: &std::path::Path) -> Result<()> {
    let output = &args.output;
    let same = output.canonicalize().is_ok_and(|o| input.canonicalize().is_ok_and(|i| i == o));
    let file = output.display();
    if same {
        return Err(Error::usage(format!("{file} is what this conversion reads; choose another output")));
    }
    if output.exists() && !args.force {
        return Err(Error::new(Kind::Io, format!("{file} exists; --force replaces it")));
    }
    Ok(())
}

/// What `--model` and `--image` say of a state dict.
fn origin(args: &Args) -> Result<Option<Origin>> {
    let Some(model) = &args.model else { return Ok(None) };
    if !is_trained(model) {
        let [height, width] = args.image.unwrap_or([32, 32]);
        let description = description(model)?;
        note(
            "note: nothing says how the network's images were normalised; pixels will enter it divided by 255",
        );
        return Ok(Some(Origin::Model(description, [height, width, 3])));
    }
    if args.image.is_some() {
        return Err(Error::usage(format!("{model} says the size of its images; leave out --image")));
    }
    let file = find_checkpoint(model.as_ref())?;
    let bytes = std::fs::read(&file).map_err(|e| Error::io("read", &file, &e))?;
    let (like, _) = read(&bytes, None).map_err(|e| e.at(file.display()))?;
    Ok(Some(Origin::Like(Box::new(like))))
}

fn report(args: &Args, checkpoint: &Checkpoint, rounding: Option<Rounding>, out: &mut Output) -> Result<()> {
    let file = args.output.display();
    let info = &checkpoint.info;
    let what = if args.format == Format::Torch { "state dict" } else { "checkpoint" };
    out.line(format_args!("{file}: {what} of {}, {} classes", info.model.name, info.classes.len()))?;
    if let Some(Rounding { taps, rounded, largest }) = rounding {
        let sign = if info.model.family.has_identity() { "W - E" } else { "W + E" };
        let by = if rounded > 0 { format!(", by {largest:.1e} at most") } else { String::new() };
        let [taps, rounded] = [taps, rounded].map(|n| grouped(n as u64));
        out.line(format_args!("{sign} at {taps} centre taps, {rounded} of them rounded to f32{by}"))?;
    }
    let next = match args.format {
        Format::Rir => format!("rir eval {file}, or rir train --weights {file}"),
        Format::Torch => format!("python data-scripts/rir_torch.py {file} --image IMAGE"),
    };
    out.line(format_args!("next: {next}"))
}
