//! Working through tiles that memory doesn't hold.
//!
//! Each thread reads the tile that it works on next into a buffer of its own, which the kernel finds in the cache: so memory
//! is the same whatever the size of the data, and while one thread waits for the disk others compute. The system is asked
//! one round ahead to have what comes next at hand.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::Gram;
use super::cpu::Shard;
use super::kernel::AngleData;
use super::pack::{Lanes, TileData};
use super::task::Task;
use super::tile_file::TileReader;
use crate::Result;

thread_local! {
    /// Where tiles are read to.
    static BUFFER: RefCell<Lanes> = RefCell::new(Lanes::new(0));
}

/// Calls `work` with the data of a tile (its number within an angle) of neighbouring angles, held or read.
///
/// # Errors
/// What reading fails with.
pub(super) fn with_tile<T>(
    shard: &Shard,
    angles: &Range<usize>,
    tile: usize,
    work: impl FnOnce(Vec<AngleData>) -> T,
) -> Result<T> {
    let number = |angle: usize| angle * shard.level.plan.per_angle() + tile;
    let Some(file) = &shard.streamed else {
        return Ok(work(angles.clone().map(|angle| held(shard, angle, number(angle))).collect()));
    };
    // tiles held come first
    let first = angles.clone().find(|&angle| number(angle) >= shard.store.range.end).unwrap_or(angles.end);
    let read = first..angles.end;
    let n = shard.level.plan.tiles[tile].n_lanes;
    BUFFER.with_borrow_mut(|buffer| {
        if buffer.len() < n * read.len() {
            *buffer = Lanes::new(n * read.len());
        }
        let lanes = &mut buffer[..n * read.len()];
        file.read(&read, tile, lanes)?;
        let mut all: Vec<AngleData> = (angles.start..first).map(|angle| held(shard, angle, number(angle))).collect();
        let from_file = read.clone().zip(lanes.chunks_exact(n));
        all.extend(from_file.map(|(angle, data)| AngleData {
            angle,
            data,
            marks: file.marks(number(angle)),
            sigma: None,
        }));
        Ok(work(all))
    })
}

fn held(shard: &Shard, angle: usize, number: usize) -> AngleData<'_> {
    let TileData { lanes, marks } = shard.store.tile(number);
    let sigma = shard.sigma.as_ref().map(|sigma| sigma.tile(number).lanes);
    AngleData { angle, data: lanes, marks, sigma }
}

/// What `sum` gives for every task, done in their order by all threads of the rayon pool in which it is called.
///
/// # Errors
/// The first that `sum` fails with; then tasks that haven't begun are left.
pub(super) fn in_order(
    file: &TileReader,
    tasks: &[Task],
    sum: impl Fn(&Task) -> Result<Vec<Vec<Gram>>> + Sync,
) -> Result<Vec<Vec<Vec<Gram>>>> {
    let done: Vec<OnceLock<Result<Vec<Vec<Gram>>>>> = tasks.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    rayon::broadcast(|context| {
        let threads = context.num_threads();
        loop {
            let k = next.fetch_add(1, Ordering::Relaxed);
            let Some(task) = tasks.get(k) else { break };
            if let Some(later) = tasks.get(k + threads) {
                file.expect(&later.angles, &later.node.tiles(file.per_angle()));
            }
            let sums = sum(task);
            if sums.is_err() {
                next.store(tasks.len(), Ordering::Relaxed);
            }
            // nobody else has this number
            let _ = done[k].set(sums);
        }
    });
    let mut sums = Vec::with_capacity(tasks.len());
    for one in done.into_iter().filter_map(OnceLock::into_inner) {
        sums.push(one?);
    }
    Ok(sums)
}
