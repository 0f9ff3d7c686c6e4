//! What a dataset has no storage for, and what stands there instead.
//!
//! HDF5 allocates chunks when they are written, and reads the fill value where none is: a correlator that ended early leaves a
//! file that reads without an error.

use std::ops::Range;

use hdf5::plist::dataset_create::Layout;
use hdf5_sys::h5::{HADDR_UNDEF, herr_t, hsize_t};
use hdf5_sys::h5d::H5Dget_chunk_info_by_coord;
use hdf5_sys::h5i::hid_t;

use super::TwoTime;

/// What HDF5 says, of all versions, where a chunk was never written.
const NOT_WRITTEN: &str = "chunk storage is not allocated";
/// Chunks of a dataset without filters up to which they are looked up, each of which takes as long as the index is; beyond, what was
/// never written is known by its fill value only.
const MOST_PLAIN: usize = 4096;
/// What is wrong with a matrix without storage.
pub(super) const NOTHING: &str =
    "it was never written: the file holds no storage for it; phi_filtering.target_ranges can leave its φ out";

unsafe extern "C" {
    /// Stored bytes of a chunk, found by its place in the index; not among the bindings. Where a dataset has no filters it is
    /// the size that the chunk should have, whatever the index says.
    fn H5Dget_chunk_storage_size(dataset: hid_t, origin: *const hsize_t, bytes: *mut hsize_t) -> herr_t;
}

/// What a dimension of a dataset counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Frames of t1.
    Rows,
    /// Frames of t2.
    Columns,
    /// Matrices or sets of them, of which this one is read.
    At(usize),
}

impl Side {
    /// Those of a matrix of its own, or of matrix `index` of a stack (K, N, N).
    pub fn of_stack(index: Option<usize>) -> Vec<Self> {
        index.map(Self::At).into_iter().chain([Self::Rows, Self::Columns]).collect()
    }
}

/// Whether the file holds storage for anything of a dataset. Of chunks the library walks along all of the index.
pub(super) fn is_written(dataset: &hdf5::Dataset) -> bool {
    let Ok(creation) = dataset.dcpl() else { return true };
    let is_here =
        matches!(creation.get_layout(), Ok(Layout::Contiguous | Layout::Chunked)) && creation.external().is_empty();
    let holds_any = !dataset.shape().contains(&0) && dataset.space().is_ok_and(|space| !space.is_null());
    !is_here || !holds_any || dataset.storage_size() > 0
}

/// Notes in a matrix, before it is read, what the dataset holds no storage for of these rows and columns, counted from the first
/// of them, and what stands there instead. `sides` are the dataset's dimensions.
///
/// The error is that the dataset has no storage at all, without file and path.
pub(super) fn note(
    dataset: &hdf5::Dataset,
    sides: &[Side],
    rows: &Range<usize>,
    columns: &Range<usize>,
    into: &mut TwoTime,
) -> Result<(), String> {
    into.unwritten.clear();
    into.fill = 0.0;
    let Ok(creation) = dataset.dcpl() else { return Ok(()) };
    let layout = creation.get_layout().unwrap_or(Layout::Chunked);
    if let Ok(Some(fill)) = creation.get_fill_value_as::<f32>() {
        into.fill = fill;
    }
    if layout == Layout::Contiguous && !is_written(dataset) {
        return Err(NOTHING.into());
    }
    let (Layout::Chunked, Some(chunk)) = (layout, dataset.chunk()) else { return Ok(()) };
    let side = |which: Side| sides.iter().position(|&side| side == which).unwrap_or(0);
    let (row_side, column_side) = (side(Side::Rows), side(Side::Columns));
    let runs = |of: &Range<usize>, side: usize| of.start / chunk[side]..(of.end - 1) / chunk[side] + 1;
    let shared = |of: &Range<usize>, side: usize, run: usize| {
        let shared = overlap(of, run, chunk[side]);
        shared.start - of.start..shared.end - of.start
    };
    let is_filtered = creation.get_filters().is_ok_and(|filters| !filters.is_empty());
    if !is_filtered {
        let all =
            dataset.shape().iter().zip(&chunk).fold(1, |all: usize, (n, side)| all.saturating_mul(n.div_ceil(*side)));
        let bytes =
            chunk.iter().fold(dataset.dtype().map_or(1, |stored| stored.size()), |all, &side| all.saturating_mul(side));
        if all > MOST_PLAIN || dataset.storage_size() >= (all as u64).saturating_mul(bytes as u64) {
            return Ok(());
        }
    }
    for row in runs(rows, row_side) {
        for column in runs(columns, column_side) {
            let place = |(side, of): (usize, &Side)| match of {
                Side::At(k) => k - k % chunk[side],
                Side::Rows => row * chunk[side],
                Side::Columns => column * chunk[side],
            };
            let origin: Vec<hsize_t> = sides.iter().enumerate().map(|side| place(side) as hsize_t).collect();
            // what can't be looked up can't be read either, which says more
            if matches!(hdf5::sync::sync(|| stored_size(dataset, &origin, is_filtered)), Ok(None)) {
                into.unwritten.push((shared(rows, row_side, row), shared(columns, column_side, column)));
            }
        }
    }
    let n_chunks = runs(rows, row_side).len() * runs(columns, column_side).len();
    if into.unwritten.len() == n_chunks { Err(NOTHING.into()) } else { Ok(()) }
}

/// Frames that the `number`-th run of `side` frames shares with the selected ones.
pub(super) fn overlap(frames: &Range<usize>, number: usize, side: usize) -> Range<usize> {
    frames.start.max(number * side)..frames.end.min((number + 1) * side)
}

/// Stored bytes of the chunk that begins at `origin`, one entry per dimension; `None` where it was never written. To be called
/// under the library's lock. Without filters it takes as long as the index is.
pub(super) fn stored_size(dataset: &hdf5::Dataset, origin: &[hsize_t], is_filtered: bool) -> hdf5::Result<Option<u64>> {
    // the slow way tells a damaged index from whatever another version says
    if is_filtered && let Some(size) = by_index(dataset, origin) {
        return Ok(size);
    }
    // what the index says is what is read, whatever a chunk without filters should have
    let (mut mask, mut address, mut size) = (0, HADDR_UNDEF, 0);
    // SAFETY: as in `by_index`, with places for one number each
    let status =
        unsafe { H5Dget_chunk_info_by_coord(dataset.id(), origin.as_ptr(), &mut mask, &mut address, &mut size) };
    hdf5::h5check(status)?;
    Ok((address != HADDR_UNDEF && size > 0).then_some(size))
}

/// The same without a walk along the index, of a dataset with filters; `None` where the library says something else.
pub(super) fn by_index(dataset: &hdf5::Dataset, origin: &[hsize_t]) -> Option<Option<u64>> {
    let mut size = 0;
    // SAFETY: the identifier is that of an open dataset, `origin` has one entry per dimension of it, and there is a place for one
    // number. The library's lock is held.
    let status = unsafe { H5Dget_chunk_storage_size(dataset.id(), origin.as_ptr(), &mut size) };
    match hdf5::h5check(status) {
        Ok(_) => Some((size > 0).then_some(size)),
        Err(error) => error.to_string().contains(NOT_WRITTEN).then_some(None),
    }
}
