//! Which CUDA cards there are.

use cudarc::driver::{CudaContext, DriverError, result, sys};

use crate::error::{Error, Result};

/// A CUDA card.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Card {
    /// Its ordinal: N in `--device cuda:N`.
    pub ordinal: usize,
    /// The name that the driver gives it.
    pub name: String,
    /// Memory in bytes.
    pub memory: usize,
    /// Compute capability, (major, minor).
    pub capability: (i32, i32),
}

/// Every CUDA card that the driver shows; `None` without a driver.
///
/// # Errors
/// A driver that is installed but does not work, with its own words.
pub fn cards() -> Result<Option<Vec<Card>>> {
    if !driver_is_installed() {
        return Ok(None);
    }
    let count = match CudaContext::device_count() {
        Ok(count) => count,
        // Hidden by CUDA_VISIBLE_DEVICES, or a driver on a machine without a card.
        Err(DriverError(sys::CUresult::CUDA_ERROR_NO_DEVICE)) => 0,
        Err(e) => return Err(failed("cannot start", &e)),
    };
    (0..usize::try_from(count).unwrap_or(0)).map(card).collect::<Result<_>>().map(Some)
}

/// Describes a card without a context on it: making one takes memory and time, and a busy card may refuse it.
fn card(ordinal: usize) -> Result<Card> {
    let describe = || {
        let device = result::device::get(i32::try_from(ordinal).unwrap_or(i32::MAX))?;
        let attribute = |which| {
            // SAFETY: the device was found above.
            unsafe { result::device::get_attribute(device, which) }
        };
        Ok(Card {
            ordinal,
            name: result::device::get_name(device)?,
            // SAFETY: as above.
            memory: unsafe { result::device::total_mem(device)? },
            capability: (
                attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
        })
    };
    describe().map_err(|e: DriverError| failed(&format!("cannot use card {ordinal}"), &e))
}

/// `cudarc` panics when it loads a driver that is not there, so this asks first.
fn driver_is_installed() -> bool {
    // SAFETY: loads libcuda by its well-known names and closes it again; its initialisers are the driver's own,
    // which any use of the card runs, and nothing of it is kept.
    unsafe { sys::is_culib_present() }
}

fn failed(what: &str, error: &DriverError) -> Error {
    let reason = super::card::words(error);
    Error::device(format!(
        "the CUDA driver {what}: {reason}; nvidia-smi shows what is wrong, --device cpu works without"
    ))
}
