//! `rir bench` on the cpu, and its counters on the emulator.

use serde_json::Value;

use crate::{Ran, folder, rir, rir_in};

/// On the tiny network, as quickly as it goes.
const QUICK: [&str; 10] =
    ["--device", "cpu", "--batch", "2", "--image", "16x16", "--time", "0.001", "--repeats", "2"];

fn bench(folder: &std::path::Path, arguments: &[&str]) -> Ran {
    rir_in(folder, &[&["bench"], arguments, &QUICK].concat())
}

/// What every report holds.
fn held(report: &Value, benchmark: &str) {
    assert_eq!(report["benchmark"], benchmark);
    assert!(report["command"].as_str().unwrap().starts_with("rir bench"), "{report}");
    assert_eq!(report["date"].as_str().map(|date| (date.len(), &date[19..])), Some((20, "Z")));
    assert!(report["commit"].is_string() && report["kernels_hash"].as_str().map(str::len) == Some(64));
    let device = &report["device"];
    assert!(device["name"].as_str().unwrap().starts_with("cpu") && device["sm_count"].is_null(), "{device}");
    assert!(report["rates"]["copy_gb_s"].as_f64() > Some(0.0), "{report}");
    assert!(report["rates"].get("matrix_tflop_s").is_some(), "{report}");
    assert!(!report["rows"].as_array().unwrap().is_empty() && report["not_run"].is_array(), "{report}");
    assert_eq!(report["failed"].as_array().map(Vec::len), Some(0), "{report}");
}

/// What every row of a case holds.
fn timed(row: &Value) {
    assert!(row["name"].is_string() && row["layer"].is_string() && row["inputs"].is_array(), "{row}");
    let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
    let [min, median, max] = ["min_us", "median_us", "max_us"].map(number);
    assert!(0.0 < min && min <= median && median <= max, "{row}");
    assert!(number("p25_us") <= number("p75_us") && number("samples") == 2.0, "{row}");
    assert!(number("bound_us") >= 0.0 && number("share") >= 0.0 && number("gb_s") > 0.0, "{row}");
    assert!(number("error") <= number("error_limit") && number("tflop_s") >= 0.0, "{row}");
    // bytes / time and flops / time, by the median.
    let rate = number("bytes") / (median * 1e-6) / 1e9;
    assert!((number("gb_s") / rate - 1.0).abs() < 1e-9, "{row}");
}

fn rows(report: &Value) -> &Vec<Value> {
    report["rows"].as_array().unwrap()
}

#[test]
fn operations_are_checked_timed_and_drawn() {
    let folder = folder();
    let arguments = ["ops", "--model", "tiny.toml", "--output", "ops.json", "--plot", "ops.svg", "--json"];
    let printed = bench(folder.path(), &arguments).json();
    held(&printed, "ops");
    rows(&printed).iter().for_each(timed);
    let operations: Vec<&str> = rows(&printed).iter().map(|row| row["operation"].as_str().unwrap()).collect();
    for operation in ["conv2d", "conv2d_data_grad", "conv2d_weight_grad", "two_stream_update", "sgd"] {
        assert!(operations.contains(&operation), "{operation}: {operations:?}");
    }
    let saved: Value =
        serde_json::from_str(&std::fs::read_to_string(folder.path().join("ops.json")).unwrap()).unwrap();
    assert_eq!(saved, printed);
    let svg = std::fs::read_to_string(folder.path().join("ops.svg")).unwrap();
    well_formed(&svg);
    let computing = rows(&printed).iter().filter(|row| row["flops"].as_u64() > Some(0)).count();
    assert_eq!(svg.matches("<circle").count(), computing);
    let table = bench(folder.path(), &["ops", "--model", "tiny.toml", "--filter", "two_stream_update"]).ok();
    assert!(table.contains("the roof: copy") && table.contains("\ntwo_stream_update/"), "{table}");
    assert!(!table.contains("conv2d"), "{table}");
}

/// Every element of an XML text is closed, in order.
fn well_formed(text: &str) {
    let mut open: Vec<&str> = Vec::new();
    for tag in text.split('<').skip(1) {
        let (inside, _) = tag.split_once('>').expect("a tag ends");
        let name = inside.split_whitespace().next().unwrap().trim_end_matches('/');
        match inside.strip_prefix('/') {
            Some(closed) => assert_eq!(open.pop(), Some(closed.trim())),
            None if inside.ends_with('/') || inside.starts_with(['?', '!']) => {}
            None => open.push(name),
        }
    }
    assert!(open.is_empty() && text.starts_with("<svg"), "{open:?}");
}

#[test]
fn layers_steps_ladders_and_fusion() {
    let folder = folder();
    let layers = bench(folder.path(), &["layers", "tiny.toml", "--json"]).json();
    held(&layers, "layers");
    rows(&layers).iter().for_each(timed);
    assert!(rows(&layers).iter().any(|row| row["name"] == "group1.block1.layer1/data_grad"), "{layers}");

    let step = bench(folder.path(), &["step", "tiny.toml", "--json"]).json();
    held(&step, "step");
    let (whole, nodes) = rows(&step).split_first().unwrap();
    assert!(whole["name"] == "step" && whole["median_us"].as_f64() > Some(0.0), "{whole}");
    let images = whole["images_per_s"].as_f64().unwrap() * whole["median_us"].as_f64().unwrap() / 1e6;
    assert!((images - 2.0).abs() < 1e-9, "{whole}");
    assert!(whole["bound_us"].as_f64() > Some(0.0) && whole["workspace_bytes"].as_u64() > Some(0), "{whole}");
    let loss = whole["loss"].as_f64().unwrap();
    assert!(loss > 0.5 && loss < 10.0, "{whole}");
    nodes.iter().for_each(timed);
    let lost: Vec<f64> = nodes.iter().map(|row| row["lost_us"].as_f64().unwrap()).collect();
    assert!(lost.is_sorted_by(|a, b| a >= b), "{lost:?}");

    let ladder = bench(folder.path(), &["ladder", "conv2d", "--model", "tiny.toml", "--json"]).json();
    held(&ladder, "ladder");
    rows(&ladder).iter().for_each(timed);
    assert!(rows(&ladder).iter().all(|row| row["operation"] == "conv2d"), "{ladder}");

    let fusion = bench(folder.path(), &["fusion", "tiny.toml", "--json"]).json();
    held(&fusion, "fusion");
    let names: Vec<&str> = rows(&fusion).iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names.starts_with(&["fused", "unfused", "without identity"]), "{names:?}");
    let [fused, unfused] = [0, 1].map(|n| rows(&fusion)[n]["bytes"].as_u64().unwrap());
    assert!(fused < unfused && rows(&fusion).iter().all(|row| row["median_us"].is_f64()), "{fusion}");
    bench(folder.path(), &["fusion", "tiny.toml"]).ok();
}

#[test]
fn a_case_runs_once_for_a_profiler() {
    let folder = folder();
    let find = ["ops", "--model", "tiny.toml", "--filter", "conv2d/stem", "--json"];
    let name = rows(&bench(folder.path(), &find).json())[0]["name"].as_str().unwrap().to_owned();
    let said = bench(folder.path(), &["ops", "--model", "tiny.toml", "--case", &name, "--once"]).ok();
    assert!(said.starts_with(&name) && said.contains("no kernel here"), "{said}");
    if cfg!(rir_emu) {
        let kernels =
            ["bench", "ops", "--model", "tiny.toml", "--device", "emu", "--precision", "f32", "--batch"];
        let said = rir_in(
            folder.path(),
            &[&kernels[..], &["2", "--image", "16x16", "--case", &name, "--once"]].concat(),
        );
        let said = said.ok();
        assert!(said.contains("conv2d_tiled_32_f32") && said.contains("64 x 1 x 1"), "{said}");
    }
}

#[test]
fn what_does_not_fit_the_time_is_named() {
    let folder = folder();
    let limited = ["layers", "tiny.toml", "--json", "--time-limit", "1s", "--warmup", "1"];
    let report = bench(folder.path(), &limited).json();
    let (run, left) = (rows(&report).len(), report["not_run"].as_array().unwrap().len());
    assert!(run + left >= 10, "{run} {left}");
}

#[test]
#[cfg_attr(not(rir_emu), ignore = "built without the emulator: no C++ compiler was found")]
#[cfg_attr(rir_emu_sanitized, ignore = "with sanitizers the emulator does not see every access")]
fn the_emulator_counts() {
    let folder = folder();
    let emu = |arguments: &[&str]| {
        let tiny = ["--batch", "2", "--image", "8x8", "--device", "emu", "--counters", "--json"];
        rir_in(folder.path(), &[&["bench"], arguments, &tiny].concat()).json()
    };
    let report = emu(&["ops", "--model", "tiny.toml"]);
    assert!(report["rates"].is_null() && report["failed"].as_array().map(Vec::len) == Some(0), "{report}");
    for row in rows(&report) {
        let number = |key: &str| row[key].as_f64().unwrap_or_else(|| panic!("{key} in {row}"));
        let moved = number("global_read_bytes") + number("global_written_bytes");
        assert!(number("launches") >= 1.0 && moved > 0.0 && number("barriers") >= 0.0, "{row}");
        assert!((0.0..1.0).contains(&number("in_vain")) && number("bank_conflicts") >= 0.0, "{row}");
    }
    let copied = rows(&report).iter().find(|row| row["kernel"] == "sgd_f32").unwrap();
    assert_eq!(copied["bank_conflicts"], 0);
    let step = emu(&["step", "tiny.toml"]);
    let kernels: Vec<&str> = rows(&step).iter().map(|row| row["kernel"].as_str().unwrap()).collect();
    let update = kernels.iter().any(|kernel| kernel.starts_with("two_stream_update"));
    assert!(update && kernels.is_sorted(), "{kernels:?}");
    let ladder = emu(&["ladder", "conv2d", "--model", "tiny.toml", "--filter", "layer2"]);
    let names: Vec<&str> = rows(&ladder).iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert!(names[0].ends_with("/naive") && names.iter().any(|name| name.ends_with("/mma")), "{names:?}");
    let layers = emu(&["layers", "tiny.toml", "--filter", "stem"]);
    assert!(rows(&layers).iter().any(|row| row["kernel"] == "batch_stats_finalise"), "{layers}");
    let fusion = emu(&["fusion", "tiny.toml", "--filter", "fused"]);
    let bytes = |n: usize| {
        let row = &rows(&fusion)[n];
        row["global_read_bytes"].as_u64().unwrap() + row["global_written_bytes"].as_u64().unwrap()
    };
    assert!(bytes(0) < bytes(1), "{fusion}");
}

#[test]
#[cfg_attr(not(rir_emu), ignore = "built without the emulator: no C++ compiler was found")]
fn tuning_is_rehearsed_on_the_emulator() {
    let folder = folder();
    let cache = folder.path().join("cache");
    let emu = |arguments: &[&str]| {
        let tiny = ["--batch", "8", "--image", "16x16", "--device", "emu", "--precision", "f32"];
        let mut command =
            crate::command(folder.path(), &[&["bench", "tune", "tiny.toml"], arguments, &tiny].concat());
        let output = command.env("RIR_CACHE", &cache).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let report: Value = serde_json::from_str(&emu(&["--json"])).unwrap();
    assert!(
        report["benchmark"] == "tune" && report["rates"].is_null() && report["choices"].is_null(),
        "{report}"
    );
    assert_eq!(report["failed"].as_array().map(Vec::len), Some(0), "{report}");
    for row in rows(&report) {
        assert!(row["error"].is_f64() && row["wins"] == false && row.get("median_us").is_none(), "{row}");
        assert!(row["tile"]["rows"] == 128 && row["node"].as_str().unwrap().contains(" f32 {"), "{row}");
    }
    let usual = rows(&report).iter().filter(|row| row["usual"] == true).count();
    let parts = rows(&report).iter().filter_map(|row| row["splits"].as_u64()).max();
    assert!(usual >= 10 && parts > Some(1), "{usual} {parts:?}");
    let table = emu(&["--filter", "weight_grad/stem"]);
    assert!(table.contains("a rehearsal") && !table.contains("conv2d_data_grad"), "{table}");
    assert!(!cache.exists());
}

#[test]
fn mistakes_are_said_before_anything_is_measured() {
    let folder = folder();
    let at = |arguments: &[&str]| rir_in(folder.path(), &[&["bench"], arguments].concat());
    assert!(at(&[]).stderr.contains("Usage: rir bench <COMMAND>"));
    at(&["ops", "--device", "cpu", "--counters"]).fails(2, "add --device emu");
    at(&["ops", "--device", "cpu", "--nvtx"]).fails(2, "--device cuda");
    at(&["ops", "--device", "cpu", "--kernels", "wgmma"]).fails(2, "the cpu has none");
    at(&["predict", "--batch", "4000000"]).fails(2, "give a smaller batch");
    at(&["predict", "--batch", "99999999999"]).fails(2, "give a smaller batch");
    at(&["predict", "--filter", "stem"]).fails(2, "whose name contains 'stem'");
    at(&["ops", "--device", "cpu", "--model", "tiny.toml", "--filter", "nothing"])
        .fails(2, "contains 'nothing'");
    at(&["ops", "--once"]).fails(2, "--case");
    at(&["ops", "--time", "0"]).fails(2, "seconds from 0.001");
    at(&["ops", "--device", "cpu", "--output", "no/such/ops.json"]).fails(5, "no/such");
    at(&["layers", "rir-23", "--device", "cpu"]).fails(4, "did you mean 'rir-32'?");
    at(&["ladder", "conv3d", "--device", "cpu"]).fails(2, "did you mean 'conv2d'?");
    at(&["ladder", "shortcut", "--device", "cpu", "--model", "tiny.toml"]).fails(2, "has no shortcut");
    at(&["fusion", "--device", "cpu", "--plot", "x.svg"]).fails(2, "--plot draws cases");
    at(&["fusion", "--device", "cpu", "--no-fuse"]).fails(2, "leave out --fuse and --no-fuse");
    at(&["step", "--device", "cpu", "--filter", "x"]).fails(2, "all of its nodes");
    at(&["ops", "--device", "cuda:7"]).fails(7, "--device cpu");
    at(&["tune", "--device", "cpu"]).fails(2, "needs --device cuda");
    at(&["ops", "--device", "cpu", "--choices", "x.toml"]).fails(2, "the cpu has none");
    if cfg!(rir_emu) {
        at(&["ops", "--device", "emu"]).fails(2, "add --counters");
        at(&["tune", "--device", "emu", "--counters"]).fails(2, "leave out --counters");
        at(&["tune", "--device", "emu", "--store", "x.toml"]).fails(2, "leave out --store");
        at(&["tune", "--device", "emu", "--choices", "x.toml"]).fails(2, "leave out --choices");
        at(&["tune", "--device", "emu", "--plot", "x.svg"]).fails(2, "--plot draws cases");
        let both = ["ops", "--device", "emu", "--counters", "--kernels", "mma", "--choices", "x.toml"];
        at(&both).fails(2, "leave one of the two out");
        at(&["ops", "--device", "emu", "--counters", "--choices", "x.toml"]).fails(5, "x.toml");
    }
    for benchmark in ["ops", "layers", "step", "ladder", "fusion", "tune"] {
        let help = rir(&["bench", benchmark, "--help"]).ok();
        assert!(help.contains("Examples:\n  rir bench "), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 120), "{help}");
    }
}

/// The README's predictions are those that this program makes.
#[test]
fn the_predictions_on_record_are_todays() {
    const RECORD: &str = "benches/results/predicted-h100.json";
    let predicted = rir(&["bench", "predict", "rir-18-wide", "--batch", "500", "--json"]).json();
    let record = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(RECORD);
    let record: Value = serde_json::from_slice(&std::fs::read(record).unwrap()).unwrap();
    let command = format!("rir bench predict rir-18-wide --batch 500 --json > {RECORD} && benches/report.py");
    assert_eq!(predicted, record, "{command}");
}
