//! An interrupted and resumed run is the uninterrupted one, bit for bit.

use rir::data::split::Share;
use rir::graph::{Fusions, Precision};
use rir::train::{Stop, Stopped, TrainOptions};

use crate::tiny::{STEPS, STEPS_PER_EPOCH, assert_same, metrics, options, resume, run};

/// Stops after each of `stops` steps, resumes, and compares with the run that nothing stopped.
fn interrupted_equals_uninterrupted(change: impl Fn(TrainOptions) -> TrainOptions, stops: &[u64]) {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let expected = run(&change(options(&whole))).unwrap();
    assert!(expected.finished);
    for (i, &step) in stops.iter().enumerate() {
        let from = if i == 0 { change(options(&parts)) } else { resume(&parts) };
        let part = run(&TrainOptions { stop: Stop::after(step), ..from }).unwrap();
        assert_eq!((part.steps, part.finished, part.stopped), (step, false, Some(Stopped::Interrupted)));
        assert!(part.to_string().ends_with(&format!("rir train --resume {}", parts.display())), "{part}");
    }
    let last = run(&resume(&parts)).unwrap();
    assert_eq!((last.test_accuracy, last.test_loss), (expected.test_accuracy, expected.test_loss));
    assert_same(&whole, &parts);
}

#[test]
fn stopped_once_at_any_step() {
    // At the start, inside of an epoch, before and after an epoch's evaluation, in the last step.
    for step in [0, 1, 4, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1, STEPS - 1] {
        interrupted_equals_uninterrupted(|o| o, &[step]);
    }
}

#[test]
fn stopped_before_the_first_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, resumed, again] = ["whole", "resumed", "again"].map(|name| folder.path().join(name));
    run(&options(&whole)).unwrap();
    for path in [&resumed, &again] {
        std::fs::create_dir(path).unwrap();
        std::fs::copy(whole.join("config.toml"), path.join("config.toml")).unwrap();
    }
    run(&resume(&resumed)).unwrap();
    run(&options(&again)).unwrap();
    assert_same(&whole, &resumed);
    assert_same(&whole, &again);
}

#[test]
fn stopped_after_every_step() {
    let every: Vec<u64> = (0..STEPS).collect();
    let with_validation = |o| TrainOptions { val_split: Some(Share::Count(5)), subset: Some(48), ..o };
    interrupted_equals_uninterrupted(with_validation, &every);
}

#[test]
fn stopped_between_two_lines_of_the_metrics() {
    // 26 steps an epoch, and a line every second one.
    let small_batches = |o| TrainOptions { batch_size: Some(2), ..o };
    interrupted_equals_uninterrupted(small_batches, &[1, 27, 33]);
}

#[test]
fn stopped_between_two_evaluations() {
    let every_second = |o| TrainOptions { evaluate_every: Some(2), ..o };
    interrupted_equals_uninterrupted(every_second, &[3, STEPS_PER_EPOCH, STEPS_PER_EPOCH + 1]);
}

#[test]
fn epochs_are_evaluated_when_that_is_due_and_at_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, seldom] = ["whole", "seldom"].map(|name| folder.path().join(name));
    let every = run(&options(&whole)).unwrap();
    let last = run(&TrainOptions { evaluate_every: Some(2), ..options(&seldom) }).unwrap();
    assert_eq!(every.test_accuracy, last.test_accuracy);
    let tested: Vec<bool> = (metrics(&seldom).iter().filter(|line| line["kind"] == "epoch"))
        .map(|line| !line["synthetic_test_accuracy"].is_null())
        .collect();
    assert_eq!(tested, [false, true, true], "of three epochs the second, and the last");
    let evaluated = |line: &&serde_json::Value| !line["synthetic_test_accuracy"].is_null();
    let [of_whole, of_seldom] = [&whole, &seldom].map(|run| metrics(run));
    assert!(of_seldom.iter().filter(evaluated).all(|line| of_whole.contains(line)), "it changes no result");
}

#[test]
fn stopped_in_bf16_and_without_fusion() {
    let change = |o| TrainOptions { precision: Some(Precision::Bf16), fuse: Some(Fusions::NONE), ..o };
    interrupted_equals_uninterrupted(change, &[5, 11]);
}

#[test]
fn the_same_seed_gives_the_same_bits_on_any_number_of_threads() {
    let folder = tempfile::tempdir().unwrap();
    let path = |threads: usize| folder.path().join(threads.to_string());
    for threads in [1, 2, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| run(&options(&path(threads)))).unwrap();
    }
    // The device's name counts its threads; all else is the same.
    for threads in [2, 3] {
        let [a, b] = [1, threads].map(|t| crate::tiny::checkpoint(&path(t).join("checkpoint.safetensors")));
        assert_eq!((&a.tensors, &a.momentum, &a.info.position), (&b.tensors, &b.momentum, &b.info.position));
        assert_eq!(metrics(&path(1)), metrics(&path(threads)));
    }
    let other = folder.path().join("other seed");
    run(&TrainOptions { seed: Some(6), ..options(&other) }).unwrap();
    assert_ne!(metrics(&path(1)), metrics(&other));
}

#[test]
fn lines_that_no_checkpoint_saw_are_cut_off() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, cut] = ["whole", "cut"].map(|name| folder.path().join(name));
    run(&options(&whole)).unwrap();
    run(&TrainOptions { stop: Stop::after(8), ..options(&cut) }).unwrap();
    let path = cut.join("metrics.jsonl");
    let mut text = std::fs::read_to_string(&path).unwrap();
    text.push_str("{\"kind\":\"step\",\"step\":9,\"half a li");
    std::fs::write(&path, text).unwrap();
    run(&resume(&cut)).unwrap();
    assert_same(&whole, &cut);
}
