//! The rewrites that make a block's layer 1 and its projection one operation: both read the block's input.
//!
//! The pattern is any two convolutions of one input that are alike but for their filters, and for E, which layer 1 may
//! have. What they share, the input forward and its gradient backward, is then moved once.

use crate::error::Result;
use crate::graph::{Graph, Node, Source, ValueId};
use crate::ops::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Epilogue, GradEpilogue, Op};

/// Both convolutions as one, if they are alike.
fn together(layer1: &Conv2d, projection: &Conv2d) -> Option<Conv2d> {
    let without_identity = Conv2d { identity: 0, ..*layer1 };
    let folded = matches!(layer1.epilogue, Epilogue::ScaleShift { .. });
    let alike = without_identity == *projection && !projection.projected && !folded;
    alike.then_some(Conv2d { projected: true, ..*layer1 })
}

/// `conv2d(x, w)` and, after it, `conv2d(x, wp)` to one in the place of the first.
pub(super) fn forward(graph: &mut Graph, i: usize, _: &[usize]) -> Result<()> {
    let Node { op: Op::Conv2d(projection), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let (x, wp) = (inputs[0], inputs[1]);
    let found = graph.nodes[..i].iter().enumerate().find_map(|(at, node)| match &node.op {
        Op::Conv2d(layer1) if node.inputs[0] == x && graph.shape(node.inputs[1]) == graph.shape(wp) => {
            together(layer1, projection).map(|op| (at, op))
        }
        _ => None,
    });
    let Some((at, op)) = found.filter(|&(at, _)| graph.is_there(wp, at)) else { return Ok(()) };
    let outputs = std::mem::take(&mut graph.nodes[i].outputs); // they have a new writer: the node is dead
    graph.nodes[at].outputs.extend(outputs);
    graph.replace(at, op, vec![x, graph.nodes[at].inputs[1], wp])
}

/// `conv2d_data_grad(dz, w) + conv2d_data_grad(dzp, wp)` in a sum of gradients to one. The projection's comes first, since
/// the walk backward meets the block's end before its first layer.
pub(super) fn data_grad(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::Add(_), inputs: terms, .. } = &graph.nodes[i] else { return Ok(()) };
    let plain = |&v: &ValueId| match (graph.sole(v, readers)?, graph.value(v).source) {
        (Node { op: Op::Conv2dDataGrad(op), inputs, .. }, Source::Node { node, .. }) => {
            let alone = op.addend == Addend::None && op.epilogue == GradEpilogue::None;
            alone.then_some((node, v, op, inputs))
        }
        _ => None,
    };
    let mut grads: Vec<_> = terms.iter().filter_map(plain).collect();
    grads.sort_by_key(|(node, ..)| *node);
    let &[(_, gone, projection, dzp), (at, _, layer1, dz)] = grads.as_slice() else { return Ok(()) };
    let Some(conv) = together(&layer1.conv, &projection.conv) else { return Ok(()) };
    if layer1.input != projection.input || graph.shape(dz[1]) != graph.shape(dzp[1]) {
        return Ok(());
    }
    let (op, inputs) = (Conv2dDataGrad { conv, ..layer1.clone() }, [dz.clone(), dzp.clone()].concat());
    let rest = terms.iter().copied().filter(|&term| term != gone).collect();
    graph.replace(at, op, inputs)?;
    graph.replace_by_sum(i, rest)
}

/// `conv2d_weight_grad(x, dzp)` and, after it, `conv2d_weight_grad(x, dz)` to one in the place of the second.
pub(super) fn weight_grad(graph: &mut Graph, i: usize, _: &[usize]) -> Result<()> {
    let Node { op: Op::Conv2dWeightGrad(layer1), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let (x, dz, filter) = (inputs[0], inputs[1], layer1.filter.clone());
    let found = graph.nodes[..i].iter().enumerate().find_map(|(at, node)| match &node.op {
        Op::Conv2dWeightGrad(projection) if node.inputs[0] == x && projection.filter == filter => {
            together(&layer1.conv, &projection.conv).map(|conv| (at, conv))
        }
        _ => None,
    });
    let Some((at, conv)) = found else { return Ok(()) };
    let dwp = graph.nodes[at].outputs[0];
    if graph.nodes[at..i].iter().any(|node| node.inputs.contains(&dwp)) {
        return Ok(()); // somebody reads it before it would be there
    }
    graph.nodes[at].outputs.clear(); // it has a new writer: the node is dead
    graph.nodes[i].outputs.push(dwp);
    graph.replace(i, Conv2dWeightGrad { conv, filter }, vec![x, dz, graph.nodes[at].inputs[1]])
}

impl Graph {
    /// Whether `v` is written before node `at` runs.
    fn is_there(&self, v: ValueId, at: usize) -> bool {
        !matches!(self.value(v).source, Source::Node { node, .. } if node >= at)
    }
}
