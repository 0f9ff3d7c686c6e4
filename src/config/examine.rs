//! Everything that is wrong with a file, at once.
//!
//! Reading stops at the first problem. Here the value to blame is then marked as reported, which makes it as good as
//! absent, and reading begins again, until it gets through.

use std::path::Path;

use super::check::{Keys, check};
use super::document::Document;
use super::load::{mode, tree, typed};
use super::node::{Entry, Node, Place, Value};
use super::schema::nearest_of;
use super::source::Source;
use super::{Config, Overrides};
use crate::model::{AnalysisMode, ParameterSpace};
use crate::{ConfigProblem, Error, Result};

/// What there is to say about a file.
#[derive(Debug)]
pub struct Findings {
    /// All that keeps a fit from running and all unknown keys, in the order of the file.
    pub problems: Vec<ConfigProblem>,
    /// Number of keys that are read.
    pub n_used: usize,
    /// The values in force; where problems were found, as if the values to blame weren't there. `None` where a problem
    /// concerns the file as a whole.
    pub config: Option<Config>,
}

/// Reads a file to its end and collects its problems.
///
/// # Errors
/// [`Error::Config`] where there is no file, no text or no YAML in it.
pub fn examine(path: &Path) -> Result<Findings> {
    examine_source(Source::read(path)?)
}

pub(super) fn examine_source(source: Source) -> Result<Findings> {
    let document = tree(source, &Overrides::default())?;
    let mode_word = document.get(MODE).and_then(Node::as_text).map(str::to_string);
    let mut search = Search { document, problems: Vec::new(), mode_word };
    let Some(keys) = search.read(check)? else {
        return Ok(Findings { problems: search.problems, n_used: 0, config: None });
    };
    if search.document.get(MODE).is_none() {
        if let Err(Error::Config(problem)) = mode(&search.document) {
            search.problems.push(problem);
        }
        search.guess_mode();
    }
    let mut config = search.read(|document| typed(document))?;
    search.add_unknown();
    let Search { mut problems, .. } = search;
    problems.sort_by_key(|p| p.place);
    let Keys { n_used, idle } = keys;
    if let Some(config) = &mut config {
        config.ignored_keys = idle;
    }
    Ok(Findings { problems, n_used, config })
}

const MODE: &str = "analysis_mode";

/// Most problems that are listed; nobody reads more, and every one means to read the document again.
const MOST_PROBLEMS: usize = 500;

struct Search {
    document: Document,
    problems: Vec<ConfigProblem>,
    /// The mode as written, right or wrong.
    mode_word: Option<String>,
}

impl Search {
    /// Reads again and again, each time without the value that was wrong the last time; `None` where there is no such
    /// value.
    fn read<T>(&mut self, read: impl Fn(&mut Document) -> Result<T>) -> Result<Option<T>> {
        loop {
            match read(&mut self.document) {
                Ok(read) => return Ok(Some(read)),
                Err(Error::Config(problem)) => {
                    let place = problem.place;
                    let mode = self.document.get(MODE).map(|node| self.document.source.blame(node.place, "").place);
                    if problem.later && mode == Some(place) {
                        // the rest of the file is about a model that isn't there
                        self.problems.push(problem);
                        return Ok(None);
                    }
                    // what goes on at the same place, and what is missing because it was wrong, follows from the first
                    let follows = match place {
                        Some(_) => self.problems.iter().any(|p| p.place == place),
                        None => self.document.root.get("simulation").is_some_and(has_reported),
                    };
                    if !follows {
                        self.problems.push(problem);
                    }
                    if self.problems.len() == MOST_PROBLEMS {
                        let message = format!("over {MOST_PROBLEMS} problems; the first of them are listed");
                        if let Error::Config(problem) = self.document.source.whole(message) {
                            self.problems.push(problem);
                        }
                        return Ok(None);
                    }
                    if !self.set_aside(place) {
                        return Ok(None);
                    }
                }
                Err(other) => return Err(other),
            }
        }
    }

    /// Marks the value at a place; where none is to blame, the section that lacks something. `false` where nothing is
    /// left to mark.
    fn set_aside(&mut self, place: Option<(usize, usize)>) -> bool {
        let Value::Section(entries) = &mut self.document.root.value else { return false };
        let mut marked = false;
        if let Some((line, column)) = place {
            for entry in entries.iter_mut() {
                marked |= mark_entry(entry, Place::File(line as u32, column as u32)) == Mark::Done;
            }
        }
        if !marked && let Some(entry) = entries.iter_mut().find(|e| e.key == "simulation" && !e.node.is_null()) {
            entry.node.value = Value::Reported;
            marked = true;
        }
        if marked && self.document.reported(MODE) {
            self.guess_mode();
        }
        marked
    }

    /// Goes on with the mode that was most likely meant, so that the rest can be judged.
    fn guess_mode(&mut self) {
        let document = &self.document;
        let names = AnalysisMode::ALL.map(AnalysisMode::name);
        let misspelt = document.unknown.iter().find(|u| u.meant == Some(MODE));
        let typed = misspelt.and_then(|u| document.root.get(&u.path)).and_then(Node::as_text);
        let shear = |node: &Node| {
            node.as_text().and_then(ParameterSpace::index_of).is_some_and(|i| i >= AnalysisMode::Static.n_physical())
        };
        let listed = document.get("initial_parameters.parameter_names").and_then(Node::as_list);
        let has_gap = document.get("analyzer_parameters.geometry.stator_rotor_gap").is_some();
        let flows = listed.map_or(has_gap, |names| names.iter().any(shear));
        let fallback = if flows { AnalysisMode::LaminarFlow } else { AnalysisMode::Static };
        let word = self.mode_word.as_deref().or(typed).and_then(|word| nearest_of(word, &names));
        let value = Value::Text(word.unwrap_or(fallback.name()).to_string());
        let place = Place::Option(MODE);
        if let Value::Section(entries) = &mut self.document.root.value {
            entries.retain(|e| e.key != MODE);
            entries.push(Entry { key: MODE.to_string(), place, node: Node { value, place } });
        }
    }

    /// Adds the unknown keys, but for one that has been named as the cause of a missing one.
    fn add_unknown(&mut self) {
        for unknown in &self.document.unknown {
            if let Error::Config(problem) = self.document.error(unknown.place, unknown.message())
                && !self.problems.iter().any(|p| p.place.is_some() && p.place == problem.place)
            {
                self.problems.push(problem);
            }
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// Nothing is at the place.
    Nowhere,
    /// What is at the place is marked now.
    Done,
    /// What is at the place was marked before, and its marking didn't help.
    Before,
}

/// Marks the innermost value at a place; one that was marked before takes what is around it along.
fn mark(node: &mut Node, place: Place) -> Mark {
    let mut inner = Mark::Nowhere;
    let mut take = |mark: Mark| match (inner, mark) {
        (Mark::Done, _) | (_, Mark::Nowhere) => {}
        (_, mark) => inner = mark,
    };
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| take(mark(item, place))),
        Value::Section(entries) => entries.iter_mut().for_each(|entry| take(mark_entry(entry, place))),
        _ => {}
    }
    match inner {
        Mark::Done => Mark::Done,
        Mark::Nowhere if node.place != place => Mark::Nowhere,
        _ if node.is_reported() => Mark::Before,
        _ => {
            node.value = Value::Reported;
            Mark::Done
        }
    }
}

/// The same for a value with its key.
fn mark_entry(entry: &mut Entry, place: Place) -> Mark {
    match mark(&mut entry.node, place) {
        Mark::Nowhere if entry.place == place && entry.node.is_reported() => Mark::Before,
        Mark::Nowhere if entry.place == place => {
            entry.node.value = Value::Reported;
            Mark::Done
        }
        mark => mark,
    }
}

fn has_reported(node: &Node) -> bool {
    match &node.value {
        Value::Reported => true,
        Value::List(items) => items.iter().any(has_reported),
        Value::Section(entries) => entries.iter().any(|e| has_reported(&e.node)),
        _ => false,
    }
}
