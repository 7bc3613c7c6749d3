//! What the tests share: devices, small networks, random State and batches, and a model to run them on.
#![allow(dead_code, reason = "every test binary uses a part of it")]

pub mod networks;

use rand_distr::{Distribution, StandardNormal, StandardUniform};
use rir::check::reference::ReferenceDevice;
use rir::device::cpu::CpuDevice;
use rir::device::{Device, PlanId, StepInputs};
use rir::graph::{
    self, Fusions, Graph, ParameterKind, Precision, Region, Segment, Shape, StateLayout, ValueId,
};
use rir::nn::{self, Description, Options, Purpose};
use rir::ops::Sgd;
use rir::random::{self, Stream};

/// Makes a device for a State.
pub type Factory = fn(&StateLayout, Precision) -> rir::Result<Box<dyn Device>>;

/// The engine's device.
pub fn cpu(layout: &StateLayout, precision: Precision) -> rir::Result<Box<dyn Device>> {
    Ok(Box::new(CpuDevice::new(layout, precision)?))
}

/// The definition of every operation, as a device.
pub fn reference(layout: &StateLayout, precision: Precision) -> rir::Result<Box<dyn Device>> {
    Ok(Box::new(ReferenceDevice::new(layout, precision)))
}

/// Numbers of a test, by seed and stream.
pub fn stream(seed: u64, item: u32) -> Stream {
    Stream::new(seed, random::Purpose::Test, 0, item)
}

/// Normal numbers, mean 0, variance 1.
pub fn normals(count: usize, seed: u64, item: u32) -> Vec<f64> {
    let mut stream = stream(seed, item);
    (0..count).map(|_| StandardNormal.sample(&mut stream)).collect()
}

/// Uniform numbers from `low` to `high`.
pub fn uniforms(count: usize, low: f64, high: f64, seed: u64, item: u32) -> Vec<f64> {
    let mut stream = stream(seed, item);
    let unit = |stream: &mut Stream| -> f64 { StandardUniform.sample(stream) };
    (0..count).map(|_| low + (high - low) * unit(&mut stream)).collect()
}

/// The Euclidean norm.
pub fn norm(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum::<f64>().sqrt()
}

/// Images N H W C and class indices.
#[derive(Debug, Clone)]
pub struct Batch {
    pub images: Vec<f64>,
    pub labels: Vec<f64>,
}

impl Batch {
    /// Normal pixels and uniform classes, for a graph made with these options.
    pub fn random(options: &Options, seed: u64) -> Self {
        let pixels = options.batch * options.image.iter().product::<usize>();
        let classes = uniforms(options.batch, 0.0, options.classes as f64, seed, 901);
        Self { images: normals(pixels, seed, 900), labels: classes.iter().map(|c| c.floor()).collect() }
    }
}

/// Parameters and running statistics, in the State's order.
#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub parameters: Vec<Vec<f64>>,
    pub running: Vec<Vec<f64>>,
}

impl State {
    /// A State in which nothing is special: scales near 1, shifts near 0 but not there, running statistics as of a
    /// network that has trained. Every number fits f32.
    pub fn random(layout: &StateLayout, seed: u64) -> Self {
        let parameter = |(i, p): (usize, &graph::Parameter)| {
            let (center, deviation) = match p.kind {
                ParameterKind::Weight { fan_in } => (0.0, (2.0 / fan_in as f64).sqrt()),
                ParameterKind::Scale => (1.0, 0.2),
                ParameterKind::Shift | ParameterKind::Bias => (0.0, 0.2),
            };
            let z = normals(p.shape.elements(), seed, i as u32);
            z.iter().map(|z| f64::from((center + deviation * z) as f32)).collect()
        };
        let running = |(i, r): (usize, &graph::Running)| {
            let item = 1000 + i as u32;
            let numbers = if r.name.ends_with("var") {
                uniforms(r.channels, 0.5, 2.0, seed, item)
            } else {
                normals(r.channels, seed, item)
            };
            numbers.into_iter().map(|x| f64::from(x as f32)).collect()
        };
        Self {
            parameters: layout.parameters.iter().enumerate().map(parameter).collect(),
            running: layout.running.iter().enumerate().map(running).collect(),
        }
    }
}

/// A network's graph up to its loss, differentiated, with the optimiser where there is one.
pub fn training_graph(description: &Description, options: &Options, sgd: Option<Sgd>) -> Graph {
    let options = Options { purpose: Purpose::Train, ..*options };
    let graph = nn::build(description, &options).unwrap();
    let loss = graph.result("loss").unwrap();
    let mut graph = graph::differentiate(graph, loss).unwrap();
    if let Some(sgd) = sgd {
        graph.sgd(sgd).unwrap();
    }
    graph
}

/// A network's graph for evaluation.
pub fn evaluation_graph(description: &Description, options: &Options) -> Graph {
    nn::build(description, &Options { purpose: Purpose::Evaluate, ..*options }).unwrap()
}

/// One State on one device, and the plans that share it.
pub struct Model {
    pub device: Box<dyn Device>,
    pub layout: StateLayout,
    precision: Precision,
}

impl Model {
    pub fn new(factory: Factory, layout: &StateLayout, precision: Precision) -> Self {
        Self { device: factory(layout, precision).unwrap(), layout: layout.clone(), precision }
    }

    /// Lowers, fuses, plans, loads and poisons.
    pub fn load(&mut self, graph: &Graph, fusions: Fusions) -> PlanId {
        let lowered = graph::lower(graph, self.precision).unwrap();
        let fused = graph::fuse(lowered, fusions).unwrap();
        let scratch = self.device.scratch();
        let id = self.device.load(graph::plan(&fused, &scratch)).unwrap();
        self.device.poison(id).unwrap();
        id
    }

    pub fn set_state(&mut self, state: &State) {
        for (i, data) in state.parameters.iter().enumerate() {
            self.device.write_state(Region::Parameters, i, data).unwrap();
            self.device.write_state(Region::Momentum, i, &vec![0.0; data.len()]).unwrap();
        }
        for (i, data) in state.running.iter().enumerate() {
            self.device.write_state(Region::Running, i, data).unwrap();
        }
    }

    fn region(&mut self, region: Region, count: usize) -> Vec<Vec<f64>> {
        (0..count).map(|i| self.device.read_state(region, i).unwrap()).collect()
    }

    pub fn state(&mut self) -> State {
        let (parameters, running) = (self.layout.parameters.len(), self.layout.running.len());
        State {
            parameters: self.region(Region::Parameters, parameters),
            running: self.region(Region::Running, running),
        }
    }

    pub fn gradients(&mut self) -> Vec<Vec<f64>> {
        self.region(Region::Gradients, self.layout.parameters.len())
    }

    /// Writes the batch and runs the first segment: forward, and backward where the graph is differentiated.
    pub fn run(&mut self, id: PlanId, batch: &Batch) {
        for (value, data) in
            [(self.device.plan(id).images(), &batch.images), (self.device.plan(id).labels(), &batch.labels)]
        {
            if let Some(value) = value {
                self.device.write(id, value, data).unwrap();
            }
        }
        self.device.run(id, Segment::Gradients, &StepInputs::default()).unwrap();
    }

    /// A whole training step.
    pub fn step(&mut self, id: PlanId, batch: &Batch, learning_rate: f64) {
        self.run(id, batch);
        for segment in [Segment::Reduce, Segment::Update] {
            self.device.run(id, segment, &StepInputs::rate(learning_rate)).unwrap();
        }
    }

    /// A result by name, and its extents.
    pub fn tensor(&mut self, id: PlanId, name: &str) -> (Shape, Vec<f64>) {
        let graph = &self.device.plan(id).graph;
        let value = graph.result(name).unwrap_or_else(|| panic!("no result '{name}'"));
        (graph.shape(value).clone(), self.device.read(id, value).unwrap())
    }

    pub fn result(&mut self, id: PlanId, name: &str) -> Vec<f64> {
        self.tensor(id, name).1
    }

    pub fn loss(&mut self, id: PlanId) -> f64 {
        self.result(id, "loss")[0]
    }
}

/// A graph of inputs only, for single operations.
pub fn input_ids(graph: &mut Graph, shapes: &[Shape]) -> Vec<ValueId> {
    let role = graph::Role::Activation;
    (shapes.iter().enumerate()).map(|(i, s)| graph.input(format!("in{i}"), s.clone(), role)).collect()
}
