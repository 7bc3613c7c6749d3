use image::{Rgb, RgbImage};
use tempfile::TempDir;

use super::*;

const HALF: Share = Share::Fraction(0.5);

/// Writes images of one colour each: `CLASS/NAME` and its red value.
fn write(root: &Path, files: &[(&str, u8)]) {
    for (name, red) in files {
        let path = root.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        RgbImage::from_pixel(3, 2, Rgb([*red, 0, 0])).save(path).unwrap();
    }
}

fn folder(files: &[(&str, u8)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), files);
    folder
}

fn load(root: &Path) -> Result<(Dataset, Option<SplitRecord>)> {
    read(root, (2, 3), HALF, 1)
}

fn message(root: &Path) -> String {
    load(root).unwrap_err().to_string()
}

#[test]
fn a_ready_made_split_is_kept() {
    let folder = folder(&[
        ("train/犬/b.png", 2),
        ("train/犬/いぬ.PNG", 3),
        ("train/猫/a.bmp", 4),
        ("test/犬/x.png", 5),
        ("test/猫/y.png", 6),
    ]);
    let (set, record) = load(folder.path()).unwrap();
    assert_eq!((set.classes, set.note, record), (vec!["犬".to_string(), "猫".into()], None, None));
    assert_eq!((set.train.labels.as_slice(), set.test.labels.as_slice()), (&[0, 0, 1][..], &[0, 1][..]));
    let red = |images: &Images| (0..images.len()).map(|i| images.image(i)[0]).collect::<Vec<_>>();
    assert_eq!((red(&set.train), red(&set.test)), (vec![2, 3, 4], vec![5, 6]));
    assert_eq!((set.train.height, set.train.width), (2, 3));
    write(folder.path(), &[("val/犬/z.png", 7)]);
    let note = load(folder.path()).unwrap().0.note.unwrap();
    assert!(note.starts_with("1 file was not an image and was skipped (") && note.contains("val"), "{note}");
}

#[test]
fn without_one_the_split_is_drawn_recorded_and_repeats() {
    let names: Vec<String> = (0..20).map(|i| format!("{}/{i:02}.png", ["a", "b"][i % 2])).collect();
    let files: Vec<_> = names.iter().enumerate().map(|(i, name)| (name.as_str(), i as u8 * 3)).collect();
    let folder = folder(&files);
    let (set, record) = load(folder.path()).unwrap();
    let record = record.unwrap();
    assert_eq!((set.train.len(), set.test.class_counts(2)), (10, vec![5, 5]));
    let mut all = [record.train.clone(), record.test.clone()].concat();
    all.sort();
    let mut expected = names.clone();
    expected.sort();
    assert_eq!(all, expected);
    for (at, name) in record.test.iter().enumerate() {
        let red = files.iter().find(|(file, _)| file == name).unwrap().1;
        assert_eq!(set.test.image(at)[0], red, "the record tells the images' order");
    }
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<SplitRecord>(&text).unwrap(), record);
    assert_eq!(load(folder.path()).unwrap().1.unwrap(), record);
    assert_ne!(read(folder.path(), (2, 3), HALF, 2).unwrap().1.unwrap(), record);
}

#[test]
fn junk_is_skipped_and_counted() {
    let folder = folder(&[("a/1.png", 0), ("a/2.png", 0), ("b/1.png", 0), ("b/2.png", 0)]);
    for name in ["readme.txt", "a/Thumbs.db", "a/.DS_Store", "b/._1.png"] {
        fs::write(folder.path().join(name), "junk").unwrap();
    }
    fs::create_dir(folder.path().join("__MACOSX")).unwrap();
    let (set, _) = load(folder.path()).unwrap();
    assert_eq!(set.train.len() + set.test.len(), 4);
    let five = set.note.unwrap();
    assert!(five.starts_with("5 files were not images and were skipped (such as "), "{five}");
    let one = note(&[PathBuf::from("x/readme.txt")]).unwrap();
    assert_eq!(one, "1 file was not an image and was skipped (x/readme.txt)");
}

#[test]
fn folders_that_are_no_set_are_told_why() {
    let place = |folder: &TempDir| folder.path().display().to_string();
    let empty = folder(&[]);
    assert!(
        message(empty.path())
            .starts_with(&format!("{} holds no data set; looked for CIFAR-10", place(&empty)))
    );
    let one = folder(&[("cats/1.png", 0), ("cats/2.png", 0)]);
    assert!(message(one.path()).contains("holds one class only ('cats')"));
    let single = folder(&[("a/1.png", 0), ("a/2.png", 0), ("b/1.png", 0)]);
    assert!(message(single.path()).contains("class 'b' has a single image"));
    fs::create_dir(single.path().join("c")).unwrap();
    fs::remove_file(single.path().join("b/1.png")).unwrap();
    assert!(message(single.path()).contains("class 'b' has no image"));
    let nested = folder(&[("val/cats/1.png", 0), ("val/dogs/1.png", 0)]);
    assert!(message(nested.path()).contains("cats is a folder inside a class"));
    let other = folder(&[("train/a/1.png", 0), ("train/b/1.png", 0), ("test/a/1.png", 0)]);
    assert!(message(other.path()).contains("class 'b' is in train but not in test"));
    write(other.path(), &[("test/b/1.png", 0), ("test/c/1.png", 0)]);
    assert!(message(other.path()).contains("class 'c' is in test but not in train"));
    assert!(message(Path::new("/no/such/folder")).contains("cannot read /no/such/folder"));
}

#[test]
fn a_broken_image_is_named_the_first_one_always() {
    let folder =
        folder(&[("train/a/1.png", 0), ("train/b/1.png", 0), ("test/a/1.png", 0), ("test/b/1.png", 0)]);
    for name in ["train/a/2.jpg", "train/b/3.jpg"] {
        fs::write(folder.path().join(name), "no image").unwrap();
    }
    for _ in 0..5 {
        let text = message(folder.path());
        assert!(text.contains("train/a/2.jpg is not readable as an image"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn names_that_are_no_unicode_are_shown_as_well_as_they_can_be() {
    use std::os::unix::ffi::OsStrExt;
    let folder = folder(&[("b/1.png", 0), ("b/2.png", 0)]);
    let odd = folder.path().join(std::ffi::OsStr::from_bytes(b"a\xff"));
    if fs::create_dir(&odd).is_err() {
        return; // Some file systems hold Unicode names only.
    }
    for name in ["1.png", "2.png"] {
        fs::copy(folder.path().join("b").join(name), odd.join(name)).unwrap();
    }
    assert_eq!(load(folder.path()).unwrap().0.classes, ["a\u{fffd}", "b"]);
}
