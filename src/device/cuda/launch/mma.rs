//! The tiles of the tensor-core convolutions: `kernels/conv2d/mma_index.cuh`.
//!
//! A tile follows from the shape alone, never from the card: every card from sm_80 on has the shared memory of every
//! tile, and a result has the same bits on all of them.

use super::conv2d::{TILE_ROWS, fewest_read};

/// A form of tile that a product has a kernel for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tile {
    /// Columns.
    pub columns: u32,
    /// Threads of a block.
    pub threads: u32,
    /// Bytes of dynamic shared memory of a block.
    pub shared: u32,
}

/// Widths for which each product has a kernel, the widest first.
pub const COLUMNS: [u32; 5] = [192, 128, 96, 64, 32];
/// Those of the kernels of `mma_any.cuh`, which take any channels and taps.
pub const ANY_COLUMNS: [u32; 2] = [96, 32];
/// Channels that are copied at once: CHUNK of `mma_index.cuh`.
pub const CHUNK: u32 = 8;
/// Taps of a dimension that the faster kernels know: MOST_TAPS there.
pub const MOST_TAPS: u32 = 16;
/// Depth of a stage, and stages: MMA_DEPTH and STAGES there.
pub const DEPTH: u32 = 32;
const STAGES: u32 = 4;
const BF16_BYTES: u32 = 2;
/// Bytes that a weight gradient has beside its stages: WEIGHT_GRAD_PLACES of `mma_weight_grad.cu`.
pub const PLACES: u32 = STAGES * DEPTH * 16;

/// The width of tiles for a product of so many columns.
///
/// `whole`: channels and taps suit the kernels that take not any.
pub fn columns(columns: u32, whole: bool) -> u32 {
    fewest_read(if whole { &COLUMNS } else { &ANY_COLUMNS }, columns)
}

/// The tile of this width.
pub fn tile(columns: u32) -> Tile {
    // MmaTile: four warps, and of the widest tile eight.
    let threads = if columns == 192 { 256 } else { 128 };
    Tile { columns, threads, shared: STAGES * (TILE_ROWS + columns) * DEPTH * BF16_BYTES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_read_as_little_as_they_can() {
        let widths = [1, 8, 33, 64, 96, 128, 160, 192, 256, 384];
        assert_eq!(widths.map(|c| columns(c, true)), [32, 32, 64, 64, 96, 128, 192, 192, 128, 192]);
        assert_eq!(widths.map(|c| columns(c, false)), [32, 32, 96, 96, 96, 96, 96, 96, 96, 96]);
    }

    /// The least that a block may have on any card from sm_80 on: 99 KiB, of sm_86, sm_89 and sm_120.
    #[test]
    fn every_tile_fits_on_every_card() {
        for columns in COLUMNS {
            let Tile { shared, .. } = tile(columns);
            assert!(shared + PLACES <= 99 << 10, "{columns} columns take {shared} bytes");
        }
    }
}
