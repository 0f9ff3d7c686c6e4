//! The fixed cutting of all upper triangles into tiles, and the coarse levels.
//!
//! Everything here is a function of the data's shape alone, never of ranks or threads: the tiles are the leaves of the
//! reduction tree, so the result of a pass depends on this file and on nothing else.

use std::ops::Range;

use crate::arithmetic::Lane;

pub use crate::arithmetic::LANES;

/// Frames of a leaf: the smallest span that nodes stand for away from the diagonal, and the rows of a strip.
pub const LEAF: usize = 64;
/// Most columns of a strip, a multiple of [`LEAF`].
pub const STRIP_COLUMNS: usize = 256;
/// Frames a side of a tile, a multiple of [`STRIP_COLUMNS`] and [`LEAF`] times a power of two.
pub const TILE_SIDE: usize = 512;

/// How a brick's pairs lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BrickKind {
    /// All columns lie behind all rows.
    Rectangle,
    /// Rows and columns are the same frames; only i < j count.
    Triangle,
}

/// A rectangle (or small triangle) of pairs that the kernel works through with one set of tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Brick {
    /// Rows, as positions in the level's frames.
    pub rows: Range<usize>,
    /// Columns, likewise.
    pub columns: Range<usize>,
    /// Rectangle or triangle.
    pub kind: BrickKind,
}

impl Brick {
    /// Panels of [`LANES`] columns, the last one padded.
    pub fn n_panels(&self) -> usize {
        self.columns.len().div_ceil(LANES)
    }

    /// Lanes of storage: one per row and panel.
    pub fn n_lanes(&self) -> usize {
        self.n_panels() * self.rows.len()
    }

    /// Pairs, missing ones included.
    pub fn n_pairs(&self) -> usize {
        match self.kind {
            BrickKind::Rectangle => self.rows.len() * self.columns.len(),
            BrickKind::Triangle => self.rows.len() * (self.rows.len() - 1) / 2,
        }
    }
}

/// Up to [`LEAF`] rows of a tile with up to [`STRIP_COLUMNS`] columns: a rectangle, or what touches the diagonal, which is cut
/// further, so that only 8 × 8 triangles do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Strip {
    /// Its bricks, in the order in which they are stored.
    pub bricks: Vec<Brick>,
    /// Pairs, missing ones included.
    pub n_pairs: usize,
    /// Lanes of storage.
    pub n_lanes: usize,
}

impl Strip {
    fn new(bricks: Vec<Brick>) -> Self {
        Self {
            n_pairs: bricks.iter().map(Brick::n_pairs).sum(),
            n_lanes: bricks.iter().map(Brick::n_lanes).sum(),
            bricks,
        }
    }

    fn diagonal(rows: Range<usize>) -> Self {
        let mut bricks = Vec::new();
        for first in rows.clone().step_by(LANES) {
            let strip = first..(first + LANES).min(rows.end);
            bricks.push(Brick { rows: strip.clone(), columns: strip.clone(), kind: BrickKind::Triangle });
            if strip.end < rows.end {
                bricks.push(Brick { columns: strip.end..rows.end, rows: strip, kind: BrickKind::Rectangle });
            }
        }
        Self::new(bricks)
    }

    /// Whether it touches the diagonal.
    pub fn is_diagonal(&self) -> bool {
        self.bricks[0].kind == BrickKind::Triangle
    }

    /// Its rows, as positions in the level's frames.
    pub fn rows(&self) -> Range<usize> {
        self.bricks[0].rows.start..self.bricks[self.bricks.len() - 1].rows.end
    }

    /// Its columns, likewise.
    pub fn columns(&self) -> Range<usize> {
        if self.is_diagonal() { self.rows() } else { self.bricks[0].columns.clone() }
    }
}

/// A square of the upper triangle, or a triangle on its diagonal: the unit that is dealt, compressed and summed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tile {
    /// Its rows, as positions in the level's frames.
    pub rows: Range<usize>,
    /// Its columns, likewise; on the diagonal the rows.
    pub columns: Range<usize>,
    /// Its strips, in the order in which they are stored.
    pub strips: Vec<Strip>,
    /// Pairs, missing ones included.
    pub n_pairs: usize,
    /// Lanes of storage.
    pub n_lanes: usize,
}

impl Tile {
    fn new(rows: Range<usize>, columns: Range<usize>) -> Self {
        let mut strips = Vec::new();
        for first in rows.clone().step_by(LEAF) {
            let own = first..(first + LEAF).min(rows.end);
            let mut column = columns.start;
            if rows == columns {
                strips.push(Strip::diagonal(own.clone()));
                column = own.end;
            }
            while column < columns.end {
                let end = ((column / STRIP_COLUMNS + 1) * STRIP_COLUMNS).min(columns.end);
                let brick = Brick { rows: own.clone(), columns: column..end, kind: BrickKind::Rectangle };
                strips.push(Strip::new(vec![brick]));
                column = end;
            }
        }
        let n_pairs = strips.iter().map(|strip| strip.n_pairs).sum();
        let n_lanes = strips.iter().map(|strip| strip.n_lanes).sum();
        Self { rows, columns, strips, n_pairs, n_lanes }
    }

    /// Whether it lies on the diagonal.
    pub fn is_diagonal(&self) -> bool {
        self.rows == self.columns
    }
}

/// The tiles of one level: the same list for every angle; tile `t` of angle `k` has the global number k·T + t.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TilePlan {
    /// Tiles of one angle.
    pub tiles: Vec<Tile>,
    /// Number of angles.
    pub n_angles: usize,
}

impl TilePlan {
    /// The plan for `n_frames` fitted frames and `n_angles` angles.
    pub fn new(n_frames: usize, n_angles: usize) -> Self {
        let side = |first: usize| first..(first + TILE_SIDE).min(n_frames);
        let mut tiles = Vec::new();
        for row in (0..n_frames).step_by(TILE_SIDE) {
            tiles.extend((row..n_frames).step_by(TILE_SIDE).map(|column| Tile::new(side(row), side(column))));
        }
        Self { tiles, n_angles }
    }

    /// Tiles of one angle.
    pub fn per_angle(&self) -> usize {
        self.tiles.len()
    }

    /// Tiles of all angles.
    pub fn n_tiles(&self) -> usize {
        self.tiles.len() * self.n_angles
    }

    /// Pairs of all angles, missing ones included.
    pub fn n_pairs(&self) -> usize {
        self.n_angles * self.tiles.iter().map(|t| t.n_pairs).sum::<usize>()
    }

    /// Contiguous runs of (nearly) equal pair count, one per rank; later ranks may get none.
    pub fn deal(&self, ranks: usize) -> Vec<Range<usize>> {
        let total = self.n_pairs() as u128;
        let mut ranges = Vec::with_capacity(ranks);
        let (mut tile, mut pairs) = (0, 0u128);
        for rank in 0..ranks {
            let start = tile;
            let target = total * (rank as u128 + 1) / ranks as u128;
            while tile < self.n_tiles() {
                let next = pairs + self.tiles[tile % self.per_angle()].n_pairs as u128;
                // take the tile if that brings the cut nearer to its place
                if rank + 1 < ranks && next > target && next - target > target.saturating_sub(pairs) {
                    break;
                }
                pairs = next;
                tile += 1;
                if rank + 1 < ranks && pairs >= target {
                    break;
                }
            }
            ranges.push(start..tile);
        }
        ranges
    }

    /// Lanes of a run of tiles, by global number, of one angle.
    pub fn lanes_of(&self, run: &Range<usize>) -> usize {
        run.clone().map(|tile| self.tiles[tile % self.per_angle()].n_lanes).sum()
    }

    /// Of a range of global tiles, those of one angle, as tile numbers within it.
    pub fn within_angle(&self, range: &Range<usize>, angle: usize) -> Range<usize> {
        let base = angle * self.per_angle();
        let start = range.start.clamp(base, base + self.per_angle());
        let end = range.end.clamp(start, base + self.per_angle());
        start - base..end - base
    }
}

/// A resolution of the same least-squares problem: some of the frames, integrals still on the full axis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    /// Frames of the selection that take part, ascending; frame 0 never does.
    pub frames: Vec<usize>,
    /// Spacing of the bursts of frames; 1 = every frame.
    pub burst: usize,
    /// The tiles.
    pub plan: TilePlan,
}

/// Pairs that the coarsest level should keep: enough that noise doesn't hide the minimum, few enough for dozens of starts.
const COARSEST_PAIRS: usize = 60_000;
/// Fewest frames of a coarse level.
const FEWEST_FRAMES: usize = 24;

impl Level {
    /// Frames b·S + {0, 1, 2, 4, … < S} for bursts b = 0, 1, …: every age and every scale of lag stays covered, also decays that
    /// would be over within a plain stride.
    fn with_burst(n_frames: usize, n_angles: usize, burst: usize) -> Self {
        let mut frames = Vec::new();
        for start in (0..n_frames.saturating_sub(1)).step_by(burst) {
            let offsets = std::iter::once(0).chain(std::iter::successors(Some(1), |o| Some(o * 2)));
            for offset in offsets.take_while(|&o| o < burst.max(1)) {
                // frame 0 takes no part, so positions count from frame 1
                if start + offset + 1 < n_frames {
                    frames.push(start + offset + 1);
                }
            }
        }
        let plan = TilePlan::new(frames.len(), n_angles);
        Self { frames, burst, plan }
    }

    /// What frames a tile (its number within an angle) pairs with what others: the first and last of each, as frames of the
    /// selection.
    pub fn frames_of(&self, tile: usize) -> [(usize, usize); 2] {
        let ends = |range: &Range<usize>| (self.frames[range.start], self.frames[range.end - 1]);
        let tile = &self.plan.tiles[tile];
        [ends(&tile.rows), ends(&tile.columns)]
    }

    /// Bytes of its packed data, all angles.
    pub fn bytes(&self) -> usize {
        self.plan.n_angles * self.plan.tiles.iter().map(|t| t.n_lanes).sum::<usize>() * size_of::<Lane>()
    }

    /// The levels for N selected frames (frame 0 included in the count) and K angles: the finest, and a coarse one for the search
    /// where the finest has many pairs.
    pub fn all(n_frames: usize, n_angles: usize) -> Vec<Self> {
        let mut levels = vec![Self::with_burst(n_frames, n_angles, 1)];
        let mut burst = 4;
        while levels[levels.len() - 1].plan.n_pairs() > COARSEST_PAIRS && burst < n_frames {
            let next = Self::with_burst(n_frames, n_angles, burst);
            burst *= 2;
            if next.frames.len() < FEWEST_FRAMES {
                break;
            }
            levels.truncate(1);
            levels.push(next);
        }
        levels
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_pair_lies_in_exactly_one_brick(n in 1usize..700) {
            let plan = TilePlan::new(n, 1);
            let mut seen = vec![0u8; n * n];
            for brick in plan.tiles.iter().flat_map(|t| &t.strips).flat_map(|s| &s.bricks) {
                for i in brick.rows.clone() {
                    for j in brick.columns.clone() {
                        if brick.kind == BrickKind::Rectangle || i < j {
                            prop_assert!(i < j);
                            seen[i * n + j] += 1;
                        }
                    }
                }
            }
            for i in 0..n {
                for j in 0..n {
                    prop_assert_eq!(seen[i * n + j], u8::from(i < j));
                }
            }
            prop_assert_eq!(plan.n_pairs(), n * (n - 1) / 2);
        }

        #[test]
        fn dealing_covers_all_tiles_evenly(n in 2usize..1500, k in 1usize..9, ranks in 1usize..70) {
            let plan = TilePlan::new(n, k);
            let ranges = plan.deal(ranks);
            prop_assert_eq!(ranges.len(), ranks);
            let mut next = 0;
            let largest = plan.tiles.iter().map(|t| t.n_pairs).max().unwrap_or(0);
            for range in &ranges {
                prop_assert_eq!(range.start, next);
                next = range.end;
                let pairs: usize = range.clone().map(|t| plan.tiles[t % plan.per_angle()].n_pairs).sum();
                prop_assert!(pairs <= plan.n_pairs() / ranks + largest + 1);
            }
            prop_assert_eq!(next, plan.n_tiles());
        }
    }

    #[test]
    fn levels_shrink_and_nest() {
        for (n, k) in [(100, 3), (300, 8), (1000, 23), (3000, 11), (10_000, 36)] {
            let levels = Level::all(n, k);
            assert_eq!(levels[0].frames, (1..n).collect::<Vec<_>>());
            for pair in levels.windows(2) {
                assert!(pair[1].frames.iter().all(|f| pair[0].frames.contains(f)), "{n} {k}");
                assert!(pair[1].plan.n_pairs() < pair[0].plan.n_pairs());
            }
            assert!(levels[levels.len() - 1].plan.n_pairs() < 150_000, "{n} {k}");
        }
    }
}
