//! `--choices`: which table of kernels a command takes.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use rir::device::cuda::{self, Chosen, Kernels};
use rir::device::select::Choice;
use rir::device::tuned;
use rir::error::{Error, Result};

use super::output::note;

/// What `--choices` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The file of this card, where there is one.
    Auto,
    /// No table.
    None,
    /// That file.
    File(PathBuf),
}

impl FromStr for Source {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => Self::Auto,
            "none" => Self::None,
            path => Self::File(path.into()),
        })
    }
}

/// A table that holds for the device, and its file. `kernels`: the form that was asked for, which goes before any table.
pub fn find(source: &Source, device: Choice, kernels: Option<Kernels>) -> Result<Option<(PathBuf, Chosen)>> {
    let asked = kernels.filter(|&form| form != Kernels::Auto);
    match (source, device) {
        (Source::File(path), _) if asked.is_some() => Err(Error::usage(format!(
            "--kernels asks for one form and --choices {} for those of a file: leave one of the two out",
            path.display()
        ))),
        (Source::File(_), Choice::Auto | Choice::Cpu) => Err(Error::usage(
            "--choices chooses between CUDA kernels, of which the cpu has none: leave it out, or add --device cuda",
        )),
        (Source::File(path), _) => {
            let chosen = tuned::read(path)?;
            holds(&chosen, device).map_err(|why| {
                Error::usage(format!(
                    "{}: {why}: measure again with rir bench tune, or go without by --choices none",
                    path.display()
                ))
            })?;
            Ok(Some((path.clone(), chosen)))
        }
        (Source::Auto, Choice::Cuda(ordinal)) if asked.is_none() => of_card(ordinal),
        _ => Ok(None),
    }
}

/// The file of a card, as long as it is whole and of this program's kernels; else a note says why it is passed over.
fn of_card(ordinal: usize) -> Result<Option<(PathBuf, Chosen)>> {
    let (own, generation) = cuda::identity(ordinal)?;
    let Some(path) = tuned::path(&own.card, own.driver.as_deref()).filter(|path| path.is_file()) else {
        return Ok(None);
    };
    let pass_over = |path: &Path, why: &str| {
        note(format_args!(
            "note: {}: the choices of kernels are passed over: {why}; rir bench tune measures anew",
            path.display()
        ));
    };
    match tuned::read(&path) {
        Ok(chosen) => match chosen.holds_for(&own.card, &own.kernels_hash, generation) {
            Ok(()) => return Ok(Some((path, chosen))),
            Err(why) => pass_over(&path, &why),
        },
        Err(e) => pass_over(&path, &e.to_string()),
    }
    Ok(None)
}

/// Whether a table holds for a card. Of the emulator the device itself asks when it is made.
fn holds(chosen: &Chosen, device: Choice) -> std::result::Result<(), String> {
    let Choice::Cuda(ordinal) = device else { return Ok(()) };
    let (own, generation) = cuda::identity(ordinal).map_err(|e| e.to_string())?;
    chosen.holds_for(&own.card, &own.kernels_hash, generation)
}
