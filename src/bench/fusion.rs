//! What fusion is worth: whole training steps with every rewrite, with none, and with all but one.

use serde_json::json;

use super::network::total;
use super::report::{Findings, value};
use super::step::{self, Step};
use super::{Bench, Network, tables};
use crate::error::Result;
use crate::graph::Fusions;
use crate::ops::Cost;

/// What is compared: a name and its rewrites. The first is the whole, the second nothing; then each rewrite of a
/// training step by itself turned the other way.
pub fn variants() -> Vec<(String, Fusions)> {
    let mut variants = vec![("fused".to_owned(), Fusions::ALL), ("unfused".to_owned(), Fusions::NONE)];
    let on = Fusions::ALL.names();
    // Evaluation's alone.
    for name in Fusions::NAMES.into_iter().filter(|name| *name != "epilogue") {
        let without = on.contains(&name);
        let fusions = Fusions::ALL.with(name, !without).expect("it is one of the names");
        variants.push((format!("{} {name}", if without { "without" } else { "with" }), fusions));
    }
    variants
}

/// A variant of a step.
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Nodes of its plan.
    pub nodes: usize,
    /// What they cost at least.
    pub cost: Cost,
    /// The step, or why there is none.
    pub step: Result<Step>,
}

/// First losses of two variants differ by rounding alone: by this part at most, of bf16 through a whole network.
const LOSS_TOLERANCE: f64 = 0.02;

/// Times a training step in every variant: `rir bench fusion`. Their first losses must agree.
///
/// # Errors
/// If the network does not fit its image.
pub fn fusion(bench: &Bench<'_>, network: &Network, filter: Option<&str>) -> Result<Findings> {
    let mut findings = Findings::default();
    let mut variants: Vec<Variant> = Vec::new();
    let chosen =
        self::variants().into_iter().filter(|(name, _)| filter.is_none_or(|text| name.contains(text)));
    for (name, fusions) in chosen {
        if !bench.settings.has_time() {
            findings.not_run.push(name);
            continue;
        }
        (bench.watch)(&name);
        let network = Network { fusions, ..network.clone() };
        let graph = network.graph()?;
        let step = step::time(bench, &network).and_then(|step| agreeing(step, variants.first()));
        variants.push(Variant { name, nodes: graph.nodes.len(), cost: total(&graph), step });
    }
    for Variant { name, nodes, cost, step } in &variants {
        let mut row = match step {
            Ok(step) => value(step)?,
            Err(e) => {
                findings.failed.push(format!("{name}: {e}"));
                json!({ "failure": e.to_string() })
            }
        };
        row["name"] = json!(name);
        row["nodes"] = json!(nodes);
        row["flops"] = json!(cost.flops);
        row["bytes"] = json!(cost.bytes);
        findings.rows.push(row);
    }
    findings.table = tables::fusion(&variants);
    Ok(findings)
}

/// The step, if its first loss is that of the first variant.
fn agreeing(step: Step, first: Option<&Variant>) -> Result<Step> {
    let Some(Ok(first)) = first.map(|variant| &variant.step) else { return Ok(step) };
    let difference = (step.loss - first.loss).abs();
    if difference <= LOSS_TOLERANCE * first.loss.abs() {
        return Ok(step);
    }
    Err(crate::Error::device(format!(
        "a wrong result: the first loss is {:.4}, and {:.4} where all is fused",
        step.loss, first.loss
    )))
}
