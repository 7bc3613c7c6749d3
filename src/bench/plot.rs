//! A roofline as SVG: rates over FLOP per byte, each case a numbered point below what the machine can do.

use plotters::prelude::*;

use super::Rates;
use super::report::Row;
use crate::error::{Error, Result};
use crate::graph::Precision;

/// A case on the plot.
#[derive(Debug, Clone, PartialEq)]
pub struct Point {
    /// For the legend.
    pub name: String,
    /// Floating-point operations a byte that must be moved.
    pub intensity: f64,
    /// TFLOP/s.
    pub rate: f64,
}

impl Point {
    /// Of a row that was timed and computes anything.
    pub fn of(row: &Row) -> Option<Self> {
        let rate = row.timed.as_ref()?.tflop_s;
        let intensity = row.flops as f64 / row.bytes as f64;
        (row.flops > 0).then(|| Self { name: row.name.clone(), intensity, rate })
    }
}

const INK: RGBColor = RGBColor(36, 41, 47);
const ROOF: RGBColor = RGBColor(207, 34, 46);
const OTHER: RGBColor = RGBColor(110, 119, 129);

/// Operations that are told apart by colour, by what their names begin with; the first that fits.
const COLOURS: [(&str, RGBColor); 6] = [
    ("conv2d_data_grad", RGBColor(188, 76, 0)),
    ("conv2d_weight_grad", RGBColor(26, 127, 55)),
    ("conv2d", RGBColor(9, 105, 218)),
    ("two_stream", RGBColor(130, 80, 223)),
    ("batch_", RGBColor(191, 57, 137)),
    ("sgd", RGBColor(31, 136, 146)),
];

/// Pixels of the plot; of a line of the legend below it, which has so many columns.
const PLOT: (u32, u32) = (1000, 520);
const LINE: u32 = 15;
const COLUMNS: usize = 2;

/// Pixels that a number takes: those of points on one spot are moved apart.
const APART: (i32, i32) = (15, 11);

/// Draws points below the roof of `rates` for `precision`; `title` stands above.
///
/// # Errors
/// If there is no point to draw, or the picture cannot be written.
pub fn roofline(points: &[Point], rates: &Rates, precision: Precision, title: &str) -> Result<String> {
    if points.is_empty() {
        return Err(Error::usage("there is nothing to plot: no case that computes was timed"));
    }
    let height = PLOT.1 + LINE * (points.len().div_ceil(COLUMNS) as u32 + 2);
    let mut svg = String::new();
    draw(&mut svg, height, points, rates, precision, title)
        .map_err(|e| Error::device(format!("the plot cannot be drawn: {e}")))?;
    Ok(svg)
}

type Drawn = std::result::Result<(), Box<dyn std::error::Error>>;

fn draw(
    svg: &mut String,
    height: u32,
    points: &[Point],
    rates: &Rates,
    precision: Precision,
    title: &str,
) -> Drawn {
    let (peak, copy) = (rates.tflop_s(precision), rates.gb_s() / 1e3);
    let ridge = peak / copy;
    let roof = |intensity: f64| peak.min(intensity * copy);
    let least = |f: fn(&Point) -> f64| points.iter().map(f).fold(f64::INFINITY, f64::min);
    let most = |f: fn(&Point) -> f64| points.iter().map(f).fold(0.0, f64::max);
    let x = least(|p| p.intensity).min(ridge / 4.0) / 1.5..most(|p| p.intensity).max(ridge * 4.0) * 1.5;
    let y = least(|p| p.rate).min(roof(x.start)) / 2.0..most(|p| p.rate).max(peak) * 2.0;

    let root = SVGBackend::with_string(svg, (PLOT.0, height)).into_drawing_area();
    root.fill(&WHITE)?;
    let (above, legend) = root.split_vertically(PLOT.1);
    let mut chart = ChartBuilder::on(&above)
        .caption(title, ("sans-serif", 16).into_font().color(&INK))
        .margin(14)
        .x_label_area_size(44)
        .y_label_area_size(64)
        .build_cartesian_2d(x.clone().log_scale(), y.log_scale())?;
    let label = ("sans-serif", 13).into_font().color(&INK);
    chart
        .configure_mesh()
        .x_desc("FLOP per byte that must be moved")
        .y_desc("TFLOP/s")
        .x_label_formatter(&|x| short(*x))
        .y_label_formatter(&|y| short(*y))
        .label_style(label.clone())
        .axis_desc_style(label.clone())
        .light_line_style(RGBColor(246, 248, 250))
        .bold_line_style(RGBColor(216, 222, 228))
        .draw()?;
    let corners = [x.start, ridge, x.end].map(|intensity| (intensity, roof(intensity)));
    chart.draw_series(LineSeries::new(corners, ROOF.stroke_width(2)))?;

    let small = ("sans-serif", 11).into_font().color(&INK);
    let area = chart.plotting_area();
    let roof_text = ("sans-serif", 12).into_font().color(&ROOF);
    let at = area.map_coordinate(&(ridge, peak));
    let said = format!("{} TFLOP/s", short(peak));
    above.draw(&Text::new(said, (at.0 + 8, at.1 - 16), roof_text.clone()))?;
    let at = area.map_coordinate(&(x.start, roof(x.start)));
    above.draw(&Text::new(format!("{} GB/s", short(copy * 1e3)), (at.0 + 6, at.1 - 46), roof_text))?;
    let mut taken: Vec<(i32, i32)> = Vec::new();
    for (n, point) in points.iter().enumerate() {
        let colour = colour(point);
        let at = area.map_coordinate(&(point.intensity, point.rate));
        above.draw(&Circle::new(at, 3, colour.filled()))?;
        let spot = free(&taken, at);
        taken.push(spot);
        above.draw(&Text::new(
            (n + 1).to_string(),
            (spot.0 + 5, spot.1 - 6),
            small.clone().color(&colour),
        ))?;
    }
    for (n, point) in points.iter().enumerate() {
        let text = format!("{:>2}  {}  {}", n + 1, point.name, share(point, roof(point.intensity)));
        let lines = points.len().div_ceil(COLUMNS);
        let (column, line) = (n / lines, n % lines);
        let at = (24 + (PLOT.0 as usize / COLUMNS * column) as i32, (LINE as usize * line) as i32);
        legend.draw(&Text::new(text, at, small.clone().color(&colour(point))))?;
    }
    root.present()?;
    Ok(())
}

fn colour(point: &Point) -> RGBColor {
    let own = COLOURS.iter().find(|(operation, _)| point.name.starts_with(operation));
    own.map_or(OTHER, |(_, colour)| *colour)
}

/// The spot nearest to `at` where no number stands.
fn free(taken: &[(i32, i32)], at: (i32, i32)) -> (i32, i32) {
    let is_free = |spot: &(i32, i32)| {
        taken.iter().all(|other| (other.0 - spot.0).abs() >= APART.0 || (other.1 - spot.1).abs() >= APART.1)
    };
    let mut steps: Vec<(i32, i32)> = (-8..=8).flat_map(|x| (-8..=8).map(move |y| (x, y))).collect();
    steps.sort_by_key(|(x, y)| (x * APART.0).pow(2) + (y * APART.1).pow(2));
    let spots = steps.into_iter().map(|(x, y)| (at.0 + APART.0 * x, at.1 + APART.1 * y));
    spots.into_iter().find(is_free).unwrap_or(at)
}

fn share(point: &Point, roof: f64) -> String {
    format!("{:.0} %", 100.0 * point.rate / roof)
}

/// A tick or a rate with three figures.
fn short(x: f64) -> String {
    let rounded: f64 = format!("{x:.2e}").parse().unwrap_or(x);
    crate::text::number(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_point_has_its_number_and_its_name() {
        let rates = Rates {
            copy_gb_s: 3000.0,
            driver_copy_gb_s: None,
            matrix_tflop_s: Some(600.0),
            multiply_add_tflop_s: 60.0,
        };
        let point = |name: &str, intensity, rate| Point { name: name.into(), intensity, rate };
        let points =
            [point("conv2d/a", 430.0, 300.0), point("relu/b", 0.25, 0.5), point("relu/c", 0.25, 0.5)];
        let svg = roofline(&points, &rates, Precision::Bf16, "a card").unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["conv2d/a", "relu/b", "relu/c", "50 %", "600 TFLOP/s", "3000 GB/s", "a card"] {
            assert!(svg.contains(text), "{text}");
        }
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(roofline(&[], &rates, Precision::Bf16, "").is_err());
    }
}
