//! Results of earlier runs: `previous/<time>/`, by the time (UTC) when they were finished.
//!
//! Before new results take their place, older ones are under `previous/` already: the same files by a second name (a hard link;
//! a copy where the file system has none). So at no moment is a whole result nowhere.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::files::TEMPORARY;

/// Time in names: sorts as text, and has no colon, which some file systems don't take.
const TIME: &str = "%Y-%m-%dT%H-%M-%SZ";
/// Its length.
const TIME_LENGTH: usize = 20;
/// Results of the same second that can be told apart.
const MOST_ALIKE: usize = 99;

/// Gives everything in a folder a second name in a new one.
pub(super) fn link_tree(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, kind, path) = (entry.file_name(), entry.file_type()?, entry.path());
        let to = to.join(&name);
        if kind.is_dir() {
            link_tree(&path, &to)?;
        } else if !is_litter(&name.to_string_lossy()) && fs::hard_link(&path, &to).is_err() {
            if kind.is_symlink() {
                std::os::unix::fs::symlink(fs::read_link(&path)?, &to)?;
            } else if kind.is_file() {
                fs::copy(&path, &to)?;
                File::open(&to)?.sync_all()?;
            }
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    File::open(to)?.sync_all()
}

/// A temporary file of a run that was killed.
fn is_litter(name: &str) -> bool {
    name.starts_with(".homodyne-") && name.ends_with(TEMPORARY)
}

/// Whether everything in a folder has a second name in another.
fn is_linked(from: &Path, to: &Path) -> bool {
    let Ok(entries) = fs::read_dir(from) else { return false };
    entries.flatten().all(|entry| {
        let to = to.join(entry.file_name());
        match (entry.metadata(), fs::symlink_metadata(&to)) {
            (Ok(a), Ok(b)) if a.is_dir() && b.is_dir() => is_linked(&entry.path(), &to),
            (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
            _ => is_litter(&entry.file_name().to_string_lossy()),
        }
    })
}

/// Where results that were finished when their folder was last changed go. The second part says whether they are there already:
/// a run that was killed has done it.
pub(super) fn place(previous: &Path, results: &[PathBuf]) -> io::Result<(PathBuf, bool)> {
    let Some(first) = results.first() else { return Err(io::Error::other("no results")) };
    let modified = fs::metadata(first)?.modified()?;
    let time = jiff::Timestamp::try_from(modified).map_err(io::Error::other)?.strftime(TIME).to_string();
    let names = std::iter::once(time.clone()).chain((2..=MOST_ALIKE).map(|k| format!("{time}-{k:02}")));
    let paths: Vec<PathBuf> = names.map(|name| previous.join(name)).collect();
    let is_it =
        |path: &&PathBuf| results.iter().all(|of| of.file_name().is_some_and(|name| is_linked(of, &path.join(name))));
    if let Some(there) = paths.iter().find(is_it) {
        return Ok((there.clone(), true));
    }
    // behind all others of that second, so that names sort by age
    let next = paths.iter().rposition(|path| path.exists()).map_or(0, |last| last + 1);
    let path = paths.get(next).cloned();
    let path =
        path.ok_or_else(|| io::Error::other(format!("{MOST_ALIKE} results of {time} are there; remove some")))?;
    Ok((path, false))
}

/// Whether a name is one that [`place`] gives.
fn is_time(name: &str) -> bool {
    let Some((time, rest)) = name.split_at_checked(TIME_LENGTH) else { return false };
    let is_count =
        |rest: &str| rest.len() == 3 && rest.starts_with('-') && rest[1..].bytes().all(|b| b.is_ascii_digit());
    jiff::civil::DateTime::strptime(TIME, time).is_ok() && (rest.is_empty() || is_count(rest))
}

/// What is too much when the newest `keep` stay, oldest first; never `newest`, unless none is to stay. Folders of other names
/// are no business of ours.
pub(super) fn too_many(previous: &Path, keep: usize, newest: Option<&Path>) -> Vec<PathBuf> {
    let entries = fs::read_dir(previous).into_iter().flatten().flatten();
    let is_ours = |entry: &fs::DirEntry| {
        entry.file_type().is_ok_and(|kind| kind.is_dir()) && is_time(&entry.file_name().to_string_lossy())
    };
    let mut found: Vec<PathBuf> = entries.filter(is_ours).map(|entry| entry.path()).collect();
    // what was just put there counts as the newest, whatever its time
    found.sort_by_key(|path| (newest == Some(path), path.clone()));
    found.truncate(found.len().saturating_sub(keep));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_from_others() {
        let time = jiff::Timestamp::UNIX_EPOCH.strftime(TIME).to_string();
        assert_eq!(time, "1970-01-01T00-00-00Z");
        assert!(is_time(&time) && is_time(&format!("{time}-02")));
        for other in ["nlsq", "1970-01-01", "1970-13-01T00-00-00Z", "1970-01-01T00-00-00Z-old", "äöü-äöü-äöü-äöü-äöü"]
        {
            assert!(!is_time(other), "{other}");
        }
    }

    #[test]
    fn the_oldest_are_too_many_and_the_newest_is_what_was_just_put_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for day in 1..=4 {
            fs::create_dir(path(&format!("2026-01-0{day}T00-00-00Z"))).unwrap();
        }
        fs::create_dir(path("nlsq")).unwrap();
        let found = |keep, newest: &str| too_many(folder.path(), keep, Some(&path(newest)));
        assert_eq!(found(3, "2026-01-04T00-00-00Z"), [path("2026-01-01T00-00-00Z")]);
        assert_eq!(found(3, "2026-01-01T00-00-00Z"), [path("2026-01-02T00-00-00Z")]);
        assert_eq!(found(0, "2026-01-04T00-00-00Z").len(), 4);
        assert!(found(4, "2026-01-04T00-00-00Z").is_empty());
    }
}
