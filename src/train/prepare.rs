//! From a data set to what a run trains on, chooses by, and is tested on.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::config::Config;
use crate::data::split::{stratified_split, stratified_subset};
use crate::data::{Dataset, Images, Loaded, Normaliser, SplitRecord};
use crate::error::{Error, Result};

/// A run's data.
#[derive(Debug)]
pub(super) struct Prepared {
    /// The name of the set.
    pub name: String,
    /// A sentence for the user: which set was used, and why.
    pub used: String,
    /// What a user should know about the reading.
    pub note: Option<String>,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// The names of the classes, by label.
    pub classes: Vec<String>,
    /// The digest of the whole set.
    pub digest: String,
    /// Training images, after the split and the subset.
    pub train: Arc<Images>,
    /// Validation images, if there are any.
    pub validation: Option<Arc<Images>>,
    /// Test images.
    pub test: Arc<Images>,
    /// What became of which image.
    pub split: Split,
}

/// `split.json`: what became of which image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Split {
    /// Which of the training images the run takes, if not all.
    pub chosen: Option<Chosen>,
    /// Which files of an image folder are training and which test images, if the reading decided.
    pub files: Option<SplitRecord>,
}

/// Indices into the data set's training images.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Chosen {
    /// The seed that drew them.
    pub seed: u64,
    /// Trained on.
    pub train: Vec<usize>,
    /// Held out to choose the best checkpoint by.
    pub validation: Vec<usize>,
}

impl Prepared {
    /// Splits `data` as `config` says: first the validation images, then the subset of the rest, so that the
    /// validation images are the same for every subset.
    ///
    /// # Errors
    /// For a split or a batch that the set is too small for, with both numbers.
    pub fn new(loaded: Loaded, config: &Config) -> Result<Self> {
        let Loaded { dataset, used, split_record, .. } = loaded;
        let Dataset { name, synthetic, classes, train, test, digest, note } = dataset;
        let (mut kept, mut held) = ((0..train.len()).collect::<Vec<_>>(), Vec::new());
        if let Some(share) = config.val_split {
            (kept, held) = stratified_split(&train.labels, share, config.seed)?;
        }
        if let Some(n) = config.subset {
            let labels: Vec<u16> = kept.iter().map(|&i| train.labels[i]).collect();
            let subset = stratified_subset(&labels, n, config.seed)?;
            kept = subset.into_iter().map(|i| kept[i]).collect();
        }
        let batch = config.recipe.batch_size;
        if batch > kept.len() {
            return Err(Error::usage(format!(
                "a batch of {batch} images is larger than the training set of {}; choose a smaller batch",
                kept.len()
            )));
        }
        let validation = (!held.is_empty()).then(|| Arc::new(train.subset(&held)));
        let is_whole = kept.len() == train.len();
        let chosen = Chosen { seed: config.seed, train: kept.clone(), validation: held };
        let split = Split { chosen: (!is_whole).then_some(chosen), files: split_record };
        let train = Arc::new(if is_whole { train } else { train.subset(&kept) });
        Ok(Self {
            name,
            used,
            note,
            synthetic,
            classes,
            digest,
            train,
            validation,
            test: Arc::new(test),
            split,
        })
    }

    /// The normalisation of the training images.
    ///
    /// # Errors
    /// As [`Normaliser::fit`].
    pub fn normaliser(&self, config: &Config) -> Result<Arc<Normaliser>> {
        Normaliser::fit(config.recipe.preprocess, &self.train).map(Arc::new)
    }

    /// Height, width and channels.
    pub fn image(&self) -> [usize; 3] {
        [self.train.height, self.train.width, self.train.channels]
    }
}
