//! `rir devices`: what there is to run on.

use std::collections::BTreeSet;

use rir::device::cuda;
use rir::device::cuda::images::images;
use rir::device::select::Choice;
use rir::error::Result;
use rir::text::bytes;
use rir::version::{COMMIT, KERNELS_HASH};
use serde::Serialize;

use super::output::Output;

/// List what can train: the processor, and the CUDA cards that the driver shows
#[derive(clap::Args)]
#[command(after_help = "Examples:
  rir devices
  rir devices --json")]
pub struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Devices {
    cpu: Processor,
    /// `null` without a driver.
    cuda: Option<Vec<cuda::Card>>,
    /// Why the cards could not be listed, or the first one not be used.
    cuda_error: Option<String>,
    /// What this build's kernels were compiled for; empty where it holds none.
    cuda_kernels: Vec<String>,
    /// Whether this build can run the kernels on the processor.
    emulator: bool,
    /// What `--device auto` is.
    auto: String,
    /// The commit of this program's sources.
    commit: &'static str,
    /// Of its kernels and the code that launches them.
    kernels_hash: &'static str,
}

#[derive(Serialize)]
struct Processor {
    threads: usize,
    features: Vec<&'static str>,
}

pub fn run(args: Args, out: &mut Output) -> Result<()> {
    let (cuda, cuda_error) = match cuda::cards() {
        Ok(cards) => (cards, cuda::check(0).err().map(|e| e.to_string())),
        Err(e) => (None, Some(e.to_string())),
    };
    let cpu = Processor { threads: rayon::current_num_threads(), features: features() };
    let emulator = cuda::check_emulator().is_ok();
    let auto = Choice::Auto.resolve().to_string();
    let devices = Devices {
        cpu,
        cuda,
        cuda_error,
        cuda_kernels: architectures(),
        emulator,
        auto,
        commit: COMMIT,
        kernels_hash: KERNELS_HASH,
    };
    if args.json {
        return out.json(&devices);
    }
    let Processor { threads, features } = &devices.cpu;
    let plural = if *threads == 1 { "" } else { "s" };
    out.line(format_args!("cpu      {threads} thread{plural}; {}", features.join(", ")))?;
    match (&devices.cuda, &devices.cuda_error) {
        (None, None) => {}
        (None, Some(e)) => out.line(format_args!("cuda     {e}"))?,
        (Some(cards), _) => {
            for card in cards {
                let (major, minor) = card.capability;
                out.line(format_args!(
                    "cuda:{:<3} {}, {}, compute capability {major}.{minor}",
                    card.ordinal,
                    card.name,
                    bytes(card.memory as u64)
                ))?;
            }
            if let Some(e) = &devices.cuda_error {
                out.line(format_args!("         {e}"))?;
            }
        }
    }
    match devices.cuda_kernels.join(", ") {
        none if none.is_empty() => {
            out.line("kernels  none for cards: kernels/get-nvcc.sh fetches nvcc, then build again")?;
        }
        all => out.line(format_args!("kernels  {all}"))?,
    }
    let emu =
        if emulator { "the CUDA kernels on the processor, for checking them" } else { "not in this build" };
    out.line(format_args!("emu      {emu}"))?;
    out.line(format_args!("built    from commit {COMMIT}, kernels {:.12}", KERNELS_HASH))?;
    out.line(format_args!("\n--device auto is {} here.", devices.auto))
}

/// What this build's kernels were compiled for, such as `sm_90a`.
fn architectures() -> Vec<String> {
    let all: BTreeSet<String> = images().all.iter().map(|image| image.architecture.to_string()).collect();
    all.into_iter().collect()
}

/// The vector extensions that matrix products choose between.
fn features() -> Vec<&'static str> {
    let mut found = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        let known = [
            ("avx2", std::arch::is_x86_feature_detected!("avx2")),
            ("fma", std::arch::is_x86_feature_detected!("fma")),
            ("avx512f", std::arch::is_x86_feature_detected!("avx512f")),
            ("avx512bf16", std::arch::is_x86_feature_detected!("avx512bf16")),
        ];
        found.extend(known.iter().filter(|(_, present)| *present).map(|(name, _)| *name));
    }
    #[cfg(target_arch = "aarch64")]
    if std::arch::is_aarch64_feature_detected!("neon") {
        found.push("neon");
    }
    found
}
