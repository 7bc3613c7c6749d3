//! `kernels/elementwise.cu`.

use bytemuck::{Pod, Zeroable};

use super::pass::EIGHT;
use super::{Address, Launch, Site, extent, spread, suffix};
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
    launch.over(grid(elements, 1), super::THREADS).with(&params)
}

/// `relu`.
pub fn relu(site: &Site<'_>) -> Launch {
    unary(site, format!("relu_{}", suffix(site.input_dtype(0))))
}

/// Casts that one launch makes at most: MOST_CASTS of the kernels.
pub const MOST_CASTS: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CastParams {
    casts: [UnaryParams; MOST_CASTS],
}

/// `cast`, and `reshape`, which casts to the type it has: all of `sites`, whose types are those of the first.
pub fn cast(sites: &[Site<'_>]) -> Launch {
    let from_to = [sites[0].input_dtype(0), sites[0].output_dtype(0)].map(suffix);
    let mut launch = Launch::new(format!("cast_{}_{}", from_to[0], from_to[1]));
    let mut params = CastParams::zeroed();
    for (cast, site) in params.casts.iter_mut().zip(sites) {
        *cast = UnaryParams {
            x: launch.reads(site.input(0)),
            y: launch.writes(site.output(0)),
            elements: site.output_elements(0),
        };
    }
    let largest = params.casts.iter().map(|cast| cast.elements).max().unwrap_or(0);
    launch.over(grid(largest, sites.len()), super::THREADS).with(&params)
}

/// Rows of blocks for tensors of at most so many elements, a thread for every eight.
fn grid(elements: u64, rows: usize) -> [u32; 3] {
    let [blocks, ..] = spread(elements.div_ceil(EIGHT.into()));
    [blocks, extent(rows), 1]
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
    launch.over(grid(elements, 1), super::THREADS).with(&params)
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
    Ok(launch.over(grid(elements, 1), super::THREADS).with(&params))
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
