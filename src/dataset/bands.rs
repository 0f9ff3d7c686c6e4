//! Reading a part of a dataset row by row in the digits it is stored with, a band of rows at a time.
//!
//! For parts that the library can't read into memory that is there already, and for matrices whose rows lie apart from each other, run
//! backwards or must be computed with before they are rounded. A band is of [`BAND`] bytes, or of one row of chunks where that is more, so that
//! no chunk is unpacked twice.

use std::ops::Range;

use hdf5::Hyperslab;
use ndarray::Array2;

use crate::buffers;
use crate::error::hdf5_reason as reason;

/// Bytes read at a time.
pub(super) const BAND: usize = 16 << 20;

/// Calls `take` with the number of every row in `rows` and its values; `part` selects a band of rows, of `columns` values
/// each, of a dataset along whose dimension `axis` rows are counted.
///
/// The error is what is wrong with the data, without file and path.
pub(super) fn read_rows<T: hdf5::H5Type + Clone>(
    dataset: &hdf5::Dataset,
    axis: usize,
    rows: Range<usize>,
    columns: usize,
    part: impl Fn(Range<usize>) -> Hyperslab,
    mut take: impl FnMut(usize, &[T]) -> Result<(), String>,
) -> Result<(), String> {
    let chunk = dataset.chunk().map_or(1, |chunk| chunk[axis].max(1));
    let fitting = (BAND / (size_of::<T>() * columns.max(1))).max(1);
    let height = fitting.next_multiple_of(chunk);
    let mut start = rows.start;
    while start < rows.end {
        // bands end where chunks do
        let end = ((start / chunk) * chunk + height).min(rows.end);
        let bytes = (end - start) * columns * size_of::<T>();
        if !buffers::fits(bytes) {
            return Err(format!("{} of its rows take {bytes} bytes, for which there is no memory", end - start));
        }
        let band: Array2<T> = dataset.read_slice(part(start..end)).map_err(reason)?;
        let values = band.as_standard_layout();
        for (row, values) in (start..end).zip(values.rows()) {
            take(row, values.as_slice().unwrap_or(&[]))?;
        }
        start = end;
    }
    Ok(())
}
