//! One job to a folder.
//!
//! A lock is a small file in the folder that says whose it is. It needs nothing from a file system but that of several who
//! create a file only one succeeds, and that renaming replaces, both of which network file systems keep; flock is not among
//! it. Whether the owner still lives is asked of the kernel where it runs on this machine (a process of that number and that
//! start time); elsewhere its lock must have been touched within [`LIFETIME`], which a thread does every [`HEARTBEAT`].
//!
//! **Taking over.** Of several who see the same dead lock one may replace it. Deleting it would do for a second one, too:
//! what it deletes may be the first one's new lock. So a dead file is never deleted by those who want it; they create its
//! successor, whose name is made from the dead one's name and contents. One succeeds, sees that nothing before it in the
//! chain has changed (so nobody has taken the lock since), and has the right to rename its own file over the lock. A
//! successor whose owner died meanwhile is a dead file as any other and has a successor in its turn. Successors of a lock
//! that is there no more mean nothing, and the next owner removes them.
//!
//! **Others' files.** Whoever may write into the folder can put anything there by these names. So a lock is a file itself, no
//! link, and of what it holds no more is read than an owner writes; what is none isn't waited for.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, utimensat};
use nix::sys::time::TimeSpec;

use self::owner::Owner;
use crate::files::TEMPORARY;
use crate::{Error, Result, files};

mod owner;

/// Time after which a lock that its owner on another machine hasn't touched counts as dead.
pub const LIFETIME: Duration = Duration::from_secs(120);
/// How often an owner touches its lock: network file systems may show the old time for a minute longer.
pub const HEARTBEAT: Duration = Duration::from_secs(20);
/// Most bytes of a lock; an owner writes some 400.
const MOST_BYTES: u64 = 1 << 16;
/// Times that taking begins anew because somebody else was at it; each time somebody has got further.
const ATTEMPTS: usize = 1000;

/// What a folder is locked for. One folder may serve both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Results are written there.
    Results,
    /// Checkpoints are saved there.
    Checkpoints,
}

/// A folder that belongs to this process until this is dropped.
#[derive(Debug)]
pub struct FolderLock {
    held: Arc<Held>,
    /// Folders that didn't exist before, innermost first.
    created: Vec<PathBuf>,
    heart: Option<(Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug)]
struct Held {
    place: Place,
    /// What stands in the file; no other lock ever has the same.
    text: Vec<u8>,
}

/// Where a lock is.
#[derive(Debug, Clone)]
struct Place {
    folder: PathBuf,
    purpose: Purpose,
}

/// A file of the chain: the lock, its successor, and so on.
struct Link {
    path: PathBuf,
    text: Vec<u8>,
    modified: SystemTime,
}

impl FolderLock {
    /// Locks a folder, which is made if need be, and keeps the lock alive by a thread.
    ///
    /// # Errors
    /// [`Error::Io`] where another job has the folder, naming it and what to do, or where no lock can be written.
    pub fn take(folder: &Path, purpose: Purpose) -> Result<Self> {
        let place = Place { folder: folder.to_path_buf(), purpose };
        let created = folder.ancestors().filter(|a| !a.as_os_str().is_empty() && !a.exists()).map(Path::to_path_buf);
        let created: Vec<PathBuf> = created.collect();
        let failed = |e: io::Error| Error::io("lock the folder", folder, e);
        fs::create_dir_all(folder).map_err(failed)?;
        let text = Owner::this_process().to_text();
        let mut lock = Self { held: Arc::new(Held { place: place.clone(), text }), created, heart: None };
        for _ in 0..ATTEMPTS {
            match lock.held.attempt().map_err(failed)? {
                Attempt::Taken => {
                    lock.heart = Some(lock.held.start_heart().map_err(failed)?);
                    return Ok(lock);
                }
                Attempt::Owned(link) => return Err(place.refused(&link).unwrap_or_else(failed)),
                Attempt::Anew => {}
            }
        }
        Err(failed(io::Error::other("others keep locking and leaving it; try again")))
    }

    /// Touches the lock, which a thread does now and then anyway, and makes sure that it is still there. One that is gone with
    /// its folder is made again.
    ///
    /// # Errors
    /// [`Error::Io`] where another job has taken the folder, because this one was thought dead: it must stop writing there.
    /// The same where the lock can't be written.
    pub fn refresh(&self) -> Result<()> {
        self.held.refresh()
    }
}

impl Drop for FolderLock {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.heart.take() {
            drop(stop);
            let _ = thread.join();
        }
        self.held.release();
        for folder in &self.created {
            // one with something in it stays
            let _ = fs::remove_dir(folder);
        }
    }
}

/// What became of an attempt.
enum Attempt {
    Taken,
    /// By somebody who is alive.
    Owned(Link),
    /// Something has changed meanwhile.
    Anew,
}

impl Held {
    fn attempt(&self) -> io::Result<Attempt> {
        let (place, text) = (&self.place, &self.text);
        let chain = place.chain()?;
        let next = place.after(chain.last());
        if let Some(last) = chain.into_iter().next_back()
            && place.is_alive(&last)?
        {
            return Ok(Attempt::Owned(last));
        }
        if !create(&next, text)? {
            return Ok(Attempt::Anew);
        }
        // the name of the last link is made from all before it: where this one is the end of the chain, all is as it was
        let chain = place.chain()?;
        match &chain[..] {
            [lock] if lock.path == next && lock.text == *text => {}
            [.., last] if last.path == next && last.text == *text => {
                if let Err(e) = self.rename_over() {
                    remove(&next)?;
                    return Err(e);
                }
            }
            _ => {
                if read(&next)?.is_some_and(|link| link.text == *text) {
                    remove(&next)?;
                }
                return Ok(Attempt::Anew);
            }
        }
        place.tidy(text);
        Ok(Attempt::Taken)
    }

    /// Puts this owner's file in place of the lock.
    fn rename_over(&self) -> io::Result<()> {
        let mut temporary = self.place.temporary()?;
        temporary.write_all(&self.text)?;
        temporary.persist(self.place.lock()).map(drop).map_err(|e| e.error)
    }

    fn refresh(&self) -> Result<()> {
        let (place, lock) = (&self.place, self.place.lock());
        let failed = |e: io::Error| Error::io("lock the folder", &place.folder, e);
        for _ in 0..ATTEMPTS {
            match read(&lock).map_err(failed)? {
                Some(link) if link.text == self.text => return touch(&lock).map_err(failed),
                Some(link) => return Err(place.lost(&link)),
                None => {
                    fs::create_dir_all(&place.folder).map_err(failed)?;
                    create(&lock, &self.text).map_err(failed)?;
                }
            }
        }
        Err(failed(io::Error::other("others keep locking and leaving it")))
    }

    fn release(&self) {
        if let Ok(Some(link)) = read(&self.place.lock())
            && link.text == self.text
        {
            // one that can't be removed is found dead by the next
            let _ = remove(&link.path);
        }
    }

    fn start_heart(self: &Arc<Self>) -> io::Result<(Sender<()>, JoinHandle<()>)> {
        let (stop, stopped) = mpsc::channel::<()>();
        let held = Arc::clone(self);
        let thread = std::thread::Builder::new().name("lock".to_owned()).spawn(move || {
            let mut complained = false;
            while stopped.recv_timeout(HEARTBEAT) == Err(RecvTimeoutError::Timeout) {
                let outcome = held.refresh();
                if let Err(error) = &outcome
                    && !complained
                {
                    log::warn!("{error}");
                }
                complained = outcome.is_err();
            }
        })?;
        Ok((stop, thread))
    }
}

impl Place {
    fn lock(&self) -> PathBuf {
        self.folder.join(self.name())
    }

    fn name(&self) -> &'static str {
        match self.purpose {
            Purpose::Results => ".homodyne-results.lock",
            Purpose::Checkpoints => ".homodyne-checkpoints.lock",
        }
    }

    /// The successor of a link; the lock itself where there is none.
    fn after(&self, link: Option<&Link>) -> PathBuf {
        let Some(link) = link else { return self.lock() };
        let mut hasher = blake3::Hasher::new();
        hasher.update(link.path.file_name().unwrap_or_default().as_encoded_bytes()).update(b"\n").update(&link.text);
        self.folder.join(format!("{}.after-{}", self.name(), &hasher.finalize().to_hex()[..24]))
    }

    /// The lock and its successors; empty where there is no lock.
    fn chain(&self) -> io::Result<Vec<Link>> {
        let mut chain: Vec<Link> = Vec::new();
        while let Some(link) = read(&self.after(chain.last()))? {
            chain.push(link);
        }
        Ok(chain)
    }

    fn is_alive(&self, link: &Link) -> io::Result<bool> {
        let known = Owner::from_text(&link.text).and_then(|owner| owner.is_running());
        // one that can't be read may be in the making
        known.map_or_else(|| Ok(self.age(link)?.abs() < LIFETIME.as_secs_f64()), Ok)
    }

    /// Time since a link was touched, s, by the clock of the file system. Negative for one that says it will be touched: a
    /// clock was set back meanwhile, or its time is made up.
    fn age(&self, link: &Link) -> io::Result<f64> {
        let now = self.temporary()?.as_file().metadata()?.modified()?;
        let before = |e: std::time::SystemTimeError| -e.duration().as_secs_f64();
        Ok(now.duration_since(link.modified).map_or_else(before, |age| age.as_secs_f64()))
    }

    fn temporary(&self) -> io::Result<tempfile::NamedTempFile> {
        tempfile::Builder::new()
            .prefix(&format!("{}.", self.name()))
            .suffix(TEMPORARY)
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(&self.folder)
    }

    /// Removes what killed ones left behind. Files of those who are at it and are too late already may be among it; they
    /// look before they do anything.
    fn tidy(&self, own: &[u8]) {
        let own = Link { path: self.lock(), text: own.to_vec(), modified: SystemTime::UNIX_EPOCH };
        let (litter, keep) = (format!("{}.after-", self.name()), self.after(Some(&own)));
        for entry in fs::read_dir(&self.folder).into_iter().flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.starts_with(&litter)) && entry.path() != keep {
                // nothing depends on it
                let _ = remove(&entry.path());
            }
        }
    }

    /// Why a folder can't be had.
    fn refused(&self, link: &Link) -> io::Result<Error> {
        let (does, option) = match self.purpose {
            Purpose::Results => ("writes its results there", "--output-dir"),
            Purpose::Checkpoints => ("saves its checkpoints there", "optimization.streaming.checkpoint_dir"),
        };
        let owner = Owner::from_text(&link.text);
        let who = owner.as_ref().map_or_else(|| "another job".to_owned(), Owner::to_string);
        let mut message = format!("{who} {does}; wait for its end, or give another folder ({option})");
        if owner.and_then(|owner| owner.is_running()).is_none() {
            let left = (LIFETIME.as_secs_f64() - self.age(link)?).max(0.0).ceil() + 1.0;
            message += &format!("; if it was killed, try again in {left:.0} s");
        }
        Ok(Error::io("use the folder", &self.folder, message))
    }

    /// That somebody else has it now.
    fn lost(&self, link: &Link) -> Error {
        let who = Owner::from_text(&link.text).map_or_else(|| "another job".to_owned(), |owner| owner.to_string());
        let message = format!("{who} has taken it, because this job gave no sign for {} s", LIFETIME.as_secs());
        Error::io("go on using the folder", &self.folder, message)
    }
}

/// A file of the chain; `None` where it isn't there. Opened anew, so that a network file system asks its server.
fn read(path: &Path) -> io::Result<Option<Link>> {
    let none = |e: io::Error| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        io::Error::new(e.kind(), format!("{name} there {e}; no job of this program made it: remove it"))
    };
    let file = match files::open_no_link(path) {
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::InvalidInput => return Err(none(e)),
        opened => opened?,
    };
    let text = match files::read_from(&file, MOST_BYTES) {
        // removed on the server meanwhile
        Err(e) if e.kind() == ErrorKind::StaleNetworkFileHandle => return Ok(None),
        Err(e) if e.kind() == ErrorKind::FileTooLarge => return Err(none(e)),
        outcome => outcome?,
    };
    Ok(Some(Link { path: path.to_path_buf(), text, modified: file.metadata()?.modified()? }))
}

/// Creates a file where there is none; `false` where there is one.
fn create(path: &Path, text: &[u8]) -> io::Result<bool> {
    let mut file = match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(e) if e.kind() == ErrorKind::AlreadyExists => return Ok(false),
        opened => opened?,
    };
    if let Err(e) = file.write_all(text) {
        let _ = remove(path);
        return Err(e);
    }
    Ok(true)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

/// Sets the time of a file to now, by the clock of its file system; of a link that has come instead its own.
fn touch(path: &Path) -> io::Result<()> {
    let now = TimeSpec::UTIME_NOW;
    Ok(utimensat(AT_FDCWD, path, &now, &now, UtimensatFlags::NoFollowSymlink)?)
}

#[cfg(test)]
mod tests;
