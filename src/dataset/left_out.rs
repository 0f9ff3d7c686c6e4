//! Frames and lags that the configuration leaves out of the fit (`data_filtering`).
//!
//! What is left out becomes NaN like missing data, right after a matrix is read, so that nothing behind that point has to
//! know of it: no level, no noise estimate, no count of pairs sees it. It is counted apart from what is missing.

use super::TwoTime;

/// What the configuration wants left out. Frames count from 1 in the measurement, as `start_frame` does.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DataFilter {
    /// Frames to leave out, as ranges (first, last).
    pub frames: Vec<(usize, usize)>,
    /// Shortest lag t2 − t1 to keep, in frames; 1 keeps all, since the diagonal never takes part.
    pub min_lag: usize,
    /// Longest lag to keep, in frames; `None` = all.
    pub max_lag: Option<usize>,
}

impl Default for DataFilter {
    /// Leaves nothing out.
    fn default() -> Self {
        Self { frames: Vec::new(), min_lag: 1, max_lag: None }
    }
}

/// The same for the frames of one selection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeftOut {
    /// By selected frame.
    out: Vec<bool>,
    min_lag: usize,
    max_lag: usize,
    /// Number of the selection's first frame, from 1.
    first: usize,
}

impl LeftOut {
    /// Of `n` selected frames, the first of which has the number `first`; with a warning for each range of frames that
    /// isn't wholly selected.
    pub(super) fn new(filter: &DataFilter, n: usize, first: usize) -> (Self, Vec<String>) {
        let last = first + n - 1;
        let mut out = vec![false; n];
        let mut warnings = Vec::new();
        for &(from, to) in &filter.frames {
            if from < first || to > last {
                warnings.push(format!(
                    "data_filtering.exclude_frames: {} reaches beyond the selected frames, {first} to {last}",
                    range_text((from, to))
                ));
            }
            if from <= last && to >= first {
                out[from.max(first) - first..=to.min(last) - first].fill(true);
            }
        }
        let max_lag = filter.max_lag.unwrap_or(n).min(n);
        (Self { out, min_lag: filter.min_lag.max(1), max_lag, first }, warnings)
    }

    /// Leaves out more of the selected frames (from 0).
    pub(super) fn add(&mut self, frames: &[usize]) {
        frames.iter().for_each(|&frame| self.out[frame] = true);
    }

    /// Whether every pair is kept.
    pub fn is_nothing(&self) -> bool {
        self.min_lag == 1 && self.max_lag + 1 >= self.out.len() && !self.out.contains(&true)
    }

    /// Pairs i < j that are kept among some of the selected frames (from 0, ascending).
    pub fn pairs_kept(&self, frames: &[usize]) -> u64 {
        let frames: Vec<usize> = frames.iter().copied().filter(|&f| !self.out[f]).collect();
        let before = |f: usize| frames.partition_point(|&other| other < f);
        let later = |&f: &usize| before(f + self.max_lag + 1).saturating_sub(before(f + self.min_lag));
        frames.iter().map(|f| later(f) as u64).sum()
    }

    /// Pairs kept of a matrix, those of the first frame not counted: it takes no part in a fit.
    pub fn pairs_of_fit(&self) -> u64 {
        self.pairs_kept(&(1..self.out.len()).collect::<Vec<_>>())
    }

    /// Whether a pair i < j of these selected frames (from 0) is kept.
    pub fn keeps_any(&self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> bool {
        let kept = |frame: &usize| !self.out[*frame];
        rows.filter(kept).any(|i| {
            let lags = i + self.min_lag..(i + self.max_lag + 1).min(self.out.len());
            (columns.start.max(lags.start)..columns.end.min(lags.end)).any(|j| kept(&j))
        })
    }

    /// Whether a selected frame (from 0) is left out.
    pub(super) fn has_frame(&self, frame: usize) -> bool {
        self.out[frame]
    }

    /// What is left out, for people; empty where nothing is.
    pub fn text(&self) -> String {
        let mut parts = Vec::new();
        let runs = runs((0..self.out.len()).filter(|&f| self.out[f]).map(|f| f + self.first));
        if !runs.is_empty() {
            let several = runs.len() > 1 || runs[0].0 < runs[0].1;
            parts.push(format!("{} {}", if several { "frames" } else { "frame" }, list(&runs)));
        }
        if self.min_lag > 1 {
            parts.push(format!("lags below {} frames", self.min_lag));
        }
        if self.max_lag + 1 < self.out.len() {
            parts.push(format!("lags above {} frame{}", self.max_lag, if self.max_lag == 1 { "" } else { "s" }));
        }
        parts.join(", ")
    }

    /// Makes NaN of what is left out. Returns how many pairs remain that have a value, those of the first frame not counted.
    pub(super) fn apply(&self, m: &mut TwoTime) -> u64 {
        let n = m.n;
        let columns: Vec<usize> = (0..n).filter(|&f| self.out[f]).collect();
        let mut finite = 0;
        for i in 0..n {
            let row = &mut m.values[i * n..(i + 1) * n];
            if self.out[i] {
                row[i + 1..].fill(f32::NAN);
                continue;
            }
            let near = (i + self.min_lag).min(n);
            let far = (i + self.max_lag + 1).clamp(near, n);
            row[i + 1..near].fill(f32::NAN);
            row[far..].fill(f32::NAN);
            let from = columns.partition_point(|&j| j <= i);
            columns[from..].iter().for_each(|&j| row[j] = f32::NAN);
            if i > 0 {
                let here: u32 = row[near..far].iter().map(|v| u32::from(v.is_finite())).sum();
                finite += u64::from(here);
            }
        }
        finite
    }
}

/// Most runs of frames that are named.
const NAMED: usize = 10;

fn range_text((from, to): (usize, usize)) -> String {
    if from == to { from.to_string() } else { format!("{from}–{to}") }
}

fn list(runs: &[(usize, usize)]) -> String {
    let mut names: Vec<String> = runs.iter().take(NAMED).map(|&run| range_text(run)).collect();
    if runs.len() > NAMED {
        names.push("…".into());
    }
    names.join(", ")
}

/// Ascending numbers as runs (first, last).
fn runs(numbers: impl Iterator<Item = usize>) -> Vec<(usize, usize)> {
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some((_, end)) if *end + 1 == number => *end = number,
            _ => runs.push((number, number)),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Counting and marking agree with the definition, pair by pair.
        #[test]
        fn what_is_kept_is_what_the_keys_say(
            n in 3usize..40, first in 1usize..5, frames in prop::collection::vec((1usize..50, 0usize..6), 0..4),
            min_lag in 0usize..8, more in prop::option::of(0usize..40),
        ) {
            let frames: Vec<(usize, usize)> = frames.into_iter().map(|(from, more)| (from, from + more)).collect();
            let filter = DataFilter { frames: frames.clone(), min_lag, max_lag: more.map(|more| min_lag.max(1) + more) };
            let (left_out, _) = LeftOut::new(&filter, n, first);
            let gone = |f: usize| frames.iter().any(|&(from, to)| (from..=to).contains(&(f + first)));
            let keep = |i: usize, j: usize| {
                !gone(i) && !gone(j) && j - i >= min_lag && filter.max_lag.is_none_or(|most| j - i <= most)
            };
            let mut m = TwoTime::from_matrix(n, vec![1.0; n * n]);
            let finite = left_out.apply(&mut m);
            let (mut kept, mut of_fit) = (0, 0);
            for i in 0..n {
                for j in i + 1..n {
                    prop_assert_eq!(m.at(i, j).is_finite(), keep(i, j), "({}, {})", i, j);
                    kept += u64::from(keep(i, j));
                    of_fit += u64::from(i > 0 && keep(i, j));
                }
            }
            prop_assert_eq!(left_out.pairs_kept(&(0..n).collect::<Vec<_>>()), kept);
            prop_assert_eq!(left_out.pairs_of_fit(), of_fit);
            prop_assert_eq!(finite, of_fit);
            prop_assert_eq!(left_out.is_nothing(), kept == (n * (n - 1) / 2) as u64);
            prop_assert_eq!(left_out.text().is_empty(), left_out.is_nothing());
        }
    }

    #[test]
    fn the_text_names_frames_as_the_user_counts_them() {
        let filter = DataFilter { frames: vec![(12, 12), (20, 22), (23, 24)], min_lag: 3, max_lag: Some(50) };
        let (left_out, warnings) = LeftOut::new(&filter, 100, 11);
        assert_eq!(left_out.text(), "frames 12, 20–24, lags below 3 frames, lags above 50 frames");
        assert!(warnings.is_empty());
        let filter = DataFilter { frames: vec![(5, 11), (200, 300)], ..DataFilter::default() };
        let (left_out, warnings) = LeftOut::new(&filter, 100, 11);
        assert_eq!(left_out.text(), "frame 11");
        assert_eq!(warnings.len(), 2);
        assert!(warnings[1].contains("200–300 reaches beyond the selected frames, 11 to 110"), "{warnings:?}");
    }
}
