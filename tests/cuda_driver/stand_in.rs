//! Builds the stand-in for `libcuda`, and runs a test's body in a process that loads it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Set in the processes that run the bodies.
const CHILD: &str = "RIR_STANDIN_CHILD";

/// The emulator's compiler and library, where the build has one.
const COMPILER: Option<&str> = option_env!("RIR_EMU_CXX");
const EMULATOR: Option<&str> = option_env!("RIR_EMU_LIBRARY");

/// Declares a test whose body runs with the stand-in driver, set up by environment variables that are named without
/// their prefix `RIR_STANDIN_`.
macro_rules! with_driver {
    (fn $name:ident($($setting:literal = $value:literal),*) $body:block) => {
        #[test]
        #[cfg_attr(not(rir_emu), ignore = "built without the emulator: no C++ compiler was found")]
        #[cfg_attr(rir_emu_sanitized, ignore = "the stand-in driver is not built with sanitizers")]
        fn $name() {
            let path = concat!(module_path!(), "::", stringify!($name));
            crate::stand_in::run(path, &[$(($setting, $value)),*], || $body);
        }
    };
}
pub(crate) use with_driver;

pub fn run(path: &str, settings: &[(&str, &str)], body: impl FnOnce()) {
    if std::env::var_os(CHILD).is_some() {
        return body();
    }
    let folder = folder();
    // The first part of the path is the crate, which the test's own name is without.
    let (_, test) = path.split_once("::").expect("a test in a module");
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", test, "--nocapture"]).env(CHILD, "1").env("LD_LIBRARY_PATH", folder);
    command.envs(settings.iter().map(|(name, value)| (format!("RIR_STANDIN_{name}"), value)));
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{test} with the stand-in driver: {}\n{said}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The folder of the stand-in, which is compiled by the first test that asks.
fn folder() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("stand-in-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let kernels = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels");
        let compiler = COMPILER.expect("the emulator was built");
        let source = kernels.join("emu/driver");
        let compile = |source: PathBuf, object: &Path, flags: &[&str]| {
            let mut command = Command::new(compiler);
            command.args(["-x", "c++", "-std=c++20", "-fPIC", "-fvisibility=hidden", "-c"]).args(flags);
            command.arg("-I").arg(&kernels).arg(source).arg("-o").arg(object);
            command
        };
        let drivers = ["libcuda", "launch", "tensor_maps"].map(|name| {
            let object = folder.join(name).with_extension("o");
            let source = source.join(name).with_extension("cpp");
            succeed(&mut compile(source, &object, &["-O1", "-Wall", "-Wextra", "-Werror"]));
            object
        });
        let extra = folder.join("kernels.o");
        let instrumented =
            ["-O1", "-g1", "-fno-strict-aliasing", "-fsanitize=thread", "-DRIR_FAMILY=standin"];
        succeed(&mut compile(source.join("kernels.cu"), &extra, &instrumented));
        // The name that cudarc asks for first; a real driver beside it is never looked for.
        let mut link = Command::new(compiler);
        link.args(["-shared", "-Wl,-Bsymbolic", "-o"]).arg(folder.join("libcuda.so"));
        link.args(&drivers).arg(&extra).arg(EMULATOR.expect("the emulator was built"));
        succeed(link.args(["-lpthread", "-ldl"]));
        let mut ranges = Command::new(compiler);
        ranges.args(["-x", "c++", "-std=c++20", "-fPIC", "-shared"]).arg(source.join("nvtx.cpp"));
        succeed(ranges.arg("-o").arg(folder.join("libnvtx3interop.so")));
        folder
    })
}

fn succeed(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}:\n{}", String::from_utf8_lossy(&output.stderr));
}
