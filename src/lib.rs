//! rir: a deep-learning engine for ResNet in ResNet.

pub mod check;
pub mod data;
pub mod device;
pub mod error;
pub mod graph;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod predict;
pub mod random;
pub mod text;
pub mod trace;
pub mod train;

pub use error::{Error, Result};
