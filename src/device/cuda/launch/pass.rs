//! How passes over a [rows, channels] matrix are laid out: `kernels/vector.cuh` and `kernels/reduce.cuh`.

use super::{Site, THREADS};

/// Neighbouring elements that a thread moves at once: EIGHT of `kernels/vector.cuh`.
pub const EIGHT: u32 = 8;
/// Blocks of a pass at most: every card's multiprocessors several times over, so that those at work together, a part of
/// them, are near each other in the tensor; and few enough that a thread uses its channels' constants for several rows.
const MOST_BLOCKS: u64 = 2048;
/// Vectors of a row that a block of a reduction takes at most: MOST_COLUMNS of `kernels/reduce.cuh`.
const MOST_COLUMNS: u32 = 64;
/// Channels of a block of a reduction's second pass: FINALISE_COLUMNS there.
const FINALISE_COLUMNS: u32 = 8;
/// Threads of such a block at most: MOST_FINALISE_THREADS there.
const MOST_FINALISE_THREADS: u32 = 1024;

/// Threads of a block of the first pass of a reduction.
pub const REDUCE_THREADS: [u32; 3] = [256, 1, 1];
/// Rows of a chunk, at least: fewer are not worth a partial result.
const LEAST_CHUNK_ROWS: u32 = 64;
/// Chunks at most: enough to fill a card evenly.
const MOST_CHUNKS: u32 = 2048;

/// Whether a thread takes eight channels.
fn by_eight(channels: u32) -> bool {
    channels.is_multiple_of(EIGHT)
}

/// What a kernel's name says of the channels it takes: nothing where they are a multiple of eight.
pub fn form(channels: u32) -> &'static str {
    if by_eight(channels) { "" } else { "any_" }
}

/// Vectors of a row.
fn vectors(channels: u32) -> u32 {
    if by_eight(channels) { channels / EIGHT } else { channels }
}

/// The grid of a Pass: a thread for every vector of the matrix; or, where those are many, runs of rows along y, each for
/// as few blocks as have a multiple of a row's vectors for threads, so that a thread stays at its channels.
pub fn grid(rows: usize, channels: u32) -> [u32; 3] {
    let (rows, threads, row) = (rows as u64, u64::from(THREADS[0]), u64::from(vectors(channels)));
    let blocks = (rows * row).div_ceil(threads).max(1);
    if blocks <= MOST_BLOCKS {
        return [blocks as u32, 1, 1];
    }
    let unit = row / gcd(row, threads);
    let at_once = unit * threads / row;
    let rounds = rows.div_ceil(at_once * (MOST_BLOCKS / unit).max(1));
    [unit as u32, rows.div_ceil(at_once * rounds) as u32, 1]
}

/// As kernels take it, whether passes begin with the last row.
pub fn descending(site: &Site<'_>) -> u32 {
    u32::from(!site.choices.ascending)
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// How the rows of a matrix are cut into chunks: a function of the shape alone, so that sums are the same everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Chunks {
    /// Rows of every chunk but the last.
    pub rows: u32,
    /// How many.
    pub count: u32,
}

impl Chunks {
    /// The chunks of `rows` rows.
    pub fn of(rows: usize) -> Self {
        let rows = super::extent(rows);
        let chunk = rows.div_ceil(MOST_CHUNKS).max(LEAST_CHUNK_ROWS);
        Self { rows: chunk, count: rows.div_ceil(chunk) }
    }

    /// Blocks of the first pass.
    pub fn grid(self, channels: u32) -> [u32; 3] {
        [self.count, vectors(channels).div_ceil(MOST_COLUMNS), 1]
    }
}

/// Blocks of the second pass, of a reduction that leaves `parts` parts.
pub fn finalise_grid(channels: u32, quantities: u32) -> [u32; 3] {
    [channels.div_ceil(FINALISE_COLUMNS), quantities, 1]
}

/// Threads of such a block: a lane for every part, but a power of two.
pub fn finalise_threads(parts: u32) -> [u32; 3] {
    [parts.next_power_of_two().min(MOST_FINALISE_THREADS / FINALISE_COLUMNS) * FINALISE_COLUMNS, 1, 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_rows_and_are_not_too_many() {
        for rows in [1, 63, 64, 65, 4096, 131_072, 131_073, 512_000, 1_048_576] {
            let Chunks { rows: chunk, count } = Chunks::of(rows);
            assert!(u64::from(chunk) * u64::from(count) >= rows as u64, "{rows}");
            assert!(u64::from(chunk) * u64::from(count - 1) < rows as u64, "{rows}");
            assert!(count <= MOST_CHUNKS && chunk >= LEAST_CHUNK_ROWS);
        }
    }

    #[test]
    fn a_thread_of_a_pass_stays_at_its_channels_and_every_vector_has_one() {
        for channels in [1, 3, 8, 10, 96, 192, 384, 1001, 5001, 65_536] {
            for rows in [1, 2, 777, 32_000, 512_000] {
                let [blocks, runs, _] = grid(rows, channels).map(u64::from);
                let (threads, row) = (blocks * u64::from(THREADS[0]), u64::from(vectors(channels)));
                let all = rows as u64 * row;
                assert!(threads >= all || threads.is_multiple_of(row), "{rows} x {channels}: {threads}");
                assert!(blocks * runs <= MOST_BLOCKS.max(row), "{rows} x {channels}: {blocks} x {runs}");
                // A run but for the last few rows has work for all its threads.
                assert!(runs == 1 || rows as u64 / runs >= threads / row, "{rows} x {channels}: idle blocks");
            }
        }
    }

    #[test]
    fn lanes_of_the_second_pass_are_a_power_of_two() {
        assert_eq!([1, 2, 3, 100, 4000].map(|parts| finalise_threads(parts)[0]), [8, 16, 32, 1024, 1024]);
    }
}
