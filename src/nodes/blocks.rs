//! How a tile is cut into blocks that nodes can stand for.
//!
//! A side of a tile is a pyramid of spans of 16, 32, 64 … 512 frames. Away from the diagonal a block is a square of two spans of one
//! size, down to leaves of 64 × 64; its parts are the four squares below. On the diagonal a triangle is two smaller triangles
//! and the square between them, down to triangles of 32 frames, whose pairs are taken singly. Where time begins a power law is smooth only
//! over spans whose ends differ by a factor of two, so the first tile row is cut into such spans (16–32, 32–64, …), each with columns
//! as long as they can be.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use super::plan::{LANES, LEAF, TILE_SIDE, Tile, TilePlan};
use super::rules::{FEW, NODES};

/// Frames of the smallest span.
pub const SMALLEST: usize = 16;
/// Frames of the smallest triangle: half a leaf.
pub const TRIANGLE: usize = LEAF / 2;
/// Level of a leaf, and of a whole side.
pub const LEAF_LEVEL: usize = 2;
pub const TOP: usize = 5;
const _: () = assert!(SMALLEST << LEAF_LEVEL == LEAF && SMALLEST << TOP == TILE_SIDE);
/// Values of a block with all its nodes, and with few.
pub const FINE_VALUES: usize = NODES * NODES;
pub const FEW_VALUES: usize = FEW * FEW;

/// A span of a side: number `index` of those of 16·2^level frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    pub level: usize,
    pub index: usize,
}

impl Span {
    /// Spans of a side.
    pub const COUNT: usize = (TILE_SIDE / SMALLEST) * 2 - 1;

    /// Its number among those of a side, the smallest first.
    pub fn number(self) -> usize {
        Self::COUNT + 1 - ((TILE_SIDE / SMALLEST * 2) >> self.level) + self.index
    }

    /// Its frames, from the beginning of the side.
    pub fn frames(self) -> Range<usize> {
        let size = SMALLEST << self.level;
        self.index * size..(self.index + 1) * size
    }

    /// Its halves.
    pub fn halves(self) -> [Self; 2] {
        [0, 1].map(|half| Self { level: self.level - 1, index: 2 * self.index + half })
    }
}

/// What a block is where its nodes don't serve.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parts {
    /// Other blocks, by number.
    Blocks(Vec<usize>),
    /// Its single pairs, stored off the diagonal.
    Pairs(Place),
    /// Its single pairs, within the leaf of that number on the diagonal.
    Near(usize),
}

/// Where the pairs of a leaf off the diagonal are stored: panel after panel of eight columns, row after row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// First lane, of the tile's.
    pub lane: usize,
    /// Rows of a panel.
    pub rows: usize,
    /// Columns.
    pub columns: usize,
}

impl Place {
    /// Lanes of all its pairs.
    pub fn n_lanes(&self) -> usize {
        self.columns.div_ceil(LANES) * self.rows
    }
}

/// A block of a tile.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    pub rows: Span,
    pub columns: Span,
    pub parts: Parts,
    /// Where its values begin, with all nodes, and with few where these are kept, too.
    pub fine: usize,
    pub few: Option<usize>,
}

/// All blocks of a tile. Parts come before what they are part of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blocks {
    pub blocks: Vec<Block>,
    /// Those that aren't part of others: with the triangles they make up the tile.
    pub roots: Vec<usize>,
    /// Leaves on the diagonal, whose two smallest triangles are always taken pair by pair.
    pub triangles: Vec<usize>,
    /// Values of all blocks.
    pub n_values: usize,
    /// Extent of the tile.
    rows: usize,
    columns: usize,
    /// Of leaves off the diagonal, by row and column.
    places: BTreeMap<(usize, usize), Place>,
    known: BTreeMap<(Span, Span), usize>,
}

impl Blocks {
    /// The blocks of a tile.
    pub fn new(tile: &Tile) -> Self {
        let places = places(tile);
        let mut out = Self { rows: tile.rows.len(), columns: tile.columns.len(), places, ..Self::default() };
        let whole = Span { level: TOP, index: 0 };
        match (tile.rows.start == 0, tile.is_diagonal()) {
            (false, false) => {
                let root = out.square(whole, whole);
                out.roots.push(root);
            }
            (false, true) => out.triangle(whole),
            (true, false) => {
                for row in first_spans(out.rows) {
                    let root = out.rectangle(row, whole);
                    out.roots.push(root);
                }
            }
            (true, true) => {
                let spans = first_spans(out.rows);
                out.triangle(Span { level: LEAF_LEVEL, index: 0 });
                for (k, &column) in spans.iter().enumerate().filter(|(_, span)| span.level >= LEAF_LEVEL) {
                    out.triangle(column);
                    for &row in &spans[..k] {
                        let root = out.rectangle(row, column);
                        out.roots.push(root);
                    }
                }
            }
        }
        out.known.clear();
        out
    }

    /// Leaves off the diagonal: row, column and place.
    pub fn leaves(&self) -> impl Iterator<Item = (usize, usize, Place)> {
        self.places.iter().map(|(&(row, column), &place)| (row, column, place))
    }

    fn push(&mut self, (rows, columns): (Span, Span), parts: Parts, has_few: bool) -> usize {
        let fine = self.n_values;
        let few = has_few.then_some(fine + FINE_VALUES);
        self.n_values += FINE_VALUES + if has_few { FEW_VALUES } else { 0 };
        self.blocks.push(Block { rows, columns, parts, fine, few });
        self.known.insert((rows, columns), self.blocks.len() - 1);
        self.blocks.len() - 1
    }

    /// The pairs of a leaf, or of some of its rows.
    fn pairs(&self, rows: Span, columns: Span) -> Parts {
        Parts::Pairs(self.places[&(rows.frames().start / LEAF, columns.index)])
    }

    /// Two spans of one size, of a leaf's or larger.
    fn square(&mut self, rows: Span, columns: Span) -> usize {
        if let Some(&known) = self.known.get(&(rows, columns)) {
            return known;
        }
        if rows.level == LEAF_LEVEL {
            return self.push((rows, columns), self.pairs(rows, columns), false);
        }
        let mut parts = Vec::new();
        for row in halves(rows, self.rows) {
            for column in halves(columns, self.columns) {
                parts.push(self.square(row, column));
            }
        }
        self.push((rows, columns), Parts::Blocks(parts), true)
    }

    /// A span with columns of its size or larger ones.
    fn rectangle(&mut self, rows: Span, columns: Span) -> usize {
        if rows.level == columns.level {
            return self.square(rows, columns);
        }
        if columns.level == LEAF_LEVEL {
            return self.push((rows, columns), self.pairs(rows, columns), true);
        }
        let parts = halves(columns, self.columns).into_iter().map(|half| self.rectangle(rows, half)).collect();
        self.push((rows, columns), Parts::Blocks(parts), true)
    }

    fn triangle(&mut self, span: Span) {
        if span.frames().start >= self.rows {
            return;
        }
        let [first, second] = span.halves();
        let within = second.frames().start < self.rows;
        if span.level > LEAF_LEVEL {
            self.triangle(first);
            self.triangle(second);
            if within {
                let root = self.square(first, second);
                self.roots.push(root);
            }
            return;
        }
        // a leaf: the square between its halves, and two triangles
        self.triangles.push(span.index);
        if within {
            let root = self.push((first, second), Parts::Near(span.index), true);
            self.roots.push(root);
        }
    }
}

/// The blocks of every tile of an angle; tiles of one shape share them.
pub fn of_plan(plan: &TilePlan) -> Vec<Arc<Blocks>> {
    let mut known = BTreeMap::new();
    let shape = |tile: &Tile| (tile.rows.len(), tile.columns.len(), tile.is_diagonal(), tile.rows.start == 0);
    plan.tiles
        .iter()
        .map(|tile| Arc::clone(known.entry(shape(tile)).or_insert_with(|| Arc::new(Blocks::new(tile)))))
        .collect()
}

/// Where the leaves off the diagonal are stored.
fn places(tile: &Tile) -> BTreeMap<(usize, usize), Place> {
    let mut out = BTreeMap::new();
    let mut lane = 0;
    for strip in &tile.strips {
        let (rows, columns) = (strip.rows(), strip.columns());
        if !strip.is_diagonal() {
            for first in columns.clone().step_by(LEAF) {
                let at = ((rows.start - tile.rows.start) / LEAF, (first - tile.columns.start) / LEAF);
                let place = Place {
                    lane: lane + (first - columns.start) / LANES * rows.len(),
                    rows: rows.len(),
                    columns: LEAF.min(columns.end - first),
                };
                out.insert(at, place);
            }
        }
        lane += strip.n_lanes;
    }
    out
}

/// Spans of the first side, of `n` frames, whose ends differ by no more than a factor of two, and the one before them.
fn first_spans(n: usize) -> Vec<Span> {
    let doubling = (0..TOP).map(|level| Span { level, index: 1 });
    std::iter::once(Span { level: 0, index: 0 }).chain(doubling).filter(|span| span.frames().start < n).collect()
}

/// The halves of a span that lie within a side of `n` frames.
fn halves(span: Span, n: usize) -> Vec<Span> {
    span.halves().into_iter().filter(|half| half.frames().start < n).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::TilePlan;
    use super::*;

    #[test]
    fn spans_are_numbered_without_gaps() {
        let mut numbers: Vec<usize> = (0..=TOP)
            .flat_map(|level| (0..(TILE_SIDE / SMALLEST) >> level).map(move |index| Span { level, index }.number()))
            .collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..Span::COUNT).collect::<Vec<_>>());
    }

    #[test]
    fn every_pair_lies_in_exactly_one_root() {
        for n in [2, 15, 17, 40, 64, 65, 100, 300, 512, 530, 800, 1100, 1537] {
            let plan = TilePlan::new(n, 1);
            let mut seen = vec![0u8; n * n];
            for tile in &plan.tiles {
                let blocks = Blocks::new(tile);
                let within = |span: Span, side: &Range<usize>| {
                    let frames = span.frames();
                    side.start + frames.start..(side.start + frames.end).min(side.end)
                };
                // on any level
                let mut of_level = |wanted: usize| {
                    let mut todo = blocks.roots.clone();
                    while let Some(block) = todo.pop() {
                        let own = &blocks.blocks[block];
                        match &own.parts {
                            Parts::Blocks(parts) if own.columns.level > wanted => todo.extend(parts),
                            _ => {
                                for i in within(own.rows, &tile.rows) {
                                    for j in within(own.columns, &tile.columns) {
                                        seen[i * n + j] += 1;
                                    }
                                }
                            }
                        }
                    }
                    for leaf in &blocks.triangles {
                        for first in (tile.rows.start + leaf * LEAF..tile.rows.end).step_by(TRIANGLE).take(2) {
                            let end = (first + TRIANGLE).min(tile.rows.end);
                            (first..end).for_each(|i| (i + 1..end).for_each(|j| seen[i * n + j] += 1));
                        }
                    }
                };
                (0..=TOP).for_each(&mut of_level);
            }
            for i in 0..n {
                for j in 0..n {
                    assert_eq!(seen[i * n + j], if i < j { 6 } else { 0 }, "{i} {j} of {n}");
                }
            }
        }
    }

    #[test]
    fn blocks_take_little_room() {
        // a tile inside, one in the first row: bytes a pair
        let plan = TilePlan::new(4 * TILE_SIDE, 1);
        let bytes =
            |tile: usize| 8.0 * Blocks::new(&plan.tiles[tile]).n_values as f64 / plan.tiles[tile].n_pairs as f64;
        assert!(bytes(5) < 0.71, "{}", bytes(5));
        assert!(bytes(1) < 1.13, "{}", bytes(1));
    }
}
