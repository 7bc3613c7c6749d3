//! Tables of the paper rehearsed on the built-in images, with networks so narrow that they take a second.

use std::fs;
use std::path::Path;

use crate::{folder, rir_in};

/// Both networks of `all-cnn`, 2 and 4 channels wide, one step each.
const REHEARSAL: [&str; 12] = [
    "reproduce",
    "all-cnn",
    "--data",
    "synthetic",
    "--narrow",
    "48",
    "--epochs",
    "1",
    "--subset",
    "20",
    "--batch-size",
    "20",
];

fn rehearse(folder: &Path, arguments: &[&str]) -> crate::Ran {
    rir_in(folder, &[&REHEARSAL[..], arguments].concat())
}

#[test]
fn a_table_is_trained_listed_and_not_trained_again() {
    let folder = folder();
    let listed = rehearse(folder.path(), &["--list"]).ok();
    assert_eq!(listed.matches("  to do: 1 step\n").count(), 2, "{listed}");
    assert!(!folder.path().join("runs").exists());

    let first = rehearse(folder.path(), &["--only", "all-*"]);
    assert!(first.stderr.contains("run 1 of 1: synthetic-all-cnn-c-48-paper-n20-s0"), "{}", first.stderr);
    let text = first.ok();
    assert!(text.contains("(n = 1)") && text.contains("to do"), "{text}");
    let deviations = "the built-in synthetic images in place of CIFAR-10; every width divided by 48; 1 epoch in place of \
                      the recipe's 164; batches of 20 images in place of 500; 20 training images in place of 5,000.";
    assert!(text.contains(deviations) && text.contains("not comparable"), "{text}");
    assert!(text.starts_with("# Synthetic images: ") && text.contains("\nSynthetic test accuracy"), "{text}");

    let second = rehearse(folder.path(), &["--json"]);
    assert!(second.stderr.contains("run 1 of 1: synthetic-resnet-init-all-cnn-c-48-paper-n20-s0"));
    let json = second.json();
    assert!(json["cells"].as_array().unwrap().iter().all(|cell| cell["n"] == 1), "{json}");
    let output = folder.path().join("runs/reproduced");
    let written = fs::read_to_string(output.join("all-cnn.json")).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&written).unwrap(), json);

    let third = rehearse(folder.path(), &[]);
    assert_eq!(third.stderr, "");
    assert_eq!(third.ok(), fs::read_to_string(output.join("all-cnn.md")).unwrap());
    let states = rehearse(folder.path(), &["--list", "--json"]).json();
    assert!(states.as_array().unwrap().iter().all(|run| run["state"] == "finished"), "{states}");
    // An ordinary run.
    rir_in(folder.path(), &["eval", "runs/reproduced/runs/synthetic-all-cnn-c-48-paper-n20-s0"]).ok();
    rehearse(folder.path(), &["--epochs", "2"]).fails(2, "length.epochs = 1, and this asks for 2");
}

#[test]
fn few_data_draws_its_figure() {
    let folder = folder();
    let arguments = ["few-data", "--narrow", "8", "--subset", "600", "--batch-size", "300", "--only", "cnn*"];
    let arguments =
        [&["reproduce", "--data", "synthetic", "--epochs", "1", "--quiet"], &arguments[..]].concat();
    let ran = rir_in(folder.path(), &arguments);
    assert_eq!(ran.stderr, "");
    let text = ran.ok();
    assert!(text.contains("| 500             | to do | to do  | "), "{text}");
    assert!(text.contains("- 500: no pair of runs has finished"), "{text}");
    let svg = fs::read_to_string(folder.path().join("runs/reproduced/few-data.svg")).unwrap();
    assert!(svg.starts_with("<svg") && svg.contains("synthetic test accuracy"));
}

#[test]
fn what_makes_no_sense_is_said() {
    let folder = folder();
    let at = |arguments: &[&str]| rir_in(folder.path(), &[&["reproduce"], arguments].concat());
    at(&["cifar11"]).fails(2, "cifar10, cifar100, depth, all-cnn, streams, few-data, ingredients");
    at(&["cifar10"]).fails(3, "--data synthetic rehearses without it");
    at(&["cifar10", "--data", "nowhere"]).fails(3, "cifar10 is not in nowhere");
    at(&["cifar10", "--data", "synthetic", "--narrow", "9"]).fails(2, "from 1 to 8");
    at(&["cifar10", "--data", "synthetic", "--only", "rir-23"]).fails(2, "did you mean 'rir-32'?");
    at(&["cifar10", "--data", "synthetic", "--recipe", "papper"]).fails(2, "did you mean 'paper'?");
    at(&["cifar10", "--data", "synthetic", "--subset", "5001"]).fails(2, "from 1 to 5000");
    at(&["few-data", "--data", "synthetic", "--subset", "499"]).fails(2, "499");
    at(&["cifar10", "--data", "synthetic", "--seed", "9223372036854775807", "--seeds", "2"]).fails(2, "2^63");
    at(&["cifar10", "--data", "synthetic", "--images", "5"])
        .fails(2, "for the analyses of the table streams");
    at(&["cifar10", "--data", "synthetic", "--seeds", "1001"]).fails(2, "1..=1000");
    let plain = ["ingredients", "--data", "synthetic", "--recipe", "paper"];
    at(&plain).fails(2, "no ingredient that the paper's has not; give another, such as --recipe fast");
    fs::write(folder.path().join("file"), "").unwrap();
    rehearse(folder.path(), &["--output", "file/deep"]).fails(5, "file");
}
