//! Keeps a fit from being lost: checkpoints, going on from one, stopping in time.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::shelf::{self, From, Shelf, of_another_run};
use super::stops::{Ask, Stops};
use crate::checkpoint::{Care, Checkpoint, Journal, Saver, State, Statistics, Stored, differences, identity, list};
use crate::cluster::NodeFiles;
use crate::config::Config;
use crate::output::Keeping;
use crate::solver::Iteration;
use crate::{Error, Result};

/// Kind of state that a fit saves.
const KIND: &str = "fit, test of one scaling and draws";
/// How the names of folders of nodes begin.
const NODES: &str = "nodes-";
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
    /// Folders of nodes of this run.
    nodes: Vec<PathBuf>,
    /// When the results of the fit were made, where this run has written them.
    written: Option<String>,
    /// Matrices that couldn't be read, by their number among all that were selected.
    lost: Vec<usize>,
    /// `None` as long as nothing had to be saved, and where nothing may be.
    shelf: Option<Shelf>,
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
            lost: resumed.as_ref().map(|resumed| resumed.state.lost().to_vec()).unwrap_or_default(),
            resumed,
            about: json!({}),
            sigma: 1.0,
            nodes: Vec::new(),
            written: None,
            shelf,
            last_save: now,
            last_look: now,
            passes: 0,
            at_least_every: at_least_every(),
        })
    }

    /// The state to go on from.
    pub fn state(&self) -> State {
        self.resumed.as_ref().map_or_else(|| State::without(&self.lost), |resumed| resumed.state.clone())
    }

    /// Matrices that couldn't be read, by their number among all that were selected.
    pub fn lost(&self) -> &[usize] {
        &self.lost
    }

    /// The fit begins anew without more of the `all` matrices: these of those that were left.
    pub fn begin_without(&mut self, more: &[usize], all: usize) {
        // they are of other angles
        self.remove_nodes();
        let left: Vec<usize> = (0..all).filter(|number| !self.lost.contains(number)).collect();
        self.lost.extend(more.iter().map(|&number| left[number]));
        self.lost.sort_unstable();
        (self.resumed, self.data_hash) = (None, None);
    }

    /// The folder for nodes of data that memory doesn't hold, where checkpoints may be; its name tells the nodes of these data from all
    /// others.
    pub fn nodes(&mut self) -> Option<NodeFiles> {
        let root = &self.config.streaming.directory;
        self.shelf.as_ref()?;
        let hash = blake3::hash(format!("{} {:?}", self.identity, self.lost).as_bytes()).to_hex();
        // ranks needn't have the same working directory
        let root = std::path::absolute(root).unwrap_or_else(|_| root.clone());
        let folder = root.join(format!("{NODES}{}", &hash[..16]));
        self.nodes.push(folder.clone());
        if let Err(error) = fs::create_dir_all(&folder) {
            log::warn!("{}: {error}; a run that goes on will read the data again", folder.display());
            return None;
        }
        Some(NodeFiles { folder })
    }

    /// Removes the nodes of this run; whether there were any. Those of others stay.
    fn remove_nodes(&self) -> bool {
        let mut any = false;
        for entry in fs::read_dir(&self.config.streaming.directory).into_iter().flatten().flatten() {
            let (path, name) = (entry.path(), entry.file_name());
            if self.nodes.iter().any(|own| own.file_name() == Some(&name)) {
                any |= fs::remove_dir_all(path).is_ok();
            } else if name.to_string_lossy().starts_with(NODES) {
                log::info!("{}: nodes of another run; remove them if it won't go on", path.display());
            }
        }
        any
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
            "resumed from {}: {:.1} s of work and {} full passes are kept",
            path.display(),
            self.elapsed() - self.begin.elapsed().as_secs_f64(),
            state.passes().first().unwrap_or(&0)
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

    /// What is to be done now.
    fn look(&mut self, stops: &mut Stops) -> Ask {
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
    /// [`Error::Stopped`] after a save, or another error where there can be none.
    fn act(&mut self, ask: Ask, journal: &Journal, last: Option<&Iteration>) -> Result<()> {
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

    /// To be called between the matrices of a look that is no pass: saves and stops as after a pass.
    ///
    /// # Errors
    /// As [`Self::act`].
    pub fn go_on(&mut self, journal: &Journal, stops: &mut Stops) -> Result<()> {
        let ask = self.look(stops);
        self.act(ask, journal, None)
    }

    /// To be called before the first pass: stops where that is asked for.
    ///
    /// # Errors
    /// As [`Self::act`].
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

    /// The run ends without results. Nodes stay, where the data aren't at fault: the next run can use them.
    pub fn leave(mut self, error: &Error) {
        if matches!(error, Error::Data { .. }) && self.remove_nodes() {
            // its lock lies there
            drop(self.shelf.take());
            let _ = fs::remove_dir(&self.config.streaming.directory);
        }
    }

    /// The results are written: checkpoints have done their work.
    pub fn finish(mut self) {
        let had_nodes = self.remove_nodes();
        // a run that was killed may have made the folder; anything else in it keeps it
        if self.shelf.take().is_some_and(Shelf::clear) || had_nodes {
            let _ = fs::remove_dir(&self.config.streaming.directory);
        }
    }
}

/// Has a fit kept while it is made, and ends it where that is asked for.
pub(super) struct Watchman<'a, 'c> {
    pub keeper: &'a mut Keeper<'c>,
    pub stops: &'a mut Stops,
    /// The last iteration, of a fit; draws have none, and their passes aren't counted.
    pub last: Option<&'a RefCell<Option<Iteration>>>,
}

impl Watchman<'_, '_> {
    fn look(&mut self, journal: &Journal) -> Result<()> {
        let ask = self.keeper.look(self.stops);
        let last = self.last.map(RefCell::borrow);
        self.keeper.act(ask, journal, last.as_ref().and_then(|last| last.as_ref()))
    }
}

impl Care for Watchman<'_, '_> {
    fn after_pass(&mut self, level: usize, journal: &Journal) -> Result<()> {
        self.keeper.passes += u64::from(level == 0 && self.last.is_some());
        self.look(journal)
    }

    fn between(&mut self, journal: &Journal) -> Result<()> {
        self.look(journal)
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
