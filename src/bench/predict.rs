//! What the convolutions of a training step should take on an H100, by arithmetic alone
//! ([`predict`](crate::device::cuda::choices::predict)): what a measurement is held to.

use serde::Serialize;

use super::Network;
use super::network::Site;
use super::report::{Findings, chosen, direction, value};
use crate::device::cuda::choices::predict::{Predicted, predict};
use crate::device::cuda::launch::conv2d::{Extents, LEAST_SPLIT_PIXELS};
use crate::device::cuda::launch::wgmma::{self, Tile};
use crate::device::cuda::{Generation, Kernels};
use crate::error::{Error, Result};
use crate::graph::Shape;
use crate::ops::Op;
use crate::text::{Align, columns};

/// Of an H100.
const MULTIPROCESSORS: u32 = 132;

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

/// The predictions of a site, for each form of wgmma that it has, or for the fastest alone.
fn rows(site: &Site, every_form: bool) -> Vec<Row> {
    let inputs: Vec<&Shape> = site.case.inputs.iter().map(|input| &input.shape).collect();
    let Some(extents) = Extents::of_op(&site.case.op, &inputs) else { return vec![] };
    let forms = site.case.forms(Generation::Hopper).into_iter().filter(|form| form.needs_hopper());
    let row = |form: Kernels| {
        let op = &site.case.op;
        let is_weight_grad = matches!(op, Op::Conv2dWeightGrad(_));
        let tile = Tile::new(form, op, &extents, wgmma::columns(form, is_weight_grad, extents.columns(op)));
        let splits = match is_weight_grad {
            true => tile.splits(&extents, extents.output_pixels().div_ceil(LEAST_SPLIT_PIXELS)),
            false => 1,
        };
        Row {
            name: format!("{}/{form}", site.case.name()),
            layer: site.layers.first().cloned().unwrap_or_default(),
            direction: direction(op),
            count: site.layers.len(),
            kernels: form.to_string(),
            columns: tile.columns,
            predicted: predict(MULTIPROCESSORS, tile, op, &extents, splits),
        }
    };
    let all: Vec<Row> = forms.map(row).collect();
    if every_form {
        return all;
    }
    all.into_iter().min_by(|a, b| a.predicted.us.total_cmp(&b.predicted.us)).into_iter().collect()
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
            "no convolution of {} has a form on wgmma at this shape and precision: predictions are of bf16, and of \
             channels in multiples of 32",
            network.description.name
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
