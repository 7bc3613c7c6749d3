//! What the tiled convolutions move, counted access by access: no bank conflict, and no sector read in vain.

use rir::device::cuda::Kernels;
use rir::device::cuda::driver::Driver;
use rir::device::cuda::emulator::{Counters, EmulatorDriver};
use rir::device::cuda::launch::{Address, Memory, Site, View, launches, scratch};
use rir::graph::{Graph, Precision, Role, Shape, lower, plan};
use rir::ops::{Addend, Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Op};

/// Runs one operation on zeros, in f32, and counts.
fn count(op: Op, shapes: [[usize; 4]; 2]) -> Counters {
    let mut graph = Graph::new();
    let inputs = shapes.map(|shape| graph.input("x", shape, Role::Activation));
    graph.push(op, &inputs).unwrap();
    let plan = plan(&lower(&graph, Precision::F32).unwrap(), &scratch);
    let mut card = EmulatorDriver::new(0);
    let none = Address::default();
    let workspace = card.allocate(plan.workspace_bytes).unwrap();
    let (parameters, running) = (Vec::new(), Vec::new());
    let memory = Memory { regions: [none; 4], parameters, running, workspace, step: none, state: none };
    let table = View { address: none, bytes: 0 };
    card.count();
    let site = Site { plan: &plan, n: 0, memory: &memory, kernels: Kernels::Tiled, table };
    launches(&site).unwrap().iter().for_each(|launch| card.launch(launch).unwrap());
    card.counters().unwrap()
}

#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn tiled_convolutions_have_no_bank_conflicts_and_use_whole_sectors() {
    let conv = Conv2d::same(3, 1);
    for channels in [32, 64, 96] {
        let (image, filter) = ([1, 8, 8, channels], [channels, 3, 3, channels]);
        let shape = |extents: [usize; 4]| Shape::from(extents);
        let data = Conv2dDataGrad { conv, input: shape(image), addend: Addend::None };
        let weight = Conv2dWeightGrad { conv, filter: shape(filter) };
        let cases: [(Op, [usize; 4]); 3] =
            [(conv.into(), filter), (data.into(), filter), (weight.into(), image)];
        for (op, second) in cases {
            let name = op.operation().name();
            let c = count(op, [image, second]);
            assert!(c.shared_accesses > 0 && c.global_read_bytes > 0, "{name}: {c:?}");
            assert_eq!(c.shared_cycles, c.shared_least_cycles, "{name}, {channels} channels: {c:?}");
            // A sector is 32 bytes. Lanes that read the same bytes share them, so there may be fewer.
            assert!(32 * c.global_read_sectors <= c.global_read_bytes, "{name}, {channels} channels: {c:?}");
            assert!(32 * c.global_written_sectors <= c.global_written_bytes, "{name}, {channels}: {c:?}");
        }
    }
}
