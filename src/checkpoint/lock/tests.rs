//! Who gets a folder.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use std::fs::File;

const PURPOSE: Purpose = Purpose::Checkpoints;

/// A lock of somebody like this process, but for some changes, touched so many seconds ago.
fn put(path: &Path, change: impl FnOnce(&mut Owner), age: u64) {
    let mut owner = Owner::this_process();
    change(&mut owner);
    let temporary = path.with_extension("new");
    fs::write(&temporary, owner.to_text()).unwrap();
    set_age(&temporary, age);
    fs::rename(temporary, path).unwrap();
}

fn set_age(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).unwrap();
}

/// This process if it had started at another time: one that has ended.
fn dead(owner: &mut Owner) {
    owner.started += 1;
}

fn elsewhere(owner: &mut Owner) {
    owner.machine = Some("another one".to_owned());
    owner.host = "node17".to_owned();
    owner.slurm_job = Some("4711".to_owned());
}

fn place(folder: &Path) -> Place {
    Place { folder: folder.to_path_buf(), purpose: PURPOSE }
}

#[track_caller]
fn assert_refused(folder: &Path, parts: &[&str]) {
    let error = FolderLock::take(folder, PURPOSE).unwrap_err();
    assert_eq!(error.exit_code(), 5);
    let text = error.to_string();
    for part in parts.iter().chain(&[folder.to_str().unwrap()]) {
        assert!(text.contains(part), "doesn't say {part:?}: {text}");
    }
}

fn is_empty(folder: &Path) -> bool {
    fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn a_folder_is_locked_until_the_lock_is_dropped() {
    let folder = tempfile::tempdir().unwrap();
    let lock = FolderLock::take(folder.path(), PURPOSE).unwrap();
    let own = format!("process {} on ", std::process::id());
    assert_refused(folder.path(), &[&own, "since 2", "checkpoints", "checkpoint_dir"]);
    // the folder of one job's results may be that of its checkpoints
    let other = FolderLock::take(folder.path(), Purpose::Results).unwrap();
    let error = FolderLock::take(folder.path(), Purpose::Results).unwrap_err().to_string();
    assert!(error.contains("results") && error.contains("--output-dir"), "{error}");
    lock.refresh().unwrap();
    drop((lock, other));
    assert!(is_empty(folder.path()));
    drop(FolderLock::take(folder.path(), PURPOSE).unwrap());
    assert!(is_empty(folder.path()));
}

#[test]
fn folders_that_were_made_for_it_go_away_where_nothing_is_in_them() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("a/b");
    drop(FolderLock::take(&folder, PURPOSE).unwrap());
    assert!(is_empty(scratch.path()));
    let lock = FolderLock::take(&folder, PURPOSE).unwrap();
    fs::write(folder.join("checkpoint"), "x").unwrap();
    drop(lock);
    assert!(folder.join("checkpoint").exists());
    let error = FolderLock::take(&folder.join("checkpoint/c"), PURPOSE).unwrap_err();
    assert_eq!(error.exit_code(), 5);
}

#[test]
fn a_dead_owner_is_recognised_on_its_machine_at_once_and_elsewhere_after_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let lock = place(folder.path()).lock();
    let long = LIFETIME.as_secs() + 10;
    // however long it hasn't been touched, it runs
    put(&lock, |_| {}, 10 * long);
    assert_refused(folder.path(), &["process"]);
    put(&lock, elsewhere, LIFETIME.as_secs() - 30);
    assert_refused(folder.path(), &["node17", "Slurm job 4711", "try again in 3"]);
    for (change, age) in [(dead as fn(&mut Owner), 0), (elsewhere, long)] {
        put(&lock, change, age);
        let taken = FolderLock::take(folder.path(), PURPOSE).unwrap();
        assert_refused(folder.path(), &[&std::process::id().to_string()]);
        drop(taken);
        assert!(is_empty(folder.path()));
    }
    // one that is being written, and one that never was
    fs::write(&lock, "").unwrap();
    assert_refused(folder.path(), &["another job"]);
    set_age(&lock, long);
    drop(FolderLock::take(folder.path(), PURPOSE).unwrap());
    assert!(is_empty(folder.path()));
}

#[test]
fn a_lock_from_the_future_is_dead_and_one_a_little_ahead_lives_no_longer_than_twice() {
    let folder = tempfile::tempdir().unwrap();
    let lock = place(folder.path()).lock();
    let ahead = |seconds: u64| {
        put(&lock, elsewhere, 0);
        let file = File::options().write(true).open(&lock).unwrap();
        file.set_modified(SystemTime::now() + Duration::from_secs(seconds)).unwrap();
    };
    ahead(30);
    assert_refused(folder.path(), &["node17", "try again in 15"]);
    for seconds in [LIFETIME.as_secs() + 10, 100 * 365 * 86400] {
        ahead(seconds);
        drop(FolderLock::take(folder.path(), PURPOSE).unwrap());
        assert!(is_empty(folder.path()), "{seconds}");
    }
}

#[test]
fn what_only_has_the_name_of_a_lock_is_neither_waited_for_nor_followed_nor_shown_as_it_is() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("folder");
    fs::create_dir(&folder).unwrap();
    let (lock, secret) = (place(&folder).lock(), scratch.path().join("secret"));
    let name = lock.file_name().unwrap().to_str().unwrap().to_owned();
    fs::write(&secret, "secret").unwrap();
    set_age(&secret, 1000);
    let before = fs::metadata(&secret).unwrap().modified().unwrap();
    nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
    assert_refused(&folder, &[&name, "FIFO", "remove it"]);
    fs::remove_file(&lock).unwrap();
    std::os::unix::fs::symlink(&secret, &lock).unwrap();
    assert_refused(&folder, &[&name, "a link", "remove it"]);
    touch(&lock).unwrap();
    assert_eq!(fs::metadata(&secret).unwrap().modified().unwrap(), before);
    fs::remove_file(&lock).unwrap();
    // as large as a disk, and takes no room
    File::create(&lock).unwrap().set_len(1 << 40).unwrap();
    assert_refused(&folder, &[&name, "larger than", "remove it"]);
    put(&lock, |owner| (owner.host, owner.since) = ("\u{1b}]0;title\u{7}\u{9b}31m".into(), "x".repeat(60_000)), 0);
    let text = FolderLock::take(&folder, PURPOSE).unwrap_err().to_string();
    assert!(text.contains("]0;title31m") && !text.contains(char::is_control) && text.len() < 1000, "{text}");
    fs::remove_file(&lock).unwrap();
    drop(FolderLock::take(&folder, PURPOSE).unwrap());
    assert!(is_empty(&folder));
}

#[test]
fn those_who_died_while_they_took_over_are_no_hindrance() {
    let folder = tempfile::tempdir().unwrap();
    let place = place(folder.path());
    for depth in 1..5 {
        put(&place.lock(), dead, 0);
        for _ in 0..depth {
            put(&place.after(place.chain().unwrap().last()), dead, 0);
        }
        assert_eq!(place.chain().unwrap().len(), depth + 1);
        // somebody who lives is at it
        let last = place.after(place.chain().unwrap().last());
        put(&last, |_| {}, 0);
        assert_refused(folder.path(), &["process"]);
        fs::remove_file(&last).unwrap();
        let taken = FolderLock::take(folder.path(), PURPOSE).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        drop(taken);
        assert!(is_empty(folder.path()));
    }
}

#[test]
fn of_several_at_a_time_exactly_one_wins() {
    const STARTERS: usize = 8;
    for round in 0..150 {
        let folder = tempfile::tempdir().unwrap();
        let place = place(folder.path());
        // free, dead, dead with a dead one after it, unreadable
        match round % 4 {
            0 => {}
            1 => put(&place.lock(), dead, 0),
            2 => {
                put(&place.lock(), dead, 0);
                put(&place.after(place.chain().unwrap().last()), dead, 0);
            }
            _ => {
                fs::write(place.lock(), "x").unwrap();
                set_age(&place.lock(), LIFETIME.as_secs() + 10);
            }
        }
        let (start, finish) = (Barrier::new(STARTERS), Barrier::new(STARTERS));
        let winners = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..STARTERS {
                scope.spawn(|| {
                    start.wait();
                    let taken = FolderLock::take(folder.path(), PURPOSE);
                    winners.fetch_add(usize::from(taken.is_ok()), Ordering::Relaxed);
                    if let Err(error) = &taken {
                        assert!(error.to_string().contains("saves its checkpoints there"), "{error}");
                    }
                    // none leaves before all have tried
                    finish.wait();
                    taken.iter().for_each(|lock| lock.refresh().unwrap());
                });
            }
        });
        assert_eq!(winners.into_inner(), 1, "round {round}");
        assert!(is_empty(folder.path()), "round {round}");
    }
}

#[test]
fn those_who_come_and_go_never_share_it() {
    let folder = tempfile::tempdir().unwrap();
    put(&place(folder.path()).lock(), dead, 0);
    let (inside, turns, tries) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while turns.load(Ordering::Relaxed) < 300 && tries.fetch_add(1, Ordering::Relaxed) < 1_000_000 {
                    let Ok(lock) = FolderLock::take(folder.path(), PURPOSE) else { continue };
                    assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                    lock.refresh().unwrap();
                    inside.fetch_sub(1, Ordering::SeqCst);
                    if turns.fetch_add(1, Ordering::Relaxed) % 3 == 0 {
                        // as if it had been killed
                        put(&lock.held.place.lock(), dead, 0);
                    }
                    drop(lock);
                }
            });
        }
    });
    assert!(turns.into_inner() > 299, "{tries:?}");
}

#[test]
fn a_lock_that_vanished_is_made_again_and_one_that_was_taken_is_said_to_be() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path().join("checkpoints");
    let lock = FolderLock::take(&folder, PURPOSE).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    lock.refresh().unwrap();
    assert_refused(&folder, &["process"]);
    let path = place(&folder).lock();
    set_age(&path, 1000);
    lock.refresh().unwrap();
    assert!(fs::metadata(&path).unwrap().modified().unwrap().elapsed().unwrap_or_default() < Duration::from_secs(60));
    put(&path, elsewhere, 0);
    let error = lock.refresh().unwrap_err();
    assert!(error.to_string().contains("node17") && error.to_string().contains("taken"), "{error}");
    drop(lock);
    // it is the other's
    assert!(path.exists());
}
