//! What a benchmark leaves: rows, as JSON for programs, and text for people.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use super::plot::Point;
use super::roofline::Limit;
use super::{Bench, Measured, Network, Rates, Site, Spread, tables};
use crate::device::cuda::driver::Properties;
use crate::error::{Error, Result};
use crate::ops::Op;
use crate::version::{COMMIT, KERNELS_HASH};

/// A benchmark's record.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// `ops`, `layers`, `step`, `ladder`, `fusion` or `tune`.
    pub benchmark: &'static str,
    /// The command that repeats it.
    pub command: String,
    /// When it ended, in UTC.
    pub date: String,
    /// The commit of the program's sources.
    pub commit: &'static str,
    /// Of the kernels and the code that launches them.
    pub kernels_hash: &'static str,
    /// What it ran on.
    pub device: Properties,
    /// The network's name.
    pub model: String,
    /// Images of a batch.
    pub batch: usize,
    /// The arithmetic.
    pub precision: String,
    /// What the machine can do, where times are held to it.
    pub rates: Option<Rates>,
    /// The file of choices that kernels are chosen by, where they are.
    pub choices: Option<PathBuf>,
    /// What was found.
    #[serde(flatten)]
    pub findings: Findings,
}

impl Report {
    /// The record of what was found just now.
    pub fn new(
        benchmark: &'static str,
        command: String,
        device: Properties,
        network: &Network,
        rates: Option<Rates>,
        findings: Findings,
    ) -> Self {
        Self {
            benchmark,
            command,
            date: jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            commit: COMMIT,
            kernels_hash: KERNELS_HASH,
            device,
            model: network.description.name.clone(),
            batch: network.batch,
            precision: network.precision.to_string(),
            rates,
            choices: None,
            findings,
        }
    }

    /// What surrounds the table.
    pub fn text(&self) -> String {
        tables::report(self)
    }

    /// # Errors
    /// If a result was wrong, or a case failed: how many, and the first.
    pub fn verdict(&self) -> Result<()> {
        match self.findings.failed.first() {
            None => Ok(()),
            Some(first) => Err(Error::device(format!(
                "{} of {} measurements failed on {}; the first is {first}",
                self.findings.failed.len(),
                self.findings.rows.len(),
                self.device.name
            ))),
        }
    }
}

/// What a benchmark found.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Findings {
    /// One object a measurement; what each holds depends on the benchmark.
    pub rows: Vec<Value>,
    /// What the time limit left no time for, by name.
    pub not_run: Vec<String>,
    /// What was wrong, or failed: name and reason.
    pub failed: Vec<String>,
    /// The rows as a table.
    #[serde(skip)]
    pub table: String,
    /// Where the cases lie below the roof.
    #[serde(skip)]
    pub points: Vec<Point>,
}

impl Findings {
    /// Of measured cases.
    pub fn of_rows(rows: &[Row], not_run: Vec<String>) -> Result<Self> {
        let failed = |row: &Row| row.failure.as_ref().map(|why| format!("{}: {why}", row.name));
        Ok(Self {
            rows: rows.iter().map(value).collect::<Result<_>>()?,
            not_run,
            failed: rows.iter().filter_map(failed).collect(),
            table: tables::cases(rows),
            points: rows.iter().filter_map(Point::of).collect(),
        })
    }
}

/// A row as JSON.
///
/// # Errors
/// Never for the rows of this module.
pub fn value(row: &impl Serialize) -> Result<Value> {
    serde_json::to_value(row).map_err(|e| Error::device(format!("a row is no JSON: {e}")))
}

/// `forward`, `data_grad` or `weight_grad`, of a convolution.
pub(super) fn direction(op: &Op) -> Option<&'static str> {
    match op {
        Op::Conv2d(_) => Some("forward"),
        Op::Conv2dDataGrad(_) => Some("data_grad"),
        Op::Conv2dWeightGrad(_) => Some("weight_grad"),
        _ => None,
    }
}

/// One case.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Its name, which `--filter` and `--case` take.
    pub name: String,
    /// The operation.
    pub operation: &'static str,
    /// The layer whose node it is; the first, where several have the same.
    pub layer: String,
    /// `forward`, `data_grad` or `weight_grad`, of a convolution.
    pub direction: Option<&'static str>,
    /// How many nodes of a training step are the same.
    pub count: usize,
    /// Extents of what it reads.
    pub inputs: Vec<Vec<usize>>,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that are read and written at least.
    pub bytes: u64,
    /// The form of kernels that was asked for.
    pub kernels: Option<String>,
    /// What it took.
    #[serde(flatten)]
    pub timed: Option<Timed>,
    /// Why it has no time.
    pub failure: Option<String>,
}

/// What a right case took.
#[derive(Debug, Clone, Serialize)]
pub struct Timed {
    /// With the cache as the run before left it.
    #[serde(flatten)]
    pub warm: Spread,
    /// With the cache full of other things.
    pub cold: Option<Spread>,
    /// TFLOP/s, warm.
    pub tflop_s: f64,
    /// GB/s of the bytes that must be moved, warm.
    pub gb_s: f64,
    /// The least time, by the roofline.
    pub bound_us: Option<f64>,
    /// What the roofline says bounds it.
    pub bound_by: Option<Limit>,
    /// The least time over the time, warm.
    pub share: Option<f64>,
    /// The kernels it launches, in order.
    pub launched: Vec<String>,
    /// The largest relative error of an output.
    pub error: f64,
    /// What that may be.
    pub error_limit: f64,
    /// Elements of the first output that were compared; `None`: all.
    pub compared: Option<usize>,
}

impl Row {
    /// The row of a site that was measured, or why it was not.
    pub fn new(bench: &Bench<'_>, site: &Site, outcome: Result<Measured>) -> Self {
        let Site { case, layers, cost } = site;
        let operation = case.op.operation().name();
        let (timed, failure) = match outcome {
            Ok(measured) => (Some(Timed::new(bench, site, measured)), None),
            Err(e) => (None, Some(e.to_string())),
        };
        Self {
            name: case.name(),
            operation,
            layer: layers.first().cloned().unwrap_or_default(),
            direction: direction(&case.op),
            count: layers.len(),
            inputs: case.inputs.iter().map(|input| input.shape.0.clone()).collect(),
            flops: cost.flops,
            bytes: cost.bytes,
            kernels: bench.kernels.or(case.kernels).map(|form| form.to_string()),
            timed,
            failure,
        }
    }

    /// Microseconds beyond the bound, over all nodes that are the same.
    pub fn lost_us(&self) -> f64 {
        let lost = |timed: &Timed| timed.warm.median_us - timed.bound_us.unwrap_or(0.0);
        self.count as f64 * self.timed.as_ref().map_or(0.0, lost)
    }
}

impl Timed {
    fn new(bench: &Bench<'_>, site: &Site, measured: Measured) -> Self {
        let Measured { checked, warm, cold, kernels } = measured;
        let bound = bench.rates.map(|rates| rates.bound(site.cost, site.case.precision));
        Self {
            tflop_s: site.cost.flops as f64 / warm.seconds() / 1e12,
            gb_s: site.cost.bytes as f64 / warm.seconds() / 1e9,
            bound_us: bound.map(|bound| bound.seconds * 1e6),
            bound_by: bound.map(|bound| bound.by),
            share: bound.map(|bound| bound.seconds / warm.seconds()),
            launched: kernels,
            error: checked.error,
            error_limit: checked.limit,
            compared: checked.samples,
            warm,
            cold,
        }
    }
}

/// Measures sites, as long as there is time; what there was none for is named.
pub fn measure_all(bench: &Bench<'_>, sites: &[Site]) -> (Vec<Row>, Vec<String>) {
    let (mut rows, mut not_run) = (Vec::new(), Vec::new());
    for site in sites {
        let name = site.case.name();
        if !bench.settings.has_time() {
            not_run.push(name);
            continue;
        }
        (bench.watch)(&name);
        rows.push(Row::new(bench, site, super::measure(bench, &site.case)));
    }
    (rows, not_run)
}

/// The different nodes of a training step whose names contain `filter`: `rir bench ops`.
///
/// # Errors
/// If no name contains it.
pub fn ops(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let (rows, not_run) = measure_all(bench, &chosen(network.sites()?, filter)?);
    Findings::of_rows(&rows, not_run)
}

/// Every convolution of a training step, by layer and direction: `rir bench layers`. Layers of the same shape are
/// measured once.
///
/// # Errors
/// If no name contains `filter`.
pub fn layers(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let sites = chosen(network.convolutions()?, filter)?;
    let (rows, not_run) = measure_all(bench, &sites);
    let mut each = Vec::new();
    // Time only runs out: what was not run is the end of the list.
    for (row, site) in rows.iter().zip(&sites) {
        for layer in &site.layers {
            let name = format!("{layer}/{}", row.direction.unwrap_or_default());
            each.push(Row { name, layer: layer.clone(), count: 1, ..row.clone() });
        }
    }
    Findings::of_rows(&each, not_run)
}

/// The sites whose names contain `filter`; a whole name gives that one.
///
/// # Errors
/// If there is none: names some.
pub fn chosen(sites: Vec<Site>, filter: Option<&str>) -> Result<Vec<Site>> {
    let Some(filter) = filter else { return Ok(sites) };
    let names: Vec<String> = sites.iter().map(|site| site.case.name()).collect();
    let whole = names.iter().any(|name| name == filter);
    let wanted = |name: &str| if whole { name == filter } else { name.contains(filter) };
    let found: Vec<Site> = sites.into_iter().filter(|site| wanted(&site.case.name())).collect();
    if !found.is_empty() {
        return Ok(found);
    }
    let some: Vec<&str> = names.iter().step_by(1 + names.len() / 4).map(String::as_str).collect();
    Err(Error::usage(format!(
        "no case has a name that contains '{filter}'; there are {}, ...",
        some.join(", ")
    )))
}
