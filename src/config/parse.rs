//! From YAML text to a tree of nodes.
//!
//! Numbers follow YAML 1.2, so `1e-6` is one (PyYAML takes it for text); anchors, aliases and merge keys are resolved,
//! and a value that came through one keeps the place where it is written. The parser limits depth, size and the
//! unfolding of aliases, so no file can exhaust the stack or the memory.

use std::fmt;
use std::path::PathBuf;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_yaml::budget::BudgetBreach;
use serde_yaml::{NonFiniteFloatPolicy, Spanned};

use super::node::{Entry, Node, Place, Value};
use super::source::Source;
use crate::{ConfigProblem, Error, Result};

/// Most values that aliases may stand for, all together: ten times as many as there are keys. A few lines of aliases of
/// aliases could stand for millions.
const MOST_FROM_ALIASES: usize = 4000;
/// Most values in anchored sections, which the parser keeps for aliases.
const MOST_ANCHORED: usize = 4000;
/// Most keys and values; the largest templates have about 1000.
const MOST_VALUES: usize = 10_000;
/// Longest name of a key, in bytes.
const LONGEST_KEY: usize = 200;

/// Reads a whole file; it must hold a section.
pub(super) fn parse(source: &Source) -> Result<Node> {
    let root = read(source.text()).map_err(|(place, message)| match slip(source.text(), place, &message) {
        Some((slip, words)) => source.problem(slip, format!("{words} ({message})")),
        None => match place {
            Some(place) => source.problem(place, message),
            None => source.whole(message),
        },
    })?;
    match root.value {
        Value::Section(_) => Ok(root),
        Value::Null => Err(source.whole("the file is empty; it must at least name an `analysis_mode`")),
        _ => {
            let message = format!("expected `key: value` lines, found {}", root.words());
            Err(source.problem(root.place, message))
        }
    }
}

/// Reads the value of `--set key.path=value`.
pub(super) fn parse_option(text: &str, option: &'static str) -> Result<Node> {
    let read = read(text).map_err(|(_, message)| {
        let message = format!("cannot read the value `{text}`: {message}");
        Error::Config(ConfigProblem {
            file: PathBuf::from(option),
            place: None,
            message,
            snippet: String::new(),
            later: false,
        })
    })?;
    Ok(read.moved_to(option))
}

/// Warnings of whole numbers that PyYAML, which follows YAML 1.1, reads otherwise: those that begin with 0 are octal there.
pub(super) fn read_otherwise(source: &Source, root: &Node) -> Vec<String> {
    fn walk(path: &str, node: &Node, source: &Source, out: &mut Vec<String>) {
        match (&node.value, node.place) {
            (Value::Whole(_) | Value::Number(_), Place::File(line, column)) => {
                let line = source.text().lines().nth(line as usize - 1).unwrap_or_default();
                let text: String = line.chars().skip(column as usize - 1).collect();
                let digits: String = text.chars().take_while(char::is_ascii_digit).collect();
                let octal = digits.strip_prefix('0').and_then(|octal| i64::from_str_radix(octal, 8).ok());
                if let (Some(there), Some(here)) = (octal, node.as_whole())
                    && there != here
                {
                    out.push(format!(
                        "{}: `{path}: {digits}` is {here} here and {there} in the Python package, for which a leading 0 makes a \
                         number octal",
                        source.show(node.place)
                    ));
                }
            }
            (Value::List(items), _) => items.iter().for_each(|item| walk(path, item, source, out)),
            (Value::Section(entries), _) => entries.iter().for_each(|entry| {
                let path = if path.is_empty() { entry.key.clone() } else { format!("{path}.{}", entry.key) };
                walk(&path, &entry.node, source, out);
            }),
            _ => {}
        }
    }
    let mut out = Vec::new();
    walk("", root, source, &mut out);
    out
}

/// Characters that look like others, with their names and what is meant.
const LOOK_ALIKE: [(char, &str, &str); 12] = [
    ('\u{a0}', "a no-break space", "a blank"),
    ('\u{2007}', "a figure space", "a blank"),
    ('\u{202f}', "a narrow no-break space", "a blank"),
    ('\u{3000}', "an ideographic space", "a blank"),
    ('\u{200b}', "a zero-width space", "nothing"),
    ('\u{feff}', "a byte order mark", "nothing"),
    ('\u{2013}', "an en dash", "a hyphen"),
    ('\u{2014}', "an em dash", "a hyphen"),
    ('\u{2212}', "a minus sign", "a hyphen"),
    ('\u{ff1a}', "a full-width colon", "a colon"),
    ('\u{201c}', "a curly quotation mark", "a straight one"),
    ('\u{201d}', "a curly quotation mark", "a straight one"),
];

/// The first character that looks like another one which is meant: its position and what to say of it.
pub(super) fn look_alike(text: &str) -> Option<(usize, String)> {
    text.chars().enumerate().find_map(|(column, c)| {
        let (_, name, meant) = LOOK_ALIKE.iter().find(|(other, ..)| *other == c)?;
        Some((column, format!("{name} (U+{:04X}), which looks like {meant}: type {meant} instead", c as u32)))
    })
}

/// Lines, from the one behind the place on backwards, in which the slip may be.
const SEEN: usize = 3;

/// What a person probably did wrong, at or before the place where the parser gave up: it sees a slip only in what follows.
fn slip(text: &str, place: Option<Place>, message: &str) -> Option<(Place, String)> {
    let Some(Place::File(last, _)) = place else { return None };
    // a tab is found before its line is
    let lines = text.lines().enumerate().take(last as usize + 1);
    // comments may hold what they like
    let lines: Vec<(usize, &str)> = lines.map(|(n, line)| (n + 1, line.split(" #").next().unwrap_or(""))).collect();
    let at = |line: usize, column: usize| Place::File(line as u32, column as u32 + 1);
    for &(number, line) in lines.iter().filter(|(_, line)| !line.trim_start().starts_with('#')) {
        if let Some((column, words)) = look_alike(line) {
            return Some((at(number, column), format!("here stands {words}")));
        }
    }
    for &(number, line) in lines.iter().rev().filter(|(_, line)| !line.trim().is_empty()).take(SEEN) {
        let indent = line.len() - line.trim_start().len();
        if line[..indent].contains('\t') {
            return Some((at(number, 0), "a tab begins this line: YAML wants blanks".into()));
        }
        if message.contains("escape") && line.contains('\\') {
            let column = line.chars().position(|c| c == '\\').unwrap_or(0);
            let words = "a backslash between double quotes begins an escape: write single quotes, or / in paths";
            return Some((at(number, column), words.into()));
        }
        let key = line[indent..].find(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).unwrap_or(0);
        let rest = &line[indent + key..];
        let is_joined =
            rest.strip_prefix(':').and_then(|rest| rest.chars().next()).is_some_and(|c| !c.is_whitespace() && c != '/');
        if key > 0 && is_joined {
            let column = line[..indent + key].chars().count() + 1;
            return Some((at(number, column), "a blank is missing behind the colon".into()));
        }
    }
    None
}

fn read(text: &str) -> std::result::Result<Node, (Option<Place>, String)> {
    let options = serde_yaml::options! {
        strict_booleans: true,
        budget: serde_yaml::budget! { max_nodes: MOST_VALUES, max_recorded_anchor_events: MOST_ANCHORED },
        alias_limits: serde_yaml::alias_limits! { max_total_replayed_events: MOST_FROM_ALIASES },
        with_snippet: false,
        // Judged where they are used, by a message that names the key.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
    };
    serde_yaml::from_str_with_options::<Spanned<Value>>(text, options).map(Node::from).map_err(|error| {
        let place = error.location().map(|l| Place::File(l.line() as u32, l.column() as u32));
        (place, in_plain_words(&error))
    })
}

/// What the parser complains about, in words for people who don't know the parser.
fn in_plain_words(error: &serde_yaml::Error) -> String {
    use serde_yaml::Error as Yaml;
    match error.without_snippet() {
        Yaml::DuplicateMappingKey { key: Some(key), .. } => format!("the key `{key}` stands here a second time"),
        Yaml::DuplicateMappingKey { .. } => "the key stands here a second time".into(),
        Yaml::MultipleDocuments { .. } => "a second document begins here; one file holds one configuration".into(),
        Yaml::Budget { breach: BudgetBreach::Nodes { .. }, .. } => {
            format!(
                "the file holds over {MOST_VALUES} values, too many for a configuration; ranges such as `500-520` are shorter than \
                 long lists of frames"
            )
        }
        Yaml::Budget { .. } => "the file is nested too deeply or too large to be a configuration".into(),
        other => {
            let text = other.to_string();
            let end = text.rfind(" at line ").unwrap_or(text.len());
            format!("not valid YAML: {}", &text[..end])
        }
    }
}

impl From<Spanned<Value>> for Node {
    fn from(spanned: Spanned<Value>) -> Self {
        let place = place_of(&spanned);
        Self { value: spanned.value, place }
    }
}

fn place_of<T>(spanned: &Spanned<T>) -> Place {
    Place::File(spanned.defined.line() as u32, spanned.defined.column() as u32)
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> std::result::Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> std::result::Result<Value, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_i64<E>(self, whole: i64) -> std::result::Result<Value, E> {
        Ok(Value::Whole(whole))
    }

    fn visit_u64<E>(self, whole: u64) -> std::result::Result<Value, E> {
        Ok(i64::try_from(whole).map_or(Value::Number(whole as f64), Value::Whole))
    }

    fn visit_f64<E>(self, number: f64) -> std::result::Result<Value, E> {
        Ok(Value::Number(number))
    }

    fn visit_str<E>(self, text: &str) -> std::result::Result<Value, E> {
        Ok(Value::Text(text.to_string()))
    }

    fn visit_string<E>(self, text: String) -> std::result::Result<Value, E> {
        Ok(Value::Text(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element::<Spanned<Value>>()? {
            items.push(Node::from(item));
        }
        items.shrink_to_fit();
        Ok(Value::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> std::result::Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = access.next_entry::<Spanned<Value>, Spanned<Value>>()? {
            let place = place_of(&key);
            let key = match key.value {
                Value::Text(text) => text,
                Value::Whole(whole) => whole.to_string(),
                Value::Number(number) => number.to_string(),
                Value::Flag(flag) => flag.to_string(),
                Value::Null => "null".to_string(),
                Value::List(_) | Value::Section(_) | Value::Reported => {
                    return Err(A::Error::custom("a key must be a name"));
                }
            };
            if key.len() > LONGEST_KEY {
                return Err(A::Error::custom(format!("a key must be a name of at most {LONGEST_KEY} bytes")));
            }
            entries.push(Entry { key, place, node: Node::from(node) });
        }
        entries.shrink_to_fit();
        Ok(Value::Section(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(text: &str) -> Node {
        parse(&Source::new("c.yaml".into(), text)).unwrap()
    }

    fn error(text: &str) -> String {
        parse(&Source::new("c.yaml".into(), text)).unwrap_err().to_string()
    }

    #[test]
    fn scalars_are_read_as_people_mean_them() {
        let root = tree("a: 1e-6\nb: 1_000\nc: .5\nd: True\ne: yes\nf: ~\ng: 'x'\nh: 5e3\ni: 010\nj: -2\nk: \"1e-6\"");
        assert_eq!(root.get("a").unwrap().as_number(), Some(1e-6));
        assert_eq!(root.get("b").unwrap().as_whole(), Some(1000));
        assert_eq!(root.get("c").unwrap().as_number(), Some(0.5));
        assert_eq!(root.get("d").unwrap().as_flag(), Some(true));
        assert_eq!(root.get("e").unwrap().as_flag(), Some(true));
        assert!(root.get("f").unwrap().is_null());
        assert_eq!(root.get("g").unwrap().as_text(), Some("x"));
        assert_eq!(root.get("h").unwrap().as_whole(), Some(5000));
        assert_eq!(root.get("i").unwrap().as_whole(), Some(10));
        assert_eq!(root.get("j").unwrap().as_whole(), Some(-2));
        assert_eq!(root.get("k").unwrap().as_number(), None);
    }

    #[test]
    fn every_node_knows_its_place() {
        let root = tree("a:\n  b: [1, 2]\n1: x\ntrue: y\n");
        let Value::Section(entries) = &root.value else { panic!() };
        assert_eq!(entries[0].place, Place::File(1, 1));
        let b = root.get("a").unwrap().get("b").unwrap();
        assert_eq!(b.place, Place::File(2, 6));
        let Value::List(items) = &b.value else { panic!() };
        assert_eq!(items[1].place, Place::File(2, 10));
        assert_eq!(root.get("1").unwrap().as_text(), Some("x"));
        assert_eq!(root.get("true").unwrap().as_text(), Some("y"));
    }

    #[test]
    fn anchors_and_merge_keys_keep_the_place_of_the_value() {
        let root = tree("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nalso: *b\n");
        let merged = root.get("use").unwrap();
        assert_eq!(merged.get("x").unwrap().place, Place::File(1, 14));
        assert_eq!(merged.get("y").unwrap().as_whole(), Some(3));
        assert_eq!(root.get("also").unwrap().get("y").unwrap().as_whole(), Some(2));
    }

    #[test]
    fn broken_files_say_where() {
        for (text, expected) in [
            ("", "c.yaml: the file is empty"),
            ("# nothing\n", "c.yaml: the file is empty"),
            ("a: 1\nb: 2\na: 3\n", "c.yaml:3:1: the key `a` stands here a second time"),
            ("a: 1\n---\nb: 2\n", "c.yaml:3:1: a second document"),
            ("a: \"open", "c.yaml:1:4: not valid YAML: unclosed quote"),
            ("a: *nope", "c.yaml:1:4: not valid YAML: alias references unknown anchor"),
            ("a: b: c", "c.yaml:1:5: not valid YAML"),
            ("- 1\n- 2", "c.yaml:1:1: expected `key: value` lines, found a list of 2"),
            ("a: \"D:\\data\\x.hdf\"", "c.yaml:1:7: a backslash between double quotes begins an escape"),
            ("just text", "c.yaml:1:1: expected `key: value` lines"),
        ] {
            assert!(error(text).starts_with(expected), "{text:?}: {}", error(text));
        }
        assert!(error("? [1, 2]\n: 3\n").contains("a key must be a name"));
        assert!(error("a: 1\nb: [1\nc: 2").contains('^'), "a syntax error shows its line");
    }

    #[test]
    fn deep_and_explosive_files_are_refused() {
        let deep: String = (0..500).map(|i| format!("{}a:\n", " ".repeat(i))).collect();
        assert!(error(&deep).contains("nested too deeply"));
        assert!(error(&format!("a: {}", "[".repeat(100_000))).starts_with("c.yaml:1:"));
        let laughs: String = (1..40).fold("a0: &a0 [x, x]\n".into(), |text, i| {
            format!("{text}a{i}: &a{i} [{0}, {0}, {0}]\n", format_args!("*a{}", i - 1))
        });
        assert!(error(&laughs).starts_with("c.yaml"));
    }
}
