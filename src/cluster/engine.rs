//! The engine of a rank: its CPU threads and, where it has one, a GPU that passes are made on.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::time::Instant;

use super::setup::{Dealing, Setup};
use crate::Result;
use crate::gram::gpu::{Emulated, Faults, GpuEngine};
use crate::gram::rounds::{Known, Rounds};
use crate::gram::{CpuEngine, Engine, Gram, Pass, Point, Precision, Shard, TileStore};

/// Names the library of the emulated device, for tests (see `kernels/emulation`).
const EMULATED: &str = "HOMODYNE_EMULATED_GPU";
/// What the emulated device may use, bytes.
const EMULATED_BUDGET: usize = 1 << 30;

/// The data of a rank and who works on them. All that isn't a pass is as [`CpuEngine`] has it.
pub(super) struct RankEngine {
    cpu: CpuEngine,
    gpu: Option<GpuEngine<Emulated>>,
    /// Time of the last pass on the GPU, s.
    busy: f64,
}

impl RankEngine {
    /// Builds it from the rank's filled stores and its threads.
    pub fn new(
        setup: &Setup,
        dealing: &Dealing,
        stores: Vec<TileStore>,
        sigma: Vec<TileStore>,
        pool: rayon::ThreadPool,
    ) -> Result<Self> {
        let mut sigma = sigma.into_iter();
        let shards = dealing.levels.iter().cloned().zip(stores);
        let shards = shards.map(|(level, store)| Shard { sigma: sigma.next(), ..Shard::held(level, store) }).collect();
        let mut cpu = CpuEngine::new(setup.experiment.clone(), shards, pool)?;
        cpu.set_precision(setup.precision);
        if let Some(pairs) = setup.batch_pairs {
            cpu.set_batches(pairs, None);
        }
        // what is read in every pass, and pairs in f32, are for the CPU
        let suits = setup.streaming.is_none() && setup.precision == Precision::F64;
        let library = std::env::var_os(EMULATED).map(PathBuf::from).filter(|_| suits);
        let on_gpu = |library: PathBuf| {
            let device = Emulated::load(&library, false, Faults::default())?;
            GpuEngine::new(device, setup.experiment.clone(), cpu.shards(), EMULATED_BUDGET)
        };
        let gpu = library.map(on_gpu).transpose()?;
        Ok(Self { cpu, gpu, busy: 0.0 })
    }

    /// What the passes are made on, if it isn't the CPU.
    pub fn gpu(&self) -> Option<String> {
        self.gpu.as_ref().map(GpuEngine::name)
    }

    /// As [`CpuEngine::set_sigma`].
    pub fn set_sigma(&mut self, sigma: &[f64]) {
        self.cpu.set_sigma(sigma);
        if let Some(gpu) = &mut self.gpu {
            gpu.set_sigma(sigma);
        }
    }

    /// As [`CpuEngine::worked`]; a GPU works all the time.
    pub fn worked(&self) -> f64 {
        if self.gpu.is_some() { self.busy } else { self.cpu.worked() }
    }
}

impl Deref for RankEngine {
    type Target = CpuEngine;

    fn deref(&self) -> &CpuEngine {
        &self.cpu
    }
}

impl DerefMut for RankEngine {
    fn deref_mut(&mut self) -> &mut CpuEngine {
        &mut self.cpu
    }
}

impl Engine for RankEngine {
    fn evaluate_in_rounds(
        &mut self,
        level: usize,
        points: &[Point],
        pass: Pass,
        known: &Known,
        rounds: &mut Rounds<'_>,
    ) -> Result<Vec<Gram>> {
        let Some(gpu) = &mut self.gpu else {
            return self.cpu.evaluate_in_rounds(level, points, pass, known, rounds);
        };
        let begin = Instant::now();
        let sums = gpu.evaluate((level, &self.cpu.shards()[level]), points, pass, rounds);
        self.busy = begin.elapsed().as_secs_f64();
        sums
    }
}
