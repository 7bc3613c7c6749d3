//! `--device`: which device a name means, and whether it can be had.

use std::fmt;
use std::str::FromStr;

use super::Device;
use super::cuda::{self, Card};
use crate::device::cpu::CpuDevice;
use crate::error::{Error, Result, unknown};
use crate::graph::{Precision, StateLayout};

/// What `--device` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Choice {
    /// The best that this build can run on this machine.
    #[default]
    Auto,
    /// The processor.
    Cpu,
    /// A CUDA card by its ordinal.
    Cuda(usize),
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            _ => {}
        }
        match text.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Ok(Self::Cuda(ordinal)),
            Some(Err(_)) => {
                Err(Error::usage(format!("'{text}' is no device: a card is named cuda:0, cuda:1, ...")))
            }
            None => Err(Error::usage(unknown("device", text, &["auto", "cpu", "cuda", "cuda:0"]))),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

impl Choice {
    /// Whether the device can be had, without opening it.
    ///
    /// # Errors
    /// A CUDA card: this build has no kernels for it, and the sentence says whether a driver and the card are there.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Auto | Self::Cpu => Ok(()),
            Self::Cuda(ordinal) => Err(Error::device(no_cuda(ordinal, cuda::cards()?.as_deref()))),
        }
    }

    /// Opens the device with an empty State.
    ///
    /// # Errors
    /// As [`Choice::check`], or if there is not enough memory.
    pub fn open(self, layout: &StateLayout, precision: Precision) -> Result<Box<dyn Device>> {
        self.check()?;
        Ok(Box::new(CpuDevice::new(layout, precision)?))
    }
}

fn no_cuda(ordinal: usize, cards: Option<&[Card]>) -> String {
    let found = match cards {
        None => "no CUDA driver (libcuda) is installed".to_owned(),
        Some([]) => "the CUDA driver shows no card".to_owned(),
        Some(cards) => match cards.get(ordinal) {
            None => format!("there is no card {ordinal}: the last one is cuda:{}", cards.len() - 1),
            Some(card) => format!("{} is present", card.name),
        },
    };
    format!("cuda:{ordinal}: {found}, and this build holds no CUDA kernels; use --device cpu")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, choice) in [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda:3", Choice::Cuda(3))] {
            assert_eq!(text.parse::<Choice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse::<Choice>().unwrap(), Choice::Cuda(0));
        let message = |text: &str| text.parse::<Choice>().unwrap_err().to_string();
        assert_eq!(message("gpu"), "unknown device 'gpu'; did you mean 'cpu'?");
        assert!(message("cuda:x").contains("cuda:0"));
    }

    #[test]
    fn what_is_missing_is_said() {
        let card = Card { ordinal: 0, name: "NVIDIA H100".into(), memory: 1, capability: (9, 0) };
        assert!(no_cuda(0, None).contains("no CUDA driver"));
        assert!(no_cuda(0, Some(&[])).contains("shows no card"));
        assert!(no_cuda(1, Some(std::slice::from_ref(&card))).contains("no card 1"));
        assert!(no_cuda(0, Some(&[card])).contains("NVIDIA H100 is present"));
    }
}
