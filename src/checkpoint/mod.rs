//! Checkpoints: what of a run is kept so that a killed one goes on where it was, and who may write into a folder.
//!
//! | file | holds |
//! | --- | --- |
//! | `format` | [`Checkpoint`] and the HDF5 file that it becomes |
//! | `image` | the bytes of an HDF5 file in memory |
//! | `seal` | the digest of a whole file, checked before anything in it is believed |
//! | `store` | a folder of checkpoints: atomic saving, the last few, the newest that verifies |
//! | `saver` | saving in a thread of its own |
//! | `identity` | what must be the same for a run to go on from one |
//! | `journal` | the state of a fit, and an objective that writes it down and gives it back |
//! | `lock` | one job to a folder, and what becomes of the lock of a dead one |
//!
//! In the order of a run:
//!
//! 1. [`FolderLock::take`] on the output and the checkpoint folder,
//! 2. [`Store::open`], [`Store::newest_valid`] to go on from,
//! 3. [`Saver::new`]; [`Saver::submit`] now and then, [`Saver::wait`] before the run ends.
//!
//! Nothing here talks MPI or handles signals, and the store knows nothing of what a state means. One rank, the first, does
//! all of it.

mod format;
mod identity;
mod image;
mod journal;
mod lock;
mod saver;
mod seal;
mod store;

pub use format::{Checkpoint, FORMAT_VERSION, Problem, Stored, load};
pub use identity::{differences, identity};
pub use journal::{Care, Journal, Recorded, State};
pub use lock::{FolderLock, Purpose};
pub use saver::{Saver, Statistics};
pub use store::{Entry, Newest, Saved, Store, list};
