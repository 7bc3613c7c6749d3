//! `kernels/step.cu`: what goes around a training step.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, Memory, THREADS, View, spread};
use crate::data::{Augment, Border, Flip};
use crate::random::Purpose;

/// What the host writes before every step.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepInputs {
    /// Counted from 0 over the whole run.
    pub step: u64,
    /// Of the augmentation.
    pub seed: u64,
    /// The optimiser's.
    pub learning_rate: f32,
    /// How far slow weights go toward the fast ones; 0: not in this step.
    pub lookahead: f32,
    /// The epoch, from 0.
    pub epoch: u32,
    /// The step's place in the ring of outcomes.
    pub slot: u32,
}

/// The card's own: not 0 once a loss was not sane; then the State changes no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct StepState {
    /// Whether a loss was not sane.
    pub halted: u32,
    /// Nothing.
    pub padding: u32,
}

/// A place of the ring of outcomes.
#[derive(Debug, Clone, Copy, PartialEq, Pod, Zeroable)]
#[repr(C)]
pub struct StepOutcome {
    /// The batch's mean loss.
    pub loss: f32,
    /// How many of its images were right.
    pub correct: f32,
    /// One more than the step; written last.
    pub done: u64,
}

/// A data set on the card.
#[derive(Debug, Clone, Copy)]
pub struct Set {
    /// Pixels, 0 to 255, [set H W C].
    pub pixels: View,
    /// Classes, u16, `[set]`.
    pub classes: View,
    /// Mean, [H W C] or `[C]`.
    pub mean: View,
    /// Inverse deviation, `[C]`.
    pub inverse: View,
    /// H W C.
    pub image: [u32; 3],
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct BatchParams {
    step: Address,
    samples: Address,
    pixels: Address,
    classes: Address,
    mean: Address,
    inverse: Address,
    images: Address,
    labels: Address,
    batch: u32,
    height: u32,
    width: u32,
    channels: u32,
    mean_is_per_pixel: u32,
    pad: u32,
    flip: u32,
    alternate: u32,
    reflect: u32,
    cutout: u32,
    purpose: u32,
    padding: u32,
}

/// Draws the samples of these indices into a batch of `images` [N H W C] and `labels` `[N]`.
pub fn batch(
    memory: &Memory,
    (set, samples): (&Set, View),
    augment: Augment,
    [images, labels]: [View; 2],
) -> Launch {
    let [height, width, channels] = set.image;
    let mut launch = Launch::new("step_batch");
    let params = BatchParams {
        step: launch.reads(memory.inputs()),
        samples: launch.reads(samples),
        pixels: launch.reads(set.pixels),
        classes: launch.reads(set.classes),
        mean: launch.reads(set.mean),
        inverse: launch.reads(set.inverse),
        images: launch.writes(images),
        labels: launch.writes(labels),
        batch: (labels.bytes / size_of::<i32>()) as u32,
        height,
        width,
        channels,
        mean_is_per_pixel: (set.mean.bytes != set.inverse.bytes).into(),
        pad: augment.pad,
        flip: (augment.flip != Flip::Never).into(),
        alternate: (augment.flip == Flip::Alternating).into(),
        reflect: (augment.border == Border::Reflect).into(),
        cutout: augment.cutout,
        purpose: Purpose::Augment as u32,
        padding: 0,
    };
    launch.node = "the batch".into();
    launch.over(spread((images.bytes / size_of::<f32>()) as u64), THREADS).with(&params)
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReportParams {
    step: Address,
    loss: Address,
    correct: Address,
    state: Address,
    ring: Address,
    exploded: f32,
    padding: u32,
}

/// Reports loss and right answers into the ring, and halts the State where the loss is above `exploded` or not a number.
pub fn report(memory: &Memory, [loss, correct]: [View; 2], ring: View, exploded: f64) -> Launch {
    let mut launch = Launch::new("step_report");
    let params = ReportParams {
        step: launch.reads(memory.inputs()),
        loss: launch.reads(loss),
        correct: launch.reads(correct),
        state: launch.writes(memory.flag()),
        ring: launch.writes(ring),
        exploded: exploded as f32,
        padding: 0,
    };
    launch.node = "the report".into();
    launch.over([1; 3], [1; 3]).with(&params)
}
