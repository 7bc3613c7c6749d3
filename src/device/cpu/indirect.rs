//! Convolution and its data gradient over one image: both are an indirect product over taps.
//!
//! For a target pixel the taps are the filter positions that fall on a source pixel. Forward, source = input:
//! `y = h * stride + r - pad`. Data gradient, source = dz: `p = (h + pad - r) / stride` where that divides, so each of
//! the stride x stride parities of target pixels has taps of its own and no work is wasted.
//!
//! The source is copied once into a buffer with its zero border, so every tap of every pixel reads real memory; taps
//! that are neighbours in a source row then read one run of `taps * depth` numbers.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::element::{Element, Real};
use super::memory::Buffer;
use super::tile::{self, Panels};
use crate::ops::Conv2d;

thread_local! {
    /// A source image in the arithmetic with its border.
    static BORDERED: RefCell<Buffer> = RefCell::default();
}

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
}

/// The taps along one dimension of the target pixels `first + i * step`: pixel i reads source `i * scale + offset`
/// through filter position `tap`, the offsets being consecutive and ascending.
struct Line {
    first: usize,
    count: usize,
    scale: usize,
    taps: Vec<(usize, isize)>,
}

/// The lines of one dimension: one forward, one a parity in the data gradient.
fn lines(direction: Direction, conv: &Conv2d, filter: usize, targets: usize) -> Vec<Line> {
    let (stride, pad) = (conv.stride as isize, conv.pad as isize);
    match direction {
        Direction::Forward => {
            let taps = (0..filter).map(|r| (r, r as isize - pad)).collect();
            vec![Line { first: 0, count: targets, scale: conv.stride, taps }]
        }
        Direction::DataGrad => (0..conv.stride.min(targets))
            .map(|first| {
                let reach = first as isize + pad;
                let taps = (0..filter).rev().filter(|&r| (reach - r as isize) % stride == 0);
                let taps = taps.map(|r| (r, (reach - r as isize) / stride)).collect();
                Line { first, count: (targets - first).div_ceil(conv.stride), scale: 1, taps }
            })
            .collect(),
    }
}

/// Target pixels that share their taps.
struct Class {
    /// Per pixel: its index in the target image, and the offset of its source in the bordered image.
    pixels: Vec<(u32, u32)>,
    runs: Vec<Run>,
}

/// Neighbouring taps of one filter row.
struct Run {
    /// First row of the panel.
    panel_row: usize,
    /// Offset from the pixel's source, in elements.
    offset: usize,
    /// Taps times depth.
    depth: usize,
}

/// The geometry of one direction, the same for every image.
pub struct Indirection {
    extents: Extents,
    direction: Direction,
    source: [usize; 3],
    channels: usize,
    /// Zero rows before the image, zero columns before it, and the extents of the bordered image.
    before: [usize; 2],
    bordered: [usize; 2],
    classes: Vec<Class>,
    /// Filter positions r * S + s in the order of the panels' rows.
    taps: Vec<usize>,
}

impl Indirection {
    /// Finds every target pixel's source.
    pub fn new(e: &Extents, direction: Direction) -> Self {
        let (source, target) = e.ends(direction);
        let rows = lines(direction, &e.conv, e.filter[0], target[0]);
        let columns = lines(direction, &e.conv, e.filter[1], target[1]);
        let (top, height) = border(&rows, source[0]);
        let (left, width) = border(&columns, source[1]);
        let depth = source[2];
        let mut taps = Vec::new();
        let mut classes = Vec::new();
        for (row, column) in rows.iter().flat_map(|r| columns.iter().map(move |c| (r, c))) {
            let step = if direction == Direction::Forward { 1 } else { e.conv.stride };
            let pixel = |i: usize, j: usize| {
                let target = (row.first + i * step) * target[1] + column.first + j * step;
                (target as u32, ((i * row.scale * width + j * column.scale) * depth) as u32)
            };
            let pixels = (0..row.count).flat_map(|i| (0..column.count).map(move |j| pixel(i, j))).collect();
            let mut runs = Vec::new();
            if let Some((_, x)) = column.taps.first() {
                for (r, y) in &row.taps {
                    let at = (y + top as isize) as usize * width + (x + left as isize) as usize;
                    let depth_of_run = column.taps.len() * depth;
                    runs.push(Run { panel_row: taps.len() * depth, offset: at * depth, depth: depth_of_run });
                    taps.extend(column.taps.iter().map(|(s, _)| r * e.filter[1] + s));
                }
            }
            classes.push(Class { pixels, runs });
        }
        Self {
            extents: *e,
            direction,
            source,
            channels: target[2],
            before: [top, left],
            bordered: [height, width],
            classes,
            taps,
        }
    }

    /// `image` [H W C] in the arithmetic and with its zero border: in place where it is stored so.
    fn border<'a, T: Element>(&self, image: &'a [T], buffer: &'a mut Buffer) -> &'a [T::Acc] {
        let [h, w, c] = self.source;
        if self.bordered == [h, w] {
            return widened(image, buffer);
        }
        let [top, left] = self.before;
        let wide = buffer.first::<T::Acc>(self.bordered[0] * self.bordered[1] * c);
        let (row, inner) = (self.bordered[1] * c, left * c..(left + w) * c);
        for (y, wide) in wide.chunks_exact_mut(row).enumerate() {
            match y.checked_sub(top).filter(|y| *y < h) {
                None => wide.fill(T::Acc::default()),
                Some(y) => {
                    wide[..inner.start].fill(T::Acc::default());
                    wide[inner.end..].fill(T::Acc::default());
                    let image = &image[y * w * c..][..w * c];
                    wide[inner.clone()].iter_mut().zip(image).for_each(|(wide, x)| *wide = x.load());
                }
            }
        }
        wide
    }

    /// Elements of the packed filter.
    pub fn packed_elements<T: Real>(&self) -> usize {
        let rows = self.extents.filter[0] * self.extents.filter[1] * self.source[2];
        Panels::new(self.channels, tile::lanes::<T>()).elements(rows)
    }

    /// Packs a filter w [K R S C] into panels over the target's channels, taps in the order of the indirection.
    pub fn pack<T: Element>(&self, w: &[T], packed: &mut [T::Acc]) {
        let e = &self.extents;
        let (taps, depth, c) = (e.filter[0] * e.filter[1], self.source[2], e.input[2]);
        let panels = Panels::new(self.channels, tile::lanes::<T::Acc>());
        packed.par_chunks_mut(taps * depth * panels.width).enumerate().for_each(|(p, panel)| {
            let first = p * panels.width;
            let valid = panels.width.min(self.channels - first);
            // Taps that no target pixel reads have no place in the order; their rows stay unused.
            for (tap, rows) in self.taps.iter().zip(panel.chunks_exact_mut(depth * panels.width)) {
                for (d, lanes) in rows.chunks_exact_mut(panels.width).enumerate() {
                    lanes[valid..].fill(T::Acc::default());
                    match self.direction {
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
            }
        });
    }

    /// Computes one target image from one source image [H W C].
    ///
    /// `finish(pixel, first channel, sums)` takes each row of finished sums, whose epilogue and rounding are the
    /// caller's.
    pub fn convolve<T: Element>(
        &self,
        image: &[T],
        packed: &[T::Acc],
        finish: impl FnMut(usize, usize, &[T::Acc]),
    ) {
        BORDERED.with_borrow_mut(|buffer| {
            let source = self.border(image, buffer);
            Arch::new().dispatch(Convolve { indirection: self, source, packed, finish });
        });
    }
}

/// Zeros needed before the source along one dimension, and its extent with those before and after.
fn border(lines: &[Line], extent: usize) -> (usize, usize) {
    let ends = lines.iter().filter(|l| l.count > 0).flat_map(|l| {
        let last = ((l.count - 1) * l.scale) as isize;
        l.taps.iter().map(move |(_, offset)| (*offset, last + offset))
    });
    let (first, last) = ends.fold((0, extent as isize - 1), |(a, b), (c, d)| (a.min(c), b.max(d)));
    (first.unsigned_abs(), (last - first + 1) as usize)
}

/// One image: its source with the border, the packed filter, and what is done with finished sums.
struct Convolve<'a, T: Real, F> {
    indirection: &'a Indirection,
    source: &'a [T],
    packed: &'a [T],
    finish: F,
}

impl<T: Real, F: FnMut(usize, usize, &[T])> WithSimd for Convolve<'_, T, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        tile::run_in_tiles!(self, simd: S, T, self.indirection.channels)
    }
}

impl<T: Real, F: FnMut(usize, usize, &[T])> Convolve<'_, T, F> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(mut self, simd: S) {
        let Indirection { channels, classes, .. } = self.indirection;
        let width = V * T::lanes::<S>();
        let panels = channels.div_ceil(width);
        for (p, panel) in self.packed.chunks_exact(self.packed.len() / panels).enumerate() {
            let first = p * width;
            let valid = width.min(channels - first);
            for class in classes {
                for pixels in class.pixels.chunks(R) {
                    let mut acc = [[T::splat(simd, T::default()); V]; R];
                    // A last tile that is not full computes its last pixel more than once.
                    let sources: [usize; R] =
                        std::array::from_fn(|i| pixels[i.min(pixels.len() - 1)].1 as usize);
                    for run in &class.runs {
                        let rows = sources.map(|s| &self.source[s + run.offset..][..run.depth]);
                        let panel = &panel[run.panel_row * width..][..run.depth * width];
                        tile::accumulate::<S, T, R, V>(simd, &mut acc, rows, tile::vectors::<S, T>(panel));
                    }
                    for (acc, &(target, _)) in acc.iter().zip(pixels) {
                        let sums: &[T] = bytemuck::cast_slice(acc);
                        (self.finish)(target as usize, first, &sums[..valid]);
                    }
                }
            }
        }
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
