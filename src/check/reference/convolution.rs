//! Convolution and its gradients: three readings of one list of products.

use super::elementwise::{add, gate, relu};
use super::normalise::{scale_shift, statistics};
use super::two_stream::reductions;
use super::{Context, Tensor};
use crate::graph::{Role, Shape};
use crate::ops::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Epilogue, GradEpilogue, ShadowWeights};

/// Visits every pair of an input element and a filter element that meet, with the output element they add to, as
/// offsets in memory: `x[n, p*stride + r - pad, q*stride + s - pad, c]`, `w[k, r, s, c]`, `z[n, p, q, k]`.
///
/// The convolution is linear in x and in w, so its gradients are sums over the same list.
fn products(conv: &Conv2d, x: &Shape, w: &Shape, z: &Shape, mut visit: impl FnMut(usize, usize, usize)) {
    let dims = |shape: &Shape| shape.dims4().expect("shape rules have checked that there are four extents");
    let ([_, height, width, channels], [_, rows, columns, _], [images, p_extent, q_extent, filters]) =
        (dims(x), dims(w), dims(z));
    // A position of the padded image as one of the image, or none where it is padding.
    let inside = |padded: usize, extent: usize| padded.checked_sub(conv.pad).filter(|&i| i < extent);
    for n in 0..images {
        for p in 0..p_extent {
            for q in 0..q_extent {
                for k in 0..filters {
                    let z_offset = ((n * p_extent + p) * q_extent + q) * filters + k;
                    for r in 0..rows {
                        let Some(h) = inside(p * conv.stride + r, height) else { continue };
                        for s in 0..columns {
                            let Some(v) = inside(q * conv.stride + s, width) else { continue };
                            let x_offset = ((n * height + h) * width + v) * channels;
                            let w_offset = ((k * rows + r) * columns + s) * channels;
                            for c in 0..channels {
                                visit(x_offset + c, w_offset + c, z_offset);
                            }
                        }
                    }
                }
            }
        }
    }
}

/// W + E, where `E[i, centre, centre, i] = 1` for the first `identity` channels.
fn effective_filter(conv: &Conv2d, w: &Tensor) -> Tensor {
    let mut w = w.clone();
    for i in 0..conv.identity {
        *w.at_mut([i, conv.pad, conv.pad, i]) += 1.0;
    }
    w
}

/// Extents of z.
fn output(conv: &Conv2d, x: &Tensor, w: &Tensor) -> Shape {
    let ([n, height, width, _], [k, rows, columns, _]) = (x.dims4(), w.dims4());
    let extent = |image: usize, filter: usize| (image + 2 * conv.pad - filter) / conv.stride + 1;
    [n, extent(height, rows), extent(width, columns), k].into()
}

/// `z = conv(x, W + E)`, then the epilogue; and a projection's `zp = conv(x, Wp)` likewise.
pub(super) fn forward(op: &Conv2d, inputs: &[&Tensor], context: &Context<'_>) -> Vec<Tensor> {
    if op.projected {
        let branch = |b: usize| forward(&op.branch(b), &[inputs[0], inputs[1 + b]], context);
        return [branch(0), branch(1)].concat();
    }
    let (x, w) = (inputs[0], effective_filter(op, inputs[1]));
    let mut z = Tensor::zeros(output(op, x, &w));
    let shape = z.shape.clone();
    products(op, &x.shape, &w.shape, &shape, |at_x, at_w, at_z| z.data[at_z] += x.data[at_x] * w.data[at_w]);
    match op.epilogue {
        Epilogue::None => vec![z],
        Epilogue::Statistics => {
            let stats = statistics(&z.clone().stored(context.precision.dtype(Role::Activation)));
            vec![z, stats]
        }
        Epilogue::ScaleShift { outer, relu: rectified } => {
            let mut y = scale_shift(&z, inputs[2]);
            if outer {
                y = add(&[&y, inputs[3]]);
            }
            vec![if rectified { relu(&y) } else { y }]
        }
    }
}

/// `dx = conv_transposed(dz, W + E)`, and a projection's `conv_transposed(dzp, Wp)`, then the addend, then the epilogue.
pub(super) fn data_grad(op: &Conv2dDataGrad, inputs: &[&Tensor], context: &Context<'_>) -> Vec<Tensor> {
    let mut dx = Tensor::zeros(op.input.clone());
    for b in 0..op.conv.branches() {
        let (dz, w) = (inputs[2 * b], effective_filter(&op.conv.branch(b), inputs[2 * b + 1]));
        products(&op.conv, &op.input, &w.shape, &dz.shape, |at_x, at_w, at_z| {
            dx.data[at_x] += dz.data[at_z] * w.data[at_w];
        });
    }
    let added = &inputs[op.first_of_addend()..];
    let dx = match op.addend {
        Addend::None => dx,
        Addend::Tensor => add(&[&dx, added[0]]),
        Addend::Masked => add(&[&dx, &gate(added[0], added[1])]),
    };
    match op.epilogue {
        GradEpilogue::None => vec![dx],
        GradEpilogue::Relu { .. } => {
            let rest = &inputs[op.first_of_epilogue()..];
            let g = gate(&dx, rest[0]);
            let stored = g.clone().stored(context.precision.dtype(Role::Activation));
            [vec![g], reductions(&stored, &rest[1..])].concat()
        }
    }
}

/// Every filter, plus E where it has one.
pub(super) fn shadow_weights(op: &ShadowWeights, filters: &[&Tensor]) -> Vec<Tensor> {
    let shadow = |(w, &identity): (&&Tensor, &usize)| match w.shape.dims4() {
        Some([_, rows, _, _]) => {
            effective_filter(&Conv2d { pad: rows / 2, identity, ..Conv2d::default() }, w)
        }
        None => (*w).clone(),
    };
    filters.iter().zip(&op.identities).map(shadow).collect()
}

/// `dw`, of each `dz`: E is constant.
pub(super) fn weight_grad(op: &Conv2dWeightGrad, x: &Tensor, gradients: &[&Tensor]) -> Vec<Tensor> {
    let of = |dz: &&Tensor| {
        let mut dw = Tensor::zeros(op.filter.clone());
        products(&op.conv, &x.shape, &op.filter, &dz.shape, |at_x, at_w, at_z| {
            dw.data[at_w] += x.data[at_x] * dz.data[at_z];
        });
        dw
    };
    gradients.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked by hand: a 2x2 image, one channel, 3x3 filter 1..9, padding 1.
    #[test]
    fn a_convolution_worked_by_hand() {
        let x = Tensor::new([1, 2, 2, 1], vec![1.0, 2.0, 3.0, 4.0]);
        let w = Tensor::from_fn([1, 3, 3, 1], |i| i as f64 + 1.0);
        let context = Context::new(crate::graph::Precision::F64);
        let z = |stride, identity| {
            let op = Conv2d { identity, ..Conv2d::same(3, stride) };
            forward(&op, &[&x, &w], &context).remove(0).data
        };
        // z[0, 0] = 5*1 + 6*2 + 8*3 + 9*4; z[0, 1] = 4*1 + 5*2 + 7*3 + 8*4; ...
        assert_eq!(z(1, 0), [77.0, 67.0, 47.0, 37.0]);
        assert_eq!(z(1, 1), [78.0, 69.0, 50.0, 41.0]);
        assert_eq!(z(2, 1), [78.0]);
    }
}
