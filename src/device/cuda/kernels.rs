//! `--kernels`: which form of each kernel runs.

use std::fmt;
use std::str::FromStr;

use super::launch::conv2d;
use crate::error::{Error, unknown};
use crate::graph::{DType, Shape};
use crate::ops::Op;

/// The form of kernels that is asked for. An operation that does not have it runs the nearest simpler form it has.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
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
    /// Bulk copies (TMA) and products of whole warp groups (wgmma).
    Wgmma,
    /// Further, one warp that copies while the others multiply.
    WgmmaWs,
    /// Further, blocks that stay and take tile after tile; storing one overlaps the next.
    WgmmaPersistent,
    /// Further, clusters of blocks that share what they copy.
    WgmmaCluster,
    /// Further, pixels with their halo, copied once for the taps of a filter's column.
    WgmmaHalo,
    /// Further, or of those before where pixels do not suit, a tile that goes out by bulk copies.
    WgmmaStore,
    /// As `WgmmaHalo`, with filters that are copied once and stay, and no cluster.
    WgmmaResident,
}

/// What a card has that its kernels may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Generation {
    /// What every card from compute capability 8.0 on has.
    #[default]
    Ampere,
    /// Besides, what compute capability 9.0 alone has: bulk copies of tensors, wgmma, clusters.
    Hopper,
}

/// Every form with its name, the simplest first.
const FORMS: [(Kernels, &str); 11] = [
    (Kernels::Auto, "auto"),
    (Kernels::Naive, "naive"),
    (Kernels::Tiled, "tiled"),
    (Kernels::Mma, "mma"),
    (Kernels::Wgmma, "wgmma"),
    (Kernels::WgmmaWs, "wgmma-ws"),
    (Kernels::WgmmaPersistent, "wgmma-persistent"),
    (Kernels::WgmmaCluster, "wgmma-cluster"),
    (Kernels::WgmmaHalo, "wgmma-halo"),
    (Kernels::WgmmaStore, "wgmma-store"),
    (Kernels::WgmmaResident, "wgmma-resident"),
];

const fn names() -> [&'static str; FORMS.len()] {
    let (mut names, mut n) = ([""; FORMS.len()], 0);
    while n < names.len() {
        names[n] = FORMS[n].1;
        n += 1;
    }
    names
}

impl Kernels {
    /// Every form by its name.
    pub const NAMES: [&str; FORMS.len()] = names();

    /// The name as kernels have it in theirs: with `_`.
    pub fn id(self) -> String {
        self.to_string().replace('-', "_")
    }

    /// Whether only [`Generation::Hopper`] has it.
    pub fn needs_hopper(self) -> bool {
        self >= Self::Wgmma
    }

    /// The form of `forms` that runs where this one is asked for: itself, else the nearest simpler one.
    ///
    /// # Panics
    /// If there are no forms.
    pub fn of(self, forms: &[Self]) -> Self {
        if self == Self::Auto {
            return fastest(forms);
        }
        let nearest = forms.iter().rev().find(|&&form| form <= self);
        *nearest.unwrap_or(&forms[0])
    }
}

/// What [`Kernels::Auto`] picks: forms above it have not been measured to be faster.
const FASTEST: Kernels = Kernels::Mma;

/// The fastest of the forms of an operation, the simplest of which comes first.
pub fn fastest(forms: &[Kernels]) -> Kernels {
    FASTEST.of(forms)
}

/// The forms that an operation has for some shapes, whose first input is stored as `dtype`; the simplest first.
pub fn all_forms(op: &Op, dtype: DType, generation: Generation) -> Vec<Kernels> {
    let most = match (op, dtype, generation) {
        (
            Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_),
            DType::Bf16,
            Generation::Hopper,
        ) => Kernels::WgmmaResident,
        (Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_), DType::Bf16, _) => Kernels::Mma,
        (Op::Conv2d(_) | Op::Conv2dDataGrad(_) | Op::Conv2dWeightGrad(_), ..) => Kernels::Tiled,
        _ => Kernels::Naive,
    };
    FORMS.iter().map(|&(form, _)| form).filter(|&form| form > Kernels::Auto && form <= most).collect()
}

/// The forms that an operation has for inputs of these shapes, the first stored as `dtype`; the simplest first.
pub fn forms(op: &Op, inputs: &[&Shape], dtype: DType, generation: Generation) -> Vec<Kernels> {
    let mut forms = all_forms(op, dtype, generation);
    if let Some((x, w)) = conv2d::operands(op, inputs) {
        forms.retain(|&form| conv2d::suits(form, op, x, w));
    }
    forms
}

impl FromStr for Kernels {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let named = FORMS.iter().find(|(_, name)| *name == text);
        named
            .map(|(form, _)| *form)
            .ok_or_else(|| Error::usage(unknown("form of kernels", text, &Self::NAMES)))
    }
}

impl fmt::Display for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, name) = FORMS[*self as usize];
        f.pad(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::Conv2d;

    #[test]
    fn names_are_read_and_written() {
        for (form, name) in FORMS {
            assert_eq!((form.to_string().as_str(), name.parse::<Kernels>().unwrap()), (name, form));
            assert_eq!(serde_json::to_value(form).unwrap(), name);
        }
        assert_eq!(Kernels::WgmmaWs.id(), "wgmma_ws");
        assert!("wgma".parse::<Kernels>().unwrap_err().to_string().contains("did you mean 'wgmma'?"));
    }

    #[test]
    fn what_an_operation_lacks_is_the_nearest_simpler_form() {
        let conv: Op = Conv2d::same(3, 1).into();
        let of = |kernels: Kernels, dtype, generation| kernels.of(&all_forms(&conv, dtype, generation));
        let (ampere, hopper) = (Generation::Ampere, Generation::Hopper);
        assert_eq!(of(Kernels::WgmmaWs, DType::Bf16, hopper), Kernels::WgmmaWs);
        assert_eq!(of(Kernels::WgmmaWs, DType::Bf16, ampere), Kernels::Mma);
        assert_eq!(of(Kernels::WgmmaWs, DType::F32, hopper), Kernels::Tiled);
        assert_eq!(of(Kernels::Naive, DType::Bf16, hopper), Kernels::Naive);
        assert_eq!(Kernels::Auto.of(&[Kernels::Naive]), Kernels::Naive);
        assert_eq!(Kernels::WgmmaHalo.of(&[Kernels::Naive, Kernels::Wgmma]), Kernels::Wgmma);
    }
}
