use std::time::Duration;

use super::*;
use crate::bench::Settings;
use crate::device::Device;
use crate::device::cuda::driver::{Clock, Driver, Mark, Replay};
use crate::device::cuda::emulator::EmulatorDriver;
use crate::device::cuda::launch::{Address, Launch};
use crate::device::cuda::{CudaDevice, Generation, Kernels, Options};
use crate::graph::{Fusions, Precision, StateLayout};

/// An emulated card with a clock by which a kernel takes as long as `seconds` says; and which spoils what the kernels
/// store that `spoils` names.
struct Clocked {
    card: EmulatorDriver,
    seconds: fn(&str) -> f64,
    spoils: &'static str,
    now: f64,
    marks: Vec<f64>,
    graphs: Vec<Vec<Launch>>,
}

impl Driver for Clocked {
    fn name(&self) -> String {
        self.card.name()
    }
    fn clock(&mut self) -> Option<&mut dyn Clock> {
        Some(self)
    }
    fn free_bytes(&mut self) -> Result<Option<usize>> {
        self.card.free_bytes()
    }
    fn generation(&self) -> Generation {
        self.card.generation()
    }
    fn shared_limit(&self) -> u32 {
        self.card.shared_limit()
    }
    fn multiprocessors(&self) -> u32 {
        self.card.multiprocessors()
    }
    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        self.card.allocate(bytes)
    }
    fn free(&mut self, address: Address) {
        self.card.free(address);
    }
    fn allocate_mailbox(&mut self, bytes: usize) -> Result<Address> {
        self.card.allocate_mailbox(bytes)
    }
    fn peek(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.card.peek(from, bytes)
    }
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.card.upload(to, bytes)
    }
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.card.download(from, bytes)
    }
    fn fill(&mut self, at: Address, bytes: usize, value: u8) -> Result<()> {
        self.card.fill(at, bytes, value)
    }
    fn launch(&mut self, launch: &Launch) -> Result<()> {
        self.now += (self.seconds)(&launch.kernel);
        self.card.launch(launch)?;
        if !self.spoils.is_empty() && launch.kernel.contains(self.spoils) {
            let stored = launch.tensors.iter().find(|tensor| tensor.writable).expect("it stores something");
            self.card.fill(stored.view.address, stored.view.bytes / 2, 0)?;
        }
        Ok(())
    }
    fn capture(&mut self, launches: &[Launch]) -> Result<Replay> {
        self.graphs.push(launches.to_vec());
        Ok(Replay(self.graphs.len() - 1))
    }
    fn replay(&mut self, replay: Replay) -> Result<()> {
        self.graphs[replay.0].clone().iter().try_for_each(|launch| self.launch(launch))
    }
    fn release(&mut self, _: Replay) {}
    fn is_idle(&mut self) -> Result<bool> {
        Ok(true)
    }
    fn synchronise(&mut self) -> Result<()> {
        Ok(())
    }
}

impl Clock for Clocked {
    fn mark(&mut self) -> Result<Mark> {
        self.marks.push(self.now);
        Ok(Mark(self.marks.len() - 1))
    }
    fn between(&mut self, from: Mark, to: Mark) -> Result<f64> {
        Ok(self.marks[to.0] - self.marks[from.0])
    }
    fn forget(&mut self) {
        self.marks.clear();
    }
    fn copy(&mut self, _: Address, _: Address, _: usize) -> Result<()> {
        Ok(())
    }
}

fn network() -> Network {
    let description = crate::bench::network::narrow().unwrap();
    let (image, precision, fusions) = ([16, 16, 3], Precision::Bf16, Fusions::ALL);
    Network { description, image, classes: 10, batch: 4, precision, fusions }
}

/// The rows of one convolution of 64 filters: two widths of `mma`, the wider unasked, and one of each form of Hopper.
fn tuned(seconds: fn(&str) -> f64, spoils: &'static str, rehearse: bool) -> (Vec<serde_json::Value>, Tuned) {
    let open = |layout: &StateLayout, precision, kernels| {
        let card = EmulatorDriver::new(0);
        let driver = Clocked { card, seconds, spoils, now: 0.0, marks: vec![], graphs: vec![] };
        let options = Options { kernels, ..Options::default() };
        Ok(Box::new(CudaDevice::new(Box::new(driver), layout, precision, options)?) as Box<dyn Device>)
    };
    let settings = Settings { warmup: 1, repeats: Some(1), time: Duration::from_millis(1), deadline: None };
    let (watch, rates, kernels) = (&|_: &str| (), None, None);
    let bench = Bench { factory: &open, apart: None, kernels, settings, rates, watch };
    let tuned = tune(&bench, &[network()], Some("conv2d/group2.block1.layer2"), rehearse).unwrap();
    (tuned.findings.rows.clone(), tuned)
}

/// Kernels with this in their names take the first, all others the second.
fn by_name(kernel: &str, fast: &str, times: [f64; 2]) -> f64 {
    if kernel.contains(fast) { times[0] } else { times[1] }
}

#[test]
fn the_fastest_wins() {
    let (rows, tuned) = tuned(|kernel| by_name(kernel, "_wgmma_halo_64_", [1e-3, 2e-3]), "", false);
    assert_eq!(rows.len(), 9);
    assert!(tuned.findings.failed.is_empty(), "{:?}", tuned.findings.failed);
    let (node, choice) = tuned.table.iter().next().unwrap();
    assert_eq!((choice.kernels, choice.columns), (Kernels::WgmmaHalo, Some(64)));
    assert!(node.starts_with("conv2d([4 8 8 64], [64 3 3 64]) bf16 {"), "{node}");
    let winner = rows.iter().find(|row| row["wins"] == true).unwrap();
    assert_eq!((&winner["columns"], &winner["kernels"]), (&64.into(), &"wgmma-halo".into()));
    assert_eq!((&winner["node"], &winner["tile"]["cluster"]), (&node.as_str().into(), &2.into()));
    // A convolution is two launches, of which one is of its statistics.
    assert!((winner["median_us"].as_f64().unwrap() - 3e3).abs() < 1e-6, "{winner}");
    assert_eq!(rows[0]["usual"], true);
    assert!(rows.iter().all(|row| row["tile"]["rows"] == 128 && row["error"].is_f64()), "{rows:?}");
}

#[test]
fn what_is_hardly_faster_does_not_win() {
    let (rows, tuned) = tuned(|kernel| by_name(kernel, "_wgmma_halo_64_", [0.995e-3, 1e-3]), "", false);
    assert_eq!(tuned.table.values().collect::<Vec<_>>(), [&Choice::of(Kernels::Mma)]);
    assert_eq!(rows[0]["wins"], true);
}

#[test]
fn what_is_wrong_has_no_time() {
    let (rows, tuned) =
        tuned(|kernel| by_name(kernel, "_wgmma_halo_64_", [1e-3, 2e-3]), "_wgmma_halo_64_", false);
    let wrong = rows.iter().find(|row| row["kernels"] == "wgmma-halo").unwrap();
    assert!(
        wrong["failure"].as_str().unwrap().contains("a wrong result") && wrong.get("median_us").is_none(),
        "{wrong}"
    );
    assert_eq!(tuned.table.values().collect::<Vec<_>>(), [&Choice::of(Kernels::Mma)]);
    assert!(tuned.findings.failed.len() == 1 && tuned.findings.failed[0].contains("wgmma-halo, 64 columns"));
    assert!(tuned.findings.table.contains("FAILED"), "{}", tuned.findings.table);
}

#[test]
fn a_rehearsal_ranks_nothing() {
    let (rows, tuned) = tuned(|_| 1e-3, "", true);
    assert!(tuned.table.is_empty() && tuned.findings.failed.is_empty());
    assert!(
        rows.iter()
            .all(|row| row.get("median_us").is_none() && row["wins"] == false && row["error"].is_f64())
    );
    assert!(tuned.findings.table.ends_with("no choice is written\n"), "{}", tuned.findings.table);
}
