//! Arguments of `checkpoint`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Verbosity;
use super::examples::{LIST_EXAMPLES, VERIFY_EXAMPLES};

/// Arguments of `checkpoint`.
#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: CheckpointCommand,
}

/// What to do with checkpoints.
#[derive(Debug, Clone, Subcommand)]
pub enum CheckpointCommand {
    /// Show the checkpoints in a folder: how far each was, and whether it is whole.
    List(ListArgs),
    /// Check that a checkpoint, or each in a folder, is as it was written.
    Verify(VerifyArgs),
}

/// Arguments of `checkpoint list`.
#[derive(Debug, Clone, Args)]
#[command(after_help = LIST_EXAMPLES)]
pub struct ListArgs {
    /// Folder with checkpoints.
    #[arg(value_name = "DIR", default_value = "homodyne_results/checkpoints")]
    pub folder: PathBuf,
    /// Write the list to this file, too, with all that stands in the checkpoints for people.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "json")]
    pub force: bool,
}

/// Arguments of `checkpoint verify`.
#[derive(Debug, Clone, Args)]
#[command(after_help = VERIFY_EXAMPLES)]
pub struct VerifyArgs {
    /// Checkpoint, or folder with checkpoints.
    #[arg(value_name = "PATH|DIR")]
    pub path: PathBuf,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}
