//! `conv2d` and `conv2d_data_grad`: images in parallel, each with its epilogue while its sums are in registers.

use std::cell::RefCell;

use rayon::prelude::*;

use super::batch_norm::{combine_statistics, partial_statistics};
use super::element::{Element, Real};
use super::indirect::{Direction, Extents, Indirection};
use super::mask;
use super::memory::Buffer;
use super::tile::MAX_WIDTH;
use super::winograd::Winograd;
use crate::ops::{Addend, Epilogue};

thread_local! {
    /// What a projection adds to the images of a task.
    static PROJECTION: RefCell<Buffer> = RefCell::default();
}

/// How the sums are computed.
enum Product {
    /// Tap by tap.
    Direct(Indirection),
    /// In transformed tiles.
    Winograd(Winograd),
}

impl Product {
    fn new<T: Element>(e: &Extents, direction: Direction) -> Self {
        match Winograd::new::<T>(e, direction) {
            Some(winograd) => Product::Winograd(winograd),
            None => Product::Direct(Indirection::new(e, direction)),
        }
    }

    fn packed_elements<T: Real>(&self) -> usize {
        match self {
            Product::Direct(form) => form.packed_elements::<T>(),
            Product::Winograd(form) => form.packed_elements::<T>(),
        }
    }

    fn pack<T: Element>(&self, w: &[T], packed: &mut [T::Acc]) {
        match self {
            Product::Direct(form) => form.pack(w, packed),
            Product::Winograd(form) => form.pack(w, packed),
        }
    }

    fn images_a_task(&self) -> usize {
        match self {
            Product::Direct(_) => 1,
            Product::Winograd(form) => form.images_a_task(),
        }
    }

    /// The target images of one task; pixels count through all of them.
    fn convolve<T: Element>(
        &self,
        images: &[T],
        packed: &[T::Acc],
        finish: impl FnMut(usize, usize, &[T::Acc]),
    ) {
        match self {
            Product::Direct(form) => form.convolve(images, packed, finish),
            Product::Winograd(form) => form.convolve(images, packed, finish),
        }
    }
}

/// Scratch elements of the packed filter. What each image adds to statistics or reductions follows it.
pub fn packed_elements<T: Element>(e: &Extents, direction: Direction) -> usize {
    Product::new::<T>(e, direction).packed_elements::<T::Acc>()
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
    /// [`packed_elements`], and N x [2 K].
    pub scratch: &'a mut [T::Acc],
}

/// z = conv(x, W + E), with its epilogue.
pub fn forward<T: Element>(e: &Extents, f: Forward<'_, T>) {
    let [h, w, c] = e.input;
    let [p, q, k] = e.output;
    let (stride, identity) = (e.conv.stride, e.conv.identity);
    let product = Product::new::<T>(e, Direction::Forward);
    let (packed, partials) = f.scratch.split_at_mut(product.packed_elements::<T::Acc>());
    product.pack(f.w, packed);
    let with_statistics = e.conv.epilogue == Epilogue::Statistics;

    let images = product.images_a_task();
    let (x_task, z_task) = (images * h * w * c, images * p * q * k);
    let tasks =
        f.z.par_chunks_mut(z_task).zip(f.x.par_chunks(x_task)).zip(partials.par_chunks_mut(images * 2 * k));
    tasks.enumerate().for_each(|(task, ((z, x), partials))| {
        let finish = |pixel: usize, first: usize, sums: &[T::Acc]| {
            let at = pixel * k + first;
            let z = &mut z[at..at + sums.len()];
            let mut row = [T::Acc::default(); MAX_WIDTH];
            let row = &mut row[..sums.len()];
            row.copy_from_slice(sums);
            let copied = identity.saturating_sub(first).min(sums.len());
            if copied > 0 {
                let (image, y, column) = (pixel / (p * q), pixel / q % p, pixel % q);
                let from = ((image * h + y * stride) * w + column * stride) * c + first;
                row.iter_mut().zip(&x[from..from + copied]).for_each(|(row, x)| *row += x.load());
            }
            if let Epilogue::ScaleShift { outer, relu } = e.conv.epilogue {
                let (scale, shift) = f.scale_shift.split_at(k);
                for ((row, a), b) in row.iter_mut().zip(&scale[first..]).zip(&shift[first..]) {
                    *row = *a * *row + *b;
                }
                if outer {
                    let outer = &f.outer[task * z_task + at..];
                    row.iter_mut().zip(outer).for_each(|(row, outer)| *row += outer.load());
                }
                if relu {
                    // NaN stays: a diverged network must show.
                    let zero = T::Acc::default();
                    row.iter_mut().for_each(|row| *row = if *row <= zero { zero } else { *row });
                }
            }
            z.iter_mut().zip(&*row).for_each(|(z, row)| *z = T::store(*row));
        };
        product.convolve(x, packed, finish);
        if with_statistics {
            for (z, partial) in z.chunks_exact(p * q * k).zip(partials.chunks_exact_mut(2 * k)) {
                partial_statistics(z, partial);
            }
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
    /// dzp [N P Q K] and wp [K R S C] of a projection.
    pub projection: Option<[&'a [T]; 2]>,
    /// What is added, [N H W C].
    pub addend: &'a [T],
    /// Which elements of it are added: one bit an element.
    pub mask: &'a [u8],
    /// Where the ReLU that made x passed: one bit an element of dx.
    pub relu: &'a [u8],
    /// dx [N H W C].
    pub dx: &'a mut [T],
    /// [`packed_elements`] for each filter.
    pub packed: &'a mut [T::Acc],
}

/// dx = conv_transposed(dz, w) + E^T dz (+ conv_transposed(dzp, wp)) (+ addend); 0 where a ReLU's mask is not set.
pub fn data_grad<T: Element>(e: &Extents, addend: Addend, d: DataGrad<'_, T>) {
    let [h, w, c] = e.input;
    let [p, q, k] = e.output;
    let (stride, identity) = (e.conv.stride, e.conv.identity);
    let product = Product::new::<T>(e, Direction::DataGrad);
    let (packed, packed_projection) = d.packed.split_at_mut(product.packed_elements::<T::Acc>());
    product.pack(d.w, packed);
    if let Some([_, wp]) = d.projection {
        product.pack(wp, packed_projection);
    }
    let (packed, packed_projection) = (&*packed, &*packed_projection);

    let images = product.images_a_task();
    let (dx_task, dz_task) = (images * h * w * c, images * p * q * k);
    let run = |(task, (dx, dz)): (usize, (&mut [T], &[T])), buffer: &mut Buffer| {
        let mut projection: &mut [T::Acc] = &mut [];
        if let Some([dzp, _]) = d.projection {
            projection = buffer.first(dx.len());
            product.convolve(&dzp[task * dz_task..][..dz.len()], packed_projection, |pixel, first, sums| {
                projection[pixel * c + first..][..sums.len()].copy_from_slice(sums);
            });
        }
        let finish = |pixel: usize, first: usize, sums: &[T::Acc]| {
            let at = pixel * c + first;
            let dx = &mut dx[at..at + sums.len()];
            let whole = task * dx_task + at;
            let mut row = [T::Acc::default(); MAX_WIDTH];
            let row = &mut row[..sums.len()];
            row.copy_from_slice(sums);
            let (image, y, x) = (pixel / (h * w), pixel / w % h, pixel % w);
            let copied = identity.saturating_sub(first).min(sums.len());
            if copied > 0 && y.is_multiple_of(stride) && x.is_multiple_of(stride) {
                let from = ((image * p + y / stride) * q + x / stride) * k + first;
                row.iter_mut().zip(&dz[from..from + copied]).for_each(|(row, e)| *row += e.load());
            }
            if !projection.is_empty() {
                row.iter_mut().zip(&projection[at..]).for_each(|(row, sum)| *row += *sum);
            }
            let mut gates = [0; MAX_WIDTH];
            let gates = &mut gates[..row.len()];
            match addend {
                Addend::None => {}
                Addend::Tensor => {
                    row.iter_mut().zip(&d.addend[whole..]).for_each(|(row, a)| *row += a.load());
                }
                Addend::Masked => {
                    mask::expand(d.mask, whole, gates);
                    for ((row, a), gate) in row.iter_mut().zip(&d.addend[whole..]).zip(&*gates) {
                        let a = a.load();
                        *row += if *gate != 0 { a } else { T::Acc::default() };
                    }
                }
            }
            if !d.relu.is_empty() {
                mask::expand(d.relu, whole, gates);
                let closed = row.iter_mut().zip(&*gates).filter(|(_, gate)| **gate == 0);
                closed.for_each(|(row, _)| *row = T::Acc::default());
            }
            dx.iter_mut().zip(&*row).for_each(|(dx, row)| *dx = T::store(*row));
        };
        product.convolve(dz, packed, finish);
    };
    let tasks = d.dx.par_chunks_mut(dx_task).zip(d.dz.par_chunks(dz_task)).enumerate();
    tasks.for_each(|task| PROJECTION.with_borrow_mut(|buffer| run(task, buffer)));
}
