//! Compression of a tile's data to the values at nodes: some 20 multiply-adds a pair, once.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::blocks::{Block, Blocks, FEW_VALUES, FINE_VALUES, LEAF_LEVEL, Parts, SMALLEST, Span, TOP};
use super::leaves::{NEAR_LANES, Pairs, diagonal_leaves};
use super::plan::{LANES, LEAF, TILE_SIDE, Tile};
use super::project::{across, down, squares, stripe};
use super::rules::{FEW, NODES, Rules, SpanRule};
use crate::arithmetic::lanes::{put, sum};
use crate::arithmetic::{InstructionSet, Isa, Kernel, Lane};

/// One pair in so many, or fewer, may be missing from a block that nodes stand for.
const MOST_MISSING: usize = 8;
/// What there is of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// No frame of one side lives: nothing, and nobody misses it.
    Dead,
    /// Frames live, but no pair has a value.
    Missing,
    /// So many pairs are missing that the others are taken singly.
    Broken,
    /// Nodes may stand for it.
    Whole,
}

/// What a block came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    pub state: State,
    /// Σ y² of its pairs less that of its nodes, with all of these and with few.
    pub rest: f64,
    pub rest_few: f64,
    /// Σ y² of its pairs, those that were filled included.
    energy: f64,
    /// Its missing pairs, where it is a leaf; those of others are its parts'.
    pub holes: Range<usize>,
    /// Whether there are any in it or in its parts.
    pub has_holes: bool,
}

/// A missing pair, whose place was filled.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Hole {
    /// Row and column in the tile.
    pub row: u16,
    pub column: u16,
    /// What stands there, the tile's centre subtracted.
    pub fill: f64,
}

/// What stands for the data of one tile.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TileNodes {
    /// By the number of the span, of either side; they follow from the frames that live.
    #[serde(skip)]
    pub rules: [Vec<Option<Arc<SpanRule>>>; 2],
    living: [Living; 2],
    /// Subtracted from the data before anything else.
    pub centre: f64,
    /// c2 at pairs of nodes, row by row, all blocks.
    pub values: Vec<f64>,
    /// By block.
    pub stored: Vec<Stored>,
    pub holes: Vec<Hole>,
    /// Leaves on the diagonal, panel after panel of eight columns and 64 rows, NaN where there is no pair.
    pub near: Vec<Lane>,
    /// Pairs of leaves off the diagonal that were needed singly, where the others aren't kept; by their first lane in the tile.
    pub kept: BTreeMap<usize, Vec<Lane>>,
}

impl TileNodes {
    /// Keeps the pairs of leaves that no nodes stand for; `lanes` are the tile's.
    pub fn keep_broken(&mut self, blocks: &Blocks, lanes: &[Lane]) {
        for (block, _) in blocks.blocks.iter().zip(&self.stored).filter(|(_, stored)| stored.state == State::Broken) {
            if let Parts::Pairs(place) = &block.parts {
                self.kept.insert(place.lane, lanes[place.lane..place.lane + place.n_lanes()].to_vec());
            }
        }
    }

    /// Puts the rules back that aren't saved; `false` where this isn't what stands for the data of such a tile.
    pub fn restore(&mut self, rules: &Rules, tile: &Tile, blocks: &Blocks) -> bool {
        self.rules = of_sides(rules, &self.living, tile);
        let near = if tile.is_diagonal() { tile.rows.len().div_ceil(LEAF) * NEAR_LANES } else { 0 };
        let leaf = |(lane, lanes): (&usize, &Vec<Lane>)| {
            blocks.leaves().any(|(_, _, place)| place.lane == *lane && place.n_lanes() == lanes.len())
        };
        let holes = |stored: &Stored| stored.holes.start <= stored.holes.end && stored.holes.end <= self.holes.len();
        self.values.len() == blocks.n_values
            && self.stored.len() == blocks.blocks.len()
            && self.near.len() == near
            && self.kept.iter().all(leaf)
            && self.stored.iter().all(holes)
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.values[..])
            + size_of_val(&self.near[..])
            + self.kept.values().map(|lanes| size_of_val(&lanes[..])).sum::<usize>()
            + size_of_val(&self.holes[..])
            + size_of_val(&self.stored[..])
            + self.rules.iter().map(|rules| size_of_val(&rules[..])).sum::<usize>()
    }
}

/// Compresses the lanes of a tile, as they are packed; `n_finite` of its pairs have a value.
pub(crate) fn compress(
    set: InstructionSet,
    (tile, blocks): (&Tile, &Blocks),
    lanes: &[Lane],
    n_finite: usize,
    rules: &Rules,
) -> TileNodes {
    let mut near = Vec::new();
    if tile.is_diagonal() {
        diagonal_leaves(tile, lanes, &mut near);
    }
    let source = Source { tile, lanes, near: &near, is_complete: n_finite == tile.n_pairs };
    let living = source.living(blocks);
    let job = Job { source, blocks, rules: of_sides(rules, &living, tile), centre: centre(lanes) };
    let (values, stored, holes) = set.run(&job);
    let Job { rules, centre, .. } = job;
    TileNodes { rules, living, centre, values, stored, holes, near, kept: BTreeMap::new() }
}

/// The rules of both sides of a tile.
fn of_sides(rules: &Rules, living: &[Living; 2], tile: &Tile) -> [Vec<Option<Arc<SpanRule>>>; 2] {
    let rows = of_side(rules, &living[0], tile.rows.len());
    let columns = if tile.is_diagonal() { rows.clone() } else { of_side(rules, &living[1], tile.columns.len()) };
    [rows, columns]
}

/// About where the data lie.
fn centre(lanes: &[Lane]) -> f64 {
    let some = lanes.iter().flat_map(|lane| lane.0).filter(|value| value.is_finite()).take(LEAF * LANES);
    let (sum, n) = some.fold((0.0, 0.0), |(sum, n), value| (sum + f64::from(value), n + 1.0));
    if n > 0.0 { sum / n } else { 0.0 }
}

/// The data of a tile.
struct Source<'a> {
    tile: &'a Tile,
    lanes: &'a [Lane],
    near: &'a [Lane],
    /// No pair is missing.
    is_complete: bool,
}

/// Frames of a side that live, bit by bit, leaf by leaf.
type Living = [u64; TILE_SIDE / LEAF];

impl Source<'_> {
    fn pairs(&self, parts: &Parts) -> Option<Pairs<'_>> {
        match parts {
            Parts::Pairs(place) => Some(Pairs::stored(self.lanes, *place)),
            Parts::Near(leaf) => Some(Pairs::near(self.near, *leaf)),
            Parts::Blocks(_) => None,
        }
    }

    /// Frames that have a value with any of the other side's; on the diagonal with any frame.
    fn living(&self, blocks: &Blocks) -> [Living; 2] {
        let all = |n: usize| -> Living {
            std::array::from_fn(|leaf| u64::MAX.checked_shr((64 * (leaf + 1)).saturating_sub(n) as u32).unwrap_or(0))
        };
        let (n_rows, n_columns) = (self.tile.rows.len(), self.tile.columns.len());
        let every = [all(n_rows), all(n_columns)];
        if self.is_complete {
            return every;
        }
        let mut living = [Living::default(); 2];
        let mut look = |pairs: Pairs, row: usize, column: usize| {
            // most leaves show nothing that others haven't shown
            let is_known = living[0][row] == every[0][row] && living[1][column] == every[1][column];
            for panel in (0..pairs.columns.div_ceil(LANES)).take_while(|_| !is_known) {
                for r in 0..pairs.rows {
                    let seen = pairs.lane(r, panel).0.iter().enumerate();
                    let seen = seen.fold(0u64, |seen, (l, value)| seen | u64::from(!value.is_nan()) << l);
                    living[0][row] |= u64::from(seen != 0) << r;
                    living[1][column] |= seen << (panel * LANES);
                }
            }
        };
        blocks.leaves().for_each(|(row, column, place)| look(Pairs::stored(self.lanes, place), row, column));
        (0..self.near.len() / NEAR_LANES).for_each(|leaf| look(Pairs::near(self.near, leaf), leaf, leaf));
        if self.tile.is_diagonal() {
            let both = std::array::from_fn(|leaf| living[0][leaf] | living[1][leaf]);
            return [both, both];
        }
        living
    }
}

/// The rules of all spans of a side of `n` frames.
fn of_side(rules: &Rules, living: &Living, n: usize) -> Vec<Option<Arc<SpanRule>>> {
    let mut out: Vec<Option<Arc<SpanRule>>> = vec![None; Span::COUNT];
    for level in 0..=TOP {
        for index in 0..n.div_ceil(SMALLEST << level) {
            let span = Span { level, index };
            let frames = span.frames();
            out[span.number()] = if level > LEAF_LEVEL {
                rules.of_union(span.halves().map(|half| out[half.number()].as_ref()), frames.len() / 2)
            } else {
                let within = living[frames.start / LEAF] >> (frames.start % LEAF);
                rules.of_frames(within & (u64::MAX >> (LEAF - frames.len())))
            };
        }
    }
    out
}

/// Values of a block on their way to the nodes: of up to 64 columns by node of the rows, then by nodes of both.
struct Scratch {
    pairs: [[f64; 2 * NODES]; 2 * NODES],
    half: [[f64; LEAF]; NODES],
    fine: [[f64; NODES]; NODES],
    few: [[f64; NODES]; NODES],
}

struct Job<'a> {
    source: Source<'a>,
    blocks: &'a Blocks,
    rules: [Vec<Option<Arc<SpanRule>>>; 2],
    centre: f64,
}

impl Kernel for &Job<'_> {
    type Output = (Vec<f64>, Vec<Stored>, Vec<Hole>);

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Self::Output {
        let mut values = vec![0.0; self.blocks.n_values];
        let mut stored: Vec<Stored> = Vec::with_capacity(self.blocks.blocks.len());
        let mut holes = Vec::new();
        let mut scratch = Box::new(Scratch {
            pairs: [[0.0; 2 * NODES]; 2 * NODES],
            half: [[0.0; LEAF]; NODES],
            fine: [[0.0; NODES]; NODES],
            few: [[0.0; NODES]; NODES],
        });
        for block in &self.blocks.blocks {
            let mut own = match &block.parts {
                Parts::Blocks(parts) => self.join(block, parts, &stored),
                _ => self.survey(isa, block, &mut holes),
            };
            if own.state == State::Whole {
                match &block.parts {
                    Parts::Blocks(parts) => self.union(isa, block, parts, &values, &mut scratch),
                    _ => self.leaf(isa, block, &holes[own.holes.clone()], &mut own, &mut scratch),
                }
                self.finish(isa, block, &mut own, &mut values, &mut scratch);
            }
            stored.push(own);
        }
        (values, stored, holes)
    }
}

impl Job<'_> {
    fn rule(&self, side: usize, span: Span) -> Option<&Arc<SpanRule>> {
        self.rules[side][span.number()].as_ref()
    }

    /// What there is of a block that has parts.
    fn join(&self, block: &Block, parts: &[usize], stored: &[Stored]) -> Stored {
        let mut own =
            Stored { state: State::Dead, rest: 0.0, rest_few: 0.0, energy: 0.0, holes: 0..0, has_holes: false };
        if self.rule(0, block.rows).is_none() || self.rule(1, block.columns).is_none() {
            return own;
        }
        own.state = State::Whole;
        for part in parts.iter().map(|&part| &stored[part]).filter(|part| part.state != State::Dead) {
            own.energy += part.energy;
            own.has_holes |= part.has_holes;
            if part.state != State::Whole {
                own.state = State::Broken;
            }
        }
        own
    }

    /// What there is of a leaf, or a part of one; its missing pairs are noted.
    #[inline(always)]
    fn survey<I: Isa>(&self, isa: I, block: &Block, holes: &mut Vec<Hole>) -> Stored {
        let first = holes.len();
        let mut own =
            Stored { state: State::Dead, rest: 0.0, rest_few: 0.0, energy: 0.0, holes: first..first, has_holes: false };
        let (Some(rows), Some(columns)) = (self.rule(0, block.rows), self.rule(1, block.columns)) else { return own };
        own.state = State::Whole;
        if self.source.is_complete {
            return own;
        }
        let Some(pairs) = self.source.pairs(&block.parts) else { return own };
        let (row, column) = (block.rows.frames().start, block.columns.frames().start);
        // columns that live, bit by bit, panel by panel
        let mut living = [0u8; LEAF / LANES];
        columns.frames.iter().map(|c| (column + c) % LEAF).for_each(|c| living[c / LANES] |= 1 << (c % LANES));
        let centre = isa.splat(self.centre);
        let mut sums = isa.zero();
        for (panel, living) in living.iter().enumerate().filter(|(_, living)| **living != 0) {
            // nothing is called before all rows are through: the panel's sum stays in a register
            let (mut missed, mut some, mut of_panel) = ([0u8; LEAF], 0, isa.zero());
            for (missed, &r) in missed.iter_mut().zip(&rows.frames) {
                let data = isa.widen(pairs.lane((row + r) % LEAF, panel));
                let present = isa.present(data);
                of_panel = isa.add(of_panel, isa.keep(present, isa.sub(data, centre)));
                *missed = living & !isa.bits(present);
                some |= *missed;
            }
            sums = isa.add(sums, of_panel);
            if some == 0 {
                continue;
            }
            for (&r, mut missed) in rows.frames.iter().zip(missed) {
                while missed != 0 {
                    let c = column / LEAF * LEAF + panel * LANES + missed.trailing_zeros() as usize;
                    holes.push(Hole { row: (row + r) as u16, column: c as u16, fill: 0.0 });
                    missed &= missed - 1;
                }
            }
        }
        let (all, missing) = (rows.frames.len() * columns.frames.len(), holes.len() - first);
        if missing == all || missing * MOST_MISSING > all {
            own.state = if missing == all { State::Missing } else { State::Broken };
            holes.truncate(first);
            return own;
        }
        let mut lanes = [0.0; LANES];
        isa.store(sums, &mut lanes);
        let fill = sum(lanes) / (all - missing) as f64;
        holes[first..].iter_mut().for_each(|hole| hole.fill = fill);
        (own.holes, own.has_holes) = (first..holes.len(), missing > 0);
        own
    }

    /// From the pairs of a leaf to its nodes.
    #[inline(always)]
    fn leaf<I: Isa>(&self, isa: I, block: &Block, holes: &[Hole], own: &mut Stored, scratch: &mut Scratch) {
        let (Some(pairs), Some(rows), Some(columns)) =
            (self.source.pairs(&block.parts), self.rule(0, block.rows), self.rule(1, block.columns))
        else {
            return;
        };
        let row = block.rows.frames().start % LEAF;
        let row = row..(row + block.rows.frames().len()).min(pairs.rows);
        let column = block.columns.frames().start % LEAF;
        let panels = column / LANES..(column + block.columns.frames().len()).min(pairs.columns).div_ceil(LANES);
        let fill = if let [hole, ..] = holes { hole.fill } else { 0.0 };
        // lanes beyond the edge hold no number
        let is_full =
            self.source.is_complete && pairs.columns.is_multiple_of(LANES) && matches!(block.parts, Parts::Pairs(_));
        let mut energy = isa.zero();
        for (k, panel) in panels.clone().enumerate() {
            let sums = if is_full {
                stripe::<I, false>(isa, &pairs, (row.clone(), panel), &rows.spread, (self.centre, fill), &mut energy)
            } else {
                stripe::<I, true>(isa, &pairs, (row.clone(), panel), &rows.spread, (self.centre, fill), &mut energy)
            };
            for (node, sum) in sums.iter().enumerate() {
                put(isa, *sum, &mut scratch.half[node], k * LANES);
            }
        }
        let mut lanes = [0.0; LANES];
        isa.store(energy, &mut lanes);
        own.energy = sum(lanes) + holes.len() as f64 * fill * fill;
        across(isa, &scratch.half, panels.len() * LANES, &columns.spread, &mut scratch.fine);
    }

    /// From the nodes of a block's parts to its own.
    #[inline(always)]
    fn union<I: Isa>(&self, isa: I, block: &Block, parts: &[usize], values: &[f64], scratch: &mut Scratch) {
        let (Some(rows), Some(columns)) = (self.rule(0, block.rows), self.rule(1, block.columns)) else { return };
        scratch.pairs = [[0.0; 2 * NODES]; 2 * NODES];
        // columns are halved always, rows where they are as many
        let joins_rows = block.rows.level == block.columns.level;
        for part in parts.iter().map(|&part| &self.blocks.blocks[part]) {
            let row = if joins_rows { part.rows.index % 2 * NODES } else { 0 };
            let column = part.columns.index % 2 * NODES;
            for (k, values) in values[part.fine..part.fine + FINE_VALUES].chunks_exact(NODES).enumerate() {
                scratch.pairs[row + k][column..column + NODES].copy_from_slice(values);
            }
        }
        if joins_rows {
            down(isa, &scratch.pairs, 2 * NODES, &rows.spread, &mut scratch.half);
        } else {
            for (half, pairs) in scratch.half.iter_mut().zip(&scratch.pairs) {
                half[..2 * NODES].copy_from_slice(pairs);
            }
        }
        across(isa, &scratch.half, 2 * NODES, &columns.spread, &mut scratch.fine);
    }

    /// Stores the values of a block, and those at few nodes.
    #[inline(always)]
    fn finish<I: Isa>(&self, isa: I, block: &Block, own: &mut Stored, values: &mut [f64], scratch: &mut Scratch) {
        let (Some(rows), Some(columns)) = (self.rule(0, block.rows), self.rule(1, block.columns)) else { return };
        let own_values = &mut values[block.fine..block.fine + FINE_VALUES];
        for (values, fine) in own_values.chunks_exact_mut(NODES).zip(&scratch.fine) {
            values.copy_from_slice(fine);
        }
        own.rest = own.energy - squares(&scratch.fine, &rows.rule.weights, &columns.rule.weights);
        let Some(at) = block.few else { return };
        for (pairs, fine) in scratch.pairs.iter_mut().zip(&scratch.fine) {
            pairs[..NODES].copy_from_slice(fine);
        }
        if rows.few.is_some() {
            down(isa, &scratch.pairs, NODES, &rows.spread_few, &mut scratch.half);
        } else {
            for (half, fine) in scratch.half.iter_mut().zip(&scratch.fine) {
                half[..NODES].copy_from_slice(fine);
            }
        }
        if columns.few.is_some() {
            across(isa, &scratch.half, NODES, &columns.spread_few, &mut scratch.few);
        } else {
            for (few, half) in scratch.few.iter_mut().zip(&scratch.half) {
                few.copy_from_slice(&half[..NODES]);
            }
        }
        for (values, few) in values[at..at + FEW_VALUES].chunks_exact_mut(FEW).zip(&scratch.few) {
            values.copy_from_slice(&few[..FEW]);
        }
        own.rest_few = own.energy - squares(&scratch.few, rows.few_weights(), columns.few_weights());
    }
}
