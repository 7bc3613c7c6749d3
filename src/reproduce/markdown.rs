//! A report as Markdown whose columns also line up in a terminal.

use std::collections::BTreeMap;

use super::report::{CellReport, Report};
use super::statistics::Estimate;
use crate::text::{counted, grouped, width};
use crate::train::accuracy_label;

/// Characters of a digest that are enough to tell two apart.
const DIGEST: usize = 12;

/// The fewest dashes that make a rule below a head.
const RULE: usize = 3;

impl Report {
    /// Heading, what is not as in the paper, the table, and what is to be said of it.
    pub fn markdown(&self) -> String {
        let mut paragraphs = vec![format!("# {}", self.title), self.measure(), self.training(), self.grid()];
        if self.is_of_paper {
            paragraphs.push(
                "The paper's figures are *sure* (read in it) or *likely* (quoted by others); others are not confirmed, \
                 and not quoted."
                    .into(),
            );
        }
        paragraphs.extend(self.comparisons());
        paragraphs.extend(self.cells.iter().filter_map(streams));
        paragraphs.extend(self.diverged());
        paragraphs.push(self.status());
        paragraphs.join("\n\n") + "\n"
    }

    fn measure(&self) -> String {
        let mut label = accuracy_label(self.synthetic, "test");
        label[..1].make_ascii_uppercase();
        format!(
            "{label} in per cent after the last step: the mean of n seeds ± half of its 95 % interval (Student's t). \
             Nothing was chosen by the test images, and each is classified once, as it is."
        )
    }

    /// How the runs were trained, every deviation from the paper named.
    fn training(&self) -> String {
        let phrases: Vec<&str> = self.deviations.iter().map(|deviation| deviation.what.as_str()).collect();
        let figures = if !self.is_of_paper || self.is_comparable {
            ""
        } else {
            " **The paper's figures are not comparable with these.**"
        };
        match phrases.len() {
            0 if self.is_of_paper => "Trained as in the paper, by our reading of it.".into(),
            0 => "A table of ours, which the paper has not; trained by its recipe.".into(),
            _ => format!("Not trained as in the paper: {}.{figures}", phrases.join("; ")),
        }
    }

    fn grid(&self) -> String {
        let columns = self.names(|cell| &cell.column);
        let paper = if self.is_comparable { "the paper's" } else { "the paper's, not comparable" };
        let mut lines = vec![vec![self.rows.clone()]];
        for column in &columns {
            lines[0].push((*column).into());
            lines[0].extend(self.is_of_paper.then(|| paper.into()));
        }
        for row in self.names(|cell| &cell.row) {
            let mut line = vec![row.to_string()];
            for column in &columns {
                let cell = self.cell(row, column);
                line.push(cell.map_or(String::new(), ours));
                line.extend(self.is_of_paper.then(|| cell.map_or(String::new(), theirs)));
            }
            lines.push(line);
        }
        aligned(&lines)
    }

    fn comparisons(&self) -> Vec<String> {
        let mut by_pair: Vec<(String, Vec<String>)> = Vec::new();
        for comparison in &self.comparisons {
            let pair = format!(
                "{} - {}, seed by seed, in percentage points (the mean ± half of its 95 % interval); by {}:",
                comparison.of, comparison.and, self.rows
            );
            match by_pair.iter_mut().find(|(known, _)| *known == pair) {
                Some((_, lines)) => lines.push(format!("- {comparison}")),
                None => by_pair.push((pair, vec![format!("- {comparison}")])),
            }
        }
        let mut paragraphs: Vec<String> =
            by_pair.into_iter().map(|(pair, lines)| format!("{pair}\n\n{}", lines.join("\n"))).collect();
        let intervals = self.comparisons.iter().filter(|c| c.interval.is_some()).count();
        if intervals > 1 {
            paragraphs.push(format!(
                "Of intervals of equal networks one in twenty excludes zero by chance; there are {intervals} here."
            ));
        }
        paragraphs
    }

    /// Where the runs that diverged did.
    fn diverged(&self) -> Option<String> {
        let runs = self.cells.iter().flat_map(|cell| &cell.runs);
        let lines: Vec<String> = runs
            .filter_map(|run| Some(format!("- {}: {}", run.listed.run, run.diverged.as_ref()?)))
            .collect();
        (!lines.is_empty()).then(|| format!("Diverged:\n\n{}", lines.join("\n")))
    }

    fn status(&self) -> String {
        let runs: Vec<_> = self.cells.iter().flat_map(|cell| &cell.runs).collect();
        let finished = runs.iter().filter(|run| run.listed.test_accuracy.is_some()).count();
        let [train, test] = [self.train_images, self.test_images].map(|n| grouped(n as u64));
        let digest = self.data_digest.get(..DIGEST).unwrap_or(&self.data_digest);
        format!(
            "{finished} of {} finished; data {} ({train} training and {test} test images, digest {digest}), {}.",
            counted(runs.len() as u64, "run"),
            self.data,
            self.precision
        )
    }
}

/// What the streams of a cell's networks do, layer by layer.
fn streams(cell: &CellReport) -> Option<String> {
    let streams = cell.streams.as_ref()?;
    let mut lines = vec![["layer", "without r", "without t", "without E"].map(String::from).to_vec()];
    for layer in &streams.layers {
        let identity = layer.without_identity.as_ref().map_or("–".into(), change);
        lines.push(vec![
            layer.layer.clone(),
            change(&layer.without_residual),
            change(&layer.without_transient),
            identity,
        ]);
    }
    let none = ["all", "–", "–"].map(String::from);
    lines.push([&none[..], &[change(&streams.without_identities)]].concat());
    Some(format!(
        "{}: change of accuracy in points where one stream is zero behind a layer, or a layer has no identity E; {} of \
         {} test images, the whole network {}.\n\n{}",
        cell.model,
        counted(streams.analyzed as u64, "network"),
        grouped(streams.images as u64),
        streams.whole.mean.map_or("–".into(), |mean| format!("{mean:.2} %")),
        aligned(&lines)
    ))
}

/// A mean change, and half of its interval.
fn change(estimate: &Estimate) -> String {
    let half = estimate.half_interval.map_or(String::new(), |half| format!(" ± {half:.2}"));
    estimate.mean.map_or("–".into(), |mean| format!("{mean:+.2}{half}"))
}

/// Mean, interval and number of seeds; and what is missing.
fn ours(cell: &CellReport) -> String {
    let estimate = &cell.estimate;
    let mut parts: Vec<String> = Vec::new();
    if let Some(mean) = estimate.mean {
        let half = estimate.half_interval.map_or(String::new(), |half| format!(" ± {half:.2}"));
        parts.push(format!("{mean:.2}{half} (n = {})", estimate.n));
    }
    let begun: Vec<_> = cell.runs.iter().map(|run| &run.listed).filter(|run| run.state == "begun").collect();
    parts.extend(
        begun.iter().map(|run| format!("begun: step {} of {}", grouped(run.steps), grouped(run.total_steps))),
    );
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for run in &cell.runs {
        *counts.entry(run.listed.state).or_default() += 1;
    }
    for (state, word) in [("diverged", "diverged"), ("to-do", "to do")] {
        match counts.get(state) {
            Some(&n) if n == cell.runs.len() => parts.push(word.into()),
            Some(n) => parts.push(format!("{n} {word}")),
            None => {}
        }
    }
    parts.join("; ")
}

fn theirs(cell: &CellReport) -> String {
    cell.published.map_or("not confirmed".into(), |published| {
        format!("{:.2} ({})", published.accuracy, published.confidence.name())
    })
}

/// Lines of a Markdown table, the first its head.
fn aligned(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let widths: Vec<usize> = (0..columns)
        .map(|c| lines.iter().filter_map(|line| line.get(c)).map(|text| width(text)).max().unwrap_or(0))
        .map(|width| width.max(RULE))
        .collect();
    let draw = |line: &[String]| {
        let cells = line
            .iter()
            .zip(&widths)
            .map(|(text, wanted)| format!("{text}{}", " ".repeat(wanted - width(text))));
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
    let mut text: Vec<String> = lines.iter().map(|line| draw(line)).collect();
    text.insert(1.min(text.len()), format!("| {} |", rule.join(" | ")));
    text.join("\n")
}
