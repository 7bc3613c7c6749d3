//! The analysis of a network as a whole, on the CPU.

mod common;

use std::sync::Arc;

use common::networks::{network, with_blocks};
use common::{normals, uniforms};
use rir::analyze::{Analysis, Options, Progress, Quarter, Source, analyze};
use rir::convert::one_convolution;
use rir::data::{Images, Loader, Normaliser, Preprocess};
use rir::error::Error;
use rir::graph::{Fusions, Precision};
use rir::nn::{Ablation, Description, Family, Form, Stream};
use rir::ops::Sgd;
use rir::train::{Checkpoint, Info, Session, SessionOptions, Tensor, argmax, evaluate};

const IMAGE: [usize; 3] = [8, 8, 3];
const CLASSES: usize = 4;

/// Images that differ as a whole, in colour and from side to side, without labels.
fn images() -> (Images, Arc<Normaliser>) {
    let n = 40;
    let draws = uniforms(n * 6, 0.0, 1.0, 1, 0);
    let pixel = |i: usize, y: usize, x: usize, c: usize| {
        let (base, slope) = (draws[i * 6 + c], draws[i * 6 + 3 + c]);
        (255.0 * (0.6 * base + 0.4 * (slope * (x as f64 / 7.0) + (1.0 - slope) * (y as f64 / 7.0)))) as u8
    };
    let pixels = (0..n * 192).map(|at| pixel(at / 192, at / 24 % 8, at / 3 % 8, at % 3)).collect();
    let images = Images::new(8, 8, 3, pixels, vec![0; n]).unwrap();
    let normaliser = Normaliser::fit(Preprocess::PerPixelMean, &images).unwrap();
    (images, Arc::new(normaliser))
}

/// (N, classes).
fn logits(session: &mut Session) -> Vec<f32> {
    let (images, normaliser) = images();
    let n = images.len();
    let batch = Loader::evaluation(Arc::new(images), normaliser, n).unwrap().next().unwrap().unwrap();
    session.predict(&batch.images).unwrap()
}

/// The images, labelled as the network of [`rir`] answers: it is right on all, and any answer that changes shows.
fn data() -> (Arc<Images>, Arc<Normaliser>) {
    let (mut images, normaliser) = images();
    let logits = logits(&mut random(&rir(), Precision::F32));
    images.labels = logits.chunks(CLASSES).map(|logits| argmax(logits) as u16).collect();
    (Arc::new(images), normaliser)
}

fn session(model: &Description, precision: Precision) -> Session {
    let options = SessionOptions {
        model: model.clone(),
        image: IMAGE,
        classes: CLASSES,
        precision,
        fusions: Fusions::ALL,
        sgd: Sgd::PAPER,
        label_smoothing: 0.0,
    };
    Session::new(options, common::cpu).unwrap()
}

/// A network in which nothing is special, and which answers every class to some of the images.
fn random(model: &Description, precision: Precision) -> Session {
    let mut session = session(model, precision);
    session.initialise(5).unwrap();
    for (i, p) in session.layout().parameters.clone().iter().enumerate().filter(|(_, p)| p.shape.0.len() == 1)
    {
        let center = if p.name.ends_with("weight") { 1.0 } else { 0.0 };
        let values: Vec<f64> =
            normals(p.shape.elements(), 6, i as u32).iter().map(|z| center + 0.2 * z).collect();
        session.set_parameter(i, &values).unwrap();
    }
    let bias = session.layout().parameter("head.linear.bias").unwrap();
    let (logits, mut values) = (logits(&mut session), session.parameter(bias).unwrap());
    for row in logits.chunks(CLASSES) {
        let images = (logits.len() / CLASSES) as f64;
        values.iter_mut().zip(row).for_each(|(bias, logit)| *bias -= f64::from(*logit) / images);
    }
    session.set_parameter(bias, &values).unwrap();
    session
}

fn options() -> Options {
    let source = Source {
        checkpoint: "file".into(),
        data: "noise".into(),
        synthetic: true,
        data_digest: "digest".into(),
        seed: 5,
        epoch: 0,
        checkpoint_digest: String::new(),
    };
    Options { batch: 16, similarity_images: 30, source }
}

fn analyzed(session: &mut Session) -> Analysis {
    let (images, normaliser) = data();
    analyze(session, &images, &normaliser, &options(), &mut |_| Ok(())).unwrap()
}

fn rir() -> Description {
    with_blocks(network(Family::Rir, &[4, 6]), 2)
}

#[test]
fn the_session_is_as_it_was_and_progress_reaches_its_end() {
    let (images, normaliser) = data();
    for precision in [Precision::F32, Precision::Bf16] {
        let mut session = random(&rir(), precision);
        let before = session.export().unwrap();
        let measured = evaluate(&mut session, &images, &normaliser, 16).unwrap();
        let (mut told, mut last) = (0, None);
        let analysis = analyze(&mut session, &images, &normaliser, &options(), &mut |progress| {
            assert_eq!(progress.done, told);
            told += 1;
            last = Some(progress.total);
            Ok(())
        });
        assert_eq!(Some(told), last);
        // Whoever is told may end it, and finds the session as it was.
        for passes in [0, 3, told - 1] {
            let mut progress = |now: Progress<'_>| {
                if now.done < passes { Ok(()) } else { Err(Error::usage("enough")) }
            };
            let ended = analyze(&mut session, &images, &normaliser, &options(), &mut progress);
            assert_eq!(ended.unwrap_err().to_string(), "enough");
        }
        assert_eq!(analysis.unwrap().accuracy, measured.accuracy);
        assert_eq!(session.export().unwrap(), before);
        assert_eq!(evaluate(&mut session, &images, &normaliser, 16).unwrap(), measured);
    }
}

/// Every effect is what evaluation says of a network that is changed the same way.
#[test]
fn effects_are_those_of_the_changed_networks() {
    let (images, normaliser) = data();
    let mut session = random(&rir(), Precision::F32);
    let analysis = analyzed(&mut session);
    let accuracy = |session: &mut Session| evaluate(session, &images, &normaliser, 16).unwrap().accuracy;
    let mut effects = Vec::new();
    for (layer, report) in analysis.layers.iter().enumerate() {
        let mut without = |ablation| {
            session.ablate(Some(ablation)).unwrap();
            let accuracy = accuracy(&mut session);
            session.ablate(None).unwrap();
            accuracy
        };
        assert_eq!(
            report.without_residual.accuracy,
            without(Ablation::Stream { layer, stream: Stream::Residual })
        );
        assert_eq!(
            report.without_transient.accuracy,
            without(Ablation::Stream { layer, stream: Stream::Transient })
        );
        effects.extend([report.without_residual, report.without_transient]);
        let Some(identity) = report.without_identity else {
            assert_eq!(layer, 0);
            continue;
        };
        assert_eq!(identity.accuracy, without(Ablation::Identity { layer }));
        let w = session.layout().parameter(&format!("{}.conv.weight", report.name)).unwrap();
        let dims = session.layout().parameters[w].shape.dims4().unwrap();
        let values = session.parameter(w).unwrap();
        let mut squares = 0.0;
        for quarter in &report.quarters {
            let inside = |at: usize| {
                let to_r = at / (dims[1] * dims[2] * dims[3]) < dims[0] / 2;
                let from_r = at % dims[3] < dims[3] / 2;
                quarter.quarter
                    == match (from_r, to_r) {
                        (true, true) => Quarter::Rr,
                        (true, false) => Quarter::Rt,
                        (false, true) => Quarter::Tr,
                        (false, false) => Quarter::Tt,
                    }
            };
            let (zeroed, part): (Vec<f64>, Vec<f64>) = values
                .iter()
                .enumerate()
                .map(|(at, &w)| if inside(at) { (0.0, w) } else { (w, 0.0) })
                .unzip();
            session.set_parameter(w, &zeroed).unwrap();
            assert_eq!(quarter.without.accuracy, accuracy(&mut session), "{} {quarter:?}", report.name);
            assert!((quarter.norm - common::norm(&part)).abs() <= 1e-12 * quarter.norm);
            squares += quarter.norm.powi(2);
            effects.push(quarter.without);
        }
        session.set_parameter(w, &values).unwrap();
        // The quarters are all of the filter.
        assert!((squares.sqrt() - common::norm(&values)).abs() <= 1e-12 * common::norm(&values));
    }
    let changes = effects.iter().filter(|effect| effect.change != 0.0).count();
    assert!(changes > effects.len() / 2, "{changes} of {} effects are none", effects.len());
    for effect in effects {
        assert!((effect.accuracy - effect.change - analysis.accuracy).abs() < 1e-9);
    }
}

/// Activations are those of evaluation, with running statistics, of the images that are said.
#[test]
fn sizes_and_likeness_are_of_the_evaluated_activations() {
    let (images, normaliser) = data();
    let mut session = random(&rir(), Precision::F32);
    let analysis = analyzed(&mut session);
    assert_eq!((analysis.images, analysis.similarity_images), (40, 30));
    let chosen = Arc::new(rir::analyze::sample(&images, 30).unwrap());
    let batch = Loader::evaluation(chosen, normaliser, 30).unwrap().next().unwrap().unwrap();
    let mut seen = 0;
    session
        .observe(
            &batch.images,
            &batch.labels,
            |_| true,
            |layer, values| {
                let report = &analysis.layers[layer];
                let channels = report.residual_channels + report.transient_channels;
                let [mut r, mut t] = [0.0, 0.0];
                for (at, x) in values.iter().enumerate() {
                    *(if at % channels < report.residual_channels { &mut r } else { &mut t }) += x * x;
                }
                let half = values.len() as f64 / 2.0;
                // The batches differ, so other kernels may have added up in another order.
                assert!(((r / half).sqrt() / report.residual_rms - 1.0).abs() < 1e-5, "{}", report.name);
                assert!(((t / half).sqrt() / report.transient_rms - 1.0).abs() < 1e-5, "{}", report.name);
                seen += 1;
            },
        )
        .unwrap();
    assert_eq!(seen, analysis.layers.len());

    let similarity = analysis.similarity.unwrap();
    for (a, row) in similarity.iter().enumerate() {
        assert!((row[a].unwrap() - 1.0).abs() < 1e-12);
        for (b, value) in row.iter().enumerate() {
            let value = value.unwrap();
            assert_eq!(Some(value), similarity[b][a]);
            assert!(value.abs() <= 1.0 + 1e-12);
        }
    }
    // r passes from layer to layer: neighbours are more alike than ends.
    let last = similarity.len() - 1;
    assert!(similarity[last][last - 1] > similarity[last][0]);
}

/// Four convolutions are taken apart as one.
#[test]
fn both_forms_have_the_same_analysis() {
    let four = Description { form: Form::FourConvolutions, ..rir() };
    let mut session_four = random(&four, Precision::F32);
    let checkpoint = Checkpoint {
        info: Info::untrained(four, IMAGE, CLASSES, 5),
        normaliser: Normaliser::clone(&data().1),
        tensors: session_four.export().unwrap(),
        momentum: Vec::new(),
        slow: Vec::new(),
    };
    let one: Vec<Tensor> = one_convolution(&checkpoint).unwrap().checkpoint.tensors;
    let mut session_one = session(&rir(), Precision::F32);
    session_one.import(&one).unwrap();
    let (four, one) = (analyzed(&mut session_four), analyzed(&mut session_one));
    // The same weights in sums of another order: logits differ in the last digits, answers hardly.
    let near = |a: f64, b: f64| (a - b).abs() <= 100.0 / 40.0 + 1e-9;
    assert!(near(four.without_identities.accuracy, one.without_identities.accuracy));
    for (four, one) in four.layers.iter().zip(&one.layers) {
        assert!(near(four.without_residual.accuracy, one.without_residual.accuracy), "{}", one.name);
        assert!(near(four.without_transient.accuracy, one.without_transient.accuracy), "{}", one.name);
        assert!((four.residual_rms / one.residual_rms - 1.0).abs() < 1e-5);
        assert_eq!(four.quarters.len(), one.quarters.len());
        for (four, one) in four.quarters.iter().zip(&one.quarters) {
            assert_eq!(four.quarter, one.quarter);
            assert!((four.norm / one.norm - 1.0).abs() < 1e-12);
            assert!(near(four.without.accuracy, one.without.accuracy));
        }
    }
}

#[test]
fn an_analysis_is_saved_and_read_again() {
    let analysis = analyzed(&mut random(&rir(), Precision::F32));
    let folder = tempfile::tempdir().unwrap();
    let files = analysis.save(&folder.path().join("deep/analysis")).unwrap();
    assert_eq!(files.len(), 7);
    let json = std::fs::read_to_string(&files[0]).unwrap();
    assert_eq!(serde_json::from_str::<Analysis>(&json).unwrap(), analysis);
    for file in &files[1..] {
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(svg.contains("2.2.2") && !svg.contains("NaN"), "{}", file.display());
    }
    let text = analysis.to_string();
    assert_eq!(analysis.findings().len(), 8);
    for said in ["W_rt", "synthetic test", "Streams: ", "1.1.1", "Memory: "] {
        assert!(text.contains(said), "{said} in {text}");
    }
}

/// A dead residual stream: nothing is said of its likeness, and the rest still stands.
#[test]
fn a_dead_stream_is_named_and_breaks_nothing() {
    let mut session = random(&with_blocks(network(Family::ResnetInit, &[4, 6]), 1), Precision::F32);
    for kind in ["weight", "bias"] {
        let index = session.layout().parameter(&format!("group1.block1.layer1.bn.{kind}")).unwrap();
        let mut values = session.parameter(index).unwrap();
        values[..2].fill(0.0);
        session.set_parameter(index, &values).unwrap();
    }
    let analysis = analyzed(&mut session);
    assert_eq!((analysis.layers[1].residual_rms, analysis.layers[1].without_residual.change), (0.0, 0.0));
    let similarity = analysis.similarity.as_ref().unwrap();
    assert!(similarity[1].iter().all(Option::is_none) && similarity[0][2].is_some());
    assert!(analysis.to_string().contains("r is zero behind 1.1.1"));
    analysis.plots().unwrap();
}

#[test]
fn networks_without_two_streams_and_too_many_images_are_refused() {
    let (images, normaliser) = data();
    let refused = |model: &Description, options: &Options| {
        let mut session = random(model, Precision::F32);
        analyze(&mut session, &images, &normaliser, options, &mut |_| Ok(())).unwrap_err().to_string()
    };
    assert!(refused(&network(Family::Resnet, &[4]), &options()).contains("family resnet"));
    let one = Description { residual_share: 1.0, ..network(Family::Rir, &[4]) };
    assert!(refused(&one, &options()).contains("no two streams in stem"));
    let many = Options { similarity_images: 2001, ..options() };
    assert!(refused(&rir(), &many).contains("at most 2000"));
}

/// What `observe` shows is what the classifier is given: the answers of `evaluate_batch` follow from it.
#[test]
fn observing_changes_no_answer() {
    let mut session = random(&rir(), Precision::F32);
    let pixels: Vec<f32> = normals(6 * 192, 8, 0).iter().map(|&x| x as f32).collect();
    let labels = [0; 6];
    let logits = session.evaluate_batch(&pixels, &labels).unwrap().logits;
    let mut last = Vec::new();
    session.observe(&pixels, &labels, |layer| layer == 8, |_, values| last = values).unwrap();
    let [w, b] = ["weight", "bias"].map(|kind| {
        let index = session.layout().parameter(&format!("head.linear.{kind}")).unwrap();
        session.parameter(index).unwrap()
    });
    let per_image = last.len() / 6;
    for (image, logits) in last.chunks(per_image).zip(logits.chunks(CLASSES)) {
        let mean = |c: usize| image.iter().skip(c).step_by(6).sum::<f64>() / (per_image / 6) as f64;
        let want: Vec<f32> = (0..CLASSES)
            .map(|k| (b[k] + (0..6).map(|c| w[k * 6 + c] * mean(c)).sum::<f64>()) as f32)
            .collect();
        assert_eq!(argmax(logits), argmax(&want));
        assert!(logits.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-4), "{logits:?} {want:?}");
    }
}
