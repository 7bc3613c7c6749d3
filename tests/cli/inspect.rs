//! `rir inspect`, and output that nobody reads to its end.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use crate::{TINY, command, folder, rir, rir_in};

/// The published totals, and those derived from them, to the last digit.
#[test]
fn totals_are_the_published_ones() {
    let last = |arguments: &[&str]| {
        let text = rir(&[&["inspect"], arguments].concat()).ok();
        text.lines().last().unwrap().to_owned()
    };
    let total = |parameters: &str, multiply_adds: &str, line: String| {
        let start = format!("{parameters} parameters (");
        let end = format!("), {multiply_adds} multiply-adds for one image");
        assert!(line.starts_with(&start) && line.ends_with(&end), "{line}");
    };
    assert_eq!(
        last(&["rir-18-wide"]),
        "10,300,532 parameters (10,291,488 weights, 9,044 batch norm), 1,361.85 M multiply-adds for one image"
    );
    for family in ["rir", "resnet"] {
        let (wide, small) = (format!("{family}-18-wide"), format!("{family}-32"));
        total("10,300,532", "1,361.85 M", last(&[&wide]));
        total("10,335,272", "1,364.07 M", last(&[&wide, "--classes", "100"]));
        total("9,469,940", "1,276.92 M", last(&[&wide, "--projection", "pad"]));
        total("9,563,252", "1,286.36 M", last(&[&wide, "--projection", "1x1"]));
        assert!(last(&[&small]).starts_with("487,386 "));
        assert!(last(&[&small, "--projection", "1x1"]).starts_with("466,906 "));
        assert!(last(&[&small, "--projection", "pad"]).starts_with("464,154 "));
    }
    for family in ["cnn", "resnet-init"] {
        total("9,469,940", "1,276.92 M", last(&[&format!("{family}-18-wide")]));
        assert!(last(&[&format!("{family}-32")]).starts_with("464,154 "));
    }
    let json = rir(&["inspect", "rir-18-wide", "--json"]).json();
    assert_eq!(json["parameters"], 10_300_532);
    assert_eq!(json["layers"].as_array().unwrap().len(), 20);
    assert_eq!(json["model"]["layers-per-block"], 2);
}

#[test]
fn every_stage_is_shown_as_text_json_and_dot() {
    let folder = folder();
    let at = |arguments: &[&str]| rir_in(folder.path(), &[&["inspect", "tiny.toml"], arguments].concat());
    for stage in ["forward", "train", "lowered", "fused", "plan", "eval"] {
        let text = at(&["--graph", stage]).ok();
        assert!(text.contains("stem"), "{stage}: {text}");
        let json = at(&["--graph", stage, "--precision", "bf16", "--batch", "3", "--json"]).json();
        let nodes = json["nodes"].as_array().unwrap();
        assert!(nodes.iter().any(|n| n["operation"] == "conv2d" && n["flops"].as_u64() > Some(0)), "{stage}");
        let dot = at(&["--graph", stage, "--dot"]).ok();
        assert!(dot.starts_with("digraph rir {") && dot.ends_with("}\n"), "{stage}: {dot}");
    }
    let plan = at(&["--graph", "plan", "--json"]).json();
    let bytes = |key: &str| plan[key].as_u64().unwrap();
    assert!(bytes("live_bytes") <= bytes("workspace_bytes"));
    assert!(bytes("workspace_bytes") <= bytes("unshared_bytes"));
}

#[test]
fn a_network_is_printed_edited_and_read_back() {
    let folder = folder();
    for name in ["rir-32", "all-cnn-c", "rir-mlp"] {
        let text = rir(&["inspect", name, "--toml"]).ok();
        std::fs::write(folder.path().join("copy.toml"), &text).unwrap();
        assert_eq!(rir_in(folder.path(), &["inspect", "copy.toml", "--toml"]).ok(), text);
        let table = rir_in(folder.path(), &["inspect", "copy.toml"]).ok();
        assert_eq!(table, rir(&["inspect", name]).ok());
    }
    let changed = rir(&["inspect", "rir-32", "--form", "four-convolutions", "--toml"]).ok();
    assert!(changed.contains("form = \"four-convolutions\""), "{changed}");
    rir(&["inspect", "cnn-32", "--form", "four-convolutions"]).fails(4, "generalized");
    rir(&["inspect", "rir-32", "--residual-share", "2"]).fails(4, "between 0 and 1");
    std::fs::write(folder.path().join("flat.toml"), TINY.replace("stem", "flatten = true\nstem")).unwrap();
    rir_in(folder.path(), &["inspect", "flat.toml"]).fails(4, "size = 1");
}

/// `rir inspect ... | head`: the reader closes the pipe while there is much left to say.
#[cfg(unix)]
#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    let commands: [&[&str]; 3] = [
        &["inspect", "rir-18-wide", "--graph", "train"],
        &["inspect", "rir-18-wide", "--graph", "train", "--json"],
        &["inspect", "rir-18-wide", "--graph", "fused", "--dot"],
    ];
    for arguments in commands {
        let mut child = command(&std::env::temp_dir(), arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::with_capacity(16, child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(!line.is_empty() && output.status.success(), "{:?}", output.status);
        assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_one() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = command(&std::env::temp_dir(), &["inspect", "rir-32"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(5));
    assert!(String::from_utf8_lossy(&output.stderr).starts_with("error: cannot write to standard output"));
}
