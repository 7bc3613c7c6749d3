//! The cases of `rir bench ops` under Criterion, which keeps a history: every operation at the shapes of `rir-18-wide`.
//!
//! ```text
//! cargo bench --bench operations                                # on the cpu, eight images; several minutes
//! cargo bench --bench operations -- conv2d/group2               # those whose name contains this
//! RIR_BENCH_DEVICE=cuda cargo bench --bench operations          # on a card, by its own clock; 500 images, bf16
//! ```
//!
//! The group `im2col_gemm` is the yardstick for `conv2d` on the cpu: the same layers by gathering patches into a matrix
//! and multiplying with the `gemm` crate, images in parallel, which is what the register tiles have to beat.

use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use rayon::prelude::*;
use rir::bench::network::sites;
use rir::bench::{Network, Site};
use rir::check::Prepared;
use rir::device::cuda::Options;
use rir::device::select::Choice;
use rir::device::{Device, Pace};
use rir::graph::{Fusions, Precision, StateLayout, fuse, lower};
use rir::nn::{Purpose, build, by_name};

/// Images of the layers that `im2col_gemm` computes.
const BATCH: usize = 8;

/// Numbers after which large inputs repeat.
const PERIOD: usize = 1 << 20;

/// Runs that are timed together at most: on a card they are one graph.
const MOST_RUNS: u64 = 256;

fn device() -> Choice {
    let named = std::env::var("RIR_BENCH_DEVICE").unwrap_or_else(|_| "cpu".into());
    named.parse().expect("RIR_BENCH_DEVICE is cpu or cuda")
}

/// The operations of training and of evaluation, fused and not.
fn operations_of(choice: Choice) -> rir::Result<Vec<Site>> {
    let (batch, precision) =
        if choice == Choice::Cpu { (BATCH, Precision::F32) } else { (500, Precision::Bf16) };
    let mut all = Vec::new();
    for fusions in [Fusions::ALL, Fusions::NONE] {
        let description = by_name("rir-18-wide")?;
        let options = rir::nn::Options::new(Purpose::Evaluate, batch, [32, 32, 3], 10);
        let evaluation = fuse(lower(&build(&description, &options)?, precision)?, fusions)?;
        let network = Network { description, image: [32, 32, 3], classes: 10, batch, precision, fusions };
        all.extend(network.sites()?);
        all.extend(sites(&evaluation, precision));
    }
    Ok(all)
}

fn operations(criterion: &mut Criterion) {
    let (choice, mut seen) = (device(), Vec::new());
    for Site { case, .. } in operations_of(choice).expect("a named model builds") {
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
            let inputs: Vec<_> = (0..case.inputs.len()).map(|i| case.repeated_input(i, PERIOD)).collect();
            let factory = |layout: &StateLayout, precision, kernels| -> rir::Result<Box<dyn Device>> {
                choice.open(layout, precision, Options { kernels, ..Options::default() })
            };
            let mut prepared =
                Prepared::new(&case, &inputs, &factory).expect("the device takes every operation");
            bencher.iter_custom(|runs| {
                let parts =
                    (0..runs.div_ceil(MOST_RUNS)).map(|part| (runs - part * MOST_RUNS).min(MOST_RUNS));
                let seconds = parts.map(|runs| {
                    let pace = Pace { samples: 1, runs: runs as usize, cold: false };
                    let figures = prepared.time(pace).expect("the device runs every operation");
                    figures[0] * runs as f64
                });
                Duration::from_secs_f64(seconds.sum())
            });
        });
        seen.push(name);
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
