//! Checkpoints, batches and what is to be done when reading fails: the section `optimization.streaming`.

use std::path::{Path, PathBuf};

use super::document::Document;
use super::load::RESULTS;
use crate::Result;

/// Folder of checkpoints in that of the results, where nothing names another.
const CHECKPOINTS: &str = "checkpoints";
/// Full-resolution passes between two checkpoints.
const FREQUENCY: u64 = 10;
/// Checkpoints kept.
const KEPT: usize = 3;
/// How often a failed read is tried again.
const RETRIES: u32 = 2;

/// Settings of checkpoints and streaming.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamingConfig {
    /// Whether checkpoints are written.
    pub checkpoints: bool,
    /// Where, relative to the working directory.
    pub directory: PathBuf,
    /// Full-resolution passes between two checkpoints; there is one a minute anyway.
    pub frequency: u64,
    /// Checkpoints kept.
    pub keep: usize,
    /// Whether a run goes on from the checkpoint that an earlier one left.
    pub resume: bool,
    /// How often a failed read is tried again.
    pub retries: u32,
    /// Share of the matrices that must be readable; what can't be read beyond that is left out.
    pub min_success_rate: f64,
}

impl Default for StreamingConfig {
    fn default() -> Self {
        Self {
            checkpoints: true,
            directory: Path::new(RESULTS).join(CHECKPOINTS),
            frequency: FREQUENCY,
            keep: KEPT,
            resume: true,
            retries: RETRIES,
            min_success_rate: 1.0,
        }
    }
}

/// `results` is the folder of results, which holds that of checkpoints unless another is named: runs with folders of their own
/// don't meet in one of checkpoints.
pub(super) fn streaming(document: &Document, results: &Path) -> Result<StreamingConfig> {
    let default = StreamingConfig::default();
    let path = |key: &str| format!("optimization.streaming.{key}");
    let whole = |key: &str, least: i64, most: i64| document.whole(&path(key), least, most);
    let folder = document.path(&path("checkpoint_dir"))?;
    let tolerant = document.flag(&path("enable_fault_tolerance"), true)?;
    let retries = whole("max_retries_per_batch", 0, 1000)?.map_or(default.retries, |spot| spot.value as u32);
    let share = document.number(&path("min_success_rate"))?;
    if let Some(spot) = share.as_ref().filter(|spot| !(0.0..=1.0).contains(&spot.value)) {
        return Err(document.error(spot.place, format!("`{}` must be from 0 to 1", path("min_success_rate"))));
    }
    Ok(StreamingConfig {
        checkpoints: document.flag(&path("enable_checkpoints"), default.checkpoints)?,
        directory: folder.map_or_else(|| results.join(CHECKPOINTS), |spot| spot.value),
        frequency: whole("checkpoint_frequency", 1, i64::MAX)?.map_or(default.frequency, |spot| spot.value as u64),
        keep: whole("keep_last_checkpoints", 1, i64::MAX)?.map_or(default.keep, |spot| spot.value as usize),
        resume: document.flag(&path("resume_from_checkpoint"), default.resume)?,
        retries: if tolerant { retries } else { 0 },
        min_success_rate: share.filter(|_| tolerant).map_or(default.min_success_rate, |spot| spot.value),
    })
}
