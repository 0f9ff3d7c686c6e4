//! The data file of a configuration, and what is fitted of it.

use crate::config::{Config, TimeOrigin};
use crate::dataset::Dataset;
use crate::model::Experiment;
use crate::{Error, Result};

/// Opens the data file that the configuration names and says what there is to say about it.
pub(super) fn open(config: &Config) -> Result<Dataset> {
    let file = config.data_file.as_deref().ok_or_else(|| {
        Error::Usage(format!(
            "{}: no data file: set experimental_data.file_path, or give --data-file",
            config.path.display()
        ))
    })?;
    let mut dataset = Dataset::open(file, &config.selection)?;
    for note in &dataset.notes {
        log::info!("{note}");
    }
    if let Some(warning) = gap_warning(config, &dataset) {
        log::warn!("{}: {warning}", dataset.file.display());
        dataset.warnings.push(warning);
    }
    Ok(dataset)
}

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
            TimeOrigin::Acquisition => dataset.frames_before + dataset.first_frame,
        },
    })
}

/// What to say where the file's gap isn't the configured one.
fn gap_warning(config: &Config, dataset: &Dataset) -> Option<String> {
    let (used, other) = (config.gap?, dataset.gap?);
    let differ = config.mode.has_shear() && (used - other).abs() > SAME_GAP * used.max(other);
    differ.then(|| format!("{GAP_KEY} = {used} Å is used, but the file says {other} Å"))
}
