//! Lines with intervals.

use plotters::style::Color;
use plotters::style::text_anchor::{HPos, VPos};

use super::axis::Ruler;
use super::canvas::{At, Canvas, LABEL, Style, TICK, TITLE, width, wrapped};
use super::colour::{self, FAINT, GRID, INK};
use super::{Axis, Point, Scale, Series};
use crate::error::{Error, Result};

/// A value that holds for all places: a dashed line across.
#[derive(Debug, Clone, PartialEq)]
pub struct Level {
    /// Stands beside the line.
    pub name: String,
    /// The value.
    pub y: f64,
}

/// A figure of lines.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Lines<'a> {
    /// Stands above.
    pub title: &'a str,
    /// Places.
    pub x: &'a Axis,
    /// Values.
    pub y: &'a Axis,
    /// What is drawn.
    pub series: &'a [Series],
    /// Lines across.
    pub levels: &'a [Level],
    /// Places where something changes, such as a group of layers: light lines from bottom to top.
    pub breaks: &'a [f64],
}

/// Pixels of the whole.
const WIDTH: f64 = 1000.0;
const HEIGHT: f64 = 560.0;
/// From one name beside the lines to the next.
const APART: f64 = 19.0;
/// Between the bars of two series over one name.
const DODGE: f64 = 4.0;

/// Where the lines are, in pixels, and the two axes.
struct Frame {
    left: f64,
    right: f64,
    top: f64,
    bottom: f64,
    x: Ruler,
    y: Ruler,
}

impl Frame {
    fn across(&self, x: f64) -> f64 {
        self.left + self.x.place(x) * (self.right - self.left)
    }
    fn up(&self, y: f64) -> f64 {
        self.bottom - self.y.place(y) * (self.bottom - self.top)
    }
}

impl Lines<'_> {
    /// The figure as SVG.
    ///
    /// # Errors
    /// If there is no finite point, or one that a logarithmic scale cannot hold.
    pub fn draw(&self) -> Result<String> {
        if !self.points().any(is_drawn) {
            return Err(Error::usage(format!("'{}' has nothing to plot: no point is finite", self.title)));
        }
        let mut svg = String::new();
        let title = wrapped(self.title, TITLE, WIDTH - 100.0);
        let frame = self.frame(title.len())?;
        let canvas = Canvas::new(&mut svg, WIDTH, HEIGHT)?;
        for (i, line) in title.iter().enumerate() {
            let at = (frame.left, 26.0 + i as f64 * TITLE * 1.3);
            canvas.text(line, at, Style::new(TITLE, INK).bold())?;
        }
        self.axes(&canvas, &frame)?;
        for level in self.levels {
            let y = frame.up(level.y);
            canvas.dashes((frame.left, y), (frame.right, y), FAINT, 1)?;
        }
        for (i, series) in self.series.iter().enumerate() {
            self.series(&canvas, &frame, i, series)?;
        }
        self.names(&canvas, &frame)?;
        canvas.finish()?;
        Ok(svg)
    }

    fn points(&self) -> impl Iterator<Item = &Point> {
        self.series.iter().flat_map(|series| &series.points)
    }

    fn frame(&self, title_lines: usize) -> Result<Frame> {
        // A bar that reaches 0 or below ends at the edge of a logarithmic axis.
        let has_place = |end: &f64| self.y.scale != Scale::Log || *end > 0.0;
        let ends = |p: &Point| p.spread.map_or([p.y; 2], |spread| [p.y - spread, p.y + spread]);
        let drawn = || self.points().filter(|p| is_drawn(p));
        let values = drawn().map(|p| p.y).chain(drawn().flat_map(ends).filter(has_place));
        let y = Ruler::new(self.y, values.chain(self.levels.iter().map(|level| level.y)))?;
        let x = Ruler::new(self.x, drawn().map(|p| p.x).chain(self.breaks.iter().copied()))?;
        let names = self.series.iter().map(|s| &s.name).chain(self.levels.iter().map(|l| &l.name));
        let beside = names.map(|name| width(name, LABEL)).fold(0.0, f64::max);
        let ticks = y.ticks.iter().map(|(_, label)| width(label, TICK)).fold(0.0, f64::max);
        let (left, right) = (46.0 + ticks, WIDTH - 52.0 - beside);
        let below = match tilted(&x, right - left) {
            true => longest(&x),
            false => TICK,
        };
        let top = 40.0 + title_lines as f64 * TITLE * 1.3 - TITLE * 0.3;
        Ok(Frame { left, right, top, bottom: HEIGHT - 46.0 - below, x, y })
    }

    fn axes(&self, canvas: &Canvas<'_>, frame: &Frame) -> Result<()> {
        let Frame { left, right, top, bottom, .. } = *frame;
        for (value, label) in &frame.y.ticks {
            let y = frame.up(*value);
            canvas.line(&[(left, y), (right, y)], GRID, 1)?;
            canvas.text(label, (left - 8.0, y), Style::new(TICK, INK).anchored(HPos::Right, VPos::Center))?;
        }
        for at in self.breaks {
            canvas.line(&[(frame.across(*at), top), (frame.across(*at), bottom)], FAINT.mix(0.45), 1)?;
        }
        canvas.line(&[(left, top), (left, bottom), (right, bottom)], FAINT, 1)?;
        let tilted = tilted(&frame.x, right - left);
        let style = Style::new(TICK, INK);
        // Names that stand closer than a line of text is high cannot all be read.
        let slot = (right - left) / frame.x.ticks.len().max(1) as f64;
        let every = if tilted { (TICK / slot).ceil().max(1.0) as usize } else { 1 };
        for (value, label) in frame.x.ticks.iter().step_by(every) {
            let x = frame.across(*value);
            canvas.line(&[(x, bottom), (x, bottom + 4.0)], FAINT, 1)?;
            let style = if tilted {
                style.anchored(HPos::Right, VPos::Center).upward()
            } else {
                style.anchored(HPos::Center, VPos::Top)
            };
            canvas.text(label, (x, bottom + 9.0), style)?;
        }
        let style = Style::new(LABEL, INK);
        let middle = ((left + right) / 2.0, HEIGHT - 16.0);
        canvas.text(&self.x.title, middle, style.anchored(HPos::Center, VPos::Center))?;
        let side = (18.0, (top + bottom) / 2.0);
        canvas.text(&self.y.title, side, style.anchored(HPos::Center, VPos::Center).upward())
    }

    fn series(&self, canvas: &Canvas<'_>, frame: &Frame, i: usize, series: &Series) -> Result<()> {
        let colour = colour::series(i);
        let place = |p: &Point| (frame.across(p.x) + self.dodge(i), frame.up(p.y));
        for line in series.points.split(|p| !is_drawn(p)) {
            let line: Vec<At> = line.iter().map(place).collect();
            canvas.line(&line, colour, 2)?;
        }
        for point in series.points.iter().filter(|p| is_drawn(p)) {
            let at = place(point);
            if let Some(spread) = point.spread.filter(|spread| *spread > 0.0) {
                let ends = [point.y + spread, point.y - spread].map(|y| {
                    // NaN: below a logarithmic axis.
                    let y = frame.up(y);
                    if y.is_nan() { frame.bottom } else { y.clamp(frame.top, frame.bottom) }
                });
                canvas.line(&[(at.0, ends[0]), (at.0, ends[1])], colour, 1)?;
                for y in ends {
                    canvas.line(&[(at.0 - 3.0, y), (at.0 + 3.0, y)], colour, 1)?;
                }
            }
            canvas.marker(i, at, colour)?;
        }
        Ok(())
    }

    /// Over names, bars of several series stand beside one another.
    fn dodge(&self, i: usize) -> f64 {
        let has_bars = self.points().any(|p| p.spread.is_some());
        let is_named = matches!(self.x.scale, Scale::Named(_));
        if has_bars && is_named { DODGE * (i as f64 - (self.series.len() as f64 - 1.0) / 2.0) } else { 0.0 }
    }

    /// The names of series and levels, right of the frame, each as near as can be to where its line ends.
    fn names(&self, canvas: &Canvas<'_>, frame: &Frame) -> Result<()> {
        struct Name<'a> {
            text: &'a str,
            from: At,
            series: Option<usize>,
        }
        let ends = self.series.iter().enumerate().filter_map(|(i, series)| {
            let last = series.points.iter().rev().find(|p| is_drawn(p))?;
            let from = (frame.across(last.x) + self.dodge(i), frame.up(last.y));
            Some(Name { text: &series.name, from, series: Some(i) })
        });
        let levels = self.levels.iter().map(|level| {
            let from = (frame.right, frame.up(level.y));
            Name { text: &level.name, from, series: None }
        });
        let mut names: Vec<Name<'_>> = ends.chain(levels).collect();
        names.sort_by(|a, b| a.from.1.total_cmp(&b.from.1));
        let wanted: Vec<f64> = names.iter().map(|name| name.from.1).collect();
        for (name, y) in names.iter().zip(spread_out(&wanted, frame.top, frame.bottom)) {
            let x = frame.right + 22.0;
            let colour = name.series.map_or(FAINT, colour::series);
            canvas.line(&[name.from, (x - 8.0, y)], colour.mix(0.4), 1)?;
            match name.series {
                Some(i) => canvas.marker(i, (x, y), colour)?,
                None => canvas.dashes((x - 6.0, y), (x + 7.0, y), colour, 1)?,
            }
            canvas.text(name.text, (x + 11.0, y), Style::new(LABEL, colour))?;
        }
        Ok(())
    }
}

fn is_drawn(point: &Point) -> bool {
    point.x.is_finite() && point.y.is_finite()
}

/// Whether names do not fit beside one another.
fn tilted(x: &Ruler, across: f64) -> bool {
    longest(x) + 6.0 > across / x.ticks.len().max(1) as f64
}

fn longest(x: &Ruler) -> f64 {
    x.ticks.iter().map(|(_, label)| width(label, TICK)).fold(0.0, f64::max)
}

/// Heights in rising order, moved no more than is needed to be [`APART`] between `top` and `bottom`.
fn spread_out(wanted: &[f64], top: f64, bottom: f64) -> Vec<f64> {
    // Names that would touch are a block around the mean of what they want; a block that touches another joins it.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    let half = |count: usize| (count - 1) as f64 * APART / 2.0;
    for &y in wanted {
        let mut block = (y, 1);
        loop {
            let room = half(block.1);
            block.0 = block.0.min(bottom - room).max(top + room);
            match blocks.last() {
                Some(&(middle, count)) if middle + half(count) + APART > block.0 - room => {
                    let total = (count + block.1) as f64;
                    block = ((middle * count as f64 + block.0 * block.1 as f64) / total, count + block.1);
                    blocks.pop();
                }
                _ => break,
            }
        }
        blocks.push(block);
    }
    let heights =
        |&(middle, count): &(f64, usize)| (0..count).map(move |i| middle - half(count) + i as f64 * APART);
    blocks.iter().flat_map(heights).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::lines;

    fn axis(scale: Scale) -> Axis {
        Axis { title: format!("{scale:?}"), scale }
    }

    fn series(name: &str, ys: &[f64], spread: Option<f64>) -> Series {
        let point = |(i, &y): (usize, &f64)| Point { x: i as f64, y, spread };
        Series { name: name.into(), points: ys.iter().enumerate().map(point).collect() }
    }

    #[test]
    fn every_point_and_every_name_is_drawn() {
        let all = [series("a & b", &[1.0, f64::NAN, 3.0, 4.0], None), series("c", &[2.0, 2.0], Some(0.5))];
        let named = axis(Scale::Named(["x", "y", "z", "w"].map(String::from).to_vec()));
        let svg = lines("a title", &named, &axis(Scale::Linear), &all).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        for text in ["a title", "a &amp; b", "Linear", ">\nx\n<", ">\nw\n<"] {
            assert!(svg.contains(text), "{text}");
        }
        // Three circles and two squares, and one of each beside the names.
        assert_eq!((svg.matches("<circle").count(), svg.matches("<polygon").count()), (4, 3));
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn what_cannot_be_drawn_is_refused() {
        let linear = axis(Scale::Linear);
        for none in [&[][..], &[series("a", &[f64::NAN], None)]] {
            assert!(lines("t", &linear, &linear, none).unwrap_err().to_string().contains("nothing to plot"));
        }
        let zero = [series("a", &[0.0, 1.0], None)];
        assert!(
            lines("t", &linear, &axis(Scale::Log), &zero).unwrap_err().to_string().contains("logarithmic")
        );
        // A bar may reach below what a logarithm takes.
        let wide = [series("a", &[0.1, 1.0], Some(0.2))];
        assert!(!lines("t", &linear, &axis(Scale::Log), &wide).unwrap().contains("NaN"));
    }

    #[test]
    fn names_stand_apart_and_within() {
        let spread = spread_out(&[10.0, 10.0, 12.0, 100.0, 299.0, 300.0], 0.0, 300.0);
        assert_eq!(spread.len(), 6);
        assert!(spread.windows(2).all(|w| w[1] - w[0] >= APART - 1e-9), "{spread:?}");
        assert!(spread[0] >= 0.0 && spread[5] <= 300.0 && spread[3] == 100.0, "{spread:?}");
    }
}
