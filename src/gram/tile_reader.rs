//! Tiles of one rank out of a [tile file](super::tile_file): reading, trying again, leaving out what can't be read.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};

use super::task::ANGLES_TOGETHER;
use super::tile_file::{Known, MAGIC, Places, hash};
use crate::arithmetic::Lane;
use crate::nodes::plan::TilePlan;
use crate::{Error, Result, files};

/// Wait before a failed read is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// It ends growing here.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// What is done where reads fail.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Tolerance {
    /// How often a failed read is tried again.
    pub retries: u32,
    /// Share of a level's data that may be left out because they can't be read; 0 = the first failure is an error.
    pub may_lose: f64,
}

/// Gives tiles of one rank's run out of the file.
#[derive(Debug)]
pub struct TileReader {
    path: PathBuf,
    file: File,
    places: Places,
    /// Global numbers of the tiles of this rank.
    range: Range<usize>,
    finite: Vec<u32>,
    hashes: Vec<u64>,
    /// Whether a tile has been seen to be as it was written, or needn't be.
    seen: Vec<AtomicBool>,
    tolerance: Tolerance,
    /// Reads that had to be tried again.
    retried: AtomicU64,
    /// Whether a tile is left out because it couldn't be read.
    lost: Vec<AtomicBool>,
    /// Their lanes.
    lost_lanes: AtomicUsize,
}

impl TileReader {
    /// Opens the file for a run of tiles. With `verify` every tile is looked at when it is read for the first time.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be read, isn't complete or isn't as it was written.
    pub fn open(path: &Path, plan: &TilePlan, range: Range<usize>, tolerance: Tolerance, verify: bool) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("read", path, e);
        let damaged = || Error::io("use", path, "it isn't as it was written");
        let file = files::open(path).map_err(failed)?;
        let places = Places::new(plan);
        let mut header = [0; 64];
        file.read_exact_at(&mut header, 0).map_err(failed)?;
        let number = |at: usize| u64::from_le_bytes(std::array::from_fn(|k| header[at + k]));
        if header[..16] != MAGIC[..] || number(16) != places.bytes() {
            return Err(damaged());
        }
        let length = file.metadata().map_err(failed)?.len();
        if number(24).checked_add(places.bytes()) != Some(length) {
            return Err(damaged());
        }
        let mut known = vec![0; number(24) as usize];
        file.read_exact_at(&mut known, places.bytes()).map_err(failed)?;
        if blake3::hash(&known).as_bytes()[..] != header[32..] {
            return Err(damaged());
        }
        let known: Vec<Known> = postcard::from_bytes(&known).map_err(|_| damaged())?;
        if known.len() != plan.n_tiles() {
            return Err(damaged());
        }
        let own = known.into_iter().skip(range.start).take(range.len());
        let (finite, hashes): (Vec<u32>, Vec<u64>) = own.map(|known| (known.n_finite, known.hash)).unzip();
        let each = |value: bool| range.clone().map(|_| AtomicBool::new(value)).collect();
        let (seen, lost) = (each(!verify), each(false));
        let (path, retried, lost_lanes) = (path.to_path_buf(), AtomicU64::new(0), AtomicUsize::new(0));
        Ok(Self { path, file, places, range, finite, hashes, seen, tolerance, retried, lost, lost_lanes })
    }

    /// Leaves out those of these tiles that lie in its run, as if they couldn't be read.
    pub fn leave_out(&self, tiles: impl IntoIterator<Item = usize>) {
        tiles.into_iter().filter(|tile| self.range.contains(tile)).for_each(|tile| {
            self.lose(tile);
        });
    }

    /// Global numbers of the tiles that are left out because they couldn't be read.
    pub fn lost(&self) -> impl Iterator<Item = usize> {
        // mostly there are none
        let any = self.lost_lanes.load(Ordering::Relaxed) > 0;
        let range = if any { self.range.clone() } else { 0..0 };
        range.filter(|&tile| self.is_lost(tile))
    }

    fn is_lost(&self, tile: usize) -> bool {
        self.lost[tile - self.range.start].load(Ordering::Relaxed)
    }

    /// Leaves a tile out from now on; `false` where that is more than may be lost.
    fn lose(&self, tile: usize) -> bool {
        let (lanes, all) = (self.places.lanes(tile % self.per_angle()), self.places.all());
        let lost = self.lost_lanes.fetch_add(lanes, Ordering::Relaxed) + lanes;
        self.lost[tile - self.range.start].store(true, Ordering::Relaxed);
        lost as f64 <= self.tolerance.may_lose * all as f64
    }

    /// Global numbers of the tiles.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// Tiles of an angle.
    pub(super) fn per_angle(&self) -> usize {
        self.places.per_angle()
    }

    /// Pairs of a tile that have a value, by global number; none of one that couldn't be read.
    pub fn finite(&self, tile: usize) -> u32 {
        if self.is_lost(tile) { 0 } else { self.finite[tile - self.range.start] }
    }

    /// Reads that had to be tried again so far.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Bytes that is known of the tiles takes.
    pub fn bytes(&self) -> usize {
        self.finite.len() * (size_of::<u32>() + size_of::<u64>() + 2)
    }

    /// Reads a tile (its number within an angle) of neighbouring angles, one after another, into `lanes`. Where something may be
    /// lost, [`Self::finite`] tells afterwards what was.
    ///
    /// # Errors
    /// [`Error::Io`] with the file and the place, when it still fails after the last try, or when a tile isn't as it was
    /// written.
    pub fn read(&self, angles: &Range<usize>, tile: usize, lanes: &mut [Lane]) -> Result<()> {
        let n = self.places.lanes(tile);
        let number = |angle: usize| angle * self.per_angle() + tile;
        for run in Places::runs(angles) {
            let own = &mut lanes[(run.start - angles.start) * n..(run.end - angles.start) * n];
            let is_whole = run.clone().all(|angle| !self.is_lost(number(angle)));
            let read = if is_whole { self.read_run(&run, tile, own) } else { Ok(()) };
            if self.tolerance.may_lose == 0.0 {
                read?;
            } else if read.is_err() || !is_whole {
                for (angle, lanes) in
                    run.zip(own.chunks_exact_mut(n)).filter(|(angle, _)| !self.is_lost(number(*angle)))
                {
                    let Err(error) = self.read_run(&(angle..angle + 1), tile, lanes) else { continue };
                    if !self.lose(number(angle)) {
                        return Err(beyond_bearing(error));
                    }
                    log::warn!("{error}; what stands there is left out of the fit");
                }
            }
        }
        Ok(())
    }

    /// The same of angles that lie together.
    fn read_run(&self, angles: &Range<usize>, tile: usize, lanes: &mut [Lane]) -> Result<()> {
        self.read_at(self.places.byte(angles.start, tile), bytemuck::cast_slice_mut(lanes))?;
        for (angle, lanes) in angles.clone().zip(lanes.chunks_exact(self.places.lanes(tile))) {
            let k = angle * self.per_angle() + tile - self.range.start;
            if !self.seen[k].load(Ordering::Relaxed) {
                if hash(lanes) != self.hashes[k] {
                    let place = self.places.byte(angle, tile);
                    let message =
                        format!("the bytes from {place} on aren't as they were written; remove it and start again");
                    return Err(Error::io("use", &self.path, message));
                }
                self.seen[k].store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    fn read_at(&self, place: u64, bytes: &mut [u8]) -> Result<()> {
        let mut wait = FIRST_WAIT;
        for tried in 0.. {
            match fault::check().and_then(|()| self.file.read_exact_at(bytes, place)) {
                Ok(()) => break,
                Err(e) if tried == self.tolerance.retries => {
                    let message = format!("{e} (at byte {place}, tried {} times)", tried + 1);
                    return Err(Error::io("read", &self.path, message));
                }
                Err(e) => {
                    log::warn!("{}: {e} at byte {place}; trying again", self.path.display());
                    self.retried.fetch_add(1, Ordering::Relaxed);
                    std::thread::sleep(wait);
                    wait = (2 * wait).min(LONGEST_WAIT);
                }
            }
        }
        Ok(())
    }

    /// Asks the system to have tiles of neighbouring angles at hand soon.
    pub fn expect(&self, angles: &Range<usize>, tiles: &Range<usize>) {
        for run in Places::runs(angles) {
            let whole_group = run.start.is_multiple_of(ANGLES_TOGETHER)
                && (run.len() == ANGLES_TOGETHER || run.end == self.places.n_angles);
            let parts = if whole_group { vec![tiles.clone()] } else { tiles.clone().map(|t| t..t + 1).collect() };
            for part in parts {
                let begin = self.places.byte(run.start, part.start);
                let end = self.places.byte(run.end - 1, part.end - 1)
                    + (self.places.lanes(part.end - 1) * size_of::<Lane>()) as u64;
                // a wish: nothing is lost where the system doesn't know it
                let _ = posix_fadvise(
                    &self.file,
                    begin as i64,
                    (end - begin) as i64,
                    PosixFadviseAdvice::POSIX_FADV_WILLNEED,
                );
            }
        }
    }
}

/// An error that would be borne if there were fewer of them.
fn beyond_bearing(error: Error) -> Error {
    match error {
        Error::Io { action, path, message } => {
            let message = format!("{message}; more can't be read than `min_success_rate` lets a fit do without");
            Error::Io { action, path, message }
        }
        other => other,
    }
}

/// Faults on purpose, for tests: `HOMODYNE_READ_FAULT=FIRST:COUNT` lets COUNT reads of this process fail from the FIRST-th
/// on, as a failing disk would.
mod fault {
    use std::sync::LazyLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    static PLAN: LazyLock<Option<(u64, u64)>> = LazyLock::new(|| {
        let text = std::env::var("HOMODYNE_READ_FAULT").ok()?;
        let (first, count) = text.split_once(':')?;
        Some((first.parse().ok()?, count.parse().ok()?))
    });
    static READS: AtomicU64 = AtomicU64::new(0);

    pub fn check() -> std::io::Result<()> {
        let Some((first, count)) = *PLAN else { return Ok(()) };
        let number = READS.fetch_add(1, Ordering::Relaxed) + 1;
        if (first..first.saturating_add(count)).contains(&number) {
            return Err(std::io::Error::from_raw_os_error(nix::libc::EIO));
        }
        Ok(())
    }
}
