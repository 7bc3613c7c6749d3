//! Ranges of NVTX: names that NVIDIA's profilers put over what a thread queues.
//!
//! The library that passes them on comes with CUDA and not with the driver, so it is looked for at run time. Since CUDA
//! 12.9 it is `libnvtx3interop`, before that `libnvToolsExt`; both export the same functions.

use std::ffi::{CString, c_char, c_int};

use crate::error::{Error, Result};

const NAMES: [&str; 4] =
    ["libnvtx3interop.so", "libnvtx3interop.so.1", "libnvToolsExt.so", "libnvToolsExt.so.1"];

type Push = unsafe extern "C" fn(*const c_char) -> c_int;
type Pop = unsafe extern "C" fn() -> c_int;

/// The way to a profiler.
pub(super) struct Ranges {
    push: Push,
    pop: Pop,
    // Dropped last: the functions are its own.
    _library: libloading::Library,
}

impl Ranges {
    /// # Errors
    /// If this machine lacks the library, and where it comes from.
    pub(super) fn load() -> Result<Self> {
        for name in NAMES {
            // SAFETY: NVIDIA's library, whose initialisers only look for a profiler; the two functions have these types
            // in every release ("nvtxRangePushA", "nvtxRangePop" in its manual).
            unsafe {
                let Ok(library) = libloading::Library::new(name) else { continue };
                let push = library.get::<Push>(b"nvtxRangePushA\0").map(|f| *f);
                let pop = library.get::<Pop>(b"nvtxRangePop\0").map(|f| *f);
                if let (Ok(push), Ok(pop)) = (push, pop) {
                    return Ok(Self { push, pop, _library: library });
                }
            }
        }
        Err(Error::device(
            "--nvtx needs NVIDIA's libnvtx3interop, which was not found: it comes with CUDA's toolkit (put its lib64 in \
             LD_LIBRARY_PATH), or run without --nvtx",
        ))
    }

    /// Opens a range, which ends when the value is dropped.
    pub(super) fn open(&self, name: &str) -> Range {
        let name = CString::new(name).unwrap_or_default();
        // SAFETY: a string that ends, which the library copies.
        unsafe { (self.push)(name.as_ptr()) };
        Range { pop: self.pop }
    }
}

/// An open range of the calling thread.
pub(super) struct Range {
    pop: Pop,
}

impl Drop for Range {
    fn drop(&mut self) {
        // SAFETY: ends the range that this thread opened last; the library stays loaded as long as its driver, which
        // drops every range within one launch.
        unsafe { (self.pop)() };
    }
}
