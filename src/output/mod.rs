//! Results: what is written and printed at the end of a run.

mod console;
mod folder;
mod hdf5_file;
mod json;
mod quality;
mod report;
mod table;
mod truth;

pub use console::{grouped, left_out};
pub use folder::Folder;
pub use report::{DataSummary, Report};
pub use table::Table;
pub use truth::Truth;

use crate::Result;

/// Writes the result files that the configuration asks for; returns their paths.
///
/// # Errors
/// [`crate::Error::Io`] when a file can't be written.
pub fn write(report: &Report, folder: &Folder) -> Result<Vec<std::path::PathBuf>> {
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
    Ok(written)
}

/// The closing report as text of at most 100 columns.
pub fn closing_report(report: &Report, written: &[std::path::PathBuf], truth: Option<&Truth>) -> String {
    console::closing_report(report, written, truth)
}
