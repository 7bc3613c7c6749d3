//! The table of cases on the emulator: every operation, shape and form of kernel.

use rir::check::{Rows, run_cases, table};
use rir::device::Device;
use rir::device::cuda::{Generation, Options};
use rir::graph::{Precision, StateLayout};

/// Sanitizers look at what all rows have in common, and take four times as long: every third row, of every form some.
const ROWS: usize = if cfg!(rir_emu_sanitized) { 3 } else { 1 };

fn hold(precision: Precision) {
    let cases = table(Rows::Kernels(Generation::Hopper), None).filter(|case| case.precision == precision);
    let cases = cases.step_by(ROWS);
    let report = run_cases(cases, &|layout: &StateLayout, precision, kernels| {
        let options = Options { kernels, ..Options::default() };
        Ok(Box::new(crate::open(layout, precision, 3, options)?) as Box<dyn Device>)
    });
    let failures: Vec<String> = (report.cases.iter().filter(|case| !case.passed))
        .map(|case| {
            let beyond = || format!("error {:.2e} is not within {:.2e}", case.error, case.limit);
            let what = case.failure.clone().unwrap_or_else(beyond);
            format!("{what}\n    rir check --device emu --filter {}", case.name)
        })
        .collect();
    let worst = report.cases.iter().map(|case| case.error).fold(0.0, f64::max);
    println!("{precision}: {} cases, largest error {worst:.2e}", report.cases.len());
    assert!(failures.is_empty(), "{} rows fail:\n{}", failures.len(), failures.join("\n"));
    assert!(report.passed > 1000 / ROWS);
}

#[test]
fn f32() {
    hold(Precision::F32);
}

#[test]
fn bf16() {
    hold(Precision::Bf16);
}
