//! The reference of all keys, as Markdown: what `config reference` prints and docs/configuration.md holds.

use std::fmt::Write;

use super::choices::words;
use super::keys::{GROUPS, OTHER_NAMES};
#[cfg(test)]
use super::schema::keys;
use super::schema::{Kind, Known, find};

/// What a key is for.
struct Entry {
    path: &'static str,
    /// Its default, as it would stand in the file.
    default: &'static str,
    text: &'static str,
}

const fn entry(path: &'static str, default: &'static str, text: &'static str) -> Entry {
    Entry { path, default, text }
}

/// Every key that is read, in the order of a file, by section.
const SECTIONS: &[(&str, &[Entry])] = &[
    (
        "What is fitted",
        &[
            entry(
                "analysis_mode",
                "required",
                "the model: diffusion alone (the three static names mean the same), or with shear",
            ),
            entry(
                "model.shear_convention",
                "homodyne",
                "how the shear rate enters: sinc⁴(q·gap·…/2π) as in the Python package, or sinc²(q·gap·…/2) of the theory",
            ),
            entry(
                "initial_parameters.parameter_names",
                "null",
                "the order of `values`; null: D0, alpha, D_offset, then gamma_dot_t0, beta, gamma_dot_t_offset, phi0",
            ),
            entry(
                "initial_parameters.values",
                "null",
                "start values, a list or a mapping by name; null: the program searches for its own start",
            ),
            entry(
                "initial_parameters.active_parameters",
                "null",
                "names of the parameters to fit; the others stay at their values; null: all",
            ),
            entry("initial_parameters.fixed_parameters", "null", "parameters held at a value, such as {alpha: 0.0}"),
            entry(
                "initial_parameters.per_angle_scaling.contrast",
                "null",
                "contrast of every selected angle by ascending φ, which the scaling mode `constant` holds",
            ),
            entry("initial_parameters.per_angle_scaling.offset", "null", "the same for the offset"),
            entry(
                "parameter_space.bounds",
                "those of docs/theory.md",
                "list of {name, min, max}; also contrast, offset, and contrast_0, offset_0 … of single angles by ascending φ; for sampling the prior as {type, prior_mu, prior_sigma}: Uniform, LogUniform, TruncatedNormal, LogNormal (of ln x)",
            ),
        ],
    ),
    (
        "The experiment",
        &[
            entry("analyzer_parameters.dt", "null", "time between frames, s; null takes the file's"),
            entry("analyzer_parameters.start_frame", "1", "first frame, from 1; its time is t = 0"),
            entry("analyzer_parameters.end_frame", "-1", "last frame, inclusive; -1 is the last one of the file"),
            entry(
                "analyzer_parameters.time_origin",
                "selection",
                "t = 0 at the first selected frame, or (`acquisition`) at frame 1 of the file, or where the detector began, if the file says so",
            ),
            entry(
                "analyzer_parameters.scattering.wavevector_q",
                "null",
                "magnitude of the wavevector, 1/Å, which chooses the nearest ring; null where the file has one ring",
            ),
            entry(
                "analyzer_parameters.scattering.q_from",
                "file",
                "whose q the model takes: that of the ring, or (`config`) `wavevector_q` as it stands, as the Python package does",
            ),
            entry(
                "analyzer_parameters.geometry.stator_rotor_gap",
                "null",
                "gap of the shear cell, Å; needed under shear unless the file has it",
            ),
        ],
    ),
    (
        "The data file",
        &[
            entry(
                "experimental_data.file_path",
                "null",
                "the file, looked up from the configuration's folder, then from the working directory; `--data-file` overrides it",
            ),
            entry("experimental_data.data_folder_path", "null", "with `data_file_name`, instead of `file_path`"),
            entry("experimental_data.data_file_name", "null", "see `data_folder_path`"),
            entry("experimental_data.file_format", "auto", "insists on a layout; `auto` and `hdf5` look into the file"),
            entry(
                "experimental_data.exchange_key",
                "null",
                "APS 8-ID-I: group of the results where the file doesn't say; ESRF ID02: which of several analyses; NXxpcs: which of several entries",
            ),
            entry(
                "experimental_data.phi_angles",
                "null",
                "φ in degree where the file has none: one number for all matrices, or a list with one for each",
            ),
            entry(
                "experimental_data.train",
                "null",
                "European XFEL files of several trains: a number from 1, or `mean`",
            ),
            entry(
                "experimental_data.baseline_reference",
                "null",
                "NXxpcs files that don't say what they hold: 1 for c2, 0 for c2 − 1",
            ),
            entry(
                "q_tolerance_fraction",
                "0.1",
                "files in which every bin has its own q: bins this near to `wavevector_q`, as a part of it, are taken",
            ),
            entry("phi_filtering.enabled", "false", "whether only angles inside `target_ranges` are fitted"),
            entry(
                "phi_filtering.target_ranges",
                "[]",
                "list of {min_angle, max_angle} in degree; ranges may run across ±180",
            ),
            entry(
                "phi_filtering.fallback_to_all_angles",
                "false",
                "fit all angles when none is inside; otherwise that is an error",
            ),
            entry("data_filtering.enabled", "true", "whether the three keys below have an effect"),
            entry(
                "data_filtering.exclude_frames",
                "[]",
                "frames that are left out, from 1, single ones or ranges such as 120-140",
            ),
            entry("data_filtering.min_lag_frames", "1", "pairs of shorter lag are left out"),
            entry("data_filtering.max_lag_frames", "null", "pairs of longer lag are left out; null: none"),
            entry(
                "noise_estimation.enabled",
                "false",
                "whether σ of every angle is estimated from the data where the file has none: errors are taken from it then, and angles weigh by 1/σ²",
            ),
        ],
    ),
    (
        "The fit",
        &[
            entry(
                "optimization.method",
                "nlsq",
                "`nlsq`: bounded nonlinear least squares; `nuts`: draws from the posterior, begun around that fit; `both`: and how the two agree",
            ),
            entry("optimization.nlsq.max_iterations", "100", "most passes of the last refinement at full resolution"),
            entry("optimization.nlsq.tolerance", "1e-8", "ends where χ² would decrease by less than this part of it"),
            entry(
                "optimization.nlsq.xtol",
                "1e-8",
                "ends where a step is shorter than this, in units of the parameters' scale",
            ),
            entry("optimization.nlsq.gtol", "1e-8", "ends where the scaled projected gradient is smaller"),
            entry("optimization.nlsq.loss", "linear", "least squares, or a robust loss of residuals in units of σ"),
            entry(
                "optimization.nlsq.anti_degeneracy.per_angle_mode",
                "auto",
                "contrast and offset: shared by all angles, one pair for each, series in φ, or held; `auto` averages from `constant_scaling_threshold` angles on, where the data accept one pair",
            ),
            entry("optimization.nlsq.anti_degeneracy.constant_scaling_threshold", "3", "see `per_angle_mode`"),
            entry("optimization.nlsq.anti_degeneracy.fourier_order", "2", "harmonics of the mode `fourier`"),
            entry(
                "optimization.nlsq.multi_start.enable",
                "false",
                "search globally although start values are given; without start values there is a search anyway",
            ),
            entry(
                "optimization.nlsq.multi_start.n_starts",
                "null",
                "starts that are refined; null: the program's choice",
            ),
            entry("optimization.nlsq.multi_start.seed", "42", "seed of the search"),
            entry("optimization.nlsq.cmaes.enable", "false", "the same as `multi_start.enable`"),
        ],
    ),
    (
        "Sampling",
        &[
            entry(
                "optimization.nuts.num_warmup",
                "500",
                "transitions of every chain that only adapt its step and metric",
            ),
            entry("optimization.nuts.num_samples", "1000", "draws of every chain"),
            entry("optimization.nuts.num_chains", "4", "chains; a pass over the data answers all of them at once"),
            entry(
                "optimization.nuts.target_accept_prob",
                "0.9",
                "acceptance that steps are adapted to; more where draws diverge",
            ),
            entry("optimization.nuts.max_tree_depth", "10", "most doublings of a trajectory"),
            entry("optimization.nuts.seed", "42", "seed of the chains"),
            entry(
                "optimization.nuts.sigma",
                "auto",
                "whether σ is a parameter with the prior 1/σ; `auto`: where neither the file nor the configuration gives it",
            ),
            entry(
                "optimization.cmc.per_shard_mcmc.num_warmup",
                "null",
                "the Python package's name of `nuts.num_warmup`",
            ),
            entry("optimization.cmc.per_shard_mcmc.num_samples", "null", "of `nuts.num_samples`"),
            entry("optimization.cmc.per_shard_mcmc.num_chains", "null", "of `nuts.num_chains`"),
            entry("optimization.cmc.per_shard_mcmc.target_accept_prob", "null", "of `nuts.target_accept_prob`"),
            entry("optimization.cmc.per_shard_mcmc.max_tree_depth", "null", "of `nuts.max_tree_depth`"),
            entry("optimization.mcmc.num_warmup", "null", "an older name of `nuts.num_warmup`"),
            entry("optimization.mcmc.num_samples", "null", "of `nuts.num_samples`"),
            entry("optimization.mcmc.num_chains", "null", "of `nuts.num_chains`"),
            entry("optimization.mcmc.target_accept_prob", "null", "of `nuts.target_accept_prob`"),
            entry("optimization.mcmc.max_tree_depth", "null", "of `nuts.max_tree_depth`"),
        ],
    ),
    (
        "Checkpoints and streaming",
        &[
            entry("optimization.streaming.enable_checkpoints", "true", "whether a killed run can go on where it was"),
            entry(
                "optimization.streaming.checkpoint_dir",
                "null",
                "folder of checkpoints and of nodes of a streamed run, from the working directory; null: `checkpoints` in the folder of results",
            ),
            entry(
                "optimization.streaming.checkpoint_frequency",
                "10",
                "full-resolution passes between two checkpoints; there is one a minute anyway",
            ),
            entry("optimization.streaming.keep_last_checkpoints", "3", "how many are kept"),
            entry(
                "optimization.streaming.resume_from_checkpoint",
                "true",
                "whether a run goes on from the checkpoint that an earlier one left; `--resume` overrides it",
            ),
            entry(
                "optimization.streaming.enable_fault_tolerance",
                "true",
                "false: the first read that fails ends the run",
            ),
            entry("optimization.streaming.max_retries_per_batch", "2", "how often a failed read is tried again"),
            entry(
                "optimization.streaming.min_success_rate",
                "1.0",
                "share of the matrices that must be readable; what can't be read beyond the retries is left out and named",
            ),
        ],
    ),
    (
        "Results",
        &[
            entry(
                "output.directory",
                "./homodyne_results",
                "folder of results, from the working directory; `--output-dir` overrides it",
            ),
            entry(
                "output.formats.json",
                "true",
                "write parameters.json, analysis_results_nlsq.json and convergence_metrics.json",
            ),
            entry("output.formats.hdf5", "true", "write result.h5"),
            entry("output.formats.html", "true", "write report.html"),
            entry("output.formats.csv", "false", "write parameters.csv and per_angle.csv"),
            entry("output.formats.npz", "true", "write fitted_data.npz"),
            entry(
                "output.max_npz_entries",
                "2000000",
                "entries of a matrix array, K·(N−1)², up to which fitted_data.npz is written",
            ),
            entry(
                "output.keep_previous",
                "10",
                "results of earlier runs that are kept under `previous/`; older ones are removed once the new ones are safe",
            ),
            entry("output.compress_hdf5", "true", "compress result.h5"),
            entry("output.compression_level", "4", "gzip level, 0 to 9"),
            entry(
                "plotting.save_plots",
                "true",
                "draw data, fit and residual of every angle: c2_heatmaps_phi_<φ>deg.png",
            ),
            entry(
                "plotting.format",
                "png",
                "dots, or (`svg`) shapes and text; for `pdf`, which the Python package has, svg is written",
            ),
            entry("plotting.dpi", "150", "dots per inch, 30 to 1200; a picture is 13.5 × 4.1 inches"),
            entry(
                "plotting.color_scale.mode",
                "legacy",
                "from where to where colours of c2 run, in pictures and report: over all values from 1 to 1.6, between two percentiles, or between fixed values",
            ),
            entry("plotting.color_scale.percentile_min", "1.0", "of the mode `adaptive`"),
            entry("plotting.color_scale.percentile_max", "99.0", "of the mode `adaptive`"),
            entry("plotting.color_scale.fixed_min", "1.0", "of the mode `fixed`"),
            entry("plotting.color_scale.fixed_max", "1.5", "of the mode `fixed`"),
            entry("logging.level", "INFO", "how much is said on the terminal; `-v`, `-vv` and `-q` override it"),
            entry("validation.strict_mode", "false", "whether a key that isn't known ends the run"),
        ],
    ),
    (
        "Machines",
        &[
            entry("performance.strategy_override", "null", "how data are held and passes cut; null or `auto`: by size"),
            entry(
                "performance.memory_limit_gb",
                "null",
                "memory of a node that may be used, in GB of 1024³ bytes; null: what the machine or the job allows",
            ),
            entry("performance.computation.cpu_threads", "auto", "threads of a rank; `--threads` overrides it"),
            entry("performance.enable_progress", "true", "whether progress is shown"),
            entry("performance.fast_mode", "false", "don't compare the halves of full matrices"),
            entry(
                "device.kind",
                "auto",
                "where passes are made: on NVIDIA GPUs, on the CPU, or on a GPU where there is one",
            ),
            entry("device.precision", "f64", "precision of the pairs on a GPU; `mixed` forms residuals in f32"),
            entry("device.memory_fraction", "0.9", "share of a GPU's free memory that is used"),
            entry(
                "distributed.io",
                "auto",
                "the first rank reads the file and deals it out, or every rank reads its part; auto: the latter where all see the file",
            ),
            entry(
                "distributed.silence_limit",
                "60",
                "s after which a rank that is frozen or lost ends the job; 0: never",
            ),
        ],
    ),
    (
        "Simulated data (`homodyne-mpi simulate`)",
        &[
            entry("simulation.frames", "required", "frames of the file"),
            entry("simulation.angles", "required", "φ of every matrix, degree"),
            entry("simulation.parameters", "initial_parameters.values", "physical parameters by name"),
            entry("simulation.contrast", "0.3", "one number, or a list with one for each angle"),
            entry("simulation.offset", "1.0", "one number, or a list with one for each angle"),
            entry("simulation.noise", "0.01", "standard deviation of c2"),
            entry("simulation.seed", "42", "seed of the noise"),
        ],
    ),
];

const HEAD: &str = "\
# Configuration reference

Every key that a configuration file may hold. This page is made from the program's own table: `homodyne-mpi config reference`
prints it. `homodyne-mpi config init --mode laminar_flow --full` writes a file with all of them, `homodyne-mpi config check FILE`
examines one. `null` stands for the default everywhere. The command line wins over the file (`--set key.path=value` sets any key),
the file over the environment.
";

const OTHERS: &str = "\
## Other names

Files of the Python packages `homodyne`, `xpcsjax` and `heterodyne` may call keys by other names. Where both stand in a file, the
name above counts.
";

const IDLE: &str = "\
## Keys without effect

Files of these packages may hold these keys, too; they are accepted. `config check -v` names those of a file.
";

/// The reference as Markdown.
pub fn reference() -> String {
    let mut text = HEAD.to_string();
    // writing into a string can't fail
    for (title, entries) in SECTIONS {
        let _ = writeln!(text, "\n## {title}\n\n| key | default | meaning |\n| --- | --- | --- |");
        for Entry { path, default, text: meaning } in *entries {
            let kind = match find(path) {
                Some(Known::Used(kind)) => kind,
                _ => Kind::Any,
            };
            let values = match words(path) {
                Some(words) => {
                    let words: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                    format!(" ({})", words.join(", "))
                }
                None if matches!(kind, Kind::Flag) => " (`true`, `false`)".into(),
                None => String::new(),
            };
            let _ = writeln!(text, "| `{path}` | `{default}` | {meaning}{values} |");
        }
    }
    let _ = write!(text, "\n{OTHERS}\n| name | key |\n| --- | --- |\n");
    for (name, key) in OTHER_NAMES {
        let _ = writeln!(text, "| `{name}` | `{key}` |");
    }
    let _ = write!(text, "\n{IDLE}\n| section | keys | why |\n| --- | --- | --- |\n");
    for group in GROUPS {
        if let Known::Idle(reason) = group.known {
            let keys: Vec<String> = group.keys.split_whitespace().map(|key| format!("`{key}`")).collect();
            let section = if group.prefix.is_empty() { "(top)".into() } else { format!("`{}`", group.prefix) };
            let _ = writeln!(text, "| {section} | {} | {reason} |", keys.join(" "));
        }
    }
    text
}

/// Keys that are read and have no entry, and entries of keys that aren't read.
#[cfg(test)]
fn mismatch() -> Vec<&'static str> {
    let entries: Vec<&str> = SECTIONS.iter().flat_map(|(_, entries)| entries.iter().map(|e| e.path)).collect();
    let read: Vec<&str> = keys().filter(|(_, known)| matches!(known, Known::Used(_))).map(|(path, _)| path).collect();
    let missing = read.iter().filter(|path| !entries.contains(path));
    missing.chain(entries.iter().filter(|path| !read.contains(path))).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load::from_source;
    use crate::config::source::Source;
    use crate::config::{Config, Overrides};

    fn from_text(text: &str, overrides: &Overrides) -> crate::Result<Config> {
        from_source(Source::new("c.yaml".into(), text), overrides)
    }

    #[test]
    fn every_key_has_an_entry() {
        assert_eq!(mismatch(), Vec::<&str>::new());
    }

    #[test]
    fn the_document_is_the_reference() {
        let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");
        let written = std::fs::read_to_string(file).unwrap_or_default();
        assert!(
            written == reference(),
            "docs/configuration.md isn't what `homodyne-mpi config reference` prints; write it again"
        );
    }

    #[test]
    fn defaults_are_those_of_the_program() {
        // setting every default changes nothing in force
        let base = "analysis_mode: laminar_flow\nanalyzer_parameters: {geometry: {stator_rotor_gap: 2.0e6}}\n";
        let plain = from_text(base, &Overrides::default()).unwrap();
        let entries = SECTIONS.iter().flat_map(|(_, entries)| *entries);
        let skipped = ["required", "those of docs/theory.md", "initial_parameters.values"];
        let set: Vec<String> = entries
            .filter(|e| !skipped.contains(&e.default) && !e.path.starts_with("simulation."))
            .map(|e| format!("{}={}", e.path, e.default))
            .filter(|set| set != "analyzer_parameters.geometry.stator_rotor_gap=null")
            .collect();
        let all = from_text(base, &Overrides { set, ..Overrides::default() }).unwrap();
        let mut effective = all.effective.clone();
        // the only one without a value in force unless it is set
        effective["logging"]["level"] = plain.effective["logging"]["level"].clone();
        assert_eq!(effective, plain.effective);
    }
}
