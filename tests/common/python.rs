//! Python for the tests, and files that others would have written: by h5py and NumPy, in a folder that is made once for
//! every test program.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Interpreters to try; the second is there where another one comes first on the path.
const INTERPRETERS: [&str; 2] = ["python3", "/usr/bin/python3"];

/// The folder in which `layouts.py` left its files; `None`, said aloud, where there is no Python with h5py and NumPy.
///
/// The interpreter runs before the caller goes on. A test calls this before it opens an HDF5 file: a process started
/// meanwhile would keep that file locked.
///
/// # Panics
/// Where there is no such Python although `CI` is `true`, or the script fails.
#[allow(dead_code)] // not every test program uses all
pub fn layouts() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(make).as_deref()
}

/// An interpreter that has these modules; `None`, said aloud, where there is none.
///
/// # Panics
/// Where there is none although `CI` is `true`.
pub fn with(modules: &str) -> Option<&'static str> {
    let import = format!("import {modules}");
    let works = |name: &&&str| Command::new(name).args(["-c", &import]).output().is_ok_and(|out| out.status.success());
    let found = INTERPRETERS.iter().find(works);
    if found.is_none() {
        assert!(std::env::var("CI").as_deref() != Ok("true"), "no Python with {modules}: scripts/setup.sh --tests");
        let message = format!(
            "\nWARNING: tests that need Python are SKIPPED: there is none with {modules} (scripts/setup.sh --tests \
             installs them)\n"
        );
        // past the test harness, which shows nothing of tests that pass
        let _ = std::io::stderr().write_all(message.as_bytes());
    }
    found.copied()
}

/// A command that runs Python with ArviZ and emcee, which scripts/setup.sh keeps in a folder of its own; `None`, said aloud,
/// where it isn't there.
///
/// # Panics
/// Where it isn't although `CI` is `true`.
#[allow(dead_code)] // not every test program uses all
pub fn with_sampling_packages() -> Option<Command> {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let folder = std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("homodyne-mpi/python");
    if let Ok(interpreter) = std::fs::read_to_string(folder.join("interpreter")) {
        let mut command = Command::new(interpreter.trim());
        command.env("PYTHONPATH", &folder);
        return Some(command);
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "no Python with ArviZ: scripts/setup.sh --tests");
    let message = "\nWARNING: tests that need ArviZ are SKIPPED (scripts/setup.sh --tests installs it)\n";
    let _ = std::io::stderr().write_all(message.as_bytes());
    None
}

fn make() -> Option<PathBuf> {
    let python = with("h5py, numpy")?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(concat!("layouts_", env!("CARGO_CRATE_NAME")));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let out = Command::new(python)
        .arg(root.join("tests/common/layouts.py"))
        .args([&folder, &root.join("tests/data")])
        .output()
        .unwrap();
    assert!(out.status.success(), "layouts.py failed:\n{}", String::from_utf8_lossy(&out.stderr));
    Some(folder)
}
