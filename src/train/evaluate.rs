//! Measuring a trained network: loss, accuracy, and which classes it takes for which.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Session;
use crate::data::{Images, Loader, Normaliser};
use crate::error::{Error, Result};
use crate::text;

/// How a network does on a set of images.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images.
    pub images: u64,
    /// Mean loss over the images, without label smoothing.
    pub loss: f64,
    /// Per cent of the images that the network got right.
    pub accuracy: f64,
    /// Per class, by label: its images that the network got right, in per cent; none for a class without images.
    pub per_class: Vec<Option<f64>>,
    /// `confusion[label][predicted]` images.
    pub confusion: Vec<Vec<u64>>,
}

/// Runs the network over every image, the last partial batch included.
///
/// # Errors
/// If the images do not suit the network or the normalisation, or the device failed.
pub fn evaluate(
    session: &mut Session,
    images: &Arc<Images>,
    normaliser: &Arc<Normaliser>,
    batch: usize,
) -> Result<Evaluation> {
    suits(session, images)?;
    let classes = session.options().classes;
    let mut confusion = vec![vec![0; classes]; classes];
    let mut loss = 0.0;
    for loaded in Loader::evaluation(Arc::clone(images), Arc::clone(normaliser), batch)? {
        let loaded = loaded?;
        let result = session.evaluate_batch(&loaded.images, &loaded.labels)?;
        loss += result.loss * loaded.labels.len() as f64;
        for (logits, &label) in result.logits.chunks_exact(classes).zip(&loaded.labels) {
            confusion[label as usize][argmax(logits)] += 1;
        }
    }
    Ok(Evaluation::new(loss / images.len() as f64, confusion))
}

/// Whether the network takes such images, and knows their classes.
///
/// # Errors
/// If not; names the extents, or the label.
pub(crate) fn suits(session: &Session, images: &Images) -> Result<()> {
    let shape = [images.height, images.width, images.channels];
    let (wanted, classes) = (session.options().image, session.options().classes);
    if shape != wanted {
        return Err(Error::model(format!(
            "the network takes images of {wanted:?} (height, width, channels), these are {shape:?}"
        )));
    }
    if let Some(label) = images.labels.iter().find(|&&label| usize::from(label) >= classes) {
        return Err(Error::model(format!("the network knows {classes} classes, an image has label {label}")));
    }
    Ok(())
}

/// The index of the largest, the first among equals; 0 where all are NaN.
pub fn argmax(logits: &[f32]) -> usize {
    let mut best = 0;
    for (i, x) in logits.iter().enumerate() {
        if *x > logits[best] || logits[best].is_nan() && !x.is_nan() {
            best = i;
        }
    }
    best
}

impl Evaluation {
    /// From the mean loss and the counts.
    fn new(loss: f64, confusion: Vec<Vec<u64>>) -> Self {
        let per_cent = |right: u64, of: u64| 100.0 * right as f64 / of as f64;
        let totals: Vec<u64> = confusion.iter().map(|row| row.iter().sum()).collect();
        let right: Vec<u64> = confusion.iter().enumerate().map(|(label, row)| row[label]).collect();
        let images: u64 = totals.iter().sum();
        let per_class =
            right.iter().zip(&totals).map(|(&r, &of)| (of > 0).then(|| per_cent(r, of))).collect();
        Self { images, loss, accuracy: per_cent(right.iter().sum(), images), per_class, confusion }
    }

    /// A table of the accuracy of each class, with the class it is most often taken for; a line each.
    pub fn per_class_table(&self, classes: &[String]) -> String {
        let width = name_width(classes);
        let mut table = format!("{:width$}  images  right %  most often taken for\n", "class");
        for (label, row) in self.confusion.iter().enumerate() {
            let images: u64 = row.iter().sum();
            let right = self.per_class[label].map_or("-".into(), |a| format!("{a:.2}"));
            let wrong = (0..row.len()).filter(|&k| k != label && row[k] > 0).rev().max_by_key(|&k| row[k]);
            let taken = wrong.map_or(String::new(), |k| format!("  {} ({})", name(classes, k), row[k]));
            let name = padded(name(classes, label), width);
            table += &format!("{name}  {images:6}  {right:>7}{taken}\n");
        }
        table
    }

    /// The confusion matrix: a row a true class, a column a predicted one, by label; a line each.
    pub fn confusion_table(&self, classes: &[String]) -> String {
        let digits = |n: u64| n.to_string().len();
        let label_width = digits(self.confusion.len().saturating_sub(1) as u64);
        let width = label_width + 1 + name_width(classes);
        let cell = self.confusion.iter().flatten().map(|&n| digits(n)).fold(label_width, usize::max);
        let line = |head: String, cells: Vec<String>| {
            let cells: String = cells.iter().map(|c| format!(" {c:>cell$}")).collect();
            format!("{}{cells}\n", padded(&head, width))
        };
        let mut table = line("class".into(), (0..self.confusion.len()).map(|k| k.to_string()).collect());
        for (label, row) in self.confusion.iter().enumerate() {
            let head = format!("{label:label_width$} {}", name(classes, label));
            table += &line(head, row.iter().map(u64::to_string).collect());
        }
        table
    }
}

fn name(classes: &[String], label: usize) -> &str {
    classes.get(label).map_or("?", String::as_str)
}

/// Spaces up to `width` columns of a terminal.
fn padded(text: &str, width: usize) -> String {
    format!("{text}{}", " ".repeat(width.saturating_sub(text::width(text))))
}

/// Columns of the longest name, and enough for the heading.
fn name_width(classes: &[String]) -> usize {
    classes.iter().map(|c| text::width(c)).max().unwrap_or(0).max("class".len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_make_accuracies_and_tables() {
        let evaluation = Evaluation::new(0.5, vec![vec![8, 2, 0], vec![1, 4, 5], vec![0, 0, 0]]);
        assert_eq!((evaluation.images, evaluation.accuracy), (20, 60.0));
        assert_eq!(evaluation.per_class, [Some(80.0), Some(40.0), None]);
        let classes = ["cat".to_string(), "dog".into(), "owl".into()];
        let table = evaluation.per_class_table(&classes);
        assert_eq!(table.lines().nth(2).unwrap(), "dog        10    40.00  owl (5)");
        assert_eq!(table.lines().nth(3).unwrap(), "owl         0        -");
        let matrix = evaluation.confusion_table(&classes);
        assert_eq!(matrix, "class   0 1 2\n0 cat   8 2 0\n1 dog   1 4 5\n2 owl   0 0 0\n");
    }

    #[test]
    fn the_largest_logit_wins_and_the_first_among_equals() {
        assert_eq!([argmax(&[0.0, 2.0, 2.0]), argmax(&[f32::NAN, -1.0]), argmax(&[f32::NAN])], [1, 1, 0]);
    }
}
