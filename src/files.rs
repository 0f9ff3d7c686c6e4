//! Writing files whole or not at all, and knowing one again.

use std::fs::{File, Permissions};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How names of temporary files end.
pub const TEMPORARY: &str = ".part";
/// Blocks of a file that are hashed, spread evenly from its beginning to its end.
const BLOCKS: u64 = 16;
/// Bytes in one.
const BLOCK: u64 = 1 << 16;

/// By what a file is known again, on another machine or later, whatever its name and time of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileIdentity {
    /// Its length in bytes.
    pub size: u64,
    /// BLAKE3 of a megabyte of it, or all of a smaller one, in hexadecimal.
    pub sample_hash: String,
}

impl FileIdentity {
    /// Reads the sample.
    ///
    /// # Errors
    /// The system's.
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let mut file = File::open(path)?;
        let (size, mut hasher, mut block) = (file.metadata()?.len(), blake3::Hasher::new(), Vec::new());
        for k in 0..BLOCKS {
            file.seek(SeekFrom::Start(size.saturating_sub(BLOCK) * k / (BLOCKS - 1)))?;
            block.clear();
            (&mut file).take(BLOCK).read_to_end(&mut block)?;
            hasher.update(&block);
        }
        Ok(Self { size, sample_hash: hasher.finalize().to_hex().to_string() })
    }
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
