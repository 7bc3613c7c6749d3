//! Looking into a trained network: without a part of it, at its activations, and with other weights.

use super::{PlanKind, Session};
use crate::device::StepInputs;
use crate::error::Result;
use crate::graph::{Region, Segment};
use crate::nn::Ablation;

impl Session {
    /// From here on, evaluation is that of the network without a part of it; with `None`, of the whole network again.
    /// Training is not changed.
    ///
    /// # Errors
    /// As [`Ablation::check`].
    pub fn ablate(&mut self, ablation: Option<Ablation>) -> Result<()> {
        if let Some(ablation) = ablation {
            ablation.check(&self.options.model)?;
        }
        for (_, (plan, _)) in self.plans.extract_if(|(kind, _), _| kind.evaluates()) {
            self.device.unload(plan);
        }
        self.ablation = ablation;
        Ok(())
    }

    /// Evaluates a batch and shows every layer's activation (N, H, W, C), by its place in [`Description::layer_names`],
    /// where `wanted` says so.
    ///
    /// # Errors
    /// If the lengths do not fit, or the device failed.
    pub fn observe(
        &mut self,
        images: &[f32],
        labels: &[i32],
        wanted: impl Fn(usize) -> bool,
        mut see: impl FnMut(usize, Vec<f64>),
    ) -> Result<()> {
        let plan = self.plan(PlanKind::Observe, labels.len())?;
        self.device.write_batch(plan, images, labels)?;
        self.device.run(plan, Segment::Gradients, &StepInputs::default())?;
        for (layer, name) in self.options.model.layer_names().iter().enumerate().filter(|(l, _)| wanted(*l)) {
            see(layer, self.result(plan, &format!("activation.{name}"))?);
        }
        Ok(())
    }

    /// The values of a parameter, by its place in [`StateLayout::parameters`], in memory order: K R S C of a filter.
    ///
    /// # Errors
    /// If the device failed.
    pub fn parameter(&mut self, index: usize) -> Result<Vec<f64>> {
        self.state(Region::Parameters, index)
    }

    /// Overwrites a parameter as [`Session::parameter`] gives it; written back, it is the same to the bit.
    ///
    /// # Errors
    /// If the length is not the parameter's, or the device failed.
    pub fn set_parameter(&mut self, index: usize, values: &[f64]) -> Result<()> {
        self.device.write_state(Region::Parameters, index, values)
    }
}
