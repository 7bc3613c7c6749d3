//! Counter-based randomness: every draw is a pure function of (seed, purpose, epoch, item, position).
//!
//! Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) needs no state that
//! travels, so any device and any number of threads draws the same numbers, and a resumed run continues them.

use std::convert::Infallible;

use rand::rand_core::TryRng;

/// What a stream of numbers is for. Part of the key, so that no two purposes ever share numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; the item is the parameter's index.
    Initialise = 1,
    /// The order of an epoch.
    Shuffle = 2,
    /// Crop and flip; the item is the sample's index.
    Augment = 3,
    /// Which samples a split or subset holds; the item is the class.
    Split = 4,
    /// The synthetic data set; the item is the image's index.
    Synthetic = 5,
    /// Test inputs.
    Test = 6,
}

/// One Philox4x32-10 block: 128 random bits from a 128-bit counter and a 64-bit key.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut c0, mut c1, mut c2, mut c3] = counter;
    let [mut k0, mut k1] = key;
    for _ in 0..10 {
        let p0 = u64::from(c0) * 0xD251_1F53;
        let p1 = u64::from(c2) * 0xCD9E_8D57;
        (c0, c1, c2, c3) = ((p1 >> 32) as u32 ^ c1 ^ k0, p1 as u32, (p0 >> 32) as u32 ^ c3 ^ k1, p0 as u32);
        k0 = k0.wrapping_add(0x9E37_79B9);
        k1 = k1.wrapping_add(0xBB67_AE85);
    }
    [c0, c1, c2, c3]
}

/// Spreads a number over 64 bits: the finaliser of SplitMix64 (Steele, Lea and Flood, 2014).
pub fn mixed(x: u64) -> u64 {
    let x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// The numbers of one (seed, purpose, epoch, item), as a generator for the `rand` crate.
///
/// Counter words: position in the stream, item, epoch, purpose. Key: the seed.
#[derive(Debug, Clone)]
pub struct Stream {
    key: [u32; 2],
    counter: [u32; 4],
    block: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of `item` in `epoch`, for `purpose`.
    pub fn new(seed: u64, purpose: Purpose, epoch: u32, item: u32) -> Self {
        Self {
            key: [seed as u32, (seed >> 32) as u32],
            counter: [0, item, epoch, purpose as u32],
            block: [0; 4],
            used: 4,
        }
    }
}

impl TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        if self.used == 4 {
            self.block = philox(self.counter, self.key);
            self.counter[0] = self.counter[0].wrapping_add(1);
            self.used = 0;
        }
        self.used += 1;
        Ok(self.block[self.used - 1])
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let low = u64::from(self.try_next_u32()?);
        Ok(low | u64::from(self.try_next_u32()?) << 32)
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(4) {
            chunk.copy_from_slice(&self.try_next_u32()?.to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known-answer vectors that come with the authors' reference implementation (Random123).
    #[test]
    fn philox_matches_the_published_vectors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        let pi = philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]);
        assert_eq!(pi, [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]);
    }

    #[test]
    fn streams_differ_by_every_part_of_their_name() {
        use rand::Rng;
        let first = |mut s: Stream| s.next_u64();
        let base = first(Stream::new(1, Purpose::Augment, 2, 3));
        assert_eq!(base, first(Stream::new(1, Purpose::Augment, 2, 3)));
        for other in [
            Stream::new(2, Purpose::Augment, 2, 3),
            Stream::new(1, Purpose::Shuffle, 2, 3),
            Stream::new(1, Purpose::Augment, 3, 3),
            Stream::new(1, Purpose::Augment, 2, 4),
        ] {
            assert_ne!(base, first(other));
        }
    }
}
