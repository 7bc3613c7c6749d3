//! Planning: an order, and an offset in one workspace for every intermediate, by lifetime.

use std::ops::Range;

use super::{Graph, Region, Segment, Source, ValueId};

/// Bytes to which every tensor of the workspace is aligned.
pub const ALIGNMENT: usize = 256;

/// Where a value lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placement {
    /// Bytes from the start of the plan's workspace.
    Workspace(usize),
    /// Tensor `index` of a region of the State.
    State(Region, usize),
}

/// A graph ready to run: every value has its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The lowered (and fused) graph, its nodes sorted by segment.
    pub graph: Graph,
    /// Where each value lies.
    pub placements: Vec<Placement>,
    /// Offset in the workspace of each node's scratch; meaningless where it needs none.
    pub scratch: Vec<usize>,
    /// Size of each node's scratch in bytes.
    pub scratch_bytes: Vec<usize>,
    /// Size of the workspace in bytes.
    pub workspace_bytes: usize,
    /// Size that the same tensors would need side by side.
    pub unshared_bytes: usize,
    /// The largest sum of tensors alive at once: no plan can be smaller.
    pub live_bytes: usize,
}

/// An interval of the workspace: alive from node `first` to node `last`.
struct Block {
    bytes: usize,
    first: usize,
    last: usize,
    offset: usize,
}

/// Places every value of `graph`; `scratch` tells how many bytes a node needs while it runs.
///
/// Largest tensors first, each at the lowest offset where nothing alive at the same time lies: greedy by size, which
/// for chains of layers comes within a few per cent of [`Plan::live_bytes`].
pub fn plan(graph: &Graph, scratch: &dyn Fn(&Graph, &super::Node) -> usize) -> Plan {
    let graph = in_segment_order(graph);
    let end = graph.nodes.len();
    let mut blocks: Vec<Block> = graph
        .values
        .iter()
        .map(|v| {
            let first = match v.source {
                Source::Node { node, .. } => node,
                _ => 0, // inputs lie in the workspace from the start
            };
            Block { bytes: v.bytes().next_multiple_of(ALIGNMENT), first, last: first, offset: 0 }
        })
        .collect();
    for (i, node) in graph.nodes.iter().enumerate() {
        node.inputs.iter().for_each(|v| blocks[v.0].last = i);
    }
    graph.results.iter().for_each(|(_, v)| blocks[v.0].last = end);
    let scratch_bytes: Vec<usize> = graph.nodes.iter().map(|n| scratch(&graph, n)).collect();
    blocks.extend(scratch_bytes.iter().enumerate().map(|(i, &bytes)| Block {
        bytes: bytes.next_multiple_of(ALIGNMENT),
        first: i,
        last: i,
        offset: 0,
    }));

    let state = state_placements(&graph);
    let mut order: Vec<usize> = (0..blocks.len())
        .filter(|&b| blocks[b].bytes > 0 && state.get(b).is_none_or(Option::is_none))
        .collect();
    let unshared_bytes = order.iter().map(|&b| blocks[b].bytes).sum();
    let live_bytes = (0..=end)
        .map(|t| {
            let alive = order.iter().map(|&b| &blocks[b]).filter(|b| b.first <= t && t <= b.last);
            alive.map(|b| b.bytes).sum::<usize>()
        })
        .max()
        .unwrap_or(0);
    order.sort_by_key(|&b| (std::cmp::Reverse(blocks[b].bytes), b));
    let workspace_bytes = place(&mut blocks, &order);

    let offsets = blocks.iter().map(|b| b.offset);
    let placements = offsets
        .clone()
        .zip(state)
        .map(|(offset, state)| state.unwrap_or(Placement::Workspace(offset)))
        .collect();
    let scratch = offsets.skip(graph.values.len()).collect();
    Plan { graph, placements, scratch, scratch_bytes, workspace_bytes, unshared_bytes, live_bytes }
}

/// Gives each block of `order` the lowest offset that is free during its whole life; returns the end of the last.
fn place(blocks: &mut [Block], order: &[usize]) -> usize {
    let mut placed: Vec<usize> = Vec::new(); // by offset
    let mut end = 0;
    for &b in order {
        let mut offset = 0;
        for other in placed.iter().map(|&o| &blocks[o]) {
            let together = blocks[b].first <= other.last && other.first <= blocks[b].last;
            if together {
                if offset + blocks[b].bytes <= other.offset {
                    break;
                }
                offset = offset.max(other.offset + other.bytes);
            }
        }
        blocks[b].offset = offset;
        end = end.max(offset + blocks[b].bytes);
        let at = placed.partition_point(|&o| blocks[o].offset <= offset);
        placed.insert(at, b);
    }
    end
}

/// The values that lie in the State: parameters, running statistics, and the parameters' gradients.
fn state_placements(graph: &Graph) -> Vec<Option<Placement>> {
    let mut state: Vec<Option<Placement>> = (graph.values.iter())
        .map(|v| match v.source {
            Source::Parameter(i) => Some(Placement::State(Region::Parameters, i)),
            Source::Running(i) => Some(Placement::State(Region::Running, i)),
            _ => None,
        })
        .collect();
    for (i, v) in graph.gradients.iter().enumerate() {
        state[v.0] = Some(Placement::State(Region::Gradients, i));
    }
    state
}

fn in_segment_order(graph: &Graph) -> Graph {
    let mut graph = graph.clone();
    let mut order: Vec<usize> = (0..graph.nodes.len()).collect();
    order.sort_by_key(|&i| graph.nodes[i].segment); // stable: topological order remains
    graph.nodes = order.iter().map(|&i| graph.nodes[i].clone()).collect();
    for (node, n) in graph.nodes.iter().enumerate() {
        for (output, v) in n.outputs.iter().enumerate() {
            graph.values[v.0].source = Source::Node { node, output };
        }
    }
    graph
}

impl Plan {
    /// The nodes of one segment.
    pub fn segment(&self, segment: Segment) -> Range<usize> {
        let nodes = &self.graph.nodes;
        nodes.partition_point(|n| n.segment < segment)..nodes.partition_point(|n| n.segment <= segment)
    }
    /// The value that holds the batch's images.
    pub fn images(&self) -> Option<ValueId> {
        self.find(Source::Images)
    }
    /// The value that holds the batch's labels.
    pub fn labels(&self) -> Option<ValueId> {
        self.find(Source::Labels)
    }
    fn find(&self, source: Source) -> Option<ValueId> {
        self.graph.values.iter().position(|v| v.source == source).map(ValueId)
    }
}
