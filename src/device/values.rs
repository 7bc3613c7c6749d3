//! Numbers as a device stores them, to and from `f64`, which holds every storage type exactly.

use bytemuck::Pod;
use half::bf16;

use super::cpu::element::{Element, Real};
use crate::error::{Error, Result};
use crate::graph::DType;

/// # Errors
/// If the lengths differ; says both.
pub fn expect_length(what: &str, got: usize, want: usize) -> Result<()> {
    if got == want {
        return Ok(());
    }
    Err(Error::device(format!("{what} has {want} elements, got {got}")))
}

fn narrow<T: Element>(bytes: &mut [u8], data: &[f64]) {
    let out: &mut [T] = bytemuck::cast_slice_mut(bytes);
    out.iter_mut().zip(data).for_each(|(o, x)| *o = T::store(T::Acc::from_f64(*x)));
}

fn widen<T: Element>(bytes: &[u8]) -> Vec<f64> {
    bytemuck::cast_slice::<u8, T>(bytes).iter().map(|x| x.load().to_f64()).collect()
}

fn convert<T: Pod>(bytes: &mut [u8], data: &[f64], f: impl Fn(f64) -> T) {
    bytemuck::cast_slice_mut::<u8, T>(bytes).iter_mut().zip(data).for_each(|(o, x)| *o = f(*x));
}

/// Stores numbers as `dtype`, rounded to nearest; bits from zeros and others.
pub fn encode(bytes: &mut [u8], dtype: DType, data: &[f64]) {
    match dtype {
        DType::F64 => narrow::<f64>(bytes, data),
        DType::F32 => narrow::<f32>(bytes, data),
        DType::Bf16 => narrow::<bf16>(bytes, data),
        DType::I32 => convert(bytes, data, |x| x as i32),
        DType::U8 => {
            bytes.fill(0);
            for (i, _) in data.iter().enumerate().filter(|(_, x)| **x != 0.0) {
                bytes[i / 8] |= 1 << (i % 8);
            }
        }
    }
}

/// The `elements` numbers that `bytes` store as `dtype`; bits as zeros and ones.
pub fn decode(bytes: &[u8], dtype: DType, elements: usize) -> Vec<f64> {
    match dtype {
        DType::F64 => widen::<f64>(bytes),
        DType::F32 => widen::<f32>(bytes),
        DType::Bf16 => widen::<bf16>(bytes),
        DType::I32 => bytemuck::cast_slice::<u8, i32>(bytes).iter().map(|x| f64::from(*x)).collect(),
        DType::U8 => (0..elements).map(|i| f64::from(bytes[i / 8] >> (i % 8) & 1)).collect(),
    }
}
