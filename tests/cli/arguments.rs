//! Help, mistakes, and their exit codes.

use crate::{command, folder, rir, rir_in};

const COMMANDS: [&str; 11] = [
    "train",
    "eval",
    "predict",
    "reproduce",
    "inspect",
    "init",
    "convert",
    "trace",
    "check",
    "bench",
    "devices",
];

#[test]
fn every_command_has_help_with_examples() {
    let help = rir(&["--help"]).ok();
    for code in ["0 done", "2 usage", "3 data", "4 model", "5 file system", "6 training diverged", "7 device"]
    {
        assert!(help.contains(code), "{code}: {help}");
    }
    assert!(help.contains("--time-limit") && rir(&["train", "--help"]).ok().contains("RIR_DATA"), "{help}");
    for name in COMMANDS {
        assert!(help.contains(&format!("\n  {name} ")), "{name}: {help}");
        let own = rir(&[name, "--help"]).ok();
        assert!(own.contains("Examples:\n  rir ") && own.contains("Usage: rir "), "{own}");
        assert!(own.lines().all(|l| l.chars().count() <= 120), "{own}");
    }
    let bare = rir(&[]);
    assert!(bare.code == 2 && bare.stderr.contains("Usage: rir <COMMAND>"), "{}", bare.stderr);
    assert_eq!(rir(&["--version"]).ok().trim(), format!("rir {}", env!("CARGO_PKG_VERSION")));
}

#[test]
fn a_slip_of_the_hand_is_met_with_the_nearest_name() {
    rir(&["trian"]).fails(2, "'train'");
    rir(&["inspect", "rir-23"]).fails(4, "unknown model 'rir-23'; did you mean 'rir-32'?");
    rir(&["train", "--model", "vgg"]).fails(4, "known: rir-32, resnet-32");
    rir(&["train", "--recipe", "papper"]).fails(2, "did you mean 'paper'?");
    rir(&["train", "--device", "gpu"]).fails(2, "unknown device 'gpu'; did you mean 'cpu'?");
    rir(&["train", "--device", "cuda:one"]).fails(2, "cuda:0");
    rir(&["train", "--precision", "fp32"]).fails(2, "did you mean 'f32'?");
    rir(&["train", "--data", "cifar11"]).fails(3, "did you mean 'cifar10'?");
    rir(&["train", "--projection", "2x2"]).fails(2, "3x3, 1x1, pad");
    rir(&["train", "--epoch", "3"]).fails(2, "--epochs");
    rir(&["train", "--time-limit", "soon"]).fails(2, "1h30m");
    rir(&["train", "--epochs", "1", "--steps", "1"]).fails(2, "cannot be used with");
    rir(&["inspect", "rir-32", "--image", "32x0"]).fails(2, "32x32, height first");
    rir(&["inspect", "rir-32", "--batch", "0"]).fails(2, "a whole number from 1");
    rir(&["eval", "run", "--threads", "0"]).fails(2, "a whole number from 1");
    rir(&["train", "--lr", "-1"]).fails(2, "learning-rate = -1 must be above 0");
    rir(&["train", "--val-split", "-0.1"]).fails(2, "'-0.1' is no part of a data set");
    rir(&["inspect", "rir-32", "--graph", "plann"]).fails(2, "plan");
}

#[test]
fn a_key_of_a_network_is_corrected_with_its_line() {
    let folder = folder();
    let path = folder.path().join("mine.toml");
    std::fs::write(&path, crate::TINY.replace("stem", "stems")).unwrap();
    let error = rir_in(folder.path(), &["inspect", "mine.toml"]).fails(4, "did you mean 'stem'?");
    assert_eq!(error, "error: mine.toml, line 3: unknown key 'stems'; did you mean 'stem'?");
    std::fs::write(&path, [0xff, 0xfe, 0]).unwrap();
    rir_in(folder.path(), &["train", "--model", "mine.toml"]).fails(5, "mine.toml");
    rir_in(folder.path(), &["train", "--model", "none.toml"]).fails(5, "none.toml");
}

#[test]
fn what_is_missing_is_said_with_its_exit_code() {
    let folder = folder();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    at(&["train", "--data", "cifar10"]).fails(3, "fetch it with");
    at(&["train", "--data", "no/such/folder"]).fails(3, "does not exist");
    at(&["train", "--data", "photos/"]).fails(3, "does not exist");
    at(&["train", "--resume", "nowhere"]).fails(5, "no run folder");
    at(&["train", "--config", "nowhere.toml"]).fails(5, "nowhere.toml");
    at(&["eval", "nowhere"]).fails(5, "does not exist");
    at(&["predict", "x.png", "--checkpoint", "nowhere"]).fails(5, "does not exist");
    at(&["predict", "x.png"]).fails(2, "--checkpoint");
    at(&["inspect", "nowhere.safetensors"]).fails(5, "nowhere.safetensors");
    std::fs::write(folder.path().join("junk.safetensors"), "junk").unwrap();
    at(&["inspect", "junk.safetensors"]).fails(4, "not a safetensors file");
    at(&["eval", "junk.safetensors"]).fails(4, "not a safetensors file");
    let folder_without_run = folder.path().to_string_lossy().into_owned();
    at(&["eval", &folder_without_run]).fails(5, "holds no checkpoint.safetensors");
}

#[test]
fn a_cuda_card_is_refused_in_plain_words() {
    for device in ["cuda", "cuda:7"] {
        rir(&["train", "--device", device]).fails(7, "--device cpu");
    }
    let devices = rir(&["devices"]).ok();
    assert!(devices.starts_with("cpu ") && devices.contains("\ncuda"), "{devices}");
    let json = rir(&["devices", "--json"]).json();
    assert!(json["cpu"]["threads"].as_u64() >= Some(1) && json["cuda_kernels"].is_array(), "{json}");
    assert_eq!(json["emulator"], cfg!(rir_emu), "{json}");
    assert_eq!(json["kernels_hash"].as_str().map(str::len), Some(64), "{json}");
    assert!(json["commit"].as_str().is_some_and(|commit| !commit.is_empty()), "{json}");
}

#[test]
fn there_is_no_colour_without_a_terminal() {
    for arguments in [&["--help"][..], &["inspect", "rir-32"], &["train", "--nonsense"]] {
        for variable in [None, Some("NO_COLOR")] {
            let mut command = command(&std::env::temp_dir(), arguments);
            variable.map(|v| command.env(v, "1"));
            let output = command.output().unwrap();
            assert!(!output.stdout.contains(&0x1b) && !output.stderr.contains(&0x1b), "{arguments:?}");
        }
    }
}
