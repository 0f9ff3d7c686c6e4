//! Tiles of the finest level in a file, for data that memory doesn't hold.
//!
//! The file has the order in which a pass reads: groups of neighbouring angles, in a group tile after tile, of a tile angle
//! after angle; the lanes of a tile are as [`super::pack`] describes. So a piece of work reads one run of bytes after the other,
//! and each is computed with where it was read to. Behind the lanes stands what is known of every tile (missing values, a
//! hash), which memory holds. Numbers are little-endian.

use std::fs::File;
use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use serde::{Deserialize, Serialize};

use super::pack::{Lane, Marks, RowAfter, mark_tile, pack_tiles};
use super::plan::{Level, TilePlan};
use super::task::ANGLES_TOGETHER;
use crate::{Error, Result};

/// What the file begins with.
const MAGIC: &[u8; 16] = b"homodyne tiles 1";
/// Bytes before the first lane: a page, of which the magic word, the beginning and the length of what is known of the
/// tiles (8 bytes each) and its hash (32 bytes) are used.
const HEADER: usize = 4096;
/// Tiles packed and written at a time, some 20 MB.
const AT_A_TIME: usize = 256;
/// Wait before a failed read is tried again; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(20);
/// It ends growing here.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Where tiles lie in the file.
#[derive(Debug)]
struct Places {
    /// Lanes of an angle before every tile, and of all.
    before: Vec<usize>,
    n_angles: usize,
}

impl Places {
    fn new(plan: &TilePlan) -> Self {
        let mut before = vec![0];
        for tile in &plan.tiles {
            before.push(before[before.len() - 1] + tile.n_lanes);
        }
        Self { before, n_angles: plan.n_angles }
    }

    fn per_angle(&self) -> usize {
        self.before.len() - 1
    }

    fn lanes(&self, tile: usize) -> usize {
        self.before[tile + 1] - self.before[tile]
    }

    /// First byte of a tile of an angle.
    fn byte(&self, angle: usize, tile: usize) -> u64 {
        let group = angle / ANGLES_TOGETHER * ANGLES_TOGETHER;
        let together = ANGLES_TOGETHER.min(self.n_angles - group);
        let lane =
            group * self.before[self.per_angle()] + together * self.before[tile] + (angle - group) * self.lanes(tile);
        (HEADER + lane * size_of::<Lane>()) as u64
    }

    /// Bytes before what is known of the tiles.
    fn bytes(&self) -> u64 {
        (HEADER + self.n_angles * self.before[self.per_angle()] * size_of::<Lane>()) as u64
    }

    /// The angles of a range that lie together in the file, run by run.
    fn runs(angles: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let (mut next, end) = (angles.start, angles.end);
        std::iter::from_fn(move || {
            let run = next..((next / ANGLES_TOGETHER + 1) * ANGLES_TOGETHER).min(end);
            next = run.end;
            (!run.is_empty()).then_some(run)
        })
    }
}

/// What is known of a tile, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Known {
    n_finite: u32,
    holes: Option<Box<[u16]>>,
    /// First bytes of BLAKE3 over its lanes.
    hash: u64,
}

fn hash(lanes: &[Lane]) -> u64 {
    let hash = *blake3::hash(bytemuck::cast_slice(lanes)).as_bytes();
    u64::from_le_bytes(std::array::from_fn(|k| hash[k]))
}

/// Writes the file, angle by angle. It gets its name when it is complete.
#[derive(Debug)]
pub struct TileWriter {
    path: PathBuf,
    temporary: tempfile::NamedTempFile,
    places: Places,
    known: Vec<Known>,
    buffer: Vec<Lane>,
}

impl TileWriter {
    /// Begins a file that will have this name.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn create(path: &Path, plan: &TilePlan) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(TEMPORARY)
            .tempfile_in(folder)
            .map_err(|e| Error::io("create a scratch file in", folder, e))?;
        Ok(Self {
            path: path.to_path_buf(),
            temporary,
            places: Places::new(plan),
            known: Vec::new(),
            buffer: Vec::new(),
        })
    }

    /// Writes all tiles of the next angle by the threads of the rayon pool in which it is called. `row_after(i)` gives c2 of
    /// frame i with the frames behind it.
    ///
    /// # Errors
    /// [`Error::Io`] naming the file, on a full disk for instance.
    pub fn write(&mut self, level: &Level, row_after: RowAfter<'_, '_>) -> Result<()> {
        let n = self.places.per_angle();
        let angle = self.known.len() / n;
        for first in (0..n).step_by(AT_A_TIME) {
            let tiles = first..(first + AT_A_TIME).min(n);
            let lanes = self.places.before[tiles.end] - self.places.before[tiles.start];
            self.buffer.resize(lanes, Lane([f32::NAN; 8]));
            let (places, file) = (&self.places, self.temporary.as_file());
            let finish = |tile: usize, lanes: &mut [Lane]| {
                let Marks { n_finite, holes } = mark_tile(&level.plan.tiles[tile], lanes);
                file.write_all_at(bytemuck::cast_slice(lanes), places.byte(angle, tile))?;
                Ok(Known { n_finite, holes, hash: hash(lanes) })
            };
            let known: std::io::Result<Vec<Known>> = pack_tiles(level, tiles, row_after, &mut self.buffer, finish);
            self.known.extend(known.map_err(|e| Error::io("write", &self.path, e))?);
        }
        Ok(())
    }

    /// Completes the file.
    ///
    /// # Errors
    /// [`Error::Io`] naming it.
    pub fn finish(self) -> Result<()> {
        let Self { path, mut temporary, places, known, .. } = self;
        let failed = |e: std::io::Error| Error::io("write", &path, e);
        // numbers and lists of numbers always have a form
        let known = postcard::to_stdvec(&known).unwrap_or_default();
        let file = temporary.as_file_mut();
        file.write_all_at(&known, places.bytes()).map_err(failed)?;
        let mut header = MAGIC.to_vec();
        header.extend(places.bytes().to_le_bytes());
        header.extend((known.len() as u64).to_le_bytes());
        header.extend(blake3::hash(&known).as_bytes());
        file.write_all_at(&header, 0).map_err(failed)?;
        file.flush().map_err(failed)?;
        temporary.persist(&path).map_err(|e| failed(e.error))?;
        Ok(())
    }
}

/// How names of files begin that aren't complete yet.
const TEMPORARY: &str = ".tiles-";

/// Gives tiles of one rank's run out of the file.
#[derive(Debug)]
pub struct TileReader {
    path: PathBuf,
    file: File,
    places: Places,
    /// Global numbers of the tiles of this rank.
    range: Range<usize>,
    marks: Vec<Marks>,
    hashes: Vec<u64>,
    /// Whether a tile has been seen to be as it was written, or needn't be.
    seen: Vec<AtomicBool>,
    retries: u32,
    /// Reads that had to be tried again.
    retried: AtomicU64,
}

impl TileReader {
    /// Opens the file for a run of tiles. A failed read is tried `retries` times again. With `verify` every tile is looked at
    /// when it is read for the first time.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be read, isn't complete or isn't as it was written.
    pub fn open(path: &Path, plan: &TilePlan, range: Range<usize>, retries: u32, verify: bool) -> Result<Self> {
        let failed = |e: std::io::Error| Error::io("read", path, e);
        let damaged = || Error::io("use", path, "it isn't as it was written");
        let file = File::open(path).map_err(failed)?;
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
        let (marks, hashes): (Vec<Marks>, Vec<u64>) =
            own.map(|known| (Marks { n_finite: known.n_finite, holes: known.holes }, known.hash)).unzip();
        let seen = range.clone().map(|_| AtomicBool::new(!verify)).collect();
        let path = path.to_path_buf();
        Ok(Self { path, file, places, range, marks, hashes, seen, retries, retried: AtomicU64::new(0) })
    }

    /// Global numbers of the tiles.
    pub fn range(&self) -> &Range<usize> {
        &self.range
    }

    /// Tiles of an angle.
    pub(super) fn per_angle(&self) -> usize {
        self.places.per_angle()
    }

    /// What is known of a tile, by global number.
    pub fn marks(&self, tile: usize) -> &Marks {
        &self.marks[tile - self.range.start]
    }

    /// Reads that had to be tried again so far.
    pub fn retried(&self) -> u64 {
        self.retried.load(Ordering::Relaxed)
    }

    /// Bytes that the marks take.
    pub fn bytes(&self) -> usize {
        let holes = self.marks.iter().filter_map(|m| m.holes.as_deref()).map(size_of_val).sum::<usize>();
        holes + self.marks.len() * (size_of::<Marks>() + size_of::<u64>() + 1)
    }

    /// Reads a tile (its number within an angle) of neighbouring angles, one after another, into `lanes`.
    ///
    /// # Errors
    /// [`Error::Io`] with the file and the place, when it still fails after the last try, or when a tile isn't as it was
    /// written.
    pub fn read(&self, angles: &Range<usize>, tile: usize, lanes: &mut [Lane]) -> Result<()> {
        let n = self.places.lanes(tile);
        for run in Places::runs(angles) {
            let own = &mut lanes[(run.start - angles.start) * n..(run.end - angles.start) * n];
            self.read_at(self.places.byte(run.start, tile), bytemuck::cast_slice_mut(own))?;
        }
        for (angle, lanes) in angles.clone().zip(lanes.chunks_exact(n)) {
            let k = angle * self.places.per_angle() + tile - self.range.start;
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
                Err(e) if tried == self.retries => {
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
