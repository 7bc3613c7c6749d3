//! Replacing a file so that at every moment either the old contents or the new lie there, whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// A file that can be written and brought to the disk.
pub(super) trait Sink: Write {
    /// Returns once everything written is on the disk.
    fn sync(&mut self) -> io::Result<()>;
}

impl Sink for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

/// Replaces the file at `path` by `bytes`: written beside it, brought to the disk, renamed, and the folder brought to
/// the disk.
///
/// # Errors
/// If the system refuses a part of it; the old file is then as it was, and nothing is left beside it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    replace_with(path, bytes, |temporary| File::create(temporary))
}

/// [`replace`] through a writer of the caller's.
fn replace_with<S: Sink>(
    path: &Path,
    bytes: &[u8],
    create: impl FnOnce(&Path) -> io::Result<S>,
) -> Result<()> {
    let temporary = temporary(path);
    let written = create(&temporary)
        .and_then(|mut sink| sink.write_all(bytes).and_then(|()| sink.sync()))
        .and_then(|()| fs::rename(&temporary, path));
    if let Err(e) = written {
        // Best effort: the error that matters is the first.
        let _ = fs::remove_file(&temporary);
        return Err(Error::io("write", path, &e));
    }
    sync_folder(path).map_err(|e| Error::io("write", path, &e))
}

/// Where a file is written before it takes its name; per process, so that two never write to one.
fn temporary(path: &Path) -> PathBuf {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    path.with_file_name(format!(".{name}.{}.tmp", std::process::id()))
}

/// A rename is on the disk once its folder is.
#[cfg(unix)]
fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

/// Windows writes the names of a folder through.
#[cfg(not(unix))]
fn sync_folder(_: &Path) -> io::Result<()> {
    Ok(())
}

/// Removes what processes that were killed while writing left in `folder`; call it only where no other process
/// writes.
pub(super) fn remove_leftovers(folder: &Path) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with('.') && name.ends_with(".tmp") {
            // Best effort: a leftover that stays costs space only.
            let _ = fs::remove_file(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk that has room for so many bytes, or fails when it is synced.
    struct Full {
        file: File,
        room: usize,
        sync_fails: bool,
    }

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let fits = bytes.len().min(self.room);
            if fits == 0 {
                return Err(io::Error::from(io::ErrorKind::StorageFull));
            }
            self.room -= fits;
            self.file.write(&bytes[..fits])
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Sink for Full {
        fn sync(&mut self) -> io::Result<()> {
            if self.sync_fails { Err(io::Error::from(io::ErrorKind::StorageFull)) } else { Ok(()) }
        }
    }

    #[test]
    fn a_full_disk_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        replace(&path, b"old").unwrap();
        for (room, sync_fails) in [(0, false), (1, false), (7, false), (100, true)] {
            let error = replace_with(&path, b"new bytes", |temporary| {
                Ok(Full { file: File::create(temporary)?, room, sync_fails })
            })
            .unwrap_err();
            assert_eq!(error.kind(), crate::error::Kind::Io);
            assert!(error.to_string().contains("checkpoint.safetensors"), "{error}");
            assert_eq!(fs::read(&path).unwrap(), b"old");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        }
        replace(&path, b"new bytes").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new bytes");
    }

    #[test]
    fn leftovers_go_and_all_else_stays() {
        let folder = tempfile::tempdir().unwrap();
        for name in [".checkpoint.safetensors.123.tmp", ".hidden", "notes.tmp", "checkpoint.safetensors"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        remove_leftovers(folder.path());
        let mut left: Vec<_> = fs::read_dir(folder.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, [".hidden", "checkpoint.safetensors", "notes.tmp"]);
    }
}
