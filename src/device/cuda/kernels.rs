//! `--kernels`: which form of each kernel runs.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, unknown};
use crate::graph::DType;
use crate::ops::Op;

/// The form of kernels that is asked for. An operation that does not have it runs the nearest simpler form it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Kernels {
    /// The fastest form of each operation.
    #[default]
    Auto,
    /// One thread an output element, no shared memory: to be read first, and checked against.
    Naive,
    /// Tiles in shared memory.
    Tiled,
    /// Tiles on tensor cores, in bf16.
    Mma,
}

impl Kernels {
    /// Every form by its name.
    pub const NAMES: [&str; 4] = ["auto", "naive", "tiled", "mma"];
}

/// The forms that an operation has whose first input is stored as `dtype`, the fastest last.
pub fn forms(op: &Op, dtype: DType) -> &'static [Kernels] {
    let convolution = matches!(op, Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_));
    match (convolution, dtype) {
        (true, DType::Bf16) => &[Kernels::Naive, Kernels::Tiled, Kernels::Mma],
        (true, _) => &[Kernels::Naive, Kernels::Tiled],
        (false, _) => &[Kernels::Naive],
    }
}

impl Kernels {
    /// The form that runs where this one is asked for.
    pub fn of(self, op: &Op, dtype: DType) -> Self {
        let forms = forms(op, dtype);
        if forms.contains(&self) { self } else { forms[forms.len() - 1] }
    }
}

impl FromStr for Kernels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "auto" => Ok(Self::Auto),
            "naive" => Ok(Self::Naive),
            "tiled" => Ok(Self::Tiled),
            "mma" => Ok(Self::Mma),
            _ => Err(Error::usage(unknown("form of kernels", text, &Self::NAMES))),
        }
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::Naive => "naive",
            Self::Tiled => "tiled",
            Self::Mma => "mma",
        })
    }
}
