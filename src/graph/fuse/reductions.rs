//! The rewrite that gives a data gradient the ReLU before it, and the reductions of the batch norms before that.

use crate::error::Result;
use crate::graph::{Graph, Node, Source, ValueId};
use crate::ops::{
    Addend, BatchNormBackward, Conv2dDataGrad, GradEpilogue, Op, ReluBackward, TwoStreamBackward,
};

/// `two_stream_reduce(conv2d_data_grad, mask)` to the data gradient's epilogue, which stores g in place of dy.
///
/// Whoever else reads dy must read it under the same mask, and then reads g: the apply pass, the outer shortcut's
/// gradient as an addend, or as a `relu_backward`, which is g itself.
pub(super) fn reductions(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::TwoStreamReduce(reduce), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let (dy, mask, projected) = (inputs[0], inputs[1], reduce.projected);
    let batch_norms = inputs[2..].to_vec();
    let Source::Node { node: at, .. } = graph.value(dy).source else { return Ok(()) };
    let Node { op: Op::Conv2dDataGrad(grad), inputs, .. } = &graph.nodes[at] else { return Ok(()) };
    let under_mask: Vec<usize> =
        (0..graph.nodes.len()).filter(|&n| masked_gradient(&graph.nodes[n]) == Some([dy, mask])).collect();
    if grad.epilogue != GradEpilogue::None || under_mask.len() != readers[dy.0] {
        return Ok(());
    }
    let op = Conv2dDataGrad { epilogue: GradEpilogue::Relu { projected }, ..grad.clone() };
    let inputs = [inputs.clone(), vec![mask], batch_norms].concat();
    graph.replace(at, op, inputs)?;
    let sums = std::mem::take(&mut graph.nodes[i].outputs); // they have a new writer: the node is dead
    graph.nodes[at].outputs.extend(sums);
    under_mask.into_iter().filter(|&n| n != i).try_for_each(|n| read_masked(graph, n, dy))
}

/// The gradient that a node masks on the fly, and the mask.
fn masked_gradient(node: &Node) -> Option<[ValueId; 2]> {
    let first = match &node.op {
        Op::TwoStreamReduce(_) => 0,
        Op::TwoStreamBackward(op) if op.masked => 0,
        Op::ReluBackward(op) if op.masked => 0,
        Op::Conv2dDataGrad(op) if op.addend == Addend::Masked => op.first_of_addend(),
        _ => return None,
    };
    Some([node.inputs[first], node.inputs[first + 1]])
}

/// Lets node `n` read g where it masked a gradient.
fn read_masked(graph: &mut Graph, n: usize, g: ValueId) -> Result<()> {
    let Node { op, inputs, outputs, .. } = &graph.nodes[n];
    let without = |mask: usize| [&inputs[..mask], &inputs[mask + 1..]].concat();
    match op {
        Op::TwoStreamBackward(TwoStreamBackward { projected: false, .. }) => {
            graph.replace(n, BatchNormBackward, without(1))
        }
        Op::TwoStreamBackward(op) => graph.replace(n, TwoStreamBackward { masked: false, ..*op }, without(1)),
        Op::Conv2dDataGrad(op) => {
            let inputs = without(op.first_of_addend() + 1);
            graph.replace(n, Conv2dDataGrad { addend: Addend::Tensor, ..op.clone() }, inputs)
        }
        Op::ReluBackward(ReluBackward { .. }) => {
            let same = outputs[0];
            let nodes = graph.nodes.iter_mut().flat_map(|node| &mut node.inputs);
            let kept = graph.results.iter_mut().map(|(_, v)| v).chain(&mut graph.gradients);
            nodes.chain(kept).filter(|v| **v == same).for_each(|v| *v = g);
            Ok(())
        }
        _ => Ok(()),
    }
}
