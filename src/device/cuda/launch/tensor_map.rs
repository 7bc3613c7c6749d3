//! Tensor maps: what a bulk copy knows of a tensor in global memory.
//!
//! Launch code describes them as data. A driver encodes each into the kernel's parameters when it launches: 128 bytes
//! that only bulk copies read (`TensorMap` of `kernels/tensor_map.cuh`).

use bytemuck::{Pod, Zeroable};

use super::View;
use crate::graph::DType;

/// The place of an encoded map in a structure of parameters, which launch code leaves zeroed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Pod, Zeroable)]
#[repr(C, align(128))]
pub struct MapBytes(pub [u8; 128]);

/// In shared memory, which 16-byte parts of a row of so many bytes are exchanged, so that reading a column of a tile
/// meets every bank once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Swizzle {
    /// None.
    #[default]
    None,
    /// Of 32 bytes.
    Bytes32,
    /// Of 64 bytes.
    Bytes64,
    /// Of 128 bytes.
    Bytes128,
}

/// What one copy moves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A box.
    Tiled {
        /// Its elements in every dimension, innermost first.
        extents: Vec<u32>,
    },
    /// Pixels of images N H W C in a row, as a convolution's tap sees them: those of a bounding box, line by line and
    /// image by image, each moved by the offsets that the copy names.
    Im2col {
        /// Where the box begins in an image, x y.
        lower: [i32; 2],
        /// Where it ends, x y, counted from the image's last pixel.
        upper: [i32; 2],
        /// Channels of a pixel.
        channels: u32,
        /// Pixels.
        pixels: u32,
    },
}

/// A tensor map, as the driver is asked for it. All lists are innermost dimension first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorMap {
    /// The tensor.
    pub view: View,
    /// Its elements: bf16 or f32.
    pub element: DType,
    /// Elements in every dimension, five at most.
    pub dims: Vec<u64>,
    /// Bytes from one element to the next, of the dimensions after the innermost.
    pub strides: Vec<u64>,
    /// Elements from one that is copied to the next, in every dimension.
    pub steps: Vec<u32>,
    /// How rows lie in shared memory.
    pub swizzle: Swizzle,
    /// What a copy moves.
    pub kind: Kind,
}

impl TensorMap {
    fn new(view: View, dims: &[u64], kind: Kind) -> Self {
        let (steps, swizzle) = (vec![1; dims.len()], Swizzle::None);
        let map =
            Self { view, element: DType::Bf16, dims: dims.to_vec(), strides: vec![], steps, swizzle, kind };
        map.of(DType::Bf16)
    }
    /// Boxes of a contiguous tensor in bf16.
    pub fn tiled(view: View, dims: &[u64], extents: &[u32]) -> Self {
        Self::new(view, dims, Kind::Tiled { extents: extents.to_vec() })
    }
    /// Rows of pixels of contiguous images N H W C in bf16, every `stride`-th pixel of every `stride`-th line.
    pub fn im2col(
        view: View,
        [n, h, w, c]: [u32; 4],
        lower: [i32; 2],
        upper: [i32; 2],
        channels: u32,
        pixels: u32,
        stride: u32,
    ) -> Self {
        let kind = Kind::Im2col { lower, upper, channels, pixels };
        Self { steps: vec![1, stride, stride, 1], ..Self::new(view, &[c, w, h, n].map(u64::from), kind) }
    }
    /// Contiguous elements of this type.
    #[must_use]
    pub fn of(mut self, element: DType) -> Self {
        self.element = element;
        let mut bytes = element.size() as u64;
        self.strides.clear();
        for dim in &self.dims[..self.dims.len() - 1] {
            bytes *= dim;
            self.strides.push(bytes);
        }
        self
    }
    /// With these bytes from one element to the next, of the dimensions after the innermost.
    #[must_use]
    pub fn strided(mut self, strides: &[u64]) -> Self {
        self.strides = strides.to_vec();
        self
    }
    /// With rows that lie so in shared memory.
    #[must_use]
    pub fn swizzled(mut self, swizzle: Swizzle) -> Self {
        self.swizzle = swizzle;
        self
    }
    /// Bytes from the first element to the end of the last.
    pub fn reach(&self) -> u64 {
        let outer = self.dims[1..].iter().zip(&self.strides).map(|(dim, stride)| (dim - 1) * stride);
        outer.sum::<u64>() + self.dims[0] * self.element.size() as u64
    }
    /// # Panics
    /// If the lists are not of one rank, or the map reaches beyond its tensor: a bug of the launch code.
    pub fn assert_sound(&self) {
        let rank = self.dims.len();
        let lengths = match &self.kind {
            Kind::Tiled { extents } => [self.strides.len() + 1, self.steps.len(), extents.len()],
            Kind::Im2col { .. } => [self.strides.len() + 1, self.steps.len(), 4],
        };
        assert!((1..=5).contains(&rank) && lengths == [rank; 3], "a map of mixed ranks: {self:?}");
        assert!(matches!(self.element, DType::Bf16 | DType::F32), "a map of {}", self.element);
        let inside = self.dims.iter().all(|&dim| dim > 0) && self.reach() <= self.view.bytes as u64;
        assert!(inside, "a map beyond its tensor: {self:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::launch::Address;

    fn view(bytes: usize) -> View {
        View { address: Address(1 << 20), bytes }
    }

    #[test]
    fn strides_are_those_of_a_contiguous_tensor() {
        let map = TensorMap::tiled(view(2 * 64 * 9 * 32), &[64, 9, 32], &[64, 1, 32]);
        map.assert_sound();
        assert_eq!((map.strides.as_slice(), map.steps.as_slice()), (&[128, 1152][..], &[1, 1, 1][..]));
        assert_eq!((map.reach(), map.element, map.swizzle), (36_864, DType::Bf16, Swizzle::None));
        assert_eq!(map.of(DType::F32).strides, [256, 2304]);

        let row = TensorMap::tiled(view(80), &[40], &[8]).swizzled(Swizzle::Bytes128);
        row.assert_sound();
        assert_eq!((row.strides.len(), row.swizzle), (0, Swizzle::Bytes128));
    }

    #[test]
    fn pixels_of_images_are_four_dimensions() {
        let map = TensorMap::im2col(view(2 * 3 * 8 * 6 * 16), [3, 8, 6, 16], [-1, -1], [-1, -1], 16, 64, 2);
        map.assert_sound();
        assert_eq!(map.dims, [16, 6, 8, 3]);
        assert_eq!(map.strides, [32, 192, 1536]);
        assert_eq!(map.steps, [1, 2, 2, 1]);
        assert_eq!(map.reach(), map.view.bytes as u64);
    }

    #[test]
    #[should_panic = "beyond its tensor"]
    fn no_map_reaches_beyond_its_tensor() {
        TensorMap::tiled(view(160), &[40, 2], &[8, 2]).strided(&[96]).assert_sound();
    }
}
