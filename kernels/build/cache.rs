//! What was compiled once is kept in the target directory under a name made of all that it was compiled from, so it
//! outlives `cargo clean -p`, profiles and changes of branch.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

/// What no build has asked for during this long is deleted.
const KEPT: Duration = Duration::from_secs(14 * 24 * 3600);

/// A name for content: FNV-1a in 128 bits, each part preceded by its length.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Key(u128);

impl Key {
    pub fn new() -> Self {
        Self(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }
    pub fn with(self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        let bytes = (part.len() as u64).to_le_bytes().into_iter().chain(part.iter().copied());
        Self(bytes.fold(self.0, |hash, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b)
        }))
    }
    fn hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `kernels` in the target directory that holds `out`, Cargo's folder for this crate's build script.
    pub fn open(target: &Path) -> Result<Self, String> {
        let root = target.join("kernels");
        fs::create_dir_all(&root).map_err(|e| format!("cannot create {}: {e}", root.display()))?;
        let cache = Self { root };
        cache.prune();
        Ok(cache)
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where the content of `key` is kept; `None` if it is not.
    pub fn find(&self, key: Key, extension: &str) -> Option<PathBuf> {
        let path = self.path(key, extension);
        // A file that is in use is never old, and one that cannot be touched can be read all the same.
        let file = fs::File::options().append(true).open(&path).ok()?;
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// Keeps `bytes` under `key`.
    pub fn keep(&self, key: Key, extension: &str, bytes: &[u8]) -> Result<PathBuf, String> {
        let path = self.path(key, extension);
        write_whole(&path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))?;
        Ok(path)
    }

    /// A folder of its own for one run of a compiler.
    pub fn scratch(&self) -> Result<Scratch, String> {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        let n = NEXT.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(format!("scratch-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).map_err(|e| format!("cannot create {}: {e}", path.display()))?;
        Ok(Scratch(path))
    }

    fn path(&self, key: Key, extension: &str) -> PathBuf {
        self.root.join(format!("{}.{extension}", key.hex()))
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let old = entry
                .metadata()
                .and_then(|m| m.modified())
                .is_ok_and(|modified| modified.elapsed().is_ok_and(|age| age > KEPT));
            if old {
                // Another build may have been quicker; the folder of a compiler that was killed goes too.
                let _ = fs::remove_file(entry.path()).or_else(|_| fs::remove_dir_all(entry.path()));
            }
        }
    }
}

/// A folder that is deleted with this value.
pub struct Scratch(PathBuf);

impl Scratch {
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Writes beside the target and renames, so that a build at the same time sees all or nothing.
fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension(format!("tmp{}", std::process::id()));
    fs::write(&beside, bytes)?;
    fs::rename(beside, path)
}

/// Writes `bytes` unless they are there already: a file that does not change makes Cargo rebuild nothing.
pub fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<(), String> {
    if fs::read(path).is_ok_and(|old| old == bytes) {
        return Ok(());
    }
    write_whole(path, bytes).map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// `f` of every item, on as many threads as Cargo was told to use; results in the items' order.
pub fn in_parallel<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let jobs = std::env::var("NUM_JOBS").ok().and_then(|n| n.parse().ok()).unwrap_or(1_usize);
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((n, item)) =
            Some(next.fetch_add(1, Ordering::Relaxed)).and_then(|n| Some((n, items.get(n)?)))
        {
            done.push((n, f(item)));
        }
        done
    };
    let mut results: Vec<(usize, R)> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..jobs.clamp(1, items.len().max(1))).map(|_| scope.spawn(work)).collect();
        threads.into_iter().flat_map(|t| t.join().expect("a compiler's thread does not panic")).collect()
    });
    results.sort_by_key(|(n, _)| *n);
    results.into_iter().map(|(_, result)| result).collect()
}
