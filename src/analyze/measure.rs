//! Accuracy, image by image, of the whole network and of what is left without a part of it.

use std::sync::Arc;

use super::quarters::{Filter, Quarter};
use super::result::Effect;
use crate::data::{Images, Loader, Normaliser};
use crate::error::Result;
use crate::nn::Ablation;
use crate::train::{Session, argmax, suits};

/// A network, the images that it is measured on, and which of them it gets right as a whole.
pub(super) struct Measurer<'a> {
    pub session: &'a mut Session,
    images: &'a Arc<Images>,
    normaliser: &'a Arc<Normaliser>,
    batch: usize,
    whole: Vec<bool>,
}

impl<'a> Measurer<'a> {
    /// Measures the whole network.
    pub fn new(
        session: &'a mut Session,
        images: &'a Arc<Images>,
        normaliser: &'a Arc<Normaliser>,
        batch: usize,
    ) -> Result<Self> {
        suits(session, images)?;
        session.ablate(None)?;
        let mut measurer = Self { session, images, normaliser, batch, whole: Vec::new() };
        measurer.whole = measurer.right()?;
        Ok(measurer)
    }

    /// Which images the network gets right as it is now.
    fn right(&mut self) -> Result<Vec<bool>> {
        let classes = self.session.options().classes;
        let mut right = Vec::with_capacity(self.images.len());
        for batch in Loader::evaluation(Arc::clone(self.images), Arc::clone(self.normaliser), self.batch)? {
            let batch = batch?;
            let logits = self.session.evaluate_batch(&batch.images, &batch.labels)?.logits;
            let answers = logits.chunks_exact(classes).zip(&batch.labels);
            right.extend(answers.map(|(logits, &label)| argmax(logits) == label as usize));
        }
        Ok(right)
    }

    /// Accuracy of the whole network, in per cent.
    pub fn accuracy(&self) -> f64 {
        100.0 * self.whole.iter().filter(|right| **right).count() as f64 / self.whole.len() as f64
    }

    /// Accuracy of always naming the commonest class, in per cent.
    pub fn chance(&self) -> f64 {
        let counts = self.images.class_counts(self.session.options().classes);
        100.0 * counts.into_iter().max().unwrap_or(0) as f64 / self.images.len() as f64
    }

    /// Accuracy of the network without a part of its graph.
    pub fn ablated(&mut self, ablation: Ablation) -> Result<Effect> {
        self.session.ablate(Some(ablation))?;
        let right = self.right();
        self.session.ablate(None)?;
        Ok(Effect::of(&self.whole, &right?))
    }

    /// Accuracy of the network with a quarter of a filter zero.
    pub fn without_quarter(&mut self, filter: &Filter, quarter: Quarter) -> Result<Effect> {
        let tensor = filter.tensor(quarter);
        let values = self.session.parameter(tensor)?;
        self.session.set_parameter(tensor, &filter.zeroed(quarter, &values))?;
        let right = self.right();
        self.session.set_parameter(tensor, &values)?;
        Ok(Effect::of(&self.whole, &right?))
    }
}
