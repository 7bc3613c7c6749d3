//! The paper's identities between its families ("The generalized residual block"), forward and backward, in f64.

mod common;

use common::networks::{any_network, config, network, with_blocks};
use common::{Batch, Model, State, evaluation_graph, normals, training_graph, uniforms};
use proptest::prelude::*;
use rir::check::limits::relative_error;
use rir::graph::{Fusions, Graph, Precision, Role, StateLayout};
use rir::nn::{Body, Description, Family, Form, Options, Projection, Purpose, build};
use rir::ops::{EPSILON, Sgd};

/// The same sums in another order, through a few layers: some hundred units of roundoff.
const LIMIT: f64 = 1e-12;

fn options() -> Options {
    Options { keep_activations: true, ..Options::new(Purpose::Train, 3, [8, 7, 3], 4) }
}

/// A part of a tensor's channels: `count` from `first` on.
fn channels(data: &[f64], channels: usize, first: usize, count: usize) -> Vec<f64> {
    data.chunks(channels).flat_map(|row| row[first..first + count].iter().copied()).collect()
}

/// Named tensors of a State.
struct Named<'a> {
    layout: &'a StateLayout,
    state: &'a mut State,
}

impl Named<'_> {
    fn get(&mut self, name: &str) -> &mut Vec<f64> {
        let Named { layout, state } = self;
        match layout.parameter(name) {
            Some(i) => &mut state.parameters[i],
            None => {
                let found = layout.running.iter().position(|r| r.name == name);
                &mut state.running[found.unwrap_or_else(|| panic!("no tensor '{name}'"))]
            }
        }
    }
    fn extents(&self, name: &str) -> Vec<usize> {
        self.layout.parameters[self.layout.parameter(name).unwrap()].shape.0.clone()
    }
}

/// Layers with a filter of their own called `<layer>.conv.weight`.
fn layers(layout: &StateLayout) -> Vec<String> {
    let layer = |p: &rir::graph::Parameter| p.name.strip_suffix(".conv.weight").map(String::from);
    layout.parameters.iter().filter_map(layer).collect()
}

/// The quarters of W [K R S C] of one layer, `rr` from r to r, `tr` from t to r, and so on: rows are outputs.
fn quarter(w: &[f64], [k, r, s, c]: [usize; 4], name: &str, r_out: usize, r_in: usize) -> Vec<f64> {
    let from = if name.starts_with('r') { 0..r_in } else { r_in..c };
    let to = if name.ends_with('r') { 0..r_out } else { r_out..k };
    to.flat_map(|k| (0..r * s).map(move |rs| (k, rs)))
        .flat_map(|(k, rs)| from.clone().map(move |c_in| w[(k * r * s + rs) * c + c_in]))
        .collect()
}

#[test]
fn four_convolutions_are_one() {
    for (family, share, strides) in
        [(Family::Rir, 0.5, 2), (Family::ResnetInit, 0.5, 2), (Family::Rir, 0.25, 1), (Family::Rir, 0.7, 2)]
    {
        let mut one = Description { residual_share: share, ..network(family, &[8, 12]) };
        if let Body::Groups(groups) = &mut one.body {
            groups[1].stride = strides;
        }
        let four = Description { form: Form::FourConvolutions, ..one.clone() };
        let (one, four) = [one, four].map(|d| training_graph(&d, &options(), None)).into();
        let part = |channels: usize| (channels as f64 * share).floor() as usize;

        // One W; its quarters are what the other form is given.
        let state_one = State::random(&one.state, 11);
        let mut state_four = State::random(&four.state, 12);
        for (i, p) in four.state.parameters.iter().enumerate() {
            let quarters = ["rr", "tr", "rt", "tt"].map(|q| format!(".conv.{q}.weight"));
            let split = quarters.iter().find_map(|q| p.name.strip_suffix(q.as_str()));
            state_four.parameters[i] = match split {
                None => state_one.parameters[one.state.parameter(&p.name).unwrap()].clone(),
                Some(layer) => {
                    let w = one.state.parameter(&format!("{layer}.conv.weight")).unwrap();
                    let dims = one.state.parameters[w].shape.dims4().unwrap();
                    let name = &p.name[layer.len() + 6..][..2];
                    quarter(&state_one.parameters[w], dims, name, part(dims[0]), part(dims[3]))
                }
            };
        }
        state_four.running = state_one.running.clone();

        let batch = Batch::random(&options(), 13);
        let mut results = [(&one, &state_one), (&four, &state_four)].map(|(graph, state)| {
            let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
            model.set_state(state);
            let id = model.load(graph, Fusions::ALL);
            model.step(id, &batch, 0.0);
            (model.result(id, "logits"), model.gradients(), model.state().running)
        });
        let (four_run, one_run) = (results[1].clone(), &mut results[0]);
        assert!(relative_error(&four_run.0, &one_run.0) <= LIMIT);
        for (a, b) in four_run.2.iter().zip(&one_run.2) {
            assert!(relative_error(a, b) <= LIMIT);
        }
        let mut quarters = 0;
        for (i, p) in four.state.parameters.iter().enumerate() {
            let want = match p.name.split_once(".conv.").filter(|(_, q)| q.len() > "weight".len()) {
                None => one_run.1[one.state.parameter(&p.name).unwrap()].clone(),
                Some((layer, name)) => {
                    quarters += 1;
                    let w = one.state.parameter(&format!("{layer}.conv.weight")).unwrap();
                    let dims = one.state.parameters[w].shape.dims4().unwrap();
                    quarter(&one_run.1[w], dims, &name[..2], part(dims[0]), part(dims[3]))
                }
            };
            let error = relative_error(&four_run.1[i], &want);
            assert!(error <= 10.0 * LIMIT, "{family:?} {}: {error:.1e}", p.name);
        }
        assert_eq!(quarters, 4 * 2 * 2);
    }
}

/// Zeroes every filter that reads or writes the stream of channels `stream` (by width), and its shifts, from the stem on.
fn silence(graph: &Graph, state: &mut State, stream: impl Fn(usize) -> std::ops::Range<usize>) {
    let mut named = Named { layout: &graph.state, state };
    for layer in layers(&graph.state) {
        let name = format!("{layer}.conv.weight");
        let [k, r, s, c] = named.extents(&name)[..] else { panic!("a filter has four extents") };
        let writes = if layer == "head" { 0..0 } else { stream(k) };
        let reads = if layer == "stem" { 0..0 } else { stream(c) };
        let w = named.get(&name);
        for (i, w) in w.iter_mut().enumerate() {
            if writes.contains(&(i / (r * s * c))) || reads.contains(&(i % c)) {
                *w = 0.0;
            }
        }
        for (i, shift) in named.get(&format!("{layer}.bn.bias")).iter_mut().enumerate() {
            if writes.contains(&i) {
                *shift = 0.0;
            }
        }
    }
}

/// From the State of a two-stream network, that of a network with one of the streams alone.
fn stream_alone(wide: &Graph, state: &mut State, narrow: &Graph, from: impl Fn(usize) -> usize) -> State {
    let mut alone = State::random(&narrow.state, 0);
    let mut named = Named { layout: &wide.state, state };
    let mut target = Named { layout: &narrow.state, state: &mut alone };
    for layer in layers(&narrow.state) {
        let name = format!("{layer}.conv.weight");
        let ([k, r, s, c], [wide_k, _, _, wide_c]) =
            (dims(&target.extents(&name)), dims(&named.extents(&name)));
        let first_k = if k == wide_k { 0 } else { from(wide_k) };
        let first_c = if c == wide_c { 0 } else { from(wide_c) };
        let w = named.get(&name);
        let rows = &w[first_k * r * s * wide_c..(first_k + k) * r * s * wide_c];
        *target.get(&name) = channels(rows, wide_c, first_c, c);
        for vector in ["weight", "bias", "running_mean", "running_var"] {
            let name = format!("{layer}.bn.{vector}");
            *target.get(&name) = named.get(&name)[first_k..first_k + k].to_vec();
        }
    }
    if narrow.state.parameter("head.linear.weight").is_some() {
        let wide_c = named.extents("head.linear.weight")[1];
        let c = target.extents("head.linear.weight")[1];
        *target.get("head.linear.weight") =
            channels(named.get("head.linear.weight"), wide_c, from(wide_c), c);
        *target.get("head.linear.bias") = named.get("head.linear.bias").clone();
    }
    alone
}

fn dims(extents: &[usize]) -> [usize; 4] {
    extents.try_into().expect("a filter has four extents")
}

fn run(graph: &Graph, state: &State, batch: &Batch, results: &[String]) -> Vec<Vec<f64>> {
    let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
    model.set_state(state);
    let id = model.load(graph, Fusions::ALL);
    model.run(id, batch);
    results.iter().map(|name| model.result(id, name)).collect()
}

/// With r and its filters zeroed, the generalized layers are a CNN's, in training (with batch statistics) and in
/// evaluation.
#[test]
fn without_r_a_layer_is_a_cnn_layer() {
    let two_streams = with_blocks(network(Family::ResnetInit, &[8, 12]), 2);
    let cnn = with_blocks(network(Family::Cnn, &[4, 6]), 2);
    let batch = Batch::random(&options(), 21);
    for purpose in [Purpose::Train, Purpose::Evaluate] {
        let [wide, narrow] = [&two_streams, &cnn].map(|description| match purpose {
            Purpose::Train => training_graph(description, &options(), None),
            Purpose::Evaluate => evaluation_graph(description, &options()),
        });
        let mut state = State::random(&wide.state, 22);
        // In evaluation a zero z becomes shift - scale * mean / deviation: mean 0, too.
        silence(&wide, &mut state, |width| 0..width / 2);
        zero_means(&wide, &mut state, |width| 0..width / 2);
        let alone = stream_alone(&wide, &mut state, &narrow, |width| width / 2);
        let names: Vec<String> = narrow.results.iter().map(|(name, _)| name.clone()).collect();
        let (got, want) = (run(&wide, &state, &batch, &names), run(&narrow, &alone, &batch, &names));
        for ((name, got), want) in names.iter().zip(got).zip(want) {
            let Some(layer) = name.strip_prefix("activation.") else {
                assert!(relative_error(&got, &want) <= LIMIT, "{name}");
                continue;
            };
            let width = 2 * width_of(&narrow, name);
            assert!(relative_error(&channels(&got, width, width / 2, width / 2), &want) <= LIMIT, "{layer}");
            assert!(channels(&got, width, 0, width / 2).iter().all(|r| *r == 0.0), "{layer}");
        }
    }
}

fn width_of(graph: &Graph, result: &str) -> usize {
    graph.shape(graph.result(result).unwrap()).channels()
}

fn zero_means(graph: &Graph, state: &mut State, stream: impl Fn(usize) -> std::ops::Range<usize>) {
    for (i, running) in graph.state.running.iter().enumerate() {
        if running.name.ends_with("running_mean") {
            stream(running.channels).for_each(|c| state.running[i][c] = 0.0);
        }
    }
}

/// With t and its filters zeroed, a layer is a residual block of one layer whose shortcut comes before batch norm:
/// `r' = ReLU(BN(conv(r) + shortcut(r)))`.
#[test]
fn without_t_a_layer_is_a_residual_block_of_one_layer() {
    let description = with_blocks(network(Family::ResnetInit, &[8, 12]), 1);
    let wide = training_graph(&description, &options(), None);

    let mut residual = Graph::new();
    let [h, w, c] = options().image;
    let images = residual.images([options().batch, h, w, c]);
    let z = residual.conv2d("stem.conv", images, 4, 3, 1).unwrap();
    let n = residual.batch_norm("stem.bn", z).unwrap();
    let mut r = residual.relu(n).unwrap();
    for (group, width, strides) in [(1, 4, [1, 1]), (2, 6, [2, 1])] {
        for (layer, stride) in [1, 2].into_iter().zip(strides) {
            let name = format!("group{group}.block1.layer{layer}");
            let before = residual.shape(r).channels();
            let z = residual.conv2d(&format!("{name}.conv"), r, width, 3, stride).unwrap();
            let e = residual.shortcut(r, stride, width, before.min(width)).unwrap();
            let sum = residual.add(z, e).unwrap();
            let n = residual.batch_norm(&format!("{name}.bn"), sum).unwrap();
            r = residual.relu(n).unwrap();
            residual.keep(format!("activation.{name}"), r);
        }
    }

    let mut state = State::random(&wide.state, 31);
    silence(&wide, &mut state, |width| width / 2..width);
    let alone = stream_alone(&wide, &mut state, &residual, |_| 0);
    let batch = Batch::random(&options(), 32);
    let names: Vec<String> = residual.results.iter().map(|(name, _)| name.clone()).collect();
    let (got, want) = (run(&wide, &state, &batch, &names), run(&residual, &alone, &batch, &names));
    assert_eq!(names.len(), 4);
    for ((name, got), want) in names.iter().zip(got).zip(want) {
        let width = 2 * width_of(&residual, name);
        assert!(relative_error(&channels(&got, width, 0, width / 2), &want) <= LIMIT, "{name}");
        assert!(channels(&got, width, width / 2, width / 2).iter().all(|t| *t == 0.0), "{name}");
    }
}

/// Only layer 1's W_rt, layer 2's W_tr and the shortcuts: a two-layer ResNet block. Exactly where the batch norms that
/// r passes are the identity, and r, which ReLU passes too, is not negative.
#[test]
fn two_generalized_layers_hold_a_resnet_block() {
    let two_streams = with_blocks(network(Family::ResnetInit, &[8, 12]), 2);
    let resnet =
        Description { projection: Projection::Pad, ..with_blocks(network(Family::Resnet, &[4, 6]), 2) };
    let (wide, narrow) = (evaluation_graph(&two_streams, &options()), evaluation_graph(&resnet, &options()));
    let (mut state, mut block) = (State::random(&wide.state, 41), State::random(&narrow.state, 42));
    let mut named = Named { layout: &wide.state, state: &mut state };
    let mut target = Named { layout: &narrow.state, state: &mut block };
    for layer in layers(&wide.state) {
        let name = format!("{layer}.conv.weight");
        let [k, r, s, c] = dims(&named.extents(&name));
        // The stem writes r alone, layer 1 reads r and writes t, layer 2 reads t and writes r.
        let (first, stem) = (layer.ends_with("layer1"), layer == "stem");
        let writes = if first { k / 2..k } else { 0..k / 2 };
        let reads = if stem {
            0..c
        } else if first {
            0..c / 2
        } else {
            c / 2..c
        };
        for (i, w) in named.get(&name).iter_mut().enumerate() {
            if !writes.contains(&(i / (r * s * c))) || !reads.contains(&(i % c)) {
                *w = 0.0;
            }
        }
        let rows = &named.get(&name)[writes.start * r * s * c..writes.end * r * s * c];
        *target.get(&name) = channels(rows, c, reads.start, reads.len());
        // Batch norm: the identity wherever r passes, nothing in an unused t, and elsewhere the block's own.
        for (vector, identity, nothing) in [
            ("weight", 1.0, 1.0),
            ("bias", 0.0, 0.0),
            ("running_mean", 0.0, 0.0),
            ("running_var", 1.0 - EPSILON, 1.0),
        ] {
            let name = format!("{layer}.bn.{vector}");
            let values = named.get(&name);
            for (c, value) in values.iter_mut().enumerate() {
                let on_r = c < k / 2;
                if on_r && !stem {
                    *value = identity;
                } else if !on_r && !first {
                    *value = nothing;
                }
            }
            *target.get(&name) = values[writes.clone()].to_vec();
        }
    }
    let linear = named.get("head.linear.weight").clone();
    *target.get("head.linear.weight") = channels(&linear, 12, 0, 6);
    *target.get("head.linear.bias") = named.get("head.linear.bias").clone();

    let batch = Batch::random(&options(), 43);
    let names: Vec<String> = (narrow.results.iter().map(|(name, _)| name.clone()))
        .filter(|name| name.ends_with("layer2") || name == "logits")
        .collect();
    assert_eq!(names.len(), 5);
    let (got, want) = (run(&wide, &state, &batch, &names), run(&narrow, &block, &batch, &names));
    for ((name, got), want) in names.iter().zip(got).zip(want) {
        let width = 2 * width_of(&narrow, name);
        let r = if name == "logits" { got } else { channels(&got, width, 0, width / 2) };
        assert!(relative_error(&r, &want) <= LIMIT, "{name}");
    }
}

proptest! {
    #![proptest_config(config(200))]

    /// Generalizing a layer costs no parameter; a State's tensors but for the quarters have the same names.
    #[test]
    fn generalized_families_have_as_many_parameters((description, options) in any_network()) {
        for (generalized, ordinary) in [(Family::Rir, Family::Resnet), (Family::ResnetInit, Family::Cnn)] {
            if ordinary == Family::Resnet && matches!(description.body, Body::Layers(_)) {
                continue;
            }
            let state = |family, form| {
                let description = Description { family, form, ..description.clone() };
                build(&description, &options).map(|graph| graph.state)
            };
            let one = state(generalized, Form::OneConvolution).unwrap();
            let plain = state(ordinary, Form::OneConvolution).unwrap();
            prop_assert_eq!(&one, &plain);
            if let Ok(four) = state(generalized, Form::FourConvolutions) {
                prop_assert_eq!(four.parameter_count(), one.parameter_count());
                prop_assert_eq!(&four.running, &one.running);
            }
        }
    }
}

/// Folded into a scale and a shift, batch norm is `scale * (z - mean) / sqrt(variance + EPSILON) + shift`.
#[test]
fn folded_batch_norm_is_batch_norm_with_the_running_statistics() {
    let (rows, channels) = (2 * 3 * 5, 7);
    let mut graph = Graph::new();
    let z = graph.input("z", [2, 3, 5, channels], Role::Activation);
    let y = graph.folded_batch_norm("bn", z).unwrap();
    graph.keep("z", z);
    graph.keep("y", y);
    let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
    let state = State::random(&graph.state, 51);
    model.set_state(&state);
    let id = model.load(&graph, Fusions::ALL);
    let data = normals(rows * channels, 52, 0);
    let z = model.device.plan(id).graph.result("z").unwrap();
    model.device.write(id, z, &data).unwrap();
    model.run(id, &Batch { images: vec![], labels: vec![] });
    let (scale, shift) = (&state.parameters[0], &state.parameters[1]);
    let (mean, variance) = (&state.running[0], &state.running[1]);
    let want: Vec<f64> = (data.iter().enumerate())
        .map(|(i, z)| {
            let c = i % channels;
            scale[c] * (z - mean[c]) / (variance[c] + 1e-5).sqrt() + shift[c]
        })
        .collect();
    assert!(relative_error(&model.result(id, "y"), &want) <= 1e-14);
}

/// Zero filters leave E alone: a layer then normalises its own residual stream. And the optimiser, which decays W, does
/// not touch E: from W = 0 a step without gradient leaves W = 0.
#[test]
fn the_identity_is_no_parameter_and_does_not_decay() {
    let description = network(Family::ResnetInit, &[6]);
    let sgd = Sgd { weight_decay: 0.5, decay_scale: true, ..Sgd::PLAIN };
    let graph = training_graph(&description, &options(), Some(sgd));
    let mut state = State::random(&graph.state, 61);
    let mut named = Named { layout: &graph.state, state: &mut state };
    named.get("group1.block1.layer1.conv.weight").fill(0.0);
    let (scale, shift) = (uniforms(6, 0.5, 1.5, 62, 0), normals(6, 62, 1));
    *named.get("group1.block1.layer1.bn.weight") = scale.clone();
    *named.get("group1.block1.layer1.bn.bias") = shift.clone();
    // No gradient reaches the layers.
    named.get("head.linear.weight").fill(0.0);

    let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
    model.set_state(&state);
    let id = model.load(&graph, Fusions::ALL);
    model.step(id, &Batch::random(&options(), 63), 0.1);
    let w = graph.state.parameter("group1.block1.layer1.conv.weight").unwrap();
    assert!(model.state().parameters[w].iter().all(|w| *w == 0.0));

    let x = model.result(id, "activation.stem");
    let y = model.result(id, "activation.group1.block1.layer1");
    let rows = x.len() / 6;
    for c in 0..6 {
        // The first half of the channels is copied, the rest gets nothing.
        let z = if c < 3 { channels(&x, 6, c, 1) } else { vec![0.0; rows] };
        let mean = z.iter().sum::<f64>() / rows as f64;
        let variance = z.iter().map(|z| (z - mean).powi(2)).sum::<f64>() / rows as f64;
        assert!(c >= 3 || variance > 1e-3, "the stem's channel {c} is alive");
        for (z, got) in z.iter().zip(channels(&y, 6, c, 1)) {
            let want = (scale[c] * (z - mean) / (variance + EPSILON).sqrt() + shift[c]).max(0.0);
            assert!((got - want).abs() <= LIMIT, "channel {c}: {got} {want}");
        }
    }
}
