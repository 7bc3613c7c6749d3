//! Training runs of a tiny network: interrupted, killed, resumed, repeated, started from weights, and refused.

#[cfg(rir_emu)]
#[path = "training/choices.rs"]
mod choices;
#[cfg(rir_emu)]
#[path = "training/emulated.rs"]
mod emulated;
#[path = "training/kill.rs"]
mod kill;
#[path = "training/refuse.rs"]
mod refuse;
#[path = "training/reproduce.rs"]
mod reproduce;
#[path = "training/results.rs"]
mod results;
#[path = "training/resume.rs"]
mod resume;
#[path = "training/tiny.rs"]
mod tiny;
#[path = "training/weights.rs"]
mod weights;
