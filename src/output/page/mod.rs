//! `report.html`: a fit on one page that needs nothing else, neither a network nor a server.
//!
//! Text and tables are in the page as they are, and can be read and printed without scripts; figures are drawn from numbers in the
//! page (`data`) by `charts.js` and `report.js`, those of draws (`posterior`) as they are.

mod data;
mod drawing;
mod posterior;
mod predictive;
mod text;

use std::path::{Path, PathBuf};

use crate::gram::overview::{Overview, View};
use crate::output::Report;
use crate::{Result, files};

/// Most points of a curve over the lag.
const POINTS: usize = 120;
/// Numbers of a point, and of an angle beside its curves and maps.
const NUMBERS: (usize, usize) = (4, 120);
/// Memory of a number while the page is made: as a value and, more than once, as text.
const NUMBER: usize = 80;
/// The same of a cell of the maps of data and residuals.
const CELL: usize = 24;

/// Memory that making the page takes, bytes.
pub fn memory(report: &Report, view: &View) -> f64 {
    let e = report.experiment;
    let numbers = (1 + view.rows.len()) * POINTS.min(e.n_frames) * NUMBERS.0 + NUMBERS.1;
    let cells = view.side * (view.side + 1) / 2;
    e.n_angles() as f64 * (numbers * NUMBER + cells * CELL) as f64
}

/// Name of the file.
pub const NAME: &str = "report.html";

/// At most so many of the fitted frames, spread evenly over the logarithm of the time.
fn frames_over_ln(n_frames: usize, most: usize) -> Vec<usize> {
    let last = (n_frames - 1).max(2) as f64;
    let mut frames: Vec<usize> = (0..most).map(|k| last.powf(k as f64 / (most - 1) as f64).round() as usize).collect();
    frames.dedup();
    frames
}

/// Writes the page into a folder; returns its path. `seen` is empty where the data couldn't be looked at.
///
/// # Errors
/// [`crate::Error::Io`] where it can't be written.
pub fn write(report: &Report, view: &View, seen: &[Overview], folder: &Path) -> Result<PathBuf> {
    let path = folder.join(NAME);
    // `</` could end the script that holds it
    let data = data::data(report, view, seen).to_string().replace("</", "<\\/");
    let page = text::page(report, &data, predictive::checks(report, view, seen)).into_string();
    files::write(&path, page)?;
    Ok(path)
}
