//! Rank 0's side: setting up, dealing tiles, and the objective that the solver sees.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::ingest::{self, Looked};
use super::interrupt::{Interrupts, Signals};
use super::pulse::Pulse;
use super::rank_data::RankData;
use super::reading::Judged;
use super::reduce::{Head, Pace, Reduction, message};
use super::setup::Setup;
use super::threads::{refuse_absurd, thread_remarks};
use super::worker::{RankStatus, encode, flatten, operation, place};
use super::{MemoryProfile, Place, Sample, World, overview, record, thread_plan};
use crate::dataset::{Dataset, Digest};
use crate::gram::gpu::Accelerated;
use crate::gram::overview::{Overview, View};
use crate::gram::{Gram, Level, Objective, Pass, Point, Watch};
use crate::model::Experiment;
use crate::{Error, Result, trace};

/// Told how many of so many matrices have been looked at.
type MatrixProgress<'w> = Box<dyn Fn(usize, usize) + 'w>;

/// Drives all ranks from rank 0.
pub struct Driver<'w> {
    world: &'w World,
    data: RankData,
    /// The file.
    dataset: Option<&'w Dataset>,
    /// By matrix, once all are known.
    digests: Vec<Vec<Digest>>,
    /// Whether every rank reads a part of it.
    parallel: bool,
    /// By level.
    reductions: Vec<Reduction>,
    fault: Fault,
    signals: Rc<Signals>,
    passes: Vec<u64>,
    pairs: f64,
    busy: Duration,
    /// Time of full-resolution passes, s.
    finest: f64,
    /// Time that threads of this rank worked in them, s.
    worked: f64,
    pace: Arc<Mutex<Pace>>,
    /// Told of matrices that are read again.
    on_matrix: Option<MatrixProgress<'w>>,
    /// What lies between two passes.
    between: Option<trace::Span>,
    /// Watches the other ranks.
    _pulse: Option<Pulse>,
}

/// Tells the other ranks to end with an exit code; they must be waiting for a command.
pub fn stop(world: &World, code: u8) {
    world.broadcast_words(&mut [operation::STOP, code.into(), 0, 0]);
}

impl<'w> Driver<'w> {
    /// Tells every rank what will be fitted.
    ///
    /// # Errors
    /// When threads cannot be started, or so many are asked for that it must be a mistake.
    pub fn new(world: &'w World, setup: Setup) -> Result<Self> {
        refuse_absurd(setup.threads)?;
        let mut bytes = serde_json::to_vec(&setup).unwrap_or_default();
        world.broadcast_words(&mut [operation::SETUP, bytes.len() as u64, 0, 0]);
        world.broadcast_bytes(&mut bytes);
        let pulse = Pulse::start(world, setup.silence());
        setup.recorded.agree_on_time(world);
        let threads = thread_plan(world, setup.threads);
        let parallel = setup.reading.as_ref().is_some_and(|reading| reading.parallel);
        let data = RankData::new(world, setup, threads)?;
        let n_levels = data.dealing.levels.len();
        let reductions = (0..n_levels).map(|level| Reduction::new(&data.dealing, level)).collect();
        Ok(Self {
            world,
            data,
            dataset: None,
            digests: Vec::new(),
            parallel,
            reductions,
            fault: Fault::from_environment(0),
            signals: Rc::new(Signals::of(Interrupts::install(0)?)),
            passes: vec![0; n_levels],
            pairs: 0.0,
            busy: Duration::ZERO,
            finest: 0.0,
            worked: 0.0,
            pace: Arc::default(),
            on_matrix: None,
            between: None,
            _pulse: pulse,
        })
    }

    /// The threads of this rank, for all that is done to the data before they are dealt.
    pub fn pool(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.data.pool)
    }

    /// The first look: has all matrices read and dealt, and gives what is known of each angle's. `between` is called now and then with
    /// how many have been read, and may end it.
    ///
    /// # Errors
    /// The first in the order of ranks that [`Dataset::read`] gives; [`Error::Lost`] where the configuration allows to go on without
    /// some.
    pub fn read(&mut self, dataset: &'w Dataset, between: &mut dyn FnMut(usize) -> Result<()>) -> Result<Vec<Judged>> {
        self.dataset = Some(dataset);
        let n_angles = self.data.setup.experiment.n_angles();
        let mut known = self.restore(n_angles);
        let angles: Vec<usize> = (0..n_angles).filter(|angle| !known.contains_key(angle)).collect();
        if !angles.is_empty() {
            let before = known.len();
            known.extend(self.look(&angles, true, &mut |done| between(before + done))?);
        }
        let judged: Vec<Judged> = known.into_values().collect();
        if judged.len() < n_angles {
            return Err(Error::Rank { rank: 0, message: format!("{} of {n_angles} matrices were read", judged.len()) });
        }
        self.digests = judged.iter().map(|judged| judged.digests.clone()).collect();
        self.world.broadcast_words(&mut [operation::COMPLETE, 0, 0, 0]);
        self.data.begin_passes(self.world)?;
        Ok(judged)
    }

    /// Takes the nodes that an earlier run has left; gives what is known of these matrices, by angle.
    fn restore(&mut self, n_angles: usize) -> BTreeMap<usize, Judged> {
        let Some(files) = &self.data.setup.nodes else { return BTreeMap::new() };
        let mut known = files.load_found(n_angles);
        let mut words: Vec<u64> = known.keys().map(|&angle| angle as u64).collect();
        self.world.broadcast_words(&mut [operation::RESTORE, words.len() as u64, 0, 0]);
        self.world.broadcast_words(&mut words);
        let angles: Vec<usize> = known.keys().copied().collect();
        let missing: Vec<f64> = self.data.restore(&angles).iter().map(|&angle| angle as f64).collect();
        self.world.gather_any(&missing).iter().for_each(|&angle| drop(known.remove(&(angle as usize))));
        if !known.is_empty() {
            log::info!("nodes of {} of {n_angles} matrices are there from an earlier run", known.len());
        }
        known
    }

    /// Has the matrices of these angles read, for what all ranks look for in them.
    fn look(
        &mut self,
        angles: &[usize],
        judges: bool,
        between: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<(usize, Judged)>> {
        let Some(dataset) = self.dataset else {
            return Err(Error::Rank { rank: 0, message: "there is no file to be read".into() });
        };
        let signals = Rc::clone(&self.signals);
        let note = move |rank: usize, signal: u8| signals.note(rank, signal);
        let files = self.data.setup.nodes.clone();
        let before = &self.digests;
        let keep = |angle: usize, digests: &[Digest], judged: Option<&Judged>| {
            if before.get(angle).is_some_and(|before| before != digests) {
                let message = "has changed since this run has read it first; begin anew with `--resume never`";
                return Err(Error::data_at(&dataset.file, &*dataset.slots[dataset.selected[angle]].path, message));
            }
            if let (Some(files), Some(judged)) = (&files, judged) {
                files.save_found(angle, judged);
            }
            Ok(())
        };
        let mut once = |data: &mut RankData, parallel: bool| {
            data.take_in(self.world, |rank, shelves, _| {
                ingest::lead(rank, shelves, (dataset, angles, judges), parallel, (&note, &keep), between)
            })?
        };
        let Looked { mut judged, mut lost, unseen } = once(&mut self.data, self.parallel)?;
        if let Some(error) = unseen {
            log::info!("rank 0 reads all matrices: {error}");
            self.parallel = false;
            Looked { judged, lost, .. } = once(&mut self.data, false)?;
        }
        if lost.is_empty() { Ok(judged) } else { Err(Error::Lost(lost)) }
    }

    /// Tells of matrices that are read again, from now on.
    pub fn on_matrix(&mut self, tell: impl Fn(usize, usize) + 'w) {
        self.on_matrix = Some(Box::new(tell));
    }

    /// Has the matrices of these angles read once more.
    fn look_again(&mut self, angles: &[usize], watch: Watch<'_>) -> Result<()> {
        let tell = self.on_matrix.take();
        let looked = self.look(angles, false, &mut |done| {
            tell.iter().for_each(|tell| tell(done, angles.len()));
            watch()
        });
        self.on_matrix = tell;
        looked.map(drop)
    }

    /// Signals that came to any rank; ranks tell of theirs with every pass.
    pub fn signals(&self) -> Rc<Signals> {
        Rc::clone(&self.signals)
    }

    /// How evenly ranks worked in the last full-resolution pass.
    pub fn pace(&self) -> Arc<Mutex<Pace>> {
        Arc::clone(&self.pace)
    }

    /// Tells every rank σ of every angle, by which robust losses measure; all data must have been dealt.
    pub fn set_sigma(&mut self, sigma: &[f64]) {
        self.world.broadcast_words(&mut [operation::SIGMA, 0, 0, 0]);
        self.world.broadcast_floats(&mut sigma.to_vec());
        if let Ok(engine) = self.data.engine_mut() {
            engine.set_sigma(sigma);
        }
    }

    /// Asks every rank for its memory and threads; a collective call.
    pub fn status(&self) -> Vec<RankStatus> {
        self.world.broadcast_words(&mut [operation::STATUS, 0, 0, 0]);
        let own = RankStatus::own(&self.data, self.worked);
        let all = self.world.gather(&own.encode(), &vec![RankStatus::WORDS; self.world.size()]);
        all.chunks_exact(RankStatus::WORDS).map(RankStatus::decode).collect()
    }

    /// Asks every rank where it is and what it has to work with; a collective call.
    pub fn places(&self) -> Vec<Place> {
        self.world.broadcast_words(&mut [operation::PLACE, 0, 0, 0]);
        let all = self.world.gather_texts(&place(self.world, &self.data));
        all.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }

    /// What all ranks recorded, in their order: events of the trace, and samples of memory, of which `own` are rank 0's; a
    /// collective call.
    pub fn records(&self, own: Option<&MemoryProfile>) -> (Vec<String>, Vec<Vec<Sample>>) {
        self.world.broadcast_words(&mut [operation::RECORDS, 0, 0, 0]);
        record::gather(self.world, own)
    }

    /// Has all ranks look at the data, too, when an answer is verified by reading them again: [`Self::overview`] then has it at hand.
    pub fn look_when_verifying(&mut self, view: &View) {
        if self.data.setup.keeps {
            return;
        }
        let mut bytes = postcard::to_stdvec(view).unwrap_or_default();
        self.world.broadcast_words(&mut [operation::EXPECT, bytes.len() as u64, 0, 0]);
        self.world.broadcast_bytes(&mut bytes);
        self.data.expect(view.clone());
    }

    /// What the data of all ranks look like against a model, one overview an angle; a collective call.
    ///
    /// # Errors
    /// What reading ends with, where the pairs aren't kept, and `watch`.
    pub fn overview(&mut self, view: &View, watch: Watch<'_>) -> Result<Vec<Overview>> {
        // numbers always have a form
        let mut bytes = postcard::to_stdvec(view).unwrap_or_default();
        self.world.broadcast_words(&mut [operation::VIEW, bytes.len() as u64, 0, 0]);
        self.world.broadcast_bytes(&mut bytes);
        let _span = trace::span("looking");
        if self.data.begin_view(view.clone())? {
            let angles: Vec<usize> = (0..self.data.setup.experiment.n_angles()).collect();
            self.look_again(&angles, watch)?;
        }
        let own = self.data.take_seen();
        overview::gather(self.world, own, &self.data.dealing.levels[0], view)
    }

    /// Instruction set in use on rank 0.
    pub fn instruction_set(&self) -> &'static str {
        self.data.engine().map_or("none", |engine| engine.instruction_set())
    }

    /// The GPU that passes are made on, on rank 0.
    pub fn gpu(&self) -> Option<String> {
        self.data.engine().and_then(Accelerated::gpu)
    }

    /// Warnings and notes about the threads of all ranks; a collective call.
    pub fn thread_remarks(&self) -> (Vec<String>, Vec<String>) {
        thread_remarks(&self.status().iter().map(|s| s.plan).collect::<Vec<_>>())
    }

    /// Bytes of all pairs, packed.
    pub fn data_bytes(&self) -> usize {
        let once: usize = self.data.dealing.levels.iter().map(Level::bytes).sum();
        if self.data.setup.weighted { 2 * once } else { once }
    }

    /// Bytes of the data that rank 0 holds: pairs and nodes.
    pub fn held_bytes(&self) -> usize {
        self.data.engine().map_or(0, |engine| engine.bytes())
    }

    /// Passes so far, by level.
    pub fn passes(&self) -> &[u64] {
        &self.passes
    }

    /// Time of the full-resolution passes so far, s.
    pub fn finest_seconds(&self) -> f64 {
        self.finest
    }

    /// Pairs evaluated so far and the time that took.
    pub fn work(&self) -> (f64, Duration) {
        (self.pairs, self.busy)
    }
}

impl Objective for Driver<'_> {
    fn experiment(&self) -> &Experiment {
        &self.data.setup.experiment
    }

    fn levels(&self) -> &[Level] {
        &self.data.dealing.levels
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        self.evaluate_watched(level, points, pass, &mut || Ok(()))
    }

    fn evaluate_watched(
        &mut self,
        level: usize,
        points: &[Point],
        pass: Pass,
        watch: Watch<'_>,
    ) -> Result<Vec<Vec<Gram>>> {
        if points.is_empty() {
            return Ok(Vec::new());
        }
        self.fault.check()?;
        drop(self.between.take());
        self.data.engine_mut()?;
        let start = Instant::now();
        let span = trace::span("pass").with(|| format!("level {level}, {} points, {pass:?}", points.len()));
        self.world.broadcast_words(&mut [operation::EVALUATE, level as u64, pass.code(), points.len() as u64]);
        self.world.broadcast_floats(&mut encode(points));
        // the others are in the middle of it
        let failed = |error: Error| Error::Rank { rank: 0, message: error.to_string() };
        let waiting = self.data.begin_sums(level, points.to_vec(), pass).map_err(failed)?;
        if level == 0 && !self.data.setup.keeps {
            let own: Vec<f64> = waiting.iter().map(|&angle| angle as f64).collect();
            let mut angles: Vec<usize> = self.world.gather_any(&own).iter().map(|&angle| angle as usize).collect();
            angles.sort_unstable();
            angles.dedup();
            if angles.is_empty() {
                self.world.broadcast_words(&mut [operation::LEAVE, 0, 0, 0]);
            } else {
                self.look_again(&angles, watch)?;
            }
        }
        let own = self.data.take_sums().sums;
        let worked = self.data.engine().map_or(0.0, Accelerated::worked);
        if level == 0 {
            self.worked += worked;
        }
        drop(span);
        let sums = {
            let _span = trace::span("reduction");
            self.collect(level, points.len(), pass, &own, worked)
        };
        self.between = Some(trace::span("solver"));
        self.passes[level] += points.len() as u64;
        self.pairs += points.len() as f64 * self.data.dealing.levels[level].plan.n_pairs() as f64;
        self.busy += start.elapsed();
        if level == 0 {
            self.finest += start.elapsed().as_secs_f64();
        }
        Ok(sums)
    }
}

impl Driver<'_> {
    /// Gathers all ranks' nodes and completes every angle's tree, point by point.
    fn collect(&mut self, level: usize, n_points: usize, pass: Pass, own: &[Gram], worked: f64) -> Vec<Vec<Gram>> {
        let reduction = &self.reductions[level];
        let own = message(Head { signal: self.signals.own(), worked }, flatten(own, pass));
        let all = self.world.gather(&own, &reduction.counts(n_points, pass));
        let heads: Vec<Head> = reduction.heads(n_points, pass, &all).collect();
        heads.iter().enumerate().for_each(|(rank, head)| self.signals.note(rank, head.signal));
        if level == 0 {
            *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Pace::of(&heads);
        }
        reduction.complete(n_points, pass, &all)
    }
}
