//! What fusion saves, counted from the plan of a training step: nodes, launches, and the bytes that must be moved.
//!
//! The bytes of a node are those of its operands, each once: no cache and no tile can do with less, whatever a device
//! then makes of it. So the counts are exact, the same on every machine, and need none.

use std::collections::HashMap;
use std::fmt;

use serde::Serialize;

use crate::device::cuda::{Choices, launch};
use crate::error::{Error, Result};
use crate::graph::{Fusions, Graph, Precision, fuse, lower, plan};
use crate::nn::{Description, Options, training_step};
use crate::ops::Sgd;
use crate::text::{Align, bytes, columns, grouped};

/// A training step, or the part of it that is one layer's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Count {
    /// Operations.
    pub nodes: usize,
    /// Launches of CUDA kernels, in the form that runs unasked; `None` in f64, which they do not compute in. A step that
    /// draws its batch on the card launches two more.
    pub launches: Option<usize>,
    /// Bytes that must be read and written at least once.
    pub bytes: u64,
}

/// A layer of the network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LayerRow {
    /// Its name, or that of what belongs to all layers.
    pub layer: String,
    /// Where nothing is fused.
    pub unfused: Count,
    /// As asked for.
    pub fused: Count,
}

/// A switch of [`Fusions`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SwitchRow {
    /// Its name.
    pub switch: &'static str,
    /// The step where this is all that is fused.
    pub alone: Count,
    /// The step that was asked for with this switch the other way.
    pub turned: Count,
}

/// What is saved of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Savings {
    /// The network.
    pub model: String,
    /// Images of the batch.
    pub batch: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// What is fused, by its names.
    pub fusions: Vec<&'static str>,
    /// In the order of the unfused step, then what fusion added.
    pub layers: Vec<LayerRow>,
    /// The whole step where nothing is fused.
    pub unfused: Count,
    /// The whole step as asked for.
    pub fused: Count,
    /// Every switch that changes a training step.
    pub switches: Vec<SwitchRow>,
}

/// Launches of every node of a lowered graph, by the kernels that run unasked on any card; `None` in f64.
///
/// # Errors
/// If no kernel takes a node; names it.
pub fn launches(graph: &Graph, precision: Precision) -> Result<Option<Vec<usize>>> {
    match precision {
        Precision::F64 => Ok(None),
        Precision::F32 | Precision::Bf16 => {
            launch::count(&plan(graph, &launch::scratch), &Choices::default()).map(Some)
        }
    }
}

/// Every layer's part of a lowered step, in the order of their first nodes.
fn by_layer(graph: &Graph, precision: Precision) -> Result<Vec<(String, Count)>> {
    // The plan has the nodes in another order.
    let planned = plan(graph, &launch::scratch).graph;
    let launches = launches(graph, precision)?;
    let mut place: HashMap<&str, usize> = HashMap::new();
    let mut layers: Vec<(String, Count)> = Vec::new();
    for (n, node) in planned.nodes.iter().enumerate() {
        let at = *place.entry(&node.layer).or_insert_with(|| {
            layers.push((node.layer.clone(), Count::default()));
            layers.len() - 1
        });
        let launches = launches.as_ref().map(|launches| launches[n]);
        let cost = Count { nodes: 1, launches, bytes: planned.cost(node).bytes };
        layers[at].1 = sum([layers[at].1, cost]);
    }
    Ok(layers)
}

fn sum(counts: impl IntoIterator<Item = Count>) -> Count {
    counts.into_iter().fold(Count::default(), |a, b| Count {
        nodes: a.nodes + b.nodes,
        launches: b.launches.map(|launches| launches + a.launches.unwrap_or(0)).or(a.launches),
        bytes: a.bytes + b.bytes,
    })
}

/// What `fusions` save of a training step, layer by layer and switch by switch.
///
/// # Errors
/// If the description and the options do not make a network that trains.
pub fn savings(
    description: &Description,
    options: &Options,
    precision: Precision,
    fusions: Fusions,
) -> Result<Savings> {
    let lowered = lower(&training_step(description, options, Sgd::PAPER)?, precision)?;
    let layers_with = |fusions| by_layer(&fuse(lowered.clone(), fusions)?, precision);
    let total_with = |fusions| Ok::<_, Error>(sum(layers_with(fusions)?.into_iter().map(|(_, count)| count)));
    let (unfused, mut fused) = (layers_with(Fusions::NONE)?, layers_with(fusions)?);
    let total = |layers: &[(String, Count)]| sum(layers.iter().map(|(_, count)| *count));
    let (whole_unfused, whole_fused) = (total(&unfused), total(&fused));

    let mut layers: Vec<LayerRow> = Vec::new();
    for (layer, unfused) in unfused {
        let at = fused.iter().position(|(name, _)| *name == layer);
        let fused = at.map_or(Count::default(), |at| fused.remove(at).1);
        layers.push(LayerRow { layer, unfused, fused });
    }
    let added = fused.into_iter();
    layers.extend(added.map(|(layer, fused)| LayerRow { layer, unfused: Count::default(), fused }));

    let mut switches = Vec::new();
    for switch in Fusions::NAMES {
        let is_on = fusions.names().contains(&switch);
        let alone = Fusions::NONE.with(switch, true).map_or(Ok(whole_unfused), total_with)?;
        let turned = fusions.with(switch, !is_on).map_or(Ok(whole_fused), total_with)?;
        if alone != whole_unfused || turned != whole_fused {
            switches.push(SwitchRow { switch, alone, turned });
        }
    }
    Ok(Savings {
        model: description.name.clone(),
        batch: options.batch,
        precision,
        fusions: fusions.names(),
        layers,
        unfused: whole_unfused,
        fused: whole_fused,
        switches,
    })
}

/// As a cell of a table: what a step in f64 does not have is left out.
fn launched(count: Count) -> String {
    count.launches.map_or("-".into(), |launches| grouped(launches as u64))
}

/// Saved bytes; more than before have a sign.
fn saved(unfused: u64, fused: u64) -> String {
    let sign = if fused > unfused { "-" } else { "" };
    format!("{sign}{}", bytes(unfused.abs_diff(fused)))
}

impl fmt::Display for Savings {
    /// A line a layer, the totals, and a line a switch.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { model, batch, precision, fusions, unfused, fused, .. } = self;
        writeln!(
            f,
            "{model}: a training step of batch {batch} in {precision}, fused: {}\n",
            fusions.join(", ")
        )?;
        let [l, r] = [Align::Left, Align::Right];
        let row = |name: &str, a: Count, b: Count| {
            let counted = |count: Count| [grouped(count.nodes as u64), launched(count), bytes(count.bytes)];
            [vec![name.to_owned()], counted(a).to_vec(), counted(b).to_vec(), vec![saved(a.bytes, b.bytes)]]
                .concat()
        };
        let header = ["layer", "nodes", "launches", "unfused", "nodes", "launches", "fused", "saved"];
        let mut lines = vec![header.map(String::from).to_vec()];
        lines.extend(self.layers.iter().map(|layer| row(&layer.layer, layer.unfused, layer.fused)));
        lines.push(row("total", *unfused, *fused));
        f.write_str(&columns(&[l, r, r, r, r, r, r, r], &lines))?;

        let header = ["switch", "nodes", "launches", "alone", "nodes", "launches", "turned"];
        let mut lines = vec![header.map(String::from).to_vec()];
        lines.extend(self.switches.iter().map(|switch| {
            let mut line = row(switch.switch, switch.alone, switch.turned);
            line.truncate(header.len());
            line
        }));
        writeln!(f, "\nEvery switch alone, and the step above with the switch the other way:\n")?;
        f.write_str(&columns(&[l, r, r, r, r, r, r], &lines))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn::{Purpose, by_name};

    #[test]
    fn rows_add_up_and_every_fusion_saves() {
        let description = by_name("rir-18-wide").unwrap();
        let options = Options::new(Purpose::Train, 2, [32, 32, 3], 10);
        for precision in [Precision::Bf16, Precision::F64] {
            let savings = savings(&description, &options, precision, Fusions::ALL).unwrap();
            assert_eq!(sum(savings.layers.iter().map(|row| row.unfused)), savings.unfused);
            assert_eq!(sum(savings.layers.iter().map(|row| row.fused)), savings.fused);
            assert_eq!(savings.unfused.launches.is_some(), precision == Precision::Bf16);
            // E is added either way; the other switches save.
            for row in savings.switches.iter().filter(|row| row.switch != "fold-identity") {
                assert!(
                    row.turned.bytes >= savings.fused.bytes && row.turned.nodes > savings.fused.nodes,
                    "{row:?}"
                );
            }
            let names: Vec<&str> = savings.switches.iter().map(|row| row.switch).collect();
            assert!(names.contains(&"reductions") && !names.contains(&"epilogue"), "{names:?}");
            assert!(savings.to_string().contains("group3.block2.layer2"));
        }
    }
}
