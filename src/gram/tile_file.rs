//! Tiles of the finest level in a file, for data that memory doesn't hold.
//!
//! The file has the order in which a pass reads: groups of neighbouring angles, in a group tile after tile, of a tile angle
//! after angle; the lanes of a tile are as [`super::pack`] describes. So a piece of work reads one run of bytes after the other,
//! and each is computed with where it was read to. Behind the lanes stands what is known of every tile (missing values, a
//! hash), which memory holds. Numbers are little-endian.

use std::io::Write;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::pack::{RowAfter, count_finite, pack_tiles};
use super::task::ANGLES_TOGETHER;
use crate::arithmetic::Lane;
use crate::nodes::plan::{Level, TilePlan};
use crate::{Error, Result};

/// What the file begins with.
pub(super) const MAGIC: &[u8; 16] = b"homodyne tiles 2";
/// Bytes before the first lane: a page, of which the magic word, the beginning and the length of what is known of the
/// tiles (8 bytes each) and its hash (32 bytes) are used.
const HEADER: usize = 4096;
/// Tiles packed and written at a time, some 20 MB.
const AT_A_TIME: usize = 20;
/// Where tiles lie in the file.
#[derive(Debug)]
pub(super) struct Places {
    /// Lanes of an angle before every tile, and of all.
    before: Vec<usize>,
    pub n_angles: usize,
}

impl Places {
    pub fn new(plan: &TilePlan) -> Self {
        let mut before = vec![0];
        for tile in &plan.tiles {
            before.push(before[before.len() - 1] + tile.n_lanes);
        }
        Self { before, n_angles: plan.n_angles }
    }

    pub fn per_angle(&self) -> usize {
        self.before.len() - 1
    }

    pub fn lanes(&self, tile: usize) -> usize {
        self.before[tile + 1] - self.before[tile]
    }

    /// First byte of a tile of an angle.
    pub fn byte(&self, angle: usize, tile: usize) -> u64 {
        let group = angle / ANGLES_TOGETHER * ANGLES_TOGETHER;
        let together = ANGLES_TOGETHER.min(self.n_angles - group);
        let lane =
            group * self.before[self.per_angle()] + together * self.before[tile] + (angle - group) * self.lanes(tile);
        (HEADER + lane * size_of::<Lane>()) as u64
    }

    /// Lanes of all tiles.
    pub fn all(&self) -> usize {
        self.n_angles * self.before[self.per_angle()]
    }

    /// Bytes before what is known of the tiles.
    pub fn bytes(&self) -> u64 {
        (HEADER + self.all() * size_of::<Lane>()) as u64
    }

    /// The angles of a range that lie together in the file, run by run.
    pub fn runs(angles: &Range<usize>) -> impl Iterator<Item = Range<usize>> {
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
pub(super) struct Known {
    pub n_finite: u32,
    /// First bytes of BLAKE3 over its lanes.
    pub hash: u64,
}

pub(super) fn hash(lanes: &[Lane]) -> u64 {
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
                let n_finite = count_finite(lanes);
                file.write_all_at(bytemuck::cast_slice(lanes), places.byte(angle, tile))?;
                Ok(Known { n_finite, hash: hash(lanes) })
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
