//! What a person sees on stderr while a run trains.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::metrics::Line;
use super::options::Verbosity;
use super::summary::{accuracy_label, duration, speed};
use crate::text::grouped;

/// Between two lines where stderr is no terminal.
const EVERY: Duration = Duration::from_secs(30);

/// A bar where stderr is a terminal, lines where it is not. Neither has colours, so `NO_COLOR` holds anyway.
pub(super) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    total: u64,
    started: Instant,
    first_step: u64,
    last_line: Instant,
}

/// stderr may be closed early; training goes on.
fn line_to_stderr(sentence: &str) {
    let _ = writeln!(std::io::stderr(), "{sentence}");
}

impl Progress {
    /// From step `step` to `total`.
    pub fn new(verbosity: Verbosity, step: u64, total: u64) -> Self {
        let quiet = verbosity == Verbosity::Quiet;
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(5));
            let template = "{bar:24} {pos}/{len} {msg}";
            if let Ok(style) = ProgressStyle::with_template(template) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.set_position(step);
            bar
        });
        let now = Instant::now();
        Self { bar, quiet, total, started: now, first_step: step, last_line: now }
    }

    /// A sentence that is printed even where progress is not.
    pub fn warn(&self, sentence: &str) {
        match &self.bar {
            Some(bar) => bar.suspend(|| line_to_stderr(sentence)),
            None => line_to_stderr(sentence),
        }
    }

    /// A sentence.
    pub fn say(&self, sentence: &str) {
        if !self.quiet {
            self.warn(sentence);
        }
    }

    /// A step was made; `line` holds the sums since the last line of the metrics.
    pub fn step(&mut self, line: &Line) {
        if let Some(bar) = &self.bar {
            bar.set_position(line.step);
            bar.set_message(format!("{}, {}", describe(line), self.left(line.step)));
        } else if !self.quiet && self.last_line.elapsed() >= EVERY {
            self.print(line);
        }
    }

    /// An epoch ended and was evaluated.
    pub fn epoch(&mut self, line: &Line) {
        if self.bar.is_some() {
            self.say(&describe(line));
        } else if !self.quiet {
            self.print(line);
        }
    }

    fn print(&mut self, line: &Line) {
        self.last_line = Instant::now();
        let steps = format!("step {}/{}", grouped(line.step), grouped(self.total));
        line_to_stderr(&format!("{steps} {}, {}", describe(line), self.left(line.step)));
    }

    /// The time left, by the pace of this process so far.
    fn left(&self, step: u64) -> String {
        let pace = self.started.elapsed().as_secs_f64() / step.saturating_sub(self.first_step).max(1) as f64;
        format!("{} left", duration(pace * self.total.saturating_sub(step) as f64))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn describe(line: &Line) -> String {
    let mut text = format!("epoch {}: loss {:.4}", line.epoch, line.train.loss);
    text += &format!(", {} {:.2} %", accuracy_label(line.synthetic, "train"), line.train.accuracy);
    for (split, measured) in [("validation", line.validation), ("test", line.test)] {
        if let Some(measured) = measured {
            text += &format!(", {} {:.2} %", accuracy_label(line.synthetic, split), measured.accuracy);
        }
    }
    text + &speed(line.images_per_second)
}
