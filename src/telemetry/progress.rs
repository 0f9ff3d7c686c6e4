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

    /// Shows batches behind whatever the line says.
    pub fn batches(&self) -> Option<BatchProgress> {
        let bar = self.bar.clone()?;
        let text = Arc::clone(&self.text);
        Some(Box::new(move |done, total| {
            let text = text.lock().unwrap_or_else(PoisonError::into_inner);
            bar.set_message(format!("{text}; batch {done} of {total}"));
        }))
    }

    /// Clears the line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn is_due(last: Instant, now: Instant) -> bool {
    now.duration_since(last) >= EVERY
}

#[cfg(test)]
mod tests {
    use super::*;

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
