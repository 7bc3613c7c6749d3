//! Figures as SVG: lines with intervals over a scale or over names, and tables of numbers as colours.
//!
//! [`lines()`] and [`heatmap()`] are the short ways; [`Lines`] and [`Heatmap`] have all there is to set. Colours are told
//! apart by colour-blind eyes, and series by their markers too; names stand beside the lines, on no point.

mod axis;
mod canvas;
mod colour;
mod heatmap;
mod lines;

pub use heatmap::Heatmap;
pub use lines::{Level, Lines};

use crate::error::Result;

/// A value at a place. One that is not finite is left out, and breaks its line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// The place; over names, an index.
    pub x: f64,
    /// The value.
    pub y: f64,
    /// Half of an interval around the value, drawn as an error bar.
    pub spread: Option<f64>,
}

/// Points of one kind, joined by a line.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Stands beside the line.
    pub name: String,
    /// In the order in which they are joined.
    pub points: Vec<Point>,
}

/// What places on an axis mean.
#[derive(Debug, Clone, PartialEq)]
pub enum Scale {
    /// Equal differences are equally far.
    Linear,
    /// Equal ratios are equally far; values are above 0.
    Log,
    /// 0, 1, 2, ... are these names.
    Named(Vec<String>),
}

/// An axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Axis {
    /// What it shows, with its unit.
    pub title: String,
    /// How.
    pub scale: Scale,
}

/// Series over one another, as SVG.
///
/// # Errors
/// If there is no finite point, or one that a logarithmic scale cannot hold.
pub fn lines(title: &str, x: &Axis, y: &Axis, series: &[Series]) -> Result<String> {
    Lines { title, x, y, series, levels: &[], breaks: &[] }.draw()
}

/// A square table, `values[row][column]` by `names` both ways, as SVG; `legend` says what a colour means. What is not
/// finite is grey.
///
/// # Errors
/// If the table is not a square of so many names, or has no finite value.
pub fn heatmap(title: &str, names: &[String], values: &[Vec<f64>], legend: &str) -> Result<String> {
    Heatmap { title, names, values, legend, range: None, breaks: &[] }.draw()
}
