//! Any bytes as an NPZ file: opening it, and reading every matrix that it promises.

#![no_main]

use homodyne_mpi::dataset::{Dataset, Layout, Selection, TwoTime};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut file) = tempfile::NamedTempFile::new() else { return };
    if std::io::Write::write_all(&mut file, bytes).is_err() {
        return;
    }
    let selection = Selection { layout: Some(Layout::Npz), ..Selection::default() };
    if let Ok(dataset) = Dataset::open_for_inspection(file.path(), &selection) {
        let mut matrix = TwoTime::default();
        for k in 0..dataset.selected.len() {
            let _ = dataset.read(k, &mut matrix);
        }
    }
});
