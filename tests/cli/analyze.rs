//! What the streams of a tiny trained run do.

use std::fs;

use crate::flow::{photos, train};
use crate::rir_in;

const FILES: [&str; 7] = [
    "analysis.json",
    "streams.svg",
    "quarters.svg",
    "identity.svg",
    "norms.svg",
    "activations.svg",
    "similarity.svg",
];

#[test]
fn a_run_is_taken_apart() {
    let folder = photos();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    train(folder.path(), &["--epochs", "3", "--output", "run", "--quiet"]).ok();
    let config = fs::read(folder.path().join("run/checkpoint.safetensors")).unwrap();

    let text = at(&["analyze", "run"]).ok();
    for said in
        ["layer  channels", "1.1.1", "Streams: ", "Memory: ", "in run/analysis: analysis.json, streams.svg"]
    {
        assert!(text.contains(said), "{said} in {text}");
    }
    for file in FILES {
        assert!(folder.path().join("run/analysis").join(file).is_file(), "{file}");
    }
    let json =
        at(&["analyze", "run/checkpoint.safetensors", "--json", "--output", "here", "--images", "3"]).json();
    let accuracy = at(&["eval", "run", "--json"]).json()["test_accuracy"].as_f64();
    let whole: serde_json::Value =
        serde_json::from_slice(&fs::read(folder.path().join("run/analysis/analysis.json")).unwrap()).unwrap();
    assert_eq!(whole["accuracy"].as_f64(), accuracy);
    assert_eq!(whole["layers"].as_array().unwrap().len(), 5);
    assert_eq!(whole["layers"][1]["quarters"].as_array().unwrap().len(), 4);
    for key in
        ["model", "checkpoint", "data", "data_digest", "seed", "epoch", "device", "precision", "version"]
    {
        assert!(!whole[key].is_null(), "{key}");
    }
    // Three images: accuracies, and no likeness.
    assert_eq!((&json["images"], &json["similarity"]), (&3.into(), &serde_json::Value::Null));
    assert!(
        folder.path().join("here/norms.svg").is_file() && !folder.path().join("here/similarity.svg").exists()
    );
    assert_eq!(
        fs::read(folder.path().join("run/checkpoint.safetensors")).unwrap(),
        config,
        "the run is not changed"
    );

    fs::copy(folder.path().join("run/checkpoint.safetensors"), folder.path().join("alone.safetensors"))
        .unwrap();
    at(&["analyze", "alone.safetensors", "--data", "photos"]).fails(2, "say where to write with --output");
    at(&["analyze", "run", "--images", "0"]).fails(2, "--images");
}

#[test]
fn a_network_without_streams_is_refused() {
    let folder = photos();
    let toml = crate::TINY.replace("family = 'rir'", "family = 'resnet'");
    fs::write(folder.path().join("plain.toml"), toml).unwrap();
    let init = ["init", "--model", "plain.toml", "--output", "w.safetensors", "--classes", "2"];
    rir_in(folder.path(), &init).ok();
    rir_in(folder.path(), &["analyze", "w.safetensors", "--data", "photos", "--output", "out"])
        .fails(4, "is of the family resnet, whose layers have no two streams");
    assert!(!folder.path().join("out").exists());
}
