//! CUDA cards, and the emulator that runs the same kernels on the processor.

pub mod device;
pub mod driver;
#[cfg(rir_emu)]
pub mod emulator;
pub mod feed;
pub mod images;
pub mod kernels;
pub mod launch;
pub mod probe;

pub use device::{CudaDevice, Options};
pub use kernels::Kernels;
pub use probe::{Card, cards};
