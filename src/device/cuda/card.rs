//! A card, through the CUDA driver.
//!
//! One stream holds all work. The driver is loaded when the first card is asked for, so one program runs with and
//! without it.

mod clock;
mod fault;
mod functions;
mod open;
mod ranges;
mod staging;
mod tensor_maps;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use cudarc::driver::{CudaContext, CudaGraph, CudaStream, DriverError, result, sys};

pub(super) use fault::words;

use self::clock::Events;
use self::fault::{Meaning, meaning, sentence};
use self::functions::{Function, Module};
use self::ranges::Ranges;
use self::staging::Staging;
use super::driver::{Clock, Driver, Properties, Replay};
use super::images::Images;
use super::kernels::Generation;
use super::launch::{Address, Launch};
use crate::error::{Error, Result};
use crate::text::bytes as human;

/// The driver of one card.
pub struct CardDriver {
    // Dropped in this order: graphs belong to the stream, and the stream to the context.
    graphs: HashMap<usize, CudaGraph>,
    stream: Arc<CudaStream>,
    context: Arc<CudaContext>,
    name: String,
    shared_limit: u32,
    multiprocessors: u32,
    generation: Generation,
    checks_params: bool,
    synchronous: bool,
    modules: Vec<Module>,
    functions: HashMap<String, Function>,
    allocations: HashMap<Address, usize>,
    mailboxes: Vec<Mailbox>,
    staging: Staging,
    events: Events,
    ranges: Option<Ranges>,
    next_graph: usize,
    /// The first error that no later call survives, in words.
    broken: Option<String>,
}

/// Memory of this machine that kernels write.
struct Mailbox {
    address: Address,
    bytes: usize,
}

/// As much as any kernel's parameter may have on every card, aligned as a tensor map has to be.
#[repr(C, align(128))]
struct Params([u8; 4096]);

/// # Errors
/// If card `ordinal` cannot be used with the kernels of `images`; as [`CardDriver::open`], without opening it.
pub fn check(ordinal: usize, images: &Images) -> Result<()> {
    open::usable(ordinal, images).map(|_| ())
}

impl CardDriver {
    /// Opens card `ordinal` with the kernels of `images`.
    ///
    /// # Errors
    /// No driver, or one too old; no such card, or one too old; no kernels for it in this build; the card is busy. Each
    /// says what to do.
    pub fn open(ordinal: usize, images: Images) -> Result<Self> {
        let card = open::usable(ordinal, &images)?;
        let name = format!("cuda:{ordinal} ({})", card.name);
        let failed = |error: DriverError| {
            Error::device(format!(
                "{name}: the card cannot be opened: {}; nvidia-smi shows who uses it, --device cpu works without",
                words(&error)
            ))
        };
        let context = CudaContext::new(ordinal).map_err(failed)?;
        // SAFETY: all work is on one stream, so nothing needs the events; in a captured graph each would be a node.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(failed)?;
        let attribute =
            |which| context.attribute(which).map(|n| u32::try_from(n).unwrap_or(0)).map_err(failed);
        let limit = sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN;
        let shared_limit = attribute(limit)?;
        let multiprocessors = attribute(sys::CUdevice_attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?;
        // The driver tells a kernel's parameters since release 12.4.
        let checks_params = open::installed_release().map_err(failed)? >= (12, 4);
        let modules =
            images.for_card(card.capability).into_iter().map(|image| Module { image, loaded: None });
        Ok(Self {
            graphs: HashMap::new(),
            stream,
            context,
            shared_limit,
            multiprocessors,
            generation: open::generation(card.capability, &images),
            checks_params,
            synchronous: false,
            modules: modules.collect(),
            functions: HashMap::new(),
            allocations: HashMap::new(),
            mailboxes: Vec::new(),
            staging: Staging::default(),
            events: Events::default(),
            ranges: None,
            next_graph: 0,
            broken: None,
            name,
        })
    }

    /// Whether every launch is waited for, so that a fault names the launch that made it.
    #[must_use]
    pub fn synchronous(mut self, yes: bool) -> Self {
        self.synchronous = yes;
        self
    }

    /// Tells the profiler that records this process, if one does, the node of every launch.
    ///
    /// # Errors
    /// If this machine lacks the library that passes ranges on.
    pub fn named(mut self) -> Result<Self> {
        self.ranges = Some(Ranges::load()?);
        Ok(self)
    }

    /// Runs `f` with the context current, unless the card has failed before.
    fn call<T>(
        &mut self,
        what: &str,
        launch: Option<&Launch>,
        f: impl FnOnce(&mut Self) -> std::result::Result<T, DriverError>,
    ) -> Result<T> {
        if let Some(first) = &self.broken {
            return Err(Error::device(first.clone()));
        }
        let answer = match self.context.bind_to_thread() {
            Ok(()) => f(self),
            Err(e) => Err(e),
        };
        answer.map_err(|error| {
            let meaning = meaning(error.0);
            // Unless each launch is waited for, a fault may be of any launch before.
            let blamed = launch.filter(|_| self.synchronous).map(described);
            let said = sentence(&self.name, what, blamed.as_deref(), meaning, &words(&error));
            if meaning != Meaning::Refused {
                self.broken = Some(said.clone());
            }
            Error::device(said)
        })
    }

    /// Puts a prepared launch into the stream, or into the graph that it captures.
    fn enqueue(&mut self, launch: &Launch, function: Function) -> Result<()> {
        let encoded = launch.encoded(|map| self.encode_map(launch, map))?;
        let mut params = Params([0; 4096]);
        let room = params.0.get_mut(..encoded.len()).ok_or_else(|| {
            let bytes = encoded.len();
            Error::device(format!(
                "{} passes {bytes} bytes of parameters, and 4096 is the most",
                described(launch)
            ))
        })?;
        room.copy_from_slice(&encoded);
        let [grid, block] = [launch.grid, launch.block].map(|[x, y, z]| (x, y, z));
        let what = format!("launch {}", described(launch));
        self.call(&what, Some(launch), |this| {
            let mut arguments = [(&raw mut params.0).cast()];
            // SAFETY: the function is of a loaded module and takes one structure of the size that `prepare` compared;
            // the driver copies it before it returns. That the addresses in it are the launch's tensors is the launch
            // code's promise, to which the emulator holds it.
            unsafe {
                let (shared, stream) = (launch.dynamic_shared, this.stream.cu_stream());
                result::launch_kernel(function.handle, grid, block, shared, stream, &mut arguments)
            }
        })
    }

    /// # Errors
    /// If the `bytes` from `address` on are not all of one allocation or mailbox.
    fn check_inside(&self, address: Address, bytes: usize) -> Result<()> {
        let inside = |start: Address, length: usize| {
            let before = address.0.checked_sub(start.0);
            before.is_some_and(|before| before + bytes as u64 <= length as u64)
        };
        let owned = self.allocations.iter().any(|(&start, &length)| inside(start, length))
            || self.mailboxes.iter().any(|mailbox| inside(mailbox.address, mailbox.bytes));
        if owned {
            return Ok(());
        }
        Err(Error::device(format!(
            "{}: {bytes} bytes at {:#x} are no memory of this program",
            self.name, address.0
        )))
    }
}

/// A launch, for people.
fn described(launch: &Launch) -> String {
    match launch.node.as_str() {
        "" => format!("kernel {}", launch.kernel),
        node => format!("{node}, kernel {}", launch.kernel),
    }
}

impl Driver for CardDriver {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn properties(&mut self) -> Result<Properties> {
        let name = self.name.clone();
        self.call("describe the card", None, |this| clock::properties(name, &this.context))
    }

    fn clock(&mut self) -> Option<&mut dyn Clock> {
        Some(self)
    }

    fn free_bytes(&mut self) -> Result<Option<usize>> {
        self.call("count free memory", None, |_| result::mem_get_info().map(|(free, _)| Some(free)))
    }

    fn shared_limit(&self) -> u32 {
        self.shared_limit
    }

    fn multiprocessors(&self) -> u32 {
        self.multiprocessors
    }

    fn generation(&self) -> Generation {
        self.generation
    }

    fn allocate(&mut self, bytes: usize) -> Result<Address> {
        let stream = self.stream.cu_stream();
        let what = format!("allocate {}", human(bytes as u64));
        let (address, free) = self.call(&what, None, |_| {
            // SAFETY: the context is current; nobody has the address yet.
            match unsafe { result::malloc_sync(bytes.max(1)) } {
                Ok(address) => Ok((Some(address), 0)),
                Err(DriverError(sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY)) => {
                    Ok((None, result::mem_get_info().map_or(0, |(free, _)| free)))
                }
                Err(e) => Err(e),
            }
        })?;
        let Some(address) = address else {
            return Err(Error::device(format!(
                "{}: {} of memory are needed, and {} are free; a smaller batch, model or data set needs less",
                self.name,
                human(bytes as u64),
                human(free as u64)
            )));
        };
        self.allocations.insert(Address(address), bytes.max(1));
        // SAFETY: all of what was allocated above.
        self.call("clear memory", None, |_| unsafe {
            result::memset_d8_async(address, 0, bytes.max(1), stream)
        })?;
        Ok(Address(address))
    }

    fn free(&mut self, address: Address) {
        if self.allocations.remove(&address).is_none() || self.synchronise().is_err() {
            return;
        }
        // SAFETY: from `allocate`, given back once, and no queued work uses it. A failure shows at the next call.
        let _ = self.call("free memory", None, |_| unsafe { result::free_sync(address.0) });
    }

    fn allocate_mailbox(&mut self, bytes: usize) -> Result<Address> {
        let flags = sys::CU_MEMHOSTALLOC_DEVICEMAP | sys::CU_MEMHOSTALLOC_PORTABLE;
        let length = bytes.max(1).next_multiple_of(4);
        let memory = self.call(&format!("pin {length} bytes of this machine's memory"), None, |_| {
            // SAFETY: the context is current; the memory is as long as `length` says and nobody else has it.
            unsafe {
                let memory = result::malloc_host(length, flags)?;
                std::ptr::write_bytes(memory.cast::<u8>(), 0, length);
                Ok(memory)
            }
        })?;
        // Host and card share one address space ("Unified Addressing" in the driver's manual), so memory that was
        // allocated pinned and portable has one address for both.
        let address = Address(memory as u64);
        self.mailboxes.push(Mailbox { address, bytes: length });
        Ok(address)
    }

    fn peek(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        let inside = self.mailboxes.iter().any(|mailbox| {
            from >= mailbox.address && from.0 + bytes.len() as u64 <= mailbox.address.0 + mailbox.bytes as u64
        });
        if !inside {
            let (bytes, name) = (bytes.len(), &self.name);
            return Err(Error::device(format!("{name}: {bytes} bytes at {:#x} are in no mailbox", from.0)));
        }
        // Who waits for a number in a mailbox has to hear that no kernel will write it any more.
        self.is_idle()?;
        let memory =
            std::ptr::with_exposed_provenance_mut::<u8>(usize::try_from(from.0).expect("64-bit addresses"));
        let mut done = 0;
        while done < bytes.len() {
            // SAFETY: within a mailbox, which lives as long as this driver; the card may write it at the same time, so
            // every read is atomic, by words where that is possible, so that no number is seen half written. Acquire:
            // what was written before a number that is seen here is seen by the reads after it.
            unsafe {
                let at = memory.add(done);
                if at.cast::<u32>().is_aligned() && bytes.len() - done >= 4 {
                    let word = AtomicU32::from_ptr(at.cast()).load(Ordering::Acquire);
                    bytes[done..done + 4].copy_from_slice(&word.to_ne_bytes());
                    done += 4;
                } else {
                    bytes[done] = AtomicU8::from_ptr(at).load(Ordering::Acquire);
                    done += 1;
                }
            }
        }
        Ok(())
    }

    fn upload(&mut self, to: Address, bytes: &[u8]) -> Result<()> {
        self.check_inside(to, bytes.len())?;
        self.call(&format!("copy {} bytes to the card", bytes.len()), None, |this| {
            // SAFETY: the context is current, the target was checked above, and the stream is this driver's only one.
            unsafe { this.staging.upload(to.0, bytes, this.stream.cu_stream()) }
        })
    }

    fn download(&mut self, from: Address, bytes: &mut [u8]) -> Result<()> {
        self.check_inside(from, bytes.len())?;
        self.call(&format!("copy {} bytes from the card", bytes.len()), None, |this| {
            if !bytes.is_empty() {
                // SAFETY: the source was checked above, and `bytes` outlives the copy, which is waited for below.
                unsafe { result::memcpy_dtoh_async(bytes, from.0, this.stream.cu_stream())? };
            }
            this.stream.synchronize()
        })
    }

    fn fill(&mut self, at: Address, bytes: usize, value: u8) -> Result<()> {
        self.check_inside(at, bytes)?;
        if bytes == 0 {
            return Ok(());
        }
        let stream = self.stream.cu_stream();
        // SAFETY: the target was checked above.
        self.call("fill memory", None, |_| unsafe { result::memset_d8_async(at.0, value, bytes, stream) })
    }

    fn launch(&mut self, launch: &Launch) -> Result<()> {
        let function = self.prepare(launch)?;
        let open = self.ranges.as_ref().map(|ranges| ranges.open(&described(launch)));
        let queued = self.enqueue(launch, function);
        drop(open);
        queued?;
        if self.synchronous {
            self.call("wait for a launch", Some(launch), |this| this.stream.synchronize())?;
        }
        Ok(())
    }

    fn capture(&mut self, launches: &[Launch]) -> Result<Replay> {
        // Loading a module is not allowed while the stream captures.
        let functions = launches.iter().map(|launch| self.prepare(launch)).collect::<Result<Vec<_>>>()?;
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.call("begin a graph", None, |this| this.stream.begin_capture(mode))?;
        let queued = launches.iter().zip(functions).try_for_each(|(l, function)| self.enqueue(l, function));
        let flags = sys::CUgraphInstantiate_flags(0);
        // The capture ends whatever came of it, or the stream would be of no more use.
        let graph = self.call("end a graph", None, |this| this.stream.end_capture(flags));
        queued?;
        let graph = graph?.ok_or_else(|| {
            Error::device(format!("{}: the CUDA driver captured no graph: run with --no-graph", self.name))
        })?;
        self.call("upload a graph", None, |_| graph.upload())?;
        let id = self.next_graph;
        self.next_graph += 1;
        self.graphs.insert(id, graph);
        Ok(Replay(id))
    }

    fn replay(&mut self, replay: Replay) -> Result<()> {
        self.call("launch a graph", None, |this| {
            let graph = this.graphs.get(&replay.0).expect("a graph that was captured and not released");
            graph.launch()?;
            if this.synchronous { this.stream.synchronize() } else { Ok(()) }
        })
    }

    fn release(&mut self, replay: Replay) {
        // An error shows again at the next call that can say so.
        let _ = self.synchronise();
        self.graphs.remove(&replay.0);
    }

    fn is_idle(&mut self) -> Result<bool> {
        self.call("ask whether work is done", None, |this| {
            // SAFETY: the stream is this driver's own.
            match unsafe { sys::cuStreamQuery(this.stream.cu_stream()) } {
                sys::CUresult::CUDA_ERROR_NOT_READY => Ok(false),
                result => result.result().map(|()| true),
            }
        })
    }

    fn synchronise(&mut self) -> Result<()> {
        self.call("wait for queued work", None, |this| this.stream.synchronize())
    }
}

impl Drop for CardDriver {
    fn drop(&mut self) {
        // After a fault the driver answers every call at once with the same error, and the process' end frees all.
        if self.synchronise().is_err() {
            return;
        }
        self.graphs.clear();
        // SAFETY: the context is current and the stream idle; each is this driver's own and given back once.
        unsafe {
            self.staging.close();
            self.events.close();
            for mailbox in &self.mailboxes {
                let memory =
                    std::ptr::with_exposed_provenance_mut(usize::try_from(mailbox.address.0).unwrap_or(0));
                let _ = result::free_host(memory);
            }
            for address in self.allocations.keys() {
                let _ = result::free_sync(address.0);
            }
            for module in self.modules.iter().filter_map(|module| module.loaded) {
                let _ = result::module::unload(module);
            }
        }
    }
}
