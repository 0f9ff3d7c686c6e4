//! Any bytes as an HDF5 file: everything that is read of it before the matrices. Crashes inside libhdf5 are that
//! library's; those in this crate are ours.

#![no_main]

use homodyne_mpi::dataset::{Dataset, Selection};
use libfuzzer_sys::fuzz_target;

/// First bytes of every HDF5 file; without them a search ends at once.
const SIGNATURE: &[u8] = b"\x89HDF\r\n\x1a\n";

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    let write = |file: &mut tempfile::NamedTempFile, bytes: &[u8]| std::io::Write::write_all(file, bytes).is_ok();
    let complete = bytes.starts_with(SIGNATURE) || write(&mut file, SIGNATURE);
    if complete && write(&mut file, bytes) {
        let _ = Dataset::open_for_inspection(file.path(), &Selection::default());
    }
});
