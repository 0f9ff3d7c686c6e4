//! Which program this is: results and checkpoints carry it.

use std::sync::OnceLock;

/// The version of the program.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The name of the program with its version.
pub const NAME_AND_VERSION: &str = concat!("homodyne-mpi ", env!("CARGO_PKG_VERSION"));

static COMMIT: OnceLock<&str> = OnceLock::new();

/// Says from which commit the program was built. The program knows it, not this library, which would have to be compiled for
/// every commit.
pub fn set_commit(commit: &'static str) {
    let _ = COMMIT.set(commit);
}

/// The commit from which the program was built, or `unknown`.
pub fn commit() -> &'static str {
    COMMIT.get().copied().unwrap_or("unknown")
}
