//! Tables whose runs are done one after the other: what is done is not done again, and what stands in the way is said.

use std::cell::{Cell as Count, RefCell};
use std::path::Path;
use std::time::Duration;

use rir::data::Loaded;
use rir::error::{Kind, Result};
use rir::graph::Precision;
use rir::nn::{Description, Family};
use rir::optim::Recipe;
use rir::reproduce::{Cell, Confidence, Options, Published, Record, Source, Table, TableKind, Work};
use rir::train::{Environment, Length, Stop, Stopped, Verbosity};
use serde_json::Value;

use crate::tiny::{ENVIRONMENT, STEPS, assert_same, data, model, recipe};

/// A RiR and the CNN of its layers, on all 53 images.
fn table() -> Table {
    let cell = |row: &str, family: Family, published| {
        let name = format!("tiny-{}", family.name());
        Cell {
            row: row.into(),
            column: "tiny".into(),
            name: name.clone(),
            model: Description { name, family, ..model() },
            recipe: recipe(),
            length: Length::Epochs(3),
            subset: None,
            evaluate_every: None,
            published,
        }
    };
    let published = Published { accuracy: 94.99, confidence: Confidence::Sure };
    Table {
        name: "tiny".into(),
        title: "Two tiny networks".into(),
        rows: "family".into(),
        data: "synthetic".into(),
        precision: Precision::F32,
        is_of_paper: true,
        kind: TableKind::Plain,
        deviations: Vec::new(),
        cells: vec![cell("CNN", Family::Cnn, None), cell("RiR", Family::Rir, Some(published))],
    }
}

fn options(output: &Path) -> Options {
    Options {
        output: output.into(),
        seed: 5,
        seeds: 1,
        device: Some("cpu".into()),
        verbosity: Verbosity::Quiet,
        ..Options::default()
    }
}

/// What a command did.
struct Done {
    stopped: Option<Stopped>,
    /// The runs that it trained, in order.
    trained: Vec<String>,
    /// How often it opened a device.
    devices: usize,
    json: Value,
    markdown: String,
}

fn reproduce_on(
    table: Table,
    options: &Options,
    open_data: &dyn Fn(&str, [usize; 2]) -> Result<Loaded>,
) -> Result<Done> {
    let devices = Count::new(0);
    let environment = Environment {
        open_data,
        open_device: &|name, layout, precision| {
            devices.set(devices.get() + 1);
            (ENVIRONMENT.open_device)(name, layout, precision)
        },
    };
    let source = Source::of(&open_data(&table.data, [8, 8])?);
    let name = table.name.clone();
    let mut work = Work::new(table, source, options, &environment)?;
    let trained = RefCell::new(Vec::new());
    let stopped = work.train(&|sentence| {
        if let Some((_, run)) = sentence.split_once(": ").filter(|(before, _)| before.starts_with("run ")) {
            trained.borrow_mut().push(run.to_string());
        }
    })?;
    let read = |end: &str| std::fs::read_to_string(options.output.join(format!("{name}.{end}"))).unwrap();
    // What is printed is what was written.
    assert_eq!(read("md"), work.report().markdown());
    let json = serde_json::from_str(&read("json")).unwrap();
    Ok(Done { stopped, trained: trained.into_inner(), devices: devices.get(), json, markdown: read("md") })
}

fn reproduce(table: Table, options: &Options) -> Result<Done> {
    reproduce_on(table, options, &data)
}

/// The states of the cells' runs, cell by cell.
fn states(done: &Done) -> Vec<&str> {
    let cells = done.json["cells"].as_array().unwrap().iter();
    cells
        .flat_map(|cell| cell["runs"].as_array().unwrap())
        .map(|run| run["state"].as_str().unwrap())
        .collect()
}

#[test]
fn what_is_done_is_not_done_again() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path();
    let two = Options { seeds: 2, ..options(output) };
    let first = reproduce(table(), &two).unwrap();
    // Every cell with the first seed before any with the second.
    let names = ["tiny-cnn-test-s5", "tiny-rir-test-s5", "tiny-cnn-test-s6", "tiny-rir-test-s6"]
        .map(|name| format!("synthetic-{name}"));
    assert_eq!((first.trained, first.devices, first.stopped), (names.to_vec(), 4, None));
    let cell = &first.json["cells"][1];
    let accuracies: Vec<f64> =
        cell["runs"].as_array().unwrap().iter().map(|run| run["test_accuracy"].as_f64().unwrap()).collect();
    let mean = (accuracies[0] + accuracies[1]) / 2.0;
    assert!((cell["mean"].as_f64().unwrap() - mean).abs() < 1e-12 && cell["n"] == 2, "{cell}");
    // Half of their distance times t of one degree of freedom: deviation d / sqrt(2), standard error d / 2.
    let half = 12.7062 * (accuracies[0] - accuracies[1]).abs() / 2.0;
    assert!((cell["half_interval"].as_f64().unwrap() - half).abs() < 1e-9, "{cell}");
    assert_eq!(
        (&cell["published"]["accuracy"], &first.json["selected_on_test"]),
        (&94.99.into(), &false.into())
    );
    assert!(first.markdown.contains(&format!("{mean:.2} ± {half:.2} (n = 2)")), "{}", first.markdown);
    assert!(first.markdown.contains("94.99 (sure)") && first.markdown.contains("not confirmed"));
    assert!(first.markdown.contains("\nSynthetic test accuracy in per cent"), "{}", first.markdown);

    let again = reproduce(table(), &two).unwrap();
    assert_eq!((again.trained.len(), again.devices, &again.markdown), (0, 0, &first.markdown));

    // A lost result is made again from its run, a lost run is not missed; seeds that lie there are in the table.
    let result = output.join(format!("results/{}.json", names[0]));
    let record = Record::read(&result).unwrap().unwrap();
    std::fs::remove_file(&result).unwrap();
    std::fs::remove_dir_all(output.join("runs").join(&names[3])).unwrap();
    let other_seed = reproduce(table(), &options(output)).unwrap();
    assert_eq!((other_seed.devices, &other_seed.markdown), (0, &first.markdown));
    let rebuilt = Record::read(&result).unwrap().unwrap();
    assert_eq!(Record { when: record.when.clone(), ..rebuilt }, record);

    std::fs::write(&result, "{").unwrap();
    let error = reproduce(table(), &two).err().unwrap().to_string();
    assert!(error.contains("delete it, and it is made again"), "{error}");
}

#[test]
fn a_stopped_table_goes_on_to_the_same_result() {
    let folder = tempfile::tempdir().unwrap();
    let [whole, parts] = ["whole", "parts"].map(|name| folder.path().join(name));
    let expected = reproduce(table(), &options(&whole)).unwrap();
    let stopped = Options { stop: Stop::after(4), ..options(&parts) };
    let part = reproduce(table(), &stopped).unwrap();
    assert_eq!((part.stopped, part.trained.len()), (Some(Stopped::Interrupted), 1));
    assert_eq!(states(&part), ["begun", "to-do"]);
    assert!(
        part.markdown.contains("begun: step 4 of 18") && part.markdown.contains("to do"),
        "{}",
        part.markdown
    );
    let rest = reproduce(table(), &options(&parts)).unwrap();
    assert_eq!((states(&rest), &rest.markdown), (vec!["finished"; 2], &expected.markdown));
    for name in ["synthetic-tiny-cnn-test-s5", "synthetic-tiny-rir-test-s5"] {
        assert_same(&whole.join("runs").join(name), &parts.join("runs").join(name));
    }
}

#[test]
fn a_time_limit_is_one_for_all_runs() {
    let folder = tempfile::tempdir().unwrap();
    let limited = Options { time_limit: Some(Duration::from_nanos(1)), ..options(folder.path()) };
    let done = reproduce(table(), &limited).unwrap();
    assert_eq!((done.stopped, done.trained.len()), (Some(Stopped::TimeLimit), 0));
    assert_eq!(states(&done), ["to-do"; 2]);
}

#[test]
fn only_what_is_asked_for_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let only = |name: &str| Options { only: vec![name.into()], ..options(folder.path()) };
    let done = reproduce(table(), &only("*-rir")).unwrap();
    assert_eq!((done.trained, done.devices), (vec!["synthetic-tiny-rir-test-s5".to_string()], 1));
    let error = reproduce(table(), &only("tiny-rri")).err().unwrap();
    assert_eq!(error.to_string(), "--only: unknown cell 'tiny-rri'; did you mean 'tiny-rir'?");
}

#[test]
fn another_run_in_its_place_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let stopped = Options { stop: Stop::after(2), ..options(folder.path()) };
    let finished = Options { only: vec!["tiny-cnn".into()], ..options(folder.path()) };
    let base = Table { cells: table().cells[..1].to_vec(), ..table() };
    let with = |change: fn(&mut Cell)| {
        let mut table = base.clone();
        table.cells.iter_mut().for_each(change);
        table
    };
    for own in [stopped, finished] {
        reproduce(base.clone(), &own).unwrap();
        let cases = [
            (with(|cell| cell.recipe.momentum = 0.8), "recipe.momentum = 0.9, and this asks for 0.8"),
            (with(|cell| cell.recipe.batch_size = 9), "recipe.batch-size = 8, and this asks for 9"),
            (with(|cell| cell.length = Length::Epochs(4)), "length.epochs = 3, and this asks for 4"),
            (with(|cell| cell.model.stem = 6), "model.stem = 4, and this asks for 6"),
            (
                Table { precision: Precision::F64, ..base.clone() },
                "precision = \"f32\", and this asks for \"f64\"",
            ),
        ];
        for (other, expected) in cases {
            let error = reproduce(other, &own).err().unwrap();
            assert_eq!(error.kind(), Kind::Usage);
            let text = error.to_string();
            assert!(text.contains(expected) && text.ends_with("or another --output"), "{text}");
            assert_eq!(text.lines().count(), 1, "{text}");
        }
        let changed = |_: &str, image| {
            let mut loaded = data("synthetic", image)?;
            loaded.dataset.digest.insert(0, '0');
            Ok(loaded)
        };
        let error = reproduce_on(base.clone(), &own, &changed).err().unwrap().to_string();
        assert!(error.contains("was trained with data-digest = "), "{error}");
    }
}

#[test]
fn a_run_that_diverges_is_a_result_and_the_others_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut bad = table();
    bad.cells[0].recipe = Recipe { name: "hot".into(), learning_rate: 1e12, ..recipe() };
    let done = reproduce(bad.clone(), &options(folder.path())).unwrap();
    assert_eq!((states(&done), done.stopped), (vec!["diverged", "finished"], None));
    assert!(done.markdown.contains("| CNN    | diverged "), "{}", done.markdown);
    assert!(
        done.markdown.contains("\n- synthetic-tiny-cnn-hot-s5: training diverged at step "),
        "{}",
        done.markdown
    );
    assert!(done.json["cells"][0]["mean"].is_null());
    let again = reproduce(bad, &options(folder.path())).unwrap();
    assert_eq!((again.devices, again.markdown), (0, done.markdown));
}

#[test]
fn sizes_are_compared_seed_by_seed_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let mut by_size = Table { is_of_paper: false, kind: TableKind::BySize, rows: "images".into(), ..table() };
    by_size.cells = [24, 48]
        .into_iter()
        .flat_map(|size| {
            // RiR first: it is what the others are held against.
            table().cells.into_iter().rev().map(move |cell| Cell {
                column: cell.row.clone(),
                row: size.to_string(),
                length: Length::Steps(STEPS),
                subset: Some(size),
                evaluate_every: Some(2),
                published: None,
                ..cell
            })
        })
        .collect();
    let done = reproduce(by_size, &Options { seeds: 2, ..options(folder.path()) }).unwrap();
    let comparisons = done.json["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), 2);
    for comparison in comparisons {
        let row = comparison["row"].as_str().unwrap();
        let of = |column: &str, seed: usize| {
            let cells = done.json["cells"].as_array().unwrap();
            let cell = cells.iter().find(|c| c["row"] == row && c["column"] == column).unwrap();
            cell["runs"][seed]["test_accuracy"].as_f64().unwrap()
        };
        let differences = [0, 1].map(|seed| of("RiR", seed) - of("CNN", seed));
        let mean = (differences[0] + differences[1]) / 2.0;
        assert!((comparison["mean"].as_f64().unwrap() - mean).abs() < 1e-9, "{comparison}");
        assert!(comparison["excludes_zero"].is_boolean());
        let line = format!("- {row}: {}", comparison["sentence"].as_str().unwrap());
        assert!(done.markdown.contains(&line), "{}", done.markdown);
    }
    let svg = std::fs::read_to_string(folder.path().join("tiny.svg")).unwrap();
    assert!(svg.contains("RiR") && svg.contains("CNN") && svg.contains("Two tiny networks"));
    // Neither name nor number of images is another run's.
    assert!(folder.path().join("runs/synthetic-tiny-cnn-test-n24-s5/split.json").is_file());
}

/// Two commands that began together: what the first has trained, the second finds.
#[test]
fn a_run_that_another_command_has_trained_is_not_trained_again() {
    let folder = tempfile::tempdir().unwrap();
    let options = options(folder.path());
    let source = Source::of(&data("synthetic", [8, 8]).unwrap());
    let trained = RefCell::new(Vec::new());
    let say = |sentence: &str| trained.borrow_mut().push(sentence.to_string());
    let mut works = [0, 1].map(|_| Work::new(table(), source.clone(), &options, &ENVIRONMENT).unwrap());
    for work in &mut works {
        assert_eq!(work.train(&say).unwrap(), None);
    }
    let begun = trained.borrow().iter().filter(|sentence| sentence.starts_with("run ")).count();
    assert_eq!(begun, 2, "{trained:?}");
    assert_eq!(works[0].report(), works[1].report());
}

#[test]
fn what_an_ingredient_is_worth_is_the_difference_without_it() {
    let folder = tempfile::tempdir().unwrap();
    let mut all = Table { kind: TableKind::Ingredients, rows: "left out".into(), ..table() };
    let rir = all.cells.pop().unwrap();
    let without = Recipe { name: "test-without-smoothing".into(), label_smoothing: 0.0, ..recipe() };
    all.cells = [("nothing", recipe()), ("label smoothing", without)]
        .map(|(row, recipe)| Cell { row: row.into(), name: recipe.name.clone(), recipe, ..rir.clone() })
        .to_vec();
    let done = reproduce(all, &Options { seeds: 2, ..options(folder.path()) }).unwrap();
    let mean = |cell: usize| done.json["cells"][cell]["mean"].as_f64().unwrap();
    let [comparison] = done.json["comparisons"].as_array().unwrap().as_slice() else {
        panic!("one ingredient")
    };
    assert!((comparison["mean"].as_f64().unwrap() - (mean(0) - mean(1))).abs() < 1e-9, "{comparison}");
    assert!(done.markdown.contains("- label smoothing: "), "{}", done.markdown);
}

#[test]
fn streams_of_finished_runs_are_analyzed_once() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path();
    let streams = || {
        let cells = table().cells.split_off(1);
        Table { kind: TableKind::Streams, cells, ..table() }
    };
    // The run is another table's.
    reproduce(table(), &options(output)).unwrap();
    let first = reproduce(streams(), &options(output)).unwrap();
    assert_eq!(
        (first.trained.len(), first.devices),
        (0, 1),
        "a device for the analysis, and none for training"
    );
    let found = &first.json["cells"][0]["streams"];
    let names: Vec<&str> =
        found["layers"].as_array().unwrap().iter().map(|layer| layer["layer"].as_str().unwrap()).collect();
    assert_eq!((&found["analyzed"], names), (&1.into(), vec!["stem", "1.1.1", "1.1.2", "2.1.1", "2.1.2"]));
    assert!(
        (found["whole"]["mean"].as_f64().unwrap() - first.json["cells"][0]["mean"].as_f64().unwrap()).abs()
            < 1e-9
    );
    assert!(first.markdown.contains("| 2.1.2 | "), "{}", first.markdown);
    assert!(output.join("analysis/synthetic-tiny-rir-test-s5/streams.svg").is_file());
    let svg = std::fs::read_to_string(output.join("tiny-tiny-rir.svg")).unwrap();
    assert!(svg.contains("without the residual stream r"));

    let again = reproduce(streams(), &options(output)).unwrap();
    assert_eq!((again.devices, &again.markdown), (0, &first.markdown));
    // An analysis of another network is none of this one; a damaged one is said.
    let path = output.join("analysis/synthetic-tiny-rir-test-s5/analysis.json");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut other: Value = serde_json::from_str(&text).unwrap();
    other["checkpoint_digest"] = "00".into();
    std::fs::write(&path, other.to_string()).unwrap();
    assert_eq!(reproduce(streams(), &options(output)).unwrap().devices, 1);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    std::fs::write(&path, "{").unwrap();
    let error = reproduce(streams(), &options(output)).err().unwrap().to_string();
    assert!(error.contains("analysis.json is no analysis") && error.contains("delete it"), "{error}");
    std::fs::remove_file(&path).unwrap();

    // What is asked to stop makes no analysis; no time left is no time for one.
    let hurried = Options { time_limit: Some(Duration::ZERO), ..options(output) };
    let stopped = reproduce(streams(), &hurried).unwrap();
    assert_eq!((stopped.stopped, path.exists()), (Some(Stopped::TimeLimit), false));
    reproduce(streams(), &options(output)).unwrap();

    // Of fewer images it is another analysis; of a second seed one more, and the mean of both.
    let few = Options { images: Some(9), ..options(output) };
    assert_eq!(reproduce(streams(), &few).unwrap().json["cells"][0]["streams"]["images"], 9);
    let two = reproduce(streams(), &Options { seeds: 2, ..options(output) }).unwrap();
    let found = &two.json["cells"][0]["streams"];
    assert_eq!((two.trained.len(), &found["analyzed"]), (1, &2.into()));
    assert!(found["layers"][0]["without_residual"]["half_interval"].is_number());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_said_before_anything_is_trained() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = reproduce(table(), &options(&file.join("deep"))).err().unwrap();
    assert!(error.kind() == Kind::Io && error.to_string().contains("file"), "{error}");
}
