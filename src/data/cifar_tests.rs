use proptest::prelude::*;
use tempfile::TempDir;

use super::archive::tests::pack;
use super::*;
use crate::error::Kind;

/// The four layouts, with few images a file.
fn layouts() -> [Layout; 4] {
    LAYOUTS.map(|layout| Layout { images: [3, 4], ..layout })
}

/// The planar pixels of image `index` of the file `file`, all different from its neighbours'.
fn planes(file: usize, index: usize) -> Vec<u8> {
    (0..3072).map(|at| (at * 5 + at / 1024 * 50 + index * 31 + file * 77) as u8).collect()
}

fn label(layout: &Layout, file: usize, index: usize) -> u8 {
    ((file * 3 + index * 7) % layout.classes) as u8
}

/// A pickle such as Python 3 writes: `{key: [labels], b'data': array}`.
fn write_pickle(key: &str, labels: &[u8], data: &[u8]) -> Vec<u8> {
    let rows = labels.len() as u8;
    let mut out = b"\x80\x04}(C".to_vec();
    out.push(key.len() as u8);
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"](");
    labels.iter().for_each(|&label| out.extend_from_slice(&[b'K', label]));
    out.extend_from_slice(
        b"eC\x04datacnumpy._core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01K",
    );
    out.extend_from_slice(&[rows, b'M', 0x00, 0x0c]);
    out.extend_from_slice(b"\x86cnumpy\ndtype\nX\x02\x00\x00\x00u1\x89\x88\x87R");
    out.extend_from_slice(b"(K\x03X\x01\x00\x00\x00|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89B");
    out.extend_from_slice(&(data.len() as u32).to_le_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(b"tbu.");
    out
}

/// A file of `count` images as `layout` has it.
fn write_file(layout: &Layout, file: usize, count: usize) -> Vec<u8> {
    let labels: Vec<u8> = (0..count).map(|index| label(layout, file, index)).collect();
    if layout.pickled {
        let data: Vec<u8> = (0..count).flat_map(|index| planes(file, index)).collect();
        return write_pickle(layout.label_key, &labels, &data);
    }
    let record = |index: usize| {
        let mut bytes = vec![19; layout.label_bytes - 1];
        bytes.push(labels[index]);
        bytes.extend(planes(file, index));
        bytes
    };
    (0..count).flat_map(record).collect()
}

fn write_meta(layout: &Layout) -> Vec<u8> {
    let names: Vec<String> = (0..layout.classes).map(|class| format!("name {class}")).collect();
    if !layout.pickled {
        return (names.join("\n") + "\n\n").into_bytes();
    }
    let mut out = b"\x80\x02}X".to_vec();
    out.extend_from_slice(&(layout.meta_key.len() as u32).to_le_bytes());
    out.extend_from_slice(layout.meta_key.as_bytes());
    out.extend_from_slice(b"](");
    for name in names {
        out.extend_from_slice(&[b'U', name.len() as u8]);
        out.extend_from_slice(name.as_bytes());
    }
    out.extend_from_slice(b"es.");
    out
}

fn all_files(layout: &Layout) -> Vec<(&'static str, Vec<u8>)> {
    let mut files: Vec<_> =
        layout.train.iter().enumerate().map(|(file, &name)| (name, write_file(layout, file, 3))).collect();
    files.push((layout.test, write_file(layout, 9, 4)));
    files.push((layout.meta, write_meta(layout)));
    files
}

fn write_folder(layout: &Layout) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in all_files(layout) {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn write_archive(layout: &Layout) -> Vec<u8> {
    let files = all_files(layout);
    let named: Vec<_> =
        files.iter().map(|(name, bytes)| (format!("{}/{name}", layout.folder), bytes)).collect();
    pack(&named.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect::<Vec<_>>())
}

fn check(layout: &Layout, set: &Dataset) {
    assert_eq!((set.name.as_str(), set.classes.len()), (layout.name, layout.classes));
    assert_eq!((set.train.len(), set.test.len()), (3 * layout.train.len(), 4));
    for (images, file, per_file) in [(&set.train, 0, 3), (&set.test, 9, 4)] {
        for at in 0..images.len() {
            let (file, index) = (file + at / per_file, at % per_file);
            assert_eq!(images.labels[at], u16::from(label(layout, file, index)));
            let planes = planes(file, index);
            for pixel in [0, 1, 32, 1023] {
                let expected = [planes[pixel], planes[1024 + pixel], planes[2048 + pixel]];
                assert_eq!(images.image(at)[3 * pixel..][..3], expected);
            }
        }
    }
}

#[test]
fn every_format_reads_from_folder_and_archive_alike() {
    let mut digests = vec![];
    for layout in &layouts() {
        let folder = write_folder(layout);
        let set = read_folder(folder.path(), layout).unwrap();
        check(layout, &set);
        assert_eq!(set.classes[layout.classes - 1], format!("name {}", layout.classes - 1));
        let path = folder.path().join("renamed.tgz");
        std::fs::write(&path, write_archive(layout)).unwrap();
        let packed = read_archive_of(&path, &layouts()).unwrap();
        check(layout, &packed);
        assert_eq!((&packed.digest, &packed.classes), (&set.digest, &set.classes));
        digests.push(set.digest);
    }
    assert_eq!((&digests[0], &digests[2]), (&digests[1], &digests[3]), "the format leaves no trace");
}

#[test]
fn class_names_are_optional() {
    for layout in &layouts() {
        let folder = write_folder(layout);
        std::fs::remove_file(folder.path().join(layout.meta)).unwrap();
        let classes = read_folder(folder.path(), layout).unwrap().classes;
        assert_eq!(classes[9], if layout.classes == 10 { "truck" } else { "class 9" });
        std::fs::write(
            folder.path().join(layout.meta),
            if layout.pickled { &b"\x80\x02}."[..] } else { b"one\n" },
        )
        .unwrap();
        let error = read_folder(folder.path(), layout).unwrap_err().to_string();
        assert!(error.contains(layout.meta), "{error}");
    }
}

#[test]
fn sets_are_located_in_the_folder_below_it_or_packed() {
    let parent = tempfile::tempdir().unwrap();
    let names = |found: Vec<(PathBuf, &Layout)>| -> Vec<String> {
        found.iter().map(|(path, _)| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
    };
    assert!(locate(parent.path(), None).is_empty());
    std::fs::write(parent.path().join("cifar-10-python.tar.gz"), "").unwrap();
    std::fs::create_dir(parent.path().join("cifar-100-python")).unwrap();
    std::fs::write(parent.path().join("cifar-100-python/test"), "").unwrap();
    assert_eq!(names(locate(parent.path(), None)), ["cifar-100-python", "cifar-10-python.tar.gz"]);
    assert_eq!(names(locate(parent.path(), Some("cifar10"))), ["cifar-10-python.tar.gz"]);
    assert_eq!(names(locate(&parent.path().join("cifar-100-python"), None)), ["cifar-100-python"]);
}

/// The message of reading `layout` after `change` has been at its first training file.
fn message(layout: &Layout, change: impl Fn(&mut Vec<u8>)) -> String {
    let folder = write_folder(layout);
    let path = folder.path().join(layout.train[0]);
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes);
    std::fs::write(&path, bytes).unwrap();
    let error = read_folder(folder.path(), layout).unwrap_err();
    assert_eq!(error.kind(), Kind::Data);
    let text = error.to_string();
    assert!(text.contains(layout.train[0]), "it names the file: {text}");
    text
}

#[test]
fn damaged_files_are_told_with_numbers_and_the_remedy() {
    let [ten, ten_py, hundred, hundred_py] = layouts();
    let remedy = "fetch the set again with: data-scripts/fetch-cifar.sh 10";
    let text = message(&ten, |bytes| bytes.truncate(3073));
    assert!(text.ends_with(&format!("it is 3073 bytes long instead of 9219; {remedy}")), "{text}");
    assert!(message(&ten, Vec::clear).contains("it is 0 bytes long instead of 9219"));
    assert!(
        message(&hundred, |bytes| bytes.extend([0; 100])).contains("9223 or more bytes long instead of 9222")
    );
    let text = message(&ten, |bytes| bytes[3073] = 10);
    assert!(text.contains("record 1 has label 10; cifar10 has labels 0 to 9"), "{text}");
    assert!(
        message(&hundred, |bytes| bytes[1] = 100)
            .contains("record 0 has label 100; cifar100 has labels 0 to 99")
    );
    assert!(message(&ten_py, |bytes| bytes.truncate(3000)).contains("the file ends too early"));
    assert!(message(&ten_py, Vec::clear).contains("no pickle"));
    let two = |layout: Layout| message(&layout, |bytes| *bytes = write_file(&layout, 0, 2));
    assert!(two(ten_py).contains("it holds 2 labels and 6144 bytes in rows of 3072 instead of 3 labels"));
    assert!(two(hundred_py).ends_with("fetch-cifar.sh 100 --python"));
    assert!(message(&hundred_py, |bytes| *bytes = write_file(&ten_py, 0, 3)).contains("no 'fine_labels'"));
}

#[test]
fn missing_files_and_foreign_archives_are_told() {
    let layout = layouts()[0];
    let folder = write_folder(&layout);
    std::fs::remove_file(folder.path().join("data_batch_3.bin")).unwrap();
    let error = read_folder(folder.path(), &layout).unwrap_err().to_string();
    assert!(error.contains("data_batch_3.bin is missing; fetch the set again with:"), "{error}");
    let path = folder.path().join("other.tar.gz");
    std::fs::write(&path, pack(&[("hello.txt", b"hello")])).unwrap();
    assert!(read_archive(&path).unwrap_err().to_string().contains("holds neither CIFAR-10 nor CIFAR-100"));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_set_is_read_or_refused(
        which in 0usize..4, at in any::<prop::sample::Index>(), kind in 0..4, byte in any::<u8>(),
        packed in any::<bool>()
    ) {
        let layout = layouts()[which];
        let folder = tempfile::tempdir().unwrap();
        let mut bytes = if packed { write_archive(&layout) } else { write_file(&layout, 0, 3) };
        // Half of the damage goes to the start, where the structure is.
        let at = at.index(if byte & 1 == 0 { 200.min(bytes.len()) } else { bytes.len() });
        match kind {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            _ => bytes.truncate(at),
        }
        let result = if packed {
            let path = folder.path().join("x.tar.gz");
            std::fs::write(&path, bytes).unwrap();
            read_archive_of(&path, &layouts())
        } else {
            let mut files = all_files(&layout);
            files[0].1 = bytes;
            decode(&layout, "here", |name, _| Ok(files.iter().find(|f| f.0 == name).map(|f| f.1.clone())))
        };
        if let Err(error) = result {
            prop_assert_eq!(error.kind(), Kind::Data);
        }
    }
}
