//! Setting a training run up, anew or from where it stopped.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::atomic;
use super::checkpoint::Checkpoint;
use super::config::Config;
use super::looping::Loop;
use super::metrics::{Lengths, Metrics};
use super::options::{Environment, TrainOptions};
use super::position::Position;
use super::prepare::Prepared;
use super::progress::Progress;
use super::run::RunFolder;
use super::session::{Session, SessionOptions};
use super::summary::Summary;
use crate::data::Normaliser;
use crate::error::{Error, Result};
use crate::text::grouped;

/// The longest time between checkpoints inside an epoch.
const CHECKPOINT_EVERY: Duration = Duration::from_secs(300);

/// The data set that is whatever there is; a run's configuration says what that was.
const AUTO: &str = "auto";

/// Trains a network, or continues a run.
///
/// # Errors
/// Whatever stands in the way, in one sentence; divergence has a kind of its own.
pub fn train(options: &TrainOptions, environment: &Environment<'_>) -> Result<Summary> {
    let started = Instant::now();
    match &options.resume {
        None => Start::new(options, environment)?.run(options, started),
        Some(path) => Start::resumed(path, options, environment)?.run(options, started),
    }
}

/// The name of a new run's folder.
pub(super) fn run_name(config: &Config, data: &str, seeds: &str) -> String {
    format!("{}-{}-{data}-s{seeds}", jiff::ZonedDateTime::now().date(), config.model.name)
}

/// Everything a run starts with.
struct Start {
    folder: RunFolder,
    config: Config,
    data: Prepared,
    normaliser: Arc<Normaliser>,
    session: Session,
    position: Position,
}

impl Start {
    /// A new run. The folder is made last, when nothing else can fail.
    fn new(options: &TrainOptions, environment: &Environment<'_>) -> Result<Self> {
        let mut config = Config::new(options)?;
        let loaded = (environment.open_data)(&config.data, config.image)?;
        if config.data == AUTO {
            config.data.clone_from(&loaded.dataset.name);
        }
        let data = Prepared::new(loaded, &config)?;
        config.data_digest.clone_from(&data.digest);
        let mut session = open_session(&config, &data, environment)?;
        session.initialise(config.seed)?;
        let normaliser = data.normaliser(&config)?;
        let name = run_name(&config, &data.name, &config.seed.to_string());
        let folder = RunFolder::create(options.output.as_deref(), &name)?;
        folder.write_config(&config)?;
        if data.split.chosen.is_some() || data.split.files.is_some() {
            let text = serde_json::to_vec(&data.split).map_err(|e| Error::data(format!("the split: {e}")))?;
            atomic::replace(&folder.split(), &text)?;
        }
        Ok(Self { folder, config, data, normaliser, session, position: Position::default() })
    }

    /// The run in `path`, where its checkpoint stands.
    fn resumed(path: &Path, options: &TrainOptions, environment: &Environment<'_>) -> Result<Self> {
        if let Some(output) = &options.output {
            return Err(Error::usage(format!(
                "a resumed run goes on in its own folder {}; leave out the output folder {}",
                path.display(),
                output.display()
            )));
        }
        let folder = RunFolder::open(path)?;
        let mut config = folder.config()?;
        config.check_resume(options)?;
        let checkpoint = Checkpoint::load(&folder.checkpoint())?;
        let Some(position) = checkpoint.info.position else {
            return Err(Error::model(format!(
                "{} holds a result without the optimiser's state; it can be evaluated but not continued",
                folder.checkpoint().display()
            )));
        };
        if position.finished {
            return Err(Error::usage(format!(
                "the run {} is finished after {} steps, and its schedule has ended: to train longer, start a new run \
                 with more epochs",
                path.display(),
                grouped(position.step)
            )));
        }
        config.data = options.data.clone().unwrap_or(config.data);
        config.device = options.device.clone().unwrap_or(config.device);
        let loaded = (environment.open_data)(&config.data, config.image)?;
        if loaded.dataset.digest != config.data_digest {
            return Err(Error::data(format!(
                "the data {} is not what the run was trained on: its digest is {}, the run's {}",
                config.data,
                short(&loaded.dataset.digest),
                short(&config.data_digest)
            )));
        }
        let data = Prepared::new(loaded, &config)?;
        checkpoint.check_model(&config.model, data.classes.len())?;
        let mut session = open_session(&config, &data, environment)?;
        let place = |e: Error| e.at(folder.checkpoint().display());
        session.import(&checkpoint.tensors).map_err(place)?;
        session.import_momentum(&checkpoint.momentum).map_err(place)?;
        let normaliser = Arc::new(checkpoint.normaliser);
        Ok(Self { folder, config, data, normaliser, session, position })
    }

    /// Trains to the end, or until something stops the run.
    fn run(self, options: &TrainOptions, started: Instant) -> Result<Summary> {
        let Self { folder, config, data, normaliser, session, position } = self;
        let steps_per_epoch = data.train.len() / config.recipe.batch_size;
        let total = config.total_steps(steps_per_epoch);
        let progress = Progress::new(options.verbosity, position.step, total);
        progress.say(&data.used);
        data.note.iter().for_each(|note| progress.warn(note));
        let [train, test] = [data.train.len(), data.test.len()].map(|n| grouped(n as u64));
        progress.say(&format!("data {}: {train} training images, {test} test images", data.name));
        progress.say(&format!(
            "model {}: {} parameters, on {}, {}",
            config.model.name,
            grouped(session.layout().parameter_count() as u64),
            session.device_name(),
            config.precision
        ));
        let verb = if position.step > 0 { "continuing" } else { "run" };
        progress.say(&format!("{verb} {}: {} steps", folder.path().display(), grouped(total)));
        let keep = Lengths { metrics: position.metrics_bytes, events: position.events_bytes };
        let metrics = Metrics::open(folder.metrics(), keep)?;
        Loop {
            folder,
            config,
            data,
            normaliser,
            session,
            metrics,
            progress,
            stop: options.stop.clone(),
            time_limit: options.time_limit,
            checkpoint_every: options.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
            steps_per_epoch,
            total,
            started,
            seconds_before: position.seconds,
            saved: Instant::now(),
            line_began: Instant::now(),
            evaluation_took: None,
            step_seconds: Vec::new(),
            position,
        }
        .run()
    }
}

fn open_session(config: &Config, data: &Prepared, environment: &Environment<'_>) -> Result<Session> {
    let options = SessionOptions {
        model: config.model.clone(),
        image: data.image(),
        classes: data.classes.len(),
        precision: config.precision,
        fusions: config.fusions(),
        sgd: config.recipe.sgd(),
        label_smoothing: config.recipe.label_smoothing,
    };
    config.recipe.augment.check(data.train.height, data.train.width)?;
    Session::new(options, |layout, precision| (environment.open_device)(&config.device, layout, precision))
}

/// The beginning of a digest, which is enough to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
