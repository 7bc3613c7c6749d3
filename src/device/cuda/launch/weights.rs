//! `kernels/weights.cu`.

use bytemuck::{Pod, Zeroable};

use super::pass::EIGHT;
use super::{Address, Launch, Site, THREADS, extent, spread, suffix};
use crate::ops::ShadowWeights;

/// Filters of a launch at most: MOST_FILTERS of the kernels.
const MOST_FILTERS: usize = 64;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct Filter {
    w: Address,
    shadow: Address,
    elements: u32,
    identity: u32,
    first: u32,
    step: u32,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ShadowWeightsParams {
    filters: [Filter; MOST_FILTERS],
}

/// `shadow_weights`: a row of blocks for every filter, long enough for the largest.
pub fn shadow_weights(site: &Site<'_>, op: &ShadowWeights) -> Vec<Launch> {
    let filters: Vec<usize> = (0..op.identities.len()).collect();
    filters.chunks(MOST_FILTERS).map(|filters| launch_of(site, op, filters)).collect()
}

fn launch_of(site: &Site<'_>, op: &ShadowWeights, filters: &[usize]) -> Launch {
    let mut launch = Launch::new(format!("shadow_weights_{}", suffix(site.output_dtype(0))));
    let mut params = ShadowWeightsParams::zeroed();
    for (filter, &i) in params.filters.iter_mut().zip(filters) {
        let shape = site.graph().shape(site.node().inputs[i]);
        let (step, first) = shape.dims4().map_or((1, 0), ShadowWeights::diagonal);
        *filter = Filter {
            w: launch.reads(site.input(i)),
            shadow: launch.writes(site.output(i)),
            elements: extent(shape.elements()),
            identity: extent(op.identities[i]),
            first: extent(first),
            step: extent(step),
        };
    }
    let largest = params.filters.iter().map(|filter| filter.elements).max().unwrap_or(0);
    let [blocks, ..] = spread(u64::from(largest).div_ceil(EIGHT.into()));
    launch.over([blocks, extent(filters.len()), 1], THREADS).with(&params)
}
