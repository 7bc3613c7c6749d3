//! Colours that colour-blind eyes tell apart.

use plotters::style::RGBColor;

/// Text.
pub(super) const INK: RGBColor = RGBColor(36, 41, 47);
/// What is less than text: ticks, levels.
pub(super) const FAINT: RGBColor = RGBColor(110, 119, 129);
/// Lines of the grid.
pub(super) const GRID: RGBColor = RGBColor(228, 232, 236);
/// The place of a value that is not there.
pub(super) const MISSING: RGBColor = RGBColor(200, 204, 208);

/// Of series, in order (Okabe and Ito, "Color universal design", 2008), without the yellow that white hides.
const SERIES: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(230, 159, 0),
    RGBColor(86, 180, 233),
];

/// The colour of series `i`.
pub(super) fn series(i: usize) -> RGBColor {
    SERIES[i % SERIES.len()]
}

/// Nine of the colours of viridis (van der Walt and Smith, 2015), evenly spaced: equal steps look equally large.
const VIRIDIS: [(u8, u8, u8); 9] = [
    (68, 1, 84),
    (71, 44, 122),
    (59, 81, 139),
    (44, 113, 142),
    (33, 144, 141),
    (39, 173, 129),
    (92, 200, 99),
    (170, 220, 50),
    (253, 231, 37),
];

/// From dark violet at 0 to yellow at 1.
pub(super) fn sequential(share: f64) -> RGBColor {
    let at = share.clamp(0.0, 1.0) * (VIRIDIS.len() - 1) as f64;
    let below = (at as usize).min(VIRIDIS.len() - 2);
    let (a, b) = (VIRIDIS[below], VIRIDIS[below + 1]);
    let part = at - below as f64;
    let mixed = |a: u8, b: u8| (f64::from(a) + part * (f64::from(b) - f64::from(a))).round() as u8;
    RGBColor(mixed(a.0, b.0), mixed(a.1, b.1), mixed(a.2, b.2))
}

/// Text on `colour`: white on dark, ink on light.
pub(super) fn on(colour: RGBColor) -> RGBColor {
    // Relative luminance, by the weights of Rec. 709.
    let RGBColor(r, g, b) = colour;
    let light = 0.2126 * f64::from(r) + 0.7152 * f64::from(g) + 0.0722 * f64::from(b);
    if light < 130.0 { RGBColor(255, 255, 255) } else { INK }
}
