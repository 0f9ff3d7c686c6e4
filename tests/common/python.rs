//! Files that others would have written: by h5py and NumPy, in a folder that is made once for every test program.

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
pub fn layouts() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    FOLDER.get_or_init(make).as_deref()
}

/// A Python with h5py and NumPy; `None`, said aloud, where there is none.
///
/// # Panics
/// Where there is none although `CI` is `true`.
pub fn interpreter() -> Option<&'static str> {
    let works = |name: &&&str| {
        Command::new(name).args(["-c", "import h5py, numpy"]).output().is_ok_and(|out| out.status.success())
    };
    let found = INTERPRETERS.iter().find(works).copied();
    if found.is_none() {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "no Python with h5py and NumPy: scripts/setup.sh --tests"
        );
        let message = "\nWARNING: tests of files from Python are SKIPPED: there is no Python with h5py and NumPy \
                       (scripts/setup.sh --tests installs them)\n";
        // past the test harness, which shows nothing of tests that pass
        let _ = std::io::stderr().write_all(message.as_bytes());
    }
    found
}

fn make() -> Option<PathBuf> {
    let python = interpreter()?;
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
