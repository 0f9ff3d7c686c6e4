//! From the file to the ranks: several matrices at once are on their way, read by rank 0 or by every rank its part.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::cluster::reading::{Judged, Loaded, Source, read_ahead};
use crate::cluster::{Driver, Reading};
use crate::dataset::{Blank, Dataset, Digest, PairSigma, Plateaus, Selection, fingerprint, short};
use crate::model::Experiment;
use crate::telemetry::{Phases, Progress};
use crate::{Result, files};

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

fn on_its_way(experiment: &Experiment, beside: f64) -> f64 {
    ON_ITS_WAY * matrix_bytes(experiment) + beside
}

fn matrix_bytes(experiment: &Experiment) -> f64 {
    (experiment.n_frames * experiment.n_frames * size_of::<f32>()) as f64
}

/// Most angles that are named as having the same matrix.
const NAMED_COPIES: usize = 10;

/// What was found in the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    fn of(judged: Vec<Judged>, experiment: &Experiment, dataset: &Dataset) -> Self {
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

    /// Its file in a folder of packed data.
    pub const FILE: &str = "found";
    /// Largest that is read, bytes: what is known of an angle has some hundreds.
    const MOST: u64 = 1 << 30;

    /// Writes this beside packed data, by which another run sees that they are complete.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save(&self, file: &Path) -> Result<()> {
        // numbers, texts and lists of them always have a form
        let found = postcard::to_stdvec(self).unwrap_or_default();
        let bytes = [&blake3::hash(&found).as_bytes()[..], &found].concat();
        files::write(file, &bytes)
    }

    /// What was saved; `None` where nothing was, or where it isn't as it was written.
    pub fn load(file: &Path) -> Option<Self> {
        let bytes = files::read(file, Self::MOST).ok()?;
        let (hash, found) = bytes.split_at_checked(blake3::OUT_LEN)?;
        (blake3::hash(found).as_bytes()[..] == *hash).then(|| postcard::from_bytes(found).ok())?
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

/// Has all matrices read and dealt; `between` is called now and then and may end it. `plateaus`: whether c2 at long and short lags
/// is to be looked for.
///
/// # Errors
/// The first in the order of the angles, or of ranks, that [`Dataset::read`] gives, or what dealing fails with. Nothing is being
/// read any more on this rank when this returns.
pub(super) fn read_all(
    (dataset, selection): (&Dataset, &Selection),
    experiment: &Experiment,
    driver: &mut Driver,
    progress: &Progress,
    phases: &mut Phases,
    (plateaus, manner): (bool, Manner),
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Found> {
    let n_angles = experiment.n_angles();
    if !manner.parallel {
        let source = Source { dataset, plateaus };
        let judged = read_alone(source, n_angles, driver, progress, phases, manner.on_their_way, between)?;
        return Ok(Found::of(judged, experiment, dataset));
    }
    // ranks needn't have the same working directory
    let file = std::path::absolute(&dataset.file).unwrap_or_else(|_| dataset.file.clone());
    let (identity, selection) = (dataset.identity.clone(), selection.clone());
    let reading = Reading { file, identity, selection, plateaus, on_their_way: manner.on_their_way };
    let judged = phases.time("reading", || {
        driver.read_in_parallel(&reading, dataset, &mut |n| {
            progress.matrices("reading", n, n_angles);
            between()
        })
    })?;
    Ok(Found::of(judged, experiment, dataset))
}

/// Reads all matrices on this rank and deals them.
fn read_alone(
    source: Source,
    n_angles: usize,
    driver: &mut Driver,
    progress: &Progress,
    phases: &mut Phases,
    on_their_way: usize,
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Vec<Judged>> {
    let by_pair = source.dataset.has_sigma_by_pair();
    let angles: Vec<usize> = (0..n_angles).collect();
    let pool = driver.pool();
    read_ahead(&pool, source, &angles, on_their_way, |ahead| {
        let one = |&angle: &usize| {
            let Loaded { matrix, sigma, judged } = phases.time("reading", || ahead.next(None))?;
            between()?;
            phases.time("dealing", || {
                if by_pair {
                    driver.load_sigma(angle, &|i| sigma.row_after(i));
                }
                driver.load(angle, &|i| matrix.row_after(i))
            })?;
            progress.matrices("reading", angle + 1, n_angles);
            ahead.begin(matrix, sigma);
            Ok(judged)
        };
        angles.iter().map(one).collect()
    })
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
