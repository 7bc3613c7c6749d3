//! What a benchmark runs on: devices, and where it is a card, the card itself.

use rir::bench::report::Findings;
use rir::bench::{Bench, Network, Rates, rates};
use rir::device::Device;
use rir::device::cuda::driver::{Driver, Properties};
use rir::device::cuda::images::images;
use rir::device::cuda::{CardDriver, CudaDevice, Kernels, Options, open_card};
use rir::device::select::Choice;
use rir::error::Result;
use rir::graph::{Precision, StateLayout};

use super::Task;
use crate::cli::setup::Target;

/// A card that stays open between the cases, where it is a card that is measured.
pub struct Held(Option<Box<dyn Driver>>);

impl Held {
    pub fn new(target: &Target) -> Result<Self> {
        match target.choice {
            Choice::Cuda(ordinal) => open_card(ordinal, &target.options).map(|card| Self(Some(card))),
            _ => Ok(Self(None)),
        }
    }

    pub fn properties(&mut self, maker: &Maker) -> Result<Properties> {
        match &mut self.0 {
            Some(card) => card.properties(),
            None => {
                let name = maker.open(&StateLayout::default(), Precision::F32, Kernels::Auto)?.name();
                Ok(Properties { name, ..Properties::default() })
            }
        }
    }

    /// Whether launches overlap on it.
    pub fn overlaps(&self) -> bool {
        self.0.as_ref().is_some_and(|card| card.overlaps())
    }

    pub fn rates(&mut self) -> Result<Rates> {
        match &mut self.0 {
            Some(card) => rates::of_card(card.as_mut()),
            None => Ok(rates::of_processor()),
        }
    }
}

/// Makes the devices that are measured.
#[derive(Clone)]
pub struct Maker {
    target: Target,
    nvtx: bool,
}

impl Maker {
    pub fn new(target: Target, nvtx: bool) -> Self {
        // A graph is one launch: its nodes have no names of their own.
        let options = Options { graph: target.options.graph && !nvtx, ..target.options };
        Self { target: Target { options, ..target }, nvtx }
    }

    /// As this one, but launches wait for each other.
    pub fn apart(self) -> Self {
        let options = Options { overlap: false, ..self.target.options };
        Self { target: Target { options, ..self.target }, nvtx: self.nvtx }
    }

    /// A device for one case, or one step.
    pub fn open(
        &self,
        layout: &StateLayout,
        precision: Precision,
        kernels: Kernels,
    ) -> Result<Box<dyn Device>> {
        let options = Options { kernels, ..self.target.options.clone() };
        match self.target.choice {
            Choice::Cuda(ordinal) if self.nvtx => {
                let driver = CardDriver::open(ordinal, images())?.synchronous(options.sync).named()?;
                Ok(Box::new(CudaDevice::new(Box::new(driver), layout, precision, options)?))
            }
            _ => self.target.choice.open(layout, precision, options),
        }
    }
}

/// What the emulator counts.
#[cfg(rir_emu)]
pub fn count(bench: &Bench<'_>, network: &Network, task: &Task, filter: Option<&str>) -> Result<Findings> {
    use rir::bench::counters;
    match task {
        Task::Ops { case, .. } => counters::ops(bench, network, case.as_deref().or(filter)),
        Task::Layers => counters::layers(bench, network, filter),
        Task::Step => counters::step(bench, network),
        Task::Ladder(operation) => counters::ladder(bench, network, operation, filter),
        Task::Fusion => counters::fusion(bench, network, filter),
        Task::Tune(_) => unreachable!("it has no counters"),
    }
}

/// Nothing: this build has no emulator.
#[cfg(not(rir_emu))]
pub fn count(_: &Bench<'_>, _: &Network, _: &Task, _: Option<&str>) -> Result<Findings> {
    rir::device::cuda::check_emulator().map(|()| Findings::default())
}
