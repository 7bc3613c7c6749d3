//! What a run refuses, in one sentence each, and what it leaves intact.

use rir::data::split::Share;
use rir::error::Kind;
use rir::train::{Checkpoint, Environment, Length, Stop, TrainOptions, train};

use crate::tiny::{ENVIRONMENT, data, model, options, recipe, resume, run};

fn refusal(options: &TrainOptions) -> (Kind, String) {
    let error = run(options).unwrap_err();
    assert_eq!(error.to_string().lines().count(), 1, "{error}");
    (error.kind(), error.to_string())
}

#[test]
fn runs_that_make_no_sense_leave_no_folder() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("run");
    let cases = [
        (TrainOptions { length: Some(Length::Epochs(0)), ..options(&path) }, "at least one epoch"),
        (TrainOptions { length: Some(Length::Steps(0)), ..options(&path) }, "at least one epoch"),
        (
            TrainOptions { batch_size: Some(54), ..options(&path) },
            "batch of 54 images is larger than the training set of 53",
        ),
        (TrainOptions { batch_size: Some(0), ..options(&path) }, "batch-size must be at least 1"),
        (TrainOptions { subset: Some(54), ..options(&path) }, "subset of 54 from 53"),
        (
            TrainOptions { subset: Some(7), ..options(&path) },
            "batch of 8 images is larger than the training set of 7",
        ),
        (TrainOptions { val_split: Some(Share::Count(53)), ..options(&path) }, "cannot hold out 53 of 53"),
        (TrainOptions { learning_rate: Some(-1.0), ..options(&path) }, "learning-rate = -1 must be above 0"),
        (TrainOptions { seed: Some(u64::MAX), ..options(&path) }, "below 2^63"),
    ];
    for (options, expected) in cases {
        let (kind, message) = refusal(&options);
        assert!(message.contains(expected), "{message}");
        assert_eq!(kind, Kind::Usage, "{message}");
        assert!(!path.exists(), "{message}");
    }
}

#[test]
fn a_folder_with_a_run_is_not_overwritten() {
    let folder = tempfile::tempdir().unwrap();
    run(&TrainOptions { stop: Stop::after(2), ..options(folder.path()) }).unwrap();
    let (kind, message) = refusal(&options(folder.path()));
    assert!(
        kind == Kind::Io && message.contains("already holds a run") && message.contains("--resume"),
        "{message}"
    );
}

#[test]
fn a_resumed_run_must_be_the_same_run() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(&TrainOptions { stop: Stop::after(2), ..options(path) }).unwrap();
    let other_recipe = rir::optim::Recipe { momentum: 0.8, ..recipe() };
    let other_model = rir::nn::Description { stem: 6, ..model() };
    let cases = [
        (TrainOptions { model: Some(other_model), ..resume(path) }, "keeps its model"),
        (TrainOptions { recipe: Some(other_recipe), ..resume(path) }, "keeps its recipe"),
        (TrainOptions { seed: Some(1), ..resume(path) }, "keeps its seed"),
        (TrainOptions { batch_size: Some(9), ..resume(path) }, "keeps its batch size"),
        (TrainOptions { length: Some(Length::Epochs(9)), ..resume(path) }, "keeps its number of epochs"),
        (TrainOptions { data: Some("another".into()), ..resume(path) }, "is not what the run was trained on"),
        (TrainOptions { output: Some("elsewhere".into()), ..resume(path) }, "in its own folder"),
        (resume(&path.join("none")), "is no run folder"),
    ];
    for (options, expected) in cases {
        let (_, message) = refusal(&options);
        assert!(message.contains(expected), "{message}");
    }
    // The data may lie elsewhere, and the options may repeat what the run has.
    let elsewhere = Environment { open_data: &|_, image| data("synthetic", image), ..ENVIRONMENT };
    let same = TrainOptions {
        resume: Some(path.into()),
        output: None,
        data: Some("/mnt/copy".into()),
        ..options(path)
    };
    assert!(train(&same, &elsewhere).unwrap().finished);
    assert!(refusal(&resume(path)).1.contains("is finished after 18 steps"));
}

#[test]
fn a_configuration_that_is_not_the_checkpoints_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(&TrainOptions { stop: Stop::after(2), ..options(path) }).unwrap();
    let file = path.join("config.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let cases = [
        ("seed = 5", "seed = 6", "seed 6, the checkpoint was trained with 5"),
        ("momentum = 0.9", "momentum = 0.8", "recipe.momentum 0.8, the checkpoint was trained with 0.9"),
        ("stem = 4", "stem = 6", "model.stem 6, the checkpoint was trained with 4"),
    ];
    for (from, to, expected) in cases {
        std::fs::write(&file, text.replace(from, to)).unwrap();
        let (_, message) = refusal(&resume(path));
        assert!(message.contains(expected), "{message}");
    }
    std::fs::write(&file, text).unwrap();
    assert!(run(&resume(path)).unwrap().finished);
}

#[test]
fn damaged_checkpoints_do_not_resume() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    run(&TrainOptions { stop: Stop::after(2), ..options(path) }).unwrap();
    let file = path.join("checkpoint.safetensors");
    let good = Checkpoint::load(&file).unwrap();
    type Change = fn(&mut Checkpoint);
    let cases: [(Change, &str); 6] = [
        (|c| drop(c.tensors.pop()), "missing: "),
        (|c| drop(c.momentum.pop()), "missing: "),
        (|c| c.tensors[0].name.push('x'), "are not the tensors of"),
        (
            |c| c.tensors.iter_mut().filter(|t| t.shape.len() == 4).for_each(|t| t.shape.swap(0, 1)),
            "of another shape: ",
        ),
        (|c| c.info.classes.push("owl".into()), "knows 4 classes, the data has 3"),
        (|c| c.info.position = None, "cannot be continued|not continued"),
    ];
    for (change, expected) in cases {
        let mut bad = good.clone();
        change(&mut bad);
        bad.save(&file).unwrap();
        let (kind, message) = refusal(&resume(path));
        assert!(expected.split('|').any(|e| message.contains(e)), "{message}");
        assert_eq!(kind, Kind::Model, "{message}");
    }
    std::fs::write(&file, "x").unwrap();
    assert!(refusal(&resume(path)).1.contains("not a safetensors file"));
    good.save(&file).unwrap();
    assert!(run(&resume(path)).unwrap().finished);
}

#[test]
fn divergence_stops_with_the_step_the_place_and_advice() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let (kind, message) = refusal(&TrainOptions { learning_rate: Some(1e12), ..options(path) });
    assert_eq!(kind, Kind::Diverged, "{message}");
    assert!(message.contains("diverged at step") && message.contains("lower learning rate than 1e12 "));
    assert!(
        ["is not finite", "largest gradient is that of"].iter().any(|e| message.contains(e)),
        "{message}"
    );
    let kept = Checkpoint::load(&path.join("checkpoint.safetensors")).unwrap();
    assert!(kept.tensors.iter().all(|t| t.check_finite().is_ok()));
}
