//! A data set in memory: images as bytes, labels as class indices.

use sha2::{Digest, Sha256};

use crate::error::{Error, Result};

/// One split of a data set: `len()` images of one shape, with one label each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Rows of an image.
    pub height: usize,
    /// Columns of an image.
    pub width: usize,
    /// Channels of a pixel (3: red, green, blue).
    pub channels: usize,
    /// The pixels, 0 to 255, row-major (N, H, W, C).
    pub pixels: Vec<u8>,
    /// The class of each image, (N).
    pub labels: Vec<u16>,
}

impl Images {
    /// Images from their parts.
    ///
    /// # Errors
    /// When a dimension is zero, or `pixels` does not hold exactly `labels.len()` images.
    pub fn new(
        height: usize,
        width: usize,
        channels: usize,
        pixels: Vec<u8>,
        labels: Vec<u16>,
    ) -> Result<Self> {
        let images = Self { height, width, channels, pixels, labels };
        let expected = images.sample_len() * images.len();
        if images.sample_len() == 0 || images.pixels.len() != expected {
            return Err(Error::data(format!(
                "{} images of {height}x{width}x{channels} need {expected} bytes of pixels \
                 (and no side of zero); got {}",
                images.len(),
                images.pixels.len()
            )));
        }
        Ok(images)
    }

    /// How many images there are.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Bytes in an image: height * width * channels.
    pub fn sample_len(&self) -> usize {
        self.height * self.width * self.channels
    }

    /// The pixels of image `index`, (H, W, C).
    ///
    /// # Panics
    /// When `index >= len()`.
    pub fn image(&self, index: usize) -> &[u8] {
        &self.pixels[index * self.sample_len()..][..self.sample_len()]
    }

    /// The images at `indices`, in that order.
    ///
    /// # Panics
    /// When an index is `>= len()`.
    pub fn subset(&self, indices: &[usize]) -> Self {
        let mut pixels = Vec::with_capacity(indices.len() * self.sample_len());
        for &index in indices {
            pixels.extend_from_slice(self.image(index));
        }
        let labels = indices.iter().map(|&index| self.labels[index]).collect();
        Self { pixels, labels, ..*self }
    }

    /// How many images each of `classes` classes has; labels beyond are not counted.
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for &label in &self.labels {
            if let Some(count) = counts.get_mut(usize::from(label)) {
                *count += 1;
            }
        }
        counts
    }
}

/// A data set: training and test images of the same shape and classes.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// `cifar10`, `cifar100`, `synthetic`, or the name of the folder.
    pub name: String,
    /// Whether it is the built-in synthetic set, whose accuracies compare with nothing published.
    pub synthetic: bool,
    /// The name of each class, by label.
    pub classes: Vec<String>,
    /// The training images.
    pub train: Images,
    /// The test images.
    pub test: Images,
    /// SHA-256 in hexadecimal over shape, labels and pixels of both splits: what a run was trained on.
    pub digest: String,
    /// What a user should know about the reading, such as "12 files were not images and were skipped".
    pub note: Option<String>,
}

impl Dataset {
    /// A data set from its parts; computes the digest.
    ///
    /// # Errors
    /// When a split is empty, the shapes differ, or a label has no class.
    pub fn new(
        name: impl Into<String>,
        synthetic: bool,
        classes: Vec<String>,
        train: Images,
        test: Images,
        note: Option<String>,
    ) -> Result<Self> {
        let name = name.into();
        for (split, images) in [("training", &train), ("test", &test)] {
            if images.is_empty() {
                return Err(Error::data(format!("{name}: there is no {split} image")));
            }
            if let Some(at) = images.labels.iter().position(|&label| usize::from(label) >= classes.len()) {
                return Err(Error::data(format!(
                    "{name}: {split} image {at} has label {}, but there are only {} classes",
                    images.labels[at],
                    classes.len()
                )));
            }
        }
        let shape = |images: &Images| [images.height, images.width, images.channels];
        if shape(&train) != shape(&test) {
            return Err(Error::data(format!(
                "{name}: training images are {:?} and test images {:?} (height, width, channels); they \
                 must agree",
                shape(&train),
                shape(&test)
            )));
        }
        let digest = digest(&train, &test);
        Ok(Self { name, synthetic, classes, train, test, digest, note })
    }
}

/// SHA-256 over, for each split: N, H, W, C as 64-bit, the labels as 16-bit (all little-endian), the pixels.
fn digest(train: &Images, test: &Images) -> String {
    let mut hash = Sha256::new();
    for images in [train, test] {
        for size in [images.len(), images.height, images.width, images.channels] {
            hash.update((size as u64).to_le_bytes());
        }
        let labels: Vec<u8> = images.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
        hash.update(labels);
        hash.update(&images.pixels);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(pixels: &[u8], labels: &[u16]) -> Images {
        Images::new(1, 2, 1, pixels.to_vec(), labels.to_vec()).unwrap()
    }

    #[test]
    fn a_subset_keeps_the_order_it_is_given() {
        let all = images(&[1, 2, 3, 4, 5, 6], &[0, 1, 0]);
        assert_eq!(all.subset(&[2, 0, 2]), images(&[5, 6, 1, 2, 5, 6], &[0, 0, 0]));
        assert_eq!(all.class_counts(2), [2, 1]);
    }

    #[test]
    fn parts_that_do_not_fit_are_refused_with_both_numbers() {
        let error = Images::new(2, 2, 3, vec![0; 23], vec![0, 1]).unwrap_err().to_string();
        assert!(error.contains("need 24 bytes") && error.contains("got 23"), "{error}");
        let make = |test: Images| {
            Dataset::new("x", false, vec!["a".into(), "b".into()], images(&[0; 4], &[0, 1]), test, None)
        };
        let message = |test| make(test).unwrap_err().to_string();
        assert_eq!(message(images(&[], &[])), "x: there is no test image");
        assert_eq!(
            message(images(&[0; 4], &[1, 2])),
            "x: test image 1 has label 2, but there are only 2 classes"
        );
        assert!(message(Images::new(2, 1, 1, vec![0; 2], vec![0]).unwrap()).contains("they must agree"));
    }

    #[test]
    fn the_digest_sees_pixels_labels_and_which_split() {
        let make = |train: Images, test: Images| {
            Dataset::new("x", false, vec!["a".into(), "b".into()], train, test, None).unwrap().digest
        };
        let (a, b) = (images(&[1, 2, 3, 4], &[0, 1]), images(&[1, 2], &[0]));
        let base = make(a.clone(), b.clone());
        assert_eq!(base.len(), 64);
        assert_eq!(base, make(a.clone(), b.clone()));
        assert_ne!(base, make(b.clone(), a.clone()));
        assert_ne!(base, make(images(&[1, 2, 3, 5], &[0, 1]), b.clone()));
        assert_ne!(base, make(images(&[1, 2, 3, 4], &[1, 1]), b));
    }
}
