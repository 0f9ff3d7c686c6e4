//! Pictures of whole matrices, for commands that have them at hand.

use std::ops::Range;
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use super::outputs::{self, Named};
use crate::config::PlotConfig;
use crate::gram::overview::Cells;
use crate::output::pictures::{self, Picture, Shown};
use crate::output::views;
use crate::{Error, Result};

/// Cells a side.
const SIDE: usize = 200;
/// Rows that a thread works on at a time.
const ROWS: usize = 128;

/// Where pictures go and what they are like.
#[derive(Debug, Clone)]
pub struct Plots {
    /// The folder.
    pub folder: PathBuf,
    /// Format, resolution, colours.
    pub config: PlotConfig,
    /// What is read, and no picture may replace.
    pub inputs: Vec<PathBuf>,
    /// Replace pictures that are there.
    pub force: bool,
}

impl Plots {
    /// Makes the folder, and looks for what stands in the way of pictures of matrices at these angles.
    ///
    /// # Errors
    /// [`Error::Io`] naming the folder; [`Error::Usage`] where something would be written over.
    pub fn prepare(&self, phi: &[f64]) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(|e| Error::io("create", &self.folder, e))?;
        let paths: Vec<PathBuf> =
            pictures::names(phi, self.config.format).iter().map(|name| self.folder.join(name)).collect();
        let outputs: Vec<Named> = paths.iter().map(|path| ("--plot", &**path)).collect();
        let inputs: Vec<Named> = self.inputs.iter().map(|path| ("an input", &**path)).collect();
        outputs::check(&outputs, &inputs, self.force)
    }
}

/// Block averages of one matrix.
pub struct Plotted {
    /// φ, degree; NaN where it isn't known.
    pub phi: f64,
    /// Said above the picture.
    pub title: String,
    /// The averages.
    pub cells: Cells,
}

/// Averages a matrix of `n` frames: `row_after(i)` gives c2 of frame i with the frames behind it, and `model` what the data are to be
/// compared with.
pub fn cells<'m>(
    n: usize,
    row_after: impl Fn(usize) -> &'m [f32] + Sync,
    model: impl Fn(usize, Range<usize>, &mut [f64]) + Sync,
) -> Cells {
    let part = |first: usize| {
        let (mut cells, mut values) = (Cells::new(n, SIDE), vec![0.0; n]);
        for i in first..(first + ROWS).min(n) {
            model(i, i + 1..n, &mut values);
            cells.add_row(i, i + 1..n, row_after(i), |k| values[k]);
        }
        cells
    };
    let firsts: Vec<usize> = (0..n).step_by(ROWS).collect();
    firsts.into_par_iter().map(part).reduce(
        || Cells::new(n, SIDE),
        |mut a, b| {
            a.merge(&b);
            a
        },
    )
}

/// Draws matrices whose frames lie `dt` s apart; without dt the axes count frames.
///
/// # Errors
/// [`Error::Io`] where a picture can't be written, [`Error::Usage`] where it would be written over something.
pub fn draw(plotted: &[Plotted], shown: &[Shown], dt: f64, n: usize, plots: &Plots) -> Result<Vec<PathBuf>> {
    // those of matrices that couldn't be read are missing, which may change names
    plots.prepare(&plotted.iter().map(|p| p.phi).collect::<Vec<_>>())?;
    let no_model = shown == [Shown::Data];
    let colors = views::colors(plotted.iter().map(|p| &p.cells), plots.config.scale, no_model);
    let (unit, last) = if dt.is_finite() { ("s", (n - 1) as f64 * dt) } else { ("frames", (n - 1) as f64) };
    let pictures: Vec<Picture> = plotted
        .iter()
        .map(|Plotted { phi, title, cells }| {
            let title = title.clone();
            Picture { phi: *phi, title, cells, times: (0.0, last), unit, colors }
        })
        .collect();
    pictures::write(&pictures, shown, &plots.config, &plots.folder)
}

/// What to say of pictures: the folder, and what they are called.
pub fn summary(paths: &[PathBuf]) -> String {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match paths {
        [] => "no picture drawn".into(),
        [one] => format!("wrote {}", one.display()),
        [first, .., last] => {
            let folder = first.parent().unwrap_or(Path::new(".")).display();
            format!("wrote {} pictures to {folder}: {} to {}", paths.len(), name(first), name(last))
        }
    }
}
