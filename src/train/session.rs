//! A session: one network on one device, and the plans that train, evaluate and examine it.

mod observe;

use std::collections::HashMap;

use super::names;
use super::tensor::{Tensor, from_file_order, to_file_order};
use crate::data::{Augment, Images, Normaliser};
use crate::device::cuda::Chosen;
use crate::device::{Device, EXPLODED_LOSS, FedStep, Feed, PlanId, StepInputs, StepReport, Wait};
use crate::error::{Error, Result};
use crate::graph::{self, Fusions, Graph, Precision, Region, Segment, StateLayout};
use crate::nn::{self, Ablation, Description, Options, Purpose};
use crate::ops::Sgd;

/// Everything that makes the plans of a session.
#[derive(Debug, Clone, PartialEq)]
pub struct SessionOptions {
    /// The network.
    pub model: Description,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// Which operations are fused.
    pub fusions: Fusions,
    /// The optimiser's step.
    pub sgd: Sgd,
    /// Share of the training target that is spread over all classes.
    pub label_smoothing: f64,
}

/// What a training step reports: both of the batch as it was before the step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepResult {
    /// Mean loss over the batch.
    pub loss: f64,
    /// How many of its images the network got right.
    pub correct: u64,
}

/// What evaluation reports of a batch of N images.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchResult {
    /// (N, classes).
    pub logits: Vec<f32>,
    /// Mean loss over the batch, without label smoothing.
    pub loss: f64,
    /// How many of its images the network got right.
    pub correct: u64,
}

/// What a plan is for. A session keeps one plan each, by batch size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum PlanKind {
    /// A training step.
    Train,
    /// A training step whose activations stay readable.
    Examine,
    /// Evaluation.
    Evaluate,
    /// Evaluation whose activations stay readable.
    Observe,
}

impl PlanKind {
    /// Whether it computes with running statistics, and changes nothing.
    fn evaluates(self) -> bool {
        matches!(self, PlanKind::Evaluate | PlanKind::Observe)
    }
}

/// Plans that a session keeps loaded; beyond it the one used longest ago is unloaded. A run has five at most: training,
/// and evaluation of test and validation images, by whole batches and the rest.
const LOADED_PLANS: usize = 6;

/// Whether a loss is one that training can go on from.
pub(super) fn is_sane(loss: f64) -> bool {
    loss <= EXPLODED_LOSS
}

/// One network on one device.
pub struct Session {
    device: Box<dyn Device>,
    options: SessionOptions,
    layout: StateLayout,
    plans: HashMap<(PlanKind, usize), (PlanId, u64)>,
    uses: u64,
    ablation: Option<Ablation>,
}

impl Session {
    /// A session on the device that `open` makes for the network's State. The State holds nothing sensible until
    /// [`Session::initialise`] or [`Session::import`].
    ///
    /// # Errors
    /// If the description does not fit the images, or the device cannot be opened.
    pub fn new(
        options: SessionOptions,
        open: impl FnOnce(&StateLayout, Precision) -> Result<Box<dyn Device>>,
    ) -> Result<Self> {
        let layout = build(&options, PlanKind::Evaluate, 1, None)?.state;
        let device = open(&layout, options.precision)?;
        Ok(Self { device, options, layout, plans: HashMap::new(), uses: 0, ablation: None })
    }

    /// What the session was made from.
    pub fn options(&self) -> &SessionOptions {
        &self.options
    }
    /// The network's State.
    pub fn layout(&self) -> &StateLayout {
        &self.layout
    }
    /// The device, for people.
    pub fn device_name(&self) -> String {
        self.device.name()
    }

    /// Weights and statistics as training starts with them, and no momentum.
    ///
    /// # Errors
    /// If the device failed.
    pub fn initialise(&mut self, seed: u64) -> Result<()> {
        for (i, values) in nn::initial_parameters(&self.layout, seed).into_iter().enumerate() {
            self.device.write_state(Region::Parameters, i, &values)?;
            self.device.write_state(Region::Momentum, i, &vec![0.0; values.len()])?;
        }
        for (i, running) in self.layout.running.iter().enumerate() {
            let values = vec![f64::from(running.initial); running.channels];
            self.device.write_state(Region::Running, i, &values)?;
        }
        Ok(())
    }

    /// One step on a batch: images (N, H, W, C), labels (N). Where the loss is not finite, or above 100, the
    /// State stays as it was.
    ///
    /// # Errors
    /// If the lengths do not fit, or the device failed.
    pub fn train_step(&mut self, images: &[f32], labels: &[i32], learning_rate: f64) -> Result<StepResult> {
        let plan = self.plan(PlanKind::Train, labels.len())?;
        self.device.write_batch(plan, images, labels)?;
        let inputs = StepInputs { learning_rate };
        self.device.run(plan, Segment::Gradients, &inputs)?;
        let result = self.step_result(plan)?;
        if is_sane(result.loss) {
            self.device.run(plan, Segment::Reduce, &inputs)?;
            self.device.run(plan, Segment::Update, &inputs)?;
        }
        Ok(result)
    }

    /// Puts the training set on the device, where that trains from a set of its own; says whether it does.
    ///
    /// # Errors
    /// If the set does not suit its normalisation or augmentation, or does not fit the device.
    pub(super) fn hold(
        &mut self,
        images: &Images,
        normaliser: &Normaliser,
        augment: Augment,
    ) -> Result<bool> {
        match self.device.feed() {
            Some(feed) => feed.hold(images, normaliser, augment).map(|()| true),
            None => Ok(false),
        }
    }

    /// Makes room for evaluating a batch of this size.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(super) fn reserve_evaluation(&mut self, batch: usize) -> Result<()> {
        if batch > 0 {
            self.plan(PlanKind::Evaluate, batch)?;
        }
        Ok(())
    }

    /// Makes room for training steps on batches of this size.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub(super) fn reserve_training(&mut self, batch: usize) -> Result<()> {
        self.plan(PlanKind::Train, batch).map(|_| ())
    }

    /// Queues a step from the set that the device holds. Where a loss is not finite, or above 100, neither that step
    /// nor a later one changes the State.
    ///
    /// # Errors
    /// If no set is held, or the device failed.
    pub(super) fn submit(&mut self, step: &FedStep<'_>) -> Result<()> {
        let plan = self.plan(PlanKind::Train, step.samples.len())?;
        self.fed()?.submit(plan, step)
    }

    /// The outcomes of queued steps that are known by now.
    ///
    /// # Errors
    /// If no set is held, or the device failed.
    pub(super) fn collect(&mut self, wait: Wait) -> Result<Vec<StepReport>> {
        self.fed()?.collect(wait)
    }

    fn fed(&mut self) -> Result<&mut dyn Feed> {
        let missing = || Error::device("the device holds no training set");
        self.device.feed().ok_or_else(missing)
    }

    /// The kernels that are chosen for the plans so far, where the device has a choice.
    pub fn chosen(&mut self) -> Option<Chosen> {
        self.device.chooser().map(|chooser| chooser.chosen().clone())
    }

    /// Takes the kernels that were chosen before, so that sums come in the same order; a device that has no choice does as
    /// it always does.
    ///
    /// # Errors
    /// If they do not hold on this device; says why.
    pub fn choose(&mut self, recorded: &Chosen) -> Result<()> {
        let Some(chooser) = self.device.chooser() else { return Ok(()) };
        let (own, generation) = (chooser.chosen(), chooser.choices().generation);
        recorded.holds_for(&own.card, &own.kernels_hash, generation).map_err(Error::usage)?;
        chooser.choose(recorded.nodes.clone())
    }

    /// Which kernels run, where there is a choice.
    pub fn kernels(&self) -> Option<String> {
        self.device.kernels()
    }

    /// What the network makes of a batch of any size: images (N, H, W, C), labels (N).
    ///
    /// # Errors
    /// If the lengths do not fit, or the device failed.
    pub fn evaluate_batch(&mut self, images: &[f32], labels: &[i32]) -> Result<BatchResult> {
        let plan = self.plan(PlanKind::Evaluate, labels.len())?;
        self.device.write_batch(plan, images, labels)?;
        for segment in Segment::ALL {
            self.device.run(plan, segment, &StepInputs::default())?;
        }
        let StepResult { loss, correct } = self.step_result(plan)?;
        let logits = self.result(plan, "logits")?.into_iter().map(|x| x as f32).collect();
        Ok(BatchResult { logits, loss, correct })
    }

    /// The logits (N, classes) of images (N, H, W, C).
    ///
    /// # Errors
    /// If `images` does not hold whole images, or the device failed.
    pub fn predict(&mut self, images: &[f32]) -> Result<Vec<f32>> {
        let length: usize = self.options.image.iter().product();
        if images.is_empty() || !images.len().is_multiple_of(length) {
            return Err(Error::usage(format!(
                "{} numbers are not a whole number of images of {length} numbers",
                images.len()
            )));
        }
        Ok(self.evaluate_batch(images, &vec![0; images.len() / length])?.logits)
    }

    fn step_result(&mut self, plan: PlanId) -> Result<StepResult> {
        let scalar = |values: Vec<f64>| values.first().copied().unwrap_or(f64::NAN);
        let loss = scalar(self.result(plan, "loss")?);
        let correct = scalar(self.result(plan, "correct")?) as u64;
        Ok(StepResult { loss, correct })
    }

    /// Reads a result of a plan by its name.
    pub(super) fn result(&mut self, plan: PlanId, name: &str) -> Result<Vec<f64>> {
        let value = self.device.plan(plan).graph.result(name);
        let value = value.ok_or_else(|| Error::model(format!("the plan keeps no result called {name}")))?;
        self.device.read(plan, value)
    }

    /// Forward and backward over a batch without changing the State, with every layer's activation kept; returns the
    /// plan that holds them.
    pub(super) fn examine(&mut self, images: &[f32], labels: &[i32]) -> Result<PlanId> {
        let plan = self.plan(PlanKind::Examine, labels.len())?;
        self.device.write_batch(plan, images, labels)?;
        self.device.run(plan, Segment::Gradients, &StepInputs::default())?;
        Ok(plan)
    }

    /// The names of a plan's results, in the order of the layers.
    pub(super) fn result_names(&self, plan: PlanId) -> Vec<String> {
        self.device.plan(plan).graph.results.iter().map(|(name, _)| name.clone()).collect()
    }

    /// Reads a tensor of the State.
    pub(super) fn state(&mut self, region: Region, index: usize) -> Result<Vec<f64>> {
        self.device.read_state(region, index)
    }

    /// Parameters, then running statistics, by their names in checkpoints, weights O I H W; in f32.
    ///
    /// # Errors
    /// If the device failed.
    pub fn export(&mut self) -> Result<Vec<Tensor>> {
        let mut tensors = self.export_region(Region::Parameters)?;
        for (i, running) in self.layout.running.clone().into_iter().enumerate() {
            let data = self.device.read_state(Region::Running, i)?.into_iter().map(|x| x as f32).collect();
            tensors.push(Tensor { name: running.name, shape: vec![running.channels], data });
        }
        Ok(tensors)
    }

    /// The optimiser's velocity, by the names of the parameters it moves, weights O I H W; in f32.
    ///
    /// # Errors
    /// If the device failed.
    pub fn export_momentum(&mut self) -> Result<Vec<Tensor>> {
        self.export_region(Region::Momentum)
    }

    fn export_region(&mut self, region: Region) -> Result<Vec<Tensor>> {
        let parameters = self.layout.parameters.clone();
        (parameters.into_iter().enumerate())
            .map(|(i, p)| Ok(to_file_order(p.name, &p.shape.0, &self.device.read_state(region, i)?)))
            .collect()
    }

    /// Takes parameters and running statistics as [`Session::export`] gives them, in any order.
    ///
    /// # Errors
    /// For a tensor that is missing, unknown, of another shape, or not finite; by name. The State is then unchanged.
    pub fn import(&mut self, tensors: &[Tensor]) -> Result<()> {
        let found = self.matched(&names::expected(&self.layout), tensors)?;
        let parameters = self.layout.parameters.len();
        for (i, tensor) in found.into_iter().enumerate() {
            let values = from_file_order(tensor);
            match i.checked_sub(parameters) {
                None => self.device.write_state(Region::Parameters, i, &values)?,
                Some(running) => self.device.write_state(Region::Running, running, &values)?,
            }
        }
        Ok(())
    }

    /// Takes the velocity as [`Session::export_momentum`] gives it.
    ///
    /// # Errors
    /// As [`Session::import`].
    pub fn import_momentum(&mut self, tensors: &[Tensor]) -> Result<()> {
        let mut expected = names::expected(&self.layout);
        expected.truncate(self.layout.parameters.len());
        for (i, tensor) in self.matched(&expected, tensors)?.into_iter().enumerate() {
            self.device.write_state(Region::Momentum, i, &from_file_order(tensor))?;
        }
        Ok(())
    }

    /// `tensors` in the order of `expected`.
    fn matched<'a>(
        &self,
        expected: &[(String, Vec<usize>)],
        tensors: &'a [Tensor],
    ) -> Result<Vec<&'a Tensor>> {
        let names: Vec<_> = tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
        names::check(expected, &names, &self.options.model.name)?;
        let named: HashMap<&str, &Tensor> = tensors.iter().map(|t| (t.name.as_str(), t)).collect();
        expected
            .iter()
            .map(|(name, _)| named[name.as_str()].check_finite().map(|()| named[name.as_str()]))
            .collect()
    }

    /// The plan for a kind and a batch size, made where it is not loaded.
    fn plan(&mut self, kind: PlanKind, batch: usize) -> Result<PlanId> {
        self.uses += 1;
        if let Some((plan, used)) = self.plans.get_mut(&(kind, batch)) {
            *used = self.uses;
            return Ok(*plan);
        }
        if batch == 0 {
            return Err(Error::usage("a batch holds at least one image"));
        }
        if self.plans.len() >= LOADED_PLANS {
            let oldest = self.plans.iter().min_by_key(|(_, (_, used))| *used).map(|(key, _)| *key);
            if let Some((plan, _)) = oldest.and_then(|key| self.plans.remove(&key)) {
                self.device.unload(plan);
            }
        }
        let graph = build(&self.options, kind, batch, self.ablation.filter(|_| kind.evaluates()))?;
        let graph = graph::lower(&graph, self.options.precision)?;
        let graph = graph::fuse(graph, self.options.fusions)?;
        let plan = self.device.load(graph::plan(&graph, &self.device.scratch()))?;
        self.plans.insert((kind, batch), (plan, self.uses));
        Ok(plan)
    }
}

/// The graph of a plan, before lowering.
fn build(
    options: &SessionOptions,
    kind: PlanKind,
    batch: usize,
    ablation: Option<Ablation>,
) -> Result<Graph> {
    let purpose = if kind.evaluates() { Purpose::Evaluate } else { Purpose::Train };
    let network = Options {
        label_smoothing: if kind.evaluates() { 0.0 } else { options.label_smoothing },
        keep_activations: matches!(kind, PlanKind::Examine | PlanKind::Observe),
        ablation,
        ..Options::new(purpose, batch, options.image, options.classes)
    };
    match purpose {
        Purpose::Evaluate => nn::build(&options.model, &network),
        Purpose::Train => nn::training_step(&options.model, &network, options.sgd),
    }
}
