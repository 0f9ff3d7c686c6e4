//! The text of the configuration file, and errors that point into it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::node::Place;
use crate::{ConfigProblem, Error, Result, files};

/// Largest file that is read; the longest templates have about 40 kB.
const MAX_BYTES: u64 = 1 << 20;

/// Most lines; the longest templates have about 1000. The parser holds every comment until a value follows.
const MAX_LINES: usize = 20_000;

/// What some editors put before the text.
const BYTE_ORDER_MARK: char = '\u{feff}';

/// Widest stretch of a line shown in a snippet, in characters.
const SNIPPET_WIDTH: usize = 100;

/// A configuration file's name and text.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) file: PathBuf,
    text: String,
}

impl Source {
    pub(super) fn new(file: PathBuf, text: &str) -> Self {
        Self { file, text: text.strip_prefix(BYTE_ORDER_MARK).unwrap_or(text).to_string() }
    }

    /// Reads a file; what goes wrong is the configuration's fault and names no line, except for bytes that aren't text.
    pub(super) fn read(file: &Path) -> Result<Self> {
        let empty = Self::new(file.to_path_buf(), "");
        let bytes = files::read(file, MAX_BYTES).map_err(|e| {
            empty.whole(match e.kind() {
                ErrorKind::FileTooLarge => {
                    format!("too large for a configuration file (over {} MB)", MAX_BYTES >> 20)
                }
                _ => format!("cannot read the configuration file: {e}"),
            })
        })?;
        if bytes.iter().filter(|&&b| b == b'\n' || b == b'\r').count() > MAX_LINES {
            return Err(empty.whole(format!("too long for a configuration file (over {MAX_LINES} lines)")));
        }
        match String::from_utf8(bytes) {
            Ok(mut text) => {
                if text.starts_with(BYTE_ORDER_MARK) {
                    text.drain(..BYTE_ORDER_MARK.len_utf8());
                }
                Ok(Self { text, ..empty })
            }
            Err(e) if e.as_bytes().starts_with(b"\x89HDF") || e.as_bytes().starts_with(b"PK\x03\x04") => {
                Err(empty.whole("is a data file, not a configuration; `config init --from-data` writes one for it"))
            }
            Err(e) => {
                let good = &e.as_bytes()[..e.utf8_error().valid_up_to()];
                let line = 1 + good.iter().filter(|&&b| b == b'\n').count();
                Err(empty.whole(format!(
                    "line {line} isn't UTF-8 text, as of an older editor: save the file in UTF-8, or write that line without \
                     accents and symbols"
                )))
            }
        }
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// An error about one place.
    pub(super) fn problem(&self, place: Place, message: impl Into<String>) -> Error {
        Error::Config(self.blame(place, message))
    }

    /// What such an error holds.
    pub(super) fn blame(&self, place: Place, message: impl Into<String>) -> ConfigProblem {
        let message = message.into();
        match place {
            Place::File(line, column) => ConfigProblem {
                file: self.file.clone(),
                place: Some((line as usize, column as usize)),
                message,
                snippet: self.snippet(line as usize, column as usize),
                later: false,
            },
            Place::Option(option) => ConfigProblem {
                file: PathBuf::from(option),
                place: None,
                message,
                snippet: String::new(),
                later: false,
            },
        }
    }

    /// An error about the file as a whole.
    pub(super) fn whole(&self, message: impl Into<String>) -> Error {
        let message = message.into();
        Error::Config(ConfigProblem {
            file: self.file.clone(),
            place: None,
            message,
            snippet: String::new(),
            later: false,
        })
    }

    /// What the text behind a path's place does to the path, where nothing is found at it.
    pub(super) fn path_slip(&self, place: Place) -> Option<&'static str> {
        let Place::File(number, column) = place else { return None };
        let mut lines = self.text.lines().skip(number as usize - 1);
        let value: String = lines.next()?.chars().skip(column as usize - 1).collect();
        if value.starts_with(['"', '\'']) {
            return None;
        }
        if value.contains(" #") {
            return Some("a blank and # begin a comment, so that the path ends before them: put it into quotes");
        }
        let next = lines.next().unwrap_or_default();
        let indent = |line: &str| line.len() - line.trim_start().len();
        let own = self.text.lines().nth(number as usize - 1).map_or(0, indent);
        let goes_on =
            !next.trim().is_empty() && indent(next) > own && !next.contains(": ") && !next.trim_end().ends_with(':');
        goes_on.then_some("the next line belongs to the path, joined by a blank: write it in one line")
    }

    /// The place as it stands before a warning: `file:line:column`, or the option.
    pub(super) fn show(&self, place: Place) -> String {
        match place {
            Place::File(line, column) => format!("{}:{line}:{column}", self.file.display()),
            Place::Option(option) => option.to_string(),
        }
    }

    fn snippet(&self, line: usize, column: usize) -> String {
        let Some(text) = self.text.lines().nth(line.saturating_sub(1)) else { return String::new() };
        let skipped = column.saturating_sub(1).saturating_sub(SNIPPET_WIDTH * 3 / 4);
        // A tab or another control character would move the marker away from its column.
        let shown: String =
            text.chars().skip(skipped).take(SNIPPET_WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let number = line.to_string();
        let gutter = " ".repeat(number.len());
        let indent = " ".repeat(column.saturating_sub(1) - skipped);
        format!("  {number} | {}\n  {gutter} | {indent}^", shown.trim_end())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_shows_its_line_and_marks_the_column() {
        let source = Source::new("c.yaml".into(), "\u{feff}a: 1\n\tγ: abc\r\n");
        let error = source.problem(Place::File(2, 5), "wrong");
        assert_eq!(error.to_string(), "c.yaml:2:5: wrong\n  2 |  γ: abc\n    |     ^");
        assert_eq!(error.exit_code(), 2);
        assert_eq!(source.problem(Place::Option("--set"), "wrong").to_string(), "--set: wrong");
    }

    #[test]
    fn a_long_line_is_cut_around_the_column() {
        let source = Source::new("c.yaml".into(), &format!("{}X{}", "a".repeat(5000), "b".repeat(5000)));
        let Error::Config(problem) = source.problem(Place::File(1, 5001), "wrong") else { panic!() };
        let lines: Vec<&str> = problem.snippet.lines().collect();
        assert!(lines[0].len() < 120);
        assert_eq!(lines[0].find('X'), lines[1].find('^'));
    }

    #[test]
    fn unreadable_files_are_configuration_errors() {
        let folder = tempfile::tempdir().unwrap();
        let missing = Source::read(&folder.path().join("none.yaml")).unwrap_err();
        assert!(missing.to_string().contains("none.yaml: cannot read the configuration file"), "{missing}");
        assert_eq!(missing.exit_code(), 2);
        assert_eq!(Source::read(folder.path()).unwrap_err().exit_code(), 2);
        let binary = folder.path().join("b.yaml");
        std::fs::write(&binary, b"a: 1\nb: \xff\xfe\n").unwrap();
        assert!(Source::read(&binary).unwrap_err().to_string().contains("line 2 isn't UTF-8"));
        let large = folder.path().join("l.yaml");
        std::fs::write(&large, vec![b'#'; (MAX_BYTES + 1) as usize]).unwrap();
        assert!(Source::read(&large).unwrap_err().to_string().contains("too large"));
        std::fs::write(&large, "#\n".repeat(MAX_LINES + 1)).unwrap();
        assert!(Source::read(&large).unwrap_err().to_string().contains("over 20000 lines"));
    }
}
