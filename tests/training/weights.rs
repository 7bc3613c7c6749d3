//! Runs that start from given weights: a converted network trains on.

use std::path::{Path, PathBuf};

use rir::convert::to_family;
use rir::error::Kind;
use rir::nn::{Description, Family};
use rir::train::{Checkpoint, Config, Length, Stop, Summary, TrainOptions};

use crate::tiny::{self, assert_same, checkpoint, model, options, resume, run};

/// A trained ResNet, and the RiR that it equals in a file of its own.
fn retrofitted(folder: &Path) -> (Summary, PathBuf) {
    let resnet = Description { family: Family::Resnet, ..model() };
    let trained = run(&TrainOptions { model: Some(resnet), ..options(&folder.join("resnet")) }).unwrap();
    let checkpoint = Checkpoint::load(&folder.join("resnet/checkpoint.safetensors")).unwrap();
    let file = folder.join("rir.safetensors");
    to_family(&checkpoint, Family::Rir).unwrap().checkpoint.save(&file).unwrap();
    (trained, file)
}

/// The run in `output` that goes on with the network in `weights`.
fn continued(weights: &Path, output: &Path) -> TrainOptions {
    let model = Checkpoint::load(weights).unwrap().info.model;
    TrainOptions {
        model: Some(model),
        weights: Some(weights.into()),
        length: Some(Length::Steps(tiny::STEPS_PER_EPOCH)),
        learning_rate: Some(1e-3),
        ..options(output)
    }
}

#[test]
fn a_retrofitted_network_trains_on() {
    let folder = tempfile::tempdir().unwrap();
    let (trained, weights) = retrofitted(folder.path());
    let start = checkpoint(&weights);
    assert!(start.momentum.is_empty() && start.info.position.is_none());

    // Before its first step the run holds the weights and the normalisation of the file.
    let path = folder.path().join("on");
    run(&TrainOptions { stop: Stop::after(0), ..continued(&weights, &path) }).unwrap();
    let first = checkpoint(&path.join("checkpoint.safetensors"));
    assert_eq!((&first.tensors, &first.normaliser), (&start.tensors, &start.normaliser));
    assert!(first.momentum.iter().all(|t| t.data.iter().all(|&v| v == 0.0)));

    // An epoch at a small rate goes on from where training stood: far better than from random weights.
    let on = run(&resume(&path)).unwrap();
    let random = TrainOptions { weights: None, ..continued(&weights, &folder.path().join("random")) };
    let random = run(&random).unwrap();
    let [before, after, random] = [trained, on, random].map(|s| s.test_loss.unwrap());
    assert!((after - before).abs() < 0.25 * (random - before), "{before} {after} {random}");

    // A process that died before the first checkpoint, and the same run in one go.
    let whole = folder.path().join("whole");
    run(&continued(&weights, &whole)).unwrap();
    assert_same(&path, &whole);
    let died = folder.path().join("died");
    run(&TrainOptions { stop: Stop::after(2), ..continued(&weights, &died) }).unwrap();
    std::fs::remove_file(died.join("checkpoint.safetensors")).unwrap();
    run(&resume(&died)).unwrap();
    assert_same(&died, &whole);
}

#[test]
fn weights_that_do_not_suit_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (_, weights) = retrofitted(folder.path());
    let path = folder.path().join("on");
    let options = || TrainOptions { stop: Stop::after(0), ..continued(&weights, &path) };
    let refusal = |options: &TrainOptions, kind: Kind| {
        let error = run(options).unwrap_err();
        assert_eq!((error.kind(), error.to_string().lines().count()), (kind, 1), "{error}");
        error.to_string()
    };
    let wider = Description { stem: 8, ..model() };
    let message = refusal(&TrainOptions { model: Some(wider), ..options() }, Kind::Model);
    assert!(message.contains("rir.safetensors: the checkpoint holds the network"), "{message}");
    let other = folder.path().join("other.safetensors");
    let change = |edit: &dyn Fn(&mut Checkpoint)| {
        let mut changed = checkpoint(&weights);
        edit(&mut changed);
        changed.save(&other).unwrap();
        TrainOptions { weights: Some(other.clone()), ..options() }
    };
    let message = refusal(&change(&|c| c.info.classes.push("fourth".into())), Kind::Model);
    assert!(message.contains("knows 4 classes, the data has 3"), "{message}");
    let resized = change(&|c| {
        c.info.image = [8, 9, 3];
        c.normaliser.mean.truncate(3);
    });
    let message = refusal(&resized, Kind::Model);
    assert!(message.contains("takes images of 8x9x3, the data has 8x8x3"), "{message}");
    let message = refusal(&change(&|c| drop(c.tensors.pop())), Kind::Model);
    assert!(message.contains("other.safetensors: these are not the tensors of"), "{message}");
    assert!(message.contains("missing: "), "{message}");
    std::fs::write(&other, "junk").unwrap();
    let junk = TrainOptions { weights: Some(other.clone()), ..options() };
    assert!(refusal(&junk, Kind::Model).contains("not a safetensors file"));
    let absent = TrainOptions { weights: Some(folder.path().join("none")), ..options() };
    assert!(refusal(&absent, Kind::Io).contains("none"));
    assert!(!path.exists());

    // A run keeps its weights, and notices another file in their place only where it still needs them.
    run(&options()).unwrap();
    let config = Config::load(&path).unwrap();
    assert_eq!(config.weights.unwrap().digest.len(), 64);
    let asked = TrainOptions { weights: Some(other), ..resume(&path) };
    assert!(refusal(&asked, Kind::Usage).contains("keeps its weights at the start"));
    let mut changed = checkpoint(&weights);
    changed.tensors[0].data[0] += 1.0;
    changed.save(&weights).unwrap();
    run(&TrainOptions { stop: Stop::after(1), ..resume(&path) }).unwrap();
    std::fs::remove_file(path.join("checkpoint.safetensors")).unwrap();
    assert!(refusal(&resume(&path), Kind::Model).contains("is not the file that the run began with"));
}

/// Weights that no data made bring no normalisation: the run fits its own.
#[test]
fn untrained_weights_leave_the_normalisation_to_the_data() {
    let folder = tempfile::tempdir().unwrap();
    let (_, weights) = retrofitted(folder.path());
    let mut untrained = checkpoint(&weights);
    let fitted = untrained.normaliser.clone();
    untrained.info.data_digest.clear();
    untrained.normaliser.mean.iter_mut().for_each(|mean| *mean = 0.0);
    untrained.save(&weights).unwrap();
    let path = folder.path().join("on");
    run(&TrainOptions { stop: Stop::after(0), ..continued(&weights, &path) }).unwrap();
    assert_eq!(checkpoint(&path.join("checkpoint.safetensors")).normaliser, fitted);
}
