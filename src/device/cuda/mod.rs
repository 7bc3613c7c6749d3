//! CUDA cards, and the emulator that runs the same kernels on the processor.

pub mod card;
pub mod driver;
pub mod images;
pub mod kernels;
pub mod launch;
pub mod probe;

pub use card::CardDriver;
pub use kernels::Kernels;
pub use probe::{Card, cards};
