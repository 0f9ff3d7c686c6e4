//! Matrices of one size that are datasets of their own or lie one behind the other in a dataset, read as they are stored or
//! brought to c2(t1, t2) on the way.

use std::ops::Range;
use std::path::{Path, PathBuf};

use hdf5::Hyperslab;

use super::bands::read_rows;
use super::chunks::{narrow, unpacking};
use super::hdf::{Source, read_frames};
use super::storage::{self, Side};
use super::{Baseline, MatrixReader, TwoTime};
use crate::{Error, Result};

/// The matrices of a file, in the order in which they were added: that of its slots.
pub(super) struct Squares {
    file: PathBuf,
    matrices: Vec<Matrix>,
    n_frames: usize,
    /// What full decorrelation is in the file.
    pub baseline: Baseline,
    /// The first row holds the last t1: the origin of time is at the lower left.
    pub from_bottom: bool,
    /// Added to the message about a matrix that isn't symmetric.
    pub hint: &'static str,
}

struct Matrix {
    path: String,
    dataset: hdf5::Dataset,
    place: Place,
}

/// Where a matrix is in its dataset.
#[derive(Clone, Copy)]
enum Place {
    /// All of (N, N).
    Whole,
    /// Index in (K, N, N).
    First(usize),
    /// Index in (N, N, K).
    Last(usize),
}

/// Which dimension of a stack counts the matrices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// (K, N, N).
    First,
    /// (N, N, K).
    Last,
}

impl Squares {
    pub fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            matrices: Vec::new(),
            n_frames: 0,
            baseline: Baseline::One,
            from_bottom: false,
            hint: "",
        }
    }

    /// Opens the next matrix. Errors where it isn't a square of floating-point numbers as large as the first.
    pub fn add(&mut self, source: Source, path: &str) -> Result<()> {
        // a dimension of one may be left from a stack
        let (rank, axis, place) = match source.shape(path)?[..] {
            [1, n, _] if n > 1 => (3, 1, Place::First(0)),
            [n, _, 1] if n > 1 => (3, 0, Place::Last(0)),
            _ => (2, 0, Place::Whole),
        };
        let (dataset, shape) = source.square_at(path, rank, axis)?;
        match self.matrices.first() {
            None => self.n_frames = shape[axis],
            Some(first) if shape[axis] != self.n_frames => {
                let n = self.n_frames;
                let message = format!("expected {n} × {n} as {}, found {1} × {1}", first.path, shape[axis]);
                return Err(source.error(path, message));
            }
            Some(_) => {}
        }
        self.matrices.push(Matrix { path: path.to_owned(), dataset, place });
        Ok(())
    }

    /// Opens all matrices of a stack, the only dataset of the reader. Errors where they aren't squares of floating-point
    /// numbers.
    pub fn add_stack(&mut self, source: Source, path: &str, order: Order) -> Result<()> {
        if source.shape(path)?.len() == 2 {
            // of one matrix, without a dimension for it
            return self.add(source, path);
        }
        let (dataset, shape) = source.square_at(path, 3, if order == Order::First { 1 } else { 0 })?;
        let n_matrices = if order == Order::First { shape[0] } else { shape[2] };
        self.n_frames = shape[1];
        self.matrices = (0..n_matrices)
            .map(|k| match order {
                Order::First => (format!("{path}[{k}]"), Place::First(k)),
                Order::Last => (format!("{path}[:, :, {k}]"), Place::Last(k)),
            })
            .map(|(path, place)| Matrix { path, dataset: dataset.clone(), place })
            .collect();
        Ok(())
    }

    /// Frames of every matrix; 0 where there is none.
    pub fn n_frames(&self) -> usize {
        self.n_frames
    }

    /// Where every matrix is, for people.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.matrices.iter().map(|m| m.path.as_str())
    }

    /// What to say where values are stored with more digits than they are kept with.
    pub fn rounding(&self) -> Option<String> {
        let n_wide = self.matrices.iter().filter(|m| is_wide(&m.dataset)).count();
        (n_wide > 0).then(|| rounding(n_wide, self.matrices.len()))
    }

    fn fill(&self, matrix: &Matrix, frames: Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        self.read_into(matrix, frames, into)?;
        into.fill = self.baseline.c2(f64::from(into.fill));
        Ok(())
    }

    fn read_into(&self, matrix: &Matrix, frames: Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        let index = match matrix.place {
            Place::Whole => None,
            Place::First(k) => Some(k),
            Place::Last(_) => return self.fill_rows(matrix, frames, into),
        };
        // what is computed with float64 must be so before it is rounded
        if self.from_bottom || (self.baseline == Baseline::Zero && is_wide(&matrix.dataset)) {
            return self.fill_rows(matrix, frames, into);
        }
        read_frames(&matrix.dataset, index, frames, into)?;
        if self.baseline == Baseline::Zero {
            into.values.iter_mut().for_each(|v| *v = self.baseline.c2(f64::from(*v)));
        }
        Ok(())
    }

    /// Reads a matrix row by row.
    fn fill_rows(&self, matrix: &Matrix, frames: Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        let n = frames.len();
        let stored = |i: usize| if self.from_bottom { self.n_frames - 1 - i } else { i };
        let (first, last) = (stored(frames.start), stored(frames.end - 1));
        let (rows, columns) = (first.min(last)..first.max(last) + 1, frames.clone());
        let (axis, place) = (if matches!(matrix.place, Place::First(_)) { 1 } else { 0 }, matrix.place);
        let sides = match place {
            Place::Whole => Side::of_stack(None),
            Place::First(k) => Side::of_stack(Some(k)),
            Place::Last(k) => vec![Side::Rows, Side::Columns, Side::At(k)],
        };
        storage::note(&matrix.dataset, &sides, &rows, &columns, into)?;
        if self.from_bottom {
            into.unwritten.iter_mut().for_each(|(rows, _)| *rows = n - rows.end..n - rows.start);
        }
        let part = |rows: Range<usize>| match place {
            Place::Whole => Hyperslab::from((rows, columns.clone())),
            Place::First(k) => Hyperslab::from((k, rows, columns.clone())),
            Place::Last(k) => Hyperslab::from((rows, columns.clone(), k)),
        };
        read_rows::<f64>(&matrix.dataset, axis, rows, n, part, |row, values| {
            let target = &mut into.values[(stored(row) - frames.start) * n..][..n];
            target.iter_mut().zip(values).for_each(|(to, &from)| *to = self.baseline.c2(from));
            Ok(())
        })
    }
}

/// Whether values are stored with more digits than they are kept with.
fn is_wide(dataset: &hdf5::Dataset) -> bool {
    dataset.dtype().is_ok_and(|stored| stored.size() > size_of::<f32>())
}

/// A note on matrices that are stored in float64.
pub(super) fn rounding(n_wide: usize, n: usize) -> String {
    let which = if n_wide == n { String::new() } else { format!("{n_wide} of {n} matrices: ") };
    format!("{which}c2 is stored as float64; every value is rounded once, to float32")
}

impl Baseline {
    /// c2 of a stored value. An exact zero stays one, as it may stand for nothing; [`Dataset::read`](super::Dataset::read)
    /// knows more then.
    pub(super) fn c2(self, stored: f64) -> f32 {
        match self {
            Self::One => narrow(stored),
            Self::Zero if stored == 0.0 => 0.0,
            // a c2 of exactly 0 is a value: it must not become the zero that may stand for nothing
            Self::Zero if stored == -1.0 => f32::MIN_POSITIVE,
            Self::Zero => narrow(stored + 1.0),
        }
    }
}

impl MatrixReader for Squares {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        let matrix = &self.matrices[slot];
        self.fill(matrix, frames, into).map_err(|e| unreadable(&self.file, &matrix.path, &e))
    }

    fn memory_beside(&self, slot: usize, frames: &Range<usize>) -> usize {
        unpacking(&self.matrices[slot].dataset, frames)
    }

    fn baseline(&self) -> Baseline {
        self.baseline
    }

    fn hint(&self) -> &'static str {
        self.hint
    }
}

/// The error of a matrix whose data can't be read: lost bytes, or a compression that isn't known here.
pub(super) fn unreadable(file: &Path, path: &str, why: &str) -> Error {
    Error::data_at(file, path, format!("the matrix cannot be read: {why}"))
}
