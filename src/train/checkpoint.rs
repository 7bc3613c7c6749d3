//! Checkpoints: safetensors files that hold a network, how it was made, and what is needed to go on training.
//!
//! | tensors | |
//! |---|---|
//! | `stem.conv.weight`, ... | parameters and running statistics, f32, convolutions O I H W, without the identity E |
//! | `preprocess.mean`, `preprocess.inv_std` | the normalisation, (H, W, C) or (C), and (C) |
//! | `optimizer.momentum.<parameter>` | the velocity; only where training can go on |
//! | `optimizer.slow.<parameter>` | lookahead's slow weights; only where training can go on, and looks ahead |
//!
//! The file's metadata has one key, `rir`: [`Info`] as JSON.
//!
//! Everything is stored in f32, so a run in f32 or bf16 resumes to the same bits; one in f64 is rounded when it is saved.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};

use super::atomic;
use super::position::Position;
use super::session::{Session, SessionOptions};
use super::tensor::Tensor;
use crate::data::Normaliser;
use crate::device::Device;
use crate::device::cuda::Chosen;
use crate::error::{Error, Result};
use crate::graph::{Fusions, Precision, StateLayout};
use crate::nn::Description;
use crate::optim::Recipe;

/// The version of the format that this program writes; it reads this and every earlier one.
pub const FORMAT_VERSION: u32 = 1;

/// The key of the metadata that holds [`Info`].
pub(crate) const METADATA: &str = "rir";
/// The tensor that a checkpoint of ours has and a file for another framework has not.
pub(crate) const MEAN: &str = "preprocess.mean";
const INV_STD: &str = "preprocess.inv_std";
const MOMENTUM: &str = "optimizer.momentum.";
const SLOW: &str = "optimizer.slow.";

/// How a network was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Info {
    /// [`FORMAT_VERSION`] of the program that wrote it.
    pub format_version: u32,
    /// The version of that program.
    pub version: String,
    /// The network.
    pub model: Description,
    /// Height, width and channels of an image.
    pub image: [usize; 3],
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// The name of the data set.
    pub data: String,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// The digest of the data set.
    pub data_digest: String,
    /// The recipe.
    pub recipe: Recipe,
    /// The seed of weights, orders, augmentation and splits.
    pub seed: u64,
    /// Epochs completed.
    pub epoch: u32,
    /// Steps made.
    pub step: u64,
    /// The arithmetic.
    pub precision: Precision,
    /// Device and threads.
    pub device: String,
    /// The kernels that were chosen, on a device that has several: with others a resumed run has other bits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub choices: Option<Chosen>,
    /// Where training stands; none in a file that only holds a result.
    pub position: Option<Position>,
}

impl Info {
    /// Reads what the checkpoint at `path` says of itself, and none of its tensors.
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn read(path: &Path) -> Result<Self> {
        let head = read_head(path).map_err(|e| Error::io("read", path, &e))?;
        let damaged = |e| Error::model(format!("not a safetensors file, or a damaged one ({e})"));
        let header: Header = serde_json::from_slice(&head).map_err(|e| damaged(e).at(path.display()))?;
        read_info(&header.metadata.rir).map_err(|e| e.at(path.display()))
    }

    /// Of a network that no data trained: its classes are called by their numbers.
    pub fn untrained(model: Description, image: [usize; 3], classes: usize, seed: u64) -> Self {
        Self {
            format_version: FORMAT_VERSION,
            version: env!("CARGO_PKG_VERSION").into(),
            model,
            image,
            classes: (0..classes).map(|label| label.to_string()).collect(),
            data: "none".into(),
            synthetic: false,
            data_digest: String::new(),
            recipe: Recipe::default(),
            seed,
            epoch: 0,
            step: 0,
            precision: Precision::F32,
            device: "cpu".into(),
            choices: None,
            position: None,
        }
    }
}

/// The header of a file of ours.
#[derive(Deserialize)]
struct Header {
    #[serde(rename = "__metadata__")]
    metadata: Metadata,
}

/// Its metadata: the key [`METADATA`].
#[derive(Deserialize)]
struct Metadata {
    rir: String,
}

/// The header of a safetensors file: its length as eight bytes, then so many of JSON.
fn read_head(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    let mut head = Vec::new();
    file.take(u64::from_le_bytes(length)).read_to_end(&mut head)?;
    Ok(head)
}

/// A network on disk.
#[derive(Debug, Clone, PartialEq)]
pub struct Checkpoint {
    /// How it was made.
    pub info: Info,
    /// How images become its input.
    pub normaliser: Normaliser,
    /// Parameters and running statistics.
    pub tensors: Vec<Tensor>,
    /// The optimiser's velocity; empty in a file that only holds a result.
    pub momentum: Vec<Tensor>,
    /// The slow weights of lookahead; empty in a file that only holds a result, and where training does not look ahead.
    pub slow: Vec<Tensor>,
}

impl Checkpoint {
    /// Replaces the file at `path`; whenever the process or the machine dies, a whole checkpoint lies there.
    ///
    /// # Errors
    /// If a number is not finite, or the system refuses; the old file is then as it was.
    pub fn save(&self, path: &Path) -> Result<()> {
        atomic::replace(path, &self.to_bytes()?)
    }

    /// Reads the file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, is no checkpoint or a damaged one, or was written by a newer program.
    pub fn load(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
        Self::from_bytes(&bytes).map_err(|e| e.at(path.display()))
    }

    /// The file's contents.
    ///
    /// # Errors
    /// If a number is not finite; names the tensor.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let mut tensors: Vec<(String, Vec<usize>, Vec<u8>)> = Vec::new();
        let velocity = self.momentum.iter().map(|t| (format!("{MOMENTUM}{}", t.name), t));
        let slow = self.slow.iter().map(|t| (format!("{SLOW}{}", t.name), t));
        for (name, tensor) in self.tensors.iter().map(|t| (t.name.clone(), t)).chain(velocity).chain(slow) {
            tensor.check_finite()?;
            tensors.push((name, tensor.shape.clone(), to_le(&tensor.data)));
        }
        let Normaliser { mean, inv_std } = &self.normaliser;
        let shape = if mean.len() == inv_std.len() { vec![mean.len()] } else { self.info.image.to_vec() };
        tensors.push((MEAN.into(), shape, to_le(mean)));
        tensors.push((INV_STD.into(), vec![inv_std.len()], to_le(inv_std)));

        let damaged = |e: &dyn std::fmt::Display| Error::model(format!("cannot lay out the checkpoint: {e}"));
        let info = serde_json::to_string(&self.info).map_err(|e| damaged(&e))?;
        let views = (tensors.iter())
            .map(|(name, shape, data)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), data)?)))
            .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
            .map_err(|e| damaged(&e))?;
        safetensors::serialize(views, Some(HashMap::from([(METADATA.into(), info)]))).map_err(|e| damaged(&e))
    }

    /// Reads the file's contents. Whether the tensors are those of the network is for [`super::Session::import`].
    ///
    /// # Errors
    /// As [`Checkpoint::load`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let truncated =
            |e| Error::model(format!("not a safetensors file, or a truncated or damaged one ({e})"));
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(truncated)?;
        let file = SafeTensors::deserialize(bytes).map_err(truncated)?;
        let info = header.metadata().as_ref().and_then(|m| m.get(METADATA));
        let info = read_info(info.ok_or_else(|| {
            Error::model("has no 'rir' metadata: rir did not write it (rir convert reads a state dict)")
        })?)?;
        if header.info(MEAN).is_none() {
            return Err(Error::model(format!(
                "holds no {MEAN}; if it is a state dict, rir convert makes a checkpoint of it"
            )));
        }

        let mut checkpoint = Self {
            info,
            normaliser: Normaliser { mean: Vec::new(), inv_std: Vec::new() },
            tensors: Vec::new(),
            momentum: Vec::new(),
            slow: Vec::new(),
        };
        for (name, view) in file.iter() {
            let tensor = read_tensor(name, &view)?;
            match (name, name.strip_prefix(MOMENTUM), name.strip_prefix(SLOW)) {
                (MEAN, ..) => checkpoint.normaliser.mean = tensor.data,
                (INV_STD, ..) => checkpoint.normaliser.inv_std = tensor.data,
                (_, Some(name), _) => checkpoint.momentum.push(Tensor { name: name.into(), ..tensor }),
                (_, _, Some(name)) => checkpoint.slow.push(Tensor { name: name.into(), ..tensor }),
                _ => checkpoint.tensors.push(tensor),
            }
        }
        let [h, w, c] = checkpoint.info.image;
        checkpoint.normaliser.check(h, w, c).map_err(|e| Error::model(e.to_string()))?;
        Ok(checkpoint)
    }

    /// A session with this network's weights, on the device that `open` makes; its training plans are those of the
    /// checkpoint's recipe.
    ///
    /// # Errors
    /// If the tensors are not those of the network, or the device cannot be opened.
    pub fn session(
        &self,
        precision: Precision,
        fusions: Fusions,
        open: impl FnOnce(&StateLayout, Precision) -> Result<Box<dyn Device>>,
    ) -> Result<Session> {
        let options = SessionOptions {
            model: self.info.model.clone(),
            image: self.info.image,
            classes: self.info.classes.len(),
            precision,
            fusions,
            sgd: self.info.recipe.sgd(),
            label_smoothing: self.info.recipe.label_smoothing,
        };
        let mut session = Session::new(options, open)?;
        session.import(&self.tensors)?;
        if !self.momentum.is_empty() {
            session.import_momentum(&self.momentum)?;
        }
        if !self.slow.is_empty() {
            session.import_slow(&self.slow)?;
        }
        Ok(session)
    }

    /// # Errors
    /// If this is another network than `model`, or knows other classes.
    pub fn check_model(&self, model: &Description, classes: usize) -> Result<()> {
        let own = &self.info;
        if own.classes.len() != classes {
            return Err(Error::model(format!(
                "the checkpoint's network knows {} classes, the data has {classes}",
                own.classes.len()
            )));
        }
        if own.model != *model {
            let whose = if own.model.name == model.name {
                "the same name but another description"
            } else {
                "another"
            };
            return Err(Error::model(format!(
                "the checkpoint holds the network '{}', '{}' was asked for: {whose}",
                own.model.name, model.name
            )));
        }
        Ok(())
    }
}

/// Parses the metadata, the version first: another version may have other keys.
pub(crate) fn read_info(text: &str) -> Result<Info> {
    let damaged = |e| Error::model(format!("its 'rir' metadata is damaged ({e})"));
    let value: serde_json::Value = serde_json::from_str(text).map_err(damaged)?;
    let version = value.get("format_version").and_then(serde_json::Value::as_u64);
    if let Some(newer) = version.filter(|&v| v > u64::from(FORMAT_VERSION)) {
        return Err(Error::model(format!(
            "format version {newer} is newer than this program's {FORMAT_VERSION}: it takes a newer rir to read it"
        )));
    }
    // Not from `value`, whose numbers have lost the distinction between integers and floats.
    let info: Info = serde_json::from_str(text).map_err(damaged)?;
    let extents = info.image.iter().try_fold(1usize, |n, &extent| n.checked_mul(extent));
    if extents.is_none_or(|n| n == 0) {
        return Err(Error::model(format!("its 'rir' metadata is damaged (images of {:?})", info.image)));
    }
    info.model.validate()?;
    Ok(info)
}

fn read_tensor(name: &str, view: &TensorView<'_>) -> Result<Tensor> {
    if view.dtype() != Dtype::F32 {
        return Err(Error::model(format!("tensor {name} is {:?}; checkpoints hold F32", view.dtype())));
    }
    let data = view.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
    let tensor = Tensor { name: name.into(), shape: view.shape().to_vec(), data };
    tensor.check_finite().map(|()| tensor)
}

fn to_le(data: &[f32]) -> Vec<u8> {
    data.iter().flat_map(|x| x.to_le_bytes()).collect()
}

#[cfg(test)]
#[path = "checkpoint_tests.rs"]
mod tests;
