//! The data of tiles, packed the way the kernel reads them.
//!
//! A brick is stored panel after panel; a panel holds 8 neighbouring columns, row after row, as one [`Lane`] of 8 f32 each
//! (32 bytes). Missing values, the lower half of triangles and columns beyond the edge are NaN.

use std::ops::{Deref, DerefMut, Range};

use rayon::prelude::*;

use crate::arithmetic::{LANES, Lane};
use crate::nodes::compressor::Compressor;
use crate::nodes::plan::{BrickKind, Level, Tile, TilePlan};

/// The lanes as plain numbers, for sending and hashing.
pub fn as_floats(lanes: &[Lane]) -> &[f32] {
    bytemuck::must_cast_slice(lanes)
}

/// The same, to be received.
pub fn as_floats_mut(lanes: &mut [Lane]) -> &mut [f32] {
    bytemuck::must_cast_slice_mut(lanes)
}

/// Lanes that a thread touches at a time: 2 MB.
const TOUCHED: usize = 1 << 16;

/// Bytes in a cache line, on whose edges [`Lanes`] begin.
const CACHE_LINE: usize = 64;

/// Lanes that are zero at first and take no memory until they are written: a page then lies near the core that writes it.
#[derive(Debug)]
struct Lanes {
    /// Zeros of a plain type come from the system as they are; those of an aligned one would be written here and now.
    floats: Vec<f32>,
    n: usize,
}

impl Lanes {
    pub fn new(n: usize) -> Self {
        Self { floats: vec![0.0; n * LANES + CACHE_LINE / size_of::<f32>()], n }
    }

    /// The part of the memory that is in use. It begins on a cache line, wherever the whole does.
    fn in_use(&self) -> Range<usize> {
        let start = self.floats.as_ptr().align_offset(CACHE_LINE);
        start..start + self.n * LANES
    }
}

impl Deref for Lanes {
    type Target = [Lane];

    fn deref(&self) -> &[Lane] {
        bytemuck::cast_slice(&self.floats[self.in_use()])
    }
}

impl DerefMut for Lanes {
    fn deref_mut(&mut self) -> &mut [Lane] {
        let part = self.in_use();
        bytemuck::cast_slice_mut(&mut self.floats[part])
    }
}

impl Clone for Lanes {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.n);
        copy.copy_from_slice(self);
        copy
    }
}

/// Tiles of one rank at one level.
#[derive(Debug, Clone)]
pub struct TileStore {
    /// Global numbers of the tiles held.
    pub range: Range<usize>,
    lanes: Lanes,
    /// First lane of every tile held, and the end.
    offsets: Vec<usize>,
    /// By tile held: pairs that have a value.
    finite: Vec<u32>,
}

/// Packed data of one tile.
#[derive(Debug, Clone, Copy)]
pub struct TileData<'a> {
    /// Its lanes.
    pub lanes: &'a [Lane],
    /// Pairs that have a value.
    pub n_finite: u32,
}

impl TileStore {
    /// Storage for a run of tiles, all of which must be written before they are used.
    pub fn new(plan: &TilePlan, range: Range<usize>) -> Self {
        let mut offsets = vec![0];
        for tile in range.clone() {
            let tile = &plan.tiles[tile % plan.per_angle()];
            offsets.push(offsets[offsets.len() - 1] + tile.n_lanes);
        }
        let lanes = Lanes::new(offsets[offsets.len() - 1]);
        let finite = vec![0; range.len()];
        Self { range, lanes, offsets, finite }
    }

    /// Makes every value missing, by all threads of the rayon pool in which it is called: the memory then lies near the cores
    /// that will use it, whoever fills in the values.
    pub fn touch(&mut self) {
        self.lanes.par_chunks_mut(TOUCHED).for_each(|lanes| lanes.fill(Lane([f32::NAN; LANES])));
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lanes.len() * size_of::<Lane>() + size_of_val(&self.finite[..])
    }

    /// Compresses all tiles held, by all threads of the rayon pool in which it is called.
    pub(crate) fn compress(&self, compressor: &mut Compressor) {
        compressor.take(self.range.clone(), |number| {
            let TileData { lanes, n_finite } = self.tile(number);
            (lanes, n_finite)
        });
    }

    /// The lanes of all tiles held, one after another.
    pub fn lanes(&self) -> &[Lane] {
        &self.lanes
    }

    /// A tile held, by global number.
    pub fn tile(&self, tile: usize) -> TileData<'_> {
        let k = tile - self.range.start;
        TileData { lanes: &self.lanes[self.offsets[k]..self.offsets[k + 1]], n_finite: self.finite[k] }
    }

    /// The lanes of a run of tiles held, to be written; [`Self::mark`] must follow.
    pub fn lanes_mut(&mut self, tiles: &Range<usize>) -> &mut [Lane] {
        let (a, b) = (tiles.start - self.range.start, tiles.end - self.range.start);
        &mut self.lanes[self.offsets[a]..self.offsets[b]]
    }

    /// The lanes of several runs of tiles held, which follow one another.
    pub fn parts_mut<'s>(&'s mut self, runs: &[Range<usize>]) -> Vec<&'s mut [Lane]> {
        let Self { range, lanes, offsets, .. } = self;
        let (mut rest, mut at) = (&mut lanes[..], 0);
        let part = |run: &Range<usize>| {
            let (a, b) = (offsets[run.start - range.start], offsets[run.end - range.start]);
            let (part, later) = std::mem::take(&mut rest)[a - at..].split_at_mut(b - a);
            (rest, at) = (later, b);
            part
        };
        runs.iter().map(part).collect()
    }

    /// Fills a run of tiles held with packed values from elsewhere; [`Self::mark`] must follow.
    pub fn receive(&mut self, tiles: &Range<usize>, into: impl FnOnce(&mut [f32])) {
        into(as_floats_mut(self.lanes_mut(tiles)));
    }

    /// Counts the values of a run of tiles held, and makes NaN of every value that is not finite.
    pub fn mark(&mut self, plan: &TilePlan, tiles: &Range<usize>) {
        if tiles.is_empty() {
            return;
        }
        let (a, b) = (tiles.start - self.range.start, tiles.end - self.range.start);
        let mut lanes = &mut self.lanes[self.offsets[a]..self.offsets[b]];
        let mut jobs = Vec::with_capacity(tiles.len());
        for (number, finite) in tiles.clone().zip(&mut self.finite[a..b]) {
            let (own, rest) = std::mem::take(&mut lanes).split_at_mut(plan.tiles[number % plan.per_angle()].n_lanes);
            jobs.push((own, finite));
            lanes = rest;
        }
        jobs.into_par_iter().for_each(|(own, finite)| *finite = count_finite(own));
    }
}

/// As [`TileStore::mark`], for one tile: how many values are finite.
fn count_finite(lanes: &mut [Lane]) -> u32 {
    let mut n_finite = 0;
    for value in lanes.iter_mut().flat_map(|lane| &mut lane.0) {
        let good = value.is_finite();
        n_finite += u32::from(good);
        *value = if good { *value } else { f32::NAN };
    }
    n_finite
}

/// Gives c2 of a frame with all frames behind it, NaN where missing.
type RowAfter<'a, 'm> = &'a (dyn Fn(usize) -> &'m [f32] + Sync);

fn pack_tile(tile: &Tile, frames: &[usize], row_after: RowAfter<'_, '_>, out: &mut [Lane]) {
    let mut lane = 0;
    for brick in tile.strips.iter().flat_map(|strip| &strip.bricks) {
        let contiguous = frames[brick.columns.end - 1] - frames[brick.columns.start] + 1 == brick.columns.len();
        for (r, row) in brick.rows.clone().enumerate() {
            let values = row_after(frames[row]);
            let behind = frames[row] + 1;
            for p in 0..brick.n_panels() {
                let first = brick.columns.start + p * LANES;
                let target = &mut out[lane + p * brick.rows.len() + r].0;
                if contiguous && brick.kind == BrickKind::Rectangle && first + LANES <= brick.columns.end {
                    let start = frames[first] - behind;
                    target.copy_from_slice(&values[start..start + LANES]);
                } else {
                    for (l, value) in target.iter_mut().enumerate() {
                        let column = first + l;
                        let inside = column < brick.columns.end && column > row;
                        *value = if inside { values[frames[column] - behind] } else { f32::NAN };
                    }
                }
            }
        }
        lane += brick.n_lanes();
    }
}

/// Packs tiles `tiles` (numbers within one angle) of a matrix, one after another, into `out`. `row_after(i)` gives c2 of
/// frame i of the selection with frames i + 1 … N − 1.
pub fn pack_angle(level: &Level, tiles: Range<usize>, row_after: RowAfter<'_, '_>, out: &mut [Lane]) {
    let mut rest = out;
    let mut jobs = Vec::with_capacity(tiles.len());
    for number in tiles {
        let (now, later) = rest.split_at_mut(level.plan.tiles[number].n_lanes);
        jobs.push((number, now));
        rest = later;
    }
    let one = |(number, out): (usize, &mut [Lane])| pack_tile(&level.plan.tiles[number], &level.frames, row_after, out);
    jobs.into_par_iter().for_each(one);
}
