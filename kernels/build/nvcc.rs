//! nvcc: where it is, what it can compile for, and what its failures mean.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, Key};

/// No `--use_fast_math`: division, square roots and exponentials stay what the reference computes.
pub const FLAGS: [&str; 4] = ["-std=c++20", "-O3", "-Xptxas", "-v"];

/// The first release that compiles C++20, and for sm_90a.
const OLDEST: (u32, u32) = (12, 0);

/// An nvcc that works.
pub struct Nvcc {
    path: PathBuf,
    /// Its own words, by which cached images are told apart.
    pub words: Vec<u8>,
    pub release: (u32, u32),
}

/// Why there are no kernels for cards.
pub enum Lack {
    /// There is no nvcc.
    Missing,
    /// There is one that does not do, and a sentence on it.
    Unfit(String),
}

impl Nvcc {
    /// A tool of the same toolkit, if it is there.
    pub fn beside(&self, tool: &str) -> Option<PathBuf> {
        Some(self.path.with_file_name(tool)).filter(|path| path.is_file())
    }

    /// `NVCC`, where it is set; else the first that does of `CUDA_HOME`, `CUDA_PATH`, `PATH`, `/usr/local/cuda`, and
    /// what `get-nvcc.sh` left in `folders`.
    pub fn find(folders: &[PathBuf], cache: &Cache) -> Result<Self, Lack> {
        for name in
            ["NVCC", "CUDA_HOME", "CUDA_PATH", "NVCC_CCBIN", "NVCC_PREPEND_FLAGS", "NVCC_APPEND_FLAGS"]
        {
            println!("cargo:rerun-if-env-changed={name}");
        }
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let candidates: Vec<PathBuf> = if let Some(nvcc) = set("NVCC") {
            vec![nvcc]
        } else {
            let homes = [set("CUDA_HOME"), set("CUDA_PATH")].into_iter().flatten();
            let path: Vec<_> = std::env::var_os("PATH").iter().flat_map(std::env::split_paths).collect();
            let fetched = folders.iter().map(|folder| folder.join("bin"));
            let system = [PathBuf::from("/usr/local/cuda/bin")];
            let folders = homes.map(|home| home.join("bin")).chain(path).chain(system).chain(fetched);
            folders.map(|folder| folder.join("nvcc")).filter(|nvcc| nvcc.is_file()).collect()
        };
        let mut reasons = Vec::new();
        for path in candidates {
            // Cargo would take a bare name for a file of this crate's.
            if path.is_absolute() {
                println!("cargo:rerun-if-changed={}", path.display());
            }
            match Self::at(path, cache) {
                Ok(nvcc) => return Ok(nvcc),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(if reasons.is_empty() { Lack::Missing } else { Lack::Unfit(reasons.join("; and ")) })
    }

    fn at(path: PathBuf, cache: &Cache) -> Result<Self, String> {
        let shown = path.display().to_string();
        let output = Command::new(&path)
            .arg("--version")
            .output()
            .map_err(|e| format!("{shown} does not start ({e}): set NVCC to a CUDA toolkit's bin/nvcc"))?;
        let words = String::from_utf8_lossy(&output.stdout).into_owned();
        let release = release(&words).ok_or_else(|| {
            format!("{shown} --version names no release: set NVCC to a CUDA toolkit's bin/nvcc")
        })?;
        if release < OLDEST {
            let ((major, minor), (a, b)) = (release, OLDEST);
            return Err(format!(
                "{shown} is release {major}.{minor}, too old: release {a}.{b} or newer is needed, and \
                 kernels/get-nvcc.sh fetches one"
            ));
        }
        let nvcc = Self { path, words: output.stdout, release };
        // Whether it gets along with the host's compiler shows at the first file that it compiles.
        let host = std::env::var("NVCC_CCBIN").unwrap_or_default();
        let key = Key::new().with("nvcc works").with(&nvcc.words).with(host).with(host_compiler());
        if cache.find(key, "ok").is_none() {
            let scratch = cache.scratch()?;
            let probe = scratch.path().join("probe.cu");
            super::cache::write_if_changed(&probe, b"extern \"C\" __global__ void probe() {}\n")?;
            let mut command = nvcc.command();
            command.args(["-std=c++20", "-ptx", "-o"]).arg(scratch.path().join("probe.ptx")).arg(&probe);
            let output = command.output().map_err(|e| format!("{shown} does not start: {e}"))?;
            if !output.status.success() {
                let said = [output.stderr, output.stdout].concat();
                return Err(diagnosis(&shown, release, &String::from_utf8_lossy(&said)));
            }
            cache.keep(key, "ok", b"")?;
        }
        Ok(nvcc)
    }

    pub fn command(&self) -> Command {
        Command::new(&self.path)
    }

    pub fn shown(&self) -> String {
        format!("nvcc {}.{} ({})", self.release.0, self.release.1, self.path.display())
    }

    /// The architectures it knows, as `sm_80`; none, if it does not say.
    pub fn known(&self) -> Vec<String> {
        let output = self.command().arg("--list-gpu-code").output();
        let text = output.map(|o| String::from_utf8_lossy(&o.stdout).into_owned()).unwrap_or_default();
        text.split_whitespace().filter(|word| word.starts_with("sm_")).map(str::to_owned).collect()
    }
}

/// The default host compiler's version: an upgrade may end what worked.
fn host_compiler() -> Vec<u8> {
    Command::new("gcc").arg("-dumpfullversion").output().map(|output| output.stdout).unwrap_or_default()
}

/// `13.0` of "Cuda compilation tools, release 13.0, V13.0.88".
pub fn release(words: &str) -> Option<(u32, u32)> {
    let (_, rest) = words.split_once("release ")?;
    let (major, rest) = rest.split_once('.')?;
    let minor: String = rest.chars().take_while(char::is_ascii_digit).collect();
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What an nvcc that cannot compile an empty kernel lacks.
pub fn diagnosis(nvcc: &str, release: (u32, u32), said: &str) -> String {
    let name = format!("nvcc {}.{} ({nvcc})", release.0, release.1);
    let newest = |after: &str| -> Option<String> {
        let (_, rest) = said.split_once(after)?;
        Some(rest.trim_start().chars().take_while(char::is_ascii_digit).collect())
    };
    if said.contains("unsupported GNU version") {
        let newest = newest("gcc versions later than").unwrap_or_default();
        let there = which(&format!("g++-{newest}"));
        let remedy = match there {
            Some(path) => format!("set NVCC_CCBIN={}", path.display()),
            None => format!("install g++-{newest} and set NVCC_CCBIN to it"),
        };
        return format!("{name} does not take this machine's gcc, which is newer than {newest}: {remedy}");
    }
    if said.contains("unsupported clang version") {
        return format!(
            "{name} does not take this machine's clang: set NVCC_CCBIN to a g++ or clang++ that it supports"
        );
    }
    if said.contains("No such file or directory") || said.contains("preprocess host compiler") {
        return format!("{name} found no C++ compiler of the host: install g++, or set NVCC_CCBIN to one");
    }
    let first = said.lines().find(|l| l.contains("error") || l.contains("fatal")).unwrap_or(said.trim());
    format!("{name} cannot compile an empty kernel ({}): set NVCC to one that can", first.trim())
}

fn which(name: &str) -> Option<PathBuf> {
    std::env::split_paths(&std::env::var_os("PATH")?).map(|folder| folder.join(name)).find(|p| p.is_file())
}

/// The folders that `get-nvcc.sh` may have filled: beside the cache in the target directory, in the target directory
/// that holds that one (`--target-dir target/sanitize`), and in the default one.
pub fn fetched(target: &Path, manifest: &Path) -> Vec<PathBuf> {
    let mut folders = vec![target.join("cuda")];
    folders.extend(
        target.parent().filter(|parent| parent.ends_with("target")).map(|parent| parent.join("cuda")),
    );
    folders.push(manifest.join("target/cuda"));
    folders.dedup();
    folders
}
