//! A graph as Graphviz text: `rir inspect rir-32 --graph fused --dot | dot -Tsvg > rir.svg`.

use std::fmt::Write;

use super::{Graph, Segment, Source, ValueId};

/// The graph in the DOT language: a box a node, boxed together by layer, an edge a tensor with its extents.
///
/// Tensors of the State are left out: a layer's name tells them.
pub fn dot(graph: &Graph) -> String {
    let mut text =
        String::from("digraph rir {\n  rankdir = TB;\n  node [shape = box, fontname = monospace];\n");
    let rows = graph.rows();
    let mut start = 0;
    while start < rows.len() {
        let layer = &rows[start].layer;
        let end = (start..rows.len()).find(|&i| rows[i].layer != *layer).unwrap_or(rows.len());
        let _ = writeln!(text, "  subgraph cluster_{start} {{\n    label = {};", quoted(layer));
        for row in &rows[start..end] {
            let label = match row.attributes.as_str() {
                "" => row.operation.to_owned(),
                attributes => format!("{}\n{attributes}", row.operation),
            };
            let fill = match graph.nodes[row.index].segment {
                Segment::Gradients => "white",
                Segment::Reduce => "lightblue",
                Segment::Update => "lightgrey",
            };
            let _ = writeln!(
                text,
                "    n{} [label = {}, style = filled, fillcolor = {fill}];",
                row.index,
                quoted(&label)
            );
        }
        text.push_str("  }\n");
        start = end;
    }
    let mut inputs: Vec<ValueId> = Vec::new();
    for (i, node) in graph.nodes.iter().enumerate() {
        for &v in &node.inputs {
            let from = match graph.value(v).source {
                Source::Node { node, .. } => format!("n{node}"),
                Source::Parameter(_) | Source::Running(_) => continue,
                _ => {
                    if !inputs.contains(&v) {
                        inputs.push(v);
                        let name = quoted(&graph.id(v));
                        let _ = writeln!(text, "  i{} [label = {name}, shape = ellipse];", v.0);
                    }
                    format!("i{}", v.0)
                }
            };
            let value = graph.value(v);
            let label = quoted(&format!("{} {}", value.dtype, value.shape));
            let _ = writeln!(text, "  {from} -> n{i} [label = {label}];");
        }
    }
    for (i, (name, v)) in graph.results.iter().enumerate() {
        if let Source::Node { node, .. } = graph.value(*v).source {
            let _ = writeln!(text, "  r{i} [label = {}, shape = ellipse];\n  n{node} -> r{i};", quoted(name));
        }
    }
    text.push_str("}\n");
    text
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Options, Purpose, build, by_name};

    #[test]
    fn every_node_has_a_box_and_every_edge_two_ends() {
        let options = Options::new(Purpose::Train, 2, [8, 8, 3], 10);
        let graph = build(&by_name("rir-32").unwrap(), &options).unwrap();
        let text = dot(&graph);
        let boxes: Vec<&str> =
            text.lines().filter(|l| l.contains("[label") && !l.contains("->")).map(str::trim).collect();
        for line in text.lines().filter(|l| l.contains("->")) {
            let (from, to) = line.trim().split_once(" -> ").unwrap();
            let to = to.split([' ', ';']).next().unwrap();
            for end in [from, to] {
                assert!(boxes.iter().any(|b| b.starts_with(&format!("{end} "))), "{end}: {line}");
            }
        }
        assert_eq!(text.matches('{').count(), text.matches('}').count());
        assert!(boxes.len() >= graph.nodes.len());
    }
}
