//! Where the pixels of a tile's rows lie in images: within which corners, and in which patches.

use super::tile::WGMMA_ROWS;
use crate::device::cuda::launch::conv2d::{Extents, TILE_ROWS};

/// Lines of a patch with its halo, beyond the tile's rows: MOST_HALO_LINES of `wgmma_halo.cuh`.
pub const MOST_HALO_LINES: u32 = 64;
/// Taps of a filter's row and column, where patches serve them.
pub const HALO_TAPS: u32 = 3;
/// Lines after which a swizzle of 64 bytes, that of a patch, is what it was.
const SWIZZLE_LINES: u32 = 8;

/// The bounding box of the first taps of a tensor map's pixels, x y: where it begins in an image, and where it ends,
/// counted from the image's last pixel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Corners {
    pub lower: [i32; 2],
    pub upper: [i32; 2],
}

impl Corners {
    /// Of x.
    pub fn forward(extents: &Extents) -> Self {
        let [_, r, s] = extents.w;
        let pad = extents.pad as i32;
        Self { lower: [-pad; 2], upper: [s, r].map(|filter| pad - (filter as i32 - 1)) }
    }
    /// What `cuTensorMapEncodeIm2col` takes of images: a signed byte each.
    pub fn fit(&self) -> bool {
        self.lower.iter().chain(&self.upper).all(|&corner| i8::try_from(corner).is_ok())
    }
}

/// A residue class of a data gradient: its taps, and where they lie in dz.
pub struct Class {
    pub taps: u32,
    pub corners: Corners,
}

impl Class {
    /// Class `class` of stride x stride; `None` where it has no pixels. See `gradient_line` of `index.cuh`.
    pub fn of(extents: &Extents, class: u32) -> Option<Self> {
        let ([_, h, w, _], [_, r, s], [p, q], stride) = (extents.x, extents.w, extents.z, extents.stride);
        let line = |residue: u32, inputs: u32, filter: u32, outputs: u32| {
            let positions = inputs.saturating_sub(residue).div_ceil(stride);
            let reach = residue + extents.pad;
            let taps = filter.saturating_sub(reach % stride).div_ceil(stride) as i32;
            // The last tap lies first.
            let lower = (reach / stride) as i32 - (taps - 1);
            (positions > 0).then_some((taps as u32, lower, lower + positions as i32 - outputs as i32))
        };
        if class >= stride * stride {
            return None;
        }
        let (tap_rows, lower_y, upper_y) = line(class / stride, h, r, p)?;
        let (tap_columns, lower_x, upper_x) = line(class % stride, w, s, q)?;
        let corners = Corners { lower: [lower_x, lower_y], upper: [upper_x, upper_y] };
        Some(Self { taps: tap_rows * tap_columns, corners })
    }
}

/// A tile's rows as whole rows of images: `Patch` of `wgmma_halo.cuh`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patch {
    /// Rows of an image, without the halo.
    pub rows: u32,
    pub images: u32,
}

impl Patch {
    /// Of images of these extents; `None` where a tile is none, or more than there is room for.
    pub fn of(height: u32, width: u32) -> Option<Self> {
        let rows = height.min(TILE_ROWS / width);
        if !width.is_multiple_of(SWIZZLE_LINES) || rows == 0 || !height.is_multiple_of(rows) {
            return None;
        }
        let images = TILE_ROWS / (rows * width);
        // The rows of one wgmma follow each other in the patch.
        let in_one = images == 1 || (rows * width).is_multiple_of(WGMMA_ROWS);
        let patch = Self { rows, images };
        let suits =
            images * rows * width == TILE_ROWS && in_one && patch.lines(width) <= TILE_ROWS + MOST_HALO_LINES;
        suits.then_some(patch)
    }
    /// Lines, the halo's among them.
    pub fn lines(self, width: u32) -> u32 {
        self.images * (self.rows + HALO_TAPS - 1) * width
    }
}
