//! What the convolutions of a training step should take on an H100, by arithmetic alone
//! ([`predict`](crate::device::cuda::choices::predict)): what a measurement is held to.

use serde::Serialize;

use super::Network;
use super::network::Site;
use super::report::{Findings, chosen, direction, value};
use crate::device::cuda::choices::predict::Predicted;
use crate::device::cuda::choices::{Choices, suggest};
use crate::device::cuda::launch::tiling;
use crate::device::cuda::{Generation, Kernels};
use crate::error::{Error, Result};
use crate::graph::Shape;
use crate::text::{Align, columns};

const H100: Choices = Choices::new(Kernels::Auto, Generation::Hopper);

/// One convolution in one form.
#[derive(Debug, Clone, Serialize)]
struct Row {
    name: String,
    layer: String,
    direction: Option<&'static str>,
    /// Nodes of a step that are the same.
    count: usize,
    kernels: String,
    columns: u32,
    #[serde(flatten)]
    predicted: Predicted,
}

/// The predictions of a site, for each form of wgmma that it has, or for what should be the fastest of all.
fn rows(site: &Site, every_form: bool) -> Vec<Row> {
    let op = &site.case.op;
    let inputs: Vec<&Shape> = site.case.inputs.iter().map(|input| &input.shape).collect();
    let mut forms = site.case.forms(Generation::Hopper);
    forms.retain(|form| form.needs_hopper());
    let row = |forms: &[Kernels]| {
        let choice = suggest::best(&H100, op, &inputs, forms)?;
        let predicted = tiling::predicted(H100.multiprocessors, op, &inputs, choice)?;
        Some(Row {
            name: format!("{}/{}", site.case.name(), choice.kernels),
            layer: site.layers.first().cloned().unwrap_or_default(),
            direction: direction(op),
            count: site.layers.len(),
            kernels: choice.kernels.to_string(),
            columns: choice.columns?,
            predicted,
        })
    };
    let groups: Vec<&[Kernels]> = if every_form { forms.chunks(1).collect() } else { vec![&forms] };
    groups.into_iter().filter_map(row).collect()
}

/// The predictions of every different convolution of a training step: `rir bench predict`.
///
/// # Errors
/// If no name contains `filter`, or no convolution has a form on wgmma.
pub fn layers(network: &Network, filter: Option<&str>, every_form: bool) -> Result<Findings> {
    let sites = chosen(network.convolutions()?, filter)?;
    let predicted: Vec<Row> = sites.iter().flat_map(|site| rows(site, every_form)).collect();
    if predicted.is_empty() {
        return Err(Error::usage(format!(
            "no convolution of {}{} has a form on wgmma: predictions are of channels in multiples of 32",
            network.description.name,
            filter.map_or_else(String::new, |text| format!(" whose name contains '{text}'"))
        )));
    }
    Ok(Findings {
        rows: predicted.iter().map(value).collect::<Result<_>>()?,
        table: table(&predicted),
        ..Findings::default()
    })
}

fn table(rows: &[Row]) -> String {
    let head = ["case", "nodes", "columns", "us", "TFLOP/s", "by", "L2 bytes/kFLOP", "shared bytes/kFLOP"];
    let mut lines = vec![head.map(String::from).to_vec()];
    for row in rows {
        let Predicted { us, tflop_s, by, l2_bytes_per_flop, shared_bytes_per_flop } = row.predicted;
        lines.push(vec![
            row.name.clone(),
            row.count.to_string(),
            row.columns.to_string(),
            format!("{us:.1}"),
            format!("{tflop_s:.0}"),
            by.to_string(),
            format!("{:.2}", 1e3 * l2_bytes_per_flop),
            format!("{:.2}", 1e3 * shared_bytes_per_flop),
        ]);
    }
    let all: f64 = rows.iter().map(|row| row.count as f64 * row.predicted.us).sum();
    let mut sides = [Align::Right; 8];
    sides[0] = Align::Left;
    columns(&sides, &lines) + &format!("all nodes: {all:.0} us\n")
}
