//! Results: what is written and printed at the end of a run.

mod comparison;
mod console;
mod csv_files;
mod fitted_data;
mod folder;
mod hdf5_file;
mod json;
mod quality;
mod report;
mod results;
mod table;
mod truth;

pub use comparison::Comparison;
pub use console::{grouped, left_out};
pub use folder::Folder;
pub use report::{DataSummary, Keeping, LostBlock, Report};
pub use results::{Estimate, Results};
pub use table::Table;
pub use truth::Truth;

use crate::dataset::Dataset;
use crate::{Error, Result};

/// Writes the result files that the configuration asks for; returns their paths. `dataset` is what was fitted.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write(report: &Report, dataset: &Dataset, folder: &Folder) -> Result<Vec<std::path::PathBuf>> {
    folder.make_results()?;
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
    written.extend(fitted_data(report, dataset, folder)?);
    Ok(written)
}

/// Writes `fitted_data.npz` where it isn't too large; what keeps it from being written doesn't cost the other results.
fn fitted_data(report: &Report, dataset: &Dataset, folder: &Folder) -> Result<Option<std::path::PathBuf>> {
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
            log::warn!("{NAME} is left out: the data can't be read again: {error}");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The closing report as text of at most 100 columns.
pub fn closing_report(report: &Report, written: &[std::path::PathBuf], truth: Option<&Truth>) -> String {
    console::closing_report(report, written, truth)
}
