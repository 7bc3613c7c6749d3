//! Who may stop a run: a signal, or a number of steps.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

use crate::error::{Error, Kind, Result};

/// A request to stop after the current step. The run then saves and can be resumed.
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
    after: Option<u64>,
}

impl Stop {
    /// Stops at Ctrl-C and SIGTERM; the second of them ends the process at once, with the status that shells give it.
    ///
    /// # Errors
    /// If the system refuses the handlers.
    pub fn on_signals() -> Result<Self> {
        let stop = Self::default();
        for signal in [SIGINT, SIGTERM] {
            // The order matters: the first signal must not find the flag already set.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&stop.requested))
                .and_then(|_| flag::register(signal, Arc::clone(&stop.requested)))
                .map_err(|e| Error::new(Kind::Io, format!("cannot listen for signal {signal}: {e}")))?;
        }
        Ok(stop)
    }

    /// Stops once the run has made `steps` steps in all.
    pub fn after(steps: u64) -> Self {
        Self { requested: Arc::default(), after: Some(steps) }
    }

    /// Asks for the stop, from any thread.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a run that has made `steps` steps must stop.
    pub fn is_requested(&self, steps: u64) -> bool {
        self.requested.load(Ordering::SeqCst) || self.after.is_some_and(|after| steps >= after)
    }
}
