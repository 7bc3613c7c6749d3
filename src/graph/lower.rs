//! Lowering to a precision: every value gets its storage type, and casts appear where types meet.

use std::collections::HashMap;

use super::{Graph, Node, Precision, Source, Value, ValueId};
use crate::error::Result;
use crate::ops::Cast;

/// The same computation in the arithmetic of `precision`.
///
/// A value that is read in another role than it is stored in is cast once, before its first such reader: under bf16
/// these are the images and the shadow weights of the convolutions.
///
/// # Errors
/// As [`Graph::push`].
pub fn lower(graph: &Graph, precision: Precision) -> Result<Graph> {
    let mut lowered = Graph { state: graph.state.clone(), ..Graph::default() };
    let mut renamed: Vec<Option<ValueId>> = vec![None; graph.values.len()];
    for (i, value) in graph.values.iter().enumerate() {
        if !matches!(value.source, Source::Node { .. }) {
            renamed[i] = Some(push_value(&mut lowered, value.clone(), precision));
        }
    }
    let mut casts: HashMap<(ValueId, super::DType), ValueId> = HashMap::new();
    for node in &graph.nodes {
        let arguments: Vec<&Value> = node.inputs.iter().map(|&v| graph.value(v)).collect();
        let roles = node.op.operation().input_roles(&arguments);
        lowered.enter(node.layer.clone());
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (&input, role) in node.inputs.iter().zip(roles) {
            let stored = renamed[input.0].expect("nodes are in topological order");
            let want = precision.dtype(role);
            let read = if lowered.value(stored).dtype == want {
                stored
            } else if let Some(&cast) = casts.get(&(stored, want)) {
                cast
            } else {
                let from = lowered.value(stored).role;
                let name = format!("{}.{want}", lowered.value(stored).name);
                let cast = lowered.push1(Cast { from, to: role }.into(), &[stored])?;
                lowered.values[cast.0].dtype = want;
                lowered.values[cast.0].name = name;
                *casts.entry((stored, want)).or_insert(cast)
            };
            inputs.push(read);
        }
        let place = lowered.nodes.len();
        let outputs = (node.outputs.iter().enumerate())
            .map(|(output, &v)| {
                let value = Value { source: Source::Node { node: place, output }, ..graph.value(v).clone() };
                *renamed[v.0].insert(push_value(&mut lowered, value, precision))
            })
            .collect();
        lowered.nodes.push(Node { inputs, outputs, ..node.clone() });
    }
    let rename = |v: &ValueId| renamed[v.0].expect("every value is carried over");
    lowered.results = graph.results.iter().map(|(name, v)| (name.clone(), rename(v))).collect();
    lowered.gradients = graph.gradients.iter().map(rename).collect();
    Ok(lowered)
}

fn push_value(graph: &mut Graph, value: Value, precision: Precision) -> ValueId {
    let dtype = precision.dtype(value.role);
    graph.values.push(Value { dtype, ..value });
    ValueId(graph.values.len() - 1)
}
