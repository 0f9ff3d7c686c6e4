//! A folder of checkpoints, `checkpoint-000001.h5` and so on.
//!
//! A file appears whole or not at all: it is written under a temporary name, synced and renamed, and the folder is synced
//! (`files`). Numbers only grow, so of the checkpoints that verify the one with the highest is the newest. A name proves
//! nothing: one whose file doesn't verify, or was saved under another number, isn't counted from, and never hides a
//! checkpoint.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use super::format::{self, Checkpoint, Problem, Stored};
use crate::files::TEMPORARY;
use crate::{Error, Result, files};

const PREFIX: &str = "checkpoint-";
const SUFFIX: &str = ".h5";
/// How names of temporary files begin.
const TEMPORARY_PREFIX: &str = ".checkpoint-";
/// Fewest digits of the number in a name.
const DIGITS: usize = 6;

/// A folder that checkpoints are saved in.
#[derive(Debug)]
pub struct Store {
    folder: PathBuf,
    keep: usize,
}

/// A file in the folder, by its name; whether it is valid isn't known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its number, from 1; the higher the newer.
    pub sequence: u64,
    /// The file.
    pub path: PathBuf,
}

/// A finished save.
#[derive(Debug, Clone, PartialEq)]
pub struct Saved {
    /// The file.
    pub path: PathBuf,
    /// Its size, bytes.
    pub bytes: u64,
    /// Time from beginning to end, s.
    pub seconds: f64,
}

/// The newest checkpoint that can be used.
#[derive(Debug)]
pub struct Newest {
    /// The checkpoint and its file; `None` where there is none.
    pub found: Option<(PathBuf, Stored)>,
    /// Newer files that can't be used, newest first, and why.
    pub passed_over: Vec<(PathBuf, Problem)>,
}

impl Store {
    /// Opens a folder and makes it if need be; of checkpoints in it the last `keep` will stay, at least one.
    ///
    /// Temporary files that a killed run left behind are removed: the caller holds the folder's lock
    /// ([`super::FolderLock`]), or this could be another run's.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn open(folder: &Path, keep: usize) -> Result<Self> {
        let store = Self { folder: folder.to_path_buf(), keep: keep.max(1) };
        store.make_folder()?;
        for entry in fs::read_dir(folder).map_err(|e| Error::io("read", folder, e))?.flatten() {
            let name = entry.file_name();
            let stale = name.to_str().is_some_and(|n| n.starts_with(TEMPORARY_PREFIX) && n.ends_with(TEMPORARY));
            if stale && let Err(e) = fs::remove_file(entry.path()) {
                log::warn!("a temporary file of an earlier run stays: {}: {e}", entry.path().display());
            }
        }
        Ok(store)
    }

    /// Where checkpoints are saved.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Saves a checkpoint under the next number, then removes all but the last few.
    ///
    /// When this returns, the file is on the disk. A folder that is gone is made again. Old checkpoints are removed after
    /// the new one is safe, so the disk must have room for one more than are kept. One that can't be removed is a warning.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file; what was there before stays, and no temporary file is left.
    pub fn save(&self, checkpoint: &Checkpoint) -> Result<Saved> {
        let start = Instant::now();
        self.make_folder()?;
        let mut entries = list(&self.folder)?;
        let number = next_number(&entries)?;
        let path = self.folder.join(format!("{PREFIX}{number:0DIGITS$}{SUFFIX}"));
        let bytes = format::to_bytes(checkpoint, number).map_err(|e| Error::io("write", &path, e))?;
        files::replace_by(TEMPORARY_PREFIX, &path, |file| file.write_all(&bytes))?;
        entries.retain(|entry| entry.sequence < number);
        entries.truncate((entries.len() + 1).saturating_sub(self.keep));
        for old in entries {
            match fs::remove_file(&old.path) {
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    log::warn!("an old checkpoint stays: {}: {e}", old.path.display());
                }
                _ => {}
            }
        }
        Ok(Saved { path, bytes: bytes.len() as u64, seconds: start.elapsed().as_secs_f64() })
    }

    /// Looks for the newest checkpoint that verifies.
    ///
    /// # Errors
    /// [`Error::Io`] where the folder can't be read. [`Error::Data`] where a newer version of the program has saved the
    /// newest whole one: to go on from an older one would throw away what that run did.
    pub fn newest_valid(&self) -> Result<Newest> {
        let mut newest = Newest { found: None, passed_over: Vec::new() };
        for entry in list(&self.folder)?.into_iter().rev() {
            match entry.load() {
                Ok(stored) => {
                    newest.found = Some((entry.path, stored));
                    break;
                }
                Err(newer @ Problem::Newer { .. }) => return Err(newer.into_error(&entry.path)),
                Err(problem) => newest.passed_over.push((entry.path, problem)),
            }
        }
        Ok(newest)
    }

    fn make_folder(&self) -> Result<()> {
        fs::create_dir_all(&self.folder).map_err(|e| Error::io("create the checkpoint folder", &self.folder, e))
    }
}

impl Entry {
    /// Reads it, and verifies that it has the number that its name says.
    ///
    /// # Errors
    /// A [`Problem`] where it can't be used.
    pub fn load(&self) -> std::result::Result<Stored, Problem> {
        let stored = format::load(&self.path)?;
        if stored.number != self.sequence {
            return Err(Problem::Renamed { number: stored.number });
        }
        Ok(stored)
    }
}

/// The number after that of the newest that verifies, and which no file has.
fn next_number(entries: &[Entry]) -> Result<u64> {
    // a newer version may have counted in another way, but its name must not come again
    let counts = |entry: &&Entry| matches!(entry.load(), Ok(_) | Err(Problem::Newer { .. }));
    let newest = entries.iter().rev().find(counts);
    let mut number = newest.map_or(0, |newest| newest.sequence);
    loop {
        number = number.checked_add(1).ok_or_else(|| {
            let path = newest.map_or(Path::new(PREFIX), |newest| &newest.path);
            Error::io("count on from", path, "there is no higher number; remove this file")
        })?;
        if entries.iter().all(|entry| entry.sequence != number) {
            return Ok(number);
        }
    }
}

/// The checkpoints in a folder, oldest first.
///
/// # Errors
/// [`Error::Io`] where the folder can't be read.
pub fn list(folder: &Path) -> Result<Vec<Entry>> {
    let failed = |e| Error::io("read", folder, e);
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if let Some(sequence) = entry.file_name().to_str().and_then(sequence) {
            entries.push(Entry { sequence, path: entry.path() });
        }
    }
    entries.sort_by_key(|entry| entry.sequence);
    Ok(entries)
}

/// The number in the name of a checkpoint.
fn sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?;
    let sensible = digits.len() >= DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    // one number, one name
    let number = if sensible { digits.parse().ok()? } else { return None };
    (format!("{number:0DIGITS$}") == digits).then_some(number)
}

#[cfg(test)]
mod tests;
