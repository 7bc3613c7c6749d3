//! The training loop: steps, lines of metrics, evaluations and checkpoints, until the end or a stop.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::checkpoint::{Checkpoint, FORMAT_VERSION, Info};
use super::config::Config;
use super::diverged;
use super::evaluate::evaluate;
use super::feeder::{Feeder, Next, Queue};
use super::memory::peak_rss_bytes;
use super::metrics::{Line, Metrics};
use super::position::{Measured, Position, Sums};
use super::prepare::Prepared;
use super::progress::Progress;
use super::run::RunFolder;
use super::session::{Session, is_sane};
use super::stop::Stop;
use super::summary::{Stopped, Summary};
use crate::data::{Images, Loader, Normaliser, TrainOptions};
use crate::device::{StepInputs, StepReport};
use crate::error::{Error, Kind, Result};
use crate::text::number;

/// Lines of metrics in an epoch.
const LINES_PER_EPOCH: usize = 20;

/// Steps that do not count for the speed: they load plans and fill caches.
const WARM_UP_STEPS: usize = 5;

/// Steps whose pace tells how long the next will take.
const PACE_STEPS: usize = 50;

/// A checkpoint younger than this is good enough after an evaluation that is not the last: on a card, writing one can take
/// as long as the epoch before it.
const SAVED_LATELY: Duration = Duration::from_secs(10);

/// A run under way.
pub(super) struct Loop {
    pub folder: RunFolder,
    pub config: Config,
    pub data: Prepared,
    pub normaliser: Arc<Normaliser>,
    pub session: Session,
    /// Whether the device draws its batches from a set of its own.
    pub is_fed: bool,
    pub metrics: Metrics,
    pub progress: Progress,
    pub stop: Stop,
    pub time_limit: Option<Duration>,
    pub checkpoint_every: Duration,
    pub steps_per_epoch: usize,
    /// Steps of the whole run.
    pub total: u64,
    /// When this process took the run up.
    pub started: Instant,
    /// Seconds from there to the first step: reading the data, opening the device, making plans.
    pub load_seconds: f64,
    /// Seconds that earlier processes spent on it.
    pub seconds_before: f64,
    /// When the last checkpoint was written.
    pub saved: Instant,
    /// Time of the steps since the last line of metrics.
    pub line_seconds: f64,
    /// How long the last evaluation took.
    pub evaluation_took: Option<Duration>,
    /// Of each step of this process; of several that were reported together, their mean.
    pub step_seconds: Vec<f64>,
    /// Time that was spent on steps since the last one was reported.
    pub unreported: Duration,
    pub position: Position,
}

impl Loop {
    /// Trains until the end or a stop. Where the device fails, the error says how the run goes on.
    pub fn run(self) -> Result<Summary> {
        let folder = self.folder.path().display().to_string();
        self.run_on().map_err(|e| match e.kind() {
            Kind::Device => Error::new(
                Kind::Device,
                format!("{e}; the last checkpoint is good: continue with rir train --resume {folder}"),
            ),
            _ => e,
        })
    }

    fn run_on(mut self) -> Result<Summary> {
        if self.position.step == 0 {
            self.save()?;
        }
        let mut feeder = self.feeder()?;
        let stopped = loop {
            if self.position.finished {
                break None;
            }
            if self.is_epoch_over() {
                self.end_epoch()?;
                continue;
            }
            if self.stop.is_requested(self.position.step + feeder.under_way()) {
                break Some(Stopped::Interrupted);
            }
            if self.is_time_up() {
                break Some(Stopped::TimeLimit);
            }
            self.step(&mut feeder)?;
            if self.saved.elapsed() >= self.checkpoint_every {
                self.drain(&mut feeder)?;
                self.save()?;
            }
        };
        self.drain(&mut feeder)?;
        drop(feeder);
        if stopped.is_some() {
            self.save()?;
        }
        if stopped == Some(Stopped::TimeLimit) {
            self.measure_unfinished()?;
        }
        Ok(self.summary(stopped))
    }

    /// Batches from the position on: of the device's own set where it keeps one, else of a loader.
    fn feeder(&self) -> Result<Feeder> {
        if self.is_fed {
            let Config { recipe, seed, .. } = &self.config;
            return Ok(Feeder::Device(Queue::new(*seed, self.data.train.len(), recipe.batch_size)));
        }
        self.loader().map(Feeder::Host)
    }

    /// Batches from the position on.
    fn loader(&self) -> Result<Loader> {
        let options = TrainOptions {
            augment: self.config.recipe.augment,
            seed: self.config.seed,
            batch: self.config.recipe.batch_size,
            epoch: self.position.epoch,
            step: self.position.step_in_epoch,
        };
        Loader::train(Arc::clone(&self.data.train), Arc::clone(&self.normaliser), options)
    }

    fn is_epoch_over(&self) -> bool {
        self.position.step_in_epoch == self.steps_per_epoch || self.position.step == self.total
    }

    /// Whether the time that is left is only just enough to evaluate and save.
    fn is_time_up(&self) -> bool {
        let Some(limit) = self.time_limit else { return false };
        // Of late: sorting all of a long run's steps before each would take as long as a step.
        let recent = &self.step_seconds[self.step_seconds.len().saturating_sub(PACE_STEPS)..];
        let pace = median(recent).unwrap_or(0.0) / self.config.recipe.batch_size as f64;
        // Evaluation has no backward pass; half the time of training is a safe guess until one was timed.
        let guess = 0.5 * pace * self.data.test.len() as f64;
        let evaluation = self.evaluation_took.map_or(guess, |took| took.as_secs_f64());
        self.started.elapsed().as_secs_f64() + 1.1 * evaluation + 1.0 >= limit.as_secs_f64()
    }

    /// What the optimiser is given at a step.
    fn inputs(&self, step: u64) -> StepInputs {
        self.config.recipe.inputs(step, self.total)
    }

    /// Makes or queues the next step; an epoch's last step waits for all of them.
    fn step(&mut self, feeder: &mut Feeder) -> Result<()> {
        let began = Instant::now();
        let under_way = feeder.under_way();
        let step = self.position.step + under_way;
        let step_in_epoch = self.position.step_in_epoch + under_way as usize;
        let next = Next { step, epoch: self.position.epoch, step_in_epoch, inputs: self.inputs(step) };
        let mut reports = feeder.advance(&mut self.session, next)?;
        if step_in_epoch + 1 == self.steps_per_epoch || step + 1 == self.total {
            reports.append(&mut feeder.drain(&mut self.session)?);
        }
        self.unreported += began.elapsed();
        self.record(&reports)
    }

    /// Waits for every step under way.
    fn drain(&mut self, feeder: &mut Feeder) -> Result<()> {
        let began = Instant::now();
        let reports = feeder.drain(&mut self.session)?;
        self.unreported += began.elapsed();
        self.record(&reports)
    }

    /// Takes the outcomes of steps into the run's position and metrics.
    fn record(&mut self, reports: &[StepReport]) -> Result<()> {
        if reports.is_empty() {
            return Ok(());
        }
        let spent = std::mem::take(&mut self.unreported).as_secs_f64();
        self.position.training_seconds += spent;
        let each = spent / reports.len() as f64;
        self.step_seconds.extend(reports.iter().map(|_| each));
        reports.iter().try_for_each(|report| self.record_one(report, each))
    }

    fn record_one(&mut self, report: &StepReport, seconds: f64) -> Result<()> {
        self.line_seconds += seconds;
        let rate = self.inputs(report.step).learning_rate;
        if !is_sane(report.loss) {
            return Err(self.diverged(report.loss, rate));
        }
        let images = self.config.recipe.batch_size;
        let position = &mut self.position;
        position.step += 1;
        position.step_in_epoch += 1;
        position.line_sums.add(report.loss, report.correct, images);
        position.epoch_sums.add(report.loss, report.correct, images);
        let line = self.line(self.position.line_sums, rate);
        if let Some(line) = &line {
            self.progress.step(line);
        }
        let every = self.steps_per_epoch.div_ceil(LINES_PER_EPOCH);
        if self.position.step_in_epoch.is_multiple_of(every) || self.is_epoch_over() {
            line.map_or(Ok(()), |line| self.metrics.write(&line))?;
            self.position.line_sums = Sums::default();
            self.line_seconds = 0.0;
        }
        Ok(())
    }

    /// A line of metrics over `sums`; none where they are of no image.
    fn line(&self, sums: Sums, learning_rate: f64) -> Option<Line> {
        Some(Line {
            ends_epoch: false,
            synthetic: self.data.synthetic,
            step: self.position.step,
            epoch: self.position.epoch + 1,
            learning_rate,
            train: sums.measured()?,
            test: None,
            validation: None,
            images_per_second: (self.line_seconds > 0.0).then(|| sums.images as f64 / self.line_seconds),
            training_seconds: self.position.training_seconds,
            seconds: self.seconds(),
        })
    }

    fn seconds(&self) -> f64 {
        self.seconds_before + self.started.elapsed().as_secs_f64()
    }

    /// Evaluates where that is due, writes the epoch's line, and saves where no checkpoint was made of late.
    fn end_epoch(&mut self) -> Result<()> {
        let rate = self.inputs(self.position.step.saturating_sub(1)).learning_rate;
        let finishes = self.position.step == self.total;
        let evaluates = finishes || (self.position.epoch + 1).is_multiple_of(self.config.evaluate_every);
        (self.position.test, self.position.validation) = (None, None);
        if evaluates {
            if let Some(name) = diverged::damaged_weights(&mut self.session)? {
                return Err(self.advice(&format!("{name} is not finite any more"), "", rate));
            }
            self.position.test = Some(self.measure(&Arc::clone(&self.data.test))?);
            let validation = self.data.validation.clone().map(|images| self.measure(&images)).transpose()?;
            self.position.validation = validation;
        }
        let Position { test, validation, best_validation, .. } = self.position;
        let is_best = validation.is_some_and(|v| best_validation.is_none_or(|best| v.accuracy > best));
        if let Some(line) = self.line(self.position.epoch_sums, rate) {
            let images_per_second = self.images_per_second();
            let line = Line { ends_epoch: true, test, validation, images_per_second, ..line };
            self.metrics.write(&line)?;
            if evaluates {
                self.progress.epoch(&line);
            }
        }
        self.position.epoch_sums = Sums::default();
        if self.position.step_in_epoch == self.steps_per_epoch {
            self.position.epoch += 1;
            self.position.step_in_epoch = 0;
        }
        self.position.finished = finishes;
        if is_best {
            self.position.best_validation = validation.map(|v| v.accuracy);
            let best = Checkpoint { momentum: Vec::new(), slow: Vec::new(), ..self.checkpoint()? };
            let best = Checkpoint { info: Info { position: None, ..best.info }, ..best };
            best.save(&self.folder.best())?;
        }
        if finishes || evaluates && self.saved.elapsed() >= SAVED_LATELY {
            self.save()?;
        }
        self.line_seconds = 0.0;
        Ok(())
    }

    /// A result for a run that its time limit cuts short; its metrics stay those of whole epochs.
    fn measure_unfinished(&mut self) -> Result<()> {
        self.position.test = Some(self.measure(&Arc::clone(&self.data.test))?);
        Ok(())
    }

    fn measure(&mut self, images: &Arc<Images>) -> Result<Measured> {
        let began = Instant::now();
        let batch = self.config.evaluation_batch();
        let evaluation = evaluate(&mut self.session, images, &self.normaliser, batch)?;
        self.evaluation_took = Some(began.elapsed());
        Ok(Measured { loss: evaluation.loss, accuracy: evaluation.accuracy })
    }

    fn save(&mut self) -> Result<()> {
        let lengths = self.metrics.sync()?;
        self.position.metrics_bytes = lengths.metrics;
        self.position.events_bytes = lengths.events;
        self.position.seconds = self.seconds();
        if let Some(name) = diverged::damaged_weights(&mut self.session)? {
            return Err(self.advice(
                &format!("{name} is not finite any more"),
                "",
                self.inputs(self.position.step).learning_rate,
            ));
        }
        self.checkpoint()?.save(&self.folder.checkpoint())?;
        self.saved = Instant::now();
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        Ok(Checkpoint {
            info: Info {
                format_version: FORMAT_VERSION,
                version: env!("CARGO_PKG_VERSION").into(),
                model: self.config.model.clone(),
                image: self.data.image(),
                classes: self.data.classes.clone(),
                data: self.data.name.clone(),
                synthetic: self.data.synthetic,
                data_digest: self.data.digest.clone(),
                recipe: self.config.recipe.clone(),
                seed: self.config.seed,
                epoch: self.position.epoch,
                step: self.position.step,
                precision: self.config.precision,
                device: self.session.device_name(),
                choices: self.session.chosen(),
                position: Some(self.position),
            },
            normaliser: Normaliser::clone(&self.normaliser),
            tensors: self.session.export()?,
            momentum: self.session.export_momentum()?,
            slow: self.session.export_slow()?,
        })
    }

    /// The error of the step at the position, whose loss is not sane.
    fn diverged(&mut self, loss: f64, rate: f64) -> Error {
        let loss = format!("the loss is {loss}; ");
        let batch = self.loader().and_then(|mut loader| {
            loader.next().unwrap_or_else(|| Err(Error::data("the loader ended early")))
        });
        match batch.and_then(|b| diverged::diagnose(&mut self.session, &b.images, &b.labels)) {
            Ok(cause) => self.advice(&cause, &loss, rate),
            Err(e) => self.advice(&format!("and the search for the layer failed ({e})"), &loss, rate),
        }
    }

    fn advice(&self, cause: &str, loss: &str, rate: f64) -> Error {
        Error::new(
            Kind::Diverged,
            format!(
                "training diverged at step {} (epoch {}): {loss}{cause}; start again with a lower learning rate than \
                 {} (this step's was {}); the last good checkpoint is {}",
                self.position.step + 1,
                self.position.epoch + 1,
                number(self.config.recipe.learning_rate),
                number(rate),
                self.folder.checkpoint().display()
            ),
        )
    }

    fn images_per_second(&self) -> Option<f64> {
        let warm = self.step_seconds.get(WARM_UP_STEPS..).filter(|steps| !steps.is_empty())?;
        median(warm).map(|seconds| self.config.recipe.batch_size as f64 / seconds)
    }

    fn summary(&self, stopped: Option<Stopped>) -> Summary {
        let position = &self.position;
        Summary {
            test_accuracy: position.test.map(|m| m.accuracy),
            test_loss: position.test.map(|m| m.loss),
            validation_accuracy: position.validation.map(|m| m.accuracy),
            synthetic: self.data.synthetic,
            data: self.data.name.clone(),
            train_images: self.data.train.len(),
            test_images: self.data.test.len(),
            model: self.config.model.name.clone(),
            parameters: self.session.layout().parameter_count(),
            recipe: self.config.recipe.name.clone(),
            seed: self.config.seed,
            device: self.session.device_name(),
            kernels: self.session.kernels(),
            precision: self.config.precision.to_string(),
            epochs: position.epoch,
            steps: position.step,
            total_steps: self.total,
            finished: position.finished,
            stopped,
            seconds: self.seconds(),
            training_seconds: position.training_seconds,
            load_seconds: self.load_seconds,
            images_per_second: self.images_per_second(),
            peak_rss_bytes: peak_rss_bytes(),
            run: self.folder.path().into(),
        }
    }
}

/// The middle of some numbers; none of none.
pub(super) fn median(numbers: &[f64]) -> Option<f64> {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() % 2 {
        _ if sorted.is_empty() => None,
        1 => Some(sorted[middle]),
        _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
    }
}
