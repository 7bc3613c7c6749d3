//! The CPU: the reference for the kernels, and the device where there is no GPU. rayon for threads, pulp for vectors.
//!
//! `execute` finds a node's kernel; the kernels are pure functions over slices, one file an operation family, generic
//! over storage and arithmetic. No kernel's result depends on the number of threads.

mod batch_norm;
mod classifier;
mod conv2d;
mod conv2d_weight_grad;
pub(super) mod element;
mod elementwise;
mod execute;
mod indirect;
mod mask;
mod memory;
mod sgd;
mod tile;
mod two_stream;
mod views;
mod winograd;

use half::bf16;

use self::element::Element;
use self::memory::Buffer;
use self::views::{State, Views};
use super::values::{decode, encode, expect_length};
use super::{Device, PlanId, StepInputs};
use crate::error::{Error, Result};
use crate::graph::{
    DType, Graph, Node, Placement, Plan, Precision, Region, Role, Segment, StateLayout, ValueId,
};
use crate::ops::Op;

/// A model's State and plans in this machine's memory.
pub struct CpuDevice {
    layout: StateLayout,
    precision: Precision,
    state: State,
    plans: Vec<Option<(Plan, Buffer)>>,
}

impl CpuDevice {
    /// Allocates a zeroed State.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(layout: &StateLayout, precision: Precision) -> Result<Self> {
        let state = State::new(layout, precision.master()).ok_or_else(|| {
            Error::device("not enough memory for the model's parameters: use a narrower model")
        })?;
        Ok(Self { layout: layout.clone(), precision, state, plans: Vec::new() })
    }

    fn loaded(&mut self, id: PlanId) -> (&Plan, &mut Buffer, &mut State) {
        let (plan, workspace) = self.plans[id.0].as_mut().expect("a plan is not used after it is unloaded");
        (plan, workspace, &mut self.state)
    }

    /// The bytes of a value.
    fn bytes(&mut self, id: PlanId, v: ValueId) -> (&mut [u8], DType, Role, usize) {
        let (plan, workspace, state) = self.loaded(id);
        let value = plan.graph.value(v);
        let (dtype, role, elements) = (value.dtype, value.role, value.shape.elements());
        let bytes = match plan.placements[v.0] {
            Placement::Workspace(offset) => &mut workspace.bytes_mut()[offset..offset + value.bytes()],
            Placement::State(region, tensor) => state.tensor(region, tensor),
        };
        (bytes, dtype, role, elements)
    }

    fn run_as<T: Element>(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) {
        let (plan, workspace, state) = self.loaded(id);
        for n in plan.segment(segment) {
            let node = &plan.graph.nodes[n];
            match &node.op {
                Op::Sgd(sgd) => {
                    for (p, parameter) in plan.graph.state.parameters.iter().enumerate() {
                        sgd::step(sgd, inputs, parameter.kind, state.trained::<T::Acc>(p));
                    }
                }
                _ => {
                    execute::execute::<T>(&plan.graph, node, &mut Views::new(plan, n, node, workspace, state))
                }
            }
        }
    }
}

impl Device for CpuDevice {
    fn name(&self) -> String {
        let threads = rayon::current_num_threads();
        format!("cpu ({threads} thread{})", if threads == 1 { "" } else { "s" })
    }

    fn load(&mut self, plan: Plan) -> Result<PlanId> {
        if plan.graph.state != self.layout {
            return Err(Error::device("the plan was made for a model with another State"));
        }
        let workspace = Buffer::new(plan.workspace_bytes).ok_or_else(|| {
            Error::device(format!(
                "not enough memory for a workspace of {} MB at batch {}: use a smaller batch",
                plan.workspace_bytes >> 20,
                plan.graph.batch()
            ))
        })?;
        self.plans.push(Some((plan, workspace)));
        Ok(PlanId(self.plans.len() - 1))
    }

    fn plan(&self, id: PlanId) -> &Plan {
        &self.plans[id.0].as_ref().expect("a plan is not used after it is unloaded").0
    }

    fn unload(&mut self, id: PlanId) {
        self.plans[id.0] = None;
    }

    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> Result<()> {
        if let Some(v) = self.plan(id).images() {
            let (bytes, dtype, _, elements) = self.bytes(id, v);
            expect_length("the batch's images", images.len(), elements)?;
            match dtype {
                DType::F64 => {
                    let wide = bytemuck::cast_slice_mut::<u8, f64>(bytes);
                    wide.iter_mut().zip(images).for_each(|(w, x)| *w = f64::from(*x));
                }
                _ => bytemuck::cast_slice_mut::<u8, f32>(bytes).copy_from_slice(images),
            }
        }
        if let Some(v) = self.plan(id).labels() {
            let (bytes, _, _, elements) = self.bytes(id, v);
            expect_length("the batch's labels", labels.len(), elements)?;
            bytemuck::cast_slice_mut::<u8, i32>(bytes).copy_from_slice(labels);
        }
        Ok(())
    }

    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> Result<()> {
        let (bytes, dtype, _, elements) = self.bytes(id, value);
        expect_length("the value", data.len(), elements)?;
        encode(bytes, dtype, data);
        Ok(())
    }

    fn read(&mut self, id: PlanId, value: ValueId) -> Result<Vec<f64>> {
        let (bytes, dtype, _, elements) = self.bytes(id, value);
        Ok(decode(bytes, dtype, elements))
    }

    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> Result<()> {
        let dtype = self.precision.master();
        let bytes = self.state.tensor::<u8>(region, index);
        expect_length("the tensor", data.len(), bytes.len() / dtype.size())?;
        encode(bytes, dtype, data);
        Ok(())
    }

    fn read_state(&mut self, region: Region, index: usize) -> Result<Vec<f64>> {
        let dtype = self.precision.master();
        Ok(decode(self.state.tensor::<u8>(region, index), dtype, 0))
    }

    fn poison(&mut self, id: PlanId) -> Result<()> {
        // All bits set is NaN in every floating-point type.
        self.loaded(id).1.bytes_mut().fill(0xFF);
        Ok(())
    }

    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> Result<()> {
        match self.precision {
            Precision::F64 => self.run_as::<f64>(id, segment, inputs),
            Precision::F32 => self.run_as::<f32>(id, segment, inputs),
            Precision::Bf16 => self.run_as::<bf16>(id, segment, inputs),
        }
        Ok(())
    }

    fn scratch(&self) -> fn(&Graph, &Node) -> usize {
        execute::scratch
    }
}
