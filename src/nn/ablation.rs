//! What is taken out of a trained network to see what it did there: a stream behind a layer, or the identity E.

use serde::{Deserialize, Serialize};

use super::Description;
use crate::error::{Error, Result};
use crate::graph::{Graph, ValueId};
use crate::ops::Shortcut;

/// One of the two streams: the first `residual_share` of the channels, or the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// r, which E copies from layer to layer.
    Residual,
    /// t.
    Transient,
}

/// A part that a graph is built without. The State stays the same, so any network may be looked at without it.
///
/// Layers are counted as [`Description::layer_names`] lists them: the stem is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ablation {
    /// After this layer's ReLU the stream is zero, for whoever reads the layer.
    Stream {
        /// The layer.
        layer: usize,
        /// What is zero.
        stream: Stream,
    },
    /// This generalized layer is its convolution alone.
    Identity {
        /// The layer.
        layer: usize,
    },
    /// Every generalized layer is its convolution alone: a RiR becomes the ResNet with its weights.
    Identities,
}

impl Ablation {
    /// Whether `description` has what is to be taken out.
    ///
    /// # Errors
    /// For a layer that is not there, or a network or layer without E where E is to go.
    pub fn check(self, description: &Description) -> Result<()> {
        let layers = description.layer_names().len();
        let reject = |why: String| Err(Error::usage(format!("model '{}': {why}", description.name)));
        match self {
            Self::Stream { layer, .. } | Self::Identity { layer } if layer >= layers => {
                reject(format!("there is no layer {layer} to ablate, the last of {layers} is {}", layers - 1))
            }
            Self::Identity { layer: 0 } => reject("the stem has no identity E to leave out".into()),
            Self::Identity { .. } | Self::Identities if !description.family.has_identity() => reject(
                format!("layers of the family {} have no identity E to leave out", description.family.name()),
            ),
            _ => Ok(()),
        }
    }

    /// Whether layer `layer` goes without E.
    pub(super) fn drops_identity(self, layer: usize) -> bool {
        self == Self::Identities || self == Self::Identity { layer }
    }

    /// The stream that is zero behind layer `layer`.
    pub(super) fn zeroed(self, layer: usize) -> Option<Stream> {
        match self {
            Self::Stream { layer: at, stream } => (at == layer).then_some(stream),
            _ => None,
        }
    }
}

/// `y` with zeros in a stream, r being its first `residual` channels: the other one is copied to where it was.
pub(super) fn without(graph: &mut Graph, y: ValueId, stream: Stream, residual: usize) -> Result<ValueId> {
    let channels = graph.shape(y).channels();
    let kept = match stream {
        Stream::Residual => residual..channels,
        Stream::Transient => 0..residual,
    };
    let copy = Shortcut { from: kept.start, to: kept.start, ..Shortcut::new(1, channels, kept.len()) };
    graph.push1(copy.into(), &[y])
}
