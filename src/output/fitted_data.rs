//! `fitted_data.npz`: data, model and residuals as arrays, named and shaped as the Python package does.
//!
//! | array | shape | holds |
//! | --- | --- | --- |
//! | `phi_angles` | K | degree |
//! | `t1`, `t2` | N−1 | times of the fitted frames, s |
//! | `q` | 1 | Å⁻¹ |
//! | `c2_exp` | K, N−1, N−1 | the data, both halves; the diagonal is the mean of its neighbours, NaN is missing |
//! | `c2_theoretical_raw` | K, N−1, N−1 | 1 + g |
//! | `per_angle_scaling` | K, 2 | slope and intercept of the regression of `c2_exp` on `c2_theoretical_raw`, angle by angle |
//! | `c2_theoretical_scaled` | K, N−1, N−1 | `c2_theoretical_raw` scaled by them |
//! | `residuals` | K, N−1, N−1 | `c2_exp` − `c2_theoretical_scaled` |
//! | `residuals_normalized` | K, N−1, N−1 | `residuals` / (0.05·`c2_exp`), 0 where that is 0 |
//! | `per_angle_scaling_solver` | K, 2 | contrast and offset of the fit |
//! | `c2_solver_scaled` | K, N−1, N−1 | offset + contrast·g, the model of the fit |
//!
//! All float64, in C order, not compressed: noise hardly packs. Matrices are read from the data file again, once for each
//! array that needs them, one at a time, and must be those that were fitted; everything is written as it comes, so no array of data is ever held. The model is
//! held where it is small, and formed again for each array where it isn't.

use std::fs::File;
use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

use rayon::prelude::*;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::Report;
use crate::dataset::{Dataset, Digest, TwoTime, digest, f64_header};
use crate::model::{Experiment, TimeAxis, reference};
use crate::{Error, Result, files};

/// Members from this size on need the long form of the zip format, bytes.
const LARGE: u64 = 1 << 32;
/// Entries of the model that are held: 64 MB.
const HELD: u64 = 8_000_000;
/// Rows of the model formed at a time where it isn't held.
const ROWS: usize = 64;
/// Errors that the Python package takes for granted when it normalises residuals, as a part of c2.
const NORM: f64 = 0.05;

/// Entries of each of the large arrays: K·(N−1)².
pub(super) fn entries(experiment: &Experiment) -> u64 {
    experiment.n_points()
}

/// Writes the file from the data that the report is about.
///
/// # Errors
/// Those of reading the data; [`Error::Io`] where the file can't be written.
pub(super) fn write(report: &Report, dataset: &Dataset, path: &Path) -> Result<()> {
    let e = report.experiment;
    let source = Source { model: Model::new(e, &report.fit.physical, HELD), dataset, digests: &report.data.digests };
    let mut failed = None;
    let written = files::replace(path, |file| {
        arrays(&source, &report.fit.projected.scaling, file).map_err(|problem| match problem {
            Problem::Input(error) => {
                let text = error.to_string();
                failed = Some(error);
                text
            }
            Problem::Output(text) => text,
        })
    });
    failed.map_or(written, Err)
}

/// What ends writing.
enum Problem {
    Input(Error),
    Output(String),
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Input(error)
    }
}

impl From<io::Error> for Problem {
    fn from(error: io::Error) -> Self {
        Self::Output(error.to_string())
    }
}

impl From<zip::result::ZipError> for Problem {
    fn from(error: zip::result::ZipError) -> Self {
        Self::Output(error.to_string())
    }
}

type Outcome<T = ()> = std::result::Result<T, Problem>;

/// Contrast and offset of every angle.
type Scaling = [(f64, f64)];

fn arrays(source: &Source, solver: &Scaling, file: &mut File) -> Outcome {
    let e = source.model.experiment;
    let k = e.n_angles();
    let t: Vec<f64> = (1..e.n_frames).map(|i| e.time(i)).collect();
    let matrices = [k, t.len(), t.len()];
    let mut archive = Archive::new(file);
    archive.list("phi_angles", &[k], e.phi.iter().copied())?;
    archive.list("t1", &[t.len()], t.iter().copied())?;
    archive.list("t2", &[t.len()], t.iter().copied())?;
    archive.list("q", &[1], [e.q])?;

    let mut lines = vec![Regression::default(); k];
    archive.begin("c2_exp", &matrices)?;
    source.with_data(|angle, g, c2| {
        lines[angle].add(g, c2);
        archive.put(c2.iter().map(|&c2| c2.into()))
    })?;
    let fitted: Vec<(f64, f64)> = lines.iter().map(Regression::line).collect();
    let pairs =
        |scaling: &Scaling| scaling.iter().flat_map(|&(contrast, offset)| [contrast, offset]).collect::<Vec<_>>();
    archive.list("per_angle_scaling", &[k, 2], pairs(&fitted))?;
    archive.list("per_angle_scaling_solver", &[k, 2], pairs(solver))?;

    let (raw, scaled) = (|g: f64| 1.0 + g, |angle: usize, g: f64| fitted[angle].0 * (1.0 + g) + fitted[angle].1);
    archive.begin("c2_theoretical_raw", &matrices)?;
    source.model(|_, g| archive.put(g.iter().map(|&g| raw(g))))?;
    archive.begin("c2_theoretical_scaled", &matrices)?;
    source.model(|angle, g| archive.put(g.iter().map(|&g| scaled(angle, g))))?;
    archive.begin("c2_solver_scaled", &matrices)?;
    source.model(|angle, g| archive.put(g.iter().map(|&g| solver[angle].1 + solver[angle].0 * g)))?;
    archive.begin("residuals", &matrices)?;
    source.with_data(|angle, g, c2| archive.put(g.iter().zip(c2).map(|(&g, &c2)| f64::from(c2) - scaled(angle, g))))?;
    archive.begin("residuals_normalized", &matrices)?;
    source.with_data(|angle, g, c2| {
        archive.put(g.iter().zip(c2).map(|(&g, &c2)| match f64::from(c2) {
            0.0 => 0.0,
            c2 => (c2 - scaled(angle, g)) / (NORM * c2),
        }))
    })?;
    archive.finish()
}

/// Where rows of data and model come from.
struct Source<'a> {
    model: Model<'a>,
    dataset: &'a Dataset,
    /// Of the matrices that were fitted.
    digests: &'a [Digest],
}

impl Source<'_> {
    /// Passes g along all rows of all fitted frames, angle by angle, to `take`.
    fn model(&self, mut take: impl FnMut(usize, &[f64]) -> Outcome) -> Outcome {
        (0..self.model.experiment.n_angles()).try_for_each(|angle| self.model.rows(angle, |_, g| take(angle, g)))
    }

    /// Reads a matrix again, which must be the one that was fitted.
    fn read(&self, angle: usize, matrix: &mut TwoTime, sigma: &mut TwoTime) -> Result<()> {
        let dataset = self.dataset;
        let mut report = dataset.read(angle, matrix)?;
        if dataset.has_sigma_by_pair() {
            // which leaves out pairs without one, as in the fit
            dataset.read_sigma(angle, matrix, &mut report, sigma)?;
        }
        if self.digests.get(angle) == Some(&digest(matrix)) {
            return Ok(());
        }
        let path = &dataset.slots[dataset.selected[angle]].path;
        let message = "has changed since it was fitted; the results are of what was there before: fit again";
        Err(Error::data_at(&dataset.file, path, message))
    }

    /// The same with the data of each row beside it.
    fn with_data(&self, mut take: impl FnMut(usize, &[f64], &[f32]) -> Outcome) -> Outcome {
        let (mut matrix, mut sigma) = (TwoTime::default(), TwoTime::default());
        for angle in 0..self.model.experiment.n_angles() {
            self.read(angle, &mut matrix, &mut sigma)?;
            matrix.complete();
            self.model.rows(angle, |i, g| take(angle, g, &matrix.row(i)[1..]))?;
        }
        Ok(())
    }
}

/// The shape g of the correlation, pair by pair.
struct Model<'a> {
    experiment: &'a Experiment,
    axis: TimeAxis,
    /// g of all fitted frames, angle by angle; empty where that is too much.
    held: Vec<f64>,
}

impl<'a> Model<'a> {
    /// Holds at most so many entries.
    fn new(experiment: &'a Experiment, physical: &[f64], most: u64) -> Self {
        let mut model =
            Self { experiment, axis: TimeAxis::without_derivatives(experiment, physical), held: Vec::new() };
        if entries(experiment) <= most {
            let m = experiment.n_frames - 1;
            let mut held = vec![0.0; experiment.n_angles() * m * m];
            held.par_chunks_exact_mut(m).enumerate().for_each(|(row, g)| model.fill(row / m, row % m + 1, g));
            model.held = held;
        }
        model
    }

    /// Passes every fitted frame of an angle and g along its row to `take`.
    fn rows(&self, angle: usize, mut take: impl FnMut(usize, &[f64]) -> Outcome) -> Outcome {
        let n = self.experiment.n_frames;
        if !self.held.is_empty() {
            let of_angle = self.held.chunks_exact((n - 1) * (n - 1)).nth(angle).into_iter();
            return of_angle.flat_map(|g| g.chunks_exact(n - 1)).zip(1..).try_for_each(|(g, i)| take(i, g));
        }
        let mut block = vec![0.0; ROWS * (n - 1)];
        for first in (1..n).step_by(ROWS) {
            let rows = &mut block[..ROWS.min(n - first) * (n - 1)];
            rows.par_chunks_exact_mut(n - 1).enumerate().for_each(|(row, g)| self.fill(angle, first + row, g));
            rows.chunks_exact(n - 1).zip(first..).try_for_each(|(g, i)| take(i, g))?;
        }
        Ok(())
    }

    /// g along the row of frame i.
    fn fill(&self, angle: usize, i: usize, row: &mut [f64]) {
        for (g, j) in row.iter_mut().zip(1..) {
            let shape = || reference::shape(self.experiment, &self.axis, angle, i.min(j), i.max(j));
            *g = if i == j { 1.0 } else { shape() };
        }
    }
}

/// Sums of a regression of c2 on 1 + g over the entries with a value.
#[derive(Debug, Clone, Copy, Default)]
struct Regression {
    n: f64,
    g: f64,
    c2: f64,
    gg: f64,
    gc2: f64,
}

impl Regression {
    fn add(&mut self, g: &[f64], c2: &[f32]) {
        for (&g, &c2) in g.iter().zip(c2).filter(|(_, c2)| c2.is_finite()) {
            // about 1, where the values lie: less is lost in the differences
            let c2 = f64::from(c2) - 1.0;
            self.n += 1.0;
            self.g += g;
            self.c2 += c2;
            self.gg += g * g;
            self.gc2 += g * c2;
        }
    }

    /// Slope, and intercept at 1 + g = 0.
    fn line(&self) -> (f64, f64) {
        let (g, c2) = (self.g / self.n, self.c2 / self.n);
        let spread = self.gg - self.n * g * g;
        let slope = if spread > 0.0 { (self.gc2 - self.n * g * c2) / spread } else { 0.0 };
        (slope, 1.0 + c2 - slope * (1.0 + g))
    }
}

/// A file that tells of its first failure only: the end of an archive, written when it is given up, would fail again, of which the
/// library complains on its own.
struct OnceFailing<'f> {
    file: &'f mut File,
    has_failed: bool,
    /// Where it stands, or would after a failure.
    at: u64,
}

impl OnceFailing<'_> {
    /// Does it to the file, unless that has failed: then `nothing` happens.
    fn attempt<T>(&mut self, act: impl FnOnce(&mut File) -> io::Result<T>, nothing: T) -> io::Result<T> {
        if self.has_failed {
            return Ok(nothing);
        }
        act(self.file).inspect_err(|error| self.has_failed = error.kind() != io::ErrorKind::Interrupted)
    }
}

impl Write for OnceFailing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.attempt(|file| file.write(bytes), bytes.len())?;
        self.at += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt(File::flush, ())
    }
}

impl Seek for OnceFailing<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let target = match to {
            SeekFrom::Start(at) => at,
            SeekFrom::Current(by) => self.at.saturating_add_signed(by),
            SeekFrom::End(_) => self.at,
        };
        self.at = self.attempt(|file| file.seek(to), target)?;
        Ok(self.at)
    }
}

/// A zip file of arrays in NumPy's format.
struct Archive<'f> {
    zip: ZipWriter<BufWriter<OnceFailing<'f>>>,
    options: SimpleFileOptions,
    row: Vec<u8>,
}

impl<'f> Archive<'f> {
    fn new(file: &'f mut File) -> Self {
        let zip = ZipWriter::new(BufWriter::new(OnceFailing { file, has_failed: false, at: 0 }));
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
        Self { zip, options, row: Vec::new() }
    }

    /// Begins an array; its elements follow.
    fn begin(&mut self, name: &str, shape: &[usize]) -> Outcome {
        let bytes = shape.iter().map(|&side| side as u64).product::<u64>() * size_of::<f64>() as u64;
        self.zip.start_file(format!("{name}.npy"), self.options.large_file(bytes >= LARGE))?;
        Ok(self.zip.write_all(&f64_header(shape))?)
    }

    /// Appends elements.
    fn put(&mut self, values: impl IntoIterator<Item = f64>) -> Outcome {
        self.row.clear();
        values.into_iter().for_each(|value| self.row.extend(value.to_le_bytes()));
        Ok(self.zip.write_all(&self.row)?)
    }

    fn list(&mut self, name: &str, shape: &[usize], values: impl IntoIterator<Item = f64>) -> Outcome {
        self.begin(name, shape)?;
        self.put(values)
    }

    fn finish(self) -> Outcome {
        // what a buffer still holds is written here, where a failure can be told
        Ok(self.zip.finish()?.into_inner().map(drop).map_err(io::IntoInnerError::into_error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_not_held_is_the_same() {
        // more than two blocks of rows
        let experiment = Experiment::sheared(vec![-20.0, 35.0], 2 * ROWS + 9);
        let physical = [6000.0, -0.4, 500.0, 0.0012, -0.3, 2e-4, 3.0];
        let rows = |most: u64, angle: usize| {
            let mut found = Vec::new();
            let model = Model::new(&experiment, &physical, most);
            assert_eq!(model.held.is_empty(), most == 0);
            let taken = model.rows(angle, |i, g| {
                found.push((i, g.to_vec()));
                Ok(())
            });
            assert!(taken.is_ok());
            found
        };
        for angle in 0..2 {
            let held = rows(HELD, angle);
            assert_eq!(held.iter().map(|row| row.0).collect::<Vec<_>>(), (1..experiment.n_frames).collect::<Vec<_>>());
            assert_eq!(held, rows(0, angle));
        }
    }
}
