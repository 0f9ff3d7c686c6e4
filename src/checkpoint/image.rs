//! The bytes of an HDF5 file that is in memory only.

use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use hdf5_sys::h5f::H5Fget_file_image;

/// A new file that is nowhere but in memory.
pub(super) fn new_file() -> hdf5::Result<hdf5::File> {
    // the library wants a name, and takes files of one name for one file
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    let name = format!("homodyne-mpi checkpoint in memory {}", NUMBER.fetch_add(1, Ordering::Relaxed));
    hdf5::File::with_options().with_fapl(|p| p.core_filebacked(false)).create(name)
}

/// All bytes that the file would have on a disk.
pub(super) fn bytes_of(file: &hdf5::File) -> hdf5::Result<Vec<u8>> {
    file.flush()?;
    hdf5::sync::sync(|| {
        // SAFETY: the identifier is that of an open file; without a buffer the library only says how long it must be.
        let length = hdf5::h5check(unsafe { H5Fget_file_image(file.id(), ptr::null_mut(), 0) })? as usize;
        let mut bytes = vec![0_u8; length];
        // SAFETY: as above, and the library writes at most `length` bytes; its lock has been held since.
        hdf5::h5check(unsafe { H5Fget_file_image(file.id(), bytes.as_mut_ptr().cast(), length) })?;
        Ok(bytes)
    })
}
