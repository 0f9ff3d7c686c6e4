//! Files in which something is broken that libhdf5 can't cope with.

use std::fs;
use std::time::Duration;

use crate::common::files::ApsU;
use crate::common::{alone, scratch, with_ranks};

/// An APS-U file whose global heap, where names of its map are, has free space of no size: libhdf5 1.10 steps over it by that
/// size for ever.
#[test]
fn a_file_that_keeps_the_library_busy_is_named_in_the_end() {
    let folder = scratch();
    let folder = folder.path();
    let file = folder.join("data.hdf");
    ApsU::default().write(&file);
    let mut bytes = fs::read(&file).unwrap();
    let heap = bytes.windows(4).position(|four| four == b"GCOL").unwrap();
    let number = |at: usize, n: usize| (0..n).rev().fold(0, |all, k| all << 8 | usize::from(bytes[at + k]));
    let mut object = heap + 16;
    while number(object, 2) != 0 {
        object += 16 + number(object + 8, 8).next_multiple_of(8);
    }
    bytes[object + 8..object + 16].fill(0);
    fs::write(&file, bytes).unwrap();
    fs::write(folder.join("config.yaml"), crate::common::files::static_config("data.hdf")).unwrap();
    let inspected = alone(folder, &["inspect", "data.hdf"]).env("HOMODYNE_OPENING_S", "1").outcome();
    let fitted = with_ranks(2, folder, &["--config", "config.yaml"]).env("HOMODYNE_OPENING_S", "1").outcome();
    assert!(inspected.took.max(fitted.took) < Duration::from_secs(20), "{fitted}");
    // newer ones may see what is wrong
    if hdf5::library_version() < (1, 14, 0) {
        inspected.assert_error(3, &["data.hdf", "for 1 s", "h5dump"]);
        fitted.assert_error(3, &["data.hdf", "for 1 s"]);
    }
}
