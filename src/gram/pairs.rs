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
#![allow(
    clippy::absurd_extreme_comparisons,
    reason = "columns are compared by number, also the first with every other"
)]

use super::loss::Robust;
use super::{G, Gram, PRODUCTS, SPREAD};
use crate::arithmetic::lanes::{load, prefetch, sum};
use crate::arithmetic::{Isa, LANES, Lane, V};
use crate::model::pair::{Column, Frame, INTEGRALS, PairModel, Reach};
use crate::nodes::plan::LEAF;

/// Most columns of derivatives.
const COLUMNS: usize = super::COLUMNS - 3;
/// Most pair functions of a model, and pairs of them.
const WEIGHTS: usize = 2;
const PAIRS: [(usize, usize); 3] = [(0, 0), (0, 1), (1, 1)];
/// Sums that are kept by row: of W for every pair, then of every pair function alone and with r.
const BY_ROW: usize = PAIRS.len() + 2 * WEIGHTS;

/// The same for the number of every column: written out, as the compiler leaves loops over a model's columns as loops, which look
/// everything up.
macro_rules! for_every_column {
    ($a:ident, $body:block) => {
        for_every_column!(@ $a, $body, 0 1 2 3 4 5 6)
    };
    (@ $a:ident, $body:block, $($number:literal)*) => {
        $({
            const $a: usize = $number;
            $body
        })*
    };
}
const _: () = assert!(COLUMNS == 7 && BY_ROW == 7);

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

/// Sums of rectangles, and of those since the last [`Sums::rows`], which share their rows, the sums by row.
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
    /// Columns of derivatives, too,
    const GRAM: bool;
    /// and their products.
    const PRODUCTS: bool;
    /// Pairs have weights of their own.
    const ROBUST: bool;
}

/// Those of g, 1 and r.
pub(super) struct Chi2;
/// Those of g, 1 and r with all.
pub(super) struct Slopes;
/// All.
pub(super) struct All;
/// All, with what a loss or σ makes of every pair.
pub(super) struct Weights;

impl Kind for Chi2 {
    const GRAM: bool = false;
    const PRODUCTS: bool = false;
    const ROBUST: bool = false;
}

impl Kind for Slopes {
    const GRAM: bool = true;
    const PRODUCTS: bool = false;
    const ROBUST: bool = false;
}

impl Kind for All {
    const GRAM: bool = true;
    const PRODUCTS: bool = true;
    const ROBUST: bool = false;
}

impl Kind for Weights {
    const GRAM: bool = true;
    const PRODUCTS: bool = true;
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
    /// What will be needed next: brought near meanwhile, line by line.
    pub next: &'a [f64],
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
        for vector in 0..self.n_vectors {
            let n_rows = if self.is_triangle { n_rows.min((vector + 1) * LANES - 1) } else { n_rows };
            self.column::<I, M, K>(isa, vector, n_rows, sums);
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

    /// Adds eight columns.
    #[inline(always)]
    fn column<I: Isa, M: PairModel, K: Kind>(&self, isa: I, vector: usize, n_rows: usize, sums: &mut Sums) {
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
            prefetch(self.next, (vector * n_rows + row) * LANES);
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
                if !is_used::<M, K>(p) {
                    continue;
                }
                let both = isa.mul(own.heavy[k], own.w[l]);
                by_row[p] = both;
                pairs[p] = isa.add(pairs[p], both);
                for (c, column) in M::COLUMNS.iter().enumerate() {
                    if K::PRODUCTS && (column.weight == k || column.weight == l) {
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
                if is_used::<M, K>(t) {
                    let kept = &mut kept.0;
                    isa.store(isa.add(isa.load(kept), value), kept);
                }
            }
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
        // a·b·W − a·Σ W·b_i − b·Σ W·a_i = a·u_b + b·u_a
        let (mut integrals, mut u) = ([zero; COLUMNS], [[zero; COLUMNS]; PAIRS.len()]);
        for_every_column!(A, {
            if A < M::COLUMNS.len() {
                integrals[A] = load(isa, &self.columns.integrals[const { column_of::<M>(A) }.integral], first);
                let half = isa.mul(isa.splat(0.5), integrals[A]);
                for other in 0..if K::PRODUCTS { M::WEIGHTS } else { 0 } {
                    let p = pair_of(const { column_of::<M>(A) }.weight, other);
                    u[p][A] = isa.sub(isa.mul(half, pairs[p]), dots[p][A]);
                }
            }
        });
        for_every_column!(A, {
            if A < M::COLUMNS.len() {
                let k = const { column_of::<M>(A) }.weight;
                sums.add(isa, place(n, A, g), isa.mul(integrals[A], pairs[pair_of(0, k)]));
                sums.add(isa, place(n, A, one), isa.mul(integrals[A], ones[k]));
                sums.add(isa, place(n, A, r), isa.mul(integrals[A], residuals[k]));
                for_every_column!(B, {
                    if K::PRODUCTS && A <= B && B < M::COLUMNS.len() {
                        let p = pair_of(k, const { column_of::<M>(B) }.weight);
                        sums.add(isa, place(n, A, B), isa.fma(integrals[A], u[p][B], isa.mul(integrals[B], u[p][A])));
                    }
                });
            }
        });
    }
}

/// A column of a model; what stands where it has none doesn't matter.
const fn column_of<M: PairModel>(a: usize) -> Column {
    if a < M::COLUMNS.len() { M::COLUMNS[a] } else { Column { weight: 0, integral: 0 } }
}

/// Number of a pair of pair functions, k ≤ l or not.
const fn pair_of(k: usize, l: usize) -> usize {
    k + l
}

/// Whether a sum by row is wanted of a model.
const fn is_used<M: PairModel, K: Kind>(t: usize) -> bool {
    if t < PAIRS.len() {
        PAIRS[t].1 < M::WEIGHTS && (K::PRODUCTS || PAIRS[t].0 == 0)
    } else {
        (t - PAIRS.len()) % WEIGHTS < M::WEIGHTS
    }
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
    /// Adds what rows alone make of the rectangles that had these: they share them where nothing else was between.
    #[inline(always)]
    pub fn rows<I: Isa, M: PairModel, K: Kind>(&mut self, isa: I, rows: &Side, n_rows: usize) {
        if !K::GRAM {
            return;
        }
        let n = const { columns::<M, K>() };
        for first in (0..n_rows).step_by(LANES) {
            let (mut by_row, mut integrals) = ([isa.zero(); BY_ROW], [isa.zero(); COLUMNS]);
            // beyond the last they are zero
            let own = &self.by_row[first..first + LANES];
            for_every_column!(T, {
                if is_used::<M, K>(T) {
                    by_row[T] = isa.sums(std::array::from_fn(|row| &own[row][T].0));
                }
            });
            self.by_row[first..first + LANES].fill([ZERO; BY_ROW]);
            for_every_column!(A, {
                integrals[A] = load(isa, &rows.integrals[const { column_of::<M>(A) }.integral], first);
            });
            for_every_column!(A, {
                if A < M::COLUMNS.len() {
                    let k = const { column_of::<M>(A) }.weight;
                    let minus = isa.sub(isa.zero(), integrals[A]);
                    self.add(isa, place(n, A, n - 3), isa.mul(minus, by_row[pair_of(0, k)]));
                    self.add(isa, place(n, A, n - 2), isa.mul(minus, by_row[PAIRS.len() + k]));
                    self.add(isa, place(n, A, n - 1), isa.mul(minus, by_row[PAIRS.len() + WEIGHTS + k]));
                    for_every_column!(B, {
                        if K::PRODUCTS && A <= B && B < M::COLUMNS.len() {
                            let p = pair_of(k, const { column_of::<M>(B) }.weight);
                            self.add(isa, place(n, A, B), isa.mul(integrals[A], isa.mul(integrals[B], by_row[p])));
                        }
                    });
                }
            });
        }
    }

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
