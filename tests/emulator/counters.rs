//! What the tiled convolutions move, counted access by access: no bank conflict, and no sector read in vain. On tensor
//! cores, also exactly as many bytes and products as the arithmetic of their tiles says.

use rir::device::cuda::choices::predict::predict;
use rir::device::cuda::driver::Driver;
use rir::device::cuda::emulator::{Counters, EmulatorDriver};
use rir::device::cuda::launch::conv2d::Extents;
use rir::device::cuda::launch::wgmma::{self, Tile};
use rir::device::cuda::launch::{Address, Memory, Site, View, launches, scratch};
use rir::device::cuda::{Choices, Generation, Kernels, kernels::forms};
use rir::graph::{DType, Graph, Precision, Role, Shape, lower, plan};
use rir::ops::{Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Op};

/// Runs one operation on zeros and counts.
fn count(op: Op, shapes: [[usize; 4]; 2], precision: Precision, kernels: Kernels) -> Counters {
    let mut graph = Graph::new();
    let inputs = shapes.map(|shape| graph.input("x", shape, Role::Activation));
    graph.push(op, &inputs).unwrap();
    let plan = plan(&lower(&graph, precision).unwrap(), &scratch);
    let mut card = EmulatorDriver::new(0);
    let none = Address::default();
    let workspace = card.allocate(plan.workspace_bytes).unwrap();
    let (parameters, running) = (Vec::new(), Vec::new());
    let memory = Memory { regions: [none; 5], parameters, running, workspace, step: none, state: none };
    let table = View { address: none, bytes: 0 };
    card.count();
    let multiprocessors = card.multiprocessors();
    let choices = Choices { multiprocessors, ..Choices::new(kernels, card.generation()) };
    let site = Site { plan: &plan, n: 0, memory: &memory, choices: &choices, table };
    launches(&site).unwrap().iter().for_each(|launch| card.launch(launch).unwrap());
    card.counters().unwrap()
}

/// Forward product, data gradient and weight gradient, 3x3, of images of as many channels before as after.
fn products(image: [usize; 4]) -> [(Op, [[usize; 4]; 2]); 3] {
    let (conv, channels) = (Conv2d::same(3, 1), image[3]);
    let filter = [channels, 3, 3, channels];
    let shape = |extents: [usize; 4]| Shape::from(extents);
    let data = Conv2dDataGrad::new(conv, shape(image));
    let weight = Conv2dWeightGrad { conv, filter: shape(filter) };
    [(conv.into(), [image, filter]), (data.into(), [image, filter]), (weight.into(), [image, image])]
}

fn assert_no_waste(c: &Counters, name: &str) {
    assert!(c.shared_accesses > 0 && c.global_read_bytes > 0, "{name}: {c:?}");
    assert_eq!(c.shared_cycles, c.shared_least_cycles, "{name}: {c:?}");
    // A sector is 32 bytes. Lanes that read the same bytes share them, so there may be fewer.
    assert!(32 * c.global_read_sectors <= c.global_read_bytes, "{name}: {c:?}");
    assert!(32 * c.global_written_sectors <= c.global_written_bytes, "{name}: {c:?}");
}

#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn tiled_convolutions_have_no_bank_conflicts_and_use_whole_sectors() {
    for channels in [32, 64, 96] {
        for (op, shapes) in products([1, 8, 8, channels]) {
            let name = format!("{}, {channels} channels", op.operation().name());
            let c = count(op, shapes, Precision::F32, Kernels::Tiled);
            assert_no_waste(&c, &name);
            assert_eq!(c.matrix_instructions, 0, "{name}");
        }
    }
}

/// One tile of 128 pixels, as wide as the channels; of the weight gradient as many tiles as its rows fill.
#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn tensor_cores_move_and_multiply_what_their_tiles_say() {
    const PIXELS: u64 = 8 * 16;
    // (pixel, tap) pairs inside of the image: of 3 taps a pixel, each border lacks one.
    const PAIRS: u64 = (3 * 8 - 2) * (3 * 16 - 2);
    const DEPTH: u64 = 32;
    // Columns; rows and columns of a warp, and warps.
    let tiles =
        [(32, [32, 32], 4), (64, [64, 32], 4), (96, [64, 48], 4), (128, [64, 64], 4), (192, [64, 48], 8)];
    for (columns, warp, warps) in tiles {
        let columns: u64 = columns;
        let filter = 9 * columns * columns;
        for (op, shapes) in products([1, 8, 16, columns as usize]) {
            let name = format!("{}, {columns} channels", op.operation().name());
            let of_weights = matches!(op, Op::Conv2dWeightGrad(_));
            let c = count(op, shapes, Precision::Bf16, Kernels::Mma);
            assert_no_waste(&c, &name);

            let (blocks, steps) = if of_weights {
                ((9 * columns).div_ceil(128), PIXELS / DEPTH)
            } else {
                (1, 9 * columns / DEPTH)
            };
            assert_eq!(c.matrix_instructions, blocks * steps * (128 * columns * DEPTH / 2048), "{name}");

            let copied = blocks * steps * (128 + columns) * DEPTH * 2;
            let loaded = blocks * steps * warps * (warp[0] + warp[1]) * DEPTH * 2;
            let sums = 128 * columns * 4;
            // Of the weight gradient: where the pixels of every step begin, 8 bytes each, those of the first four steps
            // at once and four more with every fourth; read by the eight threads that copy a part of a row.
            let places =
                [blocks * (4 + steps.next_multiple_of(4)) * DEPTH * 8, blocks * steps * DEPTH * 8 * 8];
            let shared = if of_weights {
                [copied + places[0], loaded + places[1]]
            } else {
                [copied + sums, loaded + sums]
            };
            assert_eq!([c.shared_written_bytes, c.shared_read_bytes], shared, "{name}");

            let global = if of_weights {
                [2 * (PAIRS * columns + blocks * PIXELS * columns), 4 * filter]
            } else {
                [2 * (PAIRS * columns + filter), 2 * PIXELS * columns]
            };
            assert_eq!([c.global_read_bytes, c.global_written_bytes], global, "{name}");
        }
    }
}

/// What copies bring to shared memory and products read from it, and the products, are those of the arithmetic that
/// predictions are made of. Filters that stay come once for each of the emulator's four blocks.
#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn wgmma_moves_and_multiplies_what_its_predictions_say() {
    const BLOCKS: u64 = 4;
    const IMAGES: usize = 4;
    for channels in [96, 192] {
        for (op, shapes) in products([IMAGES, 16, 16, channels]) {
            let inputs = shapes.map(Shape::from);
            let inputs: Vec<&Shape> = inputs.iter().collect();
            let extents = Extents::of_op(&op, &inputs).unwrap();
            let weight_grad = matches!(op, Op::Conv2dWeightGrad(_));
            let flops = 2.0 * (IMAGES * 256 * 9 * channels * channels) as f64;
            let of_hopper = forms(&op, &inputs, DType::Bf16, Generation::Hopper);
            for form in of_hopper.into_iter().filter(|form| form.needs_hopper()) {
                let name = format!("{}, {channels} channels, {form}", op.operation().name());
                let c = count(op.clone(), shapes, Precision::Bf16, form);
                let columns = wgmma::columns(form, weight_grad, extents.columns(&op));
                let tile = Tile::new(form, &op, &extents, columns);
                let splits = if weight_grad { tile.splits(&extents, 4) } else { 1 };
                let predicted = predict(4, tile, &op, &extents, splits);
                let stay = form == Kernels::WgmmaResident;
                let filters = if stay { BLOCKS * 2 * 9 * (channels * channels) as u64 } else { 0 };
                let moved = c.bulk_arrived_bytes + c.warpgroup_read_bytes - filters;
                assert_eq!(moved as f64, (predicted.shared_bytes_per_flop * flops).round(), "{name}: {c:?}");
                assert!(c.warpgroup_flops as f64 >= flops, "{name}");
                assert!(c.bulk_read_bytes <= c.bulk_arrived_bytes, "{name}");
                assert_eq!(c.shared_cycles, c.shared_least_cycles, "{name}: {c:?}");
            }
        }
    }
}
