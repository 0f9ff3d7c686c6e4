//! The command line as clap types; no logic beyond saying what isn't there yet.

mod checkpoint;
mod config;
mod device;
mod examples;
mod results;

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};

pub use checkpoint::{CheckpointArgs, CheckpointCommand, ListArgs, VerifyArgs};
pub use config::{CheckArgs, ConfigArgs, ConfigCommand, InitArgs, ModeName};
pub use device::{DeviceArgs, DeviceCommand};
use examples::{BENCHMARK_EXAMPLES, COMPLETIONS_EXAMPLES, EXAMPLES, INSPECT_EXAMPLES, SIMULATE_EXAMPLES};
pub use results::{CompareArgs, ConvertArgs};

/// Fits XPCS two-time correlation data to transport models, on one machine or over many nodes.
///
/// Without a command: fit. The same program runs alone, under mpirun and under srun.
#[derive(Debug, Clone, Parser)]
#[command(name = "homodyne-mpi", version, after_help = EXAMPLES)]
#[command(args_conflicts_with_subcommands = true, arg_required_else_help = true)]
#[command(override_usage = "homodyne-mpi --config <FILE> [OPTIONS]\n       homodyne-mpi <COMMAND>")]
pub struct Cli {
    /// What to do; nothing = fit.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Arguments of the fit.
    #[command(flatten)]
    pub fit: FitArgs,
}

/// What to do besides fitting.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Make data with known parameters, to try a fit on.
    Simulate(SimulateArgs),
    /// Show what a data file holds and what a fit would take from it.
    Inspect(InspectArgs),
    /// Write a data file, or a part of it, in another layout.
    Convert(ConvertArgs),
    /// Put two results side by side, in units of their errors.
    Compare(CompareArgs),
    /// Write a configuration file to begin with, or check one.
    Config(ConfigArgs),
    /// Show what there is to compute on.
    Device(DeviceArgs),
    /// List the checkpoints in a folder, or verify them.
    Checkpoint(CheckpointArgs),
    /// Measure this machine and what the program gets out of it.
    Benchmark(BenchmarkArgs),
    /// Print a script with which a shell completes this command line.
    Completions(CompletionsArgs),
}

/// Arguments of the fit.
#[derive(Debug, Clone, Args)]
pub struct FitArgs {
    /// Configuration file (YAML, the same that `homodyne` reads).
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Folder for results [default: output.directory of the configuration, else ./homodyne_results].
    #[arg(short, long, value_name = "DIR")]
    pub output_dir: Option<PathBuf>,
    /// Data file, instead of the one that the configuration names.
    #[arg(long, value_name = "FILE")]
    pub data_file: Option<PathBuf>,
    /// Way to fit [default: optimization.method of the configuration, else nlsq].
    #[arg(long, value_name = "METHOD")]
    pub method: Option<Method>,
    /// Where to compute [default: device.kind of the configuration, else auto].
    #[arg(long, value_name = "DEVICE")]
    pub device: Option<DeviceKind>,
    /// Threads per rank [default: the configuration, else SLURM_CPUS_PER_TASK, else the cores this rank may use].
    #[arg(long, value_name = "N", value_parser = threads)]
    pub threads: Option<usize>,
    /// How to hold the data and cut the passes [default: by size].
    #[arg(long, value_name = "STRATEGY", ignore_case = true)]
    pub strategy: Option<StrategyName>,
    /// Set a value of the configuration, in YAML; may be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// True values written by `simulate`, printed beside the fitted ones.
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Go on from a checkpoint: the newest one of the checkpoint folder, none, or this file [default: auto].
    #[arg(long, value_name = "auto|never|PATH")]
    pub resume: Option<String>,
    /// Save a checkpoint and stop (exit code 75) after this time: seconds, or as `90m`, `1h30m`, `01:30:00`.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub max_time: Option<Duration>,
    /// Check everything and print the plan: tiles, pairs and bytes per rank, predicted times; write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Record what every rank does when, for ui.perfetto.dev or chrome://tracing.
    #[arg(long, value_name = "FILE")]
    pub trace: Option<PathBuf>,
    /// Record every rank's resident memory over time, as CSV.
    #[arg(long, value_name = "FILE")]
    pub memory_profile: Option<PathBuf>,
    /// Replace the files of --trace and --memory-profile if they are there.
    #[arg(long)]
    pub force: bool,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Arguments of `simulate`.
#[derive(Debug, Clone, Args)]
#[command(after_help = SIMULATE_EXAMPLES)]
pub struct SimulateArgs {
    /// Configuration file with a `simulation` section.
    #[arg(short, long, value_name = "FILE")]
    pub config: PathBuf,
    /// Data file to write.
    #[arg(short, long, value_name = "FILE")]
    pub out: PathBuf,
    /// Draw the matrices: data, model and noise.
    #[arg(long)]
    pub plot: bool,
    /// Folder for pictures [default: that of the data file]; implies --plot.
    #[arg(long, value_name = "DIR")]
    pub plot_dir: Option<PathBuf>,
    /// Replace the data file, the truth beside it and pictures if they are there.
    #[arg(long)]
    pub force: bool,
    /// Layout of the file: `aps-u` as boost_corr writes it, `native` for large runs.
    #[arg(long, value_name = "LAYOUT", default_value = "aps-u")]
    pub layout: LayoutName,
    /// Set a value of the configuration, in YAML; may be repeated.
    #[arg(long, value_name = "KEY.PATH=VALUE")]
    pub set: Vec<String>,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Arguments of `inspect`.
#[derive(Debug, Clone, Args)]
#[command(after_help = INSPECT_EXAMPLES)]
pub struct InspectArgs {
    /// Data file.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Configuration whose selection of frames, q and angles to apply.
    #[arg(short, long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Wavevector magnitude to pick, 1/Å [default: the configuration's, else none is picked].
    #[arg(long, value_name = "Q", value_parser = positive)]
    pub q: Option<f64>,
    /// Time between frames, s [default: the configuration's, else the file's].
    #[arg(long, value_name = "SECONDS", value_parser = positive)]
    pub dt: Option<f64>,
    /// Draw the matrices.
    #[arg(long)]
    pub plot: bool,
    /// Folder for pictures [default: the working directory]; implies --plot.
    #[arg(long, value_name = "DIR")]
    pub plot_dir: Option<PathBuf>,
    /// Replace pictures that are there.
    #[arg(long)]
    pub force: bool,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// Arguments of `completions`.
#[derive(Debug, Clone, Copy, Args)]
#[command(after_help = COMPLETIONS_EXAMPLES)]
pub struct CompletionsArgs {
    /// The shell.
    #[arg(value_name = "SHELL")]
    pub shell: clap_complete::Shell,
}

/// Arguments of `benchmark`.
///
/// Prints a table: the machine's peaks, the rate of every pass, reading, the reduction, whole fits. It takes about half a
/// minute. Under mpirun the first rank measures while the others rest; then all measure the reduction over all ranks.
#[derive(Debug, Clone, Args)]
#[command(after_help = BENCHMARK_EXAMPLES)]
pub struct BenchmarkArgs {
    /// Write the figures to this file, too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Replace the file if it is there.
    #[arg(long, requires = "json")]
    pub force: bool,
    /// Numbers of threads to measure with [default: 1 and all cores that this process may use].
    #[arg(long, value_name = "N,…", value_parser = threads, value_delimiter = ',')]
    pub threads: Vec<usize>,
    /// Measure on small data, in a few seconds: a try, its figures are of the caches.
    #[arg(long)]
    pub quick: bool,
    /// Run one whole fit of so many points of made-up data instead, from a file to the results, over all ranks.
    #[arg(long, value_name = "N", value_parser = points, conflicts_with_all = ["quick", "threads"])]
    pub points: Option<u64>,
    /// Physical parameters of that fit: 3 (diffusion) or 7 (with shear) [default: 7].
    #[arg(long, value_name = "P", value_parser = ["3", "7"], requires = "points")]
    pub parameters: Option<String>,
    /// How much is said.
    #[command(flatten)]
    pub verbosity: Verbosity,
}

/// How much is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Args)]
pub struct Verbosity {
    /// Say more; -vv says everything.
    #[arg(short, long, action = ArgAction::Count)]
    pub verbose: u8,
    /// Say nothing but errors.
    #[arg(short, long, conflicts_with = "verbose")]
    pub quiet: bool,
}

/// Way to fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Bounded nonlinear least squares.
    Nlsq,
    /// Draws from the posterior (No-U-Turn sampler), begun around that fit.
    #[value(alias = "mcmc", alias = "cmc")]
    Nuts,
    /// Both, and how they agree.
    Both,
}

/// Where to compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum DeviceKind {
    /// The best there is.
    Auto,
    /// The CPU cores.
    Cpu,
    /// NVIDIA GPUs.
    Cuda,
}

impl DeviceKind {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
        }
    }
}

/// How to hold the data and cut the passes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum StrategyName {
    /// By size.
    Auto,
    /// In memory, one pass at a time.
    Standard,
    /// In memory, sharded.
    Large,
    /// In memory, sharded, passes cut into batches.
    Chunked,
    /// From a file in every pass.
    Streaming,
}

/// Layout of a file to write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LayoutName {
    /// APS-U, as boost_corr writes it.
    ApsU,
    /// Ours, for large runs.
    Native,
}

impl Method {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nlsq => "nlsq",
            Self::Nuts => "nuts",
            Self::Both => "both",
        }
    }
}

impl StrategyName {
    /// The name in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Standard => "standard",
            Self::Large => "large",
            Self::Chunked => "chunked",
            Self::Streaming => "streaming",
        }
    }
}

/// What to tell a user who asks for a fit of nothing.
pub const NO_CONFIG: &str = "no configuration file: give --config FILE (see --help)";

/// Why a command line that could be parsed is refused all the same; `None` where it isn't.
pub fn refused(cli: &Cli) -> Option<String> {
    let no_config = cli.command.is_none() && cli.fit.config.is_none();
    no_config.then(|| NO_CONFIG.to_string())
}

fn threads(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|&n| n >= 1).ok_or_else(|| "expected a whole number from 1".to_string())
}

/// Plain numbers are seconds; all else is as jiff reads it.
fn time(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let spelt = || text.parse::<jiff::SignedDuration>().ok().and_then(|time| time.try_into().ok());
    seconds
        .or_else(spelt)
        .filter(|time| !time.is_zero())
        .ok_or_else(|| "expected a time such as 5400 (seconds), 90m, 1h30m or 01:30:00".to_string())
}

/// Up to a matrix of 10⁷ frames; `1e8` is a number, too.
fn points(text: &str) -> Result<u64, String> {
    let value = text.replace('_', "").parse::<f64>().ok().filter(|v| (1.0..=1e14).contains(v) && v.fract() == 0.0);
    value.map(|v| v as u64).ok_or_else(|| "expected a whole number such as 1000000 or 1e8".to_string())
}

fn positive(text: &str) -> Result<f64, String> {
    let value = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
    value.ok_or_else(|| "expected a number greater than 0".to_string())
}

#[cfg(test)]
mod tests;
