//! What reading takes, and what was found in the data.

use std::collections::BTreeMap;

use crate::cluster::reading::Judged;
use crate::dataset::{Blank, Dataset, Digest, PairSigma, Plateaus, fingerprint, short};
use crate::model::Experiment;

/// A mean of c2 below this, or above the other, isn't one: offset and contrast are about 1 and at most 1.
const LEAST_MEAN: f64 = 0.5;
const MOST_MEAN: f64 = 3.0;
/// Part of the packed data's memory that matrices on their way may take …
const SHARE: f64 = 0.2;
/// … beside so many bytes.
const ALLOWANCE: f64 = 80e6;
/// Memory of a matrix on its way over that of its values: its chunks as stored, half as large where noise doesn't compress
/// and the other half of the matrix is empty.
const ON_ITS_WAY: f64 = 1.5;

/// Matrices that may be on their way at once on each of so many ranks that read, at least one: with two, reading overlaps with
/// dealing; with more, several threads can unpack matrices of one chunk. `beside` is what reading one takes beside it (see
/// [`Dataset::memory_beside`]), `packed` what all ranks will hold, bytes.
pub(super) fn most_on_their_way(experiment: &Experiment, beside: f64, packed: usize, readers: usize) -> usize {
    let room = (SHARE * packed as f64 / readers as f64 + ALLOWANCE) / on_its_way(experiment, beside);
    (room as usize).clamp(1, experiment.n_angles().div_ceil(readers))
}

/// Memory of the matrices on their way on one of so many ranks that read, bytes.
pub(super) fn memory(experiment: &Experiment, beside: f64, packed: usize, readers: usize) -> f64 {
    // the library's own reading may hold a matrix twice
    (most_on_their_way(experiment, beside, packed, readers) as f64 * on_its_way(experiment, beside))
        .max(one_at_a_time(experiment, beside))
}

/// Memory of one matrix on its way, bytes.
pub(super) fn one_at_a_time(experiment: &Experiment, beside: f64) -> f64 {
    // as above
    2.0 * matrix_bytes(experiment) + beside
}

/// Memory of each of several matrices on their way, bytes.
pub(super) fn on_its_way(experiment: &Experiment, beside: f64) -> f64 {
    ON_ITS_WAY * matrix_bytes(experiment) + beside
}

fn matrix_bytes(experiment: &Experiment) -> f64 {
    (experiment.n_frames * experiment.n_frames * size_of::<f32>()) as f64
}

/// Most angles that are named as having the same matrix.
const NAMED_COPIES: usize = 10;

/// What was found in the data.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Found {
    /// Pairs of fitted frames without a value, by angle.
    pub n_missing: Vec<u64>,
    /// Pairs of fitted frames that the configuration leaves out, by angle.
    pub n_excluded: Vec<u64>,
    /// Mean of c2 of every angle.
    pub mean: Vec<f64>,
    /// Estimated noise of every angle.
    pub noise: Vec<f64>,
    /// c2 at long and short lags of every angle, where asked for.
    pub plateaus: Vec<Option<Plateaus>>,
    /// Dead frames of every angle, from 0 in the selection.
    pub dead_frames: Vec<Vec<usize>>,
    /// Parts that were never filled, of every angle.
    pub blanks: Vec<Vec<Blank>>,
    /// Whether a file held both halves of a matrix.
    pub any_full: bool,
    /// σ of every pair, where they have their own, by angle.
    pub sigma: Vec<PairSigma>,
    /// Digest of c2 of every angle, by which the matrix is known when it is read again.
    pub digests: Vec<Digest>,
    /// See [`fingerprint`].
    pub hash: String,
}

impl Found {
    /// From what is known of the matrices, by angle.
    pub fn of(judged: Vec<Judged>, experiment: &Experiment, dataset: &Dataset) -> Self {
        let digests = judged.iter().flat_map(|one| &one.digests);
        let sigma = dataset.sigma().unwrap_or_default();
        Self {
            hash: fingerprint((experiment.q, experiment.dt), &experiment.phi, &sigma, digests),
            digests: judged.iter().filter_map(|one| one.digests.first().copied()).collect(),
            n_missing: judged.iter().map(|one| one.n_missing).collect(),
            n_excluded: judged.iter().map(|one| one.n_excluded).collect(),
            mean: judged.iter().map(|one| one.mean).collect(),
            noise: judged.iter().map(|one| one.noise).collect(),
            plateaus: judged.iter().map(|one| one.plateaus).collect(),
            blanks: judged.iter().map(|one| one.blanks.clone()).collect(),
            any_full: judged.iter().any(|one| one.is_full),
            sigma: judged.iter().filter_map(|one| one.sigma).collect(),
            dead_frames: judged.into_iter().map(|one| one.dead_frames).collect(),
        }
    }

    /// What to say of values that can't be those of c2.
    pub fn odd_level(&self) -> Option<String> {
        let all = |is_odd: fn(f64) -> bool| self.mean.iter().all(|&mean| is_odd(mean));
        let mean = self.mean.iter().sum::<f64>() / self.mean.len() as f64;
        let what = if all(|mean| mean.abs() < LEAST_MEAN) {
            "these look like c2 − 1; the offset of c2 is about 1, and so are its bounds"
        } else if all(|mean| mean > MOST_MEAN) {
            "c2 is about 1 for frames that have nothing in common; were the values multiplied?"
        } else {
            return None;
        };
        Some(format!("the values of all angles are {} on average: {what}", short(mean)))
    }

    /// One line for every part that was never filled, whichever matrices have it.
    pub fn unfilled(&self, dataset: &Dataset) -> Vec<String> {
        let mut by_text: BTreeMap<String, Vec<usize>> = BTreeMap::new();
        for (angle, blanks) in self.blanks.iter().enumerate() {
            let texts = blanks.iter().map(|blank| blank.text(dataset.first_frame + 1));
            texts.for_each(|text| by_text.entry(text).or_default().push(angle));
        }
        let line = |(text, angles): (String, Vec<usize>)| {
            let others = if angles.len() > 1 { format!(" and {} others", angles.len() - 1) } else { String::new() };
            format!("{}{others}: {text}", dataset.slots[dataset.selected[angles[0]]].path)
        };
        by_text.into_iter().map(line).collect()
    }

    /// One line for every group of angles with the same matrix to the last bit.
    pub fn copies(&self, dataset: &Dataset) -> Vec<String> {
        let mut by_digest: BTreeMap<Digest, Vec<usize>> = BTreeMap::new();
        for (angle, digest) in self.digests.iter().enumerate() {
            by_digest.entry(*digest).or_default().push(angle);
        }
        let mut groups: Vec<Vec<usize>> = by_digest.into_values().filter(|angles| angles.len() > 1).collect();
        groups.sort_unstable();
        let named = |&angle: &usize| {
            let slot = &dataset.slots[dataset.selected[angle]];
            format!("{}° ({})", short(slot.phi), slot.path)
        };
        let line = |angles: Vec<usize>| {
            let mut names: Vec<String> = angles.iter().take(NAMED_COPIES).map(named).collect();
            if angles.len() > NAMED_COPIES {
                names.push("…".into());
            }
            format!(
                "{}: the matrices at {} angles are the same to the last bit, which no measurement gives: φ = {}; leave the copies \
                 out by phi_filtering, or make the file again",
                dataset.file.display(),
                angles.len(),
                names.join(", ")
            )
        };
        groups.into_iter().map(line).collect()
    }
}

/// Who reads a file, and how much of it at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Manner {
    /// Every rank its part.
    pub parallel: bool,
    /// Matrices that may be on their way at once, on every rank that reads.
    pub on_their_way: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gram::Level;

    #[test]
    fn reading_ahead_keeps_to_its_memory() {
        let most = |n_angles: usize, n_frames: usize| {
            let experiment = Experiment::sheared(vec![0.0; n_angles], n_frames);
            let packed: usize = Level::all(n_frames, n_angles).iter().map(Level::bytes).sum();
            let most = most_on_their_way(&experiment, 0.0, packed, 1);
            assert!(
                most == 1 || memory(&experiment, 0.0, packed, 1) <= SHARE * packed as f64 + ALLOWANCE,
                "{n_angles} × {n_frames}"
            );
            most
        };
        assert_eq!(most(1, 500), 1);
        assert_eq!(most(11, 3000), 2);
        assert!(most(23, 1000) > 4);
        // so large that a second one would outweigh what overlapping is worth
        assert_eq!(most(11, 20000), 1);
    }

    #[test]
    fn chunks_larger_than_what_is_selected_of_them_are_counted() {
        let experiment = Experiment::sheared(vec![0.0; 20], 100);
        let (packed, chunk) = (20 * 100 * 100 * 4, 1e9);
        assert!(most_on_their_way(&experiment, 0.0, packed, 1) > 1);
        assert_eq!(most_on_their_way(&experiment, chunk, packed, 1), 1);
        assert!(memory(&experiment, chunk, packed, 1) > chunk);
    }
}
