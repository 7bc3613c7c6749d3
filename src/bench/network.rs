//! The cases of a network: what its training step runs, node by node, each different one once.

use crate::check::Case;
use crate::check::cases::{Limit, of_node};
use crate::error::Result;
use crate::graph::{Fusions, Graph, Node, Precision, Source, ValueId, fuse, lower};
use crate::nn::{Body, Description, Group, Options, Purpose, by_name, training_step};
use crate::ops::{Cost, Op, Sgd};

/// A network as it is trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    /// The network.
    pub description: Description,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Images of a batch.
    pub batch: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// Which operations are fused.
    pub fusions: Fusions,
}

/// A different node of a graph: an operation with its attributes and shapes.
#[derive(Debug, Clone, PartialEq)]
pub struct Site {
    /// The node as a case: what it reads, and how near its results must come to the definition.
    pub case: Case,
    /// The layers that have such a node, in the graph's order; a layer that has it twice is there twice.
    pub layers: Vec<String>,
    /// What a run costs at least.
    pub cost: Cost,
}

impl Network {
    /// The training step, lowered and fused: forward, gradients, and the optimiser's update with L2.
    ///
    /// # Errors
    /// If the description does not fit the image.
    pub fn graph(&self) -> Result<Graph> {
        let options = Options::new(Purpose::Train, self.batch, self.image, self.classes);
        let graph = training_step(&self.description, &options, Sgd::PAPER)?;
        fuse(lower(&graph, self.precision)?, self.fusions)
    }

    /// The different nodes of [`Network::graph`], in its order.
    ///
    /// # Errors
    /// As [`Network::graph`].
    pub fn sites(&self) -> Result<Vec<Site>> {
        Ok(sites(&self.graph()?, self.precision))
    }

    /// The convolutions among [`Network::sites`].
    ///
    /// # Errors
    /// As [`Network::graph`].
    pub fn convolutions(&self) -> Result<Vec<Site>> {
        let mut sites = self.sites()?;
        sites.retain(|site| site.case.op.operation().name().starts_with("conv2d"));
        Ok(sites)
    }
}

/// The different nodes of a lowered graph, in its order.
pub fn sites(graph: &Graph, precision: Precision) -> Vec<Site> {
    let mut sites: Vec<Site> = Vec::new();
    for node in &graph.nodes {
        let (of, layer) = (of_node(graph, node, precision), layer(graph, node));
        let form = of.form.replacen(&node.layer, &layer, 1);
        let case = Case { limit: limit(graph, node), form, ..of };
        let same = |site: &&mut Site| site.case.op == case.op && site.case.inputs == case.inputs;
        match sites.iter_mut().find(same) {
            Some(site) => site.layers.push(layer),
            None => sites.push(Site { case, layers: vec![layer], cost: graph.cost(node) }),
        }
    }
    sites
}

/// The layer that a node belongs to. A convolution's is that of its filter: fusion puts a data gradient in the place of
/// the sum that it ends in, which is the layer before.
fn layer(graph: &Graph, node: &Node) -> String {
    let parameter = match node.op {
        Op::Conv2d(_) | Op::Conv2dDataGrad(_) => parameter_behind(graph, node.inputs[1]),
        Op::Conv2dWeightGrad(_) => graph.gradients.iter().position(|v| *v == node.outputs[0]),
        _ => None,
    };
    let name = parameter.and_then(|i| graph.state.parameters[i].name.strip_suffix(".conv.weight"));
    name.map_or_else(|| node.layer.clone(), str::to_owned)
}

/// The parameter that a value is, or is a cast of.
fn parameter_behind(graph: &Graph, v: ValueId) -> Option<usize> {
    match graph.value(v).source {
        Source::Parameter(i) => Some(i),
        Source::Node { node, output } => {
            let inputs = &graph.nodes[node].inputs;
            match graph.value(*inputs.get(output)?).source {
                Source::Parameter(i) => Some(i),
                _ => None,
            }
        }
        _ => None,
    }
}

/// The terms of the sums that a node makes: what the table of cases says of its rows.
fn limit(graph: &Graph, node: &Node) -> Limit {
    let shape = |i: usize| graph.shape(node.inputs[i]);
    let filter = |i: usize| shape(i).dims4().unwrap_or([1; 4]);
    Limit::Sum(match node.op {
        Op::Conv2d(_) => filter(1)[1..].iter().product(),
        Op::Conv2dDataGrad(ref op) => op.conv.branches() * filter(1)[..3].iter().product::<usize>(),
        Op::Conv2dWeightGrad(_) => shape(1).rows(),
        Op::BatchStats(_)
        | Op::BatchNormReduce(_)
        | Op::TwoStreamReduce(_)
        | Op::LinearWeightGrad(_)
        | Op::BiasGrad(_) => shape(0).rows(),
        Op::SoftmaxCrossEntropy(_) => shape(0).elements(),
        Op::Linear(_) => shape(0).channels(),
        Op::LinearDataGrad(_) | Op::SoftmaxCrossEntropyBackward(_) => graph.shape(node.outputs[0]).channels(),
        Op::GlobalAvgPool(_) => filter(0)[1..3].iter().product(),
        _ => 1,
    })
}

/// A residual network so small that the emulator counts a whole step of it in seconds, yet with every operation of
/// `rir-18-wide`: two groups, a projection, and the convolutional head.
///
/// # Errors
/// Never: that is a model of the zoo.
pub fn narrow() -> Result<Description> {
    let group = |width, stride| Group { width, blocks: 1, stride };
    let body = Body::Groups(vec![group(32, 1), group(64, 2)]);
    Ok(Description { name: "rir-narrow".into(), stem: 32, body, ..by_name("rir-18-wide")? })
}

/// Bytes that a step reads and writes at least, node by node, and its floating-point operations.
pub fn total(graph: &Graph) -> Cost {
    graph.nodes.iter().map(|node| graph.cost(node)).fold(Cost::default(), |sum, cost| Cost {
        flops: sum.flops + cost.flops,
        bytes: sum.bytes + cost.bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_node_has_its_site_once() {
        let network = Network {
            description: narrow().unwrap(),
            image: [8, 8, 3],
            classes: 10,
            batch: 2,
            precision: Precision::Bf16,
            fusions: Fusions::ALL,
        };
        let (graph, sites) = (network.graph().unwrap(), network.sites().unwrap());
        assert_eq!(sites.iter().map(|site| site.layers.len()).sum::<usize>(), graph.nodes.len());
        let names: std::collections::HashSet<String> = sites.iter().map(|site| site.case.name()).collect();
        assert!(names.len() <= sites.len() && sites.len() < graph.nodes.len());
        let bytes: u64 = sites.iter().map(|site| site.cost.bytes * site.layers.len() as u64).sum();
        assert_eq!(bytes, total(&graph).bytes);
        let convolutions = sites.iter().filter(|site| site.case.op.operation().name().starts_with("conv2d"));
        let mut layers: Vec<&str> = convolutions.flat_map(|site| &site.layers).map(String::as_str).collect();
        layers.sort_unstable();
        layers.chunk_by(|a, b| a == b).for_each(|layer| match layer[0] {
            // Nobody wants the gradient of the images.
            "stem" => assert_eq!(layer.len(), 2),
            name if name.ends_with("shortcut") => panic!("{name} is a part of its layer 1"),
            name => assert_eq!(layer.len(), 3, "{name}"),
        });
    }
}
