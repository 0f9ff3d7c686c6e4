//! The sums of a tile: which blocks of nodes, and which single pairs, serve at a point.
//!
//! The largest blocks of a tile's pyramid that resolve the model at this point and angle stand for their pairs; where even leaves don't,
//! the pairs are taken singly. A pass that wants all pairs, or weighs each by itself, takes all of them singly. What is chosen depends
//! on the data's shape and on the point alone.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use std::marker::PhantomData;
use std::ops::Range;

use super::pairs::{All, Chi2, Kind, Rectangle, Side, Slopes, Sums, Values, Weights};
use super::sides::{Frames, Singles, Spans};
use super::tables::{AtAngle, AtSpan, DECAYED, Tables};
use super::{Gram, ONE, Pass, R};
use crate::arithmetic::lanes::prefetch;
use crate::arithmetic::{InstructionSet, Isa, Kernel, LANES, Lane};
use crate::model::pair::{Diffusion, LaminarFlow, PairModel, Reach};
use crate::nodes::blocks::{Block, Blocks, FEW_VALUES, FINE_VALUES, Parts, Place, Span, TRIANGLE};
use crate::nodes::compress::{State, TileNodes};
use crate::nodes::leaves::{NEAR_LANES, diagonal_leaves};
use crate::nodes::plan::{LEAF, Tile};
use crate::nodes::rules::{FEW, NODES};
use crate::nodes::spans::{NOWHERE, Slots};
use crate::nodes::store::NodeTile;

/// Leaves that nodes resolve by less than this, as the logarithm of what is left, are kept when they pass by: the next pass may need them.
const NEARLY: f64 = 11.0;
/// Largest exponent of E within a triangle whose frames share one reference.
const STEEP: f64 = 150.0;

/// A tile's data of one angle.
#[derive(Clone, Copy)]
pub(crate) struct AngleData<'a> {
    pub angle: usize,
    pub data: &'a [Lane],
    /// Pairs that have a value.
    pub n_finite: u32,
    /// σ of every pair, stored like the data, where they have their own.
    pub sigma: Option<&'a [Lane]>,
    /// What stands for them, where it was formed.
    pub nodes: Option<&'a NodeTile>,
}

/// Working memory of a thread.
pub(crate) struct Scratch {
    rows: Side,
    columns: Side,
    sums: Box<Sums>,
    items: Vec<Item>,
    chosen: Vec<Chosen>,
    todo: Vec<usize>,
    near: Vec<Lane>,
    near_sigma: Vec<Lane>,
    /// Missing pairs that are taken back, by number, and what stands there.
    picked: Vec<u32>,
    /// Leaves whose pairs are needed singly, and those (`false`) where nodes only just resolve the model, while they pass by.
    pub wanted: Vec<(Place, bool)>,
    fills: [f64; LEAF],
    /// Weighted pairs that were summed.
    pub terms: u64,
}

impl Scratch {
    pub fn new() -> Box<Self> {
        Box::new(Self {
            rows: Side::ZERO,
            columns: Side::ZERO,
            sums: Sums::new(),
            items: Vec::new(),
            chosen: Vec::new(),
            todo: Vec::new(),
            near: Vec::new(),
            near_sigma: Vec::new(),
            picked: Vec::new(),
            wanted: Vec::new(),
            fills: [0.0; LEAF],
            terms: 0,
        })
    }
}

/// What the sums of a tile are made of.
#[derive(Debug, Clone)]
enum Item {
    /// A block by its nodes.
    Nodes(Chosen),
    /// Single pairs of some rows (from the beginning of the tile) with some columns.
    Pairs { rows: Range<usize>, columns: Range<usize>, from: From },
    /// Some of the missing pairs that are taken back.
    Holes(Range<usize>),
}

/// A block that nodes stand for: ordered by its rows, as blocks of the same rows share what belongs to these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Chosen {
    /// Number of the rows' span.
    row: usize,
    /// Few nodes are enough.
    few: bool,
    block: usize,
}

/// Where single pairs are stored.
#[derive(Debug, Clone, Copy)]
enum From {
    /// Off the diagonal: first lane, and rows of a panel.
    Strip { lane: usize, rows: usize },
    /// The same among the pairs that are kept with the nodes, of the leaf whose first lane is this one: first lane there.
    Kept { leaf: usize, lane: usize, rows: usize },
    /// In a leaf on the diagonal.
    Near(usize),
    /// There, and rows and columns are the same frames.
    Triangle(usize),
}

/// One tile at one point and angle.
pub(crate) struct Job<'a> {
    pub tile: &'a Tile,
    pub blocks: &'a Blocks,
    pub slots: Option<&'a Slots>,
    pub own: &'a AngleData<'a>,
    pub tables: &'a Tables<'a>,
    pub pass: Pass,
    /// The pairs are at hand for a moment only.
    pub passing: bool,
    pub scratch: &'a mut Scratch,
}

impl Job<'_> {
    /// Its Gram matrix; nothing where single pairs are needed that aren't given. Every model and kind of pass is a kernel of its own.
    pub fn run(self, set: InstructionSet) -> Option<Gram> {
        let robust = self.tables.robust(self.own.angle).is_some();
        match (self.tables.power, self.pass) {
            (1, Pass::Chi2) if !robust => set.run(Of::<Diffusion, Chi2>(self, PhantomData)),
            (2, Pass::Chi2) if !robust => set.run(Of::<LaminarFlow<2>, Chi2>(self, PhantomData)),
            (_, Pass::Chi2) if !robust => set.run(Of::<LaminarFlow<4>, Chi2>(self, PhantomData)),
            (1, Pass::Slopes) if !robust => set.run(Of::<Diffusion, Slopes>(self, PhantomData)),
            (2, Pass::Slopes) if !robust => set.run(Of::<LaminarFlow<2>, Slopes>(self, PhantomData)),
            (_, Pass::Slopes) if !robust => set.run(Of::<LaminarFlow<4>, Slopes>(self, PhantomData)),
            (1, _) if !robust => set.run(Of::<Diffusion, All>(self, PhantomData)),
            (2, _) if !robust => set.run(Of::<LaminarFlow<2>, All>(self, PhantomData)),
            (_, _) if !robust => set.run(Of::<LaminarFlow<4>, All>(self, PhantomData)),
            (1, _) => set.run(Of::<Diffusion, Weights>(self, PhantomData)),
            (2, _) => set.run(Of::<LaminarFlow<2>, Weights>(self, PhantomData)),
            _ => set.run(Of::<LaminarFlow<4>, Weights>(self, PhantomData)),
        }
    }

    /// Takes everything pair by pair.
    fn all_pairs(&mut self) {
        let Scratch { items, .. } = &mut *self.scratch;
        let mut lane = 0;
        for strip in &self.tile.strips {
            let (rows, columns) = (strip.rows(), strip.columns());
            let within = rows.start - self.tile.rows.start..rows.end - self.tile.rows.start;
            if strip.is_diagonal() {
                near(items, self.tables, self.tile, within.start / LEAF);
            } else {
                for first in columns.clone().step_by(LEAF) {
                    let end = (first + LEAF).min(columns.end);
                    items.push(Item::Pairs {
                        rows: within.clone(),
                        columns: first - self.tile.columns.start..end - self.tile.columns.start,
                        from: From::Strip {
                            lane: lane + (first - columns.start) / LANES * rows.len(),
                            rows: rows.len(),
                        },
                    });
                }
            }
            lane += strip.n_lanes;
        }
    }

    /// Takes the largest blocks that resolve the model; gives what their nodes leave of Σ y².
    fn choose(&mut self, NodeTile { nodes, slots, .. }: &NodeTile, at: &AtAngle) -> f64 {
        let (tables, blocks) = (self.tables, self.blocks);
        let Scratch { items, chosen, todo, picked, wanted, .. } = &mut *self.scratch;
        picked.clear();
        chosen.clear();
        let p = at.p.abs();
        let mut rest = 0.0;
        for &leaf in &blocks.triangles {
            triangles(items, tables, self.tile, leaf);
        }
        todo.clear();
        todo.extend(blocks.roots.iter().rev());
        while let Some(number) = todo.pop() {
            let (block, stored) = (&blocks.blocks[number], &nodes.stored[number]);
            if matches!(stored.state, State::Dead | State::Missing) {
                continue;
            }
            let [row, column] = [slots[0][block.rows.number()], slots[1][block.columns.number()]];
            if stored.state == State::Whole && row != NOWHERE && column != NOWHERE {
                let [rows, columns] = [row, column].map(|slot| &tables.spans[slot as usize]);
                // the largest g: at the nearest pair
                let [diffusion, strain] = tables.across(rows.ends[1], columns.ends[0]);
                let (decay, x) = (tables.k * diffusion, p * strain);
                // logarithm of the error over what it may be
                let excess = |few: bool| {
                    let of = |span: &AtSpan| span.error(few, tables.power, p, x) - decay - tables.tolerance;
                    if decay > DECAYED { f64::NEG_INFINITY } else { of(rows).max(of(columns)) }
                };
                let found = excess(false);
                if found < 0.0 {
                    if let (true, Parts::Pairs(place)) = (self.passing && found > -NEARLY, &block.parts) {
                        wanted.push((*place, false));
                    }
                    let few = block.few.is_some() && excess(true) < 0.0;
                    rest += if few { stored.rest_few } else { stored.rest };
                    chosen.push(Chosen { row: block.rows.number(), few, block: number });
                    if stored.has_holes {
                        holes(picked, blocks, nodes, number);
                    }
                    continue;
                }
            }
            let within = |span: Span, n: usize| span.frames().start..span.frames().end.min(n);
            let (rows, columns) =
                (within(block.rows, self.tile.rows.len()), within(block.columns, self.tile.columns.len()));
            match &block.parts {
                Parts::Blocks(parts) => todo.extend(parts.iter().rev()),
                Parts::Pairs(place) => {
                    let (lane, rows_of) = (rows.start % LEAF, place.rows);
                    let from = if nodes.kept.contains_key(&place.lane) {
                        From::Kept { leaf: place.lane, lane, rows: rows_of }
                    } else {
                        From::Strip { lane: place.lane + lane, rows: rows_of }
                    };
                    if self.passing {
                        wanted.push((*place, true));
                    }
                    items.push(Item::Pairs { rows, columns, from });
                }
                Parts::Near(leaf) => items.push(Item::Pairs { rows, columns, from: From::Near(*leaf) }),
            }
        }
        chosen.sort_unstable();
        items.extend(chosen.drain(..).map(Item::Nodes));
        let all = 0..picked.len();
        items.extend(all.clone().step_by(LEAF).map(|first| Item::Holes(first..(first + LEAF).min(all.end))));
        rest
    }
}

/// The missing pairs of a block and its parts.
fn holes(picked: &mut Vec<u32>, blocks: &Blocks, nodes: &TileNodes, number: usize) {
    match &blocks.blocks[number].parts {
        Parts::Blocks(parts) => parts
            .iter()
            .filter(|&&part| nodes.stored[part].has_holes)
            .for_each(|&part| holes(picked, blocks, nodes, part)),
        _ => picked.extend(nodes.stored[number].holes.clone().map(|hole| hole as u32)),
    }
}

/// The smallest triangles of a leaf on the diagonal; row by row where all frames can't share one reference.
fn triangles(items: &mut Vec<Item>, tables: &Tables, tile: &Tile, leaf: usize) {
    let n = tile.rows.len();
    for first in (leaf * LEAF..(leaf + 1) * LEAF).step_by(TRIANGLE).take_while(|&first| first + 1 < n) {
        let own = first..(first + TRIANGLE).min(n);
        let [diffusion, _] = tables.across(tile.rows.start + first, tile.rows.start + own.end - 1);
        if tables.k * diffusion < STEEP {
            items.push(Item::Pairs { rows: own.clone(), columns: own, from: From::Triangle(leaf) });
        } else {
            let row = |row: usize| Item::Pairs { rows: row..row + 1, columns: own.clone(), from: From::Near(leaf) };
            items.extend((first..own.end - 1).map(row));
        }
    }
}

/// All pairs of a leaf on the diagonal.
fn near(items: &mut Vec<Item>, tables: &Tables, tile: &Tile, leaf: usize) {
    triangles(items, tables, tile, leaf);
    let (first, n) = (leaf * LEAF, tile.rows.len());
    let (rows, columns) = (first..(first + TRIANGLE).min(n), first + TRIANGLE..(first + LEAF).min(n));
    if columns.start < columns.end {
        items.push(Item::Pairs { rows, columns, from: From::Near(leaf) });
    }
}

/// A tile by one model and kind of pass.
struct Of<'a, M, K>(Job<'a>, PhantomData<(M, K)>);

impl<M: PairModel, K: Kind> Kernel for Of<'_, M, K> {
    type Output = Option<Gram>;

    #[inline(always)]
    fn run<I: Isa>(self, isa: I) -> Option<Gram> {
        tile::<I, M, K>(isa, self.0)
    }
}

#[inline(always)]
fn tile<I: Isa, M: PairModel, K: Kind>(isa: I, mut job: Job) -> Option<Gram> {
    let at = job.tables.angles[job.own.angle];
    job.scratch.items.clear();
    let by_nodes = if K::ROBUST || job.pass == Pass::Exact { None } else { job.own.nodes };
    let rest = match by_nodes {
        Some(nodes) => job.choose(nodes, &at),
        None => {
            job.all_pairs();
            0.0
        }
    };
    let Job { tile, blocks, slots, own, tables, scratch, .. } = job;
    let needs_pairs = scratch.items.iter().any(|item| matches!(item, Item::Pairs { from: From::Strip { .. }, .. }));
    if needs_pairs && own.data.is_empty() {
        return None;
    }
    let sigma = if K::ROBUST { own.sigma } else { None };
    let Scratch { rows, columns, sums, items, near, near_sigma, fills, picked, terms, .. } = scratch;
    let mut near_data: &[Lane] = &[];
    if tile.is_diagonal() {
        near_data = match own.nodes {
            Some(tile) => &tile.nodes.near,
            None => {
                diagonal_leaves(tile, own.data, near);
                near
            }
        };
        if let Some(sigma) = sigma {
            diagonal_leaves(tile, sigma, near_sigma);
        }
    }
    let m = f64::from(M::POWER);
    let factors = [-tables.k, -tables.k, -tables.k, m * at.p, m * at.p, m * at.p, m * at.dp];
    let robust = tables.robust(own.angle);
    let mut out = Gram::default();
    sums.clear();
    // what is taken away comes last
    for taken in [false, true] {
        // whose rows those at hand are, and how many
        let (mut of, mut n_rows) = (None, 0);
        for (k, item) in items.iter().enumerate().filter(|(_, item)| matches!(item, Item::Holes(_)) == taken) {
            let next = ahead(items.get(k + 1), own, blocks, near_data);
            let (mut is_triangle, mut reach, mut offset) = (false, Reach::Mixed, at.offset);
            let (n_vectors, values);
            let key = match item {
                Item::Nodes(Chosen { row, few, .. }) => Some((*row, *few)),
                _ => None,
            };
            let is_same = key.is_some() && key == of;
            if !is_same {
                sums.rows::<I, M, K>(isa, rows, n_rows);
                (of, n_rows) = (key, 0);
            }
            match item {
                Item::Nodes(Chosen { row, few, block }) => {
                    let (Some(NodeTile { nodes, slots: numbers, .. }), Some(slots)) = (own.nodes, slots) else {
                        continue;
                    };
                    let block = &blocks.blocks[*block];
                    let (row, column) = (numbers[0][*row] as usize, numbers[1][block.columns.number()] as usize);
                    let sides = Spans { tables, row, column, p: at.p };
                    let (row_rule, column_rule) = (&slots.all[row].rule, &slots.all[column].rule);
                    let (row, column) = (&tables.spans[row], &tables.spans[column]);
                    let n_columns;
                    if *few {
                        if !is_same {
                            n_rows = sides.rows::<I, M, K, FEW>(isa, &row.few, row_rule.few_weights(), rows);
                        }
                        let weights = column_rule.few_weights();
                        reach = sides.columns::<I, M, K, FEW>(isa, &column.few, weights, (rows, columns));
                        n_columns = weights.len();
                    } else {
                        if !is_same {
                            n_rows = sides.rows::<I, M, K, NODES>(isa, &row.nodes, &row_rule.rule.weights, rows);
                        }
                        let weights = &column_rule.rule.weights;
                        reach = sides.columns::<I, M, K, NODES>(isa, &column.nodes, weights, (rows, columns));
                        n_columns = weights.len();
                    }
                    n_vectors = n_columns.div_ceil(LANES);
                    offset -= nodes.centre;
                    values = Values::Nodes(values_of(&nodes.values, block, *few), if *few { FEW } else { NODES });
                }
                Item::Pairs { rows: own_rows, columns: own_columns, from } => {
                    is_triangle = matches!(from, From::Triangle(_));
                    let pairs = Frames { tables, rows: own_rows, columns: own_columns, tile, is_triangle, p: at.p };
                    (n_rows, n_vectors) = (own_rows.len(), own_columns.len().div_ceil(LANES));
                    let (lanes, first, per_panel, sigma) = match *from {
                        From::Strip { lane, rows } => {
                            let sigma = match sigma {
                                Some(sigma) => Some(&sigma[lane..]),
                                None => None,
                            };
                            (&own.data[lane..], 0, rows, sigma)
                        }
                        From::Kept { leaf, lane, rows } => {
                            let Some(kept) = own.nodes.and_then(|tile| tile.nodes.kept.get(&leaf)) else { continue };
                            (&kept[lane..], 0, rows, None)
                        }
                        From::Near(leaf) | From::Triangle(leaf) => {
                            let lane = leaf * NEAR_LANES + own_columns.start % LEAF / LANES * LEAF;
                            let sigma = if sigma.is_some() { Some(&near_sigma[lane..]) } else { None };
                            (&near_data[lane..], own_rows.start % LEAF, LEAF, sigma)
                        }
                    };
                    values = Values::Pairs { lanes, sigma, rows: per_panel, first };
                    if !K::ROBUST && pairs.are_decayed() {
                        sums.add_residuals::<I, M, K>(isa, n_rows, n_vectors, values, offset);
                        n_rows = 0;
                        continue;
                    }
                    reach = pairs.prepare::<I, M, K>(isa, rows, columns);
                }
                Item::Holes(range) => {
                    let Some(NodeTile { nodes, .. }) = own.nodes else { continue };
                    let holes = &picked[range.clone()];
                    (n_rows, n_vectors) = (1, holes.len().div_ceil(LANES));
                    let single = Singles { tables, tile, all: &nodes.holes, holes, p: at.p };
                    single.prepare::<I, M, K>(isa, rows, columns, fills);
                    offset -= nodes.centre;
                    values = Values::Nodes(&fills[..], LEAF);
                }
            }
            let (contrast, rows, columns) = (at.contrast, &*rows, &*columns);
            let rectangle = Rectangle {
                rows,
                columns,
                n_rows,
                n_vectors,
                values,
                next,
                is_triangle,
                reach,
                contrast,
                offset,
                robust,
            };
            rectangle.add::<I, M, K>(isa, sums);
            *terms += (n_rows * n_vectors * LANES) as u64;
        }
        sums.rows::<I, M, K>(isa, rows, n_rows);
        sums.finish::<M, K>(&factors, if taken { -1.0 } else { 1.0 }, &mut out);
    }
    out.0[Gram::index(R, R)] += rest;
    if !K::ROBUST {
        out.set(ONE, ONE, f64::from(own.n_finite));
    }
    Some(out)
}

/// Values of a block at all its nodes, or at few.
#[inline(always)]
fn values_of<'a>(values: &'a [f64], block: &Block, few: bool) -> &'a [f64] {
    match block.few.filter(|_| few) {
        Some(first) => &values[first..first + FEW_VALUES],
        None => &values[block.fine..block.fine + FINE_VALUES],
    }
}

/// Values of the next item that nodes have; single pairs near the diagonal are brought near at once.
#[inline(always)]
fn ahead<'a>(next: Option<&Item>, own: &AngleData<'a>, blocks: &Blocks, near: &[Lane]) -> &'a [f64] {
    match next {
        Some(Item::Nodes(Chosen { block, few, .. })) => {
            let Some(tile) = own.nodes else { return &[] };
            values_of(&tile.nodes.values, &blocks.blocks[*block], *few)
        }
        Some(Item::Pairs { rows, columns, from: From::Near(leaf) | From::Triangle(leaf) }) => {
            for column in columns.clone().step_by(LANES) {
                let first = leaf * NEAR_LANES + column % LEAF / LANES * LEAF + rows.start % LEAF;
                (first..first + rows.len()).step_by(2).for_each(|lane| prefetch(near, lane));
            }
            &[]
        }
        _ => &[],
    }
}
