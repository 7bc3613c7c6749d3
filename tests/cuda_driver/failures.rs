//! Each way in which a card can fail ends in one sentence that says what to do, and never in a panic or a hang.

use rir::device::cuda::images::Images;
use rir::error::Kind;

use super::stand_in::with_driver;
use super::*;

/// The error's sentence, which has to be one of the device's and name all of `parts`.
#[track_caller]
fn says<T>(result: rir::error::Result<T>, parts: &[&str]) -> String {
    let Err(error) = result else { panic!("it did not fail: {parts:?}") };
    assert_eq!(error.kind(), Kind::Device);
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "'{part}' is not in: {message}");
    }
    assert!(!message.contains('\n'), "{message}");
    message
}

with_driver! {
    fn no_card("DEVICES" = "0") {
        says(CardDriver::open(0, images()), &["cuda:0", "shows no card", "--device cpu"]);
    }
}

with_driver! {
    fn no_such_card("DEVICES" = "2") {
        says(CardDriver::open(2, images()), &["no card 2", "cuda:0 (Stand-in 0), cuda:1 (Stand-in 1)"]);
        CardDriver::open(1, images()).unwrap();
    }
}

with_driver! {
    fn a_driver_that_does_not_start("INIT" = "803") {
        says(CardDriver::open(0, images()), &["cannot start", "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH"]);
    }
}

with_driver! {
    fn an_old_driver("DRIVER" = "12080") {
        says(CardDriver::open(0, images()), &["release 12.8", "13.0 or newer", "580"]);
    }
}

with_driver! {
    fn an_old_card("CAPABILITY" = "75") {
        says(CardDriver::open(0, images()), &["Stand-in 0", "7.5", "8.0", "--device cpu"]);
    }
}

with_driver! {
    fn a_card_that_the_build_has_no_kernels_for("CAPABILITY" = "86") {
        says(CardDriver::open(0, images()), &["no kernels for Stand-in 0", "RIR_CUDA_ARCHS"]);
    }
}

with_driver! {
    fn a_build_without_kernels() {
        let none = Images { all: &[], toolkit: (0, 0) };
        says(CardDriver::open(0, none), &["holds no CUDA kernels", "kernels/get-nvcc.sh", "--device cpu"]);
    }
}

with_driver! {
    fn a_busy_card("BUSY" = "46") {
        says(CardDriver::open(0, images()), &["cannot be opened", "busy", "nvidia-smi"]);
    }
}

with_driver! {
    fn too_little_memory("MEMORY" = "1073741824") {
        let mut card = open();
        let at = card.allocate(1 << 29).unwrap();
        says(card.allocate(3 << 28), &["768.0 MiB of memory are needed", "512.0 MiB are free"]);
        card.free(at);
        card.allocate(3 << 28).unwrap();
    }
}

with_driver! {
    fn a_kernel_that_is_missing() {
        let mut card = open();
        says(card.launch(&Launch::new("relu_f32")), &["no kernel relu_f32"]);
        says(card.launch(&Launch::new("standin_missing")), &["standin_missing", "CUDA_ERROR_NOT_FOUND"]);
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn parameters_of_another_size() {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let mut launch = scale(x, x, 1, 1.0);
        launch.params.truncate(24);
        says(card.launch(&launch), &["24 bytes", "32"]);
    }
}

with_driver! {
    fn a_launch_that_is_refused_ends_no_capture_badly() {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let good = scale(x, x, 1, 1.0);
        let mut bad = good.clone();
        bad.block = [512, 1, 1];
        says(card.capture(&[good.clone(), bad]), &["group1.block1: scale", "refused", "invalid argument"]);
        let step = card.capture(&[good]).unwrap();
        card.replay(step).unwrap();
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn a_fault_shows_later_and_stays("FAIL" = "2:700") {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let mailbox = card.allocate_mailbox(4).unwrap();
        for _ in 0..3 {
            card.launch(&scale(x, x, 1, 1.0)).unwrap();
        }
        let expected = ["illegal memory access", "CUDA_ERROR_ILLEGAL_ADDRESS", "--no-graph --sync"];
        let first = says(card.synchronise(), &expected);
        assert_eq!(says(card.launch(&scale(x, x, 1, 1.0)), &[]), first);
        assert_eq!(says(card.upload(x, &[0; 4]), &[]), first);
        assert_eq!(says(card.download(x, &mut [0; 4]), &[]), first);
        assert_eq!(says(card.peek(mailbox, &mut [0; 4]), &[]), first);
        assert_eq!(says(card.allocate(4), &[]), first);
        card.free(x);
        assert_eq!(says(card.synchronise(), &[]), first);
    }
}

with_driver! {
    fn a_fault_names_its_launch_where_each_is_waited_for("FAIL" = "2:719") {
        let mut card = open().synchronous(true);
        let x = card.allocate(4).unwrap();
        card.launch(&count(x)).unwrap();
        let launch = scale(x, x, 1, 1.0);
        says(card.launch(&launch), &["group1.block1: scale, kernel standin_scale failed", "CUDA_ERROR_LAUNCH_FAILED"]);
    }
}

with_driver! {
    fn a_kernel_that_touches_what_it_may_not() {
        // The emulator sees this one itself, where a card would fault.
        let mut card = open();
        let x = card.allocate(4).unwrap();
        card.launch(&scale(x, Address(64), 1, 1.0)).unwrap();
        says(card.synchronise(), &["a kernel failed", "CUDA_ERROR_ILLEGAL_ADDRESS"]);
    }
}

with_driver! {
    fn a_lost_card_in_a_graph("FAIL" = "3:214") {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let step = card.capture(&[count(x)]).unwrap();
        for _ in 0..4 {
            card.replay(step).unwrap();
        }
        says(card.synchronise(), &["lost", "ECC", "nvidia-smi"]);
        card.release(step);
    }
}

/// No stand-in: this machine's own libraries, of which none has to be a driver.
#[test]
fn no_driver() {
    let error = CardDriver::open(usize::MAX, images()).err().expect("no machine has so many cards");
    assert_eq!(error.kind(), Kind::Device);
    assert!(
        error.to_string().contains("--device cpu") || error.to_string().contains("only cuda:"),
        "{error}"
    );
}
