//! `completions`: what a shell needs to complete this program's command line.

use std::io::Write;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Result;
use crate::cli::Cli;

/// Prints the completion script of a shell on `out`.
///
/// # Errors
/// [`crate::Error::Io`] when it can't be written.
pub fn completions(shell: Shell, out: &mut impl Write) -> Result<()> {
    // made in memory: the generator takes a broken pipe for a fault of the program
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "homodyne-mpi", &mut script);
    super::heard(out.write_all(&script))
}
