//! The device that drives kernels: the State, the workspaces and the steps of one model, on a card or on the emulator.

mod choose;

use std::sync::Arc;

use super::driver::{Driver, Replay};
use super::feed::{Fed, Report};
use super::launch::{self, Address, Launch, Memory, View, optimise, step};
use super::{Choices, Chosen, Generation, Kernels, kernels, timing};
use crate::data::{Augment, Images, Normaliser};
use crate::device::values::{decode, encode, expect_length};
use crate::device::{Choose, Device, FedStep, Feed, Pace, PlanId, StepInputs, StepReport, Wait};
use crate::error::{Error, Result};
use crate::graph::{
    DType, Graph, Node, Placement, Plan, Precision, Region, Role, Segment, StateLayout, ValueId,
};
use crate::ops::{Conv2d, Op};
use crate::text::{bytes as human, counted};

/// How a [`CudaDevice`] runs its kernels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Which form of each kernel.
    pub kernels: Kernels,
    /// Where no form is asked for: choices that go before what the shapes suggest.
    pub choices: Option<Arc<Chosen>>,
    /// Captures a training step once and replays it; else launches every kernel by itself.
    pub graph: bool,
    /// Waits for every kernel, so that a fault names its node.
    pub sync: bool,
    /// Lets a kernel begin before the one before it has ended, where card and kernels know how to wait for it.
    pub overlap: bool,
    /// Passes over the rows of a tensor begin at the first, as convolutions do; else at the last, which the convolution
    /// before has just left in the cache.
    pub ascending: bool,
}

impl Default for Options {
    fn default() -> Self {
        let (kernels, choices) = (Kernels::Auto, None);
        Self { kernels, choices, graph: true, sync: false, overlap: true, ascending: false }
    }
}

/// A plan with its workspace, its launches, and the step that was captured of it.
struct Loaded {
    plan: Plan,
    memory: Memory,
    /// The optimiser's table, where the plan trains.
    table: View,
    /// The launches of every node, in the plan's order; of nodes that share one, the first has it.
    launches: Vec<Vec<Launch>>,
    /// The whole step, once one was fed.
    step: Option<WholeStep>,
}

/// A training step that draws its batch from the set on the card.
struct WholeStep {
    launches: Vec<Launch>,
    /// The launches as one graph, where graphs are wanted.
    replay: Option<Replay>,
    /// The indices of the batch's samples.
    samples: View,
}

/// A model's State and plans in a card's memory.
pub struct CudaDevice {
    driver: Box<dyn Driver>,
    layout: StateLayout,
    precision: Precision,
    options: Options,
    choices: Choices,
    /// For the convolutions of every plan that was loaded.
    chosen: Chosen,
    /// Without a workspace: what every plan's memory begins as.
    memory: Memory,
    plans: Vec<Option<Loaded>>,
    fed: Option<Fed>,
    report: Report,
}

impl CudaDevice {
    /// A zeroed State.
    ///
    /// # Errors
    /// For f64, which no kernel computes in; if the options' choices do not hold here, or there is not enough memory.
    pub fn new(
        mut driver: Box<dyn Driver>,
        layout: &StateLayout,
        precision: Precision,
        options: Options,
    ) -> Result<Self> {
        if precision == Precision::F64 {
            return Err(Error::device(
                "the CUDA kernels compute in f32 and bf16; use --precision f32 or bf16, or --device cpu for f64",
            ));
        }
        let (choices, chosen) = choose::of_driver(driver.as_mut(), &options)?;
        let (parameters, parameter_bytes) = layout.parameter_offsets(precision.master());
        let (running, running_bytes) = layout.running_offsets(precision.master());
        let bytes = parameter_bytes;
        let region_bytes = [bytes, bytes, bytes, running_bytes, bytes];
        let mut regions = [Address::default(); 5];
        for (region, bytes) in regions.iter_mut().zip(region_bytes) {
            *region = driver.allocate(bytes)?;
        }
        let memory = Memory {
            regions,
            parameters,
            running,
            workspace: Address::default(),
            step: driver.allocate(size_of::<step::StepInputs>())?,
            state: driver.allocate(size_of::<step::StepState>())?,
        };
        let report = Report::new(driver.as_mut())?;
        let (layout, plans) = (layout.clone(), Vec::new());
        Ok(Self { driver, layout, precision, options, choices, chosen, memory, plans, fed: None, report })
    }

    fn loaded(&self, id: PlanId) -> &Loaded {
        self.plans[id.0].as_ref().expect("a plan is not used after it is unloaded")
    }

    fn view(&self, id: PlanId, v: ValueId) -> (View, DType, usize) {
        let loaded = self.loaded(id);
        let value = loaded.plan.graph.value(v);
        (loaded.memory.value(&loaded.plan, v), value.dtype, value.shape.elements())
    }

    /// The workspace's memory, or a sentence with the batch that would fit.
    fn allocate_workspace(&mut self, plan: &Plan) -> Result<Address> {
        let (needed, batch) = (plan.workspace_bytes, plan.graph.batch());
        if let Some(free) = self.driver.free_bytes()?.filter(|free| *free < needed) {
            // Activations, nearly all of a workspace, grow with the batch.
            let fits = (batch as u128 * free as u128 / needed as u128) as usize;
            let remedy = match fits {
                0 => "not even one image fits: use a narrower model".to_owned(),
                _ => format!("use a batch of at most {fits}"),
            };
            return Err(Error::device(format!(
                "{}: a batch of {} needs a workspace of {}, and {} are free; {remedy}",
                self.driver.name(),
                counted(batch as u64, "image"),
                human(needed as u64),
                human(free as u64)
            )));
        }
        self.driver.allocate(needed)
    }

    fn stage(&mut self, view: View, dtype: DType, data: &[f64]) -> Result<()> {
        let mut words = aligned(view.bytes);
        let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..view.bytes];
        encode(bytes, dtype, data);
        self.driver.upload(view.address, bytes)
    }

    fn fetch(&mut self, view: View, dtype: DType, elements: usize) -> Result<Vec<f64>> {
        let mut words = aligned(view.bytes);
        let bytes = &mut bytemuck::cast_slice_mut(&mut words)[..view.bytes];
        self.driver.download(view.address, bytes)?;
        Ok(decode(bytes, dtype, elements))
    }

    fn state_view(&self, region: Region, index: usize) -> View {
        let elements = match region {
            Region::Running => self.layout.running[index].channels,
            _ => self.layout.parameters[index].shape.elements(),
        };
        self.memory.state(region, index, elements * self.precision.master().size())
    }

    /// What an update reads, for a step that is not drawn from a set.
    fn write_inputs(&mut self, inputs: &StepInputs) -> Result<()> {
        let [learning_rate, lookahead] = [inputs.learning_rate, inputs.lookahead].map(|x| x as f32);
        let zero = <step::StepInputs as bytemuck::Zeroable>::zeroed();
        let inputs = step::StepInputs { learning_rate, lookahead, ..zero };
        self.driver.upload(self.memory.step, bytemuck::bytes_of(&inputs))
    }

    /// The launches of a whole training step: the batch, the gradients, the report, the update.
    fn launches_of_step(&self, id: PlanId, samples: View) -> Result<Vec<Launch>> {
        let fed = self.fed.as_ref().ok_or_else(|| Error::device("no training set was put on the card"))?;
        let Loaded { plan, memory, launches, .. } = self.loaded(id);
        let value = |v: Option<ValueId>| {
            v.map(|v| memory.value(plan, v)).ok_or_else(|| Error::device("the plan is none of training"))
        };
        let result = |name| value(plan.graph.result(name));
        let batch = [value(plan.images())?, value(plan.labels())?];
        let segment = |s| launches[plan.segment(s)].iter().flatten().cloned();
        let mut step = vec![fed.batch(memory, batch, samples)];
        step.extend(segment(Segment::Gradients));
        step.push(self.report.launch(memory, [result("loss")?, result("correct")?]));
        step.extend(segment(Segment::Reduce).chain(segment(Segment::Update)));
        Ok(step)
    }

    /// Makes the whole step of a plan, and captures it.
    fn whole_step(&mut self, id: PlanId) -> Result<WholeStep> {
        let bytes = self.plan(id).graph.batch() * size_of::<u32>();
        let samples = View { address: self.driver.allocate(bytes)?, bytes };
        let launches = self.launches_of_step(id, samples)?;
        let replay = if self.options.graph { Some(self.driver.capture(&launches)?) } else { None };
        Ok(WholeStep { launches, replay, samples })
    }

    fn forget_step(&mut self, id: PlanId) {
        if let Some(step) = self.plans[id.0].as_mut().and_then(|loaded| loaded.step.take()) {
            step.replay.into_iter().for_each(|replay| self.driver.release(replay));
            self.driver.free(step.samples.address);
        }
    }
}

/// Room for at least so many bytes, aligned for every storage type.
fn aligned(bytes: usize) -> Vec<u64> {
    vec![0; bytes.div_ceil(size_of::<u64>())]
}

impl Device for CudaDevice {
    fn name(&self) -> String {
        self.driver.name()
    }

    fn kernels(&self) -> Option<String> {
        let dtype = self.precision.dtype(Role::Activation);
        let convolution = if self.chosen.nodes.is_empty() {
            let forms = kernels::all_forms(&Op::Conv2d(Conv2d::default()), dtype, self.choices.generation);
            self.options.kernels.of(&forms).to_string()
        } else {
            self.convolutions()
        };
        let launched = if self.options.graph { "a step is one graph" } else { "launched one by one" };
        let overlap = if self.driver.overlaps() { ", launches overlap" } else { "" };
        Some(format!("convolutions {convolution}, all else in its one form; {launched}{overlap}"))
    }

    fn generation(&self) -> Option<Generation> {
        Some(self.choices.generation)
    }

    fn load(&mut self, plan: Plan) -> Result<PlanId> {
        if plan.graph.state != self.layout {
            return Err(Error::device("the plan was made for a model with another State"));
        }
        self.choices.check(&plan.graph)?;
        let workspace = self.allocate_workspace(&plan)?;
        let memory = Memory { workspace, ..self.memory.clone() };
        let rows = plan.graph.nodes.iter().find_map(|node| match &node.op {
            Op::Sgd(op) => Some(optimise::sgd_table(op, &self.layout)),
            _ => None,
        });
        let rows = rows.unwrap_or_default();
        let table = View { address: self.driver.allocate(rows.len())?, bytes: rows.len() };
        self.driver.upload(table.address, &rows)?;
        let launches = launch::of_plan(&plan, &memory, &self.choices, table)?;
        self.chosen.nodes.extend(self.choices.of_graph(&plan.graph));
        self.plans.push(Some(Loaded { plan, memory, table, launches, step: None }));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn plan(&self, id: PlanId) -> &Plan {
        &self.loaded(id).plan
    }

    fn unload(&mut self, id: PlanId) {
        self.forget_step(id);
        if let Some(loaded) = self.plans[id.0].take() {
            self.driver.free(loaded.memory.workspace);
            self.driver.free(loaded.table.address);
        }
    }

    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> Result<()> {
        if let Some(v) = self.plan(id).images() {
            let (view, _, elements) = self.view(id, v);
            expect_length("the batch's images", images.len(), elements)?;
            self.driver.upload(view.address, bytemuck::cast_slice(images))?;
        }
        if let Some(v) = self.plan(id).labels() {
            let (view, _, elements) = self.view(id, v);
            expect_length("the batch's labels", labels.len(), elements)?;
            self.driver.upload(view.address, bytemuck::cast_slice(labels))?;
        }
        Ok(())
    }

    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> Result<()> {
        let (view, dtype, elements) = self.view(id, value);
        expect_length("the value", data.len(), elements)?;
        self.stage(view, dtype, data)
    }

    fn read(&mut self, id: PlanId, value: ValueId) -> Result<Vec<f64>> {
        let (view, dtype, elements) = self.view(id, value);
        self.fetch(view, dtype, elements)
    }

    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> Result<()> {
        let (view, dtype) = (self.state_view(region, index), self.precision.master());
        expect_length("the tensor", data.len(), view.bytes / dtype.size())?;
        // A State that was written anew is worth training again.
        self.driver.fill(self.memory.state, size_of::<step::StepState>(), 0)?;
        self.stage(view, dtype, data)
    }

    fn read_state(&mut self, region: Region, index: usize) -> Result<Vec<f64>> {
        let (view, dtype) = (self.state_view(region, index), self.precision.master());
        self.fetch(view, dtype, view.bytes / dtype.size())
    }

    fn poison(&mut self, id: PlanId) -> Result<()> {
        let loaded = self.loaded(id);
        let (workspace, bytes) = (loaded.memory.workspace, loaded.plan.workspace_bytes);
        // All bits set is NaN in every floating-point type.
        self.driver.fill(workspace, bytes, 0xFF)
    }

    fn poison_all_but(&mut self, id: PlanId, kept: &[ValueId]) -> Result<()> {
        let Loaded { plan, memory, .. } = self.loaded(id);
        let (workspace, end) = (memory.workspace, plan.workspace_bytes);
        let mut ranges: Vec<(usize, usize)> = (kept.iter())
            .filter_map(|&v| match plan.placements[v.0] {
                Placement::Workspace(offset) => Some((offset, offset + plan.graph.value(v).bytes())),
                Placement::State(..) => None,
            })
            .collect();
        ranges.sort_unstable();
        let mut from = 0;
        for (first, last) in ranges.into_iter().chain([(end, end)]) {
            if first > from {
                self.driver.fill(workspace.offset(from), first - from, 0xFF)?;
            }
            from = from.max(last);
        }
        Ok(())
    }

    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> Result<()> {
        if segment == Segment::Update {
            self.write_inputs(inputs)?;
        }
        let loaded = self.plans[id.0].as_ref().expect("a plan is not used after it is unloaded");
        for launch in loaded.launches[loaded.plan.segment(segment)].iter().flatten() {
            self.driver.launch(launch)?;
        }
        Ok(())
    }

    fn time(&mut self, id: PlanId, inputs: &StepInputs, pace: Pace) -> Result<Vec<f64>> {
        self.write_inputs(inputs)?;
        let launches = self.launches(id);
        timing::time(self.driver.as_mut(), &launches, self.options.graph, pace)
    }

    fn launches(&self, id: PlanId) -> Vec<Launch> {
        self.loaded(id).launches.iter().flatten().cloned().collect()
    }

    fn scratch(&self) -> fn(&Graph, &Node) -> usize {
        launch::scratch
    }

    fn feed(&mut self) -> Option<&mut dyn Feed> {
        Some(self)
    }

    fn chooser(&mut self) -> Option<&mut dyn Choose> {
        Some(self)
    }
}

impl Feed for CudaDevice {
    fn hold(&mut self, images: &Images, normaliser: &Normaliser, augment: Augment) -> Result<()> {
        // Captured steps read from the set that was held before.
        (0..self.plans.len()).for_each(|plan| self.forget_step(PlanId(plan)));
        if let Some(fed) = self.fed.take() {
            fed.free(self.driver.as_mut());
        }
        self.fed = Some(Fed::new(self.driver.as_mut(), images, normaliser, augment)?);
        Ok(())
    }

    fn submit(&mut self, id: PlanId, fed_step: &FedStep<'_>) -> Result<()> {
        if self.loaded(id).step.is_none() {
            let step = self.whole_step(id)?;
            self.plans[id.0].as_mut().expect("it was just used").step = Some(step);
        }
        let loaded = self.plans[id.0].as_ref().expect("it was just used");
        let (Some(fed), Some(step)) = (&self.fed, &loaded.step) else {
            return Err(Error::device("no training set was put on the card"));
        };
        let inputs = step::StepInputs {
            step: fed_step.step,
            seed: fed_step.seed,
            learning_rate: fed_step.inputs.learning_rate as f32,
            lookahead: fed_step.inputs.lookahead as f32,
            epoch: fed_step.epoch,
            slot: self.report.place(fed_step.step)?,
        };
        let driver = self.driver.as_mut();
        fed.choose(driver, step.samples, fed_step.samples)?;
        let mut queue = || {
            driver.upload(self.memory.step, bytemuck::bytes_of(&inputs))?;
            match step.replay {
                Some(replay) => driver.replay(replay),
                None => step.launches.iter().try_for_each(|launch| driver.launch(launch)),
            }
        };
        let queued = queue();
        self.report.queued(fed_step.step);
        queued.map_err(|e: Error| e.at(self.report.steps_under_way()))
    }

    fn collect(&mut self, wait: Wait) -> Result<Vec<StepReport>> {
        let steps = self.report.steps_under_way();
        self.report.collect(self.driver.as_mut(), wait).map_err(|e| e.at(steps))
    }
}
