//! Result files of midtools, from MID at the European XFEL.
//!
//! `/train_resolved/correlation/ttc` (train, q, t1, t2) holds a matrix for every pulse train and q; `q` beside it is in nm⁻¹,
//! `t` has the delays in s, the first of which is one frame. Bins with too few pixels are filled with −100. Files have no φ:
//! bins are whole rings.

use std::ops::Range;
use std::path::PathBuf;

use hdf5::Hyperslab;

use super::bands::read_rows;
use super::chunks::{narrow, unpacking};
use super::hdf::{Source, shape_text};
use super::selection::{Found, Purpose, Rings, Spacing};
use super::squares::{rounding, unreadable};
use super::storage::{self, Side};
use super::triangle::{pairs_of_fit, prepare};
use super::units::Quantity;
use super::wavevectors::{Bins, Custom, used, wavevectors};
use super::{Blank, MatrixReader, Slot, Train, TwoTime};
use crate::Result;

/// The matrices.
pub(super) const C2: &str = "/train_resolved/correlation/ttc";
const Q_LIST: &str = "/train_resolved/correlation/q";
const DELAYS: &str = "/train_resolved/correlation/t";
const STRIDES: &str = "/train_resolved/correlation/stride";
const TRAIN_KEY: &str = "experimental_data.train";
const PER_NM: Custom =
    Custom { divisor: 10.0, remark: "names no units; its q are taken as nm⁻¹, as midtools writes them" };
/// What fills bins with too few pixels.
const UNUSABLE: f64 = -100.0;
/// Delays farther from equal steps than this, relatively, aren't those of frames.
const SAME_STEP: f64 = 1e-3;

/// Reads and checks all metadata. `train` is the configured one.
pub(super) fn find(source: Source, train: Option<Train>, purpose: Purpose) -> Result<Found> {
    let (mut notes, mut warnings) = (Vec::new(), Vec::new());
    let rank = match source.shape(C2)?.len() {
        rank @ (2 | 3 | 5) => rank,
        _ => 4,
    };
    let has_trains = rank > 3;
    let (dataset, mut shape) = source.square_at(C2, rank, rank - 2)?;
    let stride = if rank == 5 { Some(within_trains(source, shape.remove(1), &mut notes)?) } else { None };
    let n_trains = if has_trains { shape[0] } else { 1 };
    let (n_matrices, n) = (if rank > 2 { shape[shape.len() - 3] } else { 1 }, shape[shape.len() - 1]);
    let Bins { q, phi, remark } = wavevectors(source, Q_LIST, n_matrices, PER_NM, &mut notes)?;
    notes.extend(remark);
    let train = match (train, n_trains) {
        (Some(Train::One(k)), _) if k > n_trains => {
            let message = format!("has {n_trains} trains, but {TRAIN_KEY} is {k} ({})", shape_text(&shape));
            return Err(source.error(C2, message));
        }
        (Some(train), _) => train,
        (None, 1) => Train::One(1),
        (None, _) if purpose == Purpose::Inspect => {
            warnings
                .push(format!("the mean of {n_trains} trains is shown; a fit needs {TRAIN_KEY}: `mean` or a number"));
            Train::Mean
        }
        (None, _) => {
            let message = format!("holds {n_trains} trains; choose one with {TRAIN_KEY} (1 to {n_trains}), or `mean`");
            return Err(source.error(C2, message));
        }
    };
    notes.push(match train {
        Train::Mean => format!("matrices are means of {n_trains} trains"),
        Train::One(k) => format!("train {k} of {n_trains}"),
    });
    if dataset.dtype().is_ok_and(|stored| stored.size() > size_of::<f32>()) {
        notes.push(rounding(n_matrices, n_matrices));
    }
    let reader =
        Reader { file: source.file.to_path_buf(), dataset, train, n_trains, has_trains, has_bins: rank > 2, stride };
    let slot = |(k, &q): (usize, &f64)| -> Result<Slot> {
        let q = used(source, Q_LIST, k, q)?;
        Ok(Slot {
            path: reader.path(k),
            bin: Some(k as i64 + 1),
            q,
            phi: phi.as_ref().map_or(f64::NAN, |phi| phi[k]),
            selected: false,
        })
    };
    let slots = q.iter().enumerate().map(slot).collect::<Result<_>>()?;
    Ok(Found {
        slots,
        rings: Rings::Map(q),
        n_frames: n,
        cut: None,
        dt: frame_time(source, &mut notes, &mut warnings),
        likely_dt: None,
        bad_frames: Vec::new(),
        skipped: 0,
        gap: None,
        notes,
        warnings,
        reader: Box::new(reader),
    })
}

/// Of `n` strides between trains the index of 0, frames of one train, which is the two-time correlation.
fn within_trains(source: Source, n: usize, notes: &mut Vec<String>) -> Result<usize> {
    let strides = source.integers(STRIDES)?;
    let Some(at) = strides.iter().position(|&stride| stride == 0).filter(|_| strides.len() == n) else {
        let message = format!(
            "expected the strides between trains of the {n} sets of {C2}, with 0 among them, the two-time correlation within a \
             train; found {strides:?}"
        );
        return Err(source.error(STRIDES, message));
    };
    notes.push(format!(
        "{C2} holds correlations between trains, too ({STRIDES}: {strides:?}); those within a train are read"
    ));
    Ok(at)
}

/// Time between frames, s, from the delays.
fn frame_time(source: Source, notes: &mut Vec<String>, warnings: &mut Vec<String>) -> Spacing {
    if !source.exists(DELAYS) {
        return Ok(None);
    }
    let mut delays = source.floats(DELAYS)?;
    source.convert(DELAYS, &mut delays, Quantity::Time, None, notes)?;
    let (first, last) = (delays[0], delays[delays.len() - 1]);
    let dt = if delays.len() > 1 { (last - first) / (delays.len() - 1) as f64 } else { first };
    let is_even = delays.iter().enumerate().all(|(i, t)| (t - first - i as f64 * dt).abs() <= SAME_STEP * dt);
    if dt > 0.0 && is_even {
        return Ok(Some((dt, format!("file: steps of {DELAYS}"))));
    }
    warnings.push(format!("{DELAYS} isn't used: expected delays at equal steps above 0, found {first} s to {last} s"));
    Ok(None)
}

struct Reader {
    file: PathBuf,
    dataset: hdf5::Dataset,
    train: Train,
    n_trains: usize,
    /// Whether the first dimension counts trains.
    has_trains: bool,
    /// Whether a dimension counts bins of q.
    has_bins: bool,
    /// Where the second one counts strides between trains, the index of what is correlated within them.
    stride: Option<usize>,
}

impl Reader {
    fn path(&self, k: usize) -> String {
        let stride = self.stride.map_or_else(String::new, |at| format!("{at}, "));
        match self.train {
            _ if !self.has_trains => format!("{C2}[{k}]"),
            Train::Mean => format!("{C2}[:, {stride}{k}]"),
            Train::One(train) => format!("{C2}[{}, {stride}{k}]", train - 1),
        }
    }

    /// Reads the matrix of one train, from 0.
    fn read_train(
        &self,
        train: usize,
        k: usize,
        frames: &Range<usize>,
        into: &mut TwoTime,
    ) -> std::result::Result<(), String> {
        let n = frames.len();
        let part = |rows: Range<usize>| match (self.has_trains, self.stride) {
            (true, Some(stride)) => Hyperslab::from((train, stride, k, rows, frames.clone())),
            (true, None) => Hyperslab::from((train, k, rows, frames.clone())),
            (false, _) if self.has_bins => Hyperslab::from((k, rows, frames.clone())),
            (false, _) => Hyperslab::from((rows, frames.clone())),
        };
        let sets = [self.has_trains.then_some(train), self.stride, self.has_bins.then_some(k)];
        let axis = sets.iter().flatten().count();
        let sides: Vec<Side> = sets.into_iter().flatten().map(Side::At).chain([Side::Rows, Side::Columns]).collect();
        storage::note(&self.dataset, &sides, frames, frames, into)?;
        read_rows::<f64>(&self.dataset, axis, frames.clone(), n, part, |row, values| {
            let target = &mut into.values[(row - frames.start) * n..][..n];
            target.iter_mut().zip(values).for_each(|(to, &v)| *to = if v == UNUSABLE { f32::NAN } else { narrow(v) });
            Ok(())
        })
    }

    /// The mean over all trains that have data, pair by pair; dead frames of a train take no part.
    fn read_mean(&self, k: usize, frames: &Range<usize>, into: &mut TwoTime) -> std::result::Result<(), String> {
        let n = frames.len();
        let (mut sums, mut counts) = (vec![0.0_f64; n * n], vec![0_u32; n * n]);
        let mut blanks = Vec::new();
        for train in 0..self.n_trains {
            match self.read_train(train, k, frames, into) {
                Err(why) if why == storage::NOTHING => into.values.fill(0.0),
                read => read?,
            }
            if into.values.iter().all(|v| *v == 0.0 || v.is_nan()) {
                // NaN are what midtools says of too few pixels
                if into.values.contains(&0.0) {
                    blanks.push(Blank { t1: 0..n, t2: 0..n, pairs: pairs_of_fit(n), train: Some(train + 1) });
                }
                continue;
            }
            let report = prepare(into, frames.start, true).map_err(|why| format!("train {}: {why}", train + 1))?;
            blanks.extend(report.blanks.into_iter().map(|blank| Blank { train: Some(train + 1), ..blank }));
            for i in 0..n {
                for at in i * n + i + 1..(i + 1) * n {
                    let v = into.values[at];
                    if v.is_finite() {
                        sums[at] += f64::from(v);
                        counts[at] += 1;
                    }
                }
            }
        }
        for (i, row) in into.values.chunks_exact_mut(n).enumerate() {
            row[..=i].fill(0.0);
            for (j, v) in row.iter_mut().enumerate().skip(i + 1) {
                *v = narrow(sums[i * n + j] / f64::from(counts[i * n + j]));
            }
        }
        (into.unwritten, into.blanks) = (Vec::new(), blanks);
        Ok(())
    }
}

impl MatrixReader for Reader {
    fn read(&self, slot: usize, frames: Range<usize>, into: &mut TwoTime) -> Result<()> {
        match self.train {
            Train::Mean => self.read_mean(slot, &frames, into),
            Train::One(train) => self.read_train(train - 1, slot, &frames, into),
        }
        .map_err(|e| unreadable(&self.file, &self.path(slot), &e))
    }

    fn memory_beside(&self, _: usize, frames: &Range<usize>) -> usize {
        let sums = match self.train {
            Train::Mean => (size_of::<f64>() + size_of::<u32>()) * frames.len() * frames.len(),
            Train::One(_) => 0,
        };
        sums + unpacking(&self.dataset, frames)
    }

    fn hint(&self) -> &'static str {
        " (midtools fills bins with too few pixels with −100)"
    }
}
