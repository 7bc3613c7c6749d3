//! `kernels/elementwise.cu`.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, Site, spread, suffix};
use crate::error::{Error, Result};
use crate::ops::{Fill, ReluBackward};

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct UnaryParams {
    x: Address,
    y: Address,
    elements: u64,
}

fn unary(site: &Site<'_>, kernel: String) -> Launch {
    let mut launch = Launch::new(kernel);
    let elements = site.output_elements(0);
    let params = UnaryParams { x: launch.reads(site.input(0)), y: launch.writes(site.output(0)), elements };
    launch.over(spread(elements), super::THREADS).with(&params)
}

/// `relu`.
pub fn relu(site: &Site<'_>) -> Launch {
    unary(site, format!("relu_{}", suffix(site.input_dtype(0))))
}

/// `cast`, and `reshape`, which casts to the type it has.
pub fn cast(site: &Site<'_>) -> Launch {
    unary(site, format!("cast_{}_{}", suffix(site.input_dtype(0)), suffix(site.output_dtype(0))))
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ReluBackwardParams {
    dy: Address,
    gate: Address,
    dx: Address,
    elements: u64,
}

/// `relu_backward`.
pub fn relu_backward(site: &Site<'_>, op: &ReluBackward) -> Launch {
    let masked = if op.masked { "masked_" } else { "" };
    let mut launch = Launch::new(format!("relu_backward_{masked}{}", suffix(site.input_dtype(0))));
    let elements = site.output_elements(0);
    let params = ReluBackwardParams {
        dy: launch.reads(site.input(0)),
        gate: launch.reads(site.input(1)),
        dx: launch.writes(site.output(0)),
        elements,
    };
    launch.over(spread(elements), super::THREADS).with(&params)
}

/// Terms that one launch adds at most: what fits its parameters.
const MOST_TERMS: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct AddParams {
    terms: [Address; MOST_TERMS],
    y: Address,
    elements: u64,
    count: u32,
    padding: u32,
}

/// `add`.
///
/// # Errors
/// If there are more terms than the kernel takes.
pub fn add(site: &Site<'_>) -> Result<Launch> {
    let count = site.node().inputs.len();
    if count > MOST_TERMS {
        return Err(Error::device(format!(
            "{}: the kernel adds at most {MOST_TERMS} tensors, here are {count}; --device cpu adds any number",
            site.describe()
        )));
    }
    let mut launch = Launch::new(format!("add_{}", suffix(site.output_dtype(0))));
    let mut terms = [Address(0); MOST_TERMS];
    for (i, term) in terms.iter_mut().enumerate().take(count) {
        *term = launch.reads(site.input(i));
    }
    let elements = site.output_elements(0);
    let params =
        AddParams { terms, y: launch.writes(site.output(0)), elements, count: count as u32, padding: 0 };
    Ok(launch.over(spread(elements), super::THREADS).with(&params))
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct FillParams {
    y: Address,
    elements: u64,
    value: f32,
    padding: u32,
}

/// `fill`.
pub fn fill(site: &Site<'_>, op: &Fill) -> Launch {
    let mut launch = Launch::new("fill_f32");
    let elements = site.output_elements(0);
    let params =
        FillParams { y: launch.writes(site.output(0)), elements, value: op.value as f32, padding: 0 };
    launch.over(spread(elements), super::THREADS).with(&params)
}
