//! Rank 0's side: setting up, dealing tiles, and the objective that the solver sees.

use std::path::Path;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::engine;
use super::fault::Fault;
use super::interrupt::{Interrupts, Signals};
use super::memory::Samples;
use super::parallel::{self, Reading, Shelves};
use super::pulse::Pulse;
use super::reading::Judged;
use super::reduce::{Head, Pace, Reduction, message};
use super::rounds::LongPass;
use super::setup::{Dealing, Setup, Streaming, thread_pool};
use super::threads::{refuse_absurd, thread_remarks};
use super::worker::{RankStatus, encode, encode_tiles, flatten, operation, place};
use super::{MemoryProfile, Place, Sample, ThreadPlan, World, overview, record, thread_plan};
use crate::dataset::Dataset;
use crate::gram::gpu::Accelerated;
use crate::gram::overview::{Overview, View};
use crate::gram::rounds::{Known, encode as encode_parts};
use crate::gram::{
    BatchProgress, Engine, Gram, Lane, Level, Objective, Pass, Point, TileReader, TileStore, TileWriter, Watch,
    as_floats, pack_angle,
};
use crate::model::Experiment;
use crate::{Error, Result, trace};

/// Drives all ranks from rank 0.
pub struct Driver<'w> {
    world: &'w World,
    setup: Setup,
    dealing: Dealing,
    /// By level.
    reductions: Vec<Reduction>,
    threads: ThreadPlan,
    pool: Arc<rayon::ThreadPool>,
    stores: Vec<TileStore>,
    /// Where the levels go, if not to the ranks.
    writers: Vec<TileWriter>,
    /// σ of every pair, where they have their own.
    sigma: Vec<TileStore>,
    engine: Option<Accelerated>,
    buffer: Vec<Lane>,
    fault: Fault,
    signals: Rc<Signals>,
    samples: Arc<Samples>,
    /// Level and global number of tiles that ranks have to leave out.
    lost: Vec<(usize, usize)>,
    passes: Vec<u64>,
    pairs: f64,
    busy: Duration,
    /// Time of full-resolution passes, s.
    finest: f64,
    /// Time that threads of this rank worked in them, s.
    worked: f64,
    pace: Arc<Mutex<Pace>>,
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
        let dealing = Dealing::new(&setup.experiment, world.size());
        let reductions = (0..dealing.levels.len()).map(|level| Reduction::new(&dealing, level)).collect();
        let stores = dealing.stores(0, setup.streaming.is_some())?;
        let sigma = if setup.weighted { dealing.stores(0, false)? } else { Vec::new() };
        let pool = Arc::new(thread_pool(0, threads.threads)?);
        let passes = vec![0; dealing.levels.len()];
        Ok(Self {
            world,
            fault: Fault::from_environment(0),
            signals: Rc::new(Signals::of(Interrupts::install(0)?)),
            samples: Arc::default(),
            lost: setup.streaming.iter().flat_map(|streaming| streaming.lost.clone()).collect(),
            setup,
            dealing,
            reductions,
            threads,
            pool,
            stores,
            writers: Vec::new(),
            sigma,
            engine: None,
            buffer: Vec::new(),
            passes,
            pairs: 0.0,
            busy: Duration::ZERO,
            finest: 0.0,
            worked: 0.0,
            pace: Arc::default(),
            between: None,
            _pulse: pulse,
        })
    }

    /// The threads of this rank, for all that is done to the data before they are dealt.
    pub fn pool(&self) -> Arc<rayon::ThreadPool> {
        Arc::clone(&self.pool)
    }

    /// Packs one matrix and deals it to its owners. Angles must come in order, each once; `row_after(i)` gives c2 of frame i
    /// with the frames behind it.
    ///
    /// # Errors
    /// When threads cannot be started.
    pub fn load<'m>(&mut self, angle: usize, row_after: &(dyn Fn(usize) -> &'m [f32] + Sync)) -> Result<()> {
        if let Some(streaming) = self.setup.streaming.clone() {
            return self.write(&streaming, angle, row_after);
        }
        self.world.broadcast_words(&mut [operation::LOAD, angle as u64, 0, 0]);
        self.deal(angle, row_after, false);
        if angle + 1 == self.setup.experiment.n_angles() {
            self.complete()?;
        }
        Ok(())
    }

    /// All data are there: they go to an engine.
    fn complete(&mut self) -> Result<()> {
        self.buffer = Vec::new();
        let (stores, sigma) = (std::mem::take(&mut self.stores), std::mem::take(&mut self.sigma));
        let pool = thread_pool(0, self.threads.threads)?;
        let mut own = engine::build(&self.setup, &self.dealing, (stores, sigma), pool)?;
        engine::accelerate(&mut own, self.world, &self.setup)?;
        self.engine = Some(own);
        Ok(())
    }

    /// Has every rank read a part of the matrices and deal them, in place of [`Self::load`]; gives what is known of each angle's.
    /// `between` is called now and then with how many have been read, and may end it.
    ///
    /// # Errors
    /// The first in the order of ranks that [`Dataset::read`] gives.
    pub fn read_in_parallel(
        &mut self,
        reading: &Reading,
        dataset: &Dataset,
        between: &mut dyn FnMut(usize) -> Result<()>,
    ) -> Result<Vec<Judged>> {
        let pool = self.pool();
        let shelves = Shelves { stores: &mut self.stores, sigma: &mut self.sigma };
        let judged = parallel::lead((self.world, &self.dealing, &pool), shelves, (reading, dataset), between)?;
        self.complete()?;
        Ok(judged)
    }

    /// The same for σ of every pair, before the angle's c2.
    pub fn load_sigma<'m>(&mut self, angle: usize, row_after: &(dyn Fn(usize) -> &'m [f32] + Sync)) {
        self.world.broadcast_words(&mut [operation::LOAD_SIGMA, angle as u64, 0, 0]);
        self.deal(angle, row_after, true);
    }

    fn deal<'m>(&mut self, angle: usize, row_after: &(dyn Fn(usize) -> &'m [f32] + Sync), is_sigma: bool) {
        let _span = trace::span("dealing").with(|| format!("angle {angle}"));
        for rank in (0..self.world.size()).rev() {
            for (k, level) in self.dealing.levels.iter().enumerate() {
                let tiles = self.dealing.tiles(k, rank, angle);
                if tiles.is_empty() {
                    continue;
                }
                let base = angle * level.plan.per_angle();
                let within = tiles.start - base..tiles.end - base;
                let pool = &self.pool;
                let pack = |out: &mut [Lane]| pool.install(|| pack_angle(level, within, row_after, out));
                if rank == 0 && is_sigma {
                    pack(self.sigma[k].lanes_mut(&tiles));
                } else if rank == 0 {
                    pack(self.stores[k].lanes_mut(&tiles));
                    pool.install(|| self.stores[k].mark(&level.plan, &tiles));
                } else {
                    self.buffer.resize(level.plan.lanes_of(&tiles), Lane([f32::NAN; 8]));
                    pack(&mut self.buffer);
                    self.world.send(rank, as_floats(&self.buffer));
                }
            }
        }
    }

    /// Packs one matrix into the files of all levels.
    fn write<'m>(
        &mut self,
        streaming: &Streaming,
        angle: usize,
        row_after: &(dyn Fn(usize) -> &'m [f32] + Sync),
    ) -> Result<()> {
        let levels = &self.dealing.levels;
        if angle == 0 {
            let create = |(k, level): (usize, &Level)| TileWriter::create(&streaming.file(k), &level.plan);
            self.writers = levels.iter().enumerate().map(create).collect::<Result<_>>()?;
        }
        for (writer, level) in self.writers.iter_mut().zip(levels) {
            self.pool.install(|| writer.write(level, row_after))?;
        }
        if angle + 1 < self.setup.experiment.n_angles() {
            return Ok(());
        }
        std::mem::take(&mut self.writers).into_iter().try_for_each(TileWriter::finish)?;
        let files = streaming.open(&self.dealing, 0, false)?;
        self.attach(files, false)
    }

    /// The folder of packed data, where they are streamed.
    pub fn scratch(&self) -> Option<&Path> {
        self.setup.streaming.as_ref().map(|streaming| streaming.folder.as_path())
    }

    /// Has all ranks take their data from files that another run has written; `false`, with a warning, where these can't be used
    /// as a whole. A single tile that isn't as it was written is an error, then or when it is read.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn reuse(&mut self) -> Result<bool> {
        let Some(streaming) = &self.setup.streaming else { return Ok(false) };
        match streaming.open(&self.dealing, 0, true) {
            Ok(files) => self.attach(files, true).map(|()| true),
            Err(error) => {
                log::warn!("packed data of an earlier run aren't used: {error}");
                Ok(false)
            }
        }
    }

    /// Has all ranks take their data from the files of the levels, which are complete.
    fn attach(&mut self, files: Vec<TileReader>, verify: bool) -> Result<()> {
        let Some(streaming) = &self.setup.streaming else { return Ok(()) };
        self.world.broadcast_words(&mut [operation::OPEN, verify.into(), 0, 0]);
        let pool = thread_pool(0, self.threads.threads)?;
        let stores = std::mem::take(&mut self.stores);
        let mut own = engine::build(&self.setup, &self.dealing, (stores, Vec::new()), pool)?;
        streaming.attach(files, &mut own)?;
        engine::accelerate(&mut own, self.world, &self.setup)?;
        self.engine = Some(own);
        Ok(())
    }

    /// Signals that came to any rank; ranks tell of theirs with every pass.
    pub fn signals(&self) -> Rc<Signals> {
        Rc::clone(&self.signals)
    }

    /// How evenly ranks worked in the last full-resolution pass.
    pub fn pace(&self) -> Arc<Mutex<Pace>> {
        Arc::clone(&self.pace)
    }

    /// Reports the batches of full-resolution passes on this rank, and samples its memory after each.
    pub fn on_batch(&mut self, report: BatchProgress) {
        if let (Some(engine), Some(pairs)) = (&mut self.engine, self.setup.batch_pairs) {
            let samples = Arc::clone(&self.samples);
            let both = move |done, all| {
                samples.take();
                report(done, all);
            };
            engine.set_batches(pairs, Some(Box::new(both)));
        }
    }

    /// Tells every rank σ of every angle, by which robust losses measure; all data must have been dealt.
    pub fn set_sigma(&mut self, sigma: &[f64]) {
        self.world.broadcast_words(&mut [operation::SIGMA, 0, 0, 0]);
        self.world.broadcast_floats(&mut sigma.to_vec());
        if let Some(engine) = &mut self.engine {
            engine.set_sigma(sigma);
        }
    }

    /// Asks every rank for its memory and threads; a collective call.
    pub fn status(&self) -> Vec<RankStatus> {
        self.world.broadcast_words(&mut [operation::STATUS, 0, 0, 0]);
        let own = RankStatus::own(self.threads, self.worked, &self.samples, self.engine.as_ref());
        let all = self.world.gather(&own.encode(), &vec![RankStatus::WORDS; self.world.size()]);
        all.chunks_exact(RankStatus::WORDS).map(RankStatus::decode).collect()
    }

    /// Asks every rank where it is and what it has to work with; a collective call.
    pub fn places(&self) -> Vec<Place> {
        self.world.broadcast_words(&mut [operation::PLACE, 0, 0, 0]);
        let all = self.world.gather_texts(&place(self.world, self.threads, self.engine.as_ref()));
        all.iter().filter_map(|text| serde_json::from_str(text).ok()).collect()
    }

    /// What all ranks recorded, in their order: events of the trace, and samples of memory, of which `own` are rank 0's; a
    /// collective call.
    pub fn records(&self, own: Option<&MemoryProfile>) -> (Vec<String>, Vec<Vec<Sample>>) {
        self.world.broadcast_words(&mut [operation::RECORDS, 0, 0, 0]);
        record::gather(self.world, own)
    }

    /// What the data of all ranks look like against a model, one overview an angle; a collective call.
    ///
    /// # Errors
    /// [`Error::Rank`] where a rank couldn't read its part.
    pub fn overview(&mut self, view: &View) -> Result<Vec<Overview>> {
        let Some(engine) = &self.engine else {
            return Err(Error::Rank { rank: 0, message: "data were to be looked at before all were dealt".into() });
        };
        // numbers always have a form
        let mut bytes = postcard::to_stdvec(view).unwrap_or_default();
        self.world.broadcast_words(&mut [operation::VIEW, bytes.len() as u64, 0, 0]);
        self.world.broadcast_bytes(&mut bytes);
        let _span = trace::span("looking");
        overview::gather(self.world, engine, &self.dealing.levels[0], view)
    }

    /// Batches of a full-resolution pass on this rank.
    pub fn n_batches(&self) -> usize {
        self.engine.as_ref().map_or(0, |engine| engine.n_batches())
    }

    /// Instruction set in use on rank 0.
    pub fn instruction_set(&self) -> &'static str {
        self.engine.as_ref().map_or("none", |engine| engine.instruction_set())
    }

    /// The GPU that passes are made on, on rank 0.
    pub fn gpu(&self) -> Option<String> {
        self.engine.as_ref().and_then(Accelerated::gpu)
    }

    /// Warnings and notes about the threads of all ranks; a collective call.
    pub fn thread_remarks(&self) -> (Vec<String>, Vec<String>) {
        thread_remarks(&self.status().iter().map(|s| s.plan).collect::<Vec<_>>())
    }

    /// Bytes of packed data that all ranks hold together.
    pub fn data_bytes(&self) -> usize {
        let once: usize = self.dealing.levels.iter().map(Level::bytes).sum();
        if self.setup.weighted { 2 * once } else { once }
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
        &self.setup.experiment
    }

    fn levels(&self) -> &[Level] {
        &self.dealing.levels
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        self.evaluate_watched(level, points, pass, Known::default(), &mut |_| Ok(()))
    }

    fn evaluate_watched(
        &mut self,
        level: usize,
        points: &[Point],
        pass: Pass,
        known: Known,
        watch: Watch<'_>,
    ) -> Result<Vec<Vec<Gram>>> {
        if points.is_empty() {
            return Ok(Vec::new());
        }
        self.fault.check()?;
        drop(self.between.take());
        let Some(engine) = &mut self.engine else {
            return Err(Error::Rank { rank: 0, message: "a pass was asked for before all data were dealt".into() });
        };
        let start = Instant::now();
        let span = trace::span("pass").with(|| format!("level {level}, {} points, {pass:?}", points.len()));
        if !known.is_empty() {
            let mut numbers = encode_parts(&known.parts().collect::<Vec<_>>(), pass);
            self.world.broadcast_words(&mut [operation::KNOWN, pass.code(), numbers.len() as u64, 0]);
            self.world.broadcast_floats(&mut numbers);
        }
        self.world.broadcast_words(&mut [operation::EVALUATE, level as u64, pass.code(), points.len() as u64]);
        self.world.broadcast_floats(&mut encode(points));
        let own = if self.setup.in_rounds(&self.dealing.levels[level], points.len()) || !known.is_empty() {
            let (world, dealing, length) = (self.world, &self.dealing, self.setup.rounds.length);
            let long = LongPass { world, dealing, length, level, points, pass, known: &known, lost: self.lost.len() };
            let signals = &self.signals;
            match long.lead(engine, |rank, signal| signals.note(rank, signal), watch) {
                Err(Error::Lost(_)) => return Err(self.learn_losses()),
                sums => sums?,
            }
        } else {
            // the others are in the middle of it
            let failed = |error: Error| Error::Rank { rank: 0, message: error.to_string() };
            engine.evaluate(level, points, pass).map_err(failed)?
        };
        if level == 0 {
            self.worked += engine.worked();
        }
        drop(span);
        let sums = {
            let _span = trace::span("reduction");
            self.collect(level, points.len(), pass, &known, &own)?
        };
        self.between = Some(trace::span("solver"));
        self.passes[level] += points.len() as u64;
        self.pairs += points.len() as f64 * self.dealing.levels[level].plan.n_pairs() as f64;
        self.busy += start.elapsed();
        if level == 0 {
            self.finest += start.elapsed().as_secs_f64();
        }
        Ok(sums)
    }
}

impl Driver<'_> {
    /// Gathers all ranks' nodes and completes every angle's tree, point by point.
    fn collect(
        &mut self,
        level: usize,
        n_points: usize,
        pass: Pass,
        known: &Known,
        own: &[Gram],
    ) -> Result<Vec<Vec<Gram>>> {
        let reduction = &self.reductions[level];
        let (lost, worked) = self.engine.as_ref().map_or((0, 0.0), |engine| (engine.losses()(), engine.worked()));
        let own = message(Head { signal: self.signals.own(), lost, worked }, flatten(own, pass));
        let all = self.world.gather(&own, &reduction.counts(n_points, pass));
        let heads: Vec<Head> = reduction.heads(n_points, pass, &all).collect();
        heads.iter().enumerate().for_each(|(rank, head)| self.signals.note(rank, head.signal));
        if level == 0 {
            *self.pace.lock().unwrap_or_else(PoisonError::into_inner) = Pace::of(&heads);
        }
        if heads.iter().map(|head| head.lost).sum::<usize>() > self.lost.len() {
            return Err(self.learn_losses());
        }
        Ok(reduction.complete(n_points, pass, known, &all))
    }

    /// Asks every rank for the tiles that it has to leave out.
    fn learn_losses(&mut self) -> Error {
        self.world.broadcast_words(&mut [operation::LOST, 0, 0, 0]);
        let own = self.engine.as_ref().map(|engine| engine.lost()).unwrap_or_default();
        let all = self.world.gather_any(&encode_tiles(&own));
        self.lost = all.chunks_exact(2).map(|tile| (tile[0] as usize, tile[1] as usize)).collect();
        self.lost.sort_unstable();
        let tolerance = self.setup.streaming.as_ref().map(|streaming| streaming.tolerance).unwrap_or_default();
        let text = format!("{} tile(s) of packed data can't be read", self.lost.len());
        if 1.0 - self.readable() > tolerance.may_lose {
            let message = format!("{text}, more than `min_success_rate` lets a fit do without");
            return Error::Rank { rank: 0, message };
        }
        Error::Lost(text)
    }

    /// Level and global number of tiles that are left out because they can't be read, in this order.
    pub fn lost(&self) -> &[(usize, usize)] {
        &self.lost
    }

    /// Share of the finest level's pairs that aren't left out because they can't be read.
    pub fn readable(&self) -> f64 {
        let plan = &self.dealing.levels[0].plan;
        let finest = self.lost.iter().filter(|(level, _)| *level == 0);
        let lost: usize = finest.map(|(_, tile)| plan.tiles[tile % plan.per_angle()].n_pairs).sum();
        1.0 - lost as f64 / plan.n_pairs() as f64
    }
}
