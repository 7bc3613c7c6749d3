//! Augmentation: a random crop of the padded image, a horizontal flip and a cut square, and the writing of one sample.

use serde::{Deserialize, Serialize};

use super::{Images, Normaliser};
use crate::error::{Error, Result};
use crate::random::{Purpose, philox};

/// What lies beyond an image's edge where a crop reaches over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Border {
    /// Zeros after normalisation, which is the mean colour, not black.
    #[default]
    Zero,
    /// The image mirrored at its edge pixel, which is not repeated: row -1 is row 1.
    Reflect,
}

/// Which images are mirrored left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "FlipKey", into = "FlipKey")]
pub enum Flip {
    /// None; `false` in files.
    Never,
    /// In every epoch one in two, drawn anew; `true` in files.
    #[default]
    Random,
    /// In the first epoch one in two, in the second the others, and so on: of two epochs in a row, every image is seen
    /// both ways (Jordan, "94% on CIFAR-10 in 3.29 seconds", 2024). `"alternating"` in files.
    Alternating,
}

/// A flip as files spell it.
#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "flip must be true, false or \"alternating\"")]
enum FlipKey {
    Every(bool),
    Named(Named),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Named {
    Alternating,
}

impl From<Flip> for FlipKey {
    fn from(flip: Flip) -> Self {
        match flip {
            Flip::Never => Self::Every(false),
            Flip::Random => Self::Every(true),
            Flip::Alternating => Self::Named(Named::Alternating),
        }
    }
}

impl From<FlipKey> for Flip {
    fn from(key: FlipKey) -> Self {
        match key {
            FlipKey::Every(false) => Self::Never,
            FlipKey::Every(true) => Self::Random,
            FlipKey::Named(Named::Alternating) => Self::Alternating,
        }
    }
}

/// Which augmentation a recipe applies to training images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Augment {
    /// Pixels added on each side before the crop back to the image's size; 0: no crop.
    pub pad: u32,
    /// Which images are mirrored left to right.
    pub flip: Flip,
    /// What the added pixels hold.
    #[serde(default)]
    pub border: Border,
    /// Pixels of the side of a square that is set to zero, the mean colour; its middle lies anywhere in the image, so a
    /// part of it may lie outside (DeVries and Taylor, "Improved regularization of convolutional neural networks with
    /// cutout", 2017). 0: none.
    #[serde(default)]
    pub cutout: u32,
}

impl Default for Augment {
    /// The usual one for CIFAR: four zero pixels, crop, flip.
    fn default() -> Self {
        Self { pad: 4, flip: Flip::Random, border: Border::Zero, cutout: 0 }
    }
}

/// How one image is changed in one epoch; by default not at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AugmentDraw {
    /// Rows by which the crop lies below the image, -pad to pad.
    pub dy: i32,
    /// Columns by which the crop lies right of the image, -pad to pad.
    pub dx: i32,
    /// Whether the crop is mirrored left to right.
    pub flip: bool,
    /// What lies outside of the image.
    pub border: Border,
    /// The square that is set to zero at last.
    pub cut: Cut,
}

/// A square of pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cut {
    /// Pixels of its side; 0: there is none.
    pub side: u32,
    /// Row and column of its middle, in 2^-16ths of the image's height and width.
    pub middle: [u16; 2],
}

impl Cut {
    /// Whether it covers the row (axis 0) or column (axis 1) `at` of `size`.
    fn covers(self, axis: usize, at: usize, size: usize) -> bool {
        let middle = (usize::from(self.middle[axis]) * size) >> 16;
        let first = middle as i64 - i64::from(self.side / 2);
        (first..first + i64::from(self.side)).contains(&(at as i64))
    }
}

impl Augment {
    /// No augmentation.
    pub const NONE: Self = Self { pad: 0, flip: Flip::Never, border: Border::Zero, cutout: 0 };

    /// # Errors
    /// When the padding is as large as the image, where a mirrored border would run out of pixels, or the cut square, which
    /// would leave nothing.
    pub fn check(&self, height: usize, width: usize) -> Result<()> {
        let sizes = [("padding", self.pad), ("cut square", self.cutout)];
        match sizes.into_iter().find(|(_, pixels)| *pixels as usize >= height.min(width)) {
            None => Ok(()),
            Some((what, pixels)) => Err(Error::usage(format!(
                "a {what} of {pixels} pixels does not suit images of {height}x{width}; it must be smaller than both sides"
            ))),
        }
    }

    /// The change of sample `index` (its position in the training images) in `epoch`.
    ///
    /// One block w = philox(counter (0, index, epoch, [`Purpose::Augment`]), key seed) and m = 2 pad + 1 give
    /// dy = w0 mod m - pad, dx = w1 mod m - pad, flip = w2 mod 2, and the middle of the cut square in w3: its row in the
    /// low half, its column in the high one. An alternating flip is w2 of epoch 0, plus the epoch, mod 2. Integers only,
    /// so a kernel that does the same draws the same; the remainder favours small offsets by less than m in 2^32.
    pub fn draw(&self, seed: u64, epoch: u32, index: u32) -> AugmentDraw {
        let key = [seed as u32, (seed >> 32) as u32];
        let draw = |epoch| philox([0, index, epoch, Purpose::Augment as u32], key);
        let words = draw(epoch);
        let offset = |word: u32| (word % (2 * self.pad + 1)) as i32 - self.pad as i32;
        AugmentDraw {
            dy: offset(words[0]),
            dx: offset(words[1]),
            flip: match self.flip {
                Flip::Never => false,
                Flip::Random => words[2] & 1 == 1,
                Flip::Alternating => (draw(0)[2] ^ epoch) & 1 == 1,
            },
            border: self.border,
            cut: Cut { side: self.cutout, middle: [words[3] as u16, (words[3] >> 16) as u16] },
        }
    }
}

/// Writes image `index` as a network's input: normalised, then padded, cropped, flipped and cut as `draw` says.
///
/// `out` is (H, W, C). Normalisation comes first: a pixel is compared with the mean of the place it had in
/// the image.
///
/// # Panics
/// When `index` is out of range, `out` is not one sample long, or `normaliser` is of another shape.
pub fn write_sample(
    images: &Images,
    index: usize,
    draw: Option<AugmentDraw>,
    normaliser: &Normaliser,
    out: &mut [f32],
) {
    let image = images.image(index);
    let (height, width, channels) = (images.height, images.width, images.channels);
    assert_eq!(out.len(), image.len(), "a sample has {} values", image.len());
    let draw = draw.unwrap_or_default();
    for (y, row) in out.chunks_exact_mut(width * channels).enumerate() {
        let source_row = source(y, draw.dy, height, draw.border);
        let is_cut_row = draw.cut.covers(0, y, height);
        for (x, pixel) in row.chunks_exact_mut(channels).enumerate() {
            if is_cut_row && draw.cut.covers(1, x, width) {
                pixel.fill(0.0);
                continue;
            }
            let x = if draw.flip { width - 1 - x } else { x };
            match (source_row, source(x, draw.dx, width, draw.border)) {
                (Some(from_y), Some(from_x)) => {
                    let at = (from_y * width + from_x) * channels;
                    normaliser.write_pixel(&image[at..at + channels], at, pixel);
                }
                _ => pixel.fill(0.0),
            }
        }
    }
}

/// The row or column of the image, of `size`, that the crop's `at` shows; none beyond a zero border.
fn source(at: usize, shift: i32, size: usize, border: Border) -> Option<usize> {
    let (at, last) = (at as i64 + i64::from(shift), size as i64 - 1);
    match border {
        Border::Zero => (0..=last).contains(&at).then_some(at as usize),
        Border::Reflect => Some((last - (last - at.abs()).abs()) as usize),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Preprocess;

    /// Two images of 3x4x2 whose every byte differs.
    fn images() -> Images {
        Images::new(3, 4, 2, (0..48).map(|i| i * 5).collect(), vec![0, 1]).unwrap()
    }

    fn sample(draw: Option<AugmentDraw>, kind: Preprocess) -> Vec<f32> {
        let images = images();
        let mut out = vec![f32::NAN; 24];
        write_sample(&images, 1, draw, &Normaliser::fit(kind, &images).unwrap(), &mut out);
        out
    }

    fn draw(dy: i32, dx: i32, flip: bool, border: Border) -> Option<AugmentDraw> {
        Some(AugmentDraw { dy, dx, flip, border, cut: Cut::default() })
    }

    #[test]
    fn without_a_draw_the_image_is_only_normalised() {
        let plain: Vec<f32> = images().image(1).iter().map(|&b| f32::from(b) / 255.0).collect();
        assert_eq!(sample(None, Preprocess::None), plain);
        assert_eq!(sample(draw(0, 0, false, Border::Reflect), Preprocess::None), plain);
        // The mean of image 0 and image 1 at each place; image 1 is 24 * 5 brighter.
        let centred = sample(None, Preprocess::PerPixelMean);
        assert!(centred.iter().all(|v| (v - 60.0 / 255.0).abs() < 1e-6), "{centred:?}");
    }

    /// Rows and columns picked by hand; `None` is padding.
    fn expect(rows: [Option<usize>; 3], columns: [Option<usize>; 4], kind: Preprocess) -> Vec<f32> {
        let plain = sample(None, kind);
        let mut out = vec![];
        for row in rows {
            for column in columns {
                for channel in 0..2 {
                    out.push(row.zip(column).map_or(0.0, |(y, x)| plain[(y * 4 + x) * 2 + channel]));
                }
            }
        }
        out
    }

    #[test]
    fn crops_and_flips_are_exact() {
        let kind = Preprocess::PerPixelMean;
        let all = [Some(0), Some(1), Some(2), Some(3)];
        let shifted = sample(draw(1, -2, false, Border::Zero), kind);
        assert_eq!(shifted, expect([Some(1), Some(2), None], [None, None, Some(0), Some(1)], kind));
        let flipped = sample(draw(0, 0, true, Border::Zero), kind);
        assert_eq!(flipped, expect([Some(0), Some(1), Some(2)], [Some(3), Some(2), Some(1), Some(0)], kind));
        // The crop comes before the flip: what was cut off on the left is missing on the right.
        let both = sample(draw(-1, -2, true, Border::Zero), kind);
        assert_eq!(both, expect([None, Some(0), Some(1)], [Some(1), Some(0), None, None], kind));
        let mirrored = sample(draw(-2, 2, false, Border::Reflect), kind);
        assert_eq!(mirrored, expect([Some(2), Some(1), Some(0)], [Some(2), Some(3), Some(2), Some(1)], kind));
        assert_eq!(
            sample(draw(2, 0, false, Border::Reflect), kind),
            expect([Some(2), Some(1), Some(0)], all, kind)
        );
    }

    #[test]
    fn draws_are_pure_and_cover_every_offset_and_both_flips() {
        let augment = Augment { pad: 2, ..Augment::default() };
        assert_eq!(augment.draw(1, 2, 3), augment.draw(1, 2, 3));
        let mut seen = [[0u32; 5]; 5];
        let mut flips = 0;
        for index in 0..25_000 {
            let draw = augment.draw(9, 0, index);
            seen[(draw.dy + 2) as usize][(draw.dx + 2) as usize] += 1;
            flips += u32::from(draw.flip);
        }
        // 1000 expected each, deviation 31; 12500 flips, deviation 79.
        assert!(seen.iter().flatten().all(|&n| (850..1150).contains(&n)), "{seen:?}");
        assert!((12_100..12_900).contains(&flips), "{flips}");
        let none = Augment::NONE.draw(9, 0, 1);
        assert_eq!((none.dy, none.dx, none.flip), (0, 0, false));
    }

    /// Kernels and resumed runs rely on it.
    #[test]
    fn the_draws_never_change() {
        let drawn: Vec<_> = (0..4)
            .map(|i| Augment::default().draw(0x1_0000_0002, 3, i))
            .map(|d| (d.dy, d.dx, d.flip))
            .collect();
        assert_eq!(drawn, [(-3, 3, false), (0, -3, false), (3, 0, false), (-3, -4, false)]);
    }

    /// Every image is seen both ways in any two epochs, and half of them in either.
    #[test]
    fn an_alternating_flip_shows_both_sides_in_two_epochs() {
        let augment = Augment { flip: Flip::Alternating, ..Augment::default() };
        let flips = |epoch| (0..1000).map(|i| augment.draw(5, epoch, i).flip).collect::<Vec<_>>();
        let first = flips(0);
        assert!((430..570).contains(&first.iter().filter(|&&flip| flip).count()), "deviation 16");
        assert_eq!(flips(1), first.iter().map(|flip| !flip).collect::<Vec<_>>());
        assert_eq!(flips(6), first);
        let random = Augment::default();
        assert!((0..1000).all(|i| {
            let [a, b] = [augment, random].map(|augment| augment.draw(5, 3, i));
            (a.dy, a.dx) == (b.dy, b.dx)
        }));
    }

    #[test]
    fn a_cut_square_is_zero_and_may_reach_over_the_edge() {
        let cut = |side, middle| Cut { side, middle };
        let zeros = |cut| {
            let drawn = AugmentDraw { cut, ..AugmentDraw::default() };
            let pixels = sample(Some(drawn), Preprocess::None);
            let plain = sample(None, Preprocess::None);
            assert!(pixels.iter().zip(&plain).all(|(cut, own)| *cut == 0.0 || cut == own));
            let places: Vec<usize> =
                (0..12).filter(|&i| pixels[2 * i] == 0.0 && pixels[2 * i + 1] == 0.0).collect();
            places
        };
        // Of 3x4 pixels: the middle at row 1 and column 2.
        assert_eq!(zeros(cut(2, [0x8000, 0x8000])), [1, 2, 5, 6]);
        assert_eq!(zeros(cut(1, [0xFFFF, 0])), [8]);
        assert_eq!(zeros(cut(2, [0, 0])), [0]);
        assert_eq!(zeros(cut(9, [0x8000, 0x8000])).len(), 12);
        assert!(zeros(cut(0, [0x8000, 0x8000])).is_empty());
        let augment = Augment { cutout: 8, ..Augment::default() };
        let middles: Vec<[u16; 2]> = (0..2000).map(|i| augment.draw(1, 0, i).cut.middle).collect();
        for axis in [0, 1] {
            let low = middles.iter().filter(|m| m[axis] < 0x8000).count();
            assert!((890..1110).contains(&low), "{low}: 1000 expected, deviation 22");
        }
    }

    #[test]
    fn flips_are_spelled_as_before_and_mistakes_are_said() {
        for (text, flip) in
            [("true", Flip::Random), ("false", Flip::Never), ("\"alternating\"", Flip::Alternating)]
        {
            let augment: Augment = serde_json::from_str(&format!("{{\"pad\":0,\"flip\":{text}}}")).unwrap();
            assert_eq!(augment, Augment { flip, ..Augment::NONE });
            assert!(serde_json::to_string(&augment).unwrap().contains(&format!("\"flip\":{text}")));
        }
        let error = serde_json::from_str::<Augment>("{\"pad\":0,\"flip\":\"sometimes\"}").unwrap_err();
        assert!(error.to_string().contains("flip must be true, false or \"alternating\""), "{error}");
    }

    #[test]
    fn padding_as_large_as_the_image_is_refused() {
        assert!(Augment { pad: 31, ..Augment::default() }.check(32, 40).is_ok());
        let error = Augment { pad: 32, ..Augment::default() }.check(32, 40).unwrap_err().to_string();
        assert_eq!(
            error,
            "a padding of 32 pixels does not suit images of 32x40; it must be smaller than both sides"
        );
        let cut = Augment { cutout: u32::MAX, ..Augment::default() }.check(32, 32).unwrap_err().to_string();
        assert!(cut.starts_with("a cut square of 4294967295 pixels does not suit"), "{cut}");
    }
}
