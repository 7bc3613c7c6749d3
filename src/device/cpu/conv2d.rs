//! `conv2d` and `conv2d_data_grad`: images in parallel, each with its epilogue while its sums are in registers.

use std::cell::RefCell;

use pulp::Arch;
use rayon::prelude::*;

use super::batch_norm::{combine_statistics, partial_statistics};
use super::element::{Element, Real};
use super::indirect::{Convolve, Direction, Extents, Indirection, pack};
use super::mask;
use super::memory::Buffer;
use super::tile::MAX_WIDTH;
use crate::ops::{Addend, Epilogue};

thread_local! {
    /// A source image in the arithmetic with its border.
    static BORDERED: RefCell<Buffer> = RefCell::default();
}

/// Scratch elements of either direction: the packed filter, then each image's partial statistics [2 K].
pub fn scratch_elements<T: Real>(e: &Extents, direction: Direction, batch: usize) -> usize {
    e.packed_elements::<T>(direction) + batch * 2 * e.output[2]
}

/// What a forward convolution reads and writes; what its epilogue does not use is empty.
pub struct Forward<'a, T: Element> {
    /// x [N H W C].
    pub x: &'a [T],
    /// w [K R S C].
    pub w: &'a [T],
    /// Scale and shift [2 K].
    pub scale_shift: &'a [T::Acc],
    /// The outer shortcut [N P Q K].
    pub outer: &'a [T],
    /// z [N P Q K].
    pub z: &'a mut [T],
    /// Mean and variance [2 K].
    pub stats: &'a mut [T::Acc],
    /// [`scratch_elements`].
    pub scratch: &'a mut [T::Acc],
}

/// z = conv(x, W + E), with its epilogue.
pub fn forward<T: Element>(e: &Extents, f: Forward<'_, T>) {
    let [h, w, c] = e.input;
    let [p, q, k] = e.output;
    let (stride, identity) = (e.conv.stride, e.conv.identity);
    let (packed, partials) = f.scratch.split_at_mut(e.packed_elements::<T::Acc>(Direction::Forward));
    let indirection = Indirection::new(e, Direction::Forward);
    pack(e, Direction::Forward, &indirection, f.w, packed);
    let with_statistics = e.conv.epilogue == Epilogue::Statistics;

    let images =
        f.z.par_chunks_mut(p * q * k).zip(f.x.par_chunks(h * w * c)).zip(partials.par_chunks_mut(2 * k));
    images.enumerate().for_each(|(n, ((z, x), partial))| {
        BORDERED.with_borrow_mut(|buffer| {
            let source = indirection.border(x, buffer);
            let finish = |pixel: usize, first: usize, sums: &[T::Acc]| {
                let at = pixel * k + first;
                let z = &mut z[at..at + sums.len()];
                let from = ((pixel / q) * stride * w + (pixel % q) * stride) * c + first;
                let copied = identity.saturating_sub(first).min(sums.len());
                let (with_e, without) = sums.split_at(copied);
                let e_row = if copied > 0 { &x[from..from + copied] } else { &[] };
                match e.conv.epilogue {
                    Epilogue::None | Epilogue::Statistics => {
                        for ((z, s), x) in z.iter_mut().zip(with_e).zip(e_row) {
                            *z = T::store(*s + x.load());
                        }
                        z[copied..].iter_mut().zip(without).for_each(|(z, s)| *z = T::store(*s));
                    }
                    Epilogue::ScaleShift { outer, relu } => {
                        let (scale, shift) = f.scale_shift.split_at(k);
                        let outer = if outer { &f.outer[n * p * q * k + at..][..sums.len()] } else { &[] };
                        for i in 0..sums.len() {
                            let e = if i < copied { e_row[i].load() } else { T::Acc::default() };
                            let mut y = scale[first + i] * (sums[i] + e) + shift[first + i];
                            if let Some(outer) = outer.get(i) {
                                y += outer.load();
                            }
                            if relu && y <= T::Acc::default() {
                                y = T::Acc::default();
                            }
                            z[i] = T::store(y);
                        }
                    }
                }
            };
            Arch::new().dispatch(Convolve { indirection: &indirection, source, packed, finish });
        });
        if with_statistics {
            partial_statistics(z, partial);
        }
    });
    if with_statistics {
        combine_statistics(partials, p * q, f.stats);
    }
}

/// What a data gradient reads and writes; what its addend does not use is empty.
pub struct DataGrad<'a, T: Element> {
    /// dz [N P Q K].
    pub dz: &'a [T],
    /// w [K R S C].
    pub w: &'a [T],
    /// What is added, [N H W C].
    pub addend: &'a [T],
    /// Which elements of it are added: one bit an element.
    pub mask: &'a [u8],
    /// dx [N H W C].
    pub dx: &'a mut [T],
    /// [`scratch_elements`].
    pub scratch: &'a mut [T::Acc],
}

/// dx = conv_transposed(dz, w) + E^T dz (+ addend).
pub fn data_grad<T: Element>(e: &Extents, addend: Addend, d: DataGrad<'_, T>) {
    let [h, w, c] = e.input;
    let [p, q, k] = e.output;
    let (stride, identity) = (e.conv.stride, e.conv.identity);
    let (packed, _) = d.scratch.split_at_mut(e.packed_elements::<T::Acc>(Direction::DataGrad));
    let indirection = Indirection::new(e, Direction::DataGrad);
    pack(e, Direction::DataGrad, &indirection, d.w, packed);

    d.dx.par_chunks_mut(h * w * c).zip(d.dz.par_chunks(p * q * k)).enumerate().for_each(|(n, (dx, dz))| {
        BORDERED.with_borrow_mut(|buffer| {
            let source = indirection.border(dz, buffer);
            let finish = |pixel: usize, first: usize, sums: &[T::Acc]| {
                let at = pixel * c + first;
                let dx = &mut dx[at..at + sums.len()];
                let (y, x) = (pixel / w, pixel % w);
                let on_grid = y.is_multiple_of(stride) && x.is_multiple_of(stride);
                let copied = if on_grid { identity.saturating_sub(first).min(sums.len()) } else { 0 };
                let from = (y / stride * q + x / stride) * k + first;
                let e_row = if copied > 0 { &dz[from..from + copied] } else { &[] };
                let whole = n * h * w * c + at;
                let mut row = [T::Acc::default(); MAX_WIDTH];
                let row = &mut row[..sums.len()];
                row.copy_from_slice(sums);
                row.iter_mut().zip(e_row).for_each(|(row, e)| *row += e.load());
                match addend {
                    Addend::None => {}
                    Addend::Tensor => {
                        row.iter_mut().zip(&d.addend[whole..]).for_each(|(row, a)| *row += a.load());
                    }
                    Addend::Masked => {
                        let mut gates = [0; MAX_WIDTH];
                        let gates = &mut gates[..row.len()];
                        mask::expand(d.mask, whole, gates);
                        for ((row, a), gate) in row.iter_mut().zip(&d.addend[whole..]).zip(&*gates) {
                            let a = a.load();
                            *row += if *gate != 0 { a } else { T::Acc::default() };
                        }
                    }
                }
                dx.iter_mut().zip(&*row).for_each(|(dx, row)| *dx = T::store(*row));
            };
            Arch::new().dispatch(Convolve { indirection: &indirection, source, packed, finish });
        });
    });
}
