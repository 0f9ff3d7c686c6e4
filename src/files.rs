//! Writing files whole or not at all.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::{Error, Result};

/// How names of temporary files end.
pub const TEMPORARY: &str = ".part";

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
    let temporary = tempfile::Builder::new()
        .prefix(prefix)
        .suffix(TEMPORARY)
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(|e| Error::io("write", path, e))?;
    write(temporary.path()).map_err(|e| Error::io("write", path, e))?;
    temporary.as_file().sync_all().map_err(|e| Error::io("write", path, e))?;
    temporary.persist(path).map_err(|e| Error::io("write", path, e.error))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| Error::io("write", path, e))
}
