//! What a table says: `TABLE.json`, and the Markdown and the pictures that are made of the same numbers.

use std::path::Path;

use serde::Serialize;

use super::cell::Published;
use super::compare::Comparison;
use super::figures;
use super::list::Listed;
use super::record::Outcome;
use super::settings::Deviation;
use super::statistics::Estimate;
use super::streams::Streams;
use super::tables::TableKind;
use super::work::{Run, State, Work};
use crate::error::{Error, Kind, Result};
use crate::graph::Precision;
use crate::optim::Recipe;
use crate::train::{Length, atomic};
use crate::version::COMMIT;

/// What the accuracies are.
const MEASURE: &str = "per cent of the test images that the network gets right after its last step";

/// A table as far as its runs are done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The table's name.
    pub table: String,
    /// Its heading.
    pub title: String,
    /// What the names of its rows are.
    pub rows: String,
    /// What an accuracy is.
    pub measure: &'static str,
    /// Whether anything was chosen by the test images: never.
    pub selected_on_test: bool,
    /// Whether test images were classified in several versions each: never.
    pub test_time_augmentation: bool,
    /// The data set's name.
    pub data: String,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// Its digest.
    pub data_digest: String,
    /// Its training images.
    pub train_images: usize,
    /// Its test images.
    pub test_images: usize,
    /// The arithmetic.
    pub precision: Precision,
    /// The program that drew the table.
    pub version: &'static str,
    /// The commit of its sources.
    pub commit: &'static str,
    /// Whether the paper has such a table.
    pub is_of_paper: bool,
    /// Where the runs are not trained in the paper's way.
    pub deviations: Vec<Deviation>,
    /// Whether the paper's figures are figures of the same thing.
    pub is_comparable: bool,
    /// What the table shows beside its cells.
    #[serde(skip)]
    pub kind: TableKind,
    /// Row by row.
    pub cells: Vec<CellReport>,
    /// Cells beside each other, seed by seed, where the table is made for that.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub comparisons: Vec<Comparison>,
}

/// A cell as far as its runs are done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CellReport {
    /// The name of its row.
    pub row: String,
    /// The name of its column.
    pub column: String,
    /// The network's name.
    pub model: String,
    /// Trained numbers.
    pub parameters: usize,
    /// The recipe, with the batch of the runs.
    pub recipe: Recipe,
    /// How long a run is.
    pub length: Length,
    /// Its training images.
    pub train_images: usize,
    /// The paper's figure, where we are sure enough of it to quote it.
    pub published: Option<Published>,
    /// Over the seeds that finished.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// The ends of the mean's 95 % interval.
    pub interval: Option<[f64; 2]>,
    /// What the streams of its trained networks do, where they were analyzed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub streams: Option<Streams>,
    /// One a seed.
    pub runs: Vec<RunReport>,
}

/// A run, as far as it is done.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunReport {
    /// What it is and where it stands.
    #[serde(flatten)]
    pub listed: Listed,
    /// Mean loss over the test images, of a run that finished.
    pub test_loss: Option<f64>,
    /// Why it diverged, if it did.
    pub diverged: Option<String>,
    /// Wall seconds of the run.
    pub seconds: Option<f64>,
    /// Those of them that were spent on steps.
    pub training_seconds: Option<f64>,
    /// Device and threads.
    pub device: Option<String>,
    /// The version of the program that trained it.
    pub version: Option<String>,
    /// The commit of that program's sources.
    pub commit: Option<String>,
    /// When it ended, in UTC.
    pub when: Option<String>,
}

impl Report {
    pub(super) fn new(work: &Work<'_>) -> Self {
        let (table, source) = (&work.table, &work.source);
        let mut report = Self {
            table: table.name.clone(),
            title: table.title.clone(),
            rows: table.rows.clone(),
            measure: MEASURE,
            selected_on_test: false,
            test_time_augmentation: false,
            data: source.name.clone(),
            synthetic: source.synthetic,
            data_digest: source.digest.clone(),
            train_images: source.train_images,
            test_images: source.test_images,
            precision: table.precision,
            version: env!("CARGO_PKG_VERSION"),
            commit: COMMIT,
            is_of_paper: table.is_of_paper,
            deviations: table.deviations.clone(),
            is_comparable: table.is_comparable(),
            kind: table.kind,
            cells: (0..table.cells.len()).map(|i| CellReport::new(work, i)).collect(),
            comparisons: Vec::new(),
        };
        report.comparisons = Comparison::all(&report);
        report
    }

    /// The names of the rows, or of the columns, each once, in order.
    pub(super) fn names(&self, of: impl Fn(&CellReport) -> &str) -> Vec<&str> {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            let name = of(cell);
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }

    /// The cell there.
    pub(super) fn cell(&self, row: &str, column: &str) -> Option<&CellReport> {
        self.cells.iter().find(|cell| cell.row == row && cell.column == column)
    }

    /// One JSON document, indented.
    ///
    /// # Errors
    /// For a number that JSON cannot hold.
    pub fn json(&self) -> Result<String> {
        serde_json::to_string_pretty(self)
            .map_err(|e| Error::new(Kind::Io, format!("the table cannot be written as JSON: {e}")))
    }

    /// Writes the table's files into `folder`; those that say the same already stay as they are.
    ///
    /// # Errors
    /// If the system refuses, or a picture cannot be drawn.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let own = [
            (format!("{}.json", self.table), self.json()? + "\n"),
            (format!("{}.md", self.table), self.markdown()),
        ];
        for (name, text) in own.into_iter().chain(figures::draw(self)?) {
            let path = folder.join(name);
            if std::fs::read(&path).is_ok_and(|old| old == text.as_bytes()) {
                continue;
            }
            atomic::replace(&path, text.as_bytes())?;
        }
        Ok(())
    }
}

impl CellReport {
    fn new(work: &Work<'_>, i: usize) -> Self {
        let cell = &work.table.cells[i];
        let runs: Vec<&Run> = work.runs.iter().filter(|run| run.cell == i).collect();
        let accuracies: Vec<f64> = runs.iter().filter_map(|run| run.accuracy()).collect();
        let estimate = Estimate::of(&accuracies);
        Self {
            row: cell.row.clone(),
            column: cell.column.clone(),
            model: cell.model.name.clone(),
            parameters: work.parameters[i],
            recipe: cell.recipe.clone(),
            length: cell.length,
            train_images: cell.subset.unwrap_or(work.source.train_images),
            published: cell.published,
            estimate,
            interval: estimate.interval(),
            streams: Streams::of(
                &runs.iter().filter_map(|run| work.analyses.get(&run.name).cloned()).collect::<Vec<_>>(),
            ),
            runs: runs.into_iter().map(|run| RunReport::new(work, run)).collect(),
        }
    }

    /// The accuracy of a seed, where it finished.
    pub(super) fn accuracy(&self, seed: u64) -> Option<f64> {
        self.runs.iter().find(|run| run.listed.seed == seed)?.listed.test_accuracy
    }
}

impl RunReport {
    fn new(work: &Work<'_>, run: &Run) -> Self {
        let record = match &run.state {
            State::Ended(record) => Some(&**record),
            _ => None,
        };
        let (test_loss, diverged) = match record.map(|record| &record.outcome) {
            Some(Outcome::Finished(test)) => (Some(test.loss), None),
            Some(Outcome::Diverged(sentence)) => (None, Some(sentence.clone())),
            None => (None, None),
        };
        Self {
            listed: work.listed(run),
            test_loss,
            diverged,
            seconds: record.map(|record| record.seconds),
            training_seconds: record.map(|record| record.training_seconds),
            device: record.map(|record| record.device.clone()),
            version: record.map(|record| record.version.clone()),
            commit: record.map(|record| record.commit.clone()),
            when: record.map(|record| record.when.clone()),
        }
    }
}
