//! What was built: the commit, and a hash of all that a card's speed depends on. Both are files that the crate includes.

use std::path::{Path, PathBuf};
use std::process::Command;

use sha2::{Digest, Sha256};

use super::cache::write_if_changed;

/// What the library is compiled from. The command line is left out: it computes nothing, and a change of it alone then
/// compiles nothing but itself.
const SOURCES: [&str; 5] = ["src", "kernels", "build.rs", "Cargo.toml", "Cargo.lock"];
const COMMAND_LINE: [&str; 2] = ["src/cli", "src/main.rs"];

/// Writes `commit` and `kernels_hash` to `out`.
///
/// # Errors
/// If a source cannot be read, or a file not written.
pub fn write(manifest: &Path, out: &Path) -> Result<(), String> {
    watch(manifest)?;
    write_if_changed(&out.join("commit"), commit(manifest).as_bytes())?;
    write_if_changed(&out.join("kernels_hash"), kernels_hash(manifest)?.as_bytes())
}

/// Has Cargo run this script again when a source of the library changed, which it compiles anew anyway.
fn watch(manifest: &Path) -> Result<(), String> {
    let entries = super::sources::read_dir(&manifest.join("src"))?;
    let sources = entries.iter().filter(|path| !COMMAND_LINE.iter().any(|own| path.ends_with(own)));
    for path in sources.cloned().chain(SOURCES[1..].iter().map(|name| manifest.join(name))) {
        println!("cargo:rerun-if-changed={}", path.display());
    }
    Ok(())
}

/// The commit that the sources are of, with `-dirty` where they differ from it; `unknown` without git.
fn commit(manifest: &Path) -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").arg("-C").arg(manifest).args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    // A package that was unpacked below somebody else's repository is not of that.
    let tracked = git(&["ls-files", "--error-unmatch", "build.rs"]);
    let (Some(_), Some(head)) = (tracked, git(&["rev-parse", "--short=12", "HEAD"])) else {
        return "unknown".to_owned();
    };
    let excluded = COMMAND_LINE.map(|path| format!(":(exclude){path}"));
    let mut status = vec!["status", "--porcelain", "--"];
    status.extend(SOURCES);
    status.extend(excluded.iter().map(String::as_str));
    if git(&status).is_some_and(|changed| changed.is_empty()) {
        return head;
    }
    // The next commit may be of just these sources: only then is it worth another build.
    if let Some(log) = git(&["rev-parse", "--git-path", "logs/HEAD"]) {
        let log = manifest.join(log);
        if log.is_file() {
            println!("cargo:rerun-if-changed={}", log.display());
        }
    }
    format!("{head}-dirty")
}

/// SHA-256 over the kernels and the launch code: of each file, by path, its path below the crate, its length and its
/// bytes. Neither the emulator's runtime nor tests nor documentation are in it: no card runs them.
fn kernels_hash(manifest: &Path) -> Result<String, String> {
    let mut files = Vec::new();
    for folder in ["kernels", "src/device/cuda"] {
        super::sources::walk(&manifest.join(folder), &mut files)?;
    }
    let left_out = ["kernels/emu", "kernels/tests", "kernels/build", "src/device/cuda/emulator.rs"];
    files.retain(|path: &PathBuf| {
        let code = path.extension().is_some_and(|e| ["cu", "cuh", "rs"].iter().any(|code| e == *code));
        code && !left_out.iter().any(|part| path.starts_with(manifest.join(part)))
    });
    files.sort();
    let mut hash = Sha256::new();
    for path in files {
        let bytes = std::fs::read(&path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
        let below = path.strip_prefix(manifest).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        hash.update(format!("{below} {}\n", bytes.len()));
        hash.update(&bytes);
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}
