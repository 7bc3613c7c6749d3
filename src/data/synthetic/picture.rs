//! One image of the synthetic set: colours, textures, clutter, the shape, noise.

use rand::Rng;

use super::{SIDE, shape};
use crate::random::Stream;

/// Samples of the shape along each side of a pixel.
const SAMPLES: usize = 3;

type Colour = [f64; 3];

/// The random draws of one image.
struct Draw(Stream);

impl Draw {
    /// Uniform in `low..high`.
    fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * (f64::from(self.0.next_u32()) / 4_294_967_296.0)
    }

    /// Uniform in `0..count`.
    fn below(&mut self, count: u32) -> u32 {
        crate::data::order::below(&mut self.0, count)
    }

    fn colour(&mut self) -> Colour {
        std::array::from_fn(|_| self.between(24.0, 232.0))
    }

    /// The (cosine, sine) of an angle, rational in its half-angle tangent, so without a sine. With tangents
    /// to 1 any line's direction occurs.
    fn direction(&mut self, steepest: f64) -> (f64, f64) {
        let half = self.between(-steepest, steepest);
        let scale = 1.0 / (1.0 + half * half);
        ((1.0 - half * half) * scale, 2.0 * half * scale)
    }

    fn texture(&mut self, base: Colour) -> Texture {
        let (cos, sin) = self.direction(1.0);
        let kind = self.below(4);
        let period = self.between(3.0, 8.0);
        let depth = self.between(6.0, 20.0);
        let phase = self.between(0.0, 8.0);
        let blotches = std::array::from_fn(|_| self.between(-1.0, 1.0));
        Texture { base, kind, period, depth, phase, cos, sin, blotches }
    }
}

/// A colour that varies over the image.
struct Texture {
    base: Colour,
    kind: u32,
    period: f64,
    depth: f64,
    phase: f64,
    cos: f64,
    sin: f64,
    /// An 8 x 8 grid, one value every four pixels.
    blotches: [f64; 64],
}

impl Texture {
    fn at(&self, x: usize, y: usize) -> Colour {
        let (fx, fy) = (x as f64, y as f64);
        let wave = |along: f64| {
            let turns = (along + self.phase) / self.period;
            if turns - turns.floor() < 0.5 { 1.0 } else { -1.0 }
        };
        let (along, across) = (self.cos * fx + self.sin * fy, self.cos * fy - self.sin * fx);
        let pattern = match self.kind {
            0 => 0.0,
            1 => wave(along),
            2 => wave(along) * wave(across),
            _ => self.blotches[y / 4 * 8 + x / 4] * 1.5,
        };
        self.base.map(|channel| channel + self.depth * pattern)
    }
}

/// Draws an image of `class` into `out`, (32, 32, 3).
pub(super) fn draw(class: usize, stream: Stream, out: &mut [u8]) {
    let mut draw = Draw(stream);
    let (back, fore) = loop {
        let (back, fore) = (draw.colour(), draw.colour());
        if back.iter().zip(&fore).map(|(b, f)| (b - f).abs()).sum::<f64>() >= 180.0 {
            break (back, fore);
        }
    };
    let (back, fore) = (draw.texture(back), draw.texture(fore));
    let mut canvas = [[[0.0; 3]; SIDE]; SIDE];
    for (y, row) in canvas.iter_mut().enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            *pixel = back.at(x, y);
        }
    }
    for _ in 0..2 + draw.below(3) {
        clutter(&mut canvas, &mut draw, 3.5);
    }
    stamp(&mut canvas, &mut draw, class, &fore);
    for _ in 0..draw.below(2) {
        clutter(&mut canvas, &mut draw, 2.0);
    }
    for (byte, value) in out.iter_mut().zip(canvas.as_flattened().as_flattened()) {
        // The cast saturates, and drops the fraction.
        *byte = (value + draw.between(-10.0, 10.0) + 0.5) as u8;
    }
}

/// Blends the shape of `class` in, by the part of each pixel that it covers.
fn stamp(canvas: &mut [[Colour; SIDE]; SIDE], draw: &mut Draw, class: usize, fore: &Texture) {
    let radius = draw.between(9.0, 14.0);
    let room = SIDE as f64 / 2.0 - radius;
    let centre = (16.0 + draw.between(-room, room), 16.0 + draw.between(-room, room));
    let (cos, sin) = draw.direction(0.414);
    for (y, row) in canvas.iter_mut().enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let inside = (0..SAMPLES * SAMPLES).filter(|sample| {
                let offset = |index: usize| (index as f64 + 0.5) / SAMPLES as f64;
                let dx = (x as f64 + offset(sample % SAMPLES) - centre.0) / radius;
                let dy = (y as f64 + offset(sample / SAMPLES) - centre.1) / radius;
                shape::contains(class, cos * dx + sin * dy, cos * dy - sin * dx)
            });
            let cover = inside.count() as f64 / (SAMPLES * SAMPLES) as f64;
            let colour = fore.at(x, y);
            for (value, new) in pixel.iter_mut().zip(colour) {
                *value += cover * (new - *value);
            }
        }
    }
}

/// Puts a turned rectangle of one colour anywhere, its sides up to twice `half` by twice 1.5.
fn clutter(canvas: &mut [[Colour; SIDE]; SIDE], draw: &mut Draw, half: f64) {
    let colour = draw.colour();
    let centre = (draw.between(0.0, 32.0), draw.between(0.0, 32.0));
    let (cos, sin) = draw.direction(1.0);
    let (long, short) = (draw.between(1.0, half), draw.between(0.7, 1.5));
    for (y, row) in canvas.iter_mut().enumerate() {
        for (x, pixel) in row.iter_mut().enumerate() {
            let (dx, dy) = (x as f64 + 0.5 - centre.0, y as f64 + 0.5 - centre.1);
            if (cos * dx + sin * dy).abs() < long && (cos * dy - sin * dx).abs() < short {
                *pixel = colour;
            }
        }
    }
}
