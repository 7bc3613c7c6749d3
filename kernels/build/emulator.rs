//! The emulator: the kernels compiled for this machine's processor, every memory access of theirs instrumented, and
//! the runtime that executes them.
//!
//! Kernels are compiled as for ThreadSanitizer, which calls a function at each access; the runtime defines those
//! functions, so `libtsan` is not linked. `RIR_EMU_SANITIZE=1` instruments all of it for AddressSanitizer and UBSan
//! instead, whose runtimes are then linked into whatever uses this crate.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::cache::{Cache, Key, in_parallel};
use super::sources::{self, Family};

const LANGUAGE: [&str; 5] = ["-x", "c++", "-std=c++20", "-fno-strict-aliasing", "-g1"];
/// Why each: `kernels/emu/README.md`.
const KERNELS: [&str; 6] = [
    "-O1",
    "-ffp-contract=off",
    "-fno-exceptions",
    "-fno-math-errno",
    "-fno-optimize-sibling-calls",
    "-Wno-unknown-pragmas",
];
const KERNELS_GCC: [&str; 1] = ["-fno-tree-vectorize"];
const KERNELS_CLANG: [&str; 3] = ["-fno-vectorize", "-fno-slp-vectorize", "-Wno-pass-failed"];
const INSTRUMENT_GCC: [&str; 3] = ["-fsanitize=thread", "--param", "tsan-distinguish-volatile=1"];
const INSTRUMENT_CLANG: [&str; 5] = [
    "-fsanitize=thread",
    "-mllvm",
    "-tsan-distinguish-volatile=1",
    "-mllvm",
    "-tsan-instrument-read-before-write=1",
];
const RUNTIME: [&str; 1] = ["-O2"];
const SANITIZE: [&str; 3] =
    ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"];

/// Builds and links the emulator. `Ok(false)`: this tree has none. A warning, where it cannot be had on this machine.
///
/// # Errors
/// A source that does not compile, with the compiler's words.
pub fn build(kernels: &Path, families: &[Family], cache: &Cache, out: &Path) -> Result<Built, String> {
    println!("cargo:rerun-if-env-changed=RIR_EMU_SANITIZE");
    let runtime = sources::files(&kernels.join("emu"), "cpp")?;
    if runtime.is_empty() {
        return Ok(Built::Not(None));
    }
    let sanitize = std::env::var("RIR_EMU_SANITIZE").is_ok_and(|v| !v.is_empty() && v != "0");
    let compiler = match Compiler::find(cache, sanitize) {
        Ok(compiler) => compiler,
        Err(reason) => {
            let said = format!("built without the emulator of CUDA kernels: {reason}; the rest of rir works");
            return Ok(Built::Not(Some(said)));
        }
    };
    let strings = |lists: &[&[&str]]| -> Vec<String> {
        lists.iter().flat_map(|flags| flags.iter()).map(|&flag| flag.to_owned()).collect()
    };
    let registry = out.join("registry.cpp");
    super::cache::write_if_changed(&registry, registry_text(families, sanitize).as_bytes())?;
    let mut jobs: Vec<(PathBuf, Vec<String>)> = families
        .iter()
        .map(|family| {
            let named = format!("-DRIR_FAMILY={}", family.id);
            (family.path.clone(), compiler.kernels.iter().cloned().chain([named]).collect())
        })
        .collect();
    for source in runtime.into_iter().chain([registry]) {
        jobs.push((source, strings(&[&LANGUAGE, &RUNTIME, if sanitize { &SANITIZE } else { &[] }])));
    }

    let objects = in_parallel(&jobs, |(source, flags)| compiler.object(source, flags, kernels, cache))
        .into_iter()
        .collect::<Result<Vec<_>, String>>()?;
    compiler.link(&objects, cache, out)?;
    export(&compiler, families, &objects, out)?;
    println!("cargo:rustc-link-search=native={}", out.display());
    println!("cargo:rustc-link-lib=static=rir_emu");
    if sanitize {
        println!("cargo:rustc-cfg=rir_emu_sanitized");
        compiler.link_sanitizers()?;
    }
    println!("cargo:rustc-link-lib=dylib={}", if cfg!(target_os = "macos") { "c++" } else { "stdc++" });
    Ok(Built::Emulator)
}

/// What came of it.
pub enum Built {
    Emulator,
    /// No emulator, and why, where that is worth a warning.
    Not(Option<String>),
}

/// A translation unit that refers to every family, so that a linker that drops what nobody refers to keeps them.
fn registry_text(families: &[Family], sanitize: bool) -> String {
    let mut text = String::from("// Written by build.rs.\n");
    for family in families {
        text += &format!("extern \"C\" void rir_family_{}();\n", family.id);
    }
    text += "extern \"C\" void (*const rir_emu_families[])() = {\n";
    for family in families {
        text += &format!("    rir_family_{},\n", family.id);
    }
    text += "    nullptr,\n};\n";
    if sanitize {
        // What Rust's runtime and test harness keep to the end of the process counts as leaked otherwise.
        text += "extern \"C\" const char* __asan_default_options() { return \"detect_leaks=0\"; }\n";
    }
    text
}

/// For the tests that compile kernels: the compiler, its flags, the whole emulator as a library, and its objects one by
/// one, of which a kernel family's is named after it.
fn export(compiler: &Compiler, families: &[Family], objects: &[PathBuf], out: &Path) -> Result<(), String> {
    let folder = out.join("emulator-objects");
    // What another build left there may be of a family that is gone.
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
    let names = families.iter().map(|f| f.id.clone()).chain((0..).map(|n| format!("runtime-{n}")));
    for (object, name) in objects.iter().zip(names) {
        let copy = folder.join(name).with_extension("o");
        std::fs::copy(object, &copy).map_err(|e| format!("cannot write {}: {e}", copy.display()))?;
    }
    let own = compiler.tool.args().iter().map(|arg| arg.to_string_lossy().into_owned());
    let flags: Vec<String> = own.chain(compiler.kernels.iter().cloned()).collect();
    println!("cargo:rustc-env=RIR_EMU_CXX={}", compiler.tool.path().display());
    // Parted as Cargo parts the flags in CARGO_ENCODED_RUSTFLAGS: a flag may hold a space.
    println!("cargo:rustc-env=RIR_EMU_FLAGS={}", flags.join("\u{1f}"));
    println!("cargo:rustc-env=RIR_EMU_OBJECTS={}", folder.display());
    println!("cargo:rustc-env=RIR_EMU_LIBRARY={}", out.join("librir_emu.a").display());
    Ok(())
}

struct Compiler {
    tool: cc::Tool,
    version: Vec<u8>,
    /// The flags of a kernel family, but for its name.
    kernels: Vec<String>,
}

impl Compiler {
    /// The compiler that `CXX` or the system names, if it can compile C++20; else why not.
    fn find(cache: &Cache, sanitize: bool) -> Result<Self, String> {
        let unix = std::env::var("CARGO_CFG_UNIX").is_ok();
        if !unix || std::env::var("CARGO_CFG_TARGET_POINTER_WIDTH").is_ok_and(|bits| bits != "64") {
            return Err("it runs on 64-bit Linux and macOS".to_owned());
        }
        let tool = cc::Build::new()
            .cpp(true)
            .opt_level(1)
            .debug(false)
            .pic(true)
            .warnings(false)
            .cargo_warnings(false)
            .try_get_compiler()
            .map_err(|e| format!("no C++ compiler was found ({e}); install g++ or clang++, or set CXX"))?;
        let name = tool.path().display().to_string();
        let version = Command::new(tool.path())
            .arg("--version")
            .output()
            .map_err(|e| {
                format!("the C++ compiler {name} does not start ({e}); install g++ or clang++, or set CXX")
            })?
            .stdout;
        let [per_compiler, instrument]: [&[&str]; 2] = match (sanitize, tool.is_like_clang()) {
            (true, true) => [&KERNELS_CLANG, &SANITIZE],
            (true, false) => [&KERNELS_GCC, &SANITIZE],
            (false, true) => [&KERNELS_CLANG, &INSTRUMENT_CLANG],
            (false, false) => [&KERNELS_GCC, &INSTRUMENT_GCC],
        };
        let flags = [&LANGUAGE[..], &KERNELS, per_compiler, instrument].concat();
        let kernels = flags.into_iter().map(str::to_owned).collect();
        let compiler = Self { tool, version, kernels };
        // A compiler may be there without its library, or be too old.
        let probe = cache.root().join("probe.cpp");
        let program = "#include <bit>\n#include <cmath>\n#include <vector>\nint probe() { return std::bit_width(3u); }\n";
        super::cache::write_if_changed(&probe, program.as_bytes())?;
        compiler.object(&probe, &compiler.kernels, cache.root(), cache).map_err(|said| {
            let first = said.lines().find(|l| l.contains("error")).unwrap_or("").trim();
            format!(
                "the C++ compiler {name} cannot compile kernels ({first}); install a newer g++ or clang++"
            )
        })?;
        Ok(compiler)
    }

    /// Compiles `source` unless that was done before.
    fn object(
        &self,
        source: &Path,
        flags: &[String],
        kernels: &Path,
        cache: &Cache,
    ) -> Result<PathBuf, String> {
        let key = Key::new().with(self.tool.path().as_os_str().as_encoded_bytes()).with(&self.version);
        let key = self.tool.args().iter().fold(key, |key, arg| key.with(arg.as_encoded_bytes()));
        let key = flags.iter().fold(key, |key, flag| key.with(flag));
        let key = sources::key(key, source, kernels, None)?;
        if let Some(object) = cache.find(key, "o") {
            return Ok(object);
        }
        let scratch = cache.scratch()?;
        let object = scratch.path().join("object.o");
        let mut command = self.tool.to_command();
        command.args(flags).arg("-I").arg(kernels).arg("-c").arg(source).arg("-o").arg(&object);
        run(&mut command, &format!("the emulator's {} does not compile", source.display()))?;
        let bytes = std::fs::read(&object).map_err(|e| format!("cannot read {}: {e}", object.display()))?;
        cache.keep(key, "o", &bytes)
    }

    /// All objects as one, in `librir_emu.a`: what uses any of it gets all of it, and no kernel is dropped because
    /// its constructor alone refers to it.
    fn link(&self, objects: &[PathBuf], cache: &Cache, out: &Path) -> Result<(), String> {
        let (one, library) = (out.join("rir_emu.o"), out.join("librir_emu.a"));
        let names = objects.iter().fold(Key::new(), |key, o| key.with(o.as_os_str().as_encoded_bytes()));
        if let Some(kept) = cache.find(names, "a") {
            let bytes = std::fs::read(&kept).map_err(|e| format!("cannot read {}: {e}", kept.display()))?;
            return super::cache::write_if_changed(&library, &bytes);
        }
        let mut join = self.tool.to_command();
        join.args(["-r", "-nostdlib", "-o"]).arg(&one).args(objects);
        run(&mut join, "the emulator's objects do not link")?;
        let _ = std::fs::remove_file(&library);
        let mut archive = cc::Build::new()
            .try_get_archiver()
            .map_err(|e| format!("no ar was found ({e}); install binutils, or set AR"))?;
        archive.arg("crs").arg(&library).arg(&one);
        run(&mut archive, "the emulator's library cannot be written")?;
        let bytes = std::fs::read(&library).map_err(|e| format!("cannot read {}: {e}", library.display()))?;
        cache.keep(names, "a", &bytes).map(|_| ())
    }

    /// Links the sanitizers' runtimes of this compiler. As libraries rather than as arguments, so that documentation
    /// tests get them too; and statically, since AddressSanitizer has to be loaded before all else.
    fn link_sanitizers(&self) -> Result<(), String> {
        let arch = std::env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        let (asan, ubsan, how) = if !self.tool.is_like_clang() {
            ("libasan.a".to_owned(), Some("libubsan.so"), "static:-bundle,+whole-archive")
        } else if cfg!(target_os = "macos") {
            ("libclang_rt.asan_osx_dynamic.dylib".to_owned(), None, "dylib")
        } else {
            (format!("libclang_rt.asan-{arch}.a"), None, "static:-bundle,+whole-archive")
        };
        let asan = self.locate(&asan)?;
        link_library(&asan, how);
        if let Some(ubsan) = ubsan {
            link_library(&self.locate(ubsan)?, "dylib");
        }
        Ok(())
    }

    /// The path of one of the compiler's own libraries.
    fn locate(&self, library: &str) -> Result<PathBuf, String> {
        let found = Command::new(self.tool.path())
            .args(self.tool.args())
            .arg(format!("-print-file-name={library}"))
            .output()
            .map(|output| PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
            .unwrap_or_default();
        if found.is_absolute() {
            return Ok(found);
        }
        Err(format!(
            "RIR_EMU_SANITIZE needs {library} of {}: install the compiler's sanitizer libraries, or build without it",
            self.tool.path().display()
        ))
    }
}

fn link_library(path: &Path, how: &str) {
    let folder = path.parent().unwrap_or(Path::new("."));
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    println!("cargo:rustc-link-search=native={}", folder.display());
    println!("cargo:rustc-link-lib={how}={}", stem.trim_start_matches("lib"));
}

fn run(command: &mut Command, failed: &str) -> Result<(), String> {
    let output =
        command.output().map_err(|e| format!("{failed}: {:?} does not start: {e}", command.get_program()))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{failed}:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()))
}
