//! Choices of kernels that `rir bench tune` measured, as files: in the user's cache one for each card and release of its
//! driver.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::cuda::Chosen;
use crate::error::{Error, Result};
use crate::nn::toml::explain;
use crate::train::atomic;

/// Where the choices for a card lie; `None` where there is no folder for it: neither `$RIR_CACHE`, nor
/// `$XDG_CACHE_HOME`, nor a home.
pub fn path(card: &str, driver: Option<&str>) -> Option<PathBuf> {
    let folder = cache(|name| std::env::var_os(name))?;
    Some(folder.join("choices").join(file_name(card, driver)))
}

/// The user's cache: `$RIR_CACHE`, else `$XDG_CACHE_HOME/rir`, else `~/.cache/rir`.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let folder = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    // The specification of XDG_CACHE_HOME has relative paths ignored.
    let xdg = || folder("XDG_CACHE_HOME").filter(|path| path.is_absolute());
    folder("RIR_CACHE")
        .or_else(|| xdg().map(|path| path.join("rir")))
        .or_else(|| folder("HOME").map(|home| home.join(".cache/rir")))
}

/// `nvidia-h100-80gb-hbm3-cuda-13-0.toml`.
fn file_name(card: &str, driver: Option<&str>) -> String {
    let text = [card, driver.unwrap_or_default()].join(" ").to_lowercase();
    let words: Vec<&str> =
        text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|w| !w.is_empty()).collect();
    format!("{}.toml", words.join("-"))
}

/// Reads a file of choices.
///
/// # Errors
/// If it cannot be read, or is none; says where.
pub fn read(path: &Path) -> Result<Chosen> {
    let text = std::fs::read_to_string(path).map_err(|e| Error::io("read", path, &e))?;
    toml::from_str(&text).map_err(|e| Error::usage(explain(&text, &path.display().to_string(), &e)))
}

/// Writes choices, beside those that the file has of the same card and kernels; `command` made them. Gives the number of
/// nodes in the file.
///
/// # Errors
/// If the system refuses.
pub fn store(path: &Path, chosen: &Chosen, command: &str) -> Result<usize> {
    // What is of another card or other kernels, or no such file at all, is of no more use.
    let same = |old: &Chosen| (&old.card, &old.kernels_hash) == (&chosen.card, &chosen.kernels_hash);
    let mut all = chosen.clone();
    if let Some(old) = read(path).ok().filter(same) {
        all.nodes = old.nodes;
        all.nodes.extend(chosen.nodes.clone());
    }
    let day = jiff::Timestamp::now().strftime("%Y-%m-%d");
    let heading = format!(
        "# The kernels that were the fastest here, by `{command}` on {day}.\n# rir train, eval and bench take them on \
         this card, with these kernels; --choices none leaves them out.\n"
    );
    let text =
        toml::to_string(&all).map_err(|e| Error::usage(format!("the choices cannot be written: {e}")))?;
    if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
        std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, &e))?;
    }
    atomic::replace(path, (heading + &text).as_bytes())?;
    Ok(all.nodes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::{Choice, Kernels, Table};

    #[test]
    fn the_cache_is_where_its_user_wants_it() {
        let of = |set: &[(&str, &str)]| {
            cache(|name| set.iter().find(|(own, _)| *own == name).map(|(_, value)| value.into()))
        };
        let all = [("RIR_CACHE", "mine"), ("XDG_CACHE_HOME", "/xdg"), ("HOME", "/home/me")];
        assert_eq!(of(&all), Some("mine".into()));
        assert_eq!(of(&all[1..]), Some("/xdg/rir".into()));
        assert_eq!(of(&all[2..]), Some("/home/me/.cache/rir".into()));
        assert_eq!(of(&[("RIR_CACHE", ""), ("XDG_CACHE_HOME", "relative"), all[2]]), of(&all[2..]));
        assert_eq!(of(&[]), None);
        let name = file_name("NVIDIA H100 80GB HBM3", Some("CUDA 13.0"));
        assert_eq!(name, "nvidia-h100-80gb-hbm3-cuda-13-0.toml");
        assert_eq!(file_name("../x", None), "x.toml");
    }

    #[test]
    fn files_grow_by_nodes_and_begin_anew_with_other_kernels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/choices.toml");
        let chosen = |hash: &str, node: &str, kernels| Chosen {
            card: "a card".into(),
            driver: None,
            kernels_hash: hash.into(),
            nodes: Table::from([(node.into(), Choice::of(kernels))]),
        };
        assert_eq!(store(&path, &chosen("1", "a", Kernels::Mma), "rir bench tune").unwrap(), 1);
        assert_eq!(store(&path, &chosen("1", "b", Kernels::Tiled), "rir bench tune").unwrap(), 2);
        assert_eq!(store(&path, &chosen("1", "a", Kernels::Tiled), "rir bench tune").unwrap(), 2);
        assert_eq!(read(&path).unwrap().nodes["a"], Choice::of(Kernels::Tiled));
        assert_eq!(store(&path, &chosen("2", "c", Kernels::Mma), "rir bench tune").unwrap(), 1);
        assert_eq!(read(&path).unwrap(), chosen("2", "c", Kernels::Mma));
        std::fs::write(&path, "card = 3\n").unwrap();
        let said = read(&path).unwrap_err().to_string();
        assert!(said.contains("choices.toml, line 1"), "{said}");
    }
}
