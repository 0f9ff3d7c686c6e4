//! Matrices of a file, read ahead: while one is being dealt the threads of a rank read, unpack and judge the next ones.
//!
//! Buffers go round, so memory is theirs. HDF5 lets one thread in at a time; unpacking and judging are done by all. What a disk or
//! network gives only at times is asked for again.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use rayon::Scope;
use serde::{Deserialize, Serialize};

use crate::dataset::{Blank, Dataset, Digest, PairSigma, Plateaus, TwoTime, digest, noise, quantiles};
use crate::{Error, Result, trace};

/// Time between looks at other things while a matrix is waited for.
const LOOK: Duration = Duration::from_millis(1);
/// Wait before a failed read is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// It ends growing here.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What systems say of reads that may succeed the next time.
const MAY_PASS: [&str; 7] = [
    "Input/output error",
    "Remote I/O error",
    "Stale file handle",
    "Connection timed out",
    "Transport endpoint",
    "Resource temporarily unavailable",
    "Interrupted system call",
];

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
    /// Digest of c2, then that of σ.
    pub digests: Vec<Digest>,
    /// What else is known of it, where that is wanted.
    pub judged: Option<Judged>,
}

/// Where matrices come from.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    /// The file.
    pub dataset: &'a Dataset,
    /// Whether they are to be judged: what is known of them stays the same.
    pub judges: bool,
    /// Whether c2 at long and short lags is to be looked for.
    pub plateaus: bool,
    /// How often a read that may succeed the next time is tried again.
    pub retries: u32,
    /// Counts these.
    pub retried: &'a AtomicU64,
}

impl Source<'_> {
    /// What can't be read in the end is an [`Error::Io`].
    fn read(self, angle: usize, matrix: &mut TwoTime, sigma: &mut TwoTime) -> Result<(Vec<Digest>, Option<Judged>)> {
        let file = &self.dataset.file;
        let mut wait = FIRST_WAIT;
        let mut tried = 1;
        loop {
            let found = fault::check(file).and_then(|()| self.read_once(angle, matrix, sigma));
            // beyond the end of a file the library reads zeros
            if std::fs::metadata(file).is_ok_and(|now| now.len() < self.dataset.identity.size) {
                return Err(Error::data(
                    file,
                    "has become shorter while it was read; fit it when it is complete again",
                ));
            }
            let (path, message) = match found {
                Err(Error::Data { path, message, .. }) if may_pass(&message) => (path, message),
                Err(Error::Io { message, .. }) if may_pass(&message) => (None, message),
                other => return other,
            };
            let path = path.unwrap_or_else(|| self.dataset.slots[self.dataset.selected[angle]].path.clone());
            if tried > self.retries {
                let again = if tried > 1 { format!(" (tried {tried} times)") } else { String::new() };
                return Err(Error::io("read", file, format!("{path}: {message}{again}")));
            }
            log::warn!("{}, {path}: {message}; trying again", file.display());
            self.retried.fetch_add(1, Ordering::Relaxed);
            std::thread::sleep(wait);
            (tried, wait) = (tried + 1, (2 * wait).min(LONGEST_WAIT));
        }
    }

    fn read_once(
        self,
        angle: usize,
        matrix: &mut TwoTime,
        sigma: &mut TwoTime,
    ) -> Result<(Vec<Digest>, Option<Judged>)> {
        let span = trace::span("reading").with(|| format!("angle {angle}"));
        let mut report = self.dataset.read(angle, matrix)?;
        let by_pair = if self.dataset.has_sigma_by_pair() {
            Some(self.dataset.read_sigma(angle, matrix, &mut report, sigma)?)
        } else {
            None
        };
        drop(span);
        let _span = trace::span("judging").with(|| format!("angle {angle}"));
        let digests: Vec<Digest> = std::iter::once(digest(matrix)).chain(by_pair.map(|_| digest(sigma))).collect();
        if !self.judges {
            return Ok((digests, None));
        }
        let judged = Judged {
            n_missing: report.n_missing,
            n_excluded: report.n_excluded,
            dead_frames: report.dead_frames,
            blanks: report.blanks,
            is_full: report.triangle == "full",
            noise: noise::estimate(matrix),
            mean: matrix.mean(),
            plateaus: if self.plateaus { quantiles::plateaus(matrix) } else { None },
            sigma: by_pair,
            digests: digests.clone(),
        };
        Ok((digests, Some(judged)))
    }
}

fn may_pass(message: &str) -> bool {
    MAY_PASS.iter().any(|words| message.contains(words))
}

/// Faults on purpose, for tests: `HOMODYNE_READ_FAULT=FIRST:COUNT` lets COUNT reads of matrices by this process fail from the FIRST-th
/// on, as a failing disk would; with `signal` or `kill` for COUNT it gets a SIGTERM there, or ends without a word.
mod fault {
    use std::path::Path;
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::{Error, Result};

    static PLAN: LazyLock<Option<(u64, String)>> = LazyLock::new(|| {
        let text = std::env::var("HOMODYNE_READ_FAULT").ok()?;
        let (first, what) = text.split_once(':')?;
        Some((first.parse().ok()?, what.to_owned()))
    });
    static READS: AtomicU64 = AtomicU64::new(0);

    pub fn check(file: &Path) -> Result<()> {
        let Some((first, what)) = &*PLAN else { return Ok(()) };
        let after = (READS.fetch_add(1, Ordering::Relaxed) + 1).checked_sub(*first);
        match (after, what.parse::<u64>()) {
            (Some(after), Ok(count)) if after < count => {
                Err(Error::io("read", file, std::io::Error::from_raw_os_error(nix::libc::EIO)))
            }
            (Some(0), Err(_)) if what == "kill" => std::process::abort(),
            (Some(0), Err(_)) => {
                signal_hook::low_level::raise(signal_hook::consts::SIGTERM).map_err(|e| Error::io("read", file, e))
            }
            _ => Ok(()),
        }
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
    pub fn begin(&mut self, mut matrix: TwoTime, mut sigma: TwoTime) {
        let place = self.begun;
        let Some(&angle) = self.angles.get(place) else { return };
        self.begun += 1;
        let (source, done) = (self.source, self.done.clone());
        self.scope.spawn(move |_| {
            // a panic must reach the thread that waits for this matrix
            let found = catch_unwind(AssertUnwindSafe(|| {
                let (digests, judged) = source.read(angle, &mut matrix, &mut sigma)?;
                Ok(Loaded { matrix, sigma, digests, judged })
            }));
            // nobody listens any more once an earlier matrix has failed
            let _ = done.send((place, found));
        });
    }
}
