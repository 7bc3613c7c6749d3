//! One operation in all its forms, from the simplest to the fastest: what each is worth.

use serde_json::json;

use super::network::Site;
use super::report::{Findings, Row, chosen, value};
use super::{Bench, Network, tables};
use crate::check::{Case, OPERATIONS};
use crate::device::cuda::{Kernels, kernels};
use crate::error::{Error, Result, unknown};
use crate::graph::{DType, Role};

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

/// How a case stores what its kernels read first.
fn activations(case: &Case) -> DType {
    case.precision.dtype(Role::Activation)
}

/// A case in each form of its kernels, the simplest first; alone, where there is no choice.
pub fn rungs(case: &Case, has_forms: bool) -> Vec<Case> {
    match kernels::forms(&case.op, activations(case)) {
        forms if has_forms && forms.len() > 1 => {
            forms.iter().map(|&form| Case { kernels: Some(form), ..case.clone() }).collect()
        }
        _ => vec![case.clone()],
    }
}

/// Times every case of one operation in every form: `rir bench ladder`. `has_forms`: whether the device runs CUDA
/// kernels.
///
/// # Errors
/// As [`sites`].
pub fn ladder(
    bench: &Bench<'_>,
    network: &Network,
    operation: &str,
    filter: Option<&str>,
    has_forms: bool,
) -> Result<Findings> {
    let (mut rows, mut gains, mut not_run): (Vec<Row>, Vec<Option<f64>>, _) = (vec![], vec![], vec![]);
    for site in sites(network, operation, filter)? {
        let mut before: Option<f64> = None;
        for case in rungs(&site.case, has_forms).into_iter().filter(|case| wanted(bench.kernels, case)) {
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
pub(super) fn wanted(asked: Option<Kernels>, case: &Case) -> bool {
    asked.is_none_or(|asked| case.kernels.is_none_or(|form| asked.of(&case.op, activations(case)) == form))
}

/// A row with what it gained over the rung below.
fn gained(row: &Row, gain: Option<f64>) -> Result<serde_json::Value> {
    let mut row = value(row)?;
    row["gain"] = json!(gain);
    Ok(row)
}
