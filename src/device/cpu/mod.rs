//! The CPU: the reference for the kernels, and the device where there is no GPU. rayon for threads, pulp for vectors.
//!
//! `execute` finds a node's kernel; the kernels are pure functions over slices, one file an operation family, generic
//! over storage and arithmetic. No kernel's result depends on the number of threads.

mod batch_norm;
mod classifier;
mod conv2d;
mod conv2d_weight_grad;
mod element;
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

use bytemuck::Pod;
use half::bf16;

use self::element::{Element, Real};
use self::memory::Buffer;
use self::views::{State, Views};
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
                        let [w, v, g] = state.trained::<T::Acc>(p);
                        sgd::step(sgd, inputs.learning_rate, sgd.decay(parameter.kind), w, v, g);
                    }
                }
                _ => {
                    execute::execute::<T>(&plan.graph, node, &mut Views::new(plan, n, node, workspace, state))
                }
            }
        }
    }
}

fn expect_length(what: &str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::device(format!("{what} has {want} elements, got {got}")))
}

fn narrow<T: Element>(bytes: &mut [u8], data: &[f64]) {
    let out: &mut [T] = bytemuck::cast_slice_mut(bytes);
    out.iter_mut().zip(data).for_each(|(o, x)| *o = T::store(T::Acc::from_f64(*x)));
}

fn widen<T: Element>(bytes: &[u8]) -> Vec<f64> {
    bytemuck::cast_slice::<u8, T>(bytes).iter().map(|x| x.load().to_f64()).collect()
}

fn convert<T: Pod>(bytes: &mut [u8], data: &[f64], f: impl Fn(f64) -> T) {
    bytemuck::cast_slice_mut::<u8, T>(bytes).iter_mut().zip(data).for_each(|(o, x)| *o = f(*x));
}

fn write_as(bytes: &mut [u8], dtype: DType, data: &[f64]) {
    match dtype {
        DType::F64 => narrow::<f64>(bytes, data),
        DType::F32 => narrow::<f32>(bytes, data),
        DType::Bf16 => narrow::<bf16>(bytes, data),
        DType::I32 => convert(bytes, data, |x| x as i32),
        DType::U8 => {
            bytes.fill(0);
            for (i, _) in data.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                bytes[i / 8] |= 1 << (i % 8);
            }
        }
    }
}

fn read_as(bytes: &[u8], dtype: DType, elements: usize) -> Vec<f64> {
    match dtype {
        DType::F64 => widen::<f64>(bytes),
        DType::F32 => widen::<f32>(bytes),
        DType::Bf16 => widen::<bf16>(bytes),
        DType::I32 => bytemuck::cast_slice::<u8, i32>(bytes).iter().map(|x| f64::from(*x)).collect(),
        DType::U8 => (0..elements).map(|i| f64::from(bytes[i / 8] >> (i % 8) & 1)).collect(),
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
        write_as(bytes, dtype, data);
        Ok(())
    }

    fn read(&mut self, id: PlanId, value: ValueId) -> Result<Vec<f64>> {
        let (bytes, dtype, _, elements) = self.bytes(id, value);
        Ok(read_as(bytes, dtype, elements))
    }

    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> Result<()> {
        let dtype = self.precision.master();
        let bytes = self.state.tensor::<u8>(region, index);
        expect_length("the tensor", data.len(), bytes.len() / dtype.size())?;
        write_as(bytes, dtype, data);
        Ok(())
    }

    fn read_state(&mut self, region: Region, index: usize) -> Result<Vec<f64>> {
        let dtype = self.precision.master();
        Ok(read_as(self.state.tensor::<u8>(region, index), dtype, 0))
    }

    fn poison(&mut self, id: PlanId) {
        // All bits set is NaN in every floating-point type.
        self.loaded(id).1.bytes_mut().fill(0xFF);
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
