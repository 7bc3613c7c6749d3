//! Conversions hold the network: the same logits and gradients from another family's filters, and from another file.

mod common;

use common::networks::{FAMILIES, config, network, one_of_each, with_blocks};
use common::{Factory, State};
use proptest::prelude::*;
use rir::check::limits::relative_error;
use rir::convert::{Converted, Origin, Rounding, one_convolution, partner, read, to_family, to_torch};
use rir::data::Normaliser;
use rir::graph::{Fusions, Precision};
use rir::nn::{self, Body, Description, Family, Form, Group, Projection, Purpose};
use rir::trace::{Batch, Options, trace};
use rir::train::{Checkpoint, Info, Tensor};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

const IMAGE: [usize; 3] = [9, 7, 3];
const CLASSES: usize = 4;

/// The same sums in another order: what f64 makes of a few layers.
const EXACT: f64 = 1e-10;

/// A checkpoint with a random State, every number of which is a multiple of `unit`; 0 leaves them as they are.
fn checkpoint(model: &Description, unit: f32) -> Checkpoint {
    let options = nn::Options::new(Purpose::Train, 2, IMAGE, CLASSES);
    let layout = nn::build(model, &options).unwrap().state;
    let State { parameters, running } = State::random(&layout, 7);
    let round = |x: f64| if unit > 0.0 { (x as f32 / unit).round() * unit } else { x as f32 };
    let shape = |shape: &[usize]| match *shape {
        [k, r, s, c] => vec![k, c, r, s],
        _ => shape.to_vec(),
    };
    let names = layout.parameters.iter().map(|p| (p.name.clone(), shape(&p.shape.0)));
    let names = names.chain(layout.running.iter().map(|r| (r.name.clone(), vec![r.channels])));
    // A random filter is as random in any order of its axes.
    let tensors = names
        .zip(parameters.iter().chain(&running))
        .map(|((name, shape), data)| Tensor { name, shape, data: data.iter().map(|&x| round(x)).collect() })
        .collect();
    Checkpoint {
        info: Info { step: 12, ..Info::untrained(model.clone(), IMAGE, CLASSES, 7) },
        normaliser: Normaliser { mean: vec![0.1, 0.2, 0.3], inv_std: vec![4.0, 5.0, 6.0] },
        tensors,
        momentum: Vec::new(),
        slow: Vec::new(),
    }
}

/// Logits, loss, activations and, with batch statistics, gradients of a fixed batch, in f64.
fn run(checkpoint: &Checkpoint, train: bool, device: Factory) -> Vec<(String, Vec<f64>)> {
    let [h, w, c] = IMAGE;
    let images = common::normals(4 * h * w * c, 3, 0);
    let batch = Batch { images, shape: [4, c, h, w], labels: vec![0, 1, 2, 3] };
    let options = Options { train, precision: Precision::F64, fusions: Fusions::ALL };
    let traced = trace(checkpoint, &batch, &options, device).unwrap();
    traced.into_iter().map(|t| (t.name, t.data)).collect()
}

/// Panics unless two networks make the same of a batch. The second runs on the definitions of the operations.
fn assert_same(one: &Checkpoint, other: &Checkpoint, limit: f64, what: &str) {
    for train in [false, true] {
        let runs = [run(one, train, common::cpu), run(other, train, common::reference)];
        let is_one_form = one.info.model.form == other.info.model.form;
        let [ours, theirs] = runs.map(|mut tensors| {
            // Four convolutions have no filter to compare the one with.
            tensors.retain(|(name, _)| is_one_form || !name.contains(".conv."));
            tensors.sort_by(|a, b| a.0.cmp(&b.0));
            tensors
        });
        assert_eq!(ours.len(), theirs.len(), "{what}");
        for ((name, a), (other, b)) in ours.iter().zip(&theirs) {
            assert_eq!(name, other, "{what}");
            // Before a batch norm of the batch's own statistics, a filter's gradient loses digits.
            let limit = if name.starts_with("grad.") { 100.0 * limit } else { limit };
            let error = relative_error(a, b);
            assert!(error <= limit, "{what}, {name}: {error:.1e} above {limit:.1e}");
        }
    }
}

fn bits(checkpoint: &Checkpoint) -> Vec<(&str, &[usize], Vec<u32>)> {
    let bits = |t: &Tensor| t.data.iter().map(|x| x.to_bits()).collect();
    let mut all: Vec<_> =
        checkpoint.tensors.iter().map(|t| (t.name.as_str(), t.shape.as_slice(), bits(t))).collect();
    all.sort();
    all
}

/// Every kind of network there is, and more of those whose layers are strided, narrowing, or without blocks.
fn networks() -> Vec<(String, Description)> {
    let mut all: Vec<(String, Description)> =
        one_of_each().into_iter().map(|(name, description)| (name.into(), description)).collect();
    for family in FAMILIES {
        for projection in [Projection::Conv3x3, Projection::Conv1x1, Projection::Pad] {
            let plain = with_blocks(network(family, &[4, 7]), 2);
            all.push((format!("{family:?} {projection:?}"), Description { projection, ..plain }));
        }
        let mut narrowing = network(family, &[9, 4]);
        if let Body::Groups(groups) = &mut narrowing.body {
            *groups =
                vec![Group { width: 9, blocks: 1, stride: 3 }, Group { width: 4, blocks: 2, stride: 1 }];
        }
        if family.has_identity() {
            let four = Description { form: Form::FourConvolutions, ..narrowing.clone() };
            all.push((format!("{family:?} narrowing, four convolutions"), four));
        }
        all.push((format!("{family:?} narrowing"), narrowing));
        let mlp = Description { size: 1, flatten: true, ..with_blocks(network(family, &[6]), 2) };
        all.push((format!("{family:?} mlp"), mlp));
    }
    for (i, (_, description)) in all.iter_mut().enumerate() {
        description.name = format!("net{i}");
    }
    all
}

/// Where `W - E` fits f32 the conversion is exact, and the way back gives the bits that there were.
#[test]
fn the_partner_computes_the_same_and_comes_back() {
    for (what, model) in networks() {
        // Multiples of 2^-20 below 8 leave three bits of f32 for what 1 adds.
        let original = checkpoint(&model, 2f32.powi(-20));
        let there = to_family(&original, partner(model.family)).unwrap();
        assert_eq!(there.checkpoint.info.model.family, partner(model.family), "{what}");
        assert_eq!((there.rounding.rounded, there.rounding.largest), (0, 0.0), "{what}");
        assert!(there.rounding.taps > 0, "{what}");
        assert_same(&original, &there.checkpoint, EXACT, &what);
        let back = to_family(&there.checkpoint, model.family).unwrap();
        // Four convolutions come back as one.
        let one = one_convolution(&original).unwrap().checkpoint;
        assert_eq!(bits(&back.checkpoint), bits(&one), "{what}");
        assert_same(&original, &one, EXACT, &what);
        assert_eq!(back.checkpoint.normaliser, original.normaliser);
    }
}

/// Where it does not fit, a layer's z changes as by one more rounding in f32: 2^-24 of its residual stream a layer,
/// which the later layers may multiply.
#[test]
fn rounding_stays_that_of_f32() {
    let unit = 2f64.powi(-24);
    let mut most = 0;
    for (what, model) in networks() {
        let original = checkpoint(&model, 0.0);
        let Converted { checkpoint: there, rounding } = to_family(&original, partner(model.family)).unwrap();
        // |w + 1| and |w - 1| stay below 4 here, where f32 rounds by 2^-23 at most.
        assert!(rounding.largest <= 2.0 * unit && rounding.rounded <= rounding.taps, "{what}: {rounding:?}");
        most = most.max(rounding.rounded);
        let logits = |c: &Checkpoint| {
            run(c, false, common::cpu).into_iter().find(|(name, _)| name == "logits").unwrap().1
        };
        let error = relative_error(&logits(&there), &logits(&original));
        let layers = original.tensors.iter().filter(|t| t.name.ends_with(".running_mean")).count();
        assert!(error <= 4.0 * layers as f64 * unit, "{what}: {error:.1e}, {layers} layers");
        // The family is no mere label.
        let mut mislabelled = one_convolution(&original).unwrap().checkpoint;
        mislabelled.info.model.family = partner(model.family);
        let error = relative_error(&logits(&mislabelled), &logits(&original));
        assert!(error > 1e-3, "{what}: {error:.1e}");
    }
    assert!(most > 10, "nothing was rounded");
}

#[test]
fn what_cannot_be_converted_is_refused_in_a_sentence() {
    let message = |checkpoint: &Checkpoint, family| to_family(checkpoint, family).unwrap_err().to_string();
    let of = |family| checkpoint(&network(family, &[4, 6]), 0.0);
    assert_eq!(message(&of(Family::Rir), Family::Rir), "'test' is of the family rir already");
    assert_eq!(
        message(&of(Family::Cnn), Family::Rir),
        "'test' is of the family cnn, without outer shortcuts, so what equals it is of the family resnet-init; give \
         --to resnet-init"
    );
    assert!(message(&of(Family::Rir), Family::Cnn).ends_with("give --to resnet"));
    assert!(message(&of(Family::ResnetInit), Family::Resnet).ends_with("give --to cnn"));

    let mut wrong = of(Family::Resnet);
    wrong.tensors.retain(|t| !t.name.starts_with("group1.") && t.name != "stem.bn.bias");
    wrong.tensors.push(Tensor { name: "extra".into(), shape: vec![2], data: vec![0.0; 2] });
    let head = wrong.tensors.iter_mut().find(|t| t.name == "head.linear.bias").unwrap();
    head.shape = vec![2, 2];
    assert_eq!(
        message(&wrong, Family::Rir),
        "these are not the tensors of 'test': missing: stem.bn.bias [4], group1.block1.layer1.conv.weight \
         [4, 4, 3, 3], group1.block1.layer1.bn.weight [4], group1.block1.layer1.bn.bias [4] and 7 more; unexpected: \
         extra [2]; of another shape: head.linear.bias [2, 2] (needed: [4])"
    );
}

/// A state dict of a network as PyTorch lays it out, every tensor of `dtype`.
fn state_dict(checkpoint: &Checkpoint, dtype: Dtype) -> Vec<u8> {
    let bytes = |x: f32| match dtype {
        Dtype::F64 => f64::from(x).to_le_bytes().to_vec(),
        Dtype::BF16 => half::bf16::from_f32(x).to_le_bytes().to_vec(),
        Dtype::F16 => half::f16::from_f32(x).to_le_bytes().to_vec(),
        _ => x.to_le_bytes().to_vec(),
    };
    let mut data: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = (checkpoint.tensors.iter())
        .map(|t| (t.name.clone(), dtype, t.shape.clone(), t.data.iter().flat_map(|&x| bytes(x)).collect()))
        .collect();
    for tensor in checkpoint.tensors.iter().filter(|t| t.name.ends_with("running_mean")) {
        let name = tensor.name.replace("running_mean", "num_batches_tracked");
        data.push((name, Dtype::I64, vec![], vec![0; 8]));
    }
    let views = data.iter().map(|(name, d, shape, b)| (name, TensorView::new(*d, shape.clone(), b).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

#[test]
fn a_state_dict_holds_the_network_and_what_it_needs() {
    for (what, model) in networks() {
        let original = checkpoint(&model, 0.0);
        let bytes = to_torch(&original).unwrap();
        let one = one_convolution(&original).unwrap().checkpoint;
        let (same, is_state_dict) = read(&bytes, None).unwrap();
        assert!(is_state_dict);
        assert_eq!(
            (bits(&same), &same.normaliser, &same.info),
            (bits(&one), &one.normaliser, &one.info),
            "{what}"
        );

        // Strict: one tensor a parameter and statistic, one count a batch norm, no others.
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let counts =
            file.iter().filter(|(name, _)| name.ends_with("num_batches_tracked")).collect::<Vec<_>>();
        assert_eq!(file.len(), one.tensors.len() + counts.len());
        assert_eq!(counts.len(), one.tensors.iter().filter(|t| t.name.ends_with("running_var")).count());
        for (name, view) in counts {
            assert_eq!((view.dtype(), view.shape()), (Dtype::I64, &[][..]), "{name}");
            assert_eq!(view.data(), 12i64.to_le_bytes(), "{name}");
        }
        let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(header.metadata().as_ref().unwrap()["format"], "pt");
    }
}

#[test]
fn foreign_state_dicts_are_read_in_every_type() {
    let model = network(Family::Resnet, &[4, 6]);
    // Multiples of 1/8 below 16 fit every type.
    let original = checkpoint(&model, 0.125);
    for dtype in [Dtype::F32, Dtype::F64, Dtype::BF16, Dtype::F16] {
        let bytes = state_dict(&original, dtype);
        let (known, _) = read(&bytes, Some(Origin::Like(Box::new(original.clone())))).unwrap();
        assert_eq!(bits(&known), bits(&original), "{dtype:?}");
        assert_eq!(known.normaliser, original.normaliser);
        let (named, _) = read(&bytes, Some(Origin::Model(model.clone(), IMAGE))).unwrap();
        assert_eq!(bits(&named), bits(&original), "{dtype:?}");
        assert_eq!((named.info.classes.len(), &named.normaliser.inv_std), (CLASSES, &vec![1.0; 3]));
    }
    // f64 is rounded to the nearest f32.
    let mut file: Vec<(String, Dtype, Vec<usize>, Vec<u8>)> = Vec::new();
    let bytes = state_dict(&original, Dtype::F64);
    for (name, view) in SafeTensors::deserialize(&bytes).unwrap().iter() {
        let data =
            if name == "head.linear.bias" { 0.1f64.to_le_bytes().repeat(4) } else { view.data().into() };
        file.push((name.into(), view.dtype(), view.shape().into(), data));
    }
    let views = file.iter().map(|(n, d, s, b)| (n, TensorView::new(*d, s.clone(), b).unwrap()));
    let bytes = safetensors::serialize(views, None).unwrap();
    let (rounded, _) = read(&bytes, Some(Origin::Like(Box::new(original)))).unwrap();
    assert_eq!(rounded.tensors.iter().find(|t| t.name == "head.linear.bias").unwrap().data, [0.1f32; 4]);
}

#[test]
fn files_that_do_not_suit_are_refused_in_a_sentence() {
    let model = network(Family::Resnet, &[4, 6]);
    let original = checkpoint(&model, 0.0);
    let message = |bytes: &[u8], origin| read(bytes, origin).unwrap_err().to_string();
    let named = |family| Some(Origin::Model(network(family, &[4, 6]), IMAGE));
    let foreign = state_dict(&original, Dtype::F32);
    let own = to_torch(&original).unwrap();
    assert!(message(b"junk", None).starts_with("not a safetensors file"));
    assert!(message(&foreign[..foreign.len() - 9], None).starts_with("not a safetensors file"));
    assert!(message(&foreign, None).contains("give --model a name"));
    assert!(message(&own, named(Family::Resnet)).contains("leave out --model"));
    assert!(message(&original.to_bytes().unwrap(), named(Family::Resnet)).contains("leave out --model"));
    let strangers = message(&foreign, named(Family::Cnn));
    assert!(strangers.contains("'test': unexpected: group2.block1.shortcut"), "{strangers}");
    let headless = Checkpoint { tensors: original.tensors[..3].to_vec(), ..original.clone() };
    assert!(message(&state_dict(&headless, Dtype::F32), named(Family::Resnet)).contains("head.conv.weight"));

    let with = |edit: &dyn Fn(&mut Checkpoint)| {
        let mut changed = original.clone();
        edit(&mut changed);
        state_dict(&changed, Dtype::F32)
    };
    let damaged = with(&|c| c.tensors[4].data[1] = f32::NAN);
    assert!(message(&damaged, named(Family::Resnet)).contains("is damaged: element 1"));
    let whole = SafeTensors::deserialize(&foreign).unwrap();
    let views = whole.iter().map(|(name, view)| match name {
        "stem.bn.bias" => (name, TensorView::new(Dtype::I32, vec![4], view.data()).unwrap()),
        _ => (name, view),
    });
    let integers = safetensors::serialize(views.collect::<Vec<_>>(), None).unwrap();
    assert_eq!(
        message(&integers, named(Family::Resnet)),
        "tensor stem.bn.bias is I32; give F32, F64, BF16 or F16"
    );
    // A count belongs to a batch norm of the network.
    let astray = with(&|c| {
        c.tensors.push(Tensor { name: "other.bn.running_mean".into(), shape: vec![1], data: vec![0.0] });
    });
    assert!(message(&astray, named(Family::Resnet)).contains("other.bn.num_batches_tracked"));

    // Metadata that lost a part.
    let (_, header) = SafeTensors::read_metadata(&own).unwrap();
    let mut metadata = header.metadata().clone().unwrap();
    metadata.remove("rir-preprocess");
    let file = SafeTensors::deserialize(&own).unwrap();
    let views: Vec<_> = file.iter().collect();
    let partial = safetensors::serialize(views, Some(metadata)).unwrap();
    assert!(message(&partial, None).contains("no 'rir-preprocess'"));
}

/// What the rounding counts is what one tap and one channel each are.
#[test]
fn every_channel_that_is_copied_has_its_tap() {
    let model = Description { form: Form::OneConvolution, ..network(Family::Resnet, &[4, 7]) };
    let Converted { rounding: Rounding { taps, .. }, .. } =
        to_family(&checkpoint(&model, 0.0), Family::Rir).unwrap();
    // Two layers of 4 to 4 channels, one of 4 to 7 and one of 7 to 7: half of the inputs, rounded down.
    assert_eq!(taps, 2 + 2 + 2 + 3);
}

proptest! {
    #![proptest_config(config(300))]

    /// Whatever a slip of the disk makes of a state dict: an error or a network, never a panic.
    #[test]
    fn a_mutated_state_dict_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>()) {
        let mut bytes = to_torch(&checkpoint(&network(Family::Resnet, &[4, 6]), 0.0)).unwrap();
        let header = 8 + u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize;
        let at = at.index(header);
        bytes[at] = byte;
        if cut {
            bytes.remove(at);
        }
        if let Err(e) = read(&bytes, None) {
            prop_assert_eq!(e.to_string().lines().count(), 1);
        }
    }
}
