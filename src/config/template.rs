//! A configuration file to begin with, with a comment on every key.

use std::fmt::Write as _;
use std::path::PathBuf;

use super::document::figure;
use super::load::{COMPRESSION, KEEP_PREVIOUS, NPZ_ENTRIES, RESULTS};
use super::plotting::PlotConfig;
use super::streaming::StreamingConfig;
use crate::cluster::SILENCE_LIMIT;
use crate::gram::gpu::MEMORY_FRACTION;
use crate::model::{AnalysisMode, CONTRAST, OFFSET, PHYSICAL, ParameterInfo, ScalingMode};
use crate::sampler::SamplerConfig;
use crate::solver::FitConfig;

/// What a data file says that a configuration would otherwise have to.
#[derive(Debug, Clone, PartialEq)]
pub struct DataFacts {
    /// The file, as the configuration is to name it.
    pub file: PathBuf,
    /// Its layout, for people.
    pub layout: &'static str,
    /// Wavevector magnitude, Å⁻¹.
    pub q: f64,
    /// Time between frames, s, and where it came from; `None` where the file has none.
    pub dt: Option<(f64, String)>,
    /// Gap, Å, where the layout has one.
    pub gap: Option<f64>,
    /// φ of the matrices at q, degree; none where the file has none.
    pub phi: Vec<f64>,
    /// Frames in the file.
    pub n_frames: usize,
}

/// Stands beside values that only the user can know.
const YOURS: &str = "PUT IN YOURS:";
/// Values to show the form of what the user has to put in.
const EXAMPLE_DT: f64 = 0.1;
const EXAMPLE_Q: f64 = 0.0054;
const EXAMPLE_GAP: f64 = 2e6;
const EXAMPLE_FILE: &str = "data.hdf";
/// Column of the comments.
const COMMENTS: usize = 44;

/// The text of a configuration for a mode. `full` shows every key with its default, otherwise those that most fits need;
/// with `data` the values are those of a data file, otherwise examples.
pub fn template(mode: AnalysisMode, full: bool, data: Option<&DataFacts>) -> String {
    let mut t = Text::default();
    t.head(mode, data);
    t.data(mode, full, data);
    t.angles(full, data);
    t.parameters(mode, full);
    t.optimization(full);
    t.results(full);
    if full {
        t.machine();
        t.simulation(mode);
    }
    t.0
}

#[derive(Default)]
struct Text(String);

impl Text {
    /// A line with a comment at the common column; either may be empty.
    fn line(&mut self, text: &str, comment: &str) {
        let gap = COMMENTS.saturating_sub(text.chars().count()).max(2);
        // writing into a string can't fail
        let _ = match (text, comment) {
            (text, "") => writeln!(self.0, "{text}"),
            ("", comment) => writeln!(self.0, "# {comment}"),
            _ => writeln!(self.0, "{text}{:gap$}# {comment}", ""),
        };
    }

    fn lines(&mut self, lines: &[(&str, &str)]) {
        lines.iter().for_each(|(text, comment)| self.line(text, comment));
    }

    fn head(&mut self, mode: AnalysisMode, data: Option<&DataFacts>) {
        self.line("", "Configuration of homodyne-mpi.");
        if let Some(d) = data {
            let (layout, angles) = (d.layout, d.phi.len());
            self.line(
                "",
                &format!("Values from {} ({layout}: {angles} angles × {} frames).", d.file.display(), d.n_frames),
            );
        }
        self.line("", "Check it with `homodyne-mpi config check FILE`, fit with `homodyne-mpi --config FILE`.");
        self.line("", "null everywhere means: the program's own choice.");
        self.line("", "");
        self.line("", "Diffusion: D(t) = D0·t^alpha + D_offset.");
        if mode.has_shear() {
            self.line("", "Shear: γ̇(t) = gamma_dot_t0·t^beta + gamma_dot_t_offset, flowing at the angle phi0.");
        }
        let other = if mode.has_shear() { "`static` leaves out the shear" } else { "`laminar_flow` adds shear" };
        self.line(&format!("analysis_mode: {}", mode.name()), other);
    }

    fn data(&mut self, mode: AnalysisMode, full: bool, data: Option<&DataFacts>) {
        self.lines(&[("", ""), ("analyzer_parameters:", "")]);
        let (dt, dt_comment) = match data.map(|d| &d.dt) {
            None => (figure(EXAMPLE_DT), format!("s between frames; {YOURS} null takes the file's")),
            Some(Some((dt, source))) => (dt.to_string(), format!("s between frames: {source}")),
            Some(None) => ("null".into(), format!("s between frames; {YOURS} the file has none")),
        };
        self.line(&format!("  dt: {dt}"), &dt_comment);
        self.line("  start_frame: 1", "from 1; its time is t = 0");
        let last = data.map_or(String::new(), |d| format!(", {} now", d.n_frames));
        self.line("  end_frame: -1", &format!("inclusive; -1 is the last one of the file{last}"));
        if full {
            self.line("  time_origin: selection", "t = 0 at the first selected frame; `acquisition`: at frame 1");
        }
        self.line("  scattering:", "");
        match data {
            Some(d) => self.line(&format!("    wavevector_q: {}", d.q), "1/Å, of the ring in the file"),
            None => {
                self.line(&format!("    wavevector_q: {EXAMPLE_Q}"), &format!("1/Å; {YOURS} the nearest ring is taken"))
            }
        }
        if full {
            self.line("    q_from: file", "the model takes q of that ring; `config`: the value above as it stands");
        }
        if mode.has_shear() {
            self.line("  geometry:", "");
            let (gap, comment) = match data.and_then(|d| d.gap) {
                Some(gap) => (gap, "Å, gap of the shear cell: of the data file".to_string()),
                None => (EXAMPLE_GAP, format!("Å, gap of the shear cell; {YOURS} no data file says it")),
            };
            // a plain number with a point: other readers of YAML take 2e6 for text
            self.line(&format!("    stator_rotor_gap: {gap:.1}"), &comment);
        }
        if full {
            self.lines(&[
                ("", ""),
                ("model:", ""),
                ("  shear_convention: homodyne", "sinc⁴(q·gap·…/2π) as the Python package; `theory`: sinc²(q·gap·…/2)"),
            ]);
        }
        self.lines(&[("", ""), ("experimental_data:", "")]);
        let file = data.map_or(EXAMPLE_FILE.into(), |d| d.file.to_string_lossy().into_owned());
        // a string of JSON is one of YAML, whatever is in it
        let quoted = serde_json::Value::from(file).to_string();
        self.line(&format!("  file_path: {quoted}"), "from this file's folder, else the working directory");
        if data.is_some_and(|d| d.phi.is_empty()) {
            self.line("  phi_angles: 0.0", &format!("degree, {YOURS} the data file has none; a list: one per matrix"));
        } else if full {
            self.line("  # phi_angles: 0.0", "degree, where the file has none: one for all matrices, or a list");
        }
        if full {
            self.lines(&[
                ("  # data_folder_path: ./data", "both together instead of file_path"),
                ("  # data_file_name: data.hdf", ""),
                ("  file_format: auto", "or the name of a layout, where a file could be read as several"),
                (
                    "  # exchange_key: /exchange",
                    "APS 8-ID-I: group of the results if not said; ESRF ID02: the analysis",
                ),
                ("  # baseline_reference: 1", "NXxpcs files that don't say: 1 for c2, 0 for c2 − 1"),
                ("  # train: mean", "European XFEL files of several trains: `mean`, or a number from 1"),
                ("", ""),
                ("q_tolerance_fraction: 0.1", "where every bin has its own q: those this near to wavevector_q"),
            ]);
        }
    }

    fn angles(&mut self, full: bool, data: Option<&DataFacts>) {
        self.line("", "");
        let data = data.filter(|d| !d.phi.is_empty());
        if let Some(d) = data {
            let phi: Vec<String> = d.phi.iter().map(|&phi| figure(phi)).collect();
            // a list of its own lines, so that a long one stays readable
            self.line("", "Angles in the file, degree:");
            phi.chunks(12).for_each(|part| self.line("", &format!("  {}", part.join(", "))));
        }
        self.lines(&[("phi_filtering:", ""), ("  enabled: false", "true: fit only the angles inside a range below")]);
        let (least, most) = data.map(|d| span(&d.phi)).unwrap_or((-10.0, 10.0));
        self.lines(&[
            ("  target_ranges:", "degree; ranges may run across ±180"),
            (&format!("    - {{ min_angle: {least}, max_angle: {most} }}"), ""),
        ]);
        if full {
            self.line("  fallback_to_all_angles: false", "true: fit all angles when none is inside");
        }
    }

    fn parameters(&mut self, mode: AnalysisMode, full: bool) {
        let physical = &PHYSICAL[..mode.n_physical()];
        let names = physical.iter().map(|p| p.name).collect::<Vec<_>>().join(", ");
        self.lines(&[
            ("", ""),
            ("initial_parameters:", ""),
            (&format!("  parameter_names: [{names}]"), ""),
            ("  values: null", "null: the program searches; else one number for each name"),
        ]);
        if full {
            self.lines(&[
                ("  active_parameters: null", "names of those to fit; null: all"),
                ("  fixed_parameters: null", "held at a value, e.g. {alpha: 0.0, D_offset: 0.0}"),
                ("  per_angle_scaling:", "one value for each angle, by ascending φ: what `constant` holds"),
                ("    contrast: null", ""),
                ("    offset: null", ""),
            ]);
        }
        self.lines(&[("", ""), ("parameter_space:", ""), ("  bounds:", "")]);
        for ParameterInfo { name, unit, bounds: (min, max), .. } in physical.iter().chain([&CONTRAST, &OFFSET]) {
            let unit = if *unit == "1" { "" } else { unit };
            self.line(&format!("    - {{ name: {name}, min: {}, max: {} }}", decimal(*min), decimal(*max)), unit);
        }
    }

    fn optimization(&mut self, full: bool) {
        let fit = FitConfig::default();
        self.lines(&[
            ("", ""),
            ("optimization:", ""),
            ("  method: nlsq", "least squares; nuts: draws from the posterior; both"),
            ("  nlsq:", ""),
            (&format!("    max_iterations: {}", fit.max_iterations), "on the finest level"),
        ]);
        if full {
            self.lines(&[
                (&format!("    tolerance: {}", decimal(fit.ftol)), "stop: relative decrease of χ²"),
                (&format!("    xtol: {}", decimal(fit.xtol)), "stop: step relative to the parameters' scale"),
                (&format!("    gtol: {}", decimal(fit.gtol)), "stop: scaled projected gradient"),
                ("    loss: linear", "least squares; with outliers soft_l1, huber or cauchy, in units of σ"),
            ]);
        }
        let threshold = ScalingMode::AVERAGED_FROM;
        self.line("    anti_degeneracy:", "");
        self.lines(&[
            ("      # Contrast and offset: `averaged` over the angles, `individual` for each of them, `fourier`: series", ""),
            ("      # in φ, `constant`: held at the data's quantiles, or at initial_parameters.per_angle_scaling.", ""),
        ]);
        self.line(
            "      per_angle_mode: auto",
            &format!("averaged from {threshold} angles on, where the data accept it"),
        );
        if full {
            self.lines(&[
                (&format!("      constant_scaling_threshold: {threshold}"), "of `auto`"),
                (&format!("      fourier_order: {}", ScalingMode::FOURIER_ORDER), "harmonics of `fourier`"),
                ("    multi_start:", ""),
                ("      enable: false", "true: search globally in spite of start values"),
                ("      n_starts: null", "starts that are refined"),
                (&format!("      seed: {}", fit.seed), ""),
                ("    cmaes:", ""),
                ("      enable: false", "true: the same search"),
            ]);
            let sampler = SamplerConfig::default();
            self.lines(&[
                ("  nuts:", ""),
                (&format!("    num_warmup: {}", sampler.n_warmup), "of every chain"),
                (&format!("    num_samples: {}", sampler.n_draws), "draws of every chain"),
                (&format!("    num_chains: {}", sampler.n_chains), ""),
                (&format!("    target_accept_prob: {}", decimal(sampler.target_accept)), "more where draws diverge"),
                (&format!("    max_tree_depth: {}", sampler.max_tree_depth), ""),
                (&format!("    seed: {}", sampler.seed), ""),
                ("    sigma: auto", "sampled where the data have none; sampled; fixed"),
            ]);
            let streaming = StreamingConfig::default();
            self.lines(&[
                ("  streaming:", ""),
                ("    enable_checkpoints: true", "a killed run goes on where it was"),
                ("    checkpoint_dir: null", "null: checkpoints in the folder of results"),
                (&format!("    checkpoint_frequency: {}", streaming.frequency), "full passes; at least one a minute"),
                (&format!("    keep_last_checkpoints: {}", streaming.keep), ""),
                ("    resume_from_checkpoint: true", ""),
                ("    enable_fault_tolerance: true", "false: the first failed read ends the run"),
                (&format!("    max_retries_per_batch: {}", streaming.retries), "of a failed read"),
                (
                    "    min_success_rate: 1.0",
                    "share of the matrices without which there is no fit, if reads keep failing",
                ),
            ]);
        }
    }

    fn results(&mut self, full: bool) {
        self.lines(&[("", ""), ("output:", ""), (&format!("  directory: {RESULTS}"), "from the working directory")]);
        let plot = PlotConfig::default();
        if full {
            self.lines(&[
                ("  formats:", ""),
                ("    json: true", "parameters.json and its companions"),
                ("    hdf5: true", "result.h5"),
                ("    html: true", "report.html"),
                ("    npz: true", "fitted_data.npz"),
                ("    csv: false", "parameters.csv, per_angle.csv"),
                (&format!("  max_npz_entries: {NPZ_ENTRIES}"), "up to these matrix entries fitted_data.npz is written"),
                (&format!("  keep_previous: {KEEP_PREVIOUS}"), "results of earlier runs that stay, under previous/"),
                ("  compress_hdf5: true", ""),
                (&format!("  compression_level: {COMPRESSION}"), "gzip, 0 to 9"),
                ("", ""),
                ("plotting:", ""),
                ("  save_plots: true", "c2_heatmaps_phi_….png: data, fit and residual of every angle"),
                ("  format: png", "or svg"),
                (&format!("  dpi: {}", plot.dpi), ""),
                ("  color_scale:", ""),
                ("    mode: legacy", "all values from 1 to 1.6; adaptive: between percentiles; fixed"),
                ("    percentile_min: 1.0", "of `adaptive`"),
                ("    percentile_max: 99.0", ""),
                ("    fixed_min: 1.0", "of `fixed`"),
                ("    fixed_max: 1.5", ""),
                ("", ""),
                ("logging:", ""),
                ("  level: INFO", "OFF, ERROR, WARNING, INFO, DEBUG, TRACE"),
                ("", ""),
                ("validation:", ""),
                ("  strict_mode: false", "true: a key that isn't known ends the run"),
            ]);
        }
    }

    fn machine(&mut self) {
        self.lines(&[
            ("", ""),
            ("performance:", ""),
            ("  strategy_override: null", "standard, large, chunked, streaming; null: by size"),
            ("  memory_limit_gb: null", "of a node; null: what the machine or the job allows"),
            ("  enable_progress: true", ""),
            ("  fast_mode: false", "true: halves of full matrices aren't compared"),
            ("  computation:", ""),
            ("    cpu_threads: auto", "of a rank"),
            ("", ""),
            ("device:", ""),
            ("  kind: auto", "cpu; cuda: NVIDIA GPUs; auto: a GPU where there is one"),
            ("  precision: f64", ""),
            (&format!("  memory_fraction: {MEMORY_FRACTION}"), "of a GPU's free memory"),
            ("", ""),
            ("distributed:", ""),
            ("  io: auto", "root: the first rank reads and deals; parallel: every rank its part"),
            (
                &format!("  silence_limit: {SILENCE_LIMIT:.1}"),
                "s: a rank that is frozen or lost for so long ends the job; 0: never",
            ),
            ("", ""),
            ("noise_estimation:", ""),
            ("  enabled: false", "true: σ per angle from the data, unless the file has it"),
            ("", ""),
            ("data_filtering:", ""),
            ("  enabled: true", ""),
            ("  exclude_frames: []", "such as [57, 120-140], from 1"),
            ("  min_lag_frames: 1", "shorter lags are left out"),
            ("  max_lag_frames: null", "longer ones; null: none"),
        ]);
    }

    /// What `simulate` would make; as a comment, because few want it.
    fn simulation(&mut self, mode: AnalysisMode) {
        const EXAMPLES: [&str; 7] = [
            "D0: 6000.0",
            "alpha: -0.4",
            "D_offset: 500.0",
            "gamma_dot_t0: 0.0005",
            "beta: -0.3",
            "gamma_dot_t_offset: 0.0001",
            "phi0: 3.0",
        ];
        self.lines(&[
            ("", ""),
            ("", "For `homodyne-mpi simulate`: data made from known parameters."),
            ("# simulation:", ""),
            ("#   frames: 500", ""),
            ("#   angles: [0.0, 45.0, 90.0]", "degree"),
            ("#   noise: 0.01", "standard deviation of c2"),
            ("#   seed: 42", ""),
            ("#   contrast: 0.3", "or a list, one for each angle"),
            ("#   offset: 1.0", ""),
            ("#   parameters:", ""),
        ]);
        EXAMPLES[..mode.n_physical()].iter().for_each(|example| self.line(&format!("#     {example}"), ""));
    }
}

/// A number that every reader of YAML takes for one: PyYAML wants a point before an exponent and a sign in it.
fn decimal(value: f64) -> String {
    let text = figure(value);
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let point = if digits.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            format!("{digits}{point}e{sign}{exponent}")
        }
        None if !text.contains('.') => format!("{text}.0"),
        None => text,
    }
}

/// Least and greatest angle, whole degrees around them.
fn span(phi: &[f64]) -> (f64, f64) {
    let least = phi.iter().copied().fold(f64::INFINITY, f64::min);
    let most = phi.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    ((least - 1.0).floor(), (most + 1.0).ceil())
}
