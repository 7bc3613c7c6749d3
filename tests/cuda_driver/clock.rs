//! The clock of a card, its properties, and what profilers are told.

use rir::device::Pace;
use rir::device::cuda::driver::Mark;
use rir::device::cuda::timing::{clock, time};

use super::stand_in::with_driver;
use super::*;

const WARM: Pace = Pace { samples: 4, runs: 3, cold: false };

/// What the counter at `at` says.
fn counted(card: &mut CardDriver, at: Address) -> u32 {
    let mut bytes = [0; 4];
    card.download(at, &mut bytes).unwrap();
    u32::from_ne_bytes(bytes)
}

with_driver! {
    fn launches_are_timed_as_graphs_and_one_by_one() {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        for (graph, pace) in [(true, WARM), (false, WARM), (true, Pace { cold: true, runs: 1, ..WARM })] {
            let before = counted(&mut card, x);
            let figures = time(&mut card, &[count(x), count(x)], graph, pace).unwrap();
            assert_eq!(figures.len(), pace.samples);
            assert!(figures.iter().all(|&seconds| seconds > 0.0 && seconds < 1.0), "{figures:?}");
            assert_eq!(counted(&mut card, x) - before, (2 * pace.samples * pace.runs) as u32);
        }
        assert_eq!(time(&mut card, &[], true, WARM).unwrap().len(), WARM.samples);
        let free = card.free_bytes().unwrap();
        time(&mut card, &[count(x)], true, Pace { cold: true, ..WARM }).unwrap();
        assert_eq!(card.free_bytes().unwrap(), free, "what displaces the cache is given back");
    }
}

with_driver! {
    fn longer_work_takes_longer() {
        let mut card = open();
        let elements = 1 << 16;
        let x = card.allocate(4 * elements as usize).unwrap();
        let fastest = |figures: Vec<f64>| figures.into_iter().fold(f64::INFINITY, f64::min);
        let short = fastest(time(&mut card, &[scale(x, x, 256, 1.0)], true, WARM).unwrap());
        let long = fastest(time(&mut card, &[scale(x, x, elements, 1.0)], true, WARM).unwrap());
        assert!(long > 4.0 * short, "{long} {short}");
    }
}

with_driver! {
    fn marks_are_used_again() {
        let mut card = open();
        let [from, to] = [0, 1].map(|_| clock(&mut card).unwrap().mark().unwrap());
        assert!(clock(&mut card).unwrap().between(from, to).unwrap() >= 0.0);
        clock(&mut card).unwrap().forget();
        let forgotten = clock(&mut card).unwrap().between(from, to).unwrap_err().to_string();
        assert!(forgotten.contains("forgotten"), "{forgotten}");
        let again: Mark = clock(&mut card).unwrap().mark().unwrap();
        assert_eq!(again, from);
    }
}

with_driver! {
    fn a_copy_within_the_card() {
        let mut card = open();
        let (x, y) = (card.allocate(400).unwrap(), card.allocate(400).unwrap());
        card.upload(x, bytemuck::cast_slice(&[3_f32; 100])).unwrap();
        clock(&mut card).unwrap().copy(x, y, 400).unwrap();
        assert_eq!(numbers(&mut card, y, 100), [3.0; 100]);
        assert!(clock(&mut card).unwrap().copy(x, y, 404).unwrap_err().to_string().contains("no memory"));
    }
}

with_driver! {
    fn a_card_says_what_it_is("L2" = "1000000", "MULTIPROCESSORS" = "7") {
        let properties = open().properties().unwrap();
        assert_eq!(properties.name, "cuda:0 (Stand-in 0)");
        assert_eq!(properties.driver.as_deref(), Some("CUDA 13.0"));
        assert_eq!((properties.sm_count, properties.l2_bytes), (Some(7), Some(1_000_000)));
        assert_eq!((properties.memory_bytes, properties.clock_khz), (Some(1 << 28), Some(1_980_000)));
    }
}

with_driver! {
    fn a_fault_ends_a_timing("FAIL" = "3:700") {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let said = time(&mut card, &[count(x)], true, WARM).unwrap_err().to_string();
        assert!(said.contains("CUDA_ERROR_ILLEGAL_ADDRESS"), "{said}");
    }
}

with_driver! {
    fn a_profiler_is_told_every_launch() {
        let mut card = open().named().unwrap();
        let x = card.allocate(4).unwrap();
        for _ in 0..3 {
            card.launch(&scale(x, x, 1, 1.0)).unwrap();
        }
        // SAFETY: the stand-in of the profiler's library, which the driver has loaded; both functions count.
        let [opened, depth] = [b"standin_ranges_opened\0".as_slice(), b"standin_ranges_depth\0"].map(|name| unsafe {
            let library = libloading::Library::new("libnvtx3interop.so").unwrap();
            library.get::<unsafe extern "C" fn() -> i32>(name).unwrap()()
        });
        assert_eq!((opened, depth), (3, 0));
    }
}
