//! The table of cases on the CPU, at every precision.

mod common;

use rir::check::reference::{ReferenceDevice, store};
use rir::check::{Factory, Rows, operations_without_rows, run_cases, table};
use rir::device::{Device, PlanId, StepInputs};
use rir::graph::{
    DType, Graph, Node, Plan, Precision, Region, Role, Segment, StateLayout, ValueId, lower, plan,
};

/// Runs the rows of one precision; a failure names every row beyond its limit and how to rerun it.
fn hold(precision: Precision, factory: Factory<'_>) {
    let report = run_cases(table(Rows::Plain, None).filter(|case| case.precision == precision), factory);
    let failures: Vec<String> = (report.cases.iter().filter(|case| !case.passed))
        .map(|case| {
            let what = case.failure.clone().unwrap_or_else(|| {
                format!("error {:.2e} is not within the limit {:.2e}", case.error, case.limit)
            });
            format!("{what}\n    rir check --device cpu --filter {}", case.name)
        })
        .collect();
    let worst = (report.cases.iter().filter(|c| c.limit > 0.0))
        .max_by(|a, b| (a.error / a.limit).total_cmp(&(b.error / b.limit)))
        .expect("the table has rows");
    println!(
        "{precision}: {} cases; nearest to its limit {:.2e}: {:.2e} in {}",
        report.cases.len(),
        worst.limit,
        worst.error,
        worst.name
    );
    assert!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
    assert!(report.passed > 300 && report.failed == 0);
}

#[test]
fn f32() {
    hold(Precision::F32, &|layout, precision, _| common::cpu(layout, precision));
}

#[test]
fn f64() {
    hold(Precision::F64, &|layout, precision, _| common::cpu(layout, precision));
}

#[test]
fn bf16() {
    hold(Precision::Bf16, &|layout, precision, _| common::cpu(layout, precision));
}

#[test]
fn every_operation_has_a_row() {
    assert_eq!(operations_without_rows(), Vec::<&str>::new());
}

/// The runner itself: a device that is off by one part in a thousand, or writes nothing, fails every case.
#[test]
fn a_device_that_is_slightly_wrong_fails() {
    for fault in [Fault::OffByAThousandth, Fault::Idle] {
        let factory = |layout: &StateLayout, precision, _| -> rir::Result<Box<dyn Device>> {
            Ok(Box::new(Wrong { device: ReferenceDevice::new(layout, precision), fault }))
        };
        let report = run_cases(table(Rows::Plain, Some("/f32")), &factory);
        let missed: Vec<&String> = report.cases.iter().filter(|c| c.passed).map(|c| &c.name).collect();
        assert!(missed.is_empty(), "passed with {fault:?}: {missed:?}");
        assert_eq!(report.failed, report.cases.len());
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    OffByAThousandth,
    Idle,
}

/// The reference with a fault.
struct Wrong {
    device: ReferenceDevice,
    fault: Fault,
}

impl Wrong {
    fn distort(&self, data: Vec<f64>) -> Vec<f64> {
        let factor = if self.fault == Fault::OffByAThousandth { 1.001 } else { 1.0 };
        data.into_iter().map(|x| x * factor).collect()
    }
}

impl Device for Wrong {
    fn name(&self) -> String {
        "wrong".into()
    }
    fn load(&mut self, plan: Plan) -> rir::Result<PlanId> {
        self.device.load(plan)
    }
    fn plan(&self, id: PlanId) -> &Plan {
        self.device.plan(id)
    }
    fn unload(&mut self, id: PlanId) {
        self.device.unload(id);
    }
    fn write_batch(&mut self, id: PlanId, images: &[f32], labels: &[i32]) -> rir::Result<()> {
        self.device.write_batch(id, images, labels)
    }
    fn write(&mut self, id: PlanId, value: ValueId, data: &[f64]) -> rir::Result<()> {
        self.device.write(id, value, data)
    }
    fn read(&mut self, id: PlanId, value: ValueId) -> rir::Result<Vec<f64>> {
        let data = self.device.read(id, value)?;
        let computed = self.plan(id).graph.producer(value).is_some();
        Ok(if computed { self.distort(data) } else { data })
    }
    fn write_state(&mut self, region: Region, index: usize, data: &[f64]) -> rir::Result<()> {
        self.device.write_state(region, index, data)
    }
    fn read_state(&mut self, region: Region, index: usize) -> rir::Result<Vec<f64>> {
        let data = self.device.read_state(region, index)?;
        Ok(if region == Region::Gradients { data } else { self.distort(data) })
    }
    fn poison(&mut self, id: PlanId) -> rir::Result<()> {
        self.device.poison(id)
    }
    fn run(&mut self, id: PlanId, segment: Segment, inputs: &StepInputs) -> rir::Result<()> {
        if self.fault == Fault::Idle { Ok(()) } else { self.device.run(id, segment, inputs) }
    }
    fn scratch(&self) -> fn(&Graph, &Node) -> usize {
        self.device.scratch()
    }
}

/// What crosses the border of a device is rounded to nearest, ties to even.
#[test]
fn writing_rounds_to_the_storage_type() {
    let numbers: Vec<f64> = common::normals(1000, 1, 0);
    let ties = (0..64).map(|i| 1.0 + (f64::from(i) + 0.5) / 128.0); // between neighbours of bf16
    let numbers: Vec<f64> = numbers.into_iter().chain(ties).collect();
    for (precision, role, dtype) in [
        (Precision::F64, Role::Exact, DType::F64),
        (Precision::F32, Role::Activation, DType::F32),
        (Precision::Bf16, Role::Exact, DType::F32),
        (Precision::Bf16, Role::Activation, DType::Bf16),
    ] {
        let mut graph = Graph::new();
        let x = graph.input("x", [numbers.len()], role);
        graph.keep("x", x);
        let graph = lower(&graph, precision).unwrap();
        let mut device = common::cpu(&graph.state, precision).unwrap();
        let id = device.load(plan(&graph, &device.scratch())).unwrap();
        device.write(id, x, &numbers).unwrap();
        let want: Vec<f64> = numbers.iter().map(|&x| store(dtype, x)).collect();
        assert_eq!(device.read(id, x).unwrap(), want, "{precision} {role:?}");
        assert!(device.write(id, x, &numbers[1..]).is_err());
    }
}
