//! Devices: they own the State and the workspaces, and run plans node by node.

pub mod cpu;
pub mod cuda;
pub mod select;
pub mod tuned;
mod values;

use std::time::Instant;

use self::cuda::launch::Launch;
use crate::data::{Augment, Images, Normaliser};
use crate::error::Result;
use crate::graph::{Plan, Region, Segment, ValueId};

/// A loss above this is an exploded one: the worst that an untrained network does is a few times ln(classes).
pub const EXPLODED_LOSS: f64 = 100.0;

/// What changes from step to step without changing the plan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepInputs {
    /// The optimiser's learning rate.
    pub learning_rate: f64,
    /// How far lookahead's slow weights go toward the fast ones, 0 to 1; at 0 they stay, and the fast ones go on.
    pub lookahead: f64,
}

impl StepInputs {
    /// A step that does not look ahead.
    pub fn rate(learning_rate: f64) -> Self {
        Self { learning_rate, lookahead: 0.0 }
    }
}

/// A plan that a device has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanId(pub usize);

/// How [`Device::time`] measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pace {
    /// Figures that are taken.
    pub samples: usize,
    /// Runs in a row whose mean is one figure: enough that what surrounds them does not count.
    pub runs: usize,
    /// Whether the cache is filled with something else before every figure; else each run finds what the last left.
    pub cold: bool,
}

/// The State of one model on one device, and the plans that share it.
///
/// Tensors cross this border as `f64`, which holds every storage type exactly; storing to a narrower type rounds to
/// nearest. Batches have a path of their own.
pub trait Device {
    /// For people, such as `cpu (2 threads)`.
    fn name(&self) -> String;

    /// Which kernels run, for people; `None` where there is no choice.
    fn kernels(&self) -> Option<String> {
        None
    }

    /// Allocates a plan's workspace; from here on, running it allocates no tensor.
    ///
    /// # Errors
    /// If there is not enough memory, or the plan was made for another State.
    fn load(&mut self, plan: Plan) -> Result<PlanId>;

    /// A loaded plan.
    fn plan(&self, id: PlanId) -> &Plan;

    /// Frees a plan's workspace; its id must not be used again.
    fn unload(&mut self, id: PlanId);

    /// Writes the batch: images N H W C, labels N.
    ///
    /// # Errors
    /// If the lengths are not the plan's.
    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> Result<()>;

    /// Writes any value of a plan, in memory order. For a mask: one number an element, nonzero for a set bit.
    ///
    /// # Errors
    /// If the length is not the value's.
    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> Result<()>;

    /// Reads any value of a plan, in memory order; a mask as zeros and ones.
    ///
    /// Only results and values of the State keep their contents to the end of a run.
    ///
    /// # Errors
    /// If the device failed.
    fn read(&mut self, id: PlanId, value: ValueId) -> Result<Vec<f64>>;

    /// Writes tensor `index` of a region of the State.
    ///
    /// # Errors
    /// If the length is not the tensor's.
    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> Result<()>;

    /// Reads tensor `index` of a region of the State.
    ///
    /// # Errors
    /// If the device failed.
    fn read_state(&mut self, region: Region, index: usize) -> Result<Vec<f64>>;

    /// Fills a plan's workspace with NaN, so that whatever is read before it is written shows. Call it before
    /// writing the inputs.
    ///
    /// # Errors
    /// If the device failed.
    fn poison(&mut self, id: PlanId) -> Result<()>;

    /// [`Device::poison`], but these values keep what they hold.
    ///
    /// # Errors
    /// If the device failed.
    fn poison_all_but(&mut self, id: PlanId, kept: &[ValueId]) -> Result<()> {
        let held = kept.iter().map(|&v| self.read(id, v)).collect::<Result<Vec<_>>>()?;
        self.poison(id)?;
        kept.iter().zip(held).try_for_each(|(&v, data)| self.write(id, v, &data))
    }

    /// Runs one segment of a plan.
    ///
    /// # Errors
    /// If the device failed.
    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> Result<()>;

    /// Seconds that a run of all segments takes, by the device's own clock; else by the wall's. No figures, where
    /// `pace.cold` asks for what the device cannot do.
    ///
    /// # Errors
    /// If the device failed, or has no clock.
    fn time(&mut self, id: PlanId, inputs: &StepInputs, pace: Pace) -> Result<Vec<f64>> {
        let samples = if pace.cold { 0 } else { pace.samples };
        (0..samples)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..pace.runs {
                    Segment::ALL.into_iter().try_for_each(|segment| self.run(id, segment, inputs))?;
                }
                Ok(start.elapsed().as_secs_f64() / pace.runs as f64)
            })
            .collect()
    }

    /// The launches of a run of all segments, in order; none on a device that is no card.
    fn launches(&self, _: PlanId) -> Vec<Launch> {
        Vec::new()
    }

    /// What the device's kernels may use of its card, by which an operation has more or fewer forms; `None` on a device
    /// that has one form of each.
    fn generation(&self) -> Option<cuda::Generation> {
        None
    }

    /// Bytes that a node needs while it runs, for the planner.
    fn scratch(&self) -> fn(&crate::graph::Graph, &crate::graph::Node) -> usize;

    /// The way to train from a set that lies on the device, where the device has one.
    fn feed(&mut self) -> Option<&mut dyn Feed> {
        None
    }

    /// The way to choose its kernels, where the device has several for a node.
    fn chooser(&mut self) -> Option<&mut dyn Choose> {
        None
    }
}

/// A device whose kernels are chosen node by node.
pub trait Choose {
    /// How it chooses.
    fn choices(&self) -> &cuda::Choices;

    /// What is chosen for the convolutions of all plans that were loaded, and what that holds for.
    fn chosen(&self) -> &cuda::Chosen;

    /// Takes these choices where a node has one, from here on, in plans that were loaded before as well.
    ///
    /// # Errors
    /// If a node's choice is one that no kernel does; nothing is changed then.
    fn choose(&mut self, table: cuda::Table) -> Result<()>;
}

/// A training step whose batch the device draws from the set that it holds.
#[derive(Debug, Clone, Copy)]
pub struct FedStep<'a> {
    /// Counted from 0 over the whole run.
    pub step: u64,
    /// From 0.
    pub epoch: u32,
    /// The seed of the augmentation.
    pub seed: u64,
    /// The optimiser's.
    pub inputs: StepInputs,
    /// The batch: indices into the set.
    pub samples: &'a [u32],
}

/// What became of a step.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StepReport {
    /// The step.
    pub step: u64,
    /// Mean loss over its batch, before the step.
    pub loss: f64,
    /// How many of its images the network got right.
    pub correct: u64,
}

/// How long [`Feed::collect`] waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Only where no further step could be submitted.
    ForRoom,
    /// Until every step is done.
    ForAll,
}

/// Training without a stall: the set lies on the device, steps are queued, and their outcomes come back later.
///
/// Where a step's loss is not a number, or above [`EXPLODED_LOSS`], neither it nor any later step changes the State.
pub trait Feed {
    /// Takes the training set, with its normalisation and augmentation, in place of one held before.
    ///
    /// # Errors
    /// If they do not suit each other, or there is not enough memory.
    fn hold(&mut self, images: &Images, normaliser: &Normaliser, augment: Augment) -> Result<()>;

    /// Queues a whole step of a training plan, its update included.
    ///
    /// # Errors
    /// If no set is held, an index lies beyond it, too many outcomes wait to be collected, or the device failed.
    fn submit(&mut self, id: PlanId, step: &FedStep<'_>) -> Result<()>;

    /// The outcomes that were not collected yet, in the order of the steps.
    ///
    /// # Errors
    /// If the device failed.
    fn collect(&mut self, wait: Wait) -> Result<Vec<StepReport>>;
}
