//! Which tensors a network has in files, and how a file's differ from them.

use std::collections::{HashMap, HashSet};

use crate::error::{Error, Result};
use crate::graph::StateLayout;

use super::tensor::file_shape;

/// Tensors of one kind that a refusal names; the rest it counts.
const NAMED: usize = 4;

/// Names and file shapes (O I H W) of a network's parameters and running statistics, in checkpoint order.
pub(crate) fn expected(layout: &StateLayout) -> Vec<(String, Vec<usize>)> {
    let parameters = layout.parameters.iter().map(|p| (p.name.clone(), file_shape(&p.shape.0)));
    let running = layout.running.iter().map(|r| (r.name.clone(), vec![r.channels]));
    parameters.chain(running).collect()
}

/// Whether a file's names and shapes are `expected`, and no others.
///
/// # Errors
/// One sentence that names what is missing, what is not of this network, and what has another shape.
pub(crate) fn check(
    expected: &[(String, Vec<usize>)],
    found: &[(&str, &[usize])],
    model: &str,
) -> Result<()> {
    let names: HashSet<&str> = found.iter().map(|(name, _)| *name).collect();
    let shapes: HashMap<&str, &[usize]> = expected.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
    let missing = (expected.iter())
        .filter(|(name, _)| !names.contains(name.as_str()))
        .map(|(name, shape)| format!("{name} {shape:?}"));
    let unexpected =
        found.iter().filter(|(name, _)| !shapes.contains_key(name)).map(|(n, s)| format!("{n} {s:?}"));
    let misshaped = found.iter().filter_map(|(name, shape)| {
        let needed = shapes.get(name).filter(|needed| *needed != shape)?;
        Some(format!("{name} {shape:?} (needed: {needed:?})"))
    });
    let faults = [
        list("missing", missing.collect()),
        list("unexpected", unexpected.collect()),
        list("of another shape", misshaped.collect()),
    ];
    let faults: Vec<String> = faults.into_iter().flatten().collect();
    if faults.is_empty() {
        return Ok(());
    }
    Err(Error::model(format!("these are not the tensors of '{model}': {}", faults.join("; "))))
}

/// `missing: a, b and 3 more`; nothing of nothing.
fn list(what: &str, names: Vec<String>) -> Option<String> {
    let rest = names.len().saturating_sub(NAMED);
    let named = names[..names.len() - rest].join(", ");
    match (names.len(), rest) {
        (0, _) => None,
        (_, 0) => Some(format!("{what}: {named}")),
        _ => Some(format!("{what}: {named} and {rest} more")),
    }
}
