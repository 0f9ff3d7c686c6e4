//! The engine of a rank.

use super::World;
use super::setup::{Dealing, Setup};
use crate::gram::gpu::{self, Accelerated, DeviceChoice};
use crate::gram::{CpuEngine, Level, Shard, TileStore};
use crate::nodes::store::NodeStore;
use crate::{Error, Result};

/// Builds it from the rank's stores and its threads; `nodes` stand for the pairs of the finest level, where these aren't kept.
///
/// # Errors
/// As [`CpuEngine::new`].
pub(super) fn build(
    setup: &Setup,
    (dealing, rank): (&Dealing, usize),
    (stores, sigma, nodes): (Vec<TileStore>, Vec<TileStore>, Option<NodeStore>),
    pool: rayon::ThreadPool,
) -> Result<Accelerated> {
    let mut sigma = sigma.into_iter();
    let shard = |((k, level), store): ((usize, &Level), TileStore)| match k {
        0 if nodes.is_some() => Shard::by_nodes(level.clone(), dealing.ranges[0][rank].clone()),
        _ => Shard { sigma: sigma.next(), ..Shard::held(level.clone(), store) },
    };
    let shards = dealing.levels.iter().enumerate().zip(stores).map(shard).collect();
    let mut cpu = CpuEngine::new(setup.experiment.clone(), shards, pool)?;
    cpu.set_precision(setup.precision);
    if let Some(nodes) = nodes {
        cpu.set_nodes(nodes);
    }
    Ok(Accelerated::new(cpu))
}

/// Gives it the rank's GPU where it is to have one; all data must be there.
///
/// # Errors
/// [`Error::Device`] where a GPU must be used and can't be.
pub(super) fn accelerate(engine: &mut Accelerated, world: &World, setup: &Setup) -> Result<()> {
    let must = setup.device == DeviceChoice::Cuda;
    if setup.device == DeviceChoice::Cpu || !must && gpu::available().is_err() {
        return Ok(());
    }
    if !setup.keeps {
        if world.rank() == 0 {
            log::info!("the CPU is used: the pairs aren't kept in memory, and nodes need no GPU");
        }
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
