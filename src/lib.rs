//! rir: a deep-learning engine for ResNet in ResNet.

pub mod data;
pub mod error;
pub mod random;

pub use error::{Error, Result};
