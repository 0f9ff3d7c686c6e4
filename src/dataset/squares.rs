//! Matrices that are datasets of their own, all of one size.

use std::ops::Range;
use std::path::{Path, PathBuf};

use super::hdf::{Source, read_frames};
use super::{MatrixReader, TwoTime};
use crate::{Error, Result};

/// The matrices of a file, in the order in which they were added: that of its slots.
pub(super) struct Squares {
    file: PathBuf,
    datasets: Vec<(String, hdf5::Dataset)>,
    n_frames: usize,
}

impl Squares {
    pub fn new(file: &Path) -> Self {
        Self { file: file.to_path_buf(), datasets: Vec::new(), n_frames: 0 }
    }

    /// Opens the next matrix. Errors where it isn't a square of floating-point numbers as large as the first.
    pub fn add(&mut self, source: Source, path: &str) -> Result<()> {
        let (dataset, shape) = source.square(path, 2)?;
        match self.datasets.first() {
            None => self.n_frames = shape[0],
            Some((first, _)) if shape[0] != self.n_frames => {
                let n = self.n_frames;
                let message = format!("expected {n} × {n} as {first}, found {} × {}", shape[0], shape[1]);
                return Err(source.error(path, message));
            }
            Some(_) => {}
        }
        self.datasets.push((path.to_owned(), dataset));
        Ok(())
    }

    /// Frames of every matrix; 0 where there is none.
    pub fn n_frames(&self) -> usize {
        self.n_frames
    }

    /// What to say where values are stored with more digits than they are kept with.
    pub fn rounding(&self) -> Option<String> {
        let is_wide = |(_, dataset): &&(String, hdf5::Dataset)| dataset.dtype().is_ok_and(|d| d.size() > 4);
        let n_wide = self.datasets.iter().filter(is_wide).count();
        (n_wide > 0).then(|| rounding(n_wide, self.datasets.len()))
    }
}

/// A note on matrices that are stored in float64.
pub(super) fn rounding(n_wide: usize, n: usize) -> String {
    let which = if n_wide == n { String::new() } else { format!("{n_wide} of {n} matrices: ") };
    format!("{which}c2 is stored as float64; every value is rounded once, to float32")
}

impl MatrixReader for Squares {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        let (path, dataset) = &self.datasets[slot];
        read_frames(dataset, None, frames, into).map_err(|e| unreadable(&self.file, path, &e))
    }
}

/// The error of a matrix whose data can't be read: lost bytes, or a compression that isn't known here.
pub(super) fn unreadable(file: &Path, path: &str, why: &str) -> Error {
    Error::data_at(file, path, format!("the matrix cannot be read: {why}"))
}
