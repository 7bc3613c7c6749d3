//! The data that a trained network is measured on.

use std::path::Path;

use rir::data::Dataset;
use rir::error::{Error, Result};
use rir::train::data_of_run;

use super::output::note;
use super::setup::{Trained, open_data};

/// The data called `name`, or else what the network of `given`, a run folder or a checkpoint, was trained with. Says what
/// was read, and what is to be known about it.
pub fn open(given: &Path, trained: &Trained, name: Option<&str>) -> Result<Dataset> {
    let info = &trained.checkpoint.info;
    let [height, width, _] = info.image;
    let loaded = match (name, &trained.config) {
        (Some(name), _) => open_data(name, (height, width)),
        (None, Some(config)) => open_data(&config.data, (height, width)).map_err(|e| data_of_run(given, &e)),
        (None, None) => open_data(&info.data, (height, width)).map_err(|_| {
            Error::usage(format!(
                "the checkpoint lies in no run folder and names its data only '{}'; give --data",
                info.data
            ))
        }),
    }?;
    note(&loaded.used);
    let dataset = loaded.dataset;
    if let Some(remark) = &dataset.note {
        note(format_args!("note: {remark}"));
    }
    check_classes(&info.classes, &dataset)?;
    if dataset.digest != info.data_digest && !info.data_digest.is_empty() {
        note(format_args!("note: {} is not the data that the network was trained on", dataset.name));
    }
    Ok(dataset)
}

/// The labels of the data must mean what the network learnt; one that `rir init` wrote knows its classes by number.
fn check_classes(known: &[String], dataset: &Dataset) -> Result<()> {
    let show = |classes: &[String]| {
        let dots = if classes.len() > 5 { ", ..." } else { "" };
        format!("{} classes ({}{dots})", classes.len(), classes[..classes.len().min(5)].join(", "))
    };
    let are_numbers = known.iter().enumerate().all(|(label, name)| *name == label.to_string());
    if known == dataset.classes || are_numbers && known.len() == dataset.classes.len() {
        return Ok(());
    }
    Err(Error::data(format!(
        "the network knows {}, {} has {}; choose data of the network's classes",
        show(known),
        dataset.name,
        show(&dataset.classes)
    )))
}
