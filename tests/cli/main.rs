//! The `rir` command as its users meet it: arguments, output, exit codes and files.

mod analyze;
mod arguments;
mod bench;
mod convert;
mod flow;
mod inspect;
mod reproduce;
mod trace;

use std::path::Path;
use std::process::{Command, Stdio};

/// What a command left.
pub struct Ran {
    /// Its exit code; -1 where a signal ended it.
    pub code: i32,
    /// What it printed.
    pub stdout: String,
    /// What it said beside that.
    pub stderr: String,
}

impl Ran {
    /// The command must have succeeded; gives its output.
    pub fn ok(self) -> String {
        assert_eq!(self.code, 0, "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// The command must have failed with `code` and one `error: ` line that contains `text`; gives the line.
    pub fn fails(self, code: i32, text: &str) -> String {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        let errors: Vec<&str> = self.stderr.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "{}", self.stderr);
        assert!(self.stderr.contains(text), "no {text:?} in: {}", self.stderr);
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
        errors[0].to_owned()
    }

    /// The command's output as JSON.
    pub fn json(self) -> serde_json::Value {
        serde_json::from_str(&self.ok()).expect("valid JSON")
    }
}

/// `rir` with these arguments in `folder`, without a terminal or a card, and with no data sets but the built-in one.
pub fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rir"));
    command.args(arguments).current_dir(folder).env("RIR_DATA", folder.join("no-data")).stdin(Stdio::null());
    command.env("CUDA_VISIBLE_DEVICES", "");
    command
}

/// Runs `rir` to its end.
pub fn rir_in(folder: &Path, arguments: &[&str]) -> Ran {
    let output = command(folder, arguments).output().expect("rir runs");
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// Runs `rir` where no file is needed.
pub fn rir(arguments: &[&str]) -> Ran {
    rir_in(&std::env::temp_dir(), arguments)
}

/// A network that trains in milliseconds.
pub const TINY: &str = "name = 'tiny'
family = 'rir'
stem = 4
[[groups]]
width = 4
blocks = 1
stride = 4
[[groups]]
width = 6
blocks = 1
stride = 2
";

/// A folder with `tiny.toml` in it.
pub fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tiny.toml"), TINY).expect("a file");
    folder
}
