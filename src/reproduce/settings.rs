//! How the runs of a table are trained, and where that is not the paper's way.

use serde::Serialize;

use crate::error::Result;
use crate::graph::Precision;
use crate::optim::Recipe;
use crate::text::{counted, grouped};

/// CIFAR-10, as [`crate::data::DataSpec::parse`] knows it.
pub const CIFAR10: &str = "cifar10";

/// CIFAR-100, likewise.
pub const CIFAR100: &str = "cifar100";

/// The recipe of the paper, by our reading of it.
const PAPER: &str = "paper";

/// The recipe by the other reading: the paper leaves open how many images an epoch has.
const LITERAL: &str = "paper-82";

/// How all runs of a table are trained.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The recipe.
    pub recipe: Recipe,
    /// Passes over the training set in place of the recipe's.
    pub epochs: Option<u32>,
    /// Images a step in place of the recipe's.
    pub batch_size: Option<usize>,
    /// So many training images, the same number of each class, in place of all.
    pub subset: Option<usize>,
    /// What every width is divided by; 1 leaves the networks as they are.
    pub narrow: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// Whether the built-in synthetic images stand in for the data set.
    pub synthetic: bool,
}

impl Settings {
    /// The paper's way.
    ///
    /// # Errors
    /// Never: the recipe is built in.
    pub fn paper() -> Result<Self> {
        Ok(Self {
            recipe: Recipe::by_name(PAPER)?,
            epochs: None,
            batch_size: None,
            subset: None,
            narrow: 1,
            precision: Precision::F32,
            synthetic: false,
        })
    }

    /// The recipe, with the batch that is asked for.
    ///
    /// # Errors
    /// For a batch that cannot be.
    pub fn recipe(&self) -> Result<Recipe> {
        let batch_size = self.batch_size.unwrap_or(self.recipe.batch_size);
        let recipe = Recipe { batch_size, ..self.recipe.clone() };
        recipe.validate()?;
        Ok(recipe)
    }

    /// Passes over the training set.
    pub fn epochs(&self) -> u32 {
        self.epochs.unwrap_or(self.recipe.epochs)
    }

    /// Everything that is not as in the paper, which trains on `images` images of the set `data`.
    ///
    /// # Errors
    /// Never: the recipes that it compares with are built in.
    pub fn deviations(&self, data: &str, images: usize) -> Result<Vec<Deviation>> {
        let mut all = Vec::new();
        let mut add = |what: String, comparable| all.push(Deviation { what, comparable });
        if self.synthetic {
            add(format!("the built-in synthetic images in place of {}", set_name(data)), false);
        }
        if self.narrow > 1 {
            add(format!("every width divided by {}", self.narrow), false);
        }
        if self.recipe == Recipe::by_name(LITERAL)? {
            let images = counted(self.recipe.epochs.into(), "epoch");
            add(format!("recipe {LITERAL}, the literal reading of the paper's epochs: {images}"), true);
        } else if self.recipe != Recipe::by_name(PAPER)? {
            add(format!("recipe {} in place of the paper's", self.recipe.name), false);
        }
        if self.epochs() != self.recipe.epochs {
            let epochs = counted(self.epochs().into(), "epoch");
            add(format!("{epochs} in place of the recipe's {}", self.recipe.epochs), false);
        }
        if let Some(batch) = self.batch_size.filter(|&batch| batch != self.recipe.batch_size) {
            add(format!("batches of {batch} images in place of {}", self.recipe.batch_size), false);
        }
        if let Some(subset) = self.subset.filter(|&subset| subset != images) {
            let [subset, images] = [subset, images].map(|n| grouped(n as u64));
            add(format!("{subset} training images in place of {images}"), false);
        }
        if self.precision != Precision::F32 {
            add(format!("arithmetic in {} in place of f32", self.precision), true);
        }
        Ok(all)
    }
}

/// What a data set is called in a heading.
pub fn set_name(data: &str) -> &'static str {
    if data == CIFAR10 { "CIFAR-10" } else { "CIFAR-100" }
}

/// Something that is not as in the paper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deviation {
    /// A phrase for the heading of the table.
    pub what: String,
    /// Whether the paper's figures are still figures of the same thing.
    pub comparable: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phrases(settings: &Settings) -> Vec<(String, bool)> {
        let deviations = settings.deviations(CIFAR10, 50_000).unwrap();
        deviations.into_iter().map(|d| (d.what, d.comparable)).collect()
    }

    #[test]
    fn the_papers_way_deviates_in_nothing() {
        let paper = Settings::paper().unwrap();
        assert_eq!(phrases(&paper), []);
        // Asking for what is so anyway is no deviation.
        let same = Settings { epochs: Some(164), batch_size: Some(500), subset: Some(50_000), ..paper };
        assert_eq!(phrases(&same), []);
    }

    #[test]
    fn every_deviation_is_named() {
        let all = Settings {
            recipe: Recipe::default(),
            epochs: Some(1),
            batch_size: Some(20),
            subset: Some(1000),
            narrow: 8,
            precision: Precision::Bf16,
            synthetic: true,
        };
        let expected = [
            ("the built-in synthetic images in place of CIFAR-10", false),
            ("every width divided by 8", false),
            ("recipe quick in place of the paper's", false),
            ("1 epoch in place of the recipe's 6", false),
            ("batches of 20 images in place of 50", false),
            ("1,000 training images in place of 50,000", false),
            ("arithmetic in bf16 in place of f32", true),
        ];
        assert_eq!(phrases(&all), expected.map(|(what, comparable)| (what.to_string(), comparable)));
        // A recipe of the paper's name that is another one is no paper's.
        let paper = Settings::paper().unwrap();
        let other = Recipe { momentum: 0.8, ..paper.recipe.clone() };
        assert!(!phrases(&Settings { recipe: other, ..paper.clone() })[0].1);
        let literal = Settings { recipe: Recipe::by_name(LITERAL).unwrap(), ..paper };
        assert_eq!(phrases(&literal).iter().map(|d| d.1).collect::<Vec<_>>(), [true]);
    }
}
