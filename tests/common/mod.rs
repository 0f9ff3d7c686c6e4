//! Runs the real program from outside, alone and under mpirun, and looks at what it leaves behind.

pub mod disk;
pub mod draws;
pub mod files;
pub mod kept;
pub mod kernels;
pub mod python;
mod running;

use std::collections::BTreeMap;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub use running::Running;

/// The program under test.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_homodyne-mpi");

/// Jobs of several ranks run one at a time: two cores are few enough for one.
static ONE_JOB: Mutex<()> = Mutex::new(());
/// Held while a process is started and while an HDF5 file is written: a process started meanwhile would inherit the
/// file, and keep it locked for as long as it lives.
static NO_OPEN_FILES: Mutex<()> = Mutex::new(());

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

/// A run of the program in a folder of its own.
pub struct Run {
    command: Command,
    ranks: Option<usize>,
    /// What MPI leaves behind when its processes are killed goes away with this.
    _litter: TempDir,
}

/// The program alone, in `folder`, with arguments.
pub fn alone<A: AsRef<std::ffi::OsStr>>(folder: &Path, arguments: &[A]) -> Run {
    let mut command = Command::new(PROGRAM);
    command.args(arguments);
    Run::new(command, folder, None)
}

/// Any other command in `folder`, which may start the program in its turn.
pub fn other(folder: &Path, command: Command) -> Run {
    Run::new(command, folder, None)
}

/// The launcher that belongs to the MPI of the program: `MPIRUN`, where it has another name.
pub fn mpirun() -> String {
    std::env::var("MPIRUN").unwrap_or_else(|_| "mpirun".into())
}

/// The plugin of srun that fits the MPI of the program.
pub fn srun_plugin() -> &'static str {
    static FOUND: std::sync::OnceLock<String> = std::sync::OnceLock::new();
    FOUND.get_or_init(|| {
        let folder = scratch();
        alone(folder.path(), &["device", "status", "--json", "device.json"]).success();
        json(&folder.path().join("device.json"))["mpi"]["srun_plugin"].as_str().unwrap().to_owned()
    })
}

/// The program under mpirun.
pub fn with_ranks<A: AsRef<std::ffi::OsStr>>(ranks: usize, folder: &Path, arguments: &[A]) -> Run {
    let mut command = Command::new(mpirun());
    command.args(["-n", &ranks.to_string(), PROGRAM]).args(arguments);
    Run::new(command, folder, Some(ranks))
}

impl Run {
    fn new(mut command: Command, folder: &Path, ranks: Option<usize>) -> Self {
        command.current_dir(folder).stdin(Stdio::null()).process_group(0);
        // a surrounding job must not be taken for ours
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if ["SLURM_", "OMPI_", "PMIX_", "PMI_", "PRTE_", "HOMODYNE_"].iter().any(|p| text.starts_with(p)) {
                command.env_remove(&name);
            }
        }
        command.env_remove("RUST_LOG").env_remove("RUST_BACKTRACE");
        for (name, value) in [
            ("OMPI_ALLOW_RUN_AS_ROOT", "1"),
            ("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("OMPI_MCA_rmaps_base_oversubscribe", "1"),
            ("OMPI_MCA_hwloc_base_binding_policy", "none"),
            ("OMPI_MCA_mpi_yield_when_idle", "1"),
            ("OMPI_MCA_btl_vader_single_copy_mechanism", "none"),
            // the same for Open MPI 5
            ("PRTE_ALLOW_RUN_AS_ROOT", "1"),
            ("PRTE_ALLOW_RUN_AS_ROOT_CONFIRM", "1"),
            ("PRTE_MCA_rmaps_default_mapping_policy", ":oversubscribe"),
            ("PRTE_MCA_hwloc_default_binding_policy", "none"),
        ] {
            command.env(name, value);
        }
        // short: the paths of sockets have little room
        let litter = tempfile::Builder::new().prefix("hm-").tempdir().unwrap();
        command.env("TMPDIR", litter.path());
        Self { command, ranks, _litter: litter }
    }

    /// With a variable of the environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it.
    #[track_caller]
    pub fn start(mut self) -> Running {
        let turn = self.ranks.map(|_| ONE_JOB.lock().unwrap_or_else(PoisonError::into_inner));
        // files, not pipes: a process left behind can't keep us waiting for their end
        let (out, err) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        self.command.stdout(out.try_clone().unwrap()).stderr(err.try_clone().unwrap());
        let start = Instant::now();
        let spawned = alone_with_files(|| self.command.spawn());
        let child = spawned.unwrap_or_else(|e| panic!("cannot start {:?}: {e}", self.command));
        Running { run: self, child, out, err, start, _turn: turn }
    }

    /// Runs to the end. A run that hangs is killed with all its processes, and the test fails.
    #[track_caller]
    pub fn outcome(self) -> Outcome {
        self.start().outcome()
    }

    /// Runs to the end, which must be a success.
    #[track_caller]
    pub fn success(self) -> Outcome {
        let outcome = self.outcome();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        outcome
    }
}

/// Does what must not happen at the same time: writing an HDF5 file, starting a process.
pub fn alone_with_files<T>(work: impl FnOnce() -> T) -> T {
    let _turn = NO_OPEN_FILES.lock().unwrap_or_else(PoisonError::into_inner);
    work()
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stdout, stderr, took } = self;
        write!(f, "exit code {code:?} after {took:.1?}\nstdout:\n{stdout}\nstderr:\n{stderr}")
    }
}

impl Outcome {
    /// The one line of either stream that starts with `error:`; it must be on stderr.
    #[track_caller]
    pub fn error_line(&self) -> &str {
        let is_error = |line: &&str| line.starts_with("error:");
        assert_eq!(self.stdout.lines().filter(is_error).count(), 0, "an error on stdout: {self}");
        let lines: Vec<&str> = self.stderr.lines().filter(is_error).collect();
        assert_eq!(lines.len(), 1, "not exactly one line of error: {self}");
        assert!(!self.stderr.contains("panicked"), "a panic: {self}");
        lines[0]
    }

    /// Asserts the exit code, and one line of error that says all of `parts`.
    #[track_caller]
    pub fn assert_error(&self, code: i32, parts: &[&str]) {
        assert_eq!(self.code, Some(code), "{self}");
        let line = self.error_line();
        for part in parts {
            assert!(line.contains(part), "doesn't say {part:?}: {self}");
        }
    }
}

/// A folder that goes away with the test: the working directory of its runs.
pub fn scratch() -> TempDir {
    tempfile::Builder::new().prefix("homodyne-test-").tempdir().unwrap()
}

/// A file of the repository's test data.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A JSON file.
#[track_caller]
pub fn json(file: &Path) -> Value {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

/// `parameters.json` of a result folder, without the time at which it was made.
#[track_caller]
pub fn parameters(folder: &Path) -> Value {
    let mut value = json(&folder.join("nlsq/parameters.json"));
    assert!(value.as_object_mut().unwrap().remove("timestamp").is_some());
    value
}

/// How the fit of a result folder went.
#[track_caller]
pub fn summary(folder: &Path) -> Value {
    json(&folder.join("nlsq/analysis_results_nlsq.json"))["optimization_summary"].clone()
}

/// Everything below a folder: folders as `None`, files with their bytes.
pub fn tree(folder: &Path) -> BTreeMap<PathBuf, Option<Vec<u8>>> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![folder.to_path_buf()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap().map(Result::unwrap) {
            let path = entry.path();
            let is_folder = entry.file_type().unwrap().is_dir();
            found.insert(path.clone(), (!is_folder).then(|| std::fs::read(&path).unwrap()));
            if is_folder {
                waiting.push(path);
            }
        }
    }
    found
}
