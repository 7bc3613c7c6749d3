//! Killed at any moment, a run has a whole checkpoint, and resumes to the same bits.
//!
//! The children are this test binary itself: a test that does nothing unless its variable names a folder.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rir::train::{Checkpoint, Length, Stop, TrainOptions};

use crate::tiny::{assert_same, metrics, options, resume, run};

const RUN: &str = "RIR_TEST_RUN";
const SAVER: &str = "RIR_TEST_SAVER";
const INTERRUPTED: &str = "RIR_TEST_INTERRUPTED";
const STUCK: &str = "RIR_TEST_STUCK";

fn child(test: &str, variable: &str, path: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads", "1"])
        .env(variable, path)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Long enough that no child ends by itself, with a checkpoint after every step.
fn killed_run(path: &Path) -> TrainOptions {
    let base = if path.join("checkpoint.safetensors").exists() { resume(path) } else { options(path) };
    let length = base.resume.is_none().then_some(Length::Epochs(100));
    TrainOptions { length, checkpoint_every: Some(Duration::ZERO), ..base }
}

#[test]
fn a_child_that_trains() {
    if let Some(path) = std::env::var_os(RUN) {
        run(&killed_run(&PathBuf::from(path))).unwrap();
    }
}

#[test]
fn a_child_that_saves() {
    if let Some(path) = std::env::var_os(SAVER) {
        let checkpoint = Checkpoint::load(Path::new(&path)).unwrap();
        loop {
            checkpoint.save(Path::new(&path)).unwrap();
        }
    }
}

#[test]
fn a_child_that_can_be_interrupted() {
    if let Some(path) = std::env::var_os(INTERRUPTED) {
        let stop = Stop::on_signals().unwrap();
        run(&TrainOptions { stop, ..killed_run(Path::new(&path)) }).unwrap();
    }
}

#[test]
fn a_child_that_never_ends_its_step() {
    if let Some(path) = std::env::var_os(STUCK) {
        let stop = Stop::on_signals().unwrap();
        std::fs::write(Path::new(&path).join("ready"), "").unwrap();
        while !stop.is_requested(0) {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::fs::write(Path::new(&path).join("requested"), "").unwrap();
        std::thread::sleep(Duration::from_secs(600));
    }
}

fn wait_for(path: &Path) {
    let began = Instant::now();
    while !path.exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "{} never came", path.display());
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Milliseconds below `bound` that differ from one `i` to the next.
fn moment(i: u64, bound: u64) -> Duration {
    let [word, ..] = rir::random::philox([i as u32, 0, 0, rir::random::Purpose::Test as u32], [0; 2]);
    Duration::from_micros(u64::from(word) % (1000 * bound))
}

#[test]
fn a_killed_run_resumes_to_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, killed] = ["whole", "killed"].map(|name| folder.path().join(name));
    let mut steps = 0;
    for i in 0..6 {
        let mut process = child("kill::a_child_that_trains", RUN, &killed);
        wait_for(&killed.join("checkpoint.safetensors"));
        // Until it has made a step of its own, and then to a moment inside of another.
        let began = Instant::now();
        while Checkpoint::load(&killed.join("checkpoint.safetensors")).unwrap().info.step == steps
            && began.elapsed() < Duration::from_secs(20)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(moment(i, 30));
        if i == 0 {
            let error = run(&resume(&killed)).unwrap_err().to_string();
            assert!(error.contains("another process is writing"), "{error}");
        }
        process.kill().unwrap();
        process.wait().unwrap();
        steps = Checkpoint::load(&killed.join("checkpoint.safetensors")).unwrap().info.step;
    }
    assert!(steps > 0);
    // To a common end: as far as the last child came, and a little further.
    let end = steps + 7;
    let stop = || Stop::after(end);
    let hundred = TrainOptions { length: Some(Length::Epochs(100)), ..options(&whole) };
    run(&TrainOptions { stop: stop(), ..hundred }).unwrap();
    run(&TrainOptions { stop: stop(), ..resume(&killed) }).unwrap();
    assert!(!metrics(&whole).is_empty());
    assert_same(&whole, &killed);
}

#[test]
fn a_checkpoint_survives_being_killed_while_it_is_written() {
    let folder = tempfile::tempdir().unwrap();
    run(&options(folder.path())).unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    let expected = Checkpoint::load(&path).unwrap();
    for i in 0..40 {
        let before = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mut process = child("kill::a_child_that_saves", SAVER, &path);
        let began = Instant::now();
        while std::fs::metadata(&path).unwrap().modified().unwrap() == before {
            assert!(began.elapsed() < Duration::from_secs(60), "the child never saved");
            std::thread::yield_now();
        }
        std::thread::sleep(moment(i, 8));
        process.kill().unwrap();
        process.wait().unwrap();
        let loaded = Checkpoint::load(&path).unwrap();
        assert_eq!(loaded.to_bytes().unwrap(), expected.to_bytes().unwrap());
    }
    let leftovers = |()| {
        let names = std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name());
        names.filter(|n| n.to_string_lossy().ends_with(".tmp")).count()
    };
    // Whoever takes the folder up next cleans what the killed ones left, even to say that the run is finished.
    assert!(run(&resume(folder.path())).unwrap_err().to_string().contains("is finished"));
    assert_eq!(leftovers(()), 0);
}

#[cfg(unix)]
fn signal(process: &Child, name: &str) {
    let status = Command::new("kill").args([name, &process.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[cfg(unix)]
#[test]
fn a_signal_saves_and_ends_the_run_cleanly() {
    for name in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        let mut process = child("kill::a_child_that_can_be_interrupted", INTERRUPTED, &path);
        wait_for(&path.join("checkpoint.safetensors"));
        std::thread::sleep(Duration::from_millis(20));
        signal(&process, name);
        assert!(process.wait().unwrap().success());
        let saved = Checkpoint::load(&path.join("checkpoint.safetensors")).unwrap().info;
        let next = TrainOptions { stop: Stop::after(saved.step + 1), ..resume(&path) };
        assert_eq!(run(&next).unwrap().steps, saved.step + 1);
    }
}

#[cfg(unix)]
#[test]
fn a_second_signal_quits_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let mut process = child("kill::a_child_that_never_ends_its_step", STUCK, folder.path());
    wait_for(&folder.path().join("ready"));
    signal(&process, "-INT");
    wait_for(&folder.path().join("requested"));
    assert!(process.try_wait().unwrap().is_none());
    signal(&process, "-INT");
    assert_eq!(process.wait().unwrap().code(), Some(130));
}
