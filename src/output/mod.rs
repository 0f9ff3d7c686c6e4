//! Results: what is written and printed at the end of a run.

mod comparison;
mod console;
mod csv_files;
pub mod diagnosis;
mod fitted_data;
mod folder;
mod hdf5_file;
mod inference_data;
mod json;
mod page;
pub mod pictures;
mod posterior;
pub mod quality;
mod report;
mod results;
mod table;
mod truth;
pub mod views;

pub use comparison::Comparison;
pub use console::left_out;
pub use folder::{Folder, Stage};
pub use report::{DataSummary, Keeping, LostMatrix, Report};
pub use results::{Estimate, Results};
pub use table::Table;
pub use truth::Truth;

use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};

use self::pictures::{Picture, Shown};
use crate::dataset::Dataset;
use crate::gram::overview::{Overview, View};
use crate::sampler::Draw;
use crate::text::grouped;
use crate::{Error, Result, files};

/// Writes the result files that the configuration asks for, but for what there is to look at; returns their paths. `dataset` is
/// what was fitted.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write(report: &Report, dataset: &Dataset, stage: &Stage) -> Result<Vec<PathBuf>> {
    if report.config.output.hdf5 {
        hdf5_file::left_out(report).iter().for_each(|line| log::info!("{line}"));
    }
    let mut written = numbers(report, stage)?;
    written.extend(fitted_data(report, dataset, stage)?);
    Ok(written)
}

/// Writes all but arrays over the data.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn numbers(report: &Report, stage: &Stage) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    if report.config.output.json {
        for (name, value) in json::all(report) {
            written.push(stage.write_json(&format!("{name}.json"), &value)?);
        }
    }
    if report.config.output.hdf5 {
        let path = stage.results().join("result.h5");
        hdf5_file::write(report, &path)?;
        written.push(path);
    }
    if report.config.output.csv {
        let names = csv_files::write(&json::parameters(report), &stage.results())?;
        written.extend(names.map(|name| stage.results().join(name)));
    }
    Ok(written)
}

/// Writes the draws from the posterior and what they say; returns the paths.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write_draws(report: &Report, draws: &[&[Draw]], stage: &Stage) -> Result<Vec<PathBuf>> {
    let Some(summary) = &report.posterior else { return Ok(Vec::new()) };
    let results = stage.draws()?;
    let path = results.join("posterior_summary.json");
    let text = json::text(&posterior::summary(report, summary));
    files::write(&path, &text)?;
    let samples = results.join("samples.h5");
    posterior::write_samples(report, summary, draws, &samples)?;
    Ok(vec![path, samples])
}

/// Writes `fitted_data.npz` where it isn't too large; what keeps it from being written doesn't cost the other results.
fn fitted_data(report: &Report, dataset: &Dataset, stage: &Stage) -> Result<Option<PathBuf>> {
    const NAME: &str = "fitted_data.npz";
    let (entries, most) = (fitted_data::entries(report.experiment), report.config.output.max_npz_entries);
    if entries > most {
        log::info!(
            "{NAME} is left out: its arrays would have {} entries, `output.max_npz_entries` is {}",
            grouped(entries),
            grouped(most)
        );
        return Ok(None);
    }
    let path = stage.results().join(NAME);
    match fitted_data::write(report, dataset, &path) {
        Ok(()) => Ok(Some(path)),
        Err(error @ Error::Data { .. }) => {
            log::warn!("{NAME} is left out: the data can't be read again as they were fitted: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Memory that looking at the data, the page and the pictures take on rank 0, which draws with so many threads, bytes.
pub fn memory_of_views(report: &Report, view: &View, threads: usize) -> f64 {
    let (config, e) = (report.config, report.experiment);
    // of this rank, and of all
    let seen = 2.0 * (e.n_angles() * Overview::bytes(e.n_frames - 1, view)) as f64;
    let page = if config.output.html { page::memory(report, view) } else { 0.0 };
    let pictures = if config.plotting.save { pictures::memory(SHOWN.len(), &config.plotting, threads) } else { 0.0 };
    seen + page.max(pictures)
}

/// What a picture of an angle shows.
const SHOWN: [Shown; 3] = [Shown::Data, Shown::Fit("fit"), Shown::Residual("residual")];

/// Writes `report.html`, where the configuration asks for it; returns its path. `seen` is empty where the data couldn't be looked
/// at. A page that can't be written is a warning.
pub fn page(report: &Report, view: &View, seen: &[Overview], stage: &Stage) -> Vec<PathBuf> {
    if !report.config.output.html {
        return Vec::new();
    }
    let path = stage.results().join(page::NAME);
    told(drawn(&path, || page::write(report, view, seen, &stage.results())), stage).into_iter().collect()
}

/// Draws the pictures that the configuration asks for, by all threads of the rayon pool in which it is called; returns their
/// paths. One that can't be drawn is a warning.
pub fn pictures(report: &Report, seen: &[Overview], stage: &Stage) -> Vec<PathBuf> {
    let (plotting, e) = (&report.config.plotting, report.experiment);
    if !plotting.save {
        return Vec::new();
    }
    let colors = views::colors(seen.iter().map(|seen| &seen.cells), plotting.scale, false);
    let pictures: Vec<Picture> = (0..seen.len())
        .map(|a| Picture {
            phi: e.phi[a],
            title: format!("φ = {}°, q = {} 1/Å, χ²/DOF = {:.3}", e.phi[a], e.q, report.reduced_of_angle(a)),
            cells: &seen[a].cells,
            times: (e.time(1), e.time(e.n_frames - 1)),
            unit: "s",
            colors,
        })
        .collect();
    let shown = [Shown::Data, Shown::Fit("fit"), Shown::Residual("residual")];
    let written = pictures::write_each(&pictures, &shown, plotting, &stage.results());
    written.into_iter().filter_map(|written| told(written, stage)).collect()
}

/// What there is to look at isn't worth the numbers: a fault in drawing it is an error as any other.
fn drawn(path: &Path, draw: impl FnOnce() -> Result<PathBuf>) -> Result<PathBuf> {
    std::panic::catch_unwind(AssertUnwindSafe(draw))
        .unwrap_or_else(|_| Err(Error::io("draw", path, "a fault of the program")))
}

/// Warns of what couldn't be drawn.
fn told(written: Result<PathBuf>, stage: &Stage) -> Option<PathBuf> {
    written.map_err(|error| log::warn!("{}; the other results are complete without it", stage.explained(error))).ok()
}

/// The closing report as text of at most `width` columns (paths may be longer).
pub fn closing_report(report: &Report, written: &[PathBuf], truth: Option<&Truth>, width: usize) -> String {
    console::closing_report(report, written, truth, width)
}
