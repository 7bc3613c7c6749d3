//! The runs of a table: those that are done, and doing the others.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::cell::{Cell, select};
use super::record::Record;
use super::report::Report;
use super::streams;
use super::tables::{Table, TableKind};
use crate::analyze::Analysis;
use crate::data::Loaded;
use crate::error::{Error, Kind, Result};
use crate::nn;
use crate::train::{
    Config, Environment, Info, Stop, Stopped, Summary, TrainOptions, Verbosity, find_checkpoint, train,
};

/// Characters of a value that a refusal shows.
const SHOWN: usize = 24;

/// What a caller chooses of the runs of a table; none of it makes them other runs.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The folder of everything.
    pub output: PathBuf,
    /// The first seed.
    pub seed: u64,
    /// How many seeds.
    pub seeds: u32,
    /// Trains only these cells: names, in which `*` stands for anything; all where it is empty.
    pub only: Vec<String>,
    /// The device, as [`Environment::open_device`] understands it.
    pub device: Option<String>,
    /// Whether runs that go on choose kernels anew, in place of those that they have recorded.
    pub choose_anew: bool,
    /// Stops before this much time has passed.
    pub time_limit: Option<Duration>,
    /// Test images of each analysis of a network's streams, as many of each class; all without it.
    pub images: Option<usize>,
    /// What goes to stderr.
    pub verbosity: Verbosity,
    /// Who may stop the run under way, and with it all.
    pub stop: Stop,
}

/// What there is to know of a data set without its images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// Whether it is the built-in synthetic set.
    pub synthetic: bool,
    /// Its digest.
    pub digest: String,
    /// Height, width and channels of its images.
    pub image: [usize; 3],
    /// Classes.
    pub classes: usize,
    /// Training images.
    pub train_images: usize,
    /// Test images.
    pub test_images: usize,
}

impl Source {
    /// Of a set that was read.
    pub fn of(loaded: &Loaded) -> Self {
        let set = &loaded.dataset;
        Self {
            name: set.name.clone(),
            synthetic: set.synthetic,
            digest: set.digest.clone(),
            image: [set.train.height, set.train.width, set.train.channels],
            classes: set.classes.len(),
            train_images: set.train.len(),
            test_images: set.test.len(),
        }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, PartialEq)]
pub enum State {
    /// It has saved nothing.
    ToDo,
    /// It was stopped after so many steps.
    Begun(u64),
    /// It finished or diverged.
    Ended(Box<Record>),
}

/// A cell with one seed.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Run {
    /// Its cell's index in the table.
    pub cell: usize,
    /// Its seed.
    pub seed: u64,
    /// Its folder's name.
    pub name: String,
    /// How it is trained.
    pub config: Config,
    /// Its steps.
    pub total: u64,
    /// Whether this command is to train it.
    pub is_asked: bool,
    /// Where it stands.
    pub state: State,
}

/// A table's runs: those of the seeds that are asked for, and those of other seeds that lie there.
pub struct Work<'a> {
    pub(super) table: Table,
    pub(super) source: Source,
    /// Trained numbers of each cell's network.
    pub(super) parameters: Vec<usize>,
    /// Seed by seed, and the cells in the table's order.
    pub(super) runs: Vec<Run>,
    /// Of finished runs, by their names, in a table whose networks are analyzed.
    pub(super) analyses: BTreeMap<String, Analysis>,
    options: &'a Options,
    environment: &'a Environment<'a>,
    started: Instant,
}

impl<'a> Work<'a> {
    /// Finds the runs of `table`, whose data is `source`, below the output folder; writes nothing.
    ///
    /// # Errors
    /// For a network that the data does not fit, for cells that there are not, for files that cannot be read, and for a
    /// run that lies where one of the table's belongs but was trained in another way; says how.
    pub fn new(
        table: Table,
        source: Source,
        options: &'a Options,
        environment: &'a Environment<'a>,
    ) -> Result<Self> {
        let started = Instant::now();
        let last = u64::from(options.seeds.max(1) - 1);
        let last =
            options.seed.checked_add(last).filter(|&seed| i64::try_from(seed).is_ok()).ok_or_else(|| {
                Error::usage(format!(
                    "there are no {} seeds from {} on, below 2^63",
                    options.seeds, options.seed
                ))
            })?;
        let is_selected = select(&table.cells, &options.only)?;
        let parameters = (table.cells.iter())
            .map(|cell| Ok(nn::table::Table::new(&cell.model, source.image, source.classes)?.parameters()))
            .collect::<Result<Vec<usize>>>()?;
        let (runs, analyses) = (Vec::new(), BTreeMap::new());
        let mut work = Self { table, source, parameters, runs, analyses, options, environment, started };
        for (i, is_selected) in is_selected.into_iter().enumerate() {
            let asked = options.seed..=last;
            let there = work.seeds_there(&work.table.cells[i].stem(&work.table.data));
            for seed in asked.clone().chain(there).collect::<BTreeSet<u64>>() {
                let run = work.find(i, seed, is_selected && asked.contains(&seed))?;
                work.runs.push(run);
            }
        }
        work.runs.sort_by_key(|run| (run.seed, run.cell));
        Ok(work)
    }

    /// Trains what is not done, as long as nothing stops it, and draws the table anew after every run. `say` is given a
    /// sentence before and after each. Says what stopped it, if something did.
    ///
    /// # Errors
    /// Whatever stands in the way of a run but divergence, which is a result. What was done is drawn.
    pub fn train(&mut self, say: &dyn Fn(&str)) -> Result<Option<Stopped>> {
        for folder in ["runs", "results"].map(|name| self.options.output.join(name)) {
            std::fs::create_dir_all(&folder).map_err(|e| Error::io("create the folder", &folder, &e))?;
        }
        // Results that were lost, of runs that are not.
        for run in &self.runs {
            let path = self.result_path(&run.name);
            if let (State::Ended(record), false) = (&run.state, path.exists()) {
                record.write(&path)?;
            }
        }
        self.draw()?;
        // Runs that other tables, or earlier commands, have trained.
        for i in 0..self.runs.len() {
            if let Some(stopped) = self.analyze(i, say)? {
                return Ok(Some(stopped));
            }
        }
        let to_do: Vec<usize> = (0..self.runs.len()).filter(|&i| self.runs[i].is_to_do()).collect();
        let mut reserve = Duration::ZERO;
        for (n, &i) in to_do.iter().enumerate() {
            if self.options.stop.is_requested(0) {
                return Ok(Some(Stopped::Interrupted));
            }
            if self.left().is_some_and(|left| left <= reserve) {
                return Ok(Some(Stopped::TimeLimit));
            }
            // Another command may have trained it since this one looked.
            let Run { cell, seed, is_asked, .. } = self.runs[i];
            self.runs[i] = self.find(cell, seed, is_asked)?;
            let summary = if self.runs[i].is_to_do() {
                say(&format!("run {} of {}: {}", n + 1, to_do.len(), self.runs[i].name));
                self.train_one(i)?
            } else {
                None
            };
            self.draw()?;
            say(&format!("{}: {}", self.runs[i].name, self.runs[i].describe()));
            if let Some(stopped) = summary.as_ref().and_then(|summary| summary.stopped) {
                return Ok(Some(stopped));
            }
            if let Some(stopped) = self.analyze(i, say)? {
                return Ok(Some(stopped));
            }
            reserve = summary.map_or(reserve, |summary| evaluation_time(&summary));
        }
        Ok(None)
    }

    /// What the table says so far.
    pub fn report(&self) -> Report {
        Report::new(self)
    }

    fn draw(&self) -> Result<()> {
        self.report().write(&self.options.output)
    }

    /// Trains a run from where it stands, and notes where it stands then. No summary of one that diverged.
    fn train_one(&mut self, i: usize) -> Result<Option<Summary>> {
        let run = &self.runs[i];
        let folder = self.run_path(&run.name);
        let new = self.options_of(&self.table.cells[run.cell], run.seed);
        let options = match run.state {
            State::Begun(_) => TrainOptions {
                resume: Some(folder.clone()),
                data: new.data,
                device: new.device,
                evaluate_every: new.evaluate_every,
                choose_anew: self.options.choose_anew,
                ..TrainOptions::default()
            },
            _ => TrainOptions { output: Some(folder.clone()), ..new },
        };
        let options = TrainOptions {
            time_limit: self.left(),
            verbosity: self.options.verbosity,
            stop: self.options.stop.clone(),
            ..options
        };
        let (summary, diverged) = match train(&options, self.environment) {
            Ok(summary) if summary.finished => (Some(summary), None),
            Ok(summary) => {
                self.runs[i].state = State::Begun(summary.steps);
                return Ok(Some(summary));
            }
            Err(e) if e.kind() == Kind::Diverged => (None, Some(e.to_string())),
            Err(e) => return Err(e.at(&run.name)),
        };
        let record = Record::of_run(&folder, &self.source, self.parameters[run.cell], diverged)?;
        record.write(&self.result_path(&run.name))?;
        self.runs[i].state = State::Ended(Box::new(record));
        Ok(summary)
    }

    /// Takes the analysis of a finished run's network, in a table that shows it, and draws it: the one that lies there, or a
    /// new one, where the run is asked for. Says what stopped it, if something did.
    fn analyze(&mut self, i: usize, say: &dyn Fn(&str)) -> Result<Option<Stopped>> {
        let run = &self.runs[i];
        if self.table.kind != TableKind::Streams || run.accuracy().is_none() {
            return Ok(None);
        }
        let name = run.name.clone();
        let (folder, output) = (self.run_path(&name), self.analysis_path(&name));
        if !folder.is_dir() {
            say(&format!("{name}: its folder is gone, and with it the network to analyze"));
            return Ok(None);
        }
        let all = self.source.test_images;
        let images = self.options.images.map_or(all, |images| images.min(all));
        let mut found = streams::known(&folder, &output, images).map_err(|e| e.at(&name))?;
        if found.is_none() && run.is_asked {
            say(&format!("{name}: analyzing its streams on {images} test images"));
            let device = self.options.device.as_ref().unwrap_or(&run.config.device);
            let (mut longest, mut before) = (Duration::ZERO, Instant::now());
            let mut stopped = None;
            let mut goes_on = || {
                longest = longest.max(before.elapsed());
                before = Instant::now();
                let is_over = self.left().is_some_and(|left| left <= longest);
                stopped = match self.options.stop.is_requested(0) {
                    true => Some(Stopped::Interrupted),
                    false => is_over.then_some(Stopped::TimeLimit),
                };
                stopped.is_none()
            };
            found = streams::make(&folder, &output, images, self.environment, device, &mut goes_on)
                .map_err(|e| e.at(&name))?;
            if stopped.is_some() {
                say(&format!("{name}: its analysis was stopped, and begins anew next time"));
                return Ok(stopped);
            }
        }
        if let Some(analysis) = found {
            self.analyses.insert(name, analysis);
            self.draw()?;
        }
        Ok(None)
    }

    /// A run of a cell before it is known where it lies.
    fn options_of(&self, cell: &Cell, seed: u64) -> TrainOptions {
        TrainOptions {
            model: Some(cell.model.clone()),
            data: Some(self.table.data.clone()),
            recipe: Some(cell.recipe.clone()),
            length: Some(cell.length),
            subset: cell.subset,
            evaluate_every: cell.evaluate_every,
            precision: Some(self.table.precision),
            seed: Some(seed),
            device: self.options.device.clone(),
            ..TrainOptions::default()
        }
    }

    /// The run of a cell with a seed, where it stands; `is_asked`: whether this command is to train it.
    fn find(&self, cell: usize, seed: u64, is_asked: bool) -> Result<Run> {
        let own = &self.table.cells[cell];
        let name = own.run_name(&self.table.data, seed);
        let config = Config::new(&self.options_of(own, seed))?;
        let config = Config { data_digest: self.source.digest.clone(), ..config };
        let images = own.subset.unwrap_or(self.source.train_images);
        let total = config.total_steps(images / config.recipe.batch_size);
        let folder = self.run_path(&name);
        let check = |place: &Path, found: &Config| match config.difference(found) {
            None => Ok(()),
            Some((what, asked, found)) => Err(Error::usage(format!(
                "{} was trained with {what} = {}, and this asks for {}: give the same again, or another --output",
                place.display(),
                clipped(&found),
                clipped(&asked)
            ))),
        };
        let result = self.result_path(&name);
        let state = if let Some(record) = Record::read(&result)? {
            check(&result, &record.config)?;
            State::Ended(Box::new(record))
        } else if find_checkpoint(&folder).is_ok() {
            check(&folder, &Config::load(&folder)?)?;
            let position = Info::read(&find_checkpoint(&folder)?)?.position.unwrap_or_default();
            if position.finished {
                let record = Record::of_run(&folder, &self.source, self.parameters[cell], None)?;
                State::Ended(Box::new(record))
            } else {
                State::Begun(position.step)
            }
        } else {
            State::ToDo
        };
        Ok(Run { cell, seed, name, config, total, is_asked, state })
    }

    /// Seeds of the runs and results that lie there and whose names begin with `stem`.
    fn seeds_there(&self, stem: &str) -> Vec<u64> {
        let entries = ["runs", "results"].map(|folder| std::fs::read_dir(self.options.output.join(folder)));
        let names = (entries.into_iter().flatten().flatten().flatten())
            .map(|entry| entry.file_name().to_string_lossy().into_owned());
        names
            .filter_map(|name| {
                let seed = name.strip_prefix(stem)?.strip_prefix("-s")?;
                let seed = seed.strip_suffix(".json").unwrap_or(seed);
                seed.parse().ok().filter(|parsed: &u64| parsed.to_string() == seed)
            })
            .collect()
    }

    fn run_path(&self, name: &str) -> PathBuf {
        self.options.output.join("runs").join(name)
    }

    fn analysis_path(&self, name: &str) -> PathBuf {
        self.options.output.join("analysis").join(name)
    }

    fn result_path(&self, name: &str) -> PathBuf {
        self.options.output.join("results").join(format!("{name}.json"))
    }

    /// What is left of the time limit.
    fn left(&self) -> Option<Duration> {
        self.options.time_limit.map(|limit| limit.saturating_sub(self.started.elapsed()))
    }
}

impl Run {
    fn is_to_do(&self) -> bool {
        self.is_asked && !matches!(self.state, State::Ended(_))
    }
}

/// A guess at how long the next run's evaluation takes, from the last run's speed: without a backward pass, half of
/// training's; and a second to save it.
fn evaluation_time(summary: &Summary) -> Duration {
    let speed = summary.images_per_second.filter(|&speed| speed > 0.0);
    let seconds = speed.map_or(0.0, |speed| 0.5 * summary.test_images as f64 / speed);
    Duration::try_from_secs_f64(1.0 + seconds).unwrap_or(Duration::MAX)
}

/// The beginning of a long value.
fn clipped(value: &str) -> String {
    match value.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.into(),
    }
}
