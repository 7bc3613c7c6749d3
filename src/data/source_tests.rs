use std::fs;

use tempfile::TempDir;

use super::*;

fn small(root: &Path) -> LoadOptions {
    LoadOptions { root: root.into(), synthetic: (20, 10), ..LoadOptions::default() }
}

fn message(spec: &DataSpec, root: &Path) -> String {
    load(spec, &small(root)).unwrap_err().to_string()
}

fn image_folder() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a/1.png", "a/2.png", "b/1.png", "b/2.png"] {
        fs::create_dir_all(folder.path().join(name).parent().unwrap()).unwrap();
        image::RgbImage::new(40, 40).save(folder.path().join(name)).unwrap();
    }
    folder
}

#[test]
fn names_and_paths_are_told_apart() {
    for (name, spec) in DataSpec::NAMES {
        assert_eq!((DataSpec::parse(name).unwrap(), spec.to_string()), (spec, name.to_string()));
    }
    assert_eq!(DataSpec::parse("src").unwrap(), DataSpec::Path("src".into()));
    assert_eq!(DataSpec::parse("./cifar10").unwrap(), DataSpec::Path("./cifar10".into()));
    assert_eq!(DataSpec::parse("/no/such").unwrap(), DataSpec::Path("/no/such".into()));
    assert_eq!(DataSpec::parse("photos/").unwrap(), DataSpec::Path("photos/".into()));
    let error = DataSpec::parse("cifar-10").unwrap_err().to_string();
    assert!(error.starts_with("unknown data set 'cifar-10'; did you mean 'cifar10'?"), "{error}");
}

#[test]
fn auto_falls_back_to_the_synthetic_set_and_says_so() {
    let root = tempfile::tempdir().unwrap();
    let loaded = load(&DataSpec::Auto, &small(root.path())).unwrap();
    assert!(loaded.dataset.synthetic && loaded.dataset.train.len() == 20 && loaded.split_record.is_none());
    let expected = format!(
        "no CIFAR-10 in {}: using the built-in synthetic set; fetch CIFAR-10 with: \
         data-scripts/fetch-cifar.sh 10",
        root.path().display()
    );
    assert_eq!(loaded.used, expected);
    let asked = load(&DataSpec::Synthetic, &small(root.path())).unwrap();
    assert_eq!(asked.used, "using the built-in synthetic set");
    assert_eq!(asked.dataset.digest, loaded.dataset.digest);
    // A damaged CIFAR-10 is not passed over in silence.
    fs::create_dir(root.path().join("cifar-10-batches-bin")).unwrap();
    fs::write(root.path().join("cifar-10-batches-bin/test_batch.bin"), "").unwrap();
    assert!(message(&DataSpec::Auto, root.path()).contains("data_batch_1.bin is missing"));
}

#[test]
fn a_missing_set_comes_with_the_command_that_fetches_it() {
    let root = tempfile::tempdir().unwrap();
    let text = message(&DataSpec::Cifar10, root.path());
    assert!(
        text.contains("looked for cifar-10-batches-bin, cifar-10-batches-py, cifar-10-binary.tar.gz"),
        "{text}"
    );
    assert!(text.contains("fetch it with: data-scripts/fetch-cifar.sh 10 "), "{text}");
    assert!(message(&DataSpec::Cifar100, root.path()).contains("fetch-cifar.sh 100"));
}

#[test]
fn a_path_is_told_by_its_content() {
    let images = image_folder();
    let loaded = load(&DataSpec::Path(images.path().into()), &small(images.path())).unwrap();
    assert_eq!((loaded.dataset.train.len(), loaded.dataset.test.len()), (2, 2));
    assert_eq!(loaded.split_record.unwrap().test.len(), 2);
    assert!(loaded.used.starts_with("using the 2 classes of images in "));
    assert_eq!(loaded.location.unwrap(), images.path().canonicalize().unwrap());

    let at = |name: &str| DataSpec::Path(images.path().join(name));
    assert!(message(&at("nothing"), images.path()).contains("does not exist; give a folder"));
    assert!(message(&at("a/1.png"), images.path()).contains("is no folder and no .tar.gz archive"));
    fs::write(images.path().join("x.tar.gz"), archive::tests::pack(&[("train", b"\x80\x02}.")])).unwrap();
    assert!(message(&at("x.tar.gz"), images.path()).contains("the pickle has no 'fine_labels'"));
    fs::create_dir(images.path().join("cifar-100-binary")).unwrap();
    fs::write(images.path().join("cifar-100-binary/train.bin"), "").unwrap();
    let parent = DataSpec::Path(images.path().into());
    assert!(message(&parent, images.path()).contains("train.bin: it is 0 bytes long"));
    fs::write(images.path().join("data_batch_1"), "").unwrap();
    assert!(message(&parent, images.path()).contains("holds more than one data set; give one of them"));
}

#[test]
fn a_set_of_another_size_than_the_network_is_refused() {
    let options = LoadOptions { image_size: (64, 64), ..small(Path::new("none")) };
    let error = load(&DataSpec::Synthetic, &options).unwrap_err().to_string();
    assert!(error.starts_with("synthetic has images of 32x32, but the network takes 64x64"), "{error}");
    let images = image_folder();
    assert_eq!(load(&DataSpec::Path(images.path().into()), &options).unwrap().dataset.train.height, 64);
}
