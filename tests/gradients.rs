//! Every gradient rule, and whole networks, against central finite differences in f64.
//!
//! A central difference with step h errs by h² times the third derivative, here about 1e-12, and by the rounding of
//! two results divided by h: 2^-53 / 1e-6, about 1e-10 of the result's size. So the step is 1e-6, and a gradient
//! whose size is that of the result agrees to about 1e-9.

mod common;

use common::networks::{FAMILIES, network, one_of_each};
use common::{Batch, Model, State, evaluation_graph, norm, normals, training_graph};
use rir::check::limits::relative_error;
use rir::check::{Case, Rows, table};
use rir::device::StepInputs;
use rir::graph::{Fusions, Graph, ParameterKind, Precision, Role, Segment, Shape, ValueId, lower, plan};
use rir::nn::{Options, Purpose};
use rir::ops::{Backward, BatchStats, Epilogue, Op, Sgd};

const STEP: f64 = 1e-6;

/// Up to `count` elements of a tensor, spread evenly and including the first and the last.
fn sampled(elements: usize, count: usize) -> Vec<usize> {
    let count = count.min(elements);
    (0..count).map(|i| i * (elements - 1) / (count - 1).max(1)).collect()
}

/// One operation, alone. Results: `in0`, ..., `output`, `upstream`, and `gradient0`, ... where the rule gives one.
struct Single {
    graph: Graph,
    inputs: usize,
}

/// The operation of a case with its gradient rule, or the rule's refusal.
fn single(case: &Case) -> rir::Result<Single> {
    let mut graph = Graph::new();
    graph.enter("test");
    let roles = case.roles();
    let mut inputs: Vec<ValueId> = (case.inputs.iter().zip(roles).enumerate())
        .map(|(i, (input, role))| graph.input(format!("in{i}"), input.shape.clone(), role))
        .collect();
    // Batch norm differentiates together with its own statistics.
    if let Op::BatchNorm(_) = case.op {
        inputs[1] = graph.push(BatchStats.into(), &inputs[..1])?[0];
    }
    let outputs = graph.push(case.op.clone(), &inputs)?;
    let Some(&output) = outputs.first() else {
        return Err(rir::Error::model(format!("{} has no output", case.op.operation().name())));
    };
    let shape = graph.shape(output).clone();
    let upstream = graph.input("upstream", shape, Role::Exact);
    let mut given = vec![None; outputs.len()];
    given[0] = Some(upstream);
    let wanted = vec![true; inputs.len()];
    let gradients = case.op.operation().gradient(&mut Backward {
        graph: &mut graph,
        inputs: &inputs,
        outputs: &outputs,
        upstream: &given,
        wanted: &wanted,
    })?;
    // Lowering renumbers values; names stay.
    inputs.iter().enumerate().for_each(|(i, &v)| graph.keep(format!("in{i}"), v));
    graph.keep("output", output);
    graph.keep("upstream", upstream);
    for (i, gradient) in gradients.iter().enumerate() {
        gradient.iter().for_each(|&g| graph.keep(format!("gradient{i}"), g));
    }
    Ok(Single { graph, inputs: inputs.len() })
}

/// Runs an operation for these inputs; returns its output and its gradients.
fn run_single(single: &Single, inputs: &[Vec<f64>], upstream: &[f64]) -> (Vec<f64>, Vec<Option<Vec<f64>>>) {
    let graph = lower(&single.graph, Precision::F64).unwrap();
    let mut device = common::cpu(&graph.state, Precision::F64).unwrap();
    let id = device.load(plan(&graph, &device.scratch())).unwrap();
    device.poison(id).unwrap();
    for (i, data) in inputs.iter().enumerate() {
        let v = graph.result(&format!("in{i}")).unwrap();
        if graph.producer(v).is_none() {
            device.write(id, v, data).unwrap();
        }
    }
    device.write(id, graph.result("upstream").unwrap(), upstream).unwrap();
    device.run(id, Segment::Gradients, &StepInputs::default()).unwrap();
    let output = device.read(id, graph.result("output").unwrap()).unwrap();
    let gradients = (0..single.inputs).map(|i| graph.result(&format!("gradient{i}")));
    (output, gradients.map(|g| g.map(|g| device.read(id, g).unwrap())).collect())
}

/// A gradient smaller than this is held to it: where batch norm sees two elements, z's is a difference of equals.
const SMALLEST: f64 = 0.1;

/// The largest relative error of any input's gradient, against differences of `sum(upstream * output)` with random upstream.
fn single_error(case: &Case, single: &Single) -> f64 {
    let mut inputs: Vec<Vec<f64>> = (0..case.inputs.len()).map(|i| case.input(i).data).collect();
    let output = single.graph.result("output").unwrap();
    let upstream = normals(single.graph.shape(output).elements(), 7, 77);
    let (_, gradients) = run_single(single, &inputs, &upstream);
    let mut worst = 0.0f64;
    for (i, gradient) in gradients.iter().enumerate() {
        let Some(gradient) = gradient else { continue };
        assert_eq!(gradient.len(), inputs[i].len(), "{}: gradient {i}", case.name());
        let at = sampled(gradient.len(), 8);
        let differences: Vec<f64> = (at.iter())
            .map(|&e| {
                let x = inputs[i][e];
                let mut output = |x| {
                    inputs[i][e] = x;
                    run_single(single, &inputs, &upstream).0
                };
                let (up, down) = (output(x + STEP), output(x - STEP));
                inputs[i][e] = x;
                let change = up.iter().zip(&down).zip(&upstream).map(|((up, down), w)| (up - down) * w);
                change.sum::<f64>() / (2.0 * STEP)
            })
            .collect();
        let rule: Vec<f64> = at.iter().map(|&e| gradient[e]).collect();
        let error: Vec<f64> = rule.iter().zip(&differences).map(|(a, b)| a - b).collect();
        worst = worst.max(norm(&error) / norm(&differences).max(SMALLEST));
    }
    worst
}

/// Operations that only gradients and fusion make, and those that change the State, have no rule of their own.
const WITHOUT_RULE: [&str; 20] = [
    "conv2d_data_grad",
    "conv2d_weight_grad",
    "batch_stats",
    "batch_norm_reduce",
    "batch_norm_backward",
    "update_running",
    "fold_batch_norm",
    "scale_shift",
    "two_stream_update",
    "two_stream_reduce",
    "two_stream_backward",
    "shortcut_backward",
    "relu_backward",
    "shadow_weights",
    "global_avg_pool_backward",
    "linear_data_grad",
    "linear_weight_grad",
    "bias_grad",
    "softmax_cross_entropy_backward",
    "sgd",
];

/// Relative to the gradient, a sum of a few thousand products loses one or two digits of the 1e-9 of the header.
const SINGLE_LIMIT: f64 = 1e-7;

#[test]
fn every_gradient_rule_is_the_derivative() {
    let mut checked = std::collections::BTreeMap::new();
    for case in table(Rows::Plain, Some("/f64")) {
        let name = case.op.operation().name();
        // At 0 ReLU has no derivative; and of a loss of hundreds, a difference keeps two digits fewer.
        if case.name().contains("zeros") || case.name().contains("large") {
            continue;
        }
        match single(&case) {
            Ok(single) => {
                let error = single_error(&case, &single);
                assert!(error <= SINGLE_LIMIT, "{}: {error:.1e}", case.name());
                let worst: &mut f64 = checked.entry(name).or_default();
                *worst = worst.max(error);
            }
            Err(e) => {
                let fused = match &case.op {
                    Op::Conv2d(c) => c.identity > 0 || c.projected || c.epilogue != Epilogue::None,
                    _ => false,
                };
                assert!(fused || WITHOUT_RULE.contains(&name), "{}: {e}", case.name());
            }
        }
    }
    println!("{checked:?}");
    let names: Vec<&str> = checked.into_keys().collect();
    let want = [
        "add",
        "batch_norm",
        "cast",
        "conv2d",
        "fill",
        "global_avg_pool",
        "linear",
        "relu",
        "reshape",
        "shortcut",
        "softmax_cross_entropy",
    ];
    assert_eq!(names, want);
}

#[test]
fn an_operation_without_a_gradient_says_so_by_name() {
    let mut graph = Graph::new();
    let w = graph.parameter("w", [2, 3], ParameterKind::Scale);
    let pair = graph.input("pair", [2, 3], Role::Exact);
    let y = graph.push(rir::ops::ScaleShift.into(), &[w, pair]).unwrap()[0];
    let x = graph.reshape(y, [1, 6]).unwrap();
    let labels = graph.labels(1);
    let loss = graph.softmax_cross_entropy(x, labels, 0.0).unwrap();
    let error = rir::graph::differentiate(graph, loss).unwrap_err().to_string();
    assert!(error.contains("scale_shift has no gradient"), "{error}");
}

/// A loss as a function of the State: evaluates it with one parameter's element moved.
fn difference(model: &mut Model, id: rir::device::PlanId, batch: &Batch, p: usize, e: usize) -> f64 {
    let before = model.device.read_state(rir::graph::Region::Parameters, p).unwrap();
    let mut loss = |moved: f64| {
        let mut data = before.clone();
        data[e] += moved;
        model.device.write_state(rir::graph::Region::Parameters, p, &data).unwrap();
        model.run(id, batch);
        model.loss(id)
    };
    let slope = (loss(STEP) - loss(-STEP)) / (2.0 * STEP);
    loss(0.0);
    slope
}

/// The rounding of a loss near 1 divided by the step, ten times over for what ReLU's kinks and the layers add.
const NETWORK_ROUNDING: f64 = 1e-9;

#[test]
fn whole_networks_against_finite_differences() {
    for (name, description) in one_of_each() {
        let mut options = Options::new(Purpose::Train, 3, [6, 5, 2], 4);
        options.label_smoothing = 0.1;
        if description.flatten {
            options.batch = 12;
        }
        let graph = training_graph(&description, &options, None);
        let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
        model.set_state(&State::random(&graph.state, 3));
        let batch = Batch::random(&options, 4);
        let id = model.load(&graph, Fusions::NONE);
        model.run(id, &batch);
        let gradients = model.gradients();
        let forward = rir::nn::build(&description, &options).unwrap();
        let forward = model.load(&forward, Fusions::NONE);
        for (p, gradient) in gradients.iter().enumerate() {
            let at = sampled(gradient.len(), 5);
            let differences: Vec<f64> =
                at.iter().map(|&e| difference(&mut model, forward, &batch, p, e)).collect();
            let rule: Vec<f64> = at.iter().map(|&e| gradient[e]).collect();
            let error = norm(&rule.iter().zip(&differences).map(|(a, b)| a - b).collect::<Vec<_>>());
            let limit = NETWORK_ROUNDING + 1e-7 * norm(&rule);
            let parameter = &graph.state.parameters[p].name;
            assert!(
                error <= limit,
                "{name} {parameter}: {rule:?} differs from {differences:?} by {error:.1e}"
            );
        }
    }
}

/// The loss of the paper: cross-entropy and `wd / 2 * sum (w - center)^2`, on W and not on W + E.
#[test]
fn one_step_of_rate_one_is_the_gradient_of_the_regularised_loss() {
    let weight_decay = 0.02; // large, so that its part of the gradient is large
    let sgd = Sgd { weight_decay, ..Sgd::PAPER };
    for family in FAMILIES {
        let description = network(family, &[4, 6]);
        let options = Options::new(Purpose::Train, 4, [6, 6, 2], 3);
        let graph = training_graph(&description, &options, Some(sgd));
        let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
        let state = State::random(&graph.state, 5);
        let batch = Batch::random(&options, 6);
        model.set_state(&state);
        let id = model.load(&graph, Fusions::ALL);
        model.step(id, &batch, 1.0);
        let after = model.state();

        model.set_state(&state);
        let forward = model.load(&rir::nn::build(&description, &options).unwrap(), Fusions::NONE);
        for (p, parameter) in graph.state.parameters.iter().enumerate() {
            let (coefficient, center) = match parameter.kind {
                ParameterKind::Weight { .. } => (weight_decay, 0.0),
                ParameterKind::Scale => (weight_decay, 1.0),
                ParameterKind::Shift | ParameterKind::Bias => (0.0, 0.0),
            };
            for e in sampled(parameter.shape.elements(), 4) {
                let w = state.parameters[p][e];
                let l2 = |w: f64| coefficient / 2.0 * (w - center).powi(2);
                let penalty = (l2(w + STEP) - l2(w - STEP)) / (2.0 * STEP);
                let want = difference(&mut model, forward, &batch, p, e) + penalty;
                let stepped = w - after.parameters[p][e];
                let limit = NETWORK_ROUNDING + 1e-7 * want.abs();
                assert!(
                    (stepped - want).abs() <= limit,
                    "{family:?} {} {e}: {stepped} {want}",
                    parameter.name
                );
            }
        }
    }
}

/// The paper's `1e-4 * sum(w^2)`, without the half, is what a weight decay of 2e-4 gives: `2e-4 * w`.
#[test]
fn the_papers_penalty_is_a_weight_decay_of_2e_4() {
    let sgd = Sgd::PAPER;
    let (coefficient, center) = sgd.decay(ParameterKind::Weight { fan_in: 9 });
    let w = 0.7;
    let penalty = |w: f64| 1e-4 * w * w;
    let slope = (penalty(w + STEP) - penalty(w - STEP)) / (2.0 * STEP);
    assert!((coefficient * (w - center) - slope).abs() <= 1e-9 * slope);
    assert_eq!(sgd.decay(ParameterKind::Shift), (0.0, 0.0));
    assert_eq!(sgd.decay(ParameterKind::Bias), (0.0, 0.0));
}

/// Evaluation has parameters but no gradient: it says so.
#[test]
fn an_evaluation_graph_is_not_differentiated() {
    let options = Options::new(Purpose::Evaluate, 2, [4, 4, 1], 2);
    let graph = evaluation_graph(&network(FAMILIES[0], &[3]), &options);
    let loss = graph.result("loss").unwrap();
    assert!(rir::graph::differentiate(graph, loss).unwrap_err().to_string().contains("no gradient"));
}

/// A gradient that several readers add to: every reader's part arrives, once.
#[test]
fn a_value_with_several_readers_gets_the_sum() {
    let mut graph = Graph::new();
    let w = graph.parameter("w", Shape::from([3, 4]), ParameterKind::Bias);
    let twice = graph.add(w, w).unwrap();
    let thrice = graph.add(twice, w).unwrap();
    let labels = graph.labels(3);
    let logits = graph.relu(thrice).unwrap();
    let loss = graph.softmax_cross_entropy(logits, labels, 0.0).unwrap();
    let differentiated = rir::graph::differentiate(graph.clone(), loss).unwrap();
    let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
    let batch = Batch { images: vec![], labels: vec![0.0, 3.0, 1.0] };
    model.set_state(&State { parameters: vec![normals(12, 8, 0)], running: vec![] });
    let id = model.load(&differentiated, Fusions::NONE);
    model.run(id, &batch);
    let gradient = model.gradients().remove(0);
    let forward = model.load(&graph, Fusions::NONE);
    let want: Vec<f64> = (0..12).map(|e| difference(&mut model, forward, &batch, 0, e)).collect();
    assert!(relative_error(&gradient, &want) <= 1e-8);
}
