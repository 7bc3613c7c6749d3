//! A square table of numbers as colours.

use plotters::style::RGBColor;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::even;
use super::canvas::{Canvas, LABEL, Style, TICK, TITLE, width, wrapped};
use super::colour::{self, FAINT, INK, MISSING};
use crate::error::{Error, Result};

/// A figure of a square table.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Heatmap<'a> {
    /// Stands above.
    pub title: &'a str,
    /// Of rows and of columns.
    pub names: &'a [String],
    /// `values[row][column]`, rows from the top.
    pub values: &'a [Vec<f64>],
    /// What a colour means.
    pub legend: &'a str,
    /// The values of the darkest and of the lightest colour; without it, the least and the largest.
    pub range: Option<(f64, f64)>,
    /// Rows and columns before which a group begins: a gap.
    pub breaks: &'a [usize],
}

/// Pixels of the table, if cells can be so large, and of the smallest and the largest cell.
const TABLE: f64 = 620.0;
const CELL: (f64, f64) = (14.0, 56.0);
/// The smallest cell that has room for its value.
const WITH_VALUE: f64 = 28.0;
/// Between groups.
const GAP: f64 = 3.0;
/// Of the bar that says what colours mean.
const BAR: f64 = 18.0;

impl Heatmap<'_> {
    /// The figure as SVG.
    ///
    /// # Errors
    /// If the table is not a square of so many names, or has no finite value.
    pub fn draw(&self) -> Result<String> {
        let n = self.names.len();
        if self.values.len() != n || self.values.iter().any(|row| row.len() != n) {
            return Err(Error::usage(format!("'{}' is no table of {n} x {n} values", self.title)));
        }
        let (low, high) = self.ends()?;
        let colour = |value: f64| match value.is_finite() {
            true => colour::sequential((value - low) / (high - low)),
            false => MISSING,
        };
        let cell = (TABLE / n as f64).clamp(CELL.0, CELL.1).floor();
        let gaps = self.breaks.iter().filter(|at| (1..n).contains(*at)).count();
        let side = cell * n as f64 + GAP * gaps as f64;
        let place = |i: usize| {
            cell * i as f64 + GAP * self.breaks.iter().filter(|at| (1..=i).contains(*at)).count() as f64
        };
        let longest = self.names.iter().map(|name| width(name, TICK)).fold(0.0, f64::max);
        let upright = longest + 6.0 <= cell;
        let left = 24.0 + longest;
        let across = left + side + 150.0;
        let title = wrapped(self.title, TITLE, across - 40.0);
        let top = 30.0 + title.len() as f64 * TITLE * 1.3;
        let height = top + side + if upright { 34.0 } else { 24.0 + longest };

        let mut svg = String::new();
        let canvas = Canvas::new(&mut svg, across, height)?;
        for (i, line) in title.iter().enumerate() {
            canvas.text(line, (14.0, 26.0 + i as f64 * TITLE * 1.3), Style::new(TITLE, INK).bold())?;
        }
        let style = Style::new(TICK, INK);
        for (i, name) in self.names.iter().enumerate() {
            let middle = place(i) + cell / 2.0;
            canvas.text(name, (left - 8.0, top + middle), style.anchored(HPos::Right, VPos::Center))?;
            let below = (left + middle, top + side + 8.0);
            let style = match upright {
                true => style.anchored(HPos::Center, VPos::Top),
                false => style.anchored(HPos::Right, VPos::Center).upward(),
            };
            canvas.text(name, below, style)?;
        }
        for (i, row) in self.values.iter().enumerate() {
            for (j, &value) in row.iter().enumerate() {
                let (x, y) = (left + place(j), top + place(i));
                canvas.fill((x, y), (x + cell, y + cell), colour(value))?;
                if cell >= WITH_VALUE && value.is_finite() {
                    let style = Style::new((cell / 3.2).min(TICK), colour::on(colour(value)));
                    let at = (x + cell / 2.0, y + cell / 2.0);
                    canvas.text(&format!("{value:.2}"), at, style.anchored(HPos::Center, VPos::Center))?;
                }
            }
        }
        self.bar(&canvas, (left + side + 30.0, top), side, &|share| colour(low + share * (high - low)))?;
        canvas.finish()?;
        Ok(svg)
    }

    /// The values of the darkest and the lightest colour.
    fn ends(&self) -> Result<(f64, f64)> {
        let finite = || self.values.iter().flatten().copied().filter(|value| value.is_finite());
        let (low, high) =
            (finite().fold(f64::INFINITY, f64::min), finite().fold(f64::NEG_INFINITY, f64::max));
        if low > high {
            return Err(Error::usage(format!("'{}' has nothing to plot: no value is finite", self.title)));
        }
        let (low, high) = self.range.unwrap_or((low, high));
        Ok((low, if high > low { high } else { low + 1.0 }))
    }

    /// What colours mean: low at the bottom.
    fn bar(
        &self,
        canvas: &Canvas<'_>,
        at: (f64, f64),
        height: f64,
        colour: &dyn Fn(f64) -> RGBColor,
    ) -> Result<()> {
        let (x, top) = at;
        let (low, high) = self.ends()?;
        let steps = height.floor().max(1.0);
        for step in 0..steps as usize {
            let y = top + height - step as f64;
            canvas.fill((x, y - 1.0), (x + BAR, y), colour((step as f64 + 0.5) / steps))?;
        }
        let mut widest: f64 = 0.0;
        for (value, label) in even(low, high) {
            let y = top + height * (1.0 - (value - low) / (high - low));
            canvas.line(&[(x + BAR, y), (x + BAR + 4.0, y)], FAINT, 1)?;
            canvas.text(&label, (x + BAR + 8.0, y), Style::new(TICK, INK))?;
            widest = widest.max(width(&label, TICK));
        }
        let style = Style::new(LABEL, INK).anchored(HPos::Center, VPos::Center).upward();
        canvas.text(self.legend, (x + BAR + 26.0 + widest, top + height / 2.0), style)
    }
}

#[cfg(test)]
mod tests {
    use crate::plot::heatmap;

    #[test]
    fn a_square_has_a_cell_a_value_and_no_other_shape_is_drawn() {
        let names = ["first", "second"].map(String::from);
        let values = [vec![1.0, 0.25], vec![f64::NAN, 1.0]];
        let svg = heatmap("likeness", &names, &values, "CKA").unwrap();
        for text in ["likeness", "first", "CKA", "0.25", "1.00"] {
            assert!(svg.contains(text), "{text}");
        }
        assert!(!svg.contains("NaN") && svg.contains("#C8CCD0"), "what is missing is grey");
        assert!(heatmap("t", &names, &values[..1], "").unwrap_err().to_string().contains("2 x 2"));
        let none = [vec![f64::NAN; 2], vec![f64::NAN; 2]];
        assert!(heatmap("t", &names, &none, "").unwrap_err().to_string().contains("nothing to plot"));
    }
}
