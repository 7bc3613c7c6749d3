//! Networks without a part, held to networks whose weights were changed by hand so that they compute the same, in f64.

mod common;

use common::networks::{network, one_of_each, with_blocks};
use common::{Batch, Model, State, evaluation_graph, training_graph};
use rir::check::limits::relative_error;
use rir::graph::{Fusions, Graph, Precision};
use rir::nn::{Ablation, Description, Family, Form, Options, Purpose, Stream, build};

/// The same sums, perhaps in another order, through a few layers: some hundred units of roundoff.
const LIMIT: f64 = 1e-12;

fn options() -> Options {
    Options { keep_activations: true, ..Options::new(Purpose::Evaluate, 3, [8, 7, 3], 4) }
}

fn ablated(description: &Description, ablation: Ablation) -> Graph {
    evaluation_graph(description, &Options { ablation: Some(ablation), ..options() })
}

fn run(graph: &Graph, state: &State, names: &[String]) -> Vec<Vec<f64>> {
    let mut model = Model::new(common::cpu, &graph.state, Precision::F64);
    model.set_state(state);
    let id = model.load(graph, Fusions::ALL);
    model.run(id, &Batch::random(&options(), 3));
    names.iter().map(|name| model.result(id, name)).collect()
}

fn logits(graph: &Graph, state: &State) -> Vec<f64> {
    run(graph, state, &["logits".into()]).remove(0)
}

fn generalized() -> impl Iterator<Item = (&'static str, Description)> {
    one_of_each().into_iter().filter(|(_, description)| description.family.has_identity())
}

/// The channels of a stream.
fn channels(description: &Description, stream: Stream, width: usize) -> std::ops::Range<usize> {
    let residual = description.residual(width);
    match stream {
        Stream::Residual => 0..residual,
        Stream::Transient => residual..width,
    }
}

fn streams(description: &Description) -> Vec<(usize, Stream)> {
    let layers = 0..description.layer_names().len();
    layers.flat_map(|layer| [(layer, Stream::Residual), (layer, Stream::Transient)]).collect()
}

#[test]
fn every_ablation_has_the_same_state() {
    for (name, description) in generalized() {
        let state = |ablation, purpose| {
            build(&description, &Options { ablation, purpose, ..options() }).unwrap().state
        };
        let layers = description.layer_names().len();
        let identities = (1..layers).map(|layer| Ablation::Identity { layer }).chain([Ablation::Identities]);
        let zeroed = streams(&description).into_iter();
        let zeroed = zeroed.map(|(layer, stream)| Ablation::Stream { layer, stream });
        for ablation in identities.chain(zeroed) {
            for purpose in [Purpose::Train, Purpose::Evaluate] {
                assert_eq!(state(Some(ablation), purpose), state(None, purpose), "{name} {ablation:?}");
            }
        }
    }
}

/// Behind the layer one stream is zero and the other as it was, in evaluation and in training; before it nothing changes.
#[test]
fn a_zeroed_stream_is_zero_and_the_other_is_not_touched() {
    for (name, description) in generalized() {
        let names = description.layer_names();
        for purpose in [Purpose::Evaluate, Purpose::Train] {
            let graph = |ablation| match purpose {
                Purpose::Evaluate => evaluation_graph(&description, &Options { ablation, ..options() }),
                Purpose::Train => training_graph(&description, &Options { ablation, ..options() }, None),
            };
            let whole = graph(None);
            let state = State::random(&whole.state, 1);
            let kept: Vec<String> = names.iter().map(|layer| format!("activation.{layer}")).collect();
            let want = run(&whole, &state, &kept);
            for (layer, stream) in streams(&description) {
                let got = run(&graph(Some(Ablation::Stream { layer, stream })), &state, &kept[..=layer]);
                for (before, want) in got[..layer].iter().zip(&want) {
                    assert_eq!(before, want, "{name} {layer}");
                }
                let width = whole.shape(whole.result(&kept[layer]).unwrap()).channels();
                let zero = channels(&description, stream, width);
                for (at, (got, want)) in got[layer].iter().zip(&want[layer]).enumerate() {
                    let want = if zero.contains(&(at % width)) { 0.0 } else { *want };
                    assert_eq!(*got, want, "{name} {layer} {stream:?}");
                }
            }
        }
    }
}

/// Where no outer shortcut is added, a batch norm whose scale and shift are zero silences a stream as well; behind the
/// last layer, a classifier that does not read it. Both change what every later layer sees.
#[test]
fn a_zeroed_stream_is_one_silenced_by_weights() {
    let mut compared = 0;
    for (name, description) in generalized() {
        let graph = evaluation_graph(&description, &options());
        let names = description.layer_names();
        let state = State::random(&graph.state, 2);
        let whole = logits(&graph, &state);
        for (layer, stream) in streams(&description) {
            let mut by_hand = state.clone();
            let ends_block = description.family.has_outer_shortcut()
                && layer > 0
                && layer.is_multiple_of(description.layers_per_block);
            let linear = graph.state.parameter("head.linear.weight");
            let parameter =
                |kind: &str| graph.state.parameter(&format!("{}.bn.{kind}", names[layer])).unwrap();
            let width = graph.state.parameters[parameter("weight")].shape.elements();
            let zero = channels(&description, stream, width);
            if !ends_block {
                for kind in ["weight", "bias"] {
                    by_hand.parameters[parameter(kind)][zero.clone()].fill(0.0);
                }
            } else if let Some(linear) = linear.filter(|_| layer + 1 == names.len()) {
                by_hand.parameters[linear].chunks_mut(width).for_each(|row| row[zero.clone()].fill(0.0));
            } else {
                continue;
            }
            compared += 1;
            let got = logits(&ablated(&description, Ablation::Stream { layer, stream }), &state);
            let error = relative_error(&got, &logits(&graph, &by_hand));
            assert!(error <= LIMIT, "{name} {layer} {stream:?}: {error:.1e}");
            let change = relative_error(&got, &whole);
            assert!(
                change > 1e-3 || width == 0 || zero.is_empty(),
                "{name} {layer} {stream:?} changes nothing"
            );
        }
    }
    assert!(compared > 60, "{compared}");
}

/// `conv(x, W)` without E is `conv(x, W - E) + E x`.
#[test]
fn a_layer_without_its_identity_is_one_whose_filter_takes_it_back() {
    for (name, description) in generalized() {
        let graph = evaluation_graph(&description, &options());
        let state = State::random(&graph.state, 4);
        let names = description.layer_names();
        let taken_back = |state: &mut State, layer: usize| {
            let whole = graph.state.parameter(&format!("{}.conv.weight", names[layer]));
            let (w, copied) = match whole {
                Some(w) => {
                    let [k, _, _, c] = graph.state.parameters[w].shape.dims4().unwrap();
                    (w, description.identity(c, k))
                }
                None => {
                    let w = graph.state.parameter(&format!("{}.conv.rr.weight", names[layer])).unwrap();
                    let [k, _, _, c] = graph.state.parameters[w].shape.dims4().unwrap();
                    (w, k.min(c))
                }
            };
            let [_, r, s, c] = graph.state.parameters[w].shape.dims4().unwrap();
            for i in 0..copied {
                state.parameters[w][((i * r + r / 2) * s + s / 2) * c + i] -= 1.0;
            }
        };
        let mut all = state.clone();
        for layer in 1..names.len() {
            let mut one = state.clone();
            taken_back(&mut one, layer);
            taken_back(&mut all, layer);
            let got = logits(&ablated(&description, Ablation::Identity { layer }), &state);
            let error = relative_error(&got, &logits(&graph, &one));
            assert!(error <= LIMIT, "{name} {layer}: {error:.1e}");
            assert!(relative_error(&got, &logits(&graph, &state)) > 1e-3, "{name} {layer} changes nothing");
        }
        let got = logits(&ablated(&description, Ablation::Identities), &state);
        let error = relative_error(&got, &logits(&graph, &all));
        assert!(error <= LIMIT, "{name}: {error:.1e}");
    }
}

#[test]
fn without_identities_a_network_is_its_ordinary_sibling() {
    for (generalized, ordinary) in [(Family::Rir, Family::Resnet), (Family::ResnetInit, Family::Cnn)] {
        let [generalized, ordinary] =
            [generalized, ordinary].map(|family| with_blocks(network(family, &[4, 6]), 2));
        let sibling = evaluation_graph(&ordinary, &options());
        let state = State::random(&sibling.state, 5);
        assert_eq!(logits(&ablated(&generalized, Ablation::Identities), &state), logits(&sibling, &state));
    }
}

#[test]
fn what_is_not_there_is_not_taken_out() {
    let refused = |family, ablation| {
        let description = network(family, &[4, 6]);
        build(&description, &Options { ablation: Some(ablation), ..options() }).unwrap_err().to_string()
    };
    let far = Ablation::Stream { layer: 5, stream: Stream::Transient };
    assert!(refused(Family::Rir, far).contains("no layer 5"));
    assert!(refused(Family::Rir, Ablation::Identity { layer: 0 }).contains("the stem has no identity"));
    for ablation in [Ablation::Identities, Ablation::Identity { layer: 1 }] {
        assert!(refused(Family::Resnet, ablation).contains("family resnet have no identity"));
    }
    // An ordinary layer has channels as well.
    let four = Description { form: Form::FourConvolutions, ..network(Family::Rir, &[4, 6]) };
    let last = Ablation::Stream { layer: 4, stream: Stream::Transient };
    build(&four, &Options { ablation: Some(last), ..options() }).unwrap();
}
