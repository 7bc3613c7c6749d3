//! Lowering to a precision: every value gets its storage type, and casts appear where types meet.

use std::collections::HashMap;

use super::{DType, Graph, Node, Precision, Role, Source, Value, ValueId};
use crate::error::Result;
use crate::ops::Cast;

/// The same computation in the arithmetic of `precision`.
///
/// A value that is read in another role than it is stored in is cast once, a parameter before everything else, any other
/// before its first such reader: under bf16 these are the shadow weights of the convolutions, and the images.
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
    let mut casts = HashMap::new();
    // Parameters do not change before the update, so their casts come first, where a device can do all at once.
    for node in &graph.nodes {
        let arguments: Vec<&Value> = node.inputs.iter().map(|&v| graph.value(v)).collect();
        lowered.enter(node.layer.clone());
        for (&input, role) in node.inputs.iter().zip(node.op.operation().input_roles(&arguments)) {
            if let (Source::Parameter(_), Some(stored)) = (graph.value(input).source, renamed[input.0]) {
                read_as(&mut lowered, &mut casts, stored, role, precision)?;
            }
        }
    }
    for node in &graph.nodes {
        let arguments: Vec<&Value> = node.inputs.iter().map(|&v| graph.value(v)).collect();
        let roles = node.op.operation().input_roles(&arguments);
        lowered.enter(node.layer.clone());
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (&input, role) in node.inputs.iter().zip(roles) {
            let stored = renamed[input.0].expect("nodes are in topological order");
            inputs.push(read_as(&mut lowered, &mut casts, stored, role, precision)?);
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

/// A stored value as it is read in this role: itself, or its one cast to the role's type.
fn read_as(
    lowered: &mut Graph,
    casts: &mut HashMap<(ValueId, DType), ValueId>,
    stored: ValueId,
    role: Role,
    precision: Precision,
) -> Result<ValueId> {
    let want = precision.dtype(role);
    if lowered.value(stored).dtype == want {
        return Ok(stored);
    }
    if let Some(&cast) = casts.get(&(stored, want)) {
        return Ok(cast);
    }
    let from = lowered.value(stored).role;
    let name = format!("{}.{want}", lowered.value(stored).name);
    let cast = lowered.push1(Cast { from, to: role }.into(), &[stored])?;
    lowered.values[cast.0].dtype = want;
    lowered.values[cast.0].name = name;
    casts.insert((stored, want), cast);
    Ok(cast)
}

fn push_value(graph: &mut Graph, value: Value, precision: Precision) -> ValueId {
    let dtype = precision.dtype(value.role);
    graph.values.push(Value { dtype, ..value });
    ValueId(graph.values.len() - 1)
}
