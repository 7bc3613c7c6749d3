//! Printing: a graph or a plan as rows of plain data, and those as text.
//!
//! Values are called `%images`, `%labels`, `%12` (the id of an intermediate), and `@name` (a tensor of the State). In
//! the text, a layer's own tensors go without its name: `@.bn.weight`.

use std::fmt;

use serde::Serialize;

use super::{Graph, Node, Placement, Plan, Role, Segment, Source, ValueId};
use crate::text::{Align, bytes, columns, grouped, millions};

/// Inputs of a node that a line shows before it counts the rest.
const SHOWN_INPUTS: usize = 7;
/// Numbers of a list of attributes that it shows.
const SHOWN_NUMBERS: usize = 4;

/// A value as an output of a node, or as a tensor of the workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ValueRow {
    /// How other rows refer to it.
    pub id: String,
    /// The layer and what it is in it.
    pub name: String,
    /// Extents.
    pub shape: Vec<usize>,
    /// Storage type; `bit` where eight elements share a byte.
    pub dtype: String,
    /// Size in memory.
    pub bytes: u64,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NodeRow {
    /// Its place in the order.
    pub index: usize,
    /// The part of the training step: `gradients`, `reduce` or `update`.
    pub segment: &'static str,
    /// Its layer.
    pub layer: String,
    /// Its operation.
    pub operation: &'static str,
    /// The operation's attributes that are not zero, such as `stride 2, pad 1`.
    pub attributes: String,
    /// The ids of what it reads.
    pub inputs: Vec<String>,
    /// What it writes.
    pub outputs: Vec<ValueRow>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

/// A tensor of a plan's workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TensorRow {
    /// The tensor.
    #[serde(flatten)]
    pub value: ValueRow,
    /// Bytes from the start of the workspace.
    pub offset: usize,
    /// The first node during which it must lie there.
    pub first: usize,
    /// The last one; the number of nodes where the caller reads it after the run.
    pub last: usize,
}

impl Graph {
    /// Every node in order, for people and programs.
    pub fn rows(&self) -> Vec<NodeRow> {
        (self.nodes.iter().enumerate()).map(|(index, node)| self.row(index, node)).collect()
    }

    fn row(&self, index: usize, node: &Node) -> NodeRow {
        let cost = self.cost(node);
        NodeRow {
            index,
            segment: segment_name(node.segment),
            layer: node.layer.clone(),
            operation: node.op.operation().name(),
            attributes: attributes(&format!("{:?}", node.op.operation())),
            inputs: node.inputs.iter().map(|&v| self.id(v)).collect(),
            outputs: node.outputs.iter().map(|&v| self.value_row(v)).collect(),
            flops: cost.flops,
            bytes: cost.bytes,
        }
    }

    /// How rows refer to a value.
    pub(super) fn id(&self, v: ValueId) -> String {
        match self.value(v).source {
            Source::Images => "%images".into(),
            Source::Labels => "%labels".into(),
            Source::Input => format!("%{}", self.value(v).name),
            Source::Parameter(i) => format!("@{}", self.state.parameters[i].name),
            Source::Running(i) => format!("@{}", self.state.running[i].name),
            Source::Node { .. } => format!("%{}", v.0),
        }
    }

    fn value_row(&self, v: ValueId) -> ValueRow {
        let value = self.value(v);
        ValueRow {
            id: self.id(v),
            name: value.name.clone(),
            shape: value.shape.0.clone(),
            dtype: if value.role == Role::Mask { "bit".into() } else { value.dtype.to_string() },
            bytes: value.bytes() as u64,
        }
    }
}

impl Plan {
    /// Every tensor of the workspace, by the node that first needs it.
    pub fn rows(&self) -> Vec<TensorRow> {
        let graph = &self.graph;
        let mut rows: Vec<TensorRow> = (self.placements.iter().enumerate())
            .filter_map(|(v, placement)| match *placement {
                Placement::Workspace(offset) => {
                    let (first, last) = lifetime(graph, ValueId(v));
                    Some(TensorRow { value: graph.value_row(ValueId(v)), offset, first, last })
                }
                Placement::State(..) => None,
            })
            .collect();
        let scratch = self.scratch.iter().zip(&self.scratch_bytes).enumerate();
        rows.extend(scratch.filter(|(_, (_, bytes))| **bytes > 0).map(|(node, (&offset, &bytes))| {
            let name = format!("{}.{}", graph.nodes[node].layer, graph.nodes[node].op.operation().name());
            let value = ValueRow {
                id: "scratch".into(),
                name,
                shape: vec![bytes],
                dtype: "u8".into(),
                bytes: bytes as u64,
            };
            TensorRow { value, offset, first: node, last: node }
        }));
        rows.sort_by_key(|r| (r.first, r.offset));
        rows
    }
}

/// The first and the last node during which a value must keep its contents.
fn lifetime(graph: &Graph, v: ValueId) -> (usize, usize) {
    let first = match graph.value(v).source {
        Source::Node { node, .. } => node,
        _ => 0,
    };
    let last = if graph.results.iter().any(|(_, r)| *r == v) {
        graph.nodes.len()
    } else {
        graph.nodes.iter().rposition(|n| n.inputs.contains(&v)).unwrap_or(first)
    };
    (first, last)
}

fn segment_name(segment: Segment) -> &'static str {
    match segment {
        Segment::Gradients => "gradients",
        Segment::Reduce => "reduce",
        Segment::Update => "update",
    }
}

/// An operation's attributes from its `Debug` text, those that are zero, false or none left out.
pub(crate) fn attributes(debug: &str) -> String {
    let Some((_, fields)) = debug.split_once('{') else { return String::new() };
    let fields = fields.trim_end().strip_suffix('}').unwrap_or(fields);
    let mut parts = Vec::new();
    for field in split_fields(fields) {
        let (name, value) = field.split_once(':').map_or((field, ""), |(n, v)| (n.trim(), v.trim()));
        let shape = value.strip_prefix("Shape([").and_then(|s| s.strip_suffix("])"));
        match (value, shape) {
            ("0" | "0.0" | "false" | "None" | "", _) => {}
            ("true", _) => parts.push(name.replace('_', "-")),
            _ if value.starts_with('[') => parts.extend(list(name, value)),
            (_, Some(extents)) => parts.push(format!("{name} [{}]", extents.replace(',', ""))),
            _ if value.contains('{') => {
                let inner = attributes(value);
                let variant = value.split(['{', '(']).next().unwrap_or_default().trim();
                // The kind of a nested operation is known; that of an epilogue is the news.
                let kind = if name == "conv" || name == "shortcut" { "" } else { variant };
                let inner = if inner.is_empty() { inner } else { format!("({inner})") };
                parts.push(format!("{name} {kind}{inner}"));
            }
            _ => parts.push(format!("{name} {value}").replace('_', "-")),
        }
    }
    parts.join(", ")
}

/// The first numbers of a list; nothing where all are zero.
fn list(name: &str, value: &str) -> Option<String> {
    let numbers: Vec<&str> = value.trim_matches(['[', ']']).split(',').map(str::trim).collect();
    let shown = &numbers[..numbers.len().min(SHOWN_NUMBERS)];
    let rest = numbers.len() - shown.len();
    let more = if rest == 0 { String::new() } else { format!(" and {rest} more") };
    let any = numbers.iter().any(|number| *number != "0");
    any.then(|| format!("{name} {}{more}", shown.join(" ")))
}

/// Splits at the commas that no bracket encloses.
fn split_fields(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0usize, 0, Vec::new());
    for (i, c) in text.char_indices() {
        match c {
            '{' | '(' | '[' => depth += 1,
            '}' | ')' | ']' => depth = depth.saturating_sub(1),
            ',' if depth == 0 => {
                parts.push(text[start..i].trim());
                start = i + 1;
            }
            _ => {}
        }
    }
    parts.push(text[start..].trim());
    parts.retain(|p| !p.is_empty());
    parts
}

/// `f32[8 32 32 16]`.
fn tensor(value: &ValueRow) -> String {
    let extents: Vec<String> = value.shape.iter().map(usize::to_string).collect();
    format!("{}[{}]", value.dtype, extents.join(" "))
}

impl fmt::Display for Graph {
    /// A line a node, under its layer, and the totals.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let lines: Vec<Vec<String>> = rows
            .iter()
            .map(|row| {
                let outputs: Vec<String> =
                    row.outputs.iter().map(|o| format!("{} {}", o.id, tensor(o))).collect();
                let outputs = if outputs.is_empty() { "state".into() } else { outputs.join(", ") };
                let own = format!("@{}.", row.layer);
                let short =
                    |id: &String| id.strip_prefix(&own).map_or(id.clone(), |name| format!("@.{name}"));
                let mut inputs: Vec<String> = row.inputs.iter().map(short).collect();
                if inputs.len() > SHOWN_INPUTS {
                    let rest = inputs.split_off(SHOWN_INPUTS - 1).len();
                    inputs.push(format!("{rest} more"));
                }
                let mut call = format!("= {}({})", row.operation, inputs.join(", "));
                if !row.attributes.is_empty() {
                    call.push_str(&format!(" {{{}}}", row.attributes));
                }
                let flops = if row.flops == 0 { "-".into() } else { millions(row.flops) };
                vec![row.index.to_string(), outputs, call, flops, bytes(row.bytes)]
            })
            .collect();
        let [l, r] = [Align::Left, Align::Right];
        let text = columns(&[r, l, l, r, r], &lines);
        let mut layer = "";
        for (row, line) in rows.iter().zip(text.lines()) {
            if row.layer != layer {
                layer = &row.layer;
                writeln!(f, "{layer}")?;
            }
            writeln!(f, "  {line}")?;
        }
        let total = |of: fn(&NodeRow) -> u64| rows.iter().map(of).sum::<u64>();
        writeln!(
            f,
            "\n{} nodes; {} FLOP; {} read and written at least",
            grouped(rows.len() as u64),
            millions(total(|r| r.flops)),
            bytes(total(|r| r.bytes))
        )
    }
}

impl fmt::Display for Plan {
    /// A line a tensor of the workspace, and its size beside what it could be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = ["value", "what", "tensor", "offset", "bytes", "nodes"];
        let mut lines = vec![header.map(String::from).to_vec()];
        lines.extend(self.rows().into_iter().map(|row| {
            let size = tensor(&row.value);
            let nodes = format!("{}..{}", row.first, row.last);
            let (offset, size_in_bytes) = (grouped(row.offset as u64), grouped(row.value.bytes));
            vec![row.value.id, row.value.name, size, offset, size_in_bytes, nodes]
        }));
        let [l, r] = [Align::Left, Align::Right];
        f.write_str(&columns(&[l, l, l, r, r, l], &lines))?;
        writeln!(f)?;
        for segment in Segment::ALL {
            let nodes = self.segment(segment);
            writeln!(f, "{:<10} {} nodes", segment_name(segment), nodes.len())?;
        }
        let size = |n: usize| format!("{} ({} bytes)", bytes(n as u64), grouped(n as u64));
        writeln!(f, "workspace         {}", size(self.workspace_bytes))?;
        writeln!(f, "side by side      {}", size(self.unshared_bytes))?;
        writeln!(f, "alive at once     {}", size(self.live_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Fusions, Precision, differentiate, fuse, lower, plan};
    use crate::nn::{Options, Purpose, build, by_name};

    fn step() -> Graph {
        let options = Options::new(Purpose::Train, 2, [8, 8, 3], 10);
        let graph = build(&by_name("rir-32").unwrap(), &options).unwrap();
        let loss = graph.result("loss").unwrap();
        differentiate(graph, loss).unwrap()
    }

    #[test]
    fn attributes_leave_out_what_is_zero() {
        let debug = "Conv2dDataGrad { conv: Conv2d { stride: 2, pad: 1, identity: 0, epilogue: None }, \
                     input: Shape([2, 8, 8, 16]), addend: Masked }";
        assert_eq!(attributes(debug), "conv (stride 2, pad 1), input [2 8 8 16], addend Masked");
        let debug =
            "Conv2d { stride: 1, pad: 1, identity: 8, epilogue: ScaleShift { outer: false, relu: true } }";
        assert_eq!(attributes(debug), "stride 1, pad 1, identity 8, epilogue ScaleShift(relu)");
        assert_eq!(attributes("Relu"), "");
    }

    #[test]
    fn a_graph_prints_every_node_once() {
        let fused = fuse(lower(&step(), Precision::Bf16).unwrap(), Fusions::ALL).unwrap();
        let text = fused.to_string();
        for (i, node) in fused.nodes.iter().enumerate() {
            let start = format!("{i}  ");
            assert!(text.lines().any(|l| l.trim_start().starts_with(&start)), "{i} {node:?}");
        }
        assert!(text.contains("= conv2d(%"), "{text}");
        assert!(text.contains("identity 8, epilogue Statistics"), "{text}");
        assert!(text.contains("identity 8, projected, epilogue Statistics"), "{text}");
    }

    /// What a plan prints is what it keeps apart: tensors alive together do not overlap.
    #[test]
    fn tensors_alive_together_lie_apart() {
        let plan = plan(&step(), &|_, n| if n.inputs.len() > 2 { 1000 } else { 0 });
        let rows = plan.rows();
        assert!(rows.iter().any(|r| r.value.id == "scratch"));
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[..i] {
                let together = a.first <= b.last && b.first <= a.last;
                let end = |r: &TensorRow| r.offset + r.value.bytes as usize;
                assert!(!together || end(a) <= b.offset || end(b) <= a.offset, "{a:?} {b:?}");
            }
        }
        let end = rows.iter().map(|r| r.offset + r.value.bytes as usize).max().unwrap();
        assert!(end <= plan.workspace_bytes && plan.workspace_bytes < end + super::super::plan::ALIGNMENT);
    }
}
