//! The result folder: results of an earlier run are moved aside, so that old numbers never pass for new.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::{Error, Result, files};

/// Folder inside the output folder for least-squares results,
const FIT: &str = "nlsq";
/// and for draws from the posterior.
const DRAWS: &str = "nuts";
/// Where an earlier run's results go.
const PREVIOUS: &str = "previous";

/// A result folder that was shown to be writable.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    /// Folders that didn't exist before, outermost first.
    created: Vec<PathBuf>,
    /// Whether the place for results is this run's.
    begun: AtomicBool,
}

impl Folder {
    /// Makes the folder if need be and shows that it can be written, without touching what is in it.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder.
    pub fn probe(root: &Path) -> Result<Self> {
        let mut created: Vec<PathBuf> =
            root.ancestors().filter(|a| !a.as_os_str().is_empty() && !a.exists()).map(Path::to_path_buf).collect();
        created.reverse();
        fs::create_dir_all(root).map_err(|e| Error::io("create the output folder", root, e))?;
        let folder = Self { root: root.to_path_buf(), created, begun: AtomicBool::new(false) };
        if let Err(e) = tempfile::tempfile_in(root) {
            folder.discard();
            return Err(Error::io("write into the output folder", root, e));
        }
        Ok(folder)
    }

    /// Takes back what this run has made so far, when it ends without results: better none than half of them. An earlier run's
    /// stay where they are by then.
    pub fn discard(&self) {
        if self.begun.load(Ordering::Relaxed) {
            let _ = fs::remove_dir_all(self.results());
            let _ = fs::remove_dir_all(self.draws());
        }
        for folder in self.created.iter().rev() {
            // not empty any more: somebody else's now
            let _ = fs::remove_dir(folder);
        }
    }

    /// Moves an earlier run's results to `previous/`, so that they don't pass for this run's whatever becomes of it.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder that can't be moved or made.
    pub fn begin(&self) -> Result<()> {
        let previous = self.root.join(PREVIOUS);
        let theirs: Vec<&str> = [FIT, DRAWS].into_iter().filter(|name| self.root.join(name).exists()).collect();
        if !theirs.is_empty() {
            fs::create_dir_all(&previous).map_err(|e| Error::io("create", &previous, e))?;
            // of the run before that one nothing stays, so that what lies there is of one run
            for target in [FIT, DRAWS].map(|name| previous.join(name)).iter().filter(|target| target.exists()) {
                fs::remove_dir_all(target).map_err(|e| Error::io("remove", target, e))?;
            }
        }
        for name in theirs {
            let results = self.root.join(name);
            fs::rename(&results, previous.join(name)).map_err(|e| Error::io("move aside", &results, e))?;
        }
        self.begun.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Where results of the fit go.
    pub fn results(&self) -> PathBuf {
        self.root.join(FIT)
    }

    /// Where draws from the posterior go.
    pub fn draws(&self) -> PathBuf {
        self.root.join(DRAWS)
    }

    /// Makes the folder for results.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn make_results(&self) -> Result<()> {
        let results = self.results();
        fs::create_dir_all(&results).map_err(|e| Error::io("create", &results, e))
    }

    /// What is moved or removed when a run begins to write.
    pub const MAKE_ROOM: [&str; 3] = [FIT, DRAWS, PREVIOUS];

    /// Name of the closing report's file.
    pub const REPORT: &str = "report.txt";

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
        self.write_text(name, &super::json::text(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_earlier_run_is_moved_aside_and_the_one_before_it_replaced() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("a/b");
        for run in 0..3 {
            let folder = Folder::probe(&root).unwrap();
            folder.begin().unwrap();
            folder.make_results().unwrap();
            folder.write_json("x.json", &serde_json::json!({ "run": run })).unwrap();
        }
        let read = |p: &str| fs::read_to_string(root.join(p)).unwrap();
        assert!(read("nlsq/x.json").contains('2'));
        assert!(read("previous/nlsq/x.json").contains('1'));
    }

    #[test]
    fn probing_leaves_nothing_when_the_run_ends_early() {
        let top = tempfile::tempdir().unwrap();
        Folder::probe(&top.path().join("a/b/c")).unwrap().discard();
        assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_folder_below_a_file_is_refused() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("file"), "").unwrap();
        let error = Folder::probe(&top.path().join("file/results")).unwrap_err();
        assert_eq!(error.exit_code(), 5);
    }
}
