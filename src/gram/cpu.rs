//! The engine that fills Gram matrices with CPU threads.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::axis::Clock;
use super::pack::{TileData, TileStore};
use super::tables::{Source, Tables};
use super::task::{Task, cut};
use super::tile::{AngleData, Job, Scratch};
use super::tree::{self, Node};
use super::work::{Crew, Work};
use super::{Engine, Gram, Partial, Pass, Point};
use crate::arithmetic::{InstructionSet, Lane};
use crate::model::Experiment;
use crate::nodes::blocks::{Blocks, Place, of_plan};
use crate::nodes::compressor::Compressor;
use crate::nodes::plan::Level;
use crate::nodes::store::NodeStore;
use crate::{Error, Result, trace};

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

/// One level's tiles of one rank.
#[derive(Debug, Clone)]
pub struct Shard {
    /// The level's frames and plan.
    pub level: Level,
    /// Global numbers of all its tiles.
    pub range: Range<usize>,
    /// Those whose pairs are at hand: all, or those of the matrix that is passing by.
    pub store: TileStore,
    /// σ of every pair, stored alike, where they have their own.
    pub sigma: Option<TileStore>,
}

impl Shard {
    /// With all pairs at hand.
    pub fn held(level: Level, store: TileStore) -> Self {
        Self { level, range: store.range.clone(), store, sigma: None }
    }

    /// With none.
    pub fn by_nodes(level: Level, range: Range<usize>) -> Self {
        let store = TileStore::new(&level.plan, range.start..range.start);
        Self { level, range, store, sigma: None }
    }

    /// Angles that it has tiles of.
    pub(super) fn angles(&self) -> Range<usize> {
        let n = self.level.plan.per_angle().max(1);
        if self.range.is_empty() { 0..0 } else { self.range.start / n..self.range.end.div_ceil(n) }
    }

    /// Maximal nodes of one angle that it sums.
    fn wholes(&self, angle: usize) -> Vec<Node> {
        let plan = &self.level.plan;
        tree::owned_nodes(plan.per_angle(), &plan.within_angle(&self.range, angle), u32::MAX)
    }

    /// Where the sums of an angle stand among those of a point.
    pub(super) fn place(&self, angle: usize) -> Range<usize> {
        let before: usize = (self.angles().start..angle).map(|angle| self.wholes(angle).len()).sum();
        before..before + self.wholes(angle).len()
    }

    /// The pairs of a tile, by its global number, where they are at hand.
    pub(super) fn pairs(&self, angle: usize, number: usize) -> Option<AngleData<'_>> {
        self.store.range.contains(&number).then(|| {
            let TileData { lanes, n_finite } = self.store.tile(number);
            let sigma = self.sigma.as_ref().map(|sigma| sigma.tile(number).lanes);
            AngleData { angle, data: lanes, n_finite, sigma, nodes: None }
        })
    }
}

/// On levels with fewer pairs than this, and where nodes stand for pairs, the threads share out the points where there are enough for
/// all.
const SMALL_LEVEL: usize = 1_000_000;

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
    work: Work,
    /// Weighted pairs that the last pass summed.
    terms: AtomicU64,
    /// Leaves whose pairs were needed singly while these passed by, by the global number of the tile.
    wanted: Mutex<Vec<(usize, (Place, bool))>>,
    /// Bytes of pairs that may still be kept.
    room: usize,
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
            wanted: Mutex::default(),
            room: 0,
            tasks: Vec::new(),
            blocks: shards.iter().map(|shard| of_plan(&shard.level.plan)).collect(),
            nodes: OnceLock::new(),
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
        self.tasks = self.shards.iter().map(|s| cut(&s.level.plan, &s.range, threads)).collect();
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
    pub fn compress(&mut self) {
        self.nodes = OnceLock::new();
        self.pool.install(|| {
            self.compressed();
        });
    }

    /// Takes what stands for the pairs of the finest level from elsewhere.
    pub fn set_nodes(&mut self, nodes: NodeStore) {
        self.nodes = OnceLock::from(nodes);
    }

    /// Keeps up to so many bytes of pairs that pass by and that nodes can't stand for where the model is.
    pub fn set_room(&mut self, room: usize) {
        self.room = room;
    }

    /// Has these tiles of the finest level at hand while `work` is done.
    pub fn with_pairs<T>(&mut self, tiles: TileStore, work: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.shards[0].store, tiles);
        let out = work(self);
        self.shards[0].store = before;
        out
    }

    /// The tiles, level by level.
    pub fn shards(&self) -> &[Shard] {
        &self.shards
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
        let pairs = self.shards.iter().map(|s| s.store.bytes() + s.sigma.as_ref().map_or(0, TileStore::bytes));
        pairs.sum::<usize>() + self.nodes.get().map_or(0, NodeStore::bytes)
    }

    /// What stands for the pairs of the finest level.
    fn compressed(&self) -> &NodeStore {
        self.nodes.get_or_init(|| {
            let _span = trace::span("compressing");
            let shard = &self.shards[0];
            let mut compressor = Compressor::new(self.set, &shard.level.plan, shard.range.clone(), false);
            shard.store.compress(&mut compressor);
            compressor.finish()
        })
    }

    /// Whether a pass goes over nodes.
    fn uses_nodes(&self, level: usize, pass: Pass) -> bool {
        level == 0 && matches!(pass, Pass::Gram | Pass::Chi2 | Pass::Slopes) && self.shards[level].sigma.is_none()
    }

    /// The Gram matrices of a task's angles; nothing where single pairs are needed that aren't at hand.
    fn sum_task(&self, level: usize, tables: &Tables, task: &Task, pass: Pass) -> Vec<Option<Gram>> {
        let shard = &self.shards[level];
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let nodes = self.uses_nodes(level, pass).then(|| self.compressed());
        SCRATCH.with_borrow_mut(|scratch| {
            scratch.terms = 0;
            // pairs that are at hand for a moment only
            let passing = shard.store.range.len() < shard.range.len();
            let mut leaves: Vec<Option<Vec<(Node, Gram)>>> = vec![Some(Vec::new()); task.angles.len()];
            for tile in task.node.tiles(n) {
                for (angle, leaves) in task.angles.clone().zip(&mut leaves) {
                    let number = angle * n + tile;
                    let (at_hand, nodes_of) = (shard.pairs(angle, number), nodes.and_then(|nodes| nodes.tile(number)));
                    let own = match (at_hand, nodes_of, nodes) {
                        (Some(own), of, _) => Some(AngleData { nodes: of, ..own }),
                        (None, Some(of), _) => {
                            Some(AngleData { angle, data: &[], n_finite: of.n_finite, sigma: None, nodes: Some(of) })
                        }
                        // none of its pairs has a value
                        (None, None, Some(_)) => {
                            Some(AngleData { angle, data: &[], n_finite: 0, sigma: None, nodes: None })
                        }
                        (None, None, None) => None,
                    };
                    let sum = own.and_then(|own| {
                        // a tile without a value, beyond the longest lag to be fitted for instance, takes no time
                        if own.n_finite == 0 {
                            return Some(Gram::default());
                        }
                        let (blocks, slots) = (&*self.blocks[level][tile], nodes.map(|nodes| &nodes.slots));
                        let tile = &plan.tiles[tile];
                        let passing = passing && !own.data.is_empty();
                        let job = Job { tile, blocks, slots, own: &own, tables, pass, passing, scratch: &mut *scratch };
                        let sum = job.run(self.set);
                        if !scratch.wanted.is_empty() {
                            let mut wanted = self.wanted.lock().unwrap_or_else(PoisonError::into_inner);
                            wanted.extend(scratch.wanted.drain(..).map(|leaf| (number, leaf)));
                        }
                        sum
                    });
                    match (sum, &mut *leaves) {
                        (Some(sum), Some(leaves)) => leaves.push((Node { height: 0, index: tile }, sum)),
                        _ => *leaves = None,
                    }
                }
            }
            self.terms.fetch_add(scratch.terms, Ordering::Relaxed);
            let whole = |own: Option<Vec<(Node, Gram)>>| {
                Some(tree::complete(task.node, n, &mut own?.iter().map(|(node, gram)| (*node, gram))))
            };
            leaves.into_iter().map(whole).collect()
        })
    }

    /// From the sums of tasks, in the order of their tiles, to those of the maximal nodes of one angle.
    fn coalesce(shard: &Shard, tasks: &[Task], sums: &[Vec<Option<Gram>>], angle: usize) -> Option<Vec<Gram>> {
        let own = tasks.iter().zip(sums).filter(|(task, _)| task.angles.contains(&angle));
        let pieces = own.map(|(task, grams)| Some((task.node, grams[angle - task.angles.start]?)));
        let pieces: Vec<(Node, Gram)> = pieces.collect::<Option<_>>()?;
        Some(tree::coalesce(shard.level.plan.per_angle(), &shard.wholes(angle), pieces))
    }

    /// Sums of these angles at every point by tasks that cover them; `angles` within those held.
    fn sums(&self, level: usize, points: &[Point], pass: Pass, angles: Range<usize>, tasks: &[Task]) -> Partial {
        let (shard, work, set) = (&self.shards[level], &self.work, self.set);
        // pairs with a σ of their own are all taken the same way
        let weighted = shard.sigma.is_some();
        let formed = if weighted && pass == Pass::Chi2 { Pass::Gram } else { pass };
        let slots = self.uses_nodes(level, formed).then(|| &self.pool.install(|| self.compressed()).slots);
        let source = |crew| Source {
            experiment: &self.experiment,
            clock: &self.clock,
            level: &shard.level,
            slots,
            crew,
            sigma: &self.sigma,
            weighted,
        };
        let tables = |point, crew| {
            let _span = trace::span("tables");
            Tables::new(set, &source(crew), point, formed)
        };
        let whole = |sums: &[Vec<Option<Gram>>], angle: usize| {
            let mut sums = Self::coalesce(shard, tasks, sums, angle);
            sums.iter_mut().flatten().filter(|_| weighted).for_each(|sum| sum.keep(&pass.filled()));
            sums
        };
        let enough = points.len() >= self.pool.current_num_threads();
        let by_angle: Vec<Vec<Option<Vec<Gram>>>> =
            if enough && (slots.is_some() || shard.level.plan.n_pairs() < SMALL_LEVEL) {
                // many points, each of which is little work: one task a point
                let of_point = |point| {
                    let tables = tables(point, Crew::ALONE);
                    let _span = trace::span("tiles");
                    let sums: Vec<_> = tasks.iter().map(|task| self.sum_task(level, &tables, task, formed)).collect();
                    angles.clone().map(|angle| whole(&sums, angle)).collect()
                };
                self.pool.install(|| points.par_iter().map(|point| work.task(|| of_point(point))).collect())
            } else {
                let of_point = |point| {
                    // waking the threads takes as long as many a pass, so it is done once
                    self.pool.install(|| {
                        let tables = tables(point, work.crew());
                        let sums = in_order(tasks, |task| work.task(|| self.sum_task(level, &tables, task, formed)));
                        angles.clone().into_par_iter().map(|angle| whole(&sums, angle)).collect()
                    })
                };
                points.iter().map(of_point).collect()
            };
        let nothing = |angle: usize| vec![Gram::default(); shard.wholes(angle).len()];
        let waiting = angles.clone().filter(|&angle| by_angle.iter().any(|of| of[angle - angles.start].is_none()));
        Partial {
            waiting: waiting.collect(),
            sums: by_angle
                .into_iter()
                .flat_map(|of| angles.clone().zip(of).map(|(angle, sums)| sums.unwrap_or_else(|| nothing(angle))))
                .flatten()
                .collect(),
        }
    }

    /// Sums of the maximal nodes of this engine's tiles, point after point, as far as nodes and the pairs at hand give them.
    pub fn partial(&mut self, level: usize, points: &[Point], pass: Pass) -> Partial {
        self.work.begin();
        self.terms.store(0, Ordering::Relaxed);
        let out = self.sums(level, points, pass, self.shards[level].angles(), &self.tasks[level]);
        self.work.end();
        out
    }

    /// Puts the sums of an angle of the finest level, whose pairs are at hand, where they were missing.
    pub fn complete(&mut self, partial: &mut Partial, points: &[Point], pass: Pass, angle: usize) {
        let shard = &self.shards[0];
        let tasks = cut(&shard.level.plan, &shard.store.range, self.threads());
        let own = self.sums(0, points, pass, angle..angle + 1, &tasks).sums;
        let place = shard.place(angle);
        if place.is_empty() || points.is_empty() {
            return;
        }
        let of_point = partial.sums.len() / points.len();
        for (all, own) in partial.sums.chunks_exact_mut(of_point).zip(own.chunks_exact(place.len())) {
            all[place.clone()].copy_from_slice(own);
        }
        partial.waiting.retain(|&waiting| waiting != angle);
        self.keep_wanted();
    }

    /// Keeps the pairs that were needed singly, for there will be passes near this one; then those that may be, in half of the room.
    fn keep_wanted(&mut self) {
        let mut wanted = std::mem::take(&mut *self.wanted.lock().unwrap_or_else(PoisonError::into_inner));
        wanted.sort_unstable_by_key(|(number, (place, is_needed))| (!is_needed, *number, place.lane));
        let (store, Some(nodes)) = (&self.shards[0].store, self.nodes.get_mut()) else { return };
        for (number, (place, is_needed)) in wanted.into_iter().filter(|(number, _)| store.range.contains(number)) {
            let bytes = place.n_lanes() * size_of::<Lane>();
            let fits = bytes <= if is_needed { self.room } else { self.room / 2 };
            let Some(tile) = nodes.tile_mut(number).filter(|_| fits) else { continue };
            tile.nodes.kept.entry(place.lane).or_insert_with(|| {
                self.room -= bytes;
                store.tile(number).lanes[place.lane..place.lane + place.n_lanes()].to_vec()
            });
        }
    }
}

/// Does tasks in their order by all threads of the rayon pool in which it is called.
fn in_order<T: Send + Sync>(tasks: &[Task], sum: impl Fn(&Task) -> T + Sync) -> Vec<T> {
    let done: Vec<OnceLock<T>> = tasks.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    rayon::broadcast(|_| {
        let _span = trace::span("tiles");
        while let Some((task, done)) = {
            let k = next.fetch_add(1, Ordering::Relaxed);
            tasks.get(k).zip(done.get(k))
        } {
            // nobody else has this number
            let _ = done.set(sum(task));
        }
    });
    done.into_iter().filter_map(OnceLock::into_inner).collect()
}

impl Engine for CpuEngine {
    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Gram>> {
        let Partial { sums, waiting } = self.partial(level, points, pass);
        match waiting.first() {
            None => Ok(sums),
            Some(angle) => Err(Error::Rank { rank: 0, message: format!("the pairs of angle {angle} aren't at hand") }),
        }
    }
}
