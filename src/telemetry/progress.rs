//! Progress: a living block of a few lines where stderr is a terminal; elsewhere log lines, seldom enough for a file and never
//! farther apart than [`SILENCE`]. Under mpirun that is the rule: launchers give ranks a terminal for stdout at most.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use console::Term;
use indicatif::{ProgressBar, ProgressStyle};
use log::{Level, LevelFilter};

use super::terminal;
use crate::cluster::{Pace, resident_memory};
use crate::sampler;
use crate::solver::Event;
use crate::text::grouped;

/// Shortest time between two log lines about the same work.
const EVERY: Duration = Duration::from_secs(2);
/// Longest time without a log line.
const SILENCE: Duration = Duration::from_secs(10);
/// Time between two looks at what the block must show.
const TICK: Duration = Duration::from_millis(200);
/// Columns that the spinner and the time take before the first line; later lines are indented by two.
const BEFORE: usize = 14;
const MB: f64 = (1u64 << 20) as f64;
/// A rank that works so much longer than the mean of all is named.
const SLOW: f64 = 1.05;

/// Shows what rank 0 is doing.
pub struct Progress {
    shared: Arc<Shared>,
    end: Option<Sender<()>>,
    ticker: Option<JoinHandle<()>>,
}

struct Shared {
    bar: Option<ProgressBar>,
    state: Mutex<State>,
    /// Where log lines go in place of the block.
    log_level: Level,
}

struct State {
    /// The work at large.
    work: String,
    /// How far it is.
    step: String,
    /// When that began.
    since: Instant,
    /// When the last log line was written.
    said: Instant,
    /// Which rank works longest in a pass.
    pace: Option<Arc<Mutex<Pace>>>,
    /// σ in units of which χ² is told.
    sigma: Option<f64>,
    /// Transitions that an earlier run has made.
    made_before: usize,
}

/// How far a look at the matrices is, from its first report on.
#[derive(Debug, Clone, Copy)]
struct Course {
    /// Matrices done then, and now.
    first: usize,
    last: usize,
    begin: Instant,
}

impl Course {
    /// So many matrices are done; where they are no more than before, another look has begun.
    fn at(self, done: usize, now: Instant) -> Self {
        if done <= self.last { Self { first: done, last: done, begin: now } } else { Self { last: done, ..self } }
    }

    /// How far it is, how fast it goes, how long it will take.
    fn words(self, total: usize, pairs: u64, now: Instant) -> String {
        let Self { first, last: done, begin } = self;
        let mut words = format!("matrix {done} of {total}");
        let seconds = now.duration_since(begin).as_secs_f64();
        // the first ones say little
        if seconds > 0.5 && done > first {
            let each = seconds / (done - first) as f64;
            let left = each * total.saturating_sub(done) as f64;
            words += &format!(", {} pairs/s, {left:.0} s left", with_prefix(pairs as f64 / each));
        }
        words
    }
}

/// A number with three digits and its prefix.
fn with_prefix(x: f64) -> String {
    let (x, prefix) = match x {
        x if x >= 1e9 => (x / 1e9, " G"),
        x if x >= 1e6 => (x / 1e6, " M"),
        x if x >= 1e3 => (x / 1e3, " k"),
        x => (x, ""),
    };
    let decimals = if x < 10.0 { 2 } else { usize::from(x < 100.0) };
    format!("{x:.decimals$}{prefix}")
}

impl Shared {
    fn begin(&self, work: String) {
        let mut state = self.state();
        (state.work, state.step, state.since) = (work, String::new(), Instant::now());
    }

    /// How far the work is; a log line where it is time for one.
    fn step(&self, step: String) {
        let mut state = self.state();
        state.step = step;
        if is_due(state.said, Instant::now()) {
            let text = format!("{}: {}", state.work, state.step);
            self.log(&mut state, &text);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A log line where nothing lives.
    fn log(&self, state: &mut State, text: &str) {
        state.said = Instant::now();
        log::log!(self.log_level, "{text}");
    }

    /// What the ticker does: draws the block anew, or breaks a silence.
    fn tick(&self) {
        let mut state = self.state();
        match &self.bar {
            Some(bar) => {
                let columns = usize::from(Term::stderr().size().1);
                bar.set_message(state.block(columns, resident_memory()));
            }
            None if state.said.elapsed() >= SILENCE && !state.work.is_empty() => {
                let text = state.line(resident_memory());
                self.log(&mut state, &text);
            }
            None => {}
        }
    }
}

impl State {
    /// Lines of a block for so many columns, and the bytes in use.
    fn block(&self, columns: usize, bytes: u64) -> String {
        let mut lines = vec![self.work.clone(), self.step.clone()];
        lines.push(self.about(bytes));
        lines.retain(|line| !line.is_empty());
        let cut = |(k, line): (usize, &String)| {
            let indent = if k == 0 { "" } else { "  " };
            let room = columns.saturating_sub(if k == 0 { BEFORE } else { indent.len() } + 1);
            format!("{indent}{}", shortened(line, room))
        };
        lines.iter().enumerate().map(cut).collect::<Vec<_>>().join("\n")
    }

    /// The same as one log line.
    fn line(&self, bytes: u64) -> String {
        let mut parts = vec![self.work.clone(), self.step.clone()];
        parts.push(format!("{:.0} s at it", self.since.elapsed().as_secs_f64()));
        parts.push(self.about(bytes));
        parts.retain(|part| !part.is_empty());
        parts.join("; ")
    }

    /// Memory and the slowest rank.
    fn about(&self, bytes: u64) -> String {
        let pace = self.pace.as_ref().map(|pace| *pace.lock().unwrap_or_else(PoisonError::into_inner));
        let slowest = pace.filter(|pace| pace.ranks > 1 && pace.longest > SLOW * pace.mean).map(|pace| {
            let more = 100.0 * (pace.longest / pace.mean - 1.0);
            format!("; rank {} of {} slowest, {more:.0} % above the mean", pace.slowest, pace.ranks)
        });
        format!("{:.0} MB in use{}", bytes as f64 / MB, slowest.unwrap_or_default())
    }
}

/// A line that fits into so many columns.
fn shortened(line: &str, columns: usize) -> String {
    if line.chars().count() <= columns {
        return line.to_string();
    }
    let kept: String = line.chars().take(columns.saturating_sub(1)).collect();
    format!("{kept}…")
}

impl Progress {
    /// A living block or log lines; neither where the user doesn't want to hear of it or wants to hear errors only.
    pub fn new(wanted: bool) -> Self {
        let heard = wanted && log::max_level() > LevelFilter::Error;
        let bar = (heard && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new_spinner();
            // the template is a constant that indicatif accepts
            if let Ok(style) = ProgressStyle::with_template("{spinner} [{elapsed_precise}] {msg}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(TICK);
            bar
        });
        terminal::set_block(bar.clone());
        let log_level = if heard && bar.is_none() { Level::Info } else { Level::Debug };
        let now = Instant::now();
        let (work, step) = (String::new(), String::new());
        let state = Mutex::new(State { work, step, since: now, said: now, pace: None, sigma: None, made_before: 0 });
        let shared = Arc::new(Shared { bar, state, log_level });
        let (end, ended) = channel();
        let of_ticker = Arc::clone(&shared);
        let tick = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                of_ticker.tick();
            }
        };
        // without a thread nothing lives, and the run goes on
        let ticker = std::thread::Builder::new().name("progress".into()).spawn(tick).ok();
        Self { shared, end: Some(end), ticker }
    }

    /// Tells from now on which rank is slowest.
    pub fn watch(&self, pace: Arc<Mutex<Pace>>) {
        self.shared.state().pace = Some(pace);
    }

    /// Tells χ² in units of this σ from now on.
    pub fn measure_by(&self, sigma: f64) {
        self.shared.state().sigma = Some(sigma);
    }

    /// Work that takes a while and can't tell how far it is.
    pub fn doing(&self, what: &str) {
        self.begin(what.into());
    }

    fn begin(&self, work: String) {
        self.shared.begin(work);
    }

    fn step(&self, step: String) {
        self.shared.step(step);
    }

    /// Tells of so many matrices of a total that are done, of which each has so many frames.
    pub fn teller(&self, what: &'static str, n_frames: usize) -> impl Fn(usize, usize) + 'static {
        let pairs = n_frames as u64 * n_frames.saturating_sub(1) as u64 / 2;
        let shared = Arc::clone(&self.shared);
        let look = Cell::new(Course { first: usize::MAX, last: usize::MAX, begin: Instant::now() });
        move |done: usize, total: usize| {
            if shared.state().work != what {
                shared.begin(what.into());
            }
            look.set(look.get().at(done, Instant::now()));
            shared.step(look.get().words(total, pairs, Instant::now()));
        }
    }

    /// Something happened in the solver.
    pub fn solver(&self, event: &Event) {
        match event {
            Event::Search { n_pairs, screened, refined, .. } => {
                self.announce(
                    format!("search on {} pairs", grouped(*n_pairs as u64)),
                    format!("{screened} points screened, the best {refined} refined"),
                );
            }
            Event::Level { level, n_pairs, carried, loss } => {
                let name = if *level == 0 { "full resolution".into() } else { format!("level {level}") };
                let loss = loss.map_or(String::new(), |loss| format!(", loss {}", loss.name()));
                self.announce(
                    format!("{name}, {} pairs{loss}", grouped(*n_pairs as u64)),
                    format!("{carried} minim{} to refine", if *carried == 1 { "um" } else { "a" }),
                );
            }
            Event::Stage(_) => (),
            Event::Iteration(i) => {
                let residual = i.residual_variance.sqrt();
                let sigma = self.shared.state().sigma;
                let chi2 = sigma.map_or(String::new(), |sigma| format!("χ² {:.5e}, ", i.chi2 / (sigma * sigma)));
                self.step(format!(
                    "pass {}, {chi2}residual {residual:.5e}, {:.1e} standard errors to go",
                    i.pass, i.decrement
                ));
                log::debug!(
                    "pass {}, residual {residual:.9e}, decrement {:.2e}, damping {:.1e}",
                    i.pass,
                    i.decrement,
                    i.damping
                );
            }
        }
    }

    /// How far the sampler is.
    pub fn samples(&self, at: &sampler::Progress) {
        const WORK: &str = "sampling the posterior";
        if self.shared.state().work != WORK {
            self.announce(WORK.into(), format!("{} of {} transitions made", at.made, at.of));
            self.shared.state().made_before = at.made;
            return;
        }
        let (seconds, before) = {
            let state = self.shared.state();
            (state.since.elapsed().as_secs_f64(), state.made_before)
        };
        let made = at.made.saturating_sub(before);
        let left = if made == 0 || seconds < 2.0 {
            String::new()
        } else {
            format!(", {:.0} s left", seconds * (at.of - at.made) as f64 / made as f64)
        };
        let part = if at.made < at.warmup { "warming up" } else { "drawing" };
        self.step(format!(
            "{part}, transition {} of {}{left}, {} diverged, step {:.2}, {:.1} passes each",
            at.made, at.of, at.diverged, at.step, at.passes
        ));
    }

    /// New work, with a log line in any case.
    fn announce(&self, work: String, step: String) {
        self.begin(work);
        let mut state = self.shared.state();
        state.step = step;
        let text = format!("{}: {}", state.work, state.step);
        self.shared.log(&mut state, &text);
    }

    /// Ends, and clears the block.
    pub fn finish(&mut self) {
        self.end.take();
        if let Some(ticker) = self.ticker.take() {
            // it has nothing to tell
            let _ = ticker.join();
        }
        terminal::set_block(None);
        if let Some(bar) = &self.shared.bar {
            bar.finish_and_clear();
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
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
        let before = progress.shared.state().said;
        progress.teller("reading", 1)(1, 1000);
        assert_eq!(progress.shared.state().said, before, "said at once");
    }

    #[test]
    fn a_block_fits_the_terminal_and_names_what_matters() {
        let progress = Progress::new(true);
        progress.announce("full resolution, 161838036 pairs".into(), "pass 3, residual 1.000e-2".into());
        let pace = Pace { ranks: 4, slowest: 2, longest: 1.5, mean: 1.0 };
        progress.watch(Arc::new(Mutex::new(pace)));
        let state = progress.shared.state();
        let block = state.block(200, 812 << 20);
        let lines: Vec<&str> = block.lines().collect();
        assert_eq!(lines.len(), 3, "{block}");
        assert!(lines[0].starts_with("full") && lines[1].contains("pass 3"));
        assert_eq!(lines[2], "  812 MB in use; rank 2 of 4 slowest, 50 % above the mean");
        for columns in [20, 40, 80] {
            let narrow = state.block(columns, 812 << 20);
            assert!(
                narrow
                    .lines()
                    .enumerate()
                    .all(|(k, line)| { line.chars().count() + if k == 0 { BEFORE } else { 0 } < columns }),
                "{narrow}"
            );
        }
        assert!(state.line(0).contains("pass 3") && !state.line(0).contains('\n'));
    }

    #[test]
    fn a_look_tells_its_rate_and_the_time_left() {
        let begin = Instant::now();
        let mut look = Course { first: usize::MAX, last: usize::MAX, begin };
        for (done, seconds) in [(1, 1), (7, 8), (1, 10), (2, 12), (3, 14)] {
            look = look.at(done, begin + Duration::from_secs(seconds));
        }
        let words = look.words(13, 50_000_000, begin + Duration::from_secs(14));
        assert_eq!(words, "matrix 3 of 13, 25.0 M pairs/s, 20 s left");
        assert_eq!(look.at(1, begin).words(13, 1, begin), "matrix 1 of 13");
    }

    #[test]
    fn numbers_have_three_digits() {
        assert_eq!([0.5, 12.3, 1234.0, 3.2e10].map(with_prefix), ["0.50", "12.3", "1.23 k", "32.0 G"]);
    }

    #[test]
    fn a_silence_is_broken() {
        let progress = Progress::new(true);
        progress.doing("looking at the residuals");
        let long_ago = Instant::now().checked_sub(SILENCE);
        if let Some(long_ago) = long_ago {
            progress.shared.state().said = long_ago;
            progress.shared.tick();
            assert!(progress.shared.state().said > long_ago);
        }
    }
}
