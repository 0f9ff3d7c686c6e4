//! Arguments of `device`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::examples::DEVICE_EXAMPLES;

/// Arguments of `device`.
#[derive(Debug, Clone, Args)]
#[command(after_help = DEVICE_EXAMPLES)]
pub struct DeviceArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DeviceCommand,
}

/// What `device` can do.
#[derive(Debug, Clone, Subcommand)]
pub enum DeviceCommand {
    /// Show processors, memory and GPUs, and what a run would use of them.
    Status {
        /// Write it as JSON, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
    },
    /// Remove compiled GPU kernels; the next run on a GPU compiles them again.
    ClearCache,
}
