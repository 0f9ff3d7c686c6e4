//! The tiles of a level in the order in which they are sent to a device, and gathering their data.

use std::ops::Range;

use rayon::prelude::*;

use super::super::{CpuEngine, Shard};
use super::arguments::Tile;
use crate::arithmetic::Lane;

/// Tiles of a shard, as they lie in memory.
pub(super) struct Tiles {
    /// Global numbers.
    numbers: Vec<usize>,
    /// Where the lanes of each begin, and where the last ones end.
    lanes: Vec<usize>,
    /// Strips before each.
    strips: Vec<usize>,
}

impl Tiles {
    pub fn new(shard: &Shard) -> Self {
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let numbers: Vec<usize> = shard.range.clone().collect();
        let mut lanes = vec![0];
        for number in &numbers {
            lanes.push(lanes[lanes.len() - 1] + plan.tiles[number % n].n_lanes);
        }
        let mut strips = vec![0];
        strips.extend(numbers.iter().scan(0, |sum, number| {
            *sum += plan.tiles[number % n].strips.len();
            Some(*sum)
        }));
        Self { lanes, strips, numbers }
    }

    /// Strips of a run of tiles.
    pub fn strips(&self, tiles: &Range<usize>) -> Range<usize> {
        self.strips[tiles.start]..self.strips[tiles.end]
    }

    /// Strips of all tiles.
    pub fn n_strips(&self) -> usize {
        self.strips[self.len()]
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
        let plan = &shard.level.plan;
        let n = plan.per_angle();
        let mut out = Vec::with_capacity(self.n_strips());
        for (&number, &lane) in self.numbers.iter().zip(&self.lanes) {
            let mut lane = lane;
            for strip in &plan.tiles[number % n].strips {
                out.push(Tile::new(strip, lane, number / n, out.len()));
                lane += strip.n_lanes;
            }
        }
        out
    }

    /// Writes the lanes of a run of tiles one after another to `out`, on a multiple of 64, by the threads of the host; behind them
    /// σ of every pair, where they have their own.
    pub fn gather(&self, (host, shard): (&CpuEngine, &Shard), tiles: &Range<usize>, out: &mut [u8]) {
        let (data, sigma) = bytemuck::cast_slice_mut(out).split_at_mut(self.lanes(tiles).len());
        host.pool.install(|| {
            for (from, into) in [(Some(&shard.store), data), (shard.sigma.as_ref(), sigma)] {
                let Some(from) = from else { continue };
                let copy = |(number, lanes): (usize, &mut [Lane])| lanes.copy_from_slice(from.tile(number).lanes);
                self.split(tiles, into).into_par_iter().for_each(copy);
            }
        });
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
