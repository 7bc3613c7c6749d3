//! Pinned memory that uploads pass through.
//!
//! The driver promises of an asynchronous copy from pageable memory neither that it has read the source when it
//! returns nor that it does not wait for the stream ("API synchronization behavior" in its manual). From pinned memory
//! the copy is asynchronous, and this ring knows when a piece may be written again.

use cudarc::driver::{DriverError, result, sys};

/// Pinned memory that uploads pass through, by their size.
pub(super) struct Staging {
    /// A step's inputs and indices: as many pieces as steps may be under way, so that queuing a step does not wait for
    /// those before it.
    small: Ring,
    /// All else. A piece is a quarter of a usual batch of images, so that filling one overlaps the copy of the one
    /// before.
    large: Ring,
}

impl Default for Staging {
    fn default() -> Self {
        Self { small: Ring::new(8 << 10, 128), large: Ring::new(4 << 20, 4) }
    }
}

impl Staging {
    /// Queues copying `bytes` to `to`; they may be reused at once.
    ///
    /// # Safety
    /// The stream's context is current; `to` and the bytes behind it are memory of that context; and every call is with
    /// the same stream.
    pub(super) unsafe fn upload(
        &mut self,
        to: u64,
        bytes: &[u8],
        stream: sys::CUstream,
    ) -> Result<(), DriverError> {
        let ring = if bytes.len() <= self.small.piece_bytes { &mut self.small } else { &mut self.large };
        // SAFETY: the caller's promises are the ring's conditions.
        unsafe { ring.upload(to, bytes, stream) }
    }

    /// Gives the memory back. Failures are of no interest: the card is being closed.
    ///
    /// # Safety
    /// The context is current, and all copies are done or were given up.
    pub(super) unsafe fn close(&mut self) {
        for ring in [&mut self.small, &mut self.large] {
            // SAFETY: the caller's promises are the ring's conditions.
            unsafe { ring.close() };
        }
    }
}

/// A ring of pieces of pinned memory, each made when it is first needed.
struct Ring {
    piece_bytes: usize,
    most: usize,
    pieces: Vec<Piece>,
    next: usize,
}

struct Piece {
    memory: *mut u8,
    /// Recorded behind the last copy out of `memory`.
    copied: sys::CUevent,
}

impl Ring {
    fn new(piece_bytes: usize, most: usize) -> Self {
        Self { piece_bytes, most, pieces: Vec::new(), next: 0 }
    }

    /// # Safety
    /// As [`Staging::upload`].
    unsafe fn upload(&mut self, to: u64, bytes: &[u8], stream: sys::CUstream) -> Result<(), DriverError> {
        let mut to = to;
        for part in bytes.chunks(self.piece_bytes) {
            // SAFETY: the context is current, as the caller promises.
            let piece = unsafe { self.free_piece()? };
            // SAFETY: `memory` is a piece of pinned memory that no copy reads any more; `part` is no longer.
            let staged = unsafe {
                std::ptr::copy_nonoverlapping(part.as_ptr(), piece.memory, part.len());
                std::slice::from_raw_parts(piece.memory, part.len())
            };
            // SAFETY: the caller vouches for `to` and the stream; `staged` stays as it is until `copied` has happened.
            unsafe {
                result::memcpy_htod_async(to, staged, stream)?;
                result::event::record(piece.copied, stream)?;
            }
            to += part.len() as u64;
        }
        Ok(())
    }

    /// The next piece, once the copy out of it is done.
    ///
    /// # Safety
    /// The context is current.
    unsafe fn free_piece(&mut self) -> Result<&Piece, DriverError> {
        let n = self.next;
        if n == self.pieces.len() {
            let flags = sys::CU_MEMHOSTALLOC_PORTABLE;
            // SAFETY: the context is current.
            let memory = unsafe { result::malloc_host(self.piece_bytes, flags)? }.cast::<u8>();
            let copied = match result::event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING) {
                Ok(event) => event,
                Err(e) => {
                    // SAFETY: allocated above and used by nobody.
                    unsafe { result::free_host(memory.cast())? };
                    return Err(e);
                }
            };
            self.pieces.push(Piece { memory, copied });
        } else {
            // SAFETY: an event of this ring, recorded by the upload that used this piece before.
            unsafe { result::event::synchronize(self.pieces[n].copied)? };
        }
        self.next = (n + 1) % self.most;
        Ok(&self.pieces[n])
    }

    /// # Safety
    /// As [`Staging::close`].
    unsafe fn close(&mut self) {
        for piece in self.pieces.drain(..) {
            // SAFETY: both are this ring's own, and no copy uses them.
            unsafe {
                let _ = result::event::destroy(piece.copied);
                let _ = result::free_host(piece.memory.cast());
            }
        }
        self.next = 0;
    }
}
