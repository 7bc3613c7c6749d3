//! The built-in data set: ten kinds of textured shapes on clutter, 32x32 in colour, generated from a seed.
//!
//! It lets everything run without a download, and is hard in the way photographs are: position, size,
//! rotation, colours, textures, clutter and noise vary and say nothing of the class. With the usual 5,000
//! training images, ridge regression of the pixels gets 14 % of the test images right, and a plain network of
//! six convolutions 88 % after eight epochs.
//!
//! **The bytes are fixed**, on every machine: image `i` is a pure function of (seed, `i`), drawn with
//! additions, multiplications and divisions of f64 alone, which IEEE 754 rounds the same everywhere; sines
//! and the like, which differ from one mathematics library to the next, do not occur. A change of any byte is
//! a change of the data set.
//!
//! An image is made as follows.
//! 1. Two base colours, each channel uniform in 24 to 232, drawn again until they are at least 180 apart in
//!    the sum over channels; one fills the background, the other the shape. Each gets a texture: plain,
//!    stripes or checks (any direction, periods of 3 to 8 pixels) or blotches, of 6 to 20 steps up and down.
//! 2. Background; two to four patches of clutter in random colours; the shape; at most one smaller patch over
//!    it; uniform noise of up to 10 steps on every byte.
//! 3. The shape, of class `i mod 10`, has a radius of 9 to 14 pixels, lies anywhere inside of the image,
//!    turned by up to 45 degrees to either side, and is sampled 3 x 3 times a pixel.

mod picture;
mod shape;

use rayon::prelude::*;

use super::{Dataset, Images};
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// Rows and columns of an image.
const SIDE: usize = 32;

/// The items of test images start here, so that no training set, however large, holds one of them.
const FIRST_TEST_ITEM: u32 = 1 << 31;

/// The usual number of training images.
pub const TRAIN: usize = 5000;

/// The usual number of test images.
pub const TEST: usize = 1000;

/// Generates the data set with `train` training and `test` test images.
///
/// Classes take turns, so each split is balanced as nearly as its size allows; a larger set begins with the
/// smaller.
///
/// # Errors
/// When a split is empty or holds more than 2^31 images.
pub fn synthetic(seed: u64, train: usize, test: usize) -> Result<Dataset> {
    let classes = shape::CLASSES.map(String::from).to_vec();
    Dataset::new(
        "synthetic",
        true,
        classes,
        images(seed, 0, train)?,
        images(seed, FIRST_TEST_ITEM, test)?,
        None,
    )
}

fn images(seed: u64, first: u32, count: usize) -> Result<Images> {
    if count > FIRST_TEST_ITEM as usize {
        return Err(Error::usage(format!(
            "{count} synthetic images are too many; there are 2^31 of each split"
        )));
    }
    let class = |index: usize| index % shape::CLASSES.len();
    let mut pixels = vec![0; count * SIDE * SIDE * 3];
    pixels.par_chunks_exact_mut(SIDE * SIDE * 3).enumerate().for_each(|(index, image)| {
        let stream = Stream::new(seed, Purpose::Synthetic, 0, first + index as u32);
        picture::draw(class(index), stream, image);
    });
    Images::new(SIDE, SIDE, 3, pixels, (0..count).map(|index| class(index) as u16).collect())
}

#[cfg(test)]
#[path = "synthetic/tests.rs"]
mod tests;
