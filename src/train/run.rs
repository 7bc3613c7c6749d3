//! Run folders: where they lie, what they hold, and that one process at a time writes to one.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::atomic;
use super::config::Config;
use crate::device::cuda::Chosen;
use crate::error::{Error, Kind, Result};

/// Where runs lie unless the user says otherwise.
pub const RUNS: &str = "runs";

const CONFIG: &str = "config.toml";
const LOCK: &str = ".lock";

/// A run folder, locked against other processes as long as this lives.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Makes the folder of a new run: `output`, or `name` below [`RUNS`], with `-2`, `-3` and so on where that exists.
    ///
    /// # Errors
    /// If `output` already holds a run that has saved something or another process writes to it, or the system refuses.
    pub fn create(output: Option<&Path>, name: &str) -> Result<Self> {
        let Some(output) = output else {
            return Self::create_numbered(Path::new(RUNS), name);
        };
        fs::create_dir_all(output).map_err(|e| Error::io("create the run folder", output, &e))?;
        let folder = Self::lock(output)?;
        if folder.has_saved() || folder.best().exists() {
            return Err(Error::new(
                Kind::Io,
                format!(
                    "{} already holds a run: continue it with --resume {}, or choose another folder",
                    output.display(),
                    output.display()
                ),
            ));
        }
        Ok(folder)
    }

    /// Makes `name` in `parent`, numbered where it exists.
    pub(super) fn create_numbered(parent: &Path, name: &str) -> Result<Self> {
        fs::create_dir_all(parent).map_err(|e| Error::io("create the folder", parent, &e))?;
        let name = safe_file_name(name);
        let names = (1..).map(|i| if i == 1 { name.clone() } else { format!("{name}-{i}") });
        for path in names.map(|name| parent.join(name)) {
            match fs::create_dir(&path) {
                Ok(()) => return Self::lock(&path),
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io("create the run folder", &path, &e)),
            }
        }
        unreachable!("the numbers do not end")
    }

    /// Opens the folder of a run to continue it.
    ///
    /// # Errors
    /// If there is no run, another process writes to it, or the system refuses.
    pub fn open(path: &Path) -> Result<Self> {
        if !path.join(CONFIG).is_file() {
            return Err(Error::new(
                Kind::Io,
                format!("{} is no run folder: it holds no {CONFIG}; `ls {RUNS}` lists yours", path.display()),
            ));
        }
        Self::lock(path)
    }

    fn lock(path: &Path) -> Result<Self> {
        let file = path.join(LOCK);
        let lock = (OpenOptions::new().create(true).truncate(false).write(true).open(&file))
            .map_err(|e| Error::io("write to the run folder", path, &e))?;
        match fs4::FileExt::try_lock(&lock) {
            Ok(()) => {}
            Err(fs4::TryLockError::WouldBlock) => {
                return Err(Error::new(
                    Kind::Io,
                    format!(
                        "another process is writing to the run {}; wait for it, or stop it",
                        path.display()
                    ),
                ));
            }
            Err(fs4::TryLockError::Error(e)) => return Err(Error::io("lock", &file, &e)),
        }
        atomic::remove_leftovers(path);
        Ok(Self { path: path.into(), _lock: lock })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// `config.toml`.
    pub fn config_path(&self) -> PathBuf {
        self.path.join(CONFIG)
    }
    /// `checkpoint.safetensors`: the newest.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoint.safetensors")
    }
    /// Whether there is a checkpoint; a run that was stopped before its first has none, and starts over.
    pub fn has_saved(&self) -> bool {
        self.checkpoint().exists()
    }
    /// `best.safetensors`: the best by the validation images.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }
    /// `metrics.jsonl`.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }
    /// `split.json`: which images of the training set the run trains on and validates with.
    pub fn split(&self) -> PathBuf {
        self.path.join("split.json")
    }

    /// `choices.toml`: the kernels that were chosen, for people and for `--choices`; a resumed run takes those of its
    /// checkpoint.
    pub fn choices(&self) -> PathBuf {
        self.path.join("choices.toml")
    }

    /// Writes `choices.toml`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_choices(&self, chosen: &Chosen) -> Result<()> {
        let text = toml::to_string(chosen)
            .map_err(|e| Error::usage(format!("the choices cannot be written: {e}")))?;
        atomic::replace(&self.choices(), text.as_bytes())
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn write_config(&self, config: &Config) -> Result<()> {
        atomic::replace(&self.config_path(), config.to_toml()?.as_bytes())
    }

    /// Reads `config.toml`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn config(&self) -> Result<Config> {
        Config::load(&self.config_path())
    }
}

/// The checkpoint that `path` means: a file itself, or the newest of a run folder.
///
/// # Errors
/// If there is none.
pub fn find_checkpoint(path: &Path) -> Result<PathBuf> {
    if path.is_file() {
        return Ok(path.into());
    }
    let file = path.join("checkpoint.safetensors");
    if file.is_file() {
        return Ok(file);
    }
    if path.join(CONFIG).is_file() {
        let run = path.display();
        let message = format!("the run {run} has saved nothing yet; `rir train --resume {run}` trains it");
        return Err(Error::new(Kind::Io, message));
    }
    let what = if path.is_dir() { "holds no checkpoint.safetensors" } else { "does not exist" };
    Err(Error::new(Kind::Io, format!("{} {what}; give a run folder or a .safetensors file", path.display())))
}

/// `name` with everything that is awkward in a file name replaced.
pub(crate) fn safe_file_name(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    name.chars().map(safe).collect::<String>().trim_start_matches('.').to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered_and_safe() {
        let parent = tempfile::tempdir().unwrap();
        let names: Vec<_> = (0..3)
            .map(|_| RunFolder::create_numbered(parent.path(), "2026-01-02-my model/x-s0").unwrap())
            .map(|run| run.path().file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(
            names,
            ["2026-01-02-my-model-x-s0", "2026-01-02-my-model-x-s0-2", "2026-01-02-my-model-x-s0-3"]
        );
    }

    #[test]
    fn one_writer_at_a_time_and_no_run_is_overwritten() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/run");
        let run = RunFolder::create(Some(&path), "").unwrap();
        let locked = RunFolder::create(Some(&path), "").unwrap_err().to_string();
        assert!(locked.contains("another process is writing"), "{locked}");
        drop(run);
        assert!(RunFolder::open(&path).unwrap_err().to_string().contains("no run folder"));
        fs::write(path.join(CONFIG), "").unwrap();
        assert!(find_checkpoint(&path).unwrap_err().to_string().contains("has saved nothing yet"));
        drop(RunFolder::create(Some(&path), "").unwrap());
        fs::write(path.join("checkpoint.safetensors"), "").unwrap();
        let taken = RunFolder::create(Some(&path), "").unwrap_err();
        assert!(taken.to_string().contains("--resume") && taken.kind() == Kind::Io, "{taken}");
        let file = parent.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(RunFolder::create(Some(&file.join("run")), "").unwrap_err().to_string().contains("file"));
    }

    #[test]
    fn checkpoints_are_found_by_run_or_file() {
        let folder = tempfile::tempdir().unwrap();
        assert!(find_checkpoint(folder.path()).unwrap_err().to_string().contains("holds no"));
        let file = folder.path().join("checkpoint.safetensors");
        fs::write(&file, "").unwrap();
        assert_eq!(find_checkpoint(folder.path()).unwrap(), file);
        assert_eq!(find_checkpoint(&file).unwrap(), file);
        assert!(
            find_checkpoint(&folder.path().join("x")).unwrap_err().to_string().contains("does not exist")
        );
    }
}
