//! `rir convert`: from one family and format to another, and on to evaluation and training.

use std::fs;

use safetensors::SafeTensors;

use crate::flow::{photos, train};
use crate::{TINY, rir_in};

/// A folder with photos and a trained ResNet in `resnet`.
fn trained() -> tempfile::TempDir {
    let folder = photos();
    fs::write(folder.path().join("tiny.toml"), TINY.replace("'rir'", "'resnet'")).unwrap();
    train(folder.path(), &["--epochs", "2", "--output", "resnet", "--quiet"]).ok();
    folder
}

#[test]
fn a_resnet_becomes_a_rir_that_is_evaluated_predicted_and_trained() {
    let folder = trained();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    let said = at(&["convert", "resnet", "--to", "rir", "--output", "rir.safetensors"]).ok();
    assert!(said.starts_with("rir.safetensors: checkpoint of rir-tiny, 2 classes\nW - E at "), "{said}");
    assert!(said.contains("centre taps") && said.contains("rir train --weights rir.safetensors"), "{said}");

    let measure = |file: &str| {
        let result = at(&["eval", file, "--data", "photos", "--json", "--precision", "f64"]).json();
        (result["test_loss"].as_f64().unwrap(), result["confusion"].clone())
    };
    let ((before, taken), (after, taken_after)) = (measure("resnet"), measure("rir.safetensors"));
    assert_eq!(taken, taken_after);
    assert!((before - after).abs() <= 1e-6 * before, "{before} {after}");
    let likely = |file: &str| {
        let shown = at(&["predict", "photos/red/1.png", "--checkpoint", file, "--json"]).json();
        shown[0]["predictions"][0]["class"].clone()
    };
    assert_eq!(likely("resnet"), likely("rir.safetensors"));

    let base = ["train", "--data", "photos", "--batch-size", "8", "--steps", "2", "--output", "on", "--json"];
    let on = at(&[&base[..], &["--weights", "rir.safetensors"]].concat()).json();
    assert_eq!(on["model"], "rir-tiny");
    let config = fs::read_to_string(folder.path().join("on/config.toml")).unwrap();
    assert!(config.contains("[weights]") && config.contains("rir.safetensors"), "{config}");
    // The run again from its configuration: the same weights, the same result.
    let again = ["train", "--config", "on", "--output", "again", "--json"];
    assert_eq!(at(&again).json()["test_loss"], on["test_loss"]);
    at(&["train", "--resume", "on", "--weights", "rir.safetensors"]).fails(2, "cannot be used with");
    let other = ["--weights", "rir.safetensors", "--model", "rir-32", "--output", "other"];
    at(&[&base[..7], &other].concat())
        .fails(4, "the checkpoint holds the network 'rir-tiny', 'rir-32' was asked for");
}

#[test]
fn a_state_dict_goes_out_and_comes_back() {
    let folder = trained();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    let read = |file: &str| fs::read(folder.path().join(file)).unwrap();
    let said = at(&["convert", "resnet", "--format", "torch", "--output", "dict.safetensors"]).ok();
    assert!(said.starts_with("dict.safetensors: state dict of tiny, 2 classes\nnext: "), "{said}");
    let bytes = read("dict.safetensors");
    let dict = SafeTensors::deserialize(&bytes).unwrap();
    let foreign = |name: &str| name.starts_with("preprocess.") || name.starts_with("optimizer.");
    assert!(dict.names().iter().all(|name| !foreign(name)));
    assert!(dict.tensor("stem.bn.num_batches_tracked").is_ok());

    // Back by its own metadata, and without it by the run's.
    at(&["convert", "dict.safetensors", "--output", "back.safetensors"]).ok();
    let views = dict.iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let bare = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    fs::write(folder.path().join("bare.safetensors"), bare).unwrap();
    let bare = ["convert", "bare.safetensors", "--output"];
    at(&[&bare[..], &["x.safetensors"]].concat())
        .fails(4, "give --model a name, a .toml file or a checkpoint");
    at(&[&bare[..], &["like.safetensors", "--model", "resnet"]].concat()).ok();
    assert_eq!(read("like.safetensors"), read("back.safetensors"));
    at(&[&bare[..], &["again.safetensors", "--model", "dict.safetensors"]].concat()).ok();
    assert_eq!(read("again.safetensors"), read("back.safetensors"));
    at(&["eval", "dict.safetensors"]).fails(4, "rir convert makes a checkpoint of it");
    at(&["eval", "bare.safetensors"]).fails(4, "rir convert reads a state dict");
    let named = at(&[&bare[..], &["named.safetensors", "--model", "tiny.toml"]].concat());
    assert!(
        named.stderr.contains("nothing says how the network's images were normalised"),
        "{}",
        named.stderr
    );
    named.ok();
    let evaluation =
        |file: &str| at(&["eval", file, "--data", "photos", "--json"]).json()["test_loss"].clone();
    assert_eq!(evaluation("back.safetensors"), evaluation("resnet"));
    assert!(evaluation("named.safetensors").is_f64());

    // Two conversions in one.
    let said =
        at(&["convert", "dict.safetensors", "--to", "rir", "--format", "torch", "--output", "r.safetensors"]);
    assert!(said.ok().starts_with("r.safetensors: state dict of rir-tiny"));
    let folded = ["convert", "r.safetensors", "--to", "resnet", "--output", "folded.safetensors"];
    assert!(at(&folded).ok().contains("\nW + E at "));
}

#[test]
fn conversions_that_cannot_be_are_refused_and_nothing_is_overwritten() {
    let folder = trained();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    let convert =
        |arguments: &[&str]| at(&[&["convert", "resnet", "--output", "x.safetensors"], arguments].concat());
    convert(&["--to", "resnet"]).fails(4, "checkpoint.safetensors: 'tiny' is of the family resnet already");
    convert(&["--to", "resnet-init"]).fails(4, "so what equals it is of the family rir; give --to rir");
    convert(&["--to", "densenet"]).fails(2, "cnn, resnet, resnet-init, rir");
    convert(&["--format", "onnx"]).fails(2, "rir, torch");
    convert(&[]).fails(2, "there is nothing to convert");
    convert(&["--to", "rir", "--model", "tiny.toml"]).fails(2, "leave out --model");
    convert(&["--to", "rir", "--image", "8x8"]).fails(2, "--model");
    at(&["convert", "resnet", "--to", "rir"]).fails(2, "--output");
    at(&["convert", "nowhere", "--to", "rir", "--output", "x.safetensors"]).fails(5, "does not exist");
    assert!(!folder.path().join("x.safetensors").exists());
    at(&["convert", "resnet", "--to", "rir", "--output", "no/such/x.safetensors"]).fails(5, "no/such");

    let path = folder.path().join("x.safetensors");
    fs::write(&path, "notes").unwrap();
    convert(&["--to", "rir"]).fails(5, "x.safetensors exists; --force replaces it");
    assert_eq!(fs::read(&path).unwrap(), b"notes");
    at(&["convert", "x.safetensors", "--to", "rir", "--output", "y.safetensors"])
        .fails(4, "not a safetensors file");
    convert(&["--to", "rir", "--force"]).ok();
    let trained = fs::read(folder.path().join("resnet/checkpoint.safetensors")).unwrap();
    let own = ["convert", "resnet", "--to", "rir", "--force", "--output", "./resnet/checkpoint.safetensors"];
    at(&own).fails(2, "is what this conversion reads");
    assert_eq!(fs::read(folder.path().join("resnet/checkpoint.safetensors")).unwrap(), trained);

    let mut torn = fs::read(&path).unwrap();
    torn.truncate(torn.len() - 100);
    fs::write(folder.path().join("torn.safetensors"), torn).unwrap();
    let torn = ["convert", "torn.safetensors", "--to", "resnet", "--output", "y.safetensors"];
    at(&torn).fails(4, "torn.safetensors: not a safetensors file, or a truncated or damaged one");
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{left:?}");
}
