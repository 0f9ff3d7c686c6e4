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
        /// Replace the file if it is there.
        #[arg(long, requires = "json")]
        force: bool,
    },
    /// Compare the CPU with a GPU: the model alone, residuals, Gram passes, a whole fit.
    Bench {
        /// Threads of the CPU [default: all cores that this process may use].
        #[arg(long, value_name = "N", value_parser = super::threads)]
        threads: Option<usize>,
        /// Measure on small data: a try, its figures are of the caches.
        #[arg(long)]
        quick: bool,
        /// Write the figures to this file, too.
        #[arg(long, value_name = "FILE")]
        json: Option<PathBuf>,
        /// Replace the file if it is there.
        #[arg(long, requires = "json")]
        force: bool,
    },
    /// Check that a GPU computes what the CPU does, on data made up anew, and how near its kernels come to their limit.
    Check {
        /// Number that the data are made from [default: another one every time].
        #[arg(long, value_name = "N")]
        seed: Option<u64>,
        /// Check less, and measure on small data.
        #[arg(long)]
        quick: bool,
    },
    /// Remove compiled GPU kernels; the next run on a GPU compiles them again.
    ClearCache,
}
