//! The data of tiles, packed the way the kernel reads them.
//!
//! A brick is stored panel after panel; a panel holds 8 neighbouring columns, row after row, as one [`Lane`] of 8 f32 each
//! (32 bytes). Missing values, the lower half of triangles and columns beyond the edge are NaN.

use std::ops::Range;

use super::plan::{BrickKind, LANES, Level, Tile, TilePlan};

/// One row of a panel: 8 neighbouring columns.
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(32))]
pub struct Lane(pub [f32; LANES]);

/// The lanes as plain numbers, for sending and hashing.
pub fn as_floats(lanes: &[Lane]) -> &[f32] {
    // SAFETY: Lane is repr(C) over [f32; 8] without padding (32 bytes, alignment 32), so n lanes are 8·n consecutive f32.
    unsafe { std::slice::from_raw_parts(lanes.as_ptr().cast(), lanes.len() * LANES) }
}

fn as_floats_mut(lanes: &mut [Lane]) -> &mut [f32] {
    // SAFETY: as above; every bit pattern is a valid f32.
    unsafe { std::slice::from_raw_parts_mut(lanes.as_mut_ptr().cast(), lanes.len() * LANES) }
}

/// Tiles of one rank at one level.
#[derive(Debug, Clone)]
pub struct TileStore {
    /// Global numbers of the tiles held.
    pub range: Range<usize>,
    lanes: Vec<Lane>,
    /// First lane of every tile held, and the end.
    offsets: Vec<usize>,
    /// Per panel of all tiles held: whether every value is finite.
    clean: Vec<bool>,
    /// First panel of every tile held.
    panel_offsets: Vec<usize>,
}

impl TileStore {
    /// Empty storage for a run of tiles; every value missing until written.
    pub fn new(plan: &TilePlan, range: Range<usize>) -> Self {
        let mut offsets = vec![0];
        let mut panel_offsets = vec![0];
        for tile in range.clone() {
            let tile = &plan.tiles[tile % plan.per_angle()];
            offsets.push(offsets[offsets.len() - 1] + tile.n_lanes);
            panel_offsets.push(panel_offsets[panel_offsets.len() - 1] + tile.n_panels);
        }
        let lanes = vec![Lane([f32::NAN; LANES]); offsets[offsets.len() - 1]];
        let clean = vec![false; panel_offsets[panel_offsets.len() - 1]];
        Self { range, lanes, offsets, clean, panel_offsets }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.lanes.len() * size_of::<Lane>() + self.clean.len()
    }

    /// Data and clean flags of a tile held, by global number.
    pub fn tile(&self, tile: usize) -> (&[Lane], &[bool]) {
        let k = tile - self.range.start;
        (
            &self.lanes[self.offsets[k]..self.offsets[k + 1]],
            &self.clean[self.panel_offsets[k]..self.panel_offsets[k + 1]],
        )
    }

    /// The lanes of a run of tiles held, to be written; [`Self::mark`] must follow.
    pub fn lanes_mut(&mut self, tiles: &Range<usize>) -> &mut [Lane] {
        let (a, b) = (tiles.start - self.range.start, tiles.end - self.range.start);
        &mut self.lanes[self.offsets[a]..self.offsets[b]]
    }

    /// Fills a run of tiles held with packed values from elsewhere; [`Self::mark`] must follow.
    pub fn receive(&mut self, tiles: &Range<usize>, into: impl FnOnce(&mut [f32])) {
        into(as_floats_mut(self.lanes_mut(tiles)));
    }

    /// Finds which panels of a run of tiles hold only finite values.
    pub fn mark(&mut self, plan: &TilePlan, tiles: &Range<usize>) {
        for tile in tiles.clone() {
            let k = tile - self.range.start;
            let (mut lane, mut panel) = (self.offsets[k], self.panel_offsets[k]);
            for brick in &plan.tiles[tile % plan.per_angle()].bricks {
                for _ in 0..brick.n_panels() {
                    let rows = &self.lanes[lane..lane + brick.rows.len()];
                    self.clean[panel] = rows.iter().all(|l| l.0.iter().all(|v| v.is_finite()));
                    lane += brick.rows.len();
                    panel += 1;
                }
            }
        }
    }
}

/// Gives c2 of a frame with all frames behind it, NaN where missing.
type RowAfter<'a, 'm> = &'a (dyn Fn(usize) -> &'m [f32] + Sync);

fn pack_tile(tile: &Tile, frames: &[usize], row_after: RowAfter<'_, '_>, out: &mut [Lane]) {
    let mut lane = 0;
    for brick in &tile.bricks {
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
    use rayon::prelude::*;
    let mut rest = out;
    let mut jobs = Vec::with_capacity(tiles.len());
    for tile in &level.plan.tiles[tiles] {
        let (now, later) = rest.split_at_mut(tile.n_lanes);
        jobs.push((tile, now));
        rest = later;
    }
    jobs.into_par_iter().for_each(|(tile, out)| pack_tile(tile, &level.frames, row_after, out));
}
