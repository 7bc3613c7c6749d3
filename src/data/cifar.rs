//! CIFAR-10 and CIFAR-100 as their author publishes them: binary or Python files, unpacked or as the archive.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::pickle::Pickle;
use super::{Dataset, Images, archive};
use crate::error::{Error, Result};

const SIDE: usize = 32;
const PIXELS: usize = SIDE * SIDE;
const CIFAR10: [&str; 10] =
    ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"];

/// The files of one set in one format.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// `cifar10` or `cifar100`.
    pub name: &'static str,
    /// The folder's name in the official archive.
    pub folder: &'static str,
    /// The official archive's name.
    pub archive: &'static str,
    /// The command that fetches the set.
    pub fetch: &'static str,
    pickled: bool,
    train: &'static [&'static str],
    test: &'static str,
    /// The class names; optional.
    meta: &'static str,
    /// The key of the class names in a pickled `meta`.
    meta_key: &'static str,
    /// The key of the labels in a pickled file.
    label_key: &'static str,
    /// Bytes before the pixels of a binary record, the last of which is the label.
    label_bytes: usize,
    classes: usize,
    /// Images in each training file, and in the test file.
    images: [usize; 2],
}

/// The four, the compact binary ones first.
pub(super) const LAYOUTS: [Layout; 4] = {
    let ten = Layout {
        name: "cifar10",
        folder: "cifar-10-batches-bin",
        archive: "cifar-10-binary.tar.gz",
        fetch: "data-scripts/fetch-cifar.sh 10",
        pickled: false,
        train: &[
            "data_batch_1.bin",
            "data_batch_2.bin",
            "data_batch_3.bin",
            "data_batch_4.bin",
            "data_batch_5.bin",
        ],
        test: "test_batch.bin",
        meta: "batches.meta.txt",
        meta_key: "label_names",
        label_key: "labels",
        label_bytes: 1,
        classes: 10,
        images: [10_000, 10_000],
    };
    let hundred = Layout {
        name: "cifar100",
        folder: "cifar-100-binary",
        archive: "cifar-100-binary.tar.gz",
        fetch: "data-scripts/fetch-cifar.sh 100",
        pickled: false,
        train: &["train.bin"],
        test: "test.bin",
        meta: "fine_label_names.txt",
        meta_key: "fine_label_names",
        label_key: "fine_labels",
        label_bytes: 2,
        classes: 100,
        images: [50_000, 10_000],
    };
    [
        ten,
        Layout {
            folder: "cifar-10-batches-py",
            archive: "cifar-10-python.tar.gz",
            pickled: true,
            train: &["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5"],
            test: "test_batch",
            meta: "batches.meta",
            ..ten
        },
        hundred,
        Layout {
            folder: "cifar-100-python",
            archive: "cifar-100-python.tar.gz",
            pickled: true,
            train: &["train"],
            test: "test",
            meta: "meta",
            ..hundred
        },
    ]
};

impl Layout {
    /// Whether `folder` itself holds this layout, complete or not.
    pub fn is_in(&self, folder: &Path) -> bool {
        self.train.iter().chain([&self.test]).any(|file| folder.join(file).is_file())
    }

    fn record(&self) -> usize {
        self.label_bytes + 3 * PIXELS
    }

    /// Bytes beyond which a file is not read: the exact size, or for a pickle room for its names of files
    /// too.
    fn limit(&self, images: usize) -> u64 {
        let exact = (images * self.record()) as u64;
        if self.pickled { 2 * exact + (1 << 20) } else { exact + 1 }
    }
}

/// Where under `folder` a layout of the set `name` (or of any set) lies: in it, below it, or below it as an
/// archive.
pub(super) fn locate(folder: &Path, name: Option<&str>) -> Vec<(PathBuf, &'static Layout)> {
    let mut found = Vec::new();
    for layout in LAYOUTS.iter().filter(|layout| name.is_none_or(|name| name == layout.name)) {
        let below = folder.join(layout.folder);
        if layout.is_in(folder) {
            found.push((folder.to_path_buf(), layout));
        } else if layout.is_in(&below) {
            found.push((below, layout));
        }
    }
    for layout in LAYOUTS.iter().filter(|layout| name.is_none_or(|name| name == layout.name)) {
        let packed = folder.join(layout.archive);
        if packed.is_file() {
            found.push((packed, layout));
        }
    }
    found
}

/// Reads the set of `layout` from an unpacked folder.
pub(super) fn read_folder(folder: &Path, layout: &Layout) -> Result<Dataset> {
    decode(layout, &folder.display().to_string(), |name, limit| {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(|error| Error::io("open", &path, &error))?,
        };
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(|error| Error::io("read", &path, &error))?;
        Ok(Some(bytes))
    })
}

/// Reads whichever set an archive holds.
pub(super) fn read_archive(path: &Path) -> Result<Dataset> {
    read_archive_of(path, &LAYOUTS)
}

fn read_archive_of(path: &Path, layouts: &[Layout]) -> Result<Dataset> {
    let files_of = |layout: &Layout| {
        [layout.test, layout.meta].into_iter().chain(layout.train.iter().copied()).collect::<Vec<_>>()
    };
    let limit = |layout: &Layout| {
        layout.limit(layout.images[0]) * layout.train.len() as u64
            + layout.limit(layout.images[1])
            + (1 << 20)
    };
    let most = layouts.iter().map(limit).max().unwrap_or(0);
    let mut files = archive::read(path, most, |name| layouts.iter().any(|l| files_of(l).contains(&name)))?;
    let held = |layout: &&Layout| files_of(layout).iter().filter(|name| files.contains_key(**name)).count();
    match layouts.iter().max_by_key(held).filter(|layout| held(layout) > 0) {
        Some(layout) => decode(layout, &path.display().to_string(), |name, _| Ok(files.remove(name))),
        None => Err(Error::data(format!(
            "{} holds neither CIFAR-10 nor CIFAR-100; it should hold files such as {} or {}",
            path.display(),
            LAYOUTS[0].train[0],
            LAYOUTS[3].train[0]
        ))),
    }
}

/// Decodes the set of `layout`; `get` gives a file's bytes, no more than a limit, or nothing where there is
/// no file.
fn decode(
    layout: &Layout,
    place: &str,
    mut get: impl FnMut(&str, u64) -> Result<Option<Vec<u8>>>,
) -> Result<Dataset> {
    let classes = match get(layout.meta, 1 << 20)? {
        Some(bytes) => {
            class_names(layout, &bytes).map_err(|e| e.at(format_args!("{place}: {}", layout.meta)))?
        }
        None if layout.classes == CIFAR10.len() => CIFAR10.map(String::from).to_vec(),
        None => (0..layout.classes).map(|class| format!("class {class}")).collect(),
    };
    let mut read = |files: &[&str], images: usize| {
        let (mut pixels, mut labels) = (Vec::new(), Vec::new());
        for name in files {
            let bytes = get(name, layout.limit(images))?.ok_or_else(|| {
                Error::data(format!("{place}: {name} is missing; fetch the set again with: {}", layout.fetch))
            })?;
            let decode = if layout.pickled { decode_pickle } else { decode_binary };
            decode(layout, &bytes, images, &mut pixels, &mut labels)
                .map_err(|error| error.at(format_args!("{place}: {name}")))?;
        }
        Images::new(SIDE, SIDE, 3, pixels, labels)
    };
    let train = read(layout.train, layout.images[0])?;
    let test = read(&[layout.test], layout.images[1])?;
    Dataset::new(layout.name, false, classes, train, test, None)
}

fn decode_binary(
    layout: &Layout,
    bytes: &[u8],
    images: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u16>,
) -> Result<()> {
    let expected = images * layout.record();
    if bytes.len() != expected {
        let more = if bytes.len() > expected { " or more" } else { "" };
        return Err(Error::data(format!(
            "it is {}{more} bytes long instead of {expected}; fetch the set again with: {}",
            bytes.len(),
            layout.fetch
        )));
    }
    for (index, record) in bytes.chunks_exact(layout.record()).enumerate() {
        let (label, planes) = record.split_at(layout.label_bytes);
        labels.push(checked_label(layout, index, i64::from(label[layout.label_bytes - 1]))?);
        push_interleaved(planes, pixels);
    }
    Ok(())
}

fn decode_pickle(
    layout: &Layout,
    bytes: &[u8],
    images: usize,
    pixels: &mut Vec<u8>,
    labels: &mut Vec<u16>,
) -> Result<()> {
    let pickle = Pickle::read(bytes)?;
    let found = pickle.integers(layout.label_key)?;
    let (columns, data) = pickle.array("data")?;
    if found.len() != images || columns != 3 * PIXELS || data.len() != images * columns {
        return Err(Error::data(format!(
            "it holds {} labels and {} bytes in rows of {columns} instead of {images} labels and rows of {}; \
             fetch the set again with: {} --python",
            found.len(),
            data.len(),
            3 * PIXELS,
            layout.fetch
        )));
    }
    for (index, (label, planes)) in found.iter().zip(data.chunks_exact(columns)).enumerate() {
        labels.push(checked_label(layout, index, *label)?);
        push_interleaved(planes, pixels);
    }
    Ok(())
}

fn checked_label(layout: &Layout, record: usize, label: i64) -> Result<u16> {
    u16::try_from(label).ok().filter(|&label| usize::from(label) < layout.classes).ok_or_else(|| {
        Error::data(format!(
            "record {record} has label {label}; {} has labels 0 to {}; fetch the set again with: {}",
            layout.name,
            layout.classes - 1,
            layout.fetch
        ))
    })
}

/// Three planes (red, green, blue) to pixels of three channels.
fn push_interleaved(planes: &[u8], pixels: &mut Vec<u8>) {
    pixels.extend((0..PIXELS).flat_map(|at| [planes[at], planes[PIXELS + at], planes[2 * PIXELS + at]]));
}

fn class_names(layout: &Layout, bytes: &[u8]) -> Result<Vec<String>> {
    let names = if layout.pickled {
        Pickle::read(bytes)?.strings(layout.meta_key)?
    } else {
        let text = String::from_utf8_lossy(bytes);
        text.lines().map(str::trim).filter(|line| !line.is_empty()).map(String::from).collect()
    };
    if names.len() == layout.classes {
        return Ok(names);
    }
    Err(Error::data(format!("it names {} classes instead of {}", names.len(), layout.classes)))
}

#[cfg(test)]
#[path = "cifar_tests.rs"]
mod tests;
