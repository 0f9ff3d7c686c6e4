//! The engine that fills Gram matrices with CPU threads.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use super::axis::Clock;
use super::isa::InstructionSet;
use super::kernel::{AngleData, Job};
use super::pack::{TileData, TileStore};
use super::plan::{Level, TilePlan};
use super::scratch::Scratch;
use super::tables::Tables;
use super::tree::{self, Node};
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

/// Tasks that every thread should find in a pass, so that none waits long for the others at its end.
const TASKS_PER_THREAD: usize = 100;
/// Most angles worked on together: what a tile's frames cost is then shared by enough of them.
const ANGLES_TOGETHER: usize = 12;
/// On levels with fewer pairs than this, the threads share out the points where there are enough for all.
const SMALL_LEVEL: usize = 1_000_000;
/// How many are enough, per thread.
const POINTS_PER_THREAD: usize = 4;
/// Most tiles of an angle summed by one task.
const TALLEST_TASK: u32 = 3;

thread_local! {
    static SCRATCH: RefCell<Box<Scratch>> = RefCell::new(Scratch::new());
}

/// CPU threads of one rank over the tiles it holds.
pub struct CpuEngine {
    experiment: Experiment,
    shards: Vec<Shard>,
    pool: rayon::ThreadPool,
    set: InstructionSet,
    clock: Clock,
    /// By level.
    tasks: Vec<Vec<Task>>,
    /// Pairs per batch of a full-resolution pass; `None` = one batch.
    batch_pairs: Option<usize>,
    on_batch: Option<BatchProgress>,
}

/// A piece of work: a small tree node of several angles.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Task {
    node: Node,
    angles: Range<usize>,
}

/// Cuts a rank's tiles into tasks, angles together wherever the rank holds the same tiles of them.
fn cut(plan: &TilePlan, held: &Range<usize>, threads: usize) -> Vec<Task> {
    let n = plan.per_angle();
    let tasks_at = |height: u32| {
        let mut by_tile: BTreeMap<(usize, u32), Vec<Range<usize>>> = BTreeMap::new();
        for angle in 0..plan.n_angles {
            for node in tree::owned_nodes(n, &plan.within_angle(held, angle), height) {
                let runs = by_tile.entry((node.index << node.height, node.height)).or_default();
                match runs.last_mut() {
                    Some(run) if run.end == angle && run.len() < ANGLES_TOGETHER => run.end += 1,
                    _ => runs.push(angle..angle + 1),
                }
            }
        }
        let task = |((first, height), runs): ((usize, u32), Vec<Range<usize>>)| {
            let node = Node { height, index: first >> height };
            runs.into_iter().map(move |angles| Task { node, angles })
        };
        by_tile.into_iter().flat_map(task).collect::<Vec<_>>()
    };
    let heights = (0..=TALLEST_TASK).rev();
    let enough = heights.map(tasks_at).find(|tasks| tasks.len() >= TASKS_PER_THREAD * threads);
    enough.unwrap_or_else(|| tasks_at(0))
}

impl CpuEngine {
    /// An engine over the shards of one rank, finest level first, working in the thread pool given.
    ///
    /// # Errors
    /// [`crate::Error::Usage`] when `HOMODYNE_ISA` names an instruction set that this processor hasn't got.
    pub fn new(experiment: Experiment, shards: Vec<Shard>, pool: rayon::ThreadPool) -> Result<Self> {
        let clock = Clock::new(&experiment);
        let threads = pool.current_num_threads();
        let tasks = shards.iter().map(|s| cut(&s.level.plan, &s.store.range, threads)).collect();
        let set = InstructionSet::select()?;
        Ok(Self { experiment, shards, pool, set, clock, tasks, batch_pairs: None, on_batch: None })
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
        self.batches(0).len()
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

    fn batches(&self, level: usize) -> Vec<Range<usize>> {
        let limit = self.batch_pairs.filter(|_| level == 0).unwrap_or(usize::MAX);
        let (plan, tasks) = (&self.shards[level].level.plan, &self.tasks[level]);
        let mut batches = Vec::new();
        let (mut start, mut pairs) = (0, 0);
        for (k, task) in tasks.iter().enumerate() {
            let tiles = &plan.tiles[task.node.tiles(plan.per_angle())];
            pairs += task.angles.len() * tiles.iter().map(|t| t.n_pairs).sum::<usize>();
            if pairs >= limit || k + 1 == tasks.len() {
                batches.push(start..k + 1);
                (start, pairs) = (k + 1, 0);
            }
        }
        batches
    }

    /// The Gram matrices of a task's angles.
    fn sum_task(set: InstructionSet, shard: &Shard, tables: &Tables, task: &Task, pass: Pass) -> Vec<Gram> {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        SCRATCH.with_borrow_mut(|scratch| {
            let mut leaves: Vec<Vec<(Node, Gram)>> = vec![Vec::new(); task.angles.len()];
            for tile in task.node.tiles(n) {
                let own = task.angles.clone().map(|angle| {
                    let TileData { lanes, n_finite } = shard.store.tile(angle * n + tile);
                    AngleData { angle, data: lanes, n_finite }
                });
                let angles: Vec<AngleData> = own.collect();
                let job = Job { tile: &plan.tiles[tile], angles: &angles, tables, pass, scratch };
                for (leaves, gram) in leaves.iter_mut().zip(set.run(job)) {
                    leaves.push((Node { height: 0, index: tile }, gram));
                }
            }
            leaves.into_iter().map(|own| tree::complete(task.node, n, &mut own.into_iter())).collect()
        })
    }

    /// From the sums of all tasks of a level to those of the maximal nodes, angle by angle.
    fn coalesce(shard: &Shard, tasks: &[Task], sums: Vec<Vec<Gram>>) -> Vec<Gram> {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let mut parts: Vec<Vec<(Node, Gram)>> = vec![Vec::new(); plan.n_angles];
        // tasks are in the order of their tiles
        for (task, grams) in tasks.iter().zip(sums) {
            for (angle, gram) in task.angles.clone().zip(grams) {
                parts[angle].push((task.node, gram));
            }
        }
        let wholes = |angle: usize| tree::owned_nodes(n, &plan.within_angle(&shard.store.range, angle), u32::MAX);
        parts.into_iter().enumerate().flat_map(|(angle, own)| tree::coalesce(n, &wholes(angle), own)).collect()
    }
}

impl Engine for CpuEngine {
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        let batches = self.batches(level);
        let (shard, tasks) = (&self.shards[level], &self.tasks[level]);
        let (experiment, clock, pool, set) = (&self.experiment, &self.clock, &self.pool, self.set);
        let tables = |point| Tables::new(set, experiment, clock, &shard.level, point, pass == Pass::Gram);
        let enough = points.len() >= POINTS_PER_THREAD * pool.current_num_threads();
        if enough && shard.level.plan.n_pairs() < SMALL_LEVEL {
            // many points on a small level: one task a point
            let sums: Vec<Vec<Gram>> = pool.install(|| {
                points
                    .par_iter()
                    .map(|point| {
                        let tables = tables(point);
                        let own = tasks.iter().map(|task| Self::sum_task(set, shard, &tables, task, pass)).collect();
                        Self::coalesce(shard, tasks, own)
                    })
                    .collect()
            });
            return Ok(sums.concat());
        }
        let mut on_batch = self.on_batch.as_mut().filter(|_| batches.len() > 1);
        let mut out = Vec::new();
        for point in points {
            let tables = pool.install(|| tables(point));
            let mut sums = Vec::with_capacity(tasks.len());
            for (k, batch) in batches.iter().enumerate() {
                sums.extend(pool.install(|| {
                    tasks[batch.clone()]
                        .par_iter()
                        .with_max_len(1)
                        .map(|task| Self::sum_task(set, shard, &tables, task, pass))
                        .collect::<Vec<_>>()
                }));
                if let Some(report) = on_batch.as_mut() {
                    report(k + 1, batches.len());
                }
            }
            out.extend(Self::coalesce(shard, tasks, sums));
        }
        Ok(out)
    }
}
