//! Standard output and error, whatever they are connected to.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use rir::error::{Error, Kind, Result};
use serde::Serialize;

/// Standard output. A reader that has seen enough and closes the pipe (`rir inspect rir-32 | head`) is no error: what
/// follows is dropped.
pub struct Output {
    stream: BufWriter<StdoutLock<'static>>,
}

impl Output {
    pub fn new() -> Self {
        Self { stream: BufWriter::new(io::stdout().lock()) }
    }

    /// Writes `text` as it is.
    pub fn print(&mut self, text: impl Display) -> Result<()> {
        accept(write!(self.stream, "{text}"))
    }

    /// Writes `text` and ends the line.
    pub fn line(&mut self, text: impl Display) -> Result<()> {
        accept(writeln!(self.stream, "{text}"))
    }

    /// Writes one JSON document, indented.
    pub fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let text = serde_json::to_string_pretty(value)
            .map_err(|e| Error::new(Kind::Io, format!("cannot write the result as JSON: {e}")))?;
        self.line(text)
    }

    /// Passes on what was written. Call it before the process ends.
    pub fn finish(mut self) -> Result<()> {
        accept(self.stream.flush())
    }
}

fn accept(result: io::Result<()>) -> Result<()> {
    match result {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            Err(Error::new(Kind::Io, format!("cannot write to standard output: {e}")))
        }
        _ => Ok(()),
    }
}

/// A line on standard error; lost where that is closed.
pub fn note(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}
