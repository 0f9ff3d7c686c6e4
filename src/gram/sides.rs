//! Rows and columns of a rectangle: from the nodes of two spans, from frames, from missing pairs.
//!
//! Both sides count their integrals from one place, so that differences between them are those of the frames.

use std::ops::Range;

use super::axis::two_sum;
use super::pairs::{Kind, Side};
use super::tables::{DECAYED, Local, Tables};
use crate::arithmetic::elementary::{PHASE_LIMIT, sin_cos};
use crate::arithmetic::lanes::{load, put};
use crate::arithmetic::{Isa, LANES, V};
use crate::model::pair::{DIFFUSION, INTEGRALS, PairModel, Reach, SHEAR};
use crate::nodes::compress::Hole;
use crate::nodes::plan::{LEAF, Tile};

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
pub(super) struct Spans<'a> {
    pub tables: &'a Tables<'a>,
    pub row: usize,
    pub column: usize,
    pub p: f64,
}

impl Spans<'_> {
    /// The rows; how many.
    #[inline(always)]
    pub fn rows<I: Isa, M: PairModel, K: Kind, const N: usize>(
        &self,
        isa: I,
        row: &Local<N>,
        weights: &[f64],
        rows: &mut Side,
    ) -> usize {
        let ends = self.tables.spans[self.row].ends;
        let (length, _) = self.tables.between(isa, ends[0], ends[1]);
        let [length] = stored(isa, [length]);
        for first in (0..N).step_by(LANES) {
            for &t in const { wanted::<M, K>() } {
                let own = load(isa, &row.integrals[t], first);
                put(isa, isa.sub(own, isa.splat(length[t])), &mut rows.integrals[t], first);
            }
            put(isa, load(isa, &row.rows, first), &mut rows.decay, first);
            if M::TURNS {
                turn(isa, self.p, rows, first, isa.zero());
            }
        }
        weigh::<N>(weights, rows);
        weights.len()
    }

    /// The columns, from the end of the rows on; how far phases reach.
    #[inline(always)]
    pub fn columns<I: Isa, M: PairModel, K: Kind, const N: usize>(
        &self,
        isa: I,
        column: &Local<N>,
        weights: &[f64],
        (rows, columns): (&Side, &mut Side),
    ) -> Reach {
        let [row_ends, column_ends] = [self.row, self.column].map(|span| self.tables.spans[span].ends);
        let (gap, lost) = self.tables.between(isa, row_ends[1], column_ends[0]);
        let [gap, lost] = stored(isa, [gap, lost]);
        // of spans this far apart nothing needs to be resolved, and nodes may show anything
        let is_decayed = self.tables.k * gap[DIFFUSION] > DECAYED;
        let before = if is_decayed { isa.zero() } else { self.tables.decay.at(isa, isa.splat(gap[DIFFUSION])) };
        for first in (0..N).step_by(LANES) {
            for &t in const { wanted::<M, K>() } {
                let own = load(isa, &column.integrals[t], first);
                put(isa, isa.add(own, isa.splat(gap[t])), &mut columns.integrals[t], first);
            }
            put(isa, isa.mul(before, load(isa, &column.columns, first)), &mut columns.decay, first);
            if M::TURNS {
                let own = load(isa, &column.integrals[SHEAR], first);
                let (_, rounded) = two_sum(isa, own, isa.splat(gap[SHEAR]));
                turn(isa, self.p, columns, first, isa.add(rounded, isa.splat(lost[SHEAR])));
            }
        }
        weigh::<N>(weights, columns);
        if M::TURNS {
            let of = &columns.integrals[SHEAR];
            reach_of(self.p, rows.integrals[SHEAR][0], [of[0], of[weights.len() - 1]])
        } else {
            Reach::Near
        }
    }
}

/// Weights of up to `N` nodes; 0 beyond.
fn weigh<const N: usize>(weights: &[f64], side: &mut Side) {
    side.weight[..N].fill(0.0);
    side.weight[..weights.len()].copy_from_slice(weights);
}

/// Frames of two leaves that make rows and columns.
pub(super) struct Frames<'a> {
    pub tables: &'a Tables<'a>,
    pub tile: &'a Tile,
    pub rows: &'a Range<usize>,
    pub columns: &'a Range<usize>,
    /// Rows and columns are the same frames.
    pub is_triangle: bool,
    pub p: f64,
}

impl Frames<'_> {
    /// Position of the last row's frame and of the first column's.
    fn ends(&self) -> [usize; 2] {
        [self.tile.rows.start + self.rows.end - 1, self.tile.columns.start + self.columns.start]
    }

    /// Whether g is zero at all pairs.
    pub fn are_decayed(&self) -> bool {
        let [last, first] = self.ends();
        last < first && self.tables.k * self.tables.across(last, first)[0] > DECAYED
    }

    #[inline(always)]
    pub fn prepare<I: Isa, M: PairModel, K: Kind>(&self, isa: I, rows: &mut Side, columns: &mut Side) -> Reach {
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
pub(super) struct Singles<'a> {
    pub tables: &'a Tables<'a>,
    pub tile: &'a Tile,
    pub all: &'a [Hole],
    /// Numbers of those that are taken back.
    pub holes: &'a [u32],
    pub p: f64,
}

impl Singles<'_> {
    #[inline(always)]
    pub fn prepare<I: Isa, M: PairModel, K: Kind>(
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
