//! The CUDA kernels, run on the processor by the emulator: operations, whole networks, and training from a set on the
//! device. Every access of every kernel is checked on the way: bounds, alignment, races, deadlocks.
#![cfg(rir_emu)]

#[path = "../common/mod.rs"]
mod common;
mod counters;
mod fed;
mod network;
mod passes;
mod sources;
mod table;

use rir::device::Device;
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::{CudaDevice, Kernels, Options};
use rir::graph::{Precision, StateLayout};

/// The kernels of this build.
fn driver(seed: u64) -> EmulatorDriver {
    EmulatorDriver::new(seed)
}

/// An emulated card whose order of threads follows from `seed`.
fn open(layout: &StateLayout, precision: Precision, seed: u64, options: Options) -> rir::Result<CudaDevice> {
    CudaDevice::new(Box::new(driver(seed)), layout, precision, options)
}

/// With the kernels that run unasked.
fn emulator(layout: &StateLayout, precision: Precision) -> rir::Result<Box<dyn Device>> {
    Ok(Box::new(open(layout, precision, 1, Options::default())?))
}

/// With naive kernels, and threads in another order.
fn naive(layout: &StateLayout, precision: Precision) -> rir::Result<Box<dyn Device>> {
    let options = Options { kernels: Kernels::Naive, ..Options::default() };
    Ok(Box::new(open(layout, precision, 2, options)?))
}
