//! Whether one family does better than another on the same images: differences seed by seed, whose interval is narrower
//! than that of two means, since both networks of a pair see the same images in the same order.

use std::fmt;

use serde::Serialize;

use super::report::{CellReport, Report};
use super::statistics::Estimate;
use super::tables::TableKind;

/// Two columns of a row, the first minus the second, over the seeds that both have finished.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The row.
    pub row: String,
    /// The column that may be better.
    pub of: String,
    /// The column beside it.
    pub and: String,
    /// Of the differences, in percentage points.
    #[serde(flatten)]
    pub difference: Estimate,
    /// The ends of the mean's 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// Whether zero lies outside; none of fewer than two seeds, or of seeds that all differ by the same.
    pub excludes_zero: Option<bool>,
    /// All of it in a sentence.
    pub sentence: String,
}

impl Comparison {
    /// Those that the report's kind asks for.
    pub(super) fn all(report: &Report) -> Vec<Self> {
        match report.kind {
            TableKind::Plain | TableKind::Streams => Vec::new(),
            TableKind::BySize => Self::of_columns(report),
            TableKind::Ingredients => Self::of_ingredients(report),
        }
    }

    /// The first column minus every other, row by row.
    fn of_columns(report: &Report) -> Vec<Self> {
        let rows = report.names(|cell| &cell.row);
        let columns = report.names(|cell| &cell.column);
        let Some((first, others)) = columns.split_first() else { return Vec::new() };
        let pairs = others.iter().flat_map(|other| rows.iter().map(move |row| (*row, *other)));
        let compare = |(row, other)| {
            let cells = [report.cell(row, first)?, report.cell(row, other)?];
            Some(Self::new(row, [first, other], cells))
        };
        pairs.filter_map(compare).collect()
    }

    /// The first cell, which has all, minus every other, which is without what its row names.
    fn of_ingredients(report: &Report) -> Vec<Self> {
        let Some((whole, others)) = report.cells.split_first() else { return Vec::new() };
        let compare =
            |without: &CellReport| Self::new(&without.row, ["with it", "without it"], [whole, without]);
        others.iter().map(compare).collect()
    }

    fn new(row: &str, [of, and]: [&str; 2], [one, other]: [&CellReport; 2]) -> Self {
        let differences: Vec<f64> = (one.runs.iter())
            .filter_map(|run| Some(run.listed.test_accuracy? - other.accuracy(run.listed.seed)?))
            .collect();
        let difference = Estimate::of(&differences);
        let interval = difference.interval();
        let excludes_zero = excludes_zero(&difference);
        let sentence = Self::sentence(of, and, &difference, excludes_zero);
        Self {
            row: row.into(),
            of: of.into(),
            and: and.into(),
            difference,
            interval,
            excludes_zero,
            sentence,
        }
    }

    fn sentence(of: &str, and: &str, difference: &Estimate, excludes_zero: Option<bool>) -> String {
        let Some(mean) = difference.mean else { return "no pair of runs has finished".into() };
        let (half, excludes_zero) = match (difference.half_interval, excludes_zero) {
            (None, _) => return format!("{mean:+.2} (n = 1): no interval of one seed, nothing shown"),
            (Some(_), None) => {
                let n = difference.n;
                return format!(
                    "{mean:+.2} (n = {n}): the same for every seed, which gives no interval; nothing shown"
                );
            }
            (Some(half), Some(excludes_zero)) => (half, excludes_zero),
        };
        let figure = format!("{mean:+.2} ± {half:.2} (n = {})", difference.n);
        match (excludes_zero, mean > 0.0) {
            (true, true) => format!("{figure}: {of} is better than {and}; the interval excludes zero"),
            (true, false) => format!("{figure}: {of} is worse than {and}; the interval excludes zero"),
            (false, _) => format!("{figure}: no difference shown; the interval includes zero"),
        }
    }
}

/// Whether zero lies outside of the interval; none where there is no interval, or one without width: accuracies are
/// fractions of the test images, so that few seeds may differ by the very same.
fn excludes_zero(difference: &Estimate) -> Option<bool> {
    let [low, high] = difference.interval()?;
    (low < high).then_some(low > 0.0 || high < 0.0)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.row, self.sentence)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(differences: &[f64]) -> String {
        let difference = Estimate::of(differences);
        Comparison::sentence("RiR", "CNN", &difference, excludes_zero(&difference))
    }

    #[test]
    fn a_sentence_says_what_is_shown_either_way() {
        assert_eq!(sentence(&[]), "no pair of runs has finished");
        assert_eq!(sentence(&[1.0]), "+1.00 (n = 1): no interval of one seed, nothing shown");
        // Deviation 1, standard error 1 / sqrt(3), t of two degrees of freedom 4.3027: ± 2.48.
        let better = "+4.00 ± 2.48 (n = 3): RiR is better than CNN; the interval excludes zero";
        assert_eq!(sentence(&[3.0, 4.0, 5.0]), better);
        let worse = "-4.00 ± 2.48 (n = 3): RiR is worse than CNN; the interval excludes zero";
        assert_eq!(sentence(&[-3.0, -4.0, -5.0]), worse);
        let open = "+1.00 ± 2.48 (n = 3): no difference shown; the interval includes zero";
        assert_eq!(sentence(&[0.0, 1.0, 2.0]), open);
        let same = "+0.50 (n = 2): the same for every seed, which gives no interval; nothing shown";
        assert_eq!(sentence(&[0.5, 0.5]), same);
    }
}
