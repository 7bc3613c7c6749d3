//! The real CIFAR sets, where there are any: `RIR_DATA=FOLDER cargo test --release --test data -- --ignored`.

use rir::data::{DataSpec, LoadOptions, Normaliser, Preprocess, load};

/// The published number of images, and the mean and deviation of the training pixels.
fn check(spec: DataSpec, classes: usize, mean: [f32; 3], std: [f32; 3]) {
    let loaded = load(&spec, &LoadOptions::default()).unwrap();
    let set = loaded.dataset;
    println!("{}; digest {}", loaded.used, set.digest);
    assert_eq!(set.classes.len(), classes);
    assert_eq!(set.train.class_counts(classes), vec![50_000 / classes; classes]);
    assert_eq!(set.test.class_counts(classes), vec![10_000 / classes; classes]);
    let fitted = Normaliser::fit(Preprocess::PerChannel, &set.train).unwrap();
    for channel in 0..3 {
        assert!((fitted.mean[channel] - mean[channel]).abs() < 6e-5, "{:?}", fitted.mean);
        assert!((1.0 / fitted.inv_std[channel] - std[channel]).abs() < 6e-5, "{:?}", fitted.inv_std);
    }
}

#[test]
#[ignore = "needs CIFAR-10 under $RIR_DATA"]
fn cifar10_has_the_published_statistics() {
    check(DataSpec::Cifar10, 10, [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]);
}

#[test]
#[ignore = "needs CIFAR-100 under $RIR_DATA"]
fn cifar100_has_the_published_statistics() {
    check(DataSpec::Cifar100, 100, [0.5071, 0.4865, 0.4409], [0.2673, 0.2564, 0.2762]);
}
