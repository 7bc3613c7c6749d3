//! Which kernel runs a node: the form, and what the form leaves open.
//!
//! A choice is a pure function of the operation, the shapes, the storage type and the card. Forms that were not measured
//! to be faster are not chosen unasked ([`kernels`]); where they were measured, by `rir bench tune`, a
//! [`Table`] has the choice for each node. What a choice makes of a tile is told by [`tile`].

pub mod h100;
pub mod predict;
pub mod suggest;
pub mod table;
pub mod tile;

use std::fmt;

use serde::{Deserialize, Serialize};

pub use table::{Chosen, Table};

use super::kernels::{self, Generation, Kernels, forms};
use super::launch::tiling;
use crate::error::{Error, Result};
use crate::graph::display::attributes;
use crate::graph::{DType, Graph, Node, Shape};
use crate::ops::Op;
use crate::text::counted;

/// What is chosen for one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Choice {
    /// The form, one that the node has.
    pub kernels: Kernels,
    /// Columns of a tile; `None`: as the shape suggests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub columns: Option<u32>,
    /// Parts into which a weight gradient cuts the pixels; `None`: as the shape suggests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub splits: Option<u32>,
}

impl Choice {
    /// A form, and of what it leaves open what the shape suggests.
    pub const fn of(kernels: Kernels) -> Self {
        Self { kernels, columns: None, splits: None }
    }
}

/// `mma, 96 columns, 8 parts`: what was chosen.
impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let columns = self.columns.map_or_else(String::new, |columns| format!(", {columns} columns"));
        let splits = self.splits.map_or_else(String::new, |n| format!(", {}", counted(n.into(), "part")));
        f.pad(&format!("{}{columns}{splits}", self.kernels))
    }
}

/// How kernels are chosen on a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choices {
    /// The form that is asked for.
    pub kernels: Kernels,
    /// What the card has.
    pub generation: Generation,
    /// Multiprocessors of the card.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may have at most.
    pub shared_limit: u32,
    /// As [`Options::ascending`](super::Options::ascending).
    pub ascending: bool,
    /// Choices that go before all others where [`Kernels::Auto`] is asked for.
    pub table: Table,
}

/// That of an H100, where a card does not tell its own.
const SHARED_LIMIT: u32 = 227 * 1024;

/// As every card from compute capability 8.0 on chooses.
impl Default for Choices {
    fn default() -> Self {
        Self::new(Kernels::Auto, Generation::Ampere)
    }
}

impl Choices {
    /// For a card as large as an H100, without a table.
    pub const fn new(kernels: Kernels, generation: Generation) -> Self {
        let (multiprocessors, shared_limit) = (h100::MULTIPROCESSORS, SHARED_LIMIT);
        Self { kernels, generation, multiprocessors, shared_limit, ascending: false, table: Table::new() }
    }

    /// For an operation on inputs of these shapes, the first stored as `dtype`.
    pub fn of(&self, op: &Op, inputs: &[&Shape], dtype: DType) -> Choice {
        let forms = forms(op, inputs, dtype, self.generation);
        if self.kernels != Kernels::Auto || forms.len() == 1 {
            return Choice::of(self.kernels.of(&forms));
        }
        match self.table.get(&key(op, inputs, dtype)) {
            Some(choice) => *choice,
            None => suggest::of(self, op, inputs, &forms),
        }
    }

    /// What may be measured in place of that, which is the first: of the forms that are not known to be slower, every
    /// width of tile and number of parts. Alone, where there is nothing to choose.
    pub fn candidates(&self, op: &Op, inputs: &[&Shape], dtype: DType) -> Vec<Choice> {
        let first = self.of(op, inputs, dtype);
        let resolved = |choice| (tiling::width(op, inputs, choice), tiling::splits(op, inputs, choice));
        let forms = forms(op, inputs, dtype, self.generation);
        let least = kernels::fastest(&forms);
        let mut candidates = vec![first];
        for form in forms.into_iter().filter(|&form| form >= least) {
            for width in tiling::widths(op, inputs, form) {
                let tile = Choice { columns: Some(width), ..Choice::of(form) };
                let splits = tiling::splits_to_try(op, inputs, dtype, tile);
                let with = |splits| Choice { splits, ..tile };
                match splits.is_empty() {
                    true => candidates.push(with(None)),
                    false => candidates.extend(splits.into_iter().map(Some).map(with)),
                }
            }
        }
        let same = |choice: &Choice| choice.kernels == first.kernels && resolved(*choice) == resolved(first);
        let mut n = 0;
        candidates.retain(|choice| {
            n += 1;
            n == 1 || !same(choice)
        });
        candidates
    }

    /// # Errors
    /// If a node of the graph has a choice in the table that no kernel of this build can do; names it.
    pub fn check(&self, graph: &Graph) -> Result<()> {
        for (key, choice) in graph.nodes.iter().filter_map(|node| self.tabled(graph, node)) {
            choice.map_err(|why| {
                Error::usage(format!(
                    "no kernel does what is chosen for {key}: {why}; measure again with rir bench tune, or go without \
                     a table by --choices none"
                ))
            })?;
        }
        Ok(())
    }

    /// A node's key and its choice in the table, or what is wrong with it.
    fn tabled(&self, graph: &Graph, node: &Node) -> Option<(String, std::result::Result<Choice, String>)> {
        let (op, inputs, dtype) = asked(graph, node)?;
        let key = key(op, &inputs, dtype);
        let choice = *self.table.get(&key)?;
        let Choice { kernels, columns, splits } = choice;
        let forms = forms(op, &inputs, dtype, self.generation);
        let wrong = if !forms.contains(&kernels) {
            Some(format!("this card has no form {kernels} of it"))
        } else if let Some(columns) = columns.filter(|c| !tiling::widths(op, &inputs, kernels).contains(c)) {
            Some(format!("{kernels} has no tiles of {columns} columns for it"))
        } else {
            let most = tiling::most_splits(op, &inputs, dtype);
            let within = |splits: &u32| (1..=most).contains(splits);
            splits.filter(|splits| !within(splits)).map(|n| format!("{n} parts are not from 1 to {most}"))
        };
        Some((key, wrong.map_or(Ok(choice), Err)))
    }

    /// What is chosen for every convolution of a graph.
    pub fn of_graph(&self, graph: &Graph) -> Table {
        let chosen = |node| {
            let (op, inputs, dtype) = asked(graph, node)?;
            Some((key(op, &inputs, dtype), self.of(op, &inputs, dtype)))
        };
        graph.nodes.iter().filter_map(chosen).collect()
    }
}

/// A convolution, as kernels are chosen by it; `None` of any other node, which has nothing to choose.
fn asked<'a>(graph: &'a Graph, node: &'a Node) -> Option<(&'a Op, Vec<&'a Shape>, DType)> {
    let convolution = matches!(node.op, Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_));
    let inputs: Vec<&Shape> = node.inputs.iter().map(|&v| graph.shape(v)).collect();
    let dtype = graph.value(*node.inputs.first()?).dtype;
    convolution.then_some((&node.op, inputs, dtype))
}

/// How tables call an operation on inputs of these shapes, the first stored as `dtype`: all that a kernel is chosen by.
pub fn key(op: &Op, inputs: &[&Shape], dtype: DType) -> String {
    let shapes: Vec<String> = inputs.iter().map(ToString::to_string).collect();
    let attributes = attributes(&format!("{:?}", op.operation()));
    format!("{}({}) {dtype} {{{attributes}}}", op.operation().name(), shapes.join(", "))
}

#[cfg(test)]
mod tests;
