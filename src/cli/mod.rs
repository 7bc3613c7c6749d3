//! The command line: one file a subcommand. No arithmetic here.

mod analyze;
mod bench;
mod check;
mod choices;
mod convert;
mod devices;
mod eval;
mod init;
mod inspect;
mod measured;
mod model;
mod output;
mod predict;
mod reproduce;
mod setup;
mod trace;
mod train;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use output::{Output, note};
use rir::error::Result;

/// Train, evaluate and take apart ResNet in ResNet (RiR) and its siblings, without a framework
#[derive(Parser)]
#[command(
    name = "rir",
    version,
    propagate_version = true,
    arg_required_else_help = true,
    args_override_self = true,
    after_help = "Examples:
  rir train                                    rir-32 on CIFAR-10, or synthetic images
  rir train --model rir-18-wide --data cifar10 --recipe paper
  rir eval runs/rir-32                         accuracy, by class, and what is taken for what
  rir predict cat.jpg --checkpoint runs/rir-32
  rir inspect rir-18-wide                      layers, parameters, multiply-adds

Exit codes:
  0 done          3 data set or image     5 file system           7 device missing or failed,
  2 usage         4 model or checkpoint   6 training diverged       or a check failed
A run that Ctrl-C or --time-limit stopped is saved, and also 0."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Train(Box<train::Args>),
    Eval(eval::Args),
    Analyze(analyze::Args),
    Predict(predict::Args),
    Reproduce(Box<reproduce::Args>),
    Inspect(inspect::Args),
    Init(init::Args),
    Convert(convert::Args),
    Trace(trace::Args),
    Check(check::Args),
    Bench(Box<bench::Args>),
    Devices(devices::Args),
}

/// Runs the command that the process' arguments name.
pub fn main() -> ExitCode {
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|panic| {
            let sentence = panic.to_string().replace('\n', " ");
            note(format_args!("error: a mistake in rir itself, please report it: {sentence}"));
        }));
    }
    // A mistake in the arguments, --help and --version end the process here.
    let cli = Cli::parse();
    match run(cli.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            note(format_args!("error: {e}"));
            ExitCode::from(e.exit_code())
        }
    }
}

fn run(command: Command) -> Result<()> {
    let mut out = Output::new();
    let result = match command {
        Command::Train(args) => train::run(*args, &mut out),
        Command::Eval(args) => eval::run(args, &mut out),
        Command::Analyze(args) => analyze::run(args, &mut out),
        Command::Predict(args) => predict::run(args, &mut out),
        Command::Reproduce(args) => reproduce::run(*args, &mut out),
        Command::Init(args) => init::run(args, &mut out),
        Command::Convert(args) => convert::run(args, &mut out),
        Command::Trace(args) => trace::run(args, &mut out),
        Command::Inspect(args) => inspect::run(args, &mut out),
        Command::Bench(args) => bench::run(*args, &mut out),
        Command::Check(args) => check::run(args, &mut out),
        Command::Devices(args) => devices::run(args, &mut out),
    };
    // What was printed before an error is still worth seeing.
    let printed = out.finish();
    result.and(printed)
}
