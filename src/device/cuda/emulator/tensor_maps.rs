//! Tensor maps as the emulator encodes them.

use std::ffi::{CStr, c_char};

use super::{Code, EmulatorDriver};
use crate::device::cuda::launch::Launch;
use crate::device::cuda::launch::tensor_map::{Kind, MapBytes, Swizzle, TensorMap};
use crate::error::{Error, Result};

/// `RirEmuTensorMap` of `kernels/emu/emu.h`.
#[repr(C)]
#[derive(Default)]
struct EmuTensorMap {
    address: u64,
    dims: [u64; 5],
    strides: [u64; 4],
    rank: u32,
    element_bytes: u32,
    element_strides: [u32; 5],
    swizzle: u32,
    im2col: u32,
    extents: [u32; 5],
    lower: [i32; 3],
    upper: [i32; 3],
    channels: u32,
    pixels: u32,
}

impl EmuTensorMap {
    /// # Panics
    /// If the map is not sound.
    fn of(map: &TensorMap) -> Self {
        map.assert_sound();
        let mut asked = Self {
            address: map.view.address.0,
            rank: map.dims.len() as u32,
            element_bytes: map.element.size() as u32,
            swizzle: match map.swizzle {
                Swizzle::None => 0,
                Swizzle::Bytes32 => 1,
                Swizzle::Bytes64 => 2,
                Swizzle::Bytes128 => 3,
            },
            ..Self::default()
        };
        asked.dims[..map.dims.len()].copy_from_slice(&map.dims);
        asked.strides[..map.strides.len()].copy_from_slice(&map.strides);
        asked.element_strides[..map.steps.len()].copy_from_slice(&map.steps);
        match &map.kind {
            Kind::Tiled { extents } => asked.extents[..extents.len()].copy_from_slice(extents),
            Kind::Im2col { lower, upper, channels, pixels } => {
                asked.im2col = 1;
                asked.lower[..2].copy_from_slice(lower);
                asked.upper[..2].copy_from_slice(upper);
                (asked.channels, asked.pixels) = (*channels, *pixels);
            }
        }
        asked
    }
}

type EncodeFunction = unsafe extern "C" fn(*const EmuTensorMap, *mut MapBytes, *mut c_char, usize) -> i32;

unsafe extern "C" {
    fn rir_emu_encode_map(
        asked: *const EmuTensorMap,
        map: *mut MapBytes,
        message: *mut c_char,
        message_bytes: usize,
    ) -> i32;
}

impl EmulatorDriver {
    fn encode_function(&self) -> Result<EncodeFunction> {
        match &self.code {
            Code::BuiltIn => Ok(rir_emu_encode_map),
            // SAFETY: the symbol is of this type by `kernels/emu/emu.h`.
            Code::Loaded(library) => unsafe { super::symbol(library, c"rir_emu_encode_map") },
        }
    }

    /// A tensor map as the emulator's bulk copies read it.
    pub(super) fn encode_map(&self, launch: &Launch, map: &TensorMap) -> Result<MapBytes> {
        let encode = self.encode_function()?;
        let (asked, mut encoded) = (EmuTensorMap::of(map), MapBytes([0; 128]));
        let mut message = [0 as c_char; 1024];
        // SAFETY: all three live through the call, which writes the map's 128 bytes and a message that ends.
        let failed = unsafe { encode(&asked, &mut encoded, message.as_mut_ptr(), message.len()) != 0 };
        if !failed {
            return Ok(encoded);
        }
        // SAFETY: the emulator terminates the message within its length.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
        Err(Error::device(format!("{}: kernel {}: a tensor map: {message}", launch.node, launch.kernel)))
    }
}
