//! Matrices over age and lag, brought to c2(t1, t2).
//!
//! A value at an age and a lag belongs to t1 = age − lag/2 and t2 = age + lag/2. Both must be times of frames: a value
//! between frames is that of no pair, and is refused. Ages therefore run in steps of half a frame, and where an odd number
//! of them meets an even number of lags (or the other way round) there must be nothing, NaN or 0. Pairs without a value are
//! missing.

use std::ops::Range;
use std::path::PathBuf;

use hdf5::Hyperslab;

use super::bands::read_rows;
use super::chunks::{narrow, unpacking};
use super::esrf_id02::dimensions;
use super::hdf::Source;
use super::rings::short;
use super::squares::{rounding, unreadable};
use super::storage::{self, Side};
use super::units::Quantity;
use super::{MatrixReader, TwoTime, blank};
use crate::Result;

/// How far a time may be from a frame's, in frames: times are stored as float32 too.
const ROUNDING: f64 = 0.02;

/// A stack (q, age, lag).
pub(super) struct Aged {
    file: PathBuf,
    path: String,
    dataset: hdf5::Dataset,
    n_matrices: usize,
    /// Whether the dataset has a dimension for q.
    is_stack: bool,
    /// Twice the age in frames, t1 + t2; `None` for places that the file leaves empty.
    ages: Vec<Option<usize>>,
    /// Lag in frames, t2 − t1.
    lags: Vec<Option<usize>>,
    /// Frames of the measurement.
    pub n_frames: usize,
    /// Time between frames, s.
    pub dt: f64,
}

impl Aged {
    /// Opens the stack at `path` with the lists of its ages and lags (in s where they name no unit), which may hold NaN for nothing.
    ///
    /// Errors where sizes don't fit or times aren't those of frames.
    pub fn new(source: Source, path: &str, age: &str, lag: &str, notes: &mut Vec<String>) -> Result<Self> {
        let (mut ages, mut lags) = (source.floats_or_nan(age)?, source.floats_or_nan(lag)?);
        source.convert(age, &mut ages, Quantity::Time, None, notes)?;
        source.convert(lag, &mut lags, Quantity::Time, None, notes)?;
        let [n_matrices, n_ages, _] = dimensions(source, path, ages.len(), lags.len())?;
        source.check_length(path, n_matrices)?;
        let dataset = source.float_dataset(path)?;
        let is_stack = dataset.ndim() > 2;
        let Some(dt) = step(&lags) else {
            return Err(source.error(lag, "expected lags that rise in steps of a frame, found none above 0"));
        };
        let whole = |list: &str, values: &[f64], unit: f64, what: &str| -> Result<Vec<Option<usize>>> {
            let place = |&value: &f64| match value / unit {
                _ if value.is_nan() => Ok(None),
                frames if frames > -ROUNDING && (frames - frames.round()).abs() <= ROUNDING && frames < 1e9 => {
                    Ok(Some(frames.round() as usize))
                }
                _ => {
                    Err(source.error(list, format!("expected multiples of {} s, {what}, found {value} s", short(unit))))
                }
            };
            values.iter().map(place).collect()
        };
        let lags = whole(lag, &lags, dt, "the shortest step of the lags")?;
        let ages = whole(age, &ages, dt / 2.0, "half the shortest step of the lags")?;
        let n_frames = ages.iter().flatten().max().map_or(0, |&sum| sum / 2 + 1);
        if n_frames > n_ages {
            let message = format!(
                "expected an age for every frame, found {n_ages} ages for {n_frames} frames of {} s",
                short(dt)
            );
            return Err(source.error(age, message));
        }
        Ok(Self {
            file: source.file.to_path_buf(),
            path: path.to_owned(),
            dataset,
            n_matrices,
            is_stack,
            ages,
            lags,
            n_frames,
            dt,
        })
    }

    /// Where every matrix is, for people.
    pub fn paths(&self) -> impl Iterator<Item = String> {
        (0..self.n_matrices).map(|k| format!("{}[{k}]", self.path))
    }

    /// What to say where values are stored with more digits than they are kept with.
    pub fn rounding(&self) -> Option<String> {
        let is_wide = self.dataset.dtype().is_ok_and(|stored| stored.size() > size_of::<f32>());
        is_wide.then(|| rounding(self.n_matrices, self.n_matrices))
    }

    fn fill(&self, k: usize, frames: &Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        let n = frames.len();
        for (i, row) in into.values.chunks_exact_mut(n).enumerate() {
            row[..=i].fill(0.0);
            row[i + 1..].fill(f32::NAN);
        }
        let part = |ages: Range<usize>| match self.is_stack {
            true => Hyperslab::from((k, ages, ..)),
            false => Hyperslab::from((ages, ..)),
        };
        let index = self.is_stack.then_some(k);
        let (ages, lags) = (0..self.ages.len(), 0..self.lags.len());
        storage::note(&self.dataset, &Side::of_stack(index), &ages, &lags, into)?;
        let unwritten = std::mem::take(&mut into.unwritten);
        let is_unwritten =
            |a: usize, l: usize| unwritten.iter().any(|(ages, lags)| ages.contains(&a) && lags.contains(&l));
        let mut never = Vec::new();
        read_rows::<f64>(&self.dataset, usize::from(self.is_stack), ages, lags.end, part, |a, values| {
            for (l, &value) in values.iter().enumerate() {
                let pair = match (self.ages[a], self.lags[l]) {
                    (Some(sum), Some(lag)) if sum >= lag && (sum - lag).is_multiple_of(2) => {
                        Some(((sum - lag) / 2, (sum + lag) / 2)).filter(|&(_, j)| j < self.n_frames)
                    }
                    _ => None,
                };
                match pair {
                    Some((i, j)) if frames.contains(&i) && frames.contains(&j) && is_unwritten(a, l) => {
                        // the diagonal takes no part
                        never.extend((i < j).then_some((i - frames.start, j - frames.start)));
                    }
                    Some((i, j)) if frames.contains(&i) && frames.contains(&j) => {
                        into.values[(i - frames.start) * n + j - frames.start] = narrow(value);
                    }
                    None if value.is_finite() && value != 0.0 && !is_unwritten(a, l) => {
                        return Err(self.between(a, l, value));
                    }
                    _ => {}
                }
            }
            Ok(())
        })?;
        into.blanks.extend((!never.is_empty()).then(|| blank::spanned(&never)));
        Ok(())
    }

    /// What is wrong with a value that belongs to no pair of frames.
    fn between(&self, a: usize, l: usize, value: f64) -> String {
        let (Some(sum), Some(lag)) = (self.ages[a], self.lags[l]) else {
            return format!("{value} stands where no age or no lag is given (indices {a}, {l})");
        };
        let (half, lag) = (sum as f64 / 2.0, lag as f64);
        format!(
            "the value {value} at age {} s and lag {} s belongs to the times age ∓ lag/2, frames {} and {} (from 0), which \
             aren't a pair of the {} frames; ask for the two-time function over t1 and t2",
            short(half * self.dt),
            short(lag * self.dt),
            half - lag / 2.0,
            half + lag / 2.0,
            self.n_frames
        )
    }
}

/// The shortest lag above 0 or step between lags, as exactly as the longest lag says it.
fn step(lags: &[f64]) -> Option<f64> {
    let mut sorted: Vec<f64> = lags.iter().copied().filter(|lag| lag.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let steps = sorted.windows(2).map(|pair| pair[1] - pair[0]);
    let shortest = sorted.iter().copied().chain(steps).filter(|&step| step > 0.0).min_by(f64::total_cmp)?;
    let longest = *sorted.last()?;
    Some(longest / (longest / shortest).round())
}

impl MatrixReader for Aged {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        let path = format!("{}[{slot}]", self.path);
        self.fill(slot, &frames, into).map_err(|e| unreadable(&self.file, &path, &e))
    }

    fn memory_beside(&self, _: usize, frames: &Range<usize>) -> usize {
        unpacking(&self.dataset, frames)
    }
}
