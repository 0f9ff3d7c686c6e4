//! Typed access to the tree: every accessor says what it expected, what it found and where.

use std::path::PathBuf;

use super::keys::OTHER_NAMES;
use super::node::{Node, Place, beginning};
use super::parse::look_alike;
use super::schema::{Kind, nearest_of};
use super::source::Source;
use crate::{ConfigProblem, Error, Result};

/// A value with the place to blame for it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spot<T> {
    pub(super) value: T,
    pub(super) place: Place,
}

/// A key that the schema doesn't know.
#[derive(Debug, Clone)]
pub(super) struct Unknown {
    pub(super) path: String,
    pub(super) place: Place,
    /// The known key that was most likely meant.
    pub(super) meant: Option<&'static str>,
}

/// A parsed configuration: its text for messages, its tree with the command line's values in it.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) source: Source,
    pub(super) root: Node,
    /// Unknown keys, for the message about a missing one.
    pub(super) unknown: Vec<Unknown>,
    /// Paths of the command line, by their options: the tree holds text, which not every path is.
    pub(super) paths: Vec<(&'static str, PathBuf)>,
}

/// A path whose beginning may stand for a folder: `~`, `$NAME`, `${NAME}`.
fn expanded(text: &str) -> std::result::Result<PathBuf, String> {
    let (name, rest) = if let Some(rest) = text.strip_prefix('~') {
        if !(rest.is_empty() || rest.starts_with('/')) {
            return Err(format!("`{text}`: other users' folders aren't looked up; write the whole path"));
        }
        ("HOME", rest)
    } else if let Some(inner) = text.strip_prefix("${") {
        inner.split_once('}').ok_or_else(|| format!("`{text}` lacks a closing brace"))?
    } else if let Some(inner) = text.strip_prefix('$') {
        let end = inner.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(inner.len());
        inner.split_at(end)
    } else {
        return Ok(PathBuf::from(text));
    };
    let folder = std::env::var_os(name).filter(|folder| !folder.is_empty());
    let mut folder = folder.ok_or_else(|| format!("`{text}`: ${name} isn't set in the environment"))?;
    folder.push(rest);
    Ok(PathBuf::from(folder))
}

/// What to say of text where something else belongs, if it is a number that was written too well.
fn text_for_number(text: &str) -> Option<String> {
    if let Some((_, words)) = look_alike(text) {
        return Some(format!("; in it stands {words}"));
    }
    let text = text.trim();
    let number = text.trim_end_matches(|c: char| !c.is_ascii_digit()).trim_end();
    let has_unit = text.len() > number.len() && number.parse::<f64>().is_ok();
    has_unit.then(|| "; write the number alone, without a unit".to_owned())
}

impl Document {
    /// The node at a dotted path, or under another name of that key; `None` where there is none or it is `null`.
    pub(super) fn get(&self, path: &str) -> Option<&Node> {
        let other = || OTHER_NAMES.iter().filter(|(_, key)| *key == path).find_map(|(name, _)| self.own(name));
        self.own(path).or_else(other)
    }

    /// The node at a dotted path itself.
    pub(super) fn own(&self, path: &str) -> Option<&Node> {
        path.split('.').try_fold(&self.root, |node, key| node.get(key)).filter(|node| !node.is_null())
    }

    /// An error about a place.
    pub(super) fn error(&self, place: Place, message: impl Into<String>) -> Error {
        self.source.problem(place, message)
    }

    /// An error about a setting whose time hasn't come; `what` is the setting, `remedy` what to do instead.
    pub(super) fn later(&self, place: Place, what: impl std::fmt::Display, remedy: &str) -> Error {
        match self.error(place, format!("{what} isn't available yet; {remedy}")) {
            Error::Config(problem) => Error::Config(ConfigProblem { later: true, ..problem }),
            other => other,
        }
    }

    /// Whether the value at a path was wrong and has been reported.
    pub(super) fn reported(&self, path: &str) -> bool {
        path.split('.').try_fold(&self.root, |node, key| node.get(key)).is_some_and(Node::is_reported)
    }

    /// The error for a value of the wrong kind.
    pub(super) fn wrong(&self, path: &str, node: &Node, expected: &str) -> Error {
        let hint = node.as_text().and_then(text_for_number).unwrap_or_default();
        self.error(node.place, format!("`{path}` must be {expected}, found {}{hint}", node.words()))
    }

    /// The error for a required key that isn't there, with the misspelt one where there is a candidate.
    pub(super) fn missing(&self, path: &str, purpose: &str) -> Error {
        let section =
            |meant: &str| path.strip_prefix(meant).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        match self.unknown.iter().find(|u| u.meant.is_some_and(section)) {
            Some(u) => {
                let meant = u.meant.unwrap_or_default();
                let message = format!("`{path}` is missing ({purpose}); does `{}` mean `{meant}`?", u.path);
                self.error(u.place, message)
            }
            None => self.source.whole(format!("`{path}` is missing; {purpose}")),
        }
    }

    /// A node read by `take`, or the error that the kind wasn't met.
    fn read<'a, T>(&'a self, path: &str, kind: Kind, take: impl Fn(&'a Node) -> Option<T>) -> Result<Option<Spot<T>>> {
        let Some(node) = self.get(path) else { return Ok(None) };
        let value = take(node).ok_or_else(|| self.wrong(path, node, kind.words()))?;
        Ok(Some(Spot { value, place: node.place }))
    }

    pub(super) fn flag(&self, path: &str, default: bool) -> Result<bool> {
        Ok(self.read(path, Kind::Flag, Node::as_flag)?.map_or(default, |s| s.value))
    }

    /// A finite number.
    pub(super) fn number(&self, path: &str) -> Result<Option<Spot<f64>>> {
        self.get(path).map(|node| self.finite(path, node)).transpose()
    }

    /// A finite number above zero.
    pub(super) fn positive(&self, path: &str, unit: &str) -> Result<Option<f64>> {
        let Some(spot) = self.number(path)? else { return Ok(None) };
        if spot.value > 0.0 {
            return Ok(Some(spot.value));
        }
        let message = format!("`{path}` must be greater than 0{unit}, found {}", figure(spot.value));
        Err(self.error(spot.place, message))
    }

    /// A whole number within a range.
    pub(super) fn whole(&self, path: &str, least: i64, most: i64) -> Result<Option<Spot<i64>>> {
        let Some(spot) = self.read(path, Kind::Whole, Node::as_whole)? else { return Ok(None) };
        if (least..=most).contains(&spot.value) {
            return Ok(Some(spot));
        }
        let range = if most == i64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
        Err(self.error(spot.place, format!("`{path}` must be {range}, found {}", spot.value)))
    }

    pub(super) fn text(&self, path: &str) -> Result<Option<Spot<&str>>> {
        self.read(path, Kind::Text, Node::as_text)
    }

    /// A path, with `~` and variables of the environment at its beginning replaced as a shell would; `None` where it is empty.
    pub(super) fn path(&self, path: &str) -> Result<Option<Spot<PathBuf>>> {
        let Some(spot) = self.text(path)?.filter(|spot| !spot.value.trim().is_empty()) else { return Ok(None) };
        let value = match spot.place {
            // the shell has done it, or was told not to
            Place::Option(option) => {
                let whole = self.paths.iter().find(|(name, _)| *name == option);
                whole.map_or_else(|| PathBuf::from(spot.value), |(_, path)| path.clone())
            }
            Place::File(..) => {
                expanded(spot.value).map_err(|message| self.error(spot.place, format!("`{path}`: {message}")))?
            }
        };
        Ok(Some(Spot { value, place: spot.place }))
    }

    pub(super) fn list(&self, path: &str) -> Result<Option<&[Node]>> {
        if self.get(path).is_some_and(Node::is_empty_section) {
            return Ok(None);
        }
        Ok(self.read(path, Kind::List, Node::as_list)?.map(|s| s.value))
    }

    /// A node that must hold a finite number; `path` names it in messages.
    pub(super) fn finite(&self, path: &str, node: &Node) -> Result<Spot<f64>> {
        match node.as_number() {
            Some(value) if value.is_finite() => Ok(Spot { value, place: node.place }),
            Some(_) => Err(self.wrong(path, node, "a finite number")),
            None => Err(self.wrong(path, node, Kind::Number.words())),
        }
    }

    /// The error for a word that isn't among those that can be.
    pub(super) fn no_such(&self, path: &str, word: &str, place: Place, words: &[&'static str]) -> Error {
        let list = words.iter().map(|w| format!("`{w}`")).collect::<Vec<_>>().join(", ");
        let hint = nearest_of(word, words).map(|w| format!("; did you mean `{w}`?")).unwrap_or_default();
        self.error(place, format!("`{path}` can be {list}, found `{}`{hint}", beginning(word)))
    }
}

/// A number as people write it: no long tails of zeros.
pub(crate) fn figure(value: f64) -> String {
    if value == 0.0 || (1e-3..1e6).contains(&value.abs()) { format!("{value}") } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_short() {
        for (value, text) in [(0.0, "0"), (100.0, "100"), (1e-6, "1e-6"), (0.5, "0.5"), (-1e5, "-100000"), (2e6, "2e6")]
        {
            assert_eq!(figure(value), text);
        }
    }
}
