//! An analysis as text.

use std::fmt;

use super::{Analysis, Effect, LayerReport, Quarter};
use crate::text::{Align, columns, counted, grouped};

impl fmt::Display for Analysis {
    /// A heading, a line a layer in each of two tables, and what they say in words; without a newline at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = &self.source;
        let epochs = counted(source.epoch.into(), "epoch");
        writeln!(f, "checkpoint  {}: {}, {epochs}, seed {}", source.checkpoint, self.model, source.seed)?;
        writeln!(f, "data        {}: {} test images", source.data, grouped(self.images as u64))?;
        writeln!(f, "device      {}, {}\n", self.device, self.precision)?;
        let accuracy = if source.synthetic { "synthetic test accuracy" } else { "test accuracy" };
        writeln!(
            f,
            "Change of {accuracy}, in points, from {:.2} %: with r or t zero behind the layer, without its identity E, or\n\
             with a quarter of its filter zero (W_tr: from t to r). * is more than chance leaves to these images (95 %).\n",
            self.accuracy
        )?;
        f.write_str(&self.changes())?;
        writeln!(
            f,
            "\nSizes: root mean squares of a weight in each quarter, and of r and t behind the layer over {} images. \
             Likeness\nof r there to r behind the layer before and behind the stem: debiased linear CKA, 1 for the same.\n",
            grouped(self.similarity_images as u64)
        )?;
        f.write_str(&self.sizes())?;
        for sentence in self.findings() {
            write!(f, "\n{}", filled(&sentence))?;
        }
        Ok(())
    }
}

impl Analysis {
    fn changes(&self) -> String {
        let mut rows = vec![header(&["layer", "channels", "no r", "no t", "no E"])];
        for layer in &self.layers {
            let channels = format!("{}+{}", layer.residual_channels, layer.transient_channels);
            let mut row = vec![layer.short.clone(), channels];
            row.extend([layer.without_residual, layer.without_transient].map(change));
            row.push(layer.without_identity.map_or("-".into(), change));
            row.extend(by_quarter(layer, |quarter| change(quarter.without)));
            rows.push(row);
        }
        rows.push(vec!["all".into(), String::new(), "-".into(), "-".into(), change(self.without_identities)]);
        columns(&[[Align::Left].as_slice(), &[Align::Right; 8]].concat(), &rows)
    }

    fn sizes(&self) -> String {
        let mut head = header(&["layer"]);
        head.extend(["r", "t", "r / t", "CKA before", "CKA stem"].map(String::from));
        let mut rows = vec![head];
        for (at, layer) in self.layers.iter().enumerate() {
            let mut row = vec![layer.short.clone()];
            row.extend(by_quarter(layer, |quarter| figures(quarter.rms)));
            row.extend([layer.residual_rms, layer.transient_rms].map(figures));
            row.push(layer.ratio().map_or("-".into(), figures));
            let alike = |other: Option<usize>| {
                let value = other.and_then(|other| self.similarity.as_ref()?[at][other]);
                value.map_or("-".into(), |value| format!("{value:.2}"))
            };
            row.extend([alike(at.checked_sub(1)), alike(Some(0))]);
            rows.push(row);
        }
        columns(&[[Align::Left].as_slice(), &[Align::Right; 9]].concat(), &rows)
    }
}

/// The first columns, then the quarters.
fn header(first: &[&str]) -> Vec<String> {
    let quarters = Quarter::ALL.map(Quarter::name);
    first.iter().chain(&quarters).map(|name| name.to_string()).collect()
}

/// A cell for each quarter, of the stem too, which has none.
fn by_quarter(layer: &LayerReport, cell: impl Fn(&super::QuarterReport) -> String) -> Vec<String> {
    let cells = layer.quarters.iter().map(cell);
    let none = Quarter::ALL.iter().skip(layer.quarters.len()).map(|_| "-".to_string());
    cells.chain(none).collect()
}

fn change(effect: Effect) -> String {
    // No change has no sign. The mark's place is kept, so that points stand below points.
    let change = if effect.change == 0.0 { "0.00".into() } else { format!("{:+.2}", effect.change) };
    format!("{change}{}", if effect.is_measurable() { "*" } else { " " })
}

/// Three figures.
fn figures(x: f64) -> String {
    match x.abs() {
        100.0.. => format!("{x:.0}"),
        10.0.. => format!("{x:.1}"),
        1.0.. => format!("{x:.2}"),
        _ => format!("{x:.3}"),
    }
}

/// A sentence in lines of at most a hundred columns.
fn filled(sentence: &str) -> String {
    let mut text = String::new();
    let mut used = 0;
    for word in sentence.split(' ') {
        let width = crate::text::width(word);
        let (space, next) = match used {
            0 => ("", width),
            _ if used + 1 + width > 100 => ("\n", width),
            _ => (" ", used + 1 + width),
        };
        text.extend([space, word]);
        used = next;
    }
    text
}
