//! From a description to a graph.

use super::ablation::{self, Ablation};
use super::description::{Body, Description, Form, Head, Projection};
use crate::error::{Error, Result};
use crate::graph::{Graph, ParameterKind, ValueId, differentiate};
use crate::ops::{Conv2d, Sgd};

/// Pixels of a batch, fewer than these: kernels count them in 31 bits.
const MOST_PIXELS: usize = 1 << 31;

/// What a graph is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Purpose {
    /// Batch statistics, to be differentiated.
    Train,
    /// Running statistics, folded.
    Evaluate,
}

/// Everything that makes a graph of a description.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// What the graph is for.
    pub purpose: Purpose,
    /// Images of a batch, N.
    pub batch: usize,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Share of the target spread evenly over all classes.
    pub label_smoothing: f64,
    /// Keeps every layer's output readable as the result `activation.<layer>`.
    pub keep_activations: bool,
    /// A part that the network does without.
    pub ablation: Option<Ablation>,
}

impl Options {
    /// Options with a hard target and nothing kept but logits, loss and the number of right answers.
    pub fn new(purpose: Purpose, batch: usize, image: [usize; 3], classes: usize) -> Self {
        Self { purpose, batch, image, classes, label_smoothing: 0.0, keep_activations: false, ablation: None }
    }
}

/// The graph of a training step: [`build`], the gradient of every parameter, and the optimiser's update.
///
/// # Errors
/// As [`build`].
pub fn training_step(description: &Description, options: &Options, sgd: Sgd) -> Result<Graph> {
    let graph = build(description, options)?;
    let loss = graph.result("loss").ok_or_else(|| Error::model("the network has no loss"))?;
    let mut graph = differentiate(graph, loss)?;
    graph.sgd(sgd)?;
    Ok(graph)
}

/// The graph of a network: its forward pass up to the loss. Results: `logits`, `loss`, `correct`, and the activations
/// where they are kept. The State is the same for every purpose, batch and ablation.
///
/// # Errors
/// A description that is not valid, or does not fit the image or the ablation; or a batch of 2^31 pixels.
pub fn build(description: &Description, options: &Options) -> Result<Graph> {
    description.validate()?;
    if options.classes < 2 {
        return Err(Error::model(format!(
            "a classifier needs at least two classes, got {}",
            options.classes
        )));
    }
    let [h, w, c] = options.image;
    let pixels = [options.batch, h, w].into_iter().try_fold(1, usize::checked_mul);
    if pixels.is_none_or(|pixels| pixels >= MOST_PIXELS) {
        return Err(Error::usage(format!(
            "a batch of {} images of {h} x {w} has 2^31 pixels or more, which no device counts; give a smaller batch",
            options.batch
        )));
    }
    if let Some(ablation) = options.ablation {
        ablation.check(description)?;
    }
    let mut network = Network { graph: Graph::new(), description, options, layer: 0 };
    network.graph.enter("input");
    let images = network.graph.images([options.batch, h, w, c]);
    let x = network.stem(images)?;
    let x = match &description.body {
        Body::Groups(groups) => {
            let mut x = x;
            for (g, group) in groups.iter().enumerate() {
                for b in 0..group.blocks {
                    let stride = if b == 0 { group.stride } else { 1 };
                    x = network.block(&format!("group{}.block{}", g + 1, b + 1), x, group.width, stride)?;
                }
            }
            x
        }
        Body::Layers(layers) => {
            let mut x = x;
            for (i, layer) in layers.iter().enumerate() {
                let name = format!("layer{}", i + 1);
                x = network.generalized(&name, x, layer.width, layer.size, layer.stride)?;
                x = network.graph.relu(x)?;
                x = network.activation(&name, x)?;
            }
            x
        }
    };
    let logits = network.head(x)?;
    let mut graph = network.graph;
    graph.keep("logits", logits);
    graph.enter("loss");
    let labels = graph.labels(options.batch);
    graph.softmax_cross_entropy(logits, labels, options.label_smoothing)?;
    Ok(graph)
}

struct Network<'a> {
    graph: Graph,
    description: &'a Description,
    options: &'a Options,
    /// The layer that is being built, as [`Description::layer_names`] counts.
    layer: usize,
}

impl Network<'_> {
    /// A layer is done: what is read of its output `y`.
    fn activation(&mut self, layer: &str, y: ValueId) -> Result<ValueId> {
        let zeroed = self.options.ablation.and_then(|ablation| ablation.zeroed(self.layer));
        self.layer += 1;
        let y = match zeroed {
            Some(stream) => {
                let residual = self.description.residual(self.graph.shape(y).channels());
                ablation::without(&mut self.graph, y, stream, residual)?
            }
            None => y,
        };
        if self.options.keep_activations {
            self.graph.keep(format!("activation.{layer}"), y);
        }
        Ok(y)
    }

    /// Whether the layer that is being built goes without E.
    fn drops_identity(&self) -> bool {
        self.options.ablation.is_some_and(|ablation| ablation.drops_identity(self.layer))
    }

    fn batch_norm(&mut self, layer: &str, z: ValueId) -> Result<ValueId> {
        let name = format!("{layer}.bn");
        match self.options.purpose {
            Purpose::Train => self.graph.batch_norm(&name, z),
            Purpose::Evaluate => self.graph.folded_batch_norm(&name, z),
        }
    }

    /// An ordinary convolution and batch norm, without ReLU.
    fn ordinary(
        &mut self,
        layer: &str,
        x: ValueId,
        width: usize,
        size: usize,
        stride: usize,
    ) -> Result<ValueId> {
        self.graph.enter(layer);
        let z = self.graph.conv2d(&format!("{layer}.conv"), x, width, size, stride)?;
        self.batch_norm(layer, z)
    }

    /// The first convolution: ordinary in every family.
    fn stem(&mut self, images: ValueId) -> Result<ValueId> {
        let [h, w, c] = self.options.image;
        let x = if self.description.flatten {
            self.graph.reshape(images, [self.options.batch, 1, 1, h * w * c])?
        } else {
            images
        };
        let n = self.ordinary("stem", x, self.description.stem, self.description.size, 1)?;
        let y = self.graph.relu(n)?;
        self.activation("stem", y)
    }

    /// A layer up to its batch norm (paper: "The generalized residual block"): `BN(conv(x, W) + E x)`.
    fn generalized(
        &mut self,
        layer: &str,
        x: ValueId,
        width: usize,
        size: usize,
        stride: usize,
    ) -> Result<ValueId> {
        let identity = self.description.identity(self.graph.shape(x).channels(), width);
        if identity == 0 {
            return self.ordinary(layer, x, width, size, stride);
        }
        self.graph.enter(layer);
        let z = match self.description.form {
            Form::OneConvolution => {
                let z = self.graph.conv2d(&format!("{layer}.conv"), x, width, size, stride)?;
                if self.drops_identity() {
                    z
                } else {
                    let e = self.graph.shortcut(x, stride, width, identity)?;
                    self.graph.add(z, e)?
                }
            }
            Form::FourConvolutions => self.four_convolutions(layer, x, width, size, stride)?,
        };
        self.batch_norm(layer, z)
    }

    /// `r' = conv(r, W_rr) + conv(t, W_tr) + shortcut(r)`, `t' = conv(r, W_rt) + conv(t, W_tt)`, side by side.
    fn four_convolutions(
        &mut self,
        layer: &str,
        x: ValueId,
        width: usize,
        size: usize,
        stride: usize,
    ) -> Result<ValueId> {
        let c = self.graph.shape(x).channels();
        let (r_in, r_out) = (self.description.residual(c), self.description.residual(width));
        let r = self.graph.channels(x, 0, r_in)?;
        let t = self.graph.channels(x, r_in, c - r_in)?;
        // All four quarters are drawn as parts of one W, whose fan-in is that of both streams.
        let kind = ParameterKind::Weight { fan_in: c * size * size };
        let quarter = |graph: &mut Graph, name: &str, from: ValueId, channels: usize| {
            let shape = [channels, size, size, graph.shape(from).channels()];
            let w = graph.parameter(format!("{layer}.conv.{name}.weight"), shape, kind);
            graph.push1(Conv2d::same(size, stride).into(), &[from, w])
        };
        let rr = quarter(&mut self.graph, "rr", r, r_out)?;
        let tr = quarter(&mut self.graph, "tr", t, r_out)?;
        let rt = quarter(&mut self.graph, "rt", r, width - r_out)?;
        let tt = quarter(&mut self.graph, "tt", t, width - r_out)?;
        let conv_r = self.graph.add(rr, tr)?;
        let r = if self.drops_identity() {
            conv_r
        } else {
            let shortcut = self.graph.shortcut(r, stride, r_out, r_in.min(r_out))?;
            self.graph.add(conv_r, shortcut)?
        };
        let t = self.graph.add(rt, tt)?;
        self.graph.concatenate(r, t)
    }

    /// Layers with one outer shortcut over all of them and over all channels, where the family has one:
    /// `y = ReLU(BN(conv_last(...)) + outer_shortcut(x))`.
    fn block(&mut self, name: &str, x: ValueId, width: usize, stride: usize) -> Result<ValueId> {
        let Description { layers_per_block: last, size, family, outer_relu, .. } = *self.description;
        let mut y = x;
        for l in 1..=last {
            let layer = format!("{name}.layer{l}");
            y = self.generalized(&layer, y, width, size, if l == 1 { stride } else { 1 })?;
            let with_outer = l == last && family.has_outer_shortcut();
            if with_outer {
                let outer = self.outer_shortcut(&format!("{name}.shortcut"), x, width, stride)?;
                self.graph.enter(&*layer);
                y = self.graph.add(y, outer)?;
            }
            if !with_outer || outer_relu {
                y = self.graph.relu(y)?;
            }
            y = self.activation(&layer, y)?;
        }
        Ok(y)
    }

    /// The identity where extents and width stay, else the description's projection.
    fn outer_shortcut(&mut self, name: &str, x: ValueId, width: usize, stride: usize) -> Result<ValueId> {
        let c = self.graph.shape(x).channels();
        if stride == 1 && c == width {
            return Ok(x);
        }
        match self.description.projection {
            Projection::Conv3x3 => self.ordinary(name, x, width, self.description.size, stride),
            Projection::Conv1x1 => self.ordinary(name, x, width, 1, stride),
            Projection::Pad => {
                self.graph.enter(name);
                self.graph.shortcut(x, stride, width, c.min(width))
            }
        }
    }

    /// Logits, [N classes].
    fn head(&mut self, x: ValueId) -> Result<ValueId> {
        self.graph.enter("head");
        match self.description.head {
            Head::Linear => {
                let pooled = self.graph.global_avg_pool(x)?;
                self.graph.linear("head.linear", pooled, self.options.classes)
            }
            Head::Conv => {
                let y = self.ordinary("head", x, self.options.classes, 1, 1)?;
                self.graph.global_avg_pool(y)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::zoo;

    fn parameters(name: &str, projection: Projection, classes: usize) -> usize {
        let description = Description { projection, ..zoo::by_name(name).unwrap() };
        let options = Options::new(Purpose::Train, 2, [32, 32, 3], classes);
        build(&description, &options).unwrap().state.parameter_count()
    }

    /// The published totals, and those derived from them for the other projections.
    #[test]
    fn parameter_totals_are_the_published_ones() {
        use Projection::{Conv1x1, Conv3x3, Pad};
        for family in ["rir", "resnet"] {
            assert_eq!(parameters(&format!("{family}-18-wide"), Conv3x3, 10), 10_300_532);
            assert_eq!(parameters(&format!("{family}-18-wide"), Conv3x3, 100), 10_335_272);
            assert_eq!(parameters(&format!("{family}-18-wide"), Conv1x1, 10), 9_563_252);
            assert_eq!(parameters(&format!("{family}-18-wide"), Pad, 10), 9_469_940);
            assert_eq!(parameters(&format!("{family}-32"), Conv3x3, 10), 487_386);
            assert_eq!(parameters(&format!("{family}-32"), Conv1x1, 10), 466_906);
            assert_eq!(parameters(&format!("{family}-32"), Pad, 10), 464_154);
        }
        for family in ["cnn", "resnet-init"] {
            assert_eq!(parameters(&format!("{family}-18-wide"), Conv3x3, 10), 9_469_940);
            assert_eq!(parameters(&format!("{family}-32"), Conv3x3, 10), 464_154);
        }
    }

    #[test]
    fn layers_are_counted_as_they_are_built() {
        for name in zoo::NAMES {
            let description = zoo::by_name(name).unwrap();
            let options = Options::new(Purpose::Evaluate, 1, [32, 32, 3], 10);
            let graph = build(&description, &Options { keep_activations: true, ..options }).unwrap();
            let kept = graph.results.iter().filter_map(|(name, _)| name.strip_prefix("activation."));
            assert_eq!(kept.collect::<Vec<_>>(), description.layer_names(), "{name}");
        }
    }

    #[test]
    fn training_and_evaluation_share_one_state() {
        for name in zoo::NAMES {
            let description = zoo::by_name(name).unwrap();
            let graph = |purpose, batch| {
                build(&description, &Options::new(purpose, batch, [32, 32, 3], 10)).unwrap().state
            };
            assert_eq!(graph(Purpose::Train, 8), graph(Purpose::Evaluate, 3), "{name}");
        }
    }
}
