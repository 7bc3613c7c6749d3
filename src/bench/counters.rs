//! What kernels move, counted on the emulator access by access, where nothing can be timed.

use std::collections::BTreeMap;
use std::sync::PoisonError;

use serde::Serialize;
use serde_json::json;

use super::ladder::{rungs, sites};
use super::report::{Findings, chosen, value};
use super::{Bench, Network, fusion, step};
use crate::check::{Case, Prepared};
use crate::device::cuda::emulator::{Counters, EmulatorDriver, Ledger};
use crate::device::cuda::{CudaDevice, Generation, Kernels, Options};
use crate::device::{Device, EXPLODED_LOSS, StepInputs};
use crate::error::{Error, Result};
use crate::graph::{Graph, Precision, Segment, StateLayout};
use crate::text::{Align, bytes as human, columns, grouped};

/// Bytes of a sector: what global memory moves at least.
const SECTOR: u64 = 32;
/// What the emulator's kernels may use.
const EMULATED: Option<Generation> = Some(Generation::Hopper);

/// One kernel's launches together.
#[derive(Debug, Clone, Serialize)]
pub struct Counted {
    /// The case, or the whole that was counted.
    pub name: String,
    /// The kernel.
    pub kernel: String,
    /// How often it was launched.
    pub launches: u64,
    /// What they moved.
    #[serde(flatten)]
    pub counters: Counters,
    /// The part of all sectors moved whose bytes no thread asked for.
    pub in_vain: f64,
    /// Passes over the banks of shared memory that conflicts cost.
    pub bank_conflicts: u64,
    /// Bytes of global memory asked for, by floating-point operation of the case, all its kernels' together.
    pub bytes_per_flop: Option<f64>,
}

impl Counted {
    /// What the table shows of it: one line a column.
    fn cells(&self) -> Vec<(&'static str, String)> {
        let c = &self.counters;
        vec![
            ("launches", grouped(self.launches)),
            ("read", human(c.global_read_bytes + c.bulk_read_bytes)),
            ("written", human(c.global_written_bytes + c.bulk_written_bytes)),
            ("in vain", format!("{:.1} %", 100.0 * self.in_vain)),
            ("shared", human(c.shared_bytes())),
            ("conflicts", grouped(self.bank_conflicts)),
            ("barriers", grouped(c.barriers)),
            ("matrix", grouped(c.matrix_instructions)),
            ("wgmma", grouped(c.warpgroup_products)),
            ("bytes/FLOP", self.bytes_per_flop.map_or_else(|| "-".into(), |ratio| format!("{ratio:.3}"))),
        ]
    }
}

/// The part of the sectors moved that was for nothing. Lanes that read the same bytes share a sector, so more may be
/// asked for than is moved.
fn in_vain(c: &Counters) -> f64 {
    let part = |sectors: u64, bytes: u64| (SECTOR * sectors).saturating_sub(bytes);
    let wasted = part(c.global_read_sectors, c.global_read_bytes)
        + part(c.global_written_sectors, c.global_written_bytes);
    let moved = SECTOR * (c.global_read_sectors + c.global_written_sectors);
    if moved == 0 { 0.0 } else { wasted as f64 / moved as f64 }
}

/// The rows of a ledger, by kernel.
fn rows(name: &str, ledger: &Ledger, flops: u64) -> Vec<Counted> {
    let ledger: BTreeMap<String, (u64, Counters)> =
        ledger.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let bytes: u64 = ledger.values().map(|(_, c)| c.global_bytes()).sum();
    let ratio = (flops > 0).then(|| bytes as f64 / flops as f64);
    let row = |(kernel, (launches, counters)): (String, (u64, Counters))| Counted {
        name: name.into(),
        kernel,
        launches,
        in_vain: in_vain(&counters),
        bank_conflicts: counters.shared_cycles - counters.shared_least_cycles,
        bytes_per_flop: ratio,
        counters,
    };
    ledger.into_iter().map(row).collect()
}

/// A device on an emulator that counts into `ledger`.
fn open(
    ledger: &Ledger,
    layout: &StateLayout,
    precision: Precision,
    kernels: Kernels,
) -> Result<Box<dyn Device>> {
    let mut driver = EmulatorDriver::new(0);
    driver.count_into(ledger.clone());
    let options = Options { kernels, ..Options::default() };
    Ok(Box::new(CudaDevice::new(Box::new(driver), layout, precision, options)?))
}

/// Counts one run of a case, and checks what it gave.
fn count(bench: &Bench<'_>, case: &Case, flops: u64) -> Result<Vec<Counted>> {
    let case = &Case { kernels: bench.kernels.or(case.kernels), ..case.clone() };
    let ledger = Ledger::default();
    let factory = |layout: &StateLayout, precision, kernels| open(&ledger, layout, precision, kernels);
    let inputs: Vec<_> = (0..case.inputs.len()).map(|i| case.input(i)).collect();
    let mut prepared = Prepared::new(case, &inputs, &factory)?;
    prepared.run()?;
    let checked = prepared.check(case, &inputs)?;
    if checked.error <= checked.limit {
        return Ok(rows(&case.name(), &ledger, flops));
    }
    Err(Error::device(format!(
        "a wrong result: its error is {:.1e}, the limit {:.1e}",
        checked.error, checked.limit
    )))
}

/// Counts one training step.
fn count_step(bench: &Bench<'_>, network: &Network, graph: &Graph, name: &str) -> Result<Vec<Counted>> {
    let ledger = Ledger::default();
    let mut device = open(&ledger, &graph.state, network.precision, bench.kernels.unwrap_or_default())?;
    let id = step::load(device.as_mut(), graph)?;
    step::write_batch(device.as_mut(), id, network)?;
    let inputs = StepInputs::default();
    Segment::ALL.into_iter().try_for_each(|segment| device.run(id, segment, &inputs))?;
    let loss = device.plan(id).graph.result("loss").ok_or_else(|| Error::model("the plan has no loss"))?;
    match device.read(id, loss)?.first() {
        Some(&loss) if loss <= EXPLODED_LOSS => {}
        loss => {
            return Err(Error::device(format!(
                "a wrong result: the loss of an untrained network is {loss:?}"
            )));
        }
    }
    Ok(rows(name, &ledger, super::network::total(graph).flops))
}

/// What is to be counted, by its name.
type Job<'a> = (String, Box<dyn Fn() -> Result<Vec<Counted>> + 'a>);

/// Counts all, as long as there is time.
fn count_all(bench: &Bench<'_>, jobs: Vec<Job<'_>>) -> Result<Findings> {
    let (mut findings, mut counted) = (Findings::default(), Vec::new());
    for (name, job) in jobs {
        if !bench.settings.has_time() {
            findings.not_run.push(name);
            continue;
        }
        (bench.watch)(&name);
        match job() {
            Ok(mut rows) => counted.append(&mut rows),
            Err(e) => {
                findings.rows.push(json!({ "name": name, "failure": e.to_string() }));
                findings.failed.push(format!("{name}: {e}"));
            }
        }
    }
    findings.rows.extend(counted.iter().map(value).collect::<Result<Vec<_>>>()?);
    findings.table = table(&counted);
    Ok(findings)
}

fn table(counted: &[Counted]) -> String {
    let Some(first) = counted.first() else { return String::new() };
    let head = ["case", "kernel"].into_iter().chain(first.cells().into_iter().map(|(head, _)| head));
    let mut lines = vec![head.map(String::from).collect::<Vec<_>>()];
    for row in counted {
        let cells = row.cells().into_iter().map(|(_, cell)| cell);
        lines.push([row.name.clone(), row.kernel.clone()].into_iter().chain(cells).collect());
    }
    let side = |n| if n < 2 { Align::Left } else { Align::Right };
    columns(&(0..lines[0].len()).map(side).collect::<Vec<_>>(), &lines)
}

/// `rir bench ops --counters`.
///
/// # Errors
/// If no name contains `filter`.
pub fn ops(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let jobs = chosen(network.sites()?, filter)?.into_iter().map(|site| -> Job<'_> {
        (site.case.name(), Box::new(move || count(bench, &site.case, site.cost.flops)))
    });
    count_all(bench, jobs.collect())
}

/// `rir bench layers --counters`: each different convolution once, by its first layer.
///
/// # Errors
/// As [`ops`].
pub fn layers(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let jobs = chosen(network.convolutions()?, filter)?.into_iter().map(|site| -> Job<'_> {
        (site.case.name(), Box::new(move || count(bench, &site.case, site.cost.flops)))
    });
    count_all(bench, jobs.collect())
}

/// `rir bench step --counters`: every kernel of one training step.
///
/// # Errors
/// If the network does not fit its image.
pub fn step(bench: &Bench<'_>, network: &Network) -> Result<Findings> {
    let graph = network.graph()?;
    count_all(bench, vec![("step".into(), Box::new(|| count_step(bench, network, &graph, "step")))])
}

/// `rir bench ladder --counters`: one operation in every form.
///
/// # Errors
/// As [`super::ladder::ladder`].
pub fn ladder(
    bench: &Bench<'_>,
    network: &Network,
    operation: &str,
    filter: Option<&str>,
) -> Result<Findings> {
    let sites = sites(network, operation, filter)?;
    let forms = sites
        .iter()
        .flat_map(|site| rungs(&site.case, EMULATED).into_iter().map(move |case| (case, site.cost)));
    let wanted = forms.filter(|(case, _)| super::ladder::wanted(bench.kernels, case, EMULATED));
    let jobs = wanted.map(|(case, cost)| -> Job<'_> {
        let bench = Bench { kernels: None, watch: bench.watch, ..*bench };
        (case.name(), Box::new(move || count(&bench, &case, cost.flops)))
    });
    count_all(bench, jobs.collect())
}

/// `rir bench fusion --counters`: a training step in every variant.
///
/// # Errors
/// As [`step()`].
pub fn fusion(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let variants =
        fusion::variants().into_iter().filter(|(name, _)| filter.is_none_or(|text| name.contains(text)));
    let jobs = variants.map(|(name, fusions)| -> Job<'_> {
        let own = name.clone();
        let whole = move || {
            let network = Network { fusions, ..network.clone() };
            let graph = network.graph()?;
            let kernels = count_step(bench, &network, &graph, &own)?;
            Ok(vec![together(&own, &kernels)])
        };
        (name, Box::new(whole))
    });
    count_all(bench, jobs.collect())
}

/// All kernels of a step as one row.
fn together(name: &str, kernels: &[Counted]) -> Counted {
    let mut counters = Counters::default();
    kernels.iter().for_each(|row| counters += row.counters);
    Counted {
        name: name.into(),
        kernel: "all".into(),
        launches: kernels.iter().map(|row| row.launches).sum(),
        in_vain: in_vain(&counters),
        bank_conflicts: counters.shared_cycles - counters.shared_least_cycles,
        bytes_per_flop: kernels.first().and_then(|row| row.bytes_per_flop),
        counters,
    }
}
