//! Which launches may begin before the one before them has ended.

use rir::device::cuda::images::{Architecture, Image, Images};

use super::stand_in::with_driver;
use super::*;

/// Launches so far that the driver was told of as such.
fn marked() -> i32 {
    // SAFETY: the stand-in, which the test has loaded; the function takes nothing and counts.
    unsafe {
        let library = libloading::Library::new("libcuda.so").unwrap();
        library.get::<unsafe extern "C" fn() -> i32>(b"standin_programmatic_launches\0").unwrap()()
    }
}

/// How many more there are after `work`.
fn marks(work: impl FnOnce()) -> i32 {
    let before = marked();
    work();
    marked() - before
}

/// Launches and what may lie between them; the kernel was used before, so that it is loaded.
fn ready(mut card: CardDriver) -> (CardDriver, Launch, Address) {
    let x = card.allocate(400).unwrap();
    let launch = scale(x, x, 100, 1.0);
    card.launch(&launch).unwrap();
    card.synchronise().unwrap();
    (card, launch, x)
}

with_driver! {
    fn a_launch_that_follows_a_launch() {
        let (mut card, launch, x) = ready(open());
        assert!(card.overlaps());
        let three = |card: &mut CardDriver| (0..3).for_each(|_| card.launch(&launch).unwrap());
        assert_eq!(marks(|| three(&mut card)), 2);
        card.upload(x, &[0; 4]).unwrap();
        assert_eq!(marks(|| three(&mut card)), 2, "the first follows a copy");
        card.fill(x, 4, 0).unwrap();
        assert_eq!(marks(|| three(&mut card)), 2, "the first follows a fill");
        card.clock().unwrap().mark().unwrap();
        assert_eq!(marks(|| three(&mut card)), 2, "the first follows an event");
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn in_a_graph_all_but_the_first() {
        let (mut card, launch, x) = ready(open());
        let mut graph = None;
        assert_eq!(marks(|| graph = Some(card.capture(&[launch.clone(), count(x), launch.clone()]).unwrap())), 2);
        card.replay(graph.unwrap()).unwrap();
        assert_eq!(marks(|| card.launch(&launch).unwrap()), 0, "it follows a graph");
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn none_where_it_was_not_asked_for_or_each_is_waited_for() {
        for card in [open().overlapping(false), open().synchronous(true), open().named().unwrap()] {
            let (mut card, launch, _) = ready(card);
            assert!(!card.overlaps());
            assert_eq!(marks(|| (0..3).for_each(|_| card.launch(&launch).unwrap())), 0);
            assert_eq!(marks(|| _ = card.capture(&[launch.clone(), launch.clone()]).unwrap()), 0);
            card.synchronise().unwrap();
        }
    }
}

with_driver! {
    fn none_of_kernels_that_do_not_wait() {
        // A build without machine code for this card: its driver compiles what was written for 8.0.
        let architecture = Architecture { capability: (8, 0), exact: false, ptx: true };
        let all: Vec<Image> = images().all.iter().map(|&image| Image { architecture, ..image }).collect();
        let (mut card, launch, _) = ready(CardDriver::open(0, Images { all: all.leak(), toolkit: (13, 0) }).unwrap());
        assert!(!card.overlaps());
        assert_eq!(marks(|| (0..3).for_each(|_| card.launch(&launch).unwrap())), 0);
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn none_under_a_driver_that_cannot_capture_it("DRIVER" = "12020") {
        let images = Images { toolkit: (12, 0), ..images() };
        let (mut card, launch, _) = ready(CardDriver::open(0, images).unwrap());
        assert!(!card.overlaps());
        assert_eq!(marks(|| _ = card.capture(&[launch.clone(), launch.clone()]).unwrap()), 0);
    }
}
