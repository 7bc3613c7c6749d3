//! Rewrites of the forward pass in training.

use crate::error::Result;
use crate::graph::{Graph, Node, Role, Source, ValueId};
use crate::ops::{Conv2d, Epilogue, Op, Outer, TwoStreamUpdate};

/// `add(conv2d(x, w), shortcut(x))` to `conv2d(x, w) with W + E`.
pub(super) fn identity(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::Add(_), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let &[a, b] = inputs.as_slice() else { return Ok(()) };
    let mut fused = None;
    for (z, e) in [(a, b), (b, a)] {
        let (Some((conv, node)), Some(Node { op: Op::Shortcut(shortcut), inputs: from, .. })) =
            (graph.plain_conv2d(z), graph.sole(e, readers))
        else {
            continue;
        };
        let with_identity = Conv2d { identity: shortcut.copied, ..conv };
        let same = node.inputs[0] == from[0] && with_identity.shortcut(shortcut.channels) == *shortcut;
        if same && conv.identity == 0 && readers[z.0] == 1 {
            fused = Some((with_identity, node.inputs.clone()));
        }
    }
    match fused {
        Some((conv, inputs)) => graph.replace(i, conv, inputs),
        None => Ok(()),
    }
}

/// `batch_stats(z)` of a convolution's z to the convolution's second output.
pub(super) fn statistics(graph: &mut Graph, i: usize, _: &[usize]) -> Result<()> {
    let Node { op: Op::BatchStats(_), inputs, outputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let (z, stats) = (inputs[0], outputs[0]);
    let Some((conv, _)) = graph.plain_conv2d(z) else { return Ok(()) };
    let Source::Node { node: at, .. } = graph.value(z).source else { return Ok(()) };
    graph.nodes[at].op = Conv2d { epilogue: Epilogue::Statistics, ..conv }.into();
    graph.nodes[at].outputs.push(stats);
    graph.nodes[i].outputs.clear(); // its output has a new writer: the node is dead
    Ok(())
}

/// `relu(batch_norm(z) (+ outer))` to the two-stream update, which writes y and ReLU's mask.
pub(super) fn two_stream_update(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::Relu(_), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let batch_norm = |v: ValueId| match graph.sole(v, readers) {
        Some(Node { op: Op::BatchNorm(_), inputs, .. }) => Some(inputs.clone()),
        _ => None,
    };
    let found = match graph.sole(inputs[0], readers) {
        Some(Node { op: Op::BatchNorm(_), inputs, .. }) => Some((Outer::None, inputs.clone())),
        Some(Node { op: Op::Add(_), inputs: terms, .. }) if terms.len() == 2 => {
            let (main, outer) = match (batch_norm(terms[0]), batch_norm(terms[1])) {
                (Some(main), _) => (main, terms[1]),
                (None, Some(main)) => (main, terms[0]),
                (None, None) => return Ok(()),
            };
            let (outer, rest) = match graph.sole(outer, readers) {
                Some(Node { op: Op::BatchNorm(_), inputs, .. }) => (Outer::Projection, inputs.clone()),
                Some(Node { op: Op::Shortcut(s), inputs, .. }) => (Outer::Subsampled(*s), inputs.clone()),
                _ => (Outer::Identity, vec![outer]),
            };
            Some((outer, [main, rest].concat()))
        }
        _ => None,
    };
    let Some((outer, inputs)) = found else { return Ok(()) };
    let y = graph.nodes[i].outputs[0];
    let (shape, name) = (graph.shape(y).clone(), format!("{}.mask", graph.nodes[i].layer));
    if shape.dims4().is_none() {
        return Ok(());
    }
    let mask = graph.add_value(shape, Role::Mask, Source::Node { node: i, output: 1 }, name);
    graph.replace(i, TwoStreamUpdate { outer }, inputs)?;
    graph.nodes[i].outputs.push(mask);
    Ok(())
}
