//! Convolution and its data gradient over one image: both are an indirect product over taps.
//!
//! For an output pixel the taps are the filter positions that fall on a source pixel. Forward, source = input:
//! `h = p * stride + r - pad`. Data gradient, source = dz: `p = (h + pad - r) / stride` where that divides, so each of
//! the stride x stride parities of output pixels has taps of its own and no work is wasted.

use pulp::Simd;
use rayon::prelude::*;

use super::element::{Element, Real};
use super::memory::Buffer;
use super::tile::{self, Panels};
use crate::ops::Conv2d;

/// The extents of a convolution.
#[derive(Debug, Clone, Copy)]
pub struct Extents {
    /// Height, width and channels of the convolution's input.
    pub input: [usize; 3],
    /// Height, width and channels of its output.
    pub output: [usize; 3],
    /// Filter extents R and S.
    pub filter: [usize; 2],
    /// The convolution.
    pub conv: Conv2d,
}

/// The two products that are convolutions over a source image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// z from x.
    Forward,
    /// dx from dz.
    DataGrad,
}

impl Extents {
    /// (source, target) extents of a direction.
    fn ends(&self, direction: Direction) -> ([usize; 3], [usize; 3]) {
        match direction {
            Direction::Forward => (self.input, self.output),
            Direction::DataGrad => (self.output, self.input),
        }
    }

    /// The source coordinate that `target` reads through filter position `tap`, along one dimension.
    fn source(&self, direction: Direction, target: usize, tap: usize, extent: usize) -> Option<usize> {
        let Conv2d { stride, pad, .. } = self.conv;
        let source = match direction {
            Direction::Forward => (target * stride + tap).checked_sub(pad)?,
            Direction::DataGrad => {
                let shifted = (target + pad).checked_sub(tap)?;
                if !shifted.is_multiple_of(stride) {
                    return None;
                }
                shifted / stride
            }
        };
        (source < extent).then_some(source)
    }

    /// Elements of the packed filter.
    pub fn packed_elements<T: Real>(&self, direction: Direction) -> usize {
        let (source, target) = self.ends(direction);
        Panels::new(target[2], tile::lanes::<T>()).elements(self.filter[0] * self.filter[1] * source[2])
    }
}

/// Packs a filter w [K R S C] into panels over the target's channels.
pub fn pack<T: Element>(e: &Extents, direction: Direction, w: &[T], packed: &mut [T::Acc]) {
    let (source, target) = e.ends(direction);
    let (taps, depth, channels) = (e.filter[0] * e.filter[1], source[2], target[2]);
    let panels = Panels::new(channels, tile::lanes::<T::Acc>());
    let c = e.input[2];
    packed.par_chunks_mut(taps * depth * panels.width).enumerate().for_each(|(p, panel)| {
        let first = p * panels.width;
        let valid = panels.width.min(channels - first);
        for (row, lanes) in panel.chunks_exact_mut(panels.width).enumerate() {
            let (tap, d) = (row / depth, row % depth);
            lanes[valid..].fill(T::Acc::default());
            match direction {
                // Target channels are filters: a strided column of w.
                Direction::Forward => {
                    let column = w[(first * taps + tap) * c + d..].iter().step_by(taps * c);
                    lanes[..valid].iter_mut().zip(column).for_each(|(lane, w)| *lane = w.load());
                }
                // Target channels are the innermost of w.
                Direction::DataGrad => {
                    let row = &w[(d * taps + tap) * c + first..][..valid];
                    lanes[..valid].iter_mut().zip(row).for_each(|(lane, w)| *lane = w.load());
                }
            }
        }
    });
}

/// Target pixels that share their taps, in tiles: all pixels forward, one parity in the data gradient.
struct Pixels {
    /// Indices h * W + w of the target.
    targets: Vec<u32>,
    /// For every tap that some pixel reads: its index r * S + s, and each pixel's source pixel or [`OUTSIDE`].
    taps: Vec<(usize, Vec<u32>)>,
}

/// A source pixel in the zero padding.
const OUTSIDE: u32 = u32::MAX;

/// The geometry of one direction, the same for every image.
pub struct Indirection {
    extents: Extents,
    direction: Direction,
    classes: Vec<Pixels>,
}

impl Indirection {
    /// Finds every target pixel's source pixels.
    pub fn new(extents: Extents, direction: Direction) -> Self {
        let (source, target) = extents.ends(direction);
        let step = if direction == Direction::Forward { 1 } else { extents.conv.stride };
        let mut classes = Vec::new();
        for (ph, pw) in (0..step).flat_map(|ph| (0..step).map(move |pw| (ph, pw))) {
            let pixels: Vec<(usize, usize)> = (ph..target[0])
                .step_by(step)
                .flat_map(|h| (pw..target[1]).step_by(step).map(move |w| (h, w)))
                .collect();
            let mut taps = Vec::new();
            for (r, s) in (0..extents.filter[0]).flat_map(|r| (0..extents.filter[1]).map(move |s| (r, s))) {
                let from = |&(h, w): &(usize, usize)| {
                    let y = extents.source(direction, h, r, source[0])?;
                    let x = extents.source(direction, w, s, source[1])?;
                    Some((y * source[1] + x) as u32)
                };
                let sources: Vec<u32> = pixels.iter().map(|p| from(p).unwrap_or(OUTSIDE)).collect();
                if sources.iter().any(|&s| s != OUTSIDE) {
                    taps.push((r * extents.filter[1] + s, sources));
                }
            }
            let targets = pixels.iter().map(|(h, w)| (h * target[1] + w) as u32).collect();
            classes.push(Pixels { targets, taps });
        }
        Self { extents, direction, classes }
    }
}

/// Computes one target image from one source image.
///
/// `source` [H W C] and `packed` are in the arithmetic; `finish(pixel, first channel, sums)` takes each row of finished
/// sums, whose epilogue and rounding are the caller's.
pub struct Convolve<'a, T: Real, F> {
    /// The geometry.
    pub indirection: &'a Indirection,
    /// The source image.
    pub source: &'a [T],
    /// The filter, packed by [`pack`].
    pub packed: &'a [T],
    /// What is done with finished sums.
    pub finish: F,
}

impl<T: Real, F: FnMut(usize, usize, &[T])> pulp::WithSimd for Convolve<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let channels = self.indirection.extents.ends(self.indirection.direction).1[2];
        match (Panels::new(channels, T::lanes::<S>()).vectors, tile::rows::<S>()) {
            (1, 4) => self.run::<S, 4, 1>(simd),
            (2, 4) => self.run::<S, 4, 2>(simd),
            (_, 4) => self.run::<S, 4, 3>(simd),
            (1, _) => self.run::<S, 8, 1>(simd),
            (2, _) => self.run::<S, 8, 2>(simd),
            (_, _) => self.run::<S, 8, 3>(simd),
        }
    }
}

impl<T: Real, F: FnMut(usize, usize, &[T])> Convolve<'_, T, F> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(mut self, simd: S) {
        let Indirection { extents, direction, classes } = self.indirection;
        let (source, target) = extents.ends(*direction);
        let (depth, channels) = (source[2], target[2]);
        let width = V * T::lanes::<S>();
        let panel_rows = extents.filter[0] * extents.filter[1] * depth;
        let zeros = zeros::<T>(depth);
        for (p, panel) in self.packed.chunks_exact(panel_rows * width).enumerate() {
            let first = p * width;
            let valid = width.min(channels - first);
            for class in classes {
                for (t, targets) in class.targets.chunks(R).enumerate() {
                    let mut acc = [[T::splat(simd, T::default()); V]; R];
                    for (tap, sources) in &class.taps {
                        let rows: [&[T]; R] = std::array::from_fn(|i| {
                            match sources.get(t * R + i) {
                                Some(&s) if s != OUTSIDE => &self.source[s as usize * depth..][..depth],
                                // Past the last pixel, or in the padding.
                                _ => &zeros[..depth],
                            }
                        });
                        let panel = &panel[tap * depth * width..][..depth * width];
                        tile::accumulate::<S, T, R, V>(simd, &mut acc, rows, tile::vectors::<S, T>(panel));
                    }
                    for (i, &target) in targets.iter().enumerate() {
                        let sums: &[T] = bytemuck::cast_slice(&acc[i]);
                        (self.finish)(target as usize, first, &sums[..valid]);
                    }
                }
            }
        }
    }
}

/// A row of the zero padding.
fn zeros<T: Real>(depth: usize) -> std::borrow::Cow<'static, [T]> {
    const LONGEST: usize = 4096;
    static ZEROS: [f64; LONGEST] = [0.0; LONGEST];
    match bytemuck::cast_slice(&ZEROS).get(..depth) {
        Some(zeros) => zeros.into(),
        None => vec![T::default(); depth].into(),
    }
}

/// `image` in the arithmetic: in place where it is stored so, else widened into a buffer of the thread.
pub fn widened<'a, T: Element>(image: &'a [T], buffer: &'a mut Buffer) -> &'a [T::Acc] {
    if let Ok(same) = bytemuck::try_cast_slice::<T, T::Acc>(image)
        && same.len() == image.len()
    {
        return same;
    }
    let wide = buffer.first::<T::Acc>(image.len());
    wide.iter_mut().zip(image).for_each(|(wide, x)| *wide = x.load());
    wide
}
