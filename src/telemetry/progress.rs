//! Progress: one living line where stderr is a terminal; elsewhere log lines, seldom enough for a file. Under mpirun that
//! is the rule: launchers give ranks a terminal for stdout at most.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use log::{Level, LevelFilter};

use crate::gram::BatchProgress;
use crate::solver::Event;

/// Shortest time between two log lines about the same work.
const EVERY: Duration = Duration::from_secs(2);

/// The same inside a pass.
const EVERY_IN_PASS: Duration = Duration::from_secs(10);

/// Shows what rank 0 is doing.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// What the line says without batches.
    text: Arc<Mutex<String>>,
    level: String,
    /// Where log lines go in place of the living line.
    log_level: Level,
    /// When the last of them was written.
    said: Cell<Instant>,
}

impl Progress {
    /// A living line or log lines; neither where the user doesn't want to hear of it or wants to hear errors only.
    pub fn new(wanted: bool) -> Self {
        let terminal = std::io::stderr().is_terminal() && log::max_level() > LevelFilter::Error;
        let bar = (wanted && terminal).then(|| {
            let bar = ProgressBar::new_spinner();
            // the template is a constant that indicatif accepts
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        let log_level = if wanted && bar.is_none() { Level::Info } else { Level::Debug };
        Self { bar, text: Arc::default(), level: String::new(), log_level, said: Cell::new(Instant::now()) }
    }

    fn show(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        }
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
    }

    /// A line for the log where nothing lives.
    fn log(&self, text: &str) {
        self.said.set(Instant::now());
        log::log!(self.log_level, "{text}");
    }

    /// The same for one of many, when it is time again.
    fn log_seldom(&self, text: &str) {
        if is_due(self.said.get(), Instant::now()) {
            self.log(text);
        }
    }

    /// Angle `done` of `total` has been read and dealt.
    pub fn reading(&self, done: usize, total: usize) {
        let text = format!("reading: matrix {done} of {total}");
        self.log_seldom(&text);
        self.show(text);
    }

    /// Matrix `done` of `total` has been converted.
    pub fn converting(&self, done: usize, total: usize) {
        let text = format!("converting: matrix {done} of {total}");
        self.log_seldom(&text);
        self.show(text);
    }

    /// Something happened in the solver.
    pub fn solver(&mut self, event: &Event) {
        match event {
            Event::Search { n_pairs, screened, refined, .. } => {
                self.level = format!("search on {n_pairs} pairs");
                self.log(&format!("{}: {screened} points screened, the best {refined} refined", self.level));
                self.show(format!("{}: {screened} points screened, {refined} refined", self.level));
            }
            Event::Level { level, n_pairs, carried, loss } => {
                let name = if *level == 0 { "full resolution".into() } else { format!("level {level}") };
                let loss = loss.map_or(String::new(), |loss| format!(", loss {}", loss.name()));
                self.level = format!("{name}, {n_pairs} pairs{loss}");
                self.log(&format!(
                    "{}: {carried} minim{} to refine",
                    self.level,
                    if *carried == 1 { "um" } else { "a" }
                ));
                self.show(self.level.clone());
            }
            Event::Stage(_) => (),
            Event::Iteration(i) => {
                let residual = i.residual_variance.sqrt();
                let text = format!(
                    "{}: pass {}, residual {residual:.6e}, {:.1e} standard errors to go",
                    self.level, i.pass, i.decrement
                );
                self.log_seldom(&text);
                self.show(text);
                log::debug!(
                    "{}: pass {}, residual {residual:.9e}, decrement {:.2e}, damping {:.1e}",
                    self.level,
                    i.pass,
                    i.decrement,
                    i.damping
                );
            }
        }
    }

    /// Shows the batches of full-resolution passes, of so many pairs on all ranks, behind whatever the line says; without a
    /// line, of long passes in the log.
    pub fn batches(&self, n_pairs: u64) -> BatchProgress {
        let (bar, text, log_level) = (self.bar.clone(), Arc::clone(&self.text), self.log_level);
        let pass = Mutex::new(PassClock::new(Instant::now()));
        Box::new(move |done, total| {
            let mut pass = pass.lock().unwrap_or_else(PoisonError::into_inner);
            let now = Instant::now();
            pass.has_done(done, now);
            let about = || pass.words(done, total, n_pairs, now);
            if let Some(bar) = &bar {
                let text = text.lock().unwrap_or_else(PoisonError::into_inner);
                bar.set_message(format!("{text}; {}", about()));
            } else if now.duration_since(pass.said) >= EVERY_IN_PASS {
                let line = about();
                pass.said = now;
                log::log!(log_level, "full resolution: {line}");
            }
        })
    }

    /// Clears the line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// How a pass goes on.
struct PassClock {
    begin: Instant,
    /// Batches done before.
    before: usize,
    /// The last log line.
    said: Instant,
}

impl PassClock {
    fn new(now: Instant) -> Self {
        Self { begin: now, before: usize::MAX, said: now }
    }

    /// So many batches are done; where they are fewer than before, another pass has begun.
    fn has_done(&mut self, done: usize, now: Instant) {
        // threads may report in another order than they finish
        if done.saturating_mul(2) < self.before {
            (self.begin, self.said) = (now, now);
        }
        self.before = done;
    }

    /// How far it is, how fast it goes, how long it will take.
    fn words(&self, done: usize, total: usize, n_pairs: u64, now: Instant) -> String {
        let mut words = format!("batch {done} of {total}");
        let seconds = now.duration_since(self.begin).as_secs_f64();
        // the first batches say little
        if seconds > 0.5 && done > 0 {
            let rate = n_pairs as f64 * done as f64 / total as f64 / seconds;
            let left = seconds * (total - done) as f64 / done as f64;
            words += &format!(", {rate:.2e} pairs/s, {left:.0} s left in this pass");
        }
        words
    }
}

fn is_due(last: Instant, now: Instant) -> bool {
    now.duration_since(last) >= EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_pass_tells_its_rate_and_the_time_left() {
        let begin = Instant::now();
        let mut clock = PassClock::new(begin);
        for done in [90, 100, 1, 3, 2] {
            clock.has_done(done, begin + Duration::from_secs(done as u64 / 10));
        }
        assert_eq!(clock.begin, begin, "of the pass that began last");
        assert_eq!(clock.words(1, 100, 1000, begin), "batch 1 of 100");
        let later = begin + Duration::from_secs(10);
        assert_eq!(
            clock.words(25, 100, 1_000_000_000, later),
            "batch 25 of 100, 2.50e7 pairs/s, 30 s left in this pass"
        );
    }

    #[test]
    fn log_lines_about_passes_are_seldom() {
        let last = Instant::now();
        assert!(!is_due(last, last) && !is_due(last, last + EVERY / 2));
        assert!(is_due(last, last + EVERY));
        let progress = Progress::new(true);
        let before = progress.said.get();
        progress.reading(1, 1000);
        assert_eq!(progress.said.get(), before, "said at once");
    }
}
