//! Writing files whole or not at all.

use std::collections::BTreeSet;
use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

/// How names of temporary files end.
pub const TEMPORARY: &str = ".part";

/// Temporary files that are being filled.
static INCOMPLETE: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A temporary file in [`INCOMPLETE`], as long as it is being filled.
struct Incomplete(PathBuf);

impl Drop for Incomplete {
    fn drop(&mut self) {
        INCOMPLETE.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.0);
    }
}

/// Removes all temporary files that are being filled, for a process that is about to end: no other is begun any more.
pub fn remove_incomplete() {
    let incomplete = INCOMPLETE.lock().unwrap_or_else(PoisonError::into_inner);
    for file in &*incomplete {
        let _ = std::fs::remove_file(file);
    }
    std::mem::forget(incomplete);
}

/// Lets `write` fill a temporary file beside `path`, syncs it and renames it to `path`.
///
/// # Errors
/// [`Error::Io`] naming `path`; nothing is left behind then, and an older file of that name stays.
pub fn replace<E: std::fmt::Display>(
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> Result<()> {
    replace_by(".homodyne-", path, write)
}

/// [`replace`] by a temporary file whose name begins with `prefix` and ends with [`TEMPORARY`]: where a killed process may
/// leave one behind, it can be told from those of others.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_by<E: std::fmt::Display>(
    prefix: &str,
    path: &Path,
    write: impl FnOnce(&Path) -> std::result::Result<(), E>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let (temporary, _incomplete) = {
        let mut incomplete = INCOMPLETE.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(TEMPORARY)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(|e| Error::io("write", path, e))?;
        incomplete.insert(temporary.path().to_path_buf());
        let guard = Incomplete(temporary.path().to_path_buf());
        (temporary, guard)
    };
    write(temporary.path()).map_err(|e| Error::io("write", path, e))?;
    temporary.as_file().sync_all().map_err(|e| Error::io("write", path, e))?;
    temporary.persist(path).map_err(|e| Error::io("write", path, e.error))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", path, e))
}
