//! Taking a part of a data set, class by class: `--val-split` and `--subset`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::order::shuffle;
use crate::error::{Error, Result};
use crate::random::{Purpose, Stream};

/// How much of a set to hold out.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Share {
    /// This fraction of every class, rounded, but at least one sample and never a whole class.
    Fraction(f64),
    /// Exactly this many samples in all, spread over the classes in proportion to their sizes.
    Count(usize),
}

impl FromStr for Share {
    type Err = Error;

    /// A whole number is a count, a number between 0 and 1 a fraction.
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(count) = text.parse() {
            return Ok(Self::Count(count));
        }
        match text.parse::<f64>() {
            Ok(fraction) if fraction > 0.0 && fraction < 1.0 => Ok(Self::Fraction(fraction)),
            _ => Err(Error::usage(format!(
                "'{text}' is no part of a data set; give a fraction such as 0.1 or a number of images such \
                 as 5000"
            ))),
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fraction(fraction) => fraction.fmt(f),
            Self::Count(count) => count.fmt(f),
        }
    }
}

/// Splits sample indices into (kept, held out), both ascending; which of a class are held out is drawn from
/// `seed`.
///
/// # Errors
/// When the share is zero, or leaves nothing.
pub fn stratified_split(labels: &[u16], share: Share, seed: u64) -> Result<(Vec<usize>, Vec<usize>)> {
    let classes = shuffled_classes(labels, seed);
    let sizes: Vec<usize> = classes.iter().map(Vec::len).collect();
    let held_sizes: Vec<usize> = match share {
        Share::Fraction(fraction) if fraction > 0.0 && fraction < 1.0 => {
            sizes.iter().map(|&size| part_of_class(size, fraction)).collect()
        }
        Share::Count(count) if count > 0 && count < labels.len() => apportion(&sizes, count),
        _ => {
            return Err(Error::usage(format!(
                "cannot hold out {share} of {} images; give a fraction between 0 and 1, or a number \
                 from 1 to {}",
                labels.len(),
                labels.len().saturating_sub(1)
            )));
        }
    };
    let (mut kept, mut held) = (Vec::new(), Vec::new());
    for (class, &size) in classes.iter().zip(&held_sizes) {
        held.extend_from_slice(&class[..size]);
        kept.extend_from_slice(&class[size..]);
    }
    kept.sort_unstable();
    held.sort_unstable();
    Ok((kept, held))
}

/// `n` sample indices, ascending, the same number from every class as nearly as the set allows.
///
/// Nested: with one seed, a smaller subset is contained in every larger one, so that accuracies over growing
/// subsets compare.
///
/// # Errors
/// When `n` is zero or more than there are samples.
pub fn stratified_subset(labels: &[u16], n: usize, seed: u64) -> Result<Vec<usize>> {
    if n == 0 || n > labels.len() {
        return Err(Error::usage(format!(
            "cannot take a subset of {n} from {} images; give a number from 1 to {}",
            labels.len(),
            labels.len()
        )));
    }
    let classes = shuffled_classes(labels, seed);
    // One of each class in turn: a prefix of this order is balanced, and prefixes are nested.
    let rounds = classes.iter().map(Vec::len).max().unwrap_or(0);
    let turns = (0..rounds).flat_map(|round| classes.iter().filter_map(move |class| class.get(round)));
    let mut subset: Vec<usize> = turns.take(n).copied().collect();
    subset.sort_unstable();
    Ok(subset)
}

/// The sample indices of each class, shuffled.
fn shuffled_classes(labels: &[u16], seed: u64) -> Vec<Vec<usize>> {
    let mut classes = vec![Vec::new(); labels.iter().max().map_or(0, |&last| usize::from(last) + 1)];
    for (index, &label) in labels.iter().enumerate() {
        classes[usize::from(label)].push(index);
    }
    for (label, class) in classes.iter_mut().enumerate() {
        shuffle(class, &mut Stream::new(seed, Purpose::Split, 0, label as u32));
    }
    classes
}

/// How many of a class of `size` to hold out: none of a single sample, since neither side may lose the class.
fn part_of_class(size: usize, fraction: f64) -> usize {
    if size < 2 { 0 } else { ((size as f64 * fraction).round() as usize).clamp(1, size - 1) }
}

/// Shares `count` among classes in proportion to `sizes`: rounded down, the rest to the largest remainders.
fn apportion(sizes: &[usize], count: usize) -> Vec<usize> {
    let total = sizes.iter().sum::<usize>() as u128;
    let exact = |size: usize| size as u128 * count as u128;
    let mut parts: Vec<usize> = sizes.iter().map(|&size| (exact(size) / total) as usize).collect();
    let mut by_remainder: Vec<usize> = (0..sizes.len()).collect();
    by_remainder.sort_by_key(|&class| std::cmp::Reverse(exact(sizes[class]) % total));
    let missing = count - parts.iter().sum::<usize>();
    for &class in &by_remainder[..missing] {
        parts[class] += 1;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 60 samples of class 0, 30 of class 1, 9 of class 3, 1 of class 4; none of class 2.
    fn labels() -> Vec<u16> {
        (0..100)
            .map(|i| [0, 1, 0, 1, 0, 0, 0, 1, 0, 3][i % 10])
            .enumerate()
            .map(|(i, l)| if i == 9 { 4 } else { l })
            .collect()
    }

    fn counts(labels: &[u16], indices: &[usize]) -> [usize; 5] {
        let mut counts = [0; 5];
        indices.iter().for_each(|&i| counts[usize::from(labels[i])] += 1);
        counts
    }

    #[test]
    fn a_split_parts_every_class_and_loses_nothing() {
        let labels = labels();
        let (kept, held) = stratified_split(&labels, Share::Fraction(0.1), 5).unwrap();
        assert_eq!(counts(&labels, &held), [6, 3, 0, 1, 0]);
        let mut all = [kept.clone(), held.clone()].concat();
        all.sort_unstable();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
        assert!(kept.is_sorted() && held.is_sorted());
        assert_eq!((kept, held.clone()), stratified_split(&labels, Share::Fraction(0.1), 5).unwrap());
        assert_ne!(held, stratified_split(&labels, Share::Fraction(0.1), 6).unwrap().1);
        // A tiny fraction still takes one of each class, a huge one still leaves one.
        let (_, few) = stratified_split(&labels, Share::Fraction(1e-9), 5).unwrap();
        assert_eq!(counts(&labels, &few), [1, 1, 0, 1, 0]);
        let (rest, _) = stratified_split(&labels, Share::Fraction(0.999), 5).unwrap();
        assert_eq!(counts(&labels, &rest), [1, 1, 0, 1, 1]);
    }

    #[test]
    fn a_count_is_met_exactly() {
        let labels = labels();
        for count in 1..100 {
            let (kept, held) = stratified_split(&labels, Share::Count(count), 5).unwrap();
            assert_eq!((kept.len(), held.len()), (100 - count, count));
        }
        let (_, held) = stratified_split(&labels, Share::Count(10), 5).unwrap();
        assert_eq!(counts(&labels, &held), [6, 3, 0, 1, 0]);
    }

    #[test]
    fn a_subset_is_balanced_and_contained_in_larger_ones() {
        let labels = labels();
        let mut smaller = vec![];
        for n in 1..=100 {
            let subset = stratified_subset(&labels, n, 5).unwrap();
            assert_eq!(subset.len(), n);
            assert!(subset.is_sorted() && smaller.iter().all(|i| subset.contains(i)));
            smaller = subset;
        }
        assert_eq!(counts(&labels, &stratified_subset(&labels, 13, 5).unwrap()), [4, 4, 0, 4, 1]);
        assert_ne!(stratified_subset(&labels, 13, 5).unwrap(), stratified_subset(&labels, 13, 6).unwrap());
    }

    #[test]
    fn impossible_shares_are_refused_with_the_limits() {
        let labels = labels();
        for share in [
            Share::Fraction(0.0),
            Share::Fraction(1.0),
            Share::Fraction(f64::NAN),
            Share::Count(0),
            Share::Count(100),
        ] {
            let error = stratified_split(&labels, share, 5).unwrap_err().to_string();
            assert!(error.starts_with(&format!("cannot hold out {share} of 100 images")), "{error}");
        }
        assert!(stratified_split(&[], Share::Count(1), 5).is_err());
        assert!(stratified_subset(&labels, 0, 5).is_err());
        let error = stratified_subset(&labels, 101, 5).unwrap_err().to_string();
        assert_eq!(error, "cannot take a subset of 101 from 100 images; give a number from 1 to 100");
    }

    #[test]
    fn shares_parse() {
        assert_eq!("5000".parse::<Share>().unwrap(), Share::Count(5000));
        assert_eq!("0.1".parse::<Share>().unwrap(), Share::Fraction(0.1));
        for bad in ["", "1.5", "-1", "nan", "inf", "0.0", "ten"] {
            assert!(bad.parse::<Share>().unwrap_err().to_string().contains("no part of a data set"), "{bad}");
        }
    }
}
