//! What the figures of an analysis show, in words: computed, and said where nothing was found as well.

use super::{Analysis, Effect, LayerReport, Quarter};
use crate::text::{counted, grouped};

/// A layer leaves the network guessing where accuracy is at most so many points above chance.
const GUESSING: f64 = 3.0;

impl Analysis {
    /// Sentences, a paragraph each, in the order of the tables.
    pub fn findings(&self) -> Vec<String> {
        let mut findings = vec![self.whole()];
        if !self.guesses(self.accuracy) {
            findings.extend([self.streams(), self.balance(), self.quarters(), self.identity()]);
        }
        findings.extend([self.weights(), self.activations(), self.memory()]);
        findings
    }

    fn whole(&self) -> String {
        let synthetic = if self.source.synthetic { "synthetic " } else { "" };
        let guesses = match self.guesses(self.accuracy) {
            true => " It is guessing itself, so that what it loses without a part tells nothing.",
            false => "",
        };
        format!(
            "The whole network is right on {:.2} % of {} {synthetic}test images; always naming the commonest class would \
             be on {:.2} %.{guesses}",
            self.accuracy,
            grouped(self.images as u64),
            self.chance
        )
    }

    /// Whether so much accuracy is hardly more than always naming the commonest class.
    fn guesses(&self, accuracy: f64) -> bool {
        accuracy <= self.chance + GUESSING
    }

    /// Which stream carries accuracy.
    fn streams(&self) -> String {
        let residual: Vec<_> = self.layers.iter().map(|layer| (layer, layer.without_residual)).collect();
        let transient: Vec<_> = self.layers.iter().map(|layer| (layer, layer.without_transient)).collect();
        let mut text = format!(
            "Streams: with the residual stream zero behind one layer, {}; with the transient stream zero, {}.",
            damage(&residual),
            damage(&transient)
        );
        let layers = self.layers.len();
        let [r, t] = [&residual, &transient].map(|stream| losses(stream));
        text += &match (r, t) {
            (0, 0) => " On these images neither stream can be shown to matter behind any layer.".to_string(),
            (0, _) => " Only the transient stream can be shown to matter.".to_string(),
            (_, 0) => " Only the residual stream can be shown to matter.".to_string(),
            _ => {
                let more =
                    self.layers.iter().filter(|l| l.without_residual.change < l.without_transient.change);
                format!(
                    " Both streams contribute: the loss can be measured behind {r} and {t} of {layers} layers, and is the \
                     larger one without r behind {}.",
                    more.count()
                )
            }
        };
        let guesses = |stream: &[(&LayerReport, Effect)]| {
            stream.iter().filter(|(_, effect)| self.guesses(effect.accuracy)).count()
        };
        let [r, t] = [guesses(&residual), guesses(&transient)];
        if r + t > 0 {
            text += &format!(
                " Within {GUESSING} points of guessing it is behind {} without r, and behind {} without t: losses as large \
                 as they can be, which tell no layer from another.",
                counted(r as u64, "layer"),
                counted(t as u64, "layer")
            );
        }
        text
    }

    /// Whether the balance of the streams shifts with depth.
    fn balance(&self) -> String {
        let balance: Vec<f64> =
            self.layers.iter().map(|l| l.without_transient.change - l.without_residual.change).collect();
        let Some(rank) = rank_correlation(&balance) else {
            return "Balance: the streams matter equally behind every layer.".into();
        };
        let ends = thirds(&balance);
        let figures = format!(
            "r matters {} points more than t in the first third of the layers and {} in the last (rank correlation with \
             depth {rank:+.2}, where chance alone reaches {:.2} in 5 % of cases)",
            signed(ends.0),
            signed(ends.1),
            by_chance(balance.len())
        );
        if rank.abs() <= by_chance(balance.len()) {
            return format!("Balance: no steady shift with depth can be shown: {figures}.");
        }
        let towards = if rank > 0.0 { "residual" } else { "transient" };
        format!("Balance: it shifts with depth toward the {towards} stream: {figures}.")
    }

    /// The effects of a quarter, by layer.
    fn without(&self, quarter: Quarter) -> Vec<(&LayerReport, Effect)> {
        let of =
            |layer: &'_ LayerReport| layer.quarters.iter().find(|q| q.quarter == quarter).map(|q| q.without);
        self.layers.iter().filter_map(|layer| Some((layer, of(layer)?))).collect()
    }

    fn quarters(&self) -> String {
        let mut quarters = Quarter::ALL.map(|quarter| (quarter, self.without(quarter)));
        quarters.sort_by(|(_, a), (_, b)| mean_change(a).total_cmp(&mean_change(b)));
        let said = quarters.iter().map(|(quarter, effects)| {
            format!("without {} ({}) {}", quarter.name(), quarter.path(), damage(effects))
        });
        let said: Vec<String> = said.collect();
        let (all, shown) = quarters
            .iter()
            .fold((0, 0), |(all, shown), (_, effects)| (all + effects.len(), shown + losses(effects)));
        format!(
            "Quarters, the one that matters most first: {}. Of {all} single quarters {} can be zeroed without a loss that \
             these images can show.",
            said.join("; "),
            all - shown
        )
    }

    fn identity(&self) -> String {
        let single: Vec<_> =
            self.layers.iter().filter_map(|layer| Some((layer, layer.without_identity?))).collect();
        let all = self.without_identities;
        let verdict = match (all.is_measurable(), all.change < 0.0) {
            (false, _) => "which these images cannot tell from no change",
            (true, true) if self.guesses(all.accuracy) => "which is guessing",
            (true, true) => "a part of what it had",
            (true, false) => "more than it had",
        };
        format!(
            "Identity: without E in any layer {:.2} % is left, {verdict}. Without it in one layer, {}; {} of {} layers can do \
             without it as far as these images can show.",
            all.accuracy,
            damage(&single),
            single.len() - losses(&single),
            single.len()
        )
    }

    /// Norms of the quarters.
    fn weights(&self) -> String {
        let sizes = |quarter: Quarter| -> Vec<f64> {
            let reports = self.layers.iter().flat_map(|layer| &layer.quarters);
            reports.filter(|report| report.quarter == quarter).map(|report| report.rms).collect()
        };
        let mut quarters = Quarter::ALL.map(|quarter| (quarter, mean(&sizes(quarter))));
        quarters.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        let said: Vec<String> =
            quarters.iter().map(|(quarter, size)| format!("{} {size:.3}", quarter.name())).collect();
        let (out, into) = (sizes(Quarter::Rt), sizes(Quarter::Tr));
        let ratio: Vec<f64> =
            out.iter().zip(&into).filter(|(_, into)| **into > 0.0).map(|(o, i)| o / i).collect();
        let ends = thirds(&ratio);
        format!(
            "Weights, root mean square over all layers: {}. What leaves the residual stream (W_rt) is {:.2} times as large as \
             what is added to it (W_tr) in the first third of the layers, {:.2} times in the last.",
            said.join(", "),
            ends.0,
            ends.1
        )
    }

    fn activations(&self) -> String {
        let ratios: Vec<(&LayerReport, f64)> =
            self.layers.iter().filter_map(|layer| Some((layer, layer.ratio()?))).collect();
        let least = ratios.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let most = ratios.iter().max_by(|a, b| a.1.total_cmp(&b.1));
        let sizes = match (least, most) {
            (Some((low, least)), Some((high, most))) => format!(
                "r is larger than t behind {} of {} layers, by a factor from {least:.2} (behind {}) to {most:.2} (behind {})",
                ratios.iter().filter(|(_, ratio)| *ratio > 1.0).count(),
                self.layers.len(),
                low.short,
                high.short
            ),
            _ => "there is nothing to compare r with".into(),
        };
        let dead = |name: &str, size: fn(&LayerReport) -> f64| {
            let dead = self.layers.iter().filter(|layer| size(layer) == 0.0);
            let dead: Vec<&str> = dead.map(|layer| layer.short.as_str()).collect();
            if dead.is_empty() {
                String::new()
            } else {
                format!("; {name} is zero behind {}", dead.join(", "))
            }
        };
        let [r, t] = [dead("r", |layer| layer.residual_rms), dead("t", |layer| layer.transient_rms)];
        format!("Activations: {sizes}{r}{t}.")
    }

    /// What r keeps and forgets.
    fn memory(&self) -> String {
        let Some(similarity) = &self.similarity else {
            return "Memory: likeness needs at least four images.".into();
        };
        let last = self.layers.len() - 1;
        let steps: Vec<(usize, f64)> =
            (1..=last).filter_map(|at| Some((at, similarity[at][at - 1]?))).collect();
        let least = steps.iter().min_by(|a, b| a.1.total_cmp(&b.1));
        let (Some((at, least)), Some(kept)) = (least, similarity[last][0]) else {
            return "Memory: r is the same for every image behind some layers, so nothing can be said of its likeness.".into();
        };
        let mean = mean(&steps.iter().map(|(_, value)| *value).collect::<Vec<f64>>());
        let verdict = match kept {
            0.8.. => "it keeps nearly all of what the stem put there",
            0.4.. => "it keeps a part of what the stem put there",
            0.1.. => "it forgets most of what the stem put there",
            _ => "nothing is left there that resembles the stem's",
        };
        format!(
            "Memory: r behind neighbouring layers is alike by {mean:.2} on average (debiased CKA); it changes most in \
             {} ({least:.2}). r behind the last layer resembles the stem's by {kept:.2}: {verdict}.",
            self.layers[*at].short
        )
    }
}

/// `accuracy falls by 1.20 points on average, at most by 3.00 (1.2.1)`.
fn damage(effects: &[(&LayerReport, Effect)]) -> String {
    let worst = effects.iter().min_by(|(_, a), (_, b)| a.change.total_cmp(&b.change));
    let Some((layer, worst)) = worst else { return "nothing changes".into() };
    let mean = mean_change(effects);
    let moved = match (format!("{:.2}", mean.abs()), mean < 0.0) {
        (size, _) if size == "0.00" => "stays on average".into(),
        (size, true) => format!("falls by {size} points on average"),
        (size, false) => format!("rises by {size} points on average"),
    };
    let most = match worst.is_loss() {
        true => format!("at most by {:.2} ({})", -worst.change, layer.short),
        false => "with no loss that these images can show".into(),
    };
    format!("accuracy {moved}, {most}")
}

fn mean_change(effects: &[(&LayerReport, Effect)]) -> f64 {
    mean(&effects.iter().map(|(_, effect)| effect.change).collect::<Vec<f64>>())
}

fn losses(effects: &[(&LayerReport, Effect)]) -> usize {
    effects.iter().filter(|(_, effect)| effect.is_loss()).count()
}

fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { 0.0 } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The means of the first and of the last third.
fn thirds(values: &[f64]) -> (f64, f64) {
    let third = values.len().div_ceil(3);
    (mean(&values[..third]), mean(&values[values.len() - third..]))
}

fn signed(x: f64) -> String {
    format!("{x:+.1}")
}

/// Spearman's rank correlation of values with their places; none of equal values.
fn rank_correlation(values: &[f64]) -> Option<f64> {
    let below = |v: f64| values.iter().filter(|w| **w < v).count() as f64;
    let equal = |v: f64| values.iter().filter(|w| **w == v).count() as f64;
    // Equal values share the mean of their ranks.
    let ranks: Vec<f64> = values.iter().map(|&v| below(v) + (equal(v) - 1.0) / 2.0).collect();
    let middle = (values.len() as f64 - 1.0) / 2.0;
    let product = |a: &dyn Fn(usize) -> f64, b: &dyn Fn(usize) -> f64| {
        (0..values.len()).map(|i| a(i) * b(i)).sum::<f64>()
    };
    let (place, rank) = (|i: usize| i as f64 - middle, |i: usize| ranks[i] - middle);
    let scale = (product(&place, &place) * product(&rank, &rank)).sqrt();
    (scale > 0.0).then(|| product(&place, &rank) / scale)
}

/// What the rank correlation of so many values in random order exceeds in 5 % of cases, nearly.
fn by_chance(count: usize) -> f64 {
    (1.96 / (count as f64 - 1.0).max(1.0).sqrt()).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_correlate_with_depth() {
        assert_eq!(rank_correlation(&[0.1, 0.2, 5.0, 100.0]), Some(1.0));
        assert_eq!(rank_correlation(&[3.0, 2.0, 1.0]), Some(-1.0));
        assert_eq!(rank_correlation(&[2.0, 2.0]), None);
        // By hand: ranks 1.5, 0, 1.5, 3 against 0, 1, 2, 3: 3 / sqrt(5 * 4.5).
        let tied = rank_correlation(&[4.0, 1.0, 4.0, 9.0]).unwrap();
        assert!((tied - 3.0 / 22.5_f64.sqrt()).abs() < 1e-12, "{tied}");
        assert!(by_chance(2) <= 1.0 && (by_chance(17) - 0.49).abs() < 1e-12);
    }

    #[test]
    fn ends_are_means_of_thirds() {
        assert_eq!(thirds(&[1.0, 3.0, 9.0, 9.0, 5.0, 7.0]), (2.0, 6.0));
        assert_eq!(thirds(&[4.0]), (4.0, 4.0));
        assert_eq!(thirds(&[]), (0.0, 0.0));
    }
}
