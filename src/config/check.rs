//! The document held against the schema: unknown keys, keys without meaning, values of the wrong kind.

use super::IgnoredKey;
use super::document::{Document, Unknown};
use super::keys::{ASKING, ITEM_KEYS};
use super::node::{Node, Value};
use super::parse::look_alike;
use super::schema::{Known, find, nearest, nearest_of};
use crate::Result;

/// Most unknown keys: with more of them a file was written for something else.
const MOST_UNKNOWN: usize = 500;

/// What became of the keys of a document that are known.
#[derive(Debug)]
pub(super) struct Keys {
    /// How many are read.
    pub(super) n_used: usize,
    /// Those without effect.
    pub(super) idle: Vec<IgnoredKey>,
}

/// Walks the whole document. Unknown keys are left in [`Document::unknown`]; what became of the others comes back.
///
/// # Errors
/// A value of the wrong kind, a value where a section belongs, or hardly a key that is known.
pub(super) fn check(document: &mut Document) -> Result<Keys> {
    let shared: &Document = document;
    let mut walk = Walk { document: shared, unknown: Vec::new(), keys: Keys { n_used: 0, idle: Vec::new() } };
    walk.section(&shared.root, "")?;
    let Walk { unknown, keys, .. } = walk;
    document.unknown = unknown;
    Ok(keys)
}

struct Walk<'a> {
    document: &'a Document,
    unknown: Vec<Unknown>,
    keys: Keys,
}

impl Walk<'_> {
    fn section(&mut self, section: &Node, path: &str) -> Result<()> {
        let Value::Section(entries) = &section.value else { return Ok(()) };
        for entry in entries {
            let (key, node) = (&entry.key, &entry.node);
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            // `a.b: 1` written as one key is not `b` in the section `a`, and nobody would read it.
            let known = if key.contains('.') { None } else { find(&path) };
            match known {
                None => {
                    let meant = nearest(&path);
                    self.unknown(Unknown { path, place: entry.place, meant })?;
                }
                Some(Known::Idle(reason)) => self.keys.idle.push(IgnoredKey { path, reason }),
                Some(Known::Other(key)) if self.document.own(key).is_some() => {
                    self.keys
                        .idle
                        .push(IgnoredKey { path, reason: "another name of a key that is given, too, and counts" });
                }
                // whoever reads the key looks at its value
                Some(Known::Other(_)) => self.keys.n_used += 1,
                Some(Known::Used(kind)) => {
                    if !node.is_null() && !kind.fits(node) {
                        let first = ITEM_KEYS.iter().find(|(p, _)| *p == path).and_then(|(_, keys)| keys.first());
                        let begin = |key| format!("a list of sections, each of which begins with `- {key}:`");
                        return Err(self.document.wrong(&path, node, &first.map_or(kind.words().into(), begin)));
                    }
                    self.keys.n_used += 1;
                    self.items(node, &path)?;
                }
                Some(Known::Section { used }) => match node.value {
                    Value::Section(_) => self.section(node, &path)?,
                    Value::Null => {}
                    _ if used => return Err(self.document.wrong(&path, node, "a section of keys")),
                    _ => self.keys.idle.push(IgnoredKey { path, reason: "nothing in this section matters here" }),
                },
            }
        }
        Ok(())
    }

    /// Keys of the sections inside a list.
    fn items(&mut self, node: &Node, path: &str) -> Result<()> {
        let (Some((_, keys)), Value::List(items)) = (ITEM_KEYS.iter().find(|(p, _)| *p == path), &node.value) else {
            return Ok(());
        };
        for (i, item) in items.iter().enumerate() {
            let Value::Section(entries) = &item.value else { continue };
            for entry in entries.iter().filter(|e| !keys.contains(&e.key.as_str())) {
                let path = format!("{path}[{i}].{}", entry.key);
                self.unknown(Unknown { path, place: entry.place, meant: nearest_of(&entry.key, keys) })?;
            }
        }
        Ok(())
    }

    fn unknown(&mut self, key: Unknown) -> Result<()> {
        if self.unknown.len() == MOST_UNKNOWN {
            let message = format!("over {MOST_UNKNOWN} unknown keys; is this a configuration file?");
            return Err(self.document.source.whole(message));
        }
        self.unknown.push(key);
        Ok(())
    }
}

impl Document {
    /// One line per key without effect that asks for something.
    pub(super) fn asked_in_vain(&self) -> Vec<String> {
        let line = |&(path, idle): &(&str, &[&str])| {
            let node = self.get(path).filter(|node| !node.is_empty_section())?;
            let (Known::Idle(reason), words) = (find(path)?, node.words()) else { return None };
            let word = node.as_text().unwrap_or(words.trim_matches('`')).trim().to_lowercase();
            let place = self.source.show(node.place);
            (!idle.contains(&word.as_str())).then(|| format!("{place}: `{path}` has no effect: {reason}"))
        };
        ASKING.iter().filter_map(line).collect()
    }

    /// One line per unknown key, with its place.
    pub(super) fn unknown_keys(&self) -> Vec<String> {
        let line = |u: &Unknown| format!("{}: {}", self.source.show(u.place), u.message());
        self.unknown.iter().map(line).collect()
    }
}

impl Unknown {
    /// What is wrong with the key, without its place.
    pub(super) fn message(&self) -> String {
        let message = match self.meant {
            Some(meant) if meant == self.path => {
                format!("unknown key `{meant}`; write it as nested sections, one name per line")
            }
            Some(meant) => format!("unknown key `{}`; did you mean `{meant}`?", self.path),
            None => format!("unknown key `{}`", self.path),
        };
        match look_alike(&self.path) {
            // two keys that look the same
            Some((_, words)) => format!("{message} In it stands {words}"),
            None => message,
        }
    }
}
