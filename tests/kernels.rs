//! What the build knows of the kernels without a card: ptxas' report on each, and how the build reads its tools.

#[allow(dead_code)]
#[path = "../kernels/build/cache.rs"]
mod cache;
#[allow(dead_code)]
#[path = "../kernels/build/nvcc.rs"]
mod nvcc;
#[allow(dead_code)]
#[path = "../kernels/build/ptxas.rs"]
mod ptxas;
#[allow(dead_code)]
#[path = "../kernels/build/sources.rs"]
mod sources;

use std::fs;

use cache::Key;

#[test]
#[cfg_attr(not(rir_cuda), ignore = "built without nvcc: kernels/get-nvcc.sh")]
fn every_kernel_stays_in_registers() {
    #[derive(Debug, serde::Deserialize)]
    struct Kernel {
        architecture: String,
        kernel: String,
        registers: u32,
        static_shared: u32,
        stack: u32,
        spill_stores: u32,
        spill_loads: u32,
        local: u32,
        max_threads: u32,
        min_blocks: u32,
        remarks: Vec<String>,
    }
    let report = rir::device::cuda::images::ptxas_report();
    let kernels: Vec<Kernel> = serde_json::from_str(report).unwrap();
    let images = rir::device::cuda::images::images();
    // A build for PTX alone has no report: it is the driver that will compile it.
    assert!(!kernels.is_empty() || images.all.iter().all(|image| image.architecture.ptx));
    let mut wrong = Vec::new();
    for k in &kernels {
        let mut check = |holds: bool, what: String| {
            if !holds {
                wrong.push(format!("{} on {}: {what}", k.kernel, k.architecture));
            }
        };
        check(
            k.spill_stores == 0 && k.spill_loads == 0,
            format!("spills {} bytes", k.spill_stores.max(k.spill_loads)),
        );
        check(
            k.stack == 0 && k.local == 0,
            format!("keeps {} bytes outside of registers", k.stack.max(k.local)),
        );
        check(k.static_shared <= 48 << 10, format!("has {} bytes of static shared memory", k.static_shared));
        check(k.max_threads != 0, "has no launch bounds".into());
        // The register file has 65536, given out to a warp in lots of 8 a thread.
        let threads = (k.max_threads * k.min_blocks.max(1)).next_multiple_of(32);
        let needed = k.registers.next_multiple_of(8) * threads;
        check(needed <= 65536, format!("needs {needed} registers for {threads} threads, of 65536"));
        // One warp group that copies gives registers to two that multiply: ROLES_THREADS of wgmma_ws.cuh. With fewer to
        // begin with there would be too few to give, and the two would wait for them forever.
        let gives = ["ws", "persistent", "cluster", "halo", "store"].map(|form| format!("_wgmma_{form}_"));
        if gives.iter().any(|form| k.kernel.contains(form.as_str())) {
            let held = (k.max_threads, k.registers);
            check(held == (384, 168), format!("has {} registers in {} threads", held.1, held.0));
        }
        check(k.remarks.is_empty(), k.remarks.join("; "));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Printed by nvcc 13.0 for a kernel made to spill.
const PRINTED: &str = "\
ptxas info    : (C7508) Potential Performance Loss: 'setmaxnreg' ignored; unable to determine register count at entry.
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'big' for 'sm_90a'
ptxas info    : Function properties for big
    6752 bytes stack frame, 9376 bytes spill stores, 51384 bytes spill loads
ptxas info    : Used 32 registers, used 1 barriers, 6752 bytes cumulative stack size, 132 bytes smem
ptxas info    : Compile time = 6926.850 ms
ptxas info    : Function properties for _Z6helperPfi
    16 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Compiling entry function 'small' for 'sm_90a'
ptxas info    : Function properties for small
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers, used 0 barriers
";

const PTX: &str = "\
.visible .entry big(
\t.param .u64 big_param_0
)
.maxntid 1024, 1, 1
.minnctapersm 2
{
}
.visible .entry small(
)
.maxntid 16, 8, 1
{
}
";

#[test]
fn ptxas_output_is_read() {
    let report = ptxas::parse(&ptxas::directives(PTX), PRINTED);
    let [big, small] = &report.kernels[..] else { panic!("{report:?}") };
    let expected = ptxas::Kernel {
        name: "big".into(),
        registers: 32,
        barriers: 1,
        static_shared: 132,
        stack: 6752,
        spill_stores: 9376,
        spill_loads: 51384,
        local: 0,
        max_threads: 1024,
        min_blocks: 2,
    };
    assert_eq!(*big, expected);
    assert_eq!((small.registers, small.stack, small.max_threads, small.min_blocks), (8, 0, 128, 0));
    assert_eq!(report.losses().count(), 1);
    let json: serde_json::Value = serde_json::from_str(&format!("[{}]", report.json("f", "90a"))).unwrap();
    assert_eq!(json[0]["spill_loads"], 51384);
    assert_eq!(json[1]["kernel"], "small");
    assert!(json[0]["remarks"][0].as_str().unwrap().contains("'setmaxnreg' ignored"));
}

#[test]
fn a_family_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    file("relu.cu", "#include \"common.cuh\"\n");
    file("common.cuh", "// one\n");
    file("conv2d/hopper-forward.cu", "// architectures: 90a, ptx80\n#include \"tile.cuh\"\n");
    file("conv2d/tile.cuh", "#  include \"../common.cuh\"\n#include \"emu/twin.hpp\"\n");
    file("emu/twin.hpp", "// the host's\n");
    file("emu/tests/basic.cu", "");
    let families = sources::families(folder.path()).unwrap();
    let ids: Vec<_> = families.iter().map(|f| (f.id.as_str(), f.architectures.clone())).collect();
    let hopper = Some(vec!["90a".to_owned(), "ptx80".to_owned()]);
    assert_eq!(ids, [("conv2d_hopper_forward", hopper), ("relu", None)]);

    // A name for content changes with all that is included, but for what is left out.
    let except = folder.path().join("emu");
    let key = |except: Option<&std::path::Path>| {
        let key = sources::key(Key::new(), &families[0].path, folder.path(), except).unwrap();
        cache::Cache::open(folder.path()).unwrap().keep(key, "o", b"").unwrap()
    };
    let (first, first_without) = (key(None), key(Some(&except)));
    assert_ne!(first, first_without);
    assert_eq!(first, key(None));
    file("emu/twin.hpp", "// changed\n");
    assert_ne!(first, key(None));
    assert_eq!(first_without, key(Some(&except)));
    file("common.cuh", "// two\n");
    assert_ne!(first_without, key(Some(&except)));

    file("conv2d_hopper_forward.cu", "");
    assert!(sources::families(folder.path()).unwrap_err().contains("rename one"));
}

#[test]
fn what_nvcc_lacks_is_named() {
    let words = "nvcc: NVIDIA (R) Cuda compiler driver\nCuda compilation tools, release 13.0, V13.0.88\n";
    assert_eq!(nvcc::release(words), Some((13, 0)));
    assert_eq!(nvcc::release("no compiler"), None);
    let says = |said: &str| nvcc::diagnosis("/opt/cuda/bin/nvcc", (12, 4), said);
    let message = says(
        "host_config.h:143:2: error: #error -- unsupported GNU version! gcc versions later than 13 are not supported!",
    );
    assert!(
        message.contains("nvcc 12.4 (/opt/cuda/bin/nvcc)") && message.contains("newer than 13"),
        "{message}"
    );
    assert!(message.contains("NVCC_CCBIN"), "{message}");
    assert!(says("#error -- unsupported clang version!").contains("NVCC_CCBIN"));
    assert!(
        says("gcc: No such file or directory\nnvcc fatal : Failed to preprocess host compiler properties.")
            .contains("install g++")
    );
    assert!(says("nvcc fatal   : Path to libdevice library not specified").contains("libdevice"));
}
