//! `--device`: which device a name means, and whether it can be had.

use std::fmt;
use std::str::FromStr;

use super::Device;
use super::cpu::CpuDevice;
use super::cuda::{self, CudaDevice};
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
    /// The CUDA kernels on the processor, every access checked: for checking kernels, not for training.
    Emu,
}

impl FromStr for Choice {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "auto" => return Ok(Self::Auto),
            "cpu" => return Ok(Self::Cpu),
            "cuda" => return Ok(Self::Cuda(0)),
            "emu" => return Ok(Self::Emu),
            _ => {}
        }
        match text.strip_prefix("cuda:").map(str::parse) {
            Some(Ok(ordinal)) => Ok(Self::Cuda(ordinal)),
            Some(Err(_)) => {
                Err(Error::usage(format!("'{text}' is no device: a card is named cuda:0, cuda:1, ...")))
            }
            None => Err(Error::usage(unknown("device", text, &["auto", "cpu", "cuda", "cuda:0", "emu"]))),
        }
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.pad("auto"),
            Self::Cpu => f.pad("cpu"),
            Self::Emu => f.pad("emu"),
            Self::Cuda(ordinal) => f.pad(&format!("cuda:{ordinal}")),
        }
    }
}

impl Choice {
    /// What `auto` is here: the first card that this build's kernels run on, else the processor. Others are themselves.
    pub fn resolve(self) -> Self {
        match self {
            Self::Auto if cuda::is_usable(0) => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            _ => self,
        }
    }

    /// Whether the device can be had, without opening it.
    ///
    /// # Errors
    /// For what this build or this machine lacks, and how to get it.
    pub fn check(self) -> Result<()> {
        match self {
            Self::Auto | Self::Cpu => Ok(()),
            Self::Cuda(ordinal) => cuda::check(ordinal),
            Self::Emu => cuda::check_emulator(),
        }
    }

    /// Opens the device with an empty State; `options` say how kernels run.
    ///
    /// # Errors
    /// As [`Choice::check`], if there is not enough memory, or the device does not know the precision.
    pub fn open(
        self,
        layout: &StateLayout,
        precision: Precision,
        options: cuda::Options,
    ) -> Result<Box<dyn Device>> {
        let driver = match self.resolve() {
            Self::Auto | Self::Cpu => return Ok(Box::new(CpuDevice::new(layout, precision)?)),
            Self::Cuda(ordinal) => cuda::open_card(ordinal, &options)?,
            Self::Emu => cuda::open_emulator()?,
        };
        Ok(Box::new(CudaDevice::new(driver, layout, precision, options)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_and_written() {
        for (text, choice) in
            [("auto", Choice::Auto), ("cpu", Choice::Cpu), ("cuda:3", Choice::Cuda(3)), ("emu", Choice::Emu)]
        {
            assert_eq!(text.parse::<Choice>().unwrap(), choice);
            assert_eq!(choice.to_string(), text);
        }
        assert_eq!("cuda".parse::<Choice>().unwrap(), Choice::Cuda(0));
        let message = |text: &str| text.parse::<Choice>().unwrap_err().to_string();
        assert_eq!(message("gpu"), "unknown device 'gpu'; did you mean 'cpu'?");
        assert!(message("cuda:x").contains("cuda:0"));
    }
}
