//! The fully connected layer of a classifier.

use super::{Backward, Operation, elements, expect_inputs, expect_shape};
use crate::error::Result;
use crate::graph::shape_error;
use crate::graph::value::{Role, Shape, Value, ValueId};

/// `y[n, k] = sum over c of x[n, c] w[k, c] + b[k]`; x [N C], w [K C], b `[K]`. Exact: never rounded to bf16.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear;

fn matrix(value: &Value, what: &str) -> Result<[usize; 2]> {
    value.shape.dims2().ok_or_else(|| shape_error(format!("{what} must be a matrix, got {}", value.shape)))
}

impl Operation for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 3)?;
        let ([n, c], [k, _]) = (matrix(inputs[0], "the input")?, matrix(inputs[1], "the weight")?);
        expect_shape(inputs[1], &[k, c].into(), "the weight")?;
        expect_shape(inputs[2], &[k].into(), "the bias")?;
        Ok(vec![([n, k].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; 3]
    }
    fn gradient(&self, back: &mut Backward<'_>) -> Result<Vec<Option<ValueId>>> {
        let (dy, x, w) = (back.dy()?, back.inputs[0], back.inputs[1]);
        Ok(vec![
            back.when_wanted(0, LinearDataGrad.into(), &[dy, w])?,
            back.when_wanted(1, LinearWeightGrad.into(), &[dy, x])?,
            back.when_wanted(2, BiasGrad.into(), &[dy])?,
        ])
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        // A multiply-add for every weight and sample; the bias starts each sum but for one addition.
        2 * elements(outputs[0]) * inputs[0].shape.channels() as u64 + elements(outputs[0])
    }
}

/// `dx[n, c] = sum over k of dy[n, k] w[k, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearDataGrad;

impl Operation for LinearDataGrad {
    fn name(&self) -> &'static str {
        "linear_data_grad"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 2)?;
        let ([n, k], [_, c]) = (matrix(inputs[0], "dy")?, matrix(inputs[1], "the weight")?);
        expect_shape(inputs[1], &[k, c].into(), "the weight")?;
        Ok(vec![([n, c].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; 2]
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        2 * elements(outputs[0]) * inputs[0].shape.channels() as u64
    }
}

/// `dw[k, c] = sum over n of dy[n, k] x[n, c]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinearWeightGrad;

impl Operation for LinearWeightGrad {
    fn name(&self) -> &'static str {
        "linear_weight_grad"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 2)?;
        let ([n, k], [_, c]) = (matrix(inputs[0], "dy")?, matrix(inputs[1], "the input")?);
        expect_shape(inputs[1], &[n, c].into(), "the input")?;
        Ok(vec![([k, c].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact; 2]
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        2 * elements(outputs[0]) * inputs[0].shape.0[0] as u64
    }
}

/// `db[k] = sum over n of dy[n, k]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BiasGrad;

impl Operation for BiasGrad {
    fn name(&self) -> &'static str {
        "bias_grad"
    }
    fn infer(&self, inputs: &[&Value]) -> Result<Vec<(Shape, Role)>> {
        expect_inputs(inputs, 1)?;
        let [_, k] = matrix(inputs[0], "dy")?;
        Ok(vec![([k].into(), Role::Exact)])
    }
    fn input_roles(&self, _: &[&Value]) -> Vec<Role> {
        vec![Role::Exact]
    }
    fn flops(&self, inputs: &[&Value], outputs: &[&Value]) -> u64 {
        elements(inputs[0]) - elements(outputs[0])
    }
}
