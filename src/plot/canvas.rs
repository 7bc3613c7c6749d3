//! What a figure is drawn with, in pixels from the upper left corner.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use crate::error::{Error, Kind, Result};
use crate::text;

/// A place.
pub(super) type At = (f64, f64);

/// Heights of letters.
pub(super) const TITLE: f64 = 17.0;
pub(super) const LABEL: f64 = 13.0;
pub(super) const TICK: f64 = 12.0;

/// How a text stands.
#[derive(Clone, Copy)]
pub(super) struct Style {
    pub size: f64,
    pub colour: RGBColor,
    pub bold: bool,
    /// Upward, its end at the top.
    pub upward: bool,
    /// Which part of it stands at the place.
    pub anchor: (HPos, VPos),
}

impl Style {
    /// Left of its middle, upright.
    pub fn new(size: f64, colour: RGBColor) -> Self {
        Self { size, colour, bold: false, upward: false, anchor: (HPos::Left, VPos::Center) }
    }
    pub fn anchored(self, horizontal: HPos, vertical: VPos) -> Self {
        Self { anchor: (horizontal, vertical), ..self }
    }
    pub fn upward(self) -> Self {
        Self { upward: true, ..self }
    }
    pub fn bold(self) -> Self {
        Self { bold: true, ..self }
    }
}

/// A white page.
pub(super) struct Canvas<'a> {
    area: DrawingArea<SVGBackend<'a>, Shift>,
}

/// Pixels from the middle of a marker to its edge.
const MARKER: f64 = 4.5;

/// plotters writes a font's size divided by this.
const FONT_SCALE: f64 = 1.24;

fn pixel((x, y): At) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

impl<'a> Canvas<'a> {
    /// A page that `svg` becomes.
    pub fn new(svg: &'a mut String, width: f64, height: f64) -> Result<Self> {
        let backend = SVGBackend::with_string(svg, (width.ceil() as u32, height.ceil() as u32));
        let area = backend.into_drawing_area();
        area.fill(&WHITE).map_err(failed)?;
        Ok(Self { area })
    }

    /// The page is done.
    pub fn finish(self) -> Result<()> {
        self.area.present().map_err(failed)
    }

    pub fn text(&self, text: &str, at: At, style: Style) -> Result<()> {
        let kind = if style.bold { FontStyle::Bold } else { FontStyle::Normal };
        let font = FontDesc::new(FontFamily::SansSerif, style.size * FONT_SCALE, kind);
        let turned = if style.upward { FontTransform::Rotate270 } else { FontTransform::None };
        let (horizontal, vertical) = style.anchor;
        let style = TextStyle::from(font.transform(turned)).color(&style.colour);
        let style = style.pos(Pos::new(horizontal, vertical));
        self.area.draw(&Text::new(text.to_owned(), pixel(at), style)).map_err(failed)
    }

    pub fn line(&self, points: &[At], colour: impl Color, width: u32) -> Result<()> {
        let points: Vec<_> = points.iter().copied().map(pixel).collect();
        self.area.draw(&PathElement::new(points, colour.stroke_width(width))).map_err(failed)
    }

    /// A straight line of dashes.
    pub fn dashes(&self, from: At, to: At, colour: impl Color, width: u32) -> Result<()> {
        const PERIOD: f64 = 8.0;
        const DASH: f64 = 5.0;
        let (dx, dy) = (to.0 - from.0, to.1 - from.1);
        let length = dx.hypot(dy);
        let along = |distance: f64| {
            let part = distance.min(length) / length;
            (from.0 + part * dx, from.1 + part * dy)
        };
        for start in (0..(length / PERIOD).ceil() as usize).map(|i| i as f64 * PERIOD) {
            self.line(&[along(start), along(start + DASH)], colour.to_rgba(), width)?;
        }
        Ok(())
    }

    /// A filled rectangle between two corners.
    pub fn fill(&self, from: At, to: At, colour: RGBColor) -> Result<()> {
        self.area.draw(&Rectangle::new([pixel(from), pixel(to)], colour.filled())).map_err(failed)
    }

    /// The marker of series `i`: of another shape than its neighbours'.
    pub fn marker(&self, i: usize, (x, y): At, colour: RGBColor) -> Result<()> {
        let m = MARKER;
        let shape = |corners: &[At]| {
            let corners: Vec<_> = corners.iter().map(|(dx, dy)| pixel((x + dx * m, y + dy * m))).collect();
            self.area.draw(&Polygon::new(corners, colour.filled())).map_err(failed)
        };
        let cross = |strokes: [[At; 2]; 2]| {
            strokes
                .into_iter()
                .try_for_each(|stroke| self.line(&stroke.map(|(dx, dy)| (x + dx * m, y + dy * m)), colour, 2))
        };
        match i % 7 {
            0 => {
                self.area.draw(&Circle::new(pixel((x, y)), m.round() as i32, colour.filled())).map_err(failed)
            }
            1 => shape(&[(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)]),
            2 => shape(&[(0.0, -1.2), (1.1, 0.9), (-1.1, 0.9)]),
            3 => shape(&[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)]),
            4 => shape(&[(0.0, 1.2), (1.1, -0.9), (-1.1, -0.9)]),
            5 => cross([[(-1.0, -1.0), (1.0, 1.0)], [(-1.0, 1.0), (1.0, -1.0)]]),
            _ => cross([[(-1.2, 0.0), (1.2, 0.0)], [(0.0, -1.2), (0.0, 1.2)]]),
        }
    }
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(Kind::Io, format!("the plot cannot be drawn: {error}"))
}

/// About how many pixels a text takes: sans-serif letters are a little wider than half their height.
pub(super) fn width(text: &str, size: f64) -> f64 {
    0.58 * size * text::width(text) as f64
}

/// A text as lines of at most so many pixels, broken between words.
pub(super) fn wrapped(text: &str, size: f64, most: f64) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if width(line, size) + width(word, size) + size <= most => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.into()),
        }
    }
    lines
}
