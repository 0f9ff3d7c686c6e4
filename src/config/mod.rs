//! The configuration: one YAML file, checked against a schema, turned into typed values.

mod check;
mod choices;
mod document;
mod effective;
mod examine;
mod keys;
mod load;
mod node;
mod overrides;
mod parameters;
mod parse;
mod plotting;
mod reference;
mod sampling;
mod scaling;
mod schema;
mod selection;
mod simulation;
mod source;
mod streaming;
mod template;
#[cfg(test)]
mod tests;

use std::path::PathBuf;

pub use crate::sampler::SamplerConfig;
pub use crate::solver::FitConfig;
pub(crate) use document::figure;
pub use examine::{Findings, examine};
pub use load::load;
pub use overrides::Overrides;
pub use plotting::{ColorScale, PictureFormat, PlotConfig};
pub use reference::reference;
pub use scaling::{AngleScaling, Given};
pub use streaming::StreamingConfig;
pub use template::{DataFacts, template};

use crate::cluster::SILENCE_LIMIT;
use crate::cluster::Strategy;
use crate::dataset::Selection;
use crate::gram::Precision;
use crate::gram::gpu::{DeviceChoice, MEMORY_FRACTION};
use crate::model::{AnalysisMode, ParameterSpace, ScalingMode, ShearConvention};

/// Where t = 0 lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeOrigin {
    /// At the first selected frame.
    Selection,
    /// At frame 1 of the measurement: of the file, or of the detector where the file says how much later the correlator began.
    Acquisition,
}

impl TimeOrigin {
    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Selection => "selection",
            Self::Acquisition => "acquisition",
        }
    }
}

/// What is done with the data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// Bounded nonlinear least squares.
    Nlsq,
    /// Sampling of the posterior; the fit is where it begins.
    Nuts,
    /// Both, and how they agree.
    Both,
}

impl Method {
    /// The name in configuration and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nlsq => "nlsq",
            Self::Nuts => "nuts",
            Self::Both => "both",
        }
    }

    /// Whether the posterior is sampled.
    pub fn samples(self) -> bool {
        self != Self::Nlsq
    }
}

/// Settings of memory and processors.
#[derive(Debug, Clone, PartialEq)]
pub struct PerformanceConfig {
    /// Strategy asked for; `None` = by size.
    pub strategy: Option<Strategy>,
    /// Memory limit per node, GB of 1024³ bytes; `None` = environment or machine.
    pub memory_limit_gb: Option<f64>,
    /// Threads per rank; `None` = by affinity.
    pub threads: Option<usize>,
    /// Precision of Gram passes.
    pub precision: Precision,
    /// Where passes are made.
    pub device: DeviceChoice,
    /// Share of a GPU's free memory that is used.
    pub memory_fraction: f64,
    /// Whether every rank reads its part of the file; else rank 0 reads all.
    pub parallel_reading: Option<bool>,
    /// How long ranks may be silent before the job ends, s; 0 = for ever.
    pub silence_limit: f64,
    /// Whether progress is shown on a terminal.
    pub progress: bool,
}

impl Default for PerformanceConfig {
    fn default() -> Self {
        Self {
            strategy: None,
            memory_limit_gb: None,
            threads: None,
            precision: Precision::default(),
            device: DeviceChoice::default(),
            memory_fraction: MEMORY_FRACTION,
            parallel_reading: None,
            silence_limit: SILENCE_LIMIT,
            progress: true,
        }
    }
}

/// What is written.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputConfig {
    /// Result folder, relative to the working directory.
    pub directory: PathBuf,
    /// Write `result.h5`.
    pub hdf5: bool,
    /// Write the JSON files.
    pub json: bool,
    /// Write `parameters.csv` and `per_angle.csv`.
    pub csv: bool,
    /// Write `report.html`.
    pub html: bool,
    /// gzip level of `result.h5`, 0 = not compressed.
    pub compression: u8,
    /// Entries of a matrix array, K·(N−1)², up to which `fitted_data.npz` is written.
    pub max_npz_entries: u64,
    /// Results of earlier runs that are kept.
    pub keep_previous: usize,
}

/// What `simulate` makes.
#[derive(Debug, Clone, PartialEq)]
pub struct SimulationConfig {
    /// Physical parameters, in the order of [`crate::model::PHYSICAL`].
    pub parameters: Vec<f64>,
    /// φ of every matrix, degree.
    pub phi: Vec<f64>,
    /// Number of frames in the file.
    pub n_frames: usize,
    /// Standard deviation of the noise added to every pair.
    pub noise: f64,
    /// Seed of the noise.
    pub seed: u64,
    /// Contrast of every angle.
    pub contrast: Vec<f64>,
    /// Offset of every angle.
    pub offset: Vec<f64>,
}

/// A key of the file that is known and has no effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IgnoredKey {
    /// Its dotted path.
    pub path: String,
    /// Why it has none.
    pub reason: &'static str,
}

impl std::fmt::Display for IgnoredKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.reason)
    }
}

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The file it came from.
    pub path: PathBuf,
    /// Transport model.
    pub mode: AnalysisMode,
    /// Shear convention.
    pub convention: ShearConvention,
    /// Gap of the shear cell, Å; `None` where the configuration leaves it to the data file.
    pub gap: Option<f64>,
    /// Where t = 0 lies.
    pub time_origin: TimeOrigin,
    /// Whether the configuration says so itself.
    pub time_origin_is_given: bool,
    /// The data file, resolved; `None` where the configuration names none (simulate needs none).
    pub data_file: Option<PathBuf>,
    /// What in the configuration may be why nothing is there.
    pub data_file_slip: Option<&'static str>,
    /// What to take from it.
    pub selection: Selection,
    /// Names, bounds, start, fixed values.
    pub parameters: ParameterSpace,
    /// Contrast and offset of single angles.
    pub scaling: AngleScaling,
    /// Whether σ is estimated from the data where the file has none.
    pub estimate_noise: bool,
    /// Fit, samples of the posterior, or both.
    pub method: Method,
    /// Solver settings.
    pub fit: FitConfig,
    /// Sampler settings.
    pub sampler: SamplerConfig,
    /// Memory and processors.
    pub performance: PerformanceConfig,
    /// Checkpoints and batches.
    pub streaming: StreamingConfig,
    /// Results.
    pub output: OutputConfig,
    /// Pictures.
    pub plotting: PlotConfig,
    /// Log level named in the file.
    pub log_level: Option<log::LevelFilter>,
    /// What `simulate` makes, where the file says.
    pub simulation: Option<SimulationConfig>,
    /// The values in force, defaults and command line included, for `result.h5`.
    pub effective: serde_json::Value,
    /// Unknown keys and the like: what to tell the user, each with its place.
    pub warnings: Vec<String>,
    /// Keys known from other programs that mean nothing here.
    pub ignored_keys: Vec<IgnoredKey>,
}
