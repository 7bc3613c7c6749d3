//! What a network is, as plain data: what a TOML file, a checkpoint and a run's configuration hold.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The four families of the paper: with or without an outer shortcut, with ordinary or ResNet Init layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Family {
    /// Ordinary layers, no shortcut.
    Cnn,
    /// Ordinary layers, one outer shortcut a block.
    Resnet,
    /// Generalized layers (W + E), no outer shortcut.
    ResnetInit,
    /// ResNet in ResNet: generalized layers, one outer shortcut a block.
    Rir,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 4] = [Self::Cnn, Self::Resnet, Self::ResnetInit, Self::Rir];

    /// Its name in files and in the names of models.
    pub fn name(self) -> &'static str {
        match self {
            Self::Cnn => "cnn",
            Self::Resnet => "resnet",
            Self::ResnetInit => "resnet-init",
            Self::Rir => "rir",
        }
    }
    /// Whether a block has an outer shortcut.
    pub fn has_outer_shortcut(self) -> bool {
        matches!(self, Family::Resnet | Family::Rir)
    }
    /// Whether layers are generalized: two streams, and the identity E on the residual one.
    pub fn has_identity(self) -> bool {
        matches!(self, Family::ResnetInit | Family::Rir)
    }
}

/// The outer shortcut where a block changes extents or width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Projection {
    /// A 3x3 convolution and batch norm: what gives the published 10.3 M parameters.
    #[default]
    #[serde(rename = "3x3")]
    Conv3x3,
    /// A 1x1 convolution and batch norm.
    #[serde(rename = "1x1")]
    Conv1x1,
    /// Subsampled and zero-padded: no parameters.
    #[serde(rename = "pad")]
    Pad,
}

/// The classifier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// Global average pool, then a linear layer.
    #[default]
    Linear,
    /// A 1x1 convolution to the classes and batch norm, then the global average pool.
    Conv,
}

/// How a generalized layer is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// One convolution over both streams with the effective filter W + E.
    #[default]
    OneConvolution,
    /// Four convolutions between the streams, as the paper writes the block.
    FourConvolutions,
}

/// Blocks of one width and resolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    /// Channels of both streams together.
    pub width: usize,
    /// Blocks.
    pub blocks: usize,
    /// Stride of the first layer.
    #[serde(default = "one")]
    pub stride: usize,
}

/// One layer of a network that is a plain list of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Layer {
    /// Channels.
    pub width: usize,
    /// Filter size.
    #[serde(default = "three")]
    pub size: usize,
    /// Stride.
    #[serde(default = "one")]
    pub stride: usize,
}

/// What lies between the stem and the head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// Groups of residual blocks.
    Groups(Vec<Group>),
    /// A list of layers without blocks.
    Layers(Vec<Layer>),
}

/// A network but for its input's extents and its classes, which come from the data.
///
/// Its keys in TOML and JSON are the fields in kebab case, `body` being either `groups` or `layers`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Keys", into = "Keys")]
pub struct Description {
    /// For people and run folders.
    pub name: String,
    /// Which of the four families.
    pub family: Family,
    /// Channels of the first convolution.
    pub stem: usize,
    /// Filter size of the stem and of the layers in groups, 3 or 1.
    pub size: usize,
    /// Turns the image into one pixel with H W C channels: a fully connected network, with `size = 1`.
    pub flatten: bool,
    /// Layers of a block.
    pub layers_per_block: usize,
    /// The residual stream's share of a layer's input channels.
    pub residual_share: f64,
    /// The outer shortcut where extents or width change.
    pub projection: Projection,
    /// Whether ReLU follows the sum with the outer shortcut.
    pub outer_relu: bool,
    /// How generalized layers are computed.
    pub form: Form,
    /// The classifier.
    pub head: Head,
    /// What lies between: the keys `groups` or `layers`.
    pub body: Body,
}

/// A description as files spell it: `groups` and `layers` are keys of their own, one of them given.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Keys {
    name: String,
    family: Family,
    stem: usize,
    #[serde(default = "three")]
    size: usize,
    #[serde(default)]
    flatten: bool,
    #[serde(default = "two")]
    layers_per_block: usize,
    #[serde(default = "half")]
    residual_share: f64,
    #[serde(default)]
    projection: Projection,
    #[serde(default = "yes")]
    outer_relu: bool,
    #[serde(default)]
    form: Form,
    #[serde(default)]
    head: Head,
    #[serde(skip_serializing_if = "Option::is_none")]
    groups: Option<Vec<Group>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    layers: Option<Vec<Layer>>,
}

impl TryFrom<Keys> for Description {
    type Error = &'static str;

    fn try_from(keys: Keys) -> Result<Self, &'static str> {
        let body = match (keys.groups, keys.layers) {
            (Some(groups), None) => Body::Groups(groups),
            (None, Some(layers)) => Body::Layers(layers),
            (Some(_), Some(_)) => return Err("has both [[groups]] and [[layers]]; keep one of them"),
            (None, None) => return Err("needs [[groups]] (blocks) or [[layers]] (a plain list)"),
        };
        Ok(Self {
            name: keys.name,
            family: keys.family,
            stem: keys.stem,
            size: keys.size,
            flatten: keys.flatten,
            layers_per_block: keys.layers_per_block,
            residual_share: keys.residual_share,
            projection: keys.projection,
            outer_relu: keys.outer_relu,
            form: keys.form,
            head: keys.head,
            body,
        })
    }
}

impl From<Description> for Keys {
    fn from(description: Description) -> Self {
        let (groups, layers) = match description.body {
            Body::Groups(groups) => (Some(groups), None),
            Body::Layers(layers) => (None, Some(layers)),
        };
        Self {
            name: description.name,
            family: description.family,
            stem: description.stem,
            size: description.size,
            flatten: description.flatten,
            layers_per_block: description.layers_per_block,
            residual_share: description.residual_share,
            projection: description.projection,
            outer_relu: description.outer_relu,
            form: description.form,
            head: description.head,
            groups,
            layers,
        }
    }
}

fn one() -> usize {
    1
}
fn two() -> usize {
    2
}
fn three() -> usize {
    3
}
fn half() -> f64 {
    0.5
}
fn yes() -> bool {
    true
}

impl Description {
    /// Channels that E copies in a generalized layer from `c_in` to `c_out` channels: `min(C_out, C_in, C_in / 2)`,
    /// with the residual share in place of the half. 0 in an ordinary family.
    pub fn identity(&self, c_in: usize, c_out: usize) -> usize {
        if self.family.has_identity() { self.residual(c_in).min(c_in).min(c_out) } else { 0 }
    }

    /// How many of so many channels, the first of them, are the residual stream.
    pub fn residual(&self, channels: usize) -> usize {
        (channels as f64 * self.residual_share).floor() as usize
    }

    /// The layers whose outputs are activations, the stem first, the head not among them.
    pub fn layer_names(&self) -> Vec<String> {
        let mut names = vec!["stem".to_string()];
        match &self.body {
            Body::Groups(groups) => {
                for (g, group) in groups.iter().enumerate() {
                    let layers =
                        (1..=group.blocks).flat_map(|b| (1..=self.layers_per_block).map(move |l| (b, l)));
                    names.extend(layers.map(|(b, l)| format!("group{}.block{b}.layer{l}", g + 1)));
                }
            }
            Body::Layers(layers) => names.extend((1..=layers.len()).map(|i| format!("layer{i}"))),
        }
        names
    }

    /// Checks what the types do not.
    ///
    /// # Errors
    /// A sentence that names the key, its value and what it may be.
    pub fn validate(&self) -> Result<()> {
        let reject = |message: String| Err(Error::model(format!("model '{}': {message}", self.name)));
        if !matches!(self.size, 1 | 3) {
            return reject(format!("size = {} must be 1 or 3", self.size));
        }
        if self.flatten && self.size != 1 {
            return reject("flatten = true needs size = 1: a flattened image is one pixel".into());
        }
        if !(0.0..=1.0).contains(&self.residual_share) {
            return reject(format!("residual-share = {} must lie between 0 and 1", self.residual_share));
        }
        if self.layers_per_block == 0 {
            return reject("layers-per-block must be at least 1".into());
        }
        if !self.has_positive_widths() {
            return reject("every width, number of blocks, size and stride must be at least 1".into());
        }
        match &self.body {
            Body::Groups(groups) if groups.is_empty() => reject("needs at least one group".into()),
            Body::Layers(layers) if layers.is_empty() => reject("needs at least one layer".into()),
            Body::Layers(layers) if layers.iter().any(|l| l.size.is_multiple_of(2)) => {
                reject("filter sizes must be odd".into())
            }
            Body::Layers(_) if self.family.has_outer_shortcut() => {
                reject("a list of layers has no blocks: its family is cnn or resnet-init".into())
            }
            _ => self.validate_form(),
        }
    }

    fn has_positive_widths(&self) -> bool {
        let positive = match &self.body {
            Body::Groups(groups) => groups.iter().all(|g| g.width.min(g.blocks).min(g.stride) > 0),
            Body::Layers(layers) => layers.iter().all(|l| l.width.min(l.size).min(l.stride) > 0),
        };
        positive && self.stem > 0
    }

    fn validate_form(&self) -> Result<()> {
        if self.form == Form::OneConvolution {
            return Ok(());
        }
        let widths: Vec<usize> = match &self.body {
            Body::Groups(groups) => groups.iter().map(|g| g.width).chain([self.stem]).collect(),
            Body::Layers(layers) => layers.iter().map(|l| l.width).chain([self.stem]).collect(),
        };
        let splits = |w: &usize| (1..*w).contains(&((*w as f64 * self.residual_share).floor() as usize));
        if self.family.has_identity() && widths.iter().all(splits) {
            return Ok(());
        }
        Err(Error::model(format!(
            "model '{}': form = \"four-convolutions\" needs a generalized family and two streams in every width",
            self.name
        )))
    }
}
