//! Measuring, through the library: that a wrong result is no result, and that time runs out in good order.

mod common;

use std::time::{Duration, Instant};

use rir::bench::report::{layers, ops};
use rir::bench::{self, Bench, Network, Report, Settings};
use rir::device::cpu::CpuDevice;
use rir::device::cuda::Kernels;
use rir::device::cuda::driver::Properties;
use rir::device::{Device, PlanId, StepInputs};
use rir::error::Kind;
use rir::graph::{Fusions, Graph, Node, Plan, Precision, Region, Segment, StateLayout, ValueId};
use rir::nn::Family;

fn network() -> Network {
    Network {
        description: common::networks::network(Family::Rir, &[4, 6]),
        image: [8, 8, 3],
        classes: 3,
        batch: 2,
        precision: Precision::F32,
        fusions: Fusions::ALL,
    }
}

const QUICK: Settings =
    Settings { warmup: 1, repeats: Some(2), time: Duration::from_millis(1), deadline: None };

/// The cpu with a fault in one output element of every node.
struct Wrong(CpuDevice);

impl Device for Wrong {
    fn name(&self) -> String {
        "wrong".into()
    }
    fn load(&mut self, plan: Plan) -> rir::Result<PlanId> {
        self.0.load(plan)
    }
    fn plan(&self, id: PlanId) -> &Plan {
        self.0.plan(id)
    }
    fn unload(&mut self, id: PlanId) {
        self.0.unload(id);
    }
    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> rir::Result<()> {
        self.0.write_batch(id, images, labels)
    }
    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> rir::Result<()> {
        self.0.write(id, value, data)
    }
    fn read(&mut self, id: PlanId, value: ValueId) -> rir::Result<Vec<f64>> {
        let mut data = self.0.read(id, value)?;
        if self.plan(id).graph.producer(value).is_some() {
            data[0] = if data[0].is_nan() { 0.0 } else { f64::NAN };
        }
        Ok(data)
    }
    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> rir::Result<()> {
        self.0.write_state(region, index, data)
    }
    fn read_state(&mut self, region: Region, index: usize) -> rir::Result<Vec<f64>> {
        self.0.read_state(region, index)
    }
    fn poison(&mut self, id: PlanId) -> rir::Result<()> {
        self.0.poison(id)
    }
    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> rir::Result<()> {
        self.0.run(id, segment, inputs)
    }
    fn scratch(&self) -> fn(&Graph, &Node) -> usize {
        self.0.scratch()
    }
}

fn cpu(layout: &StateLayout, precision: Precision, _: Kernels) -> rir::Result<Box<dyn Device>> {
    common::cpu(layout, precision)
}

fn wrong(layout: &StateLayout, precision: Precision, _: Kernels) -> rir::Result<Box<dyn Device>> {
    Ok(Box::new(Wrong(CpuDevice::new(layout, precision)?)))
}

fn report(findings: bench::report::Findings) -> Report {
    Report::new("ops", "rir bench ops".into(), Properties::default(), &network(), None, findings)
}

#[test]
fn a_wrong_result_has_no_time_and_fails_the_command() {
    let bench =
        Bench { factory: &wrong, apart: None, kernels: None, settings: QUICK, rates: None, watch: &|_| () };
    let operations = ["conv2d/", "conv2d_data_grad", "two_stream_update", "softmax_cross_entropy"];
    for operation in operations {
        let findings = ops(&bench, &network(), Some(operation)).unwrap();
        assert!(!findings.rows.is_empty() && findings.failed.len() == findings.rows.len(), "{operation}");
        for row in &findings.rows {
            assert!(row.get("median_us").is_none(), "{row}");
            assert!(row["failure"].as_str().unwrap().contains("a wrong result"), "{row}");
        }
        let report = report(findings);
        let error = report.verdict().unwrap_err();
        assert_eq!(error.kind(), Kind::Device);
        assert!(error.to_string().contains(operation) && report.text().contains("FAILED"), "{error}");
    }
    let failed = bench::fusion::fusion(&bench, &network(), None).unwrap().failed;
    assert!(failed.len() == bench::fusion::variants().len() && failed[0].contains("the loss"), "{failed:?}");
    let step = bench::step::step(&bench, &network()).unwrap();
    assert!(step.failed[0].starts_with("step: a wrong result") && step.rows[0].get("median_us").is_none());
}

/// Too large to be compared as a whole: one wrong element, which is among those that always are, shows.
#[test]
fn a_large_convolution_is_compared_by_samples() {
    let large = Network { batch: 64, image: [64, 64, 3], ..network() };
    let wide = common::networks::network(Family::Rir, &[32, 32]);
    let large = Network { description: wide, ..large };
    let bench =
        |factory| Bench { factory, apart: None, kernels: None, settings: QUICK, rates: None, watch: &|_| () };
    let first = Some("conv2d_weight_grad/group1.block1.layer2");
    let findings = ops(&bench(&cpu), &large, first).unwrap();
    assert!(findings.failed.is_empty() && findings.rows.len() == 1, "{:?}", findings.failed);
    assert!(findings.rows[0]["compared"].as_u64() > Some(100), "{}", findings.rows[0]);
    assert_eq!(ops(&bench(&wrong), &large, first).unwrap().failed.len(), 1);
}

#[test]
fn what_there_is_no_time_for_is_named() {
    let settings = Settings { deadline: Some(Instant::now()), ..QUICK };
    let bench = Bench { factory: &cpu, apart: None, kernels: None, settings, rates: None, watch: &|_| () };
    let sites = network().sites().unwrap().len();
    let findings = ops(&bench, &network(), None).unwrap();
    assert_eq!((findings.rows.len(), findings.not_run.len()), (0, sites));
    let report = report(findings);
    assert!(report.verdict().is_ok() && report.text().contains("not run, for lack of time: "));
    assert!(layers(&bench, &network(), None).unwrap().not_run.len() > 5);
    let fusion = bench::fusion::fusion(&bench, &network(), None).unwrap();
    assert_eq!(fusion.not_run.len(), bench::fusion::variants().len());
}

#[test]
fn every_layer_has_its_directions() {
    let bench =
        Bench { factory: &cpu, apart: None, kernels: None, settings: QUICK, rates: None, watch: &|_| () };
    let rows = layers(&bench, &network(), None).unwrap().rows;
    let of = |layer: &str| {
        let own = rows.iter().filter(|row| row["layer"] == layer);
        own.map(|row| row["direction"].as_str().unwrap()).collect::<Vec<_>>()
    };
    // Nobody wants the gradient of the images.
    assert_eq!(of("stem"), ["forward", "weight_grad"]);
    for layer in ["group1.block1.layer1", "group2.block1.layer1", "group2.block1.layer2"] {
        let mut directions = of(layer);
        directions.sort_unstable();
        assert_eq!(directions, ["data_grad", "forward", "weight_grad"], "{layer}");
    }
    // A part of its layer 1.
    assert!(of("group2.block1.shortcut").is_empty());
}
