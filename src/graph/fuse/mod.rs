//! Fusion: rewrites that replace a pattern of nodes by one operation which computes the same.
//!
//! Every rewrite looks for its pattern around one node and puts the fused operation in the place of the last node of
//! the pattern, where all inputs are at hand; what nobody reads any more is dropped afterwards. Each has a switch.

mod backward;
mod evaluation;
mod fold;
mod forward;
mod projection;
mod reductions;
mod switches;

pub use switches::Fusions;

use super::{Graph, Node, ValueId};
use crate::error::Result;
use crate::ops::{Conv2d, Op};

/// The same computation in fewer, larger operations.
///
/// # Errors
/// Never for a graph that the other stages made; shapes are checked again.
pub fn fuse(graph: Graph, fusions: Fusions) -> Result<Graph> {
    type Rewrite = fn(&mut Graph, usize, &[usize]) -> Result<()>;
    let rewrites: [(bool, Rewrite); 12] = [
        (fusions.identity, forward::identity),
        (fusions.statistics, forward::statistics),
        (fusions.update, forward::two_stream_update),
        (fusions.update, backward::masked_relu),
        (fusions.update, backward::two_stream_backward),
        (fusions.identity, backward::identity),
        (fusions.projection, projection::data_grad),
        (fusions.addend, backward::addend),
        (fusions.reductions, reductions::reductions),
        (fusions.epilogue, evaluation::epilogue),
        (fusions.projection, projection::forward),
        (fusions.projection, projection::weight_grad),
    ];
    let mut graph = graph;
    for (_, rewrite) in rewrites.iter().filter(|(on, _)| *on) {
        // Dead nodes go after every pass, so that "nobody else reads this" is true of the graph as it stands.
        let readers = graph.readers();
        for i in 0..graph.nodes.len() {
            rewrite(&mut graph, i, &readers)?;
        }
        graph = graph.without_dead_nodes();
    }
    if fusions.fold_identity {
        fold::identity(&mut graph)?;
    }
    Ok(graph.without_dead_nodes())
}

impl Graph {
    /// Puts `op` in the place of node `i`, which writes the same values as before.
    fn replace(&mut self, i: usize, op: impl Into<Op>, inputs: Vec<ValueId>) -> Result<()> {
        let op = op.into();
        let arguments: Vec<_> = inputs.iter().map(|&v| self.value(v)).collect();
        op.operation().infer(&arguments)?;
        let node = &mut self.nodes[i];
        (node.op, node.inputs) = (op, inputs);
        Ok(())
    }

    /// Lets node `i` be the sum of `terms`; of one, the operation that writes it.
    fn replace_by_sum(&mut self, i: usize, terms: Vec<ValueId>) -> Result<()> {
        if let &[only] = terms.as_slice()
            && let Some(Node { op, inputs, .. }) = self.producer(only).cloned()
        {
            return self.replace(i, op, inputs);
        }
        self.nodes[i].inputs = terms;
        Ok(())
    }

    /// The node that writes `v`, if `v` has no reader but one.
    fn sole(&self, v: ValueId, readers: &[usize]) -> Option<&Node> {
        // Values that a rewrite of this pass added are not counted yet; none is part of a pattern.
        (readers.get(v.0) == Some(&1)).then(|| self.producer(v)).flatten()
    }

    /// The convolution that writes `v` and nothing but stores it.
    fn plain_conv2d(&self, v: ValueId) -> Option<(Conv2d, &Node)> {
        match self.producer(v) {
            Some(node @ Node { op: Op::Conv2d(conv), .. }) if conv.epilogue == Default::default() => {
                Some((*conv, node))
            }
            _ => None,
        }
    }
}
