//! The weights that a run starts from, where they are not random.

use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::checkpoint::Checkpoint;
use crate::error::{Error, Result};

/// A checkpoint that a run takes its first weights from; its optimiser's state and position stay behind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Weights {
    /// The absolute path.
    pub file: String,
    /// SHA-256 of the file's contents; empty until it is read.
    pub digest: String,
}

impl Weights {
    /// The weights in `path`, which is read later.
    ///
    /// # Errors
    /// For a path that a configuration cannot hold.
    pub fn new(path: &Path) -> Result<Self> {
        let absolute = std::path::absolute(path).map_err(|e| Error::io("find", path, &e))?;
        let file = absolute.to_str().ok_or_else(|| {
            Error::usage(format!("{} is no valid Unicode; give the weights another name", path.display()))
        })?;
        Ok(Self { file: file.into(), digest: String::new() })
    }

    /// Reads the file, and notes its digest.
    ///
    /// # Errors
    /// As [`Checkpoint::load`], or if the file is another than when its digest was noted.
    pub(super) fn read(&mut self) -> Result<Checkpoint> {
        let path = Path::new(&self.file);
        let bytes = std::fs::read(path).map_err(|e| Error::io("read", path, &e))?;
        let digest = hex_digest(&bytes);
        if !self.digest.is_empty() && self.digest != digest {
            return Err(Error::model(format!(
                "{} is not the file that the run began with any more; start a new run",
                self.file
            )));
        }
        self.digest = digest;
        Checkpoint::from_bytes(&bytes).map_err(|e| e.at(&self.file))
    }
}

/// SHA-256 of a file's contents, in hexadecimal.
///
/// # Errors
/// If it cannot be read.
pub fn file_digest(path: &Path) -> Result<String> {
    std::fs::read(path).map(|bytes| hex_digest(&bytes)).map_err(|e| Error::io("read", path, &e))
}

fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
