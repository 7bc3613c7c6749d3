//! The end of the data gradient that no operation of the graph asks for yet: the ReLU before it, and the sums of the batch
//! norms before that. Launched as the operation without it is, with the kernel's own fields filled in.

use rir::check::limits::relative_error;
use rir::device::cuda::Kernels;
use rir::device::cuda::driver::Driver;
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::launch::{Address, Memory, Site, Touched, View, launches, scratch};
use rir::graph::{Graph, Precision, Role, lower, plan};
use rir::ops::{Addend, Conv2d, Conv2dDataGrad};

use crate::card;
use crate::common::normals;

/// Byte offsets in `DataGradParams` of `kernels/conv2d/params.cuh`.
const DX: usize = 32;
const RELU: usize = 40;
const Z: usize = 48;
const STATS: usize = 64;
const PARTIALS: usize = 80;
/// Rows of a tile.
const ROWS: usize = 128;

struct Case {
    input: [usize; 4],
    filters: usize,
    stride: usize,
    branches: usize,
}

fn to_bf16(values: &[f64]) -> Vec<u16> {
    values.iter().map(|&v| ((v as f32).to_bits() >> 16) as u16).collect()
}

fn from_bf16(bits: &[u16]) -> Vec<f64> {
    bits.iter().map(|&b| f64::from(f32::from_bits(u32::from(b) << 16))).collect()
}

/// Memory of the card with these bytes.
fn put<T: bytemuck::NoUninit>(card: &mut EmulatorDriver, values: &[T]) -> View {
    let bytes = bytemuck::cast_slice::<T, u8>(values);
    let address = card.allocate(bytes.len()).unwrap();
    card.upload(address, bytes).unwrap();
    View { address, bytes: bytes.len() }
}

fn get<T: bytemuck::Pod>(card: &mut EmulatorDriver, view: View) -> Vec<T> {
    let mut values = vec![T::zeroed(); view.bytes / size_of::<T>()];
    card.download(view.address, bytemuck::cast_slice_mut(&mut values)).unwrap();
    values
}

/// The class of a pixel of each row of the partials' parts: parts count tiles of the largest class, class by class.
fn part_of(case: &Case, [image, y, x]: [usize; 3]) -> usize {
    let ([images, height, width, _], stride) = (case.input, case.stride);
    let positions = |extent: usize, residue: usize| (extent - residue).div_ceil(stride);
    let largest = (images * positions(height, 0) * positions(width, 0)).div_ceil(ROWS);
    let (class_y, class_x) = (y % stride, x % stride);
    let row = (image * positions(height, class_y) + y / stride) * positions(width, class_x) + x / stride;
    (class_y * stride + class_x) * largest + row / ROWS
}

fn hold(case: &Case, seed: u64) {
    let Case { input: input @ [images, height, width, channels], filters, stride, branches } = *case;
    let conv = Conv2d { identity: channels.min(filters) / 2, ..Conv2d::same(3, stride) };
    let out = |extent| conv.output_extent(extent, 3).unwrap();
    let mut graph = Graph::new();
    let dz = graph.input("dz", [images, out(height), out(width), filters], Role::Activation);
    let w = graph.input("w", [filters, 3, 3, channels], Role::Activation);
    let op = Conv2dDataGrad { conv, input: input.into(), addend: Addend::None };
    graph.push(op.into(), &[dz, w]).unwrap();
    let plan = plan(&lower(&graph, Precision::Bf16).unwrap(), &scratch);

    let mut card = card(seed).unwrap();
    let none = Address::default();
    let workspace = card.allocate(plan.workspace_bytes).unwrap();
    let (parameters, running) = (Vec::new(), Vec::new());
    let memory = Memory { regions: [none; 4], parameters, running, workspace, step: none, state: none };
    let table = View { address: none, bytes: 0 };
    let site = Site { plan: &plan, n: 0, memory: &memory, kernels: Kernels::Mma, table };
    for i in 0..2 {
        let view = site.input(i);
        let values = to_bf16(&normals(view.bytes / 2, seed, i as u32));
        card.upload(view.address, bytemuck::cast_slice(&values)).unwrap();
    }
    let [plain] = &launches(&site).unwrap()[..] else { panic!("one launch") };
    card.launch(plain).unwrap();
    let dx = get::<u16>(&mut card, site.output(0));

    let elements = dx.len();
    let bits: Vec<u8> = normals(elements.div_ceil(8), seed, 2).iter().map(|v| v.to_bits() as u8).collect();
    let z: Vec<Vec<u16>> = (0..branches).map(|b| to_bf16(&normals(elements, seed, 3 + b as u32))).collect();
    let means: Vec<Vec<f32>> = (0..branches)
        .map(|b| normals(2 * channels, seed, 8 + b as u32).iter().map(|&v| v as f32).collect())
        .collect();
    let parts = stride * stride * (images * height.div_ceil(stride) * width.div_ceil(stride)).div_ceil(ROWS);
    let unwritten = vec![f32::NAN; parts * (1 + branches) * channels];

    let mut fused = plain.clone();
    let g = put(&mut card, &vec![u16::MAX; elements]);
    let relu = put(&mut card, &bits);
    let partials = put(&mut card, &unwritten);
    let mut set = |offset: usize, view: View, writable: bool| {
        fused.params[offset..offset + 8].copy_from_slice(&view.address.0.to_ne_bytes());
        fused.tensors.push(Touched { view, writable });
    };
    set(DX, g, true);
    set(RELU, relu, false);
    set(PARTIALS, partials, true);
    for b in 0..branches {
        set(Z + 8 * b, put(&mut card, &z[b]), false);
        set(STATS + 8 * b, put(&mut card, &means[b]), false);
    }
    card.launch(&fused).unwrap();

    let passed = |at: usize| bits[at / 8] >> (at % 8) & 1 == 1;
    let want: Vec<u16> = (0..elements).map(|at| if passed(at) { dx[at] } else { 0 }).collect();
    let got = get::<u16>(&mut card, g);
    // A gradient of -0 stays one where its bit is set.
    assert!(got == want, "{input:?}: g is not dx where the bit is set, and else 0");

    let mut sums = vec![0.0; unwritten.len()];
    let (g, z): (Vec<f64>, Vec<Vec<f64>>) = (from_bf16(&want), z.iter().map(|z| from_bf16(z)).collect());
    for (at, &g) in g.iter().enumerate() {
        let (pixel, c) = (at / channels, at % channels);
        let place = [pixel / (height * width), pixel / width % height, pixel % width];
        let part = &mut sums[part_of(case, place) * (1 + branches) * channels..];
        part[c] += g;
        for b in 0..branches {
            part[(1 + b) * channels + c] += g * (z[b][at] - f64::from(means[b][c]));
        }
    }
    let got: Vec<f64> = get::<f32>(&mut card, partials).iter().map(|&v| f64::from(v)).collect();
    // A part adds 128 products in f32.
    let error = relative_error(&got, &sums);
    assert!(error <= 1e-6, "{input:?}, {branches} branches: sums off by {error:.1e}");
    let empty = sums.chunks(channels).filter(|part| part.iter().all(|&sum| sum == 0.0)).count();
    assert_eq!(empty, got.chunks(channels).filter(|part| part.iter().all(|&sum| sum == 0.0)).count());
}

/// Two tiles of rows or more, the last not full; under the stride, smaller classes that have a tile less; one pass and two;
/// channels in chunks and not.
#[test]
pub fn the_data_gradient_ends_with_relu_and_the_sums_of_its_batch_norms() {
    let cases = [
        Case { input: [3, 13, 13, 24], filters: 16, stride: 2, branches: 1 },
        Case { input: [3, 13, 13, 24], filters: 16, stride: 2, branches: 2 },
        Case { input: [3, 8, 7, 192], filters: 32, stride: 1, branches: 2 },
        Case { input: [2, 9, 9, 128], filters: 8, stride: 1, branches: 1 },
        Case { input: [2, 9, 9, 10], filters: 20, stride: 1, branches: 2 },
    ];
    for (seed, case) in cases.iter().enumerate() {
        hold(case, seed as u64);
    }
}
