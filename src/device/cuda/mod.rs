//! CUDA cards. This build finds and describes them; it holds no kernels for them yet.

pub mod probe;

pub use probe::{Card, cards};
