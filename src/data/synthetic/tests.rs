use std::collections::HashSet;

use super::*;

fn set(train: usize, test: usize) -> Dataset {
    synthetic(0, train, test).unwrap()
}

#[test]
fn every_class_has_its_share() {
    let set = set(500, 100);
    assert_eq!((set.train.class_counts(10), set.test.class_counts(10)), (vec![50; 10], vec![10; 10]));
    assert_eq!((set.classes.len(), set.name.as_str(), set.synthetic), (10, "synthetic", true));
    assert!(synthetic(0, 10, 0).is_err());
}

#[test]
fn no_image_occurs_twice() {
    let set = set(2000, 1000);
    let all = || (0..2000).map(|i| set.train.image(i)).chain((0..1000).map(|i| set.test.image(i)));
    assert_eq!(all().collect::<HashSet<_>>().len(), 3000);
}

#[test]
fn threads_sizes_and_seeds() {
    let expected = set(100, 20);
    for threads in [1, 3] {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        assert_eq!(pool.install(|| set(100, 20)).digest, expected.digest);
    }
    assert_eq!(
        set(200, 20).train.pixels[..100 * 3072],
        expected.train.pixels,
        "a larger set begins with the smaller"
    );
    assert_ne!(synthetic(1, 100, 20).unwrap().digest, expected.digest);
}

/// The set is a fixed one: figures reported on it stay comparable. If this fails, the generator has changed.
#[test]
fn the_bytes_never_change() {
    assert_eq!(set(100, 20).digest, "8419c6a7e99d47f998e7e9daa28287066421af01d0adc5b876644cac7ae49841");
}

/// Softmax regression of the raw pixels by gradient descent: what a classifier without convolutions can see.
#[test]
fn a_linear_classifier_stays_near_chance() {
    let set = set(2000, 500);
    let input = |image: &[u8]| image.iter().map(|&byte| f32::from(byte) / 255.0 - 0.5).collect::<Vec<_>>();
    let scores = |weights: &[f32], input: &[f32]| -> Vec<f32> {
        weights.chunks_exact(3072).map(|row| row.iter().zip(input).map(|(w, x)| w * x).sum()).collect()
    };
    let accuracy = |weights: &[f32], images: &Images| {
        let right = |index: &usize| {
            let scores = scores(weights, &input(images.image(*index)));
            let best = scores.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1)).unwrap().0;
            best == usize::from(images.labels[*index])
        };
        (0..images.len()).filter(right).count() as f64 / images.len() as f64
    };
    let mut weights = vec![0.0f32; 10 * 3072];
    for _ in 0..4 {
        for index in 0..set.train.len() {
            let input = input(set.train.image(index));
            let scores = scores(&weights, &input);
            let top = scores.iter().copied().fold(f32::MIN, f32::max);
            let exponentials: Vec<f32> = scores.iter().map(|score| (score - top).exp()).collect();
            let total: f32 = exponentials.iter().sum();
            for (class, row) in weights.chunks_exact_mut(3072).enumerate() {
                let target = f32::from(u8::from(class == usize::from(set.train.labels[index])));
                let gradient = exponentials[class] / total - target;
                row.iter_mut().zip(&input).for_each(|(w, x)| *w -= 1e-3 * gradient * x);
            }
        }
    }
    let (train, test) = (accuracy(&weights, &set.train), accuracy(&weights, &set.test));
    assert!(train > 0.2, "the classifier does learn: {train}");
    assert!(test < 0.25, "{test}");
}
