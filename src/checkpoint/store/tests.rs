//! What stays on the disk, and what is found on it.

use super::super::{FORMAT_VERSION, format::tests::sample, seal};
use super::*;
use serde_json::json;

fn numbers(folder: &Path) -> Vec<u64> {
    list(folder).unwrap().iter().map(|entry| entry.sequence).collect()
}

/// Names of all that is in a folder.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Saves `n` checkpoints with progress 1 to n.
fn filled(folder: &Path, keep: usize, n: u64) -> Store {
    let store = Store::open(folder, keep).unwrap();
    for k in 1..=n {
        store.save(&Checkpoint { progress: json!(k), ..sample(100) }).unwrap();
    }
    store
}

#[track_caller]
fn assert_newest(store: &Store, progress: u64, passed_over: usize) {
    let newest = store.newest_valid().unwrap();
    assert_eq!(newest.found.unwrap().1.checkpoint.progress, json!(progress));
    assert_eq!(newest.passed_over.len(), passed_over, "{:?}", newest.passed_over);
}

#[test]
fn the_last_few_stay() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("a/b");
    let store = filled(&folder, 3, 5);
    assert_eq!(names(&folder), ["checkpoint-000003.h5", "checkpoint-000004.h5", "checkpoint-000005.h5"]);
    assert_newest(&store, 5, 0);
    // one at least
    let store = Store::open(&folder, 0).unwrap();
    let saved = store.save(&sample(100)).unwrap();
    assert_eq!(names(&folder), ["checkpoint-000006.h5"]);
    assert_eq!(saved.path, folder.join("checkpoint-000006.h5"));
    assert_eq!(saved.bytes, fs::metadata(&saved.path).unwrap().len());
    assert_eq!(store.folder(), folder);
}

#[test]
fn other_files_are_left_alone() {
    let scratch = tempfile::tempdir().unwrap();
    let others =
        ["checkpoint-1.h5", "checkpoint-000001.h5.bak", "checkpoint-00000a.h5", "checkpoint-99999999999999999999.h5"];
    for name in others.iter().chain(&["results.h5", ".homodyne-x.part", ".checkpoint-x.part"]) {
        fs::write(scratch.path().join(name), "x").unwrap();
    }
    let store = filled(scratch.path(), 1, 2);
    assert_eq!(numbers(scratch.path()), [2]);
    let left = names(scratch.path());
    assert!(others.iter().all(|name| left.iter().any(|l| l == name)), "{left:?}");
    // a temporary file of another make; the one of a killed run is gone
    assert!(left.contains(&".homodyne-x.part".to_owned()) && !left.contains(&".checkpoint-x.part".to_owned()));
    assert_newest(&store, 2, 0);
}

#[test]
fn an_empty_folder_has_none_and_one_that_is_not_there_is_an_error() {
    let scratch = tempfile::tempdir().unwrap();
    let store = Store::open(scratch.path(), 2).unwrap();
    let newest = store.newest_valid().unwrap();
    assert!(newest.found.is_none() && newest.passed_over.is_empty());
    let error = list(&scratch.path().join("nowhere")).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
}

#[test]
fn numbers_go_on_past_damaged_files() {
    let scratch = tempfile::tempdir().unwrap();
    let store = filled(scratch.path(), 2, 2);
    fs::write(scratch.path().join("checkpoint-000007.h5"), "torn").unwrap();
    assert_newest(&store, 2, 1);
    fs::write(scratch.path().join("checkpoint-000003.h5"), "torn").unwrap();
    let saved = store.save(&Checkpoint { progress: json!(3), ..sample(100) }).unwrap();
    assert_eq!(saved.path, scratch.path().join("checkpoint-000004.h5"));
    assert_newest(&store, 3, 1);
    assert_eq!(numbers(scratch.path()), [3, 4, 7]);
}

#[test]
fn no_name_hides_a_checkpoint_that_is_saved_later() {
    let scratch = tempfile::tempdir().unwrap();
    let store = filled(scratch.path(), 2, 2);
    let at = |number: u64| scratch.path().join(format!("checkpoint-{number:06}.h5"));
    // junk, a checkpoint under another name, one that was forged with all the rest right
    fs::write(at(999_999_999_999_999), "junk").unwrap();
    fs::copy(at(1), at(999_999_999_999)).unwrap();
    for (progress, number) in [(3, 3), (4, 4), (5, 5)] {
        store.save(&Checkpoint { progress: json!(progress), ..sample(100) }).unwrap();
        assert_newest(&store, progress, 2);
        assert!(at(number).exists());
    }
    fs::write(at(1 << 60), format::to_bytes(&sample(100), 1 << 60).unwrap()).unwrap();
    store.save(&Checkpoint { progress: json!(6), ..sample(100) }).unwrap();
    assert_newest(&store, 6, 0);
    fs::write(at(u64::MAX), format::to_bytes(&sample(100), u64::MAX).unwrap()).unwrap();
    let error = store.save(&sample(100)).unwrap_err().to_string();
    assert!(error.contains("18446744073709551615") && error.contains("remove"), "{error}");
}

#[test]
fn a_folder_that_went_away_is_made_again() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("checkpoints");
    let store = filled(&folder, 2, 1);
    fs::remove_dir_all(&folder).unwrap();
    store.save(&sample(100)).unwrap();
    assert_eq!(numbers(&folder), [1]);
}

#[test]
fn a_newer_format_is_refused_and_a_damaged_one_of_it_passed_over() {
    let scratch = tempfile::tempdir().unwrap();
    let store = filled(scratch.path(), 5, 2);
    let path = scratch.path().join("checkpoint-000002.h5");
    let mut bytes = seal::seal(b"of another make".to_vec(), FORMAT_VERSION + 1);
    fs::write(&path, &bytes).unwrap();
    let error = store.newest_valid().unwrap_err();
    assert!(error.to_string().contains("checkpoint-000002.h5") && error.to_string().contains("format 2"), "{error}");
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_newest(&store, 1, 1);
}

#[test]
fn wherever_a_file_is_damaged_the_one_before_is_taken() {
    let scratch = tempfile::tempdir().unwrap();
    let store = filled(scratch.path(), 2, 2);
    let path = scratch.path().join("checkpoint-000002.h5");
    let good = fs::read(&path).unwrap();
    let is_passed_over = |bytes: &[u8], how: &str| {
        fs::write(&path, bytes).unwrap();
        let newest = store.newest_valid().unwrap();
        assert_eq!(newest.found.unwrap().1.checkpoint.progress, json!(1), "{how}");
        let [(name, Problem::Damaged(_))] = &newest.passed_over[..] else { panic!("{how}: {:?}", newest.passed_over) };
        assert_eq!(*name, path);
    };
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 1 << (at % 8);
        is_passed_over(&bytes, &format!("byte {at} flipped"));
    }
    for k in 0..50 {
        let length = good.len() * k / 50;
        is_passed_over(&good[..length], &format!("cut to {length} bytes"));
    }
    // a block that never reached the disk
    for block in 0..good.len().div_ceil(512) {
        let mut bytes = good.clone();
        let end = good.len().min((block + 1) * 512);
        bytes[block * 512..end].fill(0);
        if bytes != good {
            is_passed_over(&bytes, &format!("block {block} zeroed"));
        }
    }
    fs::write(&path, &good).unwrap();
    assert_newest(&store, 2, 0);
}

/// Figures for a checkpoint of 36 angles: `cargo test --release --workspace --lib checkpoint -- --ignored --nocapture`.
#[test]
#[ignore = "a timing, for docs/validation.md"]
fn how_long_a_save_takes() {
    let checkpoint = sample(6_000_000);
    for (what, folder) in [("disk", concat!(env!("CARGO_MANIFEST_DIR"), "/..")), ("memory", "/dev/shm")] {
        let scratch = tempfile::tempdir_in(folder).unwrap();
        let store = Store::open(scratch.path(), 3).unwrap();
        let mut seconds: Vec<f64> = (0..20).map(|_| store.save(&checkpoint).unwrap().seconds).collect();
        seconds.sort_by(f64::total_cmp);
        let start = Instant::now();
        store.newest_valid().unwrap().found.unwrap();
        println!(
            "6 MB to {what}: median {:.1} ms, longest {:.1} ms; read and verified in {:.1} ms",
            1e3 * seconds[10],
            1e3 * seconds[19],
            1e3 * start.elapsed().as_secs_f64()
        );
        assert!(seconds[10] < 2.0, "a save takes {} s", seconds[10]);
    }
}
