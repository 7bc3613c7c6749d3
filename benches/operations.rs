//! Times every operation on the CPU, at the shapes of `rir-18-wide` with eight images.
//!
//! ```text
//! cargo bench --bench operations                      # all, several minutes
//! cargo bench --bench operations -- conv2d/group2     # those whose name contains this
//! ```
//!
//! The group `im2col_gemm` is the yardstick for `conv2d`: the same layers by gathering patches into a matrix and
//! multiplying with the `gemm` crate, images in parallel, which is what the register tiles have to beat.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use rir::check::{Prepared, cases};
use rir::device::cpu::CpuDevice;
use rir::graph::{Fusions, Graph, Precision, differentiate, fuse, lower};
use rir::nn::{Options, Purpose, build, by_name};
use rir::ops::Sgd;

const BATCH: usize = 8;

/// The network's training or evaluation graph in f32.
fn graph(purpose: Purpose, fusions: Fusions) -> rir::Result<Graph> {
    let forward = build(&by_name("rir-18-wide")?, &Options::new(purpose, BATCH, [32, 32, 3], 10))?;
    let graph = match (purpose, forward.result("loss")) {
        (Purpose::Train, Some(loss)) => {
            let mut graph = differentiate(forward, loss)?;
            graph.sgd(Sgd { momentum: 0.9, nesterov: false, weight_decay: 2e-4, decay_scale: true })?;
            graph
        }
        _ => forward,
    };
    fuse(lower(&graph, Precision::F32)?, fusions)
}

fn operations(criterion: &mut Criterion) {
    let mut seen = Vec::new();
    for (purpose, fusions) in [
        (Purpose::Train, Fusions::ALL),
        (Purpose::Train, Fusions::NONE),
        (Purpose::Evaluate, Fusions::ALL),
        (Purpose::Evaluate, Fusions::NONE),
    ] {
        let graph = graph(purpose, fusions).expect("a named model builds");
        for case in cases::of_graph(&graph, Precision::F32) {
            let name = (case.op.operation().name(), case.form.clone());
            // One row for each operation and shape, whichever plan it comes from first.
            if seen.contains(&name) {
                continue;
            }
            let mut group = criterion.benchmark_group(name.0);
            group
                .sample_size(10)
                .warm_up_time(Duration::from_millis(200))
                .measurement_time(Duration::from_secs(1));
            group.bench_function(&name.1, |bencher| {
                let inputs: Vec<_> = (0..case.inputs.len()).map(|i| case.input(i)).collect();
                let factory =
                    |layout: &_, precision, _| Ok(Box::new(CpuDevice::new(layout, precision)?) as Box<_>);
                let mut prepared =
                    Prepared::new(&case, &inputs, &factory).expect("the cpu takes every operation");
                bencher.iter(|| prepared.run().expect("the cpu runs every operation"));
            });
            seen.push(name);
        }
    }
}

/// A 3x3 layer of `extent` x `extent` pixels and `channels` channels by im2col and the `gemm` crate.
fn im2col_gemm(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("im2col_gemm");
    group.sample_size(10).warm_up_time(Duration::from_millis(200)).measurement_time(Duration::from_secs(1));
    for (extent, channels) in [(32, 96), (16, 192), (8, 384)] {
        let depth = 9 * channels;
        let x: Vec<f32> =
            (0..BATCH * extent * extent * channels).map(|i| (i % 1009) as f32 / 1009.0 - 0.5).collect();
        let w: Vec<f32> = (0..channels * depth).map(|i| (i % 997) as f32 / 997.0 - 0.5).collect();
        let mut z = vec![0.0f32; x.len()];
        group.throughput(Throughput::Elements((2 * x.len() * depth) as u64));
        group.bench_function(format!("{extent}x{extent}x{channels}"), |bencher| {
            bencher.iter(|| {
                let image = extent * extent * channels;
                z.par_chunks_mut(image).zip(x.par_chunks(image)).for_each_init(
                    || vec![0.0f32; extent * extent * depth],
                    |patches, (z, x)| {
                        gather(x, extent, channels, patches);
                        product(patches, &w, z, extent * extent, channels, depth);
                    },
                );
            });
        });
    }
}

/// patches [H W, 3 3 C] of an image [H W C] with one zero pixel on each side.
fn gather(x: &[f32], extent: usize, channels: usize, patches: &mut [f32]) {
    for (tap, patch) in patches.chunks_exact_mut(channels).enumerate() {
        let (pixel, r, s) = (tap / 9, tap / 3 % 3, tap % 3);
        let (h, w) = ((pixel / extent + r).wrapping_sub(1), (pixel % extent + s).wrapping_sub(1));
        match h < extent && w < extent {
            true => patch.copy_from_slice(&x[(h * extent + w) * channels..][..channels]),
            false => patch.fill(0.0),
        }
    }
}

/// z [M K] = patches [M D] w^T, w [K D].
fn product(patches: &[f32], w: &[f32], z: &mut [f32], m: usize, k: usize, d: usize) {
    assert!(patches.len() >= m * d && w.len() >= k * d && z.len() >= m * k);
    // SAFETY: the strides below stay inside of the three slices, by the assertion; z overlaps neither.
    unsafe {
        gemm::gemm(
            m,
            k,
            d,
            z.as_mut_ptr(),
            1,
            k as isize,
            false,
            patches.as_ptr(),
            1,
            d as isize,
            w.as_ptr(),
            d as isize,
            1,
            0.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

criterion_group!(benches, operations, im2col_gemm);
criterion_main!(benches);
