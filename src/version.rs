//! What this program was built from, for records of measurements.

/// The commit of the sources, with `-dirty` where they differed from it; `unknown` where they lay in no repository.
pub const COMMIT: &str = include_str!(concat!(env!("OUT_DIR"), "/commit"));

/// SHA-256 over the CUDA kernels and the code that launches them, in hexadecimal: measurements on a card hold for it.
pub const KERNELS_HASH: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels_hash"));
