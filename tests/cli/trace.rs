//! `rir init` and `rir trace`.

use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::{folder, rir_in};

/// Three images of 12x8, and labels.
fn write_batch(path: &Path, dtype: Dtype, labels: [i64; 3]) {
    let numbers = (0..3 * 3 * 12 * 8).map(|i| (f64::from(i) * 0.37).sin());
    let images: Vec<u8> = match dtype {
        Dtype::F64 => numbers.flat_map(|x| x.to_le_bytes()).collect(),
        _ => numbers.flat_map(|x| (x as f32).to_le_bytes()).collect(),
    };
    let labels: Vec<u8> = labels.iter().flat_map(|l| l.to_le_bytes()).collect();
    let views = [
        ("images", TensorView::new(dtype, vec![3, 3, 12, 8], &images).unwrap()),
        ("labels", TensorView::new(Dtype::I64, vec![3], &labels).unwrap()),
    ];
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

fn init(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let base =
        ["init", "--model", "tiny.toml", "--classes", "5", "--image", "12x8", "--output", "w.safetensors"];
    rir_in(folder, &[&base, arguments].concat()).ok();
    std::fs::read(folder.join("w.safetensors")).unwrap()
}

/// (name, type, shape) of every tensor, by name.
fn layout(bytes: &[u8]) -> Vec<(String, Dtype, Vec<usize>)> {
    let file = SafeTensors::deserialize(bytes).unwrap();
    let mut layout: Vec<_> =
        file.iter().map(|(name, view)| (name.to_owned(), view.dtype(), view.shape().to_vec())).collect();
    layout.sort_by(|a, b| a.0.cmp(&b.0));
    layout
}

#[test]
fn initial_weights_depend_on_the_seed_alone() {
    let folder = folder();
    let first = init(folder.path(), &[]);
    let again = ["init", "--model", "tiny.toml", "--output", "w.safetensors"];
    rir_in(folder.path(), &again).fails(5, "--force replaces it");
    assert_eq!(init(folder.path(), &["--force", "--seed", "0"]), first);
    assert_ne!(init(folder.path(), &["--force", "--seed", "1"]), first);
    rir_in(folder.path(), &["init", "--output", "no/such/w.safetensors"]).fails(5, "no/such");
}

#[test]
fn a_trace_holds_every_tensor_by_name() {
    let folder = folder();
    let weights = init(folder.path(), &[]);
    write_batch(&folder.path().join("batch.safetensors"), Dtype::F32, [0, 4, 2]);
    let trace = |arguments: &[&str]| {
        let base = ["trace", "--checkpoint", "w.safetensors", "--input", "batch.safetensors", "--output"];
        rir_in(folder.path(), &[&base[..], &["t.safetensors"], arguments].concat()).ok();
        std::fs::read(folder.path().join("t.safetensors")).unwrap()
    };
    let activations = [
        ("activation.group1.block1.layer1", vec![3, 4, 3, 2]),
        ("activation.group1.block1.layer2", vec![3, 4, 3, 2]),
        ("activation.group2.block1.layer1", vec![3, 6, 2, 1]),
        ("activation.group2.block1.layer2", vec![3, 6, 2, 1]),
        ("activation.stem", vec![3, 4, 12, 8]),
    ];
    let rest = [("logits", vec![3, 5]), ("loss", vec![])];
    let expected = |dtype: Dtype, gradients: &[(String, Vec<usize>)]| {
        let named = |(name, shape): &(&str, Vec<usize>)| (name.to_string(), dtype, shape.clone());
        let gradients = gradients.iter().map(|(name, shape)| (name.clone(), dtype, shape.clone()));
        activations.iter().map(named).chain(gradients).chain(rest.iter().map(named)).collect::<Vec<_>>()
    };
    assert_eq!(layout(&trace(&[])), expected(Dtype::F64, &[]));
    assert_eq!(layout(&trace(&["--precision", "bf16"])), expected(Dtype::F32, &[]));

    // One gradient a parameter, of its shape in the checkpoint.
    let is_parameter = |name: &str| !name.contains("running_") && !name.starts_with("preprocess.");
    let gradients: Vec<(String, Vec<usize>)> = layout(&weights)
        .into_iter()
        .filter(|(name, ..)| is_parameter(name))
        .map(|(name, _, shape)| (format!("grad.{name}"), shape))
        .collect();
    assert!(gradients.contains(&("grad.group2.block1.shortcut.conv.weight".into(), vec![6, 4, 3, 3])));
    for precision in ["f64", "f32", "bf16"] {
        let dtype = if precision == "f64" { Dtype::F64 } else { Dtype::F32 };
        let traced = trace(&["--train", "--precision", precision]);
        assert_eq!(layout(&traced), expected(dtype, &gradients), "{precision}");
        assert_eq!(trace(&["--train", "--precision", precision]), traced, "twice the same bits");
    }
}

/// The loss of the trace is the cross-entropy of its logits, fused or not.
#[test]
fn a_trace_agrees_with_itself() {
    let folder = folder();
    init(folder.path(), &[]);
    let labels = [1, 1, 3];
    write_batch(&folder.path().join("batch.safetensors"), Dtype::F64, labels);
    let numbers = |arguments: &[&str], name: &str| -> Vec<f64> {
        let base = ["trace", "--checkpoint", "w.safetensors", "--input", "batch.safetensors", "--output"];
        rir_in(folder.path(), &[&base[..], &["t.safetensors"], arguments].concat()).ok();
        let bytes = std::fs::read(folder.path().join("t.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
    };
    for mode in [&[][..], &["--train"]] {
        let logits = numbers(mode, "logits");
        let cross_entropy = |(row, &label): (&[f64], &i64)| {
            row.iter().map(|x| x.exp()).sum::<f64>().ln() - row[label as usize]
        };
        let loss = logits.chunks_exact(5).zip(&labels).map(cross_entropy).sum::<f64>() / 3.0;
        assert!((numbers(mode, "loss")[0] - loss).abs() < 1e-12);
        let unfused = numbers(&[mode, &["--no-fuse"]].concat(), "logits");
        assert!(logits.iter().zip(&unfused).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}

#[test]
fn a_batch_that_does_not_suit_is_refused() {
    let folder = folder();
    init(folder.path(), &[]);
    let run = || {
        let arguments = [
            "trace",
            "--checkpoint",
            "w.safetensors",
            "--input",
            "batch.safetensors",
            "--output",
            "t.safetensors",
        ];
        rir_in(folder.path(), &arguments)
    };
    let path = folder.path().join("batch.safetensors");
    run().fails(5, "batch.safetensors");
    std::fs::write(folder.path().join("t.safetensors"), "notes").unwrap();
    write_batch(&path, Dtype::F32, [0, 1, 0]);
    run().fails(2, "t.safetensors exists and is no trace");
    std::fs::remove_file(folder.path().join("t.safetensors")).unwrap();
    for file in ["./batch.safetensors", "w.safetensors"] {
        let before = std::fs::read(folder.path().join(file)).unwrap();
        let inputs = ["trace", "--checkpoint", "w.safetensors", "--input", "batch.safetensors", "--output"];
        rir_in(folder.path(), &[&inputs[..], &[file]].concat()).fails(2, "is what this trace is made from");
        assert_eq!(std::fs::read(folder.path().join(file)).unwrap(), before);
    }
    std::fs::write(&path, "junk").unwrap();
    run().fails(3, "not a safetensors file");
    write_batch(&path, Dtype::F32, [0, 5, 0]);
    run().fails(3, "label 5");
    write_batch(&path, Dtype::F32, [0, -1, 0]);
    run().fails(3, "label -1");
    rir_in(folder.path(), &["init", "--force", "--model", "tiny.toml", "--output", "w.safetensors"]).ok();
    write_batch(&path, Dtype::F32, [0, 1, 0]);
    run().fails(3, "the network takes [N 3 32 32]");
}
