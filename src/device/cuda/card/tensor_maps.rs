//! Tensor maps as the CUDA driver encodes them.

use std::mem::zeroed;

use cudarc::driver::sys;

use super::{CardDriver, described};
use crate::device::cuda::launch::Launch;
use crate::device::cuda::launch::tensor_map::{Kind, MapBytes, Swizzle, TensorMap};
use crate::error::{Error, Result};
use crate::graph::DType;

impl CardDriver {
    /// A map of `launch`. What lies outside of the tensor is copied as zeros; a sector that is missed brings 256 bytes
    /// to the L2 cache.
    pub(super) fn encode_map(&mut self, launch: &Launch, map: &TensorMap) -> Result<MapBytes> {
        let element = match map.element {
            DType::Bf16 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_BFLOAT16,
            DType::F32 => sys::CUtensorMapDataType::CU_TENSOR_MAP_DATA_TYPE_FLOAT32,
            other => {
                let launch = described(launch);
                return Err(Error::device(format!("{}: {launch} copies {other} in bulk", self.name)));
            }
        };
        let swizzle = match map.swizzle {
            Swizzle::None => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_NONE,
            Swizzle::Bytes32 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_32B,
            Swizzle::Bytes64 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_64B,
            Swizzle::Bytes128 => sys::CUtensorMapSwizzle::CU_TENSOR_MAP_SWIZZLE_128B,
        };
        let interleave = sys::CUtensorMapInterleave::CU_TENSOR_MAP_INTERLEAVE_NONE;
        let promotion = sys::CUtensorMapL2promotion::CU_TENSOR_MAP_L2_PROMOTION_L2_256B;
        let outside = sys::CUtensorMapFloatOOBfill::CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE;
        // The driver reads as many numbers of each list as the rank says.
        map.assert_sound();
        let rank = map.dims.len() as u32;
        let address = std::ptr::without_provenance_mut(map.view.address.0 as usize);
        let (dims, strides, steps) = (map.dims.as_ptr(), map.strides.as_ptr(), map.steps.as_ptr());
        let what = format!("encode a tensor map of {}", described(launch));
        let encoded = self.call(&what, None, |_| {
            // SAFETY: plain numbers.
            let mut encoded: sys::CUtensorMap = unsafe { zeroed() };
            let to = &raw mut encoded;
            let result = match &map.kind {
                // SAFETY: the map is aligned as its type asks, every list is of the rank's length, as was asserted
                // above, and lives as long as `map`; of the address the driver keeps the number alone.
                Kind::Tiled { extents } => unsafe {
                    sys::cuTensorMapEncodeTiled(
                        to,
                        element,
                        rank,
                        address,
                        dims,
                        strides,
                        extents.as_ptr(),
                        steps,
                        interleave,
                        swizzle,
                        promotion,
                        outside,
                    )
                },
                // SAFETY: as above; of the corners the driver reads one number for each of the two dimensions between
                // channels and images.
                Kind::Im2col { lower, upper, channels, pixels } => unsafe {
                    sys::cuTensorMapEncodeIm2col(
                        to,
                        element,
                        rank,
                        address,
                        dims,
                        strides,
                        lower.as_ptr(),
                        upper.as_ptr(),
                        *channels,
                        *pixels,
                        steps,
                        interleave,
                        swizzle,
                        promotion,
                        outside,
                    )
                },
            };
            result.result().map(|()| encoded)
        })?;
        Ok(MapBytes(bytemuck::cast(encoded.opaque)))
    }
}
