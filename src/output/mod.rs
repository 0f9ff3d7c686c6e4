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
pub use folder::Folder;
pub use report::{DataSummary, Keeping, LostBlock, Report};
pub use results::{Estimate, Results};
pub use table::Table;
pub use truth::Truth;

use std::path::PathBuf;

use self::pictures::{Picture, Shown};
use crate::dataset::Dataset;
use crate::gram::overview::{Overview, View};
use crate::sampler::Draw;
use crate::text::grouped;
use crate::{Error, Result, files};

/// Writes the result files that the configuration asks for; returns their paths. `dataset` is what was fitted.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write(report: &Report, dataset: &Dataset, folder: &Folder) -> Result<Vec<PathBuf>> {
    folder.make_results()?;
    if report.config.output.hdf5 {
        hdf5_file::left_out(report).iter().for_each(|line| log::info!("{line}"));
    }
    let mut written = numbers(report, folder)?;
    written.extend(fitted_data(report, dataset, folder)?);
    Ok(written)
}

/// Writes all but arrays over the data.
fn numbers(report: &Report, folder: &Folder) -> Result<Vec<PathBuf>> {
    let mut written = Vec::new();
    if report.config.output.json {
        for (name, value) in json::all(report) {
            written.push(folder.write_json(&format!("{name}.json"), &value)?);
        }
    }
    if report.config.output.hdf5 {
        let path = folder.results().join("result.h5");
        hdf5_file::write(report, &path)?;
        written.push(path);
    }
    if report.config.output.csv {
        let names = csv_files::write(&json::parameters(report), &folder.results())?;
        written.extend(names.map(|name| folder.results().join(name)));
    }
    Ok(written)
}

/// Writes the draws from the posterior and what they say; returns the paths.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write_draws(report: &Report, draws: &[&[Draw]], folder: &Folder) -> Result<Vec<PathBuf>> {
    let Some(summary) = &report.posterior else { return Ok(Vec::new()) };
    let results = folder.draws();
    std::fs::create_dir_all(&results).map_err(|e| Error::io("create", &results, e))?;
    let path = results.join("posterior_summary.json");
    let text = json::text(&posterior::summary(report, summary));
    files::write(&path, &text)?;
    let samples = results.join("samples.h5");
    posterior::write_samples(report, summary, draws, &samples)?;
    Ok(vec![path, samples])
}

/// Writes `fitted_data.npz` where it isn't too large; what keeps it from being written doesn't cost the other results.
fn fitted_data(report: &Report, dataset: &Dataset, folder: &Folder) -> Result<Option<PathBuf>> {
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
    let path = folder.results().join(NAME);
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

/// Writes what there is to look at and the configuration asks for, the page and the pictures, by all threads of the rayon pool in
/// which it is called; returns the paths. `seen` is empty where the data couldn't be looked at.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn draw(report: &Report, view: &View, seen: &[Overview], folder: &Folder) -> Result<Vec<PathBuf>> {
    let (config, e) = (report.config, report.experiment);
    let mut written = Vec::new();
    if config.output.html {
        written.push(page::write(report, view, seen, &folder.results())?);
    }
    if config.plotting.save {
        let colors = views::colors(seen.iter().map(|seen| &seen.cells), config.plotting.scale, false);
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
        written.extend(pictures::write(&pictures, &SHOWN, &config.plotting, &folder.results())?);
    }
    Ok(written)
}

/// The closing report as text of at most `width` columns (paths may be longer).
pub fn closing_report(report: &Report, written: &[PathBuf], truth: Option<&Truth>, width: usize) -> String {
    console::closing_report(report, written, truth, width)
}
