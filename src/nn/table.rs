//! The layer table: what each layer of a network computes, and what it costs for one image.

use std::fmt;

use super::description::{Description, Form};
use super::network::{Options, Purpose, build};
use crate::error::Result;
use crate::graph::{Graph, Node, ParameterKind, Source};
use crate::ops::Op;
use crate::text::{Align, columns, grouped, millions};

/// One layer.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Row {
    /// Its name, as in checkpoints.
    pub layer: String,
    /// What it does, such as `conv 3x3 /2 + E 48, bn, relu`.
    pub operation: String,
    /// Extents of its output for one image: height, width, channels; or classes.
    pub output: Vec<usize>,
    /// Weights and biases of its convolutions and linear layers.
    pub weights: usize,
    /// Scales and shifts of its batch norm.
    pub batch_norm: usize,
    /// Multiply-adds for one image, zero padding counted.
    pub multiply_adds: usize,
}

/// The layers of a network, in the order in which they run.
///
/// ```
/// let rir = rir::nn::by_name("rir-18-wide").unwrap();
/// let table = rir::nn::table::Table::new(&rir, [32, 32, 3], 10).unwrap();
/// assert_eq!(table.parameters(), 10_300_532);
/// ```
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// One entry a layer.
    pub rows: Vec<Row>,
}

impl Table {
    /// The table of a network for images of these extents (height, width, channels).
    ///
    /// # Errors
    /// As [`build`].
    pub fn new(description: &Description, image: [usize; 3], classes: usize) -> Result<Table> {
        description.validate()?;
        // The training graph has one node a concept. Four convolutions hold and cost what the one does.
        let one = Description { form: Form::OneConvolution, ..description.clone() };
        let graph = build(&one, &Options::new(Purpose::Train, 1, image, classes))?;
        let mut rows: Vec<Row> = Vec::new();
        for node in graph.nodes.iter().filter(|n| n.layer != "loss") {
            // A block's last layer goes on after its projection.
            let at = rows.iter().position(|r| r.layer == node.layer).unwrap_or_else(|| {
                rows.push(Row { layer: node.layer.clone(), ..Row::default() });
                rows.len() - 1
            });
            rows[at].add(&graph, node);
        }
        if description.form == Form::FourConvolutions {
            let generalized = rows.iter_mut().filter(|r| r.operation.contains("+ E"));
            generalized.for_each(|r| r.operation = format!("4 {}", r.operation));
        }
        Ok(Table { rows })
    }

    /// Weights and biases of all layers.
    pub fn weights(&self) -> usize {
        self.rows.iter().map(|r| r.weights).sum()
    }
    /// Batch-norm parameters of all layers.
    pub fn batch_norm(&self) -> usize {
        self.rows.iter().map(|r| r.batch_norm).sum()
    }
    /// All parameters.
    pub fn parameters(&self) -> usize {
        self.weights() + self.batch_norm()
    }
    /// Multiply-adds for one image.
    pub fn multiply_adds(&self) -> usize {
        self.rows.iter().map(|r| r.multiply_adds).sum()
    }
}

impl Row {
    /// Adds what one node of the layer does and costs.
    fn add(&mut self, graph: &Graph, node: &Node) {
        let Some(phrase) = phrase(graph, node) else { return };
        let separator = match (self.operation.as_str(), phrase.as_str()) {
            ("", _) | (_, "") => "",
            (_, p) if p.starts_with('+') => " ",
            _ => ", ",
        };
        self.operation.extend([separator, &phrase]);
        let output = graph.shape(node.outputs[0]);
        self.output = output.0[1..].to_vec();
        for &input in &node.inputs {
            let Source::Parameter(i) = graph.value(input).source else { continue };
            let parameter = &graph.state.parameters[i];
            let elements = parameter.shape.elements();
            match parameter.kind {
                ParameterKind::Weight { .. } => {
                    self.weights += elements;
                    self.multiply_adds += output.rows() * elements;
                }
                ParameterKind::Bias => self.weights += elements,
                ParameterKind::Scale | ParameterKind::Shift => self.batch_norm += elements,
            }
        }
    }
}

/// What the table calls an operation; `None` for batch norm's bookkeeping, which it leaves out.
fn phrase(graph: &Graph, node: &Node) -> Option<String> {
    let by = |stride: usize| if stride == 1 { String::new() } else { format!(" /{stride}") };
    let is_identity = |v: &&crate::graph::ValueId| {
        graph.producer(**v).is_some_and(|n| matches!(n.op, Op::Shortcut(_)) && n.layer == node.layer)
    };
    Some(match &node.op {
        Op::Conv2d(conv) => {
            let filter = &graph.shape(node.inputs[1]).0;
            format!("conv {}x{}{}", filter[1], filter[2], by(conv.stride))
        }
        Op::Shortcut(s) if node.layer.ends_with(".shortcut") => {
            format!("identity{}, zero-padded", by(s.stride))
        }
        Op::Shortcut(s) => format!("+ E {}", s.copied),
        Op::Add(_) if node.inputs.iter().any(|v| is_identity(&v)) => String::new(),
        Op::Add(_) => "+ outer".into(),
        Op::BatchNorm(_) => "bn".into(),
        Op::Relu(_) => "relu".into(),
        Op::GlobalAvgPool(_) => "average pool".into(),
        Op::Linear(_) => "linear".into(),
        Op::Reshape(_) => "flatten".into(),
        _ => return None,
    })
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |n: usize| if n == 0 { "-".to_owned() } else { grouped(n as u64) };
        let header = ["layer", "operation", "output", "weights", "BN", "multiply-adds"];
        let mut rows = vec![header.map(String::from).to_vec()];
        rows.extend(self.rows.iter().map(|r| {
            let output = r.output.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let numbers = [r.weights, r.batch_norm, r.multiply_adds].map(count);
            [vec![r.layer.clone(), r.operation.clone(), output], numbers.to_vec()].concat()
        }));
        let totals = [self.weights(), self.batch_norm(), self.multiply_adds()].map(count);
        rows.push([vec!["total".into(), String::new(), String::new()], totals.to_vec()].concat());
        let [l, r] = [Align::Left, Align::Right];
        let text = columns(&[l, l, r, r, r, r], &rows);
        let widest = text.lines().map(str::len).max().unwrap_or(0);
        for (i, line) in text.lines().enumerate() {
            if i == 1 || i + 1 == rows.len() {
                writeln!(f, "{}", "-".repeat(widest))?;
            }
            writeln!(f, "{line}")?;
        }
        writeln!(
            f,
            "\n{} parameters ({} weights, {} batch norm), {} multiply-adds for one image",
            grouped(self.parameters() as u64),
            grouped(self.weights() as u64),
            grouped(self.batch_norm() as u64),
            millions(self.multiply_adds() as u64)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Projection, by_name};

    fn table(name: &str, projection: Projection, classes: usize) -> Table {
        let description = Description { projection, ..by_name(name).unwrap() };
        Table::new(&description, [32, 32, 3], classes).unwrap()
    }

    /// The published totals, and those derived from them for the other projections.
    #[test]
    fn totals_are_the_published_ones() {
        use Projection::{Conv1x1, Conv3x3, Pad};
        let totals = |name: &str, projection, classes| {
            let t = table(name, projection, classes);
            (grouped(t.parameters() as u64), millions(t.multiply_adds() as u64))
        };
        let want = |parameters: &str, multiply_adds: &str| (parameters.into(), multiply_adds.into());
        for name in ["rir-18-wide", "resnet-18-wide"] {
            assert_eq!(totals(name, Conv3x3, 10), want("10,300,532", "1,361.85 M"));
            assert_eq!(totals(name, Conv3x3, 100), want("10,335,272", "1,364.07 M"));
            assert_eq!(totals(name, Pad, 10), want("9,469,940", "1,276.92 M"));
            assert_eq!(totals(name, Conv1x1, 10), want("9,563,252", "1,286.36 M"));
        }
        for name in ["cnn-18-wide", "resnet-init-18-wide"] {
            assert_eq!(totals(name, Conv3x3, 10), want("9,469,940", "1,276.92 M"));
        }
        let t = table("rir-18-wide", Conv3x3, 10);
        assert_eq!((t.weights(), t.batch_norm()), (10_291_488, 9_044));
    }

    /// The rows of the published table.
    #[test]
    fn rows_are_the_published_ones() {
        let t = table("rir-18-wide", Projection::Conv3x3, 10);
        let row = |layer: &str| t.rows.iter().find(|r| r.layer == layer).unwrap();
        let costs = |layer: &str| {
            let r = row(layer);
            (r.weights, r.batch_norm, r.multiply_adds)
        };
        assert_eq!(costs("stem"), (2_592, 192, 2_654_208));
        assert_eq!(costs("group1.block1.layer1"), (82_944, 192, 84_934_656));
        assert_eq!(costs("group2.block1.shortcut"), (165_888, 384, 42_467_328));
        assert_eq!(costs("group2.block1.layer1"), (165_888, 384, 42_467_328));
        assert_eq!(costs("group3.block3.layer2"), (1_327_104, 768, 84_934_656));
        assert_eq!(costs("head"), (3_840, 20, 245_760));
        assert_eq!(row("group2.block1.layer1").operation, "conv 3x3 /2 + E 48, bn, relu");
        assert_eq!(row("group2.block1.layer2").operation, "conv 3x3 + E 96, bn + outer, relu");
        assert_eq!(row("group2.block1.layer2").output, [16, 16, 192]);
        assert_eq!(t.rows.len(), 1 + 16 + 2 + 1);
    }

    #[test]
    fn four_convolutions_hold_and_cost_what_the_one_does() {
        let one = table("rir-32", Projection::Conv3x3, 10);
        let description = Description { form: Form::FourConvolutions, ..by_name("rir-32").unwrap() };
        let four = Table::new(&description, [32, 32, 3], 10).unwrap();
        assert_eq!((four.weights(), four.multiply_adds()), (one.weights(), one.multiply_adds()));
        assert_eq!(four.rows[1].operation, "4 conv 3x3 + E 8, bn, relu");
        let built = build(&description, &Options::new(Purpose::Train, 1, [32, 32, 3], 10)).unwrap();
        assert_eq!(built.state.parameter_count(), four.parameters());
    }
}
