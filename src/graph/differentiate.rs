//! Reverse-mode differentiation: a table (each operation's gradient rule) and one walk backward.

use super::{Graph, Role, Segment, Source, ValueId, shape_error};
use crate::error::Result;
use crate::ops::{Add, Backward, Cast, Fill};

/// Appends the nodes that compute the gradient of `loss` `[1]` with respect to every parameter.
///
/// Gradients of a value with several readers are summed in the order of the walk, so the result is deterministic.
///
/// # Errors
/// If `loss` is not a scalar, does not depend on some parameter, or passes through an operation without a gradient
/// rule; each by name.
pub fn differentiate(mut graph: Graph, loss: ValueId) -> Result<Graph> {
    if graph.shape(loss).elements() != 1 {
        return Err(shape_error(format!(
            "only a scalar can be differentiated, the loss is {}",
            graph.shape(loss)
        )));
    }
    let depends = depends_on_parameters(&graph);
    let forward_nodes = graph.nodes.len();
    let mut pending: Vec<Vec<ValueId>> = vec![Vec::new(); graph.values.len()];
    let start = Fill { shape: graph.shape(loss).clone(), value: 1.0 };
    graph.enter("loss");
    pending[loss.0].push(graph.push1(start.into(), &[])?);

    for i in (0..forward_nodes).rev() {
        let node = graph.nodes[i].clone();
        if node.segment != Segment::Gradients || !node.inputs.iter().any(|v| depends[v.0]) {
            continue;
        }
        graph.enter(node.layer.clone());
        let upstream = (node.outputs.iter())
            .map(|&y| total(&mut graph, std::mem::take(&mut pending[y.0])))
            .collect::<Result<Vec<_>>>()?;
        if upstream.iter().all(Option::is_none) {
            continue;
        }
        let wanted: Vec<bool> = node.inputs.iter().map(|v| depends[v.0]).collect();
        let gradients = node.op.operation().gradient(&mut Backward {
            graph: &mut graph,
            inputs: &node.inputs,
            outputs: &node.outputs,
            upstream: &upstream,
            wanted: &wanted,
        })?;
        assert_eq!(
            gradients.len(),
            node.inputs.len(),
            "{}: one gradient an input",
            node.op.operation().name()
        );
        for ((&x, gradient), _) in
            node.inputs.iter().zip(gradients).zip(&wanted).filter(|(_, wanted)| **wanted)
        {
            pending[x.0].extend(gradient);
        }
    }

    graph.gradients = parameter_gradients(&mut graph, pending)?;
    Ok(graph)
}

/// Which values a parameter flows into.
fn depends_on_parameters(graph: &Graph) -> Vec<bool> {
    let mut depends: Vec<bool> =
        graph.values.iter().map(|v| matches!(v.source, Source::Parameter(_))).collect();
    for node in &graph.nodes {
        if node.inputs.iter().any(|v| depends[v.0]) {
            node.outputs.iter().for_each(|v| depends[v.0] = true);
        }
    }
    depends
}

fn total(graph: &mut Graph, terms: Vec<ValueId>) -> Result<Option<ValueId>> {
    match terms.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        many => graph.push1(Add.into(), many).map(Some),
    }
}

/// One exact value of its own per parameter, since each is placed in the State.
fn parameter_gradients(graph: &mut Graph, mut pending: Vec<Vec<ValueId>>) -> Result<Vec<ValueId>> {
    let mut gradients = Vec::with_capacity(graph.state.parameters.len());
    for (i, parameter) in graph.state.parameters.clone().iter().enumerate() {
        let at = graph.values.iter().position(|v| v.source == Source::Parameter(i));
        graph.enter(parameter.name.clone());
        let terms = at.map(|v| std::mem::take(&mut pending[v])).unwrap_or_default();
        let gradient = total(graph, terms)?.ok_or_else(|| {
            shape_error(format!("the loss does not depend on {}: use it or leave it out", parameter.name))
        })?;
        let role = graph.value(gradient).role;
        let shared = gradients.contains(&gradient) || graph.producer(gradient).is_none();
        let own = match shared || role != Role::Exact {
            true => graph.push1(Cast { from: role, to: Role::Exact }.into(), &[gradient])?,
            false => gradient,
        };
        graph.values[own.0].name = format!("grad.{}", parameter.name);
        gradients.push(own);
    }
    Ok(gradients)
}
