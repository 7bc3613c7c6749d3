//! The four quarters of a generalized layer's filter: one from each stream to each.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::graph::StateLayout;
use crate::train::Session;

/// A quarter of W, by the stream that it reads and the one that it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quarter {
    /// From r to r.
    Rr,
    /// From t to r.
    Tr,
    /// From r to t.
    Rt,
    /// From t to t.
    Tt,
}

impl Quarter {
    /// Every quarter, in the order in which the form of four convolutions holds them.
    pub const ALL: [Self; 4] = [Self::Rr, Self::Tr, Self::Rt, Self::Tt];

    /// As the paper writes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rr => "W_rr",
            Self::Tr => "W_tr",
            Self::Rt => "W_rt",
            Self::Tt => "W_tt",
        }
    }

    /// What it does, for people.
    pub fn path(self) -> &'static str {
        match self {
            Self::Rr => "residual to residual",
            Self::Tr => "transient to residual",
            Self::Rt => "residual to transient",
            Self::Tt => "transient to transient",
        }
    }

    fn reads_residual(self) -> bool {
        matches!(self, Self::Rr | Self::Rt)
    }
    fn writes_residual(self) -> bool {
        matches!(self, Self::Rr | Self::Tr)
    }
}

/// Where the filter of a generalized layer lies in the State.
pub(super) enum Filter {
    /// One tensor, K R S C: rows (K) and columns (C) begin with those of r.
    Whole {
        index: usize,
        dims: [usize; 4],
        /// Columns and rows of r.
        residual: (usize, usize),
    },
    /// A tensor a quarter, in the order of [`Quarter::ALL`].
    Parts([usize; 4]),
}

impl Filter {
    /// The filter of `layer`, of whose inputs and outputs the first so many are r.
    pub fn find(layout: &StateLayout, layer: &str, residual: (usize, usize)) -> Result<Self> {
        let missing = || Error::model(format!("{layer} has no filter that could be taken apart"));
        if let Some(index) = layout.parameter(&format!("{layer}.conv.weight")) {
            let dims = layout.parameters[index].shape.dims4().ok_or_else(missing)?;
            return Ok(Self::Whole { index, dims, residual });
        }
        let mut parts = [0; 4];
        for (part, name) in parts.iter_mut().zip(["rr", "tr", "rt", "tt"]) {
            *part = layout.parameter(&format!("{layer}.conv.{name}.weight")).ok_or_else(missing)?;
        }
        Ok(Self::Parts(parts))
    }

    /// The tensor that holds a quarter.
    pub fn tensor(&self, quarter: Quarter) -> usize {
        match self {
            Self::Whole { index, .. } => *index,
            Self::Parts(parts) => parts[quarter as usize],
        }
    }

    /// Whether element `at` of that tensor is in the quarter.
    fn contains(&self, quarter: Quarter, at: usize) -> bool {
        match *self {
            Self::Whole { dims: [_, r, s, c], residual: (r_in, r_out), .. } => {
                let (row, column) = (at / (r * s * c), at % c);
                quarter.writes_residual() == (row < r_out) && quarter.reads_residual() == (column < r_in)
            }
            Self::Parts(_) => true,
        }
    }

    /// The Frobenius norm of a quarter, and how many weights it has.
    pub fn norm(&self, session: &mut Session, quarter: Quarter) -> Result<(f64, usize)> {
        let values = session.parameter(self.tensor(quarter))?;
        let weights = values.iter().enumerate().filter(|(at, _)| self.contains(quarter, *at));
        let (sum, count) = weights.fold((0.0, 0), |(sum, count), (_, w)| (sum + w * w, count + 1));
        Ok((sum.sqrt(), count))
    }

    /// `values` of the quarter's tensor with zeros in the quarter.
    pub fn zeroed(&self, quarter: Quarter, values: &[f64]) -> Vec<f64> {
        let zero = |(at, &w): (usize, &f64)| if self.contains(quarter, at) { 0.0 } else { w };
        values.iter().enumerate().map(zero).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every weight is in one quarter, and the quarters are where the paper has them.
    #[test]
    fn quarters_are_blocks_of_rows_and_columns() {
        let (k, r, s, c) = (5, 2, 1, 3);
        let filter = Filter::Whole { index: 0, dims: [k, r, s, c], residual: (1, 2) };
        let values: Vec<f64> = (1..=k * r * s * c).map(|i| i as f64).collect();
        let mut kept = vec![0; values.len()];
        for quarter in Quarter::ALL {
            let zeroed = filter.zeroed(quarter, &values);
            for (at, (w, v)) in zeroed.iter().zip(&values).enumerate() {
                let (row, column) = (at / (r * s * c), at % c);
                let (to_r, from_r) = (row < 2, column < 1);
                let inside = match quarter {
                    Quarter::Rr => to_r && from_r,
                    Quarter::Tr => to_r && !from_r,
                    Quarter::Rt => !to_r && from_r,
                    Quarter::Tt => !to_r && !from_r,
                };
                assert_eq!(*w, if inside { 0.0 } else { *v }, "{quarter:?} {at}");
                kept[at] += usize::from(inside);
            }
        }
        assert!(kept.iter().all(|count| *count == 1));
    }
}
