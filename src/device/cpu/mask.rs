//! ReLU masks: one bit an element in memory, one byte an element ("gate", 0 or 1) while a row is worked on.

/// The eight gates of every byte of a mask.
static GATES: [[u8; 8]; 256] = {
    let mut gates = [[0; 8]; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut bit = 0;
        while bit < 8 {
            gates[byte][bit] = (byte >> bit & 1) as u8;
            bit += 1;
        }
        byte += 1;
    }
    gates
};

/// The gates of elements `start .. start + gates.len()`.
#[inline(always)]
pub fn expand(mask: &[u8], start: usize, gates: &mut [u8]) {
    if start.is_multiple_of(8) {
        let mask = &mask[start / 8..];
        let (whole, rest) = gates.as_chunks_mut::<8>();
        for (gates, byte) in whole.iter_mut().zip(mask) {
            *gates = GATES[usize::from(*byte)];
        }
        let last = mask.get(whole.len()).copied().unwrap_or_default();
        rest.copy_from_slice(&GATES[usize::from(last)][..rest.len()]);
    } else {
        for (i, gate) in (start..).zip(gates) {
            *gate = mask[i / 8] >> (i % 8) & 1;
        }
    }
}

/// Packs gates into bits, from a mask's first element on.
#[inline(always)]
pub fn pack(gates: &[u8], mask: &mut [u8]) {
    // Moves bit 0 of byte i, at 8 i, to bit 56 + i: a product with 2^(56 - 7 i) for every i. No two terms meet.
    let byte = |eight| (u64::from_le_bytes(eight).wrapping_mul(0x0102_0408_1020_4080) >> 56) as u8;
    let (whole, rest) = gates.as_chunks::<8>();
    mask.iter_mut().zip(whole).for_each(|(mask, eight)| *mask = byte(*eight));
    if !rest.is_empty() {
        let mut eight = [0; 8];
        eight[..rest.len()].copy_from_slice(rest);
        mask[whole.len()] = byte(eight);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_and_expanding_are_inverse_at_any_offset() {
        let gates: Vec<u8> = (0..77u32).map(|i| (i * i % 7 % 2) as u8).collect();
        let mut mask = [0xFF; 10];
        pack(&gates, &mut mask);
        for start in [0, 3, 8, 40] {
            let mut back = vec![9; gates.len() - start];
            expand(&mask, start, &mut back);
            assert_eq!(back, gates[start..]);
        }
    }
}
