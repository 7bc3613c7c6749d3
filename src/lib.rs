//! `rir` trains ResNet in ResNet (RiR) and its siblings without a framework: graph, differentiation, fusion, memory
//! planning, kernels and training loop are all here, and each is small enough to read.
//!
//! # Who should use this, and who should not
//!
//! Use it to train classifiers of small images (CIFAR, or a folder of your own) with one self-contained program; to
//! measure what fusing the two-stream block is worth; to study how such an engine is built.
//!
//! Do not use it where you need other networks than convolutional classifiers of the four families (CNN, ResNet, ResNet
//! Init, RiR): the set of [operations](ops) is closed. Do not use it for images much larger than CIFAR's, for several
//! cards at once, or to serve a trained network to others. A framework does all of these better.
//!
//! Who wants to train needs no Rust: `rir train`, `rir eval`, `rir predict`, and `--help` on each. This page is for who
//! builds on the library.
//!
//! # From a description to a step
//!
//! ```text
//! description ──build──> Graph ──differentiate──> ──lower──> ──fuse──> ──plan──> Plan ──run──> device
//! ```
//!
//! Every stage is a pure function from plain data to plain data, and prints: `rir inspect rir-32 --graph STAGE`.
//!
//! | stage | | what it is good for, and what it leaves to others |
//! |---|---|---|
//! | describe | [`nn::Description`] | widths, blocks and family as data, by [name](nn::by_name) or from [TOML](nn::toml); no extents, no classes: these are the data's |
//! | build | [`nn::build`], or the methods of [`graph::Graph`] | one node an operation, shapes inferred and checked; no gradients, one storage type |
//! | differentiate | [`graph::differentiate()`] | appends the gradient of every parameter, then [`graph::Graph::sgd`] the step; before fusion, so that no fused operation needs a gradient rule |
//! | lower | [`graph::lower()`] | decides every storage type from a [`graph::Precision`] and casts where types meet |
//! | fuse | [`graph::fuse()`] | rewrites patterns to fewer, larger operations that compute the same; [`graph::Fusions::NONE`] leaves it out |
//! | plan | [`graph::plan()`] | gives every intermediate a place in one workspace by its lifetime; parameters and what outlives a step lie in the [State](graph::StateLayout) |
//! | run | [`device::Device`] | owns State and workspaces; runs plans node by node and allocates no tensor while it does |
//!
//! [`train::Session`] does all of it for a description, [`train::train`] adds data, checkpoints and run folders.
//! [`check`] holds a device to the definition of every operation.
//!
//! # A network of one's own
//!
//! Composed, differentiated and trained by hand: a layer with the identity E (paper: "ResNet Init") between an ordinary
//! one and a classifier, which learns to tell bright images from dark ones.
//!
//! ```
//! use rir::device::{Device, StepInputs, cpu::CpuDevice};
//! use rir::graph::{Fusions, Graph, Precision, Region, Segment, differentiate, fuse, lower, plan};
//! use rir::ops::Sgd;
//!
//! # fn main() -> rir::Result<()> {
//! let mut graph = Graph::new();
//! let images = graph.images([8, 16, 16, 3]); // N H W C
//! let labels = graph.labels(8);
//! graph.enter("stem"); // names the layer for people
//! let z = graph.conv2d("stem.conv", images, 8, 3, 1)?; // 8 channels, 3x3, stride 1
//! let z = graph.batch_norm("stem.bn", z)?;
//! let x = graph.relu(z)?;
//! graph.enter("layer");
//! let z = graph.conv2d("layer.conv", x, 8, 3, 1)?;
//! let e = graph.shortcut(x, 1, 8, 4)?; // E copies the residual stream: 4 of 8 channels
//! let z = graph.add(z, e)?;
//! let z = graph.batch_norm("layer.bn", z)?;
//! let y = graph.relu(z)?;
//! graph.enter("head");
//! let pooled = graph.global_avg_pool(y)?;
//! let logits = graph.linear("head.linear", pooled, 2)?;
//! let loss = graph.softmax_cross_entropy(logits, labels, 0.0)?;
//!
//! let mut graph = differentiate(graph, loss)?;
//! graph.sgd(Sgd { momentum: 0.9, ..Sgd::PLAIN })?;
//! let graph = fuse(lower(&graph, Precision::F32)?, Fusions::ALL)?;
//!
//! let mut device = CpuDevice::new(&graph.state, Precision::F32)?;
//! let scratch = device.scratch();
//! let step = device.load(plan(&graph, &scratch))?;
//! for (i, values) in rir::nn::initial_parameters(&graph.state, 0).iter().enumerate() {
//!     device.write_state(Region::Parameters, i, values)?;
//! }
//!
//! let classes = [0, 1, 0, 1, 0, 1, 0, 1];
//! let pixels = classes.iter().flat_map(|&class| (0..16 * 16 * 3).map(move |i| class as f32 + 0.1 * (i % 7) as f32));
//! let pixels: Vec<f32> = pixels.collect();
//! let mut losses = Vec::new();
//! for _ in 0..20 {
//!     device.write_batch(step, &pixels, &classes)?;
//!     for segment in Segment::ALL {
//!         device.run(step, segment, &StepInputs::rate(0.05))?;
//!     }
//!     let loss = device.plan(step).graph.result("loss").expect("softmax_cross_entropy keeps it");
//!     losses.push(device.read(step, loss)?[0]);
//! }
//! assert!(losses[19] < 0.1 * losses[0], "{losses:?}");
//! # Ok(())
//! # }
//! ```

pub mod analyze;
pub mod bench;
pub mod check;
pub mod convert;
pub mod data;
pub mod device;
pub mod error;
pub mod graph;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod plot;
pub mod predict;
pub mod random;
pub mod reproduce;
pub mod savings;
pub mod text;
pub mod trace;
pub mod train;
pub mod version;

pub use error::{Error, Result};
