//! Reading a few named files out of a `.tar.gz`, in memory.
//!
//! Nothing is ever written, so no path in an archive can reach the file system; links are not followed; and
//! what is unpacked is counted, so that a small file cannot fill the memory.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::{Component, Path};

use flate2::read::MultiGzDecoder;

use crate::error::{Error, Result};

/// Whether the file at `path` begins as a gzip archive does.
pub(super) fn is_gzip(path: &Path) -> bool {
    let mut magic = [0; 2];
    File::open(path).and_then(|mut file| file.read_exact(&mut magic)).is_ok() && magic == [0x1f, 0x8b]
}

/// The regular files in the archive at `path` whose last component `wanted` accepts, by that component.
///
/// # Errors
/// When the archive cannot be read, is damaged, holds a wanted file twice, or unpacks to more than `limit`
/// bytes.
pub(super) fn read(
    path: &Path,
    limit: u64,
    wanted: impl Fn(&str) -> bool,
) -> Result<BTreeMap<String, Vec<u8>>> {
    let file = File::open(path).map_err(|error| Error::io("open", path, &error))?;
    let damaged = |error: io::Error| {
        Error::data(format!(
            "{}: {error}; the archive is damaged or no CIFAR archive: fetch it again",
            path.display()
        ))
    };
    let unpacked = Limited { inner: MultiGzDecoder::new(BufReader::new(file)), limit, left: limit };
    let mut archive = tar::Archive::new(unpacked);
    let mut files = BTreeMap::new();
    for entry in archive.entries().map_err(damaged)? {
        let mut entry = entry.map_err(damaged)?;
        let Some(name) = plain_name(&entry).filter(|name| wanted(name)) else { continue };
        let mut bytes = Vec::new();
        let size = entry.size();
        entry.read_to_end(&mut bytes).map_err(damaged)?;
        if bytes.len() as u64 != size {
            return Err(damaged(io::Error::other(format!(
                "{name} ends after {} of {size} bytes",
                bytes.len()
            ))));
        }
        if files.insert(name.clone(), bytes).is_some() {
            return Err(damaged(io::Error::other(format!("it holds {name} twice"))));
        }
    }
    Ok(files)
}

/// The last component of a regular file's path, where that path stays inside the archive.
fn plain_name(entry: &tar::Entry<impl Read>) -> Option<String> {
    let path = entry.path().ok()?;
    let inside = path.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    let regular = entry.header().entry_type().is_file();
    (inside && regular).then(|| path.file_name().map(|name| name.to_string_lossy().into_owned())).flatten()
}

/// A reader that fails beyond a limit.
struct Limited<R> {
    inner: R,
    limit: u64,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.left = self.left.checked_sub(count as u64).ok_or_else(|| {
            io::Error::other(format!("it unpacks to more than the {} bytes that CIFAR needs", self.limit))
        })?;
        Ok(count)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    /// A `.tar.gz` of regular files.
    pub fn pack(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut tar = tar::Builder::new(vec![]);
        for (name, bytes) in files {
            append(&mut tar, name, tar::EntryType::Regular, bytes);
        }
        gzip(&tar.into_inner().unwrap())
    }

    /// An entry whose name is written as it is, `..` and all.
    fn append(tar: &mut tar::Builder<Vec<u8>>, name: &str, kind: tar::EntryType, bytes: &[u8]) {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        if !kind.is_file() {
            header.set_link_name("/etc/passwd").unwrap();
        }
        header.set_cksum();
        tar.append(&header, bytes).unwrap();
    }

    pub fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(vec![], Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn read_bytes(bytes: &[u8], limit: u64) -> Result<BTreeMap<String, Vec<u8>>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.tar.gz");
        std::fs::write(&path, bytes).unwrap();
        let result = read(&path, limit, |name| ["a", "b"].contains(&name));
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["x.tar.gz"], "reading writes nothing");
        result
    }

    #[test]
    fn only_wanted_regular_files_inside_the_archive_are_read() {
        let mut tar = tar::Builder::new(vec![]);
        append(&mut tar, "set/a", tar::EntryType::Regular, b"one");
        append(&mut tar, "set/c", tar::EntryType::Regular, b"unwanted");
        append(&mut tar, "../a", tar::EntryType::Regular, b"climbs");
        append(&mut tar, "/a", tar::EntryType::Regular, b"absolute");
        append(&mut tar, "set/b", tar::EntryType::Symlink, b"");
        append(&mut tar, "other/b", tar::EntryType::Link, b"");
        let files = read_bytes(&gzip(&tar.into_inner().unwrap()), 1 << 20).unwrap();
        assert_eq!(files, BTreeMap::from([("a".into(), b"one".to_vec())]));
    }

    #[test]
    fn a_bomb_is_stopped_by_the_limit() {
        let zeros = vec![0; 4 << 20];
        for name in ["set/a", "unwanted"] {
            let error = read_bytes(&pack(&[(name, &zeros)]), 1 << 20).unwrap_err().to_string();
            assert!(error.contains("more than the 1048576 bytes"), "{error}");
        }
        // A header that promises more than the archive holds.
        let mut header = tar::Header::new_gnu();
        header.set_path("a").unwrap();
        header.set_size(1 << 40);
        header.set_cksum();
        assert!(read_bytes(&gzip(header.as_bytes()), 1 << 20).is_err());
    }

    #[test]
    fn damage_is_told() {
        let good = pack(&[("a", b"one"), ("a", b"two")]);
        assert!(read_bytes(&good, 1 << 20).unwrap_err().to_string().contains("holds a twice"));
        for bad in [&good[..good.len() / 2], b"", b"not gzip at all"] {
            assert!(read_bytes(bad, 1 << 20).unwrap_err().to_string().contains("fetch it again"));
        }
    }

    proptest::proptest! {
        #[test]
        fn a_damaged_archive_is_read_or_refused(
            at in proptest::prelude::any::<proptest::sample::Index>(), kind in 0..4, byte in 0u8..
        ) {
            let mut bytes = pack(&[("set/a", b"some text, some text, some text"), ("b", &[7; 700])]);
            let at = at.index(bytes.len());
            match kind {
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
            if let Err(error) = read_bytes(&bytes, 1 << 20) {
                assert_eq!(error.kind(), crate::error::Kind::Data);
            }
        }
    }
}
