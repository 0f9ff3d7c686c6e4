//! What every rank must know before tiles are dealt, and what it builds from that.

use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::ingest::Reading;
use super::node_files::NodeFiles;
use super::record::Recorded;
use crate::gram::gpu::DeviceChoice;
use crate::gram::{Lane, Level, Precision, TileStore, tree};
use crate::model::Experiment;
use crate::{Error, Result, buffers};

/// Sent by rank 0 once, after it has opened the data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The measurement: it fixes levels, tiles and dealing.
    pub experiment: Experiment,
    /// Threads a rank asked for on the command line or in the configuration.
    pub threads: Option<usize>,
    /// Precision of Gram passes.
    pub precision: Precision,
    /// Where passes are made.
    pub device: DeviceChoice,
    /// Share of a GPU's free memory that is used.
    pub memory_fraction: f64,
    /// How long ranks may be silent before the job ends, s; 0 = for ever.
    pub silence_limit: f64,
    /// Every pair has a σ of its own.
    pub weighted: bool,
    /// What ranks record beside.
    #[serde(default)]
    pub recorded: Recorded,
    /// Whether ranks keep the pairs of the finest level; else they read them whenever single pairs are needed.
    pub keeps: bool,
    /// Bytes of those that it may keep all the same, where they were needed once.
    pub room: usize,
    /// Where nodes are kept for a run that goes on.
    pub nodes: Option<NodeFiles>,
    /// How the file is read; `None` where nothing is.
    pub reading: Option<Reading>,
}

impl Setup {
    /// As a time, where there is a limit.
    pub(super) fn silence(&self) -> Option<Duration> {
        (self.silence_limit > 0.0).then(|| Duration::from_secs_f64(self.silence_limit))
    }
}

/// Which tiles of which level belong to which rank.
pub(super) struct Dealing {
    pub levels: Vec<Level>,
    /// By level, then rank.
    pub ranges: Vec<Vec<Range<usize>>>,
}

impl Dealing {
    pub fn new(experiment: &Experiment, ranks: usize) -> Self {
        Self::of(Level::all(experiment.n_frames, experiment.n_angles()), ranks)
    }

    /// The finest level alone.
    pub fn finest(experiment: &Experiment, ranks: usize) -> Self {
        let mut levels = Level::all(experiment.n_frames, experiment.n_angles());
        levels.truncate(1);
        Self::of(levels, ranks)
    }

    fn of(levels: Vec<Level>, ranks: usize) -> Self {
        let ranges = levels.iter().map(|l| l.plan.deal(ranks)).collect();
        Self { levels, ranges }
    }

    /// Global numbers of the tiles of one angle that a rank holds at a level; may be empty.
    pub fn tiles(&self, level: usize, rank: usize, angle: usize) -> Range<usize> {
        let plan = &self.levels[level].plan;
        let within = plan.within_angle(&self.ranges[level][rank], angle);
        let base = angle * plan.per_angle();
        base + within.start..base + within.end
    }

    /// Maximal tree nodes that a rank sums at a level, angle by angle.
    pub fn nodes(&self, level: usize, rank: usize, angle: usize) -> Vec<tree::Node> {
        let plan = &self.levels[level].plan;
        tree::owned_nodes(plan.per_angle(), &plan.within_angle(&self.ranges[level][rank], angle), u32::MAX)
    }

    /// Empty stores for one rank, of the finest level without any tile where its pairs aren't kept.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is none.
    pub fn stores(&self, rank: usize, keeps: bool) -> Result<Vec<TileStore>> {
        let tiles = |level: usize| {
            let Range { start, end } = self.ranges[level][rank];
            start..if keeps || level > 0 { end } else { start }
        };
        let levels = || self.levels.iter().enumerate();
        let lanes = |(k, level): (usize, &Level)| {
            tiles(k).map(|tile| level.plan.tiles[tile % level.plan.per_angle()].n_lanes).sum::<usize>()
        };
        let bytes = levels().map(lanes).sum::<usize>() * size_of::<Lane>();
        buffers::check(bytes, || format!("the data of rank {rank}, of which more ranks on more nodes each hold less"))?;
        Ok(levels().map(|(k, level)| TileStore::new(&level.plan, tiles(k))).collect())
    }
}

pub(super) fn thread_pool(rank: usize, threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .thread_name(|k| format!("gram-{k}"))
        .build()
        .map_err(|e| no_threads(rank, threads, e))
}

fn no_threads(rank: usize, threads: usize, why: impl std::fmt::Display) -> Error {
    let message = format!("cannot start {threads} threads: {why}; ask for fewer with `--threads`");
    Error::Rank { rank, message }
}

#[cfg(test)]
mod tests {
    use super::no_threads;

    #[test]
    fn a_rank_without_threads_names_itself() {
        let error = no_threads(3, 8, "no more processes");
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().starts_with("rank 3: cannot start 8 threads: no more processes"), "{error}");
    }
}
