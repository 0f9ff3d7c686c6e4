//! The GPU kernels as libraries for the host.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Builds a file of `kernels/emulation` as a library of that name.
pub fn built(source: &str, name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("kernels/emulation").join(source);
    let mut command = Command::new("c++");
    command.args(["-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-o"]);
    assert!(command.arg(&path).arg(source).status().expect("a C++ compiler").success());
    path
}
