//! Which kernels there are, and what each is compiled from.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use super::cache::Key;

/// One `.cu` file: kernels that are compiled together and loaded as one module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// Its path below `kernels/` without extension, `/` and `-` as `_`.
    pub id: String,
    pub path: PathBuf,
    /// The architectures that its first line names (`// architectures: 90a`); `None`: all.
    pub architectures: Option<Vec<String>>,
}

/// Every family below `kernels`, by name.
pub fn families(kernels: &Path) -> Result<Vec<Family>, String> {
    let mut paths = Vec::new();
    for entry in read_dir(kernels)? {
        // The emulator's own folder, and this one, hold no kernels.
        if entry.is_dir() && !["emu", "build"].iter().any(|name| entry.ends_with(name)) {
            walk(&entry, &mut paths)?;
        } else if entry.is_file() {
            paths.push(entry);
        }
    }
    paths.retain(|path| path.extension().is_some_and(|e| e == "cu"));
    let mut families = paths
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(kernels).expect("found below it").with_extension("");
            let id = below.to_string_lossy().replace(['/', '\\', '-'], "_");
            let architectures = marker(&read(&path)?);
            Ok(Family { id, path, architectures })
        })
        .collect::<Result<Vec<_>, String>>()?;
    families.sort_by(|a, b| a.id.cmp(&b.id));
    if let Some(twice) = families.windows(2).find(|pair| pair[0].id == pair[1].id) {
        let [a, b] = [&twice[0].path, &twice[1].path].map(|p| p.display());
        return Err(format!("{a} and {b} have one identifier, {}: rename one", twice[0].id));
    }
    Ok(families)
}

/// The architectures that a first line like `// architectures: 90a, 120` names.
pub fn marker(text: &str) -> Option<Vec<String>> {
    let listed = text.lines().next()?.strip_prefix("// architectures:")?;
    Some(listed.split(',').map(|a| a.trim().to_owned()).collect())
}

/// The files with `extension` directly in `folder`, by name.
pub fn files(folder: &Path, extension: &str) -> Result<Vec<PathBuf>, String> {
    let mut files = read_dir(folder)?;
    files.retain(|path| path.is_file() && path.extension().is_some_and(|e| e == extension));
    Ok(files)
}

/// `key` and the contents of `source` and of all that it includes by `#include "..."`, however deep, from its own
/// folder or from `kernels`. Which side of an `#if` is compiled is not looked at; what lies below `except` is left out.
pub fn key(key: Key, source: &Path, kernels: &Path, except: Option<&Path>) -> Result<Key, String> {
    let mut seen = BTreeSet::from([source.to_owned()]);
    let mut waiting = vec![source.to_owned()];
    while let Some(path) = waiting.pop() {
        for included in includes(&read(&path)?) {
            let found = [path.parent().unwrap_or(kernels), kernels]
                .map(|folder| normal(&folder.join(included)))
                .into_iter()
                .find(|candidate| candidate.is_file());
            if let Some(found) = found
                && !except.is_some_and(|folder| found.starts_with(folder))
                && seen.insert(found.clone())
            {
                waiting.push(found);
            }
        }
    }
    seen.iter().try_fold(key, |key, path| {
        let below = path.strip_prefix(kernels).unwrap_or(path);
        Ok(key.with(below.to_string_lossy().as_bytes()).with(read(path)?))
    })
}

fn includes(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter_map(|line| {
        let rest = line.trim_start().strip_prefix('#')?.trim_start().strip_prefix("include")?;
        rest.trim_start().strip_prefix('"')?.split('"').next()
    })
}

/// `a/../b` as `b`, so that one file has one path.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut out, part| {
        if part.as_os_str() == ".." {
            out.pop();
        } else {
            out.push(part);
        }
        out
    })
}

/// Every file below `folder`.
pub fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<(), String> {
    for entry in read_dir(folder)? {
        if entry.is_dir() {
            walk(&entry, paths)?;
        } else {
            paths.push(entry);
        }
    }
    Ok(())
}

/// What lies in `folder`, by name.
pub fn read_dir(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let failed = |e| format!("cannot read {}: {e}", folder.display());
    let mut paths = fs::read_dir(folder)
        .and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    paths.sort();
    Ok(paths)
}

fn read(path: &Path) -> Result<String, String> {
    fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))
}
