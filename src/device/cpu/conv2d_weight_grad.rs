//! `conv2d_weight_grad`: filters in parallel, each task in the order of the images, so every sum has one fixed order.
//!
//! Per image and filter position a register tile holds rows of filters x a panel of input channels, and sums over the
//! output pixels whose source lies inside the image: each pixel adds the outer product of dz's channels with x's.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::element::{Element, Real};
use super::indirect::{Extents, widened};
use super::memory::Buffer;
use super::tile::{self, MAX_ROWS, Panels};

thread_local! {
    /// An image of x with its channels padded to whole panels, one of dz to whole tiles, and the sums of a task.
    static BUFFERS: RefCell<[Buffer; 3]> = RefCell::default();
}

/// dw [K R S C] from x [N H W C] and dz [N P Q K].
pub fn weight_grad<T: Element>(e: &Extents, x: &[T], dz: &[T], dw: &mut [T::Acc]) {
    let (taps, c, k) = (e.filter[0] * e.filter[1], e.input[2], e.output[2]);
    let panels = Panels::new(c, tile::lanes::<T::Acc>());
    let (padded_c, padded_k) = (panels.count * panels.width, k.next_multiple_of(MAX_ROWS));
    // Any cut gives the same bits: no sum is shared between tasks. Two tasks a thread even out their speeds.
    let filters = k.div_ceil(2 * rayon::current_num_threads()).next_multiple_of(MAX_ROWS);
    dw.par_chunks_mut(filters * taps * c).enumerate().for_each(|(task, dw)| {
        BUFFERS.with_borrow_mut(|[x_buffer, dz_buffer, sums]| {
            let count = (dw.len() / (taps * c)).next_multiple_of(MAX_ROWS);
            let sums = sums.first::<T::Acc>(count * taps * padded_c);
            sums.fill(T::Acc::default());
            let images = x.chunks(e.input.iter().product()).zip(dz.chunks(e.output.iter().product()));
            for (x, dz) in images {
                let x = padded_channels(x, c, padded_c, x_buffer);
                let dz = padded_channels(dz, k, padded_k, dz_buffer);
                Arch::new().dispatch(OuterProducts { e, x, dz, first: task * filters, count, sums });
            }
            for (row, sums) in dw.chunks_exact_mut(c).zip(sums.chunks_exact(padded_c)) {
                row.copy_from_slice(&sums[..c]);
            }
        });
    });
}

/// An image in the arithmetic, with zero channels up to `padded`: in place where it is stored so.
fn padded_channels<'a, T: Element>(
    x: &'a [T],
    c: usize,
    padded: usize,
    buffer: &'a mut Buffer,
) -> &'a [T::Acc] {
    if padded == c {
        return widened(x, buffer);
    }
    let wide = buffer.first::<T::Acc>(x.len() / c * padded);
    for (wide, x) in wide.chunks_exact_mut(padded).zip(x.chunks_exact(c)) {
        wide[..c].iter_mut().zip(x).for_each(|(wide, x)| *wide = x.load());
        wide[c..].fill(T::Acc::default());
    }
    wide
}

/// Adds one image's share to the filters `first .. first + count`.
struct OuterProducts<'a, T: Real> {
    e: &'a Extents,
    x: &'a [T],
    dz: &'a [T],
    first: usize,
    count: usize,
    sums: &'a mut [T],
}

impl<T: Real> WithSimd for OuterProducts<'_, T> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        tile::run_in_tiles!(self, simd: S, T, self.e.input[2])
    }
}

impl<T: Real> OuterProducts<'_, T> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(self, simd: S) {
        let [p_end, q_end, k] = self.e.output;
        let [_, w, c] = self.e.input;
        let (stride, pad) = (self.e.conv.stride, self.e.conv.pad);
        let width = V * T::lanes::<S>();
        let padded = c.next_multiple_of(width);
        let padded_k = k.next_multiple_of(MAX_ROWS);
        let taps = self.e.filter[0] * self.e.filter[1];
        let vectors_of_pixel = padded / width * V;
        let x = tile::vectors::<S, T>(self.x);
        for tap in 0..taps {
            let (r, s) = (tap / self.e.filter[1], tap % self.e.filter[1]);
            let rows = inside(p_end, self.e.input[0], r, stride, pad);
            let columns = inside(q_end, w, s, stride, pad);
            if columns.is_empty() {
                continue; // this tap sees nothing but padding
            }
            for panel in 0..padded / width {
                for tile in (0..self.count).step_by(R) {
                    let mut acc = [[T::splat(simd, T::default()); V]; R];
                    for p in rows.clone() {
                        let first_pixel = (p * stride + r - pad) * w + columns.start * stride + s - pad;
                        let x = &x[first_pixel * vectors_of_pixel + panel * V..];
                        let dz = &self.dz[(p * q_end + columns.start) * padded_k + self.first + tile..];
                        let steps = (stride * vectors_of_pixel, padded_k);
                        outer::<S, T, R, V>(simd, &mut acc, columns.len(), x, dz, steps);
                    }
                    for (i, acc) in acc.iter().enumerate() {
                        let at = ((tile + i) * taps + tap) * padded + panel * width;
                        let acc: &[T] = bytemuck::cast_slice(acc);
                        self.sums[at..at + width].iter_mut().zip(acc).for_each(|(sum, a)| *sum += *a);
                    }
                }
            }
        }
    }
}

/// Adds `dz[pixel][i] * x[pixel][j]` over a run of pixels, which lie `steps` apart in x and dz.
#[inline(always)]
fn outer<S: Simd, T: Real, const R: usize, const V: usize>(
    simd: S,
    acc: &mut [[T::Vector<S>; V]; R],
    pixels: usize,
    x: &[T::Vector<S>],
    dz: &[T],
    steps: (usize, usize),
) {
    let mut sums = *acc;
    for pixel in 0..pixels {
        let x: &[T::Vector<S>; V] = x[pixel * steps.0..][..V].try_into().expect("V vectors");
        let dz: &[T; R] = dz[pixel * steps.1..][..R].try_into().expect("R numbers");
        for i in 0..R {
            let d = T::splat(simd, dz[i]);
            for j in 0..V {
                sums[i][j] = T::mul_add(simd, d, x[j], sums[i][j]);
            }
        }
    }
    *acc = sums;
}

/// The outputs along one dimension whose source through filter position `tap` lies inside `extent`.
fn inside(outputs: usize, extent: usize, tap: usize, stride: usize, pad: usize) -> std::ops::Range<usize> {
    let start = pad.saturating_sub(tap).div_ceil(stride);
    let end = (extent + pad).saturating_sub(tap).div_ceil(stride).min(outputs);
    start..end.max(start)
}
