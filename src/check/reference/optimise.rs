//! What changes the State.

use super::{Context, Tensor};
use crate::ops::{Sgd, UpdateRunning};

/// One step. Inputs: all gradients, all parameters, all velocities and, with lookahead, all slow weights; gives all
/// parameters, then all velocities, then all slow weights.
pub(super) fn sgd(op: &Sgd, inputs: &[&Tensor], context: &Context<'_>) -> Vec<Tensor> {
    let count = context.kinds.len();
    let of_each = if op.lookahead { 4 } else { 3 };
    assert_eq!(
        inputs.len(),
        of_each * count,
        "sgd reads a gradient, a value and a velocity for each parameter"
    );
    let momentum = op.momentum;
    let (mut parameters, mut velocities, mut slow) = (Vec::new(), Vec::new(), Vec::new());
    for (i, &kind) in context.kinds.iter().enumerate() {
        let (gradient, weight, velocity) = (inputs[i], inputs[count + i], inputs[2 * count + i]);
        let (decay, center) = op.decay(kind);
        let gradient =
            Tensor::from_fn(weight.shape.clone(), |e| gradient.data[e] + decay * (weight.data[e] - center));
        let velocity =
            Tensor::from_fn(weight.shape.clone(), |e| momentum * velocity.data[e] + gradient.data[e]);
        let fast = Tensor::from_fn(weight.shape.clone(), |e| {
            let step =
                if op.nesterov { gradient.data[e] + momentum * velocity.data[e] } else { velocity.data[e] };
            weight.data[e] - op.rate(kind) * context.step.learning_rate * step
        });
        velocities.push(velocity);
        if !op.lookahead {
            parameters.push(fast);
            continue;
        }
        let (own, share) = (inputs[3 * count + i], context.step.lookahead);
        let followed =
            Tensor::from_fn(fast.shape.clone(), |e| (1.0 - share) * own.data[e] + share * fast.data[e]);
        parameters.push(if share > 0.0 { followed.clone() } else { fast });
        slow.push(followed);
    }
    parameters.into_iter().chain(velocities).chain(slow).collect()
}

/// The new running mean and variance.
pub(super) fn update_running(
    op: &UpdateRunning,
    stats: &Tensor,
    mean: &Tensor,
    variance: &Tensor,
) -> [Tensor; 2] {
    let weight = UpdateRunning::WEIGHT;
    // From M to M - 1 in the denominator; one element alone has no unbiased variance and keeps the biased one.
    let unbiased = if op.count > 1 { op.count as f64 / (op.count - 1) as f64 } else { 1.0 };
    let blend = |running: f64, batch: f64| (1.0 - weight) * running + weight * batch;
    [
        Tensor::from_fn(mean.shape.clone(), |c| blend(mean.at([c]), stats.at([0, c]))),
        Tensor::from_fn(mean.shape.clone(), |c| blend(variance.at([c]), unbiased * stats.at([1, c]))),
    ]
}
