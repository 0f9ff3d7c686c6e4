//! From a matrix as stored to its upper triangle with missing values marked.
//!
//! Files hold the upper half, the lower half or both, the unused half filled with zeros (or NaN), which mean nothing
//! there. In the used half a frame whose whole row and column are exact zeros was dead. All loops run along rows.

use super::rings::short;
use super::{Baseline, Dataset, LeftOut, MatrixReport, TwoTime, blank};
use crate::{Error, Result, buffers};

/// Largest difference between the two halves of a full matrix, relative to max(1, |c2|).
const ASYMMETRY: f64 = 1e-6;
/// Pairs compared in a full matrix: enough to meet any systematic difference, cheap beside reading.
const SYMMETRY_SAMPLE: usize = 20_000;
/// Side of the blocks in which a matrix is transposed: two blocks of float32 fit in the first-level cache.
const BLOCK: usize = 32;
/// How the message of a matrix without data begins.
const NOTHING: &str = "no finite value";
/// Entries tested for zero at a time.
const SCAN: usize = 256;

impl Dataset {
    /// Reads matrix `k` (an index into [`Dataset::selected`]) over the selected frames and fills its upper triangle.
    ///
    /// The buffer is reused; no second matrix is held. Errors: [`Error::Data`] for unreadable data, a full matrix that
    /// isn't symmetric, no finite value; [`Error::Memory`] where there is no memory for it.
    pub fn read(&self, k: usize, buffer: &mut TwoTime) -> Result<MatrixReport> {
        let slot = self.selected[k];
        let frames = self.frames();
        buffer.resize(frames.len())?;
        let path = || format!("unpacking the chunks of {}", self.slots[slot].path);
        buffers::check(self.reader.memory_beside(slot, &frames), path)?;
        self.reader.read(slot, frames, buffer)?;
        let at =
            |message| Error::data_at(&self.file, &self.slots[slot].path, format!("{message}{}", self.reader.hint()));
        let report = prepare(buffer, self.first_frame, self.compare_halves).map_err(|message| {
            let phi = self.slots[slot].phi;
            at(if message.starts_with(NOTHING) && phi.is_finite() {
                format!(
                    "{message}; a sector without pixels? phi_filtering.target_ranges can leave its φ = {}° out",
                    short(phi)
                )
            } else {
                message
            })
        })?;
        if self.reader.baseline() == Baseline::Zero {
            raise_zeros(buffer);
        }
        leave_out(buffer, &self.left_out, report)
            .map_err(|message| Error::data_at(&self.file, &self.slots[slot].path, message))
    }
}

/// Whether an error of [`Dataset::read`] says that a matrix holds nothing, as that of a sector without pixels does.
pub fn is_empty(error: &Error) -> bool {
    matches!(error, Error::Data { message, .. } if message.starts_with(NOTHING))
}

/// Where a file holds c2 − 1, a zero that is left in the used half is a value: c2 = 1.
fn raise_zeros(m: &mut TwoTime) {
    for i in 0..m.n {
        row_mut(m, i)[i + 1..].iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = 1.0);
    }
}

/// Makes NaN of what the configuration leaves out and counts it apart from what is missing.
fn leave_out(m: &mut TwoTime, left_out: &LeftOut, report: MatrixReport) -> std::result::Result<MatrixReport, String> {
    if left_out.is_nothing() {
        return Ok(report);
    }
    let (finite, kept) = (left_out.apply(m), left_out.pairs_of_fit());
    if finite == 0 {
        return Err("no finite value: every pair that data_filtering leaves is missing".to_owned());
    }
    let dead_frames = report.dead_frames.into_iter().filter(|&f| !left_out.has_frame(f)).collect();
    Ok(MatrixReport { dead_frames, n_missing: kept - finite, n_excluded: pairs_of_fit(m.n) - kept, ..report })
}

/// Pairs of N frames without the first.
pub(super) fn pairs_of_fit(n: usize) -> u64 {
    (n as u64 - 1) * (n as u64 - 2) / 2
}

/// Brings the buffer's matrix into the upper triangle, marks dead frames and infinities as NaN and counts what is
/// missing. `first_frame` is the file's index of frame 0, for messages; `compare_halves` says whether the halves of a full
/// matrix must agree.
pub(super) fn prepare(
    m: &mut TwoTime,
    first_frame: usize,
    compare_halves: bool,
) -> std::result::Result<MatrixReport, String> {
    let n = m.n;
    empty_unwritten(m);
    let upper = (0..n).any(|i| holds_data(&row(m, i)[i + 1..], m.fill));
    let lower = (1..n).any(|i| holds_data(&row(m, i)[..i], m.fill));
    let triangle = match (upper, lower) {
        (false, false) => return Err(format!("{NOTHING}: every pair is zero or missing")),
        (true, false) => "upper",
        (false, true) => {
            transpose(m);
            m.unwritten.iter_mut().for_each(|(rows, columns)| std::mem::swap(rows, columns));
            "lower"
        }
        (true, true) => {
            if compare_halves {
                check_symmetry(m, first_frame)?;
            }
            take_from_lower(m);
            "full"
        }
    };
    let dead_frames: Vec<usize> = (0..n).filter(|&f| is_dead(m, f)).collect();
    for &f in &dead_frames {
        row_mut(m, f)[f..].fill(f32::NAN);
        for i in 0..f {
            row_mut(m, i)[f] = f32::NAN;
        }
    }
    let mut blanks = blank::find(m);
    blanks.append(&mut m.blanks);
    let mut n_missing = 0;
    for i in 0..n {
        let values = &mut row_mut(m, i)[i + 1..];
        let missing: u32 = values.iter().map(|v| u32::from(!v.is_finite())).sum();
        if missing > 0 {
            values.iter_mut().filter(|v| v.is_infinite()).for_each(|v| *v = f32::NAN);
        }
        // frame 0 takes no part in a fit
        if i > 0 {
            n_missing += u64::from(missing);
        }
    }
    if n_missing == pairs_of_fit(n) {
        return Err(format!("{NOTHING}: every pair of the fitted frames is missing"));
    }
    Ok(MatrixReport { triangle, dead_frames, n_missing, blanks, n_excluded: 0 })
}

/// Makes NaN of what the file holds no storage for, whatever was read there.
fn empty_unwritten(m: &mut TwoTime) {
    let unwritten = std::mem::take(&mut m.unwritten);
    for (rows, columns) in &unwritten {
        rows.clone().for_each(|i| row_mut(m, i)[columns.clone()].fill(f32::NAN));
    }
    m.unwritten = unwritten;
}

/// Takes pairs that only the lower half of a full matrix holds from there: a value of 0, or one where nothing was written, would be
/// the same in both halves.
fn take_from_lower(m: &mut TwoTime) {
    let (n, fill, v) = (m.n, m.fill, &mut m.values);
    let is_nothing = |v: f32| v == 0.0 || v == fill;
    for i in 0..n {
        if v[i * n + i + 1..(i + 1) * n].iter().any(|&v| is_nothing(v)) {
            for j in i + 1..n {
                if is_nothing(v[i * n + j]) {
                    v[i * n + j] = v[j * n + i];
                }
            }
        }
    }
    for (rows, columns) in &m.unwritten {
        for i in rows.clone() {
            for j in columns.start.max(i + 1)..columns.end {
                v[i * n + j] = v[j * n + i];
            }
        }
    }
}

fn row(m: &TwoTime, i: usize) -> &[f32] {
    &m.values[i * m.n..][..m.n]
}

fn row_mut(m: &mut TwoTime, i: usize) -> &mut [f32] {
    &mut m.values[i * m.n..][..m.n]
}

/// Whether any value is finite and neither zero nor what stands where nothing was written.
fn holds_data(values: &[f32], fill: f32) -> bool {
    values.chunks(SCAN).any(|chunk| {
        // the bits without sign are 0 for ±0 only; or-ing them is a loop the compiler vectorises
        chunk.iter().fold(0, |bits, v| bits | (v.to_bits() << 1)) != 0
            && chunk.iter().fold(false, |found, v| found | (v.is_finite() & (*v != 0.0) & (*v != fill)))
    })
}

/// Copies the lower triangle into the upper one.
pub(super) fn transpose(m: &mut TwoTime) {
    let (n, v) = (m.n, &mut m.values);
    for i0 in (0..n).step_by(BLOCK) {
        for j0 in (i0..n).step_by(BLOCK) {
            for i in i0..(i0 + BLOCK).min(n) {
                for j in j0.max(i + 1)..(j0 + BLOCK).min(n) {
                    v[i * n + j] = v[j * n + i];
                }
            }
        }
    }
}

/// Whether the frame's row and column in the upper triangle, diagonal included, are exact zeros.
fn is_dead(m: &TwoTime, f: usize) -> bool {
    // a live frame's diagonal isn't zero, except where the writer left the diagonal out: then its row decides at once
    let row_f = row(m, f);
    row_f[f] == 0.0 && row_f[f + 1..].iter().all(|&v| v == 0.0) && (0..f).all(|i| row(m, i)[f] == 0.0)
}

/// Compares a sample of pairs, spread evenly over all rows and lags, with their mirror images. Missing values aren't
/// compared, nor what only one half holds.
fn check_symmetry(m: &TwoTime, first_frame: usize) -> std::result::Result<(), String> {
    let n = m.n;
    let total = n * (n - 1) / 2;
    for i in 0..n - 1 {
        let length = n - 1 - i;
        let take = (length * SYMMETRY_SAMPLE).div_ceil(total).min(length);
        // a start that differs from row to row, so that the sample isn't a set of columns; the factor is odd
        let shift = i.wrapping_mul(0x9E37_79B9) % length;
        let upper = &row(m, i)[i + 1..];
        for s in 0..take {
            let at = (s * length + shift) / take;
            let j = i + 1 + at;
            let (a, b) = (f64::from(upper[at]), f64::from(row(m, j)[i]));
            let difference = (a - b).abs();
            let is_nothing = |v: f64| v == 0.0 || v == f64::from(m.fill);
            let in_both = a.is_finite() && b.is_finite() && !is_nothing(a) && !is_nothing(b);
            if in_both && difference > ASYMMETRY * a.abs().max(b.abs()).max(1.0) {
                let (i, j) = (first_frame + i, first_frame + j);
                return Err(format!(
                    "expected a symmetric matrix or one half of it, found c2[{i}, {j}] = {a} and c2[{j}, {i}] = {b} (indices from \
                     0)"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const N: usize = 75;

    fn value(i: usize, j: usize) -> f32 {
        let (i, j) = (i.min(j), i.max(j));
        1.0 + 0.3 / (1.0 + (j - i) as f32) + 0.001 * i as f32
    }

    fn matrix(n: usize, keep: impl Fn(usize, usize) -> bool) -> TwoTime {
        let values = (0..n * n).map(|k| if keep(k / n, k % n) { value(k / n, k % n) } else { 0.0 }).collect();
        TwoTime::from_matrix(n, values)
    }

    fn assert_filled(m: &TwoTime) {
        for i in 0..m.n {
            for j in i + 1..m.n {
                assert_eq!(m.at(i, j), value(i, j), "({i}, {j})");
            }
        }
    }

    #[test]
    fn every_triangle_ends_up_in_the_upper_one() {
        for (name, keep) in [
            ("upper", (|i, j| i <= j) as fn(usize, usize) -> bool),
            ("upper", |i, j| i < j),
            ("lower", |i, j| i >= j),
            ("lower", |i, j| i > j),
            ("full", |_, _| true),
            ("full", |i, j| i != j),
        ] {
            let mut m = matrix(N, keep);
            let report = prepare(&mut m, 0, true).unwrap();
            assert_eq!(report, MatrixReport { triangle: name, dead_frames: vec![], ..MatrixReport::default() });
            assert_filled(&m);
        }
    }

    #[test]
    fn an_unused_half_of_nan_means_nothing() {
        let mut m = matrix(N, |i, j| i >= j);
        (0..N).for_each(|i| m.values[i * N + i + 1..(i + 1) * N].fill(f32::NAN));
        assert_eq!(
            prepare(&mut m, 0, true).unwrap(),
            MatrixReport { triangle: "lower", dead_frames: vec![], ..MatrixReport::default() }
        );
        assert_filled(&m);
    }

    #[test]
    fn dead_frames_are_missing_in_every_triangle() {
        let dead = [0, 17, 18, N - 1];
        let alive = |i, j| !dead.contains(&i) && !dead.contains(&j);
        for keep in [(|i, j| i <= j) as fn(usize, usize) -> bool, |i, j| i >= j, |_, _| true] {
            let mut m = matrix(N, |i, j| keep(i, j) && alive(i, j));
            let report = prepare(&mut m, 0, true).unwrap();
            assert_eq!(report.dead_frames, dead);
            let missing: usize = (1..N).map(|i| (i + 1..N).filter(|&j| !alive(i, j)).count()).sum();
            assert_eq!(report.n_missing, missing as u64);
            for i in 0..N {
                for j in i + 1..N {
                    assert_eq!(m.at(i, j).is_nan(), !alive(i, j));
                }
            }
        }
    }

    #[test]
    fn of_a_full_matrix_whose_writer_ended_early_one_half_is_enough() {
        // rows or columns that were never written: zeros, or what the file has for nothing
        for (keep, fill) in [
            ((|i, _| i < 50) as fn(usize, usize) -> bool, 0.0),
            (|_, j| j < 50, 0.0),
            (|i, _| i < 50, -1.0),
            (|_, j| j < 50, 1.0),
        ] {
            let mut m = matrix(N, keep);
            m.values.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = fill);
            m.fill = fill;
            let report = prepare(&mut m, 0, true).unwrap();
            let blank = &report.blanks[0];
            assert_eq!((report.triangle, report.blanks.len(), blank.pairs), ("full", 1, 25 * 24 / 2), "{report:?}");
            assert_eq!((&blank.t1, &blank.t2), (&(50..N - 1), &(51..N)));
            assert_eq!((m.at(10, 60), m.at(10, 20)), (value(10, 60), value(10, 20)));
        }
        // nothing but what stands for nothing
        let mut m = matrix(N, |_, _| false);
        m.values.fill(1.0);
        m.fill = 1.0;
        assert!(prepare(&mut m, 0, true).unwrap_err().starts_with(NOTHING));
    }

    #[test]
    fn a_zero_diagonal_alone_kills_no_frame() {
        let mut m = matrix(N, |i, j| i < j && (i, j) != (3, 4));
        assert_eq!(prepare(&mut m, 0, true).unwrap().dead_frames, Vec::<usize>::new());
    }

    #[test]
    fn a_frame_with_something_on_its_diagonal_is_not_dead() {
        let mut m = matrix(N, |i, j| i <= j && (i == j || (i != 17 && j != 17)));
        let report = prepare(&mut m, 0, true).unwrap();
        assert_eq!((report.dead_frames, report.n_missing), (vec![], 73));
        assert!(m.at(3, 17).is_nan(), "its pairs were never filled");
    }

    #[test]
    fn infinities_and_nan_are_counted_but_not_in_frame_0() {
        let mut m = matrix(N, |i, j| i <= j);
        m.values[2 * N + 9] = f32::INFINITY;
        m.values[3 * N + 9] = f32::NEG_INFINITY;
        m.values[4 * N + 9] = f32::NAN;
        m.values[9] = f32::INFINITY;
        m.values[5 * N + 5] = f32::NAN;
        let report = prepare(&mut m, 0, true).unwrap();
        assert_eq!(report.n_missing, 3);
        assert!([0, 2, 3, 4].iter().all(|&i| m.at(i, 9).is_nan()));
    }

    #[test]
    fn nothing_finite_is_an_error() {
        let mut zeros = matrix(N, |_, _| false);
        let mut diagonal = matrix(N, |i, j| i == j);
        let mut nan = matrix(N, |_, _| false);
        nan.values.fill(f32::NAN);
        let mut only_frame_0 = matrix(N, |i, j| i == 0 || i == j);
        (1..N).for_each(|i| only_frame_0.values[i * N + i + 1..(i + 1) * N].fill(f32::INFINITY));
        for m in [&mut zeros, &mut diagonal, &mut nan, &mut only_frame_0] {
            assert!(prepare(m, 0, true).unwrap_err().contains("no finite value"));
        }
    }

    #[test]
    fn asymmetry_is_found_and_named() {
        let mut m = matrix(N, |_, _| true);
        m.values[40 * N + 12] += 1e-5;
        let message = prepare(&mut m, 100, true).unwrap_err();
        assert!(prepare(&mut m, 100, false).is_ok(), "compared although it shouldn't be");
        assert!(message.contains("c2[112, 140]") && message.contains("c2[140, 112]"), "{message}");
        // rounding of a float32 writer isn't asymmetry
        let mut m = matrix(N, |_, _| true);
        m.values[40 * N + 12] += 5e-7;
        assert!(prepare(&mut m, 0, true).is_ok());
    }

    #[test]
    fn a_large_matrix_is_sampled_everywhere() {
        let n = 600;
        let mut m = matrix(n, |_, _| true);
        // one frame's column in the lower half is off: the sample meets it
        (0..300).for_each(|i| m.values[300 * n + i] += 0.1);
        assert!(prepare(&mut m, 0, true).is_err());
    }
}
