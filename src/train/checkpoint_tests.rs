use proptest::prelude::*;

use super::*;
use crate::data::Normaliser;
use crate::device::cuda::{Choice, Kernels};
use crate::nn;
use crate::train::{Measured, Sums};

fn checkpoint() -> Checkpoint {
    let info = Info {
        format_version: FORMAT_VERSION,
        version: "0.1.0".into(),
        model: nn::by_name("rir-32").unwrap(),
        image: [2, 2, 3],
        classes: vec!["cat".into(), "dög".into()],
        data: "pets".into(),
        synthetic: false,
        data_digest: "ab".into(),
        recipe: Recipe::by_name("paper").unwrap(),
        seed: u64::MAX,
        epoch: 3,
        step: 77,
        precision: Precision::Bf16,
        device: "cpu (2 threads)".into(),
        choices: Some(Chosen {
            card: "a card".into(),
            driver: None,
            kernels_hash: "ab".into(),
            nodes: [("conv2d".into(), Choice { splits: Some(3), ..Choice::of(Kernels::Tiled) })].into(),
        }),
        position: Some(Position {
            // Sums whose shortest decimal form must come back to the last bit.
            epoch_sums: Sums { loss: 0.1 + 0.2, correct: 3, images: 9 },
            line_sums: Sums { loss: 1.0 / 3.0, correct: 1, images: 2 },
            test: Some(Measured { loss: 2.0f64.sqrt(), accuracy: 1e-300 }),
            ..Position::default()
        }),
    };
    let tensor = |name: &str, shape: &[usize]| Tensor {
        name: name.into(),
        shape: shape.to_vec(),
        data: (0..shape.iter().product()).map(|i| (i as f32).sin()).collect(),
    };
    Checkpoint {
        info,
        normaliser: Normaliser { mean: (0..12).map(|i| i as f32 / 12.0).collect(), inv_std: vec![1.0; 3] },
        tensors: vec![tensor("a.weight", &[2, 3, 1, 1]), tensor("b.bias", &[2])],
        momentum: vec![tensor("a.weight", &[2, 3, 1, 1])],
        slow: vec![tensor("a.weight", &[2, 3, 1, 1])],
    }
}

fn message(bytes: &[u8]) -> String {
    let text = Checkpoint::from_bytes(bytes).unwrap_err().to_string();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// The file with another metadata text.
fn with_info(info: &str) -> Vec<u8> {
    let metadata = HashMap::from([(METADATA.to_string(), info.to_string())]);
    safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), Some(metadata)).unwrap()
}

#[test]
fn what_is_saved_loads_bit_for_bit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("checkpoint.safetensors");
    for position in [checkpoint().info.position, None] {
        let mut saved = checkpoint();
        saved.info.position = position;
        saved.save(&path).unwrap();
        let mut loaded = Checkpoint::load(&path).unwrap();
        loaded.tensors.sort_by(|a, b| a.name.cmp(&b.name));
        assert_eq!(loaded, saved);
    }
    let (one, two) = (checkpoint().to_bytes().unwrap(), checkpoint().to_bytes().unwrap());
    assert_eq!(one, two, "the same state gives the same bytes");
}

#[test]
fn the_file_is_plain_safetensors() {
    let bytes = checkpoint().to_bytes().unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort_unstable();
    let optimizer = ["optimizer.momentum.a.weight", "optimizer.slow.a.weight"];
    let weights = ["a.weight", "b.bias"];
    assert_eq!(names, [weights, optimizer, ["preprocess.inv_std", "preprocess.mean"]].concat());
    assert_eq!(file.tensor("preprocess.mean").unwrap().shape(), [2, 2, 3]);
}

#[test]
fn files_that_are_no_checkpoints_say_what_they_are() {
    assert!(message(b"").contains("not a safetensors file"));
    assert!(message(b"hello, this is a text file").contains("not a safetensors file"));
    let bytes = checkpoint().to_bytes().unwrap();
    for length in [7, 9, bytes.len() / 2, bytes.len() - 1] {
        assert!(message(&bytes[..length]).contains("truncated"), "{length}");
    }
    let foreign = safetensors::serialize(Vec::<(String, TensorView<'_>)>::new(), None).unwrap();
    assert!(message(&foreign).contains("rir did not write it"));
    assert!(message(&with_info("{")).contains("damaged"));
    assert!(message(&with_info("{\"format_version\": 1}")).contains("missing field"));
    let newer = message(&with_info("{\"format_version\": 2, \"soul\": true}"));
    assert_eq!(newer, "format version 2 is newer than this program's 1: it takes a newer rir to read it");
    let mut huge = checkpoint();
    huge.info.image = [usize::MAX, 2, 3];
    assert!(message(&with_info(&serde_json::to_string(&huge.info).unwrap())).contains("damaged"));
    let missing = std::path::Path::new("no/such/file.safetensors");
    assert!(
        Checkpoint::load(missing).unwrap_err().to_string().contains("cannot read no/such/file.safetensors")
    );
}

#[test]
fn damaged_numbers_are_named() {
    let mut damaged = checkpoint();
    damaged.tensors[1].data[1] = f32::NAN;
    let error = damaged.to_bytes().unwrap_err().to_string();
    assert_eq!(error, "tensor b.bias is damaged: element 1 of 2 is NaN");
    // The same in a file that something else wrote: the one -inf among the file's numbers.
    let mut bytes = checkpoint().to_bytes().unwrap();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    assert!(message(&bytes).contains("is -inf"));
    let mut normaliser = checkpoint();
    normaliser.normaliser.inv_std = vec![1.0; 2];
    assert!(message(&normaliser.to_bytes().unwrap()).contains("do not fit images"));
}

#[test]
fn another_network_is_refused() {
    let own = checkpoint();
    own.check_model(&own.info.model, 2).unwrap();
    let classes = own.check_model(&own.info.model, 10).unwrap_err().to_string();
    assert_eq!(classes, "the checkpoint's network knows 2 classes, the data has 10");
    let other = nn::by_name("cnn-32").unwrap();
    assert!(own.check_model(&other, 2).unwrap_err().to_string().contains("'rir-32', 'cnn-32' was asked for"));
    let changed = nn::Description { stem: 17, ..own.info.model.clone() };
    assert!(own.check_model(&changed, 2).unwrap_err().to_string().contains("another description"));
}

proptest! {
    /// Bytes of a valid file, changed, cut or lengthened: an error or a checkpoint, never a panic.
    #[test]
    fn mutated_files_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
        header_edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        cut in any::<Option<prop::sample::Index>>(),
        tail in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let mut bytes = checkpoint().to_bytes().unwrap();
        let length = bytes.len();
        edits.iter().for_each(|(at, byte)| bytes[at.index(length)] = *byte);
        header_edits.iter().for_each(|(at, byte)| bytes[at.index(16)] = *byte);
        if let Some(cut) = cut {
            bytes.truncate(cut.index(length));
        }
        bytes.extend(tail);
        if let Ok(loaded) = Checkpoint::from_bytes(&bytes) {
            prop_assert!(loaded.tensors.iter().all(|t| t.check_finite().is_ok()));
        }
    }

    /// The metadata alone, where a random byte is likeliest to stay valid JSON.
    #[test]
    fn mutated_metadata_never_panics(edits in prop::collection::vec((any::<prop::sample::Index>(), 32..127u8), 1..4)) {
        let mut info = serde_json::to_string(&checkpoint().info).unwrap().into_bytes();
        edits.iter().for_each(|(at, byte)| { let at = at.index(info.len()); info[at] = *byte; });
        let _ = Checkpoint::from_bytes(&with_info(&String::from_utf8_lossy(&info)));
    }
}
