//! Parts of a matrix that were never filled: storage that the file never allocated, and blocks of exact zeros.
//!
//! A correlator that ends early, or a copy of its result, leaves zeros where c2 was never computed. Single zeros may be values:
//! with few photons many pairs of frames have no coincidence. Such zeros are scattered, and what was never filled is a block, so zeros
//! count as blank where they fill squares of 3 × 3 pairs, and so many of them lie together that scattered ones can't be meant: with
//! a part p of zeros elsewhere, s of them together come about with a chance of p^s at each of P pairs.

use std::ops::Range;

use super::TwoTime;

/// A part of the upper triangle, from 0 in the selection, and how many of its pairs were never filled.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Blank {
    /// Frames of t1.
    pub t1: Range<usize>,
    /// Frames of t2.
    pub t2: Range<usize>,
    /// Pairs of fitted frames among them.
    pub pairs: u64,
    /// The one of several matrices that a mean is taken of, from 1; `None` where the matrix itself lacks them.
    pub train: Option<usize>,
}

impl Blank {
    /// In words; `first` is the number of the selection's first frame.
    pub fn text(&self, first: usize) -> String {
        let frames = |of: &Range<usize>| match of.len() {
            1 => format!("frame {}", of.start + first),
            _ => format!("frames {} to {}", of.start + first, of.end + first - 1),
        };
        let (of_train, so) = match self.train {
            Some(train) => (format!("train {train}: "), "have no part in the mean"),
            None => (String::new(), "count as missing"),
        };
        format!(
            "{of_train}{} pairs of {} with {} were never filled (zeros, or no storage in the file) and {so}",
            self.pairs,
            frames(&self.t1),
            frames(&self.t2)
        )
    }
}

/// Side of the squares that scattered zeros don't fill.
const SQUARE: usize = 3;
/// With more zeros than this part, squares of them come about by chance.
const SPARSE: f64 = 0.5;
/// Natural logarithm of how unlikely scattered zeros must be to lie together.
const UNLIKELY: f64 = 20.0;
/// Where most pairs are zeros, a block has this part of what it spans,
const WHOLE: f64 = 0.995;
/// and spans no more than this part of the matrix.
const MOST: f64 = 0.9;
/// Fewest pairs of a block that nothing but its zeros shows.
const FEWEST: u64 = 9;
/// Fewest zeros of a frame with all later or all earlier ones that are marked like a square.
const LINE: usize = 8;
/// Where fewer than this part of the pairs outside of squares and lines are zeros, zeros aren't scattered.
const CLEAN: f64 = 0.005;

/// One bit a pair.
struct Bits {
    words: Vec<u64>,
    n: usize,
}

impl Bits {
    fn new(n: usize) -> Self {
        Self { words: vec![0; (n * n).div_ceil(64)], n }
    }

    fn get(&self, i: usize, j: usize) -> bool {
        let at = i * self.n + j;
        self.words[at / 64] >> (at % 64) & 1 == 1
    }

    fn set(&mut self, i: usize, j: usize) {
        let at = i * self.n + j;
        self.words[at / 64] |= 1 << (at % 64);
    }

    fn clear(&mut self, i: usize, j: usize) {
        let at = i * self.n + j;
        self.words[at / 64] &= !(1 << (at % 64));
    }
}

/// Makes NaN of what was never filled in an upper triangle, in which dead frames and what has no storage are NaN already. The matrix
/// knows the rectangles, rows and columns, of the latter, and what else stands where nothing was written: that is as good as zero here.
pub(super) fn find(m: &mut TwoTime) -> Vec<Blank> {
    let (n, unwritten, fill) = (m.n, std::mem::take(&mut m.unwritten), m.fill);
    // of the other half nothing is wanted, and many files hold no storage for it
    let above = |(rows, columns): &&(Range<usize>, Range<usize>)| columns.end > rows.start + 1;
    let unwritten: Vec<_> = unwritten.iter().filter(above).collect();
    let zeros: u64 =
        (0..n).map(|i| m.row_after(i).iter().map(|v| u64::from(*v == 0.0 || *v == fill)).sum::<u64>()).sum();
    if zeros < FEWEST && unwritten.is_empty() {
        return Vec::new();
    }
    let mut solid = Bits::new(n);
    for (rows, columns) in &unwritten {
        for i in rows.clone() {
            let missing = (columns.start.max(i + 1)..columns.end).filter(|j| m.values[i * n + j].is_nan());
            missing.for_each(|j| solid.set(i, j));
        }
    }
    let known = (0..n).map(|i| (i + 1..n).filter(|&j| solid.get(i, j)).count() as u64).sum::<u64>();
    let zero = zero_bits(m, &solid);
    if zeros > 0 {
        mark_squares(&zero, &mut solid);
        mark_lines(m, &zero, &mut solid);
        mark_lags(m, &zero, &mut solid);
    }
    let marked = (0..n).map(|i| (i + 1..n).filter(|&j| solid.get(i, j)).count() as u64).sum::<u64>();
    if marked == 0 {
        return Vec::new();
    }
    let pairs = (n * (n - 1) / 2) as f64;
    let scattered = zeros.saturating_sub(marked - known).max(1) as f64 / (pairs - marked as f64).max(1.0);
    let is_clean = scattered < CLEAN && marked as f64 <= MOST * pairs;
    if is_clean {
        // the tips of a block hold no square
        while grow(&zero, &mut solid) {}
    }
    let mut out = Vec::new();
    let mut part = Vec::new();
    for i in 0..n {
        for j in i + 1..n {
            if solid.get(i, j) {
                component(&mut solid, (i, j), &mut part);
                let by_zeros = part.iter().filter(|&&(i, j)| !m.values[i * n + j].is_nan()).count();
                let is_chance = by_zeros == part.len()
                    && (scattered > SPARSE
                        || zeros as f64 > SPARSE * pairs && !is_clean && !is_block(&part, pairs)
                        || (part.len() as u64) < FEWEST
                        || part.len() as f64 * -scattered.ln() < pairs.ln() + UNLIKELY);
                if !is_chance {
                    out.push(empty(m, &part));
                }
            }
        }
    }
    out.retain(|blank| blank.pairs > 0);
    out
}

/// Whether pairs that hang together leave out nothing of the frames that they span, and these aren't all.
fn is_block(part: &[(usize, usize)], pairs: f64) -> bool {
    let Blank { t1, t2, .. } = spanned(part);
    let inside: usize = t1.map(|i| t2.end - t2.start.max(i + 1).min(t2.end)).sum();
    part.len() as f64 >= WHOLE * inside as f64 && (inside as f64) < MOST * pairs
}

/// The pairs that are zero, or as good as that; below the diagonal there is room for anything.
fn zero_bits(m: &TwoTime, solid: &Bits) -> Bits {
    let n = m.n;
    let mut zero = Bits::new(n);
    for i in 0..n {
        let is_zero = |j: &usize| *j <= i || [0.0, m.fill].contains(&m.values[i * n + j]) || solid.get(i, *j);
        (0..n).filter(is_zero).for_each(|j| zero.set(i, j));
    }
    zero
}

/// Marks the pairs of squares that hold nothing but zeros.
fn mark_squares(zero: &Bits, solid: &mut Bits) {
    let n = zero.n;
    for i in 0..(n + 1).saturating_sub(SQUARE) {
        for j in (i + 1).saturating_sub(SQUARE - 2)..(n + 1).saturating_sub(SQUARE) {
            let square = || (i..i + SQUARE).flat_map(|i| (j..j + SQUARE).map(move |j| (i, j)));
            if zero.get(i, j + SQUARE - 1) && square().all(|(i, j)| zero.get(i, j)) {
                square().filter(|(i, j)| j > i).for_each(|(i, j)| solid.set(i, j));
            }
        }
    }
}

/// Marks the pairs of a frame with all later frames, or with all earlier ones, where nothing else is among them.
fn mark_lines(m: &TwoTime, zero: &Bits, solid: &mut Bits) {
    let n = m.n;
    let is_line = |pairs: &[(usize, usize)]| {
        let is_nothing = |&(i, j): &(usize, usize)| zero.get(i, j) || m.values[i * n + j].is_nan();
        pairs.iter().all(is_nothing) && pairs.iter().filter(|&&(i, j)| zero.get(i, j)).count() >= LINE
    };
    for f in 0..n {
        let (later, earlier) = ((f + 1..n).map(|j| (f, j)).collect(), (0..f).map(|i| (i, f)).collect());
        for pairs in [later, earlier] as [Vec<_>; 2] {
            if is_line(&pairs) {
                pairs.iter().filter(|&&(i, j)| zero.get(i, j)).for_each(|&(i, j)| solid.set(i, j));
            }
        }
    }
}

/// Marks the pairs of the longest lags, as long as nothing else is among them.
fn mark_lags(m: &TwoTime, zero: &Bits, solid: &mut Bits) {
    let n = m.n;
    for lag in (1..n).rev() {
        if !(0..n - lag).all(|i| zero.get(i, i + lag) || m.values[i * n + i + lag].is_nan()) {
            break;
        }
        (0..n - lag).filter(|&i| zero.get(i, i + lag)).for_each(|i| solid.set(i, i + lag));
    }
}

/// Marks zeros beside marked pairs; whether there were any.
fn grow(zero: &Bits, solid: &mut Bits) -> bool {
    let n = zero.n;
    let mut new = Vec::new();
    for i in 0..n {
        for j in (i + 1..n).filter(|&j| zero.get(i, j) && !solid.get(i, j)) {
            let beside = [(i.wrapping_sub(1), j), (i + 1, j), (i, j - 1), (i, j + 1)];
            if beside.into_iter().any(|(i, j)| i < j && j < n && solid.get(i, j)) {
                new.push((i, j));
            }
        }
    }
    new.iter().for_each(|&(i, j)| solid.set(i, j));
    !new.is_empty()
}

/// Takes what hangs together with a pair out of the marks.
fn component(solid: &mut Bits, start: (usize, usize), part: &mut Vec<(usize, usize)>) {
    part.clear();
    solid.clear(start.0, start.1);
    part.push(start);
    let mut next = 0;
    while next < part.len() {
        let (i, j) = part[next];
        next += 1;
        let neighbours = [(i.wrapping_sub(1), j), (i + 1, j), (i, j.wrapping_sub(1)), (i, j + 1)];
        for (i, j) in neighbours {
            if i < j && j < solid.n && solid.get(i, j) {
                solid.clear(i, j);
                part.push((i, j));
            }
        }
    }
}

/// Makes NaN of pairs that hang together.
fn empty(m: &mut TwoTime, part: &[(usize, usize)]) -> Blank {
    let n = m.n;
    part.iter().for_each(|&(i, j)| m.values[i * n + j] = f32::NAN);
    spanned(part)
}

/// The frames that pairs span, of which there is at least one.
pub(super) fn spanned(part: &[(usize, usize)]) -> Blank {
    let range = |of: fn(&(usize, usize)) -> usize| {
        let least = part.iter().map(of).min().unwrap_or(0);
        least..part.iter().map(of).max().unwrap_or(0) + 1
    };
    // frame 0 takes no part in a fit
    let pairs = part.iter().filter(|(i, _)| *i > 0).count() as u64;
    Blank { t1: range(|pair| pair.0), t2: range(|pair| pair.1), pairs, train: None }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};

    use super::*;

    const N: usize = 100;

    fn matrix(zero: impl Fn(usize, usize) -> bool) -> TwoTime {
        let value = |i, j| if zero(i, j) { 0.0 } else { 1.1 };
        TwoTime::from_matrix(N, (0..N * N).map(|k| if k % N > k / N { value(k / N, k % N) } else { 0.0 }).collect())
    }

    fn missing(m: &TwoTime) -> usize {
        (0..N).map(|i| m.row_after(i).iter().filter(|v| v.is_nan()).count()).sum()
    }

    #[test]
    fn what_a_writer_left_out_is_found_to_the_pair() {
        // the last ten frames among each other, a rectangle, a stripe through all frames
        for (zero, t1, t2, pairs) in [
            ((|i, _| i >= 90) as fn(usize, usize) -> bool, 90..99, 91..100, 45),
            // more than half of all
            (|i, _| i >= 20, 20..99, 21..100, 80 * 79 / 2),
            (|i, j| (10..30).contains(&i) && (60..65).contains(&j), 10..30, 60..65, 100),
            (|i, _| (20..24).contains(&i), 20..24, 21..100, 79 + 78 + 77 + 76),
        ] {
            let mut m = matrix(zero);
            let found = find(&mut m);
            assert_eq!(found, [Blank { t1, t2, pairs, train: None }]);
            assert_eq!(missing(&m) as u64, pairs);
        }
        assert_eq!(find(&mut matrix(|_, _| false)), []);
    }

    #[test]
    fn a_correlator_that_stops_at_a_lag_leaves_nothing_behind() {
        for longest in [20, 30, 50, 90, 95] {
            let beyond = |i: usize, j: usize| j - i > longest;
            let pairs = (0..N).map(|i| (i + 1..N).filter(|&j| beyond(i, j)).count()).sum::<usize>();
            let values = (0..N * N).map(|k| if k % N > k / N && !beyond(k / N, k % N) { 1.1 } else { 0.0 }).collect();
            let mut m = TwoTime::from_matrix(N, values);
            assert_eq!(find(&mut m).len(), 1, "{longest}");
            assert_eq!(missing(&m), pairs, "{longest}");
        }
    }

    #[test]
    fn a_frame_without_pairs_to_one_side_is_blank() {
        for zero in [(|i, _| i == 40) as fn(usize, usize) -> bool, |_, j| j == 60] {
            let mut m = matrix(zero);
            let found = find(&mut m);
            assert_eq!((found.len(), missing(&m)), (1, if zero(40, 41) { 59 } else { 60 }), "{found:?}");
        }
        // a few zeros in a row are values
        let mut m = matrix(|i, j| i == 40 && (50..54).contains(&j));
        assert_eq!((find(&mut m), missing(&m)), (Vec::new(), 0));
    }

    #[test]
    fn what_reads_as_the_fill_value_is_blank_where_it_is_a_block() {
        let mut m = matrix(|i, j| (10..30).contains(&i) && (60..65).contains(&j));
        m.values.iter_mut().filter(|v| **v == 0.0).for_each(|v| *v = -1.0);
        m.values[2 * N + 5] = -1.0;
        assert_eq!(find(&mut m), []);
        m.fill = -1.0;
        assert_eq!(find(&mut m), [Blank { t1: 10..30, t2: 60..65, pairs: 100, train: None }]);
        assert_eq!(m.at(2, 5), -1.0, "one alone is a value");
    }

    #[test]
    fn scattered_zeros_stay_values() {
        for seed in 0..20 {
            let mut random = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
            for part in [0.01, 0.1, 0.33, 0.45, 0.7, 0.95] {
                let zeros: Vec<bool> = (0..N * N).map(|_| random.random_bool(part)).collect();
                let mut m = matrix(|i, j| zeros[i * N + j]);
                assert_eq!(find(&mut m), [], "{part} of zeros, seed {seed}");
                assert_eq!(missing(&m), 0);
            }
            // and beside them a block is found
            let zeros: Vec<bool> = (0..N * N).map(|_| random.random_bool(0.33)).collect();
            let mut m = matrix(|i, j| zeros[i * N + j] || ((40..60).contains(&i) && (70..90).contains(&j)));
            let found = find(&mut m);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!((400..440).contains(&found[0].pairs), "{found:?}");
        }
    }

    #[test]
    fn what_has_no_storage_is_missing_however_small() {
        let mut m = matrix(|_, _| false);
        m.values[7 * N + 20] = f32::NAN;
        m.unwritten = vec![(7..8, 20..21)];
        assert_eq!(find(&mut m), [Blank { t1: 7..8, t2: 20..21, pairs: 1, train: None }]);
        assert!(m.at(7, 20).is_nan());
        // the other half means nothing
        let mut m = matrix(|_, _| false);
        m.unwritten = vec![(60..80, 0..50)];
        assert_eq!(find(&mut m), []);
    }
}
