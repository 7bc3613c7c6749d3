//! `rir train`: train a network, or continue a run.

use std::path::PathBuf;
use std::time::Duration;

use rir::data::split::Share;
use rir::device::select::Choice;
use rir::error::Result;
use rir::graph::Precision;
use rir::nn::Description;
use rir::optim::Recipe;
use rir::train::{
    Config, Environment, Length, Stop, TrainOptions, Verbosity, parse_duration, train, train_seeds,
};

use super::choices;
use super::model::{self, Changes};
use super::output::Output;
use super::setup::{Fusion, Machine, Trained, open_data, recipe_help};

/// Train a network, or continue a run
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir train                                       rir-32 with the quick recipe, in minutes
  rir train --model rir-18-wide --data cifar10 --recipe paper
  rir train --data photos/ --epochs 20            a folder with one folder of images a class
  rir train --model mine.toml --projection pad    a network of your own: see rir inspect --toml
  rir train --resume runs/NAME                    go on where a run stopped, to the same result
  rir train --config runs/NAME/config.toml --seed 1
  rir train --weights rir-32.safetensors --epochs 5   from trained weights, such as rir convert makes
  rir train --seeds 5                             five seeds: mean and standard deviation
  rir train --steps 100 --json --quiet            for a program

A run is a folder: config.toml, metrics.jsonl, checkpoint.safetensors and TensorBoard's events; of CUDA kernels also
choices.toml, those that it takes: resumed, it takes the same, or says why it cannot. Ctrl-C saves it.
A flag goes before the --config file, that before the default.

CIFAR is looked for in the folder that the variable RIR_DATA names, else in ./data.")]
pub struct Args {
    /// A network's name or .toml file [default: rir-32]
    #[arg(long, value_name = "M")]
    model: Option<String>,
    /// Start from the weights of a run or checkpoint, and its model and normalisation, in place of random ones
    #[arg(long, value_name = "RUN|FILE", conflicts_with = "resume")]
    weights: Option<PathBuf>,
    /// auto (CIFAR-10 if found, else synthetic), synthetic, cifar10, cifar100, or a folder or archive [default: auto]
    #[arg(long, value_name = "D")]
    data: Option<String>,
    /// Height and width to which a folder's images are resized and cropped [default: 32x32]
    #[arg(long, value_name = "HxW", value_parser = super::inspect::extents)]
    image: Option<[usize; 2]>,
    #[arg(long, value_name = "R", help = format!("{} [default: quick]", recipe_help()))]
    recipe: Option<String>,
    /// Passes over the training set [default: the recipe's]
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    epochs: Option<u32>,
    /// Steps, in place of epochs
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Images a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Learning rate [default: the recipe's]
    #[arg(long, value_name = "X", allow_negative_numbers = true)]
    lr: Option<f64>,
    /// f32, bf16 or f64 [default: f32]
    #[arg(long, value_name = "P")]
    precision: Option<Precision>,
    /// Seed of weights, order, augmentation and splits [default: 0]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Train so many times, from --seed and the seeds after it
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u32).range(1..))]
    seeds: Option<u32>,
    /// Use so many training images, the same number of each class
    #[arg(long, value_name = "N")]
    subset: Option<usize>,
    /// Hold out a part of the training images (0.1) or a number of them (5000) to choose best.safetensors with
    #[arg(long, value_name = "PART", allow_negative_numbers = true)]
    val_split: Option<Share>,
    /// The run folder [default: a new one below runs]
    #[arg(long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Continue the run in this folder
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["config", "output", "model", "Changes"])]
    resume: Option<PathBuf>,
    /// Take what flags do not say from another run, by its folder or config.toml
    #[arg(long, value_name = "RUN|FILE")]
    config: Option<PathBuf>,
    /// Stop, with a result, before this much time has passed: 90s, 9m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    time_limit: Option<Duration>,
    /// Evaluate after every so many epochs, and after the last [default: 1]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    evaluate_every: Option<u32>,
    /// Save at least this often between evaluations; after one a run is saved unless it was in the last ten seconds
    /// [default: 5m]
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    checkpoint_every: Option<Duration>,
    #[command(flatten)]
    fusion: Fusion,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
    /// Print the result as one line of JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    changes: Changes,
}

pub fn run(mut args: Args, out: &mut Output) -> Result<()> {
    // A resumed run takes the kernels that it has recorded, unless others are asked for.
    let anew = args.machine.choices.is_some() || args.machine.kernels.is_some();
    if args.resume.is_some() && !anew {
        args.machine.choices = Some(choices::Source::None);
    }
    let device = args.machine.prepare(args.precision.unwrap_or(Precision::F32))?;
    if device.choice == Choice::Emu && !args.quiet {
        eprintln!(
            "warning: emu checks every memory access: a step of a tiny network takes about a second, and so does the \
             evaluation of a few images; cpu is for training"
        );
    }
    let seeds = args.seeds;
    let json = args.json;
    let options = TrainOptions {
        // A resumed run keeps its device unless another is asked for.
        device: match args.resume {
            Some(_) => args.machine.device.map(|d| d.to_string()),
            None => Some(device.choice.to_string()),
        },
        choose_anew: anew,
        ..options(args)?
    };
    let environment = Environment {
        open_data: &|name, [height, width]| open_data(name, (height, width)),
        open_device: &|name, layout, precision| {
            name.parse::<Choice>()?.open(layout, precision, device.options.clone())
        },
    };
    if let Some(count) = seeds {
        let summary = train_seeds(&options, count, &environment)?;
        return if json { out.line(summary.json()) } else { out.line(summary) };
    }
    let summary = train(&options, &environment)?;
    if json { out.line(summary.json()) } else { out.line(summary) }
}

/// Flag over file over default; a resumed run asks for nothing but its flags.
fn options(args: Args) -> Result<TrainOptions> {
    let config = args.config.as_deref().map(Config::load).transpose()?;
    let weights = args.weights.as_deref().map(Trained::find).transpose()?;
    let new = args.resume.is_none();
    let length = args.epochs.map(Length::Epochs).or(args.steps.map(Length::Steps));
    let recipe = args.recipe.as_deref().map(Recipe::by_name).transpose()?;
    Ok(TrainOptions {
        model: if new { Some(model(&args, weights.as_ref(), config.as_ref())?) } else { None },
        data: args.data.or(config.as_ref().map(|c| c.data.clone())).or(new.then(|| "auto".into())),
        image: args
            .image
            .or(weights.as_ref().map(|w| [0, 1].map(|i| w.checkpoint.info.image[i])))
            .or(config.as_ref().map(|c| c.image)),
        weights: weights
            .map(|w| w.path)
            .or(config.as_ref().and_then(|c| c.weights.as_ref()).map(|w| (&w.file).into())),
        length: length.or(config.as_ref().map(|c| c.length)),
        precision: args.precision.or(config.as_ref().map(|c| c.precision)),
        fuse: args.fusion.asked().or(config.as_ref().map(|c| c.fuse)),
        seed: args.seed.or(config.as_ref().map(|c| c.seed)),
        subset: args.subset.or(config.as_ref().and_then(|c| c.subset)),
        val_split: args.val_split.or(config.as_ref().and_then(|c| c.val_split)),
        evaluate_every: args.evaluate_every.or(config.as_ref().map(|c| c.evaluate_every)),
        recipe: recipe.or(config.map(|c| c.recipe)),
        batch_size: args.batch_size,
        learning_rate: args.lr,
        device: None,
        choose_anew: false,
        resume: args.resume,
        output: args.output,
        time_limit: args.time_limit,
        checkpoint_every: args.checkpoint_every,
        verbosity: if args.quiet { Verbosity::Quiet } else { Verbosity::Progress },
        stop: Stop::on_signals()?,
    })
}

fn model(args: &Args, weights: Option<&Trained>, config: Option<&Config>) -> Result<Description> {
    let base = match (&args.model, weights, config) {
        (Some(name), ..) => model::description(name)?,
        (None, Some(weights), _) => weights.checkpoint.info.model.clone(),
        (None, None, Some(config)) => config.model.clone(),
        (None, None, None) => model::description("rir-32")?,
    };
    args.changes.apply(base)
}
