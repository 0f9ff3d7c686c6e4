//! When a run is to save what it has, and when to stop: signals, a deadline, files that a user puts into the output folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use std::rc::Rc;

use crate::cluster::Signals;

/// File in the output folder that makes a run save and stop.
const STOP: &str = "stop";
/// File that makes it save and go on.
const SAVE: &str = "checkpoint";
/// Time between two looks for them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time left to the batch system at the end of a job, beside that of saving.
const MARGIN: Duration = Duration::from_secs(20);
/// Times the longest save that are kept free before a deadline.
const SAVES: f64 = 3.0;

/// What a run is asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ask {
    /// Go on.
    Nothing,
    /// Save, then go on.
    Save,
    /// Save, then stop, for this reason.
    Stop(String),
}

/// A time at which the run must have ended, and who says so.
#[derive(Debug, Clone)]
struct Deadline {
    at: Instant,
    why: &'static str,
    /// Time that must be left beside that of saving.
    margin: Duration,
}

/// All reasons to save or stop.
#[derive(Debug)]
pub(super) struct Stops {
    signals: Rc<Signals>,
    deadlines: Vec<Deadline>,
    folder: PathBuf,
    looked: Instant,
}

impl Stops {
    /// From now on; `max_time` counts from the beginning of the run.
    pub fn new(signals: Rc<Signals>, folder: &Path, begin: Instant, max_time: Option<Duration>) -> Self {
        for name in [STOP, SAVE] {
            let file = folder.join(name);
            if std::fs::remove_file(&file).is_ok() {
                log::warn!("{}: was there before this run and is removed", file.display());
            }
        }
        let asked = max_time.and_then(|time| begin.checked_add(time));
        let asked = asked.map(|at| Deadline { at, why: "--max-time", margin: Duration::ZERO });
        let job = end_of_job().map(|at| Deadline { at, why: "the end of Slurm's job", margin: MARGIN });
        if let Some(Deadline { at, .. }) = &job {
            let left = at.saturating_duration_since(Instant::now()).as_secs();
            log::info!("Slurm's job ends in {left} s; a checkpoint is saved before");
        }
        let deadlines = asked.into_iter().chain(job).collect();
        Self { signals, deadlines, folder: folder.to_path_buf(), looked: begin }
    }

    /// What is asked for now, where the next look comes in `next` and a save takes `save` s at most.
    pub fn look(&mut self, next: Duration, save: f64) -> Ask {
        if let Some(signal) = self.signals.text() {
            return Ask::Stop(format!("by {signal}"));
        }
        let now = Instant::now();
        let saving = Duration::try_from_secs_f64(SAVES * save).unwrap_or_default();
        if let Some(near) = self.deadlines.iter().find(|d| now + next + saving + d.margin > d.at) {
            return Ask::Stop(format!("in time before {}", near.why));
        }
        if now.duration_since(self.looked) < LOOK_EVERY {
            return Ask::Nothing;
        }
        self.looked = now;
        let taken = |name: &str| std::fs::remove_file(self.folder.join(name)).is_ok();
        if taken(STOP) {
            return Ask::Stop(format!("by the file {}", self.folder.join(STOP).display()));
        }
        if taken(SAVE) { Ask::Save } else { Ask::Nothing }
    }
}

/// When Slurm's job ends, where this is one: from the environment, else from `squeue`.
fn end_of_job() -> Option<Instant> {
    let until = |seconds: f64| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs_f64();
        Instant::now().checked_add(Duration::try_from_secs_f64((seconds - now).max(0.0)).ok()?)
    };
    let job = std::env::var("SLURM_JOB_ID").ok()?;
    if let Some(end) = std::env::var("SLURM_JOB_END_TIME").ok().and_then(|text| text.parse().ok()) {
        return until(end);
    }
    let answer = Command::new("squeue").args(["--noheader", "--format=%e", "--jobs", &job]).output().ok()?;
    // local time, such as 2026-11-23T04:00:00; `N/A` or `Unknown` where there is no limit
    let text = String::from_utf8(answer.stdout).ok()?;
    let end: jiff::civil::DateTime = text.trim().parse().ok()?;
    let end = end.to_zoned(jiff::tz::TimeZone::system()).ok()?;
    until(end.timestamp().as_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stops(folder: &Path, max_time: Option<Duration>) -> Stops {
        Stops::new(Rc::new(Signals::none()), folder, Instant::now(), max_time)
    }

    #[test]
    fn files_are_taken_at_their_word_once() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(STOP), "").unwrap();
        let mut stops = stops(folder.path(), None);
        assert!(!folder.path().join(STOP).exists(), "one from before doesn't count");
        let mut look = || {
            stops.looked -= LOOK_EVERY;
            stops.look(Duration::ZERO, 0.0)
        };
        assert_eq!(look(), Ask::Nothing);
        std::fs::write(folder.path().join(SAVE), "").unwrap();
        assert_eq!((look(), look()), (Ask::Save, Ask::Nothing));
        std::fs::write(folder.path().join(STOP), "").unwrap();
        assert!(matches!(look(), Ask::Stop(why) if why.contains("the file")));
        assert_eq!(look(), Ask::Nothing);
    }

    #[test]
    fn a_deadline_leaves_time_for_the_next_pass_and_for_saving() {
        let folder = tempfile::tempdir().unwrap();
        let mut stops = stops(folder.path(), Some(Duration::from_secs(100)));
        let mut look = |next: u64, save: f64| stops.look(Duration::from_secs(next), save);
        assert_eq!(look(50, 1.0), Ask::Nothing);
        assert!(matches!(look(99, 1.0), Ask::Stop(why) if why.contains("--max-time")));
        assert!(matches!(look(1, 40.0), Ask::Stop(_)));
    }
}
