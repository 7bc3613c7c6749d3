//! One launch into the stream; and which launches may begin before those before them have ended.
//!
//! Such a launch ("programmatic", `kernels/ptx_launch.cuh`) waits by itself, inside of the kernel, for the launch before
//! it. Marked are launches that follow a launch with nothing of this driver in between, the only case that the manual
//! describes ("Programmatic Dependent Launch" in the CUDA programming guide): a copy, a fill or an event before a launch
//! is waited for as ever, and so is all work before a graph by the first launch in it. Within a graph, a mark becomes an
//! edge of that kind between two kernels.

use cudarc::driver::sys;

use super::{CardDriver, Function, described};
use crate::device::cuda::driver::Driver;
use crate::device::cuda::launch::Launch;
use crate::error::{Error, Result};

/// As much as any kernel's parameter may have on every card, aligned as a tensor map has to be.
#[repr(C, align(128))]
struct Params([u8; 4096]);

/// Graphs have such edges since this release.
const CAPTURED_SINCE: (i32, i32) = (12, 3);

/// Whether the driver of this release lets launches overlap, in streams and in graphs.
pub(super) fn can_overlap(installed: (i32, i32)) -> bool {
    installed >= CAPTURED_SINCE
}

impl CardDriver {
    /// Puts a prepared launch into the stream, or into the graph that it captures.
    pub(super) fn enqueue(&mut self, launch: &Launch, function: Function) -> Result<()> {
        // Asked first: to encode a map is a call to the driver as well.
        let marked = self.overlaps() && self.after_launch && function.waits;
        let encoded = launch.encoded(|map| self.encode_map(launch, map))?;
        let mut params = Params([0; 4096]);
        let room = params.0.get_mut(..encoded.len()).ok_or_else(|| {
            let bytes = encoded.len();
            Error::device(format!(
                "{} passes {bytes} bytes of parameters, and 4096 is the most",
                described(launch)
            ))
        })?;
        room.copy_from_slice(&encoded);
        let mut value = sys::CUlaunchAttributeValue { pad: [0; 64] };
        value.programmaticStreamSerializationAllowed = 1;
        let mut mark = sys::CUlaunchAttribute {
            id: sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION,
            pad: [0; 4],
            value,
        };
        let ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]) = (launch.grid, launch.block);
        let config = sys::CUlaunchConfig {
            gridDimX: grid_x,
            gridDimY: grid_y,
            gridDimZ: grid_z,
            blockDimX: block_x,
            blockDimY: block_y,
            blockDimZ: block_z,
            sharedMemBytes: launch.dynamic_shared,
            hStream: self.stream.cu_stream(),
            attrs: &raw mut mark,
            numAttrs: u32::from(marked),
        };
        let what = format!("launch {}", described(launch));
        self.call(&what, Some(launch), |_| {
            let mut arguments = [(&raw mut params.0).cast()];
            // SAFETY: the function is of a loaded module and takes one structure of the size that `prepare` compared;
            // the driver copies it, and the attribute, before it returns. That the addresses in it are the launch's
            // tensors is the launch code's promise, to which the emulator holds it.
            unsafe {
                let (config, none) = (&raw const config, std::ptr::null_mut());
                sys::cuLaunchKernelEx(config, function.handle, arguments.as_mut_ptr(), none).result()
            }
        })?;
        self.after_launch = true;
        Ok(())
    }
}
