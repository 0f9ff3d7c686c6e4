//! The engine of a rank: its CPU threads and, where it has one, a GPU that passes are made on.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use super::World;
use super::setup::{Dealing, Setup};
use crate::gram::gpu::{self, Device, DeviceChoice, GpuEngine};
use crate::gram::rounds::{Known, Rounds};
use crate::gram::{COLUMNS, CpuEngine, Engine, Gram, Loss, Pass, Point, Precision, Shard, TileStore};
use crate::{Error, Result};

/// Where a GPU is compared with the CPU before it is used: moderate, with all columns at work.
const PROBE: [f64; 7] = [2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0];
/// Entries may differ by this much of √(G_aa·G_bb): wrong kernels differ by far more.
const SAME: f64 = 1e-9;

/// The data of a rank and who works on them. All that isn't a pass is as [`CpuEngine`] has it.
pub(super) struct RankEngine {
    cpu: CpuEngine,
    gpu: Option<GpuEngine<Box<dyn Device>>>,
    /// Time of the last pass on the GPU, s.
    busy: f64,
}

impl RankEngine {
    /// Builds it from the rank's filled stores and its threads.
    ///
    /// # Errors
    /// [`Error::Device`] where a GPU must be used and can't be.
    pub fn new(
        world: &World,
        setup: &Setup,
        dealing: &Dealing,
        (stores, sigma): (Vec<TileStore>, Vec<TileStore>),
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
        let mut engine = Self { cpu, gpu: None, busy: 0.0 };
        // what is read in every pass, and pairs in f32, are for the CPU
        let suits = setup.streaming.is_none() && setup.precision == Precision::F64;
        if suits
            && setup.device != DeviceChoice::Cpu
            && (setup.device == DeviceChoice::Cuda || gpu::available().is_ok())
        {
            match engine.compared((world.rank_on_node(), world.ranks_on_node()), setup) {
                Ok(gpu) => engine.gpu = Some(gpu),
                Err(error) if setup.device == DeviceChoice::Cuda => return Err(error),
                Err(error) => log::warn!("{error}; the CPU is used"),
            }
        }
        Ok(engine)
    }

    /// A GPU that gives on the coarsest level what the CPU does.
    fn compared(&mut self, place: (usize, usize), setup: &Setup) -> Result<GpuEngine<Box<dyn Device>>> {
        let experiment = &setup.experiment;
        let (device, budget) = gpu::open(place, setup.memory_fraction)?;
        let mut gpu = GpuEngine::new(device, experiment.clone(), self.cpu.shards(), budget)?;
        let level = self.cpu.shards().len() - 1;
        let physical = PROBE[..experiment.mode.n_physical()].to_vec();
        let points = [Point { physical, scaling: vec![(0.3, 1.0); experiment.n_angles()] }];
        for pass in [Pass::Gram, Pass::Chi2, Pass::Robust { loss: Loss::SoftL1, doublings: 0 }] {
            let expected = self.cpu.evaluate(level, &points, pass)?;
            let found = gpu.evaluate((level, &self.cpu.shards()[level]), &points, pass, &mut Rounds::one())?;
            let worst = found.iter().zip(&expected).map(|(a, b)| distance(a, b)).fold(0.0, f64::max);
            if found.len() != expected.len() || worst > SAME {
                let message =
                    format!("its sums differ from the CPU's by {worst:.1e} of their size; please report this");
                return Err(Error::Device { name: gpu.name(), message });
            }
        }
        Ok(gpu)
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

/// Largest difference of two sums, in units of √(G_aa·G_bb); not a number counts as infinite.
fn distance(a: &Gram, b: &Gram) -> f64 {
    let entries = (0..COLUMNS).flat_map(|i| (i..COLUMNS).map(move |j| (i, j)));
    let of = |(i, j)| {
        let (difference, scale) = ((a.at(i, j) - b.at(i, j)).abs(), (b.at(i, i) * b.at(j, j)).sqrt());
        if difference == 0.0 { 0.0 } else { difference / scale }
    };
    entries.map(of).fold(0.0, |most: f64, x| if x.is_nan() { f64::INFINITY } else { most.max(x) })
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_measured_by_the_diagonal() {
        let mut a = Gram::default();
        a.set(2, 2, 4.0);
        a.set(5, 5, 9.0);
        let mut b = a;
        assert_eq!(distance(&a, &b), 0.0);
        b.set(2, 5, 0.6);
        assert!((distance(&b, &a) - 0.1).abs() < 1e-15);
        b.set(2, 5, f64::NAN);
        assert_eq!(distance(&b, &a), f64::INFINITY);
    }
}
