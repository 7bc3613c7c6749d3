//! The driver of cards without a card: each test runs again in a process of its own, where `libcuda` is the stand-in of
//! `kernels/emu/driver/`, set up as the test wants it.
#![cfg(target_os = "linux")]

#[cfg(all(rir_cuda, rir_emu))]
mod bench;
mod clock;
// The kernels that the device launches are those of the build, so it has to have some.
#[cfg(all(rir_cuda, rir_emu))]
mod device;
mod failures;
mod overlap;
mod stand_in;
#[cfg(all(rir_cuda, rir_emu))]
#[allow(dead_code)]
#[path = "../training/tiny.rs"]
mod tiny;
#[cfg(all(rir_cuda, rir_emu))]
mod tune;
mod work;

use rir::device::cuda::images::{Architecture, Image, Images};
use rir::device::cuda::launch::{Address, Launch, View};
use rir::device::cuda::{CardDriver, driver::Driver};

/// Images as the stand-in takes them: what is in them is the emulator's affair.
fn images() -> Images {
    use std::io::Write;
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(b"\x7fELF of no content").unwrap();
    let compressed: &'static [u8] = encoder.finish().unwrap().leak();
    let architecture = Architecture { capability: (9, 0), exact: true, ptx: false };
    let kernels = &["standin_scale", "standin_count", "standin_missing"];
    let all = Box::leak(Box::new([Image { family: "standin", architecture, kernels, compressed }]));
    Images { all, toolkit: (13, 0) }
}

fn open() -> CardDriver {
    CardDriver::open(0, images()).unwrap()
}

/// `ScaleParams` of `kernels/emu/driver/kernels.cu`.
#[repr(C)]
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
struct ScaleParams {
    x: Address,
    y: Address,
    elements: u64,
    factor: f32,
    padding: u32,
}

/// y = factor x, over `elements` numbers.
fn scale(x: Address, y: Address, elements: u32, factor: f32) -> Launch {
    let bytes = 4 * elements as usize;
    let mut launch = Launch::new("standin_scale").over([elements.div_ceil(256), 1, 1], [256, 1, 1]);
    let params = ScaleParams {
        x: launch.reads(View { address: x, bytes }),
        y: launch.writes(View { address: y, bytes }),
        elements: u64::from(elements),
        factor,
        padding: 0,
    };
    launch.node = "group1.block1: scale".into();
    launch.with(&params)
}

/// Adds one to the number at `counter`.
fn count(counter: Address) -> Launch {
    let mut launch = Launch::new("standin_count");
    let counter = launch.writes(View { address: counter, bytes: 4 });
    launch.with(&counter)
}

fn numbers(card: &mut CardDriver, from: Address, elements: usize) -> Vec<f32> {
    let mut out = vec![0_f32; elements];
    card.download(from, bytemuck::cast_slice_mut(&mut out)).unwrap();
    out
}
