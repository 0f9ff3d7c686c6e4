//! Result files of APS 8-ID-I as MATLAB wrote them: those of [`super::aps_old`] with matrices named C2T_00001 ….
//!
//! The number is the bin. MATLAB saved `triu(C)` column by column, so that a reader of rows finds the lower half; which half
//! holds data is found from the data.

use super::aps_old::{self, Naming};
use super::hdf::Source;
use super::selection::Found;
use crate::Result;

/// How matrices are named.
const NAMING: Naming<'static> = Naming { prefix: "C2T_", first: "C2T_00001" };

/// Reads and checks all metadata. `exchange_key` is the configured group of the results.
pub(super) fn find(source: Source, exchange_key: Option<&str>) -> Result<Found> {
    aps_old::find_named(source, exchange_key, NAMING)
}

/// Whether matrices of this era are there.
pub(super) fn is_there(source: Source, exchange_key: Option<&str>) -> bool {
    aps_old::holds(source, exchange_key, NAMING)
}
