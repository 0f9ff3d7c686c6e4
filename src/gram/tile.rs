//! The sums of a tile: which blocks of nodes, and which single pairs, serve at a point.
//!
//! The largest blocks of a tile's pyramid that resolve the model at this point and angle stand for their pairs; where even leaves don't,
//! the pairs are taken singly. A pass that wants all pairs, or weighs each by itself, takes all of them singly. What is chosen depends
//! on the data's shape and on the point alone.

use std::marker::PhantomData;
use std::ops::Range;

use super::pairs::{All, Chi2, Kind, Rectangle, Side, Sums, Values, Weights};
use super::axis::two_sum;
use super::tables::{AtAngle, Local, Tables};
use super::{Gram, ONE, Pass, R};
use crate::arithmetic::elementary::{PHASE_LIMIT, sin_cos};
use crate::arithmetic::lanes::{load, prefetch, put};
use crate::arithmetic::{InstructionSet, Isa, Kernel, LANES, Lane, V};
use crate::model::pair::{DIFFUSION, Diffusion, INTEGRALS, LaminarFlow, PairModel, Reach, SHEAR};
use crate::nodes::blocks::{Blocks, Parts, SMALLEST, Span};
use crate::nodes::compress::{Hole, NEAR_LANES, State, TileNodes, diagonal_leaves};
use crate::nodes::plan::{LEAF, Tile};
use crate::nodes::rules::{FEW, NODES};
use crate::nodes::spans::{NOWHERE, Slots};
use crate::nodes::store::NodeTile;

/// Where q²·∫D is larger than this between all frames of two spans, g is zero.
const DECAYED: f64 = 138.0;
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
    todo: Vec<usize>,
    near: Vec<Lane>,
    near_sigma: Vec<Lane>,
    /// Missing pairs that are taken back, by number, and what stands there.
    picked: Vec<u32>,
    fills: [f64; LEAF],
}

impl Scratch {
    pub fn new() -> Box<Self> {
        Box::new(Self {
            rows: Side::ZERO,
            columns: Side::ZERO,
            sums: Sums::new(),
            items: Vec::new(),
            todo: Vec::new(),
            near: Vec::new(),
            near_sigma: Vec::new(),
            picked: Vec::new(),
            fills: [0.0; LEAF],
        })
    }
}

/// What the sums of a tile are made of.
#[derive(Debug, Clone)]
enum Item {
    /// A block, by all its nodes or by few.
    Nodes { block: usize, few: bool },
    /// Single pairs of some rows (from the beginning of the tile) with some columns.
    Pairs { rows: Range<usize>, columns: Range<usize>, from: From },
    /// Some of the missing pairs that are taken back.
    Holes(Range<usize>),
}

/// Where single pairs are stored.
#[derive(Debug, Clone, Copy)]
enum From {
    /// Off the diagonal: first lane, and rows of a panel.
    Strip { lane: usize, rows: usize },
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
                        from: From::Strip { lane: lane + (first - columns.start) / LANES * rows.len(), rows: rows.len() },
                    });
                }
            }
            lane += strip.n_lanes;
        }
    }

    /// Takes the largest blocks that resolve the model; gives what their nodes leave of Σ y².
    fn choose(&mut self, NodeTile { nodes, slots, .. }: &NodeTile, at: &AtAngle) -> f64 {
        let (tables, blocks) = (self.tables, self.blocks);
        let Scratch { items, todo, picked, .. } = &mut *self.scratch;
        picked.clear();
        let power = f64::from(tables.power);
        let omega = power * at.p.abs();
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
                let [row, column] = [row, column].map(|slot| &tables.spans[slot as usize]);
                // the largest g: at the nearest pair
                let [diffusion, strain] = tables.across(row.ends[1], column.ends[0]);
                let (decay, x) = (tables.k * diffusion, at.p.abs() * strain);
                let largest = -decay - power * x.max(1.0).ln();
                let resolves = |few: bool| {
                    let error = row.error(few, omega).max(column.error(few, omega));
                    decay > DECAYED || error + largest < tables.tolerance
                };
                let few = block.few.is_some() && resolves(true);
                if few || block.fine.is_some() && resolves(false) {
                    rest += if few { stored.rest_few } else { stored.rest };
                    items.push(Item::Nodes { block: number, few });
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
                    let from = From::Strip { lane: place.lane + rows.start % LEAF, rows: place.rows };
                    items.push(Item::Pairs { rows, columns, from });
                }
                Parts::Near(leaf) => items.push(Item::Pairs { rows, columns, from: From::Near(*leaf) }),
            }
        }
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
    for first in (leaf * LEAF..(leaf + 1) * LEAF).step_by(SMALLEST).take_while(|&first| first + 1 < n) {
        let own = first..(first + SMALLEST).min(n);
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
    let n = tile.rows.len();
    for (level, index) in [(1, 0), (0, 0), (0, 2)] {
        let span = |index: usize| {
            let frames = Span { level, index }.frames();
            leaf * LEAF + frames.start..(leaf * LEAF + frames.end).min(n)
        };
        let (rows, columns) = (span(index), span(index + 1));
        if columns.start < columns.end {
            items.push(Item::Pairs { rows, columns, from: From::Near(leaf) });
        }
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
    let Scratch { rows, columns, sums, items, near, near_sigma, fills, picked, .. } = scratch;
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
        for (k, item) in items.iter().enumerate().filter(|(_, item)| matches!(item, Item::Holes(_)) == taken) {
            ahead(items.get(k + 1), own, blocks, near_data);
            let (mut n_rows, mut is_triangle, mut reach, mut offset) = (1, false, Reach::Mixed, at.offset);
            let (n_vectors, values);
            match item {
                Item::Nodes { block, few } => {
                    let (Some(NodeTile { nodes, slots: numbers, .. }), Some(slots)) = (own.nodes, slots) else { continue };
                    let block = &blocks.blocks[*block];
                    let row = numbers[0][block.rows.number()] as usize;
                    let column = numbers[1][block.columns.number()] as usize;
                    let sides = Spans { tables, row, column, p: at.p };
                    let (row_rule, column_rule) = (&slots.all[row].rule, &slots.all[column].rule);
                    let (row, column) = (&tables.spans[row], &tables.spans[column]);
                    let weights;
                    if *few {
                        weights = [row_rule.few_weights(), column_rule.few_weights()];
                        reach = sides.prepare::<I, M, K, FEW>(isa, [&row.few, &column.few], weights, rows, columns);
                    } else {
                        weights = [&row_rule.rule.weights[..], &column_rule.rule.weights];
                        reach = sides.prepare::<I, M, K, NODES>(isa, [&row.nodes, &column.nodes], weights, rows, columns);
                    }
                    (n_rows, n_vectors) = (weights[0].len(), weights[1].len().div_ceil(LANES));
                    offset -= nodes.centre;
                    let (first, stride) = if *few { (block.few, FEW) } else { (block.fine, NODES) };
                    let Some(first) = first else { continue };
                    values = Values::Nodes(&nodes.values[first..first + stride * stride], stride);
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
                        From::Near(leaf) | From::Triangle(leaf) => {
                            let lane = leaf * NEAR_LANES + own_columns.start % LEAF / LANES * LEAF;
                            let sigma = if sigma.is_some() { Some(&near_sigma[lane..]) } else { None };
                            (&near_data[lane..], own_rows.start % LEAF, LEAF, sigma)
                        }
                    };
                    values = Values::Pairs { lanes, sigma, rows: per_panel, first };
                    if !K::ROBUST && pairs.are_decayed() {
                        sums.add_residuals::<I, M, K>(isa, n_rows, n_vectors, values, offset);
                        continue;
                    }
                    reach = pairs.prepare::<I, M, K>(isa, rows, columns);
                }
                Item::Holes(range) => {
                    let Some(NodeTile { nodes, .. }) = own.nodes else { continue };
                    let holes = &picked[range.clone()];
                    n_vectors = holes.len().div_ceil(LANES);
                    let single = Singles { tables, tile, all: &nodes.holes, holes, p: at.p };
                    single.prepare::<I, M, K>(isa, rows, columns, fills);
                    offset -= nodes.centre;
                    values = Values::Nodes(&fills[..], LEAF);
                }
            }
            let (contrast, rows, columns) = (at.contrast, &*rows, &*columns);
            let rectangle =
                Rectangle { rows, columns, n_rows, n_vectors, values, is_triangle, reach, contrast, offset, robust };
            rectangle.add::<I, M, K>(isa, sums);
        }
        sums.finish::<M, K>(&factors, if taken { -1.0 } else { 1.0 }, &mut out);
    }
    out.0[Gram::index(R, R)] += rest;
    if !K::ROBUST {
        out.set(ONE, ONE, f64::from(own.n_finite));
    }
    Some(out)
}

/// Has the values of the next item brought near.
#[inline(always)]
fn ahead(next: Option<&Item>, own: &AngleData, blocks: &Blocks, near: &[Lane]) {
    match next {
        Some(Item::Nodes { block, few }) => {
            let (block, Some(tile)) = (&blocks.blocks[*block], own.nodes) else { return };
            let (first, n) = if *few { (block.few, FEW * FEW) } else { (block.fine, NODES * NODES) };
            if let Some(first) = first {
                prefetch(&tile.nodes.values[first..first + n]);
            }
        }
        Some(Item::Pairs { rows, columns, from: From::Near(leaf) | From::Triangle(leaf) }) => {
            for column in columns.clone().step_by(LANES) {
                let first = leaf * NEAR_LANES + column % LEAF / LANES * LEAF + rows.start % LEAF;
                prefetch(&near[first..first + rows.len()]);
            }
        }
        _ => {}
    }
}

/// Integrals that columns and phases of a pass need.
const fn wanted<M: PairModel, K: Kind>() -> &'static [usize] {
    match (K::GRAM, M::TURNS) {
        (true, true) => &[0, 1, 2, 3, 4, 5, 6, 7],
        (true, false) => &[0, 1, 2, 3],
        (false, true) => &[DIFFUSION, SHEAR],
        (false, false) => &[DIFFUSION],
    }
}

/// Phases of a side from its integrals, and what rounding took from these.
#[inline(always)]
fn turn<I: Isa>(isa: I, p: f64, side: &mut Side, first: usize, lost: I::V) {
    let p = isa.splat(p);
    let integral = load(isa, &side.integrals[SHEAR], first);
    let x = isa.mul(p, integral);
    let rest = isa.fma(p, lost, isa.fma(p, integral, isa.sub(isa.zero(), x)));
    // no phase beyond means anything; it must only stay a phase
    let (sin, cos) = sin_cos(isa, isa.keep(isa.below(x, PHASE_LIMIT), x));
    put(isa, x, &mut side.phase, first);
    put(isa, isa.fma(rest, cos, sin), &mut side.sin, first);
    put(isa, isa.fnma(rest, sin, cos), &mut side.cos, first);
}

/// How far phases reach between two sides.
fn reach_of(p: f64, rows: f64, columns: [f64; 2]) -> Reach {
    Reach::of((p.abs() * columns[0]).max(0.0), p.abs() * (columns[1] - rows))
}

/// Two spans whose nodes make rows and columns.
struct Spans<'a> {
    tables: &'a Tables<'a>,
    row: usize,
    column: usize,
    p: f64,
}

impl Spans<'_> {
    #[inline(always)]
    fn prepare<I: Isa, M: PairModel, K: Kind, const N: usize>(
        &self,
        isa: I,
        [row, column]: [&Local<N>; 2],
        weights: [&[f64]; 2],
        rows: &mut Side,
        columns: &mut Side,
    ) -> Reach {
        let [row_ends, column_ends] = [self.row, self.column].map(|span| self.tables.spans[span].ends);
        let (gap, lost) = self.tables.between(isa, row_ends[1], column_ends[0]);
        let (length, _) = self.tables.between(isa, row_ends[0], row_ends[1]);
        let [gap, lost, length] = stored(isa, [gap, lost, length]);
        let before = self.tables.decay.at(isa, isa.splat(gap[DIFFUSION]));
        for first in (0..N).step_by(LANES) {
            for &t in const { wanted::<M, K>() } {
                let own = load(isa, &row.integrals[t], first);
                put(isa, isa.sub(own, isa.splat(length[t])), &mut rows.integrals[t], first);
                let own = load(isa, &column.integrals[t], first);
                put(isa, isa.add(own, isa.splat(gap[t])), &mut columns.integrals[t], first);
            }
            put(isa, load(isa, &row.rows, first), &mut rows.decay, first);
            put(isa, isa.mul(before, load(isa, &column.columns, first)), &mut columns.decay, first);
            if M::TURNS {
                turn(isa, self.p, rows, first, isa.zero());
                let own = load(isa, &column.integrals[SHEAR], first);
                let (_, rounded) = two_sum(isa, own, isa.splat(gap[SHEAR]));
                turn(isa, self.p, columns, first, isa.add(rounded, isa.splat(lost[SHEAR])));
            }
        }
        for (side, weights) in [&mut *rows, columns].into_iter().zip(weights) {
            side.weight[..N].fill(0.0);
            side.weight[..weights.len()].copy_from_slice(weights);
        }
        if M::TURNS {
            let of = &columns.integrals[SHEAR];
            reach_of(self.p, rows.integrals[SHEAR][0], [of[0], of[weights[1].len() - 1]])
        } else {
            Reach::Near
        }
    }
}

/// Frames of two leaves that make rows and columns.
struct Frames<'a> {
    tables: &'a Tables<'a>,
    tile: &'a Tile,
    rows: &'a Range<usize>,
    columns: &'a Range<usize>,
    /// Rows and columns are the same frames.
    is_triangle: bool,
    p: f64,
}

impl Frames<'_> {
    /// Position of the last row's frame and of the first column's.
    fn ends(&self) -> [usize; 2] {
        [self.tile.rows.start + self.rows.end - 1, self.tile.columns.start + self.columns.start]
    }

    /// Whether g is zero at all pairs.
    fn are_decayed(&self) -> bool {
        let [last, first] = self.ends();
        last < first && self.tables.k * self.tables.across(last, first)[0] > DECAYED
    }

    #[inline(always)]
    fn prepare<I: Isa, M: PairModel, K: Kind>(&self, isa: I, rows: &mut Side, columns: &mut Side) -> Reach {
        let [last, first] = self.ends();
        let (gap, lost) = self.tables.between(isa, last, first);
        let [gap, lost] = stored(isa, [gap, lost]);
        let row = self.tile.rows.start + self.rows.start;
        let (row_leaf, column_leaf) = (&self.tables.leaves[row / LEAF], &self.tables.leaves[first / LEAF]);
        let (row, column) = (row % LEAF, first % LEAF);
        // from where integrals count: between rows and columns, or where most of them change least
        let mut origin = [0.0; INTEGRALS];
        for &t in const { wanted::<M, K>() } {
            let [begin, middle, end] = [row, row + self.rows.len() / 2, last % LEAF].map(|at| row_leaf[t][at]);
            let from_begin = self.is_triangle && (middle - begin).abs() < (end - middle).abs();
            origin[t] = if from_begin { begin } else { end };
        }
        for at in (0..self.rows.len()).step_by(LANES) {
            for &t in const { wanted::<M, K>() } {
                let own = load_padded(isa, &row_leaf[t], row + at);
                put(isa, isa.sub(own, isa.splat(origin[t])), &mut rows.integrals[t], at);
            }
            let integral = load(isa, &rows.integrals[DIFFUSION], at);
            put(isa, self.tables.decay.at(isa, isa.sub(isa.zero(), integral)), &mut rows.decay, at);
            if M::TURNS {
                turn(isa, self.p, rows, at, isa.zero());
            }
        }
        for at in (0..self.columns.len()).step_by(LANES) {
            let mut rounded = isa.zero();
            for &t in const { wanted::<M, K>() } {
                let own = load_padded(isa, &column_leaf[t], column + at);
                let value = if self.is_triangle {
                    isa.sub(own, isa.splat(origin[t]))
                } else {
                    let from_first = isa.sub(own, isa.splat(column_leaf[t][column]));
                    let (value, rest) = two_sum(isa, from_first, isa.splat(gap[t]));
                    if t == SHEAR {
                        rounded = isa.add(rest, isa.splat(lost[SHEAR]));
                    }
                    value
                };
                put(isa, value, &mut columns.integrals[t], at);
            }
            let integral = load(isa, &columns.integrals[DIFFUSION], at);
            put(isa, self.tables.decay.at(isa, integral), &mut columns.decay, at);
            if M::TURNS {
                turn(isa, self.p, columns, at, rounded);
            }
        }
        if M::TURNS {
            let of = &columns.integrals[SHEAR];
            reach_of(self.p, rows.integrals[SHEAR][0], [of[0], of[self.columns.len() - 1]])
        } else {
            Reach::Near
        }
    }
}

/// Vectors as numbers.
#[inline(always)]
fn stored<I: Isa, const N: usize>(isa: I, vectors: [I::V; N]) -> [V; N] {
    let mut out = [[0.0; LANES]; N];
    for k in 0..N {
        isa.store(vectors[k], &mut out[k]);
    }
    out
}

/// Eight of a leaf's frames; beyond its end as at the end.
#[inline(always)]
fn load_padded<I: Isa>(isa: I, of: &[f64; LEAF], first: usize) -> I::V {
    if first + LANES <= LEAF {
        return load(isa, of, first);
    }
    let mut lanes = [of[LEAF - 1]; LANES];
    lanes[..LEAF - first].copy_from_slice(&of[first..]);
    isa.load(&lanes)
}

/// Missing pairs as columns of one row, at which everything begins.
struct Singles<'a> {
    tables: &'a Tables<'a>,
    tile: &'a Tile,
    all: &'a [Hole],
    /// Numbers of those that are taken back.
    holes: &'a [u32],
    p: f64,
}

impl Singles<'_> {
    #[inline(always)]
    fn prepare<I: Isa, M: PairModel, K: Kind>(
        &self,
        isa: I,
        rows: &mut Side,
        columns: &mut Side,
        fills: &mut [f64; LEAF],
    ) {
        for of in &mut rows.integrals {
            of[..LANES].fill(0.0);
        }
        (rows.decay[0], rows.phase[0], rows.sin[0], rows.cos[0], rows.weight[0]) = (1.0, 0.0, 0.0, 1.0, 1.0);
        for k in 0..self.holes.len().next_multiple_of(LANES) {
            // beyond the last as the last, with no weight
            let hole = self.all[self.holes[k.min(self.holes.len() - 1)] as usize];
            let row = self.tile.rows.start + usize::from(hole.row);
            let (across, _) = self.tables.between(isa, row, self.tile.columns.start + usize::from(hole.column));
            let [across] = stored(isa, [across]);
            for &t in const { wanted::<M, K>() } {
                columns.integrals[t][k] = across[t];
            }
            (fills[k], columns.weight[k]) = (hole.fill, f64::from(u8::from(k < self.holes.len())));
        }
        for first in (0..self.holes.len()).step_by(LANES) {
            let integral = load(isa, &columns.integrals[DIFFUSION], first);
            put(isa, self.tables.decay.at(isa, integral), &mut columns.decay, first);
            if M::TURNS {
                turn(isa, self.p, columns, first, isa.zero());
            }
        }
    }
}
