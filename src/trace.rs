//! Tracing: one batch through a trained network, every layer's output and every gradient kept, to compare with another
//! program's.
//!
//! Files are safetensors in the layouts of other frameworks: images and activations N C H W, weights O I H W.

use std::collections::HashMap;
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::device::{Device, StepInputs};
use crate::error::{Error, Result};
use crate::graph::{
    Fusions, Graph, Precision, Region, Segment, StateLayout, differentiate, fuse, lower, plan,
};
use crate::nn::{self, Purpose};
use crate::train::{Checkpoint, atomic};

/// The key of the metadata that marks a trace; its value is the program's version.
const METADATA: &str = "rir-trace";

/// Images and their classes, as they enter the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// N C H W.
    pub images: Vec<f64>,
    /// N, channels, height and width.
    pub shape: [usize; 4],
    /// (N).
    pub labels: Vec<i64>,
}

/// A named tensor of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct Traced {
    /// `logits`, `loss`, `activation.<layer>` or `grad.<parameter>`.
    pub name: String,
    /// Extents, outermost first.
    pub shape: Vec<usize>,
    /// The elements, the last extent running fastest.
    pub data: Vec<f64>,
}

/// How a network is run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// Statistics of the batch, and gradients; else running statistics, folded into the convolutions.
    pub train: bool,
    /// The arithmetic.
    pub precision: Precision,
    /// Which operations are fused.
    pub fusions: Fusions,
}

impl Batch {
    /// Reads `images` (N, C, H, W; F32 or F64) and `labels` (N; any integers) of a safetensors file.
    ///
    /// # Errors
    /// If the file is damaged, or lacks one of the two; names the tensor.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes)
            .map_err(|e| Error::data(format!("not a safetensors file, or a damaged one ({e})")))?;
        let tensor = |name: &str| {
            let names = file.names();
            file.tensor(name)
                .map_err(|_| Error::data(format!("holds no tensor '{name}' (it has: {})", names.join(", "))))
        };
        let (images, labels) = (tensor("images")?, tensor("labels")?);
        let shape: [usize; 4] = (images.shape().try_into())
            .map_err(|_| Error::data(format!("images must be [N C H W], they are {:?}", images.shape())))?;
        if shape.contains(&0) {
            return Err(Error::data(format!("images hold nothing: {shape:?}")));
        }
        if labels.shape() != [shape[0]] {
            let expected = shape[0];
            return Err(Error::data(format!("labels must be [{expected}], they are {:?}", labels.shape())));
        }
        let images = numbers(&images)?;
        if let Some(at) = images.iter().position(|x| !x.is_finite()) {
            let (image, n) = (at / (images.len() / shape[0]), shape[0]);
            return Err(Error::data(format!(
                "image {image} (from 0) of {n} holds {}; give finite numbers",
                images[at]
            )));
        }
        Ok(Self { images, shape, labels: integers(&labels)? })
    }
}

/// Runs `batch` through the network of `checkpoint` on the device that `open` makes for its State.
///
/// Gives `logits` [N K], `loss` (mean cross-entropy, no smoothing, no L2), every `activation.<layer>` and, where
/// training, every `grad.<parameter>` of that loss.
///
/// # Errors
/// If the batch does not suit the network, the checkpoint lacks a tensor, or the device failed.
pub fn trace(
    checkpoint: &Checkpoint,
    batch: &Batch,
    options: &Options,
    open: impl FnOnce(&StateLayout, Precision) -> Result<Box<dyn Device>>,
) -> Result<Vec<Traced>> {
    let graph = build(checkpoint, batch, options)?;
    let mut device = open(&graph.state, options.precision)?;
    import(device.as_mut(), &graph.state, checkpoint)?;
    let scratch = device.scratch();
    let id = device.load(plan(&graph, &scratch))?;
    let (images, labels) = (device.plan(id).images(), device.plan(id).labels());
    let missing = || Error::model("the network takes no images or no labels");
    let [n, c, h, w] = batch.shape;
    device.write(id, images.ok_or_else(missing)?, &permuted(&batch.images, [n, c, h, w], [0, 2, 3, 1]))?;
    let classes: Vec<f64> = batch.labels.iter().map(|&label| label as f64).collect();
    device.write(id, labels.ok_or_else(missing)?, &classes)?;
    device.run(id, Segment::Gradients, &StepInputs::default())?;

    let mut traced = Vec::new();
    let results = device.plan(id).graph.results.clone();
    for (name, value) in results.into_iter().filter(|(name, _)| name != "correct") {
        let shape = device.plan(id).graph.shape(value).0.clone();
        let values = device.read(id, value)?;
        let (shape, data) = match *shape {
            _ if name == "loss" => (Vec::new(), values),
            [n, h, w, c] => (vec![n, c, h, w], permuted(&values, [n, h, w, c], [0, 3, 1, 2])),
            _ => (shape, values),
        };
        traced.push(Traced { name, shape, data });
    }
    if options.train {
        for (i, parameter) in graph.state.parameters.iter().enumerate() {
            let values = device.read_state(Region::Gradients, i)?;
            let (shape, data) = match *parameter.shape.0 {
                [k, r, s, c] => (vec![k, c, r, s], permuted(&values, [k, r, s, c], [0, 3, 1, 2])),
                _ => (parameter.shape.0.clone(), values),
            };
            traced.push(Traced { name: format!("grad.{}", parameter.name), shape, data });
        }
    }
    Ok(traced)
}

/// A trace as safetensors: F64 where it was computed in f64, else F32, which holds bf16 exactly.
///
/// # Errors
/// If the file cannot be laid out.
pub fn to_bytes(traced: &[Traced], precision: Precision) -> Result<Vec<u8>> {
    let failed = |e| Error::model(format!("cannot lay out the trace: {e}"));
    let (dtype, bytes): (_, fn(&f64) -> Vec<u8>) = match precision {
        Precision::F64 => (Dtype::F64, |x| x.to_le_bytes().to_vec()),
        Precision::F32 | Precision::Bf16 => (Dtype::F32, |x| (*x as f32).to_le_bytes().to_vec()),
    };
    let data: Vec<Vec<u8>> = traced.iter().map(|t| t.data.iter().flat_map(bytes).collect()).collect();
    let views = traced
        .iter()
        .zip(&data)
        .map(|(t, data)| Ok((t.name.clone(), TensorView::new(dtype, t.shape.clone(), data)?)))
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(failed)?;
    let metadata = HashMap::from([(METADATA.to_owned(), env!("CARGO_PKG_VERSION").to_owned())]);
    safetensors::serialize(views, Some(metadata)).map_err(failed)
}

/// Replaces the file at `path`, whole or not at all, by a trace.
///
/// # Errors
/// As [`to_bytes`], or if the system refuses.
pub fn save(path: &Path, traced: &[Traced], precision: Precision) -> Result<()> {
    atomic::replace(path, &to_bytes(traced, precision)?)
}

/// Whether a trace may be written to `path`: nothing lies there, or an older trace.
///
/// # Errors
/// If anything else lies there, or it is one of `inputs`.
pub fn check_output(path: &Path, inputs: &[&Path]) -> Result<()> {
    let Ok(output) = path.canonicalize() else { return Ok(()) };
    let file = path.display();
    if inputs.iter().any(|input| input.canonicalize().is_ok_and(|input| input == output)) {
        return Err(Error::usage(format!("{file} is what this trace is made from; choose another output")));
    }
    let is_file = output.is_file();
    let bytes =
        if is_file { std::fs::read(path).map_err(|e| Error::io("read", path, &e))? } else { Vec::new() };
    let header = SafeTensors::read_metadata(&bytes).ok();
    if header.is_some_and(|(_, h)| h.metadata().as_ref().is_some_and(|m| m.contains_key(METADATA))) {
        return Ok(());
    }
    Err(Error::usage(format!(
        "{file} exists and is no trace; only a trace is replaced: choose another output"
    )))
}

/// The graph to run, ready to be planned.
fn build(checkpoint: &Checkpoint, batch: &Batch, options: &Options) -> Result<Graph> {
    let [n, c, h, w] = batch.shape;
    let (image, classes) = (checkpoint.info.image, checkpoint.info.classes.len());
    if [h, w, c] != image {
        let [height, width, channels] = image;
        return Err(Error::data(format!(
            "images are [{n} {c} {h} {w}], the network takes [N {channels} {height} {width}]"
        )));
    }
    if let Some(label) = batch.labels.iter().find(|&&l| usize::try_from(l).map_or(true, |l| l >= classes)) {
        return Err(Error::data(format!(
            "label {label} is none of the network's {classes} classes (0 to {})",
            classes - 1
        )));
    }
    let purpose = if options.train { Purpose::Train } else { Purpose::Evaluate };
    let network = nn::Options { keep_activations: true, ..nn::Options::new(purpose, n, image, classes) };
    let mut graph = nn::build(&checkpoint.info.model, &network)?;
    if options.train {
        let loss = graph.result("loss").ok_or_else(|| Error::model("the network has no loss"))?;
        graph = differentiate(graph, loss)?;
    }
    fuse(lower(&graph, options.precision)?, options.fusions)
}

/// Writes a checkpoint's parameters and running statistics to a device's State.
fn import(device: &mut dyn Device, layout: &StateLayout, checkpoint: &Checkpoint) -> Result<()> {
    let tensors: HashMap<&str, _> = checkpoint.tensors.iter().map(|t| (t.name.as_str(), t)).collect();
    let find = |name: &str, shape: &[usize]| match tensors.get(name) {
        Some(tensor) if tensor.shape == shape => {
            Ok(tensor.data.iter().map(|&x| f64::from(x)).collect::<Vec<f64>>())
        }
        Some(tensor) => Err(Error::model(format!(
            "tensor {name} has the shape {:?}, the network needs {shape:?}",
            tensor.shape
        ))),
        None => Err(Error::model(format!("the checkpoint holds no tensor {name}"))),
    };
    for (i, parameter) in layout.parameters.iter().enumerate() {
        let values = match *parameter.shape.0 {
            [k, r, s, c] => permuted(&find(&parameter.name, &[k, c, r, s])?, [k, c, r, s], [0, 2, 3, 1]),
            _ => find(&parameter.name, &parameter.shape.0)?,
        };
        device.write_state(Region::Parameters, i, &values)?;
    }
    for (i, running) in layout.running.iter().enumerate() {
        device.write_state(Region::Running, i, &find(&running.name, &[running.channels])?)?;
    }
    Ok(())
}

/// `values` of extents `dims` with its axes in another order: axis i of the result is axis `order[i]`.
fn permuted(values: &[f64], dims: [usize; 4], order: [usize; 4]) -> Vec<f64> {
    let strides = [dims[1] * dims[2] * dims[3], dims[2] * dims[3], dims[3], 1];
    let ([a, b, c, d], [sa, sb, sc, sd]) = (order.map(|axis| dims[axis]), order.map(|axis| strides[axis]));
    let mut out = Vec::with_capacity(values.len());
    for i in 0..a {
        for j in 0..b {
            for k in 0..c {
                let start = i * sa + j * sb + k * sc;
                out.extend((0..d).map(|l| values[start + l * sd]));
            }
        }
    }
    out
}

fn numbers(view: &TensorView<'_>) -> Result<Vec<f64>> {
    let data = view.data();
    match view.dtype() {
        Dtype::F32 => Ok(data.as_chunks().0.iter().map(|&b| f64::from(f32::from_le_bytes(b))).collect()),
        Dtype::F64 => Ok(data.as_chunks().0.iter().map(|&b| f64::from_le_bytes(b)).collect()),
        other => Err(Error::data(format!("images are {other:?}; give F32 or F64"))),
    }
}

fn integers(view: &TensorView<'_>) -> Result<Vec<i64>> {
    let data = view.data();
    Ok(match view.dtype() {
        Dtype::U8 => data.iter().map(|&b| i64::from(b)).collect(),
        Dtype::I8 => data.iter().map(|&b| i64::from(b.cast_signed())).collect(),
        Dtype::U16 => data.as_chunks().0.iter().map(|&b| i64::from(u16::from_le_bytes(b))).collect(),
        Dtype::I16 => data.as_chunks().0.iter().map(|&b| i64::from(i16::from_le_bytes(b))).collect(),
        Dtype::U32 => data.as_chunks().0.iter().map(|&b| i64::from(u32::from_le_bytes(b))).collect(),
        Dtype::I32 => data.as_chunks().0.iter().map(|&b| i64::from(i32::from_le_bytes(b))).collect(),
        // Beyond i64 it is no class anyway.
        Dtype::U64 => data
            .as_chunks()
            .0
            .iter()
            .map(|&b| i64::try_from(u64::from_le_bytes(b)).unwrap_or(i64::MAX))
            .collect(),
        Dtype::I64 => data.as_chunks().0.iter().map(|&b| i64::from_le_bytes(b)).collect(),
        other => return Err(Error::data(format!("labels are {other:?}; give integers, such as I32 or I64"))),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_change_places_and_come_back() {
        let values: Vec<f64> = (0..120).map(f64::from).collect();
        let nchw = permuted(&values, [2, 4, 5, 3], [0, 3, 1, 2]);
        let at = |[_, b, c, d]: [usize; 4], [i, j, k, l]: [usize; 4]| ((i * b + j) * c + k) * d + l;
        for [n, h, w, c] in [[1, 2, 3, 1], [0, 3, 0, 2], [1, 0, 4, 0]] {
            assert_eq!(nchw[at([2, 3, 4, 5], [n, c, h, w])], values[at([2, 4, 5, 3], [n, h, w, c])]);
        }
        assert_eq!(permuted(&nchw, [2, 3, 4, 5], [0, 2, 3, 1]), values);
    }

    #[test]
    fn a_batch_is_read_in_every_type_and_refused_by_name() {
        let file = |images: (Dtype, Vec<usize>, Vec<u8>), labels: (Dtype, Vec<usize>, Vec<u8>)| {
            let views = [("images", &images), ("labels", &labels)].map(|(name, (dtype, shape, data))| {
                (name, TensorView::new(*dtype, shape.clone(), data).unwrap())
            });
            safetensors::serialize(views, None).unwrap()
        };
        let f32s = |n: usize| (Dtype::F32, vec![n, 1, 1, 1], 1.5f32.to_le_bytes().repeat(n));
        let f64s = |n: usize| (Dtype::F64, vec![n, 1, 1, 1], 1.5f64.to_le_bytes().repeat(n));
        let labels = [
            (Dtype::U8, 3u8.to_le_bytes().to_vec()),
            (Dtype::I8, 3i8.to_le_bytes().to_vec()),
            (Dtype::U16, 3u16.to_le_bytes().to_vec()),
            (Dtype::I16, 3i16.to_le_bytes().to_vec()),
            (Dtype::U32, 3u32.to_le_bytes().to_vec()),
            (Dtype::I32, 3i32.to_le_bytes().to_vec()),
            (Dtype::U64, 3u64.to_le_bytes().to_vec()),
            (Dtype::I64, 3i64.to_le_bytes().to_vec()),
        ];
        for (dtype, one) in labels {
            for images in [f32s(2), f64s(2)] {
                let batch = Batch::from_bytes(&file(images, (dtype, vec![2], one.repeat(2)))).unwrap();
                assert_eq!(batch, Batch { images: vec![1.5; 2], shape: [2, 1, 1, 1], labels: vec![3; 2] });
            }
        }
        let message = |bytes: &[u8]| Batch::from_bytes(bytes).unwrap_err().to_string();
        assert!(message(b"junk").contains("safetensors"));
        let numbers = [0.0, 1.0, f32::NEG_INFINITY].map(f32::to_le_bytes).concat();
        let wrong = file((Dtype::F32, vec![3, 1, 1, 1], numbers), (Dtype::U8, vec![3], vec![0; 3]));
        assert_eq!(message(&wrong), "image 2 (from 0) of 3 holds -inf; give finite numbers");
        let wrong = file(f32s(2), (Dtype::I32, vec![1], vec![0; 4]));
        assert_eq!(message(&wrong), "labels must be [2], they are [1]");
        let wrong = file(f32s(2), (Dtype::F32, vec![2], vec![0; 8]));
        assert!(message(&wrong).contains("integers"));
        let lonely =
            safetensors::serialize([("image", TensorView::new(Dtype::U8, vec![1], &[0]).unwrap())], None);
        assert!(message(&lonely.unwrap()).contains("no tensor 'images' (it has: image)"));
    }
}
