//! Conversion of trained networks: to the family with, or without, the identity E, and to and from files that PyTorch
//! reads.
//!
//! | to | see |
//! |---|---|
//! | make a ResNet a RiR with the same logits, or fold a RiR into a ResNet | [`to_family`] |
//! | write what `load_state_dict(strict=True)` takes | [`to_torch`] |
//! | read that again, or any state dict of such a network | [`read`] |

mod family;
mod torch;

use std::path::Path;

use crate::error::Result;
use crate::graph::Graph;
use crate::nn::{self, Description, Options, Purpose};
use crate::train::{Info, atomic};

pub use family::{Converted, Rounding, one_convolution, partner, to_family};
pub use torch::{Origin, read, to_torch};

/// A network's graph, for its State and its layers.
fn graph(info: &Info, model: &Description) -> Result<Graph> {
    nn::build(model, &Options::new(Purpose::Train, 1, info.image, info.classes.len()))
}

/// Replaces the file at `path` by `bytes`, whole or not at all.
///
/// # Errors
/// If the system refuses; the old file is then as it was.
pub fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    atomic::replace(path, bytes)
}
