//! `--list`: the runs that a command would train, and where each stands.

use std::fmt;

use serde::Serialize;

use super::record::Outcome;
use super::work::{Run, State, Work};
use crate::text::{Align, columns, counted, grouped};
use crate::train::accuracy_line;

/// A run and where it stands.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Listed {
    /// Its folder's name.
    pub run: String,
    /// Its cell, as `--only` calls it.
    pub cell: String,
    /// Its network.
    pub model: String,
    /// Trained numbers.
    pub parameters: usize,
    /// Its seed.
    pub seed: u64,
    /// `to-do`, `begun`, `finished` or `diverged`.
    pub state: &'static str,
    /// Steps made.
    pub steps: u64,
    /// Steps of the whole run.
    pub total_steps: u64,
    /// In per cent, of a run that finished.
    pub test_accuracy: Option<f64>,
    /// The state in words.
    #[serde(skip)]
    words: String,
}

/// The runs of a command, in the order in which it would train them.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct List(pub Vec<Listed>);

impl Work<'_> {
    /// The runs that are asked for.
    pub fn list(&self) -> List {
        List(self.runs.iter().filter(|run| run.is_asked).map(|run| self.listed(run)).collect())
    }

    pub(super) fn listed(&self, run: &Run) -> Listed {
        let cell = &self.table.cells[run.cell];
        Listed {
            run: run.name.clone(),
            cell: cell.name.clone(),
            model: cell.model.name.clone(),
            parameters: self.parameters[run.cell],
            seed: run.seed,
            state: run.state_name(),
            steps: run.steps(),
            total_steps: run.total,
            test_accuracy: run.accuracy(),
            words: run.describe(),
        }
    }
}

impl Run {
    /// `to-do`, `begun`, `finished` or `diverged`.
    pub fn state_name(&self) -> &'static str {
        match &self.state {
            State::ToDo => "to-do",
            State::Begun(_) => "begun",
            State::Ended(record) => match record.outcome {
                Outcome::Finished(_) => "finished",
                Outcome::Diverged(_) => "diverged",
            },
        }
    }

    /// Steps made.
    pub fn steps(&self) -> u64 {
        match &self.state {
            State::ToDo => 0,
            State::Begun(step) => *step,
            State::Ended(record) => record.steps,
        }
    }

    /// Test accuracy in per cent, of a run that finished.
    pub fn accuracy(&self) -> Option<f64> {
        match &self.state {
            State::Ended(record) => record.accuracy(),
            _ => None,
        }
    }

    /// Where it stands, in words.
    pub fn describe(&self) -> String {
        match &self.state {
            State::ToDo => format!("to do: {}", counted(self.total, "step")),
            State::Begun(step) => format!("begun: at step {} of {}", grouped(*step), grouped(self.total)),
            State::Ended(record) => match &record.outcome {
                Outcome::Finished(test) => {
                    format!("finished: {}", accuracy_line(record.synthetic, test.accuracy))
                }
                Outcome::Diverged(_) => "diverged".into(),
            },
        }
    }
}

/// A line a run, without a newline at the end.
impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: Vec<Vec<String>> = (self.0.iter())
            .map(|run| {
                let parameters = format!("{} parameters", grouped(run.parameters as u64));
                vec![run.cell.clone(), format!("seed {}", run.seed), parameters, run.words.clone()]
            })
            .collect();
        let alignment = [Align::Left, Align::Left, Align::Right, Align::Left];
        f.write_str(columns(&alignment, &rows).trim_end())
    }
}
