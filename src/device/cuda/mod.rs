//! CUDA cards, and the emulator that runs the same kernels on the processor.

pub mod card;
pub mod choices;
pub mod device;
pub mod driver;
#[cfg(rir_emu)]
pub mod emulator;
pub mod feed;
pub mod images;
pub mod kernels;
pub mod launch;
pub mod probe;
pub mod timing;

pub use card::CardDriver;
pub use choices::{Choice, Choices, Chosen, Table};
pub use device::{CudaDevice, Options};
pub use kernels::{Generation, Kernels};
pub use probe::{Card, cards};

use self::driver::Driver;
use crate::error::Result;

/// Whether this build's kernels run on card `ordinal`.
pub fn is_usable(ordinal: usize) -> bool {
    check(ordinal).is_ok()
}

/// # Errors
/// If card `ordinal` cannot be had: what this build or this machine lacks, and how to get it.
pub fn check(ordinal: usize) -> Result<()> {
    card::check(ordinal, &images::images())
}

/// What a table of choices has to be for, to hold on card `ordinal` with this build's kernels: one without nodes, and what
/// the card has.
///
/// # Errors
/// As [`check`].
pub fn identity(ordinal: usize) -> Result<(Chosen, Generation)> {
    let (card, driver, generation) = card::identity(ordinal, &images::images())?;
    let kernels_hash = crate::version::KERNELS_HASH.into();
    Ok((Chosen { card, driver: Some(driver), kernels_hash, nodes: Table::new() }, generation))
}

/// A card, for launches as `options` want them.
///
/// # Errors
/// As [`check`].
pub fn open_card(ordinal: usize, options: &Options) -> Result<Box<dyn Driver>> {
    let card = CardDriver::open(ordinal, images::images())?;
    Ok(Box::new(card.synchronous(options.sync).overlapping(options.overlap)))
}

/// # Errors
/// If this build has no emulator, and how to get one.
pub fn check_emulator() -> Result<()> {
    open_emulator().map(|_| ())
}

/// The seed of the emulator's orders of threads: a run can be repeated.
#[cfg(rir_emu)]
const EMULATOR_SEED: u64 = 0;

/// The emulator.
///
/// # Errors
/// As [`check_emulator`].
#[cfg(rir_emu)]
pub fn open_emulator() -> Result<Box<dyn Driver>> {
    Ok(Box::new(emulator::EmulatorDriver::new(EMULATOR_SEED)))
}

/// The emulator, which this build does not have.
///
/// # Errors
/// Always: how to get it.
#[cfg(not(rir_emu))]
pub fn open_emulator() -> Result<Box<dyn Driver>> {
    Err(crate::error::Error::device(
        "this build has no emulator, because it found no C++ compiler; install g++ or clang++, or set CXX, and build \
         again",
    ))
}
