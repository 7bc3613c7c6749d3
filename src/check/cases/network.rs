//! Cases from a network: every different operation of a graph at the shapes that it has there. For timing.

use super::{Case, Fill, Input, Limit};
use crate::graph::{Graph, Node, Precision, Role, ValueId};
use crate::ops::Op;

/// One case for each different (operation, input shapes) of a lowered graph, in the graph's order.
///
/// The limits are loose: these are for speed, and the table holds the same operations to tight ones.
pub fn of_graph(graph: &Graph, precision: Precision) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for node in &graph.nodes {
        let case = of_node(graph, node, precision);
        if !cases.iter().any(|c| c.op == case.op && c.inputs == case.inputs) {
            cases.push(case);
        }
    }
    cases
}

/// The case that a node of a lowered graph is; as [`of_graph`].
pub fn of_node(graph: &Graph, node: &Node, precision: Precision) -> Case {
    Case {
        op: node.op.clone(),
        form: form(graph, node),
        inputs: node.inputs.iter().map(|&v| input(graph, node, v)).collect(),
        kinds: match node.op {
            Op::Sgd(_) => graph.state.parameters.iter().map(|p| p.kind).collect(),
            _ => Vec::new(),
        },
        precision,
        kernels: None,
        limit: Limit::Sum(graph.cost(node).flops as usize),
    }
}

/// The layer that the shape comes from, and the first input's extents.
fn form(graph: &Graph, node: &Node) -> String {
    let extents = node.inputs.first().map(|&v| graph.shape(v).0.clone()).unwrap_or_default();
    let extents: Vec<String> = extents.iter().map(usize::to_string).collect();
    format!("{}/{}", node.layer, extents.join("x"))
}

fn input(graph: &Graph, node: &Node, v: ValueId) -> Input {
    let shape = graph.shape(v).clone();
    let fill = match (graph.value(v).role, &node.op) {
        (Role::Mask, _) => Fill::Mask,
        (Role::Label, _) => Fill::Labels(graph.shape(node.inputs[node.inputs.len() - 2]).channels()),
        (Role::Exact, Op::FoldBatchNorm(_)) => Fill::Positive,
        (Role::Exact, _) if shape.0.first() == Some(&2) && shape.0.len() == 2 => Fill::Statistics,
        _ => Fill::Normal,
    };
    Input { shape, fill }
}
