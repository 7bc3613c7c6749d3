//! `rir bench tune`: measures every choice of kernels, and keeps the fastest in a file.

use std::path::{Path, PathBuf};

use rir::bench::report::Findings;
use rir::bench::{Bench, Network, tune};
use rir::device::cuda::{self, Chosen};
use rir::device::select::Choice;
use rir::device::tuned;
use rir::error::{Error, Result};
use rir::text::counted;

use crate::cli::choices::Source;
use crate::cli::setup::Machine;

/// What is tuned, and where the winners go.
pub struct Tune {
    pub networks: Vec<Network>,
    /// For whom they hold, and their file; none where nothing is written.
    pub store: Option<(Chosen, PathBuf)>,
}

/// # Errors
/// If this device has nothing to choose, or flags do not suit each other.
pub fn agree(machine: &Machine, store: Option<&Path>, device: Choice) -> Result<()> {
    let wrong = match (device, &machine.choices) {
        (Choice::Auto | Choice::Cpu, _) => {
            "tune chooses between CUDA kernels: it needs --device cuda, or --device emu for a rehearsal"
        }
        (_, Some(Source::File(_))) => "tune measures every choice of kernels: leave out --choices",
        (Choice::Emu, _) if store.is_some() => {
            "the emulator has no clock, so its rehearsal finds nothing to store: leave out --store"
        }
        _ => return Ok(()),
    };
    Err(Error::usage(wrong))
}

impl Tune {
    /// # Errors
    /// If there is no place for the winners.
    pub fn new(networks: Vec<Network>, store: Option<&Path>, device: Choice) -> Result<Self> {
        let Choice::Cuda(ordinal) = device else { return Ok(Self { networks, store: None }) };
        let (own, _) = cuda::identity(ordinal)?;
        let usual = || tuned::path(&own.card, own.driver.as_deref());
        let path = store.map(Path::to_path_buf).or_else(usual).ok_or_else(|| {
            Error::usage(
                "there is no folder for the choices of this card: set RIR_CACHE to one, or give --store FILE",
            )
        })?;
        // Before anything is measured in vain.
        if let Some(folder) = path.parent().filter(|folder| *folder != Path::new("")) {
            std::fs::create_dir_all(folder).map_err(|e| Error::io("create the folder", folder, &e))?;
        }
        Ok(Self { networks, store: Some((own, path)) })
    }

    /// Measures, writes the winners, and says where.
    ///
    /// # Errors
    /// As [`tune::tune`], or if the file cannot be written.
    pub fn run(&self, bench: &Bench<'_>, filter: Option<&str>, command: &str) -> Result<Findings> {
        let tune::Tuned { mut findings, table } =
            tune::tune(bench, &self.networks, filter, self.store.is_none())?;
        if let (Some((own, path)), false) = (&self.store, table.is_empty()) {
            let found = table.len();
            let nodes = tuned::store(path, &Chosen { nodes: table, ..own.clone() }, command)?;
            findings.table += &format!(
                "\n{} written to {}, which has {nodes} now; rir train, eval and bench {}\n",
                counted(found as u64, "choice"),
                path.display(),
                match tuned::path(&own.card, own.driver.as_deref()).as_ref() == Some(path) {
                    true => "take them on this card from now on; --choices none leaves them out".to_owned(),
                    false => format!("take them with --choices {}", path.display()),
                }
            );
        }
        Ok(findings)
    }
}
