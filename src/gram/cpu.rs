//! The engine that fills Gram matrices with CPU threads.

use std::cell::RefCell;
use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::axis::Clock;
use super::isa::InstructionSet;
use super::kernel::{AngleData, Job};
use super::pack::{TileData, TileStore};
use super::plan::Level;
use super::scratch::Scratch;
use super::tables::{Source, Tables};
use super::task::{Task, cut};
use super::tree::{self, Node};
use super::work::{Crew, Work};
use super::{Engine, Gram, Pass, Point};
use crate::Result;
use crate::model::Experiment;

/// Precision of a Gram pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Precision {
    /// Everything in f64.
    #[default]
    F64,
    /// Residuals of most pairs in f32, their sums over a tile's rows and columns too; the rest in f64.
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
    /// The tiles held.
    pub store: TileStore,
    /// σ of every pair, stored alike, where they have their own.
    pub sigma: Option<TileStore>,
}

/// Called by the threads, after every batch of a batched pass, with (batches done, batches in all).
pub type BatchProgress = Box<dyn Fn(usize, usize) + Send + Sync>;

/// On levels with fewer pairs than this, the threads share out the points where there are enough for all.
const SMALL_LEVEL: usize = 1_000_000;
/// How many are enough, per thread.
const POINTS_PER_THREAD: usize = 4;

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Scratch::new());
}

/// CPU threads of one rank over the tiles it holds.
pub struct CpuEngine {
    experiment: Experiment,
    shards: Vec<Shard>,
    pool: rayon::ThreadPool,
    set: InstructionSet,
    precision: Precision,
    /// By angle.
    sigma: Vec<f64>,
    clock: Clock,
    /// By level.
    tasks: Vec<Vec<Task>>,
    /// Pairs per batch of a full-resolution pass; `None` = one batch.
    batch_pairs: Option<usize>,
    on_batch: Option<BatchProgress>,
    work: Work,
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
            tasks: Vec::new(),
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
        self.tasks = self.shards.iter().map(|s| cut(&s.level.plan, &s.store.range, threads)).collect();
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

    /// Bytes of data held.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.store.bytes() + s.sigma.as_ref().map_or(0, TileStore::bytes)).sum()
    }

    /// The Gram matrices of a task's angles.
    fn sum_task(set: InstructionSet, shard: &Shard, tables: &Tables, task: &Task, pass: Pass) -> Vec<Gram> {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut leaves: Vec<Vec<(Node, Gram)>> = vec![Vec::new(); task.angles.len()];
            for tile in task.node.tiles(n) {
                let own = task.angles.clone().map(|angle| {
                    let TileData { lanes, marks } = shard.store.tile(angle * n + tile);
                    let sigma = shard.sigma.as_ref().map(|sigma| sigma.tile(angle * n + tile).lanes);
                    AngleData { angle, data: lanes, marks, sigma }
                });
                // a tile without a value, beyond the longest lag to be fitted for instance, takes no time
                let angles: Vec<AngleData> = own.filter(|own| own.marks.n_finite > 0).collect();
                let mut grams = vec![Gram::default(); task.angles.len()];
                if !angles.is_empty() {
                    let job = Job { tile: &plan.tiles[tile], angles: &angles, tables, pass, scratch };
                    for (own, gram) in angles.iter().zip(set.run(job)) {
                        grams[own.angle - task.angles.start] = gram;
                    }
                }
                for (leaves, gram) in leaves.iter_mut().zip(grams) {
                    leaves.push((Node { height: 0, index: tile }, gram));
                }
            }
            let whole = |own: &Vec<(Node, Gram)>| {
                tree::complete(task.node, n, &mut own.iter().map(|(node, gram)| (*node, gram)))
            };
            leaves.iter().map(whole).collect()
        })
    }

    /// From the sums of all tasks of a level to those of the maximal nodes of one angle.
    fn coalesce(shard: &Shard, tasks: &[Task], sums: &[Vec<Gram>], angle: usize) -> Vec<Gram> {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        // tasks are in the order of their tiles
        let own = tasks.iter().zip(sums).filter(|(task, _)| task.angles.contains(&angle));
        let pieces = own.map(|(task, grams)| (task.node, &grams[angle - task.angles.start]));
        let wholes = tree::owned_nodes(n, &plan.within_angle(&shard.store.range, angle), u32::MAX);
        tree::coalesce(n, &wholes, pieces)
    }

    fn sums(&self, level: usize, points: &[Point], pass: Pass) -> Vec<Gram> {
        let (shard, tasks, work, set) = (&self.shards[level], &self.tasks[level], &self.work, self.set);
        let n = shard.level.plan.per_angle().max(1);
        let held = shard.store.range.start / n..shard.store.range.end.div_ceil(n);
        let source = |crew| Source {
            experiment: &self.experiment,
            clock: &self.clock,
            level: &shard.level,
            angles: &held,
            crew,
            mixed: self.precision == Precision::Mixed,
            sigma: &self.sigma,
            weighted: shard.sigma.is_some(),
        };
        let tables = |point, crew| Tables::new(set, &source(crew), point, pass);
        let enough = points.len() >= POINTS_PER_THREAD * self.pool.current_num_threads();
        if enough && shard.level.plan.n_pairs() < SMALL_LEVEL {
            // many points on a small level: one task a point
            let sums: Vec<Vec<Gram>> = self.pool.install(|| {
                points
                    .par_iter()
                    .map(|point| {
                        work.task(|| {
                            let tables = tables(point, Crew::ALONE);
                            let sum = |task| Self::sum_task(set, shard, &tables, task, pass);
                            let sums: Vec<Vec<Gram>> = tasks.iter().map(sum).collect();
                            held.clone().flat_map(|angle| Self::coalesce(shard, tasks, &sums, angle)).collect()
                        })
                    })
                    .collect()
            });
            return sums.concat();
        }
        let (n_batches, all) = (self.n_batches(), self.n_pairs(level));
        let on_batch = self.on_batch.as_ref().filter(|_| level == 0 && n_batches > 1);
        let mut out = Vec::new();
        for point in points {
            let done = AtomicUsize::new(0);
            let sum = |tables: &Tables, task: &Task| {
                let sums = work.task(|| Self::sum_task(set, shard, tables, task, pass));
                if let Some(report) = on_batch {
                    let before = done.fetch_add(task.n_pairs, Ordering::Relaxed);
                    let batch = |pairs: usize| (pairs as u128 * n_batches as u128 / all as u128) as usize;
                    let now = batch(before + task.n_pairs);
                    if now > batch(before) {
                        report(now, n_batches);
                    }
                }
                sums
            };
            let wholes: Vec<Vec<Gram>> = self.pool.install(|| {
                let tables = tables(point, work.crew());
                let sums: Vec<Vec<Gram>> = tasks.par_iter().with_max_len(1).map(|task| sum(&tables, task)).collect();
                let whole = |angle| Self::coalesce(shard, tasks, &sums, angle);
                held.clone().into_par_iter().map(whole).collect()
            });
            out.extend(wholes.into_iter().flatten());
        }
        out
    }
}

impl Engine for CpuEngine {
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        self.work.begin();
        // pairs with a σ of their own are all taken the same way
        let weighted = self.shards[level].sigma.is_some();
        let mut sums = self.sums(level, points, if weighted && pass == Pass::Chi2 { Pass::Gram } else { pass });
        if weighted {
            sums.iter_mut().for_each(|sum| sum.keep(&pass.filled()));
        }
        self.work.end();
        Ok(sums)
    }
}
