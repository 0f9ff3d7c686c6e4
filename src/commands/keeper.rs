//! Keeps a fit from being lost: checkpoints, going on from one, stopping in time.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::reading::Found;
use super::shelf::{self, From, Shelf, of_another_run};
use super::stops::{Ask, Stops};
use crate::checkpoint::{
    Checkpoint, FolderLock, Journal, Purpose, Saver, State, Statistics, Stored, differences, identity, list,
};
use crate::config::Config;
use crate::output::Keeping;
use crate::solver::Iteration;
use crate::{Error, Result};

/// Kind of state that a fit saves.
const KIND: &str = "fit, test of one scaling and draws";
/// How the names of scratch folders begin.
const SCRATCH: &str = "scratch-";
/// Longest time between two checkpoints.
const AT_LEAST_EVERY: Duration = Duration::from_secs(60);
/// Where the configuration says whether there are checkpoints.
const ENABLE: &str = "optimization.streaming.enable_checkpoints";

/// What the command line says about going on and stopping.
#[derive(Debug, Clone, Default)]
pub struct Going {
    /// `auto`, `never`, or a checkpoint's path; `None` = as configured.
    pub resume: Option<String>,
    /// Time after which to stop.
    pub max_time: Option<Duration>,
}

/// A checkpoint that this run goes on from.
#[derive(Debug)]
struct Resumed {
    path: PathBuf,
    state: State,
    /// Hash of the data that were fitted; `None` where they hadn't been read yet.
    data_hash: Option<String>,
    /// Time that was worked before, s.
    seconds: f64,
    /// When the results of the fit were made, where they are written.
    results: Option<String>,
}

/// Keeps one fit.
#[derive(Debug)]
pub(super) struct Keeper<'a> {
    config: &'a Config,
    begin: Instant,
    identity: Value,
    resumed: Option<Resumed>,
    /// Hash of the data; until they have been read that of the checkpoint.
    data_hash: Option<String>,
    /// What checkpoints tell people.
    about: Value,
    /// In units of which they tell of χ².
    sigma: f64,
    /// When the results of the fit were made, where this run has written them.
    written: Option<String>,
    /// `None` as long as nothing had to be saved, and where nothing may be.
    shelf: Option<Shelf>,
    /// The checkpoint folder's, where there is packed data in it but no checkpoint may be.
    lock: Option<FolderLock>,
    /// The folder of packed data.
    scratch: Option<PathBuf>,
    last_save: Instant,
    last_look: Instant,
    /// Full-resolution passes since the last save.
    passes: u64,
    at_least_every: Duration,
}

impl<'a> Keeper<'a> {
    /// Looks for a checkpoint to go on from. The checkpoint folder is this run's alone from now on, or in a `short` run from the
    /// moment that there is something in it: many of them may share one.
    ///
    /// # Errors
    /// A folder that another job works in or that can't be written; a checkpoint of another run.
    pub fn open(config: &'a Config, data: &Path, short: bool, going: &Going, begin: Instant) -> Result<Self> {
        let identity = identity(&config.effective, data)?;
        let settings = &config.streaming;
        let from = match going.resume.as_deref() {
            None if settings.resume => From::Newest,
            None | Some("never") => From::Nothing,
            Some("auto") => From::Newest,
            Some(path) => From::File(Path::new(path)),
        };
        let (mut shelf, mut found) = (None, None);
        let is_empty = list(&settings.directory).unwrap_or_default().is_empty();
        if settings.checkpoints && !(short && is_empty) {
            let (opened, stored) = Shelf::open(settings, from, &identity)?;
            (shelf, found) = (Some(opened), stored);
        } else if let From::File(path) = from {
            found = Some((path.to_path_buf(), shelf::read(path)?));
        }
        let resumed = found.map(|(path, stored)| resumed(path, stored, &identity)).transpose()?;
        let now = Instant::now();
        Ok(Self {
            config,
            begin,
            identity,
            data_hash: resumed.as_ref().and_then(|resumed: &Resumed| resumed.data_hash.clone()),
            resumed,
            about: json!({}),
            sigma: 1.0,
            written: None,
            shelf,
            lock: None,
            scratch: None,
            last_save: now,
            last_look: now,
            passes: 0,
            at_least_every: at_least_every(),
        })
    }

    /// The state to go on from.
    pub fn state(&self) -> State {
        self.resumed.as_ref().map(|resumed| resumed.state.clone()).unwrap_or_default()
    }

    /// The folder for data that memory doesn't hold; its name tells these data, packed like this, from all others. It is empty,
    /// or an earlier run has completed it; what other runs have left is removed.
    ///
    /// # Errors
    /// [`Error::Io`] where it can't be made, or where another job works there.
    pub fn scratch(&mut self) -> Result<PathBuf> {
        let folder = &self.config.streaming.directory;
        if self.shelf.is_none() {
            self.lock = Some(FolderLock::take(folder, Purpose::Checkpoints)?);
        }
        let folder = std::path::absolute(folder).unwrap_or_else(|_| folder.clone());
        let hash = blake3::hash(self.identity.to_string().as_bytes()).to_hex();
        let own = folder.join(format!("{SCRATCH}{}", &hash[..16]));
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let is_scratch = entry.file_name().to_string_lossy().starts_with(SCRATCH);
            if is_scratch && (path != own || !own.join(Found::FILE).exists()) {
                let _ = fs::remove_dir_all(path);
            }
        }
        fs::create_dir_all(&own).map_err(|e| Error::io("create the scratch folder", &own, e))?;
        self.scratch = Some(own.clone());
        Ok(own)
    }

    /// When the run began.
    pub fn begin(&self) -> Instant {
        self.begin
    }

    /// Time worked, this run and those before, s.
    fn elapsed(&self) -> f64 {
        self.begin.elapsed().as_secs_f64() + self.resumed.as_ref().map_or(0.0, |resumed| resumed.seconds)
    }

    /// For the report.
    pub fn record(&self) -> Keeping {
        let resumed = self.resumed.as_ref();
        if let Some(shelf) = &self.shelf {
            // so that the report knows how it went
            let _ = shelf.saver.wait();
        }
        Keeping {
            saved: self.statistics(),
            resumed_from: resumed.map(|resumed| resumed.path.clone()),
            seconds_before: resumed.map_or(0.0, |resumed| resumed.seconds),
        }
    }

    /// The data have been read, and this is their hash.
    ///
    /// # Errors
    /// [`Error::Usage`] where the checkpoint is of other data.
    pub fn data_are(&mut self, hash: &str) -> Result<()> {
        self.data_hash = Some(hash.to_owned());
        // the time for reading says nothing about that for passes
        (self.last_save, self.last_look) = (Instant::now(), Instant::now());
        let Some(Resumed { path, state, data_hash, .. }) = &self.resumed else { return Ok(()) };
        if data_hash.as_ref().is_some_and(|then| then != hash) {
            return Err(of_another_run(path, &["contents of the data file have changed".into()]));
        }
        log::info!(
            "resumed from {}: {:.1} s of work and {} full passes are kept{}",
            path.display(),
            self.elapsed() - self.begin.elapsed().as_secs_f64(),
            state.passes().first().unwrap_or(&0),
            if state.has_part() { ", and part of the next pass" } else { "" }
        );
        Ok(())
    }

    /// What checkpoints are to tell people beside the time; residuals are in units of σ.
    pub fn tell(&mut self, sigma: f64, about: Value) {
        (self.sigma, self.about) = (sigma, about);
    }

    /// The results of the fit are written, which were made at this time.
    pub fn wrote(&mut self, timestamp: &str) {
        self.written = Some(timestamp.to_owned());
    }

    /// Whether this run has written them.
    pub fn has_written(&self) -> bool {
        self.written.is_some()
    }

    /// When the results of the fit were made, where this run has written them, now or before it was stopped.
    pub fn results(&self) -> Option<&str> {
        self.written.as_deref().or_else(|| self.resumed.as_ref()?.results.as_deref())
    }

    /// To be called after every pass: saves when it is time, and stops where that is asked for.
    ///
    /// # Errors
    /// [`Error::Stopped`] after a save, or another error where there can be none.
    pub fn after_pass(
        &mut self,
        level: usize,
        journal: &Journal,
        last: Option<&Iteration>,
        stops: &mut Stops,
    ) -> Result<()> {
        self.passes += u64::from(level == 0);
        let ask = self.look(stops);
        self.act(ask, journal, last)
    }

    /// To be called whenever something could be saved: what is to be done now.
    pub fn look(&mut self, stops: &mut Stops) -> Ask {
        let due = self.passes >= self.config.streaming.frequency || self.last_save.elapsed() > self.at_least_every;
        // the next look comes as late as this one did
        let next = std::mem::replace(&mut self.last_look, Instant::now()).elapsed();
        match stops.look(next, self.statistics().longest) {
            Ask::Nothing if due => Ask::Save,
            ask => ask,
        }
    }

    /// Does that.
    ///
    /// # Errors
    /// As [`Self::after_pass`].
    pub fn act(&mut self, ask: Ask, journal: &Journal, last: Option<&Iteration>) -> Result<()> {
        match ask {
            Ask::Nothing => {}
            Ask::Stop(why) => return Err(self.stop(&why, &journal.state(), last)),
            Ask::Save => {
                (self.last_save, self.passes) = (Instant::now(), 0);
                let checkpoint = self.checkpoint(&journal.state(), last);
                match self.saver() {
                    Some(Ok(saver)) => saver.submit(checkpoint),
                    Some(Err(error)) => log::warn!("no checkpoint: {error}"),
                    None => {}
                }
            }
        }
        Ok(())
    }

    /// To be called between passes and before the first: stops where that is asked for.
    ///
    /// # Errors
    /// As [`Self::after_pass`].
    pub fn between(&mut self, stops: &mut Stops) -> Result<()> {
        match stops.look(Duration::ZERO, self.statistics().longest) {
            Ask::Stop(why) => Err(self.stop(&why, &self.state(), None)),
            _ => Ok(()),
        }
    }

    /// What saves; `None` where nothing may be saved.
    fn saver(&mut self) -> Option<Result<&Saver>> {
        let settings = &self.config.streaming;
        if !settings.checkpoints {
            return None;
        }
        if self.shelf.is_none() {
            match Shelf::open(settings, From::Nothing, &self.identity) {
                Ok((shelf, _)) => self.shelf = Some(shelf),
                Err(error) => return Some(Err(error)),
            }
        }
        self.shelf.as_ref().map(|shelf| Ok(&shelf.saver))
    }

    /// Saves and says how to go on.
    fn stop(&mut self, why: &str, state: &State, last: Option<&Iteration>) -> Error {
        let checkpoint = self.checkpoint(state, last);
        let saver = match self.saver() {
            Some(Ok(saver)) => saver,
            Some(Err(error)) => return error,
            None => {
                let message = format!("stopped {why} without a checkpoint: `{ENABLE}` is false");
                return Error::Rank { rank: 0, message };
            }
        };
        saver.submit(checkpoint);
        match saver.wait() {
            Some(Ok(saved)) => {
                Error::Stopped(format!("{why}; run the same command again to go on from {}", saved.path.display()))
            }
            Some(Err(error)) => error,
            None => Error::Rank { rank: 0, message: "the thread that saves checkpoints has ended".into() },
        }
    }

    fn checkpoint(&self, state: &State, last: Option<&Iteration>) -> Checkpoint {
        let mut progress = json!({
            "elapsed_seconds": self.elapsed(),
            "level": state.stage().map(|stage| stage.level),
            "iteration": last.map(|iteration| iteration.pass),
            "chi_squared": last.map(|iteration| iteration.chi2 / (self.sigma * self.sigma)),
            "passes": state.passes(),
            "results": self.results(),
        });
        if let (Value::Object(progress), Value::Object(about)) = (&mut progress, &self.about) {
            progress.extend(about.clone());
        }
        let mut identity = self.identity.clone();
        identity["data"]["hash"] = json!(self.data_hash);
        Checkpoint {
            kind: KIND.into(),
            state: state.encode(),
            configuration: self.config.effective.clone(),
            identity,
            progress,
        }
    }

    /// What was saved so far.
    fn statistics(&self) -> Statistics {
        self.shelf.as_ref().map(|shelf| shelf.saver.statistics()).unwrap_or_default()
    }

    /// The results are written: checkpoints and packed data have done their work.
    pub fn finish(mut self) {
        let keep = self.config.streaming.keep_scratch;
        let mut is_used = !keep && self.remove_scratch();
        is_used |= self.shelf.take().is_some_and(Shelf::clear);
        drop(self.lock.take());
        // a run that was killed may have made the folder; anything else in it keeps it
        if is_used {
            let _ = fs::remove_dir(&self.config.streaming.directory);
        }
    }

    /// The run ends without results. Packed data stay where the next run can use them: when this one was stopped, or failed
    /// for no fault of configuration or data.
    pub fn leave(mut self, error: &Error) {
        let usable = matches!(error, Error::Stopped(_) | Error::Io { .. } | Error::Rank { .. });
        let complete = self.scratch.as_ref().is_some_and(|scratch| scratch.join(Found::FILE).exists());
        if !(usable && complete) {
            self.remove_scratch();
        }
    }

    /// Whether there was one.
    fn remove_scratch(&mut self) -> bool {
        let Some(scratch) = self.scratch.take() else { return false };
        if let Err(e) = fs::remove_dir_all(&scratch) {
            log::warn!("the scratch files stay: {}: {e}", scratch.display());
        }
        true
    }
}

/// A checkpoint to go on from, if it is one of this run.
fn resumed(path: PathBuf, stored: Stored, now: &Value) -> Result<Resumed> {
    let then = &stored.checkpoint.identity;
    let found = differences(then, now);
    if !found.is_empty() {
        return Err(of_another_run(&path, &found));
    }
    let checkpoint = &stored.checkpoint;
    let state = Some(&checkpoint.state).filter(|_| checkpoint.kind == KIND).and_then(|bytes| State::decode(bytes));
    let Some(state) = state else {
        return Err(Error::data(&path, format!("holds a state of kind `{}`, not one of a fit", checkpoint.kind)));
    };
    Ok(Resumed {
        state,
        data_hash: then["data"]["hash"].as_str().map(str::to_owned),
        seconds: checkpoint.progress["elapsed_seconds"].as_f64().unwrap_or(0.0),
        results: checkpoint.progress["results"].as_str().map(str::to_owned),
        path,
    })
}

/// [`AT_LEAST_EVERY`]; for tests `HOMODYNE_SAVE_MS` sets it.
fn at_least_every() -> Duration {
    let asked = std::env::var("HOMODYNE_SAVE_MS").ok().and_then(|text| text.parse().ok());
    asked.map_or(AT_LEAST_EVERY, Duration::from_millis)
}
