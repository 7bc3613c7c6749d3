//! The tensor maps of a tile's operands, and of what copies store, in the order in which a kernel's parameters have them.

use std::array::from_fn;

use super::MOST_CLASSES;
use super::pixels::{Class, Corners, HALO_TAPS, Patch};
use super::tile::{Tile, WEIGHT_GRAD_DEPTH};
use crate::device::cuda::Kernels;
use crate::device::cuda::launch::View;
use crate::device::cuda::launch::conv2d::{Extents, TILE_ROWS};
use crate::device::cuda::launch::tensor_map::{Swizzle, TensorMap};

/// Tensor maps of `TransposedMaps`: dz as each class sees it, and w.
const TRANSPOSED_MAPS: usize = MOST_CLASSES + 1;

impl Tile {
    /// `WgmmaForwardParams`: x, w; behind those of the way out, where copies store z.
    pub fn forward_maps(self, extents: &Extents, x: View, w: View, z: View) -> Vec<Option<TensorMap>> {
        let ([n, ..], [k, r, s], [p, q]) = (extents.x, extents.w, extents.z);
        let mut maps = self.out_maps(extents, (x, extents.x), (z, [n * p * q, k]));
        maps.push(Some(match self.patch {
            Some(patch) => self.patches(patch, x, extents.x),
            None => self.pixels(x, extents.x, Corners::forward(extents), TILE_ROWS, extents.stride),
        }));
        let depth = r * s * extents.x[3];
        let filters =
            TensorMap::tiled(w, &[depth, k].map(u64::from), &[self.span, self.columns / self.sharers()]);
        maps.push(Some(filters.swizzled(self.swizzle())));
        maps
    }

    /// `WgmmaDataGradParams`: of each of at most two convolutions, the layer's and a projection's, dz as each residue class
    /// sees it, and w; behind those of the way out, where copies store dx.
    pub fn data_grad_maps(
        self,
        extents: &Extents,
        convolutions: &[[View; 2]],
        dx: View,
    ) -> Vec<Option<TensorMap>> {
        let ([n, height, width, c], [p, q]) = (extents.x, extents.z);
        let [dz, _] = convolutions[0];
        let mut maps = self.out_maps(extents, (dz, [n, p, q, extents.w[0]]), (dx, [n * height * width, c]));
        let of_out = maps.len();
        maps.extend(convolutions.iter().flat_map(|of| self.transposed_maps(extents, *of)));
        maps.resize(of_out + 2 * TRANSPOSED_MAPS, None);
        maps
    }
    /// `TransposedMaps`.
    fn transposed_maps(self, extents: &Extents, [dz, w]: [View; 2]) -> [Option<TensorMap>; TRANSPOSED_MAPS] {
        let ([n, .., c], [k, r, s], [p, q]) = (extents.x, extents.w, extents.z);
        let shape = [n, p, q, k];
        let of_class = |class| match self.patch {
            Some(patch) => (class == 0).then(|| self.patches(patch, dz, shape)),
            None => Class::of(extents, class)
                .filter(|class| class.taps > 0)
                .map(|class| self.pixels(dz, shape, class.corners, TILE_ROWS, 1)),
        };
        let across = self.across();
        let filters =
            TensorMap::tiled(w, &[c, r * s, k].map(u64::from), &[across, 1, self.span / self.sharers()]);
        let filters = filters.swizzled(swizzle_of(across));
        from_fn(|i| if i < MOST_CLASSES { of_class(i as u32) } else { Some(filters.clone()) })
    }

    /// `WgmmaWeightGradParams`: x, dz.
    pub fn weight_grad_maps(self, extents: &Extents, x: View, dz: View) -> Vec<Option<TensorMap>> {
        let ([n, ..], [k, ..], [p, q]) = (extents.x, extents.w, extents.z);
        let corners = Corners::forward(extents);
        let rows = match self.patch {
            Some(patch) => self.patches(patch, x, extents.x),
            None => self.pixels(x, extents.x, corners, WEIGHT_GRAD_DEPTH, extents.stride),
        };
        let (across, pixels) = (self.across(), [n, p, q].map(u64::from).iter().product());
        let filters =
            TensorMap::tiled(dz, &[k.into(), pixels], &[across, self.stage_pixels() / self.sharers()]);
        vec![Some(rows), Some(filters.swizzled(swizzle_of(across)))]
    }

    fn pixels(self, view: View, shape: [u32; 4], corners: Corners, pixels: u32, stride: u32) -> TensorMap {
        let Corners { lower, upper } = corners;
        TensorMap::im2col(view, shape, lower, upper, self.span, pixels, stride).swizzled(self.swizzle())
    }
    /// `WgmmaStoreParams`: the images that E copies from, if it does, and the result, a matrix; none of the other forms.
    fn out_maps(
        self,
        extents: &Extents,
        (source, shape): (View, [u32; 4]),
        (result, [rows, columns]): (View, [u32; 2]),
    ) -> Vec<Option<TensorMap>> {
        if self.form != Kernels::WgmmaStore {
            return vec![];
        }
        let (across, part_rows) = (self.across(), self.part_rows());
        let identity = || {
            // Of every stride-th pixel of every stride-th line, as E's outputs are.
            TensorMap::im2col(source, shape, [0; 2], [0; 2], across, part_rows, extents.stride)
        };
        let result = TensorMap::tiled(result, &[columns, rows].map(u64::from), &[across, part_rows]);
        let identity = (extents.identity > 0).then(identity);
        [identity, Some(result)].map(|map| map.map(|map| map.swizzled(swizzle_of(across)))).into()
    }
    /// The pixels of a tile, with a row above and one below.
    fn patches(self, patch: Patch, view: View, [n, h, w, c]: [u32; 4]) -> TensorMap {
        let extents = [self.span, w, patch.rows + HALO_TAPS - 1, patch.images];
        TensorMap::tiled(view, &[c, w, h, n].map(u64::from), &extents).swizzled(self.swizzle())
    }
    fn swizzle(self) -> Swizzle {
        swizzle_of(self.span)
    }
    /// Columns of a line where lines lie across the depth.
    fn across(self) -> u32 {
        if self.columns.is_multiple_of(64) { 64 } else { 32 }
    }
}

fn swizzle_of(span: u32) -> Swizzle {
    if span == 64 { Swizzle::Bytes128 } else { Swizzle::Bytes64 }
}
