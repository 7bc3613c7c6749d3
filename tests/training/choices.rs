//! A run records which kernels it takes, and resumed takes the same: others add up in another order.

use std::path::Path;
use std::sync::Arc;

use rir::Result;
use rir::device::cuda::choices::Chosen;
use rir::device::cuda::emulator::EmulatorDriver;
use rir::device::cuda::{Choice, CudaDevice, Kernels, Options};
use rir::error::Kind;
use rir::graph::{Precision, StateLayout};
use rir::train::{Checkpoint, Environment, Length, Stop, Summary, TrainOptions, train};

use crate::tiny::{self, assert_same, options, resume};

/// Trains on an emulated card, by these choices where there are some.
fn run(options: &TrainOptions, choices: Option<&Chosen>) -> Result<Summary> {
    let choices = choices.cloned().map(Arc::new);
    let open = |_: &str, layout: &StateLayout, precision: Precision| {
        let options = Options { choices: choices.clone(), ..Options::default() };
        let device = CudaDevice::new(Box::new(EmulatorDriver::new(4)), layout, precision, options)?;
        Ok(Box::new(device) as Box<dyn rir::device::Device>)
    };
    train(options, &Environment { open_data: &tiny::data, open_device: &open })
}

fn short(output: &Path) -> TrainOptions {
    TrainOptions { length: Some(Length::Epochs(2)), ..options(output) }
}

fn saved(run: &Path) -> Checkpoint {
    Checkpoint::load(&run.join("checkpoint.safetensors")).unwrap()
}

fn recorded(run: &Path) -> Chosen {
    saved(run).info.choices.expect("an emulated card has choices")
}

/// A run that was stopped after four steps, and its choices with every convolution in the simplest form.
fn begun(path: &Path) -> Chosen {
    run(&TrainOptions { stop: Stop::after(4), ..short(path) }, None).unwrap();
    let mut chosen = recorded(path);
    assert!(chosen.nodes.values().all(|choice| *choice == Choice::of(Kernels::Tiled)), "{chosen:?}");
    chosen.nodes.values_mut().for_each(|choice| *choice = Choice::of(Kernels::Naive));
    chosen
}

#[test]
fn a_run_records_what_it_takes_and_a_resumed_one_takes_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let [first, whole, parts, usual] =
        ["first", "whole", "parts", "usual"].map(|name| folder.path().join(name));
    let naive = begun(&first);
    let summary = run(&short(&whole), Some(&naive)).unwrap();
    let told = summary.kernels.as_ref().unwrap();
    assert!(told.contains("convolutions naive") && told.contains("by a table of choices"), "{told}");
    assert!(summary.to_string().contains(&format!("kernels     {told}\n")), "{summary}");
    assert_eq!(recorded(&whole), naive);
    // The file of the folder is such a table itself.
    let file = std::fs::read_to_string(whole.join("choices.toml")).unwrap();
    assert_eq!(toml::from_str::<Chosen>(&file).unwrap(), naive);

    run(&TrainOptions { stop: Stop::after(4), ..short(&parts) }, Some(&naive)).unwrap();
    // The device would choose others by itself.
    run(&resume(&parts), None).unwrap();
    assert_same(&whole, &parts);
    run(&short(&usual), None).unwrap();
    assert_ne!(saved(&usual).tensors, saved(&whole).tensors, "naive kernels add up in another order");
}

#[test]
fn what_cannot_be_taken_is_said_and_may_be_chosen_anew() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    begun(&path);
    let change = |change: &dyn Fn(&mut Chosen)| {
        let mut checkpoint = saved(&path);
        change(checkpoint.info.choices.as_mut().unwrap());
        checkpoint.save(&path.join("checkpoint.safetensors")).unwrap();
        let error = run(&resume(&path), None).unwrap_err();
        assert_eq!(error.kind(), Kind::Usage);
        let said = error.to_string();
        assert!(said.contains("other bits") && said.ends_with("choose anew by --choices auto"), "{said}");
        said
    };
    let card = recorded(&path).card;
    let said = change(&|chosen| chosen.card = "NVIDIA H100".into());
    assert!(said.contains("made for NVIDIA H100, and this is emu"), "{said}");
    let said = change(&|chosen| (chosen.card, chosen.kernels_hash) = (card.clone(), "ab".repeat(32)));
    assert!(said.contains("made for other kernels (abababababab) than"), "{said}");

    let anew = TrainOptions { choose_anew: true, ..resume(&path) };
    assert!(run(&anew, None).unwrap().finished);
    let now = recorded(&path);
    assert!(now.card == card && now.kernels_hash == rir::version::KERNELS_HASH, "{now:?}");
}

#[test]
fn a_device_without_a_choice_resumes_as_ever_and_records_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run");
    begun(&path);
    let summary = tiny::run(&resume(&path)).unwrap();
    assert!(summary.finished && summary.kernels.is_none());
    assert_eq!(saved(&path).info.choices, None);
}

#[test]
fn choices_that_do_not_hold_are_refused_before_there_is_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let naive = begun(&folder.path().join("first"));
    let path = folder.path().join("run");
    let refused = |chosen: &Chosen| run(&short(&path), Some(chosen)).unwrap_err().to_string();
    let said = refused(&Chosen { card: "NVIDIA H100".into(), ..naive.clone() });
    assert!(said.contains("NVIDIA H100") && said.contains("rir bench tune"), "{said}");
    let mut wrong = naive;
    wrong.nodes.values_mut().for_each(|choice| choice.columns = Some(77));
    let said = refused(&wrong);
    assert!(said.contains("77 columns") && said.contains("--choices none"), "{said}");
    assert!(!path.exists());
}
