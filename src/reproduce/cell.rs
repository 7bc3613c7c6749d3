//! A cell of a table: a network and how it is trained, as plain data.

use serde::Serialize;

use crate::error::{Error, Result, unknown};
use crate::nn::{Body, Description, Group, Layer};
use crate::optim::Recipe;
use crate::train::{Length, safe_file_name};

/// The narrowest layer that has both streams.
const NARROWEST: usize = 2;

/// How sure we are of a figure of the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Confidence {
    /// Read in the paper.
    Sure,
    /// Quoted by others.
    Likely,
}

impl Confidence {
    /// The word that a table shows.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sure => "sure",
            Self::Likely => "likely",
        }
    }
}

/// A figure of the paper's.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Published {
    /// Test accuracy in per cent.
    pub accuracy: f64,
    /// How sure we are that the paper says so.
    pub confidence: Confidence,
}

/// A network, how it is trained, and where its accuracy stands in a table. Each seed makes it a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// The name of its row.
    pub row: String,
    /// The name of its column.
    pub column: String,
    /// What `--only` calls it: the network's name before it was narrowed, and the number of images where a table has
    /// several.
    pub name: String,
    /// The network.
    pub model: Description,
    /// The recipe, with the batch of its runs.
    pub recipe: Recipe,
    /// How long its runs are.
    pub length: Length,
    /// So many training images, the same number of each class, drawn anew by each seed; all without it.
    pub subset: Option<usize>,
    /// Epochs between two evaluations; 1 without it.
    pub evaluate_every: Option<u32>,
    /// The paper's figure, where we are sure enough of it to quote it.
    pub published: Option<Published>,
}

impl Cell {
    /// What the names of its runs on the set `data` begin with. The same run serves several tables.
    pub fn stem(&self, data: &str) -> String {
        let size = self.subset.map_or(String::new(), |n| format!("-n{n}"));
        safe_file_name(&format!("{data}-{}-{}{size}", self.model.name, self.recipe.name))
    }

    /// The name of a run's folder and of its result.
    pub fn run_name(&self, data: &str, seed: u64) -> String {
        format!("{}-s{seed}", self.stem(data))
    }

    /// Whether `pattern` means it: its name or its network's, `*` standing for anything.
    fn is_meant_by(&self, pattern: &str) -> bool {
        let model = &self.model.name;
        let base = model.split_once('/').map_or(model.as_str(), |(base, _)| base);
        [self.name.as_str(), model, base].into_iter().any(|name| matches(pattern, name))
    }
}

/// Which of the cells `only` asks for; all where it is empty.
///
/// # Errors
/// For a pattern that means none of them.
pub fn select(cells: &[Cell], only: &[String]) -> Result<Vec<bool>> {
    let names: Vec<&str> = cells.iter().map(|cell| cell.name.as_str()).collect();
    for pattern in only {
        if !cells.iter().any(|cell| cell.is_meant_by(pattern)) {
            return Err(Error::usage(format!("--only: {}", unknown("cell", pattern, &names))));
        }
    }
    Ok(cells.iter().map(|cell| only.is_empty() || only.iter().any(|p| cell.is_meant_by(p))).collect())
}

/// Whether `name` is `pattern`, whose every `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, rest)) => name.strip_prefix(before).is_some_and(|left| {
            left.char_indices().map(|(i, _)| i).chain([left.len()]).any(|i| matches(rest, &left[i..]))
        }),
    }
}

/// The network with every width divided by `by`, rounded down, and so named: `rir-18-wide/12`.
///
/// # Errors
/// Where a width would have no room for two streams.
pub fn narrow(model: Description, by: usize) -> Result<Description> {
    if by == 1 {
        return Ok(model);
    }
    let least = match &model.body {
        Body::Groups(groups) => groups.iter().map(|g| g.width).chain([model.stem]).min(),
        Body::Layers(layers) => layers.iter().map(|l| l.width).chain([model.stem]).min(),
    };
    let least = least.unwrap_or(model.stem);
    if by == 0 || least / by < NARROWEST {
        return Err(Error::usage(format!(
            "--narrow {by}: '{}' has layers of {least} channels, and {NARROWEST} must be left; give a number from 1 to {}",
            model.name,
            least / NARROWEST
        )));
    }
    let body = match model.body {
        Body::Groups(groups) => {
            Body::Groups(groups.into_iter().map(|g| Group { width: g.width / by, ..g }).collect())
        }
        Body::Layers(layers) => {
            Body::Layers(layers.into_iter().map(|l| Layer { width: l.width / by, ..l }).collect())
        }
    };
    Ok(Description { name: format!("{}/{by}", model.name), stem: model.stem / by, body, ..model })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nn;

    #[test]
    fn a_narrowed_network_is_named_so_and_keeps_two_streams() {
        let wide = nn::by_name("rir-18-wide").unwrap();
        assert_eq!(narrow(wide.clone(), 1).unwrap(), wide);
        let narrowed = narrow(wide.clone(), 12).unwrap();
        assert_eq!((narrowed.name.as_str(), narrowed.stem), ("rir-18-wide/12", 8));
        let Body::Groups(groups) = &narrowed.body else { panic!("groups") };
        assert_eq!(groups.iter().map(|g| g.width).collect::<Vec<_>>(), [8, 16, 32]);
        let layers = narrow(nn::by_name("all-cnn-c").unwrap(), 48).unwrap();
        let Body::Layers(layers) = &layers.body else { panic!("layers") };
        assert!(layers.iter().all(|l| l.width == 2 || l.width == 4));
        let error = narrow(nn::by_name("rir-32").unwrap(), 9).unwrap_err().to_string();
        assert!(error.contains("layers of 16 channels") && error.ends_with("from 1 to 8"), "{error}");
        assert!(narrow(wide, 0).is_err());
    }

    #[test]
    fn patterns_match_names() {
        for (pattern, name) in [
            ("rir-32", "rir-32"),
            ("*", ""),
            ("rir-*", "rir-32"),
            ("*-32", "rir-32"),
            ("*3*", "rir-32"),
            ("猫*", "猫"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("rir-3", "rir-32"), ("*-3", "rir-32"), ("rir-*-wide", "rir-32"), ("", "x")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
