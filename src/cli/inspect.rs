//! `rir inspect`: a network's layers and costs, and every stage of its way from description to plan.

use clap::ValueEnum;
use rir::device::Device;
use rir::device::cpu::CpuDevice;
use rir::error::{Error, Result};
use rir::graph::dot::dot;
use rir::graph::{Fusions, Graph, Plan, Precision, fuse, lower, plan};
use rir::nn::table::Table;
use rir::nn::{Description, Options, Purpose, build, toml, training_step};
use rir::ops::Sgd;
use rir::savings::{launches, savings};
use serde_json::json;

use super::model::{Changes, Model};
use super::output::Output;
use super::setup::{Fusion, at_least_one};

/// Show a network: its layers and costs, or its graph at any stage
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir inspect rir-18-wide                        layers, parameters, multiply-adds
  rir inspect rir-18-wide --classes 100 --projection pad
  rir inspect rir-32 --toml > mine.toml          a network to edit; then: rir train --model mine.toml
  rir inspect rir-32 --graph fused --batch 128   the training step as the device runs it
  rir inspect rir-18-wide --fusion --batch 128   what fusion saves, layer by layer and switch by switch
  rir inspect rir-32 --graph fused --fuse none,identity
  rir inspect rir-32 --graph plan --batch 128    where every tensor lies, and how long
  rir inspect rir-32 --graph eval --dot | dot -Tsvg > rir-32.svg
  rir inspect runs/rir-32                        the network that a run trained

Keys of a network's TOML file (all but name, family, stem and the body have these defaults):
  name              for you
  family            cnn, resnet, resnet-init or rir
  stem              channels of the first convolution
  [[groups]]        the body: width, blocks, stride = 1; as many as you like
  [[layers]]        or, without blocks (cnn and resnet-init): width, size = 3, stride = 1
  head              \"linear\", or \"conv\": a 1x1 convolution and batch norm before the average pool
  size              3: filter size of stem and groups, 3 or 1
  layers-per-block  2
  projection        \"3x3\", or \"1x1\", or \"pad\": the outer shortcut where extents or width change
  residual-share    0.5: the residual stream's share of the channels
  outer-relu        true: ReLU after the sum with the outer shortcut
  form              \"one-convolution\", or \"four-convolutions\": how generalized layers are computed
  flatten           false; true (with size = 1) makes a fully connected network")]
pub struct Args {
    /// A network's name or .toml file, a run folder, or a checkpoint
    model: String,
    /// Show the graph at this stage in place of the layers
    #[arg(long, value_name = "STAGE")]
    graph: Option<Stage>,
    /// Show what fusion saves of a training step: nodes, launches of CUDA kernels, and bytes
    #[arg(long, conflicts_with_all = ["graph", "dot", "toml"])]
    fusion: bool,
    /// Print the graph in Graphviz's language (by default that of the forward pass)
    #[arg(long, conflicts_with_all = ["json", "toml"])]
    dot: bool,
    /// Print the network as TOML, to edit and give to --model
    #[arg(long, conflicts_with_all = ["json", "graph"])]
    toml: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Classes [default: 10, or the checkpoint's]
    #[arg(long, value_name = "N")]
    classes: Option<usize>,
    /// Height and width of an image [default: 32x32, or the checkpoint's]
    #[arg(long, value_name = "HxW", value_parser = extents)]
    image: Option<[usize; 2]>,
    /// Images of a batch, for --graph and --fusion
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = at_least_one)]
    batch: usize,
    /// The arithmetic, for --fusion, and for --graph from lowered on: f32, bf16 or f64
    #[arg(long, value_name = "P", default_value_t = Precision::F32)]
    precision: Precision,
    #[command(flatten)]
    fusions: Fusion,
    #[command(flatten)]
    changes: Changes,
}

/// A stage on the way from a description to a plan.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// The forward pass in training, as it is built
    Forward,
    /// With the gradients and the optimiser's step
    Train,
    /// In its arithmetic: casts where storage types meet
    Lowered,
    /// In few, large operations
    Fused,
    /// With a place in one workspace for every tensor
    Plan,
    /// Evaluation: batch norm folded into the convolutions
    Eval,
}

/// What `--graph` shows.
enum Shown {
    Graph(Graph),
    Plan(Box<Plan>),
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let model = Model::find(&args.model)?;
    let description = args.changes.apply(model.description)?;
    let [height, width, channels] = model.image.unwrap_or([32, 32, 3]);
    let [height, width] = args.image.unwrap_or([height, width]);
    let classes = args.classes.or(model.classes).unwrap_or(10);
    let image = [height, width, channels];
    if args.toml {
        return out.print(toml::write(&description)?);
    }
    let (precision, fusions) = (args.precision, args.fusions.fusions());
    if args.fusion {
        let options = Options::new(Purpose::Train, args.batch, image, classes);
        let saved = savings(&description, &options, precision, fusions)?;
        return if args.json { out.json(&saved) } else { out.print(saved) };
    }
    let stage = match args.graph {
        None if args.dot => Some(Stage::Forward),
        stage => stage,
    };
    let Some(stage) = stage else {
        return layers(&args, &description, image, classes, out);
    };
    let shown = show(stage, &description, precision, fusions, |purpose| {
        Options::new(purpose, args.batch, image, classes)
    })?;
    match (shown, args.dot, args.json) {
        (Shown::Graph(graph), true, _) => out.print(dot(&graph)),
        (Shown::Plan(plan), true, _) => out.print(dot(&plan.graph)),
        (Shown::Graph(graph), _, true) => {
            let launches = total_launches(stage, &graph, precision)?;
            out.json(&json!({ "nodes": graph.rows(), "launches": launches }))
        }
        (Shown::Plan(plan), _, true) => out.json(&json!({
            "tensors": plan.rows(),
            "nodes": plan.graph.rows(),
            "workspace_bytes": plan.workspace_bytes,
            "unshared_bytes": plan.unshared_bytes,
            "live_bytes": plan.live_bytes,
        })),
        (Shown::Graph(graph), ..) => {
            let launches = total_launches(stage, &graph, precision)?;
            out.print(graph)?;
            match launches {
                Some(launches) => out.line(format_args!("{launches} launches of CUDA kernels")),
                None => Ok(()),
            }
        }
        (Shown::Plan(plan), ..) => out.print(plan),
    }
}

fn layers(
    args: &Args,
    description: &Description,
    image: [usize; 3],
    classes: usize,
    out: &mut Output,
) -> Result<()> {
    let table = Table::new(description, image, classes)?;
    if args.json {
        return out.json(&json!({
            "model": description,
            "image": image,
            "classes": classes,
            "layers": table.rows,
            "weights": table.weights(),
            "batch_norm": table.batch_norm(),
            "parameters": table.parameters(),
            "multiply_adds": table.multiply_adds(),
        }));
    }
    let [height, width, channels] = image;
    out.line(format_args!(
        "{}: images of {height}x{width}x{channels}, {classes} classes\n",
        description.name
    ))?;
    out.print(table)
}

/// Launches of CUDA kernels, of a graph that is lowered.
fn total_launches(stage: Stage, graph: &Graph, precision: Precision) -> Result<Option<usize>> {
    match stage {
        Stage::Forward | Stage::Train => Ok(None),
        _ => Ok(launches(graph, precision)?.map(|launches| launches.iter().sum())),
    }
}

/// The graph or plan of a stage.
fn show(
    stage: Stage,
    description: &Description,
    precision: Precision,
    fusions: Fusions,
    options: impl Fn(Purpose) -> Options,
) -> Result<Shown> {
    if stage == Stage::Eval {
        let graph = lower(&build(description, &options(Purpose::Evaluate))?, precision)?;
        return fuse(graph, fusions).map(Shown::Graph);
    }
    if stage == Stage::Forward {
        return build(description, &options(Purpose::Train)).map(Shown::Graph);
    }
    let graph = training_step(description, &options(Purpose::Train), Sgd::PAPER)?;
    if stage == Stage::Train {
        return Ok(Shown::Graph(graph));
    }
    let graph = lower(&graph, precision)?;
    if stage == Stage::Lowered {
        return Ok(Shown::Graph(graph));
    }
    let graph = fuse(graph, fusions)?;
    if stage == Stage::Fused {
        return Ok(Shown::Graph(graph));
    }
    let scratch = CpuDevice::new(&graph.state, precision)?.scratch();
    Ok(Shown::Plan(Box::new(plan(&graph, &scratch))))
}

/// `32x32`, or `32` for a square.
pub fn extents(text: &str) -> Result<[usize; 2]> {
    let (height, width) = text.split_once('x').unwrap_or((text, text));
    match (height.parse(), width.parse()) {
        (Ok(height), Ok(width)) if height > 0 && width > 0 => Ok([height, width]),
        _ => Err(Error::usage("write it as 32x32, height first")),
    }
}
