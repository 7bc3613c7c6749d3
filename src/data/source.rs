//! Finding the data set that `--data` names.

use std::fmt;
use std::path::{Path, PathBuf};

use super::split::Share;
use super::synthetic::{TEST, TRAIN};
use super::{Dataset, SplitRecord, archive, cifar, folder, synthetic};
use crate::error::{Error, Result, unknown};

/// The seed of the synthetic set: a property of the set, so that runs of different seeds train on the same
/// images.
const SYNTHETIC_SEED: u64 = 0;

/// The environment variable that names the folder of data sets.
const ROOT_VARIABLE: &str = "RIR_DATA";

/// What `--data` asks for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum DataSpec {
    /// CIFAR-10 where it is found, else the synthetic set.
    #[default]
    Auto,
    /// The built-in synthetic set.
    Synthetic,
    /// CIFAR-10 in the folder of data sets.
    Cifar10,
    /// CIFAR-100 in the folder of data sets.
    Cifar100,
    /// A folder or an archive, told by its content.
    Path(PathBuf),
}

impl DataSpec {
    const NAMES: [(&str, Self); 4] = [
        ("auto", Self::Auto),
        ("synthetic", Self::Synthetic),
        ("cifar10", Self::Cifar10),
        ("cifar100", Self::Cifar100),
    ];

    /// A name, or a path: whatever exists, or holds a slash. (A folder named like a set is reached as
    /// `./cifar10`.)
    ///
    /// # Errors
    /// When it is neither; suggests the nearest name.
    pub fn parse(text: &str) -> Result<Self> {
        if let Some((_, spec)) = Self::NAMES.into_iter().find(|(name, _)| *name == text) {
            return Ok(spec);
        }
        let path = Path::new(text);
        if path.exists() || text.contains(std::path::is_separator) {
            return Ok(Self::Path(path.into()));
        }
        let message = unknown("data set", text, &Self::NAMES.map(|(name, _)| name));
        Err(Error::data(format!("{message} (nor is there a file or folder of that name)")))
    }
}

impl fmt::Display for DataSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            named => {
                f.write_str(Self::NAMES.iter().find(|(_, spec)| spec == named).map_or("", |(name, _)| name))
            }
        }
    }
}

/// How to load a data set.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Where named sets are looked for; by default `$RIR_DATA`, else `data`.
    pub root: PathBuf,
    /// Height and width of the network's input; image files are scaled to it.
    pub image_size: (usize, usize),
    /// What an image folder without `train` and `test` holds out for testing.
    pub test_share: Share,
    /// Draws that part.
    pub seed: u64,
    /// Training and test images of the synthetic set.
    pub synthetic: (usize, usize),
}

impl Default for LoadOptions {
    /// 32x32, 20 % for testing, seed 0, and the usual synthetic set.
    fn default() -> Self {
        Self {
            root: std::env::var_os(ROOT_VARIABLE).map_or_else(|| "data".into(), PathBuf::from),
            image_size: (32, 32),
            test_share: Share::Fraction(0.2),
            seed: 0,
            synthetic: (TRAIN, TEST),
        }
    }
}

/// A data set, and where it came from.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The data set.
    pub dataset: Dataset,
    /// A sentence for the user: which set was used, and why where that was not asked for.
    pub used: String,
    /// The absolute path of its folder or archive, where it is not built in.
    pub location: Option<PathBuf>,
    /// Which file went where, when an image folder was split.
    pub split_record: Option<SplitRecord>,
}

/// Finds and reads the data set that `spec` asks for.
///
/// # Errors
/// When it is missing (with the command that fetches it), damaged, or of another size than the network's
/// input.
pub fn load(spec: &DataSpec, options: &LoadOptions) -> Result<Loaded> {
    let loaded = match spec {
        DataSpec::Synthetic => load_synthetic(options, "using the built-in synthetic set".into()),
        DataSpec::Auto => match cifar::locate(&options.root, Some("cifar10")).first() {
            Some((path, layout)) => load_cifar(path, layout),
            None => {
                let reason = format!(
                    "no CIFAR-10 in {}: using the built-in synthetic set; fetch CIFAR-10 with: {}",
                    options.root.display(),
                    cifar::LAYOUTS[0].fetch
                );
                load_synthetic(options, reason)
            }
        },
        DataSpec::Cifar10 | DataSpec::Cifar100 => {
            let name = spec.to_string();
            match cifar::locate(&options.root, Some(&name)).first() {
                Some((path, layout)) => load_cifar(path, layout),
                None => Err(missing(&options.root, &name)),
            }
        }
        DataSpec::Path(path) => load_path(path, options),
    }?;
    let size = (loaded.dataset.train.height, loaded.dataset.train.width);
    if size != options.image_size {
        return Err(Error::usage(format!(
            "{} has images of {}x{}, but the network takes {}x{}; choose a network of that input size",
            loaded.dataset.name, size.0, size.1, options.image_size.0, options.image_size.1
        )));
    }
    Ok(loaded)
}

fn load_synthetic(options: &LoadOptions, used: String) -> Result<Loaded> {
    let (train, test) = options.synthetic;
    Ok(Loaded { dataset: synthetic(SYNTHETIC_SEED, train, test)?, used, location: None, split_record: None })
}

fn load_cifar(path: &Path, layout: &cifar::Layout) -> Result<Loaded> {
    let dataset = if path.is_dir() { cifar::read_folder(path, layout)? } else { cifar::read_archive(path)? };
    Ok(from_cifar(path, dataset))
}

fn from_cifar(path: &Path, dataset: Dataset) -> Loaded {
    let used = format!("using {} from {}", dataset.name, path.display());
    Loaded { dataset, used, location: path.canonicalize().ok(), split_record: None }
}

fn load_path(path: &Path, options: &LoadOptions) -> Result<Loaded> {
    if archive::is_gzip(path) {
        return Ok(from_cifar(path, cifar::read_archive(path)?));
    }
    if !path.is_dir() {
        let what = if path.exists() { "is no folder and no .tar.gz archive" } else { "does not exist" };
        return Err(Error::data(format!(
            "{} {what}; give a folder of images or of CIFAR files",
            path.display()
        )));
    }
    let found = cifar::locate(path, None);
    if let Some((other, _)) = found.iter().find(|(_, layout)| layout.name != found[0].1.name) {
        return Err(Error::data(format!(
            "{} holds more than one data set; give one of them: {} or {}",
            path.display(),
            found[0].0.display(),
            other.display()
        )));
    }
    if let Some((path, layout)) = found.first() {
        return load_cifar(path, layout);
    }
    let (dataset, split_record) = folder::read(path, options.image_size, options.test_share, options.seed)?;
    let used = format!("using the {} classes of images in {}", dataset.classes.len(), path.display());
    Ok(Loaded { dataset, used, location: path.canonicalize().ok(), split_record })
}

fn missing(root: &Path, name: &str) -> Error {
    let layouts: Vec<_> = cifar::LAYOUTS.iter().filter(|layout| layout.name == name).collect();
    let looked: Vec<_> = layouts.iter().map(|l| l.folder).chain(layouts.iter().map(|l| l.archive)).collect();
    Error::data(format!(
        "{name} is not in {} (looked for {}); fetch it with: {} (or set {ROOT_VARIABLE} to the \
         folder that has it)",
        root.display(),
        looked.join(", "),
        layouts.first().map_or("", |layout| layout.fetch)
    ))
}

#[cfg(test)]
#[path = "source_tests.rs"]
mod tests;
