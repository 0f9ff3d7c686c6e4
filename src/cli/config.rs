//! Arguments of `config`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::examples::{CHECK_EXAMPLES, INIT_EXAMPLES};
use super::{Verbosity, positive};

/// Arguments of `config`.
#[derive(Debug, Clone, Args)]
pub struct ConfigArgs {
    /// What to do with a configuration.
    #[command(subcommand)]
    pub command: ConfigCommand,
}

/// What to do with a configuration.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand {
    /// Say all that is wrong with a file, what has no effect and why, and what a fit would use.
    Check(CheckArgs),
    /// Write a file to begin with, every key explained.
    Init(InitArgs),
    /// Print the reference of all keys, as Markdown.
    Reference,
}

/// Arguments of `config check`.
#[derive(Debug, Clone, Args)]
#[command(after_help = CHECK_EXAMPLES)]
pub struct CheckArgs {
    /// Configuration file (YAML, the same that `homodyne` reads).
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Count warnings and keys without effect as problems.
    #[arg(long)]
    pub strict: bool,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Arguments of `config init`.
#[derive(Debug, Clone, Args)]
#[command(after_help = INIT_EXAMPLES)]
pub struct InitArgs {
    /// Model: diffusion alone, or with shear.
    #[arg(long, value_name = "MODE", ignore_case = true)]
    pub mode: ModeName,
    /// Every key with its default, not only those that most fits need.
    #[arg(long)]
    pub full: bool,
    /// Data file to take q, dt, angles and frames from.
    #[arg(long, value_name = "FILE")]
    pub from_data: Option<PathBuf>,
    /// Which q of the data file, 1/Å, where it holds several rings.
    #[arg(long, value_name = "Q", value_parser = positive, requires = "from_data")]
    pub q: Option<f64>,
    /// File to write [default: print it].
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "output")]
    pub force: bool,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// A model to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum ModeName {
    /// Diffusion alone.
    #[value(alias = "static_isotropic", alias = "static_anisotropic")]
    Static,
    /// Diffusion under shear.
    #[value(name = "laminar_flow", alias = "laminar-flow")]
    LaminarFlow,
}
