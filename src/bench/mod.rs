//! Measuring: what every operation and a whole training step take, held to what the machine at hand could do.
//!
//! `rir bench` is the command line in front of it; `benches/README.md` says how to read what it prints.
//!
//! - [`network`] gives the cases: the distinct nodes of a network's training plan, at its shapes.
//! - [`measure()`] runs one: checks its outputs against the definition, then times it.
//! - [`rates`] measures the machine: what it copies and what it computes.
//! - [`roofline`] puts the two together.
//! - [`step`] and [`fusion`] time whole training steps; [`ladder`] one operation in all its forms.
//! - [`predict`] says what the convolutions should take, by arithmetic alone.
//! - [`tune`] times every kernel that could run a convolution, and picks the fastest.
//! - [`counters`] counts on the emulator what cannot be timed there.
//! - [`report`] is what a run leaves, as JSON and as a table; [`plot`] draws it.
//!
//! Every measurement is of random numbers, and of results that were right: what is wrong has no time.

#[cfg(rir_emu)]
pub mod counters;
pub mod fusion;
pub mod ladder;
pub mod measure;
pub mod network;
pub mod plot;
pub mod predict;
pub mod rates;
pub mod report;
pub mod roofline;
pub mod spread;
pub mod step;
mod tables;
pub mod tune;

use std::time::{Duration, Instant};

pub use measure::{Measured, measure};
pub use network::{Network, Site};
pub use rates::Rates;
pub use report::{Report, Row};
pub use spread::Spread;

use crate::check::Factory;
use crate::device::cuda::Kernels;

/// How long, and how often, things are measured.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// Runs before the first figure.
    pub warmup: usize,
    /// Figures a case; `None`: as many as fit `time`.
    pub repeats: Option<usize>,
    /// What a case's figures may take together.
    pub time: Duration,
    /// When no further case is begun.
    pub deadline: Option<Instant>,
}

impl Default for Settings {
    fn default() -> Self {
        Self { warmup: 3, repeats: None, time: Duration::from_millis(500), deadline: None }
    }
}

impl Settings {
    /// Whether there is time for another case.
    pub fn has_time(&self) -> bool {
        self.deadline.is_none_or(|deadline| Instant::now() < deadline)
    }

    /// What the figures of the next case may take.
    pub fn budget(&self) -> Duration {
        let left = self.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        left.map_or(self.time, |left| left.min(self.time))
    }
}

/// Where and how cases are measured.
pub struct Bench<'a> {
    /// Makes the devices.
    pub factory: Factory<'a>,
    /// Makes those whose launches wait for each other, where launches of the others overlap.
    pub apart: Option<Factory<'a>>,
    /// The form of CUDA kernels; `None`: the fastest.
    pub kernels: Option<Kernels>,
    /// How long.
    pub settings: Settings,
    /// What the machine can do, where that was measured.
    pub rates: Option<Rates>,
    /// Is told what is measured next.
    pub watch: &'a dyn Fn(&str),
}
