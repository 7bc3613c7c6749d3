//! The inner loop of every convolution and matrix product: a register tile of outputs, one multiply-add a lane.
//!
//! An *indirect* product (Dukhan, "The indirect convolution algorithm", 2019): the rows of the left operand are found
//! through offsets instead of being gathered into a matrix first, so a 3x3 convolution reads its input in place. The
//! right operand is packed once per step into panels, whose layout is
//!
//! ```text
//! panel[p][tap][c][lane]      output channel = p * width + lane, zero where past the last
//! ```
//!
//! and the tile is `ROWS x VECTORS` vector registers: 8 x 3 where there are 32 registers, 4 x 3 where there are 16.

use std::marker::PhantomData;

use pulp::{Arch, Simd, WithSimd};

use super::element::Real;

/// Widest panel, in vectors.
pub const MAX_VECTORS: usize = 3;

/// Most rows of a tile; every number of rows divides it.
pub const MAX_ROWS: usize = 8;

/// Widest panel, in channels: 16 lanes are the widest vector there is.
pub const MAX_WIDTH: usize = MAX_VECTORS * 16;

/// Lanes of this machine's widest vectors.
pub fn lanes<T: Real>() -> usize {
    struct Lanes<T>(PhantomData<T>);
    impl<T: Real> WithSimd for Lanes<T> {
        type Output = usize;
        #[inline(always)]
        fn with_simd<S: Simd>(self, _: S) -> usize {
            T::lanes::<S>()
        }
    }
    Arch::new().dispatch(Lanes(PhantomData::<T>))
}

/// Rows of a tile: all but the vectors of the panel and a broadcast must fit the register file.
pub const fn rows<S: Simd>() -> usize {
    if S::REGISTER_COUNT >= 32 { 8 } else { 4 }
}

/// How output channels are cut into panels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Panels {
    /// Vectors of a panel, 1 to [`MAX_VECTORS`].
    pub vectors: usize,
    /// Channels of a panel: vectors times lanes.
    pub width: usize,
    /// Panels.
    pub count: usize,
}

impl Panels {
    /// The cut that computes the fewest channels in vain; of equals the widest panel.
    pub fn new(channels: usize, lanes: usize) -> Self {
        let padded = |v: usize| channels.next_multiple_of(v * lanes);
        let vectors = (1..=MAX_VECTORS).rev().min_by_key(|&v| padded(v)).unwrap_or(1);
        Self { vectors, width: vectors * lanes, count: padded(vectors) / (vectors * lanes) }
    }

    /// Elements of all panels, for `taps * depth` rows each.
    pub fn elements(&self, rows: usize) -> usize {
        self.count * self.width * rows
    }
}

/// Calls `self.run::<S, R, V>(simd)` with the tile that fits the register file and cuts `channels` best.
macro_rules! run_in_tiles {
    ($self:ident, $simd:ident: $s:ident, $real:ty, $channels:expr) => {
        match (
            $crate::device::cpu::tile::Panels::new($channels, <$real>::lanes::<$s>()).vectors,
            tile::rows::<$s>(),
        ) {
            (1, 4) => $self.run::<$s, 4, 1>($simd),
            (2, 4) => $self.run::<$s, 4, 2>($simd),
            (_, 4) => $self.run::<$s, 4, 3>($simd),
            (1, _) => $self.run::<$s, 8, 1>($simd),
            (2, _) => $self.run::<$s, 8, 2>($simd),
            (_, _) => $self.run::<$s, 8, 3>($simd),
        }
    };
}
pub(super) use run_in_tiles;

/// The vectors of a packed slice.
#[inline(always)]
pub fn vectors<S: Simd, T: Real>(x: &[T]) -> &[T::Vector<S>] {
    bytemuck::cast_slice(x)
}

/// Adds `sum over c of rows[i][c] * panel[c][j]` to the accumulators.
///
/// `rows`: `R` slices of one length, the depth; `panel`: depth x V vectors.
#[inline(always)]
pub fn accumulate<S: Simd, T: Real, const R: usize, const V: usize>(
    simd: S,
    acc: &mut [[T::Vector<S>; V]; R],
    rows: [&[T]; R],
    panel: &[T::Vector<S>],
) {
    let depth = panel.len() / V;
    let rows = rows.map(|r| &r[..depth]);
    let mut sums = *acc;
    for c in 0..depth {
        let w: &[T::Vector<S>; V] = (&panel[c * V..c * V + V]).try_into().expect("V vectors");
        for i in 0..R {
            let x = T::splat(simd, rows[i][c]);
            for j in 0..V {
                sums[i][j] = T::mul_add(simd, x, w[j], sums[i][j]);
            }
        }
    }
    *acc = sums;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn panels_waste_least() {
        assert_eq!(Panels::new(96, 16), Panels { vectors: 3, width: 48, count: 2 });
        assert_eq!(Panels::new(16, 16), Panels { vectors: 1, width: 16, count: 1 });
        assert_eq!(Panels::new(64, 16), Panels { vectors: 2, width: 32, count: 2 });
        assert_eq!(Panels::new(10, 8), Panels { vectors: 2, width: 16, count: 1 });
    }
}
