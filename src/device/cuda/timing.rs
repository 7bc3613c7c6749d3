//! Times launches by the card's clock.
//!
//! A figure is the time between two marks in the stream, divided by the runs between them. The runs are one captured
//! graph, and graphs and marks are queued ahead of the card, so that the host's share of a launch is hidden behind the
//! work before; what a kernel costs to start after another, as in a training step, is in the figure.

use super::driver::{Clock, Driver, Mark, Replay};
use super::launch::{Address, Launch};
use crate::device::Pace;
use crate::error::{Error, Result};

/// Written to displace what a cold run must not find: so many times the L2 cache.
const CACHES: u64 = 2;

/// The clock of a card.
///
/// # Errors
/// If it has none, as the emulator: what to do instead.
pub fn clock(driver: &mut dyn Driver) -> Result<&mut dyn Clock> {
    let name = driver.name();
    driver.clock().ok_or_else(|| {
        Error::device(format!("{name} has no clock: --counters counts what its kernels move instead"))
    })
}

/// Seconds that `launches`, in order, take: `pace.samples` figures. `graph`: captured, else launched one by one.
///
/// # Errors
/// If the card failed, or has no clock, or there is no memory left to fill its cache.
pub fn time(driver: &mut dyn Driver, launches: &[Launch], graph: bool, pace: Pace) -> Result<Vec<f64>> {
    clock(driver)?.forget();
    let repeated: Vec<Launch> = (0..pace.runs).flat_map(|_| launches.iter().cloned()).collect();
    let displaced = if pace.cold { Some(Displaced::new(driver)?) } else { None };
    let replay = if graph && !repeated.is_empty() { Some(driver.capture(&repeated)?) } else { None };
    let marks = queue(driver, &repeated, replay, displaced.as_ref(), pace.samples);
    // Waits for what was queued, so that both may go.
    replay.into_iter().for_each(|replay| driver.release(replay));
    displaced.into_iter().for_each(|displaced| driver.free(displaced.address));
    let clock = clock(driver)?;
    marks?.into_iter().map(|(from, to)| Ok(clock.between(from, to)? / pace.runs as f64)).collect()
}

/// Memory that is larger than the cache.
struct Displaced {
    address: Address,
    bytes: usize,
}

impl Displaced {
    fn new(driver: &mut dyn Driver) -> Result<Self> {
        // A card that does not tell its cache is taken for one with as much as any has.
        let cache = driver.properties()?.l2_bytes.unwrap_or(128 << 20);
        let bytes = usize::try_from(CACHES * cache).unwrap_or(usize::MAX);
        Ok(Self { address: driver.allocate(bytes)?, bytes })
    }
}

fn queue(
    driver: &mut dyn Driver,
    launches: &[Launch],
    replay: Option<Replay>,
    displaced: Option<&Displaced>,
    samples: usize,
) -> Result<Vec<(Mark, Mark)>> {
    (0..samples)
        .map(|sample| {
            if let Some(Displaced { address, bytes }) = displaced {
                driver.fill(*address, *bytes, sample as u8)?;
            }
            let from = clock(driver)?.mark()?;
            match replay {
                Some(replay) => driver.replay(replay)?,
                None => launches.iter().try_for_each(|launch| driver.launch(launch))?,
            }
            Ok((from, clock(driver)?.mark()?))
        })
        .collect()
}
