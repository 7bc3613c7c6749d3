//! The one error type: a sentence for the reader, and a kind that decides the exit code.

use std::fmt;
use std::path::Path;

/// What went wrong, as far as a calling script needs to know. The discriminant is the process' exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A flag, a name or a value that makes no sense (clap's own usage errors also exit with 2).
    Usage = 2,
    /// A data set or an image that is missing, damaged or unsuitable.
    Data = 3,
    /// A model description, recipe or checkpoint that does not fit or is damaged.
    Model = 4,
    /// The file system refused: permissions, space, a lock held by another process.
    Io = 5,
    /// Training diverged: the loss is not finite or exploded.
    Diverged = 6,
    /// The device is missing, or failed.
    Device = 7,
}

/// An error with one clear sentence: what, where, and what to do.
pub struct Error {
    kind: Kind,
    message: String,
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` that prints `message`.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into() }
    }
    /// See [`Kind::Usage`].
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// See [`Kind::Data`].
    pub fn data(message: impl Into<String>) -> Self {
        Self::new(Kind::Data, message)
    }
    /// See [`Kind::Model`].
    pub fn model(message: impl Into<String>) -> Self {
        Self::new(Kind::Model, message)
    }
    /// See [`Kind::Device`].
    pub fn device(message: impl Into<String>) -> Self {
        Self::new(Kind::Device, message)
    }
    /// The file system's refusal to `verb` (such as "read") `path`.
    pub fn io(verb: &str, path: &Path, source: &std::io::Error) -> Self {
        Self::new(Kind::Io, format!("cannot {verb} {}: {source}", path.display()))
    }
    /// The kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }
    /// The process' exit code.
    pub fn exit_code(&self) -> u8 {
        self.kind as u8
    }
    /// The same error, its sentence led by where it happened.
    pub fn at(self, place: impl fmt::Display) -> Self {
        Self { message: format!("{place}: {}", self.message), ..self }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.kind, self.message)
    }
}

impl std::error::Error for Error {}

/// `given` is unknown: names the nearest of `known`, or lists them all.
pub fn unknown(what: &str, given: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|k| (strsim::damerau_levenshtein(&given.to_lowercase(), k), *k))
        .min()
        .filter(|(distance, k)| *distance <= 1 + k.len() / 3);
    match near {
        Some((_, k)) => format!("unknown {what} '{given}'; did you mean '{k}'?"),
        None => format!("unknown {what} '{given}'; known: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_suggest_the_nearest() {
        assert_eq!(
            unknown("model", "rir-23", &["cnn-32", "rir-32"]),
            "unknown model 'rir-23'; did you mean 'rir-32'?"
        );
        assert!(unknown("model", "vgg", &["cnn-32", "rir-32"]).ends_with("known: cnn-32, rir-32"));
    }
}
