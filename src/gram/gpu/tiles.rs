//! The tiles of a level in the order in which they are sent to a device, and gathering their data.

use std::ops::Range;

use rayon::prelude::*;

use super::super::task::ANGLES_TOGETHER;
use super::super::{CpuEngine, Shard};
use super::arguments::Tile;
use crate::Result;
use crate::arithmetic::{LANES, Lane};

/// Tiles of a shard. Those that are held come as they lie in memory, those that are read as they lie in their file.
pub(super) struct Tiles {
    /// Global numbers.
    numbers: Vec<usize>,
    /// Where the lanes of each begin, and where the last ones end.
    lanes: Vec<usize>,
    /// Strips before each, in this order.
    strips: Vec<usize>,
    /// Strips before each, in the order of global numbers.
    slots: Vec<usize>,
}

impl Tiles {
    pub fn new(shard: &Shard) -> Self {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let mut numbers: Vec<usize> = shard.range().clone().collect();
        if shard.streamed.is_some() {
            let place = |number: &usize| (number / n / ANGLES_TOGETHER, number % n, number / n);
            numbers[shard.store.range.len()..].sort_unstable_by_key(place);
        }
        let mut lanes = vec![0];
        for number in &numbers {
            lanes.push(lanes[lanes.len() - 1] + plan.tiles[number % n].n_lanes);
        }
        let before = |numbers: &[usize]| {
            let mut strips = vec![0];
            strips.extend(numbers.iter().scan(0, |sum, number| {
                *sum += plan.tiles[number % n].strips.len();
                Some(*sum)
            }));
            strips
        };
        let slots = before(&shard.range().clone().collect::<Vec<usize>>());
        Self { lanes, strips: before(&numbers), slots, numbers }
    }

    /// Strips of a run of tiles.
    pub fn strips(&self, tiles: &Range<usize>) -> Range<usize> {
        self.strips[tiles.start]..self.strips[tiles.end]
    }

    /// Strips of all tiles.
    pub fn n_strips(&self) -> usize {
        self.strips[self.len()]
    }

    /// Where the sums of the strips of a run of tiles lie; these are counted by global number from the first held.
    pub fn slots(&self, tiles: &Range<usize>) -> Range<usize> {
        self.slots[tiles.start]..self.slots[tiles.end]
    }

    pub fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Bytes of c2.
    pub fn bytes(&self) -> usize {
        self.lanes[self.len()] * size_of::<Lane>()
    }

    /// Lanes of a run of tiles, among all.
    pub fn lanes(&self, tiles: &Range<usize>) -> Range<usize> {
        self.lanes[tiles.start]..self.lanes[tiles.end]
    }

    /// Runs of tiles of about so many bytes.
    pub fn batches(&self, bytes: usize) -> Vec<Range<usize>> {
        let mut out = Vec::new();
        let mut first = 0;
        while first < self.len() {
            let end = self.lanes[first] + bytes / size_of::<Lane>();
            let next = self.lanes.partition_point(|&lane| lane <= end).saturating_sub(1);
            let next = next.max(first + 1).min(self.len());
            out.push(first..next);
            first = next;
        }
        out
    }

    /// As kernels are told of them.
    pub fn arguments(&self, shard: &Shard) -> Vec<Tile> {
        let (plan, first) = (&shard.level.plan, shard.range().start);
        let n = plan.per_angle();
        let mut out = Vec::with_capacity(self.n_strips());
        for (&number, &lane) in self.numbers.iter().zip(&self.lanes) {
            let mut lane = lane;
            for (k, strip) in plan.tiles[number % n].strips.iter().enumerate() {
                out.push(Tile::new(strip, lane, number / n, self.slots[number - first] + k));
                lane += strip.n_lanes;
            }
        }
        out
    }

    /// Writes the lanes of a run of tiles one after another to `out`, on a multiple of 64, by the threads of the host; behind them
    /// σ of every pair, where they have their own.
    ///
    /// # Errors
    /// What reading fails with.
    pub fn gather(&self, (host, shard): (&CpuEngine, &Shard), tiles: &Range<usize>, out: &mut [u8]) -> Result<()> {
        let (data, sigma) = bytemuck::cast_slice_mut(out).split_at_mut(self.lanes(tiles).len());
        host.pool.install(|| {
            self.split(tiles, data).into_par_iter().try_for_each(|(number, lanes)| fetch(shard, number, lanes))?;
            if let Some(own) = &shard.sigma {
                let copy = |(number, lanes): (usize, &mut [Lane])| lanes.copy_from_slice(own.tile(number).lanes);
                self.split(tiles, sigma).into_par_iter().for_each(copy);
            }
            Ok(())
        })
    }

    /// A run of tiles by global number, each with its lanes.
    fn split<'l>(&self, tiles: &Range<usize>, mut lanes: &'l mut [Lane]) -> Vec<(usize, &'l mut [Lane])> {
        let one = |k: usize| {
            let (own, rest) = std::mem::take(&mut lanes).split_at_mut(self.lanes(&(k..k + 1)).len());
            lanes = rest;
            (self.numbers[k], own)
        };
        tiles.clone().map(one).collect()
    }
}

/// The lanes of one tile, held or read.
fn fetch(shard: &Shard, number: usize, lanes: &mut [Lane]) -> Result<()> {
    let n = shard.level.plan.per_angle();
    let n_finite = match &shard.streamed {
        Some(file) if number >= shard.store.range.end => {
            file.read(&(number / n..number / n + 1), number % n, lanes)?;
            file.finite(number)
        }
        _ => {
            let held = shard.store.tile(number);
            lanes.copy_from_slice(held.lanes);
            held.n_finite
        }
    };
    if n_finite == 0 {
        // one that can't be read is left out, whatever stands there
        lanes.fill(Lane([f32::NAN; LANES]));
    }
    Ok(())
}
