//! The tests in C++, of the emulator itself and of the kernels' index maths; and how a fault names its source.

use std::path::Path;
use std::process::Command;

use rir::device::cuda::driver::Driver;
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::launch::{Launch, View};

fn kernels() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/kernels"))
}

/// What it printed is shown if it fails.
fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    let [said, errors] =
        [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{command:?}: {}\n{said}\n{errors}", output.status);
}

#[test]
fn the_emulator_holds_to_what_it_is_written_from() {
    let sanitize: &[&str] = if cfg!(rir_emu_sanitized) { &["--sanitize"] } else { &[] };
    succeed(
        Command::new("sh")
            .arg(kernels().join("emu/tests/run.sh"))
            .args(sanitize)
            .env("CXX", env!("RIR_EMU_CXX")),
    );
}

#[test]
fn the_index_maths_hold_by_brute_force() {
    for name in ["index", "mma_index", "wgmma_index", "pass_index"] {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        let source = kernels().join("tests").join(name).with_extension("cpp");
        let mut compile = Command::new(env!("RIR_EMU_CXX"));
        compile.args(["-std=c++20", "-O1", "-I"]).arg(kernels()).arg(source);
        succeed(compile.arg("-o").arg(&program));
        succeed(&mut Command::new(program));
    }
}

/// A read of 16 bytes is reported by the emulator's vector, inlined into the kernel's function: that one is named.
#[test]
#[cfg_attr(
    rir_emu_sanitized,
    ignore = "the vector is told apart by inlined frames, which sanitizers rearrange"
)]
fn a_fault_names_the_kernels_own_line() {
    let mut driver = EmulatorDriver::new(1);
    let memory = View { address: driver.allocate(256).unwrap(), bytes: 256 };
    let stray = memory.address.0;
    let mut launch = Launch::new("conv2d_tiled_32_f32").over([1; 3], [64, 1, 1]);
    // `ForwardParams`: of its tensors only z may be touched, and x is read first.
    let z = launch.writes(memory).0;
    let addresses = [stray + 512, stray + 512, 0, 0, z, 0];
    let extents = [1, 1, 1, 4, 4, 1, 1, 1, 1, 1, 0, 0_u32];
    launch.params = [bytemuck::bytes_of(&addresses), bytemuck::bytes_of(&extents), &[0; 8]].concat();
    let said = driver.launch(&launch).unwrap_err().to_string();
    assert!(said.contains("reads 16 bytes") && said.contains("(tile.cuh:"), "{said}");
}

/// What is told of a choice, the stages of its ring, is what the kernels are compiled to.
#[test]
fn rings_have_the_stages_that_are_told() {
    use rir::device::cuda::choices::tile::Tile;
    use rir::device::cuda::{Choice, Kernels};
    use rir::graph::Shape;
    use rir::ops::{Conv2d, Conv2dDataGrad, Conv2dWeightGrad, Op};

    let mut text: String = ["store", "resident", "weight_grad_halo"]
        .map(|header| format!("#include \"conv2d/wgmma_{header}.cuh\"\n"))
        .concat();
    text += "using namespace conv2d;\nstatic_assert(MOST_HALO_LINES == 64 && MOST_CLASSES == 4);\n";
    let mut seen = 0;
    for (channels, span) in [(64, 64), (96, 32)] {
        let (x, w) = (Shape::from([4, 16, 16, channels]), Shape::from([channels, 3, 3, channels]));
        let conv = Conv2d::same(3, 1);
        let products: [(&str, Op, [&Shape; 2]); 3] = [
            ("Forward", conv.into(), [&x, &w]),
            ("DataGrad", Conv2dDataGrad::new(conv, x.clone()).into(), [&x, &w]),
            ("WeightGrad", Conv2dWeightGrad { conv, filter: w.clone() }.into(), [&x, &x]),
        ];
        let forms = [
            Kernels::Wgmma,
            Kernels::WgmmaWs,
            Kernels::WgmmaPersistent,
            Kernels::WgmmaCluster,
            Kernels::WgmmaHalo,
            Kernels::WgmmaStore,
            Kernels::WgmmaResident,
        ];
        for ((name, op, inputs), form) in products.iter().flat_map(|p| forms.map(|form| (p, form))) {
            for columns in [64, 96, 128, 192] {
                let choice = Choice { columns: Some(columns), ..Choice::of(form) };
                let Some(tile) = Tile::of(op, inputs, choice) else { continue };
                // The form has no kernel of this width.
                if tile.columns != columns {
                    continue;
                }
                // As wgmma*.cu have them: GROUPS and BLOCKS of 64 rows, and the blocks that share.
                let persistent = form >= Kernels::WgmmaPersistent;
                let shape = match columns {
                    64 | 96 if persistent => "1, 2",
                    192 if persistent && *name == "WeightGrad" => "2, 2",
                    _ => "2, 1",
                };
                let product = match (tile.halo, form) {
                    (true, Kernels::WgmmaResident) => format!("Resident{name}<{columns}>"),
                    (true, _) if *name == "WeightGrad" => format!("HaloWeightGrad<{columns}>"),
                    (true, _) => format!("Halo{name}<{columns}, {shape}>"),
                    (false, _) => format!("Wgmma{name}<{columns}, {span}, {shape}, {}>", tile.cluster),
                };
                let product = match form {
                    Kernels::WgmmaStore => format!("WithStores<{product}>"),
                    _ => product,
                };
                let shared = match form {
                    Kernels::WgmmaResident => format!("{product}::Shared"),
                    _ => format!("WgmmaShared<{product}, 2>"),
                };
                text += &format!(
                    "static_assert({shared}::STAGES == {} && {product}::Tile::DEPTH == {});\n",
                    tile.stages, tile.depth
                );
                seen += 1;
            }
        }
    }
    assert!(seen > 100, "{seen}");
    let source = Path::new(env!("CARGO_TARGET_TMPDIR")).join("stages.cpp");
    std::fs::write(&source, text).unwrap();
    let mut compile = Command::new(env!("RIR_EMU_CXX"));
    succeed(compile.args(["-std=c++20", "-fsyntax-only", "-I"]).arg(kernels()).arg(source));
}
