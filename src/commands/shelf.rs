//! The checkpoint folder of a run: what in it is this run's, and what is somebody else's.

use std::fs;
use std::path::{Path, PathBuf};

use crate::checkpoint::{Entry, FolderLock, Purpose, Saver, Store, Stored, differences, list, load};
use crate::config::StreamingConfig;
use crate::{Error, Result};

/// How the names of folders begin into which checkpoints of other runs are moved.
const SET_ASIDE: &str = "set-aside-";
/// The rest of their names: a time that sorts as text.
const TIME: &str = "%Y-%m-%dT%H-%M-%SZ";

/// What a run goes on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum From<'a> {
    /// The newest checkpoint that verifies.
    Newest,
    /// This file.
    File(&'a Path),
    /// Nothing.
    Nothing,
}

/// The checkpoint folder, this run's alone; all checkpoints in it are this run's.
#[derive(Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    pub saver: Saver,
    // released last
    _lock: FolderLock,
}

impl Shelf {
    /// Takes the folder for the run of identity `now`, and gives the checkpoint to go on from, if there is one. Checkpoints that are
    /// passed by are moved into a folder of their own: they may be all that is left of another run.
    ///
    /// # Errors
    /// A folder that another job works in, or that can't be written; a checkpoint that can't be read or is of another run.
    pub fn open(
        settings: &StreamingConfig,
        from: From,
        now: &serde_json::Value,
    ) -> Result<(Self, Option<(PathBuf, Stored)>)> {
        let lock = FolderLock::take(&settings.directory, Purpose::Checkpoints)?;
        let store = Store::open(&settings.directory, settings.keep)?;
        let found = match from {
            From::Nothing => None,
            From::File(path) => Some((path.to_path_buf(), read(path)?)),
            From::Newest => {
                let newest = store.newest_valid()?;
                for (path, problem) in newest.passed_over {
                    log::warn!("{}: {problem}; it is not used", path.display());
                }
                newest.found
            }
        };
        if let Some((path, stored)) = &found {
            let found = differences(&stored.checkpoint.identity, now);
            if !found.is_empty() {
                return Err(of_another_run(path, &found));
            }
        }
        let is_own = |entry: &Entry| match (&found, from) {
            (Some((path, _)), From::File(_)) => is_same(path, &entry.path),
            // what was saved before the newest
            (Some((path, _)), _) => {
                entry.path <= *path
                    && load(&entry.path).is_ok_and(|old| differences(&old.checkpoint.identity, now).is_empty())
            }
            (None, _) => false,
        };
        set_aside(&settings.directory, is_own)?;
        Ok((Self { folder: settings.directory.clone(), saver: Saver::new(store)?, _lock: lock }, found))
    }

    /// Removes the checkpoints of this run, whose results are written. Says whether there were any.
    pub fn clear(self) -> bool {
        let Self { folder, saver, _lock: lock } = self;
        // what waits is saved first, so that nothing appears afterwards
        drop(saver);
        let entries = list(&folder).unwrap_or_default();
        for entry in &entries {
            if let Err(e) = fs::remove_file(&entry.path) {
                log::warn!("a checkpoint of this run stays: {}: {e}", entry.path.display());
            }
        }
        drop(lock);
        !entries.is_empty()
    }
}

/// A checkpoint by its path.
pub(super) fn read(path: &Path) -> Result<Stored> {
    load(path).map_err(|problem| problem.into_error(path))
}

/// Whether two paths lead to one file.
fn is_same(a: &Path, b: &Path) -> bool {
    fs::canonicalize(a).ok().is_some_and(|a| fs::canonicalize(b).is_ok_and(|b| a == b))
}

/// Moves checkpoints that aren't this run's into a folder of their own, where no run looks for its own.
fn set_aside(folder: &Path, is_own: impl Fn(&Entry) -> bool) -> Result<()> {
    let others: Vec<Entry> = list(folder)?.into_iter().filter(|entry| !is_own(entry)).collect();
    let Some(newest) = others.last() else { return Ok(()) };
    let failed = |e: std::io::Error| Error::io("set aside the checkpoints in", folder, e);
    let time = jiff::Timestamp::now().strftime(TIME).to_string();
    let names = std::iter::once(time.clone()).chain((2..).map(|k| format!("{time}-{k:02}")));
    let aside = names.map(|name| folder.join(format!("{SET_ASIDE}{name}"))).find(|path| !path.exists());
    let aside = aside.ok_or_else(|| failed(std::io::Error::other("no name is left")))?;
    fs::create_dir(&aside).map_err(failed)?;
    for entry in &others {
        fs::rename(&entry.path, aside.join(entry.path.file_name().unwrap_or_default())).map_err(failed)?;
    }
    let newest = aside.join(newest.path.file_name().unwrap_or_default());
    log::warn!(
        "{}: {} checkpoint(s) that this run doesn't go on from are moved to {}; `--resume {}` goes on from the newest of them",
        folder.display(),
        others.len(),
        aside.display(),
        newest.display()
    );
    Ok(())
}

/// Most differences that are shown.
const MOST_SHOWN: usize = 4;

/// Where the configuration says in which folder checkpoints are.
const FOLDER: &str = "optimization.streaming.checkpoint_dir";

/// A checkpoint that is not to be gone on from.
pub(super) fn of_another_run(path: &Path, differences: &[String]) -> Error {
    let mut shown: Vec<&str> = differences.iter().take(MOST_SHOWN).map(String::as_str).collect();
    if differences.len() > MOST_SHOWN {
        shown.push("…");
    }
    Error::Usage(format!(
        "{}: is of another run: {}; `--resume never` begins anew and moves it aside, `--output-dir` or `{FOLDER}` names another \
         folder",
        path.display(),
        shown.join("; ")
    ))
}
