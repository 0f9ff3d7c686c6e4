//! The one kernel: sums of z·zᵀ over weighted pairs, whatever they stand for.
//!
//! Pairs come as a rectangle of rows and columns, each of which is told by a [`Side`]: nodes of two spans with the product of their
//! weights, single pairs of frames with the weight one where they have a value, pairs that are taken back. Columns lie in
//! the lanes. Products of z aren't formed pair by pair: with W = ω·w_k·w_l and integrals a, b from one place for both sides,
//!
//! ```text
//! Σ W·(a_j − a_i)·(b_j − b_i) = Σ_j (a_j·b_j·ΣW − a_j·ΣW·b_i − b_j·ΣW·a_i) + Σ_i a_i·b_i·ΣW
//! ```
//!
//! so that for a pair only the few W are added up by row and by column, and W times the integrals of the row. That place
//! lies between rows and columns, so that nothing cancels.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use super::loss::Robust;
use super::{G, Gram, PRODUCTS, SPREAD};
use crate::arithmetic::lanes::{load, sum};
use crate::arithmetic::{Isa, LANES, Lane, V};
use crate::model::pair::{Frame, INTEGRALS, PairModel, Reach};
use crate::nodes::plan::LEAF;

/// Most columns of derivatives.
const COLUMNS: usize = super::COLUMNS - 3;
/// Most pair functions of a model, and pairs of them.
const WEIGHTS: usize = 2;
const PAIRS: [(usize, usize); 3] = [(0, 0), (0, 1), (1, 1)];
/// Sums that are kept by row: of W for every pair, then of every pair function alone and with r.
const BY_ROW: usize = PAIRS.len() + 2 * WEIGHTS;

/// Rows or columns of a rectangle.
#[repr(align(64))]
pub(super) struct Side {
    /// Integrals, from one place for both sides.
    pub integrals: [[f64; LEAF]; INTEGRALS],
    pub decay: [f64; LEAF],
    pub phase: [f64; LEAF],
    pub sin: [f64; LEAF],
    pub cos: [f64; LEAF],
    /// Weights.
    pub weight: [f64; LEAF],
}

impl Side {
    pub const ZERO: Self = Self {
        integrals: [[0.0; LEAF]; INTEGRALS],
        decay: [0.0; LEAF],
        phase: [0.0; LEAF],
        sin: [0.0; LEAF],
        cos: [0.0; LEAF],
        weight: [0.0; LEAF],
    };
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(V);

const ZERO: Line = Line([0.0; LANES]);

/// Sums of rectangles, and of one the sums by row.
#[repr(align(64))]
pub(super) struct Sums {
    /// Row by row of the upper triangle.
    products: [Line; PRODUCTS],
    spread: Line,
    /// Row after row: arrays a multiple of 4096 bytes apart would be taken for one another.
    by_row: [[Line; BY_ROW]; LEAF],
}

impl Sums {
    pub fn new() -> Box<Self> {
        Box::new(Self { products: [ZERO; PRODUCTS], spread: ZERO, by_row: [[ZERO; BY_ROW]; LEAF] })
    }

    pub fn clear(&mut self) {
        (self.products, self.spread) = ([ZERO; PRODUCTS], ZERO);
    }

    #[inline(always)]
    fn add<I: Isa>(&mut self, isa: I, at: usize, value: I::V) {
        let sum = &mut self.products[at].0;
        isa.store(isa.add(isa.load(sum), value), sum);
    }
}

/// Which sums are wanted.
pub(super) trait Kind {
    /// Columns of derivatives, too.
    const GRAM: bool;
    /// Pairs have weights of their own.
    const ROBUST: bool;
}

/// Those of g, 1 and r.
pub(super) struct Chi2;
/// All.
pub(super) struct All;
/// All, with what a loss or σ makes of every pair.
pub(super) struct Weights;

impl Kind for Chi2 {
    const GRAM: bool = false;
    const ROBUST: bool = false;
}

impl Kind for All {
    const GRAM: bool = true;
    const ROBUST: bool = false;
}

impl Kind for Weights {
    const GRAM: bool = true;
    const ROBUST: bool = true;
}

/// Where the values of a rectangle are.
#[derive(Clone, Copy)]
pub(super) enum Values<'a> {
    /// At nodes: row by row, so many a row. What was subtracted from the data has been taken from the offset, too.
    Nodes(&'a [f64], usize),
    /// Eight columns of a row each, panel after panel; NaN where there is no pair. σ of every pair may be stored alike.
    Pairs {
        lanes: &'a [Lane],
        sigma: Option<&'a [Lane]>,
        /// Rows of a panel, and the first one wanted.
        rows: usize,
        first: usize,
    },
}

/// A rectangle of pairs.
pub(super) struct Rectangle<'a> {
    pub rows: &'a Side,
    pub columns: &'a Side,
    pub n_rows: usize,
    /// Vectors of columns.
    pub n_vectors: usize,
    pub values: Values<'a>,
    /// Rows and columns are the same frames: only pairs behind the diagonal have a value.
    pub is_triangle: bool,
    pub reach: Reach,
    pub contrast: f64,
    pub offset: f64,
    pub robust: Option<Robust>,
}

/// Eight pairs.
struct Eight<I: Isa> {
    /// Pair functions, and these times the weight.
    w: [I::V; WEIGHTS],
    heavy: [I::V; WEIGHTS],
    weight: I::V,
    /// ρ'·r, weighted.
    pull: I::V,
    r: I::V,
    /// What a robust loss makes of them: σ²·ρ, and ρ'·r without the pair's own weight.
    seen: Option<(I::V, I::V)>,
}

impl Rectangle<'_> {
    /// Adds its pairs.
    #[inline(always)]
    pub fn add<I: Isa, M: PairModel, K: Kind>(&self, isa: I, sums: &mut Sums) {
        let n_rows = if self.is_triangle { self.n_rows.min(self.n_vectors * LANES - 1) } else { self.n_rows };
        if n_rows == 0 {
            return;
        }
        // in the last columns every row has a pair
        self.column::<I, M, K, true>(isa, self.n_vectors - 1, n_rows, sums);
        for vector in (0..self.n_vectors - 1).rev() {
            let n_rows = if self.is_triangle { n_rows.min((vector + 1) * LANES - 1) } else { n_rows };
            self.column::<I, M, K, false>(isa, vector, n_rows, sums);
        }
        if K::GRAM {
            self.rows::<I, M, K>(isa, n_rows, sums);
        }
    }

    /// Eight pairs of a row.
    #[inline(always)]
    fn eight<I: Isa, M: PairModel, K: Kind>(
        &self,
        isa: I,
        row: usize,
        vector: usize,
        (column, root): (&Frame<I::V>, I::V),
    ) -> Eight<I> {
        let own = Frame {
            decay: isa.splat(self.rows.decay[row]),
            phase: isa.splat(self.rows.phase[row]),
            sin: isa.splat(self.rows.sin[row]),
            cos: isa.splat(self.rows.cos[row]),
        };
        let [g, h] = M::weights(isa, &own, column, self.reach);
        match self.values {
            Values::Nodes(values, stride) => {
                let weight = isa.mul(isa.splat(self.rows.weight[row]), root);
                let y = load(isa, values, row * stride + vector * LANES);
                let r = isa.fnma(isa.splat(self.contrast), g, isa.sub(y, isa.splat(self.offset)));
                let heavy = [isa.mul(g, weight), isa.mul(h, weight)];
                Eight { w: [g, h], heavy, weight, pull: isa.mul(r, weight), r, seen: None }
            }
            Values::Pairs { lanes, sigma, rows, first } => {
                let at = vector * rows + first + row;
                let y = isa.widen(&lanes[at]);
                let present = isa.present(y);
                let (g, h) = (isa.keep(present, g), isa.keep(present, h));
                let r = isa.fnma(isa.splat(self.contrast), g, isa.sub(y, isa.splat(self.offset)));
                let r = isa.keep(present, r);
                if K::ROBUST
                    && let Some(robust) = self.robust
                {
                    let sigma = match sigma {
                        Some(sigma) => Some(&sigma[at]),
                        None => None,
                    };
                    let seen = robust.weigh(isa, present, r, sigma);
                    let root = isa.keep(present, seen.root);
                    let weight = isa.mul(root, root);
                    let heavy = [isa.mul(g, weight), isa.mul(h, weight)];
                    return Eight { w: [g, h], heavy, weight, pull: seen.pull, r, seen: Some((seen.cost, seen.bare)) };
                }
                let weight = isa.keep(present, isa.splat(1.0));
                Eight { w: [g, h], heavy: [g, h], weight, pull: r, r, seen: None }
            }
        }
    }

    /// Adds eight columns; their sums by row are the first or are added to what is there.
    #[inline(always)]
    fn column<I: Isa, M: PairModel, K: Kind, const FIRST: bool>(
        &self,
        isa: I,
        vector: usize,
        n_rows: usize,
        sums: &mut Sums,
    ) {
        let first = vector * LANES;
        let frame = Frame {
            decay: load(isa, &self.columns.decay, first),
            phase: load(isa, &self.columns.phase, first),
            sin: load(isa, &self.columns.sin, first),
            cos: load(isa, &self.columns.cos, first),
        };
        let root = load(isa, &self.columns.weight, first);
        let zero = isa.zero();
        // in registers while rows are gone through: W for every pair, and times the integrals of the row; every pair function
        // alone and with r
        let (mut pairs, mut dots) = ([zero; PAIRS.len()], [[zero; COLUMNS]; PAIRS.len()]);
        let (mut ones, mut residuals) = ([zero; WEIGHTS], [zero; WEIGHTS]);
        let (mut weight, mut pull, mut cost, mut spread) = (zero, zero, zero, zero);
        for row in 0..n_rows.min(LEAF) {
            let own = self.eight::<I, M, K>(isa, row, vector, (&frame, root));
            weight = isa.add(weight, own.weight);
            pull = isa.add(pull, own.pull);
            if K::ROBUST
                && let Some((own_cost, bare)) = own.seen
            {
                cost = isa.add(cost, own_cost);
                spread = isa.fma(bare, bare, spread);
            } else {
                cost = isa.fma(own.r, own.pull, cost);
            }
            if !K::GRAM {
                pairs[0] = isa.fma(own.heavy[0], own.w[0], pairs[0]);
                ones[0] = isa.add(ones[0], own.heavy[0]);
                residuals[0] = isa.fma(own.w[0], own.pull, residuals[0]);
                continue;
            }
            let mut by_row = [zero; BY_ROW];
            for (p, &(k, l)) in PAIRS.iter().enumerate() {
                if l >= M::WEIGHTS {
                    continue;
                }
                let both = isa.mul(own.heavy[k], own.w[l]);
                by_row[p] = both;
                pairs[p] = isa.add(pairs[p], both);
                for (c, column) in M::COLUMNS.iter().enumerate() {
                    if column.weight == k || column.weight == l {
                        let integral = isa.splat(self.rows.integrals[column.integral][row]);
                        dots[p][c] = isa.fma(both, integral, dots[p][c]);
                    }
                }
            }
            for k in 0..M::WEIGHTS {
                let with_r = isa.mul(own.w[k], own.pull);
                by_row[PAIRS.len() + k] = own.heavy[k];
                by_row[PAIRS.len() + WEIGHTS + k] = with_r;
                ones[k] = isa.add(ones[k], own.heavy[k]);
                residuals[k] = isa.add(residuals[k], with_r);
            }
            for (t, (value, kept)) in by_row.into_iter().zip(&mut sums.by_row[row]).enumerate() {
                if is_used::<M>(t) {
                    let kept = &mut kept.0;
                    isa.store(if FIRST { value } else { isa.add(isa.load(kept), value) }, kept);
                }
            }
        }
        // from here on they are looked up, which registers can't be
        let mut w = [[[0.0; LANES]; COLUMNS + 1]; PAIRS.len()];
        let mut alone = [[[0.0; LANES]; WEIGHTS]; 2];
        for p in 0..PAIRS.len() {
            isa.store(pairs[p], &mut w[p][COLUMNS]);
            for c in 0..COLUMNS {
                isa.store(dots[p][c], &mut w[p][c]);
            }
        }
        for k in 0..WEIGHTS {
            isa.store(ones[k], &mut alone[0][k]);
            isa.store(residuals[k], &mut alone[1][k]);
        }
        let n = const { columns::<M, K>() };
        let [g, one, r] = [n - 3, n - 2, n - 1];
        sums.add(isa, place(n, g, g), pairs[0]);
        sums.add(isa, place(n, g, one), ones[0]);
        sums.add(isa, place(n, g, r), residuals[0]);
        sums.add(isa, place(n, one, one), weight);
        sums.add(isa, place(n, one, r), pull);
        sums.add(isa, place(n, r, r), cost);
        if K::ROBUST {
            isa.store(isa.add(isa.load(&sums.spread.0), spread), &mut sums.spread.0);
        }
        if !K::GRAM {
            return;
        }
        let mut integrals = [zero; COLUMNS];
        for (own, column) in integrals.iter_mut().zip(M::COLUMNS) {
            *own = load(isa, &self.columns.integrals[column.integral], first);
        }
        for (a, column) in M::COLUMNS.iter().enumerate() {
            let k = column.weight;
            sums.add(isa, place(n, a, g), isa.mul(integrals[a], isa.load(&w[pair_of(0, k)][COLUMNS])));
            sums.add(isa, place(n, a, one), isa.mul(integrals[a], isa.load(&alone[0][k])));
            sums.add(isa, place(n, a, r), isa.mul(integrals[a], isa.load(&alone[1][k])));
            for (b, other) in M::COLUMNS.iter().enumerate().skip(a) {
                let p = pair_of(k, other.weight);
                let rest = isa.sub(isa.mul(integrals[b], isa.load(&w[p][COLUMNS])), isa.load(&w[p][b]));
                let both = isa.fnma(integrals[b], isa.load(&w[p][a]), isa.mul(integrals[a], rest));
                sums.add(isa, place(n, a, b), both);
            }
        }
    }

    /// Adds what rows alone make of the sums.
    #[inline(always)]
    fn rows<I: Isa, M: PairModel, K: Kind>(&self, isa: I, n_rows: usize, sums: &mut Sums) {
        let n = const { columns::<M, K>() };
        for first in (0..n_rows).step_by(LANES) {
            let mut by_row = [isa.zero(); BY_ROW];
            for (t, total) in by_row.iter_mut().enumerate() {
                if is_used::<M>(t) {
                    let mut eight = [&ZERO.0; LANES];
                    for (own, row) in eight.iter_mut().zip(first..n_rows) {
                        *own = &sums.by_row[row][t].0;
                    }
                    *total = isa.sums(eight);
                }
            }
            let mut integrals = [isa.zero(); COLUMNS];
            for (own, column) in integrals.iter_mut().zip(M::COLUMNS) {
                *own = load(isa, &self.rows.integrals[column.integral], first);
            }
            let minus = isa.splat(-1.0);
            for (a, column) in M::COLUMNS.iter().enumerate() {
                let k = column.weight;
                let own = isa.mul(minus, integrals[a]);
                sums.add(isa, place(n, a, n - 3), isa.mul(own, by_row[pair_of(0, k)]));
                sums.add(isa, place(n, a, n - 2), isa.mul(own, by_row[PAIRS.len() + k]));
                sums.add(isa, place(n, a, n - 1), isa.mul(own, by_row[PAIRS.len() + WEIGHTS + k]));
                for (b, other) in M::COLUMNS.iter().enumerate().skip(a) {
                    let both = isa.mul(integrals[a], isa.mul(integrals[b], by_row[pair_of(k, other.weight)]));
                    sums.add(isa, place(n, a, b), both);
                }
            }
        }
    }
}

/// Number of a pair of pair functions, k ≤ l or not.
const fn pair_of(k: usize, l: usize) -> usize {
    k + l
}

/// Whether a model has a sum by row.
const fn is_used<M: PairModel>(t: usize) -> bool {
    if t < PAIRS.len() { PAIRS[t].1 < M::WEIGHTS } else { (t - PAIRS.len()) % WEIGHTS < M::WEIGHTS }
}

/// Columns of z for a model and kind of pass.
const fn columns<M: PairModel, K: Kind>() -> usize {
    3 + if K::GRAM { M::COLUMNS.len() } else { 0 }
}

/// Place of (a, b), a ≤ b, in the upper triangle of n columns.
const fn place(n: usize, a: usize, b: usize) -> usize {
    a * n - a * (a + 1) / 2 + b
}

impl Sums {
    /// Adds pairs at which g is zero: only r counts.
    #[inline(always)]
    pub fn add_residuals<I: Isa, M: PairModel, K: Kind>(
        &mut self,
        isa: I,
        n_rows: usize,
        n_vectors: usize,
        values: Values,
        offset: f64,
    ) {
        let Values::Pairs { lanes, rows, first, .. } = values else { return };
        let n = const { columns::<M, K>() };
        let [one, own] = [place(n, n - 2, n - 1), place(n, n - 1, n - 1)];
        let (mut sum, mut squares) = (isa.load(&self.products[one].0), isa.load(&self.products[own].0));
        for vector in 0..n_vectors {
            for row in 0..n_rows {
                let y = isa.widen(&lanes[vector * rows + first + row]);
                let r = isa.keep(isa.present(y), isa.sub(y, isa.splat(offset)));
                sum = isa.add(sum, r);
                squares = isa.fma(r, r, squares);
            }
        }
        isa.store(sum, &mut self.products[one].0);
        isa.store(squares, &mut self.products[own].0);
    }

    /// Adds all sums to a Gram matrix, the derivatives' columns times their factors, everything times `sign`.
    #[inline(always)]
    pub fn finish<M: PairModel, K: Kind>(&mut self, factors: &[f64], sign: f64, out: &mut Gram) {
        let n = const { columns::<M, K>() };
        let scale = |column: usize| if column + 3 < n { factors[column] } else { 1.0 };
        // g, 1 and r follow one another
        let place_of = |column: usize| if column + 3 < n { column } else { G + column + 3 - n };
        for a in 0..n {
            for b in a..n {
                let total = sum(self.products[place(n, a, b)].0);
                out.0[Gram::index(place_of(a), place_of(b))] += sign * scale(a) * scale(b) * total;
            }
        }
        out.0[SPREAD] += sign * sum(self.spread.0);
        self.clear();
    }
}
