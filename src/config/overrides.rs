//! What the command line says about the configuration; it wins over the file.

use std::path::PathBuf;

use super::node::{Entry, Node, Value};
use super::parse::parse_option;
use super::source::Source;
use crate::{Error, Result};

/// Options that hold paths.
pub(super) const DATA_FILE: &str = "--data-file";
const OUTPUT_DIR: &str = "--output-dir";

/// Values given on the command line.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// `key.path=value`, the value in YAML; a number in the path picks an item of a list, from 0.
    pub set: Vec<String>,
    /// The data file, relative to the working directory.
    pub data_file: Option<PathBuf>,
    /// The result folder, relative to the working directory.
    pub output_dir: Option<PathBuf>,
    /// Threads per rank.
    pub threads: Option<usize>,
    /// Strategy by name.
    pub strategy: Option<String>,
    /// Device by name.
    pub device: Option<String>,
    /// Method by name.
    pub method: Option<String>,
}

impl Overrides {
    /// Paths as they are, by their options.
    pub(super) fn paths(&self) -> Vec<(&'static str, PathBuf)> {
        let named = [(DATA_FILE, &self.data_file), (OUTPUT_DIR, &self.output_dir)];
        named.into_iter().filter_map(|(option, path)| Some((option, path.clone()?))).collect()
    }

    /// Puts the values into the tree.
    pub(super) fn apply(&self, root: &mut Node) -> Result<()> {
        for assignment in &self.set {
            let (path, text) = assignment
                .split_once('=')
                .filter(|(path, _)| !path.trim().is_empty())
                .ok_or_else(|| set_error(format!("expected key.path=value, found `{assignment}`")))?;
            put(root, path.trim(), parse_option(text, "--set")?)?;
        }
        let text = |text: String, option| Node::from_option(Value::Text(text), option);
        let path = |path: &PathBuf, option| text(path.to_string_lossy().into_owned(), option);
        if let Some(file) = &self.data_file {
            put(root, "experimental_data.file_path", path(file, DATA_FILE))?;
        }
        if let Some(folder) = &self.output_dir {
            put(root, "output.directory", path(folder, OUTPUT_DIR))?;
        }
        if let Some(threads) = self.threads {
            let value = Value::Whole(i64::try_from(threads).unwrap_or(i64::MAX));
            put(root, "performance.computation.cpu_threads", Node::from_option(value, "--threads"))?;
        }
        if let Some(device) = &self.device {
            put(root, "device.kind", text(device.clone(), "--device"))?;
        }
        if let Some(strategy) = &self.strategy {
            put(root, "performance.strategy_override", text(strategy.clone(), "--strategy"))?;
        }
        if let Some(method) = &self.method {
            put(root, "optimization.method", text(method.clone(), "--method"))?;
        }
        Ok(())
    }
}

/// Errors of `--set` have no file to point into.
fn set_error(message: String) -> Error {
    Source::new(PathBuf::from("--set"), "").whole(message)
}

/// Puts a node at a dotted path, making the sections on the way.
fn put(root: &mut Node, path: &str, node: Node) -> Result<()> {
    let place = node.place;
    let mut at = root;
    for key in path.split('.') {
        if key.is_empty() {
            return Err(set_error(format!("`{path}` has an empty part")));
        }
        if at.is_null() {
            at.value = Value::Section(Vec::new());
        }
        at = match &mut at.value {
            Value::Section(entries) => {
                let index = entries.iter().position(|e| e.key == key).unwrap_or(entries.len());
                if index == entries.len() {
                    entries.push(Entry { key: key.to_string(), place, node: Node { value: Value::Null, place } });
                }
                &mut entries[index].node
            }
            Value::List(items) => {
                let n = items.len();
                key.parse::<usize>().ok().and_then(|i| items.get_mut(i)).ok_or_else(|| {
                    set_error(format!(
                        "`{path}`: `{key}` is no item of the list; they are numbered from 0, and there are {n}"
                    ))
                })?
            }
            _ => return Err(set_error(format!("`{path}`: a value stands above `{key}`, not a section"))),
        };
    }
    *at = node;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse::parse;

    fn root_with(text: &str, set: &[&str]) -> Result<Node> {
        let mut root = parse(&Source::new("c.yaml".into(), text))?;
        let set = set.iter().map(|s| s.to_string()).collect();
        Overrides { set, ..Default::default() }.apply(&mut root).map(|()| root)
    }

    #[test]
    fn values_are_yaml_and_replace_or_add() {
        let set = ["a.b=2.5", "a.new.deep=[1, x]", "l.1.min=3", "n.x=null", "t=u=v"];
        let root = root_with("a: {b: 1, c: 2}\nl: [{min: 1}, {min: 2}]\nn:\n", &set).unwrap();
        let a = root.get("a").unwrap();
        assert_eq!(a.get("b").unwrap().as_number(), Some(2.5));
        assert_eq!(a.get("c").unwrap().as_whole(), Some(2));
        assert!(matches!(&a.get("new").unwrap().get("deep").unwrap().value, Value::List(l) if l.len() == 2));
        let Value::List(items) = &root.get("l").unwrap().value else { panic!() };
        assert_eq!(items[1].get("min").unwrap().as_whole(), Some(3));
        assert!(root.get("n").unwrap().get("x").unwrap().is_null());
        assert_eq!(root.get("t").unwrap().as_text(), Some("u=v"));
    }

    #[test]
    fn impossible_assignments_are_refused() {
        for (set, expected) in [
            ("a.b", "--set: expected key.path=value"),
            ("=1", "--set: expected key.path=value"),
            ("a..b=1", "--set: `a..b` has an empty part"),
            ("a.b.c=1", "--set: `a.b.c`: a value stands above `c`"),
            ("l.7=1", "--set: `l.7`: `7` is no item of the list"),
            ("a.b=[1", "--set: cannot read the value `[1`"),
        ] {
            let error = root_with("a: {b: 1}\nl: [1]", &[set]).unwrap_err();
            assert!(error.to_string().starts_with(expected), "{set}: {error}");
            assert_eq!(error.exit_code(), 2);
        }
    }
}
