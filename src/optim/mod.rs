//! Optimisation: the recipe of a training run and its learning-rate schedule.
//!
//! The arithmetic of a step is an operation of the graph ([`crate::ops::Sgd`]); this is what it is given.

mod recipe;
mod schedule;

pub use recipe::{Lookahead, NAMES, Recipe};
pub use schedule::Schedule;
