//! The data file of a configuration, and what is fitted of it.

use crate::config::{Config, TimeOrigin};
use crate::dataset::{Dataset, short};
use crate::model::{Experiment, PHYSICAL};
use crate::{Error, Result};

/// Opens the data file that the configuration names and says what there is to say about it.
pub(super) fn open(config: &Config) -> Result<Dataset> {
    let file = config.data_file.as_deref().ok_or_else(|| {
        Error::Usage(format!(
            "{}: no data file: set experimental_data.file_path, or give --data-file",
            config.path.display()
        ))
    })?;
    if let Some(slip) = config.data_file_slip.filter(|_| !file.exists()) {
        return Err(Error::data(file, format!("no such file; {slip} ({})", config.path.display())));
    }
    let mut dataset = Dataset::open(file, &config.selection)?;
    for note in &dataset.notes {
        log::info!("{note}");
    }
    let mut remarks: Vec<String> =
        gap_warning(config, &dataset).into_iter().chain(angles_in_radians(&dataset)).collect();
    match moved_origin(config, &dataset) {
        Some(text) if config.time_origin_is_given => log::info!("{text}"),
        text => remarks.extend(text),
    }
    for warning in remarks {
        log::warn!("{}: {warning}", dataset.file.display());
        dataset.warnings.push(warning);
    }
    Ok(dataset)
}

/// Where the configuration says from where time counts.
const ORIGIN_KEY: &str = "analyzer_parameters.time_origin";
/// Exponents of time, and the power laws that they make.
const EXPONENTS: [(&str, &str); 2] = [("alpha", "D0·t^alpha"), ("beta", "gamma_dot_t0·t^beta")];
/// Where the configuration names the gap.
const GAP_KEY: &str = "analyzer_parameters.geometry.stator_rotor_gap";
/// Relative difference from which two gaps aren't the same.
const SAME_GAP: f64 = 1e-6;

/// What is fitted; the gap is the configuration's, else the file's.
pub(super) fn experiment(config: &Config, dataset: &Dataset) -> Result<Experiment> {
    let gap = config.gap.or(dataset.gap);
    if gap.is_none() && config.mode.has_shear() {
        return Err(Error::Usage(format!(
            "{}: `{GAP_KEY}` is missing and {} names no gap either; the mode `{}` needs the gap of the shear cell in Å",
            config.path.display(),
            dataset.file.display(),
            config.mode.name()
        )));
    }
    Ok(Experiment {
        mode: config.mode,
        convention: config.convention,
        q: dataset.q,
        gap: gap.unwrap_or(0.0),
        dt: dataset.dt,
        phi: dataset.phi(),
        n_frames: dataset.n_frames,
        time_offset: match config.time_origin {
            TimeOrigin::Selection => 0,
            TimeOrigin::Acquisition => dataset.skipped + dataset.frames_before + dataset.first_frame,
        },
    })
}

/// What to say where a selection that begins later moves t = 0, and with it what the power laws mean.
fn moved_origin(config: &Config, dataset: &Dataset) -> Option<String> {
    let before = dataset.frames_before + dataset.first_frame;
    if config.time_origin != TimeOrigin::Selection || before == 0 {
        return None;
    }
    let space = &config.parameters;
    let is_fitted = |exponent: &str| {
        let at = PHYSICAL[..space.len()].iter().position(|info| info.name == exponent);
        at.is_some_and(|at| space.fixed[at] != Some(0.0))
    };
    let laws: Vec<&str> = EXPONENTS.iter().filter(|(exponent, _)| is_fitted(exponent)).map(|(_, law)| *law).collect();
    (!laws.is_empty()).then(|| {
        format!(
            "t = 0 is moved to frame {}, the first selected one, {} s after frame 1: t in {} counts from there, so that its \
             parameters aren't those of all frames; `{ORIGIN_KEY}: acquisition` counts from frame 1, and `selection` says that \
             this is meant",
            before + 1,
            short(before as f64 * dataset.dt),
            laws.join(" and ")
        )
    })
}

/// What to say where φ look like radians.
fn angles_in_radians(dataset: &Dataset) -> Option<String> {
    let phi = dataset.phi();
    let all = |of: fn(&f64) -> bool| phi.iter().all(of);
    let is_likely = phi.len() >= 3
        && all(|phi| phi.abs() <= std::f64::consts::TAU)
        && phi.iter().any(|phi| phi.fract() != 0.0)
        && phi.iter().fold(0.0, |most: f64, phi| most.max(phi.abs())) > 1.0;
    is_likely.then(|| "all φ lie within ±2π and are taken as degrees: are they radians?".to_owned())
}

/// What to say where the file's gap isn't the configured one.
fn gap_warning(config: &Config, dataset: &Dataset) -> Option<String> {
    let (used, other) = (config.gap?, dataset.gap?);
    let differ = config.mode.has_shear() && (used - other).abs() > SAME_GAP * used.max(other);
    differ.then(|| format!("{GAP_KEY} = {used} Å is used, but the file says {other} Å"))
}
