//! How the data of a run are held: which strategy, and how much of them in memory.

use super::reading::{self, Manner};
use crate::cluster::{GB, MemoryLimit, Strategy, World};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::gram::Level;
use crate::gram::gpu::{self, DeviceChoice};
use crate::model::Experiment;
use crate::nodes::blocks::of_plan;
use crate::nodes::store::NodeStore;
use crate::output::Report;
use crate::{Error, Result};

/// Memory of a rank without data: libraries, threads, results.
const RANK: f64 = 64e6;
/// Memory of the tables of a pass per frame, some 250 bytes a point at eight of them, and what an angle adds with frames of its own that
/// live: both from the sizes of what they hold.
const TABLES: [f64; 2] = [2000.0, 60.0];
/// Memory of the host that drivers of a GPU are known to take.
const GPU: f64 = 300e6;
/// Memory for looking at the data that a run of usual size has beside all limits.
const VIEWS: f64 = 128e6;

/// How the data are held.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Holding {
    /// What passes are cut into and how much is said.
    pub strategy: Strategy,
    /// Why that one.
    pub why: &'static str,
    /// Whether ranks keep all pairs; else they keep nodes, and read the file again when single pairs are needed.
    pub keeps: bool,
    /// Bytes of pairs that a rank may keep all the same, where they were needed once.
    pub room: usize,
    /// Who reads the file, and how much of it at once.
    pub reading: Manner,
}

impl Holding {
    /// For a run on these ranks.
    ///
    /// # Errors
    /// [`Error::Memory`] where the limit doesn't allow what is asked for.
    pub fn new(world: &World, config: &Config, experiment: &Experiment, dataset: &Dataset) -> Result<Self> {
        let (limit, on_node) = MemoryLimit::of_tightest_node(world, config.performance.memory_limit_gb)?;
        let ranks = (world.size(), on_node);
        let (by_pair, beside) = (dataset.has_sigma_by_pair(), dataset.memory_beside());
        let mut parallel = config.performance.parallel_reading.unwrap_or(true) && world.size() > 1;
        let mut sizes = Sizes::new(experiment, ranks, (by_pair, beside), parallel);
        if config.performance.device != DeviceChoice::Cpu && gpu::available().is_ok() {
            sizes.rank += GPU;
        }
        if parallel && sizes.in_memory() > limit.bytes {
            let told = if config.performance.parallel_reading.is_some() { log::Level::Info } else { log::Level::Debug };
            log::log!(
                told,
                "reading in parallel would take the data to {:.2} GB on a node, {} allows {:.2} GB: rank 0 reads",
                sizes.in_memory() / GB,
                limit.source,
                limit.bytes / GB
            );
            parallel = false;
            sizes = Sizes { rank: sizes.rank, ..Sizes::new(experiment, ranks, (by_pair, beside), false) };
        }
        let (strategy, why) = match config.performance.strategy {
            Some(strategy) => (strategy, "as configured"),
            None => (Strategy::by_size(experiment.n_points()), "by the number of matrix entries"),
        };
        let forced = config.performance.strategy;
        let on_their_way = reading::most_on_their_way(experiment, beside, sizes.packed, sizes.readers);
        let held = Self { strategy, why, keeps: true, room: 0, reading: Manner { parallel, on_their_way } };
        match forced {
            Some(Strategy::Streaming) => {}
            _ if sizes.in_memory() <= limit.bytes => return Ok(held),
            None => {}
            Some(_) => return limit.check(sizes.in_memory()).map(|()| held),
        }
        if by_pair {
            let needed = format!(
                "σ of every entry of c2 isn't streamed yet, and in memory the data need {:.2} GB",
                sizes.in_memory() / GB
            );
            return Err(Error::Memory(format!(
                "{needed} on a node ({} allows {:.2} GB); raise the limit, use more nodes, or remove /sigma",
                limit.source,
                limit.bytes / GB
            )));
        }
        let least = sizes.streamed(1);
        if least > limit.bytes {
            return Err(Error::Memory(format!(
                "streaming needs {:.2} GB on a node, {} allows {:.2} GB; raise `performance.memory_limit_gb`, use fewer ranks a \
                 node, or select fewer frames",
                least / GB,
                limit.source,
                limit.bytes / GB
            )));
        }
        let most = (1..=on_their_way).rev().find(|&n| sizes.streamed(n) <= limit.bytes).unwrap_or(1);
        let why = if forced.is_some() { why } else { "the data don't fit into the memory" };
        let reading = Manner { parallel, on_their_way: most };
        let room = ((limit.bytes - sizes.streamed(most)).max(0.0) / sizes.ranks) as usize;
        Ok(Self { strategy: Strategy::Streaming, why, keeps: false, room, reading })
    }
}

/// Bytes that a run needs to hold all its data on the node with the least memory a rank, which has so many ranks.
pub(super) fn in_memory(world: &World, on_node: usize, experiment: &Experiment, dataset: &Dataset) -> f64 {
    let matrices = (dataset.has_sigma_by_pair(), dataset.memory_beside());
    Sizes::new(experiment, (world.size(), on_node), matrices, false).in_memory()
}

/// Refuses to look at the data where that needs more memory than the limit leaves beside what is in use.
///
/// # Errors
/// [`Error::Memory`], saying for how many angles.
pub(super) fn room_for_views(world: &World, report: &Report, needed: f64) -> Result<()> {
    if needed <= VIEWS {
        return Ok(());
    }
    let limit = MemoryLimit::find(report.config.performance.memory_limit_gb, world.ranks_on_node())?;
    let in_use = report.ranks.iter().take(world.ranks_on_node()).map(|rank| rank.peak_memory as f64).sum::<f64>();
    let what = format!("looking at the residuals of {} angles, beside the fit, needs", report.experiment.n_angles());
    limit.check_for(in_use + needed, &what, "set `plotting.save_plots: false` and `output.formats.html: false`")
}

/// What a run needs on the node with the least memory a rank, bytes; what rank 0 needs for reading is counted there.
struct Sizes {
    /// Packed data of all levels and ranks.
    packed: usize,
    /// What stands for the finest level's pairs.
    nodes: usize,
    /// Arrays: c2, and σ where every pair has its own.
    arrays: f64,
    finest: usize,
    /// Ranks on a node, and their share of the data.
    ranks: f64,
    share: f64,
    /// Of a rank without data.
    rank: f64,
    /// Ranks that read.
    readers: usize,
    /// Matrices on their way, of all of them on a node.
    reading: f64,
    /// Each of them, and the most that reading a single one takes.
    on_its_way: f64,
    matrix: f64,
    /// Tiles of one matrix.
    window: f64,
}

impl Sizes {
    /// For so many ranks, on all nodes and on one, and matrices that may have a σ for every pair and take so many bytes beside
    /// themselves when they are read.
    fn new(
        experiment: &Experiment,
        (ranks, ranks_on_node): (usize, usize),
        (by_pair, beside): (bool, f64),
        parallel: bool,
    ) -> Self {
        let levels = Level::all(experiment.n_frames, experiment.n_angles());
        let packed = levels.iter().map(Level::bytes).sum();
        let plan = &levels[0].plan;
        let nodes = NodeStore::expected(plan, &of_plan(plan), &(0..plan.n_tiles()));
        let readers = if parallel { ranks.min(experiment.n_angles()) } else { 1 };
        let angles = experiment.n_angles().min(1 + experiment.n_angles() / ranks) as f64;
        let tables = experiment.n_frames as f64 * (TABLES[0] + TABLES[1] * angles);
        Self {
            packed,
            nodes: if by_pair { 0 } else { nodes },
            arrays: if by_pair { 2.0 } else { 1.0 },
            finest: levels[0].bytes(),
            ranks: ranks_on_node as f64,
            share: ranks_on_node as f64 / ranks as f64,
            rank: RANK + tables,
            readers,
            reading: readers.min(ranks_on_node) as f64 * reading::memory(experiment, beside, packed, readers),
            on_its_way: reading::on_its_way(experiment, beside),
            matrix: reading::one_at_a_time(experiment, beside),
            window: levels[0].bytes() as f64 / experiment.n_angles() as f64,
        }
    }

    /// With all data in memory.
    fn in_memory(&self) -> f64 {
        self.arrays * (self.packed as f64 * self.share + self.reading) + self.nodes as f64 * self.share
    }

    /// With nodes in place of the finest level's pairs, and so many matrices on their way on every rank that reads; each rank has the
    /// tiles of one beside.
    fn streamed(&self, on_their_way: usize) -> f64 {
        let coarse = (self.packed - self.finest) as f64 * self.share;
        let reading = (on_their_way as f64 * self.on_its_way).max(self.matrix);
        let readers = (self.readers as f64).min(self.ranks);
        self.ranks * (self.rank + self.window) + self.nodes as f64 * self.share + coarse + readers * reading
    }
}
