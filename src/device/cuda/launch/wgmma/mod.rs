//! The convolutions on Hopper's instructions: `kernels/conv2d/wgmma*`. Which shapes they take, their tiles, and the tensor
//! maps by which bulk copies bring their operands.
//!
//! As of every form, a tile and the order of every sum follow from the shapes alone; of the card only the number of
//! blocks does that take tiles in turns.

mod maps;
mod pixels;
mod tile;

use pixels::{Class, Corners, HALO_TAPS, Patch};
pub use tile::Tile;

use super::conv2d::{Extents, fewest_read};
use crate::device::cuda::Kernels;
use crate::ops::{Addend, Conv2dDataGrad, Epilogue, GradEpilogue, Op};

/// Widths of tiles for which each product has a kernel, the widest first.
const COLUMNS: [u32; 4] = [192, 128, 96, 64];
/// Those of the tiles whose filters stay in shared memory, and of the weight gradient in patches.
const NARROW_COLUMNS: [u32; 2] = [96, 64];
/// Channels of a line in shared memory, as wide as its swizzle, the widest first; and how many of them a stage holds:
/// `stage_depth` of `wgmma_forward.cuh`.
const SPANS: [(u32, u32); 2] = [(64, 1), (32, 3)];
/// Channels of the depth of filters that stay in shared memory, at most: RESIDENT_CHANNELS of `wgmma_resident.cuh`.
const RESIDENT_CHANNELS: u32 = 96;
/// Of a stride of two, whose data gradient has four residue classes: MOST_CLASSES of `wgmma_params.cuh`.
const MOST_STRIDE: u32 = 2;
const MOST_CLASSES: usize = (MOST_STRIDE * MOST_STRIDE) as usize;
/// Channels whose bytes are a multiple of 16, as every stride of a tensor map is.
const CHUNK: u32 = 8;
/// The step of a tensor map at most, in elements (`cuTensorMapEncodeIm2col`).
const MOST_STEP: u32 = 8;

/// The widths of tiles that this form has kernels for, and can make a product of so many columns with.
pub fn widths(form: Kernels, weight_grad: bool, columns: u32) -> Vec<u32> {
    match form {
        Kernels::WgmmaResident => NARROW_COLUMNS.into_iter().filter(|&width| width >= columns).collect(),
        Kernels::WgmmaHalo if weight_grad => NARROW_COLUMNS.to_vec(),
        _ => COLUMNS.to_vec(),
    }
}

/// The width of tiles of a form for a product of so many columns.
pub fn columns(form: Kernels, weight_grad: bool, columns: u32) -> u32 {
    fewest_read(&widths(form, weight_grad, columns), columns)
}

/// Whether rows always come as patches with their halo.
fn in_patches(form: Kernels) -> bool {
    matches!(form, Kernels::WgmmaHalo | Kernels::WgmmaResident)
}

/// Channels of the images that a product's rows read.
fn depth_channels(op: &Op, extents: &Extents) -> u32 {
    if let Op::Conv2dDataGrad(_) = op { extents.w[0] } else { extents.x[3] }
}

/// The span for so many channels, and how many of it a stage holds.
fn span(halo: bool, channels: u32) -> Option<(u32, u32)> {
    let spans = if halo { &SPANS[1..] } else { &SPANS[..] };
    spans.iter().find(|(span, _)| channels.is_multiple_of(*span)).copied()
}

/// Whether there is a kernel of this form for a convolution's product of these extents.
pub fn suits(form: Kernels, op: &Op, extents: &Extents) -> bool {
    let ([_, h, width, c], [k, r, s]) = (extents.x, extents.w);
    let halo = in_patches(form);
    let Some((span, spans)) = span(halo, depth_channels(op, extents)) else { return false };
    if ![c, k].iter().all(|channels| channels.is_multiple_of(CHUNK)) {
        return false;
    }
    // A stage is full, and the eight channels that a thread stores are all of E or none.
    let full = |taps: u32, channels: u32| (taps * (channels / span)).is_multiple_of(spans);
    let by_eight = extents.identity.is_multiple_of(CHUNK);
    let patches = !halo
        || (r, s, extents.stride, extents.pad) == (HALO_TAPS, HALO_TAPS, 1, 1)
            && Patch::of(h, width).is_some();
    // Copies store what is rounded and nothing else, as a matrix.
    let stores = form != Kernels::WgmmaStore
        || match op {
            Op::Conv2d(conv) => matches!(conv.epilogue, Epilogue::None | Epilogue::Statistics),
            Op::Conv2dDataGrad(Conv2dDataGrad { addend, epilogue, .. }) => {
                (*addend, *epilogue, extents.stride) == (Addend::None, GradEpilogue::None, 1)
            }
            _ => false,
        };
    // All columns in one tile, and their whole depth in shared memory.
    let projected = matches!(op, Op::Conv2dDataGrad(op) if op.conv.projected);
    let stays = |columns: u32, depth: u32| {
        form != Kernels::WgmmaResident
            || columns <= NARROW_COLUMNS[0] && depth <= RESIDENT_CHANNELS && !projected
    };
    let pixels = extents.stride <= MOST_STEP && Corners::forward(extents).fit();
    match op {
        Op::Conv2d(_) => by_eight && full(r * s, c) && pixels && patches && stores && stays(k, c),
        Op::Conv2dDataGrad(_) => {
            let mut classes =
                (0..extents.stride * extents.stride).filter_map(|class| Class::of(extents, class));
            let fit = |class: Class| class.taps == 0 || full(class.taps, k) && class.corners.fit();
            by_eight && extents.stride <= MOST_STRIDE && classes.all(fit) && patches && stores && stays(c, k)
        }
        Op::Conv2dWeightGrad(_) => pixels && patches && stores && form != Kernels::WgmmaResident,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
