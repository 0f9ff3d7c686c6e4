//! `checkpoint`: what is in a folder of checkpoints (`list`), and whether it is whole (`verify`). Nothing is changed.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::checkpoint::{self, Problem, Stored};
use crate::output::Table;
use crate::text::printable;
use crate::{Error, Result, files};

/// A file and what is in it.
type Read = (PathBuf, std::result::Result<Stored, Problem>);

/// Prints one line for each checkpoint in `folder`, oldest first, and writes the same, with what else they hold for people,
/// to a JSON file where one is named. Damaged ones are shown as such and are no error.
///
/// # Errors
/// [`Error::Data`] where there is no such folder, [`Error::Io`] where it can't be read or writing fails.
pub fn list(folder: &Path, json: Option<&Path>, out: &mut impl Write) -> Result<()> {
    let read = read(folder)?;
    if let Some(file) = json {
        let all: Vec<Value> = read.iter().map(|(path, outcome)| for_machines(path, outcome)).collect();
        let text = format!("{:#}\n", json!({ "folder": folder.to_string_lossy(), "checkpoints": all }));
        files::write(file, &text)?;
    }
    super::heard(print(folder, &read, out))
}

/// Checks a checkpoint, or each in a folder, and prints a line for each that is whole.
///
/// # Errors
/// [`Error::Data`] where one is damaged or of a newer version, or where there is none; [`Error::Io`] where it can't be read.
pub fn verify(path: &Path, out: &mut impl Write) -> Result<()> {
    if !path.is_dir() {
        must_exist(path, "checkpoint")?;
        let stored = checkpoint::load(path).map_err(|problem| problem.into_error(path))?;
        return super::heard(say_valid(path, &stored, out));
    }
    let read = read(path)?;
    if read.is_empty() {
        return Err(Error::data(path, "there are no checkpoints in this folder"));
    }
    let mut bad = Vec::new();
    for (path, outcome) in read {
        match outcome {
            Ok(stored) => super::heard(say_valid(&path, &stored, out))?,
            Err(problem) => bad.push(format!("{} {problem}", name(&path))),
        }
    }
    if bad.is_empty() { Ok(()) } else { Err(Error::data(path, bad.join("; "))) }
}

fn read(folder: &Path) -> Result<Vec<Read>> {
    must_exist(folder, "folder")?;
    Ok(checkpoint::list(folder)?.into_iter().map(|entry| (entry.path.clone(), entry.load())).collect())
}

fn must_exist(path: &Path, what: &str) -> Result<()> {
    if path.exists() { Ok(()) } else { Err(Error::data(path, format!("no such {what}"))) }
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn say_valid(path: &Path, stored: &Stored, out: &mut impl Write) -> std::io::Result<()> {
    let (size, created) = (super::byte_text(stored.bytes), &stored.created);
    let line = format!("{}: valid, {size}, saved {created} by version {}", path.display(), stored.program_version);
    writeln!(out, "{}", printable(&line))
}

fn print(folder: &Path, read: &[Read], out: &mut impl Write) -> std::io::Result<()> {
    if read.is_empty() {
        return writeln!(out, "no checkpoints in {}", folder.display());
    }
    let header =
        ["checkpoint", "saved (UTC)", "size", "elapsed", "level", "iteration", "chi²", "passes", "strategy", "ranks"];
    let mut table = Table::new(&header, &[0, 1, 8]);
    let mut problems = Vec::new();
    for (path, outcome) in read {
        match outcome {
            Ok(stored) => table.row(cells(path, stored)),
            Err(problem) => problems.push(format!("{} {problem}", name(path))),
        }
    }
    if problems.len() < read.len() {
        table.print(out)?;
    }
    problems.iter().try_for_each(|problem| writeln!(out, "  {problem}"))
}

/// The row of a valid checkpoint; what it doesn't say is a dash.
fn cells(path: &Path, stored: &Stored) -> [String; 10] {
    let progress = &stored.checkpoint.progress;
    let cell = |key: &str| match progress.get(key) {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    let number = |key: &str, text: fn(f64) -> String| {
        progress.get(key).and_then(Value::as_f64).map_or_else(|| "-".to_owned(), text)
    };
    // to the second
    let saved = stored.created.split(['.', 'Z']).next().unwrap_or_default().replace('T', " ");
    [
        name(path),
        saved,
        super::byte_text(stored.bytes),
        number("elapsed_seconds", |seconds| format!("{seconds:.0} s")),
        cell("level"),
        cell("iteration"),
        number("chi_squared", |chi2| format!("{chi2:.6e}")),
        cell("passes"),
        cell("strategy"),
        cell("ranks"),
    ]
    .map(|text| printable(&text))
}

fn for_machines(path: &Path, outcome: &std::result::Result<Stored, Problem>) -> Value {
    let file = path.to_string_lossy();
    match outcome {
        Ok(stored) => json!({
            "file": file,
            "valid": true,
            "bytes": stored.bytes,
            "created": stored.created,
            "program_version": stored.program_version,
            "kind": stored.checkpoint.kind,
            "identity": stored.checkpoint.identity,
            "progress": stored.checkpoint.progress,
        }),
        Err(problem) => json!({ "file": file, "valid": false, "problem": problem.to_string() }),
    }
}
