//! Which kernels are the fastest for every convolution of a training step: `rir bench tune`.
//!
//! Of every different convolution, all candidates ([`Choices::candidates`](crate::device::cuda::Choices::candidates)) run
//! on the same numbers. Each is held to the definition as every case is, and all of its elements to those of the kernel
//! that would run unmeasured; what is wrong has no time and cannot win. The fastest few are timed again, by turns, so
//! that what drifts with the clock meets all of them. The one that would run unmeasured stays unless another is faster by
//! more than noise: another choice may be another order of sums.

use serde::Serialize;

use super::measure::{inputs, right, warm};
use super::network::Site;
use super::report::{Findings, chosen, direction, value};
use super::{Bench, Network, Spread, tables};
use crate::check::reference::Tensor;
use crate::check::{Case, Outputs, Prepared};
use crate::device::cuda::choices::key;
use crate::device::cuda::choices::tile::Tile;
use crate::device::cuda::{Choice, Table};
use crate::error::{Error, Result};
use crate::graph::Shape;

/// The fastest choices found, by node; and how they were found.
pub struct Tuned {
    /// What was measured.
    pub findings: Findings,
    /// The winners; empty in a rehearsal.
    pub table: Table,
}

/// One candidate for one convolution.
#[derive(Debug, Clone, Serialize)]
pub struct Candidate {
    /// The convolution's name, which `--filter` takes.
    pub name: String,
    /// How tables of choices call it.
    pub node: String,
    /// The layer whose node it is; the first, where several have the same.
    pub layer: String,
    /// `forward`, `data_grad` or `weight_grad`.
    pub direction: Option<&'static str>,
    /// How many nodes of a training step are the same.
    pub count: usize,
    /// What is chosen.
    #[serde(flatten)]
    pub choice: Choice,
    /// What follows from it.
    pub tile: Option<Tile>,
    /// Whether it runs where nothing was measured.
    pub usual: bool,
    /// Whether it is the fastest.
    pub wins: bool,
    /// Its figures.
    #[serde(flatten)]
    pub timed: Option<Spread>,
    /// TFLOP/s.
    pub tflop_s: Option<f64>,
    /// The least time over the time, by the roofline.
    pub share: Option<f64>,
    /// The largest relative error of an output.
    pub error: Option<f64>,
    /// Why it has no time.
    pub failure: Option<String>,
}

/// A candidate has to be faster than the usual one by this part, or that one stays.
const WORTH: f64 = 0.01;
/// How many are timed again, and how slow beside the fastest they may be.
const FINALISTS: usize = 3;
const NEAR: f64 = 0.1;
/// How often each of them is.
const ROUNDS: usize = 3;

/// Measures the convolutions of the networks' training steps whose names contain `filter`; a convolution that several
/// networks have, once. `rehearse`: checks every candidate, but times none, for a device without a clock.
///
/// # Errors
/// If no name contains it, or the device has no choice of kernels.
pub fn tune(bench: &Bench<'_>, networks: &[Network], filter: Option<&str>, rehearse: bool) -> Result<Tuned> {
    let mut sites: Vec<Site> = Vec::new();
    for site in networks.iter().map(Network::sites).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
        let is_new = || !sites.iter().any(|known| node(&known.case) == node(&site.case));
        if site.case.op.operation().name().starts_with("conv2d") && is_new() {
            sites.push(site);
        }
    }
    let (mut rows, mut not_run) = (Vec::new(), Vec::new());
    let mut table = Table::new();
    let mut broken = false;
    for site in chosen(sites, filter)? {
        let name = site.case.name();
        if broken || !bench.settings.has_time() {
            not_run.push(name);
            continue;
        }
        (bench.watch)(&name);
        match Tuning::new(bench, &site).and_then(|tuning| tuning.run(rehearse)) {
            Ok(candidates) => {
                let winner = candidates.iter().find(|candidate| candidate.wins);
                table.extend(winner.map(|candidate| (candidate.node.clone(), candidate.choice)));
                rows.extend(candidates);
            }
            // After a fault of the card nothing more can be measured.
            Err(e) => {
                broken = true;
                rows.push(Candidate {
                    failure: Some(e.to_string()),
                    ..row(&site, Choice::of(Default::default()))
                });
            }
        }
    }
    let failed =
        |row: &Candidate| row.failure.as_ref().map(|why| format!("{}, {}: {why}", row.name, row.choice));
    let findings = Findings {
        rows: rows.iter().map(value).collect::<Result<_>>()?,
        not_run,
        failed: rows.iter().filter_map(failed).collect(),
        table: tables::tune(&rows, rehearse),
        points: Vec::new(),
    };
    Ok(Tuned { findings, table })
}

/// How tables of choices call a case.
fn node(case: &Case) -> String {
    key(&case.op, &shapes(case), case.input_dtypes()[0])
}

fn shapes(case: &Case) -> Vec<&Shape> {
    case.inputs.iter().map(|input| &input.shape).collect()
}

/// The row of a candidate that was not measured yet.
fn row(site: &Site, choice: Choice) -> Candidate {
    let Site { case, layers, .. } = site;
    Candidate {
        name: case.name(),
        node: node(case),
        layer: layers.first().cloned().unwrap_or_default(),
        direction: direction(&case.op),
        count: layers.len(),
        choice,
        tile: Tile::of(&case.op, &shapes(case), choice),
        usual: false,
        wins: false,
        timed: None,
        tflop_s: None,
        share: None,
        error: None,
        failure: None,
    }
}

/// One convolution, its inputs on the device.
struct Tuning<'a> {
    bench: &'a Bench<'a>,
    site: &'a Site,
    inputs: Vec<Tensor>,
    prepared: Prepared,
    candidates: Vec<Choice>,
    /// What the usual kernels make of the inputs.
    usual: Outputs,
}

impl<'a> Tuning<'a> {
    /// # Errors
    /// If the usual kernels give a wrong result, or the device fails or has no choice.
    fn new(bench: &'a Bench<'a>, site: &'a Site) -> Result<Self> {
        let case = &site.case;
        let inputs = inputs(case);
        let mut prepared = Prepared::new(case, &inputs, bench.factory)?;
        prepared.run()?;
        right(prepared.check(case, &inputs)?, "")?;
        let usual = prepared.outputs(case)?;
        let candidates = prepared.candidates();
        if candidates.is_empty() {
            return Err(Error::usage("this device has no kernels to choose from"));
        }
        Ok(Self { bench, site, inputs, prepared, candidates, usual })
    }

    /// The rows of all candidates, the usual one first.
    fn run(mut self, rehearse: bool) -> Result<Vec<Candidate>> {
        let asked = self.bench.kernels;
        let wanted = |choice: &Choice| asked.is_none_or(|form| form == choice.kernels);
        let usual = self.candidates[0];
        let others = self.candidates[1..].iter().copied().filter(wanted);
        let choices: Vec<Choice> = std::iter::once(usual).chain(others).collect();
        let mut rows: Vec<Candidate> = Vec::new();
        for choice in choices {
            let mut candidate = Candidate { usual: choice == usual, ..row(self.site, choice) };
            match self.check(choice) {
                Ok(error) => candidate.error = Some(error),
                Err(e) => {
                    candidate.failure = Some(e.to_string());
                    // Where it was the card that failed, nothing works any more.
                    self.prepared.choose(&self.site.case, usual)?;
                }
            }
            if candidate.failure.is_none() && !rehearse {
                let (spread, _) = warm(&mut self.prepared, &self.bench.settings, &candidate.name)?;
                self.record(&mut candidate, spread);
            }
            rows.push(candidate);
        }
        if !rehearse {
            self.decide(&mut rows)?;
        }
        self.usual_again(usual)?;
        Ok(rows)
    }

    /// Runs a choice and holds it to the definition, and whole to the usual one. Gives its error beside the definition.
    fn check(&mut self, choice: Choice) -> Result<f64> {
        let case = &self.site.case;
        self.prepared.choose(case, choice)?;
        self.prepared.run()?;
        let outputs = self.prepared.outputs(case)?;
        let checked = right(outputs.check(case, &self.inputs)?, "")?;
        right(outputs.beside(case, &self.usual), " beside the usual kernels' result")?;
        Ok(checked.error)
    }

    /// That no candidate has changed the inputs, and the usual kernels give the same bits as at first.
    fn usual_again(&mut self, usual: Choice) -> Result<()> {
        let case = &self.site.case;
        self.prepared.choose(case, usual)?;
        self.prepared.run()?;
        right(self.prepared.check(case, &self.inputs)?, "")?;
        if self.prepared.outputs(case)?.is(&self.usual) {
            return Ok(());
        }
        Err(Error::device("the usual kernels give other bits after the candidates than before them"))
    }

    fn record(&self, candidate: &mut Candidate, spread: Spread) {
        let Site { case, cost, .. } = self.site;
        let bound = self.bench.rates.map(|rates| rates.bound(*cost, case.precision).seconds);
        candidate.tflop_s = Some(cost.flops as f64 / spread.seconds() / 1e12);
        candidate.share = bound.map(|bound| bound / spread.seconds());
        candidate.timed = Some(spread);
    }

    /// Times the usual one and the fastest again, by turns, and marks the winner.
    fn decide(&mut self, rows: &mut [Candidate]) -> Result<()> {
        let time = |row: &Candidate| row.timed.map_or(f64::INFINITY, |timed| timed.median_us);
        let mut order: Vec<usize> = (0..rows.len()).filter(|&n| rows[n].timed.is_some()).collect();
        order.sort_by(|&a, &b| time(&rows[a]).total_cmp(&time(&rows[b])));
        let Some(&first) = order.first() else { return Ok(()) };
        let most = (1.0 + NEAR) * time(&rows[first]);
        let near = order.into_iter().filter(|&n| time(&rows[n]) <= most).take(FINALISTS);
        let mut finalists: Vec<(usize, Vec<f64>, usize)> = near.map(|n| (n, Vec::new(), 1)).collect();
        if finalists.iter().all(|(n, ..)| !rows[*n].usual) {
            finalists.push((0, Vec::new(), 1));
        }
        for _ in 0..ROUNDS {
            for (n, figures, runs) in &mut finalists {
                self.prepared.choose(&self.site.case, rows[*n].choice)?;
                let (spread, pace) = warm(&mut self.prepared, &self.bench.settings, &rows[*n].name)?;
                figures.push(spread.seconds());
                *runs = spread.samples * pace.runs;
            }
        }
        for (n, figures, runs) in &finalists {
            if let Some(spread) = Spread::of(figures, *runs) {
                self.record(&mut rows[*n], spread);
            }
        }
        let candidates = finalists.iter().map(|(n, ..)| *n);
        let fastest = candidates.min_by(|&a, &b| time(&rows[a]).total_cmp(&time(&rows[b])));
        let usual = time(&rows[0]);
        let winner = fastest.filter(|&n| time(&rows[n]) <= (1.0 - WORTH) * usual).unwrap_or(0);
        rows[winner].wins = true;
        Ok(())
    }
}

#[cfg(all(test, rir_emu))]
#[path = "tune_tests.rs"]
mod tests;
