//! Saving in a thread of its own, so that a fit doesn't wait for the disk.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{Checkpoint, Saved, Store};
use crate::{Error, Result};

/// Saves what it is given, one after the other; what fails is a warning in the log, and the fit goes on.
///
/// At most one checkpoint waits while another is being saved: a newer one takes its place. Dropping this saves what waits.
#[derive(Debug)]
pub struct Saver {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
}

/// What a saver has done.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Checkpoints saved.
    pub saved: usize,
    /// Time that took in all, s; the fit went on meanwhile.
    pub seconds: f64,
    /// The longest save, s: what a stop must leave time for.
    pub longest: f64,
    /// Bytes written in all.
    pub bytes: u64,
    /// Checkpoints that a newer one took the place of before they were saved.
    pub superseded: usize,
    /// What failed, oldest first; the texts of the log's warnings.
    pub failures: Vec<String>,
}

/// What both threads look at.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    /// Something was given, saved, or the end was called.
    news: Condvar,
}

#[derive(Debug, Default)]
struct State {
    waiting: Option<Box<Checkpoint>>,
    saving: bool,
    ended: bool,
    last: Option<Result<Saved>>,
    statistics: Statistics,
}

impl Saver {
    /// Starts the thread.
    ///
    /// # Errors
    /// [`Error::Io`] where the system gives no thread.
    pub fn new(store: Store) -> Result<Self> {
        let desk = Arc::new(Desk::default());
        let folder = store.folder().to_path_buf();
        let of_thread = Arc::clone(&desk);
        let thread = std::thread::Builder::new()
            .name("checkpoints".to_owned())
            .spawn(move || of_thread.serve(&store))
            .map_err(|e| Error::io("start a thread that saves to", &folder, e))?;
        Ok(Self { desk, thread: Some(thread) })
    }

    /// Has a checkpoint saved, and returns at once.
    pub fn submit(&self, checkpoint: Checkpoint) {
        let mut state = self.desk.lock();
        if state.waiting.replace(Box::new(checkpoint)).is_some() {
            state.statistics.superseded += 1;
        }
        self.desk.news.notify_all();
    }

    /// Waits until nothing is left to save, and says how the last save ended; `None` before the first.
    pub fn wait(&self) -> Option<Result<Saved>> {
        let state = self.desk.lock();
        let busy = |state: &mut State| state.saving || state.waiting.is_some();
        let state = self.desk.news.wait_while(state, busy).unwrap_or_else(PoisonError::into_inner);
        state.last.clone()
    }

    /// Whether a checkpoint is being saved or waits.
    pub fn is_busy(&self) -> bool {
        let state = self.desk.lock();
        state.saving || state.waiting.is_some()
    }

    /// What was done so far.
    pub fn statistics(&self) -> Statistics {
        self.desk.lock().statistics.clone()
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        self.desk.lock().ended = true;
        self.desk.news.notify_all();
        if let Some(thread) = self.thread.take() {
            // it catches panics
            let _ = thread.join();
        }
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: saves until the end is called and nothing waits.
    fn serve(&self, store: &Store) {
        let mut state = self.lock();
        loop {
            let idle = |state: &mut State| state.waiting.is_none() && !state.ended;
            state = self.news.wait_while(state, idle).unwrap_or_else(PoisonError::into_inner);
            let Some(checkpoint) = state.waiting.take() else { return };
            state.saving = true;
            drop(state);
            // a fault in here must not leave others waiting for ever
            let span = crate::trace::span("checkpoint");
            let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| store.save(&checkpoint)))
                .unwrap_or_else(|_| Err(Error::io("write a checkpoint to", store.folder(), "a fault of the program")));
            drop((checkpoint, span));
            state = self.lock();
            state.saving = false;
            state.count(outcome);
            self.news.notify_all();
        }
    }
}

impl State {
    fn count(&mut self, outcome: Result<Saved>) {
        let statistics = &mut self.statistics;
        match &outcome {
            Ok(saved) => {
                log::debug!("saved {}: {} bytes in {:.3} s", saved.path.display(), saved.bytes, saved.seconds);
                statistics.saved += 1;
                statistics.seconds += saved.seconds;
                statistics.longest = statistics.longest.max(saved.seconds);
                statistics.bytes += saved.bytes;
            }
            Err(error) => {
                let warning = format!("a checkpoint isn't saved, the fit goes on: {error}");
                log::warn!("{warning}");
                statistics.failures.push(warning);
            }
        }
        self.last = Some(outcome);
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use serde_json::json;

    use super::super::format::tests::sample;
    use super::*;

    fn numbered(k: usize) -> Checkpoint {
        Checkpoint { progress: json!(k), ..sample(1 << 20) }
    }

    #[test]
    fn the_newest_is_saved_whatever_waits() {
        let folder = tempfile::tempdir().unwrap();
        let saver = Saver::new(Store::open(folder.path(), 2).unwrap()).unwrap();
        assert!(saver.wait().is_none() && !saver.is_busy());
        for k in 0..50 {
            saver.submit(numbered(k));
        }
        let saved = saver.wait().unwrap().unwrap();
        let statistics = saver.statistics();
        assert!(!saver.is_busy());
        assert_eq!(statistics.saved + statistics.superseded, 50);
        // all are as long as the last, but for a digit of the number and the fraction of a second of `created`, which ends at its last
        // digit that isn't 0
        const DIGITS: u64 = 1 + ".123456789".len() as u64;
        let (bytes, saves) = (statistics.bytes, statistics.saved as u64);
        assert!(bytes.abs_diff(saved.bytes * saves) <= DIGITS * saves, "{bytes} {}", saved.bytes);
        assert!(statistics.failures.is_empty());
        assert!(statistics.longest > 0.0 && statistics.seconds >= statistics.longest);
        let newest = Store::open(folder.path(), 2).unwrap().newest_valid().unwrap().found.unwrap();
        assert_eq!((newest.0, newest.1.checkpoint.progress), (saved.path, json!(49)));
    }

    #[test]
    fn dropping_it_saves_what_waits() {
        let folder = tempfile::tempdir().unwrap();
        let saver = Saver::new(Store::open(folder.path(), 2).unwrap()).unwrap();
        (0..3).for_each(|k| saver.submit(numbered(k)));
        drop(saver);
        let newest = Store::open(folder.path(), 2).unwrap().newest_valid().unwrap().found.unwrap();
        assert_eq!(newest.1.checkpoint.progress, json!(2));
    }

    #[test]
    fn a_failed_save_is_counted_and_the_next_one_is_tried() {
        let scratch = tempfile::tempdir().unwrap();
        let folder = scratch.path().join("checkpoints");
        let saver = Saver::new(Store::open(&folder, 2).unwrap()).unwrap();
        // a file where the folder was
        fs::remove_dir(&folder).unwrap();
        fs::write(&folder, "").unwrap();
        saver.submit(numbered(1));
        let error = saver.wait().unwrap().unwrap_err();
        assert!(error.to_string().contains("checkpoints"), "{error}");
        let failures = saver.statistics().failures;
        assert!(failures.len() == 1 && failures[0].contains(&error.to_string()), "{failures:?}");
        fs::remove_file(&folder).unwrap();
        saver.submit(numbered(2));
        assert!(saver.wait().unwrap().is_ok());
        assert_eq!(saver.statistics().saved, 1);
    }
}
