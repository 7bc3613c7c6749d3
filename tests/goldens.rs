//! The golden files of `tests/goldens/make_goldens.py`, made by JAX in f64: every activation, logit, loss, gradient,
//! running statistic, and ten training steps.

mod common;

use std::collections::BTreeMap;
use std::path::Path;

use common::networks::network;
use common::{Batch, Model, State, evaluation_graph, norm, training_graph};
use rir::graph::{Fusions, Graph, Precision, Shape, StateLayout};
use rir::nn::{Body, Description, Family, Head, Options, Projection, Purpose};
use rir::ops::Sgd;
use safetensors::{Dtype, SafeTensors};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The makers demand that no result moves by more than 1e-11 when the parameters move by 1e-15, so that another
/// engine's rounding, some hundred times as large, stays below this.
const F64_LIMIT: f64 = 1e-8;
/// In f32 through a whole network: the forward pass alone, since one ReLU on the verge moves a gradient by 1e-3.
const F32_LIMIT: f64 = 1e-5;

const CASES: [&str; 8] = [
    "cnn-oblong",
    "resnet-1x1",
    "resnet-init-odd-widths",
    "rir",
    "rir-no-outer-relu",
    "rir-odd-size",
    "rir-pad-3-layers",
    "rir-quarter-share",
];

/// A golden file's `description`.
#[derive(Deserialize)]
struct Case {
    family: Family,
    widths: Vec<usize>,
    blocks: Vec<usize>,
    layers_per_block: usize,
    projection: Projection,
    head: Head,
    residual_share: f64,
    outer_relu: bool,
    classes: usize,
    batch: usize,
    height: usize,
    width: usize,
    label_smoothing: f64,
    #[serde(default)]
    steps: usize,
    #[serde(default)]
    learning_rate: f64,
    #[serde(default)]
    momentum: f64,
    #[serde(default)]
    weight_decay: f64,
}

struct Golden {
    case: Case,
    /// Extents and elements by name, as the file has them: N C H W, O I H W.
    tensors: BTreeMap<String, (Vec<usize>, Vec<f64>)>,
}

fn parsed<T: DeserializeOwned>(text: &str) -> T {
    serde_json::from_str(text).unwrap()
}

impl Golden {
    fn read(name: &str) -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens").join(name);
        let bytes = std::fs::read(path.with_extension("safetensors")).unwrap();
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        let description = &header.metadata().as_ref().unwrap()["description"];
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let numbers = |tensor: &safetensors::tensor::TensorView<'_>| match tensor.dtype() {
            Dtype::F64 => tensor.data().as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect(),
            Dtype::I32 => {
                tensor.data().as_chunks().0.iter().map(|b| f64::from(i32::from_le_bytes(*b))).collect()
            }
            other => panic!("{name}: a tensor of {other:?}"),
        };
        let tensors = (file.tensors().iter())
            .map(|(name, tensor)| (name.clone(), (tensor.shape().to_vec(), numbers(tensor))))
            .collect();
        Self { case: parsed(description), tensors }
    }

    /// A tensor in the engine's memory order.
    fn tensor(&self, name: &str) -> Vec<f64> {
        let (extents, data) = self.tensors.get(name).unwrap_or_else(|| panic!("no tensor '{name}'"));
        channels_last(extents, data)
    }

    /// Batch `step` of the training steps.
    fn step(&self, step: usize) -> Batch {
        let (extents, images) = &self.tensors["steps.images"];
        let (_, labels) = &self.tensors["steps.labels"];
        let (pixels, batch) = (images.len() / extents[0], labels.len() / extents[0]);
        Batch {
            images: channels_last(&extents[1..], &images[step * pixels..][..pixels]),
            labels: labels[step * batch..][..batch].to_vec(),
        }
    }

    fn batch(&self) -> Batch {
        Batch { images: self.tensor("images"), labels: self.tensor("labels") }
    }

    fn state(&self, layout: &StateLayout) -> State {
        let read = |name: &String| self.tensor(&format!("state.{name}"));
        State {
            parameters: layout.parameters.iter().map(|p| read(&p.name)).collect(),
            running: layout.running.iter().map(|r| read(&r.name)).collect(),
        }
    }

    fn description(&self) -> Description {
        let c = &self.case;
        let mut description = Description {
            layers_per_block: c.layers_per_block,
            projection: c.projection,
            head: c.head,
            residual_share: c.residual_share,
            outer_relu: c.outer_relu,
            ..network(c.family, &c.widths)
        };
        if let Body::Groups(groups) = &mut description.body {
            groups.iter_mut().zip(&c.blocks).for_each(|(group, blocks)| group.blocks = *blocks);
        }
        description
    }

    fn options(&self) -> Options {
        let Case { batch, height, width, classes, label_smoothing, .. } = self.case;
        Options {
            label_smoothing,
            keep_activations: true,
            ..Options::new(Purpose::Train, batch, [height, width, 3], classes)
        }
    }

    fn sgd(&self) -> Sgd {
        let Case { momentum, weight_decay, .. } = self.case;
        Sgd { momentum, weight_decay, ..Sgd::PAPER }
    }
}

/// N C H W to N H W C, and O I H W to K R S C; anything of fewer extents as it is.
fn channels_last(extents: &[usize], data: &[f64]) -> Vec<f64> {
    let &[_, c, h, w] = extents else { return data.to_vec() };
    let pixels = h * w;
    let image =
        |image: &[f64]| -> Vec<f64> { (0..pixels * c).map(|i| image[i % c * pixels + i / c]).collect() };
    data.chunks(pixels * c).flat_map(image).collect()
}

/// Holds values to those of a file, and remembers the furthest.
struct Ledger {
    golden: Golden,
    used: Vec<String>,
    worst: (f64, String),
}

impl Ledger {
    fn hold(&mut self, name: &str, got: &[f64], limit: f64) {
        let want = self.golden.tensor(name);
        let difference: Vec<f64> = got.iter().zip(&want).map(|(a, b)| a - b).collect();
        let error = norm(&difference) / norm(&want);
        assert_eq!(got.len(), want.len(), "{name}");
        assert!(error <= limit, "{name}: {error:.1e}");
        if error > self.worst.0 {
            self.worst = (error, name.into());
        }
        self.used.push(name.into());
    }

    /// Holds every result of a graph: activations, logits and loss.
    fn results(&mut self, purpose: &str, graph: &Graph, model: &mut Model, id: rir::device::PlanId) {
        for (name, _) in graph.results.iter().filter(|(name, _)| name != "correct") {
            let got = model.result(id, name);
            self.hold(&format!("{purpose}.{name}"), &got, F64_LIMIT);
        }
    }
}

fn hold_f64(name: &str, fusions: Fusions) -> Ledger {
    let golden = Golden::read(name);
    let (description, options) = (golden.description(), golden.options());
    let batch = golden.batch();
    let training = training_graph(&description, &options, Some(golden.sgd()));
    let evaluation = evaluation_graph(&description, &options);
    let layout = training.state.clone();
    let state = golden.state(&layout);
    let mut model = Model::new(common::cpu, &layout, Precision::F64);
    let mut ledger = Ledger { golden, used: Vec::new(), worst: (0.0, String::new()) };

    model.set_state(&state);
    let id = model.load(&evaluation, fusions);
    model.run(id, &batch);
    ledger.results("eval", &evaluation, &mut model, id);

    let id = model.load(&training, fusions);
    model.step(id, &batch, 0.0);
    ledger.results("train", &training, &mut model, id);
    for (gradient, p) in model.gradients().iter().zip(&layout.parameters) {
        ledger.hold(&format!("train.grad.{}", p.name), gradient, F64_LIMIT);
    }
    for (running, r) in model.state().running.iter().zip(&layout.running) {
        ledger.hold(&format!("train.running.{}", r.name), running, F64_LIMIT);
    }

    if ledger.golden.case.steps > 0 {
        model.set_state(&state);
        let losses: Vec<f64> = (0..ledger.golden.case.steps)
            .map(|step| {
                let batch = ledger.golden.step(step);
                model.step(id, &batch, ledger.golden.case.learning_rate);
                model.loss(id)
            })
            .collect();
        ledger.hold("steps.loss", &losses, F64_LIMIT);
        let after = model.state();
        for (values, p) in after.parameters.iter().zip(&layout.parameters) {
            ledger.hold(&format!("steps.final.{}", p.name), values, F64_LIMIT);
        }
        for (values, r) in after.running.iter().zip(&layout.running) {
            ledger.hold(&format!("steps.final.{}", r.name), values, F64_LIMIT);
        }
    }
    ledger
}

#[test]
fn f64_holds_every_tensor() {
    for name in CASES {
        for fusions in [Fusions::ALL, Fusions::NONE] {
            let ledger = hold_f64(name, fusions);
            println!("{name}: {:.1e} in {}", ledger.worst.0, ledger.worst.1);
            // Nothing in the file is left out but what went in.
            let inputs = ["state.", "images", "labels", "steps.images", "steps.labels"];
            let results = ledger.golden.tensors.keys().filter(|n| !inputs.iter().any(|i| n.starts_with(i)));
            let unused: Vec<&String> = results.filter(|name| !ledger.used.contains(name)).collect();
            assert!(unused.is_empty(), "{name}: {unused:?} are held to nothing");
        }
    }
}

#[test]
fn f32_holds_logits_and_loss() {
    for name in CASES {
        for fusions in [Fusions::ALL, Fusions::NONE] {
            let golden = Golden::read(name);
            let (description, options) = (golden.description(), golden.options());
            let batch = golden.batch();
            let mut ledger = Ledger { golden, used: Vec::new(), worst: (0.0, String::new()) };
            for (purpose, graph) in [
                ("train", training_graph(&description, &options, None)),
                ("eval", evaluation_graph(&description, &options)),
            ] {
                let mut model = Model::new(common::cpu, &graph.state, Precision::F32);
                model.set_state(&ledger.golden.state(&graph.state));
                let id = model.load(&graph, fusions);
                model.run(id, &batch);
                for result in ["logits", "loss"] {
                    ledger.hold(&format!("{purpose}.{result}"), &model.result(id, result), F32_LIMIT);
                }
            }
            println!("{name}: {:.1e} in {}", ledger.worst.0, ledger.worst.1);
        }
    }
}

/// The files have the names and extents of the engine's State, and every file here is read.
#[test]
fn every_golden_file_is_a_case() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let mut found: Vec<String> = (std::fs::read_dir(folder).unwrap())
        .filter_map(|entry| {
            entry.unwrap().file_name().into_string().unwrap().strip_suffix(".safetensors").map(String::from)
        })
        .collect();
    found.sort();
    assert_eq!(found, CASES);
    for name in CASES {
        let golden = Golden::read(name);
        let state = evaluation_graph(&golden.description(), &golden.options()).state;
        let count = golden.tensors.keys().filter(|name| name.starts_with("state.")).count();
        assert_eq!(count, state.parameters.len() + state.running.len(), "{name}");
        for p in &state.parameters {
            let extents = &golden.tensors[&format!("state.{}", p.name)].0;
            let want = match p.shape.dims4() {
                Some([k, r, s, c]) => Shape::from([k, c, r, s]),
                None => p.shape.clone(),
            };
            assert_eq!(Shape(extents.clone()), want, "{name}: {}", p.name);
        }
    }
}
