//! Pairs of leaves, as they are stored.

use super::blocks::Place;
use super::plan::{LANES, LEAF, Strip, Tile};
use crate::arithmetic::Lane;

/// Panels of a leaf.
const PANELS: usize = LEAF / LANES;
/// Lanes of a leaf on the diagonal.
pub const NEAR_LANES: usize = PANELS * LEAF;

/// Pairs of a leaf: panel after panel of eight columns, row after row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pairs<'a> {
    pub lanes: &'a [Lane],
    /// Rows of a panel.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl<'a> Pairs<'a> {
    /// Of a leaf off the diagonal.
    pub fn stored(lanes: &'a [Lane], place: Place) -> Self {
        let Place { lane, rows, columns } = place;
        Self { lanes: &lanes[lane..lane + rows * columns.div_ceil(LANES)], rows, columns }
    }

    /// Of a leaf on it.
    pub fn near(near: &'a [Lane], leaf: usize) -> Self {
        Self { lanes: &near[leaf * NEAR_LANES..(leaf + 1) * NEAR_LANES], rows: LEAF, columns: LEAF }
    }

    /// Eight pairs of a row.
    #[inline(always)]
    pub fn lane(&self, row: usize, panel: usize) -> &'a Lane {
        &self.lanes[panel * self.rows + row]
    }
}

/// The leaves on the diagonal of a tile there, as [`TileNodes::near`] has them.
pub(crate) fn diagonal_leaves(tile: &Tile, lanes: &[Lane], near: &mut Vec<Lane>) {
    near.clear();
    near.resize(tile.rows.len().div_ceil(LEAF) * NEAR_LANES, Lane([f32::NAN; LANES]));
    let (mut first, mut leaves) = (0, near.chunks_exact_mut(NEAR_LANES));
    for strip in &tile.strips {
        if strip.is_diagonal() {
            unpack_diagonal(strip, &lanes[first..first + strip.n_lanes], leaves.next().unwrap_or_default());
        }
        first += strip.n_lanes;
    }
}

/// The lanes of a strip on the diagonal as panels of eight columns and 64 rows; what holds no pair stays as it is.
fn unpack_diagonal(strip: &Strip, lanes: &[Lane], out: &mut [Lane]) {
    let start = strip.rows().start;
    let mut lane = 0;
    for brick in &strip.bricks {
        for panel in 0..brick.n_panels() {
            // columns of bricks begin at multiples of eight, too
            let to = (brick.columns.start - start) / LANES * LEAF + panel * LEAF + brick.rows.start - start;
            out[to..to + brick.rows.len()].copy_from_slice(&lanes[lane..lane + brick.rows.len()]);
            lane += brick.rows.len();
        }
    }
}
