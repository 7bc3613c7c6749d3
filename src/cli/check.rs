//! `rir check`: the table of cases on a device.

use indicatif::ProgressBar;
use rir::check::{Case, OPERATIONS, Report, Rows, operations_without_rows, run_cases_watched, table};
use rir::device::cuda::{Kernels, Options};
use rir::device::select::Choice;
use rir::error::{Error, Result};
use rir::graph::{Precision, StateLayout};
use rir::text::{Align, columns};
use serde_json::json;

use super::choices;
use super::output::Output;
use super::setup::{Machine, Target};

/// Check a device: every operation, over awkward shapes and every precision, against its definition in f64
#[derive(clap::Args)]
#[command(after_help = "The error of a row is |out - reference| / |reference|, on the same rounded inputs.
Exit code 7 if a row is beyond its limit. On cuda and emu every form of kernel has its row, unless --kernels asks for one;
a card takes one row at a time, and waits for each kernel.

Examples:
  rir check
  rir check --filter conv2d
  rir check --filter two_stream --json
  rir check --device emu --filter relu/")]
pub struct Args {
    /// Only the cases whose name contains this; a whole name gives that one
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
    /// Only the rows that fail, and the totals
    #[arg(long, short)]
    quiet: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    machine: Machine,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    // A row says itself which form it is of.
    let mut machine = args.machine;
    machine.choices = Some(choices::Source::None);
    let device = machine.prepare(Precision::F32)?;
    let is_card = matches!(device.choice, Choice::Cuda(_));
    let open = |layout: &StateLayout, precision: Precision, kernels: Kernels| {
        // A fault on a card outlives its row: each row waits for its own.
        let options = Options { kernels, sync: is_card || device.options.sync, ..device.options.clone() };
        Target { options, ..device.clone() }.open(layout, precision)
    };
    // A card takes one row at a time, so that a fault is of the first row that fails; it stays open between rows.
    let held = open(&StateLayout::default(), Precision::F32, Kernels::Auto)?;
    let (generation, filter) = (held.generation(), args.filter.as_deref());
    let wanted = |case: &Case| match (machine.kernels, generation) {
        (Some(asked), Some(generation)) => case.is_of(asked, generation),
        _ => true,
    };
    let rows = generation.map_or(Rows::Plain, Rows::Kernels);
    let cases: Vec<Case> = table(rows, filter).filter(wanted).collect();
    // Drawn only where stderr is a terminal.
    let bar = ProgressBar::new(cases.len() as u64);
    let threads = if is_card { 1 } else { rayon::current_num_threads() };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
    let pool = pool.map_err(|e| Error::device(format!("cannot start {threads} threads ({e})")))?;
    let report = pool.install(|| run_cases_watched(&cases, &open, &|| bar.inc(1)));
    drop(held);
    bar.finish_and_clear();
    let Report { device: name, cases: results, .. } = report;
    if results.is_empty() {
        let filter = args.filter.unwrap_or_default();
        return Err(Error::usage(format!(
            "no case of this device, with these kernels, has a name that contains '{filter}'; rir check lists them, such \
             as conv2d/... and two_stream_update/..."
        )));
    }
    let (total, failed) = (results.len(), results.iter().filter(|r| !r.passed).count());
    let uncovered = operations_without_rows();
    if args.json {
        out.json(&json!({
            "device": name,
            "cases": results,
            "passed": total - failed,
            "failed": failed,
            "operations": OPERATIONS.len(),
            "operations_without_rows": uncovered,
        }))?;
    } else {
        let header = ["", "case", "error", "limit", ""].map(String::from).to_vec();
        let shown = results.iter().filter(|r| !args.quiet || !r.passed);
        let rows: Vec<Vec<String>> = shown
            .map(|r| {
                let verdict = if r.passed { "ok" } else { "FAIL" };
                let numbers = [r.error, r.limit].map(|x| format!("{x:.1e}"));
                let why = r.failure.clone().unwrap_or_default();
                [vec![verdict.into(), r.name.clone()], numbers.to_vec(), vec![why]].concat()
            })
            .collect();
        if !rows.is_empty() {
            let [l, r] = [Align::Left, Align::Right];
            out.line(columns(&[l, l, r, r, l], &[vec![header], rows].concat()))?;
        }
        let covered = OPERATIONS.len() - uncovered.len();
        out.line(format_args!("{name}: {} of {total} cases passed", total - failed))?;
        out.line(format_args!("the table covers {covered} of {} operations", OPERATIONS.len()))?;
        if !uncovered.is_empty() {
            out.line(format_args!("without a case: {}", uncovered.join(", ")))?;
        }
    }
    match results.iter().find(|r| !r.passed) {
        None => Ok(()),
        Some(first) => Err(Error::device(format!(
            "{failed} of {total} cases failed on {name}; rir check --device {} --filter {} repeats the first",
            device.choice, first.name
        ))),
    }
}
