//! `kernels/shortcut.cu`.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, Site, extent, spread, suffix};
use crate::ops::Shortcut;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct ShortcutParams {
    read: Address,
    written: Address,
    elements: u64,
    /// Height, width and channels of the strided side: x.
    outside: [u32; 3],
    /// Height, width and channels of the other: y.
    inside: [u32; 3],
    stride: u32,
    copied: u32,
    from: u32,
    to: u32,
}

/// `shortcut`.
pub fn shortcut(site: &Site<'_>, op: &Shortcut) -> Launch {
    let [_, outside @ ..] = site.input_image(0);
    let [_, inside @ ..] = site.output_image(0);
    copy(site, "shortcut", op, outside, inside)
}

/// `shortcut_backward`.
pub fn shortcut_backward(site: &Site<'_>, op: &Shortcut) -> Launch {
    let [_, outside @ ..] = site.output_image(0);
    let [_, inside @ ..] = site.input_image(0);
    copy(site, "shortcut_backward", op, outside, inside)
}

fn copy(site: &Site<'_>, kernel: &str, op: &Shortcut, outside: [u32; 3], inside: [u32; 3]) -> Launch {
    let mut launch = Launch::new(format!("{kernel}_{}", suffix(site.input_dtype(0))));
    let elements = site.output_elements(0);
    let params = ShortcutParams {
        read: launch.reads(site.input(0)),
        written: launch.writes(site.output(0)),
        elements,
        outside,
        inside,
        stride: extent(op.stride),
        copied: extent(op.copied),
        from: extent(op.from),
        to: extent(op.to),
    };
    launch.over(spread(elements), super::THREADS).with(&params)
}
