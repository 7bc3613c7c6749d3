//! One operation in all its forms, from the simplest to the fastest: what each is worth.

use serde_json::json;

use super::network::Site;
use super::report::{Findings, Row, chosen, value};
use super::{Bench, Network, tables};
use crate::check::{Case, OPERATIONS};
use crate::device::cuda::{Generation, Kernels};
use crate::error::{Error, Result, unknown};
use crate::graph::{Precision, StateLayout};

/// The sites of one operation.
///
/// # Errors
/// If there is no such operation, or the network has none; or no name contains `filter`.
pub fn sites(network: &Network, operation: &str, filter: Option<&str>) -> Result<Vec<Site>> {
    if !OPERATIONS.contains(&operation) {
        return Err(Error::usage(unknown("operation", operation, OPERATIONS)));
    }
    let of_operation = |site: &Site| site.case.op.operation().name() == operation;
    let sites: Vec<Site> = network.sites()?.into_iter().filter(of_operation).collect();
    if sites.is_empty() {
        let name = &network.description.name;
        return Err(Error::usage(format!(
            "a training step of {name} has no {operation}; rir bench ops lists what it has"
        )));
    }
    chosen(sites, filter)
}

/// A case in each form of its kernels, the simplest first; alone, where there is no choice.
pub fn rungs(case: &Case, generation: Option<Generation>) -> Vec<Case> {
    match generation.map(|generation| case.forms(generation)) {
        Some(forms) if forms.len() > 1 => {
            forms.into_iter().map(|form| Case { kernels: Some(form), ..case.clone() }).collect()
        }
        _ => vec![case.clone()],
    }
}

/// Times every case of one operation in every form: `rir bench ladder`.
///
/// # Errors
/// As [`sites`], or if no device can be made.
pub fn ladder(
    bench: &Bench<'_>,
    network: &Network,
    operation: &str,
    filter: Option<&str>,
) -> Result<Findings> {
    let generation = (bench.factory)(&StateLayout::default(), Precision::F32, Kernels::Auto)?.generation();
    let (mut rows, mut gains, mut not_run): (Vec<Row>, Vec<Option<f64>>, _) = (vec![], vec![], vec![]);
    for site in sites(network, operation, filter)? {
        let mut before: Option<f64> = None;
        for case in
            rungs(&site.case, generation).into_iter().filter(|case| wanted(bench.kernels, case, generation))
        {
            let rung = Site { case, ..site.clone() };
            let bench = Bench { kernels: None, watch: bench.watch, ..*bench };
            let (mut measured, mut missed) = super::report::measure_all(&bench, &[rung]);
            not_run.append(&mut missed);
            let Some(row) = measured.pop() else { continue };
            let now = row.timed.as_ref().map(|timed| timed.warm.median_us);
            gains.push(before.zip(now).map(|(before, now)| before / now));
            before = now;
            rows.push(row);
        }
    }
    let mut findings = Findings::of_rows(&rows, not_run)?;
    findings.rows = rows.iter().zip(&gains).map(|(row, gain)| gained(row, *gain)).collect::<Result<_>>()?;
    findings.table = tables::ladder(&rows, &gains);
    Ok(findings)
}

/// Whether a form was asked for, where one was.
pub(super) fn wanted(asked: Option<Kernels>, case: &Case, generation: Option<Generation>) -> bool {
    asked.zip(generation).is_none_or(|(asked, generation)| case.is_of(asked, generation))
}

/// A row with what it gained over the rung below.
fn gained(row: &Row, gain: Option<f64>) -> Result<serde_json::Value> {
    let mut row = value(row)?;
    row["gain"] = json!(gain);
    Ok(row)
}
