//! Runs a case on a device and holds it to the definition.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand_distr::{Distribution, StandardUniform};
use rayon::prelude::*;
use serde::Serialize;

use super::cases::{Case, Limit};
use super::limits::{limit, relative_error};
use super::reference::{Context, Tensor, evaluate, sampled};
use crate::device::cuda::launch::Launch;
use crate::device::cuda::{Choice, Kernels, Table, choices};
use crate::device::{Device, Pace, PlanId, StepInputs};
use crate::error::{Error, Result};
use crate::graph::{
    DType, Graph, Placement, Precision, Region, Role, Segment, Shape, StateLayout, ValueId, lower, plan,
};
use crate::ops::{Epilogue, Op};
use crate::random::{Purpose, Stream};

/// Makes a device for a State, with a form of its kernels: every case has its own.
pub type Factory<'a> = &'a (dyn Fn(&StateLayout, Precision, Kernels) -> Result<Box<dyn Device>> + Sync);

/// What the optimiser's cases are given.
const STEP: StepInputs = StepInputs { learning_rate: 0.1, lookahead: 0.3 };

/// How one case went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CaseResult {
    /// The case's name, which reruns it.
    pub name: String,
    /// The largest relative error of any output; not a number (in JSON: null) where an output holds NaN.
    pub error: f64,
    /// The limit of that output.
    pub limit: f64,
    /// Whether every output is within its limit.
    pub passed: bool,
    /// What went wrong, where it was not a number that was.
    pub failure: Option<String>,
}

/// The table on one device.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The device's name for itself.
    pub device: String,
    /// Every case that ran.
    pub cases: Vec<CaseResult>,
    /// How many are within their limits.
    pub passed: usize,
    /// How many are not.
    pub failed: usize,
}

/// Runs every case of `cases`, several at a time.
pub fn run_cases(cases: impl Iterator<Item = Case>, factory: Factory<'_>) -> Report {
    run_cases_watched(&cases.collect::<Vec<_>>(), factory, &|| ())
}

/// [`run_cases`], with a word to `done` after each.
pub fn run_cases_watched(cases: &[Case], factory: Factory<'_>, done: &(dyn Fn() + Sync)) -> Report {
    // Asked first: a device that fails on the way may not open again.
    let device = factory(&StateLayout::default(), Precision::F32, Kernels::Auto)
        .map_or_else(|e| e.to_string(), |d| d.name());
    let run = |case| {
        let result = run_case(case, factory);
        done();
        result
    };
    let cases: Vec<CaseResult> = cases.par_iter().map(run).collect();
    let passed = cases.iter().filter(|case| case.passed).count();
    Report { device, passed, failed: cases.len() - passed, cases }
}

/// Runs one case: poisons the workspace, writes the inputs, runs, and compares every output with the reference.
///
/// What a device derives from a value that it has just stored is held to that value, not to the reference's: a
/// convolution's statistics to its z, an update's mask to its y. And it must leave its inputs as they were.
pub fn run_case(case: &Case, factory: Factory<'_>) -> CaseResult {
    let name = case.name();
    let inputs: Vec<Tensor> = (0..case.inputs.len()).map(|i| case.input(i)).collect();
    // A kernel that panics fails its own row, by name, and not the table.
    let execute = || {
        let mut prepared = Prepared::new(case, &inputs, factory)?;
        prepared.run()?;
        prepared.results(case, &inputs)
    };
    let result = catch_unwind(AssertUnwindSafe(execute))
        .unwrap_or_else(|_| Err(Error::device("the device panicked")))
        .and_then(|got| compare(case, &inputs, &got));
    match result {
        Ok(Checked { error, limit, .. }) => {
            CaseResult { name, error, limit, passed: error <= limit, failure: None }
        }
        Err(e) => {
            CaseResult { name, error: f64::NAN, limit: 0.0, passed: false, failure: Some(e.to_string()) }
        }
    }
}

/// What a run left: each output of the node, or of the State that it changed.
struct Got {
    tensors: Vec<Tensor>,
    roles: Vec<Role>,
}

/// A graph of the case's one operation. Results: its inputs, then its outputs.
fn graph(case: &Case) -> Result<Graph> {
    let mut graph = Graph::new();
    graph.enter(case.form.clone());
    let mut inputs = Vec::new();
    for (i, (input, role)) in case.inputs.iter().zip(case.roles()).enumerate() {
        inputs.push(match (&case.op, i) {
            (Op::UpdateRunning(_), 1..) => graph.running(format!("in{i}"), input.shape.channels(), 0.0),
            _ => graph.input(format!("in{i}"), input.shape.clone(), role),
        });
    }
    for (i, (&kind, input)) in case.kinds.iter().zip(&case.inputs).enumerate() {
        graph.parameter(format!("parameter{i}"), input.shape.clone(), kind);
    }
    let outputs = match case.op {
        Op::Sgd(_) => {
            graph.gradients = inputs.clone(); // which places them in the State
            graph.push_in(Segment::Update, case.op.clone(), &inputs)?
        }
        Op::UpdateRunning(_) => graph.push_in(Segment::Update, case.op.clone(), &inputs)?,
        _ => graph.push(case.op.clone(), &inputs)?,
    };
    // Kept, so that they can be read after the run.
    for (i, &v) in inputs.iter().chain(&outputs).enumerate() {
        graph.keep(format!("{i}"), v);
    }
    Ok(graph)
}

/// The regions that the case's optimiser reads beside the gradients, and changes; none of another operation.
fn regions(case: &Case) -> &'static [Region] {
    match &case.op {
        Op::Sgd(op) if op.lookahead => &[Region::Parameters, Region::Momentum, Region::Slow],
        Op::Sgd(_) => &[Region::Parameters, Region::Momentum],
        _ => &[],
    }
}

/// Tensor `i` of one of those regions before the step, beyond the streams of the gradients.
fn state_before(case: &Case, region: Region, i: usize) -> Tensor {
    let offset = match region {
        Region::Momentum => 2000,
        Region::Slow => 3000,
        _ => 1000,
    };
    let tensor = super::cases::tensor(&case.inputs[i].shape, super::cases::Fill::Normal, offset + i as u32);
    tensor.stored(case.precision.master())
}

/// A case on a device, its inputs written.
pub struct Prepared {
    device: Box<dyn Device>,
    id: PlanId,
    graph: Graph,
    /// The case's inputs, then its outputs.
    kept: Vec<ValueId>,
}

impl Prepared {
    /// Plans the case's one node, poisons the workspace, and writes the inputs and the State.
    ///
    /// # Errors
    /// If the device cannot be made, or refuses.
    pub fn new(case: &Case, inputs: &[Tensor], factory: Factory<'_>) -> Result<Self> {
        let graph = lower(&graph(case)?, case.precision)?;
        let kept: Vec<ValueId> = graph.results.iter().map(|(_, v)| *v).collect();
        if graph.nodes.len() != 1 {
            return Err(Error::device("a case is one node: its inputs are made in the types that it reads"));
        }
        let mut device = factory(&graph.state, case.precision, case.kernels.unwrap_or_default())?;
        let scratch = device.scratch();
        let id = device.load(plan(&graph, &scratch))?;
        device.poison(id)?;
        for (i, (&v, input)) in kept.iter().zip(inputs).enumerate() {
            match device.plan(id).placements[v.0] {
                Placement::State(region, index) => device.write_state(region, index, &input.data)?,
                Placement::Workspace(_) => device.write(id, v, &input.data)?,
            }
            if i < case.kinds.len() {
                for &region in regions(case) {
                    device.write_state(region, i, &state_before(case, region, i).data)?;
                }
            }
        }
        Ok(Self { device, id, graph, kept })
    }

    /// Runs the node once.
    ///
    /// # Errors
    /// If the device failed.
    pub fn run(&mut self) -> Result<()> {
        Segment::ALL.into_iter().try_for_each(|segment| self.device.run(self.id, segment, &STEP))
    }

    /// What a run left, once it is sure that it left its inputs alone.
    fn results(&mut self, case: &Case, inputs: &[Tensor]) -> Result<Got> {
        let Self { device, id, graph, kept } = self;
        let (device, id) = (device.as_mut(), *id);
        let in_ids = &kept[..inputs.len()];
        let changed = changed(case, in_ids);
        for (&v, input) in in_ids.iter().zip(inputs).filter(|(v, _)| !changed.contains(v)) {
            if read(device, id, v)? != input.data {
                return Err(Error::device(format!("changed its input '{}'", graph.value(v).name)));
            }
        }
        self.left(case)
    }

    /// What a run left.
    fn left(&mut self, case: &Case) -> Result<Got> {
        let Self { device, id, graph, kept } = self;
        let (device, id) = (device.as_mut(), *id);
        let (in_ids, out_ids) = kept.split_at(case.inputs.len());
        let mut got = Got { tensors: Vec::new(), roles: Vec::new() };
        for &v in changed(case, in_ids).iter().chain(out_ids) {
            got.tensors.push(Tensor::new(graph.shape(v).clone(), read(device, id, v)?));
            got.roles.push(graph.value(v).role);
        }
        for &region in regions(case) {
            for (i, parameter) in graph.state.parameters.iter().enumerate() {
                got.tensors.push(Tensor::new(parameter.shape.clone(), device.read_state(region, i)?));
                got.roles.push(Role::Exact);
            }
        }
        Ok(got)
    }

    /// Holds what the first run left to the definition. A convolution of more than `MOST_WHOLE` products is held to it
    /// at `SAMPLES` elements, drawn at random, the first and the last among them; what it derives from the stored
    /// elements, at all of them.
    ///
    /// # Errors
    /// If the device failed, or changed what it may only read.
    pub fn check(&mut self, case: &Case, inputs: &[Tensor]) -> Result<Checked> {
        let got = self.results(case, inputs)?;
        compare(case, inputs, &got)
    }

    /// What may run in place of the kernels that do, which come first; none on a device without a choice.
    pub fn candidates(&mut self) -> Vec<Choice> {
        let (op, inputs, dtype) = asked(&self.graph);
        let chooser = self.device.chooser();
        chooser.map_or_else(Vec::new, |chooser| chooser.choices().candidates(op, &inputs, dtype))
    }

    /// Runs this choice of kernels from here on, and begins as [`Prepared::new`] does: from memory full of NaN, but for
    /// the inputs.
    ///
    /// # Errors
    /// If no kernel does it, or the device failed.
    pub fn choose(&mut self, case: &Case, choice: Choice) -> Result<()> {
        let (op, inputs, dtype) = asked(&self.graph);
        let table = Table::from([(choices::key(op, &inputs, dtype), choice)]);
        if let Some(chooser) = self.device.chooser() {
            chooser.choose(table)?;
        }
        self.device.poison_all_but(self.id, &self.kept[..case.inputs.len()])
    }

    /// What the last run left.
    ///
    /// # Errors
    /// If the device failed.
    pub fn outputs(&mut self, case: &Case) -> Result<Outputs> {
        self.left(case).map(Outputs)
    }

    /// As [`Device::time`].
    ///
    /// # Errors
    /// As [`Device::time`].
    pub fn time(&mut self, pace: Pace) -> Result<Vec<f64>> {
        self.device.time(self.id, &STEP, pace)
    }

    /// As [`Device::launches`].
    pub fn launches(&self) -> Vec<Launch> {
        self.device.launches(self.id)
    }
}

/// Inputs that the case's operation writes.
fn changed<'a>(case: &Case, inputs: &'a [ValueId]) -> &'a [ValueId] {
    if let Op::UpdateRunning(_) = case.op { &inputs[1..] } else { &[] }
}

/// The operation of a graph of one node, as kernels are chosen by it.
fn asked(graph: &Graph) -> (&Op, Vec<&Shape>, DType) {
    let node = &graph.nodes[0];
    let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
    let dtype = node.inputs.first().map_or(DType::F32, |&v| graph.value(v).dtype);
    (&node.op, inputs, dtype)
}

/// What a run left, apart from the device.
pub struct Outputs(Got);

impl Outputs {
    /// As [`Prepared::check`], without looking whether the inputs are as they were.
    ///
    /// # Errors
    /// If there is an output that cannot be compared.
    pub fn check(&self, case: &Case, inputs: &[Tensor]) -> Result<Checked> {
        compare(case, inputs, &self.0)
    }

    /// How far a convolution's products, every element of them, are from those of another run, and how far two right ones
    /// may be apart: each may be as far from the definition.
    pub fn beside(&self, case: &Case, other: &Self) -> Checked {
        let derived = |role: Role| role != Role::Activation && !matches!(case.op, Op::Conv2dWeightGrad(_));
        let pairs = self.0.tensors.iter().zip(&other.0.tensors).zip(&self.0.roles);
        let products = pairs.filter(|(_, role)| !derived(**role));
        let errors = products.map(|((a, b), _)| relative_error(&a.data, &b.data));
        // Not a number is further than any.
        let error =
            errors.fold(0.0, |most: f64, error| if most.is_nan() || error <= most { most } else { error });
        let dtype = case.precision.dtype(self.0.roles[0]);
        Checked { error, limit: 2.0 * limit(case.precision, dtype, case.limit), samples: None }
    }

    /// Whether every bit is that of another run.
    pub fn is(&self, other: &Self) -> bool {
        let same = |(a, b): (&Tensor, &Tensor)| {
            a.data.len() == b.data.len()
                && a.data.iter().zip(&b.data).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        self.0.tensors.iter().zip(&other.0.tensors).all(same)
    }
}

fn read(device: &mut dyn Device, id: PlanId, v: ValueId) -> Result<Vec<f64>> {
    match device.plan(id).placements[v.0] {
        Placement::State(region, index) => device.read_state(region, index),
        Placement::Workspace(_) => device.read(id, v),
    }
}

/// How near a run came to the definition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Checked {
    /// The error of the output that is furthest beyond its limit, or nearest to it; not a number counts as furthest.
    pub error: f64,
    /// The limit of that output.
    pub limit: f64,
    /// How many elements of every product were compared; `None`: all.
    pub samples: Option<usize>,
}

/// Products of a convolution whose every element is computed from the definition: about a second.
const MOST_WHOLE: usize = 1 << 29;

/// Elements that are compared of a larger one.
const SAMPLES: usize = 384;

/// The offsets to compare at, where `case` is too large to be compared as a whole.
fn samples(case: &Case, elements: usize) -> Option<Vec<usize>> {
    let samples = || {
        let mut stream = Stream::new(0, Purpose::Test, 0, 3000);
        let mut uniform = || -> f64 { StandardUniform.sample(&mut stream) };
        let mut at: Vec<usize> = (2..SAMPLES).map(|_| (uniform() * elements as f64) as usize).collect();
        at.extend([0, elements - 1]);
        at
    };
    let convolution = matches!(case.op, Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_));
    (convolution && case.terms() > MOST_WHOLE).then(samples)
}

/// Holds every output to the definition.
fn compare(case: &Case, inputs: &[Tensor], got: &Got) -> Result<Checked> {
    let mut arguments: Vec<Tensor> = Vec::new();
    for &region in regions(case) {
        arguments.extend((0..case.kinds.len()).map(|i| state_before(case, region, i)));
    }
    let arguments: Vec<&Tensor> = inputs.iter().chain(&arguments).collect();
    let context = Context { precision: case.precision, step: STEP, kinds: &case.kinds };
    let samples = samples(case, got.tensors[0].data.len());
    // Of a sampled case its products; and below what is derived from them as they were stored.
    let mut want: Vec<Option<Tensor>> = match &samples {
        None => evaluate(&case.op, &arguments, &context).into_iter().map(Some).collect(),
        Some(at) => (0..got.tensors.len())
            .map(|o| Some(Tensor::new([at.len()], sampled(&case.op, &arguments, o, at)?)))
            .collect(),
    };
    let picked = |(got, want): (&Tensor, &Option<Tensor>)| {
        let at = samples.as_ref().filter(|_| want.is_some())?;
        Some(Tensor::new([at.len()], at.iter().map(|&i| got.data[i]).collect()))
    };
    let picked: Vec<Option<Tensor>> = got.tensors.iter().zip(&want).map(picked).collect();
    if want.len() != got.tensors.len() {
        return Err(Error::device(format!("gave {} results, not {}", got.tensors.len(), want.len())));
    }
    let mut rules = vec![case.limit; want.len()];
    match &case.op {
        Op::Conv2d(conv) if conv.epilogue == Epilogue::Statistics => {
            for (b, outputs) in got.tensors.chunks(2).enumerate() {
                let stored = &outputs[0];
                let stats = evaluate(&crate::ops::BatchStats.into(), &[stored], &context).remove(0);
                (want[2 * b + 1], rules[2 * b + 1]) = (Some(stats), Limit::Sum(stored.shape.rows()));
            }
        }
        Op::Conv2dDataGrad(grad) if grad.epilogue.branches() > 0 => {
            let stored = &got.tensors[0];
            let branches: Vec<&Tensor> = inputs[grad.first_of_epilogue() + 1..].iter().collect();
            for (b, branch) in branches.chunks(2).enumerate() {
                let sums = [stored, branch[0], branch[1]];
                let sums = evaluate(&crate::ops::BatchNormReduce.into(), &sums, &context);
                want.splice(1 + 2 * b..3 + 2 * b, sums.into_iter().map(Some));
            }
            rules[1..].fill(Limit::Sum(stored.shape.rows()));
        }
        Op::TwoStreamUpdate(_) => {
            let bits = got.tensors[0].data.iter().map(|&y| f64::from(u8::from(y > 0.0))).collect();
            want[1] = Some(Tensor::new(got.tensors[1].shape.clone(), bits));
            rules[1] = Limit::Exact;
        }
        Op::SoftmaxCrossEntropy(_) => rules[1] = Limit::Exact, // a number of samples
        _ => {}
    }
    let mut results = Vec::new();
    let outputs = got.tensors.iter().zip(&picked).map(|(whole, picked)| picked.as_ref().unwrap_or(whole));
    for ((got, want), (role, rule)) in outputs.zip(want).zip(got.roles.iter().zip(rules)) {
        let want = want.ok_or_else(|| {
            Error::device(format!("{} has an output that is not compared by samples", case.name()))
        })?;
        let dtype = case.precision.dtype(*role);
        let limit = limit(case.precision, dtype, rule);
        let want = if rule == Limit::Exact { want.stored(dtype) } else { want };
        // The two rows of [2 C] are two quantities: a large mean must not hide a wrong variance.
        let rows = if want.shape.0.first() == Some(&2) && want.shape.0.len() == 2 { 2 } else { 1 };
        let length = want.data.len() / rows;
        for (got, want) in got.data.chunks(length).zip(want.data.chunks(length)) {
            results.push((relative_error(got, want), limit));
        }
    }
    let excess = |&(error, limit): &(f64, f64)| if error.is_nan() { f64::INFINITY } else { error - limit };
    let worst = results.into_iter().max_by(|a, b| excess(a).total_cmp(&excess(b)));
    let (error, limit) = worst.unwrap_or((f64::NAN, 0.0));
    Ok(Checked { error, limit, samples: samples.map(|at| at.len()) })
}
