//! What the device asks of a card. Two answer: the CUDA driver through `cudarc`, and the emulator.

use super::kernels::Generation;
use super::launch::{Address, Launch};
use crate::error::Result;

/// A sequence of launches that was captured once and is replayed as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Replay(pub usize);

/// A moment in the stream of work; see [`Clock`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub(super) usize);

/// What a card is, for records of measurements; `None` where nobody tells.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Serialize)]
pub struct Properties {
    /// As [`Driver::name`].
    pub name: String,
    /// The release of CUDA that the driver was made for, such as `CUDA 13.0`.
    pub driver: Option<String>,
    /// Multiprocessors.
    pub sm_count: Option<u32>,
    /// The L2 cache.
    pub l2_bytes: Option<u64>,
    /// All memory of the card.
    pub memory_bytes: Option<u64>,
    /// The highest clock of the multiprocessors.
    pub clock_khz: Option<u32>,
    /// The highest clock of the memory.
    pub memory_clock_khz: Option<u32>,
}

/// The card's own clock, and the copy that it is held to.
///
/// Between two marks lies what was queued between them: not the host's time, as long as the host queues faster than the
/// card works.
pub trait Clock {
    /// Queues a mark, which takes the time when all work queued before it is done.
    ///
    /// # Errors
    /// If the card failed.
    fn mark(&mut self) -> Result<Mark>;

    /// Waits for `to`, and says how many seconds after `from` it was. The card's clock ticks about every half
    /// microsecond.
    ///
    /// # Errors
    /// If the card or a kernel failed.
    fn between(&mut self, from: Mark, to: Mark) -> Result<f64>;

    /// Makes room for new marks: those taken before are not asked for again.
    fn forget(&mut self);

    /// Queues a copy within the card's memory, as its driver makes it.
    ///
    /// # Errors
    /// If either end is no memory of this driver, or the card failed.
    fn copy(&mut self, from: Address, to: Address, bytes: usize) -> Result<()>;
}

/// One stream of work, in order, and the memory it works on.
///
/// Uploads, fills, launches and replays are queued and return at once; an error may show at a later call.
pub trait Driver {
    /// For people, such as `cuda:0 (NVIDIA H100 80GB HBM3)`.
    fn name(&self) -> String;

    /// What the card is.
    ///
    /// # Errors
    /// If the card failed.
    fn properties(&mut self) -> Result<Properties> {
        Ok(Properties { name: self.name(), ..Properties::default() })
    }

    /// The card's clock, where there is one: the emulator has none.
    fn clock(&mut self) -> Option<&mut dyn Clock> {
        None
    }

    /// Bytes of the card's memory that are free; `None` where nobody counts them.
    ///
    /// # Errors
    /// If the card failed.
    fn free_bytes(&mut self) -> Result<Option<usize>>;

    /// Bytes of shared memory that a block may have at most.
    fn shared_limit(&self) -> u32;

    /// Multiprocessors: blocks that take tiles in turns are as many.
    fn multiprocessors(&self) -> u32;

    /// What the card has that kernels may use, and whether this driver holds such kernels.
    fn generation(&self) -> Generation;

    /// `bytes` of the card's memory, zeroed, aligned to 256 bytes.
    ///
    /// # Errors
    /// If there is not enough memory; says how much is needed and how much is free.
    fn allocate(&mut self, bytes: usize) -> Result<Address>;

    /// Gives memory back once all queued work is done.
    fn free(&mut self, address: Address);

    /// `bytes` of this machine's memory, zeroed, that kernels can write and [`Driver::peek`] reads without waiting.
    ///
    /// # Errors
    /// If there is not enough memory.
    fn allocate_mailbox(&mut self, bytes: usize) -> Result<Address>;

    /// What a mailbox holds now. The caller orders its reads by numbers that the kernels write last.
    ///
    /// # Errors
    /// If they lie in no mailbox.
    fn peek(&mut self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Queues a copy to the card; `bytes` may be reused at once.
    ///
    /// # Errors
    /// If the card failed.
    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<()>;

    /// Waits for all queued work, then copies from the card.
    ///
    /// # Errors
    /// If the card failed, or a kernel before.
    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()>;

    /// Queues setting every byte.
    ///
    /// # Errors
    /// If the card failed.
    fn fill(&mut self, at: Address, bytes: usize, value: u8) -> Result<()>;

    /// Queues one launch.
    ///
    /// # Errors
    /// If the kernel is unknown, or the card refuses or fails.
    fn launch(&mut self, launch: &Launch) -> Result<()>;

    /// Captures launches, in order, as one graph. Runs nothing.
    ///
    /// # Errors
    /// As [`Driver::launch`].
    fn capture(&mut self, launches: &[Launch]) -> Result<Replay>;

    /// Queues a captured graph.
    ///
    /// # Errors
    /// If the card failed.
    fn replay(&mut self, replay: Replay) -> Result<()>;

    /// Forgets a captured graph once all queued work is done.
    fn release(&mut self, replay: Replay);

    /// Whether all queued work is done; does not wait.
    ///
    /// # Errors
    /// If the card or a kernel failed.
    fn is_idle(&mut self) -> Result<bool>;

    /// Waits for all queued work.
    ///
    /// # Errors
    /// If the card or a kernel failed.
    fn synchronise(&mut self) -> Result<()>;
}
