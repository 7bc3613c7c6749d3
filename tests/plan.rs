//! The planner's invariants, for any network: nothing is overwritten that is still to be read.

mod common;

use common::networks::{FAMILIES, any_network, config, network};
use common::{Batch, Model, State, evaluation_graph, training_graph};
use proptest::prelude::*;
use rir::graph::plan::ALIGNMENT;
use rir::graph::{Fusions, Graph, Node, Placement, Plan, Precision, Segment, Source, fuse, lower, plan};
use rir::nn::{Options, Purpose, zoo};
use rir::ops::Sgd;

const SGD: Sgd = Sgd::PAPER;

/// Scratch that depends on the node, so that no two plans are alike; some nodes need none.
fn scratch(graph: &Graph, node: &Node) -> usize {
    node.inputs.iter().map(|&v| graph.value(v).bytes()).sum::<usize>() % 3000
}

/// What lies in a piece of the workspace.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Owner {
    Nobody,
    Value(usize),
    Scratch(usize),
}

/// Plays a plan without arithmetic: a memory of owners in place of numbers.
struct Memory<'a> {
    plan: &'a Plan,
    owners: Vec<Owner>,
}

impl<'a> Memory<'a> {
    fn new(plan: &'a Plan) -> Self {
        Self { plan, owners: vec![Owner::Nobody; plan.workspace_bytes.div_ceil(ALIGNMENT)] }
    }
    /// Takes `bytes` from `offset` on.
    fn claim(&mut self, offset: usize, bytes: usize, owner: Owner) {
        assert!(offset.is_multiple_of(ALIGNMENT), "{owner:?} lies at {offset}");
        assert!(offset + bytes <= self.plan.workspace_bytes, "{owner:?} ends beyond the workspace");
        self.owners[offset / ALIGNMENT..(offset + bytes).div_ceil(ALIGNMENT)].fill(owner);
    }
    fn write(&mut self, value: usize) {
        if let Placement::Workspace(offset) = self.plan.placements[value] {
            self.claim(offset, self.plan.graph.values[value].bytes(), Owner::Value(value));
        }
    }
    /// Whether a value is still where it was written.
    fn holds(&self, value: usize) -> bool {
        let Placement::Workspace(offset) = self.plan.placements[value] else { return true };
        let end = (offset + self.plan.graph.values[value].bytes()).div_ceil(ALIGNMENT);
        self.owners[offset / ALIGNMENT..end].iter().all(|&owner| owner == Owner::Value(value))
    }
}

fn check(plan: &Plan) {
    let mut memory = Memory::new(plan);
    for (v, value) in plan.graph.values.iter().enumerate() {
        match (value.source, plan.placements[v]) {
            (Source::Parameter(_) | Source::Running(_), Placement::Workspace(_)) => {
                panic!("{} lies in the workspace", value.name)
            }
            (Source::Node { .. }, _) => {}
            _ => memory.write(v),
        }
    }
    for (gradient, v) in plan.graph.gradients.iter().enumerate() {
        assert_eq!(plan.placements[v.0], Placement::State(rir::graph::Region::Gradients, gradient));
    }
    let mut order = Vec::new();
    for segment in Segment::ALL {
        order.extend(plan.segment(segment));
    }
    assert_eq!(order, (0..plan.graph.nodes.len()).collect::<Vec<_>>());
    for (n, node) in plan.graph.nodes.iter().enumerate() {
        let name = node.op.operation().name();
        node.outputs.iter().for_each(|v| memory.write(v.0));
        if plan.scratch_bytes[n] > 0 {
            memory.claim(plan.scratch[n], plan.scratch_bytes[n], Owner::Scratch(n));
        }
        // A node writes while it reads: its inputs must survive its outputs and its scratch, and those each other.
        for v in node.inputs.iter().chain(&node.outputs) {
            let value = &plan.graph.values[v.0].name;
            assert!(memory.holds(v.0), "node {n}, {name}: {value} was overwritten");
        }
        let end = (plan.scratch[n] + plan.scratch_bytes[n]).div_ceil(ALIGNMENT);
        if plan.scratch_bytes[n] > 0 {
            let kept = &memory.owners[plan.scratch[n] / ALIGNMENT..end];
            assert!(kept.iter().all(|&owner| owner == Owner::Scratch(n)), "node {n}, {name}: scratch");
        }
    }
    for (name, v) in &plan.graph.results {
        assert!(memory.holds(v.0), "the result {name} was overwritten");
    }
    assert!(plan.workspace_bytes >= plan.live_bytes);
    assert!(plan.workspace_bytes <= plan.unshared_bytes);
}

proptest! {
    #![proptest_config(config(200))]

    #[test]
    fn nothing_is_overwritten_before_its_last_use(
        (description, options) in any_network(),
        precision in prop::sample::select(vec![Precision::F32, Precision::F64, Precision::Bf16]),
        fused in any::<bool>(),
        keep_activations in any::<bool>(),
    ) {
        let options = Options { keep_activations, ..options };
        let fusions = if fused { Fusions::ALL } else { Fusions::NONE };
        for graph in [
            training_graph(&description, &options, Some(SGD)),
            evaluation_graph(&description, &options),
        ] {
            let graph = fuse(lower(&graph, precision).unwrap(), fusions).unwrap();
            check(&plan(&graph, &scratch));
            check(&plan(&graph, &|_, _| 0));
        }
    }
}

/// Training keeps every activation for the backward pass, whose own tensors then take each other's places, and under
/// bf16 the weights from their casts on, which are most of the MLP; evaluation keeps hardly any activation, but in
/// ALL-CNN-C two of its tensors are half of everything.
#[test]
fn real_models_share_most_of_their_workspace() {
    for name in zoo::NAMES {
        let description = zoo::by_name(name).unwrap();
        let options = Options::new(Purpose::Train, 64, [32, 32, 3], 10);
        let shares = if name == "rir-mlp" { [0.75, 0.85] } else { [0.7, 0.6] };
        for (graph, share) in [
            (training_graph(&description, &options, Some(SGD)), shares[0]),
            (evaluation_graph(&description, &options), shares[1]),
        ] {
            let graph = fuse(lower(&graph, Precision::Bf16).unwrap(), Fusions::ALL).unwrap();
            let plan = plan(&graph, &|_, _| 0);
            check(&plan);
            let used = plan.workspace_bytes as f64 / plan.unshared_bytes as f64;
            println!(
                "{name}: {used:.2} of unshared, {:.3} of the bound",
                plan.workspace_bytes as f64 / plan.live_bytes as f64
            );
            assert!(used <= share, "{name}: {used:.2}");
            assert!(plan.workspace_bytes as f64 <= 1.1 * plan.live_bytes as f64, "{name}");
        }
    }
}

/// Whatever is read before it is written is NaN, and would reach the loss, a gradient or the new State.
#[test]
fn a_poisoned_workspace_does_not_show() {
    for family in FAMILIES {
        for precision in [Precision::F32, Precision::Bf16] {
            for fusions in [Fusions::ALL, Fusions::NONE] {
                let description = network(family, &[5, 8, 12]);
                let options = Options::new(Purpose::Train, 3, [9, 7, 3], 4);
                let graph = training_graph(&description, &options, Some(SGD));
                let mut model = Model::new(common::cpu, &graph.state, precision);
                model.set_state(&State::random(&graph.state, 1));
                let training = model.load(&graph, fusions);
                let evaluation = model.load(&evaluation_graph(&description, &options), fusions);
                let batch = Batch::random(&options, 2);
                // Twice: what a first run leaves must not help a second.
                for _ in 0..2 {
                    model.device.poison(training).unwrap();
                    model.device.poison(evaluation).unwrap();
                    model.step(training, &batch, 0.01);
                    model.run(evaluation, &batch);
                    let state = model.state();
                    let numbers = [model.result(training, "logits"), model.result(evaluation, "logits")]
                        .into_iter()
                        .chain([model.result(training, "loss"), model.result(evaluation, "loss")])
                        .chain(model.gradients())
                        .chain(state.parameters)
                        .chain(state.running);
                    assert!(numbers.flatten().all(f64::is_finite), "{family:?} {precision} {fusions:?}");
                }
            }
        }
    }
}
