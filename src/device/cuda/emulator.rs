//! The emulator as a driver: the kernels, compiled for this machine's processor, run at once and checked at every access.

mod tensor_maps;

use std::collections::{BTreeMap, HashMap};
use std::ffi::{CStr, CString, c_char};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::driver::{Driver, Replay};
use super::kernels::Generation;
use super::launch::{Address, Launch};
use crate::error::{Error, Result};
use crate::random::mixed;

/// `RirEmuTensor` of `kernels/emu/emu.h`.
#[repr(C)]
struct EmuTensor {
    address: u64,
    bytes: u64,
    writable: u32,
    padding: u32,
}

/// `RirEmuLaunch` of `kernels/emu/emu.h`.
#[repr(C)]
struct EmuLaunch {
    kernel: *const c_char,
    grid: [u32; 3],
    block: [u32; 3],
    dynamic_shared: u32,
    shared_limit: u32,
    params: *const u8,
    params_bytes: usize,
    tensors: *const EmuTensor,
    tensor_count: usize,
    seed: u64,
    counters: u32,
    programmatic: u32,
}

/// What launches moved, counted access by access; see `kernels/emu/emu.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[repr(C)]
pub struct Counters {
    /// Bytes that threads read from global memory.
    pub global_read_bytes: u64,
    /// Bytes that threads wrote to global memory.
    pub global_written_bytes: u64,
    /// Sectors of 32 bytes read, after the accesses of a warp were put together.
    pub global_read_sectors: u64,
    /// Sectors of 32 bytes written.
    pub global_written_sectors: u64,
    /// Accesses of whole warps to global memory.
    pub global_accesses: u64,
    /// Bytes that threads read from shared memory.
    pub shared_read_bytes: u64,
    /// Bytes that threads wrote to shared memory.
    pub shared_written_bytes: u64,
    /// Accesses of whole warps to shared memory.
    pub shared_accesses: u64,
    /// Passes over the banks that they took.
    pub shared_cycles: u64,
    /// Passes that they would take without conflicts.
    pub shared_least_cycles: u64,
    /// Barriers that blocks passed.
    pub barriers: u64,
    /// Matrix products of whole warps (mma).
    pub matrix_instructions: u64,
    /// Bytes that bulk copies read from global memory: once for all blocks of a cluster that they go to.
    pub bulk_read_bytes: u64,
    /// Bytes that bulk copies brought to shared memory, zeros outside of tensors included.
    pub bulk_arrived_bytes: u64,
    /// Bytes that bulk stores wrote to global memory.
    pub bulk_written_bytes: u64,
    /// Matrix products of warp groups (wgmma).
    pub warpgroup_products: u64,
    /// Bytes that they read from shared memory.
    pub warpgroup_read_bytes: u64,
    /// Their floating-point operations.
    pub warpgroup_flops: u64,
}

impl Counters {
    /// Bytes that threads and bulk copies asked of global memory, so of L2 where L1 does not have them.
    pub fn global_bytes(&self) -> u64 {
        self.global_read_bytes + self.global_written_bytes + self.bulk_read_bytes + self.bulk_written_bytes
    }
    /// Bytes that threads, bulk copies and products moved to and from shared memory.
    pub fn shared_bytes(&self) -> u64 {
        let bulk = self.bulk_arrived_bytes + self.bulk_written_bytes;
        self.shared_read_bytes + self.shared_written_bytes + bulk + self.warpgroup_read_bytes
    }
}

impl std::ops::AddAssign for Counters {
    fn add_assign(&mut self, other: Self) {
        self.global_read_bytes += other.global_read_bytes;
        self.global_written_bytes += other.global_written_bytes;
        self.global_read_sectors += other.global_read_sectors;
        self.global_written_sectors += other.global_written_sectors;
        self.global_accesses += other.global_accesses;
        self.shared_read_bytes += other.shared_read_bytes;
        self.shared_written_bytes += other.shared_written_bytes;
        self.shared_accesses += other.shared_accesses;
        self.shared_cycles += other.shared_cycles;
        self.shared_least_cycles += other.shared_least_cycles;
        self.barriers += other.barriers;
        self.matrix_instructions += other.matrix_instructions;
        self.bulk_read_bytes += other.bulk_read_bytes;
        self.bulk_arrived_bytes += other.bulk_arrived_bytes;
        self.bulk_written_bytes += other.bulk_written_bytes;
        self.warpgroup_products += other.warpgroup_products;
        self.warpgroup_read_bytes += other.warpgroup_read_bytes;
        self.warpgroup_flops += other.warpgroup_flops;
    }
}

/// Launches of each kernel, and what they moved, by its name: shared by a driver and who reads it while a device owns
/// that.
pub type Ledger = Arc<Mutex<BTreeMap<String, (u64, Counters)>>>;

type LaunchFunction =
    unsafe extern "C" fn(*const EmuLaunch, *mut Counters, *mut c_char, usize, *mut u64) -> i32;

unsafe extern "C" {
    fn rir_emu_launch(
        launch: *const EmuLaunch,
        counters: *mut Counters,
        message: *mut c_char,
        message_bytes: usize,
        site: *mut u64,
    ) -> i32;
}

/// The kernels and the emulator that a driver calls.
#[derive(Debug)]
enum Code {
    /// Those of this build.
    BuiltIn,
    /// Those of a shared library with the same border.
    Loaded(libloading::Library),
}

/// Memory that is aligned as a card's allocations are.
#[derive(Debug, Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(256))]
struct Line([u8; 256]);

/// Shared memory of a block at most: an H100's.
const SHARED_LIMIT: u32 = 227 * 1024;
/// Multiprocessors: so few that blocks of small products take several tiles in turns, and enough for two clusters.
const MULTIPROCESSORS: u32 = 4;

/// A card that is emulated.
#[derive(Debug)]
pub struct EmulatorDriver {
    code: Code,
    /// By address.
    memory: BTreeMap<u64, Vec<Line>>,
    captured: HashMap<usize, Vec<Launch>>,
    /// Captures so far.
    captures: usize,
    /// Launches so far: every launch has another order of threads.
    launches: u64,
    seed: u64,
    counters: Option<Counters>,
    ledger: Option<Ledger>,
}

impl EmulatorDriver {
    /// An emulated card whose orders of blocks and threads follow from `seed`.
    pub fn new(seed: u64) -> Self {
        Self::with(Code::BuiltIn, seed)
    }

    /// One that takes kernels and emulator from a shared library.
    ///
    /// # Errors
    /// If it cannot be loaded.
    pub fn from_library(path: &Path, seed: u64) -> Result<Self> {
        // SAFETY: the library's initialisers register its kernels with its own emulator and do nothing else.
        let library = unsafe { libloading::Library::new(path) };
        let library = library.map_err(|e| Error::device(format!("{}: {e}", path.display())))?;
        Ok(Self::with(Code::Loaded(library), seed))
    }

    fn with(code: Code, seed: u64) -> Self {
        Self {
            code,
            memory: BTreeMap::new(),
            captured: HashMap::new(),
            captures: 0,
            launches: 0,
            seed,
            counters: None,
            ledger: None,
        }
    }

    /// Counts traffic from here on, which is slower.
    pub fn count(&mut self) {
        self.counters = Some(Counters::default());
    }

    /// Counts traffic from here on, kernel by kernel, into `ledger`.
    pub fn count_into(&mut self, ledger: Ledger) {
        self.ledger = Some(ledger);
    }

    /// What was counted.
    pub fn counters(&self) -> Option<Counters> {
        self.counters
    }

    fn launch_function(&self) -> Result<LaunchFunction> {
        match &self.code {
            Code::BuiltIn => Ok(rir_emu_launch),
            // SAFETY: the symbol is of this type by `kernels/emu/emu.h`.
            Code::Loaded(library) => unsafe { symbol(library, c"rir_emu_launch") },
        }
    }

    /// Bytes `at .. at + bytes` of one allocation.
    fn slice(&mut self, at: Address, bytes: usize) -> Result<&mut [u8]> {
        let stray = || Error::device(format!("{bytes} bytes at {:#x} lie in no memory of the card", at.0));
        if bytes == 0 {
            return Ok(&mut []);
        }
        let (start, lines) = self.memory.range_mut(..=at.0).next_back().ok_or_else(stray)?;
        let offset = (at.0 - start) as usize;
        bytemuck::cast_slice_mut::<Line, u8>(lines).get_mut(offset..offset + bytes).ok_or_else(stray)
    }
}

/// A function of an emulator that was loaded. The library lives as long as its driver, which alone calls it.
///
/// # Safety
/// `F` is the type of the function of this name.
unsafe fn symbol<F: Copy>(library: &libloading::Library, name: &CStr) -> Result<F> {
    // SAFETY: the caller's promise.
    let symbol = unsafe { library.get::<F>(name.to_bytes_with_nul()) };
    symbol.map(|f| *f).map_err(|e| Error::device(format!("not an emulator: {e}")))
}

/// The source line of a code address; the address itself where nothing is known of it, as of libraries that were loaded
/// after the first line was asked for. Of functions inlined into each other, the innermost that is a kernel's own: not
/// the emulator's twin of an instruction or of a vector.
fn source_line(site: u64) -> String {
    let (mut innermost, mut own) = (None, None);
    // The call lies before the address that it returns to.
    backtrace::resolve((site - 1) as usize as *mut _, |symbol| {
        let (Some(file), Some(number)) = (symbol.filename(), symbol.lineno()) else { return };
        let name = file.file_name().unwrap_or(file.as_os_str());
        let line = format!("{}:{number}", name.to_string_lossy());
        let twin = name == "ptx.cuh" || file.parent().is_some_and(|folder| folder.ends_with("emu"));
        innermost.get_or_insert_with(|| line.clone());
        if !twin {
            own.get_or_insert(line);
        }
    });
    own.or(innermost).unwrap_or_else(|| format!("{site:#x}"))
}

impl Driver for EmulatorDriver {
    fn name(&self) -> String {
        "emu (CUDA kernels on the processor)".into()
    }

    fn free_bytes(&mut self) -> Result<Option<usize>> {
        Ok(None)
    }

    fn shared_limit(&self) -> u32 {
        SHARED_LIMIT
    }

    fn multiprocessors(&self) -> u32 {
        MULTIPROCESSORS
    }

    fn generation(&self) -> Generation {
        Generation::Hopper
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        let count = bytes.div_ceil(size_of::<Line>()).max(1);
        let mut lines = Vec::new();
        lines.try_reserve_exact(count).map_err(|_| {
            Error::device(format!("this machine has no {} MiB of memory left", (bytes >> 20) + 1))
        })?;
        lines.resize(count, <Line as bytemuck::Zeroable>::zeroed());
        let address = lines.as_ptr() as usize as u64;
        self.memory.insert(address, lines);
        Ok(Address(address))
    }

    fn free(&mut self, address: Address) {
        self.memory.remove(&address.0);
    }

    fn allocate_mailbox(&mut self, bytes: usize) -> Result<Address> {
        self.allocate(bytes)
    }

    fn peek(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.slice(from, bytes.len())?);
        Ok(())
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.slice(to, bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        bytes.copy_from_slice(self.slice(from, bytes.len())?);
        Ok(())
    }

    fn fill(&mut self, at: Address, bytes: usize, value: u8) -> Result<()> {
        self.slice(at, bytes)?.fill(value);
        Ok(())
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        for touched in &launch.tensors {
            self.slice(touched.view.address, touched.view.bytes)?;
        }
        let tensors: Vec<EmuTensor> = (launch.tensors.iter())
            .map(|touched| EmuTensor {
                address: touched.view.address.0,
                bytes: touched.view.bytes as u64,
                writable: touched.writable.into(),
                padding: 0,
            })
            .collect();
        let kernel = CString::new(launch.kernel.as_str())
            .map_err(|_| Error::device(format!("'{}' is no kernel's name", launch.kernel)))?;
        let encoded = launch.encoded(|map| self.encode_map(launch, map))?;
        // Aligned as no kernel's structure is stricter: by 128 bytes, where it holds tensor maps.
        let mut params =
            vec![<Line as bytemuck::Zeroable>::zeroed(); encoded.len().div_ceil(size_of::<Line>())];
        bytemuck::cast_slice_mut::<Line, u8>(&mut params)[..encoded.len()].copy_from_slice(&encoded);
        let request = EmuLaunch {
            kernel: kernel.as_ptr(),
            grid: launch.grid,
            block: launch.block,
            dynamic_shared: launch.dynamic_shared,
            shared_limit: self.shared_limit(),
            params: params.as_ptr().cast(),
            params_bytes: launch.params.len(),
            tensors: tensors.as_ptr(),
            tensor_count: tensors.len(),
            seed: mixed(self.seed ^ mixed(self.launches)),
            counters: (self.counters.is_some() || self.ledger.is_some()).into(),
            programmatic: 0,
        };
        self.launches += 1;
        let mut counters = Counters::default();
        let (mut message, mut site) = ([0 as c_char; 1024], 0);
        let function = self.launch_function()?;
        // SAFETY: the request points to memory that outlives the call; every tensor it lists lies in memory of this
        // driver, as was checked above, and the emulator lets kernels touch nothing else; the message is terminated.
        let failed =
            unsafe { function(&request, &mut counters, message.as_mut_ptr(), message.len(), &mut site) != 0 };
        if let Some(total) = &mut self.counters {
            *total += counters;
        }
        if let Some(ledger) = &self.ledger {
            // A thread that panicked while it held the ledger left whole numbers in it.
            let mut ledger = ledger.lock().unwrap_or_else(PoisonError::into_inner);
            let (launches, total) = ledger.entry(launch.kernel.clone()).or_default();
            *launches += 1;
            *total += counters;
        }
        if !failed {
            return Ok(());
        }
        // SAFETY: the emulator terminates the message within its length.
        let message = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy();
        let place = if site == 0 { String::new() } else { format!(" ({})", source_line(site)) };
        Err(Error::device(format!("{}: {message}{place}", launch.node)))
    }

    fn capture(&mut self, launches: &[Launch]) -> Result<Replay> {
        self.captures += 1;
        self.captured.insert(self.captures, launches.to_vec());
        Ok(Replay(self.captures))
    }

    fn replay(&mut self, replay: Replay) -> Result<()> {
        let launches = self.captured.remove(&replay.0).unwrap_or_default();
        let result = launches.iter().try_for_each(|launch| self.launch(launch));
        self.captured.insert(replay.0, launches);
        result
    }

    fn release(&mut self, replay: Replay) {
        self.captured.remove(&replay.0);
    }

    fn is_idle(&mut self) -> Result<bool> {
        Ok(true)
    }

    fn synchronise(&mut self) -> Result<()> {
        Ok(())
    }
}
