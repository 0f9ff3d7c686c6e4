//! Folders in which others may write, and files that they put there: whatever they do, nothing of a user's is written over,
//! and no run hangs, takes all memory or ends without a word.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use homodyne_mpi::checkpoint::{Checkpoint, Store};
use nix::unistd::{Gid, Uid, setfsgid, setfsuid};
use serde_json::json;

use crate::common::files::Sample;
use crate::common::{PROGRAM, alone, alone_with_files, other, scratch};

/// Two users who are nobody in particular.
const VICTIM: u32 = 54_321;
const OTHER: u32 = 54_322;
/// How long a command may take that ends at once; a FIFO keeps its reader for ever.
const AT_ONCE: Duration = Duration::from_secs(20);
/// Where a fit keeps its checkpoints without a word about it.
const CHECKPOINTS: &str = "homodyne_results/checkpoints";

/// What another user does to a folder: every temporary file and lock that appears becomes a link to a file of the victim's.
fn race(folders: &[PathBuf], secret: &Path, end: &AtomicBool, exchanged: &AtomicUsize) {
    // the rights of this thread only; root's own are gone with it
    setfsgid(Gid::from_raw(OTHER));
    setfsuid(Uid::from_raw(OTHER));
    while !end.load(Ordering::Relaxed) {
        for entry in folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten() {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let is_ours = entry.file_type().is_ok_and(|kind| kind.is_symlink());
            // others are left alone, so that runs get far
            let chosen = name.bytes().fold(0_u8, u8::wrapping_add) % 4 == 0;
            if !is_ours
                && chosen
                && (name.ends_with(".part") || name.contains(".lock"))
                && fs::remove_file(entry.path()).is_ok()
                && symlink(secret, entry.path()).is_ok()
            {
                exchanged.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// Has one user run the program so many times in a folder where another may write, too; returns how often the other was in
/// time, and how many runs ended well.
fn runs_beside_a_racer(n: usize) -> Option<(usize, usize)> {
    if !Uid::effective().is_root() {
        println!("skipped: only root can be two users");
        return None;
    }
    let top = scratch();
    let at = |name: &str| top.path().join(name);
    let open_to = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open_to(top.path(), 0o755);
    for (name, mode) in [("shared", 0o777), ("shared/checkpoints", 0o777), ("home", 0o755), ("home/tmp", 0o700)] {
        fs::create_dir(at(name)).unwrap();
        chown(at(name), Some(VICTIM), Some(VICTIM)).unwrap();
        open_to(&at(name), mode);
    }
    // the program lies where only root may look, perhaps
    let program = at("program");
    fs::hard_link(PROGRAM, &program).or_else(|_| fs::copy(PROGRAM, &program).map(drop)).unwrap();
    Sample { frames: 30, ..Sample::STILL }.make(&at("home"));
    let secret = at("home/secret");
    fs::write(&secret, "secret").unwrap();
    chown(&secret, Some(VICTIM), Some(VICTIM)).unwrap();
    open_to(&secret, 0o600);
    let state = || {
        let about = fs::metadata(&secret).unwrap();
        (fs::read(&secret).unwrap(), about.mode(), about.mtime(), about.mtime_nsec(), about.ino())
    };
    let (before, entries) = (state(), || fs::read_dir(at("home")).unwrap().count());
    let (end, exchanged, mut well) = (AtomicBool::new(false), AtomicUsize::new(0), 0);
    let n_entries = entries();
    let simulate = ["simulate", "--config", "../home/config.yaml", "--out", "data.hdf", "--force"];
    let fit = [
        "--config",
        "../home/config.yaml",
        "--data-file",
        "../home/data.hdf",
        "--trace",
        "trace.json",
        "--memory-profile",
        "memory.csv",
        "--force",
        "--set",
        "optimization.streaming={checkpoint_frequency: 1, checkpoint_dir: checkpoints}",
    ];
    std::thread::scope(|scope| {
        scope.spawn(|| race(&[at("shared"), at("shared/checkpoints")], &secret, &end, &exchanged));
        for k in 0..n {
            use std::os::unix::process::CommandExt;
            let mut command = Command::new(&program);
            command.args(if k % 4 == 3 { &fit[..] } else { &simulate }).arg("-q").uid(VICTIM).gid(VICTIM);
            let run = other(&at("shared"), command).env("TMPDIR", at("home/tmp").to_str().unwrap());
            let outcome = run.env("HOMODYNE_SAVE_MS", "0").outcome();
            let clear = matches!(outcome.code, Some(0) | Some(2..=5)) && !outcome.stderr.contains("panicked");
            well += usize::from(outcome.code == Some(0));
            // what the other has left in the way of the next run
            for name in ["data.hdf", "data_truth.json", "trace.json", "memory.csv", "checkpoints"] {
                let path = at("shared").join(name);
                for path in fs::read_dir(&path).into_iter().flatten().flatten().map(|e| e.path()).chain([path]) {
                    let _ = fs::remove_file(path);
                }
            }
            if !clear || state() != before {
                end.store(true, Ordering::Relaxed);
            }
            assert!(clear, "{outcome}");
            assert_eq!(state(), before, "run {k}: {outcome}");
        }
        end.store(true, Ordering::Relaxed);
    });
    assert_eq!(entries(), n_entries);
    let exchanged = exchanged.into_inner();
    // or nothing has been shown
    assert!(exchanged > 0, "the other user was never in time");
    Some((exchanged, well))
}

#[test]
fn another_user_in_the_folder_gets_nothing_written_elsewhere() {
    runs_beside_a_racer(20);
}

#[test]
#[ignore = "takes a minute"]
fn another_user_in_the_folder_gets_nothing_written_elsewhere_in_200_runs() {
    if let Some((exchanged, well)) = runs_beside_a_racer(200) {
        println!("200 runs, {exchanged} files exchanged, {well} runs ended well");
    }
}

fn fifo(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
}

#[test]
fn inputs_that_are_no_files_are_refused_at_once() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    fifo(&folder.join("fifo"));
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    symlink("fifo", folder.join("link")).unwrap();
    let fit = ["--config", "config.yaml"];
    for (file, what) in [
        ("fifo", "is a FIFO, expected a file"),
        ("link", "is a FIFO"),
        ("socket", "is a socket"),
        ("/dev/zero", "is a device"),
    ] {
        for (code, command) in [
            (2, &["--config", file][..]),
            (2, &["config", "check", file]),
            (2, &["simulate", "--config", file, "--out", "new.hdf"]),
            (3, &[&fit[..], &["--data-file", file]].concat()),
            (3, &[&fit[..], &["--truth", file]].concat()),
            (3, &[&fit[..], &["--resume", file]].concat()),
            (3, &["inspect", file]),
            (3, &["checkpoint", "verify", file]),
        ] {
            let outcome = alone(folder, command).outcome();
            outcome.assert_error(code, &[file, what]);
            assert!(outcome.took < AT_ONCE, "{command:?}: {outcome}");
        }
    }
    // one that is longer than any truth, and takes no room on the disk
    fs::File::create(folder.join("long")).unwrap().set_len(1 << 40).unwrap();
    let outcome = alone(folder, &[&fit[..], &["--truth", "long"]].concat()).outcome();
    outcome.assert_error(3, &["long", "is larger than 16777216 bytes"]);
    let outcome = alone(folder, &["checkpoint", "verify", "long"]).outcome();
    outcome.assert_error(3, &["long", "it is too long"]);
}

/// A checkpoint of nothing.
fn checkpoint() -> Checkpoint {
    Checkpoint {
        kind: "fit and draws".into(),
        state: vec![7; 100],
        configuration: json!({}),
        identity: json!({}),
        progress: json!({"strategy": "\u{1b}]0;title\u{7}"}),
    }
}

/// What stands behind any checkpoint: its bytes before, and a digest of all.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = "0".repeat(64);
    bytes.extend(format!("\nhomodyne-mpi checkpoint, format 00001\nblake3 {zeros}\n").bytes());
    let digest = blake3::hash(&bytes).to_hex();
    let at = bytes.len() - 65;
    bytes[at..at + 64].copy_from_slice(digest.as_bytes());
    bytes
}

/// An HDF5 file of a few kB as checkpoints begin with, whose state claims to have so many bytes.
fn claims(folder: &Path, bytes: usize) -> Vec<u8> {
    let path = folder.join("claims.h5");
    alone_with_files(|| {
        let text = |text: &str| text.parse::<hdf5::types::VarLenUnicode>().unwrap();
        let h5 = hdf5::File::create(&path).unwrap();
        for name in ["program_version", "created", "checksum"] {
            h5.new_attr::<hdf5::types::VarLenUnicode>().create(name).unwrap().write_scalar(&text("x")).unwrap();
        }
        for name in ["configuration", "identity", "progress"] {
            h5.new_dataset::<hdf5::types::VarLenUnicode>().create(name).unwrap().write_scalar(&text("{}")).unwrap();
        }
        let state = h5.new_dataset::<u8>().shape(bytes).create("state").unwrap();
        state.new_attr::<hdf5::types::VarLenUnicode>().create("kind").unwrap().write_scalar(&text("x")).unwrap();
        h5.close().unwrap();
    });
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(path).unwrap();
    assert!(bytes.len() < 20_000);
    bytes
}

#[test]
fn a_forged_checkpoint_takes_no_memory_and_ends_no_run() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let checkpoints = folder.join(CHECKPOINTS);
    fs::create_dir_all(&checkpoints).unwrap();
    for (number, bytes) in [(1, 1 << 31), (2, 1 << 40)] {
        let before = claims(folder, bytes);
        fs::write(checkpoints.join(format!("checkpoint-00000{number}.h5")), sealed(before.clone())).unwrap();
        // the same in the place where this version looks
        let behind = [before, vec![0xff; 40], u64::to_le_bytes(bytes as u64).to_vec()].concat();
        fs::write(checkpoints.join(format!("checkpoint-00001{number}.h5")), sealed(behind)).unwrap();
    }
    // less than any of them claims
    let limited = |arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -v 1500000; exec \"$@\"", "sh", PROGRAM]).args(arguments);
        other(folder, command).outcome()
    };
    let listed = limited(&["checkpoint", "list"]);
    assert_eq!(listed.code, Some(0), "{listed}");
    assert_eq!(listed.stdout.matches("is damaged or no checkpoint").count(), 4, "{listed}");
    limited(&["checkpoint", "verify", CHECKPOINTS]).assert_error(3, &["checkpoint-000002.h5", "is damaged"]);
    limited(&["checkpoint", "verify", "homodyne_results/checkpoints/checkpoint-000011.h5"])
        .assert_error(3, &["is damaged"]);
    let fit = alone(folder, &["--config", "config.yaml"]).success();
    assert_eq!(fit.stderr.matches("is damaged or no checkpoint").count(), 4, "{fit}");
}

#[test]
fn a_junk_name_hides_no_checkpoint() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let checkpoints = folder.join(CHECKPOINTS);
    fs::create_dir_all(&checkpoints).unwrap();
    let junk = ["checkpoint-999999999999999.h5", "checkpoint-18446744073709551615.h5"];
    junk.iter().for_each(|name| fs::write(checkpoints.join(name), "junk").unwrap());
    fifo(&checkpoints.join("checkpoint-000999.h5"));
    symlink("nowhere", checkpoints.join("checkpoint-000998.h5")).unwrap();
    let config = ["--config", "config.yaml"];
    let stopped = alone(folder, &config).env("HOMODYNE_FAULT", "0:2:signal").outcome();
    assert_eq!(stopped.code, Some(75), "{stopped}");
    assert!(stopped.stderr.contains("checkpoint-000001.h5"), "{stopped}");
    // another one under a name that would be the newest
    let copy = checkpoints.join("checkpoint-000500.h5");
    fs::copy(checkpoints.join("checkpoint-000001.h5"), &copy).unwrap();
    let resumed = alone(folder, &config).success();
    assert!(resumed.stderr.contains("resumed from ./homodyne_results/checkpoints/checkpoint-000001.h5"), "{resumed}");
    assert!(resumed.stderr.contains("checkpoint-000500.h5: was saved as number 1"), "{resumed}");
}

#[test]
fn what_stands_in_a_checkpoint_or_a_lock_is_shown_without_control_characters() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let store = Store::open(&folder.join(CHECKPOINTS), 3).unwrap();
    alone_with_files(|| store.save(&checkpoint()).unwrap());
    let listed = alone(folder, &["checkpoint", "list"]).success();
    assert!(listed.stdout.contains("]0;title") && !listed.stdout.contains(['\u{1b}', '\u{7}']), "{listed:?}");
    fs::remove_dir_all(folder.join(CHECKPOINTS)).unwrap();

    let owner = json!({
        "host": "\u{1b}[31mnode17\u{9b}0m", "pid": 17, "started": 1, "machine": "another", "slurm_job": null,
        "since": "\u{1b}c2026", "token": "x",
    });
    let lock = folder.join("homodyne_results/.homodyne-results.lock");
    fs::write(&lock, owner.to_string()).unwrap();
    let refused = alone(folder, &["--config", "config.yaml"]).outcome();
    refused.assert_error(5, &["process 17 on [31mnode170m (since c2026)", "--output-dir"]);
    assert!(!refused.stderr.contains(['\u{1b}', '\u{9b}']), "{refused:?}");

    // made in the far future: nobody lives that long
    let far = std::time::SystemTime::now() + Duration::from_secs(1 << 30);
    fs::File::options().write(true).open(&lock).unwrap().set_modified(far).unwrap();
    alone(folder, &["--config", "config.yaml"]).success();
}

#[test]
fn a_lock_that_is_no_file_is_named_at_once() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    fs::create_dir(folder.join("homodyne_results")).unwrap();
    let lock = folder.join("homodyne_results/.homodyne-results.lock");
    for what in ["a FIFO", "a link"] {
        if what == "a FIFO" {
            fifo(&lock)
        } else {
            symlink("../data_truth.json", &lock).unwrap()
        }
        let outcome = alone(folder, &["--config", "config.yaml"]).outcome();
        outcome.assert_error(5, &["homodyne_results", ".homodyne-results.lock", what, "remove it"]);
        assert!(outcome.took < AT_ONCE, "{outcome}");
        fs::remove_file(&lock).unwrap();
    }
}
