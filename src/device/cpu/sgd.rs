//! `sgd`: the whole State in one pass.

use pulp::Arch;
use rayon::prelude::*;

use super::element::Real;
use crate::ops::Sgd;

/// Elements of one task.
const BLOCK: usize = 1 << 14;

/// One parameter's step: weights, velocity and gradient in place; `decay` is (coefficient, center).
pub fn step<A: Real>(sgd: &Sgd, rate: f64, decay: (f64, f64), w: &mut [A], v: &mut [A], g: &[A]) {
    let [rate, momentum, decay, center] = [rate, sgd.momentum, decay.0, decay.1].map(A::from_f64);
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
}
