//! Kernels with a fault in them, as a shared library.

#[allow(dead_code)]
#[path = "../../kernels/build/cache.rs"]
mod cache;
#[allow(dead_code)]
#[path = "../../kernels/build/sources.rs"]
mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cache::Key;
use sources::Family;

use crate::faults::Fault;

/// What is compiled again to show that this changes nothing.
const CONTROL: [&str; 3] = ["batch_norm", "conv2d_tiled_forward", "step"];

/// Copies the kernels to `folder`, plants the fault, if any, and links what it changes with the rest of the build's
/// emulator. Without a fault a few families are compiled as they are.
///
/// # Errors
/// A fault whose text is not there exactly once, or that does not compile: a sentence that says so.
pub fn build(folder: &Path, fault: Option<&Fault>) -> Result<PathBuf, String> {
    let kernels = folder.join("kernels");
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels"), &kernels)?;
    let families = sources::families(&kernels)?;
    let changed: Vec<&Family> = match fault {
        None => families.iter().filter(|family| CONTROL.contains(&family.id.as_str())).collect(),
        Some(fault) => {
            let before = contents(&families, &kernels)?;
            replace(&kernels.join(fault.file), fault)?;
            let after = contents(&families, &kernels)?;
            let differ = before.iter().zip(&after).map(|(before, after)| before != after);
            let changed =
                families.iter().zip(differ).filter(|(_, differs)| *differs).map(|(family, _)| family);
            let changed: Vec<&Family> = changed.collect();
            if let Some(stray) = fault.families.iter().find(|id| !changed.iter().any(|f| f.id == **id)) {
                return Err(format!("{} changes no family {stray}", fault.file));
            }
            let wanted = |f: &&Family| fault.families.is_empty() || fault.families.contains(&f.id.as_str());
            let wanted: Vec<&Family> = changed.into_iter().filter(wanted).collect();
            if fault.kernels.is_empty() { wanted } else { with_kernels(wanted, fault.kernels)? }
        }
    };
    let objects = changed.iter().map(|f| compile(f, &kernels, folder)).collect::<Result<Vec<_>, String>>()?;
    let library = folder.join("kernels.so");
    // What is linked first prevails where families share an inline function.
    let mut link = Command::new(env!("RIR_EMU_CXX"));
    link.arg("-shared").arg("-o").arg(&library).args(objects);
    for object in fs::read_dir(env!("RIR_EMU_OBJECTS")).map_err(|e| e.to_string())?.flatten() {
        let replaced = |family: &&Family| object.path().file_stem().is_some_and(|stem| *stem == *family.id);
        if !changed.iter().any(replaced) {
            link.arg(object.path());
        }
    }
    // Else its kernels would report their accesses to the emulator that this test is linked with.
    if cfg!(not(target_os = "macos")) {
        link.arg("-Wl,-Bsymbolic");
    }
    run(link.arg("-lpthread"))?;
    Ok(library)
}

/// What each family is compiled from, as one number.
fn contents(families: &[Family], kernels: &Path) -> Result<Vec<Key>, String> {
    families.iter().map(|f| sources::key(Key::new(), &f.path, kernels, None)).collect()
}

fn replace(path: &Path, fault: &Fault) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    let found = text.matches(fault.find).count();
    if found != 1 {
        return Err(format!(
            "its text is {found} times in kernels/{}, and must be there once: \
             bring the fault in line with the kernel",
            fault.file
        ));
    }
    fs::write(path, text.replace(fault.find, fault.put))
        .map_err(|e| format!("cannot write {}: {e}", path.display()))
}

/// Those of the families that export one of these kernels, whose other exports are struck out: of a dozen instances of
/// a template, one alone compiles in a fraction of the time.
fn with_kernels<'a>(families: Vec<&'a Family>, kernels: &[&str]) -> Result<Vec<&'a Family>, String> {
    let mut having = Vec::new();
    for family in families {
        let failed = |e: std::io::Error| format!("cannot rewrite {}: {e}", family.path.display());
        let (mut kept, mut has, mut struck) = (String::new(), false, false);
        for line in fs::read_to_string(&family.path).map_err(failed)?.lines() {
            // An export's further lines are indented.
            if line.starts_with("RIR_KERNEL") {
                let name = line.split(['(', ',']).nth(1);
                struck = !name.is_some_and(|name| kernels.contains(&name));
                has |= !struck;
            } else if !line.starts_with(' ') {
                struck = false;
            }
            kept.push_str(if struck { "" } else { line });
            kept.push('\n');
        }
        if has {
            fs::write(&family.path, kept).map_err(failed)?;
            having.push(family);
        }
    }
    if having.is_empty() {
        return Err(format!("no changed family exports any of {kernels:?}"));
    }
    Ok(having)
}

fn compile(family: &Family, kernels: &Path, folder: &Path) -> Result<PathBuf, String> {
    let object = folder.join(&family.id).with_extension("o");
    let mut command = Command::new(env!("RIR_EMU_CXX"));
    command.args(env!("RIR_EMU_FLAGS").split('\u{1f}')).arg(format!("-DRIR_FAMILY={}", family.id));
    run(command.arg("-I").arg(kernels).arg("-c").arg(&family.path).arg("-o").arg(&object))?;
    Ok(object)
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|e| e.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}:\n{}", String::from_utf8_lossy(&output.stderr)))
}

fn copy(from: &Path, to: &Path) -> Result<(), String> {
    let failed = |e: std::io::Error| format!("cannot copy {} to {}: {e}", from.display(), to.display());
    fs::create_dir_all(to).map_err(failed)?;
    for entry in fs::read_dir(from).map_err(failed)?.flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target).map_err(failed)?;
        }
    }
    Ok(())
}
