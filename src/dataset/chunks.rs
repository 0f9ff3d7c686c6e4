//! Reading a chunked matrix past the HDF5 library's own pipeline.
//!
//! The library lets one thread in at a time and unpacks chunks while it holds that lock. Here it only hands out the chunks
//! as stored; filters are undone outside of the lock, by all threads of the rayon pool that the caller runs in (by the
//! caller alone where it runs in none), straight into the rows of the matrix. Chunks outside the selected frames aren't
//! touched, those never written cost nothing.
//!
//! Both halves of a matrix are read: which of them holds data, whether two full ones agree and which frames are dead can only
//! be told from a whole matrix (see [`super::triangle`]), which is why one lies between the file and the packed tiles.
//! Time grows with the chunks wanted: the library is only asked what it looks up in the index of chunks, never what makes it
//! walk along all of it.
//! Memory beside it: stored chunks up to [`BATCH`] or one, and a chunk or two per thread where one doesn't fit in place.

use std::ffi::c_void;
use std::ops::Range;

use hdf5::dataset::ChunkOpts;
use hdf5::plist::dataset_create::Layout;
use hdf5_sys::h5::hsize_t;
use hdf5_sys::h5d::H5Dread_chunk1;
use hdf5_sys::h5p::H5P_DEFAULT;
use rayon::prelude::*;

use super::TwoTime;
use super::filters::{Pipeline, Scratch};
use super::storage::{overlap, stored_size};
use crate::error::hdf5_reason as reason;

/// Bytes of stored chunks that are read before they are unpacked.
const BATCH: usize = 16 << 20;
/// Largest chunk of HDF5's formats, bytes.
const MAX_CHUNK: usize = u32::MAX as usize;

/// Chunks of a dataset without filters from which on the library reads: finding one of them by `H5Dget_chunk_info_by_coord`
/// takes as long as the index is.
const MOST_PLAIN: usize = 1024;
/// How the file stores a value, in this machine's byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Value {
    F32,
    F64,
}

impl Value {
    fn of(dataset: &hdf5::Dataset) -> Option<Self> {
        let stored = dataset.dtype().ok()?;
        let is = |native: hdf5::Result<hdf5::Datatype>| native.is_ok_and(|native| native == stored);
        if is(hdf5::Datatype::from_type::<f32>()) {
            Some(Self::F32)
        } else {
            is(hdf5::Datatype::from_type::<f64>()).then_some(Self::F64)
        }
    }

    fn bytes(self) -> usize {
        match self {
            Self::F32 => size_of::<f32>(),
            Self::F64 => size_of::<f64>(),
        }
    }

    /// Reads a run of values.
    fn read(self, from: &[u8], to: &mut [f32]) {
        match self {
            Self::F32 => bytemuck::cast_slice_mut(to).copy_from_slice(from),
            Self::F64 => {
                for (to, from) in to.iter_mut().zip(from.as_chunks().0) {
                    *to = narrow(f64::from_ne_bytes(*from));
                }
            }
        }
    }
}

/// As HDF5 converts: what is beyond the largest float32 becomes infinite, even where rounding would bring it back.
pub(super) fn narrow(value: f64) -> f32 {
    const LARGEST: f64 = f32::MAX as f64;
    if value > LARGEST {
        f32::INFINITY
    } else if value < -LARGEST {
        f32::NEG_INFINITY
    } else {
        value as f32
    }
}

/// A matrix stored in chunks that can be unpacked here.
pub(super) struct Chunked<'a> {
    dataset: &'a hdf5::Dataset,
    /// Which matrix of a stack; `None` for a dataset of two dimensions.
    index: Option<usize>,
    /// Frames in the file.
    n: usize,
    /// Matrices, rows and columns of a chunk.
    chunk: [usize; 3],
    value: Value,
    pipeline: Pipeline,
    /// No chunk can be larger, bytes.
    file_size: u64,
}

/// Rows of the result that a row of chunks fills, and what of these chunks has been read.
struct Band<'m> {
    /// Row of chunks in the file.
    number: usize,
    rows: &'m mut [f32],
    pieces: Vec<Piece>,
}

/// One chunk.
struct Piece {
    /// Column of chunks in the file.
    column: usize,
    contents: Contents,
}

enum Contents {
    /// Its rows have been read already.
    InPlace,
    /// Never written.
    Missing,
    /// Stored bytes, a part of what the batch holds, and filters left out.
    Stored { bytes: Range<usize>, mask: u32 },
}

impl<'a> Chunked<'a> {
    /// `None` where the library must read: another layout, type or filter than those known here.
    pub fn new(dataset: &'a hdf5::Dataset, index: Option<usize>) -> Option<Self> {
        let creation = dataset.dcpl().ok()?;
        if creation.get_layout().ok()? != Layout::Chunked {
            return None;
        }
        let unfiltered_edges = creation.get_chunk_opts().ok()?;
        if unfiltered_edges.is_some_and(|options| options.contains(ChunkOpts::DONT_FILTER_PARTIAL_CHUNKS)) {
            return None;
        }
        let (shape, chunk) = (dataset.shape(), creation.get_chunk().ok()??);
        let (chunk, n) = match (index, &chunk[..], &shape[..]) {
            (None, &[rows, columns], &[n, _]) => ([1, rows, columns], n),
            (Some(_), &[matrices, rows, columns], &[_, n, _]) => ([matrices, rows, columns], n),
            _ => return None,
        };
        let value = Value::of(dataset)?;
        let bytes = chunk.iter().try_fold(value.bytes(), |bytes, &side| bytes.checked_mul(side))?;
        if bytes == 0 || bytes > MAX_CHUNK {
            return None;
        }
        let pipeline = Pipeline::new(&creation.get_filters().ok()?, value.bytes())?;
        if pipeline.is_empty() && dataset.num_chunks().is_none_or(|n| n > MOST_PLAIN) {
            return None;
        }
        let file_size = dataset.file().ok()?.size();
        Some(Self { dataset, index, n, chunk, value, pipeline, file_size })
    }

    /// Reads frames × frames, row by row, into `into`; chunks that were never written are zeros there.
    ///
    /// The error names the chunk that can't be read or unpacked.
    pub fn read(&self, frames: &Range<usize>, into: &mut TwoTime) -> Result<(), String> {
        let columns = frames.start / self.chunk[2]..(frames.end - 1) / self.chunk[2] + 1;
        let mut stored = Vec::new();
        let mut batch: Vec<Band> = Vec::new();
        let mut rest = &mut into.values[..];
        for number in frames.start / self.chunk[1]..(frames.end - 1) / self.chunk[1] + 1 {
            let rows = overlap(frames, number, self.chunk[1]);
            let (now, later) = std::mem::take(&mut rest).split_at_mut(rows.len() * frames.len());
            rest = later;
            let mut band = Band { number, rows: now, pieces: Vec::with_capacity(columns.len()) };
            for column in columns.clone() {
                let contents = self.fetch(&mut band, column, frames, &mut stored)?;
                band.pieces.push(Piece { column, contents });
            }
            batch.push(band);
            if stored.len() >= BATCH {
                self.unpack_all(&mut batch, frames, &stored)?;
                batch.clear();
                stored.clear();
            }
        }
        self.unpack_all(&mut batch, frames, &stored)
    }

    /// Reads one chunk as stored: into its rows if that is all there is to do, else behind `stored`.
    fn fetch(
        &self,
        band: &mut Band,
        column: usize,
        frames: &Range<usize>,
        stored: &mut Vec<u8>,
    ) -> Result<Contents, String> {
        let origin = self.origin(band.number, column);
        hdf5::sync::sync(|| -> Result<Contents, String> {
            let said = |e: hdf5::Error| self.named(&origin, &format!("cannot be read: {}", reason(e)));
            let Some(size) = self.look_up(&origin).map_err(said)? else { return Ok(Contents::Missing) };
            if size > self.file_size {
                let message = format!("is said to take {size} bytes, more than the whole file");
                return Err(self.named(&origin, &message));
            }
            let size = size as usize;
            let in_place = self.value == Value::F32 && self.is_exactly(band, frames) && self.pipeline.is_empty();
            if in_place && size == size_of_val(&*band.rows) {
                // SAFETY: as many bytes as were found, under the same lock
                unsafe { self.read_stored(&origin, bytemuck::cast_slice_mut(band.rows)) }.map_err(said)?;
                return Ok(Contents::InPlace);
            }
            let start = stored.len();
            if stored.try_reserve(size).is_err() {
                return Err(self.named(&origin, &format!("takes {size} bytes, for which there is no memory")));
            }
            stored.resize(start + size, 0);
            // SAFETY: as many bytes as were found, under the same lock
            let mask = unsafe { self.read_stored(&origin, &mut stored[start..]) }.map_err(said)?;
            Ok(Contents::Stored { bytes: start..start + size, mask })
        })
    }

    /// Stored bytes of a chunk; `None` where it was never written. To be called under the library's lock.
    fn look_up(&self, origin: &[hsize_t]) -> hdf5::Result<Option<u64>> {
        stored_size(self.dataset, origin, !self.pipeline.is_empty())
    }

    /// Reads a chunk as stored; gives the filters left out.
    ///
    /// # Safety
    /// `into` must be as long as [`Self::look_up`] found under the library's lock, which must have been held since.
    unsafe fn read_stored(&self, origin: &[hsize_t], into: &mut [u8]) -> hdf5::Result<u32> {
        let mut mask = 0;
        let target = into.as_mut_ptr().cast::<c_void>();
        // SAFETY: the identifier is that of an open dataset, `origin` has one entry per dimension of it (see `origin`); the
        // library writes as many bytes as the chunk has in the file, for which the caller vouches.
        let status = unsafe { H5Dread_chunk1(self.dataset.id(), H5P_DEFAULT, origin.as_ptr(), &mut mask, target) };
        hdf5::h5check(status).map(|_| mask)
    }

    /// First element of a chunk, one entry per dimension of the dataset.
    fn origin(&self, row: usize, column: usize) -> Vec<hsize_t> {
        let matrix = self.index.map(|k| k - k % self.chunk[0]);
        matrix.into_iter().chain([row * self.chunk[1], column * self.chunk[2]]).map(|at| at as hsize_t).collect()
    }

    /// Whether the chunk of a band holds the band's rows and nothing else.
    fn is_exactly(&self, band: &Band, frames: &Range<usize>) -> bool {
        let [matrices, rows, columns] = self.chunk;
        matrices == 1 && columns == frames.len() && *frames == (0..self.n) && band.rows.len() == rows * columns
    }

    fn unpack_all(&self, batch: &mut [Band], frames: &Range<usize>, stored: &[u8]) -> Result<(), String> {
        let unpack = |memory: &mut (Scratch, Vec<u8>), band: &mut Band| self.unpack(band, frames, stored, memory);
        if rayon::current_thread_index().is_some() {
            batch.par_iter_mut().try_for_each_init(Default::default, unpack)
        } else {
            let mut memory = Default::default();
            batch.iter_mut().try_for_each(|band| unpack(&mut memory, band))
        }
    }

    /// Fills the rows of a band from its chunks.
    fn unpack(
        &self,
        band: &mut Band,
        frames: &Range<usize>,
        stored: &[u8],
        (scratch, chunk): &mut (Scratch, Vec<u8>),
    ) -> Result<(), String> {
        let exactly = self.value == Value::F32 && self.is_exactly(band, frames);
        for piece in &band.pieces {
            let undo = |bytes: &Range<usize>, mask, out: &mut [u8], scratch: &mut Scratch| {
                self.pipeline.undo(&stored[bytes.clone()], mask, out, scratch).map_err(|why| {
                    let place = self.origin(band.number, piece.column);
                    let message = format!("cannot be unpacked: {why}; copy the file again from where it was written");
                    self.named(&place, &message)
                })
            };
            match &piece.contents {
                Contents::InPlace => {}
                Contents::Stored { bytes, mask } if exactly => {
                    undo(bytes, *mask, bytemuck::cast_slice_mut(band.rows), scratch)?;
                }
                Contents::Stored { bytes, mask } => {
                    let unpacked = self.chunk.iter().product::<usize>() * self.value.bytes();
                    if chunk.try_reserve(unpacked.saturating_sub(chunk.len())).is_err() {
                        let message = format!("unpacks to {unpacked} bytes, for which there is no memory");
                        return Err(self.named(&self.origin(band.number, piece.column), &message));
                    }
                    chunk.resize(unpacked, 0);
                    undo(bytes, *mask, chunk, scratch)?;
                    self.scatter(band.number, piece.column, band.rows, frames, |from, to| {
                        self.value.read(&chunk[from * self.value.bytes()..][..to.len() * self.value.bytes()], to);
                    });
                }
                Contents::Missing => {
                    self.scatter(band.number, piece.column, band.rows, frames, |_, to| to.fill(0.0));
                }
            }
        }
        Ok(())
    }

    /// Calls `fill` for every row that a chunk and the selected frames share: with the first value's place in the chunk and
    /// the values to be filled.
    fn scatter(
        &self,
        band: usize,
        column: usize,
        into: &mut [f32],
        frames: &Range<usize>,
        fill: impl Fn(usize, &mut [f32]),
    ) {
        let (rows, columns) = (overlap(frames, band, self.chunk[1]), overlap(frames, column, self.chunk[2]));
        let matrix = self.index.map_or(0, |k| k % self.chunk[0]);
        let targets = columns.start - frames.start..columns.end - frames.start;
        for (row, into) in rows.zip(into.chunks_exact_mut(frames.len())) {
            let line = matrix * self.chunk[1] + row % self.chunk[1];
            fill(line * self.chunk[2] + columns.start % self.chunk[2], &mut into[targets.clone()]);
        }
    }

    /// A sentence about a chunk.
    fn named(&self, origin: &[hsize_t], what: &str) -> String {
        let place: Vec<String> = origin.iter().map(u64::to_string).collect();
        format!("the chunk that begins at ({}) {what}", place.join(", "))
    }
}

/// Bytes that unpacking takes where chunks are larger than what is selected of them: as stored, and by every row of chunks one that
/// is unpacked and one between two filters; 0 where chunks are smaller, and take little beside the matrix.
pub(super) fn unpacking(dataset: &hdf5::Dataset, frames: &Range<usize>) -> usize {
    let Some(chunk) = dataset.chunk() else { return 0 };
    let value = dataset.dtype().map_or(size_of::<f64>(), |stored| stored.size());
    let bytes = chunk.iter().fold(value, |bytes, &side| bytes.saturating_mul(side));
    let &[.., rows, columns] = &chunk[..] else { return 0 };
    if bytes <= frames.len().saturating_mul(frames.len()).saturating_mul(size_of::<f32>()) {
        return 0;
    }
    let runs = |side: usize| (frames.end - 1) / side.max(1) - frames.start / side.max(1) + 1;
    let file_size = dataset.file().map_or(usize::MAX, |file| file.size() as usize);
    let stored = bytes.saturating_mul(runs(rows) * runs(columns)).min(file_size);
    bytes.saturating_mul(2 * runs(rows)).saturating_add(stored)
}

#[cfg(test)]
mod tests;
