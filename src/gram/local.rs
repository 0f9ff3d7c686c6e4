//! The objective over one process, without MPI: for tests, benchmarks and embedding.

use super::gpu::Accelerated;
use super::{CpuEngine, Engine, Gram, Level, Objective, Pass, Point, Shard, TileStore, pack_angle, tree};
use crate::Result;
use crate::model::Experiment;

/// All tiles of all levels in this process.
pub struct Local {
    experiment: Experiment,
    levels: Vec<Level>,
    engine: Accelerated,
    /// Passes so far, by level.
    pub passes: Vec<usize>,
}

impl Local {
    /// Packs K matrices; `row_after(angle, i)` gives c2 of frame i with the frames behind it, NaN where missing.
    ///
    /// # Errors
    /// As [`CpuEngine::new`].
    pub fn new<'m>(
        experiment: Experiment,
        pool: rayon::ThreadPool,
        row_after: impl Fn(usize, usize) -> &'m [f32] + Sync,
    ) -> Result<Self> {
        let levels = Level::all(experiment.n_frames, experiment.n_angles());
        let shards = levels
            .iter()
            .map(|level| {
                let mut store = TileStore::new(&level.plan, 0..level.plan.n_tiles());
                let n = level.plan.per_angle();
                for angle in 0..experiment.n_angles() {
                    let tiles = angle * n..(angle + 1) * n;
                    pool.install(|| {
                        pack_angle(level, 0..n, &|i| row_after(angle, i), store.lanes_mut(&tiles));
                        store.mark(&level.plan, &tiles);
                    });
                }
                Shard::held(level.clone(), store)
            })
            .collect();
        let engine = Accelerated::new(CpuEngine::new(experiment.clone(), shards, pool)?);
        Ok(Self { experiment, passes: vec![0; levels.len()], levels, engine })
    }

    /// The engine, to choose its threads, instruction set and device.
    pub fn engine(&mut self) -> &mut Accelerated {
        &mut self.engine
    }
}

impl Objective for Local {
    fn experiment(&self) -> &Experiment {
        &self.experiment
    }

    fn levels(&self) -> &[Level] {
        &self.levels
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        self.passes[level] += points.len();
        let n = self.levels[level].plan.per_angle();
        let mut sums = self.engine.evaluate(level, points, pass)?.into_iter();
        // one process owns every tile, so its nodes are the roots
        debug_assert_eq!(tree::owned_nodes(n, &(0..n), u32::MAX).len(), usize::from(n > 0));
        let k = self.experiment.n_angles();
        Ok(points.iter().map(|_| sums.by_ref().take(k).collect()).collect())
    }
}
