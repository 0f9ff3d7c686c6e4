//! The engine that fills Gram matrices with CPU threads.

use std::cell::RefCell;
use std::ops::Range;

use rayon::prelude::*;

use super::isa::InstructionSet;
use super::kernel::{Job, tile_gram};
use super::pack::TileStore;
use super::plan::Level;
use super::scratch::Scratch;
use super::tables::Tables;
use super::tree::{self, Node};
use super::work::Work;
use super::{Engine, Gram, Pass, Point};
use crate::Result;
use crate::model::Experiment;

/// One level's tiles as held by one rank.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The level's frames and plan.
    pub level: Level,
    /// The tiles held.
    pub store: TileStore,
}

/// Called after every batch of a batched pass with (batches done, batches in all).
pub type BatchProgress = Box<dyn FnMut(usize, usize)>;

/// Tiles summed by one task: large enough to hide the scheduler, small enough to balance.
const TASK_HEIGHT: u32 = 3;

/// With fewer tasks than this per thread, threads share points rather than one point's tasks.
const TASKS_PER_THREAD: usize = 8;

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Scratch::new());
}

/// CPU threads of one rank over the tiles it holds.
pub struct CpuEngine {
    experiment: Experiment,
    shards: Vec<Shard>,
    pool: rayon::ThreadPool,
    set: InstructionSet,
    /// Pairs per batch of a full-resolution pass; `None` = one batch.
    batch_pairs: Option<usize>,
    on_batch: Option<BatchProgress>,
    work: Work,
}

/// A piece of work: a small tree node of one angle.
#[derive(Clone, Copy)]
struct Task {
    angle: usize,
    node: Node,
}

impl CpuEngine {
    /// An engine over the shards of one rank, finest level first, working in the thread pool given.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when `HOMODYNE_ISA` names an instruction set that this processor hasn't got.
    pub fn new(experiment: Experiment, shards: Vec<Shard>, pool: rayon::ThreadPool) -> Result<Self> {
        let work = Work::new(pool.current_num_threads());
        Ok(Self { experiment, shards, pool, set: InstructionSet::select()?, batch_pairs: None, on_batch: None, work })
    }

    /// Works in another thread pool from now on.
    pub fn set_pool(&mut self, pool: rayon::ThreadPool) {
        self.work = Work::new(pool.current_num_threads());
        self.pool = pool;
    }

    /// Works with the instruction set of that name from now on (see [`super::instruction_sets`]).
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when this processor hasn't got it.
    pub fn set_instruction_set(&mut self, name: &str) -> Result<()> {
        self.set = InstructionSet::named(name, "instruction set ")?;
        Ok(())
    }

    /// Time that threads worked in the last pass, s, averaged over them.
    pub fn worked(&self) -> f64 {
        self.work.worked()
    }

    /// Share of the last pass in which threads had nothing to do, over all threads.
    pub fn idle(&self) -> f64 {
        self.work.idle()
    }

    /// Works with another instruction set.
    #[cfg(test)]
    pub(super) fn force(&mut self, set: InstructionSet) {
        self.set = set;
    }

    /// Cuts full-resolution passes into batches of about `pairs` pairs, reporting each.
    pub fn set_batches(&mut self, pairs: usize, on_batch: Option<BatchProgress>) {
        self.batch_pairs = Some(pairs.max(1));
        self.on_batch = on_batch;
    }

    /// Batches of a full-resolution pass on this rank.
    pub fn n_batches(&self) -> usize {
        let tasks = self.tasks(0);
        self.batches(0, &tasks).len()
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
        self.shards.iter().map(|s| s.store.bytes()).sum()
    }

    fn tasks(&self, level: usize) -> Vec<Task> {
        let Shard { level, store } = &self.shards[level];
        let plan = &level.plan;
        (0..plan.n_angles)
            .flat_map(|angle| {
                let range = plan.within_angle(&store.range, angle);
                tree::owned_nodes(plan.per_angle(), &range, TASK_HEIGHT)
                    .into_iter()
                    .map(move |node| Task { angle, node })
            })
            .collect()
    }

    fn batches(&self, level: usize, tasks: &[Task]) -> Vec<Range<usize>> {
        let limit = self.batch_pairs.filter(|_| level == 0).unwrap_or(usize::MAX);
        let plan = &self.shards[level].level.plan;
        let mut batches = Vec::new();
        let (mut start, mut pairs) = (0, 0);
        for (k, task) in tasks.iter().enumerate() {
            pairs += plan.tiles[task.node.tiles(plan.per_angle())].iter().map(|t| t.n_pairs).sum::<usize>();
            if pairs >= limit || k + 1 == tasks.len() {
                batches.push(start..k + 1);
                (start, pairs) = (k + 1, 0);
            }
        }
        batches
    }

    fn sum_task(set: InstructionSet, shard: &Shard, tables: &Tables, task: Task, pass: Pass) -> Gram {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut leaves = task.node.tiles(n).map(|tile| {
                let (data, clean) = shard.store.tile(task.angle * n + tile);
                let job = Job { tile: &plan.tiles[tile], data, clean, tables, angle: task.angle, pass };
                let gram = tile_gram(set, &job, scratch);
                (Node { height: 0, index: tile }, gram)
            });
            tree::complete(task.node, n, &mut leaves)
        })
    }
}

impl CpuEngine {
    fn sums(&mut self, level: usize, points: &[Point], pass: Pass) -> Vec<Gram> {
        let tasks = self.tasks(level);
        let batches = self.batches(level, &tasks);
        let shard = &self.shards[level];
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let experiment = &self.experiment;
        let mut on_batch = self.on_batch.as_mut().filter(|_| batches.len() > 1);
        let coalesce = |sums: Vec<Gram>| -> Vec<Gram> {
            let mut parts = tasks.iter().zip(sums).peekable();
            (0..plan.n_angles)
                .flat_map(|angle| {
                    let range = plan.within_angle(&shard.store.range, angle);
                    let wholes = tree::owned_nodes(n, &range, u32::MAX);
                    let own = std::iter::from_fn(|| parts.next_if(|(task, _)| task.angle == angle));
                    tree::coalesce(n, &wholes, own.map(|(task, gram)| (task.node, gram)))
                })
                .collect()
        };
        let (pool, set, work) = (&self.pool, self.set, &self.work);
        if points.len() > 1 && tasks.len() < TASKS_PER_THREAD * pool.current_num_threads() {
            // many points on a small level: one task a point
            let sums: Vec<Vec<Gram>> = pool.install(|| {
                points
                    .par_iter()
                    .map(|point| {
                        let tables = Tables::new(experiment, &shard.level, point, pass == Pass::Gram);
                        let sum = |&task: &Task| work.task(|| Self::sum_task(set, shard, &tables, task, pass));
                        coalesce(tasks.iter().map(sum).collect())
                    })
                    .collect()
            });
            return sums.concat();
        }
        let mut out = Vec::new();
        for point in points {
            let tables = pool.install(|| Tables::new(experiment, &shard.level, point, pass == Pass::Gram));
            let mut sums = Vec::with_capacity(tasks.len());
            for (k, batch) in batches.iter().enumerate() {
                sums.extend(pool.install(|| {
                    tasks[batch.clone()]
                        .par_iter()
                        .map(|&task| work.task(|| Self::sum_task(set, shard, &tables, task, pass)))
                        .collect::<Vec<_>>()
                }));
                if let Some(report) = on_batch.as_mut() {
                    report(k + 1, batches.len());
                }
            }
            out.extend(coalesce(sums));
        }
        out
    }
}

impl Engine for CpuEngine {
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        self.work.begin();
        let sums = self.sums(level, points, pass);
        self.work.end();
        Ok(sums)
    }
}
