//! Networks of one's own: a description read from, and written as, TOML.
//!
//! `rir inspect rir-32 --toml > mine.toml` prints one to start from; `--model mine.toml` uses it.

use super::description::Description;
use crate::error::{Error, Result, unknown};

/// Reads a description. `place`, such as the file's name, leads every error.
///
/// # Errors
/// Text that is no TOML, a key that is unknown, missing or of the wrong type, or a network that cannot be; the
/// sentence names line and key.
///
/// ```
/// let text = "name = 'tiny'\nfamily = 'rir'\nstem = 8\n[[groups]]\nwidth = 8\nblocks = 1";
/// assert_eq!(rir::nn::toml::read(text, "tiny.toml").unwrap().stem, 8);
///
/// let error = rir::nn::toml::read("name = 'tiny'\nstems = 8", "tiny.toml").unwrap_err();
/// assert_eq!(error.to_string(), "tiny.toml, line 2: unknown key 'stems'; did you mean 'stem'?");
/// ```
pub fn read(text: &str, place: &str) -> Result<Description> {
    let description: Description =
        ::toml::from_str(text).map_err(|e| Error::model(explain(text, place, &e)))?;
    description.validate().map_err(|e| e.at(place))?;
    Ok(description)
}

/// The description as TOML that [`read`] reads back.
///
/// # Errors
/// If a number has no TOML form, which a valid description never holds.
pub fn write(description: &Description) -> Result<String> {
    ::toml::to_string(description)
        .map_err(|e| Error::model(format!("model '{}' cannot be written as TOML: {e}", description.name)))
}

/// One sentence for a TOML error: the place, the line, and what to do.
///
/// Serde's own sentences are made for programmers; the keys and options that they quote are kept.
pub fn explain(text: &str, place: &str, error: &::toml::de::Error) -> String {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    // An error of the whole document (a missing key, say) has no line of its own.
    let line = error.span().filter(|span| span.start > 0 || !is_of_the_whole(&message)).map(|span| {
        let start = span.start.min(text.len());
        1 + text.as_bytes()[..start].iter().filter(|&&b| b == b'\n').count()
    });
    let sentence = rephrase(&message, line.and_then(|l| text.lines().nth(l - 1)));
    match line {
        Some(line) => format!("{place}, line {line}: {sentence}"),
        None => format!("{place}: {sentence}"),
    }
}

fn is_of_the_whole(message: &str) -> bool {
    message.starts_with("missing field") || message.starts_with("has both") || message.starts_with("needs [[")
}

fn rephrase(message: &str, line: Option<&str>) -> String {
    let quoted: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let known = || quoted[1..].to_vec();
    if message.starts_with("unknown field") && !quoted.is_empty() {
        unknown("key", quoted[0], &known())
    } else if message.starts_with("unknown variant") && !quoted.is_empty() {
        format!("'{}' is not a value of {}; known: {}", quoted[0], key(line), known().join(", "))
    } else if message.starts_with("missing field") && !quoted.is_empty() {
        format!("the key '{}' is missing", quoted[0])
    } else if let Some(rest) =
        message.strip_prefix("invalid type: ").or(message.strip_prefix("invalid value: "))
        && let Some((got, want)) = rest.split_once(", expected ")
    {
        let want = match want {
            "usize" | "u32" | "u64" => "a whole number from 0 up",
            "f64" | "f32" => "a number",
            "a boolean" => "true or false",
            "a sequence" => "a list of tables, each led by its name in [[ ]]",
            other => other,
        };
        format!("{} must be {want}, got {}", key(line), got.replace('`', ""))
    } else {
        message.to_owned()
    }
}

/// The key or table that a line sets, quoted.
fn key(line: Option<&str>) -> String {
    match line.map(|l| l.split('=').next().unwrap_or(l).trim()) {
        Some(key) if !key.is_empty() => format!("'{key}'"),
        _ => "the value".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nn::zoo;

    const TINY: &str = "name = 'tiny'\nfamily = 'rir'\nstem = 8\n[[groups]]\nwidth = 8\nblocks = 1\n";

    fn error(text: &str) -> String {
        read(text, "t.toml").unwrap_err().to_string()
    }

    #[test]
    fn every_model_survives_toml_and_json() {
        for name in zoo::NAMES {
            let description = zoo::by_name(name).unwrap();
            let text = write(&description).unwrap();
            assert_eq!(read(&text, name).unwrap(), description, "{text}");
            let json = serde_json::to_string(&description).unwrap();
            assert_eq!(serde_json::from_str::<Description>(&json).unwrap(), description, "{json}");
        }
    }

    #[test]
    fn every_error_names_line_and_key() {
        let cases = [
            ("stem = 8", "stem = 'x'", "line 3: 'stem' must be a whole number from 0 up, got string \"x\""),
            ("stem = 8", "stem = -8", "line 3: 'stem' must be a whole number from 0 up, got integer -8"),
            ("stem = 8", "stem = 8\nflatten = 1", "line 4: 'flatten' must be true or false, got integer 1"),
            (
                "stem = 8",
                "stem = 8\nprojektion = 'pad'",
                "line 4: unknown key 'projektion'; did you mean 'projection'?",
            ),
            (
                "stem = 8",
                "stem = 8\nprojection = '2x2'",
                "line 4: '2x2' is not a value of 'projection'; known: 3x3, 1x1, pad",
            ),
            (
                "'rir'",
                "'rirr'",
                "line 2: 'rirr' is not a value of 'family'; known: cnn, resnet, resnet-init, rir",
            ),
            ("blocks = 1", "block = 1", "line 6: unknown key 'block'; did you mean 'blocks'?"),
            ("stem = 8\n", "", "t.toml: the key 'stem' is missing"),
            ("blocks = 1\n", "", "the key 'blocks' is missing"),
            ("stem = 8", "stem = 8\nstem = 9", "line 4: duplicate key"),
            ("stem = 8", "stem = 0", "t.toml: model 'tiny': "),
            (
                "[[groups]]",
                "[groups]",
                "line 4: '[groups]' must be a list of tables, each led by its name in [[ ]], got map",
            ),
        ];
        for (from, to, want) in cases {
            let got = error(&TINY.replacen(from, to, 1));
            assert!(got.starts_with("t.toml") && got.contains(want), "{to:?}: {got}");
            assert!(!got.contains('\n'), "{got}");
        }
        let headless = "name = 'tiny'\nfamily = 'rir'\nstem = 8\n";
        assert_eq!(error(headless), "t.toml: needs [[groups]] (blocks) or [[layers]] (a plain list)");
        assert!(error(&format!("{TINY}[[layers]]\nwidth = 8")).contains("keep one of them"));
    }

    proptest! {
        /// Whatever a slip of the hand makes of a valid file: an error or a network, never a panic.
        #[test]
        fn a_mutated_file_never_panics(model in 0..zoo::NAMES.len(), at: prop::sample::Index, cut in 0usize..12, with in ".{0,6}") {
            let text = write(&zoo::by_name(zoo::NAMES[model]).unwrap()).unwrap();
            let start = at.index(text.len());
            let mutated = format!("{}{with}{}", &text[..start], &text[(start + cut).min(text.len())..]);
            if let Err(e) = read(&mutated, "t.toml") {
                prop_assert!(e.to_string().starts_with("t.toml"));
            }
        }
    }
}
