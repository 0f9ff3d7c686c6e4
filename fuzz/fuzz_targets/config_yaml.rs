//! Any bytes as a configuration file: reading and `config check`.

#![no_main]

use homodyne_mpi::config::{Overrides, examine, load};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if std::io::Write::write_all(&mut file, bytes).is_ok() {
        let _ = load(file.path(), &Overrides::default());
        let _ = examine(file.path());
    }
});
