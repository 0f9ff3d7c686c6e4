//! Results in the making, and how they are put in their place.
//!
//! What a kill leaves, at whatever system call it comes: a whole `nlsq`, the earlier or the new one; and once the new one is
//! there, the earlier one whole under `previous/`. Where the file system can't exchange two folders in one step, there is no
//! `nlsq` between two renamings; the next run in the folder makes the second one ([`Folder::tidy`]).

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use tempfile::TempDir;

use super::{DRAWS, FIT, Folder, NEW, PREVIOUS, READY, previous};
use crate::{Error, Result, files};

/// Names within a hidden folder: earlier results under a second name,
const OLDER: &str = "older";
/// earlier draws that have been taken out of their place,
const OLD_DRAWS: &str = "old-nuts";
/// earlier results,
const OLD_FIT: &str = "old-nlsq";
/// and results that are too many.
const TOO_MANY: &str = "too-many";

/// Results that are made ready in a hidden folder, which goes away with this.
#[derive(Debug)]
pub struct Stage<'f> {
    folder: &'f Folder,
    hidden: TempDir,
    /// Where earlier results have been kept.
    kept: Option<PathBuf>,
}

impl<'f> Stage<'f> {
    pub(super) fn new(folder: &'f Folder) -> Result<Self> {
        let failed = |e| Error::io("make results ready in", &folder.root, e);
        let hidden = tempfile::Builder::new().prefix(NEW).tempdir_in(&folder.root).map_err(failed)?;
        fs::create_dir(hidden.path().join(FIT)).map_err(failed)?;
        Ok(Self { folder, hidden, kept: None })
    }

    /// Where results of the fit are made.
    pub fn results(&self) -> PathBuf {
        self.hidden.path().join(FIT)
    }

    /// Where draws from the posterior are made.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn draws(&self) -> Result<PathBuf> {
        let draws = self.hidden.path().join(DRAWS);
        fs::create_dir_all(&draws).map_err(|e| Error::io("create", &draws, e))?;
        Ok(draws)
    }

    /// Where a file that was made here is in the end.
    pub fn placed(&self, path: &Path) -> PathBuf {
        path.strip_prefix(self.hidden.path()).map_or_else(|_| path.to_path_buf(), |rest| self.folder.root.join(rest))
    }

    /// An error in words of the places that users know.
    pub fn explained(&self, error: Error) -> Error {
        match error {
            Error::Io { action, path, message } => Error::Io { action, path: self.placed(&path), message },
            other => other,
        }
    }

    /// Name of the closing report's file.
    pub const REPORT: &'static str = "report.txt";

    /// Writes a text.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn write_text(&self, name: &str, text: &str) -> Result<PathBuf> {
        let path = self.results().join(name);
        files::write(&path, text)?;
        Ok(path)
    }

    /// Writes a JSON file, pretty-printed.
    pub fn write_json(&self, name: &str, value: &serde_json::Value) -> Result<PathBuf> {
        self.write_text(name, &crate::output::json::text(value))
    }

    /// Has an earlier run's results under `previous/` as well. To be called once the new ones are written but for pictures:
    /// these may fill the disk.
    ///
    /// # Errors
    /// [`Error::Io`] where they can't be kept. They stay where they are then.
    pub fn keep_older(&mut self) -> Result<()> {
        self.folder.can_replace()?;
        let theirs: Vec<PathBuf> =
            [FIT, DRAWS].map(|name| self.folder.root.join(name)).into_iter().filter(|path| path.exists()).collect();
        let Some(first) = theirs.first() else { return Ok(()) };
        let failed = |e| Error::io("keep the earlier results", first, e);
        let previous = self.folder.root.join(PREVIOUS);
        fs::create_dir_all(&previous).map_err(|e| Error::io("create", &previous, e))?;
        let (place, is_there) = previous::place(&previous, &theirs).map_err(failed)?;
        if !is_there {
            let older = self.hidden.path().join(OLDER);
            fs::create_dir(&older).map_err(failed)?;
            for path in &theirs {
                let name = path.file_name().unwrap_or_default();
                previous::link_tree(path, &older.join(name))
                    .map_err(|e| Error::io("keep the earlier results", path, e))?;
            }
            sync(&older)?;
            fs::rename(&older, &place).map_err(failed)?;
            sync(&previous)?;
        }
        self.kept = Some(place);
        Ok(())
    }

    /// Puts the results of the fit in their place, in one step where the file system can. The newest `keep` of earlier results stay.
    ///
    /// # Errors
    /// [`Error::Io`] where they can't be put there; what was there stays then.
    pub fn put(mut self, keep: usize) -> Result<()> {
        if self.kept.is_none() {
            self.keep_older()?;
        }
        let (fit, draws) = (self.folder.results(), self.folder.root.join(DRAWS));
        let [old_fit, old_draws] = [OLD_FIT, OLD_DRAWS].map(|name| self.hidden.path().join(name));
        // draws of an earlier run must at no moment stand beside a fit that isn't theirs
        let had_draws = draws.exists();
        if had_draws {
            fs::rename(&draws, &old_draws).map_err(|e| Error::io("move aside", &draws, e))?;
        }
        if let Err(e) = replace(&self.results(), &fit, &old_fit, &self.folder.root.join(READY), exchange) {
            if had_draws {
                let _ = fs::rename(&old_draws, &draws);
            }
            return Err(Error::io("put the results into", &fit, e));
        }
        sync(&self.folder.root)?;
        if let Some(kept) = &self.kept {
            // the folders themselves, with what has come into them meanwhile, instead of those made beside them
            for (old, name) in [(&old_fit, FIT), (&old_draws, DRAWS)] {
                let _ = exchange(old, &kept.join(name));
            }
        }
        self.remove_old(keep);
        Ok(())
    }

    /// Adds to the results that this run has put in their place: draws as a whole, results of the fit file by file.
    ///
    /// # Errors
    /// [`Error::Io`] where they can't be put there.
    pub fn add(self) -> Result<()> {
        let draws = self.hidden.path().join(DRAWS);
        if draws.exists() {
            let (place, root) = (self.folder.root.join(DRAWS), &self.folder.root);
            let old = self.hidden.path().join(OLD_DRAWS);
            replace(&draws, &place, &old, &self.hidden.path().join(READY), exchange)
                .map_err(|e| Error::io("put the draws into", &place, e))?;
            sync(root)?;
        }
        let fit = self.folder.results();
        fs::create_dir_all(&fit).map_err(|e| Error::io("create", &fit, e))?;
        for entry in fs::read_dir(self.results()).map_err(|e| Error::io("read", &fit, e))?.flatten() {
            let place = fit.join(entry.file_name());
            fs::rename(entry.path(), &place).map_err(|e| Error::io("write", &place, e))?;
        }
        sync(&fit)
    }

    /// Removes earlier results that are too many, each at one step as seen from outside.
    fn remove_old(&self, keep: usize) {
        let too_many = previous::too_many(&self.folder.root.join(PREVIOUS), keep, self.kept.as_deref());
        for (k, path) in too_many.iter().enumerate() {
            if let Err(e) = fs::rename(path, self.hidden.path().join(format!("{TOO_MANY}-{k}"))) {
                log::warn!("{}: results of an earlier run stay: {e}", path.display());
            }
        }
    }
}

/// Has the disk know what is in a folder.
fn sync(folder: &Path) -> Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(|e| Error::io("write", folder, e))
}

/// Exchanges two folders in one step.
fn exchange(a: &Path, b: &Path) -> nix::Result<()> {
    renameat2(AT_FDCWD, a, AT_FDCWD, b, RenameFlags::RENAME_EXCHANGE)
}

/// Puts `new` into `place`; what was there goes to `old`. Where the file system can't `exchange` (NFS can't), `new` waits as `ready`
/// for the moment in which nothing is in the place.
fn replace(
    new: &Path,
    place: &Path,
    old: &Path,
    ready: &Path,
    exchange: impl Fn(&Path, &Path) -> nix::Result<()>,
) -> std::io::Result<()> {
    if !place.exists() {
        return fs::rename(new, place);
    }
    match exchange(new, place) {
        Ok(()) => return fs::rename(new, old),
        Err(Errno::EINVAL | Errno::ENOSYS | Errno::EOPNOTSUPP) => {}
        Err(e) => return Err(e.into()),
    }
    fs::rename(new, ready)?;
    if let Err(e) = fs::rename(place, old) {
        let _ = fs::rename(ready, new);
        return Err(e);
    }
    fs::rename(ready, place).inspect_err(|_| {
        let _ = fs::rename(old, place);
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with one file.
    fn folder(path: &Path, text: &str) -> PathBuf {
        fs::create_dir_all(path).unwrap();
        fs::write(path.join("x"), text).unwrap();
        path.to_path_buf()
    }

    #[test]
    fn without_an_exchange_results_are_put_in_place_by_two_renamings() {
        let top = tempfile::tempdir().unwrap();
        let path = |name: &str| top.path().join(name);
        let cannot = |_: &Path, _: &Path| Err(Errno::EINVAL);
        for exchange in [cannot as fn(&Path, &Path) -> nix::Result<()>, exchange] {
            let (new, place) = (folder(&path("new"), "new"), folder(&path("place"), "old"));
            replace(&new, &place, &path("old"), &path("ready"), exchange).unwrap();
            let read = |name: &str| fs::read_to_string(path(name).join("x")).unwrap();
            assert_eq!((read("place").as_str(), read("old").as_str()), ("new", "old"));
            assert!(!path("new").exists() && !path("ready").exists());
            fs::remove_dir_all(path("old")).unwrap();
        }
    }
}
