//! How a product is cut, and the widths and splits of its tiles that may be chosen.

use super::extents::Extents;
use super::{TILE_ROWS, suits};
use crate::device::cuda::Choice;
use crate::device::cuda::kernels::{self, Generation, Kernels};
use crate::device::cuda::launch::{mma, wgmma};
use crate::graph::{DType, Shape};
use crate::ops::Op;

/// Widths of tiles, the widest first, for which each tiled product has a kernel.
const TILE_COLUMNS: [u32; 3] = [96, 64, 32];
/// Columns of a warp, and threads of the two warps that share them: `tile_threads` of `index.cuh`.
const WARP_COLUMNS: u32 = 32;
const THREADS_PER_WARP_COLUMNS: u32 = 64;

/// Blocks that a weight gradient aims at: several for every multiprocessor of the largest cards. On tensor cores fewer,
/// since they take less time and their partial sums as much.
const SPLIT_BLOCKS: u32 = 1024;
const MMA_SPLIT_BLOCKS: u32 = 512;
/// Pixels of a split, at least: fewer are not worth a partial sum of all weights.
pub const LEAST_SPLIT_PIXELS: u32 = 512;
/// A split is a whole number of steps of this depth: twice TILE_DEPTH of `index.cuh`, and MMA_DEPTH of `mma_index.cuh`.
const SPLIT_DEPTH: u32 = mma::DEPTH;

/// How a product is cut: into elements, a thread each, or into the tiles of a form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// A thread an element.
    Elements,
    /// On CUDA cores.
    Tiled(mma::Tile),
    /// By mma; `whole`: by the faster kernels, which do not take every shape.
    Mma {
        /// The tile.
        tile: mma::Tile,
        /// See [`Extents::whole`].
        whole: bool,
    },
    /// By wgmma.
    Wgmma(wgmma::Tile),
}

impl Cut {
    /// That of a choice, whose width counts where there is such a kernel.
    pub fn new(op: &Op, extents: &Extents, choice: &Choice) -> Self {
        let across = extents.columns(op);
        let whole = extents.whole(op);
        // A width that was chosen for another shape counts for nothing.
        let chosen = choice.columns.filter(|columns| widths(op, extents, choice.kernels).contains(columns));
        match choice.kernels {
            Kernels::Auto | Kernels::Naive => Self::Elements,
            Kernels::Tiled => {
                let columns = chosen.unwrap_or_else(|| tile_columns(across));
                let threads = columns / WARP_COLUMNS * THREADS_PER_WARP_COLUMNS;
                Self::Tiled(mma::Tile { columns, threads, shared: 0 })
            }
            Kernels::Mma => {
                let mut tile = mma::tile(chosen.unwrap_or_else(|| mma::columns(across, whole)));
                if let Op::Conv2dWeightGrad(_) = op {
                    tile.shared += mma::PLACES;
                }
                Self::Mma { tile, whole }
            }
            form => {
                let columns = chosen.unwrap_or_else(|| wgmma::columns(form, is_weight_grad(op), across));
                Self::Wgmma(wgmma::Tile::new(form, op, extents, columns))
            }
        }
    }

    /// Columns of a tile.
    pub fn columns(self) -> Option<u32> {
        match self {
            Self::Elements => None,
            Self::Tiled(tile) | Self::Mma { tile, .. } => Some(tile.columns),
            Self::Wgmma(tile) => Some(tile.columns),
        }
    }
    /// What the kernel's name says of it.
    pub fn suffix(self) -> String {
        match self {
            Self::Elements => String::new(),
            Self::Tiled(tile) | Self::Mma { tile, whole: true } => format!("_{}", tile.columns),
            Self::Mma { tile, whole: false } => format!("_any_{}", tile.columns),
            Self::Wgmma(tile) => tile.suffix(),
        }
    }
    /// Rows of one of the partial results that tiles leave; `None`, where there are no tiles.
    pub fn part_rows(self) -> Option<u32> {
        match self {
            Self::Elements => None,
            Self::Tiled(_) | Self::Mma { .. } => Some(TILE_ROWS),
            Self::Wgmma(tile) => Some(tile.part_rows()),
        }
    }
    /// Partial results of so many rows.
    pub fn parts(self, rows: u32) -> u32 {
        match self {
            Self::Wgmma(tile) => tile.parts(rows),
            _ => rows.div_ceil(TILE_ROWS),
        }
    }
    /// How a weight gradient cuts the pixels, into about `wanted` parts, if anybody wants so many.
    pub fn splits(self, extents: &Extents, wanted: Option<u32>) -> Splits {
        let (elements, filters, pixels) = (extents.filter_elements(), extents.w[0], extents.output_pixels());
        let most = pixels.div_ceil(LEAST_SPLIT_PIXELS);
        let blocks = |tile: mma::Tile, blocks: u32| {
            blocks.div_ceil(elements.div_ceil(TILE_ROWS) * filters.div_ceil(tile.columns)).min(most)
        };
        let (suggested, depth) = match self {
            Self::Elements => (1, SPLIT_DEPTH),
            Self::Tiled(tile) => (blocks(tile, SPLIT_BLOCKS), SPLIT_DEPTH),
            Self::Mma { tile, .. } => (blocks(tile, MMA_SPLIT_BLOCKS), SPLIT_DEPTH),
            Self::Wgmma(tile) => (tile.splits(extents, most), tile.stage_pixels()),
        };
        Splits::of(wanted.unwrap_or(suggested), pixels, depth)
    }
}

fn is_weight_grad(op: &Op) -> bool {
    matches!(op, Op::Conv2dWeightGrad(_))
}

/// Every width of tile that this form has kernels for, and can make this product with.
fn widths(op: &Op, extents: &Extents, form: Kernels) -> Vec<u32> {
    match form {
        Kernels::Auto | Kernels::Naive => vec![],
        Kernels::Tiled => TILE_COLUMNS.to_vec(),
        Kernels::Mma if extents.whole(op) => mma::COLUMNS.to_vec(),
        Kernels::Mma => mma::ANY_COLUMNS.to_vec(),
        form => wgmma::widths(form, is_weight_grad(op), extents.columns(op)),
    }
}

/// The widths of tile worth trying for a product of an input and a filter of these shapes in one of its forms: those of
/// its kernels, but for all that are wider than one that holds every column. What [`Choice::columns`] may be.
pub fn candidates(op: &Op, x: &Shape, w: &Shape, form: Kernels) -> Vec<u32> {
    let extents = Extents::new(op, x, w);
    let mut widths = widths(op, &extents, form);
    let enough = widths.iter().copied().filter(|&width| width >= extents.columns(op)).min();
    widths.retain(|&width| enough.is_none_or(|enough| width <= enough));
    widths
}

/// The numbers of splits worth trying for a weight gradient with tiles of this width: about as many as the shape
/// suggests, half, and twice as many, as far as there is scratch. What [`Choice::splits`] may be; none for another
/// operation, or without tiles.
pub fn split_candidates(op: &Op, x: &Shape, w: &Shape, dtype: DType, choice: &Choice) -> Vec<u32> {
    let Op::Conv2dWeightGrad(_) = op else { return vec![] };
    let extents = Extents::new(op, x, w);
    let cut = Cut::new(op, &extents, choice);
    if cut == Cut::Elements {
        return vec![];
    }
    let suggested = cut.splits(&extents, None).count;
    let most = most_splits(op, &extents, &cuts(op, x, w, dtype));
    let mut counts: Vec<u32> = [suggested / 2, suggested, 2 * suggested]
        .map(|wanted| cut.splits(&extents, Some(wanted.clamp(1, most))).count)
        .into();
    counts.dedup();
    counts
}

/// The width of tiles that pads `columns` the least; of equal ones the widest.
fn tile_columns(columns: u32) -> u32 {
    *TILE_COLUMNS.iter().min_by_key(|&&tile| columns.next_multiple_of(tile)).expect("there are three")
}

/// The width with which a product's tiles read the fewest numbers; of equal ones the first. A wide tile reads the rows
/// less often, a narrow one leaves fewer columns empty.
pub fn fewest_read(widths: &[u32], columns: u32) -> u32 {
    let read = |width: &&u32| columns.div_ceil(**width) * (TILE_ROWS + **width);
    *widths.iter().min_by_key(read).expect("there are some")
}

/// How a weight gradient cuts the pixels: a function of the shapes alone, so that sums are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Splits {
    /// Pixels of every split but the last.
    pub pixels: u32,
    /// Splits.
    pub count: u32,
}

impl Splits {
    /// At most so many, each a whole number of steps.
    fn of(wanted: u32, pixels: u32, depth: u32) -> Self {
        let split = pixels.div_ceil(wanted.max(1)).next_multiple_of(depth);
        Self { pixels: split, count: pixels.div_ceil(split) }
    }
}

/// Every way to cut the product of an input and a filter of these shapes into tiles, on any card.
pub fn cuts(op: &Op, x: &Shape, w: &Shape, dtype: DType) -> Vec<Cut> {
    let extents = &Extents::new(op, x, w);
    let of_form = |form| {
        let choice = move |columns| Choice { kernels: form, columns: Some(columns), splits: None };
        candidates(op, x, w, form).into_iter().map(move |columns| Cut::new(op, extents, &choice(columns)))
    };
    let forms = kernels::all_forms(op, dtype, Generation::Hopper);
    forms.into_iter().filter(|&form| suits(form, op, x, w)).flat_map(of_form).collect()
}

/// Splits of a weight gradient at most.
pub fn most_splits(op: &Op, extents: &Extents, cuts: &[Cut]) -> u32 {
    let Op::Conv2dWeightGrad(_) = op else { return 1 };
    cuts.iter().map(|cut| cut.splits(extents, None).count).max().unwrap_or(1)
}

/// Splits of a weight gradient of these shapes at most, in any form.
pub fn most_splits_of(op: &Op, x: &Shape, w: &Shape, dtype: DType) -> u32 {
    most_splits(op, &Extents::new(op, x, w), &cuts(op, x, w, dtype))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Conv2d, Conv2dWeightGrad};

    #[test]
    fn tiles_pad_as_little_as_they_can() {
        let widths = [1, 10, 32, 33, 64, 96, 128, 192, 256, 384];
        assert_eq!(widths.map(tile_columns), [32, 32, 32, 64, 64, 96, 64, 96, 64, 96]);
    }

    #[test]
    fn splits_cover_every_pixel_once() {
        for (wanted, pixels) in [(1, 1), (1, 512_000), (7, 512_000), (54, 32_000), (2000, 32_000), (0, 5)] {
            for depth in [SPLIT_DEPTH, 64, 128] {
                let Splits { pixels: split, count } = Splits::of(wanted, pixels, depth);
                assert!(split.is_multiple_of(depth) && (1..=wanted.max(1)).contains(&count));
                assert!((count - 1) * split < pixels && pixels <= count * split);
            }
        }
    }

    #[test]
    fn what_is_worth_trying_is_what_can_run() {
        let (x, w) = (Shape::from([500, 32, 32, 96]), Shape::from([96, 3, 3, 96]));
        let conv = Conv2d::same(3, 1);
        let op = Op::from(conv);
        let of = |form| candidates(&op, &x, &w, form);
        assert!(of(Kernels::Naive).is_empty());
        assert_eq!(of(Kernels::Tiled), [96, 64, 32]);
        assert_eq!(of(Kernels::Mma), [96, 64, 32]);
        assert_eq!(of(Kernels::WgmmaHalo), [96, 64]);
        assert_eq!(of(Kernels::WgmmaResident), [96], "all filters stay");
        let narrow = Shape::from([10, 3, 3, 96]);
        assert_eq!(candidates(&op, &x, &narrow, Kernels::Wgmma), [64]);
        assert!(split_candidates(&op, &x, &w, DType::Bf16, &choice(Kernels::Wgmma)).is_empty());

        let op = Op::from(Conv2dWeightGrad { conv, filter: w.clone() });
        for form in [Kernels::Tiled, Kernels::Mma, Kernels::Wgmma, Kernels::WgmmaCluster] {
            for columns in candidates(&op, &x, &w, form) {
                let choice = Choice { columns: Some(columns), ..choice(form) };
                let counts = split_candidates(&op, &x, &w, DType::Bf16, &choice);
                let extents = Extents::new(&op, &x, &w);
                let suggested = Cut::new(&op, &extents, &choice).splits(&extents, None).count;
                assert!(counts.is_sorted() && counts.contains(&suggested), "{form}: {counts:?}, {suggested}");
            }
        }
        assert!(split_candidates(&op, &x, &w, DType::Bf16, &choice(Kernels::Naive)).is_empty());
    }

    fn choice(kernels: Kernels) -> Choice {
        Choice { kernels, columns: None, splits: None }
    }

    #[test]
    fn a_choice_is_kept_where_there_is_such_a_kernel() {
        let op = Op::from(Conv2d::same(3, 1));
        let extents = Extents::new(&op, &[2, 8, 8, 96].into(), &[96, 3, 3, 96].into());
        let suffix =
            |kernels, columns| Cut::new(&op, &extents, &Choice { columns, ..choice(kernels) }).suffix();
        assert_eq!(suffix(Kernels::Mma, Some(64)), "_64");
        assert_eq!(suffix(Kernels::Mma, Some(48)), "_96");
        assert_eq!(suffix(Kernels::WgmmaWs, Some(64)), "_64_span32");
        assert_eq!(suffix(Kernels::WgmmaWs, Some(32)), "_96_span32");
        assert_eq!(suffix(Kernels::Naive, Some(32)), "");
    }
}
