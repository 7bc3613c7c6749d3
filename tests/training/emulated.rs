//! Training on the emulated card: from a set on the device, steps queued ahead of their outcomes.

use std::path::Path;
use std::time::Duration;

use rir::Result;
use rir::device::cuda::driver::{Driver, Replay};
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::launch::{Address, Launch};
use rir::device::cuda::{CudaDevice, Options};
use rir::error::{Error, Kind};
use rir::graph::{Precision, StateLayout};
use rir::train::{Environment, Length, Stop, Stopped, Summary, TrainOptions, train};

use crate::tiny::{self, assert_same, checkpoint, metrics, options, resume};

/// Trains on an emulated card that is lost at the replay of this number.
fn run(options: &TrainOptions, lost_at: usize) -> Result<Summary> {
    let open = |_: &str, layout: &StateLayout, precision: Precision| {
        let driver = Fragile { card: EmulatorDriver::new(4), replays: 0, lost_at };
        let device = CudaDevice::new(Box::new(driver), layout, precision, Options::default())?;
        Ok(Box::new(device) as Box<dyn rir::device::Device>)
    };
    train(options, &Environment { open_data: &tiny::data, open_device: &open })
}

const NEVER: usize = usize::MAX;

/// Two epochs of six steps.
fn short(output: &Path) -> TrainOptions {
    TrainOptions { length: Some(Length::Epochs(2)), ..options(output) }
}

#[test]
fn interrupted_and_resumed_is_uninterrupted() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let expected = run(&short(&whole), NEVER).unwrap();
    for (step, from) in [(4, short(&parts)), (7, resume(&parts))] {
        let part = run(&TrainOptions { stop: Stop::after(step), ..from }, NEVER).unwrap();
        assert_eq!((part.steps, part.stopped), (step, Some(Stopped::Interrupted)));
    }
    let last = run(&resume(&parts), NEVER).unwrap();
    assert_eq!((last.test_accuracy, last.test_loss), (expected.test_accuracy, expected.test_loss));
    assert_same(&whole, &parts);
}

/// The same run on the CPU: the same batches, and losses that rounding alone tells apart. Twelve steps of a network this
/// small carry a difference in the last place to about 1e-5.
#[test]
fn the_curve_is_the_cpus() {
    let folder = tempfile::tempdir().unwrap();
    let [cpu, emulated] = ["cpu", "emulated"].map(|name| folder.path().join(name));
    tiny::run(&short(&cpu)).unwrap();
    run(&short(&emulated), NEVER).unwrap();
    let [cpu, emulated] = [cpu, emulated].map(|path| metrics(&path));
    assert_eq!(cpu.len(), emulated.len());
    for (a, b) in cpu.iter().zip(&emulated) {
        let loss = |line: &serde_json::Value| line["train_loss"].as_f64().unwrap();
        assert!((loss(a) - loss(b)).abs() <= 1e-3 * loss(a), "{a} beside {b}");
        assert_eq!((&a["step"], &a["learning_rate"]), (&b["step"], &b["learning_rate"]));
    }
}

/// The card goes away in the second epoch: the last checkpoint, here that of the step before, is good, and another card goes
/// on from it to the same end.
#[test]
fn a_lost_card_leaves_the_last_checkpoint_good() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, broken] = ["whole", "broken"].map(|name| folder.path().join(name));
    run(&short(&whole), NEVER).unwrap();
    let saving = TrainOptions { checkpoint_every: Some(Duration::ZERO), ..short(&broken) };
    let error = run(&saving, 9).unwrap_err();
    assert_eq!(error.kind(), Kind::Device);
    let said = error.to_string();
    assert!(said.contains("the card was lost"), "{said}");
    assert!(said.ends_with(&format!("rir train --resume {}", broken.display())), "{said}");
    assert_eq!(checkpoint(&broken.join("checkpoint.safetensors")).info.step, 8);
    run(&resume(&broken), NEVER).unwrap();
    assert_same(&whole, &broken);
}

/// A divergence is found some steps after it happened; the State and the message are those of its own step.
#[test]
fn divergence_is_of_the_step_that_diverged() {
    let folder = tempfile::tempdir().unwrap();
    let explosive = |path: &Path| TrainOptions { learning_rate: Some(3e4), ..short(path) };
    let [cpu, emulated] = ["cpu", "emulated"].map(|name| folder.path().join(name));
    let expected = tiny::run(&explosive(&cpu)).unwrap_err();
    let error = run(&explosive(&emulated), NEVER).unwrap_err();
    assert_eq!((error.kind(), expected.kind()), (Kind::Diverged, Kind::Diverged));
    let step = |e: &Error| e.to_string().split_once(" at step ").unwrap().1[..1].to_owned();
    assert_eq!(step(&error), step(&expected), "{error}\n{expected}");
}

/// An emulated card that fails for good at one replay.
struct Fragile {
    card: EmulatorDriver,
    replays: usize,
    lost_at: usize,
}

impl Fragile {
    fn alive(&mut self) -> Result<&mut EmulatorDriver> {
        if self.replays >= self.lost_at {
            return Err(Error::device("the card was lost"));
        }
        Ok(&mut self.card)
    }
}

impl Driver for Fragile {
    fn name(&self) -> String {
        self.card.name()
    }
    fn free_bytes(&mut self) -> Result<Option<usize>> {
        self.alive()?.free_bytes()
    }
    fn generation(&self) -> rir::device::cuda::Generation {
        self.card.generation()
    }
    fn shared_limit(&self) -> u32 {
        self.card.shared_limit()
    }
    fn multiprocessors(&self) -> u32 {
        self.card.multiprocessors()
    }
    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        self.alive()?.allocate(bytes)
    }
    fn free(&mut self, address: Address) {
        self.card.free(address);
    }
    fn allocate_mailbox(&mut self, bytes: usize) -> Result<Address> {
        self.alive()?.allocate_mailbox(bytes)
    }
    fn peek(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.alive()?.peek(from, bytes)
    }
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.alive()?.upload(to, bytes)
    }
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.alive()?.download(from, bytes)
    }
    fn fill(&mut self, at: Address, bytes: usize, value: u8) -> Result<()> {
        self.alive()?.fill(at, bytes, value)
    }
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.alive()?.launch(launch)
    }
    fn capture(&mut self, launches: &[Launch]) -> Result<Replay> {
        self.alive()?.capture(launches)
    }
    fn replay(&mut self, replay: Replay) -> Result<()> {
        self.replays += 1;
        self.alive()?.replay(replay)
    }
    fn release(&mut self, replay: Replay) {
        self.card.release(replay);
    }
    fn is_idle(&mut self) -> Result<bool> {
        self.alive()?.is_idle()
    }
    fn synchronise(&mut self) -> Result<()> {
        self.alive()?.synchronise()
    }
}
