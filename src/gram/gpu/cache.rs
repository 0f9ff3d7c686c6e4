//! The cache of compiled kernels: a file for every combination of source, architecture, NVRTC and driver.

use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::{Error, Result, files};

/// With 1 the log says why kernels are compiled.
const LOG_COMPILES: &str = "HOMODYNE_LOG_COMPILES";
/// Of names of files.
const EXTENSION: &str = "gpu";

/// What compiled kernels belong to; its parts are those of the file's name.
pub(super) struct Key {
    parts: [String; PARTS],
}

/// Architecture, NVRTC, driver, source.
const PARTS: usize = 4;

impl Key {
    pub fn new(architecture: &str, nvrtc: (i32, i32), driver: (i32, i32), source: &[&str]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in source {
            hasher.update(part.as_bytes()).update(&[0]);
        }
        let hash = hasher.finalize().to_hex()[..16].to_string();
        let version = |what, (major, minor): (i32, i32)| format!("{what} {major}.{minor}");
        Self {
            parts: [
                architecture.replace('_', " "),
                version("NVRTC", nvrtc),
                version("driver", driver),
                format!("source {hash}"),
            ],
        }
    }

    fn file(&self, folder: &Path) -> PathBuf {
        folder.join(format!("{}.{EXTENSION}", self.parts.join("-").replace(' ', "_")))
    }

    /// The kernels that are cached, or compiles and keeps them. They end in a zero, by which half a file is known.
    ///
    /// # Errors
    /// Those of compiling.
    pub fn get_or(
        &self,
        compile: impl FnOnce() -> std::result::Result<Vec<u8>, String>,
    ) -> std::result::Result<Vec<u8>, String> {
        let [architecture, nvrtc, ..] = &self.parts;
        let folder = folder();
        let cached = folder.as_deref().map(|folder| self.file(folder));
        let found = cached.as_deref().and_then(|path| std::fs::read(path).ok()).filter(|code| code.last() == Some(&0));
        if let (Some(code), Some(path)) = (found, &cached) {
            log::info!("GPU kernels for {architecture}: cached in {}", path.display());
            return Ok(code);
        }
        log::info!("GPU kernels for {architecture}: compiling with {nvrtc}");
        let explain = std::env::var(LOG_COMPILES).is_ok_and(|value| value == "1");
        if explain {
            log::info!("GPU kernels are compiled because {}", self.why(folder.as_deref()));
        }
        let begin = Instant::now();
        let code = compile()?;
        if explain {
            log::info!("GPU kernels were compiled in {:.1} s", begin.elapsed().as_secs_f64());
        }
        if let (Some(folder), Some(path)) = (&folder, &cached) {
            // the next run compiles again where this can't be kept
            let kept = std::fs::create_dir_all(folder).map_err(|e| e.to_string());
            let kept = kept.and_then(|()| files::write(path, &code).map_err(|e| e.to_string()));
            kept.unwrap_or_else(|e| log::info!("the compiled kernels aren't kept: {e}"));
        }
        Ok(code)
    }

    /// Why there are none.
    fn why(&self, folder: Option<&Path>) -> String {
        let Some(folder) = folder else {
            return "there is no folder to keep them: neither XDG_CACHE_HOME nor HOME is set".into();
        };
        let path = self.file(folder);
        if path.exists() {
            return format!("{} isn't complete", path.display());
        }
        // what is nearest
        let others = files_in(folder).filter_map(|path| {
            let parts: Vec<String> =
                path.file_stem()?.to_str()?.split('-').map(|part| part.replace('_', " ")).collect();
            (parts.len() == PARTS).then_some(parts)
        });
        let same = |parts: &Vec<String>| parts.iter().zip(&self.parts).filter(|(a, b)| a == b).count();
        let Some(nearest) = others.max_by_key(same) else {
            return format!("none are in {} yet", folder.display());
        };
        let differ = nearest.iter().zip(&self.parts).filter(|(there, own)| there != own);
        let differ: Vec<String> = differ.map(|(there, own)| format!("{there} instead of {own}")).collect();
        format!("those in {} are for {}", folder.display(), differ.join("; "))
    }
}

/// Compiled kernels in a folder.
fn files_in(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let all = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    all.filter(|path| path.extension().is_some_and(|extension| extension == EXTENSION))
}

/// Removes compiled kernels; gives how many there were, and the folder.
///
/// # Errors
/// [`Error::Io`] where one can't be removed.
pub fn clear_cache() -> Result<(usize, Option<PathBuf>)> {
    let Some(folder) = folder() else { return Ok((0, None)) };
    let mut n = 0;
    for path in files_in(&folder) {
        std::fs::remove_file(&path).map_err(|e| Error::io("remove", &path, e))?;
        n += 1;
    }
    Ok((n, Some(folder)))
}

/// The folder of compiled kernels: below `XDG_CACHE_HOME`, else below `~/.cache`.
fn folder() -> Option<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cache"));
    let base = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home)?;
    Some(base.join("homodyne-mpi").join("kernels"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_names_what_differs_from_the_nearest() {
        let folder = tempfile::tempdir().unwrap();
        let key = |architecture: &str, driver, source: &str| Key::new(architecture, (12, 9), driver, &[source]);
        let own = key("compute_80", (12, 4), "new");
        assert!(own.why(Some(folder.path())).starts_with("none are in "));
        assert!(own.why(None).contains("XDG_CACHE_HOME"));
        std::fs::write(key("compute_70", (12, 2), "old").file(folder.path()), "x").unwrap();
        let nearest = key("compute_80", (12, 2), "new");
        std::fs::write(nearest.file(folder.path()), "x").unwrap();
        let why = own.why(Some(folder.path()));
        assert!(why.ends_with("are for driver 12.2 instead of driver 12.4"), "{why}");
        assert!(nearest.why(Some(folder.path())).ends_with("isn't complete"));
        let source = key("compute_80", (12, 2), "newer").why(Some(folder.path()));
        assert!(source.contains("for source ") && !source.contains("driver"), "{source}");
    }
}
