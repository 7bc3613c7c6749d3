//! What a run leaves and reports.

use std::sync::Arc;
use std::time::Duration;

use rir::data::Normaliser;
use rir::data::split::Share;
use rir::graph::{Fusions, Precision};
use rir::train::{
    Checkpoint, Config, Length, Stopped, TrainOptions, evaluate, flipped_accuracy, train_seeds,
};

use crate::tiny::{ENVIRONMENT, STEPS, data, metrics, options, run};

#[test]
fn a_run_leaves_all_its_files_and_learns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let with_validation = TrainOptions { val_split: Some(Share::Fraction(0.1)), ..options(path) };
    let summary = run(&with_validation).unwrap();
    assert!(summary.finished && summary.stopped.is_none());
    assert!(summary.test_accuracy.unwrap() > 70.0, "three colours are easy: {summary}");

    let names = ["config.toml", "metrics.jsonl", "checkpoint.safetensors", "best.safetensors", "split.json"];
    assert!(names.iter().all(|name| path.join(name).is_file()));
    let entries = std::fs::read_dir(path).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap());
    assert_eq!(entries.filter(|n| n.starts_with("events.out.tfevents.")).count(), 1);

    let config = Config::load(&path.join("config.toml")).unwrap();
    assert_eq!((config.seed, config.data.as_str(), config.data_digest.len()), (5, "synthetic", 64));
    let split: serde_json::Value =
        serde_json::from_slice(&std::fs::read(path.join("split.json")).unwrap()).unwrap();
    let count = |key: &str| split["chosen"][key].as_array().unwrap().len();
    assert_eq!(count("train") + count("validation"), 53);

    let epochs: Vec<_> = metrics(path).into_iter().filter(|line| line["kind"] == "epoch").collect();
    assert_eq!(epochs.len(), 3);
    assert_eq!(epochs[2]["synthetic_test_accuracy"], summary.test_accuracy.unwrap());
    assert!(epochs.iter().all(|e| e["validation_loss"].is_f64() && e["test_accuracy"].is_null()));
    // The best by the validation images, the first among equals.
    let accuracy = |e: &serde_json::Value| e["synthetic_validation_accuracy"].as_f64().unwrap();
    let best = epochs.iter().rev().max_by(|a, b| accuracy(a).total_cmp(&accuracy(b))).unwrap();
    let saved = Checkpoint::load(&path.join("best.safetensors")).unwrap();
    assert_eq!(saved.info.step, best["step"].as_u64().unwrap());
    assert!(saved.momentum.is_empty() && saved.info.position.is_none());
}

#[test]
fn the_last_line_is_the_accuracy_and_synthetic_data_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&options(folder.path())).unwrap();
    let accuracy = summary.test_accuracy.unwrap();
    assert_eq!(
        summary.to_string().lines().last().unwrap(),
        format!("synthetic test accuracy {accuracy:.2} %")
    );
    assert!(summary.to_string().lines().next().unwrap().contains("synthetic"));
    let json: serde_json::Value = serde_json::from_str(&summary.json()).unwrap();
    for key in
        ["test_accuracy", "images_per_second", "peak_rss_bytes", "data", "synthetic", "run", "finished"]
    {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!((&json["synthetic"], &json["finished"]), (&true.into(), &true.into()));
    let real = rir::train::Summary {
        synthetic: false,
        data: "cifar10".into(),
        test_accuracy: Some(94.987),
        ..summary
    };
    assert!(real.to_string().ends_with("\ntest accuracy 94.99 %"));
}

#[test]
fn a_checkpoint_evaluates_to_what_its_run_reported() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&options(folder.path())).unwrap();
    let checkpoint = Checkpoint::load(&folder.path().join("checkpoint.safetensors")).unwrap();
    let fusions = rir::graph::Fusions::ALL;
    let open = |layout: &_, precision| (ENVIRONMENT.open_device)("cpu", layout, precision);
    let mut session = checkpoint.session(checkpoint.info.precision, fusions, open).unwrap();
    let test = std::sync::Arc::new(data("synthetic", [8, 8]).unwrap().dataset.test);
    let normaliser = std::sync::Arc::new(checkpoint.normaliser.clone());
    // Batches of any size, with and without a last partial one.
    for batch in [1, 4, 17, 100] {
        let evaluation = evaluate(&mut session, &test, &normaliser, batch).unwrap();
        assert_eq!((evaluation.images, Some(evaluation.accuracy)), (17, summary.test_accuracy));
        assert!((evaluation.loss - summary.test_loss.unwrap()).abs() < 1e-5);
        assert_eq!(evaluation.confusion.iter().flatten().sum::<u64>(), 17);
    }
    let image = vec![0.25; 8 * 8 * 3];
    assert_eq!(session.predict(&image).unwrap().len(), 3);
    assert!(session.predict(&image[1..]).unwrap_err().to_string().contains("whole number of images"));
}

/// Mirrored images have the same accuracy, since both views of an image count alike, though the network alone tells them
/// apart.
#[test]
fn both_sides_of_an_image_decide_alike() {
    let folder = tempfile::tempdir().unwrap();
    run(&TrainOptions { length: Some(Length::Steps(2)), ..options(folder.path()) }).unwrap();
    let checkpoint = Checkpoint::load(&folder.path().join("checkpoint.safetensors")).unwrap();
    let open = |layout: &_, precision| (ENVIRONMENT.open_device)("cpu", layout, precision);
    let mut session = checkpoint.session(Precision::F64, Fusions::ALL, open).unwrap();
    let images = data("synthetic", [8, 8]).unwrap().dataset.train;
    let mut mirrored = images.clone();
    for row in mirrored.pixels.chunks_exact_mut(8 * 3) {
        let pixels: Vec<u8> = row.chunks_exact(3).rev().flatten().copied().collect();
        row.copy_from_slice(&pixels);
    }
    let normaliser = Arc::new(Normaliser { mean: vec![0.5; 3], inv_std: vec![4.0; 3] });
    let [(one, both), (other, same)] = [images, mirrored].map(|images| {
        let images = Arc::new(images);
        let alone = evaluate(&mut session, &images, &normaliser, 10).unwrap();
        (alone.loss, flipped_accuracy(&mut session, &images, &normaliser, 7).unwrap())
    });
    assert_ne!(one, other, "the network sees a difference");
    assert_eq!(both, same);
}

#[test]
fn a_time_limit_ends_with_a_result_that_can_be_continued() {
    let folder = tempfile::tempdir().unwrap();
    let limited = TrainOptions { time_limit: Some(Duration::from_millis(1)), ..options(folder.path()) };
    let summary = run(&limited).unwrap();
    assert_eq!((summary.stopped, summary.finished, summary.steps), (Some(Stopped::TimeLimit), false, 0));
    assert!(
        summary.to_string().contains("by the time limit after step 0; continue with: rir train --resume")
    );
    assert!(summary.to_string().lines().last().unwrap().starts_with("synthetic test accuracy "));
    assert!(run(&crate::tiny::resume(folder.path())).unwrap().finished);
}

#[test]
fn a_run_may_end_inside_of_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let summary = run(&TrainOptions { length: Some(Length::Steps(8)), ..options(folder.path()) }).unwrap();
    assert_eq!((summary.steps, summary.epochs, summary.finished), (8, 1, true));
    let steps: Vec<_> =
        metrics(folder.path()).iter().filter(|l| l["kind"] == "epoch").map(|l| l["step"].clone()).collect();
    assert_eq!(steps, [6, 8]);
}

#[test]
fn several_seeds_report_mean_and_deviation() {
    let folder = tempfile::tempdir().unwrap();
    let summary = train_seeds(&options(folder.path()), 3, &ENVIRONMENT).unwrap();
    assert!(summary.finished && summary.runs.iter().all(|r| r.steps == STEPS));
    assert_eq!(summary.runs.iter().map(|r| r.seed).collect::<Vec<_>>(), [5, 6, 7]);
    let accuracies: Vec<f64> = summary.runs.iter().map(|r| r.test_accuracy.unwrap()).collect();
    let mean = accuracies.iter().sum::<f64>() / 3.0;
    assert!((summary.test_accuracy.unwrap() - mean).abs() < 1e-12 && summary.standard_deviation.is_some());
    assert!(folder.path().join("s6/checkpoint.safetensors").is_file());
    let text = summary.to_string();
    assert_eq!(text.lines().last().unwrap(), format!("synthetic test accuracy {mean:.2} %"));
}
