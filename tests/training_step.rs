//! A training step on the CPU: the same bits whenever and however it runs, and it learns.

mod common;

use common::networks::{FAMILIES, network, with_blocks};
use common::{Batch, Model, State, evaluation_graph, training_graph};
use rayon::ThreadPoolBuilder;
use rir::graph::{Fusions, Precision};
use rir::nn::{Family, Options, Purpose, initial_parameters};
use rir::ops::Sgd;

const SGD: Sgd = Sgd::PAPER;

/// Starts from the initial weights of `seed`, trains for `steps` on one batch; returns the losses and the State.
fn train(seed: u64, precision: Precision, steps: usize, rate: f64) -> (Vec<f64>, State) {
    let description = with_blocks(network(Family::Rir, &[8, 12, 20]), 2);
    let options = Options::new(Purpose::Train, 16, [12, 12, 3], 10);
    let graph = training_graph(&description, &options, Some(SGD));
    let mut model = Model::new(common::cpu, &graph.state, precision);
    model.set_state(&State {
        parameters: initial_parameters(&graph.state, seed),
        running: graph.state.running.iter().map(|r| vec![f64::from(r.initial); r.channels]).collect(),
    });
    let id = model.load(&graph, Fusions::ALL);
    let batch = Batch::random(&options, 1);
    let losses = (0..steps)
        .map(|_| {
            model.step(id, &batch, rate);
            model.loss(id)
        })
        .collect();
    (losses, model.state())
}

#[test]
fn the_same_seed_gives_the_same_bits() {
    for precision in [Precision::F32, Precision::Bf16] {
        assert_eq!(train(1, precision, 3, 0.1), train(1, precision, 3, 0.1));
        assert_ne!(train(1, precision, 3, 0.1), train(2, precision, 3, 0.1));
    }
}

#[test]
fn the_number_of_threads_does_not_change_a_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        let results = [1, 2, 3, 4].map(|threads| {
            let pool = ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| train(1, precision, 3, 0.1))
        });
        for (threads, result) in (1..).zip(&results) {
            assert_eq!(*result, results[0], "{precision}: {threads} threads");
        }
    }
}

/// Sixteen random images with random labels hold nothing to generalise from: a network that learns at all learns them
/// by heart.
#[test]
fn a_batch_is_learned_by_heart() {
    for precision in [Precision::F32, Precision::Bf16] {
        let (losses, _) = train(1, precision, 60, 0.05);
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        println!("{precision}: loss {first:.3} to {last:.5}");
        assert!(first > 1.5, "ten classes start near log 10: {first}");
        assert!(last < 0.01, "{precision}: {last}");
    }
}

/// A network that has diverged says so: ReLU lets through what is not a number, fused or not.
#[test]
fn what_is_not_a_number_reaches_the_loss() {
    for family in FAMILIES {
        for precision in [Precision::F32, Precision::F64, Precision::Bf16] {
            for fusions in [Fusions::ALL, Fusions::NONE] {
                let description = network(family, &[8, 12]);
                let options = Options::new(Purpose::Train, 2, [8, 8, 3], 10);
                let training = training_graph(&description, &options, None);
                let mut model = Model::new(common::cpu, &training.state, precision);
                model.set_state(&State::random(&training.state, 1));
                let mut batch = Batch::random(&options, 2);
                batch.images[100] = f64::NAN;
                for graph in [training, evaluation_graph(&description, &options)] {
                    let id = model.load(&graph, fusions);
                    model.run(id, &batch);
                    assert!(model.loss(id).is_nan(), "{family:?} {precision} {fusions:?}");
                }
            }
        }
    }
}
