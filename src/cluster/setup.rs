//! What every rank must know before tiles are dealt, and what it builds from that.

use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::record::Recorded;
use super::rounds::RoundPlan;
use crate::gram::gpu::DeviceChoice;
use crate::gram::{CpuEngine, Lane, Level, Precision, TileReader, TileStore, Tolerance, tree};
use crate::model::Experiment;
use crate::{Error, Result, buffers};

/// Sent by rank 0 once, after it has opened the data.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Setup {
    /// The measurement: it fixes levels, tiles and dealing.
    pub experiment: Experiment,
    /// Threads a rank asked for on the command line or in the configuration.
    pub threads: Option<usize>,
    /// Count full-resolution passes in batches of about this many pairs on every rank.
    pub batch_pairs: Option<usize>,
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
    /// Which passes are made in rounds.
    pub rounds: RoundPlan,
    /// Where packed data are and how much of them ranks keep; `None` = they hold all.
    pub streaming: Option<Streaming>,
}

/// Packed data in files, which are read in every pass but for what is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Streaming {
    /// The folder that rank 0 writes and all read: a file for every level.
    pub folder: PathBuf,
    /// Bytes of packed data that each rank keeps.
    pub keep: usize,
    /// What is done where reads fail.
    pub tolerance: Tolerance,
    /// Level and global number of tiles that an earlier run couldn't read, and which stay left out.
    pub lost: Vec<(usize, usize)>,
}

impl Streaming {
    /// The file of a level.
    pub(super) fn file(&self, level: usize) -> PathBuf {
        self.folder.join(format!("level-{level}.tiles"))
    }

    /// Opens the files, which are complete, for one rank. Those of another run are verified.
    pub(super) fn open(&self, dealing: &Dealing, rank: usize, verify: bool) -> Result<Vec<TileReader>> {
        let level = |(k, level): (usize, &Level)| {
            let range = dealing.ranges[k][rank].clone();
            let file = TileReader::open(&self.file(k), &level.plan, range, self.tolerance, verify)?;
            file.leave_out(self.lost.iter().filter(|(level, _)| *level == k).map(|(_, tile)| *tile));
            Ok(file)
        };
        dealing.levels.iter().enumerate().map(level).collect()
    }

    /// Has an engine take its data from the files, and keep as much as it may: of the coarse levels, which see most passes,
    /// first.
    pub(super) fn attach(&self, files: Vec<TileReader>, engine: &mut CpuEngine) -> Result<()> {
        let mut keep = self.keep;
        for (level, file) in files.into_iter().enumerate().rev() {
            keep = keep.saturating_sub(engine.stream(level, file, keep)?);
        }
        Ok(())
    }
}

impl Setup {
    /// As a time, where there is a limit.
    pub(super) fn silence(&self) -> Option<Duration> {
        (self.silence_limit > 0.0).then(|| Duration::from_secs_f64(self.silence_limit))
    }

    /// Whether a pass is made in rounds.
    pub(super) fn in_rounds(&self, level: &Level, n_points: usize) -> bool {
        level.plan.n_pairs() as u64 * n_points as u64 >= self.rounds.from_pairs
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

    /// Empty stores for one rank; without any tile where the data are `elsewhere`.
    ///
    /// # Errors
    /// [`Error::Memory`] where there is none.
    pub fn stores(&self, rank: usize, elsewhere: bool) -> Result<Vec<TileStore>> {
        let tiles = |ranges: &[Range<usize>]| {
            let Range { start, end } = ranges[rank];
            start..if elsewhere { start } else { end }
        };
        let lanes = |(level, ranges): (&Level, &Vec<Range<usize>>)| {
            let plan = &level.plan;
            tiles(ranges).map(|tile| plan.tiles[tile % plan.per_angle()].n_lanes).sum::<usize>()
        };
        let levels = || self.levels.iter().zip(&self.ranges);
        let bytes = levels().map(lanes).sum::<usize>() * size_of::<Lane>();
        buffers::check(bytes, || format!("the data of rank {rank}, of which more ranks on more nodes each hold less"))?;
        Ok(levels().map(|(level, ranges)| TileStore::new(&level.plan, tiles(ranges))).collect())
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
