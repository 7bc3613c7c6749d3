//! Devices: they own the State and the workspaces, and run plans node by node.

pub mod cpu;
pub mod cuda;
pub mod select;

use crate::error::Result;
use crate::graph::{Plan, Region, Segment, ValueId};

/// What changes from step to step without changing the plan.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct StepInputs {
    /// The optimiser's learning rate.
    pub learning_rate: f64,
}

/// A plan that a device has loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PlanId(pub usize);

/// The State of one model on one device, and the plans that share it.
///
/// Tensors cross this border as `f64`, which holds every storage type exactly; storing to a narrower type rounds to
/// nearest. Batches have a path of their own.
pub trait Device {
    /// For people, such as `cpu (2 threads)`.
    fn name(&self) -> String;

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
    fn poison(&mut self, id: PlanId);

    /// Runs one segment of a plan.
    ///
    /// # Errors
    /// If the device failed.
    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> Result<()>;

    /// Bytes that a node needs while it runs, for the planner.
    fn scratch(&self) -> fn(&crate::graph::Graph, &crate::graph::Node) -> usize;
}
