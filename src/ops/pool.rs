//! Global average pool.

use super::{Backward, Operation, elements, expect_inputs, nhwc};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// `y[n, c] = mean over h, w of x[n, h, w, c]`; [N H W C] to [N C], exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GlobalAvgPool;

impl Operation for GlobalAvgPool {
    fn name(&self) -> &'static str {
        "global_avg_pool"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        let [n, _, _, c] = nhwc(inputs[0], "the input")?;
        Ok(vec![([n, c].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Activation]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (dy, input) = (back.dy()?, back.graph.shape(back.inputs[0]).clone());
        Ok(vec![back.when_wanted(0, GlobalAvgPoolBackward { input }.into(), &[dy])?])
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        elements(inputs[0])
    }
}

/// `dx[n, h, w, c] = dy[n, c] / (H W)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GlobalAvgPoolBackward {
    /// Extents of the pool's input, N H W C.
    pub input: Shape,
}

impl Operation for GlobalAvgPoolBackward {
    fn name(&self) -> &'static str {
        "global_avg_pool_backward"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        let Some([n, _, _, c]) = self.input.dims4() else {
            return Err(shape_error("input must be [N H W C]"));
        };
        super::expect_shape(inputs[0], &[n, c].into(), "dy")?;
        Ok(vec![(self.input.clone(), Role::Activation)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact]
    }
    fn flops(&self, inputs: &[&Value], _: &[&Value]) -> u64 {
        elements(inputs[0])
    }
}
