//! The result folder. Results appear whole: they are made ready in a hidden folder beside their place (`stage`) and put there by
//! renaming, so that a run that ends early, however, leaves those of an earlier run as they were. These are kept under `previous/`
//! (`previous`), so that old numbers never pass for new.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::unistd::{AccessFlags, faccessat};

use crate::{Error, Result};

mod previous;
mod stage;

pub use stage::Stage;

/// Folder inside the output folder for least-squares results,
const FIT: &str = "nlsq";
/// and for draws from the posterior.
const DRAWS: &str = "nuts";
/// Where an earlier run's results go.
const PREVIOUS: &str = "previous";
/// How the names of hidden folders begin, in which results are made ready.
const NEW: &str = ".homodyne-new-";
/// Results of a fit that are whole, for the moment between two renamings in which they have no other name.
const READY: &str = ".homodyne-ready";
/// Of the permissions of a folder: only the owner of what is in it may remove or rename that.
const STICKY: u32 = 0o1000;

/// A result folder that was shown to be writable.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Folders that didn't exist before, outermost first.
    created: Vec<PathBuf>,
    /// File system that it is on.
    device: u64,
    /// Whose files are that this process makes.
    user: u32,
}

impl Folder {
    /// What a run moves or removes to make room for its results.
    pub const MAKE_ROOM: [&str; 3] = [FIT, DRAWS, PREVIOUS];

    /// Makes the folder if need be and shows that it can be written and that earlier results can be replaced, without touching
    /// what is in it.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn probe(root: &Path) -> Result<Self> {
        let mut created: Vec<PathBuf> =
            root.ancestors().filter(|a| !a.as_os_str().is_empty() && !a.exists()).map(Path::to_path_buf).collect();
        created.reverse();
        fs::create_dir_all(root).map_err(|e| Error::io("create the output folder", root, e))?;
        let mut folder = Self { root: root.to_path_buf(), created, device: 0, user: 0 };
        match tempfile::tempfile_in(root).and_then(|file| file.metadata()) {
            Ok(made) => (folder.device, folder.user) = (made.dev(), made.uid()),
            Err(e) => {
                folder.discard();
                return Err(Error::io("write into the output folder", root, e));
            }
        }
        folder.can_replace()?;
        Ok(folder)
    }

    /// Whether earlier results can be moved.
    ///
    /// # Errors
    /// [`Error::Io`] naming what can't be.
    fn can_replace(&self) -> Result<()> {
        let of_root = fs::metadata(&self.root).map_err(|e| Error::io("read", &self.root, e))?;
        for name in [FIT, DRAWS, PREVIOUS] {
            let path = self.root.join(name);
            let failed = |why: String| {
                Err(Error::io(
                    "keep earlier results",
                    &path,
                    format!("{why}; give another output folder (--output-dir)"),
                ))
            };
            // a link is moved as such, but `previous` is moved into
            let about = if name == PREVIOUS { fs::metadata(&path) } else { fs::symlink_metadata(&path) };
            let Ok(about) = about else { continue };
            if name == PREVIOUS && !about.is_dir() {
                return failed("it is no folder".into());
            }
            if about.dev() != self.device {
                return failed("it is on another file system than the folder it is in".into());
            }
            let is_held = of_root.mode() & STICKY != 0 && ![of_root.uid(), about.uid()].contains(&self.user);
            let may = AccessFlags::W_OK | AccessFlags::X_OK | AccessFlags::R_OK;
            let is_closed = about.is_dir() && faccessat(AT_FDCWD, &path, may, AtFlags::AT_EACCESS).is_err();
            if is_closed || (is_held && self.user != 0) {
                return failed(format!(
                    "it belongs to another user (number {}), who doesn't let it be moved",
                    about.uid()
                ));
            }
        }
        Ok(())
    }

    /// Clears away what killed runs have left behind, and ends what they had begun. For the owner of the folder's lock.
    pub fn tidy(&self) {
        let (ready, results) = (self.root.join(READY), self.root.join(FIT));
        if ready.exists() && !results.exists() {
            match fs::rename(&ready, &results) {
                Ok(()) => log::info!("{}: results of a run that was killed are put in their place", results.display()),
                Err(e) => log::warn!("{}: whole results of a run that was killed: {e}", ready.display()),
            }
        }
        for entry in fs::read_dir(&self.root).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let is_litter = name.starts_with(NEW) || (name == READY && results.exists());
            if is_litter
                && entry.file_type().is_ok_and(|kind| kind.is_dir())
                && let Err(e) = fs::remove_dir_all(entry.path())
            {
                log::warn!("what a killed run has left stays: {}: {e}", entry.path().display());
            }
        }
    }

    /// Takes back the folders that this run has made, where nothing is in them.
    pub fn discard(&self) {
        for folder in self.created.iter().rev() {
            // not empty any more: somebody else's now
            let _ = fs::remove_dir(folder);
        }
    }

    /// Where results of the fit are in the end.
    pub fn results(&self) -> PathBuf {
        self.root.join(FIT)
    }

    /// Whether the results in their place are those made at a time, as their `parameters.json` has it.
    pub fn is_of(&self, timestamp: &str) -> bool {
        let text = fs::read_to_string(self.results().join("parameters.json")).unwrap_or_default();
        let parameters: serde_json::Value = serde_json::from_str(&text).unwrap_or_default();
        parameters["timestamp"] == timestamp
    }

    /// A hidden folder to make results ready in.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn stage(&self) -> Result<Stage<'_>> {
        Stage::new(self)
    }
}

#[cfg(test)]
mod tests;
