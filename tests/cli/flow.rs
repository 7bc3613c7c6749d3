//! From training to prediction, on networks and data that take seconds.

use std::fs;
use std::path::Path;

use crate::{command, folder, rir_in};

/// A folder with the tiny network and ten images of each of two colours.
pub fn photos() -> tempfile::TempDir {
    let folder = folder();
    write_images(&folder.path().join("photos"), &[("red", [200, 30, 30]), ("green", [30, 200, 30])]);
    folder
}

/// Trains the tiny network on those: two steps an epoch.
pub fn train(folder: &Path, arguments: &[&str]) -> crate::Ran {
    rir_in(folder, &[&TRAIN[..], arguments].concat())
}

const TRAIN: [&str; 7] = ["train", "--model", "tiny.toml", "--data", "photos", "--batch-size", "8"];

/// `folder/CLASS/N.png`, nearly one colour each.
fn write_images(folder: &Path, classes: &[(&str, [u8; 3])]) {
    for (class, colour) in classes {
        fs::create_dir_all(folder.join(class)).unwrap();
        for i in 0..10u8 {
            let pixel = |x: u32, y: u32| image::Rgb(colour.map(|c| c ^ ((x * 7 + y * 3) as u8 % 16) ^ i));
            image::RgbImage::from_fn(33, 40, pixel)
                .save(folder.join(class).join(format!("{i}.png")))
                .unwrap();
        }
    }
}

/// Whoever sees an accuracy on the built-in images sees that it is one.
#[test]
fn the_built_in_images_are_called_synthetic() {
    let folder = folder();
    let arguments = ["train", "--model", "tiny.toml", "--subset", "20", "--batch-size", "20", "--steps", "1"];
    let trained = rir_in(folder.path(), &[&arguments[..], &["--output", "run"]].concat());
    assert!(
        trained.stderr.contains("using the built-in synthetic set; fetch CIFAR-10 with"),
        "{}",
        trained.stderr
    );
    let evaluated = rir_in(folder.path(), &["eval", "run/checkpoint.safetensors"]);
    for text in [trained.ok(), evaluated.ok()] {
        let accuracies: Vec<&str> = text.lines().filter(|l| l.contains("accuracy")).collect();
        assert!(!accuracies.is_empty() && accuracies.iter().all(|l| l.contains("synthetic")), "{text}");
        assert!(text.lines().last().unwrap().starts_with("synthetic test accuracy "), "{text}");
    }
}

#[test]
fn train_eval_resume_and_repeat() {
    let folder = photos();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    let summary = train(folder.path(), &["--epochs", "2", "--output", "run", "--json", "--quiet"]).json();
    assert_eq!((&summary["steps"], &summary["epochs"]), (&4.into(), &2.into()));
    assert_eq!((&summary["synthetic"], &summary["finished"]), (&false.into(), &true.into()));
    for file in ["config.toml", "metrics.jsonl", "checkpoint.safetensors"] {
        assert!(folder.path().join("run").join(file).is_file(), "{file}");
    }
    let evaluation = at(&["eval", "run", "--json"]).json();
    assert_eq!(evaluation["test_accuracy"], summary["test_accuracy"]);
    assert_eq!(evaluation["confusion"].as_array().unwrap().len(), 2);
    assert!(evaluation["flipped_test_accuracy"].is_null());
    let flipped = at(&["eval", "run", "--flip", "--json"]).json();
    assert_eq!(flipped["test_accuracy"], evaluation["test_accuracy"]);
    assert!((0.0..=100.0).contains(&flipped["flipped_test_accuracy"].as_f64().unwrap()));
    assert!(at(&["eval", "run", "--flip"]).ok().contains("test accuracy with each image mirrored as well "));

    // The run is taken, finished, and its own.
    train(folder.path(), &["--output", "run"]).fails(5, "already holds a run");
    at(&["train", "--resume", "run", "--seed", "9"]).fails(2, "keeps its seed");
    at(&["train", "--resume", "run", "--model", "rir-32"]).fails(2, "cannot be used with");
    at(&["train", "--resume", "run", "--projection", "pad"]).fails(2, "cannot be used with");
    at(&["train", "--resume", "run"]).fails(2, "finished");

    // The same run again from its configuration: the same result to the bit. A flag goes before it.
    let repeat = at(&["train", "--config", "run", "--output", "again", "--json", "--quiet"]).json();
    assert_eq!(repeat["test_loss"], summary["test_loss"]);
    let other = ["train", "--config", "run/config.toml", "--output", "other", "--seed", "1", "--json"];
    assert_ne!(at(&other).json()["test_loss"], summary["test_loss"]);

    // The data is found from anywhere, and asked for where it is gone.
    rir_in(&std::env::temp_dir(), &["eval", &folder.path().join("run").to_string_lossy()]).ok();
    fs::rename(folder.path().join("photos"), folder.path().join("moved")).unwrap();
    at(&["eval", "run"]).fails(3, "the data of the run run: ");
    at(&["eval", "run", "--data", "moved"]).ok();

    // Weights that were never trained know their classes by number.
    let init = ["init", "--model", "tiny.toml", "--output", "w.safetensors", "--classes"];
    at(&[&init[..], &["2"]].concat()).ok();
    at(&["eval", "w.safetensors", "--data", "moved"]).ok();
    at(&[&init[..], &["3", "--force"]].concat()).ok();
    at(&["eval", "w.safetensors", "--data", "moved"]).fails(3, "the network knows 3 classes");

    // The network of a run, by its folder.
    let inspected = at(&["inspect", "run", "--json"]).json();
    assert_eq!((&inspected["model"]["name"], &inspected["classes"]), (&"tiny".into(), &2.into()));
}

/// Interrupted by a signal and resumed, a run ends as if it had not been.
#[cfg(unix)]
#[test]
fn an_interrupted_run_goes_on_to_the_same_result() {
    let folder = photos();
    let length = ["--steps", "60", "--quiet", "--json", "--output"];
    let whole = train(folder.path(), &[&length[..], &["whole"]].concat()).json();
    let arguments = [&TRAIN[..], &length, &["part"]].concat();
    let child = command(folder.path(), &arguments).stdout(std::process::Stdio::piped()).spawn().unwrap();
    let metrics = folder.path().join("part/metrics.jsonl");
    for _ in 0..6000 {
        if metrics.metadata().is_ok_and(|m| m.len() > 0) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let part: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    // On a fast machine it may have finished before the signal came.
    if part["finished"] == false {
        let rest = rir_in(folder.path(), &["train", "--resume", "part", "--quiet", "--json"]).json();
        assert_eq!(rest["test_loss"], whole["test_loss"]);
    }
}

#[test]
fn a_folder_of_images_with_names_in_japanese() {
    let folder = folder();
    let at = |arguments: &[&str]| rir_in(folder.path(), arguments);
    let photos = folder.path().join("写真");
    write_images(&photos, &[("猫", [200, 30, 30]), ("犬", [30, 200, 30])]);
    fs::write(photos.join("猫/メモ.txt"), "no image").unwrap();
    let trained = at(&[
        "train",
        "--model",
        "tiny.toml",
        "--data",
        "写真",
        "--output",
        "実験",
        "--batch-size",
        "8",
        "--epochs",
        "20",
        "--lr",
        "0.02",
        "--val-split",
        "0.2",
    ]);
    assert!(trained.stderr.contains("1 file was not an image"), "{}", trained.stderr);
    let text = trained.ok();
    assert!(text.contains("写真") && !text.contains("synthetic"), "{text}");
    let last = at(&["eval", "実験"]).ok();
    assert!(last.lines().last().unwrap().starts_with("test accuracy "), "{last}");

    let predicted =
        at(&["predict", "写真/猫/1.png", "写真/犬/2.png", "--checkpoint", "実験", "--json"]).json();
    assert_eq!(predicted[0]["predictions"][0]["class"], "猫", "{predicted}");
    assert_eq!(predicted[1]["predictions"][0]["class"], "犬", "{predicted}");
    let probabilities = predicted[0]["predictions"].as_array().unwrap();
    assert_eq!(probabilities.len(), 2);
    let sum: f64 = probabilities.iter().map(|p| p["probability"].as_f64().unwrap()).sum();
    assert!((sum - 1.0).abs() < 1e-6);

    // One bad file of several is named, and the others are still looked at.
    fs::write(folder.path().join("junk.png"), "junk").unwrap();
    let mixed = at(&["predict", "実験", "junk.png", "写真/犬/2.png", "--top", "1"]);
    assert!(mixed.stdout.contains("junk.png") && mixed.stdout.contains('犬'), "{}", mixed.stdout);
    mixed.fails(3, "junk.png is not readable as an image");
    at(&["predict", "実験"]).fails(2, "no image");
    at(&["eval", "実験", "--data", "synthetic"]).fails(3, "the network knows 2 classes (犬, 猫)");
}

#[test]
fn runs_that_cannot_be_are_refused() {
    let folder = photos();
    train(folder.path(), &["--epochs", "0"]).fails(2, "at least one epoch");
    train(folder.path(), &["--batch-size", "17"]).fails(2, "larger than the training set of 16");
    train(folder.path(), &["--batch-size", "0"]).fails(2, "batch-size");
    train(folder.path(), &["--lr", "nan"]).fails(2, "learning-rate");
    train(folder.path(), &["--steps", "50", "--lr", "1e9", "--output", "diverged"]).fails(6, "diverged");
    fs::write(folder.path().join("file"), "").unwrap();
    train(folder.path(), &["--output", "file/run"]).fails(5, "file");
    let locked = folder.path().join("locked");
    fs::create_dir(&locked).unwrap();
    let mut permissions = fs::metadata(&locked).unwrap().permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&locked, permissions).unwrap();
    // Root writes anywhere.
    if fs::write(locked.join("probe"), "").is_err() {
        train(folder.path(), &["--steps", "1", "--output", "locked/run"]).fails(5, "locked");
    }
}

#[test]
fn seeds_are_trained_and_summed_up() {
    let folder = photos();
    let summary =
        train(folder.path(), &["--seeds", "2", "--steps", "2", "--output", "seeds", "--json"]).json();
    let runs = summary["runs"].as_array().unwrap();
    assert_eq!([&runs[0]["seed"], &runs[1]["seed"]], [0, 1]);
    assert!(summary["standard_deviation"].as_f64() >= Some(0.0), "{summary}");
}

#[test]
fn the_table_of_cases_holds_on_the_cpu() {
    let folder = folder();
    let report = rir_in(folder.path(), &["check", "--filter", "relu", "--json"]).json();
    assert_eq!(report["failed"], 0);
    assert_eq!(report["operations_without_rows"].as_array().unwrap().len(), 0);
    assert_eq!(report["passed"].as_u64(), report["cases"].as_array().map(|c| c.len() as u64));
    let text = rir_in(folder.path(), &["check", "--filter", "global_avg_pool"]).ok();
    assert!(text.contains("cases passed") && text.contains("\nok  global_avg_pool"), "{text}");
    rir_in(folder.path(), &["check", "--filter", "nothing"]).fails(2, "a name that contains 'nothing'");
}

/// The run remembers the extents: evaluation and another run from its configuration read the same.
#[test]
fn images_of_another_size() {
    let folder = folder();
    write_images(&folder.path().join("photos"), &[("red", [200, 30, 30]), ("green", [30, 200, 30])]);
    let steps = ["--steps", "2", "--image", "20x16", "--output", "run"];
    train(folder.path(), &steps).ok();
    let shown = rir_in(folder.path(), &["inspect", "run"]).ok();
    assert!(shown.contains("images of 20x16x3, 2 classes"), "{shown}");
    rir_in(folder.path(), &["eval", "run"]).ok();
    rir_in(folder.path(), &["train", "--config", "run/config.toml", "--steps", "1"]).ok();
    rir_in(folder.path(), &["train", "--resume", "run", "--data", "photos"]).fails(2, "is finished");
    train(folder.path(), &["--steps", "1", "--image", "0x4"]).fails(2, "32x32");
}
