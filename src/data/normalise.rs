//! From bytes to the numbers a network sees: division by 255, and statistics of the training set.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::Images;
use crate::error::{Error, Result, unknown};

/// How pixels are normalised, after division by 255.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preprocess {
    /// Subtract the training set's mean of every pixel and channel (the paper's).
    #[default]
    PerPixelMean,
    /// Subtract the training set's mean of every channel and divide by its standard deviation.
    PerChannel,
    /// Nothing more.
    None,
}

impl Preprocess {
    const ALL: [(&str, Self); 3] =
        [("per-pixel-mean", Self::PerPixelMean), ("per-channel", Self::PerChannel), ("none", Self::None)];
}

impl FromStr for Preprocess {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name);
        let names = Self::ALL.map(|(known, _)| known);
        found.map(|&(_, value)| value).ok_or_else(|| Error::usage(unknown("preprocessing", name, &names)))
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::ALL.iter().find(|(_, value)| value == self).map_or("", |(name, _)| name))
    }
}

/// The normalisation fitted to a training set: `(pixel / 255 - mean) * inv_std`, in f32, in this order of
/// operations.
///
/// It belongs to a trained model as its weights do, so checkpoints carry it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Normaliser {
    /// The subtracted mean, in units of 1 (white): (H, W, C), or (C) where it is the same for every position.
    pub mean: Vec<f32>,
    /// The factor of each channel, (C).
    pub inv_std: Vec<f32>,
}

impl Normaliser {
    /// Fits `kind` to the training images. Sums are exact integers, so the result depends on no order.
    ///
    /// # Errors
    /// When there is no image to fit to.
    pub fn fit(kind: Preprocess, train: &Images) -> Result<Self> {
        if train.is_empty() {
            return Err(Error::data("there is no training image to take the mean of"));
        }
        let (n, channels) = (train.len(), train.channels);
        Ok(match kind {
            Preprocess::None => Self { mean: vec![0.0; channels], inv_std: vec![1.0; channels] },
            Preprocess::PerPixelMean => {
                let mut sums = vec![0u64; train.sample_len()];
                for image in train.pixels.chunks_exact(train.sample_len()) {
                    sums.iter_mut().zip(image).for_each(|(sum, &pixel)| *sum += u64::from(pixel));
                }
                let mean = sums.iter().map(|&sum| (sum as f64 / (255.0 * n as f64)) as f32).collect();
                Self { mean, inv_std: vec![1.0; channels] }
            }
            Preprocess::PerChannel => {
                let (mean, inv_std) = (0..channels).map(|channel| channel_statistics(train, channel)).unzip();
                Self { mean, inv_std }
            }
        })
    }

    /// Normalises the channels of one pixel, whose first is at `at` in (H, W, C), into `out`.
    pub(super) fn write_pixel(&self, pixel: &[u8], at: usize, out: &mut [f32]) {
        let channels = self.inv_std.len();
        let mean = &self.mean[if self.mean.len() == channels { 0 } else { at }..][..channels];
        for (((out, &byte), mean), factor) in out.iter_mut().zip(pixel).zip(mean).zip(&self.inv_std) {
            *out = (f32::from(byte) / 255.0 - mean) * factor;
        }
    }

    /// # Errors
    /// When this normaliser was fitted to images of another shape than (`height`, `width`, `channels`).
    pub fn check(&self, height: usize, width: usize, channels: usize) -> Result<()> {
        let mean_fits = [channels, height * width * channels].contains(&self.mean.len());
        if channels > 0 && mean_fits && self.inv_std.len() == channels {
            return Ok(());
        }
        Err(Error::data(format!(
            "the normalisation holds {} means and {} deviations, which do not fit images of \
             {height}x{width}x{channels}",
            self.mean.len(),
            self.inv_std.len()
        )))
    }
}

/// Mean, and one over the population standard deviation, of one channel; a constant channel is not scaled.
fn channel_statistics(images: &Images, channel: usize) -> (f32, f32) {
    let (mut sum, mut squares) = (0u64, 0u64);
    for pixel in images.pixels.chunks_exact(images.channels) {
        let value = u64::from(pixel[channel]);
        sum += value;
        squares += value * value;
    }
    let count = (images.len() * images.height * images.width) as u128;
    // count² variance, exact: the difference of large near-equal floats would not be.
    let scaled = count * u128::from(squares) - u128::from(sum) * u128::from(sum);
    let std = (scaled as f64).sqrt() / count as f64 / 255.0;
    let mean = sum as f64 / count as f64 / 255.0;
    (mean as f32, if scaled == 0 { 1.0 } else { (1.0 / std) as f32 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_are_those_of_the_training_images() {
        let images = Images::new(1, 2, 2, vec![0, 51, 255, 51, 255, 51, 255, 51], vec![0, 0]).unwrap();
        let pixel = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
        assert_eq!(
            (pixel.mean.as_slice(), pixel.inv_std.as_slice()),
            (&[0.5, 0.2, 1.0, 0.2][..], &[1.0, 1.0][..])
        );
        let channel = Normaliser::fit(Preprocess::PerChannel, &images).unwrap();
        assert_eq!(channel.mean, [0.75, 0.2]);
        assert_eq!(channel.inv_std, [(1.0 / 0.1875f64.sqrt()) as f32, 1.0]);
        let none = Normaliser::fit(Preprocess::None, &images).unwrap();
        let second = |normaliser: &Normaliser| {
            let mut out = [f32::NAN; 2];
            normaliser.write_pixel(&[255, 51], 2, &mut out);
            out
        };
        assert_eq!(second(&pixel), [0.0, 0.0]);
        assert_eq!(second(&channel), [0.25 * channel.inv_std[0], 0.0]);
        assert_eq!(second(&none), [1.0, 0.2]);
    }

    #[test]
    fn a_normaliser_of_another_shape_is_refused() {
        let images = Images::new(2, 2, 3, vec![9; 12], vec![0]).unwrap();
        let fitted = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
        assert!(fitted.check(2, 2, 3).is_ok());
        assert!(fitted.check(4, 4, 3).unwrap_err().to_string().contains("12 means"));
        assert!(Normaliser { mean: vec![], inv_std: vec![] }.check(2, 2, 3).is_err());
        assert!(Normaliser::fit(Preprocess::None, &images.subset(&[])).is_err());
    }

    #[test]
    fn names_parse_print_and_suggest() {
        for (name, value) in Preprocess::ALL {
            assert_eq!((name.parse::<Preprocess>().unwrap(), value.to_string()), (value, name.to_string()));
        }
        let error = "per-chanel".parse::<Preprocess>().unwrap_err().to_string();
        assert_eq!(error, "unknown preprocessing 'per-chanel'; did you mean 'per-channel'?");
    }
}
