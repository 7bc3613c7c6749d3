//! A folder of image files, one subfolder a class, with or without a ready-made test set.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::split::{Share, stratified_split};
use super::{Dataset, Images, decode_image};
use crate::error::{Error, Result};

/// What counts as an image, in any mixture of capitals.
const EXTENSIONS: [&str; 8] = ["png", "jpg", "jpeg", "bmp", "gif", "tif", "tiff", "webp"];

/// Which files of an image folder became training and which test images, to be kept with a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SplitRecord {
    /// The seed that drew it.
    pub seed: u64,
    /// The part that was held out for testing.
    pub test_share: Share,
    /// The training files, relative to the folder, in the order of the training images.
    pub train: Vec<String>,
    /// The test files, likewise.
    pub test: Vec<String>,
}

/// The image files of a folder, by class name.
type Classes = BTreeMap<String, Vec<PathBuf>>;

/// Reads `root/CLASS/*` or `root/{train,test}/CLASS/*` as images of `size` (height, width).
///
/// Classes and files are ordered by name. Without `train` and `test` folders, `test_share` of the images is
/// held out for testing, drawn from `seed`; the record then says which.
pub(super) fn read(
    root: &Path,
    size: (usize, usize),
    test_share: Share,
    seed: u64,
) -> Result<(Dataset, Option<SplitRecord>)> {
    let mut skipped = Vec::new();
    let (train_root, test_root) = (root.join("train"), root.join("test"));
    let (names, train, test, record) = if train_root.is_dir() && test_root.is_dir() {
        skipped.extend(entries(root)?.into_iter().filter(|path| *path != train_root && *path != test_root));
        let train = scan(&train_root, &mut skipped)?;
        let test = scan(&test_root, &mut skipped)?;
        same_classes(root, &train, &test)?;
        let names = check(&train_root, &train, 1)?;
        check(&test_root, &test, 1)?;
        (names, labelled(train), labelled(test), None)
    } else {
        let all = scan(root, &mut skipped)?;
        let names = check(root, &all, 2)?;
        let all = labelled(all);
        let labels: Vec<u16> = all.iter().map(|(label, _)| *label).collect();
        let (train, test) = stratified_split(&labels, test_share, seed).map_err(|e| e.at(root.display()))?;
        let pick = |indices: &[usize]| indices.iter().map(|&index| all[index].clone()).collect::<Vec<_>>();
        let (train, test) = (pick(&train), pick(&test));
        let record =
            SplitRecord { seed, test_share, train: relative(root, &train), test: relative(root, &test) };
        (names, train, test, Some(record))
    };
    let name = fs::canonicalize(root).ok().and_then(|path| path.file_name().map(lossy));
    let (train, test) = (decode_all(&train, size)?, decode_all(&test, size)?);
    let name = name.unwrap_or_else(|| "folder".into());
    Ok((Dataset::new(name, false, names, train, test, note(&skipped))?, record))
}

/// The image files of each class folder under `root`; whatever is neither goes to `skipped`.
fn scan(root: &Path, skipped: &mut Vec<PathBuf>) -> Result<Classes> {
    let mut classes = Classes::new();
    for path in entries(root)? {
        if is_hidden(&path) || !path.is_dir() {
            skipped.push(path);
            continue;
        }
        let class = path.file_name().map(lossy).unwrap_or_default();
        let files = classes.entry(class).or_default();
        for file in entries(&path)? {
            if is_hidden(&file) {
                skipped.push(file);
            } else if file.is_dir() {
                return Err(Error::data(format!(
                    "{} is a folder inside a class; a class folder holds its images directly, and a \
                     ready-made split has folders named train and test",
                    file.display()
                )));
            } else if is_image(&file) {
                files.push(file);
            } else {
                skipped.push(file);
            }
        }
    }
    Ok(classes)
}

/// What a folder holds, by name.
fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<Vec<_>>>();
    let mut paths = read().map_err(|error| Error::io("read", folder, &error))?;
    paths.sort();
    Ok(paths)
}

/// Hidden files, and the folder that macOS adds to archives.
fn is_hidden(path: &Path) -> bool {
    path.file_name().map(lossy).is_some_and(|name| name.starts_with('.') || name == "__MACOSX")
}

fn is_image(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

fn lossy(name: &std::ffi::OsStr) -> String {
    name.to_string_lossy().into_owned()
}

/// The class names, when there are two or more with at least `least` images each.
fn check(root: &Path, classes: &Classes, least: usize) -> Result<Vec<String>> {
    let place = root.display();
    match classes.len() {
        0 => {
            return Err(Error::data(format!(
                "{place} holds no data set; looked for CIFAR-10 or CIFAR-100 (their files, folders or \
                 .tar.gz) and for a folder of images for each class"
            )));
        }
        1 => {
            return Err(Error::data(format!(
                "{place} holds one class only ('{}'); give a folder with two or more class folders",
                classes.keys().next().map_or("", String::as_str)
            )));
        }
        2..=65_536 => {}
        many => {
            return Err(Error::data(format!("{place} holds {many} classes; at most 65536 are supported")));
        }
    }
    if let Some((class, files)) = classes.iter().find(|(_, files)| files.len() < least) {
        return Err(Error::data(if files.is_empty() {
            format!("{place}: class '{class}' has no image; add some, or remove its folder")
        } else {
            format!("{place}: class '{class}' has a single image; it needs one to train and one to test")
        }));
    }
    Ok(classes.keys().cloned().collect())
}

fn same_classes(root: &Path, train: &Classes, test: &Classes) -> Result<()> {
    for (one, other, names) in [(train, test, ["train", "test"]), (test, train, ["test", "train"])] {
        if let Some(class) = one.keys().find(|class| !other.contains_key(*class)) {
            return Err(Error::data(format!(
                "{}: class '{class}' is in {} but not in {}; both need the same class folders",
                root.display(),
                names[0],
                names[1]
            )));
        }
    }
    Ok(())
}

fn labelled(classes: Classes) -> Vec<(u16, PathBuf)> {
    let with_label =
        |(label, files): (usize, Vec<PathBuf>)| files.into_iter().map(move |file| (label as u16, file));
    classes.into_values().enumerate().flat_map(with_label).collect()
}

/// Paths below `root`, with slashes on every system.
fn relative(root: &Path, files: &[(u16, PathBuf)]) -> Vec<String> {
    let parts = |path: &Path| path.iter().map(lossy).collect::<Vec<_>>().join("/");
    files.iter().map(|(_, path)| parts(path.strip_prefix(root).unwrap_or(path))).collect()
}

/// Decodes in parallel, keeping the order; of several errors, reports the first file's.
fn decode_all(files: &[(u16, PathBuf)], (height, width): (usize, usize)) -> Result<Images> {
    let decoded: Vec<Result<Vec<u8>>> =
        files.par_iter().map(|(_, path)| decode_image(path, height, width)).collect();
    let mut pixels = Vec::with_capacity(files.len() * height * width * 3);
    for image in decoded {
        pixels.extend(image?);
    }
    Images::new(height, width, 3, pixels, files.iter().map(|(label, _)| *label).collect())
}

fn note(skipped: &[PathBuf]) -> Option<String> {
    let example = skipped.first()?.display();
    Some(match skipped.len() {
        1 => format!("1 file was not an image and was skipped ({example})"),
        count => format!("{count} files were not images and were skipped (such as {example})"),
    })
}

#[cfg(test)]
#[path = "folder_tests.rs"]
mod tests;
