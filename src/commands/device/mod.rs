//! `device`: what this machine has to compute on, what it gets out of it, and the cache of compiled kernels.

mod bench;
mod check;
mod status;

use std::io::Write;

pub use bench::bench;
pub use check::check;
pub use status::status;

use crate::Result;
use crate::gram::gpu::{self, Device};

/// Removes compiled kernels and says how many.
///
/// # Errors
/// [`crate::Error::Io`] where one can't be removed.
pub fn clear_cache(out: &mut impl Write) -> Result<()> {
    let (n, folder) = gpu::clear_cache()?;
    super::heard(match folder {
        Some(folder) => writeln!(out, "{n} file(s) with compiled kernels removed from {}", folder.display()),
        None => writeln!(out, "there is no folder for compiled kernels: neither XDG_CACHE_HOME nor HOME is set"),
    })
}

/// The GPU that a run alone on this node would take, and how many bytes of it.
fn open() -> Result<(Box<dyn Device>, usize)> {
    gpu::open((0, 1), gpu::MEMORY_FRACTION)
}
