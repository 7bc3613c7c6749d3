//! Files that only grow, and are cut back to where a checkpoint saw them when a run resumes.

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use crate::error::{Error, Result};

/// A file open for appending.
#[derive(Debug)]
pub(super) struct Appender {
    path: PathBuf,
    file: File,
    bytes: u64,
}

impl Appender {
    /// Opens or creates the file and cuts it to `keep` bytes; a file that is shorter, since the machine died before
    /// its end reached the disk, stays as it is.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(path: PathBuf, keep: u64) -> Result<Self> {
        let open = || {
            let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(&path)?;
            let bytes = keep.min(file.metadata()?.len());
            file.set_len(bytes)?;
            file.seek(SeekFrom::Start(bytes))?;
            Ok((file, bytes))
        };
        let (file, bytes) = open().map_err(|e: std::io::Error| Error::io("write", &path, &e))?;
        Ok(Self { path, file, bytes })
    }

    /// Appends `record` with one call to the system, so that a killed process leaves whole records.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn append(&mut self, record: &[u8]) -> Result<()> {
        self.file.write_all(record).map_err(|e| Error::io("write", &self.path, &e))?;
        self.bytes += record.len() as u64;
        Ok(())
    }

    /// Brings the file to the disk and returns its length in bytes.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn sync(&mut self) -> Result<u64> {
        self.file.sync_data().map_err(|e| Error::io("write", &self.path, &e))?;
        Ok(self.bytes)
    }

    /// The file.
    #[cfg(test)]
    pub fn path(&self) -> &std::path::Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_cut_to_what_the_checkpoint_saw() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut log = Appender::open(path.clone(), 0).unwrap();
        log.append(b"one\n").unwrap();
        let seen = log.sync().unwrap();
        log.append(b"lost\n").unwrap();
        drop(log);
        let mut log = Appender::open(path.clone(), seen).unwrap();
        log.append(b"two\n").unwrap();
        assert_eq!(log.sync().unwrap(), 8);
        assert_eq!(std::fs::read(log.path()).unwrap(), b"one\ntwo\n");
        assert_eq!(Appender::open(path, 100).unwrap().sync().unwrap(), 8);
    }
}
