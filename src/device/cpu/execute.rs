//! From a node to its kernel: finds the extents and hands out the slices.

use super::batch_norm::{self, Affine};
use super::conv2d::{self, DataGrad, Forward};
use super::conv2d_weight_grad::weight_grad;
use super::element::{Element, Real};
use super::indirect::{Direction, Extents};
use super::two_stream;
use super::views::Views;
use super::{classifier, elementwise};
use crate::graph::{DType, Graph, Node, Role, ValueId};
use crate::ops::{Addend, Cast, Conv2d, Epilogue, Op, Outer, ShadowWeights};

/// Height, width and channels of an N H W C value; other shapes count as rows of one pixel each.
fn image(graph: &Graph, v: ValueId) -> [usize; 3] {
    match graph.shape(v).dims4() {
        Some([_, h, w, c]) => [h, w, c],
        None => [1, 1, graph.shape(v).channels()],
    }
}

fn batch(graph: &Graph, v: ValueId) -> usize {
    graph.shape(v).0[0]
}

/// The extents of a convolution from x, w and z, and how many images they describe.
///
/// A 1x1 convolution at stride 1 sees only pixels, and small images leave a register tile half empty; so images are
/// put together until one has a tile's worth.
fn extents(graph: &Graph, conv: Conv2d, x: &[usize; 4], z: &[usize; 4], w: ValueId) -> (Extents, usize) {
    const ENOUGH_PIXELS: usize = 32;
    let [n, h, width, c] = *x;
    let [_, p, q, k] = *z;
    let filter = graph.shape(w).dims4().map_or([1, 1], |[_, r, s, _]| [r, s]);
    if filter == [1, 1] && conv.stride == 1 && h * width < ENOUGH_PIXELS {
        let together = (1..=n).find(|&t| n.is_multiple_of(t) && t * h * width >= ENOUGH_PIXELS).unwrap_or(n);
        let pixels = together * h * width;
        return (Extents { input: [pixels, 1, c], output: [pixels, 1, k], filter, conv }, n / together);
    }
    (Extents { input: [h, width, c], output: [p, q, k], filter, conv }, n)
}

/// A convolution's extents, how many images they describe, and its direction; none in a weight gradient.
fn conv_extents(graph: &Graph, node: &Node) -> Option<(Extents, usize, Option<Direction>)> {
    let shape = |v: ValueId| graph.shape(v).dims4();
    let (i, o) = (&node.inputs, &node.outputs);
    match &node.op {
        Op::Conv2d(conv) => {
            let (e, n) = extents(graph, *conv, &shape(i[0])?, &shape(o[0])?, i[1]);
            Some((e, n, Some(Direction::Forward)))
        }
        Op::Conv2dDataGrad(op) => {
            let (e, n) = extents(graph, op.conv, &op.input.dims4()?, &shape(i[0])?, i[1]);
            Some((e, n, Some(Direction::DataGrad)))
        }
        Op::Conv2dWeightGrad(op) => {
            let (e, n) = extents(graph, op.conv, &shape(i[0])?, &shape(i[1])?, o[0]);
            Some((e, n, None))
        }
        _ => None,
    }
}

/// Bytes of scratch: packed filters, and the images' partial reductions.
pub fn scratch(graph: &Graph, node: &Node) -> usize {
    let exact = node.outputs.iter().chain(&node.inputs).any(|v| graph.value(*v).dtype == DType::F64);
    let size = if exact { size_of::<f64>() } else { size_of::<f32>() };
    let channels = || node.inputs.first().map_or(0, |v| graph.shape(*v).channels());
    let rows = || node.inputs.first().map_or(0, |v| batch(graph, *v));
    size * match &node.op {
        Op::Conv2d(_) | Op::Conv2dDataGrad(_) => match conv_extents(graph, node) {
            Some((e, images, Some(direction))) => {
                let filter = match graph.value(node.inputs[0]).dtype {
                    DType::F64 => conv2d::packed_elements::<f64>(&e, direction),
                    DType::Bf16 => conv2d::packed_elements::<half::bf16>(&e, direction),
                    _ => conv2d::packed_elements::<f32>(&e, direction),
                };
                // Filters of a forward product are packed one after the other.
                let (filters, partials) = match &node.op {
                    Op::Conv2dDataGrad(op) => {
                        (op.conv.branches(), rows() * two_stream::sums(op.epilogue.branches()))
                    }
                    _ => (1, images * 2),
                };
                filters * filter + partials * graph.shape(node.outputs[0]).channels()
            }
            _ => 0,
        },
        Op::BatchStats(_) | Op::BatchNormReduce(_) => rows() * 2 * channels(),
        Op::TwoStreamReduce(op) => rows() * two_stream::sums(1 + usize::from(op.projected)) * channels(),
        _ => 0,
    }
}

/// Runs one node, but for [`Op::Sgd`], which has the whole State.
///
/// `T` is the storage of activations, `T::Acc` that of exact values.
pub fn execute<T: Element>(graph: &Graph, node: &Node, views: &mut Views<'_>) {
    let (i, o) = (&node.inputs, &node.outputs);
    match &node.op {
        Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_) => {
            convolution::<T>(graph, node, views)
        }
        Op::BatchStats(_) | Op::BatchNorm(_) | Op::BatchNormReduce(_) | Op::BatchNormBackward(_) => {
            normalisation::<T>(graph, node, views);
        }
        Op::TwoStreamUpdate(_) | Op::TwoStreamReduce(_) | Op::TwoStreamBackward(_) => {
            two_stream::<T>(graph, node, views);
        }
        Op::UpdateRunning(op) => {
            let (mean, variance) = (views.take::<T::Acc>(i[1]), views.take(i[2]));
            batch_norm::update_running(op, views.read(i[0]), mean, variance);
        }
        Op::FoldBatchNorm(_) => {
            let out = views.take::<T::Acc>(o[0]);
            batch_norm::fold(views.read(i[0]), views.read(i[1]), views.read(i[2]), views.read(i[3]), out);
        }
        Op::ScaleShift(_) => {
            let (y, z, pair) = (views.take::<T>(o[0]), views.read(i[0]), views.read::<T::Acc>(i[1]));
            let (a, b) = pair.split_at(pair.len() / 2);
            batch_norm::apply(z, a, b, batch(graph, i[0]), y);
        }
        Op::Shortcut(s) => {
            let y = views.take::<T>(o[0]);
            elementwise::shortcut(s, image(graph, i[0]), image(graph, o[0]), views.read(i[0]), y);
        }
        Op::ShortcutBackward(op) => {
            let (dx, ends) = (views.take::<T>(o[0]), (image(graph, o[0]), image(graph, i[0])));
            elementwise::shortcut_backward(&op.shortcut, ends.0, ends.1, views.read(i[0]), dx);
        }
        Op::Relu(_) => {
            let y = views.take::<T>(o[0]);
            elementwise::relu(views.read(i[0]), y);
        }
        Op::ReluBackward(op) => {
            let dx = views.take::<T>(o[0]);
            match op.masked {
                true => elementwise::masked(views.read(i[0]), views.read(i[1]), dx),
                false => elementwise::relu_backward(views.read(i[0]), views.read(i[1]), dx),
            }
        }
        Op::Add(_) if graph.value(o[0]).role == Role::Exact => {
            let y = views.take::<T::Acc>(o[0]);
            elementwise::add(&i.iter().map(|v| views.read(*v)).collect::<Vec<_>>(), y);
        }
        Op::Add(_) => {
            let y = views.take::<T>(o[0]);
            elementwise::add(&i.iter().map(|v| views.read(*v)).collect::<Vec<_>>(), y);
        }
        Op::GlobalAvgPool(_) => {
            let y = views.take::<T::Acc>(o[0]);
            elementwise::global_avg_pool(views.read::<T>(i[0]), batch(graph, i[0]), y);
        }
        Op::GlobalAvgPoolBackward(_) => {
            let dx = views.take::<T>(o[0]);
            elementwise::global_avg_pool_backward(views.read(i[0]), batch(graph, o[0]), dx);
        }
        Op::Linear(_) => {
            let y = views.take::<T::Acc>(o[0]);
            classifier::linear(views.read(i[0]), views.read(i[1]), views.read(i[2]), y);
        }
        Op::LinearDataGrad(_) => {
            let dx = views.take::<T::Acc>(o[0]);
            classifier::linear_data_grad(views.read(i[0]), views.read(i[1]), batch(graph, i[0]), dx);
        }
        Op::LinearWeightGrad(_) => {
            let dw = views.take::<T::Acc>(o[0]);
            classifier::linear_weight_grad(views.read(i[0]), views.read(i[1]), batch(graph, i[0]), dw);
        }
        Op::BiasGrad(_) => {
            let db = views.take::<T::Acc>(o[0]);
            classifier::bias_grad(views.read(i[0]), db);
        }
        Op::SoftmaxCrossEntropy(op) => {
            let (loss, correct) = (views.take::<T::Acc>(o[0]), views.take(o[1]));
            classifier::softmax_cross_entropy(
                views.read(i[0]),
                views.read(i[1]),
                op.smoothing,
                loss,
                correct,
            );
        }
        Op::SoftmaxCrossEntropyBackward(op) => {
            let d = views.take::<T::Acc>(o[0]);
            let (dloss, logits, labels) = (views.read(i[0]), views.read(i[1]), views.read(i[2]));
            classifier::softmax_cross_entropy_backward(dloss, logits, labels, op.smoothing, d);
        }
        Op::Reshape(_) => {
            let y = views.take::<T>(o[0]);
            y.copy_from_slice(views.read(i[0]));
        }
        Op::Cast(op) => cast::<T>(op, i[0], o[0], views),
        Op::ShadowWeights(op) => {
            for ((&w, &shadow), &identity) in i.iter().zip(o).zip(&op.identities) {
                let shadow = views.take::<T>(shadow);
                let filter = graph.shape(w).dims4();
                let identity = filter.map(|filter| (ShadowWeights::diagonal(filter), identity));
                elementwise::shadow_weights(views.read(w), identity, shadow);
            }
        }
        Op::Fill(op) => views.take::<T::Acc>(o[0]).fill(T::Acc::from_f64(op.value)),
        Op::Sgd(_) => unreachable!("the device runs sgd on the whole State"),
    }
}

fn cast<T: Element>(op: &Cast, from: ValueId, to: ValueId, views: &mut Views<'_>) {
    match (op.from, op.to) {
        (Role::Activation, Role::Activation) => {
            let y = views.take::<T>(to);
            elementwise::cast(views.read::<T>(from), y);
        }
        (Role::Activation, _) => {
            let y = views.take::<T::Acc>(to);
            elementwise::cast(views.read::<T>(from), y);
        }
        (_, Role::Activation) => {
            let y = views.take::<T>(to);
            elementwise::cast(views.read::<T::Acc>(from), y);
        }
        _ => {
            let y = views.take::<T::Acc>(to);
            elementwise::cast(views.read::<T::Acc>(from), y);
        }
    }
}

fn convolution<T: Element>(graph: &Graph, node: &Node, views: &mut Views<'_>) {
    let Some((e, ..)) = conv_extents(graph, node) else {
        unreachable!("convolutions have four-dimensional shapes")
    };
    let (i, o) = (&node.inputs, &node.outputs);
    let scratch = views.scratch();
    match &node.op {
        Op::Conv2d(op) => {
            let folded = match op.epilogue {
                Epilogue::ScaleShift { .. } => &i[2..],
                _ => &[],
            };
            for (b, o) in o.chunks(o.len() / op.branches()).enumerate() {
                let (e, z) = (Extents { conv: op.branch(b), ..e }, views.take(o[0]));
                let stats = o.get(1).map(|v| views.take(*v)).unwrap_or_default();
                let (scale_shift, outer) = (optional(views, folded.first()), optional(views, folded.get(1)));
                let (x, w) = (views.read(i[0]), views.read(i[1 + b]));
                let scratch = &mut *scratch;
                conv2d::forward::<T>(&e, Forward { x, w, scale_shift, outer, z, stats, scratch });
            }
        }
        Op::Conv2dDataGrad(op) => {
            let dx = views.take::<T>(o[0]);
            let sums = o[1..].chunks(2).map(|v| [views.take(v[0]), views.take(v[1])]).collect();
            let added = &i[op.first_of_addend()..];
            let (addend, mask) = match op.addend {
                Addend::None => (None, None),
                Addend::Tensor => (added.first(), None),
                Addend::Masked => (added.first(), added.get(1)),
            };
            let (addend, mask) = (optional(views, addend), optional(views, mask));
            let (dz, w) = (views.read(i[0]), views.read(i[1]));
            let projection = op.conv.projected.then(|| [views.read(i[2]), views.read(i[3])]);
            let epilogue = &i[op.first_of_epilogue()..];
            let filter = conv2d::packed_elements::<T>(&e, Direction::DataGrad);
            let (packed, partials) = scratch.split_at_mut(op.conv.branches() * filter);
            let relu = optional(views, epilogue.first());
            let grad = DataGrad { dz, w, projection, addend, mask, relu, dx: &mut *dx, packed };
            conv2d::data_grad(&e, op.addend, grad);
            if let Some((_, batch_norms)) = epilogue.split_first() {
                let mut branches = reductions::<T>(views, batch_norms, sums);
                two_stream::reduce(dx, None, &mut branches, batch(graph, o[0]), partials);
            }
        }
        _ => {
            for (dz, dw) in i[1..].iter().zip(o) {
                let dw = views.take(*dw);
                weight_grad::<T>(&e, views.read(i[0]), views.read(*dz), dw);
            }
        }
    }
}

fn optional<'a, T: bytemuck::Pod>(views: &'a Views<'_>, v: Option<&ValueId>) -> &'a [T] {
    v.map_or(&[], |v| views.read(*v))
}

fn normalisation<T: Element>(graph: &Graph, node: &Node, views: &mut Views<'_>) {
    let (i, o) = (&node.inputs, &node.outputs);
    let n = batch(graph, i[0]);
    let scratch = views.scratch::<T::Acc>();
    match &node.op {
        Op::BatchStats(_) => {
            let stats = views.take(o[0]);
            batch_norm::batch_stats(views.read::<T>(i[0]), n, scratch, stats);
        }
        Op::BatchNorm(_) => {
            let y = views.take::<T>(o[0]);
            let Affine { a, b } = affine(views, &i[1..4]);
            batch_norm::apply(views.read(i[0]), &a, &b, n, y);
        }
        Op::BatchNormReduce(_) => {
            let (dshift, dscale) = (views.take(o[0]), views.take(o[1]));
            let inputs = (views.read::<T>(i[0]), views.read(i[1]), views.read(i[2]));
            batch_norm::reduce(inputs, n, scratch, dshift, dscale);
        }
        _ => {
            let dz = views.take::<T>(o[0]);
            let constants = backward(graph, views, &i[1..]);
            batch_norm::backward_apply(views.read(i[0]), views.read(i[1]), &constants, n, dz);
        }
    }
}

/// From the values of statistics, scale and shift.
fn affine<A: Real>(views: &Views<'_>, v: &[ValueId]) -> Affine<A> {
    batch_norm::affine(views.read(v[0]), views.read(v[1]), views.read(v[2]))
}

/// From the values of z, statistics, scale, dshift and dscale.
fn backward<A: Real>(graph: &Graph, views: &Views<'_>, v: &[ValueId]) -> batch_norm::Backward<A> {
    let [stats, scale, dshift, dscale] = [1, 2, 3, 4].map(|k| views.read(v[k]));
    batch_norm::backward(stats, scale, dshift, dscale, graph.shape(v[0]).rows())
}

fn two_stream<T: Element>(graph: &Graph, node: &Node, views: &mut Views<'_>) {
    let (i, o) = (&node.inputs, &node.outputs);
    let n = batch(graph, i[0]);
    let scratch = views.scratch::<T::Acc>();
    match &node.op {
        Op::TwoStreamUpdate(op) => {
            let (y, mask) = (views.take::<T>(o[0]), views.take(o[1]));
            let main = affine(views, &i[1..4]);
            let outer = match op.outer {
                Outer::None => two_stream::Outer::None,
                Outer::Identity => two_stream::Outer::Identity(views.read(i[4])),
                Outer::Subsampled(s) => {
                    two_stream::Outer::Subsampled(views.read(i[4]), s, image(graph, i[4]))
                }
                Outer::Projection => two_stream::Outer::Projection(views.read(i[4]), affine(views, &i[5..8])),
            };
            let [h, w, c] = image(graph, i[0]);
            two_stream::update(views.read(i[0]), &main, &outer, [n, h, w, c], y, mask);
        }
        Op::TwoStreamReduce(_) => {
            let sums = o.chunks(2).map(|v| [views.take(v[0]), views.take(v[1])]).collect();
            let mut branches = reductions::<T>(views, &i[2..], sums);
            two_stream::reduce(views.read(i[0]), Some(views.read(i[1])), &mut branches, n, scratch);
        }
        Op::TwoStreamBackward(op) => {
            let outputs: Vec<&mut [T]> = o.iter().map(|v| views.take(*v)).collect();
            for (dz, v) in outputs.into_iter().zip(i[op.first_branch()..].chunks(5)) {
                let constants = backward(graph, views, v);
                let (g, z) = (views.read(i[0]), views.read(v[0]));
                match op.masked {
                    true => two_stream::backward(g, views.read(i[1]), z, &constants, n, dz),
                    false => batch_norm::backward_apply(g, z, &constants, n, dz),
                }
            }
        }
        _ => unreachable!("executed as another operation"),
    }
}

/// What is reduced for each batch norm: from the values of its z and its statistics, to its two sums.
fn reductions<'a, T: Element>(
    views: &'a Views<'_>,
    branches: &[ValueId],
    sums: Vec<[&'a mut [T::Acc]; 2]>,
) -> Vec<two_stream::Reduction<'a, T>> {
    (sums.into_iter().zip(branches.chunks(2)))
        .map(|([dshift, dscale], v)| {
            let (z, stats) = (views.read::<T>(v[0]), views.read(v[1]));
            two_stream::Reduction { z, stats, dshift, dscale }
        })
        .collect()
}
