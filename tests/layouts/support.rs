//! What tests of several layouts need.

use std::path::{Path, PathBuf};

use homodyne_mpi::Error;
use homodyne_mpi::commands::inspect;
use homodyne_mpi::dataset::{Dataset, Selection, TwoTime};
use tempfile::TempDir;

/// c2 of a pair, as `layouts.py` writes it, rounded once.
pub fn value(slot: usize, i: usize, j: usize) -> f32 {
    (1.0 + 0.1 * slot as f64 + 0.001 * i.min(j) as f64 + 0.00001 * i.max(j) as f64) as f32
}

/// Asserts that every selected pair of matrix k is that of `slot`.
#[track_caller]
pub fn assert_values(dataset: &Dataset, k: usize, slot: usize) {
    let mut m = TwoTime::default();
    let report = dataset.read(k, &mut m).unwrap();
    assert_eq!((m.n_frames(), report.n_missing), (dataset.n_frames, 0));
    for i in 0..m.n_frames() {
        for j in i + 1..m.n_frames() {
            let at = dataset.first_frame;
            assert_eq!(m.at(i, j), value(slot, at + i, at + j), "matrix {k}, pair ({i}, {j})");
        }
    }
}

/// The selection of most tests: q and dt as the peer's configuration has them.
pub fn chosen() -> Selection {
    Selection { q: Some(0.0054), dt: Some(0.1), ..Selection::default() }
}

/// A copy of a file that a test may change, in a folder that goes away with the test.
pub fn copy(original: &Path) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(original.file_name().unwrap());
    std::fs::copy(original, &file).unwrap();
    (folder, file)
}

/// Asserts that an input error (exit code 3) of one line says all of `parts`, the file's name among them.
#[track_caller]
pub fn assert_data_error<T: std::fmt::Debug>(result: homodyne_mpi::Result<T>, file: &Path, parts: &[&str]) {
    let error = result.unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, Error::Data { .. }), "{text}");
    assert_eq!(error.exit_code(), 3, "{text}");
    assert!(!text.contains('\n'), "more than one line: {text}");
    assert!(text.contains(file.to_str().unwrap()), "doesn't name the file: {text}");
    for part in parts {
        assert!(text.contains(part), "doesn't say {part:?}: {text}");
    }
}

/// What `inspect` prints.
pub fn shown(file: &Path) -> String {
    let mut out = Vec::new();
    inspect(file, &Selection::default(), None, None, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}
