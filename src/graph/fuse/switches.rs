//! The switches of fusion, and how a user writes them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result};

/// Which rewrites are made.
///
/// As text: words with commas between them, in order. It begins as [`Fusions::ALL`]; `none` makes no rewrite, `all` all
/// of them; a name makes that one as well, and a name after a `-` leaves it out.
///
/// ```
/// use rir::graph::Fusions;
///
/// let without: Fusions = "-reductions".parse()?;
/// assert_eq!(without, Fusions { reductions: false, ..Fusions::ALL });
/// let one: Fusions = "none,identity".parse()?;
/// assert_eq!(one, Fusions { identity: true, ..Fusions::NONE });
/// # Ok::<(), rir::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fusions {
    /// `conv2d + shortcut(same input)` becomes a convolution with W + E; its transpose likewise.
    pub identity: bool,
    /// `batch_stats(conv2d)` moves into the convolution's epilogue.
    pub statistics: bool,
    /// `relu(batch_norm (+ outer shortcut))` becomes the two-stream update, and its gradient two passes.
    pub update: bool,
    /// Two convolutions of one input, a block's first layer and its projection, become one; its gradients likewise.
    pub projection: bool,
    /// A sum of gradients that ends in a convolution's data gradient moves into its epilogue.
    pub addend: bool,
    /// The gradient through ReLU, and the reductions of the batch norms before it, move into the epilogue of the data
    /// gradient that made it; of what `update` makes.
    pub reductions: bool,
    /// In evaluation, scale, shift, outer shortcut and ReLU move into the convolution's epilogue.
    pub epilogue: bool,
    /// E moves into the weights as convolutions read them, where under bf16 it is rounded with them; of what `identity`
    /// makes. Off unless asked for: the other rewrites compute the same numbers, this one does not.
    pub fold_identity: bool,
}

impl Fusions {
    /// Every rewrite that computes the same numbers.
    pub const ALL: Fusions = Fusions {
        identity: true,
        statistics: true,
        update: true,
        projection: true,
        addend: true,
        reductions: true,
        epilogue: true,
        fold_identity: false,
    };
    /// None.
    pub const NONE: Fusions = Fusions {
        identity: false,
        statistics: false,
        update: false,
        projection: false,
        addend: false,
        reductions: false,
        epilogue: false,
        fold_identity: false,
    };
    /// The name of every switch.
    pub const NAMES: [&str; 8] = [
        "identity",
        "statistics",
        "update",
        "projection",
        "addend",
        "reductions",
        "epilogue",
        "fold-identity",
    ];

    /// Every switch, in the order of [`Fusions::NAMES`].
    fn switches(&mut self) -> [&mut bool; 8] {
        let Self { identity, statistics, update, projection, addend, reductions, epilogue, fold_identity } =
            self;
        [identity, statistics, update, projection, addend, reductions, epilogue, fold_identity]
    }

    /// The same with one switch set; `None` where no switch is called that.
    pub fn with(mut self, name: &str, on: bool) -> Option<Self> {
        let at = Self::NAMES.iter().position(|n| *n == name)?;
        *self.switches()[at] = on;
        Some(self)
    }

    /// The names of the rewrites that are made.
    pub fn names(mut self) -> Vec<&'static str> {
        let on = self.switches().map(|on| *on);
        Self::NAMES.into_iter().zip(on).filter_map(|(name, on)| on.then_some(name)).collect()
    }
}

impl FromStr for Fusions {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let mut fusions = Self::ALL;
        for word in text.split(',').map(str::trim) {
            let (name, on) = word.strip_prefix('-').map_or((word, true), |name| (name, false));
            fusions = match word {
                "all" => Self::ALL,
                "none" => Self::NONE,
                _ => fusions.with(name, on).ok_or_else(|| {
                    let names = Self::NAMES.join(", ");
                    Error::usage(format!(
                        "unknown fusion '{name}'; known: {names}, each left out by a '-' before it; and all, none"
                    ))
                })?,
            };
        }
        Ok(fusions)
    }
}

impl fmt::Display for Fusions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differs = |name: &&str| self.with(name, true) == Some(*self);
        match *self {
            Self::ALL => f.pad("all"),
            Self::NONE => f.pad("none"),
            _ => {
                let names: Vec<&str> = Self::NAMES.into_iter().filter(differs).collect();
                f.pad(&format!("none,{}", names.join(",")))
            }
        }
    }
}

impl Serialize for Fusions {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Fusions {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        /// Whether everything is fused or nothing is, or which rewrites are made.
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Whether(bool),
            Which(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Whether(true) => Ok(Self::ALL),
            Written::Whether(false) => Ok(Self::NONE),
            Written::Which(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_in_order_and_written_to_be_read() {
        let one = |name| Fusions::NONE.with(name, true).unwrap();
        for (i, name) in Fusions::NAMES.into_iter().enumerate() {
            assert_eq!(format!("none,{name}").parse::<Fusions>().unwrap(), one(name));
            assert_eq!(one(name).names(), [name]);
            assert!(*one(name).switches()[i]);
            let all_but = format!("-{name}").parse::<Fusions>().unwrap();
            assert_eq!(all_but.to_string().parse::<Fusions>().unwrap(), all_but);
        }
        assert_eq!("update,none".parse::<Fusions>().unwrap(), Fusions::NONE);
        assert_eq!(Fusions::ALL.to_string(), "all");
        let said = "update,-addends".parse::<Fusions>().unwrap_err().to_string();
        assert!(
            said.contains("'addends'") && Fusions::NAMES.iter().all(|name| said.contains(name)),
            "{said}"
        );
    }
}
