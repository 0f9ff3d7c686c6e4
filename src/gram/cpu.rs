//! The engine that fills Gram matrices with CPU threads.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::axis::Clock;
use super::chunk::{Batches, Chunk, wholes};
use super::pack::TileStore;
use super::rounds::{Known, Rounds};
use super::stream;
use super::tables::{Source, Tables};
use super::task::{Task, cut};
use super::tile::{AngleData, Job, Scratch};
use super::tile_reader::TileReader;
use super::tree::{self, Node};
use super::work::{Crew, Work};
use super::{Engine, Gram, Pass, Point};
use crate::arithmetic::{InstructionSet, Lane};
use crate::model::Experiment;
use crate::nodes::blocks::{Blocks, of_plan};
use crate::nodes::compress::compress;
use crate::nodes::plan::Level;
use crate::nodes::rules::Rules;
use crate::nodes::store::NodeStore;
use crate::{Result, trace};

/// Precision of a Gram pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Precision {
    /// Everything in f64.
    #[default]
    F64,
    /// On a GPU, pairs in f32 and their sums in f64; the CPU's nodes are as fast in f64.
    Mixed,
}

impl Precision {
    /// As in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::F64 => "f64",
            Self::Mixed => "mixed",
        }
    }
}

/// One level's tiles as held by one rank.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The level's frames and plan.
    pub level: Level,
    /// The tiles held: all, or where the others are streamed the first ones.
    pub store: TileStore,
    /// Gives the others.
    pub streamed: Option<Arc<TileReader>>,
    /// σ of every pair, stored alike, where they have their own and all tiles are held.
    pub sigma: Option<TileStore>,
}

impl Shard {
    /// With all tiles held.
    pub fn held(level: Level, store: TileStore) -> Self {
        Self { level, store, streamed: None, sigma: None }
    }

    /// Global numbers of all its tiles.
    pub(super) fn range(&self) -> &Range<usize> {
        self.streamed.as_ref().map_or(&self.store.range, |file| file.range())
    }
}

/// Called by the threads, after every batch of a batched pass, with (batches done, batches in all).
pub type BatchProgress = Box<dyn Fn(usize, usize) + Send + Sync>;

/// On levels with fewer pairs than this, and where nodes stand for pairs, the threads share out the points where there are enough for
/// all.
const SMALL_LEVEL: usize = 1_000_000;

/// Points that a tile is read for at once: their tables must lie in memory together.
const POINTS_READ_FOR: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Scratch::new());
}

/// CPU threads of one rank over the tiles it holds.
pub struct CpuEngine {
    pub(super) experiment: Experiment,
    shards: Vec<Shard>,
    pub(super) pool: rayon::ThreadPool,
    pub(super) set: InstructionSet,
    pub(super) precision: Precision,
    /// By angle.
    pub(super) sigma: Vec<f64>,
    pub(super) clock: Clock,
    /// By level.
    tasks: Vec<Vec<Task>>,
    /// By level and tile of an angle.
    blocks: Vec<Vec<Arc<Blocks>>>,
    /// What stands for the finest level's pairs, once it is needed.
    nodes: OnceLock<NodeStore>,
    /// Reads that had to be tried again while data to be kept were loaded.
    retried: u64,
    /// Level and global number of tiles that couldn't be read then.
    lost: Vec<(usize, usize)>,
    /// Pairs per batch of a full-resolution pass; `None` = one batch.
    batch_pairs: Option<usize>,
    on_batch: Option<BatchProgress>,
    work: Work,
    /// Weighted pairs that the last pass summed.
    terms: AtomicU64,
}

impl CpuEngine {
    /// An engine over the shards of one rank, finest level first, working in the thread pool given.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when `HOMODYNE_ISA` names an instruction set that this processor hasn't got.
    pub fn new(experiment: Experiment, shards: Vec<Shard>, pool: rayon::ThreadPool) -> Result<Self> {
        let mut engine = Self {
            clock: Clock::new(&experiment),
            set: InstructionSet::select()?,
            precision: Precision::F64,
            sigma: vec![1.0; experiment.n_angles()],
            work: Work::new(0),
            terms: AtomicU64::new(0),
            tasks: Vec::new(),
            blocks: shards.iter().map(|shard| of_plan(&shard.level.plan)).collect(),
            nodes: OnceLock::new(),
            retried: 0,
            lost: Vec::new(),
            batch_pairs: None,
            on_batch: None,
            experiment,
            shards,
            pool,
        };
        engine.prepare();
        Ok(engine)
    }

    /// Cuts the tiles into tasks for the threads of the pool.
    fn prepare(&mut self) {
        let threads = self.pool.current_num_threads();
        self.work = Work::new(threads);
        self.tasks = self.shards.iter().map(|s| cut(&s.level.plan, s.range(), threads)).collect();
    }

    /// Works in another thread pool from now on.
    pub fn set_pool(&mut self, pool: rayon::ThreadPool) {
        self.pool = pool;
        self.prepare();
    }

    /// Works with the instruction set of that name from now on (see [`super::instruction_sets`]).
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when this processor hasn't got it.
    pub fn set_instruction_set(&mut self, name: &str) -> Result<()> {
        self.set = InstructionSet::named(name, "instruction set ")?;
        Ok(())
    }

    /// Works with another precision of the pairs from now on.
    pub fn set_precision(&mut self, precision: Precision) {
        self.precision = precision;
    }

    /// Measures by this noise (σ of every angle) in robust passes from now on; by 1 before.
    pub fn set_sigma(&mut self, sigma: &[f64]) {
        self.sigma = sigma.to_vec();
    }

    /// Time that threads worked in the last pass, s, averaged over them.
    pub fn worked(&self) -> f64 {
        self.work.worked()
    }

    /// Share of the last pass in which threads had nothing to do, over all threads.
    pub fn idle(&self) -> f64 {
        self.work.idle()
    }

    /// Weighted pairs that the last pass summed: nodes, single ones and those taken back; eight at a time, so some stand for nothing.
    pub fn terms(&self) -> u64 {
        self.terms.load(Ordering::Relaxed)
    }

    /// Forms what stands for the pairs of the finest level, whether it is there or not.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn compress(&mut self) -> Result<()> {
        self.nodes = OnceLock::new();
        self.pool.install(|| self.compressed().map(drop))
    }

    /// The tiles, level by level.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
    }

    /// How a level's tiles are cut into pieces of work.
    pub(super) fn tasks(&self, level: usize) -> &[Task] {
        &self.tasks[level]
    }

    /// Gives the pairs of a level a σ of their own.
    #[cfg(test)]
    pub(super) fn weigh(&mut self, level: usize, sigma: TileStore) {
        self.shards[level].sigma = Some(sigma);
    }

    /// Works with another instruction set.
    #[cfg(test)]
    pub(super) fn force(&mut self, set: InstructionSet) {
        self.set = set;
    }

    /// Counts full-resolution passes in batches of about `pairs` pairs, reporting each. No thread waits between them.
    pub fn set_batches(&mut self, pairs: usize, on_batch: Option<BatchProgress>) {
        self.batch_pairs = Some(pairs.max(1));
        self.on_batch = on_batch;
    }

    /// Pairs of a level that this rank holds, missing ones included.
    fn n_pairs(&self, level: usize) -> usize {
        self.tasks[level].iter().map(|task| task.n_pairs).sum()
    }

    /// Batches of a full-resolution pass on this rank.
    pub fn n_batches(&self) -> usize {
        let pairs = self.n_pairs(0);
        pairs.div_ceil(self.batch_pairs.unwrap_or(usize::MAX)).max(usize::from(pairs > 0))
    }

    /// Name of the instruction set in use.
    pub fn instruction_set(&self) -> &'static str {
        self.set.name()
    }

    /// Threads in use.
    pub fn threads(&self) -> usize {
        self.pool.current_num_threads()
    }

    /// Takes the tiles of a level from a file from now on, keeping as many of them as fit into so many bytes. Gives the bytes
    /// that are used.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn stream(&mut self, level: usize, file: TileReader, keep: usize) -> Result<usize> {
        let shard = &mut self.shards[level];
        let plan = &shard.level.plan;
        let marks = file.bytes();
        let mut room = keep.saturating_sub(marks) / size_of::<Lane>();
        let fits = |tile: &usize| {
            let lanes = plan.tiles[tile % plan.per_angle()].n_lanes;
            let fits = lanes <= room;
            room -= if fits { lanes } else { 0 };
            fits
        };
        let kept = file.range().clone().take_while(fits).count();
        let mut store = TileStore::new(plan, file.range().start..file.range().start + kept);
        self.pool.install(|| store.fill_from(plan, &file))?;
        if kept < file.range().len() {
            shard.streamed = Some(Arc::new(file));
        } else {
            self.retried += file.retried();
            self.lost.extend(file.lost().map(|tile| (level, tile)));
        }
        let used = marks + store.bytes();
        shard.store = store;
        self.nodes = OnceLock::new();
        self.prepare();
        Ok(used)
    }

    /// Reads of streamed tiles that had to be tried again so far.
    pub fn retried(&self) -> u64 {
        let streamed = self.shards.iter().filter_map(|shard| shard.streamed.as_ref());
        self.retried + streamed.map(|file| file.retried()).sum::<u64>()
    }

    /// Level and global number of streamed tiles that are left out because they couldn't be read.
    pub fn lost(&self) -> Vec<(usize, usize)> {
        let files = self.shards.iter().enumerate().filter_map(|(level, s)| Some((level, s.streamed.as_ref()?)));
        let streamed = files.flat_map(|(level, file)| file.lost().map(move |tile| (level, tile)));
        self.lost.iter().copied().chain(streamed).collect()
    }

    /// Counts them, also while a pass goes on.
    pub fn losses(&self) -> impl Fn() -> usize + use<> {
        let files: Vec<Arc<TileReader>> = self.shards.iter().filter_map(|shard| shard.streamed.clone()).collect();
        let before = self.lost.len();
        move || before + files.iter().map(|file| file.lost().count()).sum::<usize>()
    }

    /// Bytes of data held.
    pub fn bytes(&self) -> usize {
        let pairs = self.shards.iter().map(|s| s.store.bytes() + s.sigma.as_ref().map_or(0, TileStore::bytes));
        pairs.sum::<usize>() + self.nodes.get().map_or(0, NodeStore::bytes)
    }

    /// What stands for the pairs of the finest level.
    ///
    /// # Errors
    /// What reading fails with.
    fn compressed(&self) -> Result<&NodeStore> {
        if let Some(nodes) = self.nodes.get() {
            return Ok(nodes);
        }
        let _span = trace::span("compressing");
        let (shard, set, rules) = (&self.shards[0], self.set, Rules::default());
        let n = shard.level.plan.per_angle();
        let one = |number: usize| {
            stream::with_tile(shard, &(number / n..number / n + 1), number % n, |data| {
                let own = data.first().filter(|own| own.n_finite > 0)?;
                let tile = (&shard.level.plan.tiles[number % n], &*self.blocks[0][number % n]);
                Some((compress(set, tile, own.data, own.n_finite as usize, &rules), own.n_finite))
            })
        };
        let range = shard.range().clone();
        let tiles = range.clone().into_par_iter().with_max_len(1).map(one).collect::<Result<Vec<_>>>()?;
        let store = NodeStore::new(&shard.level.plan, &self.blocks[0], range.start, tiles);
        Ok(self.nodes.get_or_init(|| store))
    }

    /// Whether a pass goes over nodes.
    fn uses_nodes(&self, level: usize, pass: Pass) -> bool {
        level == 0 && matches!(pass, Pass::Gram | Pass::Chi2 | Pass::Slopes) && self.shards[level].sigma.is_none()
    }

    /// The Gram matrices of a task's angles, point after point. Tiles that aren't held are read where their pairs are needed, once for all
    /// points.
    pub(super) fn sum_task(&self, level: usize, tables: &[Tables], task: &Task, pass: Pass) -> Result<Vec<Vec<Gram>>> {
        let shard = &self.shards[level];
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let nodes = if self.uses_nodes(level, pass) { Some(self.compressed()?) } else { None };
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.terms = 0;
            let mut leaves: Vec<Vec<Vec<(Node, Gram)>>> = vec![vec![Vec::new(); task.angles.len()]; tables.len()];
            for number in task.node.tiles(n) {
                let mut sum = |own: &AngleData, tables: &Tables| {
                    // a tile without a value, beyond the longest lag to be fitted for instance, takes no time
                    if own.n_finite == 0 {
                        return Some(Gram::default());
                    }
                    let (tile, blocks) = (&plan.tiles[number], &*self.blocks[level][number]);
                    let slots = nodes.map(|nodes| &nodes.slots);
                    Job { tile, blocks, slots, own, tables, pass, scratch }.run(self.set)
                };
                // what can't be read any more is left out, whatever was known of it
                let is_lost = |angle: usize| {
                    let number = angle * n + number;
                    shard
                        .streamed
                        .as_ref()
                        .is_some_and(|file| !shard.store.range.contains(&number) && file.finite(number) == 0)
                };
                let of =
                    |angle: usize| nodes.filter(|_| !is_lost(angle)).and_then(|nodes| nodes.tile(angle * n + number));
                let is_held = |angle: usize| shard.store.range.contains(&(angle * n + number));
                // without pairs where nodes are enough
                let mut missing = Vec::new();
                let mut found: Vec<Vec<Option<Gram>>> = vec![vec![None; task.angles.len()]; tables.len()];
                for angle in task.angles.clone() {
                    let Some(nodes) = of(angle).filter(|_| !is_held(angle)) else {
                        missing.push(angle);
                        continue;
                    };
                    let own = AngleData { angle, data: &[], n_finite: nodes.n_finite, sigma: None, nodes: Some(nodes) };
                    for (tables, found) in tables.iter().zip(&mut found) {
                        found[angle - task.angles.start] = sum(&own, tables);
                    }
                    if found.iter().any(|found| found[angle - task.angles.start].is_none()) {
                        missing.push(angle);
                    }
                }
                if !missing.is_empty() {
                    let whole = missing[0]..missing[missing.len() - 1] + 1;
                    stream::with_tile(shard, &whole, number, |data| {
                        for own in data.iter().filter(|own| missing.contains(&own.angle)) {
                            let own = AngleData { nodes: of(own.angle), ..*own };
                            for (tables, found) in tables.iter().zip(&mut found) {
                                let found = &mut found[own.angle - task.angles.start];
                                if found.is_none() {
                                    *found = sum(&own, tables);
                                }
                            }
                        }
                    })?;
                }
                for (leaves, found) in leaves.iter_mut().zip(found) {
                    for (leaves, gram) in leaves.iter_mut().zip(found) {
                        leaves.push((Node { height: 0, index: number }, gram.unwrap_or_default()));
                    }
                }
            }
            self.terms.fetch_add(scratch.terms, Ordering::Relaxed);
            let whole = |own: &Vec<(Node, Gram)>| {
                tree::complete(task.node, n, &mut own.iter().map(|(node, gram)| (*node, gram)))
            };
            Ok(leaves.iter().map(|of_point| of_point.iter().map(whole).collect()).collect())
        })
    }

    /// From the sums of all tasks of a level to those of the maximal nodes of one angle.
    fn coalesce<'s>(
        shard: &Shard,
        tasks: &[Task],
        sums: impl Iterator<Item = &'s Vec<Gram>>,
        angle: usize,
    ) -> Vec<Gram> {
        // tasks are in the order of their tiles
        let own = tasks.iter().zip(sums).filter(|(task, _)| task.angles.contains(&angle));
        let pieces = own.map(|(task, grams)| (task.node, &grams[angle - task.angles.start]));
        tree::coalesce(shard.level.plan.per_angle(), &wholes(shard, angle), pieces)
    }

    fn sums(
        &self,
        level: usize,
        points: &[Point],
        pass: Pass,
        known: &Known,
        rounds: &mut Rounds<'_>,
    ) -> Result<Vec<Gram>> {
        let (shard, tasks, work, set) = (&self.shards[level], &self.tasks[level], &self.work, self.set);
        let slots = match self.uses_nodes(level, pass) {
            true => Some(&self.pool.install(|| self.compressed())?.slots),
            false => None,
        };
        let n = shard.level.plan.per_angle().max(1);
        let held = shard.range().start / n..shard.range().end.div_ceil(n);
        let source = |crew| Source {
            experiment: &self.experiment,
            clock: &self.clock,
            level: &shard.level,
            slots,
            crew,
            sigma: &self.sigma,
            weighted: shard.sigma.is_some(),
        };
        let tables = |point, crew| {
            let _span = trace::span("tables");
            Tables::new(set, &source(crew), point, pass)
        };
        let enough = points.len() >= self.pool.current_num_threads();
        if enough && shard.streamed.is_none() && (slots.is_some() || shard.level.plan.n_pairs() < SMALL_LEVEL) {
            // many points, each of which is little work: one task a point
            let sums: Result<Vec<Vec<Gram>>> = self.pool.install(|| {
                let of_point = |point| {
                    let tables = [tables(point, Crew::ALONE)];
                    let _span = trace::span("tiles");
                    let sum = |task| self.sum_task(level, &tables, task, pass);
                    let sums: Vec<Vec<Vec<Gram>>> = tasks.iter().map(sum).collect::<Result<_>>()?;
                    let whole = |angle| Self::coalesce(shard, tasks, sums.iter().map(|of| &of[0]), angle);
                    Ok(held.clone().flat_map(whole).collect())
                };
                points.par_iter().map(|point| work.task(|| of_point(point))).collect()
            });
            return Ok(sums?.concat());
        }
        // a tile that is read is read once for several points
        let together = if shard.streamed.is_some() { POINTS_READ_FOR } else { 1 };
        let mut out = Vec::new();
        for (chunk, points) in points.chunks(together).enumerate() {
            let first = chunk * together;
            let chunk = Chunk { first, shard, tasks, known, held: &held, done: Chunk::nothing(tasks) };
            let todo = chunk.todo(points.len());
            let (next, batches) = (AtomicUsize::new(0), self.batches(level, &todo));
            let until = rounds.until();
            let round = |tables: &[Tables], until| {
                let sum = |task: &Task| {
                    let sums = work.task(|| self.sum_task(level, tables, task, pass));
                    batches.count(task.n_pairs);
                    sums
                };
                stream::in_order(shard.streamed.as_deref(), tasks, &todo, &next, until, &chunk.done, sum);
                (next.load(Ordering::Relaxed) >= todo.len()).then(|| chunk.wholes(points.len()))
            };
            // waking the threads takes as long as many a pass, so it is done once
            let (tables, mut wholes) = self.pool.install(|| {
                let tables: Vec<Tables> = points.iter().map(|point| tables(point, work.crew())).collect();
                let wholes = round(&tables, until);
                (tables, wholes)
            });
            while wholes.is_none() {
                rounds.next(&|| self.pool.install(|| chunk.finished(points.len(), &out)))?;
                let until = rounds.until();
                wholes = self.pool.install(|| round(&tables, until));
            }
            out.extend(wholes.into_iter().collect::<Result<Vec<_>>>()?.concat());
        }
        Ok(out)
    }

    /// Counts the batches of a pass in which these tasks are to be done.
    fn batches(&self, level: usize, todo: &[usize]) -> Batches<'_> {
        let (n_batches, all) = (self.n_batches(), self.n_pairs(level));
        let todo: usize = todo.iter().map(|&task| self.tasks[level][task].n_pairs).sum();
        let report = self.on_batch.as_ref().filter(|_| level == 0 && n_batches > 1);
        Batches { report, n_batches, all, done: AtomicUsize::new(all - todo) }
    }
}

impl Engine for CpuEngine {
    fn evaluate_in_rounds(
        &mut self,
        level: usize,
        points: &[Point],
        pass: Pass,
        known: &Known,
        rounds: &mut Rounds<'_>,
    ) -> Result<Vec<Gram>> {
        self.work.begin();
        self.terms.store(0, Ordering::Relaxed);
        // pairs with a σ of their own are all taken the same way
        let weighted = self.shards[level].sigma.is_some();
        let formed = if weighted && pass == Pass::Chi2 { Pass::Gram } else { pass };
        let mut sums = self.sums(level, points, formed, known, rounds);
        if weighted {
            sums.iter_mut().flatten().for_each(|sum| sum.keep(&pass.filled()));
        }
        self.work.end();
        sums
    }
}
