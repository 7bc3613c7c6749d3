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
use crate::data::{Loaded, Normaliser};
use crate::error::{Error, Result};
use crate::text::{counted, grouped};

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
    /// Whether the device draws its batches from a set of its own.
    is_fed: bool,
    position: Position,
}

impl Start {
    /// A new run.
    fn new(options: &TrainOptions, environment: &Environment<'_>) -> Result<Self> {
        let mut config = Config::new(options)?;
        let loaded = (environment.open_data)(&config.data, config.image)?;
        config.data = lasting_name(config.data, &loaded);
        let data = Prepared::new(loaded, &config)?;
        config.data_digest.clone_from(&data.digest);
        let name = run_name(&config, &data.name, &config.seed.to_string());
        Self::at_first_step(config, data, environment, || RunFolder::create(options.output.as_deref(), &name))
    }

    /// A run before its first step. The folder is made last, when nothing else can fail.
    fn at_first_step(
        mut config: Config,
        data: Prepared,
        environment: &Environment<'_>,
        folder: impl FnOnce() -> Result<RunFolder>,
    ) -> Result<Self> {
        let mut session = open_session(&config, &data, environment)?;
        session.initialise(config.seed)?;
        let normaliser = match start_weights(&mut config, &data, &mut session)? {
            Some(fitted) => Arc::new(fitted),
            None => data.normaliser(&config)?,
        };
        let is_fed = prepare_device(&mut session, &config, &data, &normaliser)?;
        let folder = folder()?;
        folder.write_config(&config)?;
        if data.split.chosen.is_some() || data.split.files.is_some() {
            let text = serde_json::to_vec(&data.split).map_err(|e| Error::data(format!("the split: {e}")))?;
            atomic::replace(&folder.split(), &text)?;
        } else {
            // Best effort: one may lie there from a start that saved nothing.
            let _ = std::fs::remove_file(folder.split());
        }
        Ok(Self { folder, config, data, normaliser, session, is_fed, position: Position::default() })
    }

    /// The run in `path`, where its checkpoint stands; at its first step where it has none yet.
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
        let saved = if folder.has_saved() { Some(continuable(&folder, &config)?) } else { None };
        config.data = options.data.clone().unwrap_or(config.data);
        config.device = options.device.clone().unwrap_or(config.device);
        config.evaluate_every = options.evaluate_every.unwrap_or(config.evaluate_every);
        let loaded = (environment.open_data)(&config.data, config.image).map_err(|e| match options.data {
            Some(_) => e,
            None => data_of_run(path, &e),
        })?;
        if loaded.dataset.digest != config.data_digest {
            return Err(Error::data(format!(
                "the data {} is not what the run was trained on: its digest is {}, the run's {}",
                config.data,
                short(&loaded.dataset.digest),
                short(&config.data_digest)
            )));
        }
        config.data = lasting_name(config.data, &loaded);
        let data = Prepared::new(loaded, &config)?;
        let Some((checkpoint, position)) = saved else {
            return Self::at_first_step(config, data, environment, || Ok(folder));
        };
        checkpoint.check_model(&config.model, data.classes.len())?;
        let mut session = open_session(&config, &data, environment)?;
        if let Some(recorded) = checkpoint.info.choices.as_ref().filter(|_| !options.choose_anew) {
            session.choose(recorded).map_err(|e| other_choices(path, &e))?;
        }
        let place = |e: Error| e.at(folder.checkpoint().display());
        session.import(&checkpoint.tensors).map_err(place)?;
        session.import_momentum(&checkpoint.momentum).map_err(place)?;
        session.import_slow(&checkpoint.slow).map_err(place)?;
        let normaliser = Arc::new(checkpoint.normaliser);
        let is_fed = prepare_device(&mut session, &config, &data, &normaliser)?;
        Ok(Self { folder, config, data, normaliser, session, is_fed, position })
    }

    /// Trains to the end, or until something stops the run.
    fn run(self, options: &TrainOptions, started: Instant) -> Result<Summary> {
        let Self { folder, config, data, normaliser, mut session, is_fed, position } = self;
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
        if let Some(weights) = &config.weights {
            progress.say(&format!("weights {}", weights.file));
        }
        session.kernels().iter().for_each(|kernels| progress.say(&format!("kernels {kernels}")));
        if let Some(chosen) = session.chosen() {
            folder.write_choices(&chosen)?;
        }
        let verb = if position.step > 0 { "continuing" } else { "run" };
        progress.say(&format!("{verb} {}: {}", folder.path().display(), counted(total, "step")));
        let keep = Lengths { metrics: position.metrics_bytes, events: position.events_bytes };
        let metrics = Metrics::open(folder.metrics(), keep)?;
        Loop {
            folder,
            config,
            data,
            normaliser,
            session,
            is_fed,
            metrics,
            progress,
            stop: options.stop.clone(),
            time_limit: options.time_limit,
            checkpoint_every: options.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
            steps_per_epoch,
            total,
            started,
            load_seconds: started.elapsed().as_secs_f64(),
            seconds_before: position.seconds,
            saved: Instant::now(),
            line_seconds: 0.0,
            evaluation_took: None,
            step_seconds: Vec::new(),
            unreported: Duration::ZERO,
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
        fusions: config.fuse,
        sgd: config.recipe.sgd(),
        label_smoothing: config.recipe.label_smoothing,
    };
    config.recipe.augment.check(data.train.height, data.train.width)?;
    Session::new(options, |layout, precision| (environment.open_device)(&config.device, layout, precision))
}

/// Puts the weights that the run starts from, where it has some, into the session. Gives the normalisation that they
/// were trained with; weights that no data made bring none.
fn start_weights(config: &mut Config, data: &Prepared, session: &mut Session) -> Result<Option<Normaliser>> {
    let Some(weights) = &mut config.weights else { return Ok(None) };
    let checkpoint = weights.read()?;
    let place = |e: Error| e.at(&weights.file);
    checkpoint.check_model(&config.model, data.classes.len()).map_err(place)?;
    let ([own_h, own_w, own_c], [h, w, c]) = (checkpoint.info.image, data.image());
    if [own_h, own_w, own_c] != [h, w, c] {
        return Err(Error::model(format!(
            "{}: its network takes images of {own_h}x{own_w}x{own_c}, the data has {h}x{w}x{c}; --image \
             {own_h}x{own_w} resizes a folder's images",
            weights.file
        )));
    }
    session.import(&checkpoint.tensors).map_err(place)?;
    Ok((!checkpoint.info.data_digest.is_empty()).then_some(checkpoint.normaliser))
}

/// Puts the training set on the device, where it trains from one of its own, and makes room there for all that the run
/// will do: memory that is short must show before the first step, and before there is a folder. Says whether it does.
fn prepare_device(
    session: &mut Session,
    config: &Config,
    data: &Prepared,
    normaliser: &Normaliser,
) -> Result<bool> {
    let is_fed = session.hold(&data.train, normaliser, config.recipe.augment)?;
    let batch = config.evaluation_batch();
    for images in [Some(&data.test), data.validation.as_ref()].into_iter().flatten() {
        for size in [batch.min(images.len()), images.len() % batch] {
            session.reserve_evaluation(size)?;
        }
    }
    session.reserve_training(config.recipe.batch_size)?;
    Ok(is_fed)
}

/// What a run calls its data: a name that means the same in every folder and whatever sets are there.
fn lasting_name(name: String, loaded: &Loaded) -> String {
    match loaded.location.as_ref().and_then(|location| location.to_str()) {
        Some(location) => location.into(),
        None if name == AUTO => loaded.dataset.name.clone(),
        None => name,
    }
}

/// The checkpoint of a run that goes on, and where it stands.
fn continuable(folder: &RunFolder, config: &Config) -> Result<(Checkpoint, Position)> {
    let file = folder.checkpoint();
    let checkpoint = Checkpoint::load(&file)?;
    config.check_checkpoint(&checkpoint.info).map_err(|e| e.at(folder.path().display()))?;
    let Some(position) = checkpoint.info.position else {
        return Err(Error::model(format!(
            "{} holds a result without the optimiser's state; it can be evaluated but not continued",
            file.display()
        )));
    };
    if position.finished {
        return Err(Error::usage(format!(
            "the run {} is finished after {}, and its schedule has ended: to train longer, start a new run with more \
             epochs",
            folder.path().display(),
            counted(position.step, "step")
        )));
    }
    Ok((checkpoint, position))
}

/// The error of a run whose data cannot be read where its configuration says.
pub fn data_of_run(run: &Path, error: &Error) -> Error {
    let message =
        format!("the data of the run {}: {error}; say with --data where it lies now", run.display());
    Error::new(error.kind(), message)
}

/// The error of a run whose recorded kernels cannot be had.
fn other_choices(run: &Path, error: &Error) -> Error {
    let message = format!(
        "the run {} has recorded which kernels it takes, and they cannot be taken here: {error}; others add up in another \
         order, so the run would end with other bits: resume it where they hold, or choose anew by --choices auto",
        run.display()
    );
    Error::new(error.kind(), message)
}

/// The beginning of a digest, which is enough to tell two apart.
fn short(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
