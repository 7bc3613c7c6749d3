//! The pictures of a report, by their file names.

use super::report::Report;
use super::tables::TableKind;
use crate::error::Result;
use crate::plot::{Axis, Point, Scale, Series, lines};
use crate::train::{accuracy_label, safe_file_name};

/// Every picture that there are numbers for, as SVG.
///
/// # Errors
/// If one cannot be drawn.
pub fn draw(report: &Report) -> Result<Vec<(String, String)>> {
    let mut figures = Vec::new();
    if report.kind == TableKind::BySize {
        figures.extend(by_size(report)?.map(|svg| (format!("{}.svg", report.table), svg)));
    }
    for cell in &report.cells {
        if let Some(streams) = &cell.streams {
            let name = format!("{}-{}.svg", report.table, safe_file_name(&cell.model));
            let what =
                format!("{} on {}: accuracy with one stream zero behind one layer", cell.model, report.data);
            figures.push((name, streams.figure(&title(report, &what), report.synthetic)?));
        }
    }
    Ok(figures)
}

/// What is shown, and where its runs were not trained as in the paper: a picture goes about without its table.
fn title(report: &Report, what: &str) -> String {
    let deviations: Vec<&str> = report.deviations.iter().map(|deviation| deviation.what.as_str()).collect();
    if deviations.is_empty() { what.into() } else { format!("{what} ({})", deviations.join("; ")) }
}

/// Accuracy over the number of training images, a line a column; none before the first run has finished.
fn by_size(report: &Report) -> Result<Option<String>> {
    let series: Vec<Series> = (report.names(|cell| &cell.column).into_iter())
        .map(|column| {
            let cells = report.cells.iter().filter(|cell| cell.column == column);
            let points = cells.filter_map(|cell| {
                let (x, y) = (cell.train_images as f64, cell.estimate.mean?);
                Some(Point { x, y, spread: cell.estimate.half_interval })
            });
            Series { name: column.into(), points: points.collect() }
        })
        .filter(|series| !series.points.is_empty())
        .collect();
    if series.is_empty() {
        return Ok(None);
    }
    let x = Axis { title: report.rows.clone(), scale: Scale::Log };
    let label = accuracy_label(report.synthetic, "test");
    let y = Axis { title: format!("{label}, % (bars: 95 % interval)"), scale: Scale::Linear };
    lines(&title(report, &report.title), &x, &y, &series).map(Some)
}
