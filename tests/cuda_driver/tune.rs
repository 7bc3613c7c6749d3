//! From `rir bench tune` on a card to runs that take what it found: the program, as its users call it.

use std::path::Path;
use std::process::{Command, Output};

use rir::device::cuda::choices::Chosen;
use rir::device::tuned;

use super::stand_in::with_driver;

const MODEL: &str = "name = 'tiny'
family = 'rir'
stem = 8
[[groups]]
width = 64
blocks = 1
";

/// A network of 64 channels, and images of two classes.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("tiny.toml"), MODEL).unwrap();
    for (split, count) in [("train", 10), ("test", 2)] {
        for (class, shade) in [("dark", 40), ("light", 200)] {
            let path = folder.path().join("images").join(split).join(class);
            std::fs::create_dir_all(&path).unwrap();
            for i in 0..count {
                let pixel = |x, y| image::Rgb([shade + (7 * x + 11 * y + i) as u8 % 40; 3]);
                image::RgbImage::from_fn(8, 8, pixel).save(path.join(format!("{i}.png"))).unwrap();
            }
        }
    }
    folder
}

/// Runs the program in a folder, with its cache there.
fn rir(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rir"));
    command.args(arguments).current_dir(folder).env("RIR_CACHE", folder.join("cache")).output().unwrap()
}

#[track_caller]
fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What it printed, and what it said beside that.
#[track_caller]
fn fine(output: &Output) -> (String, String) {
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    (out, err)
}

with_driver! {
    fn what_is_tuned_is_taken("MEMORY" = "16777216", "MULTIPROCESSORS" = "1") {
        let folder = folder();
        let path = folder.path();
        let own = path.join("cache/choices/stand-in-0-cuda-13-0.toml");
        let tune = |more: &[&str]| {
            let quick = ["--batch", "8", "--image", "8x8", "--warmup", "1", "--repeats", "1", "--time", "0.001"];
            rir(path, &[&["bench", "tune", "tiny.toml", "--device", "cuda"], more, &quick].concat())
        };
        let report = fine(&tune(&["--filter", "group1", "--json"])).0;
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        let rows = report["rows"].as_array().unwrap();
        let winners: Vec<_> = rows.iter().filter(|row| row["wins"] == true).collect();
        let chosen = tuned::read(&own).unwrap();
        assert_eq!(report["choices"].as_str(), own.to_str());
        assert!(winners.len() >= 6 && chosen.nodes.len() == winners.len(), "{report}");
        for winner in winners {
            let choice = chosen.nodes[winner["node"].as_str().unwrap()];
            assert_eq!(winner["kernels"], choice.kernels.to_string(), "{winner}");
            assert_eq!(winner["columns"].as_u64(), choice.columns.map(u64::from), "{winner}");
            assert!(winner["median_us"].as_f64() > Some(0.0) && winner["share"].as_f64() > Some(0.0), "{winner}");
        }
        // More convolutions, to another file: of that alone.
        let (said, _) = fine(&tune(&["--filter", "stem", "--store", "mine.toml"]));
        assert!(said.contains("written to mine.toml") && said.contains("with --choices mine.toml"), "{said}");
        assert_eq!(tuned::read(&path.join("mine.toml")).unwrap().nodes.len(), 2);

        let train = |name: &str, more: &[&str]| {
            let run = ["train", "--model", "tiny.toml", "--data", "images", "--image", "8x8", "--device", "cuda"];
            let size = ["--precision", "bf16", "--batch-size", "8", "--steps", "2", "--json", "--quiet", "--output"];
            rir(path, &[&run[..], &size, &[name], more].concat())
        };
        let (summary, said) = fine(&train("tuned", &[]));
        assert_eq!(said, "");
        let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
        let kernels = summary["kernels"].as_str().unwrap();
        assert!(kernels.contains("by a table of choices"), "{kernels}");
        let recorded: Chosen = toml::from_str(&std::fs::read_to_string(path.join("tuned/choices.toml")).unwrap()).unwrap();
        assert_eq!((&recorded.card, &recorded.kernels_hash), (&chosen.card, &chosen.kernels_hash));
        assert!(chosen.nodes.iter().all(|(node, choice)| recorded.nodes[node] == *choice));
        // A run's record is a table for another; and a run may go without any.
        fine(&train("again", &["--choices", "tuned/choices.toml"]));
        let (summary, _) = fine(&train("none", &["--choices", "none"]));
        assert!(!summary.contains("by a table of choices"), "{summary}");

        // Of other kernels: passed over with a word, and refused where it was asked for by name.
        let stale = std::fs::read_to_string(&own).unwrap().replace(&chosen.kernels_hash, &"ab".repeat(32));
        std::fs::write(&own, stale).unwrap();
        let (_, said) = fine(&train("stale", &[]));
        assert!(said.contains("passed over") && said.contains("other kernels (abababababab)"), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        let refused = train("refused", &["--choices", own.to_str().unwrap()]);
        let said = text(&refused.stderr);
        assert!(refused.status.code() == Some(2) && said.contains("--choices none"), "{said}");
    }
}
