//! Where a training step's batch comes from: a loader's thread, or the device's own copy of the set.

use super::session::Session;
use crate::data::{Loader, epoch_order};
use crate::device::{FedStep, StepInputs, StepReport, Wait};
use crate::error::{Error, Result};

/// The source of batches, and of the outcomes of the steps on them.
pub(super) enum Feeder {
    /// Batches are made here and written to the device: a step is done when its call returns.
    Host(Loader),
    /// The device draws its batches: steps are queued, and outcomes come later.
    Device(Queue),
}

/// Steps queued on the device.
pub(super) struct Queue {
    /// The seed of orders and augmentation.
    pub seed: u64,
    /// Images of the set.
    pub images: usize,
    /// Images a step.
    pub batch: usize,
    /// An epoch with its order.
    order: Option<(u32, Vec<u32>)>,
    under_way: u64,
}

impl Queue {
    /// None queued yet.
    pub fn new(seed: u64, images: usize, batch: usize) -> Self {
        Self { seed, images, batch, order: None, under_way: 0 }
    }
}

/// A step to be made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Next {
    /// Counted from 0 over the whole run.
    pub step: u64,
    /// From 0.
    pub epoch: u32,
    /// The step's place in its epoch.
    pub step_in_epoch: usize,
    /// The optimiser's.
    pub inputs: StepInputs,
}

impl Feeder {
    /// Steps whose outcome is not known yet.
    pub fn under_way(&self) -> u64 {
        match self {
            Self::Host(_) => 0,
            Self::Device(queue) => queue.under_way,
        }
    }

    /// Makes or queues a step; returns the outcomes that are known now, in the order of the steps.
    ///
    /// # Errors
    /// If a batch cannot be had, or the device failed.
    pub fn advance(&mut self, session: &mut Session, next: Next) -> Result<Vec<StepReport>> {
        match self {
            Self::Host(loader) => {
                let batch = loader.next().unwrap_or_else(|| Err(Error::data("the loader ended early")))?;
                let result = session.train_step(&batch.images, &batch.labels, next.inputs)?;
                Ok(vec![StepReport { step: next.step, loss: result.loss, correct: result.correct }])
            }
            Self::Device(queue) => queue.advance(session, next),
        }
    }

    /// Waits for every step that is under way.
    ///
    /// # Errors
    /// If the device failed.
    pub fn drain(&mut self, session: &mut Session) -> Result<Vec<StepReport>> {
        match self {
            Self::Host(_) => Ok(Vec::new()),
            Self::Device(queue) => queue.collect(session, Wait::ForAll),
        }
    }
}

impl Queue {
    fn advance(&mut self, session: &mut Session, next: Next) -> Result<Vec<StepReport>> {
        if self.order.as_ref().is_none_or(|(epoch, _)| *epoch != next.epoch) {
            self.order = Some((next.epoch, epoch_order(self.seed, next.epoch, self.images)));
        }
        let order = self.order.as_ref().map_or(&[][..], |(_, order)| order);
        let step = FedStep {
            step: next.step,
            epoch: next.epoch,
            seed: self.seed,
            inputs: next.inputs,
            samples: &order[next.step_in_epoch * self.batch..][..self.batch],
        };
        session.submit(&step)?;
        self.under_way += 1;
        self.collect(session, Wait::ForRoom)
    }

    fn collect(&mut self, session: &mut Session, wait: Wait) -> Result<Vec<StepReport>> {
        let reports = session.collect(wait)?;
        self.under_way -= reports.len() as u64;
        Ok(reports)
    }
}
