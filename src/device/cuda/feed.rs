//! Training from a set that lies on the card, without a stall: the set, the batch's indices, and the ring of outcomes.

use std::collections::VecDeque;
use std::mem::offset_of;
use std::time::Duration;

use super::driver::Driver;
use super::launch::step::{self, Set, StepOutcome};
use super::launch::{Launch, Memory, View, extent};
use crate::data::{Augment, Images, Normaliser};
use crate::device::{EXPLODED_LOSS, StepReport, Wait};
use crate::error::{Error, Result};

/// A training set on the card.
#[derive(Debug)]
pub struct Fed {
    set: Set,
    augment: Augment,
    images: usize,
}

impl Fed {
    /// Puts `images` on the card, as bytes, with what normalises them.
    ///
    /// # Errors
    /// If the normalisation or the augmentation does not suit the images, or there is not enough memory.
    pub fn new(
        driver: &mut dyn Driver,
        images: &Images,
        normaliser: &Normaliser,
        augment: Augment,
    ) -> Result<Self> {
        normaliser.check(images.height, images.width, images.channels)?;
        augment.check(images.height, images.width)?;
        let mut place = |bytes: &[u8]| -> Result<View> {
            let address = driver.allocate(bytes.len())?;
            driver.upload(address, bytes)?;
            Ok(View { address, bytes: bytes.len() })
        };
        let set = Set {
            pixels: place(&images.pixels)?,
            classes: place(bytemuck::cast_slice(&images.labels))?,
            mean: place(bytemuck::cast_slice(&normaliser.mean))?,
            inverse: place(bytemuck::cast_slice(&normaliser.inv_std))?,
            image: [images.height, images.width, images.channels].map(extent),
        };
        Ok(Self { set, augment, images: images.len() })
    }

    /// Gives its memory back.
    pub fn free(self, driver: &mut dyn Driver) {
        let Set { pixels, classes, mean, inverse, .. } = self.set;
        [pixels, classes, mean, inverse].into_iter().for_each(|view| driver.free(view.address));
    }

    /// The launch that draws the samples of these indices into a batch's images and labels.
    pub fn batch(&self, memory: &Memory, batch: [View; 2], samples: View) -> Launch {
        step::batch(memory, (&self.set, samples), self.augment, batch)
    }

    /// Queues the next batch's indices.
    ///
    /// # Errors
    /// If there are not as many as a batch has, one lies beyond the set, or the card failed.
    pub fn choose(&self, driver: &mut dyn Driver, place: View, samples: &[u32]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(samples);
        if bytes.len() != place.bytes {
            return Err(Error::device(format!(
                "the batch has {} images, here are {} indices",
                place.bytes / size_of::<u32>(),
                samples.len()
            )));
        }
        if let Some(index) = samples.iter().find(|&&index| index as usize >= self.images) {
            return Err(Error::device(format!(
                "sample {index} lies beyond the {} images on the card",
                self.images
            )));
        }
        driver.upload(place.address, bytes)
    }
}

/// Steps whose outcomes the ring holds: as many may be under way.
const SLOTS: usize = 32;

/// How often a full ring is looked at: a small part of any step.
const POLL_INTERVAL: Duration = Duration::from_micros(20);

/// The ring of outcomes, which kernels write and the host reads without waiting.
#[derive(Debug)]
pub struct Report {
    ring: View,
    under_way: VecDeque<u64>,
}

/// The step's place in the ring.
fn slot(step: u64) -> usize {
    (step % SLOTS as u64) as usize
}

impl Report {
    /// An empty ring.
    ///
    /// # Errors
    /// If there is not enough memory.
    pub fn new(driver: &mut dyn Driver) -> Result<Self> {
        let bytes = SLOTS * size_of::<StepOutcome>();
        let ring = View { address: driver.allocate_mailbox(bytes)?, bytes };
        Ok(Self { ring, under_way: VecDeque::new() })
    }

    /// The launch that reports loss and right answers.
    pub fn launch(&self, memory: &Memory, results: [View; 2]) -> Launch {
        step::report(memory, results, self.ring, EXPLODED_LOSS)
    }

    /// The place for a step that is about to be queued.
    ///
    /// # Errors
    /// If as many steps as the ring holds were never collected.
    pub fn place(&self, step: u64) -> Result<u32> {
        if self.under_way.len() == SLOTS {
            return Err(Error::device(format!("the outcomes of {SLOTS} steps wait to be collected")));
        }
        Ok(slot(step) as u32)
    }

    /// A step was queued.
    pub fn queued(&mut self, step: u64) {
        self.under_way.push_back(step);
    }

    /// For people: the steps that a fault may be of, counted from 1.
    pub fn steps_under_way(&self) -> String {
        match (self.under_way.front(), self.under_way.back()) {
            (Some(first), Some(last)) if first < last => format!("in steps {} to {}", first + 1, last + 1),
            (Some(step), _) => format!("in step {}", step + 1),
            _ => "between steps".into(),
        }
    }

    /// The outcomes that are there, in the order of the steps.
    ///
    /// # Errors
    /// If the card failed.
    pub fn collect(&mut self, driver: &mut dyn Driver, wait: Wait) -> Result<Vec<StepReport>> {
        if wait == Wait::ForAll {
            driver.synchronise()?;
        }
        let mut reports = self.take(driver)?;
        while self.under_way.len() == SLOTS {
            // Asked before the ring is read again, so that an outcome written meanwhile is not taken for lost.
            let idle = driver.is_idle()?;
            reports.append(&mut self.take(driver)?);
            if idle && self.under_way.len() == SLOTS {
                return Err(Error::device("a step ended without an outcome"));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        Ok(reports)
    }

    /// What the ring holds of the oldest steps under way.
    fn take(&mut self, driver: &mut dyn Driver) -> Result<Vec<StepReport>> {
        let mut reports = Vec::new();
        while let Some(&step) = self.under_way.front() {
            let mut outcome = <StepOutcome as bytemuck::Zeroable>::zeroed();
            let place = self.ring.address.offset(slot(step) * size_of::<StepOutcome>());
            // Read first, since it is written last: what is read after it is of the same step.
            driver.peek(
                place.offset(offset_of!(StepOutcome, done)),
                bytemuck::bytes_of_mut(&mut outcome.done),
            )?;
            if outcome.done != step + 1 {
                break;
            }
            driver.peek(place, bytemuck::bytes_of_mut(&mut outcome))?;
            self.under_way.pop_front();
            let (loss, correct) = (f64::from(outcome.loss), outcome.correct as u64);
            reports.push(StepReport { step, loss, correct });
        }
        Ok(reports)
    }
}
