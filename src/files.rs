//! Writing files whole or not at all, and opening files that others may have put there.
//!
//! Folders may be shared: somebody else who may write there can exchange any name at any moment. So a temporary file is
//! opened once, by a name that nothing had before, and written through that descriptor only.

use std::collections::BTreeSet;
use std::fs::{File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use nix::fcntl::OFlag;

use crate::{Error, Result};

/// How names of temporary files end.
pub const TEMPORARY: &str = ".part";
/// How they begin, unless another prefix is asked for.
const PREFIX: &str = ".homodyne-";

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

/// Writes a file of these bytes, as [`replace`] does.
///
/// # Errors
/// Those of [`replace`].
pub fn write(path: &Path, bytes: impl AsRef<[u8]>) -> Result<()> {
    replace(path, |file| file.write_all(bytes.as_ref()))
}

/// Lets `write` fill a temporary file beside `path`, syncs it and renames it to `path`. What only takes a name gets
/// [`name_of`] the file.
///
/// # Errors
/// [`Error::Io`] naming `path`; nothing is left behind then, and an older file of that name stays.
pub fn replace<E: std::fmt::Display>(
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> Result<()> {
    replace_by(PREFIX, path, write).map(drop)
}

/// [`replace`] by a temporary file whose name begins with `prefix` and ends with [`TEMPORARY`]: where a killed process may
/// leave one behind, it can be told from those of others. Returns the file, open at its end.
///
/// # Errors
/// Those of [`replace`].
pub fn replace_by<E: std::fmt::Display>(
    prefix: &str,
    path: &Path,
    write: impl FnOnce(&mut File) -> std::result::Result<(), E>,
) -> Result<File> {
    let folder = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let failed = |e: io::Error| Error::io("write", path, e);
    let (mut temporary, _incomplete) = {
        let mut incomplete = INCOMPLETE.lock().unwrap_or_else(PoisonError::into_inner);
        let temporary = tempfile::Builder::new()
            .prefix(prefix)
            .suffix(TEMPORARY)
            .permissions(Permissions::from_mode(0o666))
            .tempfile_in(folder)
            .map_err(failed)?;
        incomplete.insert(temporary.path().to_path_buf());
        let guard = Incomplete(temporary.path().to_path_buf());
        (temporary, guard)
    };
    write(temporary.as_file_mut()).map_err(|e| Error::io("write", path, e))?;
    temporary.as_file().sync_all().map_err(failed)?;
    let (ours, there) = (temporary.as_file().metadata(), temporary.path().symlink_metadata());
    if !matches!((&ours, &there), (Ok(ours), Ok(there)) if is_same(ours, there)) {
        let message = "another process has taken its temporary file away; look who else may write into the folder";
        return Err(Error::io("write", path, message));
    }
    let file = temporary.persist(path).map_err(|e| failed(e.error))?;
    File::open(folder).and_then(|f| f.sync_all()).map_err(failed)?;
    Ok(file)
}

/// A new file that begins with these bytes, for what is written bit by bit and of use before it is complete; an older file
/// of that name isn't touched, but replaced.
///
/// # Errors
/// Those of [`replace`].
pub fn begin(path: &Path, bytes: &[u8]) -> Result<File> {
    replace_by(PREFIX, path, |file| file.write_all(bytes))
}

/// A name of an open file for libraries that open files themselves: it leads to this file, whatever has become of the name
/// by which it was opened.
pub fn name_of(file: &File) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Opens a file, or a folder, for reading. Whatever can keep its reader waiting, or changes when it is opened, is refused
/// by its kind, in a sentence that goes on behind the name: FIFOs, sockets, devices.
///
/// # Errors
/// Those of opening; `InvalidInput` for another kind.
pub fn open(path: &Path) -> io::Result<File> {
    // some devices do something when they are opened
    check_kind(&path.metadata()?)?;
    open_with(path, OFlag::O_NONBLOCK)
}

/// The same where a link is refused, too.
///
/// # Errors
/// Those of [`open`].
pub fn open_no_link(path: &Path) -> io::Result<File> {
    check_kind(&path.symlink_metadata()?)?;
    open_with(path, OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW)
}

fn open_with(path: &Path, flags: OFlag) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    // it may have been exchanged meanwhile
    check_kind(&file.metadata()?)?;
    Ok(file)
}

fn check_kind(found: &Metadata) -> io::Result<()> {
    match kind(found) {
        "a file" | "a folder" => Ok(()),
        other => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("is {other}, expected a file"))),
    }
}

/// What it is, in a word.
pub fn kind(found: &Metadata) -> &'static str {
    match found.file_type() {
        kind if kind.is_file() => "a file",
        kind if kind.is_dir() => "a folder",
        kind if kind.is_symlink() => "a link",
        kind if kind.is_fifo() => "a FIFO",
        kind if kind.is_socket() => "a socket",
        _ => "a device",
    }
}

/// Whether both are of one file, by whatever names.
pub fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// The bytes of a file that has at most so many.
///
/// # Errors
/// Those of [`open`] and of reading; `FileTooLarge` beyond.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    read_from(&open(path)?, most)
}

/// The same of an open file, from where it stands.
///
/// # Errors
/// As [`read`].
pub fn read_from(file: &File, most: u64) -> io::Result<Vec<u8>> {
    // a vector that grows would take up to three times the file
    let mut bytes = Vec::with_capacity(file.metadata()?.len().min(most) as usize + 1);
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > most {
        let message = format!("is larger than {most} bytes, which is more than such a file can need");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_link_in_place_of_a_file_is_replaced_and_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join("out"), folder.path().join("secret"));
        std::fs::write(&secret, "secret").unwrap();
        symlink(&secret, &path).unwrap();
        write(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert!(path.symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
    }

    #[test]
    fn a_temporary_file_that_was_exchanged_is_told_of_and_what_came_instead_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let (path, secret) = (folder.path().join("out"), folder.path().join("secret"));
        std::fs::write(&secret, "secret").unwrap();
        let error = replace(&path, |file| {
            let entries = std::fs::read_dir(folder.path())?.map(|entry| entry.unwrap().path());
            let part = entries.into_iter().find(|path| path.to_string_lossy().ends_with(TEMPORARY)).unwrap();
            std::fs::remove_file(&part)?;
            symlink(&secret, &part)?;
            std::fs::write(name_of(file), "by name")?;
            file.write_all(b"by descriptor")
        });
        assert!(error.unwrap_err().to_string().contains("who else may write"));
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), "secret");
        assert!(!path.exists());
    }

    #[test]
    fn only_files_that_end_are_opened_and_only_so_much_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(at("socket")).unwrap();
        std::fs::write(at("file"), "12345").unwrap();
        symlink(at("file"), at("link")).unwrap();
        for (path, what) in [(at("fifo"), "a FIFO"), (at("socket"), "a socket"), ("/dev/zero".into(), "a device")] {
            let error = open(&path).unwrap_err();
            assert!(error.to_string().contains(what), "{error}");
        }
        assert!(open(&at("link")).is_ok());
        assert!(open_no_link(&at("link")).unwrap_err().to_string().contains("a link"));
        assert_eq!(read(&at("file"), 5).unwrap(), b"12345");
        assert_eq!(read(&at("file"), 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }
}
