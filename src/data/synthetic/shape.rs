//! The outlines of the ten classes, in a unit circle of their own.

/// The names of the classes, by label.
pub(super) const CLASSES: [&str; 10] =
    ["disc", "ring", "square", "triangle", "plus", "star", "crescent", "bars", "corner", "hourglass"];

const SQUARE: &[(f64, f64)] = &[(-0.68, -0.68), (0.68, -0.68), (0.68, 0.68), (-0.68, 0.68)];
const TRIANGLE: &[(f64, f64)] = &[(0.0, -1.0), (0.866, 0.5), (-0.866, 0.5)];
/// Five points at radius 1, and between them five at 0.4.
const STAR: &[(f64, f64)] = &[
    (0.0, -1.0),
    (0.2351, -0.3236),
    (0.9511, -0.309),
    (0.3804, 0.1236),
    (0.5878, 0.809),
    (0.0, 0.4),
    (-0.5878, 0.809),
    (-0.3804, 0.1236),
    (-0.9511, -0.309),
    (-0.2351, -0.3236),
];
const CORNER: &[(f64, f64)] =
    &[(-0.7, -0.7), (-0.25, -0.7), (-0.25, 0.25), (0.7, 0.25), (0.7, 0.7), (-0.7, 0.7)];
const HOURGLASS: &[(f64, f64)] =
    &[(-0.62, -0.78), (0.62, -0.78), (0.12, 0.0), (0.62, 0.78), (-0.62, 0.78), (-0.12, 0.0)];

/// Whether the point (u, v) lies in the shape of `class`.
pub(super) fn contains(class: usize, u: f64, v: f64) -> bool {
    let square_radius = u * u + v * v;
    match CLASSES[class] {
        "disc" => square_radius < 0.8 * 0.8,
        "ring" => (0.5 * 0.5..0.9 * 0.9).contains(&square_radius),
        "square" => in_polygon(SQUARE, u, v),
        "triangle" => in_polygon(TRIANGLE, u, v),
        "plus" => u.abs().min(v.abs()) < 0.24 && u.abs().max(v.abs()) < 0.88,
        "star" => in_polygon(STAR, u, v),
        "crescent" => square_radius < 0.9 * 0.9 && (u - 0.42) * (u - 0.42) + v * v > 0.68 * 0.68,
        "bars" => v.abs() < 0.74 && (u.abs() < 0.15 || (u.abs() - 0.58).abs() < 0.15),
        "corner" => in_polygon(CORNER, u, v),
        _ => in_polygon(HOURGLASS, u, v),
    }
}

/// Whether a ray from the point to the right crosses the polygon's edges an odd number of times.
fn in_polygon(corners: &[(f64, f64)], u: f64, v: f64) -> bool {
    let ends = corners.iter().skip(1).chain(corners.first());
    let crossings = corners.iter().zip(ends).filter(|&(&(u0, v0), &(u1, v1))| {
        let spans = (v0 > v) != (v1 > v);
        spans && u < u0 + (v - v0) / (v1 - v0) * (u1 - u0)
    });
    crossings.count() % 2 == 1
}
