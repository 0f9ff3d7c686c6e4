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
    files::replace(&path, |temporary| std::fs::write(temporary, page))?;
    Ok(path)
}
