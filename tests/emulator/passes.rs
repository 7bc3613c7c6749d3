//! Passes over a tensor: what they move, counted access by access; that any number of rows a thread gives the same bits;
//! and that a large mean cancels nothing.

use rir::check::cases::{Fill, Input, Limit};
use rir::check::{Case, run_case};
use rir::device::Device;
use rir::device::cuda::driver::Driver;
use rir::device::cuda::emulator::{Counters, EmulatorDriver};
use rir::device::cuda::launch::join::join;
use rir::device::cuda::launch::{Address, Launch, Memory, Site, View, launches, scratch};
use rir::device::cuda::{Choices, Generation, Options};
use rir::graph::{Graph, Plan, Precision, Role, Shape, lower, plan};
use rir::ops::{
    BatchNorm, BatchNormBackward, Cast, Op, Outer, ScaleShift, Shortcut, TwoStreamBackward, TwoStreamUpdate,
};

/// 12 vectors a row, 1536 in all: six blocks.
const IMAGE: [usize; 4] = [2, 8, 8, 96];
const CHANNELS: usize = IMAGE[3];
const ELEMENTS: u64 = 2 * 8 * 8 * 96;
/// Threads, where each has one vector.
const THREADS: u64 = ELEMENTS / 8;

/// Inputs in an operation's order: what lies as z does, the mask, statistics, per-channel vectors.
#[derive(Clone, Copy)]
enum Kind {
    Tensor([usize; 4]),
    Mask,
    Statistics,
    Vector,
}
use Kind::{Mask, Statistics, Tensor, Vector};

const Z: Kind = Tensor(IMAGE);
const NORM: [Kind; 4] = [Z, Statistics, Vector, Vector];
const GRADIENT: [Kind; 5] = [Z, Statistics, Vector, Vector, Vector];

/// An operation's plan with random inputs on an emulated card.
struct Run {
    card: EmulatorDriver,
    plan: Plan,
    memory: Memory,
    choices: Choices,
}

impl Run {
    fn new(op: &Op, inputs: &[Kind], precision: Precision) -> Self {
        let mut graph = Graph::new();
        let values: Vec<_> = (inputs.iter())
            .map(|kind| {
                let (shape, role): (Shape, Role) = match *kind {
                    Tensor(extents) => (extents.into(), Role::Activation),
                    Mask => (IMAGE.into(), Role::Mask),
                    Statistics => ([2, CHANNELS].into(), Role::Exact),
                    Vector => ([CHANNELS].into(), Role::Exact),
                };
                graph.input("x", shape, role)
            })
            .collect();
        let outputs = graph.push(op.clone(), &values).unwrap();
        outputs.iter().for_each(|&v| graph.results.push(("out".into(), v)));
        Self::of(&graph, precision)
    }

    fn of(graph: &Graph, precision: Precision) -> Self {
        let plan = plan(&lower(graph, precision).unwrap(), &scratch);
        let mut card = crate::driver(0);
        let none = Address::default();
        let workspace = card.allocate(plan.workspace_bytes).unwrap();
        let (parameters, running) = (Vec::new(), Vec::new());
        let memory = Memory { regions: [none; 5], parameters, running, workspace, step: none, state: none };
        // Bytes of which every f32 and bf16 is an ordinary number, and every variance is positive.
        let bytes: Vec<u8> =
            (0..plan.workspace_bytes).map(|i| if i % 2 == 0 { (i * 37 % 251) as u8 } else { 0x3f }).collect();
        card.upload(workspace, &bytes).unwrap();
        let choices = Choices { generation: Generation::Hopper, multiprocessors: 4, ..Choices::default() };
        Self { card, plan, memory, choices }
    }

    fn site(&self, n: usize) -> Site<'_> {
        let table = View { address: Address::default(), bytes: 0 };
        Site { plan: &self.plan, n, memory: &self.memory, choices: &self.choices, table }
    }

    fn launches(&self) -> Vec<Vec<Launch>> {
        (0..self.plan.graph.nodes.len()).map(|n| launches(&self.site(n)).unwrap()).collect()
    }

    /// The node's one launch; by this grid in place of its own.
    fn pass(&mut self, grid: Option<[u32; 3]>) -> Counters {
        let mut launches = self.launches().concat();
        assert_eq!(launches.len(), 1, "one pass is one launch");
        launches[0].grid = grid.unwrap_or(launches[0].grid);
        self.card.count();
        self.card.launch(&launches[0]).unwrap();
        self.card.counters().unwrap()
    }

    fn outputs(&mut self) -> Vec<Vec<u8>> {
        let views: Vec<View> =
            self.plan.graph.results.iter().map(|(_, v)| self.memory.value(&self.plan, *v)).collect();
        let read = |view: View| {
            let mut bytes = vec![0; view.bytes];
            self.card.download(view.address, &mut bytes).unwrap();
            bytes
        };
        views.into_iter().map(read).collect()
    }
}

fn update(outer: Outer) -> Op {
    TwoStreamUpdate { outer }.into()
}

#[test]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn a_fused_pass_moves_each_element_once_in_whole_sectors() {
    let backward = |projected| -> Op { TwoStreamBackward { projected, masked: true }.into() };
    // Tensors that are read and written, and the per-channel vectors that a thread reads.
    let cases: [(Op, Vec<Kind>, [u64; 3]); 5] = [
        (update(Outer::None), NORM.to_vec(), [1, 1, 4]),
        (update(Outer::Identity), [&NORM[..], &[Z]].concat(), [2, 1, 4]),
        (update(Outer::Projection), [NORM, NORM].concat(), [2, 1, 8]),
        (backward(false), [&[Z, Mask][..], &GRADIENT].concat(), [2, 1, 5]),
        (backward(true), [&[Z, Mask][..], &GRADIENT, &GRADIENT].concat(), [3, 2, 10]),
    ];
    for (op, inputs, [read, written, vectors]) in cases {
        let name = format!("{op:?}");
        let is_backward = matches!(op, Op::TwoStreamBackward(_));
        let [mask_read, mask_written] = if is_backward { [ELEMENTS / 8, 0] } else { [0, ELEMENTS / 8] };
        let c = Run::new(&op, &inputs, Precision::Bf16).pass(None);
        let data = 2 * ELEMENTS * read + mask_read;
        // Eight f32 of each vector.
        assert_eq!(c.global_read_bytes, data + THREADS * vectors * 32, "{name}: {c:?}");
        assert_eq!(c.global_written_bytes, 2 * ELEMENTS * written + mask_written, "{name}: {c:?}");
        assert_eq!(32 * c.global_written_sectors, c.global_written_bytes, "{name}: {c:?}");
        // A warp meets the 12 groups of channels, a sector each, by two accesses of 16 bytes a lane.
        let constants = THREADS / 32 * vectors * 2 * 12;
        assert_eq!(c.global_read_sectors, data / 32 + constants, "{name}: {c:?}");
        assert_eq!(c.shared_accesses, 0, "{name}: {c:?}");
    }
}

#[test]
pub fn any_share_of_the_rows_in_any_order_gives_the_same_bits() {
    let subsampled = Outer::Subsampled(Shortcut::new(2, CHANNELS, 48));
    let cases: [(Op, Vec<Kind>); 8] = [
        (update(Outer::Identity), [&NORM[..], &[Z]].concat()),
        (update(subsampled), [&NORM[..], &[Tensor([2, 16, 16, 48])]].concat()),
        (update(Outer::Projection), [NORM, NORM].concat()),
        (TwoStreamBackward { projected: false, masked: true }.into(), [&[Z, Mask][..], &GRADIENT].concat()),
        (
            TwoStreamBackward { projected: true, masked: true }.into(),
            [&[Z, Mask][..], &GRADIENT, &GRADIENT].concat(),
        ),
        (BatchNorm.into(), NORM.to_vec()),
        (BatchNormBackward.into(), [&[Z], &GRADIENT[..]].concat()),
        (ScaleShift.into(), vec![Z, Statistics]),
    ];
    for (op, inputs) in cases {
        for precision in [Precision::F32, Precision::Bf16] {
            let of = |grid, ascending| {
                let mut run = Run::new(&op, &inputs, precision);
                run.choices.ascending = ascending;
                run.pass(grid);
                run.outputs()
            };
            // Three blocks have a multiple of 12 threads: two rows a thread in place of one; and again one, in two runs;
            // and some of three runs without a row.
            let descending = of(None, false);
            for grid in [None, Some([3, 1, 1]), Some([3, 2, 1]), Some([3, 3, 1])] {
                assert!(of(grid, true) == descending, "{op:?} in {precision}: {grid:?}");
                assert!(of(grid, false) == descending, "{op:?} in {precision}: {grid:?}, descending");
            }
        }
    }
}

#[test]
pub fn neighbouring_casts_share_a_launch() {
    let mut graph = Graph::new();
    for elements in [5, 96, 2000] {
        let x = graph.input("x", [elements], Role::Exact);
        let y = graph.push(Cast { from: Role::Exact, to: Role::Activation }.into(), &[x]).unwrap()[0];
        // Kept: the memory of an input that nobody reads again might be the next output's, which then has to wait.
        graph.results.extend([("x".into(), x), ("y".into(), y)]);
    }
    let run = |share: bool| {
        let mut run = Run::of(&graph, Precision::Bf16);
        let mut launches = run.launches();
        if share {
            let sites: Vec<Site<'_>> = (0..3).map(|n| run.site(n)).collect();
            join(&sites, &mut launches);
            assert_eq!([launches[0].len(), launches[1].len(), launches[2].len()], [1, 0, 0]);
            assert_eq!(launches[0][0].grid, [1, 3, 1]);
        }
        launches.concat().iter().for_each(|launch| run.card.launch(launch).unwrap());
        run.outputs()
    };
    assert!(run(true) == run(false));
}

/// Of numbers about 2^16 whose deviation is 2^8, as f32 has them, the mean is taken off without a rounding. A pass that
/// folds the mean into the shift errs by 2^8 units in the last place, 20 times the limit.
#[test]
pub fn a_large_mean_cancels_nothing() {
    const FAR: Fill = Fill::Offset(65536.0);
    for channels in [96, 10] {
        let z = Shape::from([2, 4, 4, channels]);
        let input = |shape: Shape, fill| Input { shape, fill };
        let vector = |fill| input([channels].into(), fill);
        // Means and variances about 2^16.
        let statistics = || input([2, channels].into(), FAR);
        let norm = || [input(z.clone(), FAR), statistics(), vector(Fill::Normal), vector(Fill::Normal)];
        let gradient = || {
            let [z, statistics, scale, _] = norm();
            let sums = || vector(Fill::Scaled(32.0));
            vec![input(z.shape.clone(), Fill::Normal), z, statistics, scale, sums(), sums()]
        };
        let mut masked = gradient();
        masked.insert(1, input(z.clone(), Fill::Mask));
        let cases: [(Op, Vec<Input>); 4] = [
            (BatchNorm.into(), norm().to_vec()),
            (update(Outer::None), norm().to_vec()),
            (BatchNormBackward.into(), gradient()),
            (TwoStreamBackward { projected: false, masked: true }.into(), masked),
        ];
        for (op, inputs) in cases {
            let form = format!("c{channels}-far");
            let (kinds, precision, limit) = (Vec::new(), Precision::F32, Limit::Sum(1));
            let case = Case { op, form, inputs, kinds, precision, kernels: None, limit };
            let result = run_case(&case, &|layout, precision, kernels| {
                let options = Options { kernels, ..Options::default() };
                Ok(Box::new(crate::open(layout, precision, 3, options)?) as Box<dyn Device>)
            });
            assert!(result.passed, "{}: error {:.1e}, {:?}", case.name(), result.error, result.failure);
        }
    }
}
