//! What a card does when nothing fails.

use super::stand_in::with_driver;
use super::*;

with_driver! {
    fn memory_is_zeroed_filled_copied_and_given_back() {
        let mut card = open();
        assert_eq!(card.name(), "cuda:0 (Stand-in 0)");
        assert_eq!(card.shared_limit(), 227 * 1024);
        let before = card.free_bytes().unwrap();
        let at = card.allocate(1024).unwrap();
        assert!(at.0.is_multiple_of(256));
        assert_eq!(numbers(&mut card, at, 256), [0.0; 256]);
        card.fill(at.offset(4), 4, 0x40).unwrap();
        card.upload(at.offset(8), bytemuck::bytes_of(&7_f32)).unwrap();
        assert_eq!(numbers(&mut card, at, 4), [0.0, f32::from_bits(0x4040_4040), 7.0, 0.0]);
        card.upload(at, &[]).unwrap();
        card.fill(at, 0, 1).unwrap();
        card.download(at, &mut []).unwrap();
        assert!(card.upload(at.offset(1020), &[0; 8]).unwrap_err().to_string().contains("no memory"));
        card.free(at);
        assert_eq!(card.free_bytes().unwrap(), before);
    }
}

with_driver! {
    fn an_upload_may_be_overwritten_at_once() {
        // More than the whole ring holds, in uploads that end within a piece; the stand-in copies as late as it may.
        let mut card = open();
        let elements = 6 << 20;
        let at = card.allocate(4 * elements).unwrap();
        let mut numbers_up: Vec<u32> = (0..elements as u32).collect();
        for part in 0..3 {
            let (start, length) = (part * elements / 3, elements / 3);
            card.upload(at.offset(4 * start), bytemuck::cast_slice(&numbers_up[start..start + length])).unwrap();
            numbers_up[start..start + length].fill(0);
        }
        let mut back = vec![0_u32; elements];
        card.download(at, bytemuck::cast_slice_mut(&mut back)).unwrap();
        assert!(back.iter().enumerate().all(|(n, &value)| value == n as u32));
    }
}

with_driver! {
    fn launches_run_in_order() {
        let mut card = open();
        let (x, y) = (card.allocate(4000).unwrap(), card.allocate(4000).unwrap());
        card.upload(x, bytemuck::cast_slice(&[3_f32; 1000])).unwrap();
        card.launch(&scale(x, y, 1000, 2.0)).unwrap();
        card.launch(&scale(y, x, 1000, 5.0)).unwrap();
        assert_eq!(numbers(&mut card, x, 1000), [30.0; 1000]);
        assert_eq!(numbers(&mut card, y, 1000), [6.0; 1000]);
    }
}

with_driver! {
    fn a_kernel_gets_the_shared_memory_that_it_asks_for() {
        let mut card = open();
        let x = card.allocate(4).unwrap();
        let mut launch = scale(x, x, 1, 1.0);
        launch.dynamic_shared = 200 * 1024;
        card.launch(&launch).unwrap();
        card.synchronise().unwrap();
        launch.dynamic_shared = 228 * 1024;
        let message = card.launch(&launch).unwrap_err().to_string();
        assert!(message.contains("group1.block1: scale, kernel standin_scale"), "{message}");
        card.synchronise().unwrap();
    }
}

with_driver! {
    fn a_graph_runs_nothing_until_it_is_replayed() {
        let mut card = open();
        let (x, y) = (card.allocate(40).unwrap(), card.allocate(40).unwrap());
        card.upload(x, bytemuck::cast_slice(&[1_f32; 10])).unwrap();
        let step = card.capture(&[scale(x, y, 10, 3.0), scale(y, x, 10, 1.0)]).unwrap();
        assert_eq!(numbers(&mut card, x, 10), [1.0; 10]);
        for _ in 0..3 {
            card.replay(step).unwrap();
        }
        assert_eq!(numbers(&mut card, x, 10), [27.0; 10]);
        let other = card.capture(&[scale(x, x, 10, 0.0)]).unwrap();
        card.replay(step).unwrap();
        card.release(step);
        card.replay(other).unwrap();
        assert_eq!(numbers(&mut card, y, 10), [81.0; 10]);
        assert_eq!(numbers(&mut card, x, 10), [0.0; 10]);
    }
}

with_driver! {
    fn a_mailbox_shows_what_kernels_wrote() {
        let mut card = open();
        let mailbox = card.allocate_mailbox(10).unwrap();
        let mut seen = [9; 10];
        card.peek(mailbox, &mut seen).unwrap();
        assert_eq!(seen, [0; 10]);
        let step = card.capture(&[count(mailbox.offset(4))]).unwrap();
        card.replay(step).unwrap();
        card.replay(step).unwrap();
        card.synchronise().unwrap();
        card.peek(mailbox.offset(2), &mut seen[..6]).unwrap();
        assert_eq!(seen[..6], [0, 0, 2, 0, 0, 0]);
        assert!(card.peek(mailbox.offset(8), &mut seen).unwrap_err().to_string().contains("no mailbox"));
    }
}

with_driver! {
    fn two_drivers_share_a_card() {
        let (mut a, mut b) = (open(), open());
        let at = a.allocate(16).unwrap();
        drop(a);
        assert_ne!(b.allocate(16).unwrap(), Address(0));
        let _ = at;
    }
}
