//! `rir reproduce`: a table or figure of the paper, by one command.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use rir::data::{DataSpec, LoadOptions, Loaded, load};
use rir::device::select::Choice;
use rir::error::{Error, Result};
use rir::graph::Precision;
use rir::optim::Recipe;
use rir::reproduce::{self, Options, Settings, Source, Work};
use rir::train::{Environment, Stop, Stopped, Verbosity, parse_duration};

use super::output::{Output, note};
use super::setup::{Machine, at_least_one, recipe_help};

/// What `--data` calls the built-in images.
const SYNTHETIC: &str = "synthetic";

/// Train what a table of the paper compares, and draw it
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir reproduce cifar10 --data data --seeds 5              both geometries of the four families
  rir reproduce cifar10 --only 'rir-*' --time-limit 9m     as far as it goes; again to go on
  rir reproduce cifar10 --list                             what is done and what is to do
  rir reproduce few-data --seeds 5 --device cuda --precision bf16
  rir reproduce cifar10 --data synthetic --narrow 8 --recipe quick --output rehearsal

Tables:
  cifar10, cifar100   the four families in geometries 32 and 18-wide
  depth               ResNet and RiR, ten layers a group in blocks of one to ten
  all-cnn             ALL-CNN-C with and without the identity
  streams             the networks with two streams, and what these do, layer by layer
  few-data            accuracy by the number of training images; the paper has none like it
  ingredients         what each ingredient of recipe fast is worth, by leaving it out; likewise

Below the output folder lie runs/NAME, run folders as of rir train; results/NAME.json, what each came to; and TABLE.md
and TABLE.json, drawn anew after every run. What is done is not done again: Ctrl-C and the time limit save the run under
way, and the same command goes on. Tables in one folder share the runs that are the same.")]
pub struct Args {
    /// Which table
    #[arg(value_name = "TABLE", value_parser = PossibleValuesParser::new(reproduce::NAMES))]
    table: String,
    /// How many seeds: every cell is trained with the first before any with the second
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    seeds: u32,
    /// The first seed
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The folder with CIFAR in it, or synthetic: the built-in images, to rehearse [default: $RIR_DATA, else data]
    #[arg(long, value_name = "FOLDER")]
    data: Option<PathBuf>,
    /// f32, bf16 or f64
    #[arg(long, value_name = "P", default_value_t = Precision::F32)]
    precision: Precision,
    #[arg(long, value_name = "R", help = format!("{} [default: paper; of ingredients, fast]", recipe_help()))]
    recipe: Option<String>,
    /// Passes over the training set [default: the recipe's]
    #[arg(long, value_name = "N")]
    epochs: Option<u32>,
    /// Images a step [default: the recipe's]
    #[arg(long, value_name = "N")]
    batch_size: Option<usize>,
    /// Use so many training images, the same number of each class
    #[arg(long, value_name = "N")]
    subset: Option<usize>,
    /// Divide every width by N, so that a small machine trains the same cells
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    narrow: usize,
    /// Train only this cell: its name or its network's, * standing for anything; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Test images of each analysis of a network's streams, in the table streams [default: all]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    images: Option<usize>,
    /// Stop, with all saved, before this much time has passed: 90s, 9m, 1h30m
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    time_limit: Option<Duration>,
    /// The folder of runs, results and tables
    #[arg(long, value_name = "FOLDER", default_value = "runs/reproduced")]
    output: PathBuf,
    /// Print the runs and where each stands, and train none
    #[arg(long)]
    list: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// No progress on stderr
    #[arg(long, short)]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let device = args.machine.prepare(args.precision)?;
    if args.images.is_some() && args.table != "streams" {
        return Err(Error::usage(format!(
            "--images is for the analyses of the table streams; {} has none: leave it out",
            args.table
        )));
    }
    let is_synthetic = args.data.as_ref().is_some_and(|data| data.as_os_str() == SYNTHETIC);
    let settings = Settings {
        recipe: args.recipe.as_deref().map_or_else(|| reproduce::recipe_of(&args.table), Recipe::by_name)?,
        epochs: args.epochs,
        batch_size: args.batch_size,
        subset: args.subset,
        narrow: args.narrow,
        precision: args.precision,
        synthetic: is_synthetic,
    };
    let data = if is_synthetic { SYNTHETIC } else { reproduce::data_of(&args.table)? };
    let options = Options {
        output: args.output,
        seed: args.seed,
        seeds: args.seeds,
        only: args.only,
        device: Some(device.choice.to_string()),
        choose_anew: args.machine.choices.is_some() || args.machine.kernels.is_some(),
        time_limit: args.time_limit,
        images: args.images,
        verbosity: if args.quiet { Verbosity::Quiet } else { Verbosity::Progress },
        stop: Stop::on_signals()?,
    };
    let root = args.data.filter(|_| !is_synthetic);
    let environment = Environment {
        open_data: &|name, [height, width]| open_data(name, (height, width), root.clone()),
        open_device: &|name, layout, precision| {
            name.parse::<Choice>()?.open(layout, precision, device.options.clone())
        },
    };
    let loaded = open_data(data, LoadOptions::default().image_size, root.clone())?;
    let source = Source::of(&loaded);
    drop(loaded);
    let table = reproduce::by_name(&args.table, &settings, data, source.train_images)?;
    let mut work = Work::new(table, source, &options, &environment)?;
    if args.list {
        let list = work.list();
        return if args.json { out.json(&list) } else { out.line(list) };
    }
    let say = |sentence: &str| {
        if !args.quiet {
            note(sentence);
        }
    };
    let stopped = work.train(&say)?;
    let report = work.report();
    if let Some(why) = stopped {
        let why = if why == Stopped::TimeLimit { "by the time limit" } else { "by a signal" };
        say(&format!("stopped {why}; all is saved, and the same command goes on"));
    }
    if args.json { out.line(report.json()?) } else { out.print(report.markdown()) }
}

/// Reads a data set by its name, from `root` or where sets lie anyway.
fn open_data(name: &str, image_size: (usize, usize), root: Option<PathBuf>) -> Result<Loaded> {
    let usual = LoadOptions { image_size, ..LoadOptions::default() };
    let options = LoadOptions { root: root.unwrap_or(usual.root.clone()), ..usual };
    load(&DataSpec::parse(name)?, &options)
        .map_err(|e| Error::new(e.kind(), format!("{e}; --data {SYNTHETIC} rehearses without it")))
}
