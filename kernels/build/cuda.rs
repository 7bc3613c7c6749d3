//! The kernels for cards: one image a family and architecture, compressed, listed in a Rust file that the crate
//! includes.

use std::io::Write;
use std::path::{Path, PathBuf};

use super::cache::{Cache, Key, in_parallel, write_if_changed};
use super::nvcc::{FLAGS, Lack, Nvcc};
use super::ptxas::{self, Report};
use super::sources::{self, Family};

/// What a build compiles for unless `RIR_CUDA_ARCHS` says otherwise: Ampere and Ada; Hopper with its own instructions;
/// consumer Blackwell; and PTX, which the driver compiles for all else.
const DEFAULT: [&str; 4] = ["80", "90a", "120", "ptx80"];

/// Where the crate's sources and Cargo's folders are.
pub struct Places<'a> {
    pub manifest: &'a Path,
    pub kernels: &'a Path,
    pub target: &'a Path,
    pub out: &'a Path,
}

/// An image for cards.
struct Image<'a> {
    family: &'a Family,
    architecture: &'a str,
    compressed: PathBuf,
    report: Report,
}

/// Compiles the kernels for cards, if there is an nvcc; returns whether there are any.
///
/// # Errors
/// A kernel that does not compile; an nvcc that does not do where `RIR_CUDA_ARCHS` asks for kernels.
pub fn build(places: &Places, families: &[Family], cache: &Cache) -> Result<bool, String> {
    println!("cargo:rerun-if-env-changed=RIR_CUDA_ARCHS");
    println!("cargo:rerun-if-env-changed=RIR_CUDA_LINEINFO");
    let asked = std::env::var("RIR_CUDA_ARCHS").ok().filter(|asked| !asked.trim().is_empty());
    if families.is_empty() || asked.as_deref() == Some("none") {
        return write(places, cache, None, &[]).map(|()| false);
    }
    let folders = super::nvcc::fetched(places.target, places.manifest);
    watch(&folders[0])?;
    let nvcc = match Nvcc::find(&folders, cache) {
        Ok(nvcc) => nvcc,
        Err(lack) => {
            let reason = match lack {
                Lack::Missing => "no nvcc was found (kernels/get-nvcc.sh fetches one)".to_owned(),
                Lack::Unfit(reason) => reason,
            };
            if asked.is_some() {
                return Err(format!("RIR_CUDA_ARCHS asks for CUDA kernels, but {reason}"));
            }
            println!("cargo:warning=built without CUDA kernels: {reason}; rir works on the CPU");
            return write(places, cache, None, &[]).map(|()| false);
        }
    };
    let architectures = architectures(asked.as_deref(), &nvcc)?;
    let jobs: Vec<(&Family, &str)> = families
        .iter()
        .flat_map(|family| architectures.iter().map(move |a| (family, a.as_str())))
        .filter(|(family, a)| family.architectures.as_ref().is_none_or(|only| only.iter().any(|o| o == a)))
        .collect();
    let compiled = in_parallel(&jobs, |(family, architecture)| {
        compile(&nvcc, family, architecture, places.kernels, cache)
    });
    let images = compiled.into_iter().collect::<Result<Vec<_>, String>>()?;
    write(places, cache, Some(&nvcc), &images)?;
    // What the tests read machine code with.
    if let Some(cuobjdump) = nvcc.beside("cuobjdump") {
        println!("cargo:rustc-cfg=rir_cuobjdump");
        println!("cargo:rustc-env=RIR_CUOBJDUMP={}", cuobjdump.display());
    }
    Ok(!images.is_empty())
}

/// Has Cargo run this script again when `get-nvcc.sh` has brought a compiler. The file has to be there: one that is
/// missing would be news at every build.
fn watch(folder: &Path) -> Result<(), String> {
    let stamp = folder.join("installed");
    if !stamp.exists() {
        std::fs::create_dir_all(folder).map_err(|e| format!("cannot create {}: {e}", folder.display()))?;
        write_if_changed(&stamp, b"")?;
    }
    println!("cargo:rerun-if-changed={}", stamp.display());
    Ok(())
}

/// What to compile for: what is asked for, less what this nvcc does not know.
fn architectures(asked: Option<&str>, nvcc: &Nvcc) -> Result<Vec<String>, String> {
    let wanted: Vec<String> = match asked {
        None => DEFAULT.map(str::to_owned).to_vec(),
        Some(list) => list.split(',').map(|name| name.trim().trim_start_matches("sm_").to_owned()).collect(),
    };
    if let Some(bad) = wanted.iter().find(|name| number(name).is_none()) {
        return Err(format!(
            "RIR_CUDA_ARCHS: '{bad}' is no architecture: it takes a list such as 80,90a,120,ptx80, or none"
        ));
    }
    let known = nvcc.known();
    let (known, unknown): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|name| {
        let code = format!("sm_{}", number(name).expect("checked above"));
        known.is_empty() || known.contains(&code)
    });
    if !unknown.is_empty() {
        let said = format!("{} cannot compile for {}; cards that need it", nvcc.shown(), unknown.join(", "));
        if known.is_empty() {
            return Err(format!(
                "{said} are all that RIR_CUDA_ARCHS names: kernels/get-nvcc.sh fetches a newer nvcc"
            ));
        }
        println!("cargo:warning={said} run PTX or nothing; kernels/get-nvcc.sh fetches a newer nvcc");
    }
    Ok(known)
}

/// `90` of `90a` and of `ptx90`.
fn number(architecture: &str) -> Option<u32> {
    let digits = match architecture.strip_prefix("ptx") {
        Some(digits) => digits,
        None => architecture.strip_suffix('a').unwrap_or(architecture),
    };
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten().filter(|n| *n >= 80)
}

/// Compiles a family for one architecture, unless that was done before.
fn compile<'a>(
    nvcc: &Nvcc,
    family: &'a Family,
    architecture: &'a str,
    kernels: &Path,
    cache: &Cache,
) -> Result<Image<'a>, String> {
    let mut flags: Vec<String> = FLAGS.map(str::to_owned).to_vec();
    flags.push(format!("-DRIR_FAMILY={}", family.id));
    flags.extend(match architecture.strip_prefix("ptx") {
        Some(n) => ["-ptx".to_owned(), format!("-gencode=arch=compute_{n},code=compute_{n}")],
        None => ["-cubin".to_owned(), format!("-gencode=arch=compute_{architecture},code=sm_{architecture}")],
    });
    if std::env::var("RIR_CUDA_LINEINFO").is_ok_and(|v| v == "1") {
        flags.push("-lineinfo".to_owned());
    }
    let key = flags.iter().fold(Key::new().with(&nvcc.words), |key, flag| key.with(flag));
    let key = sources::key(key, &family.path, kernels, Some(&kernels.join("emu")))?;
    let place = format!("{} for {architecture}", family.path.display());

    let (compressed, said) = match (cache.find(key, "zlib"), cache.find(key, "ptxas")) {
        (Some(compressed), Some(said)) => {
            let said =
                std::fs::read_to_string(&said).map_err(|e| format!("cannot read {}: {e}", said.display()))?;
            (compressed, said)
        }
        _ => {
            let scratch = cache.scratch()?;
            let file = scratch.path().join("image");
            let mut command = nvcc.command();
            command.args(&flags).arg("-I").arg(kernels).arg("-o").arg(&file);
            // The PTX in between names the kernels and their launch bounds, which ptxas does not print.
            command.args(["--keep", "--keep-dir"]).arg(scratch.path()).arg(&family.path);
            let output = command.output().map_err(|e| format!("{} does not start: {e}", nvcc.shown()))?;
            let printed = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            if !output.status.success() {
                return Err(format!("{place} does not compile ({}):\n{printed}", nvcc.shown()));
            }
            let read =
                |path: &Path| std::fs::read(path).map_err(|e| format!("cannot read {}: {e}", path.display()));
            let image = read(&file)?;
            let ptx = if architecture.starts_with("ptx") {
                image.clone()
            } else {
                read(&scratch.path().join(family.path.file_name().unwrap_or_default()).with_extension("ptx"))?
            };
            let said = format!("{}\n{printed}", ptxas::directives(&String::from_utf8_lossy(&ptx)));
            let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
            let packed = encoder.write_all(&image).and_then(|()| encoder.finish());
            let packed = packed.map_err(|e| format!("cannot compress {place}: {e}"))?;
            cache.keep(key, "ptxas", said.as_bytes())?;
            (cache.keep(key, "zlib", &packed)?, said)
        }
    };
    let (directives, printed) = said.split_once("\n\n").unwrap_or((&said, ""));
    let report = ptxas::parse(directives, printed);
    let losses: Vec<&str> = report.losses().collect();
    if !losses.is_empty() {
        return Err(format!("{place} compiles, but not to what it asks for:\n{}", losses.join("\n")));
    }
    Ok(Image { family, architecture, compressed, report })
}

/// Writes `images.rs`, what it includes, and the report of all kernels.
fn write(places: &Places, cache: &Cache, nvcc: Option<&Nvcc>, images: &[Image]) -> Result<(), String> {
    let mut text = String::from("// Written by build.rs.\n[\n");
    let mut rows = Vec::new();
    for image in images {
        let (family, architecture) = (&image.family.id, image.architecture);
        // A copy: Cargo looks for what the crate includes, and the cache may have been emptied since.
        let name = format!("{family}.{architecture}.zlib");
        let bytes = std::fs::read(&image.compressed)
            .map_err(|e| format!("cannot read {}: {e}", image.compressed.display()))?;
        write_if_changed(&places.out.join(&name), &bytes)?;
        let kernels: Vec<&str> = image.report.kernels.iter().map(|k| k.name.as_str()).collect();
        text += &format!(
            "    Image {{\n        family: {family:?},\n        architecture: {},\n        kernels: &{kernels:?},\n        \
             compressed: include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{name}\")),\n    }},\n",
            literal(architecture)
        );
        if !architecture.starts_with("ptx") {
            rows.push(image.report.json(family, architecture));
        }
    }
    text += "]\n";
    write_if_changed(&places.out.join("images.rs"), text.as_bytes())?;
    let toolkit = nvcc.map_or("(0, 0)".to_owned(), |nvcc| format!("{:?}", nvcc.release));
    write_if_changed(&places.out.join("toolkit.rs"), toolkit.as_bytes())?;
    let report = format!("[\n{}\n]\n", rows.join(",\n"));
    write_if_changed(&places.out.join("ptxas.json"), report.as_bytes())?;
    // Beside the cache as well, where people find it.
    let shown = cache.root().join("ptxas.json");
    println!("cargo:rustc-env=RIR_PTXAS_REPORT={}", shown.display());
    write_if_changed(&shown, report.as_bytes())
}

/// An architecture as the crate's `Architecture`.
fn literal(architecture: &str) -> String {
    let n = number(architecture).expect("checked before it was compiled");
    let (ptx, exact) = (architecture.starts_with("ptx"), architecture.ends_with('a'));
    format!("Architecture {{ capability: ({}, {}), exact: {exact}, ptx: {ptx} }}", n / 10, n % 10)
}
