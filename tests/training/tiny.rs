//! A network, a data set and a recipe so small that a run takes a fraction of a second, and how to compare runs.

use std::path::Path;

use rir::Result;
use rir::data::{Augment, Border, Dataset, Images, Loaded, Preprocess};
use rir::device::{Device, cpu::CpuDevice};
use rir::nn::{Body, Description, Family, Form, Group, Head, Projection};
use rir::optim::{Recipe, Schedule};
use rir::train::{Checkpoint, Environment, Length, Summary, TrainOptions, Verbosity, train};

/// 53 training images in batches of 8: 6 steps an epoch, and some images left over.
pub const STEPS_PER_EPOCH: u64 = 6;

/// Steps of [`options`]' run.
pub const STEPS: u64 = 3 * STEPS_PER_EPOCH;

pub fn model() -> Description {
    Description {
        name: "tiny".into(),
        family: Family::Rir,
        stem: 4,
        size: 3,
        flatten: false,
        layers_per_block: 2,
        residual_share: 0.5,
        projection: Projection::Conv3x3,
        outer_relu: true,
        form: Form::OneConvolution,
        head: Head::Linear,
        body: Body::Groups(vec![
            Group { width: 4, blocks: 1, stride: 1 },
            Group { width: 8, blocks: 1, stride: 2 },
        ]),
    }
}

/// 8x8 images of three classes that differ in a channel's brightness; `name` tells two sets apart.
pub fn data(name: &str, _image: [usize; 2]) -> Result<Loaded> {
    let images = |first: usize, count: usize| {
        let labels: Vec<u16> = (0..count).map(|i| (i % 3) as u16).collect();
        let noise = |i: usize| ((i.wrapping_mul(2_654_435_761) >> 7) % 160) as u8;
        let pixels = (0..count * 8 * 8 * 3).map(|i| {
            let (image, channel) = (i / 192, i % 3);
            noise(i + first * 192 + name.len()) + if channel == image % 3 { 90 } else { 0 }
        });
        Images::new(8, 8, 3, pixels.collect(), labels)
    };
    let classes = ["red", "green", "blue"].map(String::from).to_vec();
    let dataset = Dataset::new(name, true, classes, images(0, 53)?, images(1000, 17)?, None)?;
    Ok(Loaded { dataset, used: format!("using {name}"), location: None, split_record: None })
}

pub fn recipe() -> Recipe {
    Recipe {
        name: "test".into(),
        epochs: 3,
        batch_size: 8,
        learning_rate: 0.05,
        momentum: 0.9,
        nesterov: true,
        weight_decay: 1e-3,
        decay_scale: true,
        label_smoothing: 0.1,
        preprocess: Preprocess::PerPixelMean,
        schedule: Schedule::OneCycle { warmup: 0.3, start: 0.1, end: 0.01 },
        augment: Augment { pad: 1, flip: true, border: Border::Reflect },
    }
}

/// A run of [`STEPS`] steps in `output`.
pub fn options(output: &Path) -> TrainOptions {
    TrainOptions {
        model: Some(model()),
        recipe: Some(recipe()),
        data: Some("synthetic".into()),
        seed: Some(5),
        length: Some(Length::Epochs(3)),
        output: Some(output.into()),
        verbosity: Verbosity::Quiet,
        ..TrainOptions::default()
    }
}

/// What continues the run in `path`.
pub fn resume(path: &Path) -> TrainOptions {
    TrainOptions { resume: Some(path.into()), verbosity: Verbosity::Quiet, ..TrainOptions::default() }
}

pub const ENVIRONMENT: Environment<'static> = Environment {
    open_data: &data,
    open_device: &|_, layout, precision| Ok(Box::new(CpuDevice::new(layout, precision)?) as Box<dyn Device>),
};

pub fn run(options: &TrainOptions) -> Result<Summary> {
    train(options, &ENVIRONMENT)
}

/// The metrics without what depends on the clock.
pub fn metrics(run: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let parse = |line: &str| {
        let mut value: serde_json::Value = serde_json::from_str(line).unwrap();
        let object = value.as_object_mut().unwrap();
        for clocked in ["seconds", "training_seconds", "images_per_second"] {
            assert!(object.remove(clocked).is_some());
        }
        value
    };
    text.lines().map(parse).collect()
}

/// A checkpoint without what depends on the clock.
pub fn checkpoint(path: &Path) -> Checkpoint {
    let mut checkpoint = Checkpoint::load(path).unwrap();
    checkpoint.tensors.sort_by(|a, b| a.name.cmp(&b.name));
    checkpoint.momentum.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(position) = &mut checkpoint.info.position {
        (position.seconds, position.training_seconds) = (0.0, 0.0);
        (position.metrics_bytes, position.events_bytes) = (0, 0);
    }
    checkpoint
}

/// Panics unless two runs came to the same, bit for bit: weights, statistics, velocity, sums and metrics.
pub fn assert_same(one: &Path, other: &Path) {
    for file in ["checkpoint.safetensors", "best.safetensors"] {
        assert_eq!(one.join(file).exists(), other.join(file).exists());
        if one.join(file).exists() {
            let [a, b] = [one, other].map(|run| checkpoint(&run.join(file)));
            for (a, b) in a.tensors.iter().zip(&b.tensors).chain(a.momentum.iter().zip(&b.momentum)) {
                let bits = |t: &rir::train::Tensor| t.data.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
                assert_eq!((&a.name, bits(a)), (&b.name, bits(b)), "{file}");
            }
            assert_eq!(a, b, "{file}");
        }
    }
    let [one, other] = [one, other].map(metrics);
    assert_eq!(one.len(), other.len());
    one.iter().zip(&other).for_each(|(a, b)| assert_eq!(a, b));
}
