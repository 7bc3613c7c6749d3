//! State dicts: safetensors files with the tensors of a network under PyTorch's names and nothing else.
//!
//! | part | |
//! |---|---|
//! | `LAYER.conv.weight`, `LAYER.bn.weight`, ... | as in a checkpoint: f32, O I H W, one convolution a layer |
//! | `LAYER.bn.num_batches_tracked` | i64, the steps trained; what PyTorch's batch norm counts and nothing here reads |
//! | metadata `rir` | [`Info`] as JSON |
//! | metadata `rir-preprocess` | the normalisation as JSON; its mean (H, W, C) or (C) |
//! | metadata `format` | `pt`, as PyTorch's tools expect |
//!
//! Reading takes f32 as it is, bf16 and f16 exactly, and f64 rounded to the nearest f32.

use std::collections::HashMap;

use half::{bf16, f16};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::family::one_convolution;
use super::graph;
use crate::data::Normaliser;
use crate::error::{Error, Result};
use crate::nn::{Description, Form};
use crate::train::checkpoint::{MEAN, METADATA, read_info};
use crate::train::names::{check, expected};
use crate::train::{Checkpoint, Info, Tensor};

const PREPROCESS: &str = "rir-preprocess";
const TRACKED: &str = ".num_batches_tracked";

/// What a state dict without metadata is: its network, and how images become that network's input.
#[derive(Debug, Clone, PartialEq)]
pub enum Origin {
    /// A network for images of this height, width and channels, which enter it divided by 255 and no further.
    Model(Description, [usize; 3]),
    /// The network and normalisation of a checkpoint.
    Like(Box<Checkpoint>),
}

/// The bytes of a state dict; four convolutions become one.
///
/// # Errors
/// If the tensors are not the network's, or a number is not finite.
pub fn to_torch(checkpoint: &Checkpoint) -> Result<Vec<u8>> {
    let damaged = |e: &dyn std::fmt::Display| Error::model(format!("cannot lay out the state dict: {e}"));
    let checkpoint = one_convolution(checkpoint)?.checkpoint;
    let steps = i64::try_from(checkpoint.info.step).unwrap_or(i64::MAX);
    let mut tensors: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    for tensor in &checkpoint.tensors {
        tensor.check_finite()?;
        let bytes = tensor.data.iter().flat_map(|x| x.to_le_bytes()).collect();
        tensors.push((tensor.name.clone(), Dtype::F32, tensor.shape.clone(), bytes));
        if let Some(norm) = tensor.name.strip_suffix(".running_mean") {
            tensors.push((format!("{norm}{TRACKED}"), Dtype::I64, vec![], steps.to_le_bytes().to_vec()));
        }
    }
    let info = serde_json::to_string(&checkpoint.info).map_err(|e| damaged(&e))?;
    let normaliser = serde_json::to_string(&checkpoint.normaliser).map_err(|e| damaged(&e))?;
    let metadata = [(METADATA, info), (PREPROCESS, normaliser), ("format", "pt".into())];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    let views = (tensors.iter())
        .map(|(name, dtype, shape, data)| Ok((name, TensorView::new(*dtype, shape.clone(), data)?)))
        .collect::<Result<Vec<_>, safetensors::SafeTensorError>>()
        .map_err(|e| damaged(&e))?;
    safetensors::serialize(views, Some(HashMap::from(metadata))).map_err(|e| damaged(&e))
}

/// Reads a checkpoint of ours or a state dict; says whether it was the latter. `origin` is for a state dict whose
/// metadata does not say what it is.
///
/// # Errors
/// If the file is damaged, does not say what network it holds and `origin` does not either (or both do), or holds other
/// tensors than that network's.
pub fn read(bytes: &[u8], origin: Option<Origin>) -> Result<(Checkpoint, bool)> {
    let truncated = |e| Error::model(format!("not a safetensors file, or a truncated or damaged one ({e})"));
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(truncated)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let knows_itself = metadata.contains_key(METADATA);
    if knows_itself && origin.is_some() {
        return Err(Error::usage("the file says itself what network it holds; leave out --model"));
    }
    if knows_itself && header.info(MEAN).is_some() {
        return Ok((Checkpoint::from_bytes(bytes)?, false));
    }
    let file = SafeTensors::deserialize(bytes).map_err(truncated)?;
    let (mut info, normaliser) = match (metadata.get(METADATA), origin) {
        (Some(info), _) => (read_info(info)?, read_normaliser(metadata.get(PREPROCESS))?),
        (None, Some(Origin::Like(like))) => {
            (Info { position: None, choices: None, ..like.info }, like.normaliser)
        }
        (None, Some(Origin::Model(model, image))) => {
            let plain = Normaliser { mean: vec![0.0; image[2]], inv_std: vec![1.0; image[2]] };
            (Info::untrained(model, image, classes(&file)?, 0), plain)
        }
        (None, None) => {
            return Err(Error::model(
                "has no 'rir' metadata to say what network it holds; give --model a name, a .toml file or a checkpoint",
            ));
        }
    };
    info.model.form = Form::OneConvolution;
    let [h, w, c] = info.image;
    normaliser.check(h, w, c).map_err(|e| Error::model(e.to_string()))?;
    let expected = expected(&graph(&info, &info.model)?.state);
    let counts = |name: &str| {
        let norm = name.strip_suffix(TRACKED);
        norm.is_some_and(|norm| expected.iter().any(|(known, _)| *known == format!("{norm}.running_mean")))
    };
    let views: Vec<_> = file.iter().filter(|(name, _)| !counts(name)).collect();
    let names: Vec<_> = views.iter().map(|(name, view)| (*name, view.shape())).collect();
    check(&expected, &names, &info.model.name)?;
    let tensors = views.iter().map(|(name, view)| to_f32(name, view)).collect::<Result<_>>()?;
    Ok((Checkpoint { info, normaliser, tensors, momentum: Vec::new(), slow: Vec::new() }, true))
}

fn read_normaliser(text: Option<&String>) -> Result<Normaliser> {
    let missing = || {
        Error::model(format!("has 'rir' metadata but no '{PREPROCESS}'; keep both when you write the file"))
    };
    serde_json::from_str(text.ok_or_else(missing)?)
        .map_err(|e| Error::model(format!("its '{PREPROCESS}' metadata is damaged ({e})")))
}

/// The classes of a state dict: the head's outputs.
fn classes(file: &SafeTensors<'_>) -> Result<usize> {
    let names = ["head.linear.weight", "head.conv.weight"];
    // One without elements may claim any number of classes.
    let head = names.iter().find_map(|name| file.tensor(name).ok().filter(|view| !view.data().is_empty()));
    head.and_then(|view| view.shape().first().copied()).ok_or_else(|| {
        Error::model(format!("holds neither {} nor {}: it is no classifier of this kind", names[0], names[1]))
    })
}

/// A tensor of any floating-point type.
fn to_f32(name: &str, view: &TensorView<'_>) -> Result<Tensor> {
    let bytes = view.data();
    let data: Vec<f32> = match view.dtype() {
        Dtype::F32 => bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect(),
        Dtype::F64 => bytes.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b) as f32).collect(),
        Dtype::BF16 => bytes.as_chunks().0.iter().map(|&b| bf16::from_le_bytes(b).to_f32()).collect(),
        Dtype::F16 => bytes.as_chunks().0.iter().map(|&b| f16::from_le_bytes(b).to_f32()).collect(),
        other => {
            return Err(Error::model(format!("tensor {name} is {other:?}; give F32, F64, BF16 or F16")));
        }
    };
    let tensor = Tensor { name: name.into(), shape: view.shape().to_vec(), data };
    tensor.check_finite().map(|()| tensor)
}
