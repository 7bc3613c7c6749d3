//! The tensors that one node touches, as typed slices.

use std::collections::HashMap;

use bytemuck::Pod;

use super::memory::{Buffer, disjoint};
use crate::graph::{DType, Node, Placement, Plan, Region, StateLayout, ValueId};

/// The State's regions in memory, and where their tensors lie.
pub struct State {
    /// By [`index`].
    regions: [Buffer; REGIONS],
    /// Byte offset of every parameter, and of every running statistic.
    offsets: [Vec<usize>; 2],
    /// Bytes of every parameter, and of every running statistic.
    lengths: [Vec<usize>; 2],
}

const REGIONS: usize = 5;

fn index(region: Region) -> usize {
    match region {
        Region::Parameters => 0,
        Region::Momentum => 1,
        Region::Gradients => 2,
        Region::Running => 3,
        Region::Slow => 4,
    }
}

impl State {
    /// Zeroed; `None` if the machine does not have the memory.
    pub fn new(layout: &StateLayout, master: DType) -> Option<Self> {
        let (parameters, parameter_bytes) = layout.parameter_offsets(master);
        let (running, running_bytes) = layout.running_offsets(master);
        let parameter = || Buffer::new(parameter_bytes);
        let size = master.size();
        Some(Self {
            regions: [parameter()?, parameter()?, parameter()?, Buffer::new(running_bytes)?, parameter()?],
            offsets: [parameters, running],
            lengths: [
                layout.parameters.iter().map(|p| p.shape.elements() * size).collect(),
                layout.running.iter().map(|r| r.channels * size).collect(),
            ],
        })
    }

    /// (offset, length) in bytes of a tensor in its region.
    fn range(&self, region: Region, tensor: usize) -> (usize, usize) {
        let kind = usize::from(region == Region::Running);
        (self.offsets[kind][tensor], self.lengths[kind][tensor])
    }

    /// A tensor.
    pub fn tensor<T: Pod>(&mut self, region: Region, tensor: usize) -> &mut [T] {
        let (offset, length) = self.range(region, tensor);
        bytemuck::cast_slice_mut(&mut self.regions[index(region)].bytes_mut()[offset..offset + length])
    }

    /// A parameter with its momentum, gradient and slow weights.
    pub fn trained<T: Pod>(&mut self, parameter: usize) -> [&mut [T]; 4] {
        let (offset, length) = self.range(Region::Parameters, parameter);
        let [parameters, momentum, gradients, _, slow] = &mut self.regions;
        [parameters, momentum, gradients, slow]
            .map(|region| bytemuck::cast_slice_mut(&mut region.bytes_mut()[offset..offset + length]))
    }
}

/// Disjoint views of a node's values and scratch.
pub struct Views<'a> {
    bytes: HashMap<ValueId, &'a mut [u8]>,
    scratch: Option<&'a mut [u8]>,
}

impl<'a> Views<'a> {
    /// Finds every value that node `n` of the plan reads or writes.
    pub fn new(plan: &Plan, n: usize, node: &Node, workspace: &'a mut Buffer, state: &'a mut State) -> Self {
        let values: Vec<ValueId> = node.inputs.iter().chain(&node.outputs).copied().collect();
        // Of every region, and of the workspace.
        let mut ids: [Vec<ValueId>; REGIONS + 1] = Default::default();
        let mut ranges: [Vec<(usize, usize)>; REGIONS + 1] = Default::default();
        for &v in &values {
            let (place, range) = match plan.placements[v.0] {
                Placement::Workspace(offset) => (REGIONS, (offset, plan.graph.value(v).bytes())),
                Placement::State(region, tensor) => (index(region), state.range(region, tensor)),
            };
            if !ids[place].contains(&v) {
                ids[place].push(v);
                ranges[place].push(range);
            }
        }
        if plan.scratch_bytes[n] > 0 {
            ranges[REGIONS].push((plan.scratch[n], plan.scratch_bytes[n]));
        }
        let mut bytes = HashMap::with_capacity(values.len());
        let mut scratch = None;
        for ((buffer, ids), ranges) in state.regions.iter_mut().chain([workspace]).zip(ids).zip(ranges) {
            let mut views = disjoint(buffer.bytes_mut(), &ranges);
            if views.len() > ids.len() {
                scratch = views.pop();
            }
            bytes.extend(ids.into_iter().zip(views));
        }
        Self { bytes, scratch }
    }

    /// An output, or a State tensor that is changed. Each can be taken once, before inputs are read.
    pub fn take<T: Pod>(&mut self, v: ValueId) -> &'a mut [T] {
        self.bytes.remove(&v).map(bytemuck::cast_slice_mut).unwrap_or_default()
    }

    /// An input.
    pub fn read<T: Pod>(&self, v: ValueId) -> &[T] {
        self.bytes.get(&v).map(|bytes| bytemuck::cast_slice(bytes)).unwrap_or_default()
    }

    /// The node's scratch.
    pub fn scratch<T: Pod>(&mut self) -> &'a mut [T] {
        self.scratch.take().map(bytemuck::cast_slice_mut).unwrap_or_default()
    }
}
