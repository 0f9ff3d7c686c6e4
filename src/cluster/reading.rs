//! Matrices of a file, read ahead: while one is being dealt the threads of a rank read, unpack and judge the next ones.
//!
//! Buffers go round, so memory is theirs. HDF5 lets one thread in at a time; unpacking and judging are done by all.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rayon::Scope;
use serde::{Deserialize, Serialize};

use crate::dataset::{Blank, Dataset, Digest, PairSigma, Plateaus, TwoTime, digest, noise, quantiles};
use crate::{Error, Result, trace};

/// Time between looks at other things while a matrix is waited for.
const LOOK: Duration = Duration::from_millis(1);

/// What is known of a matrix that was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Pairs of fitted frames without a value.
    pub n_missing: u64,
    /// Pairs of fitted frames that the configuration leaves out.
    pub n_excluded: u64,
    /// Dead frames, from 0 in the selection.
    pub dead_frames: Vec<usize>,
    /// Parts that were never filled, missing too.
    pub blanks: Vec<Blank>,
    /// Whether the file holds both halves.
    pub is_full: bool,
    /// Estimated noise.
    pub noise: f64,
    /// Mean of c2.
    pub mean: f64,
    /// c2 at long and short lags, where asked for.
    pub plateaus: Option<Plateaus>,
    /// σ of the pairs, where they have their own.
    pub sigma: Option<PairSigma>,
    /// Digest of c2, then that of σ.
    pub digests: Vec<Digest>,
}

/// A matrix that was read.
pub struct Loaded {
    /// c2.
    pub matrix: TwoTime,
    /// σ of every pair, where they have their own.
    pub sigma: TwoTime,
    /// What is known of it.
    pub judged: Judged,
}

/// Where matrices come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub dataset: &'a Dataset,
    /// Whether c2 at long and short lags is to be looked for.
    pub plateaus: bool,
}

impl Source<'_> {
    fn read(self, angle: usize, mut matrix: TwoTime, mut sigma: TwoTime) -> Result<Loaded> {
        let span = trace::span("reading").with(|| format!("angle {angle}"));
        let mut report = self.dataset.read(angle, &mut matrix)?;
        let by_pair = if self.dataset.has_sigma_by_pair() {
            Some(self.dataset.read_sigma(angle, &mut matrix, &mut report, &mut sigma)?)
        } else {
            None
        };
        drop(span);
        let _span = trace::span("judging").with(|| format!("angle {angle}"));
        let judged = Judged {
            n_missing: report.n_missing,
            n_excluded: report.n_excluded,
            dead_frames: report.dead_frames,
            blanks: report.blanks,
            is_full: report.triangle == "full",
            noise: noise::estimate(&matrix),
            mean: matrix.mean(),
            plateaus: if self.plateaus { quantiles::plateaus(&matrix) } else { None },
            sigma: by_pair,
            digests: std::iter::once(digest(&matrix)).chain(by_pair.map(|_| digest(&sigma))).collect(),
        };
        Ok(Loaded { matrix, sigma, judged })
    }
}

/// Place in the list of angles, and the matrix, or why there is none.
type Arrived = (usize, std::thread::Result<Result<Loaded>>);

/// Reads matrices of a list of angles, some at once, and gives them in its order.
pub struct Ahead<'s, 'scope> {
    scope: &'s Scope<'scope>,
    source: Source<'scope>,
    angles: &'scope [usize],
    /// How many have been begun, and given.
    begun: usize,
    given: usize,
    done: Sender<Arrived>,
    arrivals: Receiver<Arrived>,
    /// Those that came before their turn.
    early: Vec<Option<std::thread::Result<Result<Loaded>>>>,
}

/// Reads `angles` by the threads of a pool, `on_their_way` of them at once, for `work`. Nothing is being read any more when this
/// returns.
pub fn read_ahead<'scope, T>(
    pool: &rayon::ThreadPool,
    source: Source<'scope>,
    angles: &'scope [usize],
    on_their_way: usize,
    work: impl FnOnce(&mut Ahead<'_, 'scope>) -> T,
) -> T {
    // one is being dealt while every thread works on another
    let on_their_way = on_their_way.clamp(1, pool.current_num_threads() + 1);
    let (done, arrivals) = channel();
    pool.in_place_scope(|scope| {
        let early = angles.iter().map(|_| None).collect();
        let mut ahead = Ahead { scope, source, angles, begun: 0, given: 0, done, arrivals, early };
        (0..on_their_way).for_each(|_| ahead.begin(TwoTime::default(), TwoTime::default()));
        work(&mut ahead)
    })
}

impl Ahead<'_, '_> {
    /// The next matrix. `meanwhile` is called now and then while it is waited for.
    ///
    /// # Errors
    /// What reading fails with, see [`Dataset::read`].
    pub fn next(&mut self, mut meanwhile: Option<&mut dyn FnMut()>) -> Result<Loaded> {
        let place = self.given;
        self.given += 1;
        while self.early[place].is_none() {
            let arrived = match &mut meanwhile {
                None => self.arrivals.recv().map_err(|_| RecvTimeoutError::Disconnected),
                Some(meanwhile) => {
                    meanwhile();
                    self.arrivals.recv_timeout(LOOK)
                }
            };
            match arrived {
                Ok((place, found)) => self.early[place] = Some(found),
                Err(RecvTimeoutError::Timeout) => {}
                // there is a sender in this very object
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        match self.early[place].take() {
            Some(found) => found.unwrap_or_else(|panic: Box<dyn Any + Send>| resume_unwind(panic)),
            None => Err(Error::Rank { rank: 0, message: "the threads that read the data have ended".into() }),
        }
    }

    /// Begins with the one after those on their way, if there is another, in buffers that are done with.
    pub fn begin(&mut self, matrix: TwoTime, sigma: TwoTime) {
        let place = self.begun;
        let Some(&angle) = self.angles.get(place) else { return };
        self.begun += 1;
        let (source, done) = (self.source, self.done.clone());
        self.scope.spawn(move |_| {
            // a panic must reach the thread that waits for this matrix
            let found = catch_unwind(AssertUnwindSafe(|| source.read(angle, matrix, sigma)));
            // nobody listens any more once an earlier matrix has failed
            let _ = done.send((place, found));
        });
    }
}
