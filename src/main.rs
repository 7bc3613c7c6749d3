//! The `rir` command: trains, evaluates and takes apart ResNet in ResNet and its siblings.
//!
//! Results go to stdout, everything else to stderr. An error is one sentence that starts with `error: `, and its kind
//! is the exit code. All work is done by the library; this is the command line in front of it.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
