//! `sgd`: the whole State in one pass.

use pulp::Arch;
use rayon::prelude::*;

use super::element::Real;
use crate::device::StepInputs;
use crate::graph::ParameterKind;
use crate::ops::Sgd;

/// Elements of one task.
const BLOCK: usize = 1 << 14;

/// One parameter's step: weights, velocity, gradient and slow weights, changed in place.
pub fn step<A: Real>(sgd: &Sgd, inputs: &StepInputs, kind: ParameterKind, [w, v, g, slow]: [&mut [A]; 4]) {
    let (decay, center) = sgd.decay(kind);
    let rate = sgd.rate(kind) * inputs.learning_rate;
    let [rate, momentum, decay, center] = [rate, sgd.momentum, decay, center].map(A::from_f64);
    w.par_chunks_mut(BLOCK).zip(v.par_chunks_mut(BLOCK)).zip(g.par_chunks(BLOCK)).for_each(|((w, v), g)| {
        Arch::new().dispatch(|| {
            for ((w, v), g) in w.iter_mut().zip(v).zip(g) {
                let g = *g + decay * (*w - center);
                *v = momentum * *v + g;
                let step = if sgd.nesterov { g + momentum * *v } else { *v };
                *w = *w - rate * step;
            }
        });
    });
    if sgd.lookahead && inputs.lookahead > 0.0 {
        let share = A::from_f64(inputs.lookahead);
        w.par_chunks_mut(BLOCK).zip(slow.par_chunks_mut(BLOCK)).for_each(|(w, slow)| {
            for (w, slow) in w.iter_mut().zip(slow) {
                *slow = *slow + share * (*w - *slow);
                *w = *slow;
            }
        });
    }
}
