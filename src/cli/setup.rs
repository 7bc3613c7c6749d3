//! What a command runs on: threads, device, data, and a trained network.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rir::data::{DataSpec, LoadOptions, Loaded, load};
use rir::device::Device;
use rir::device::cuda::{Kernels, Options};
use rir::device::select::Choice;
use rir::error::{Error, Result};
use rir::graph::{Fusions, Precision, StateLayout};
use rir::train::{Checkpoint, Config, Session, SessionOptions, find_checkpoint};

use super::choices;

/// Flags of the commands that compute.
#[derive(clap::Args)]
pub struct Machine {
    /// auto, cpu, cuda, cuda:N, or emu [default: auto]; emu runs the CUDA kernels on the processor, every access checked:
    /// it is for checking kernels, cpu is for training
    #[arg(long, value_name = "D")]
    pub device: Option<Choice>,
    #[arg(long, value_name = "FORM", help = kernels_help())]
    pub kernels: Option<Kernels>,
    /// Kernels chosen by rir bench tune: its FILE, none, or auto: the file of this card, where there is one [default: auto]
    #[arg(long, value_name = "FILE")]
    pub choices: Option<choices::Source>,
    /// Launch every CUDA kernel by itself, not a whole step as one graph
    #[arg(long)]
    no_graph: bool,
    /// Wait for every CUDA kernel, launched by itself: a fault then names its node
    #[arg(long)]
    sync: bool,
    /// Let no CUDA kernel begin before the one before it has ended
    #[arg(long)]
    no_overlap: bool,
    /// CUDA kernels pass over the rows of a tensor from the first to the last, as convolutions do, and not from the last,
    /// which the cache still holds, to the first; no result depends on it
    #[arg(long)]
    ascending: bool,
    /// Threads of the cpu [default: all]; no result depends on it
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    threads: Option<usize>,
}

impl Machine {
    /// The device for this arithmetic, once it is sure that it can be had and the threads are set up. Only the
    /// processor computes in f64, so that is where it goes unasked.
    pub fn prepare(&self, precision: Precision) -> Result<Target> {
        let unasked = if precision == Precision::F64 { Choice::Cpu } else { Choice::Auto };
        let choice = self.device.unwrap_or(unasked).resolve();
        choice.check()?;
        if let (Choice::Cpu, Some(kernels)) =
            (choice, self.kernels.filter(|&kernels| kernels != Kernels::Auto))
        {
            return Err(Error::usage(format!(
                "--kernels {kernels} picks CUDA kernels, of which the cpu has none: leave it out, or add --device cuda \
                 or emu"
            )));
        }
        if let Some(threads) = self.threads {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
            pool.map_err(|e| {
                Error::device(format!(
                    "cannot start {threads} threads ({e}); give --threads a smaller number"
                ))
            })?;
        }
        let source = self.choices.as_ref().unwrap_or(&choices::Source::Auto);
        let (table, chosen) = choices::find(source, choice, self.kernels)?.unzip();
        Ok(Target { choice, options: Options { choices: chosen.map(Arc::new), ..self.options() }, table })
    }

    /// How CUDA kernels run.
    pub fn options(&self) -> Options {
        Options {
            kernels: self.kernels.unwrap_or_default(),
            choices: None,
            graph: !self.no_graph && !self.sync,
            sync: self.sync,
            overlap: !self.no_overlap,
            ascending: self.ascending,
        }
    }
}

/// Flags of the commands that fuse operations.
#[derive(clap::Args)]
pub struct Fusion {
    #[arg(long, value_name = "LIST", allow_hyphen_values = true, help = fusion_help())]
    fuse: Option<Fusions>,
    /// Run every operation by itself, as the network is written
    #[arg(long, conflicts_with = "fuse")]
    no_fuse: bool,
}

fn kernels_help() -> String {
    format!(
        "Which CUDA kernels: {}; an operation without such a form runs the one it has [default: auto]",
        Kernels::NAMES.join(", ")
    )
}

fn fusion_help() -> String {
    format!(
        "Which operations are fused: {}; a '-' before a name leaves it out, none before the names makes no other \
         [default: all, which is without fold-identity]",
        Fusions::NAMES.join(", ")
    )
}

impl Fusion {
    /// What was asked for, if anything was.
    pub fn asked(&self) -> Option<Fusions> {
        if self.no_fuse { Some(Fusions::NONE) } else { self.fuse }
    }
    /// What was asked for, or all.
    pub fn fusions(&self) -> Fusions {
        self.asked().unwrap_or(Fusions::ALL)
    }
}

/// A device, and how it runs kernels.
#[derive(Clone)]
pub struct Target {
    pub choice: Choice,
    pub options: Options,
    /// The file that the choices of kernels are from.
    pub table: Option<PathBuf>,
}

impl Target {
    /// Opens the device with an empty State.
    pub fn open(&self, layout: &StateLayout, precision: Precision) -> Result<Box<dyn Device>> {
        self.choice.open(layout, precision, self.options.clone())
    }
}

/// What a recipe may be.
pub fn recipe_help() -> String {
    format!("{}, or a .toml file", rir::optim::NAMES.join(", "))
}

/// A count of which there must be some.
pub fn at_least_one(text: &str) -> Result<usize> {
    text.parse().ok().filter(|&n| n > 0).ok_or_else(|| Error::usage("give a whole number from 1"))
}

/// Reads a data set by what the user calls it, for a network that takes images of this height and width.
pub fn open_data(name: &str, image_size: (usize, usize)) -> Result<Loaded> {
    load(&DataSpec::parse(name)?, &LoadOptions { image_size, ..LoadOptions::default() })
}

/// A network on disk.
pub struct Trained {
    pub checkpoint: Checkpoint,
    /// The file.
    pub path: PathBuf,
    /// How its run was configured, where it lies in a run folder.
    pub config: Option<Config>,
}

impl Trained {
    /// From a run folder or a checkpoint.
    pub fn find(path: &Path) -> Result<Self> {
        let file = find_checkpoint(path)?;
        let config = file.with_file_name("config.toml");
        let config = if config.is_file() { Config::load(&config).ok() } else { None };
        Ok(Self { checkpoint: Checkpoint::load(&file)?, path: file, config })
    }

    /// The network on a device.
    pub fn session(&self, device: &Target, precision: Precision) -> Result<Session> {
        let info = &self.checkpoint.info;
        let options = SessionOptions {
            model: info.model.clone(),
            image: info.image,
            classes: info.classes.len(),
            precision,
            fusions: Fusions::ALL,
            sgd: info.recipe.sgd(),
            label_smoothing: 0.0,
        };
        let mut session = Session::new(options, |layout, precision| device.open(layout, precision))?;
        session.import(&self.checkpoint.tensors).map_err(|e| e.at(self.path.display()))?;
        Ok(session)
    }
}
