//! The graph: nodes in topological order, each an operation with its inputs, inferred shape and storage type.
//!
//! ```text
//! build ──> differentiate ──> lower ──> fuse ──> plan ──> a device runs it
//! ```
//!
//! Every stage is a pure function from plain data to plain data: testable without any device, and printable.

mod build;
pub mod differentiate;
pub mod display;
pub mod dot;
pub mod fuse;
pub mod lower;
pub mod plan;
pub mod state;
pub mod value;

pub use differentiate::differentiate;
pub use fuse::{Fusions, fuse};
pub use lower::lower;
pub use plan::{Placement, Plan, plan};
pub use state::{Parameter, ParameterKind, Region, Running, StateLayout};
pub use value::{DType, Precision, Role, Shape, Source, Value, ValueId};

use crate::error::{Error, Result};
use crate::ops::{Cost, Op};

/// The part of a training step that a node belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Segment {
    /// Forward and backward: from a batch to the gradients.
    Gradients,
    /// Between the gradients and their use: empty on one card, where many would all-reduce.
    Reduce,
    /// Changes the State: weights, momentum, running statistics.
    Update,
}

impl Segment {
    /// All, in the order in which a step runs them.
    pub const ALL: [Segment; 3] = [Segment::Gradients, Segment::Reduce, Segment::Update];
}

/// An operation applied to values.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    /// What it does.
    pub op: Op,
    /// What it reads, in the operation's order.
    pub inputs: Vec<ValueId>,
    /// What it writes, in the operation's order.
    pub outputs: Vec<ValueId>,
    /// For people: the layer it belongs to, such as `group1.block1.layer1`.
    pub layer: String,
    /// The part of the step.
    pub segment: Segment,
}

/// A network, or its training step, as plain data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Graph {
    /// Every tensor.
    pub values: Vec<Value>,
    /// Every operation, in topological order.
    pub nodes: Vec<Node>,
    /// The State that the graph reads and writes.
    pub state: StateLayout,
    /// Values that somebody reads after the run, by name: `logits`, `loss`, `activation.stem`, ...
    pub results: Vec<(String, ValueId)>,
    /// The gradient of each parameter, once differentiated; placed in the State.
    pub gradients: Vec<ValueId>,
    /// The layer that nodes now added belong to.
    layer: String,
}

impl Graph {
    /// An empty graph.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of an id.
    pub fn value(&self, id: ValueId) -> &Value {
        &self.values[id.0]
    }
    /// Shorthand for a value's extents.
    pub fn shape(&self, id: ValueId) -> &Shape {
        &self.values[id.0].shape
    }
    /// The node that writes `id`, if any does.
    pub fn producer(&self, id: ValueId) -> Option<&Node> {
        match self.value(id).source {
            Source::Node { node, .. } => Some(&self.nodes[node]),
            _ => None,
        }
    }
    /// The result called `name`.
    pub fn result(&self, name: &str) -> Option<ValueId> {
        self.results.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
    }
    /// Keeps `value` readable after a run, under `name`.
    pub fn keep(&mut self, name: impl Into<String>, value: ValueId) {
        self.results.push((name.into(), value));
    }
    /// Nodes added from here on belong to `layer`.
    pub fn enter(&mut self, layer: impl Into<String>) {
        self.layer = layer.into();
    }
    /// The batch size: the first extent of the images.
    pub fn batch(&self) -> usize {
        self.values.iter().find(|v| v.source == Source::Images).map_or(0, |v| v.shape.0[0])
    }

    /// Adds an operation, infers its outputs' shapes, and returns them.
    ///
    /// # Errors
    /// Inputs whose number or shape the operation cannot take; the sentence names layer, operation and shapes.
    pub fn push(&mut self, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        self.push_in(Segment::Gradients, op, inputs)
    }

    /// [`Graph::push`] into a given segment.
    ///
    /// # Errors
    /// As [`Graph::push`].
    pub fn push_in(&mut self, segment: Segment, op: Op, inputs: &[ValueId]) -> Result<Vec<ValueId>> {
        let operation = op.operation();
        let arguments: Vec<&Value> = inputs.iter().map(|&id| self.value(id)).collect();
        let inferred = operation.infer(&arguments).map_err(|e| {
            let shapes: Vec<String> = arguments.iter().map(|v| v.shape.to_string()).collect();
            e.at(format!("{}: {} of {}", self.layer, operation.name(), shapes.join(", ")))
        })?;
        let node = self.nodes.len();
        let name = format!("{}.{}", self.layer, operation.name());
        let outputs = inferred
            .into_iter()
            .enumerate()
            .map(|(output, (shape, role))| {
                self.add_value(shape, role, Source::Node { node, output }, name.clone())
            })
            .collect::<Vec<_>>();
        let layer = self.layer.clone();
        self.nodes.push(Node { op, inputs: inputs.to_vec(), outputs: outputs.clone(), layer, segment });
        Ok(outputs)
    }

    /// Adds an operation with one output and returns that.
    pub(crate) fn push1(&mut self, op: Op, inputs: &[ValueId]) -> Result<ValueId> {
        let outputs = self.push(op, inputs)?;
        debug_assert_eq!(outputs.len(), 1);
        Ok(outputs[0])
    }

    fn add_value(&mut self, shape: Shape, role: Role, source: Source, name: String) -> ValueId {
        let dtype = Precision::F32.dtype(role);
        self.values.push(Value { shape, dtype, role, source, name });
        ValueId(self.values.len() - 1)
    }

    /// Floating-point operations and compulsory bytes of one node.
    pub fn cost(&self, node: &Node) -> Cost {
        let inputs: Vec<&Value> = node.inputs.iter().map(|&v| self.value(v)).collect();
        let outputs: Vec<&Value> = node.outputs.iter().map(|&v| self.value(v)).collect();
        let operation = node.op.operation();
        Cost { flops: operation.flops(&inputs, &outputs), bytes: operation.bytes(&inputs, &outputs) }
    }

    /// How many nodes read each value, results and gradients counted as one reader each.
    pub fn readers(&self) -> Vec<usize> {
        let mut readers = vec![0; self.values.len()];
        for v in self.nodes.iter().flat_map(|n| &n.inputs) {
            readers[v.0] += 1;
        }
        for v in self.results.iter().map(|(_, v)| v).chain(&self.gradients) {
            readers[v.0] += 1;
        }
        readers
    }

    /// The same graph without nodes whose outputs nobody reads and that change no State, and without their values.
    pub(crate) fn without_dead_nodes(self) -> Graph {
        let mut live = vec![false; self.values.len()];
        for v in self.results.iter().map(|(_, v)| v).chain(&self.gradients) {
            live[v.0] = true;
        }
        let mut keep = vec![false; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate().rev() {
            keep[i] = node.segment == Segment::Update || node.outputs.iter().any(|v| live[v.0]);
            if keep[i] {
                node.inputs.iter().for_each(|v| live[v.0] = true);
            }
        }
        let mut graph = Graph { state: self.state, layer: self.layer, ..Graph::default() };
        let mut renamed = vec![None; self.values.len()];
        let mut rename = |graph: &mut Graph, id: ValueId, source: Source| {
            *renamed[id.0].get_or_insert_with(|| {
                graph.values.push(Value { source, ..self.values[id.0].clone() });
                ValueId(graph.values.len() - 1)
            })
        };
        // Inputs and State keep their place even when unread: their ids are what callers hold.
        for (i, value) in self.values.iter().enumerate() {
            if !matches!(value.source, Source::Node { .. }) {
                rename(&mut graph, ValueId(i), value.source);
            }
        }
        for node in self.nodes.into_iter().zip(keep).filter_map(|(node, keep)| keep.then_some(node)) {
            let place = graph.nodes.len();
            let inputs =
                node.inputs.iter().map(|&v| rename(&mut graph, v, self.values[v.0].source)).collect();
            let outputs = (node.outputs.iter().enumerate())
                .map(|(output, &v)| rename(&mut graph, v, Source::Node { node: place, output }))
                .collect();
            graph.nodes.push(Node { inputs, outputs, ..node });
        }
        graph.results = (self.results.into_iter())
            .map(|(name, v)| (name, rename(&mut graph, v, self.values[v.0].source)))
            .collect();
        graph.gradients =
            self.gradients.into_iter().map(|v| rename(&mut graph, v, self.values[v.0].source)).collect();
        graph
    }
}

/// An error for a shape that an operation cannot take.
pub(crate) fn shape_error(message: impl Into<String>) -> Error {
    Error::model(message)
}
