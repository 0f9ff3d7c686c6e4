//! Damaged HDF5 files can keep libhdf5 busy for ever, and a call into it can't be ended. So somebody watches the clock while
//! a file is opened, and ends the process in its stead.

use std::io::Write;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use crate::Error;

/// Time in which the metadata of any file can be read, however slow the disk. For tests `HOMODYNE_OPENING_S` sets it.
const LIMIT: Duration = Duration::from_secs(600);

/// Watches until it is dropped.
pub(super) struct Patience {
    // its end tells the watching thread that all is well
    _alive: SyncSender<()>,
}

impl Patience {
    /// From now on. Without a thread to be had nobody watches.
    pub fn with(file: &Path) -> Self {
        let asked = std::env::var("HOMODYNE_OPENING_S").ok().and_then(|text| text.parse().ok());
        let limit = asked.map_or(LIMIT, Duration::from_secs);
        let message = format!(
            "its metadata can't be read: libhdf5 has been at it for {} s; the file is probably damaged, see `h5dump -n {}`",
            limit.as_secs(),
            file.display()
        );
        let error = Error::data(file, message);
        let (alive, ended) = sync_channel(0);
        let watch = move || {
            if ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
                let _ = std::io::stderr().write_all(format!("error: {error}\n").as_bytes());
                // at once: what cleans up at the usual end would wait for libhdf5. Launchers end the other ranks.
                signal_hook::low_level::exit(error.exit_code().into());
            }
        };
        let _ = std::thread::Builder::new().name("patience".to_owned()).spawn(watch);
        Self { _alive: alive }
    }
}
