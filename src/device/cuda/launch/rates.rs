//! `kernels/rates.cu`: launches that belong to no node, but to the card.

use bytemuck::{Pod, Zeroable};

use super::{Address, Launch, THREADS, View};

/// Blocks a multiprocessor gets, one after another or at once: a multiple of every number that may be resident.
pub const BLOCKS: u32 = 60;

/// Bytes of a vector.
pub const VECTOR: usize = 16;

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct CopyParams {
    from: Address,
    to: Address,
    vectors: u64,
}

/// Copies all whole vectors of `from`, by as many blocks as stay on `multiprocessors` at once.
pub fn copy(from: View, to: View, multiprocessors: u32) -> Launch {
    let mut launch = Launch::new("rates_copy");
    let vectors = (from.bytes.min(to.bytes) / VECTOR) as u64;
    let params = CopyParams { from: launch.reads(from), to: launch.writes(to), vectors };
    launch.node = "rates: copy".into();
    // 2048 threads of a multiprocessor are eight blocks; fewer fit on some cards, and the others follow.
    launch.over([8 * multiprocessors.max(1), 1, 1], THREADS).with(&params)
}

/// Arithmetic in registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arithmetic {
    /// Tensor cores, bf16 with f32 sums, by the warp's matrix instruction.
    Matrix,
    /// Multiply-adds in f32.
    MultiplyAdd,
}

#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
struct LoopParams {
    sums: Address,
    rounds: u32,
    padding: u32,
}

impl Arithmetic {
    /// Floating-point operations of one thread in one round.
    fn flops(self) -> u64 {
        match self {
            // Eight products of 16 x 8 x 16, shared by the 32 threads of a warp.
            Self::Matrix => 8 * (16 * 8 * 16 * 2) / 32,
            Self::MultiplyAdd => 16 * 2,
        }
    }

    /// Bytes of the sums that [`Arithmetic::launch`] stores.
    pub fn bytes(multiprocessors: u32) -> usize {
        BLOCKS as usize * multiprocessors.max(1) as usize * THREADS[0] as usize * size_of::<f32>()
    }

    /// So many rounds on every thread of the card, and the floating-point operations that they are.
    pub fn launch(self, sums: View, multiprocessors: u32, rounds: u32) -> (Launch, u64) {
        let mut launch = Launch::new(match self {
            Self::Matrix => "rates_multiply_matrices",
            Self::MultiplyAdd => "rates_multiply_add",
        });
        let blocks = BLOCKS * multiprocessors.max(1);
        let params = LoopParams { sums: launch.writes(sums), rounds, padding: 0 };
        launch.node = "rates: arithmetic".into();
        let flops = u64::from(blocks) * u64::from(THREADS[0]) * u64::from(rounds) * self.flops();
        (launch.over([blocks, 1, 1], THREADS).with(&params), flops)
    }
}
