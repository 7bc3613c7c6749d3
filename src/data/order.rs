//! Orders drawn at random: an unbiased integer below a bound, the shuffle, and the order of an epoch.

use rand::Rng;

use crate::random::{Purpose, Stream};

/// A number below `bound`, every one equally likely; 0 where `bound` is 0.
///
/// The high half of `word * bound` is uniform once the few words whose low half lies below `2^32 mod bound`
/// are drawn again (Lemire, "Fast random integer generation in an interval", 2019). Our own, so that no
/// release of a library changes an order.
pub(super) fn below(stream: &mut Stream, bound: u32) -> u32 {
    if bound == 0 {
        return 0;
    }
    let threshold = bound.wrapping_neg() % bound;
    loop {
        let product = u64::from(stream.next_u32()) * u64::from(bound);
        if product as u32 >= threshold {
            return (product >> 32) as u32;
        }
    }
}

/// Shuffles `items` (Fisher and Yates, from the last item down).
pub(super) fn shuffle<T>(items: &mut [T], stream: &mut Stream) {
    for last in (1..items.len()).rev() {
        items.swap(last, below(stream, last as u32 + 1) as usize);
    }
}

/// The order in which epoch `epoch` visits `n` samples: a permutation of `0..n`, a pure function of its
/// arguments.
pub fn epoch_order(seed: u64, epoch: u32, n: usize) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n as u32).collect();
    shuffle(&mut order, &mut Stream::new(seed, Purpose::Shuffle, epoch, 0));
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_below_the_bound_is_equally_likely() {
        let mut stream = Stream::new(1, Purpose::Test, 0, 0);
        let mut counts = [0u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut stream, 7) as usize] += 1;
        }
        // Six degrees of freedom: chi-squared exceeds 22.5 once in a thousand.
        let chi: f64 = counts.iter().map(|&c| (f64::from(c) - 1e4).powi(2) / 1e4).sum();
        assert!(chi < 22.5, "{counts:?}");
        // A bound just above half the range rejects nearly every second word.
        assert!((0..1000).all(|_| below(&mut stream, 0x8000_0001) <= 0x8000_0000));
        assert_eq!((below(&mut stream, 0), below(&mut stream, 1)), (0, 0));
    }

    #[test]
    fn an_epoch_visits_every_sample_once_in_its_own_order() {
        let order = epoch_order(7, 3, 1000);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..1000).collect::<Vec<_>>());
        assert_eq!(order, epoch_order(7, 3, 1000));
        assert_ne!(order, epoch_order(7, 4, 1000));
        assert_ne!(order, epoch_order(8, 3, 1000));
        assert!(epoch_order(7, 3, 0).is_empty());
    }

    /// Checkpoints rely on it: a change here would change what a resumed run sees.
    #[test]
    fn the_order_never_changes() {
        assert_eq!(epoch_order(0, 0, 8), [0, 3, 1, 2, 7, 5, 4, 6]);
    }
}
