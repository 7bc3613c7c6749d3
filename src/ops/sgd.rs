//! Stochastic gradient descent with momentum and L2, over the whole State at once.

use super::{Operation, elements};
use crate::error::Result;
use crate::graph::state::ParameterKind;
use crate::graph::value::{Role, Shape, Value};

/// One step for every parameter; parameters, momentum and gradients are the State's contiguous regions.
///
/// ```text
/// g' = g + weight_decay * (w - center)      the gradient of (weight_decay / 2) * sum (w - center)^2
/// v  = momentum * v + g'
/// w  = w - rate * v                         nesterov: w - rate * (g' + momentum * v)
/// s  = s + share * (w - s);  w = s          lookahead, in steps whose share is above 0
/// ```
///
/// The paper's L2 term `1e-4 * sum(w^2)`, without the half, is a `weight_decay` of 2e-4. It acts on the stored W,
/// never on W + E: the identity must not decay. Shifts and biases may learn at a rate of their own, as in Page, "How to
/// train your ResNet: bag of tricks" (2019). Lookahead (Zhang et al., 2019) lets slow weights s follow the fast ones every
/// few steps, which go on from there. Learning rate and share are a step's inputs, not attributes.
/// Inputs: every parameter's gradient, in the State's order. No outputs: it changes the State.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Sgd {
    /// Share of the velocity that is kept.
    pub momentum: f64,
    /// Looks ahead along the velocity.
    pub nesterov: bool,
    /// Coefficient of the L2 gradient.
    pub weight_decay: f64,
    /// Batch norm's scale decays toward 1; off, it does not decay.
    pub decay_scale: bool,
    /// Factor of the learning rate for batch norm's shift and the linear layer's bias.
    pub shift_rate: f64,
    /// Keeps slow weights, in the State's region [`Slow`](crate::graph::Region::Slow).
    pub lookahead: bool,
}

impl Sgd {
    /// Nothing but gradient descent.
    pub const PLAIN: Sgd = Sgd {
        momentum: 0.0,
        nesterov: false,
        weight_decay: 0.0,
        decay_scale: false,
        shift_rate: 1.0,
        lookahead: false,
    };

    /// Recipe `paper`'s, for what is counted or timed and not trained.
    pub const PAPER: Sgd = Sgd { momentum: 0.9, weight_decay: 2e-4, decay_scale: true, ..Self::PLAIN };

    /// The L2 term of a parameter: its coefficient, and the value it pulls toward.
    pub fn decay(&self, kind: ParameterKind) -> (f64, f64) {
        match kind {
            ParameterKind::Weight { .. } => (self.weight_decay, 0.0),
            ParameterKind::Scale if self.decay_scale => (self.weight_decay, 1.0),
            ParameterKind::Scale | ParameterKind::Shift | ParameterKind::Bias => (0.0, 0.0),
        }
    }

    /// What the learning rate is multiplied by for a parameter.
    pub fn rate(&self, kind: ParameterKind) -> f64 {
        match kind {
            ParameterKind::Shift | ParameterKind::Bias => self.shift_rate,
            ParameterKind::Weight { .. } | ParameterKind::Scale => 1.0,
        }
    }
}

impl Operation for Sgd {
    fn name(&self) -> &'static str {
        "sgd"
    }
    fn infer(&self, _: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        Ok(Vec::new())
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; inputs.len()]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Three multiply-adds (decay with its centre one subtraction more, velocity, step), one more with Nesterov.
        inputs.iter().map(|g| elements(g) * if self.nesterov { 9 } else { 7 }).sum()
    }
    fn bytes(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        // Gradient read; weight and velocity read and written. Slow weights only in some steps, which are not counted.
        inputs.iter().map(|g| 5 * g.bytes() as u64).sum()
    }
}
