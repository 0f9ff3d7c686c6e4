//! Progress on a terminal: one living line on stderr; in a log file one line a level.

use std::cell::RefCell;
use std::io::IsTerminal;
use std::rc::Rc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::gram::BatchProgress;
use crate::solver::Event;

/// Shows what rank 0 is doing.
pub struct Progress {
    bar: Option<ProgressBar>,
    /// What the line says without batches.
    text: Rc<RefCell<String>>,
    level: String,
}

impl Progress {
    /// A living line where stderr is a terminal and the user wants it, log lines elsewhere.
    pub fn new(wanted: bool) -> Self {
        let bar = (wanted && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            // the template is a constant that indicatif accepts
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {wide_msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Self { bar, text: Rc::default(), level: String::new() }
    }

    fn say(&self, text: String) {
        if let Some(bar) = &self.bar {
            bar.set_message(text.clone());
        }
        *self.text.borrow_mut() = text;
    }

    /// Angle `done` of `total` has been read and dealt.
    pub fn reading(&self, done: usize, total: usize) {
        self.say(format!("reading: matrix {done} of {total}"));
    }

    /// Something happened in the solver.
    pub fn solver(&mut self, event: &Event) {
        match event {
            Event::Search { n_pairs, screened, refined, .. } => {
                self.level = format!("search on {n_pairs} pairs");
                self.say(format!("{}: {screened} points screened, {refined} refined", self.level));
                log::debug!("global search on {n_pairs} pairs: {screened} points, the best {refined} refined");
            }
            Event::Level { level, n_pairs, carried } => {
                let name = if *level == 0 { "full resolution".into() } else { format!("level {level}") };
                self.level = format!("{name}, {n_pairs} pairs");
                self.say(self.level.clone());
                log::debug!("{}: {carried} minim{} to refine", self.level, if *carried == 1 { "um" } else { "a" });
            }
            Event::Iteration(i) => {
                self.say(format!(
                    "{}: pass {}, residual {:.6e}, {:.1e} standard errors to go",
                    self.level,
                    i.pass,
                    i.residual_variance.sqrt(),
                    i.decrement
                ));
                log::debug!(
                    "{}: pass {}, residual {:.9e}, decrement {:.2e}, damping {:.1e}",
                    self.level,
                    i.pass,
                    i.residual_variance.sqrt(),
                    i.decrement,
                    i.damping
                );
            }
        }
    }

    /// Shows batches behind whatever the line says.
    pub fn batches(&self) -> Option<BatchProgress> {
        let bar = self.bar.clone()?;
        let text = Rc::clone(&self.text);
        Some(Box::new(move |done, total| bar.set_message(format!("{}; batch {done} of {total}", text.borrow()))))
    }

    /// Clears the line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
