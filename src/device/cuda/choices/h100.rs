//! An H100 SXM, by its datasheet and by what public kernels reach on it; an H200 has faster memory alone. What
//! predictions and unmeasured choices are computed with. None of it was fitted to a measurement of ours.

/// Multiprocessors.
pub const MULTIPROCESSORS: u32 = 132;
/// Cycles a second under load.
pub const CLOCK: f64 = 1.755e9;
/// bf16 multiply-adds of a multiprocessor a cycle by wgmma.
pub const PRODUCTS: f64 = 2048.0;
/// The part of them that a large library product keeps busy.
pub const BUSY: f64 = 0.88;
/// The part of [`PRODUCTS`] that public kernels reach by mma.
pub const MMA: f64 = 0.625;
/// Bytes a cycle of a multiprocessor's shared memory.
pub const SHARED: f64 = 128.0;
/// The same of its part of L2 (5.5 TB/s).
pub const L2: f64 = 24.0;
/// Bytes a second of memory.
pub const MEMORY: f64 = 3.0e12;
/// Seconds from a launch's beginning to its first products, and from the last to its end.
pub const LAUNCH: f64 = 2.5e-6;
/// Cycles of a block that is not there yet when its tile begins: barriers, the first copies.
pub const FILL: f64 = 1500.0;
/// Cycles of the block's barrier that the first form has in every step.
pub const BARRIER: f64 = 60.0;
/// Issue slots that an element takes in the epilogue, by the machine code of the forward kernels.
pub const EPILOGUE: f64 = 22.0;
