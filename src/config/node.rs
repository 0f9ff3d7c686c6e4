//! The YAML document as a tree whose every node knows its place.

/// Where a value was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// In the file: line and column from 1. Every node has its place, so places are small.
    File(u32, u32),
    /// On the command line, by the option.
    Option(&'static str),
}

/// One value with its place.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) place: Place,
}

/// A value as written.
#[derive(Debug, Clone)]
pub(super) enum Value {
    Null,
    Flag(bool),
    Whole(i64),
    Number(f64),
    Text(String),
    List(Vec<Node>),
    Section(Vec<Entry>),
    /// Was wrong, has been reported, and is as good as absent: what is left to find out is what else is wrong.
    Reported,
}

/// One `key: value` of a section, in the order of the file.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub(super) key: String,
    pub(super) place: Place,
    pub(super) node: Node,
}

impl Node {
    /// A value that comes from the command line.
    pub(super) fn from_option(value: Value, option: &'static str) -> Self {
        Self { value, place: Place::Option(option) }
    }

    pub(super) fn is_null(&self) -> bool {
        matches!(self.value, Value::Null | Value::Reported)
    }

    pub(super) fn is_reported(&self) -> bool {
        matches!(self.value, Value::Reported)
    }

    /// The flag, in any spelling that PyYAML reads as one.
    pub(super) fn as_flag(&self) -> Option<bool> {
        match &self.value {
            Value::Flag(flag) => Some(*flag),
            Value::Text(text) => match text.to_ascii_lowercase().as_str() {
                "yes" | "on" => Some(true),
                "no" | "off" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    /// The whole number, also where it is written as `5e3` or `100.0`.
    pub(super) fn as_whole(&self) -> Option<i64> {
        // Beyond 2^53 a float no longer says which whole number it stands for.
        const EXACT: f64 = 9_007_199_254_740_992.0;
        match self.value {
            Value::Whole(whole) => Some(whole),
            Value::Number(number) if number.fract() == 0.0 && number.abs() <= EXACT => Some(number as i64),
            _ => None,
        }
    }

    pub(super) fn as_number(&self) -> Option<f64> {
        match self.value {
            Value::Whole(whole) => Some(whole as f64),
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    pub(super) fn as_text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether the value is `{}`, which stands for nothing where a list belongs.
    pub(super) fn is_empty_section(&self) -> bool {
        matches!(&self.value, Value::Section(entries) if entries.is_empty())
    }

    pub(super) fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// The value below a key; `None` where this is no section or has no such key.
    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Value::Section(entries) => entries.iter().find(|e| e.key == key).map(|e| &e.node),
            _ => None,
        }
    }

    /// The value in words, for "found …".
    pub(super) fn words(&self) -> String {
        match &self.value {
            Value::Null | Value::Reported => "nothing".into(),
            Value::Flag(flag) => format!("`{flag}`"),
            Value::Whole(whole) => format!("`{whole}`"),
            Value::Number(number) => format!("`{number:?}`"),
            Value::Text(text) => format!("the text \"{}\"", beginning(text)),
            Value::List(items) => format!("a list of {}", items.len()),
            Value::Section(_) => "a section".into(),
        }
    }

    /// The same tree, said to come from an option of the command line.
    pub(super) fn moved_to(mut self, option: &'static str) -> Self {
        self.place = Place::Option(option);
        self.value = match self.value {
            Value::List(items) => Value::List(items.into_iter().map(|n| n.moved_to(option)).collect()),
            Value::Section(entries) => Value::Section(
                entries
                    .into_iter()
                    .map(|e| Entry { key: e.key, place: self.place, node: e.node.moved_to(option) })
                    .collect(),
            ),
            value => value,
        };
        self
    }
}

/// Text as messages show it: as much as one needs to recognise it.
pub(super) fn beginning(text: &str) -> std::borrow::Cow<'_, str> {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]).into(),
        None => text.into(),
    }
}
