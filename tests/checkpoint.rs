//! Checkpoints as others see them: the commands, other readers of HDF5, full disks, killed owners of locks.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::common::disk::unshare;
use crate::common::python;
use crate::common::{alone, alone_with_files, json, other, scratch, tree};
use homodyne_mpi::checkpoint::{Checkpoint, FolderLock, Purpose, Saver, Store, load};
use serde_json::json;

fn sample(iteration: u64) -> Checkpoint {
    Checkpoint {
        kind: "search".to_owned(),
        state: (0..3000).map(|k| (k % 256) as u8).collect(),
        configuration: json!({"optimization": {"method": "nlsq"}, "note": "φ"}),
        identity: json!({"data": {"path": "scan7.hdf", "size": 1_234_567}}),
        progress: json!({"elapsed_seconds": 61.0, "level": 2, "iteration": iteration, "chi_squared": 0.1 + 0.2,
                         "passes": 40, "strategy": "STREAMING", "ranks": 4}),
    }
}

/// A folder `checkpoints` with so many.
fn filled(folder: &Path, n: u64) -> Vec<PathBuf> {
    let store = Store::open(&folder.join("checkpoints"), 10).unwrap();
    // nothing of it may be open when a process is started
    alone_with_files(|| (1..=n).map(|k| store.save(&sample(k)).unwrap().path).collect())
}

fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn list_shows_how_far_each_was_and_what_is_damaged() {
    let folder = scratch();
    let list = |more: &[&str]| alone(folder.path(), &[&["checkpoint", "list"], more].concat());
    list(&[]).outcome().assert_error(3, &["homodyne_results/checkpoints", "no such folder"]);
    let files = filled(folder.path(), 3);
    damage(&files[1]);
    let before = tree(folder.path());
    let outcome = list(&["checkpoints"]).success();
    let line = |part: &str| outcome.stdout.lines().find(|l| l.contains(part)).unwrap_or_else(|| panic!("{outcome}"));
    for part in ["61 s", "  2  ", "  3  ", "3.000000e-1", "40", "STREAMING", "  4", "KiB"] {
        assert!(line("checkpoint-000003.h5").contains(part), "{part}: {outcome}");
    }
    assert!(line("checkpoint-000002.h5").contains("damaged"), "{outcome}");
    assert!(tree(folder.path()) == before);

    list(&["checkpoints", "--json", "list.json"]).success();
    let listed = json(&folder.path().join("list.json"));
    let of = |k: usize, key: &str| listed["checkpoints"][k][key].clone();
    assert_eq!((of(0, "valid"), of(1, "valid"), of(2, "valid")), (json!(true), json!(false), json!(true)));
    assert_eq!((of(2, "progress"), of(2, "identity")), (sample(3).progress, sample(3).identity));
    assert!(of(1, "problem").as_str().unwrap().contains("damaged"), "{listed}");

    fs::create_dir(folder.path().join("empty")).unwrap();
    assert!(list(&["empty"]).success().stdout.contains("no checkpoints in empty"));
}

#[test]
fn verify_says_which_are_whole() {
    let folder = scratch();
    let verify = |path: &str| alone(folder.path(), &["checkpoint", "verify", path]);
    let files = filled(folder.path(), 3);
    let outcome = verify("checkpoints").success();
    assert_eq!(outcome.stdout.matches(": valid").count(), 3, "{outcome}");
    let outcome = verify("checkpoints/checkpoint-000002.h5").success();
    assert!(outcome.stdout.contains("checkpoint-000002.h5: valid"), "{outcome}");

    damage(&files[1]);
    verify("checkpoints/checkpoint-000002.h5").outcome().assert_error(3, &["checkpoint-000002.h5", "damaged"]);
    let outcome = verify("checkpoints").outcome();
    outcome.assert_error(3, &["checkpoint-000002.h5", "damaged"]);
    assert!(outcome.stdout.contains("checkpoint-000003.h5: valid"), "{outcome}");
    assert!(alone(folder.path(), &["checkpoint", "verify", "-q", "checkpoints"]).outcome().stdout.is_empty());

    fs::write(folder.path().join("notes.h5"), "no checkpoint").unwrap();
    verify("notes.h5").outcome().assert_error(3, &["notes.h5", "no checkpoint"]);
    verify("nowhere.h5").outcome().assert_error(3, &["nowhere.h5", "no such checkpoint"]);
    fs::create_dir(folder.path().join("empty")).unwrap();
    verify("empty").outcome().assert_error(3, &["empty", "no checkpoints"]);
}

#[test]
fn other_readers_of_hdf5_open_them() {
    let folder = scratch();
    let path = filled(folder.path(), 1).remove(0);
    let name = path.to_str().unwrap();
    let mut dump = Command::new("h5dump");
    dump.args(["-d", "/progress", name]);
    let dumped = other(folder.path(), dump).success();
    assert!(dumped.stdout.contains("STREAMING"), "{dumped}");

    let Some(interpreter) = python::with("h5py, numpy") else { return };
    const SCRIPT: &str = r#"
import h5py, json, sys
with h5py.File(sys.argv[1], "r") as f:
    assert f.attrs["format"] == "homodyne-mpi checkpoint" and f.attrs["format_version"] == 1, dict(f.attrs)
    state = f["state"]
    assert state.dtype == "u1" and state.attrs["kind"] == "search"
    assert (state[:] == [k % 256 for k in range(3000)]).all()
    text = {name: json.loads(f[name][()]) for name in ("configuration", "identity", "progress")}
assert text["configuration"]["note"] == "\u03c6"
assert text["identity"]["data"]["size"] == 1234567
assert text["progress"]["chi_squared"] == 0.1 + 0.2
"#;
    let mut command = Command::new(interpreter);
    command.args(["-c", SCRIPT, name]);
    other(folder.path(), command).success();
    // looking doesn't change it
    assert_eq!(load(&path).unwrap().checkpoint, sample(1));
}

/// A small disk, mounted in a process of its own: this test program again, with the test that is to run on it.
fn on_small_disk(folder: &Path, kilobytes: usize, test: &str) -> bool {
    let Some(unshare) = unshare() else { return false };
    fs::create_dir(folder.join("disk")).unwrap();
    let script = format!("mount -t tmpfs -o size={kilobytes}k tmpfs disk && exec \"$@\"");
    let mut command = Command::new("unshare");
    command.args(unshare).args(["sh", "-c", &script, "sh"]).arg(std::env::current_exe().unwrap());
    command
        .args([&format!("checkpoint::{test}"), "--exact", "--ignored", "--nocapture"])
        .env("SMALL_DISK", folder.join("disk"));
    let outcome = other(folder, command).success();
    assert!(outcome.stdout.contains("1 passed"), "{outcome}");
    true
}

#[test]
fn a_full_disk_costs_the_new_checkpoint_only() {
    let folder = scratch();
    on_small_disk(folder.path(), 100, "on_a_disk_of_100_kb");
}

/// What `a_full_disk_costs_the_new_checkpoint_only` runs on its disk.
#[test]
#[ignore = "runs on a disk of its own"]
fn on_a_disk_of_100_kb() {
    let Some(disk) = std::env::var_os("SMALL_DISK").map(PathBuf::from) else { return };
    let folder = disk.join("checkpoints");
    let lock = FolderLock::take(&folder, Purpose::Checkpoints).unwrap();
    let open = || Store::open(&folder, 2).unwrap();
    let saver = Saver::new(open()).unwrap();
    saver.submit(sample(1));
    let first = saver.wait().unwrap().unwrap().path;
    fs::write(disk.join("ballast"), vec![1; 60_000]).unwrap();
    let large = |k: u64| Checkpoint { state: vec![k as u8; 30_000], ..sample(k) };
    for k in 2..5 {
        let before = tree(&folder);
        saver.submit(large(k));
        let error = saver.wait().unwrap().unwrap_err();
        assert!(error.exit_code() == 5 && error.to_string().contains("No space left"), "{error}");
        // nothing half written, nothing removed
        assert!(tree(&folder) == before, "{:?}", tree(&folder).keys());
        assert_eq!(open().newest_valid().unwrap().found.unwrap().0, first);
    }
    assert_eq!(saver.statistics().failures.len(), 3);
    lock.refresh().unwrap();
    fs::remove_file(disk.join("ballast")).unwrap();
    saver.submit(large(5));
    assert!(saver.wait().unwrap().is_ok());
    let newest = open().newest_valid().unwrap();
    assert_eq!(newest.found.unwrap().1.checkpoint, large(5));
}

#[test]
fn a_lock_of_a_killed_process_is_taken_over() {
    let folder = scratch();
    // this test program again, holding the lock until it is killed
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["checkpoint::hold_a_lock", "--exact", "--ignored", "--nocapture"]).env("LOCKED", folder.path());
    let mut owner = alone_with_files(|| command.stdout(Stdio::null()).spawn().unwrap());
    let held = folder.path().join("held");
    let start = std::time::Instant::now();
    while !held.exists() {
        assert!(start.elapsed().as_secs() < 60, "no lock was taken");
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let error = FolderLock::take(folder.path(), Purpose::Results).unwrap_err();
    let text = error.to_string();
    assert!(error.exit_code() == 5 && text.contains(&format!("process {} on", owner.id())), "{text}");
    assert!(text.contains("--output-dir") && !text.contains("try again"), "{text}");
    owner.kill().unwrap();
    owner.wait().unwrap();
    drop(FolderLock::take(folder.path(), Purpose::Results).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

/// What `a_lock_of_a_killed_process_is_taken_over` starts and kills.
#[test]
#[ignore = "waits to be killed"]
fn hold_a_lock() {
    let Some(folder) = std::env::var_os("LOCKED").map(PathBuf::from) else { return };
    let _lock = FolderLock::take(&folder, Purpose::Results).unwrap();
    fs::write(folder.join("held"), "").unwrap();
    std::thread::sleep(std::time::Duration::from_secs(100));
}
