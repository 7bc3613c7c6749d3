//! 3x3 convolution at stride 1 by Winograd's minimal filtering F(2x2, 3x3) (Lavin and Gray, 2015, arXiv 1509.09308).
//!
//! Each 2x2 tile of outputs needs a 4x4 patch d of the source. With g a filter,
//!
//! ```text
//! Y = A^T [ (G g G^T) . (B^T d B) ] A        16 products in place of 36
//! ```
//!
//! summed over the source's channels before A: sixteen matrix products, [tiles x C] by [C x K], which run in the same
//! register tiles as the direct form. All coefficients are 0, 1, -1 and 1/2, so in f32 the result is about as accurate
//! as a direct sum. f64 and bf16 plans are references and stay direct.

use std::cell::RefCell;

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;

use super::element::{Element, Real};
use super::indirect::{Direction, Extents};
use super::memory::Buffer;
use super::tile::{self, MAX_WIDTH, Panels};

/// Products of one tile: a 4x4 patch.
const POINTS: usize = 16;

/// Tiles that are worked on together: enough for a panel of the filter to be read once for many.
const GROUP: usize = 32;

/// Elements between the blocks of two points: a cache line, so that the sixteen do not meet in one cache set.
const SKEW: usize = 16;

/// Elements of one point's products.
const PRODUCTS: usize = GROUP * MAX_WIDTH + SKEW;

/// Fewest channels for which the transforms pay: up to 96 the direct form measured as fast or faster.
const FEWEST_CHANNELS: usize = 128;

thread_local! {
    /// The bordered source, the transformed patches `[point][tile][C]`, and the products `[point][tile][width]`.
    static BUFFERS: RefCell<[Buffer; 3]> = RefCell::default();
}

/// The geometry of one direction, the same for every image.
pub struct Winograd {
    direction: Direction,
    /// Height and width of source and target.
    image: [usize; 2],
    /// Channels of the source and of the target.
    depth: usize,
    channels: usize,
    /// Tiles along each dimension.
    tiles: [usize; 2],
}

impl Winograd {
    /// The geometry, where this form applies and pays.
    pub fn new<T: Element>(e: &Extents, direction: Direction) -> Option<Self> {
        let [h, w, c] = e.input;
        let (depth, channels) = match direction {
            Direction::Forward => (c, e.output[2]),
            Direction::DataGrad => (e.output[2], c),
        };
        let fits = e.filter == [3, 3] && e.conv.stride == 1 && e.conv.pad == 1;
        let pays = depth.min(channels) >= FEWEST_CHANNELS && depth.is_multiple_of(tile::lanes::<T::Acc>());
        (T::WINOGRAD && fits && pays).then(|| Self {
            direction,
            image: [h, w],
            depth,
            channels,
            tiles: [h.div_ceil(2), w.div_ceil(2)],
        })
    }

    /// Elements of the packed filter.
    pub fn packed_elements<T: Real>(&self) -> usize {
        Panels::new(self.channels, tile::lanes::<T>()).elements(POINTS * self.depth)
    }

    /// Images of one task: as many as fill a group of tiles.
    pub fn images_a_task(&self) -> usize {
        GROUP.div_ceil(self.tiles[0] * self.tiles[1])
    }

    /// Packs `G g G^T` of a filter w [K 3 3 C] into panels `[p][point][c][lane]` over the target's channels.
    pub fn pack<T: Element>(&self, w: &[T], packed: &mut [T::Acc]) {
        let panels = Panels::new(self.channels, tile::lanes::<T::Acc>());
        packed.par_chunks_mut(POINTS * self.depth * panels.width).enumerate().for_each(|(p, panel)| {
            let first = p * panels.width;
            let valid = panels.width.min(self.channels - first);
            Arch::new().dispatch(|| {
                for d in 0..self.depth {
                    let mut g = [[T::Acc::default(); MAX_WIDTH]; 9];
                    for (tap, g) in g.iter_mut().enumerate() {
                        for (lane, g) in g[..valid].iter_mut().enumerate() {
                            *g = match self.direction {
                                Direction::Forward => w[((first + lane) * 9 + tap) * self.depth + d],
                                // Mirrored, and with the roles of source and target exchanged.
                                Direction::DataGrad => w[(d * 9 + 8 - tap) * self.channels + first + lane],
                            }
                            .load();
                        }
                    }
                    for (point, values) in transformed_filter(&g).iter().enumerate() {
                        let at = (point * self.depth + d) * panels.width;
                        panel[at..at + panels.width].copy_from_slice(&values[..panels.width]);
                    }
                }
            });
        });
    }

    /// Copies an image [H W C] into a border of zeros that every patch fits in.
    fn border<T: Element>(&self, image: &[T], bordered: &mut [T::Acc]) {
        let ([h, w], c) = (self.image, self.depth);
        let row = (2 * self.tiles[1] + 2) * c;
        for (y, wide) in bordered.chunks_exact_mut(row).enumerate() {
            wide.fill(T::Acc::default());
            if (1..=h).contains(&y) {
                let image = &image[(y - 1) * w * c..][..w * c];
                wide[c..(w + 1) * c].iter_mut().zip(image).for_each(|(wide, x)| *wide = x.load());
            }
        }
    }

    /// Computes the target images of some source images [n H W C].
    ///
    /// `finish(pixel, first channel, sums)` takes each row of finished sums; pixels count through all the images.
    pub fn convolve<T: Element>(
        &self,
        images: &[T],
        packed: &[T::Acc],
        finish: impl FnMut(usize, usize, &[T::Acc]),
    ) {
        let [h, w] = self.image;
        let bordered_elements = (2 * self.tiles[0] + 2) * (2 * self.tiles[1] + 2) * self.depth;
        let count = images.len() / (h * w * self.depth);
        BUFFERS.with_borrow_mut(|[bordered, patches, products]| {
            let bordered = bordered.first::<T::Acc>(count * bordered_elements);
            let sources = images.chunks_exact(h * w * self.depth);
            for (image, bordered) in sources.zip(bordered.chunks_exact_mut(bordered_elements)) {
                self.border(image, bordered);
            }
            let patches = patches.first(POINTS * (GROUP * self.depth + SKEW));
            let products = products.first(POINTS * PRODUCTS);
            Arch::new().dispatch(Tiles {
                geometry: self,
                source: bordered,
                packed,
                patches,
                products,
                count,
                finish,
            });
        });
    }
}

/// `G g G^T` for the filters of one panel, lane by lane; G = [1 0 0; 1/2 1/2 1/2; 1/2 -1/2 1/2; 0 0 1].
#[inline(always)]
fn transformed_filter<A: Real>(g: &[[A; MAX_WIDTH]; 9]) -> [[A; MAX_WIDTH]; POINTS] {
    let half = A::from_f64(0.5);
    let side = |a: &[A; MAX_WIDTH], b: &[A; MAX_WIDTH], c: &[A; MAX_WIDTH]| {
        let mut out = [*a, [A::default(); MAX_WIDTH], [A::default(); MAX_WIDTH], *c];
        for i in 0..MAX_WIDTH {
            let (outer, inner) = (half * (a[i] + c[i]), half * b[i]);
            out[1][i] = outer + inner;
            out[2][i] = outer - inner;
        }
        out
    };
    let columns: [[[A; MAX_WIDTH]; 4]; 3] = std::array::from_fn(|s| side(&g[s], &g[3 + s], &g[6 + s]));
    let mut out = [[A::default(); MAX_WIDTH]; POINTS];
    for r in 0..4 {
        for (s, values) in side(&columns[0][r], &columns[1][r], &columns[2][r]).into_iter().enumerate() {
            out[r * 4 + s] = values;
        }
    }
    out
}

/// All tiles of some images.
struct Tiles<'a, A: Real, F> {
    geometry: &'a Winograd,
    source: &'a [A],
    packed: &'a [A],
    patches: &'a mut [A],
    products: &'a mut [A],
    count: usize,
    finish: F,
}

impl<A: Real, F: FnMut(usize, usize, &[A])> WithSimd for Tiles<'_, A, F> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        tile::run_in_tiles!(self, simd: S, A, self.geometry.channels)
    }
}

impl<A: Real, F: FnMut(usize, usize, &[A])> Tiles<'_, A, F> {
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(mut self, simd: S) {
        let Winograd { depth, channels, tiles, .. } = *self.geometry;
        let width = V * A::lanes::<S>();
        let panels = channels.div_ceil(width);
        let total = self.count * tiles[0] * tiles[1];
        for start in (0..total).step_by(GROUP) {
            let group = GROUP.min(total - start);
            for t in 0..group {
                self.transform_patch::<S>(simd, start + t, t);
            }
            for (p, panel) in self.packed.chunks_exact(self.packed.len() / panels).enumerate() {
                for (point, panel) in panel.chunks_exact(depth * width).enumerate() {
                    let patches = &self.patches[point * (GROUP * depth + SKEW)..][..GROUP * depth];
                    let products = &mut self.products[point * PRODUCTS..][..PRODUCTS];
                    for first in (0..group).step_by(R) {
                        let mut acc = [[A::splat(simd, A::default()); V]; R];
                        let rows: [&[A]; R] =
                            std::array::from_fn(|i| &patches[(first + i) * depth..][..depth]);
                        tile::accumulate::<S, A, R, V>(simd, &mut acc, rows, tile::vectors::<S, A>(panel));
                        for (i, acc) in acc.iter().enumerate() {
                            let sums: &[A] = bytemuck::cast_slice(acc);
                            products[(first + i) * MAX_WIDTH..][..width].copy_from_slice(sums);
                        }
                    }
                }
                for t in 0..group {
                    self.transform_products::<S, V>(simd, start + t, t, p * width);
                }
            }
        }
    }

    /// (image, row, column) of a tile.
    #[inline(always)]
    fn place(&self, tile: usize) -> (usize, usize, usize) {
        let [rows, columns] = self.geometry.tiles;
        (tile / (rows * columns), tile / columns % rows, tile % columns)
    }

    /// `B^T d B` of tile `tile`'s patch, into place `t` of the group; B^T = [1 0 -1 0; 0 1 1 0; 0 -1 1 0; 0 1 0 -1].
    #[inline(always)]
    fn transform_patch<S: Simd>(&mut self, simd: S, tile: usize, t: usize) {
        let Winograd { depth, tiles, .. } = *self.geometry;
        let (image, y, x) = self.place(tile);
        let vectors = depth / A::lanes::<S>();
        let point = GROUP * vectors + SKEW / A::lanes::<S>();
        let columns = 2 * tiles[1] + 2;
        let corner = ((image * (2 * tiles[0] + 2) + 2 * y) * columns + 2 * x) * vectors;
        let source = &tile::vectors::<S, A>(self.source)[corner..];
        let patches: &mut [A::Vector<S>] = bytemuck::cast_slice_mut(self.patches);
        for c in 0..vectors {
            let side = |d: [A::Vector<S>; 4]| {
                [
                    A::minus(simd, d[0], d[2]),
                    A::plus(simd, d[1], d[2]),
                    A::minus(simd, d[2], d[1]),
                    A::minus(simd, d[1], d[3]),
                ]
            };
            let at = |r: usize, s: usize| source[(r * columns + s) * vectors + c];
            let rows: [[A::Vector<S>; 4]; 4] =
                std::array::from_fn(|s| side([at(0, s), at(1, s), at(2, s), at(3, s)]));
            for r in 0..4 {
                let values = side([rows[0][r], rows[1][r], rows[2][r], rows[3][r]]);
                for (s, value) in values.into_iter().enumerate() {
                    patches[(r * 4 + s) * point + t * vectors + c] = value;
                }
            }
        }
    }

    /// `A^T m A` of place `t`, and what is done with it; A^T = [1 1 1 0; 0 1 -1 -1].
    #[inline(always)]
    fn transform_products<S: Simd, const V: usize>(&mut self, simd: S, tile: usize, t: usize, first: usize) {
        let Winograd { channels, image: [h, w], .. } = *self.geometry;
        let (image, y, x) = self.place(tile);
        let lanes = A::lanes::<S>();
        let products = tile::vectors::<S, A>(self.products);
        let mut outputs = [[A::splat(simd, A::default()); V]; 4];
        for j in 0..V {
            let side = |m: [A::Vector<S>; 4]| {
                let (sum, difference) = (A::plus(simd, m[1], m[2]), A::minus(simd, m[1], m[2]));
                [A::plus(simd, m[0], sum), A::minus(simd, difference, m[3])]
            };
            let at = |point: usize| products[(point * PRODUCTS + t * MAX_WIDTH) / lanes + j];
            let rows: [[A::Vector<S>; 2]; 4] =
                std::array::from_fn(|s| side([at(s), at(4 + s), at(8 + s), at(12 + s)]));
            for r in 0..2 {
                let pair = side([rows[0][r], rows[1][r], rows[2][r], rows[3][r]]);
                (outputs[2 * r][j], outputs[2 * r + 1][j]) = (pair[0], pair[1]);
            }
        }
        let valid = (V * lanes).min(channels - first);
        for (i, sums) in outputs.iter().enumerate() {
            let (row, column) = (2 * y + i / 2, 2 * x + i % 2);
            if row < h && column < w {
                let sums: &[A] = bytemuck::cast_slice(sums);
                (self.finish)((image * h + row) * w + column, first, &sums[..valid]);
            }
        }
    }
}
