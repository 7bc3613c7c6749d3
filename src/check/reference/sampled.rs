//! Single elements of a convolution and of its gradients, from the definition: for shapes of which every element would
//! take minutes.

use rayon::prelude::*;

use super::Tensor;
use crate::graph::Shape;
use crate::ops::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Epilogue, GradEpilogue, Op};

/// The elements at these offsets of an output, in f64, not yet rounded; `None` where it is no product of a convolution.
///
/// # Panics
/// If the inputs are not what the operation's shape rule allows, or an offset lies beyond the output.
pub fn sampled(op: &Op, inputs: &[&Tensor], output: usize, offsets: &[usize]) -> Option<Vec<f64>> {
    let element: Box<dyn Fn(usize) -> f64 + Sync> = match op {
        Op::Conv2d(conv) => {
            let outputs = if conv.epilogue == Epilogue::Statistics { 2 } else { 1 };
            let branch = Some(output / outputs).filter(|_| output.is_multiple_of(outputs))?;
            let (conv, mut inputs) = (conv.branch(branch), inputs.to_vec());
            inputs.swap(1, 1 + branch);
            Box::new(move |at| forward(&conv, &inputs, at))
        }
        Op::Conv2dDataGrad(op) if output == 0 => Box::new(|at| data_grad(op, inputs, at)),
        Op::Conv2dWeightGrad(op) => Box::new(move |at| weight_grad(op, inputs[0], inputs[1 + output], at)),
        _ => return None,
    };
    Some(offsets.par_iter().map(|&at| element(at)).collect())
}

/// The index of an offset in a tensor of these extents.
fn index(extents: [usize; 4], offset: usize) -> [usize; 4] {
    let [_, b, c, d] = extents;
    [offset / (b * c * d), offset / (c * d) % b, offset / d % c, offset % d]
}

/// The pixel of the image that tap `tap` of output pixel `position` reads, along one dimension; none in the padding.
fn read(conv: &Conv2d, position: usize, tap: usize, extent: usize) -> Option<usize> {
    (position * conv.stride + tap).checked_sub(conv.pad).filter(|&i| i < extent)
}

/// The inverse of [`read`]: the output pixel whose tap `tap` reads pixel `pixel`.
fn reader(conv: &Conv2d, pixel: usize, tap: usize, extent: usize) -> Option<usize> {
    let distance = (pixel + conv.pad).checked_sub(tap)?;
    Some(distance / conv.stride).filter(|&p| distance.is_multiple_of(conv.stride) && p < extent)
}

/// z[n, p, q, k].
fn forward(conv: &Conv2d, inputs: &[&Tensor], offset: usize) -> f64 {
    let (x, w) = (inputs[0], inputs[1]);
    let ([images, height, width, channels], [filters, rows, columns, _]) = (x.dims4(), w.dims4());
    let extent = |image, filter| conv.output_extent(image, filter).expect("the filter fits");
    let (p_extent, q_extent) = (extent(height, rows), extent(width, columns));
    let [n, p, q, k] = index([images, p_extent, q_extent, filters], offset);
    let mut z = 0.0;
    for r in 0..rows {
        let Some(h) = read(conv, p, r, height) else { continue };
        for s in 0..columns {
            let Some(v) = read(conv, q, s, width) else { continue };
            for c in 0..channels {
                z += x.at([n, h, v, c]) * w.at([k, r, s, c]);
            }
        }
    }
    if k < conv.identity {
        z += x.at([n, p * conv.stride, q * conv.stride, k]);
    }
    match conv.epilogue {
        Epilogue::None | Epilogue::Statistics => z,
        Epilogue::ScaleShift { outer, relu } => {
            let y = inputs[2].at([0, k]) * z + inputs[2].at([1, k]);
            let y = if outer { y + inputs[3].data[offset] } else { y };
            if relu { y.max(0.0) } else { y }
        }
    }
}

/// dx[n, h, v, c].
fn data_grad(op: &Conv2dDataGrad, inputs: &[&Tensor], offset: usize) -> f64 {
    let branch =
        |b: usize| transposed(&op.conv.branch(b), &op.input, inputs[2 * b], inputs[2 * b + 1], offset);
    let dx: f64 = (0..op.conv.branches()).map(branch).sum();
    let added = &inputs[op.first_of_addend()..];
    let dx = match op.addend {
        Addend::None => dx,
        Addend::Tensor => dx + added[0].data[offset],
        Addend::Masked => dx + added[0].data[offset] * added[1].data[offset],
    };
    match op.epilogue {
        GradEpilogue::None => dx,
        GradEpilogue::Relu { .. } => dx * inputs[op.first_of_epilogue()].data[offset],
    }
}

/// dx[n, h, v, c] of one convolution, with E.
fn transposed(conv: &Conv2d, image: &Shape, dz: &Tensor, w: &Tensor, offset: usize) -> f64 {
    let ([_, p_extent, q_extent, filters], [_, rows, columns, _]) = (dz.dims4(), w.dims4());
    let image = image.dims4().expect("shape rules have checked that there are four extents");
    let [n, h, v, c] = index(image, offset);
    let mut dx = 0.0;
    for r in 0..rows {
        let Some(p) = reader(conv, h, r, p_extent) else { continue };
        for s in 0..columns {
            let Some(q) = reader(conv, v, s, q_extent) else { continue };
            for k in 0..filters {
                dx += dz.at([n, p, q, k]) * w.at([k, r, s, c]);
            }
            if c < conv.identity && [r, s] == [conv.pad; 2] {
                dx += dz.at([n, p, q, c]);
            }
        }
    }
    dx
}

/// dw[k, r, s, c].
fn weight_grad(op: &Conv2dWeightGrad, x: &Tensor, dz: &Tensor, offset: usize) -> f64 {
    let ([images, height, width, _], [_, p_extent, q_extent, _]) = (x.dims4(), dz.dims4());
    let filter = op.filter.dims4().expect("shape rules have checked that there are four extents");
    let [k, r, s, c] = index(filter, offset);
    let mut dw = 0.0;
    for n in 0..images {
        for p in 0..p_extent {
            let Some(h) = read(&op.conv, p, r, height) else { continue };
            for q in 0..q_extent {
                let Some(v) = read(&op.conv, q, s, width) else { continue };
                dw += x.at([n, h, v, c]) * dz.at([n, p, q, k]);
            }
        }
    }
    dw
}

#[cfg(test)]
mod tests {
    use super::super::{Context, evaluate};
    use super::*;
    use crate::check::{Rows, table};
    use crate::graph::Precision;

    #[test]
    fn every_element_is_that_of_the_whole() {
        let mut seen = 0;
        for case in table(Rows::Plain, Some("conv2d")).filter(|case| case.precision == Precision::F64) {
            let inputs: Vec<Tensor> = (0..case.inputs.len()).map(|i| case.input(i)).collect();
            let inputs: Vec<&Tensor> = inputs.iter().collect();
            for (o, whole) in evaluate(&case.op, &inputs, &Context::new(case.precision)).iter().enumerate() {
                let offsets: Vec<usize> = (0..whole.data.len()).step_by(1 + whole.data.len() / 200).collect();
                let Some(single) = sampled(&case.op, &inputs, o, &offsets) else { continue };
                for (at, got) in offsets.into_iter().zip(single) {
                    let near = (got - whole.data[at]).abs() <= 1e-11 * (1.0 + got.abs());
                    assert!(near, "{}, output {o} {at}", case.name());
                }
                seen += 1;
            }
        }
        assert!(seen > 100, "{seen}");
    }
}
