//! `rir bench`: what operations and whole training steps take, beside what the machine could do.

mod open;
mod predict;
mod tune;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Subcommand;
use indicatif::ProgressBar;
use rir::bench::report::{Findings, chosen, layers, ops};
use rir::bench::{self, Bench, Network, Report, Settings};
use rir::device::select::Choice;
use rir::error::{Error, Result};
use rir::graph::Precision;
use rir::text::{Align, columns};
use rir::train::parse_duration;

use self::open::{Held, Maker};
use self::tune::Tune;
use super::choices::Source;
use super::inspect::extents;
use super::model::Model;
use super::output::Output;
use super::setup::{Fusion, Machine, Target, at_least_one};

/// Measure operations and whole training steps: time, rates, and the part of what this machine could do
#[derive(clap::Args)]
#[command(
    after_help = "Every result is checked against its definition in f64 before it is timed, on random numbers; a
wrong one has no time, and ends the command with exit code 7. On a card, times are the card's own; on the cpu, the
wall's. The emulator has no clock: --counters counts there what kernels move. benches/README.md says how to read it all.

Examples:
  rir bench ops --device cpu --batch 4 --filter two_stream
  rir bench layers rir-18-wide --batch 500 --output layers.json
  rir bench step rir-18-wide --plot step.svg
  rir bench ladder conv2d --filter group2
  rir bench predict rir-18-wide --batch 500
  rir bench fusion rir-32 --batch 128
  rir bench tune rir-18-wide --batch 500
  rir bench ops --device emu --counters"
)]
pub struct Args {
    #[command(subcommand)]
    benchmark: Benchmark,
}

#[derive(Subcommand)]
enum Benchmark {
    /// Every different operation of a training step
    #[command(after_help = "Examples:
  rir bench ops --filter batch_norm
  rir bench ops --model rir-32 --batch 128 --json
  ncu --set full rir bench ops --case conv2d/group1.block1.layer1/500x32x32x96/bf16 --once")]
    Ops {
        /// A network's name or .toml file [default: rir-18-wide; on emu a narrow one]
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        /// Only the case of this name
        #[arg(long, value_name = "NAME", conflicts_with = "filter")]
        case: Option<String>,
        /// Run the case once and name its launches: for a profiler
        #[arg(long, requires = "case", conflicts_with_all = ["output", "plot", "counters"])]
        once: bool,
        #[command(flatten)]
        common: Common,
    },
    /// Every convolution of a network, by layer: forward, data gradient, weight gradient
    #[command(after_help = "Examples:
  rir bench layers rir-18-wide --batch 500
  rir bench layers rir-32 --filter weight_grad --json")]
    Layers {
        /// A network's name or .toml file [default: rir-18-wide; on emu a narrow one]
        model: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// A whole training step, its nodes by the time they lose, and its lower bound
    #[command(after_help = "Examples:
  rir bench step rir-18-wide --batch 500
  rir bench step rir-32 --device cpu --batch 16 --time-limit 2m
  nsys profile rir bench step rir-18-wide --nvtx --repeats 5")]
    Step {
        /// A network's name or .toml file [default: rir-18-wide; on emu a narrow one]
        model: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// One operation in every form of its kernels, the simplest first
    #[command(after_help = "Examples:
  rir bench ladder conv2d
  rir bench ladder conv2d_weight_grad --filter group3 --batch 128")]
    Ladder {
        /// The operation, such as conv2d or conv2d_data_grad
        operation: String,
        /// A network's name or .toml file [default: rir-18-wide; on emu a narrow one]
        #[arg(long, value_name = "MODEL")]
        model: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// What the convolutions of a training step should take on an H100 in bf16, by arithmetic alone: needs no device
    #[command(after_help = "Examples:
  rir bench predict rir-18-wide --batch 528
  rir bench predict --forms --filter group1")]
    Predict(predict::Args),
    /// A training step with every fusion, with none, and without each
    #[command(after_help = "Examples:
  rir bench fusion rir-18-wide --batch 500
  rir bench fusion rir-32 --filter fused --json")]
    Fusion {
        /// A network's name or .toml file [default: rir-18-wide; on emu a narrow one]
        model: Option<String>,
        #[command(flatten)]
        common: Common,
    },
    /// Which kernels run a network's convolutions the fastest on this card: measures all, and keeps the winners in a file
    #[command(
        after_help = "Every form of kernel that is not known to be slower, every width of its tiles, and for weight
gradients numbers of parts, run every different convolution of the training step. Each is checked against the definition
and against the kernel that runs unmeasured, before it is timed. The winners are for this batch, precision and fusion,
this kind of card, and these kernels; train, eval and bench take them unasked. A file grows by what is tuned later.

Files lie in $RIR_CACHE/choices, else $XDG_CACHE_HOME/rir/choices, else ~/.cache/rir/choices. With --device emu it is a
rehearsal: all is checked, nothing is timed, ranked or written.

Examples:
  rir bench tune rir-18-wide --batch 500
  rir bench tune rir-18-wide rir-32 --batch 128 --time-limit 9m
  rir bench tune --filter weight_grad/group3 --store mine.toml --output tune.json
  rir bench tune --device emu"
    )]
    Tune {
        /// Networks' names or .toml files [default: rir-18-wide; on emu a narrow one]
        #[arg(value_name = "MODEL")]
        models: Vec<String>,
        /// The file of choices [default: that of this card in the cache]
        #[arg(long, value_name = "FILE.toml")]
        store: Option<PathBuf>,
        #[command(flatten)]
        common: Common,
    },
}

/// Flags of every benchmark.
#[derive(clap::Args)]
struct Common {
    /// Only what has this in its name
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// f32, bf16 or f64 [default: bf16 on cuda and emu, f32 on the cpu]
    #[arg(long, value_name = "P")]
    precision: Option<Precision>,
    /// Images of a batch [default: 500 on cuda, 8 on the cpu, 2 on emu]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    batch: Option<usize>,
    /// Height and width of an image [default: 32x32; of emu's narrow network 16x16]
    #[arg(long, value_name = "HxW", value_parser = extents)]
    image: Option<[usize; 2]>,
    #[command(flatten)]
    fusion: Fusion,
    /// Runs before the first figure
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = at_least_one)]
    warmup: usize,
    /// Figures a case [default: as many as fit --time]
    #[arg(long, value_name = "N", value_parser = at_least_one)]
    repeats: Option<usize>,
    /// What the figures of a case may take together, in seconds [default: 0.5; of a candidate of tune 0.05]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    time: Option<f64>,
    /// Begin no further case after this much time: 90s, 9m, 1h30m; what is left out is named
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    time_limit: Option<Duration>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Write the JSON to this file as well
    #[arg(long, value_name = "FILE.json")]
    output: Option<PathBuf>,
    /// Draw the cases below the roofline
    #[arg(long, value_name = "FILE.svg", conflicts_with = "counters")]
    plot: Option<PathBuf>,
    /// On emu: count what kernels move, in place of times
    #[arg(long)]
    counters: bool,
    /// On cuda: tell a profiler the node of every launch; each is then launched by itself
    #[arg(long)]
    nvtx: bool,
    #[command(flatten)]
    machine: Machine,
}

/// A length of time in seconds.
fn seconds(text: &str) -> Result<f64> {
    let range = 1e-3..=3600.0;
    text.parse()
        .ok()
        .filter(|s| range.contains(s))
        .ok_or_else(|| Error::usage("give seconds from 0.001 to 3600"))
}

/// One benchmark, without its common flags.
enum Task {
    Ops { case: Option<String>, once: bool },
    Layers,
    Step,
    Ladder(String),
    Fusion,
    Tune(Tune),
}

impl Task {
    fn name(&self) -> &'static str {
        match self {
            Self::Ops { .. } => "ops",
            Self::Layers => "layers",
            Self::Step => "step",
            Self::Ladder(_) => "ladder",
            Self::Fusion => "fusion",
            Self::Tune(_) => "tune",
        }
    }

    /// What the figures of a case may take together, in seconds, unasked.
    fn time(&self) -> f64 {
        if let Self::Tune(_) = self { 0.05 } else { 0.5 }
    }
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let start = Instant::now();
    let (task, model, common) = match args.benchmark {
        Benchmark::Predict(asked) => return predict::run(&asked, out),
        Benchmark::Tune { models, store, common } => {
            return tune(&models, store.as_deref(), common, start, out);
        }
        Benchmark::Ops { model, case, once, common } => (Task::Ops { case, once }, model, common),
        Benchmark::Layers { model, common } => (Task::Layers, model, common),
        Benchmark::Step { model, common } => (Task::Step, model, common),
        Benchmark::Ladder { operation, model, common } => (Task::Ladder(operation), model, common),
        Benchmark::Fusion { model, common } => (Task::Fusion, model, common),
    };
    let target = common.machine.prepare(common.precision.unwrap_or(Precision::F32))?;
    common.agree(&task, target.choice)?;
    let network = common.network(model.as_deref(), target.choice)?;
    bench(&task, &common, target, &network, start, out)
}

/// `rir bench tune`.
fn tune(
    models: &[String],
    store: Option<&Path>,
    mut common: Common,
    start: Instant,
    out: &mut Output,
) -> Result<()> {
    let device = common.machine.device.unwrap_or_default().resolve();
    tune::agree(&common.machine, store, device)?;
    // What runs unmeasured is what the others are held to.
    common.machine.choices = Some(Source::None);
    let target = common.machine.prepare(common.precision.unwrap_or(Precision::F32))?;
    let models: Vec<Option<&str>> = match models {
        [] => vec![None],
        _ => models.iter().map(|model| Some(model.as_str())).collect(),
    };
    let networks = models.iter().map(|model| common.network(*model, device)).collect::<Result<Vec<_>>>()?;
    let names: Vec<&str> = networks.iter().map(|network| network.description.name.as_str()).collect();
    let mut together = networks[0].clone();
    together.description.name = names.join(", ");
    let task = Task::Tune(Tune::new(networks, store, device)?);
    common.agree(&task, device)?;
    bench(&task, &common, target, &together, start, out)
}

/// Measures, and reports.
fn bench(
    task: &Task,
    common: &Common,
    target: Target,
    network: &Network,
    start: Instant,
    out: &mut Output,
) -> Result<()> {
    let untimed = common.counters || target.choice == Choice::Emu;
    let mut held = Held::new(&target)?;
    let table = match task {
        Task::Tune(tune) => tune.store.as_ref().map(|(_, path)| path.clone()),
        _ => target.table.clone(),
    };
    let maker = Maker::new(target, common.nvtx);
    let properties = held.properties(&maker)?;
    let once = matches!(task, Task::Ops { once: true, .. });
    // Drawn only where stderr is a terminal.
    let bar = ProgressBar::new_spinner();
    let watch = |name: &str| {
        bar.set_message(name.to_owned());
        bar.tick();
    };
    watch("the roof");
    let rates = if untimed || once { None } else { Some(held.rates()?) };
    let open = |layout: &_, precision, kernels| maker.open(layout, precision, kernels);
    let apart = maker.clone().apart();
    let open_apart = |layout: &_, precision, kernels| apart.open(layout, precision, kernels);
    let overlaps = held.overlaps() && !common.nvtx;
    let bench = Bench {
        factory: &open,
        apart: if overlaps { Some(&open_apart) } else { None },
        kernels: common.machine.kernels,
        settings: Settings {
            warmup: common.warmup,
            repeats: common.repeats,
            time: Duration::from_secs_f64(common.time.unwrap_or(task.time())),
            deadline: common.time_limit.map(|limit| start + limit),
        },
        rates,
        watch: &watch,
    };
    if let Task::Ops { case: Some(case), once: true } = task {
        return profile(&bench, network, case, out);
    }
    let findings = measure(&bench, network, task, common)?;
    bar.finish_and_clear();
    let report = Report::new(task.name(), command_line(), properties, network, rates, findings);
    let report = Report { choices: table, ..report };
    common.save(&report, network)?;
    match common.json {
        true => out.json(&report)?,
        false => out.print(report.text())?,
    }
    report.verdict()
}

fn measure(bench: &Bench<'_>, network: &Network, task: &Task, common: &Common) -> Result<Findings> {
    let filter = common.filter.as_deref();
    if common.counters {
        return open::count(bench, network, task, filter);
    }
    match task {
        Task::Ops { case, .. } => ops(bench, network, case.as_deref().or(filter)),
        Task::Layers => layers(bench, network, filter),
        Task::Step => bench::step::step(bench, network),
        Task::Ladder(operation) => bench::ladder::ladder(bench, network, operation, filter),
        Task::Fusion => bench::fusion::fusion(bench, network, filter),
        Task::Tune(tune) => tune.run(bench, filter, &command_line()),
    }
}

/// Runs one case once: what a profiler around this process sees of kernels is that case.
fn profile(bench: &Bench<'_>, network: &Network, case: &str, out: &mut Output) -> Result<()> {
    let sites = chosen(network.sites()?, Some(case))?;
    let (launches, checked) = bench::measure::once(bench, &sites[0].case)?;
    out.line(format_args!(
        "{}: error {:.1e}, limit {:.1e}",
        sites[0].case.name(),
        checked.error,
        checked.limit
    ))?;
    let extents = |[x, y, z]: [u32; 3]| format!("{x} x {y} x {z}");
    let mut lines = vec![["kernel", "blocks", "threads", "dynamic shared"].map(String::from).to_vec()];
    for launch in &launches {
        let shared = format!("{} bytes", launch.dynamic_shared);
        lines.push(vec![launch.kernel.clone(), extents(launch.grid), extents(launch.block), shared]);
    }
    match launches.is_empty() {
        true => out.line("it launches no kernel here"),
        false => out.print(columns(&[Align::Left, Align::Right, Align::Right, Align::Right], &lines)),
    }
}

/// What repeats this command.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("rir".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

impl Common {
    /// # Errors
    /// If flags do not suit each other, or what is asked of this device it cannot do.
    fn agree(&self, task: &Task, choice: Choice) -> Result<()> {
        let is_card = matches!(choice, Choice::Cuda(_));
        let once = matches!(task, Task::Ops { once: true, .. });
        let wrong = match task {
            Task::Tune(_) if self.counters => "tune ranks by time: leave out --counters",
            Task::Tune(_) if self.plot.is_some() => {
                "--plot draws cases, and tune has many of each: it goes with ops, layers, step and ladder"
            }
            Task::Tune(_) if choice == Choice::Emu => return self.has_folders(),
            _ if choice == Choice::Emu && !self.counters && !once => {
                "the emulator has no clock: add --counters, which counts what kernels move, or time on cuda or cpu"
            }
            _ if self.counters && choice != Choice::Emu => {
                "--counters counts on the emulator: add --device emu"
            }
            _ if self.nvtx && !is_card => "--nvtx names the launches of a card: it needs --device cuda",
            _ if is_card && !once && self.machine.options().sync => {
                "--sync waits for every kernel, and the wait would be timed: leave it out"
            }
            Task::Fusion if self.plot.is_some() => {
                "--plot draws cases, of which fusion has none: it goes with ops, layers, step and ladder"
            }
            Task::Fusion if self.fusion.asked().is_some() => {
                "fusion compares with and without: leave out --fuse and --no-fuse"
            }
            Task::Step if self.filter.is_some() => {
                "a step is measured with all of its nodes: --filter goes with ops, layers, ladder and fusion"
            }
            _ => return self.has_folders(),
        };
        Err(Error::usage(wrong))
    }

    /// Before anything is measured in vain.
    fn has_folders(&self) -> Result<()> {
        for path in self.output.iter().chain(&self.plot) {
            let folder = path.parent().filter(|folder| *folder != Path::new("")).unwrap_or(Path::new("."));
            std::fs::metadata(folder).map_err(|e| Error::io("write below", folder, &e))?;
        }
        Ok(())
    }

    fn network(&self, model: Option<&str>, choice: Choice) -> Result<Network> {
        let is_emulated = choice == Choice::Emu;
        let (description, image, classes) = match model {
            None if is_emulated => (bench::network::narrow()?, Some([16, 16, 3]), None),
            name => {
                let model = Model::find(name.unwrap_or("rir-18-wide"))?;
                (model.description, model.image, model.classes)
            }
        };
        let [height, width, channels] = image.unwrap_or([32, 32, 3]);
        let [height, width] = self.image.unwrap_or([height, width]);
        let usual = match choice {
            Choice::Cuda(_) => 500,
            Choice::Emu => 2,
            _ => 8,
        };
        let stored = if choice == Choice::Cpu { Precision::F32 } else { Precision::Bf16 };
        Ok(Network {
            description,
            image: [height, width, channels],
            classes: classes.unwrap_or(10),
            batch: self.batch.unwrap_or(usual),
            precision: self.precision.unwrap_or(stored),
            fusions: self.fusion.fusions(),
        })
    }

    /// Writes what was asked for in files.
    fn save(&self, report: &Report, network: &Network) -> Result<()> {
        let write =
            |path: &Path, text: &str| std::fs::write(path, text).map_err(|e| Error::io("write", path, &e));
        if let Some(path) = &self.output {
            let text = serde_json::to_string_pretty(report)
                .map_err(|e| Error::device(format!("the report is no JSON: {e}")))?;
            write(path, &(text + "\n"))?;
        }
        if let (Some(path), Some(rates)) = (&self.plot, &report.rates) {
            let title = format!(
                "{}, {}, batch {}, {}",
                report.device.name, report.model, report.batch, report.precision
            );
            let points = &report.findings.points;
            write(path, &bench::plot::roofline(points, rates, network.precision, &title)?)?;
        }
        Ok(())
    }
}
