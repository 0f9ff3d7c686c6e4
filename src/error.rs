//! The errors a user can meet, each with its culprit inside and the exit code it leads to.

use std::path::{Path, PathBuf};

/// Result of everything that can fail in a way the user must hear about.
pub type Result<T> = std::result::Result<T, Error>;

/// An error that ends the run. Its text is what follows `error:` on the terminal.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command line asks for something that doesn't exist or contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// The configuration file is wrong at a known place.
    #[error("{0}")]
    Config(ConfigProblem),
    /// The input data are wrong or missing.
    #[error("{}{}: {message}", file.display(), path.as_ref().map(|p| format!(", {p}")).unwrap_or_default())]
    Data {
        /// The file.
        file: PathBuf,
        /// The HDF5 path or array inside it, where one is to blame.
        path: Option<String>,
        /// What was expected, what was found, what to do.
        message: String,
    },
    /// Reading or writing failed.
    #[error("cannot {action} {}: {message}", path.display())]
    Io {
        /// What was tried, as a verb: "write", "create".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the operating system or library said.
        message: String,
    },
    /// The job needs more memory than it may use.
    #[error("{0}")]
    Memory(String),
    /// A rank failed while computing.
    #[error("rank {rank}: {message}")]
    Rank {
        /// The rank that failed.
        rank: usize,
        /// What it said.
        message: String,
    },
    /// A GPU failed.
    #[error("{name}: {message}")]
    Device {
        /// What it is.
        name: String,
        /// What it said.
        message: String,
    },
    /// Matrices of these angles, by number, can't be read, and the configuration allows to go on without them: what was computed with
    /// them is void, and the fit begins anew.
    #[error("{} matrices can't be read", .0.len())]
    Lost(Vec<usize>),
    /// Nothing is wrong: the run was asked to stop and goes on from its checkpoint when it is started again.
    #[error("{0}")]
    Stopped(String),
}

/// What the system says where a process has more files open than it may.
pub(crate) const TOO_MANY_OPEN: &str = "Too many open files";

/// What the system says where a limit is met, and what to do.
const LIMITS: [(&str, &str); 2] = [
    ("File too large", "; raise the limit on the size of files (`ulimit -f`), or write to another file system"),
    (TOO_MANY_OPEN, "; raise the limit on open files (`ulimit -n 4096`)"),
];

/// A problem of the configuration file, with the place that causes it.
#[derive(Debug, Clone)]
pub struct ConfigProblem {
    /// The file, or `--set` for a value given on the command line.
    pub file: PathBuf,
    /// Line and column, counted from 1; `None` where no single place is to blame.
    pub place: Option<(usize, usize)>,
    /// What is wrong and what was expected, one sentence.
    pub message: String,
    /// The source line with a marker under the culprit; empty without a place.
    pub snippet: String,
    /// Whether the setting means something, but this version doesn't have it yet.
    pub later: bool,
}

impl std::fmt::Display for ConfigProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some((line, column)) = self.place {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": {}", self.message)?;
        if !self.snippet.is_empty() {
            write!(f, "\n{}", self.snippet)?;
        }
        Ok(())
    }
}

impl Error {
    /// The exit code of the contract: 2 configuration, 3 data, 5 I/O or a failed rank, 75 stopped with a
    /// checkpoint.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) | Error::Config(_) | Error::Memory(_) => 2,
            Error::Data { .. } => 3,
            Error::Io { .. } | Error::Rank { .. } | Error::Lost(_) | Error::Device { .. } => 5,
            Error::Stopped(_) => 75,
        }
    }

    /// An input error naming the file only.
    pub fn data(file: &Path, message: impl Into<String>) -> Self {
        Error::Data { file: file.to_path_buf(), path: None, message: message.into() }
    }

    /// An input error naming the file and the HDF5 path to blame.
    pub fn data_at(file: &Path, path: impl Into<String>, message: impl Into<String>) -> Self {
        Error::Data { file: file.to_path_buf(), path: Some(path.into()), message: message.into() }
    }

    /// A failed read or write.
    pub fn io(action: &'static str, path: &Path, source: impl std::fmt::Display) -> Self {
        Error::Io { action, path: path.to_path_buf(), message: with_remedy(source.to_string()) }
    }
}

/// What HDF5 said, in one line. Where the operating system refused, its words only: the library adds the time, addresses
/// and line breaks.
pub(crate) fn hdf5_reason(error: impl std::fmt::Display) -> String {
    let said = error.to_string();
    let system =
        said.split_once("error message = '").and_then(|(_, rest)| rest.split_once('\'')).map(|(words, _)| words);
    with_remedy(system.map_or_else(|| said.split_whitespace().collect::<Vec<_>>().join(" "), str::to_owned))
}

/// What the operating system said, with what to do where a limit was met.
fn with_remedy(mut message: String) -> String {
    let remedy = LIMITS.iter().find(|(words, remedy)| message.contains(words) && !message.contains(remedy));
    message.push_str(remedy.map_or("", |(_, remedy)| remedy));
    message
}

#[cfg(test)]
mod tests {
    use super::hdf5_reason;

    #[test]
    fn reasons_are_one_line_of_what_matters() {
        let full = "H5Dwrite(): can't write data: file write failed: time = Sun Nov 22\n, filename = 'x', errno = 28, error message = 'No space left on device', buf = 0x7f";
        assert_eq!(hdf5_reason(full), "No space left on device");
        let many = hdf5_reason("H5Fopen(): errno = 24, error message = 'Too many open files', flags = 0");
        assert!(many.starts_with("Too many open files; ") && many.contains("ulimit -n"), "{many}");
        assert_eq!(hdf5_reason("H5Dread(): can't\n read"), "H5Dread(): can't read");
    }
}
