//! A whole training step, and where its time goes.

use std::time::Instant;

use serde::Serialize;
use serde_json::json;

use super::network::total;
use super::report::{Findings, Row, measure_all, value};
use super::{Bench, Network, Spread, tables};
use crate::data::{Augment, Images, Normaliser, Preprocess};
use crate::device::{Device, EXPLODED_LOSS, FedStep, Feed, Pace, PlanId, StepInputs, StepReport, Wait};
use crate::error::{Error, Result};
use crate::graph::{Fusions, Graph, Region, Segment, plan};
use crate::nn::initial_parameters;
use crate::random::philox;

/// A training step that was timed.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// Of a step as training runs it.
    #[serde(flatten)]
    pub spread: Spread,
    /// By the median.
    pub images_per_s: f64,
    /// Of the plan alone, by the card's clock: without drawing the batch, and without the host.
    pub plan: Option<Spread>,
    /// Of a step whose launches wait for each other, where they overlap otherwise.
    pub apart: Option<Spread>,
    /// Mean loss over the first batch, before the first step.
    pub loss: f64,
    /// Nodes of the plan.
    pub nodes: usize,
    /// Launches of the plan; 0 on a device that is no card.
    pub launches: usize,
    /// Floating-point operations.
    pub flops: u64,
    /// Bytes that the nodes read and write at least.
    pub bytes: u64,
    /// Intermediates.
    pub workspace_bytes: usize,
    /// Parameters, momentum, gradients and running statistics.
    pub state_bytes: usize,
}

/// Small, so that random labels are not learnt and the loss stays as it is.
const LEARNING_RATE: f64 = 1e-4;

/// Steps that are queued before the host waits for them at most; fewer than a device lets wait.
const MOST_QUEUED: usize = 16;

/// What the host waits for at least, in seconds, so that waiting does not count.
const LEAST_QUEUED: f64 = 0.1;

/// Loads a network's training plan with fresh weights.
///
/// # Errors
/// If there is not enough memory, or the device failed.
pub fn load(device: &mut dyn Device, graph: &Graph) -> Result<PlanId> {
    let scratch = device.scratch();
    let id = device.load(plan(graph, &scratch))?;
    for (i, values) in initial_parameters(&graph.state, 0).iter().enumerate() {
        device.write_state(Region::Parameters, i, values)?;
    }
    for (i, running) in graph.state.running.iter().enumerate() {
        device.write_state(Region::Running, i, &vec![f64::from(running.initial); running.channels])?;
    }
    Ok(id)
}

/// Random images as bytes, with random classes.
fn images(network: &Network) -> Result<Images> {
    let [height, width, channels] = network.image;
    let pixels = network.batch * height * width * channels;
    let bytes =
        (0..pixels.div_ceil(16) as u32).flat_map(|i| philox([i, 0, 0, 7], [0; 2])).flat_map(u32::to_le_bytes);
    let labels = (0..network.batch)
        .map(|i| (philox([i as u32, 0, 0, 8], [0; 2])[0] as usize % network.classes) as u16);
    Images::new(height, width, channels, bytes.take(pixels).collect(), labels.collect())
}

/// Writes a random batch, for a device that does not draw its own.
///
/// # Errors
/// If the device failed.
pub fn write_batch(device: &mut dyn Device, id: PlanId, network: &Network) -> Result<()> {
    let set = images(network)?;
    let pixels: Vec<f32> = set.pixels.iter().map(|&byte| (f32::from(byte) - 127.5) / 64.0).collect();
    let labels: Vec<i32> = set.labels.iter().map(|&label| i32::from(label)).collect();
    device.write_batch(id, &pixels, &labels)
}

/// Times a training step.
///
/// # Errors
/// If the device failed, or the loss is not one of an untrained network.
pub fn time(bench: &Bench<'_>, network: &Network) -> Result<Step> {
    let graph = network.graph()?;
    let kernels = bench.kernels.unwrap_or_default();
    let mut device = (bench.factory)(&graph.state, network.precision, kernels)?;
    let id = load(device.as_mut(), &graph)?;
    let workspace_bytes = device.plan(id).workspace_bytes;
    let launches = device.launches(id).len();
    let master = network.precision.master();
    let (parameters, running) =
        (graph.state.parameter_offsets(master).1, graph.state.running_offsets(master).1);
    let (loss, spread, plan) = match device.feed() {
        Some(feed) => {
            let (loss, spread) = fed(feed, id, bench, network)?;
            let pace = Pace { samples: spread.samples.max(5), runs: 1, cold: false };
            let figures = device.time(id, &StepInputs::rate(LEARNING_RATE), pace)?;
            (loss, spread, Spread::of(&figures, 1))
        }
        None => {
            let (loss, spread) = unfed(device.as_mut(), id, bench, network)?;
            (loss, spread, None)
        }
    };
    let cost = total(&graph);
    Ok(Step {
        spread,
        images_per_s: network.batch as f64 / spread.seconds(),
        plan,
        apart: None,
        loss,
        nodes: graph.nodes.len(),
        launches,
        flops: cost.flops,
        bytes: cost.bytes,
        workspace_bytes,
        state_bytes: 3 * parameters + running,
    })
}

/// As [`time`]; where launches overlap, also without that.
fn time_both(bench: &Bench<'_>, network: &Network) -> Result<Step> {
    let step = time(bench, network)?;
    let Some(factory) = bench.apart else { return Ok(step) };
    let apart = time(&Bench { factory, watch: bench.watch, ..*bench }, network)?;
    // Nothing but the moments differs.
    if apart.loss.to_bits() != step.loss.to_bits() {
        let (overlapping, apart) = (step.loss, apart.loss);
        return Err(Error::device(format!(
            "a wrong result: the loss is {overlapping} where launches overlap, and {apart} where they do not"
        )));
    }
    Ok(Step { apart: Some(apart.spread), ..step })
}

/// # Errors
/// If the loss is not a number, or exploded.
fn sane(loss: f64) -> Result<f64> {
    if loss <= EXPLODED_LOSS {
        return Ok(loss);
    }
    Err(Error::device(format!("a wrong result: the loss of an untrained network is {loss}")))
}

/// Steps from a set that the device holds, as training takes them: so many are queued that waiting does not count.
fn fed(feed: &mut dyn Feed, id: PlanId, bench: &Bench<'_>, network: &Network) -> Result<(f64, Spread)> {
    let set = images(network)?;
    let pad = (network.image[0].min(network.image[1]) as u32 - 1).min(4);
    feed.hold(
        &set,
        &Normaliser::fit(Preprocess::PerPixelMean, &set)?,
        Augment { pad, ..Augment::default() },
    )?;
    let samples: Vec<u32> = (0..network.batch as u32).collect();
    let mut step = 0;
    let mut queue = |count: usize| -> Result<(Vec<StepReport>, f64)> {
        let start = Instant::now();
        for _ in 0..count {
            feed.submit(
                id,
                &FedStep {
                    step,
                    epoch: 0,
                    seed: 0,
                    inputs: StepInputs::rate(LEARNING_RATE),
                    samples: &samples,
                },
            )?;
            step += 1;
        }
        let reports = feed.collect(Wait::ForAll)?;
        Ok((reports, start.elapsed().as_secs_f64() / count as f64))
    };
    let (first, _) = queue(1)?;
    let loss = sane(first.first().map_or(f64::NAN, |report| report.loss))?;
    let (_, once) = queue(bench.settings.warmup.clamp(1, MOST_QUEUED))?;
    let queued = (LEAST_QUEUED / once).ceil().clamp(1.0, MOST_QUEUED as f64) as usize;
    let figures = figures(bench, once * queued as f64, || {
        let (reports, seconds) = queue(queued)?;
        reports.iter().try_for_each(|report| sane(report.loss).map(|_| ()))?;
        Ok(seconds)
    })?;
    let spread = Spread::of(&figures, queued).ok_or_else(|| Error::device("no step was timed"))?;
    Ok((loss, spread))
}

/// Steps on one batch that lies there.
fn unfed(device: &mut dyn Device, id: PlanId, bench: &Bench<'_>, network: &Network) -> Result<(f64, Spread)> {
    write_batch(device, id, network)?;
    let inputs = StepInputs::rate(LEARNING_RATE);
    let start = Instant::now();
    Segment::ALL.into_iter().try_for_each(|segment| device.run(id, segment, &inputs))?;
    let once = start.elapsed().as_secs_f64();
    let loss = device.plan(id).graph.result("loss").ok_or_else(|| Error::model("the plan has no loss"))?;
    let loss = sane(device.read(id, loss)?.first().copied().unwrap_or(f64::NAN))?;
    device.time(id, &inputs, Pace { samples: bench.settings.warmup.clamp(1, 3), runs: 1, cold: false })?;
    let pace = Pace { samples: 1, runs: 1, cold: false };
    let figures =
        figures(bench, once, || Ok(device.time(id, &inputs, pace)?.first().copied().unwrap_or(f64::NAN)))?;
    let spread = Spread::of(&figures, 1).ok_or_else(|| Error::device("no step was timed"))?;
    Ok((loss, spread))
}

/// As many figures as were asked for, or as fit ten times the time of a case, where each takes `once` seconds; five at
/// least.
fn figures(bench: &Bench<'_>, once: f64, mut figure: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
    let fitting = (10.0 * bench.settings.budget().as_secs_f64() / once).clamp(5.0, 200.0) as usize;
    (0..bench.settings.repeats.unwrap_or(fitting).max(1)).map(|_| figure()).collect()
}

/// A training step, and each of its nodes alone: `rir bench step`.
///
/// # Errors
/// If the network does not fit its image.
pub fn step(bench: &Bench<'_>, network: &Network) -> Result<Findings> {
    let sites = network.sites()?;
    let bound = |network: &Network| -> Result<Option<f64>> {
        let Some(rates) = bench.rates else { return Ok(None) };
        let graph = network.graph()?;
        let seconds = graph.nodes.iter().map(|node| rates.bound(graph.cost(node), network.precision).seconds);
        Ok(Some(seconds.sum::<f64>() * 1e6))
    };
    let (bound_us, fused_bound_us) =
        (bound(network)?, bound(&Network { fusions: Fusions::ALL, ..network.clone() })?);
    (bench.watch)("step");
    let timed = time_both(bench, network);
    let (mut rows, not_run) = measure_all(bench, &sites);
    rows.sort_by(|a, b| b.lost_us().total_cmp(&a.lost_us()));
    let sum = |row: &Row| row.count as f64 * row.timed.as_ref().map_or(0.0, |timed| timed.warm.median_us);
    let sum_us: f64 = rows.iter().map(sum).sum();
    let mut findings = Findings::of_rows(&rows, not_run)?;
    let mut whole = match &timed {
        Ok(step) => value(step)?,
        Err(e) => {
            findings.failed.insert(0, format!("step: {e}"));
            json!({ "failure": e.to_string() })
        }
    };
    whole["name"] = json!("step");
    whole["bound_us"] = json!(bound_us);
    whole["fused_bound_us"] = json!(fused_bound_us);
    whole["sum_us"] = json!(sum_us);
    findings.rows = std::iter::once(Ok(whole)).chain(rows.iter().map(lost)).collect::<Result<_>>()?;
    findings.table = tables::step(&timed, &rows, sum_us, [bound_us, fused_bound_us]);
    Ok(findings)
}

/// A row with what its nodes lose together.
fn lost(row: &Row) -> Result<serde_json::Value> {
    let mut with = value(row)?;
    with["lost_us"] = json!(row.timed.as_ref().map(|_| row.lost_us()));
    Ok(with)
}
