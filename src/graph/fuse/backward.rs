//! Rewrites of the backward pass.

use crate::error::Result;
use crate::graph::{Graph, Node, ValueId};
use crate::ops::{
    Addend, BatchNormBackward, BatchNormReduce, Conv2d, Conv2dDataGrad, Op, ReluBackward, TwoStreamBackward,
    TwoStreamReduce,
};

/// `relu_backward(dy, y)` reads the mask of the update that wrote y.
pub(super) fn masked_relu(graph: &mut Graph, i: usize, _: &[usize]) -> Result<()> {
    let Node { op: Op::ReluBackward(ReluBackward { masked: false }), inputs, .. } = &graph.nodes[i] else {
        return Ok(());
    };
    match graph.producer(inputs[1]) {
        Some(Node { op: Op::TwoStreamUpdate(_), outputs, .. }) => {
            let inputs = vec![inputs[0], outputs[1]];
            graph.replace(i, ReluBackward { masked: true }, inputs)
        }
        _ => Ok(()),
    }
}

/// The gradient of one batch norm: where its two nodes stand, and its forward values.
struct Branch {
    z: ValueId,
    stats: ValueId,
    reduce: usize,
    apply: usize,
}

/// The nodes that differentiate the batch norm of `z` with the gradient `g`.
fn branch(graph: &Graph, g: ValueId, z: ValueId, stats: ValueId) -> Option<Branch> {
    let find = |op: Op| graph.nodes.iter().position(|n| n.op == op && n.inputs[..3] == [g, z, stats]);
    Some(Branch { z, stats, reduce: find(BatchNormReduce.into())?, apply: find(BatchNormBackward.into())? })
}

/// From a masked `relu_backward`, the batch-norm gradients that read it: one reduction pass and one apply pass, for
/// both batch norms of a projecting block together.
pub(super) fn two_stream_backward(graph: &mut Graph, i: usize, _: &[usize]) -> Result<()> {
    let Node { op: Op::ReluBackward(ReluBackward { masked: true }), inputs, outputs, .. } = &graph.nodes[i]
    else {
        return Ok(());
    };
    let (dy, mask, g) = (inputs[0], inputs[1], outputs[0]);
    let forward = graph.producer(mask).map(|n| n.inputs.clone()).unwrap_or_default();
    let Some(main) = forward.get(..2).and_then(|v| branch(graph, g, v[0], v[1])) else { return Ok(()) };
    let projection = match forward.get(4..6) {
        None => None,
        Some(v) => match branch(graph, g, v[0], v[1]) {
            Some(projection) => Some(projection),
            None => return Ok(()),
        },
    };
    let projected = projection.is_some();
    let branches: Vec<Branch> = [Some(main), projection].into_iter().flatten().collect();

    let mut reduced = vec![dy, mask];
    let mut applied = vec![dy, mask];
    for b in &branches {
        reduced.extend([b.z, b.stats]);
        applied.push(b.z);
        applied.extend(&graph.nodes[b.apply].inputs[2..]);
    }
    let reduce = merge(graph, &branches.iter().map(|b| b.reduce).collect::<Vec<_>>());
    graph.replace(reduce, TwoStreamReduce { projected }, reduced)?;
    let apply = merge(graph, &branches.iter().map(|b| b.apply).collect::<Vec<_>>());
    graph.replace(apply, TwoStreamBackward { projected, masked: true }, applied)
}

/// Moves the outputs of all `nodes` to the earliest, which it returns; the others are dead. Nothing that they read
/// is written between them: forward values, and what the merged reductions give.
fn merge(graph: &mut Graph, nodes: &[usize]) -> usize {
    let outputs: Vec<Vec<ValueId>> =
        nodes.iter().map(|&n| std::mem::take(&mut graph.nodes[n].outputs)).collect();
    let first = nodes.iter().copied().min().unwrap_or_default();
    graph.nodes[first].outputs = outputs.concat();
    first
}

/// In a sum of gradients, `conv2d_data_grad(dz) + shortcut_backward(dz)` to the transpose of W + E.
pub(super) fn identity(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::Add(_), inputs: terms, .. } = &graph.nodes[i] else { return Ok(()) };
    let mut terms = terms.clone();
    for e in terms.clone() {
        let Some(Node { op: Op::ShortcutBackward(back), inputs: from, .. }) = graph.sole(e, readers) else {
            continue;
        };
        let (back, dz) = (back.clone(), from[0]);
        let transposes = |n: &Node| match &n.op {
            Op::Conv2dDataGrad(grad) => {
                let s = back.shortcut;
                let same = grad.shortcut_backward(s.channels, s.copied) == back;
                same && grad.conv.identity == 0 && n.inputs[0] == dz
            }
            _ => false,
        };
        let grad = terms.iter().find_map(|&t| {
            let node = graph.sole(t, readers).filter(|n| transposes(n))?;
            graph.nodes.iter().position(|n| std::ptr::eq(n, node))
        });
        if let Some(at) = grad
            && let Op::Conv2dDataGrad(grad) = &mut graph.nodes[at].op
        {
            grad.conv = Conv2d { identity: back.shortcut.copied, ..grad.conv };
            terms.retain(|&t| t != e);
        }
    }
    graph.replace_by_sum(i, terms)
}

/// `conv2d_data_grad(dz, w) + gradient` to the data gradient with an addend; a masked gradient is masked on the fly.
pub(super) fn addend(graph: &mut Graph, i: usize, readers: &[usize]) -> Result<()> {
    let Node { op: Op::Add(_), inputs, .. } = &graph.nodes[i] else { return Ok(()) };
    let &[a, b] = inputs.as_slice() else { return Ok(()) };
    // The later of two data gradients takes the earlier as its addend.
    for (grad, other) in [(a.max(b), a.min(b)), (a.min(b), a.max(b))] {
        let Some(Node { op: Op::Conv2dDataGrad(op), inputs, .. }) = graph.sole(grad, readers) else {
            continue;
        };
        if op.addend != Addend::None {
            continue;
        }
        let (addend, added) = match graph.producer(other) {
            Some(Node { op: Op::ReluBackward(ReluBackward { masked: true }), inputs, .. }) => {
                (Addend::Masked, inputs.clone())
            }
            _ => (Addend::Tensor, vec![other]),
        };
        let (op, inputs) = (Conv2dDataGrad { addend, ..op.clone() }, [inputs.clone(), added].concat());
        return graph.replace(i, op, inputs);
    }
    Ok(())
}
