//! The engine of a rank.

use super::World;
use super::setup::{Dealing, Setup};
use crate::gram::gpu::{self, Accelerated, DeviceChoice};
use crate::gram::{CpuEngine, Shard, TileStore};
use crate::{Error, Result};

/// Builds it from the rank's stores and its threads.
///
/// # Errors
/// As [`CpuEngine::new`].
pub(super) fn build(
    setup: &Setup,
    dealing: &Dealing,
    (stores, sigma): (Vec<TileStore>, Vec<TileStore>),
    pool: rayon::ThreadPool,
) -> Result<Accelerated> {
    let mut sigma = sigma.into_iter();
    let shards = dealing.levels.iter().cloned().zip(stores);
    let shards = shards.map(|(level, store)| Shard { sigma: sigma.next(), ..Shard::held(level, store) }).collect();
    let mut cpu = CpuEngine::new(setup.experiment.clone(), shards, pool)?;
    cpu.set_precision(setup.precision);
    if let Some(pairs) = setup.batch_pairs {
        cpu.set_batches(pairs, None);
    }
    Ok(Accelerated::new(cpu))
}

/// Gives it the rank's GPU where it is to have one; all data must be there.
///
/// # Errors
/// [`Error::Device`] where a GPU must be used and can't be, what reading the data fails with.
pub(super) fn accelerate(engine: &mut Accelerated, world: &World, setup: &Setup) -> Result<()> {
    let must = setup.device == DeviceChoice::Cuda;
    if setup.device == DeviceChoice::Cpu || !must && gpu::available().is_err() {
        return Ok(());
    }
    let place = (world.rank_on_node(), world.ranks_on_node());
    let opened = gpu::open(place, setup.memory_fraction);
    match opened.and_then(|(device, budget)| engine.accelerate(device, budget)) {
        Err(error @ Error::Device { .. }) if !must => {
            log::warn!("{error}; the CPU is used");
            Ok(())
        }
        done => done,
    }
}
