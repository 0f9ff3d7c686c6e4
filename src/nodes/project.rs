//! Values of a block from pairs of frames, or of other nodes, to its nodes: two small matrix products on lanes.

use std::ops::Range;

use super::leaves::Pairs;
use super::plan::{LANES, LEAF};
use super::rules::NODES;
use crate::arithmetic::Isa;
use crate::arithmetic::lanes::{load, put};

/// Σ W·y² over pairs of nodes.
pub(super) fn squares(values: &[[f64; NODES]; NODES], rows: &[f64], columns: &[f64]) -> f64 {
    let of_row = |values: &[f64; NODES]| values.iter().zip(columns).map(|(y, w)| w * y * y).sum::<f64>();
    rows.iter().zip(values).map(|(w, values)| w * of_row(values)).sum()
}

/// Eight columns of a leaf at the nodes of its rows; their squares are added to `energy`.
#[inline(always)]
pub(super) fn stripe<I: Isa, const MASKED: bool>(
    isa: I,
    pairs: &Pairs,
    (rows, panel): (Range<usize>, usize),
    spread: &[[f64; NODES]],
    (centre, fill): (f64, f64),
    energy: &mut I::V,
) -> [I::V; NODES] {
    let (centre, fill) = (isa.splat(centre), isa.splat(fill));
    let mut sums = [isa.zero(); NODES];
    let mut squares = *energy;
    for (row, factors) in rows.zip(spread) {
        let data = isa.widen(pairs.lane(row, panel));
        let mut value = isa.sub(data, centre);
        if MASKED {
            let present = isa.present(data);
            let own = isa.keep(present, value);
            squares = isa.fma(own, own, squares);
            value = isa.pick(present, value, fill);
        } else {
            squares = isa.fma(value, value, squares);
        }
        for node in 0..NODES {
            sums[node] = isa.fma(isa.splat(factors[node]), value, sums[node]);
        }
    }
    *energy = squares;
    sums
}

/// From rows to their nodes, column by column.
#[inline(always)]
pub(super) fn down<I: Isa>(
    isa: I,
    values: &[[f64; 2 * NODES]; 2 * NODES],
    width: usize,
    spread: &[[f64; NODES]],
    out: &mut [[f64; LEAF]; NODES],
) {
    for first in (0..width).step_by(LANES) {
        let mut sums = [isa.zero(); NODES];
        for (row, factors) in values.iter().zip(spread) {
            let value = load(isa, row, first);
            for node in 0..NODES {
                sums[node] = isa.fma(isa.splat(factors[node]), value, sums[node]);
            }
        }
        for node in 0..NODES {
            put(isa, sums[node], &mut out[node], first);
        }
    }
}

/// From columns to their nodes, row by row.
#[inline(always)]
pub(super) fn across<I: Isa>(
    isa: I,
    values: &[[f64; LEAF]; NODES],
    width: usize,
    spread: &[[f64; NODES]],
    out: &mut [[f64; NODES]; NODES],
) {
    const TOGETHER: usize = 4;
    for first in (0..NODES).step_by(TOGETHER) {
        let mut sums = [[isa.zero(); 2]; TOGETHER];
        for (column, factors) in spread.iter().enumerate().take(width) {
            let factors = [load(isa, factors, 0), load(isa, factors, LANES)];
            for row in 0..TOGETHER {
                let value = isa.splat(values[first + row][column]);
                for half in 0..2 {
                    sums[row][half] = isa.fma(value, factors[half], sums[row][half]);
                }
            }
        }
        for row in 0..TOGETHER {
            put(isa, sums[row][0], &mut out[first + row], 0);
            put(isa, sums[row][1], &mut out[first + row], LANES);
        }
    }
}
