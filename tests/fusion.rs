//! Fused and unfused plans agree, for any network; and fusion fuses.

mod common;

use common::networks::{FAMILIES, any_network, config, network, one_of_each, with_blocks};
use common::{Batch, Model, State, evaluation_graph, norm, training_graph};
use proptest::prelude::*;
use rir::check::limits::relative_error;
use rir::graph::{Fusions, Graph, Precision, fuse};
use rir::nn::{Description, Family, Head, Options, Projection, Purpose};

/// In units of roundoff. A layer's sum moves by some ten of them; a batch norm divides them by the deviation of its
/// channel, which where ReLU has killed all but one element is small; and there are up to twenty layers.
const FORWARD_LIMIT: f64 = 1e4;
/// Backward the same layers amplify once more. A wrong rewrite is off by 10^12 or more.
const GRADIENT_LIMIT: f64 = 1e5;
const F64: f64 = f64::EPSILON / 2.0;
const F32: f64 = f32::EPSILON as f64 / 2.0;

/// Loss and logits of a plan, and the gradients where it has any.
struct Run {
    forward: Vec<Vec<f64>>,
    gradients: Vec<Vec<f64>>,
    running: Vec<Vec<f64>>,
}

fn run(
    graph: &Graph,
    fusions: Fusions,
    precision: Precision,
    factory: common::Factory,
    batch: &Batch,
) -> Run {
    let mut model = Model::new(factory, &graph.state, precision);
    model.set_state(&State::random(&graph.state, 1));
    let id = model.load(graph, fusions);
    model.step(id, batch, 0.0);
    Run {
        forward: vec![model.result(id, "logits"), vec![model.loss(id)]],
        gradients: if graph.gradients.is_empty() { vec![] } else { model.gradients() },
        running: model.state().running,
    }
}

/// A gradient's error relative to the gradients of its whole network: one that is 0 but for rounding, such as that of
/// a convolution under a batch norm that sees little variance, has no digits of its own.
fn gradient_error(a: &[Vec<f64>], b: &[Vec<f64>]) -> f64 {
    let largest = b.iter().map(|g| norm(g)).fold(0.0, f64::max);
    let difference = |(a, b): (&Vec<f64>, &Vec<f64>)| -> f64 {
        norm(&a.iter().zip(b).map(|(a, b)| a - b).collect::<Vec<_>>()) / norm(b).max(0.01 * largest)
    };
    a.iter().zip(b).map(difference).fold(0.0, |worst, e| if e <= worst { worst } else { e })
}

fn agree(graph: &Graph, batch: &Batch) -> Result<(), TestCaseError> {
    for (precision, limit) in [(Precision::F64, FORWARD_LIMIT * F64), (Precision::F32, FORWARD_LIMIT * F32)] {
        let fused = run(graph, Fusions::ALL, precision, common::cpu, batch);
        let plain = run(graph, Fusions::NONE, precision, common::cpu, batch);
        for (a, b) in fused.forward.iter().zip(&plain.forward) {
            let error = relative_error(a, b);
            prop_assert!(error <= limit, "{precision}: forward {error:.1e}");
        }
        for (a, b) in fused.running.iter().zip(&plain.running) {
            prop_assert!(relative_error(a, b) <= limit, "{precision}: running statistics");
        }
        // In f32 one ReLU on the verge may fall to the other side and move a gradient by a thousandth.
        if precision == Precision::F64 {
            let error = gradient_error(&fused.gradients, &plain.gradients);
            prop_assert!(error <= GRADIENT_LIMIT * F64, "gradients {error:.1e}");
        }
    }
    // The unfused plan by definition is what both are held to.
    let fused = run(graph, Fusions::ALL, Precision::F64, common::cpu, batch);
    let oracle = run(graph, Fusions::NONE, Precision::F64, common::reference, batch);
    let error = gradient_error(&fused.gradients, &oracle.gradients);
    prop_assert!(error <= GRADIENT_LIMIT * F64, "gradients against the reference {error:.1e}");
    prop_assert!(relative_error(&fused.forward[0], &oracle.forward[0]) <= FORWARD_LIMIT * F64);
    Ok(())
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn training_plans_agree((description, options) in any_network()) {
        agree(&training_graph(&description, &options, None), &Batch::random(&options, 2))?;
    }

    #[test]
    fn evaluation_plans_agree((description, options) in any_network()) {
        agree(&evaluation_graph(&description, &options), &Batch::random(&options, 2))?;
    }

    /// Every switch alone, too: each rewrite is right without the others. And all with the one that is off unless asked for.
    #[test]
    fn every_rewrite_alone_agrees((description, options) in any_network(), which in 0usize..9) {
        let mut fusions = if which == 8 { Fusions::ALL } else { Fusions::NONE };
        *[
            &mut fusions.identity,
            &mut fusions.statistics,
            &mut fusions.update,
            &mut fusions.projection,
            &mut fusions.addend,
            &mut fusions.epilogue,
            &mut fusions.reductions,
            &mut fusions.fold_identity,
        ][which.min(7)] = true;
        // These two act on what another made.
        fusions.update |= fusions.reductions;
        fusions.identity |= fusions.fold_identity;
        let batch = Batch::random(&options, 3);
        for graph in [training_graph(&description, &options, None), evaluation_graph(&description, &options)] {
            let one = run(&graph, fusions, Precision::F64, common::cpu, &batch);
            let none = run(&graph, Fusions::NONE, Precision::F64, common::cpu, &batch);
            prop_assert!(relative_error(&one.forward[0], &none.forward[0]) <= FORWARD_LIMIT * F64);
            let error = gradient_error(&one.gradients, &none.gradients);
            prop_assert!(error <= GRADIENT_LIMIT * F64, "{fusions:?}: {error:.1e}");
        }
    }
}

/// Rounding to bf16 happens where the definition has it, so most networks agree with it to f32's precision. Where a sum
/// lies so near the middle between two neighbours that f32 and f64 round it differently, one element is off by 2^-7.
#[test]
fn bf16_rounds_where_the_definition_does() {
    let mut errors = Vec::new();
    for (_, description) in one_of_each() {
        let mut options = Options::new(Purpose::Train, 6, [8, 8, 3], 5);
        options.batch += if description.flatten { 16 } else { 0 };
        let batch = Batch::random(&options, 4);
        for graph in [training_graph(&description, &options, None), evaluation_graph(&description, &options)]
        {
            for fusions in [Fusions::ALL, Fusions::NONE] {
                let [engine, oracle] = [common::cpu as common::Factory, common::reference]
                    .map(|factory| run(&graph, fusions, Precision::Bf16, factory, &batch).forward);
                errors.push(relative_error(&engine[0], &oracle[0]));
            }
        }
    }
    assert!(errors.iter().all(|error| *error <= 1.0 / 128.0), "{errors:?}");
    let same = errors.iter().filter(|error| **error <= FORWARD_LIMIT * F32).count();
    assert!(4 * same >= 3 * errors.len(), "{same} of {}: {errors:?}", errors.len());
}

/// How often each operation occurs.
fn count(graph: &Graph) -> std::collections::BTreeMap<&'static str, usize> {
    let mut counts = std::collections::BTreeMap::new();
    for node in &graph.nodes {
        *counts.entry(node.op.operation().name()).or_default() += 1;
    }
    counts
}

const GROUPS: usize = 3;
const BLOCKS: usize = 2;

fn fused(description: &Description, purpose: Purpose) -> Graph {
    let options = Options::new(purpose, 4, [8, 8, 3], 5);
    let graph = match purpose {
        Purpose::Train => training_graph(description, &options, None),
        Purpose::Evaluate => evaluation_graph(description, &options),
    };
    fuse(graph, Fusions::ALL).unwrap()
}

#[test]
fn a_fused_training_step_has_nothing_left_to_fuse() {
    for projection in [Projection::Conv3x3, Projection::Conv1x1, Projection::Pad] {
        let rir = with_blocks(network(Family::Rir, &[8, 12, 16]), BLOCKS);
        let graph = fused(&Description { projection, ..rir }, Purpose::Train);
        let counts = count(&graph);
        let layers = 1 + GROUPS * BLOCKS * 2;
        let (projections, padded) = if projection == Projection::Pad { (0, 2) } else { (2, 0) };
        // A projection of layer 1's extents is one convolution with it.
        let apart = if projection == Projection::Conv3x3 { 0 } else { projections };
        let convolutions = layers + apart;
        let mut want = std::collections::BTreeMap::from([
            ("conv2d", convolutions),
            ("two_stream_update", layers),
            ("update_running", layers + projections),
            ("global_avg_pool", 1),
            ("linear", 1),
            ("softmax_cross_entropy", 1),
            // Backward. The images need no gradient.
            ("fill", 1),
            ("softmax_cross_entropy_backward", 1),
            ("linear_data_grad", 1),
            ("linear_weight_grad", 1),
            ("bias_grad", 1),
            ("global_avg_pool_backward", 1),
            // The last block's gradient comes from the pool; all others are masked and reduced by the data gradient that
            // makes them, and two batch norms share a pass where there is a projection.
            ("two_stream_reduce", 1),
            ("two_stream_backward", 1 + projections),
            ("batch_norm_backward", layers - 1 - projections),
            ("conv2d_data_grad", convolutions - 1),
            ("conv2d_weight_grad", convolutions),
        ]);
        if padded > 0 {
            // The parameter-free shortcut reads the masked gradient; its transpose is no epilogue.
            want.extend([("shortcut_backward", padded)]);
        }
        assert_eq!(counts, want, "{projection:?}");
    }
}

#[test]
fn a_fused_evaluation_is_a_chain_of_convolutions() {
    for family in FAMILIES {
        let description = Description {
            projection: Projection::Conv1x1,
            head: Head::Conv,
            ..with_blocks(network(family, &[8, 12, 16]), BLOCKS)
        };
        let projections = if family.has_outer_shortcut() { 2 } else { 0 };
        let convolutions = 1 + GROUPS * BLOCKS * 2 + projections + 1;
        let want = std::collections::BTreeMap::from([
            ("conv2d", convolutions),
            ("fold_batch_norm", convolutions),
            ("global_avg_pool", 1),
            ("softmax_cross_entropy", 1),
        ]);
        assert_eq!(count(&fused(&description, Purpose::Evaluate)), want, "{family:?}");
    }
}
