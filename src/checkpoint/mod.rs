//! Checkpoints: what of a run is kept so that a killed one goes on where it was, and who may write into a folder.
//!
//! | file | holds |
//! | --- | --- |
//! | `format` | [`Checkpoint`] and the HDF5 file that it becomes |
//! | `image` | the bytes of an HDF5 file in memory |
//! | `seal` | the digest of a whole file, checked before libhdf5 sees it |
//! | `store` | a folder of checkpoints: atomic saving, the last few, the newest that verifies |
//! | `saver` | saving in a thread of its own |
//! | `lock` | one job to a folder, and what becomes of the lock of a dead one |
//!
//! In the order of a run:
//!
//! 1. [`FolderLock::take`] on the output and the checkpoint folder,
//! 2. [`Store::open`], [`Store::newest_valid`] to go on from,
//! 3. [`Saver::new`]; [`Saver::submit`] now and then, [`Saver::wait`] before the run ends.
//!
//! Nothing here knows what a state means, talks MPI or handles signals. One rank, the first, does all of it.

mod format;
mod image;
mod lock;
mod saver;
mod seal;
mod store;

pub use format::{Checkpoint, FORMAT_VERSION, Problem, Stored, load};
pub use lock::{FolderLock, Purpose};
pub use saver::{Saver, Statistics};
pub use store::{Entry, Newest, Saved, Store, list};
