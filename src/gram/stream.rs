//! Working through tiles that memory doesn't hold.
//!
//! Each thread reads the tile that it works on next into a buffer of its own, which the kernel finds in the cache: so memory
//! is the same whatever the size of the data, and while one thread waits for the disk others compute. The system is asked
//! one round ahead to have what comes next at hand.

use std::cell::RefCell;
use std::ops::Range;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use super::Gram;
use super::cpu::Shard;
use super::pack::{Lanes, TileData};
use super::task::Task;
use super::tile::AngleData;
use super::tile_reader::TileReader;
use crate::{Result, trace};

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
            n_finite: file.finite(number(angle)),
            sigma: None,
            nodes: None,
        }));
        Ok(work(all))
    })
}

fn held(shard: &Shard, angle: usize, number: usize) -> AngleData<'_> {
    let TileData { lanes, n_finite } = shard.store.tile(number);
    let sigma = shard.sigma.as_ref().map(|sigma| sigma.tile(number).lanes);
    AngleData { angle, data: lanes, n_finite, sigma, nodes: None }
}

/// What tasks gave so far, by their number; nothing where they haven't been done.
pub(super) type Done = Vec<OnceLock<Result<Vec<Vec<Gram>>>>>;

/// Does tasks in their order by all threads of the rayon pool in which it is called, from `next` on. When it
/// is time, each thread finishes the one it has begun. One that fails ends it.
pub(super) fn in_order(
    file: Option<&TileReader>,
    tasks: &[Task],
    numbers: &[usize],
    next: &AtomicUsize,
    until: Option<Instant>,
    done: &Done,
    sum: impl Fn(&Task) -> Result<Vec<Vec<Gram>>> + Sync,
) {
    rayon::broadcast(|context| {
        let _span = trace::span("tiles");
        let threads = context.num_threads();
        loop {
            let k = next.fetch_add(1, Ordering::Relaxed);
            let Some(&number) = numbers.get(k) else { break };
            if let (Some(file), Some(&later)) = (file, numbers.get(k + threads)) {
                file.expect(&tasks[later].angles, &tasks[later].node.tiles(file.per_angle()));
            }
            let sums = sum(&tasks[number]);
            if sums.is_err() {
                next.store(numbers.len(), Ordering::Relaxed);
            }
            // nobody else has this number
            let _ = done[number].set(sums);
            if until.is_some_and(|until| Instant::now() >= until) {
                break;
            }
        }
    });
}
