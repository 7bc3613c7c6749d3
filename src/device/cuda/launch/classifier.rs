//! `kernels/pool.cu`, `kernels/linear.cu` and `kernels/softmax_cross_entropy.cu`.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, Site, THREADS, extent, spread, suffix};
use crate::ops::Op;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct PoolParams {
    read: Address,
    written: Address,
    elements: u64,
    pixels: u32,
    channels: u32,
}

/// `global_avg_pool`.
pub fn pool(site: &Site<'_>) -> Launch {
    let kernel = format!("global_avg_pool_{}", suffix(site.input_dtype(0)));
    pooled(site, kernel, site.input_image(0))
}

/// `global_avg_pool_backward`.
pub fn pool_backward(site: &Site<'_>) -> Launch {
    let kernel = format!("global_avg_pool_backward_{}", suffix(site.output_dtype(0)));
    pooled(site, kernel, site.output_image(0))
}

fn pooled(site: &Site<'_>, kernel: String, [_, height, width, channels]: [u32; 4]) -> Launch {
    let mut launch = Launch::new(kernel);
    let elements = site.output_elements(0);
    let params = PoolParams {
        read: launch.reads(site.input(0)),
        written: launch.writes(site.output(0)),
        elements,
        pixels: height * width,
        channels,
    };
    launch.over(spread(elements), THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LinearParams {
    a: Address,
    b: Address,
    bias: Address,
    out: Address,
    samples: u32,
    inputs: u32,
    outputs: u32,
    padding: u32,
}

/// `linear` and its three gradients.
pub fn linear(site: &Site<'_>) -> Launch {
    let op = &site.node().op;
    let ([samples, .., columns], [rows, .., result]) = (site.input_image(0), site.output_image(0));
    let (inputs, outputs) = match op {
        Op::Linear(_) => (columns, result),
        Op::LinearDataGrad(_) => (result, columns),
        Op::LinearWeightGrad(_) => (result, rows),
        _ => (0, columns),
    };
    let mut launch = Launch::new(format!("{}_f32", op.operation().name()));
    let elements = site.output_elements(0);
    let params = LinearParams {
        a: launch.reads(site.input(0)),
        b: launch.may_read(site.maybe_input(1)),
        bias: launch.may_read(site.maybe_input(2)),
        out: launch.writes(site.output(0)),
        samples,
        inputs,
        outputs,
        padding: 0,
    };
    launch.over(spread(elements), THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LossParams {
    logits: Address,
    labels: Address,
    loss: Address,
    correct: Address,
    smoothing: f64,
    samples: u32,
    classes: u32,
}

/// `softmax_cross_entropy`: one block, whose threads' sums are added in order.
pub fn loss(site: &Site<'_>, smoothing: f64) -> Launch {
    let mut launch = Launch::new("softmax_cross_entropy_f32");
    let [samples, .., classes] = site.input_image(0);
    let params = LossParams {
        logits: launch.reads(site.input(0)),
        labels: launch.reads(site.input(1)),
        loss: launch.writes(site.output(0)),
        correct: launch.writes(site.output(1)),
        smoothing,
        samples,
        classes,
    };
    launch.over([1; 3], THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LossBackwardParams {
    dloss: Address,
    logits: Address,
    labels: Address,
    dlogits: Address,
    smoothing: f64,
    samples: u32,
    classes: u32,
}

/// `softmax_cross_entropy_backward`.
pub fn loss_backward(site: &Site<'_>, smoothing: f64) -> Launch {
    let mut launch = Launch::new("softmax_cross_entropy_backward_f32");
    let shape = site.graph().shape(site.node().outputs[0]);
    let params = LossBackwardParams {
        dloss: launch.reads(site.input(0)),
        logits: launch.reads(site.input(1)),
        labels: launch.reads(site.input(2)),
        dlogits: launch.writes(site.output(0)),
        smoothing,
        samples: extent(shape.rows()),
        classes: extent(shape.channels()),
    };
    launch.over(spread(params.samples.into()), THREADS).with(&params)
}
