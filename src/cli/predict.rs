//! `rir predict`: what a trained network sees in image files.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rir::data::{Images, decode_image};
use rir::error::{Error, Result};
use rir::graph::Precision;
use rir::predict::{Prediction, predict};
use rir::text::{Align, columns};
use serde_json::{Value, json};

use super::output::{Output, note};
use super::setup::{Machine, Trained};

/// Say what a trained network sees in image files
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir predict cat.jpg --checkpoint runs/NAME
  rir predict runs/NAME photos/*.png          the network may also come first
  rir predict cat.jpg --checkpoint runs/NAME --top 5 --json")]
pub struct Args {
    /// Image files: PNG, JPEG, BMP, GIF, TIFF or WebP of any size
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// A run folder or a checkpoint
    #[arg(long, value_name = "RUN|CHECKPOINT")]
    checkpoint: Option<PathBuf>,
    /// Name so many classes of each image, the likeliest first
    #[arg(long, value_name = "K", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    top: u16,
    /// f32, bf16 or f64
    #[arg(long, value_name = "P", default_value_t = Precision::F32)]
    precision: Precision,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let device = args.machine.prepare(args.precision)?;
    let (checkpoint, files) = split(&args)?;
    let trained = Trained::find(&checkpoint)?;
    let info = &trained.checkpoint.info;
    if info.synthetic {
        note("note: this network was trained on the built-in synthetic images and knows nothing else");
    }
    let [height, width, _] = info.image;
    let mut pixels = Vec::new();
    // One unreadable file does not keep the others from being looked at.
    let decoded: Vec<Result<()>> = (files.iter())
        .map(|file| decode_image(file, height, width).map(|image| pixels.extend(image)))
        .collect();
    let readable = decoded.iter().filter(|d| d.is_ok()).count();
    let mut predictions = Vec::new().into_iter();
    if readable > 0 {
        let images = Images::new(height, width, 3, pixels, vec![0; readable])?;
        let mut session = trained.session(&device, args.precision)?;
        let normaliser = Arc::new(trained.checkpoint.normaliser.clone());
        predictions = predict(&mut session, images, &normaliser, &info.classes, args.top.into())?.into_iter();
    }
    let mut failed = None;
    let mut results = Vec::with_capacity(files.len());
    for (file, decoded) in files.iter().zip(decoded) {
        let result = decoded.as_ref().map(|()| predictions.next().unwrap_or_default());
        results.push((file, result.map_err(ToString::to_string)));
        match (decoded, &failed) {
            (Err(e), None) => failed = Some(e), // becomes the exit code, after the results
            (Err(e), Some(_)) => note(format_args!("error: {e}")),
            (Ok(()), _) => {}
        }
    }
    print(&results, args.json, out)?;
    failed.map_or(Ok(()), Err)
}

/// What each file shows, or why that cannot be said.
type Results<'a> = Vec<(&'a PathBuf, Result<Vec<Prediction>, String>)>;

fn print(results: &Results<'_>, json: bool, out: &mut Output) -> Result<()> {
    if json {
        let entry = |(file, result): &(&PathBuf, Result<Vec<Prediction>, String>)| match result {
            Ok(predictions) => json!({ "file": file.display().to_string(), "predictions": predictions }),
            Err(e) => json!({ "file": file.display().to_string(), "error": e }),
        };
        return out.json(&results.iter().map(entry).collect::<Vec<Value>>());
    }
    let rows: Vec<Vec<String>> = (results.iter())
        .map(|(file, result)| {
            let mut row = vec![file.display().to_string()];
            match result {
                Ok(predictions) => row.extend(
                    predictions
                        .iter()
                        .flat_map(|p| [p.class.clone(), format!("{:.2} %", 100.0 * p.probability)]),
                ),
                Err(_) => row.push("unreadable".into()),
            }
            row
        })
        .collect();
    let widest = rows.iter().map(Vec::len).max().unwrap_or(0);
    let alignment: Vec<Align> =
        (0..widest).map(|c| if c > 0 && c % 2 == 0 { Align::Right } else { Align::Left }).collect();
    out.print(columns(&alignment, &rows))
}

/// The checkpoint and the images: `--checkpoint`, else a run folder or checkpoint before the images.
fn split(args: &Args) -> Result<(PathBuf, &[PathBuf])> {
    let is_network = |path: &Path| path.is_dir() || path.extension().is_some_and(|e| e == "safetensors");
    match (&args.checkpoint, args.files.as_slice()) {
        (Some(checkpoint), files) => Ok((checkpoint.clone(), files)),
        (None, [first, files @ ..]) if is_network(first) && !files.is_empty() => Ok((first.clone(), files)),
        (None, [first, ..]) if is_network(first) => {
            Err(Error::usage("no image was given; write rir predict FILE... --checkpoint RUN"))
        }
        (None, _) => Err(Error::usage(
            "which network? Give --checkpoint a run folder or a .safetensors file; rir train makes one",
        )),
    }
}
