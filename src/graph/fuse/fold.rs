//! The rewrite that puts E into the weights as convolutions read them.

use std::collections::BTreeMap;

use crate::error::Result;
use crate::graph::{Graph, Node, Role, Source, Value, ValueId};
use crate::ops::{Cast, Op, ShadowWeights};

/// A weight as convolutions read it: the parameter it is made of, the value they read, and the channels of E in it.
struct Shadow {
    parameter: ValueId,
    read: ValueId,
    identity: usize,
}

/// The weights of layers with E to one operation that adds it to them, so that the convolutions add none.
pub(super) fn identity(graph: &mut Graph) -> Result<()> {
    let mut shadows: Vec<Shadow> = Vec::new();
    for (w, identity) in foldable(graph) {
        let shadow = match cast_parameter(graph, w) {
            Some((cast, parameter)) => {
                graph.nodes[cast].outputs.clear(); // its output has a new writer: the node is dead
                Shadow { parameter, read: w, identity }
            }
            None => Shadow { parameter: w, read: beside(graph, w), identity },
        };
        for node in graph.nodes.iter_mut().filter(|n| identity_of(n).is_some() && n.inputs[1] == w) {
            node.inputs[1] = shadow.read;
            match &mut node.op {
                Op::Conv2d(op) => op.identity = 0,
                Op::Conv2dDataGrad(op) => op.conv.identity = 0,
                _ => {}
            }
        }
        shadows.push(shadow);
    }
    if shadows.is_empty() {
        return Ok(());
    }
    shadows.sort_by_key(|s| s.parameter);
    let op = ShadowWeights { identities: shadows.iter().map(|s| s.identity).collect() };
    let inputs: Vec<ValueId> = shadows.iter().map(|s| s.parameter).collect();
    graph.enter("weights");
    graph.push(op.into(), &inputs)?;
    // Parameters are there from the start, and the first convolution reads the first of them.
    if let Some(node) = graph.nodes.pop() {
        graph.nodes.insert(0, Node { outputs: shadows.iter().map(|s| s.read).collect(), ..node });
    }
    graph.number_sources();
    Ok(())
}

/// The node that casts a parameter to `v`, and that parameter.
fn cast_parameter(graph: &Graph, v: ValueId) -> Option<(usize, ValueId)> {
    let Source::Node { node, .. } = graph.value(v).source else { return None };
    let Node { op: Op::Cast(Cast { to: Role::Activation, .. }), inputs, .. } = &graph.nodes[node] else {
        return None;
    };
    matches!(graph.value(inputs[0]).source, Source::Parameter(_)).then_some((node, inputs[0]))
}

/// Channels of E of a convolution that could find them in its weights.
fn identity_of(node: &Node) -> Option<usize> {
    match &node.op {
        Op::Conv2d(op) => Some(op.identity),
        Op::Conv2dDataGrad(op) => Some(op.conv.identity),
        _ => None,
    }
}

/// The weights that every convolution reads with the same E, and their channels of E.
fn foldable(graph: &Graph) -> BTreeMap<ValueId, usize> {
    let mut identities: BTreeMap<ValueId, Option<usize>> = BTreeMap::new();
    for node in &graph.nodes {
        let identity = identity_of(node);
        for (i, &v) in node.inputs.iter().enumerate() {
            let here = identity.filter(|_| i == 1);
            identities.entry(v).and_modify(|other| *other = other.filter(|_| *other == here)).or_insert(here);
        }
    }
    let is_weight = |v: ValueId| {
        matches!(graph.value(v).source, Source::Parameter(_)) || cast_parameter(graph, v).is_some()
    };
    let found = identities.into_iter().filter_map(|(v, identity)| Some((v, identity?)));
    found.filter(|&(v, identity)| identity > 0 && is_weight(v)).collect()
}

/// A new value of a parameter's extents, stored as the parameter is.
fn beside(graph: &mut Graph, parameter: ValueId) -> ValueId {
    let value = graph.value(parameter);
    let name = format!("{}.shadow", value.name);
    // Its source follows once the node that writes it has its place.
    let value = Value { role: Role::Activation, name, ..value.clone() };
    graph.values.push(value);
    ValueId(graph.values.len() - 1)
}

impl Graph {
    /// Tells every value anew which node writes it, after nodes have moved.
    fn number_sources(&mut self) {
        for (node, n) in self.nodes.iter().enumerate() {
            for (output, v) in n.outputs.iter().enumerate() {
                self.values[v.0].source = Source::Node { node, output };
            }
        }
    }
}
