//! From a configuration file and the command line to a checked [`Config`].

use std::path::{Path, PathBuf};

use super::check::check;
use super::document::Document;
use super::node::Place;
use super::overrides::Overrides;
use super::parse::{parse, read_otherwise};
use super::source::Source;
use super::{Config, FitConfig, OutputConfig, PerformanceConfig, Strategy, TimeOrigin};
use super::{effective, parameters, plotting, sampling, scaling, selection, simulation, streaming};
use crate::cluster::SILENCE_LIMIT;
use crate::gram::gpu::{DeviceChoice, MEMORY_FRACTION};
use crate::gram::{Loss, Precision};
use crate::model::{AnalysisMode, ShearConvention};
use crate::{Error, Result};

/// Most starts that make sense: beyond it a fit takes days and finds nothing new.
const MOST_STARTS: i64 = 10_000;
/// Result folder where nothing names one.
pub(super) const RESULTS: &str = "./homodyne_results";
/// gzip level of `result.h5` where the file names none: beyond it time grows and size hardly shrinks.
pub(super) const COMPRESSION: u8 = 4;
/// Matrix entries up to which `fitted_data.npz` is written where the file says nothing: about 100 MB of arrays.
pub(super) const NPZ_ENTRIES: u64 = 2_000_000;
/// Results of earlier runs that are kept.
pub(super) const KEEP_PREVIOUS: usize = 10;

/// Reads and checks a configuration.
///
/// # Errors
/// [`Error::Config`] with the place and the line to blame: no file, no YAML, a value of the wrong kind or out of its
/// range, a setting that this version would have to ignore although it changes the result; with
/// `validation.strict_mode: true` unknown keys, too.
pub fn load(path: &Path, overrides: &Overrides) -> Result<Config> {
    from_source(Source::read(path)?, overrides)
}

pub(super) fn from_source(source: Source, overrides: &Overrides) -> Result<Config> {
    let mut document = tree(source, overrides)?;
    let keys = check(&mut document)?;
    refuse_unknown(&document)?;
    let mut config = typed(&document)?;
    config.warnings.splice(0..0, document.unknown_keys());
    config.ignored_keys = keys.idle;
    Ok(config)
}

/// The tree of a file, with the command line's values in it.
pub(super) fn tree(source: Source, overrides: &Overrides) -> Result<Document> {
    let mut root = parse(&source)?;
    overrides.apply(&mut root)?;
    Ok(Document { source, root, unknown: Vec::new(), paths: overrides.paths() })
}

/// The values of a document whose keys have been checked.
pub(super) fn typed(document: &Document) -> Result<Config> {
    document.refuse_unavailable()?;
    let mode = mode(document)?;
    let (parameters, mut warnings) = parameters::space(document, mode)?;
    warnings.extend(read_otherwise(&document.source, &document.root));
    warnings.extend(document.asked_in_vain());
    let (plotting, about_pictures) = plotting::plotting(document)?;
    warnings.extend(about_pictures);
    warnings.extend(selection::idle_ranges(document)?);
    let output = output(document)?;
    let data_file = selection::data_file(document)?;
    let gap = selection::gap(document, mode.has_shear())?;
    warnings.extend(gap.and_then(selection::odd_gap));
    let mut config = Config {
        path: document.source.file.clone(),
        mode,
        convention: match document.choice("model.shear_convention")? {
            Some("theory") => ShearConvention::Theory,
            _ => ShearConvention::Homodyne,
        },
        gap,
        time_origin: match document.choice("analyzer_parameters.time_origin")? {
            Some("acquisition") => TimeOrigin::Acquisition,
            _ => TimeOrigin::Selection,
        },
        time_origin_is_given: document.get("analyzer_parameters.time_origin").is_some(),
        data_file: data_file.as_ref().map(|spot| spot.value.clone()),
        data_file_slip: data_file.and_then(|spot| document.source.path_slip(spot.place)),
        selection: selection::selection(document)?,
        estimate_noise: document.flag("noise_estimation.enabled", false)?,
        method: sampling::method(document)?,
        sampler: sampling::sampler(document)?,
        fit: fit(document, parameters.start.is_none())?,
        performance: performance(document)?,
        streaming: streaming::streaming(document, &output.directory)?,
        output,
        plotting,
        log_level: log_level(document)?,
        simulation: simulation::simulation(document, mode, parameters.start.as_deref())?,
        scaling: scaling::angles(document, &parameters)?,
        parameters,
        effective: serde_json::Value::Null,
        warnings,
        ignored_keys: Vec::new(),
    };
    config.effective = effective::effective(&config);
    Ok(config)
}

/// Under `validation.strict_mode` the first unknown key is an error; one that `--set` names always is.
fn refuse_unknown(document: &Document) -> Result<()> {
    // nobody types a key of another program on the command line
    if let Some(typed) = document.unknown.iter().find(|key| matches!(key.place, Place::Option(_))) {
        return Err(document.error(typed.place, typed.message()));
    }
    if !document.flag("validation.strict_mode", false)? {
        return Ok(());
    }
    let Some(first) = document.unknown.first() else { return Ok(()) };
    let message = match document.unknown.len() - 1 {
        0 => first.message(),
        more => format!("{} ({more} more unknown)", first.message()),
    };
    Err(document.error(first.place, message))
}

pub(super) fn mode(document: &Document) -> Result<AnalysisMode> {
    let word = document.choice("analysis_mode")?;
    AnalysisMode::ALL.into_iter().find(|mode| Some(mode.name()) == word).ok_or_else(|| {
        let names = AnalysisMode::ALL.map(AnalysisMode::name).join(", ");
        document.missing("analysis_mode", &format!("it is one of {names}"))
    })
}

fn fit(document: &Document, no_start: bool) -> Result<FitConfig> {
    let default = FitConfig::default();
    let tolerance = |key: &str, default: f64| {
        Ok::<_, Error>(document.positive(&format!("optimization.nlsq.{key}"), "")?.unwrap_or(default))
    };
    let max_iterations = document.whole("optimization.nlsq.max_iterations", 1, i64::MAX)?;
    let n_starts = document.whole("optimization.nlsq.multi_start.n_starts", 1, MOST_STARTS)?;
    let seed = document.whole("optimization.nlsq.multi_start.seed", 0, i64::MAX)?;
    let asked = document.flag("optimization.nlsq.multi_start.enable", false)?
        | document.flag("optimization.nlsq.cmaes.enable", false)?;
    Ok(FitConfig {
        max_iterations: max_iterations.map_or(default.max_iterations, |spot| spot.value as usize),
        ftol: tolerance("tolerance", default.ftol)?,
        xtol: tolerance("xtol", default.xtol)?,
        gtol: tolerance("gtol", default.gtol)?,
        scaling: scaling::mode(document)?,
        loss: loss(document)?,
        global_search: no_start | asked,
        n_starts: n_starts.map(|spot| spot.value as usize),
        seed: seed.map_or(default.seed, |spot| spot.value as u64),
    })
}

/// A robust loss; `None` = least squares.
fn loss(document: &Document) -> Result<Option<Loss>> {
    let word = document.choice("optimization.nlsq.loss")?;
    Ok(Loss::ALL.into_iter().find(|loss| word == Some(loss.name())))
}

fn performance(document: &Document) -> Result<PerformanceConfig> {
    Ok(PerformanceConfig {
        strategy: match document.choice("performance.strategy_override")? {
            Some("standard") => Some(Strategy::Standard),
            Some("large") => Some(Strategy::Large),
            Some("chunked") => Some(Strategy::Chunked),
            Some("streaming") => Some(Strategy::Streaming),
            _ => None,
        },
        memory_limit_gb: document.positive("performance.memory_limit_gb", " (in GB of 1024³ bytes), or null")?,
        threads: threads(document)?,
        precision: match document.choice("device.precision")? {
            Some("mixed") => Precision::Mixed,
            _ => Precision::F64,
        },
        device: match document.choice("device.kind")? {
            Some("cuda") => DeviceChoice::Cuda,
            Some("cpu") => DeviceChoice::Cpu,
            _ => DeviceChoice::Auto,
        },
        memory_fraction: memory_fraction(document)?,
        parallel_reading: match document.choice("distributed.io")? {
            Some("parallel") => Some(true),
            Some("root") => Some(false),
            _ => None,
        },
        silence_limit: silence_limit(document)?,
        progress: document.flag("performance.enable_progress", true)?,
    })
}

fn memory_fraction(document: &Document) -> Result<f64> {
    const PATH: &str = "device.memory_fraction";
    let Some(spot) = document.number(PATH)? else { return Ok(MEMORY_FRACTION) };
    if spot.value > 0.0 && spot.value <= 1.0 {
        return Ok(spot.value);
    }
    Err(document.error(spot.place, format!("`{PATH}` must be above 0 and at most 1")))
}

fn silence_limit(document: &Document) -> Result<f64> {
    const PATH: &str = "distributed.silence_limit";
    let Some(spot) = document.number(PATH)? else { return Ok(SILENCE_LIMIT) };
    if spot.value == 0.0 || (1.0..=1e6).contains(&spot.value) {
        return Ok(spot.value);
    }
    Err(document.error(spot.place, format!("`{PATH}` must be 0 (for ever) or from 1 to 1000000 seconds")))
}

fn threads(document: &Document) -> Result<Option<usize>> {
    const PATH: &str = "performance.computation.cpu_threads";
    let Some(node) = document.get(PATH) else { return Ok(None) };
    match (node.as_whole(), node.as_text(), node.place) {
        (Some(n), _, _) if n >= 1 => Ok(Some(n as usize)),
        (_, Some(word), _) if word.eq_ignore_ascii_case("auto") => Ok(None),
        (_, _, Place::Option("--threads")) => Err(document.error(node.place, "at least 1 thread is needed")),
        _ => Err(document.wrong(PATH, node, "a whole number from 1, or `auto`")),
    }
}

fn output(document: &Document) -> Result<OutputConfig> {
    let directory = document.path("output.directory")?;
    let npz_entries =
        document.whole("output.max_npz_entries", 0, i64::MAX)?.map_or(NPZ_ENTRIES, |spot| spot.value as u64);
    let level = document.whole("output.compression_level", 0, 9)?.map_or(COMPRESSION, |spot| spot.value as u8);
    Ok(OutputConfig {
        directory: directory.map_or_else(|| PathBuf::from(RESULTS), |spot| spot.value),
        hdf5: document.flag("output.formats.hdf5", true)?,
        json: document.flag("output.formats.json", true)?,
        csv: document.flag("output.formats.csv", false)?,
        html: document.flag("output.formats.html", true)?,
        max_npz_entries: if document.flag("output.formats.npz", true)? { npz_entries } else { 0 },
        keep_previous: document
            .whole("output.keep_previous", 0, i64::MAX)?
            .map_or(KEEP_PREVIOUS, |spot| spot.value as usize),
        compression: if document.flag("output.compress_hdf5", true)? { level } else { 0 },
    })
}

fn log_level(document: &Document) -> Result<Option<log::LevelFilter>> {
    use log::LevelFilter as Level;
    Ok(document.choice("logging.level")?.map(|word| match word {
        "off" => Level::Off,
        "error" => Level::Error,
        "warning" => Level::Warn,
        "debug" => Level::Debug,
        "trace" => Level::Trace,
        _ => Level::Info,
    }))
}
