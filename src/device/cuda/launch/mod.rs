//! From a node to its launches: plain data, the same for a card and for the emulator.
//!
//! One file a family of kernels, by the names of `kernels/`. Each fills the structure of parameters that its kernel
//! declares, chooses grid and block, and lists the tensors that the kernel may touch, so that the emulator can hold it
//! to them.

pub mod batch_norm;
pub mod batch_stats;
pub mod classifier;
pub mod conv2d;
pub mod elementwise;
pub mod join;
pub mod mma;
pub mod optimise;
pub mod pass;
pub mod rates;
pub mod shortcut;
pub mod step;
pub mod tensor_map;
pub mod tiling;
pub mod two_stream;
mod weights;
pub mod wgmma;

use std::borrow::Cow;
use std::slice;

use bytemuck::{NoUninit, Pod, Zeroable};

use self::tensor_map::{MapBytes, TensorMap};
use super::{Choice, Choices};
use crate::error::Result;
use crate::graph::{DType, Graph, Node, Placement, Plan, Region, Shape, ValueId};
use crate::ops::Op;

/// Threads of a block, where nothing asks for another number.
pub const THREADS: [u32; 3] = [256, 1, 1];

/// Blocks of a one-dimensional grid at most: every card's multiprocessors many times over. Threads take further elements
/// in turns.
const MOST_BLOCKS: u64 = 1 << 15;

/// A one-dimensional grid of blocks of [`THREADS`] over `elements`.
pub fn spread(elements: u64) -> [u32; 3] {
    let blocks = elements.div_ceil(THREADS[0].into()).clamp(1, MOST_BLOCKS);
    [blocks as u32, 1, 1]
}

/// An address in the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Pod, Zeroable)]
#[repr(transparent)]
pub struct Address(pub u64);

impl Address {
    /// `bytes` further on.
    pub fn offset(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}

/// A tensor in the device's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    /// Its first byte.
    pub address: Address,
    /// Its length.
    pub bytes: usize,
}

/// A tensor that a launch touches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Touched {
    /// The tensor.
    pub view: View,
    /// Whether it may be written.
    pub writable: bool,
}

/// One launch of a kernel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Launch {
    /// The kernel's exported name, such as `conv2d_tiled_bf16`.
    pub kernel: String,
    /// Blocks, x y z.
    pub grid: [u32; 3],
    /// Threads of a block, x y z.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory of a block.
    pub dynamic_shared: u32,
    /// The kernel's one argument, byte for byte.
    pub params: Vec<u8>,
    /// The tensor maps in it, by their byte offsets: the driver writes each there when it launches.
    pub maps: Vec<(usize, TensorMap)>,
    /// All that it may touch in global memory.
    pub tensors: Vec<Touched>,
    /// The node it belongs to, for people: `group1.block1.layer1: conv2d`.
    pub node: String,
}

impl Launch {
    /// A launch that has no parameters yet.
    pub fn new(kernel: impl Into<String>) -> Self {
        Self {
            kernel: kernel.into(),
            grid: [1; 3],
            block: [1; 3],
            dynamic_shared: 0,
            params: Vec::new(),
            maps: Vec::new(),
            tensors: Vec::new(),
            node: String::new(),
        }
    }
    /// The address of a tensor that the kernel reads.
    pub fn reads(&mut self, view: View) -> Address {
        self.tensors.push(Touched { view, writable: false });
        view.address
    }
    /// [`Launch::reads`] where there is such a tensor; else null.
    pub fn may_read(&mut self, view: Option<View>) -> Address {
        view.map_or(Address(0), |view| self.reads(view))
    }
    /// The address of a tensor that the kernel writes (and may read).
    pub fn writes(&mut self, view: View) -> Address {
        self.tensors.push(Touched { view, writable: true });
        view.address
    }
    /// [`Launch::writes`] where there is such a tensor; else null.
    pub fn may_write(&mut self, view: Option<View>) -> Address {
        view.map_or(Address(0), |view| self.writes(view))
    }
    /// Blocks and threads.
    pub fn over(mut self, grid: [u32; 3], block: [u32; 3]) -> Self {
        (self.grid, self.block) = (grid, block);
        self
    }
    /// The kernel's parameters, laid out as it declares them.
    pub fn with(mut self, params: &impl NoUninit) -> Self {
        self.params = bytemuck::bytes_of(params).to_vec();
        self
    }
    /// [`Launch::with`] parameters that hold tensor maps, each at the offset of its [`MapBytes`].
    ///
    /// # Panics
    /// As [`Launch::map`].
    pub fn with_maps(mut self, params: &impl NoUninit, maps: &[(usize, TensorMap)]) -> Self {
        self = self.with(params);
        maps.iter().for_each(|(offset, map)| self.map(*offset, map.clone()));
        self
    }
    /// Puts a tensor map at `offset` of the parameters. Its tensor is still to be listed as read or written.
    ///
    /// # Panics
    /// If no [`MapBytes`] can be there, or the map is not sound.
    pub fn map(&mut self, offset: usize, map: TensorMap) {
        let fits = offset + size_of::<MapBytes>() <= self.params.len();
        assert!(fits && offset.is_multiple_of(align_of::<MapBytes>()), "{}: a map at {offset}", self.kernel);
        map.assert_sound();
        self.maps.push((offset, map));
    }
    /// The parameters, with every map in them as `encode` gives it.
    ///
    /// # Errors
    /// The first of `encode`.
    pub fn encoded(&self, mut encode: impl FnMut(&TensorMap) -> Result<MapBytes>) -> Result<Cow<'_, [u8]>> {
        let mut params = Cow::Borrowed(self.params.as_slice());
        for (offset, map) in &self.maps {
            let bytes = encode(map)?.0;
            params.to_mut()[*offset..][..bytes.len()].copy_from_slice(&bytes);
        }
        Ok(params)
    }
}

/// Where the State and a plan's workspace lie.
#[derive(Debug, Clone)]
pub struct Memory {
    /// Parameters, momentum, gradients, running statistics: each region's first byte.
    pub regions: [Address; 5],
    /// Byte offsets of every parameter in its region.
    pub parameters: Vec<usize>,
    /// Byte offsets of every running statistic in its region.
    pub running: Vec<usize>,
    /// The workspace's first byte.
    pub workspace: Address,
    /// What the host writes before every step: [`step::StepInputs`].
    pub step: Address,
    /// What the card keeps between steps: [`step::StepState`].
    pub state: Address,
}

impl Memory {
    /// Addresses for launches that are looked at and never made: every region and the workspace far from each other.
    fn nowhere(plan: &Plan) -> Self {
        const APART: u64 = 1 << 48;
        let state = &plan.graph.state;
        Self {
            regions: [1, 2, 3, 4, 8].map(|region| Address(region * APART)),
            parameters: state.parameter_offsets(DType::F32).0,
            running: state.running_offsets(DType::F32).0,
            workspace: Address(5 * APART),
            step: Address(6 * APART),
            state: Address(7 * APART),
        }
    }
    /// What changes from step to step.
    pub fn inputs(&self) -> View {
        View { address: self.step, bytes: size_of::<step::StepInputs>() }
    }
    /// Whether the State may still change.
    pub fn flag(&self) -> View {
        View { address: self.state, bytes: size_of::<step::StepState>() }
    }
    /// A tensor of the State.
    pub fn state(&self, region: Region, tensor: usize, bytes: usize) -> View {
        let (base, offset) = match region {
            Region::Parameters => (self.regions[0], self.parameters[tensor]),
            Region::Momentum => (self.regions[1], self.parameters[tensor]),
            Region::Gradients => (self.regions[2], self.parameters[tensor]),
            Region::Running => (self.regions[3], self.running[tensor]),
            Region::Slow => (self.regions[4], self.parameters[tensor]),
        };
        View { address: base.offset(offset), bytes }
    }
    /// A value of a plan.
    pub fn value(&self, plan: &Plan, v: ValueId) -> View {
        let bytes = plan.graph.value(v).bytes();
        match plan.placements[v.0] {
            Placement::Workspace(offset) => View { address: self.workspace.offset(offset), bytes },
            Placement::State(region, tensor) => self.state(region, tensor, bytes),
        }
    }
}

/// A node to be launched, with all that its launch code asks about it.
#[derive(Clone, Copy)]
pub struct Site<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The node's index in it.
    pub n: usize,
    /// Where its tensors lie.
    pub memory: &'a Memory,
    /// How kernels are chosen.
    pub choices: &'a Choices,
    /// The optimiser's table; see [`optimise::sgd_table`].
    pub table: View,
}

impl<'a> Site<'a> {
    /// The plan's graph.
    pub fn graph(&self) -> &'a Graph {
        &self.plan.graph
    }
    /// The node.
    pub fn node(&self) -> &'a Node {
        &self.plan.graph.nodes[self.n]
    }
    /// Input `i`.
    pub fn input(&self, i: usize) -> View {
        self.memory.value(self.plan, self.node().inputs[i])
    }
    /// Input `i`, if the node has so many.
    pub fn maybe_input(&self, i: usize) -> Option<View> {
        self.node().inputs.get(i).map(|&v| self.memory.value(self.plan, v))
    }
    /// Output `i`.
    pub fn output(&self, i: usize) -> View {
        self.memory.value(self.plan, self.node().outputs[i])
    }
    /// Output `i`, if the node has so many.
    pub fn maybe_output(&self, i: usize) -> Option<View> {
        self.node().outputs.get(i).map(|&v| self.memory.value(self.plan, v))
    }
    /// Extents N H W C of input `i`; a matrix counts as rows of one pixel.
    pub fn input_image(&self, i: usize) -> [u32; 4] {
        image(self.graph(), self.node().inputs[i])
    }
    /// Extents N H W C of output `i`; a matrix counts as rows of one pixel.
    pub fn output_image(&self, i: usize) -> [u32; 4] {
        image(self.graph(), self.node().outputs[i])
    }
    /// Elements of output `i`.
    pub fn output_elements(&self, i: usize) -> u64 {
        self.graph().shape(self.node().outputs[i]).elements() as u64
    }
    /// Elements of input `i` over its channels.
    pub fn input_rows(&self, i: usize) -> usize {
        self.graph().shape(self.node().inputs[i]).rows()
    }
    /// Storage type of input `i`.
    pub fn input_dtype(&self, i: usize) -> DType {
        self.graph().value(self.node().inputs[i]).dtype
    }
    /// Storage type of output `i`.
    pub fn output_dtype(&self, i: usize) -> DType {
        self.graph().value(self.node().outputs[i]).dtype
    }
    /// What is chosen for the node.
    pub fn choice(&self) -> Choice {
        let inputs: Vec<&Shape> = self.node().inputs.iter().map(|&v| self.graph().shape(v)).collect();
        self.choices.of(&self.node().op, &inputs, self.input_dtype(0))
    }
    /// For people: `group1.block1.layer1: conv2d`.
    pub fn describe(&self) -> String {
        format!("{}: {}", self.node().layer, self.node().op.operation().name())
    }
    /// The node's scratch; of no length where it has none.
    pub fn scratch(&self) -> View {
        let address = self.memory.workspace.offset(self.plan.scratch[self.n]);
        View { address, bytes: self.plan.scratch_bytes[self.n] }
    }
}

fn image(graph: &Graph, v: ValueId) -> [u32; 4] {
    let shape = graph.shape(v);
    let [n, h, w, c] = shape.dims4().unwrap_or([shape.rows(), 1, 1, shape.channels()]);
    [n, h, w, c].map(extent)
}

/// An extent as kernels take it: they index in 64 bits and count in 32.
pub fn extent(n: usize) -> u32 {
    u32::try_from(n).expect("no extent of an image batch reaches 2^32")
}

/// The suffix of a kernel's name for a storage type.
pub fn suffix(dtype: DType) -> &'static str {
    match dtype {
        DType::Bf16 => "bf16",
        DType::F32 => "f32",
        DType::F64 | DType::I32 | DType::U8 => unreachable!("no activation is stored as {dtype} on a card"),
    }
}

/// The launches of a node, in order.
///
/// # Errors
/// If no kernel takes the node; names it.
pub fn launches(site: &Site<'_>) -> Result<Vec<Launch>> {
    let mut launches = match &site.node().op {
        Op::Conv2d(_) => conv2d::conv2d(site),
        Op::Conv2dDataGrad(_) => conv2d::conv2d_data_grad(site),
        Op::Conv2dWeightGrad(_) => conv2d::conv2d_weight_grad(site),
        Op::BatchStats(_) => batch_stats::batch_stats(site),
        Op::BatchNorm(_) => vec![batch_norm::batch_norm(site)],
        Op::BatchNormReduce(_) => batch_norm::reduce(site),
        Op::BatchNormBackward(_) => vec![batch_norm::backward(site)],
        Op::UpdateRunning(_) => vec![optimise::update_running(slice::from_ref(site))],
        Op::FoldBatchNorm(_) => vec![batch_norm::fold(site)],
        Op::ScaleShift(_) => vec![batch_norm::scale_shift(site)],
        Op::TwoStreamUpdate(op) => vec![two_stream::update(site, op)],
        Op::TwoStreamReduce(_) => two_stream::reduce(site),
        Op::TwoStreamBackward(op) => vec![two_stream::backward(site, op)],
        Op::Shortcut(op) => vec![shortcut::shortcut(site, op)],
        Op::ShortcutBackward(op) => vec![shortcut::shortcut_backward(site, &op.shortcut)],
        Op::Relu(_) => vec![elementwise::relu(site)],
        Op::ReluBackward(op) => vec![elementwise::relu_backward(site, op)],
        Op::Add(_) => vec![elementwise::add(site)?],
        Op::GlobalAvgPool(_) => vec![classifier::pool(site)],
        Op::GlobalAvgPoolBackward(_) => vec![classifier::pool_backward(site)],
        Op::Linear(_) | Op::LinearDataGrad(_) | Op::LinearWeightGrad(_) | Op::BiasGrad(_) => {
            vec![classifier::linear(site)]
        }
        Op::SoftmaxCrossEntropy(op) => vec![classifier::loss(site, op.smoothing)],
        Op::SoftmaxCrossEntropyBackward(op) => vec![classifier::loss_backward(site, op.smoothing)],
        Op::Reshape(_) | Op::Cast(_) => vec![elementwise::cast(slice::from_ref(site))],
        Op::ShadowWeights(op) => weights::shadow_weights(site, op),
        Op::Fill(op) => vec![elementwise::fill(site, op)],
        Op::Sgd(op) => optimise::sgd(site, op).into_iter().collect(),
    };
    launches.iter_mut().for_each(|launch| launch.node = site.describe());
    Ok(launches)
}

/// The launches of every node of a plan, in the plan's order; those of small neighbours are the first one's.
///
/// # Errors
/// As [`launches`].
pub fn of_plan(plan: &Plan, memory: &Memory, choices: &Choices, table: View) -> Result<Vec<Vec<Launch>>> {
    let site = |n| Site { plan, n, memory, choices, table };
    let sites: Vec<Site<'_>> = (0..plan.graph.nodes.len()).map(site).collect();
    let mut launches = sites.iter().map(launches).collect::<Result<Vec<_>>>()?;
    join::join(&sites, &mut launches);
    Ok(launches)
}

/// How many launches each node of a plan is, in the plan's order; not in f64, which no kernel computes in.
///
/// # Errors
/// As [`launches`].
pub fn count(plan: &Plan, choices: &Choices) -> Result<Vec<usize>> {
    let table = View { address: Address::default(), bytes: 0 };
    Ok(of_plan(plan, &Memory::nowhere(plan), choices, table)?.iter().map(Vec::len).collect())
}

/// Bytes that a node's kernels need while they run, whatever form they take.
pub fn scratch(graph: &Graph, node: &Node) -> usize {
    match &node.op {
        Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_) => conv2d::scratch(graph, node),
        Op::BatchStats(_) => batch_stats::scratch(graph, node),
        Op::BatchNormReduce(_) => batch_norm::partials_bytes(graph, node, 2),
        Op::TwoStreamReduce(op) => batch_norm::partials_bytes(graph, node, if op.projected { 3 } else { 2 }),
        _ => 0,
    }
}
