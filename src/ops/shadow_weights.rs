//! Weights as convolutions read them: in the storage type of activations, E folded in where it is wanted.

use super::{Operation, expect_inputs};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value};

/// Each input converted to the storage type of activations, with E added first: one operation for all layers of a
/// network that have E. Fusion makes it; nobody writes it.
///
/// Inputs: master weights of any shape; where E is added, K R S C with R = S odd. Outputs: the same extents.
/// Folding saves the convolutions their reading of x for E; but bf16 rounds `1 + w` to steps of 2^-7, where E added to
/// the accumulator is exact.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowWeights {
    /// For each input the channels that E copies: `E[i, (R - 1) / 2, (S - 1) / 2, i] = 1` for so many; 0 for none.
    pub identities: Vec<usize>,
}

impl ShadowWeights {
    /// Elements from one 1 of E to the next in a filter K R S C, and the first of them.
    pub fn diagonal([_, r, s, c]: [usize; 4]) -> (usize, usize) {
        (r * s * c + 1, (r / 2 * s + s / 2) * c)
    }
}

impl Operation for ShadowWeights {
    fn name(&self) -> &'static str {
        "shadow_weights"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, self.identities.len())?;
        for (w, &identity) in inputs.iter().zip(&self.identities).filter(|(_, identity)| **identity > 0) {
            let fits = |[k, r, s, c]: [usize; 4]| r == s && r % 2 == 1 && identity <= k.min(c);
            if !w.shape.dims4().is_some_and(fits) {
                let message =
                    format!("an identity of {identity} channels does not fit the filter {}", w.shape);
                return Err(shape_error(message));
            }
        }
        Ok(inputs.iter().map(|w| (w.shape.clone(), Role::Activation)).collect())
    }
    fn input_roles(&self, inputs: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; inputs.len()]
    }
    fn flops(&self, _: &[&Value], _: &[&Value]) -> u64 {
        self.identities.iter().map(|&identity| identity as u64).sum()
    }
}
