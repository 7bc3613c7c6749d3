//! Training from a set on the device: the same pixels as the host's, steps as one graph, losses from the ring, and a
//! State that no exploded loss reaches.

use std::sync::Arc;

use rir::data::{Augment, Border, Flip, Images, Loader, Normaliser, Preprocess, TrainOptions, epoch_order};
use rir::device::cuda::{CudaDevice, Options};
use rir::device::{Device, FedStep, Feed, PlanId, StepInputs, StepReport, Wait};
use rir::graph::{self, Fusions, Precision, Region, Segment, StateLayout};
use rir::nn::{Family, initial_parameters};
use rir::ops::Sgd;

use crate::common::networks::network;
use crate::common::training_graph;

const IMAGE: [usize; 3] = [6, 5, 3];
const BATCH: usize = 4;
const SEED: u64 = 0x1_2345_6789;
const SGD: Sgd = Sgd::PAPER;

/// Twenty images of noise in five classes.
fn images() -> Images {
    let [h, w, c] = IMAGE;
    let pixels = (0..20 * h * w * c).map(|i| (i * i * 31 % 253) as u8).collect();
    Images::new(h, w, c, pixels, (0..20).map(|i| i * 3 % 5).collect()).unwrap()
}

fn device(options: Options) -> (CudaDevice, PlanId, StateLayout) {
    seeded(9, options)
}

/// A device whose order of threads follows from `seed`.
fn seeded(seed: u64, options: Options) -> (CudaDevice, PlanId, StateLayout) {
    optimised(seed, SGD, options)
}

fn optimised(seed: u64, sgd: Sgd, options: Options) -> (CudaDevice, PlanId, StateLayout) {
    let network_options = rir::nn::Options::new(rir::nn::Purpose::Train, BATCH, IMAGE, 5);
    let mut graph = training_graph(&network(Family::Rir, &[4, 6]), &network_options, Some(sgd));
    // Kept, so that their memory is not used again and they can be read after the step.
    for (name, source) in [("images", graph::Source::Images), ("labels", graph::Source::Labels)] {
        let value = graph.values.iter().position(|v| v.source == source).unwrap();
        graph.keep(name, graph::ValueId(value));
    }
    let layout = graph.state.clone();
    let mut device = crate::open(&layout, Precision::F32, seed, options).unwrap();
    for (i, values) in initial_parameters(&layout, 3).into_iter().enumerate() {
        device.write_state(Region::Parameters, i, &values).unwrap();
    }
    let fused = graph::fuse(graph::lower(&graph, Precision::F32).unwrap(), Fusions::ALL).unwrap();
    let id = device.load(graph::plan(&fused, &device.scratch())).unwrap();
    (device, id, layout)
}

/// What else a step changes.
fn momentum_and_running(device: &mut CudaDevice, layout: &StateLayout) -> Vec<Vec<f64>> {
    let regions = [(Region::Momentum, layout.parameters.len()), (Region::Running, layout.running.len())];
    let each = regions.into_iter().flat_map(|(region, count)| (0..count).map(move |i| (region, i)));
    each.map(|(region, i)| device.read_state(region, i).unwrap()).collect()
}

fn parameters(device: &mut CudaDevice, layout: &StateLayout) -> Vec<Vec<f64>> {
    (0..layout.parameters.len()).map(|i| device.read_state(Region::Parameters, i).unwrap()).collect()
}

/// Queues step `step` of `epoch`.
fn submit(device: &mut CudaDevice, id: PlanId, epoch: u32, step: usize, learning_rate: f64) {
    let order = epoch_order(SEED, epoch, 20);
    let samples = &order[step * BATCH..][..BATCH];
    let step = u64::from(epoch) * 5 + step as u64;
    device
        .submit(id, &FedStep { step, epoch, seed: SEED, inputs: StepInputs::rate(learning_rate), samples })
        .unwrap();
}

#[test]
pub fn the_device_draws_the_same_pixels_as_the_host() {
    let images = Arc::new(images());
    let augments = [
        Augment::NONE,
        Augment { pad: 2, ..Augment::default() },
        Augment { pad: 4, border: Border::Reflect, ..Augment::NONE },
        Augment { pad: 1, flip: Flip::Alternating, border: Border::Zero, cutout: 3 },
    ];
    for preprocess in [Preprocess::PerPixelMean, Preprocess::PerChannel, Preprocess::None] {
        let normaliser = Arc::new(Normaliser::fit(preprocess, &images).unwrap());
        for augment in augments {
            let (mut device, id, _) = device(Options::default());
            device.hold(&images, &normaliser, augment).unwrap();
            let options = TrainOptions { augment, seed: SEED, batch: BATCH, epoch: 7, step: 1 };
            let mut loader = Loader::train(images.clone(), normaliser.clone(), options).unwrap();
            submit(&mut device, id, 7, 1, 0.1);
            device.collect(Wait::ForAll).unwrap();
            let batch = loader.next().unwrap().unwrap();
            let [drawn, labels] = ["images", "labels"].map(|name| {
                let value = device_result(&device, id, name);
                device.read(id, value).unwrap()
            });
            let drawn: Vec<f32> = drawn.iter().map(|&x| x as f32).collect();
            assert_eq!(drawn, batch.images, "{preprocess} {augment:?}");
            assert_eq!(labels, batch.labels.iter().map(|&l| f64::from(l)).collect::<Vec<_>>());
        }
    }
}

fn device_result(device: &CudaDevice, id: PlanId, name: &str) -> graph::ValueId {
    device.plan(id).graph.result(name).unwrap()
}

/// Six steps over two epochs; with whatever changes from step to step.
fn run(options: Options, rates: [f64; 6]) -> (Vec<StepReport>, Vec<Vec<f64>>) {
    run_on(device(options), rates)
}

fn run_on(
    (mut device, id, layout): (CudaDevice, PlanId, StateLayout),
    rates: [f64; 6],
) -> (Vec<StepReport>, Vec<Vec<f64>>) {
    let images = images();
    let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
    device.hold(&images, &normaliser, Augment { pad: 1, ..Augment::default() }).unwrap();
    let mut reports = Vec::new();
    for (i, rate) in rates.into_iter().enumerate() {
        submit(&mut device, id, i as u32 / 5, i % 5, rate);
        reports.append(&mut device.collect(Wait::ForRoom).unwrap());
    }
    reports.append(&mut device.collect(Wait::ForAll).unwrap());
    (reports, parameters(&mut device, &layout))
}

#[test]
fn a_replayed_step_is_the_step_launched_one_by_one() {
    let rates = [0.1, 0.05, 0.2, 0.1, 0.1, 0.01];
    let (reports, state) = run(Options::default(), rates);
    assert_eq!((reports, state), run(Options { graph: false, ..Options::default() }, rates));
}

#[test]
pub fn no_order_of_threads_changes_a_step() {
    let rates = [0.1; 6];
    let results = [9, 77].map(|seed| run_on(seeded(seed, Options::default()), rates));
    assert_eq!(results[0], results[1]);
}

/// The learning rate is read from the device's memory by every replay: a captured argument would be frozen.
#[test]
pub fn the_learning_rate_changes_between_replays() {
    let state = |rates| run(Options::default(), rates).1;
    let still = state([0.1, 0.0, 0.0, 0.0, 0.0, 0.0]);
    assert_eq!(still, state([0.1, 0.0, 0.0, 0.0, 0.0, 0.0]));
    assert_ne!(still, state([0.1, 0.0, 0.0, 0.0, 0.0, 0.3]));
    assert_ne!(still, state([0.0, 0.0, 0.0, 0.0, 0.0, 0.0]));
}

/// Of steps that look ahead, only those whose share is above 0 move the slow weights, and the fast ones to them.
#[test]
pub fn slow_weights_follow_where_a_step_says_so() {
    let images = images();
    let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
    let looking = Sgd { lookahead: true, ..SGD };
    let states = |shares: [f64; 2]| {
        let (mut device, id, layout) = optimised(9, looking, Options::default());
        device.hold(&images, &normaliser, Augment::NONE).unwrap();
        for (i, values) in initial_parameters(&layout, 3).into_iter().enumerate() {
            device.write_state(Region::Slow, i, &values).unwrap();
        }
        let order = epoch_order(SEED, 0, 20);
        for (step, lookahead) in (0..).zip(shares) {
            let inputs = StepInputs { learning_rate: 0.1, lookahead };
            let samples = &order[step * BATCH..][..BATCH];
            let fed = FedStep { step: step as u64, epoch: 0, seed: SEED, inputs, samples };
            device.submit(id, &fed).unwrap();
        }
        device.collect(Wait::ForAll).unwrap();
        let slow: Vec<_> =
            (0..layout.parameters.len()).map(|i| device.read_state(Region::Slow, i).unwrap()).collect();
        (parameters(&mut device, &layout), slow, initial_parameters(&layout, 3))
    };
    let (fast, slow, initial) = states([0.0, 0.0]);
    assert_eq!(slow, initial);
    assert_ne!(fast, initial);
    let (fast, slow, _) = states([0.0, 0.5]);
    assert_eq!(fast, slow);
    assert_ne!(slow, initial);
}

/// What the ring reports is what segments run one by one give, on the same batches.
#[test]
fn reports_are_those_of_steps_that_the_host_feeds() {
    let images = Arc::new(images());
    let normaliser = Arc::new(Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap());
    let augment = Augment { pad: 1, ..Augment::default() };
    let rates = [0.1, 0.05, 0.2, 0.1, 0.1, 0.01];
    let (reports, state) = run(Options::default(), rates);
    let (mut device, id, layout) = device(Options::default());
    let options = TrainOptions { augment, seed: SEED, batch: BATCH, epoch: 0, step: 0 };
    let loader = Loader::train(images, normaliser, options).unwrap();
    for (i, (rate, batch)) in rates.into_iter().zip(loader).enumerate() {
        let batch = batch.unwrap();
        device.write_batch(id, &batch.images, &batch.labels).unwrap();
        for segment in Segment::ALL {
            device.run(id, segment, &StepInputs::rate(rate)).unwrap();
        }
        let mut read = |name| device.read(id, device_result(&device, id, name)).unwrap()[0];
        let (loss, correct) = (read("loss"), read("correct") as u64);
        assert_eq!(reports[i], StepReport { step: i as u64, loss, correct });
    }
    assert_eq!(state, parameters(&mut device, &layout));
}

/// The step whose loss explodes changes nothing, nor does any that was queued behind it.
#[test]
pub fn no_exploded_loss_reaches_the_state() {
    let images = images();
    let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
    let (mut device, id, layout) = device(Options::default());
    device.hold(&images, &normaliser, Augment::NONE).unwrap();
    submit(&mut device, id, 0, 0, 0.1);
    let mut broken = device.read_state(Region::Parameters, 0).unwrap();
    broken[0] = f64::NAN;
    device.write_state(Region::Parameters, 0, &broken).unwrap();
    let rest = momentum_and_running(&mut device, &layout);
    let before = parameters(&mut device, &layout);
    (1..4).for_each(|step| submit(&mut device, id, 0, step, 0.1));
    let reports = device.collect(Wait::ForAll).unwrap();
    assert!(reports[0].loss.is_finite() && reports[1..].iter().all(|r| r.loss.is_nan()), "{reports:?}");
    let bits = |state: Vec<Vec<f64>>| state.into_iter().flatten().map(f64::to_bits).collect::<Vec<_>>();
    assert_eq!(bits(parameters(&mut device, &layout)), bits(before));
    assert_eq!(momentum_and_running(&mut device, &layout), rest);
}

#[test]
fn the_ring_holds_many_steps_and_refuses_strays() {
    let images = images();
    let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
    let (mut device, id, _) = device(Options::default());
    let stray = |device: &mut CudaDevice, samples: &[u32]| {
        let step = FedStep { step: 0, epoch: 0, seed: 0, inputs: StepInputs::rate(0.1), samples };
        device.submit(id, &step).unwrap_err().to_string()
    };
    assert!(stray(&mut device, &[0, 1, 2, 3]).contains("no training set"));
    device.hold(&images, &normaliser, Augment::NONE).unwrap();
    assert!(stray(&mut device, &[0, 1, 2, 20]).contains("sample 20 lies beyond the 20 images"));
    assert!(stray(&mut device, &[0, 1]).contains("4 images"));
    for epoch in 0..16 {
        (0..5).for_each(|step| {
            submit(&mut device, id, epoch, step, 0.01);
            device.collect(Wait::ForRoom).unwrap();
        });
    }
    assert!(device.collect(Wait::ForAll).unwrap().is_empty());
}
