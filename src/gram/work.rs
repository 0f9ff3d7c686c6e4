//! How much of a pass its threads worked: two looks at the clock for every task of some 100 µs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Time one thread worked, ns; a cache line (pair) of its own.
#[derive(Default)]
#[repr(align(128))]
struct Worked(AtomicU64);

/// Working times of the threads of a pool over one pass.
pub(super) struct Work {
    threads: Vec<Worked>,
    begin: Instant,
    /// Duration of the last pass, s.
    seconds: f64,
}

impl Work {
    pub fn new(threads: usize) -> Self {
        Self { threads: (0..threads).map(|_| Worked::default()).collect(), begin: Instant::now(), seconds: 0.0 }
    }

    /// A pass begins.
    pub fn begin(&mut self) {
        self.threads.iter().for_each(|w| w.0.store(0, Ordering::Relaxed));
        self.begin = Instant::now();
    }

    /// It has ended.
    pub fn end(&mut self) {
        self.seconds = self.begin.elapsed().as_secs_f64();
    }

    /// Does a task and counts its time for the thread of the pool that this is.
    pub fn task<T>(&self, task: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let out = task();
        if let Some(worked) = rayon::current_thread_index().and_then(|k| self.threads.get(k)) {
            // nobody else writes to it
            worked.0.fetch_add(begin.elapsed().as_nanos() as u64, Ordering::Relaxed);
        }
        out
    }

    /// The threads of the pool, all free for one thing.
    pub fn crew(&self) -> Crew<'_> {
        Crew(Some(self))
    }

    /// Time that threads worked in the last pass, s, averaged over them.
    pub fn worked(&self) -> f64 {
        let all: u64 = self.threads.iter().map(|w| w.0.load(Ordering::Relaxed)).sum();
        all as f64 * 1e-9 / self.threads.len().max(1) as f64
    }

    /// Share of the last pass in which threads had no task, over all threads; 0 before the first.
    pub fn idle(&self) -> f64 {
        if self.seconds > 0.0 { (1.0 - self.worked() / self.seconds).max(0.0) } else { 0.0 }
    }
}

/// Who does what has to be done before the tasks of a pass: all threads of the pool, or the one that is there.
#[derive(Clone, Copy)]
pub(super) struct Crew<'a>(Option<&'a Work>);

impl Crew<'_> {
    /// One thread; the others are busy elsewhere, and so is the clock.
    pub const ALONE: Crew<'static> = Crew(None);

    /// Does a piece of work that is not divided further, and counts its time.
    pub fn task<T>(self, task: impl FnOnce() -> T) -> T {
        match self.0 {
            Some(work) => work.task(task),
            None => task(),
        }
    }
}
