//! `config`: checking a configuration file, writing one to begin with, and the reference of its keys.

mod check;
mod init;

pub use check::check;
pub use init::{Wanted, init};

use std::io::Write;

use crate::Result;

/// Prints the reference of all keys on `out`.
///
/// # Errors
/// [`crate::Error::Io`] when it can't be written.
pub fn reference(out: &mut impl Write) -> Result<()> {
    super::heard(out.write_all(crate::config::reference().as_bytes()))
}
