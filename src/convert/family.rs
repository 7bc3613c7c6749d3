//! The families with E as those without it, and back (paper: "ResNet Init"): `W + E` is a filter like any other, so a
//! generalized layer with W is the ordinary one with `W + E`, and an ordinary one with W the generalized one with
//! `W - E`. All else of a network is the same in both.
//!
//! Filters stay f32. `w - 1` and `w + 1` are rounded to it, once, at the taps where E is 1: by at most half a unit in
//! the last place, which is 2^-24 for a result between 1 and 2, so a layer's z moves by no more than about 2^-24 of the
//! residual stream, as it would by one more rounding of f32 arithmetic. Where the sum fits f32 (a multiple of 2^-23
//! between -1 and 1, say) the two networks compute the same numbers, and converting back gives the same bits.

use std::collections::HashMap;

use super::graph;
use crate::error::{Error, Result};
use crate::graph::Graph;
use crate::nn::{Description, Family, Form, by_name};
use crate::ops::Op;
use crate::train::names::{check, expected};
use crate::train::{Checkpoint, Info, Tensor};

/// What became of the taps where E is 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rounding {
    /// How many there are: a centre tap for every channel that E copies.
    pub taps: usize,
    /// How many sums did not fit f32.
    pub rounded: usize,
    /// The largest change by rounding, absolute.
    pub largest: f64,
}

/// A network in another form.
#[derive(Debug, Clone, PartialEq)]
pub struct Converted {
    /// The network, to evaluate or to start a run from; without the optimiser's state.
    pub checkpoint: Checkpoint,
    /// What f32 made of it.
    pub rounding: Rounding,
}

/// The family that computes the same functions: with E for without it, and the same outer shortcut.
pub fn partner(family: Family) -> Family {
    match family {
        Family::Cnn => Family::ResnetInit,
        Family::ResnetInit => Family::Cnn,
        Family::Resnet => Family::Rir,
        Family::Rir => Family::Resnet,
    }
}

/// The network of `checkpoint` as one of `family`: the same geometry, the same logits but for the roundings that
/// [`Converted::rounding`] counts. Four convolutions become one.
///
/// # Errors
/// If it is of that family already, if that family computes another function, or if the tensors are not the network's.
pub fn to_family(checkpoint: &Checkpoint, family: Family) -> Result<Converted> {
    let own = &checkpoint.info.model;
    let (is, equal) = (own.family.name(), partner(own.family));
    if family == own.family {
        return Err(Error::model(format!("'{}' is of the family {is} already", own.name)));
    }
    if family != equal {
        let has = if own.family.has_outer_shortcut() { "with" } else { "without" };
        return Err(Error::model(format!(
            "'{}' is of the family {is}, {has} outer shortcuts, so what equals it is of the family {}; give --to {}",
            own.name,
            equal.name(),
            equal.name()
        )));
    }
    let model = Description { name: renamed(own, family), family, form: Form::OneConvolution, ..own.clone() };
    rewritten(checkpoint, model)
}

/// The same network with one convolution a layer, where it has four.
///
/// # Errors
/// If the tensors are not the network's.
pub fn one_convolution(checkpoint: &Checkpoint) -> Result<Converted> {
    let model = Description { form: Form::OneConvolution, ..checkpoint.info.model.clone() };
    rewritten(checkpoint, model)
}

/// `rir-32` of `resnet-32`: the family leads the name, but for names of the zoo that go without it.
fn renamed(own: &Description, family: Family) -> String {
    let bare = own.name.strip_prefix(own.family.name()).and_then(|rest| rest.strip_prefix('-'));
    let bare = bare.unwrap_or(&own.name);
    match by_name(bare) {
        Ok(known) if known.family == family => bare.into(),
        _ => format!("{}-{bare}", family.name()),
    }
}

/// The network with the tensors that `model`, of one convolution a layer, needs to compute the same.
fn rewritten(checkpoint: &Checkpoint, model: Description) -> Result<Converted> {
    let own = &checkpoint.info.model;
    let one = Description { form: Form::OneConvolution, ..own.clone() };
    let [source, one, target] = [own, &one, &model].map(|model| graph(&checkpoint.info, model));
    let (source, one, target) = (source?, one?, target?);
    let names: Vec<_> = checkpoint.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice())).collect();
    check(&expected(&source.state), &names, &own.name)?;
    let found: HashMap<&str, &Tensor> = checkpoint.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let (held, needed) = (identities(&one), identities(&target));
    let mut rounding = Rounding::default();
    let mut tensors = Vec::new();
    for (name, shape) in expected(&target.state) {
        let layer = name.strip_suffix(".conv.weight").unwrap_or_default();
        let [mut from, to] = [&held, &needed].map(|layers| layers.get(layer).copied().unwrap_or(0));
        let mut tensor = match found.get(name.as_str()) {
            Some(tensor) => Tensor::clone(tensor),
            None => {
                let joined = joined(&name, &shape, layer, &found)?;
                from = joined.identity;
                joined.tensor
            }
        };
        rounding.shift(&mut tensor, from, to);
        tensors.push(tensor);
    }
    let info = Info { model, position: None, choices: None, ..checkpoint.info.clone() };
    let normaliser = checkpoint.normaliser.clone();
    Ok(Converted {
        checkpoint: Checkpoint { info, normaliser, tensors, momentum: Vec::new(), slow: Vec::new() },
        rounding,
    })
}

/// How many channels E copies in each layer that has it, of a network of one convolution a layer.
fn identities(graph: &Graph) -> HashMap<&str, usize> {
    let identity = graph.nodes.iter().filter_map(|node| match &node.op {
        // A block's outer shortcut is a layer of its own.
        Op::Shortcut(e) if !node.layer.ends_with(".shortcut") => Some((node.layer.as_str(), e.copied)),
        _ => None,
    });
    identity.collect()
}

impl Rounding {
    /// Makes `W + E` with an E that copies `from` channels the same filter with one that copies `to`: W is O I H W, and E
    /// is 1 at the centre of filter (i, i) for every channel i that it copies.
    fn shift(&mut self, w: &mut Tensor, from: usize, to: usize) {
        let [_, inputs, height, width] = *w.shape.as_slice() else { return };
        let change: f32 = if from > to { 1.0 } else { -1.0 };
        for i in from.min(to)..from.max(to) {
            let at = ((i * inputs + i) * height + height / 2) * width + width / 2;
            let exact = f64::from(w.data[at]) + f64::from(change);
            w.data[at] += change;
            let error = (f64::from(w.data[at]) - exact).abs();
            self.taps += 1;
            self.rounded += usize::from(error > 0.0);
            self.largest = self.largest.max(error);
        }
    }
}

/// Four quarters as one filter.
struct Joined {
    tensor: Tensor,
    /// How many channels the shortcut of r copies.
    identity: usize,
}

/// W of four convolutions: rows (outputs) r then t, columns (inputs) r then t.
fn joined(name: &str, shape: &[usize], layer: &str, found: &HashMap<&str, &Tensor>) -> Result<Joined> {
    let quarter = |streams: &str| {
        let name = format!("{layer}.conv.{streams}.weight");
        found.get(name.as_str()).copied().ok_or_else(|| Error::model(format!("tensor {name} is missing")))
    };
    let (rr, tr, rt, tt) = (quarter("rr")?, quarter("tr")?, quarter("rt")?, quarter("tt")?);
    let mut data = Vec::with_capacity(shape.iter().product());
    for (r, t) in [(rr, tr), (rt, tt)] {
        let rows = r.shape[0];
        for (r, t) in r.data.chunks(r.data.len() / rows).zip(t.data.chunks(t.data.len() / rows)) {
            data.extend_from_slice(r);
            data.extend_from_slice(t);
        }
    }
    let tensor = Tensor { name: name.into(), shape: shape.to_vec(), data };
    Ok(Joined { tensor, identity: rr.shape[0].min(rr.shape[1]) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_family() {
        for (name, family, want) in [
            ("resnet-32", Family::Rir, "rir-32"),
            ("rir-18-wide", Family::Resnet, "resnet-18-wide"),
            ("cnn-32", Family::ResnetInit, "resnet-init-32"),
            ("all-cnn-c", Family::ResnetInit, "resnet-init-all-cnn-c"),
            ("resnet-init-all-cnn-c", Family::Cnn, "all-cnn-c"),
            ("rir-mlp", Family::Resnet, "resnet-mlp"),
        ] {
            assert_eq!(renamed(&by_name(name).unwrap(), family), want);
        }
        let mine = Description { name: "mine".into(), ..by_name("rir-32").unwrap() };
        assert_eq!(renamed(&mine, Family::Resnet), "resnet-mine");
    }

    /// A sum that fits f32 is kept exactly; another is rounded once, and counted.
    #[test]
    fn the_identity_moves_the_centre_taps_alone() {
        let data: Vec<f32> = (0..4 * 3 * 9).map(|i| i as f32 / 1024.0).collect();
        let mut w = Tensor { name: "w".into(), shape: vec![4, 3, 3, 3], data: data.clone() };
        w.data[4] = 1e-9;
        let mut rounding = Rounding::default();
        rounding.shift(&mut w, 0, 2);
        let second = (3 + 1) * 9 + 4;
        assert_eq!((w.data[4], w.data[second]), (-1.0, data[second] - 1.0));
        let largest = f64::from(1e-9_f32);
        assert_eq!(rounding, Rounding { taps: 2, rounded: 1, largest });
        rounding.shift(&mut w, 2, 0);
        w.data[4] = data[4];
        assert_eq!(w.data, data);
    }
}
