//! From the file to the ranks: several matrices at once are on their way.
//!
//! The threads of rank 0 read, unpack and judge the next matrices while the main thread, the only one that talks to MPI,
//! deals the last one. Buffers go round, so memory is theirs; matrices are dealt and hashed in the order of the file.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

use serde::{Deserialize, Serialize};

use crate::cluster::Driver;
use crate::dataset::{Dataset, Fingerprint, MatrixReport, PairSigma, Plateaus, TwoTime, noise, quantiles};
use crate::model::Experiment;
use crate::telemetry::{Phases, Progress};
use crate::{Error, Result, files};

/// Part of the packed data's memory that matrices on their way may take …
const SHARE: f64 = 0.2;
/// … beside so many bytes.
const ALLOWANCE: f64 = 80e6;
/// Memory of a matrix on its way over that of its values: its chunks as stored, half as large where noise doesn't compress
/// and the other half of the matrix is empty.
const ON_ITS_WAY: f64 = 1.5;

/// Matrices that may be on their way at once, at least one: with two, reading overlaps with dealing; with more, several
/// threads can unpack matrices of one chunk. `packed` is what all ranks will hold, bytes.
pub(super) fn most_on_their_way(experiment: &Experiment, packed: usize) -> usize {
    let room = (SHARE * packed as f64 + ALLOWANCE) / (ON_ITS_WAY * matrix_bytes(experiment));
    (room as usize).clamp(1, experiment.n_angles())
}

/// Memory of the matrices on their way, bytes.
pub(super) fn memory(experiment: &Experiment, packed: usize) -> f64 {
    // the library's own reading may hold a matrix twice
    (most_on_their_way(experiment, packed) as f64 * ON_ITS_WAY * matrix_bytes(experiment))
        .max(one_at_a_time(experiment))
}

/// Memory of one matrix on its way, bytes.
pub(super) fn one_at_a_time(experiment: &Experiment) -> f64 {
    // as above
    2.0 * matrix_bytes(experiment)
}

fn matrix_bytes(experiment: &Experiment) -> f64 {
    (experiment.n_frames * experiment.n_frames * size_of::<f32>()) as f64
}

/// What was found in the data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Found {
    /// Pairs of fitted frames without a value, by angle.
    pub n_missing: Vec<u64>,
    /// Pairs of fitted frames that the configuration leaves out, by angle.
    pub n_excluded: Vec<u64>,
    /// Estimated noise of every angle.
    pub noise: Vec<f64>,
    /// c2 at long and short lags of every angle, where asked for.
    pub plateaus: Vec<Option<Plateaus>>,
    /// Dead frames of every angle, from 0 in the selection.
    pub dead_frames: Vec<Vec<usize>>,
    /// Whether a file held both halves of a matrix.
    pub any_full: bool,
    /// σ of every pair, where they have their own, by angle.
    pub sigma: Vec<PairSigma>,
    /// See [`Fingerprint`].
    pub hash: String,
}

impl Found {
    /// Its file in a folder of packed data.
    pub const FILE: &str = "found";

    /// Writes this beside packed data, by which another run sees that they are complete.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file.
    pub fn save(&self, file: &Path) -> Result<()> {
        // numbers, texts and lists of them always have a form
        let found = postcard::to_stdvec(self).unwrap_or_default();
        let bytes = [&blake3::hash(&found).as_bytes()[..], &found].concat();
        files::replace(file, |temporary| std::fs::write(temporary, &bytes))
    }

    /// What was saved; `None` where nothing was, or where it isn't as it was written.
    pub fn load(file: &Path) -> Option<Self> {
        let bytes = std::fs::read(file).ok()?;
        let (hash, found) = bytes.split_at_checked(blake3::OUT_LEN)?;
        (blake3::hash(found).as_bytes()[..] == *hash).then(|| postcard::from_bytes(found).ok())?
    }
}

/// What is known of a matrix that was read.
struct Judged {
    report: MatrixReport,
    noise: f64,
    plateaus: Option<Plateaus>,
    sigma: Option<PairSigma>,
}

/// Matrix of an angle, or why there is none.
struct Arrived {
    angle: usize,
    matrix: TwoTime,
    /// σ of every pair, where they have their own.
    sigma: TwoTime,
    found: std::thread::Result<Result<Judged>>,
}

/// Reads all matrices and deals them; `between` is called after each and may end it. `plateaus`: whether c2 at long and
/// short lags is to be looked for; then how many matrices may be on their way at once.
///
/// # Errors
/// The first in the order of the angles that [`Dataset::read`] gives, or what dealing fails with. Nothing is being read any
/// more when this returns.
pub(super) fn read_all(
    dataset: &Dataset,
    experiment: &Experiment,
    driver: &mut Driver,
    progress: &Progress,
    phases: &mut Phases,
    (plateaus, on_their_way): (bool, usize),
    between: &mut dyn FnMut() -> Result<()>,
) -> Result<Found> {
    let n_angles = experiment.n_angles();
    let mut fingerprint = Fingerprint::new(experiment.q, experiment.dt, &experiment.phi);
    let mut noise = Vec::with_capacity(n_angles);
    let mut found_plateaus = Vec::with_capacity(n_angles);
    let (mut dead_frames, mut any_full) = (Vec::with_capacity(n_angles), false);
    let (mut n_missing, mut n_excluded) = (Vec::with_capacity(n_angles), Vec::with_capacity(n_angles));
    let mut found_sigma = Vec::new();
    let by_pair = dataset.has_sigma_by_pair();
    let pool = driver.pool();
    // one is being dealt while every thread works on another
    let on_their_way = on_their_way.min(pool.current_num_threads() + 1);
    let (done, arrivals) = channel();
    pool.in_place_scope(|scope| {
        let read = |angle: usize, mut matrix: TwoTime, mut sigma: TwoTime| {
            let done = done.clone();
            scope.spawn(move |_| {
                // a panic must reach the main thread, which would wait for this matrix forever
                let found = catch_unwind(AssertUnwindSafe(|| {
                    let mut report = dataset.read(angle, &mut matrix)?;
                    let mut own = |report| dataset.read_sigma(angle, &mut matrix, report, &mut sigma);
                    let sigma = if by_pair { Some(own(&mut report)?) } else { None };
                    Ok(Judged {
                        report,
                        noise: noise::estimate(&matrix),
                        plateaus: if plateaus { quantiles::plateaus(&matrix) } else { None },
                        sigma,
                    })
                }));
                // nobody listens any more once an earlier matrix has failed
                let _ = done.send(Arrived { angle, matrix, sigma, found });
            });
        };
        (0..on_their_way).for_each(|angle| read(angle, TwoTime::default(), TwoTime::default()));
        let mut early: Vec<Option<Arrived>> = (0..n_angles).map(|_| None).collect();
        for angle in 0..n_angles {
            let arrived = phases.time("reading", || wait_for(angle, &arrivals, &mut early))?;
            let judged = arrived.found.unwrap_or_else(|panic: Box<dyn Any + Send>| resume_unwind(panic))?;
            n_missing.push(judged.report.n_missing);
            n_excluded.push(judged.report.n_excluded);
            noise.push(judged.noise);
            found_plateaus.push(judged.plateaus);
            any_full |= judged.report.triangle == "full";
            dead_frames.push(judged.report.dead_frames);
            between()?;
            found_sigma.extend(judged.sigma);
            let (matrix, sigma) = (arrived.matrix, arrived.sigma);
            phases.time("dealing and hash", || {
                pool.in_place_scope(|beside| {
                    beside.spawn(|_| {
                        fingerprint.add(&matrix);
                        if by_pair {
                            fingerprint.add(&sigma);
                        }
                    });
                    if by_pair {
                        driver.load_sigma(angle, &|i| sigma.row_after(i));
                    }
                    driver.load(angle, &|i| matrix.row_after(i))
                })
            })?;
            progress.reading(angle + 1, n_angles);
            if angle + on_their_way < n_angles {
                read(angle + on_their_way, matrix, sigma);
            }
        }
        let (plateaus, sigma, hash) = (found_plateaus, found_sigma, fingerprint.finish());
        Ok(Found { n_missing, n_excluded, noise, plateaus, dead_frames, any_full, sigma, hash })
    })
}

/// The matrix of an angle; others that come first are kept in `early`.
fn wait_for(angle: usize, arrivals: &Receiver<Arrived>, early: &mut [Option<Arrived>]) -> Result<Arrived> {
    loop {
        if let Some(arrived) = early[angle].take() {
            return Ok(arrived);
        }
        let next = arrivals
            .recv()
            .map_err(|_| Error::Rank { rank: 0, message: "the threads that read the data have ended".into() })?;
        let angle = next.angle;
        early[angle] = Some(next);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gram::Level;
    use crate::model::{AnalysisMode, ShearConvention};

    #[test]
    fn reading_ahead_keeps_to_its_memory() {
        let most = |n_angles: usize, n_frames: usize| {
            let experiment = Experiment {
                mode: AnalysisMode::LaminarFlow,
                convention: ShearConvention::Homodyne,
                q: 0.0054,
                gap: 2e6,
                dt: 0.1,
                phi: vec![0.0; n_angles],
                n_frames,
                time_offset: 0,
            };
            let packed: usize = Level::all(n_frames, n_angles).iter().map(Level::bytes).sum();
            let most = most_on_their_way(&experiment, packed);
            assert!(
                most == 1 || memory(&experiment, packed) <= SHARE * packed as f64 + ALLOWANCE,
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
}
