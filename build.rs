//! Compiles the kernels: for this machine's processor, as the emulator runs them, and by nvcc, where there is one, for
//! cards; and records what was built. Asks for no card and downloads nothing; without either compiler the crate builds
//! and says what it lacks.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[path = "kernels/build/cache.rs"]
mod cache;
#[path = "kernels/build/cuda.rs"]
mod cuda;
#[path = "kernels/build/emulator.rs"]
mod emulator;
#[path = "kernels/build/identity.rs"]
mod identity;
#[path = "kernels/build/nvcc.rs"]
mod nvcc;
#[path = "kernels/build/ptxas.rs"]
mod ptxas;
#[path = "kernels/build/sources.rs"]
mod sources;

fn main() -> ExitCode {
    match build() {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::FAILURE
        }
    }
}

fn build() -> Result<(), String> {
    let [manifest, out] = ["CARGO_MANIFEST_DIR", "OUT_DIR"]
        .map(|name| PathBuf::from(std::env::var_os(name).expect("Cargo sets it for build scripts")));
    let kernels = manifest.join("kernels");
    identity::write(&manifest, &out)?;
    println!("cargo:rustc-check-cfg=cfg(rir_emu, rir_emu_sanitized, rir_cuda, rir_cuobjdump)");

    let families = sources::families(&kernels)?;
    let target = target_directory(&out);
    let cache = cache::Cache::open(target)?;
    match emulator::build(&kernels, &families, &cache, &out)? {
        emulator::Built::Emulator => println!("cargo:rustc-cfg=rir_emu"),
        emulator::Built::Not(reason) => reason.into_iter().for_each(|r| println!("cargo:warning={r}")),
    }
    let places = cuda::Places { manifest: &manifest, kernels: &kernels, target, out: &out };
    if cuda::build(&places, &families, &cache)? {
        println!("cargo:rustc-cfg=rir_cuda");
    }
    Ok(())
}

/// The target directory: Cargo marks it by a file, and puts this script's folder four below.
fn target_directory(out: &Path) -> &Path {
    let marked = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    marked.or_else(|| out.ancestors().nth(4)).unwrap_or(out)
}
