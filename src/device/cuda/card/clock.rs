//! The card's clock: events in the stream; and what the card says of itself.

use cudarc::driver::{CudaContext, DriverError, result, sys};

use super::{CardDriver, open};
use crate::device::cuda::driver::{Clock, Mark, Properties};
use crate::device::cuda::launch::Address;
use crate::error::{Error, Result};

/// Events that were made so far; the first `taken` of them are marks.
#[derive(Default)]
pub(super) struct Events {
    made: Vec<sys::CUevent>,
    taken: usize,
}

impl Events {
    /// Gives the events back. Failures are of no interest: the card is being closed.
    ///
    /// # Safety
    /// The context is current.
    pub(super) unsafe fn close(&mut self) {
        for event in self.made.drain(..) {
            // SAFETY: an event of this list, destroyed once.
            let _ = unsafe { result::event::destroy(event) };
        }
        self.taken = 0;
    }
}

/// The driver's call that tells the time between events came with this release.
const TIMED_SINCE: (i32, i32) = (12, 8);

impl Clock for CardDriver {
    fn mark(&mut self) -> Result<Mark> {
        let installed = self.call("say its release", None, |_| open::installed_release())?;
        if installed < TIMED_SINCE {
            return Err(Error::device(format!(
                "{}: timing needs a CUDA driver for release {}.{} or newer, and this one is for {}.{}: update NVIDIA's driver",
                self.name, TIMED_SINCE.0, TIMED_SINCE.1, installed.0, installed.1
            )));
        }
        self.call("record an event", None, |this| {
            let n = this.events.taken;
            if n == this.events.made.len() {
                this.events.made.push(result::event::create(sys::CUevent_flags::CU_EVENT_DEFAULT)?);
            }
            // SAFETY: an event of this driver, recorded in its own stream.
            unsafe { result::event::record(this.events.made[n], this.stream.cu_stream())? };
            this.events.taken = n + 1;
            Ok(Mark(n))
        })
    }

    fn between(&mut self, from: Mark, to: Mark) -> Result<f64> {
        let taken = self.events.taken;
        if from.0 >= taken || to.0 >= taken {
            return Err(Error::device(format!("{}: that mark was forgotten", self.name)));
        }
        let milliseconds = self.call("wait for an event", None, |this| {
            let [from, to] = [from, to].map(|mark| this.events.made[mark.0]);
            // SAFETY: both events are this driver's and were recorded in its one stream.
            unsafe {
                result::event::synchronize(to)?;
                result::event::elapsed(from, to)
            }
        })?;
        Ok(f64::from(milliseconds) / 1e3)
    }

    fn forget(&mut self) {
        self.events.taken = 0;
    }

    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<()> {
        self.check_inside(from, bytes)?;
        self.check_inside(to, bytes)?;
        let stream = self.stream.cu_stream();
        // SAFETY: both ends were checked above.
        self.call("copy within the card", None, |_| unsafe {
            result::memcpy_dtod_async(to.0, from.0, bytes, stream)
        })
    }
}

/// What the driver says of the card; the context is current.
pub(super) fn properties(
    name: String,
    context: &CudaContext,
) -> std::result::Result<Properties, DriverError> {
    let attribute = |which| context.attribute(which).ok().and_then(|n| u32::try_from(n).ok());
    Ok(Properties {
        name,
        card: Some(context.name()?),
        driver: Some(open::release_name(open::installed_release()?)),
        sm_count: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT),
        l2_bytes: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE).map(u64::from),
        memory_bytes: Some(context.total_mem()? as u64),
        clock_khz: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_CLOCK_RATE),
        memory_clock_khz: attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE),
    })
}
