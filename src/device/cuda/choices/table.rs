//! Choices by node, as `rir bench tune` finds them and a run records them; and what they hold for.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Choice, Generation};

/// What is chosen for each node, by [`key`](super::key).
pub type Table = BTreeMap<String, Choice>;

/// A table, and what it holds for: a choice is the fastest on one kind of card, and only the same kernels add up in the
/// same order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Chosen {
    /// The card, as its driver calls it.
    pub card: String,
    /// The release of CUDA that its driver was made for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<String>,
    /// Of the kernels and the code that launches them: [`KERNELS_HASH`](crate::version::KERNELS_HASH).
    pub kernels_hash: String,
    /// The choices.
    pub nodes: Table,
}

impl Chosen {
    /// Whether the table holds on this card, with these kernels.
    ///
    /// # Errors
    /// What is another, as the end of a sentence that begins with whose choices they are.
    pub fn holds_for(&self, card: &str, kernels_hash: &str, generation: Generation) -> Result<(), String> {
        if self.card != card {
            return Err(format!("they were made for {}, and this is {card}", self.card));
        }
        if self.kernels_hash != kernels_hash {
            let short = |hash: &str| hash.chars().take(12).collect::<String>();
            return Err(format!(
                "they were made for other kernels ({}) than this program's ({})",
                short(&self.kernels_hash),
                short(kernels_hash)
            ));
        }
        let hopper = |choice: &&Choice| choice.kernels.needs_hopper() && generation != Generation::Hopper;
        match self.nodes.values().find(hopper) {
            None => Ok(()),
            Some(choice) => Err(format!(
                "some are of the form {}, of which this program holds no kernels for the card (RIR_CUDA_ARCHS left \
                 them out of the build)",
                choice.kernels
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::Kernels;

    fn chosen(kernels: Kernels) -> Chosen {
        let choice = Choice { columns: Some(96), ..Choice::of(kernels) };
        Chosen {
            card: "NVIDIA H100".into(),
            driver: Some("CUDA 13.0".into()),
            kernels_hash: "ab".repeat(32),
            nodes: Table::from([("conv2d([1 2 2 1], [1 1 1 1]) bf16 {stride 1}".into(), choice)]),
        }
    }

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let chosen = chosen(Kernels::WgmmaHalo);
        let text = toml::to_string(&chosen).unwrap();
        assert!(
            text.contains("kernels-hash = \"abab") && text.contains("kernels = \"wgmma-halo\""),
            "{text}"
        );
        assert_eq!(toml::from_str::<Chosen>(&text).unwrap(), chosen);
        assert_eq!(serde_json::from_str::<Chosen>(&serde_json::to_string(&chosen).unwrap()).unwrap(), chosen);
    }

    #[test]
    fn a_table_holds_for_its_card_and_kernels_alone() {
        let (hash, hopper) = ("ab".repeat(32), Generation::Hopper);
        let halo = chosen(Kernels::WgmmaHalo);
        assert_eq!(halo.holds_for("NVIDIA H100", &hash, hopper), Ok(()));
        assert!(halo.holds_for("NVIDIA A100", &hash, hopper).unwrap_err().contains("this is NVIDIA A100"));
        assert!(halo.holds_for("NVIDIA H100", "cd", hopper).unwrap_err().contains("(abababababab)"));
        let lacking = halo.holds_for("NVIDIA H100", &hash, Generation::Ampere).unwrap_err();
        assert!(lacking.contains("wgmma-halo") && lacking.contains("RIR_CUDA_ARCHS"), "{lacking}");
        assert_eq!(chosen(Kernels::Mma).holds_for("NVIDIA H100", &hash, Generation::Ampere), Ok(()));
    }
}
