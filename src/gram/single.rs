//! As `residuals`, in f32: sixteen pairs at a time instead of eight, for `device.precision: mixed`.
//!
//! A pair's shape, residual and their products are f32. Sums are f32 over a tile's rows, or over its columns for sums by
//! row, and f64 beyond. Everything without data stays f64, as do rows near the columns in phase, where the angle-difference
//! formula loses digits. r is taken against contrast and offset rounded to f32, which is put right in f64: rounding
//! them alone would shift the offset by more than its error.

use super::lanes::{Isa, Wide};
use super::panel::{Group, Shape};
use super::plan::{Brick, LANES, TILE_ROWS};
use super::scratch::{
    G, G1, GG, GG1, GH1, GR, GR1, GROUP, H1, HR1, Line, MAX_PANELS, R, ROW_GR, ROW_HR, RR, Scratch, Sums,
};

/// Least |x| of pairs taken in f32.
const FAR: f64 = 1.0;
/// Factors of E below this are taken as zero: what is left of a product of all of them stays a normal f32.
const LEAST: f64 = 1e-12;
/// Pairs of rows of a tile.
const PAIRS: usize = TILE_ROWS / 2;
/// Pairs of rows worked through in step.
const TOGETHER: usize = 2;

const NOTHING: Wide = Wide([0.0; 2 * LANES]);

/// Values of two rows, each eight times.
#[derive(Clone, Copy)]
struct RowPair {
    sin: Wide,
    cos: Wide,
    sin_p: Wide,
    cos_p: Wide,
    /// Sums of g·r and h·r.
    gr: Wide,
    hr: Wide,
}

/// Values of eight columns, twice.
#[derive(Clone, Copy)]
struct Columns {
    sin: Wide,
    cos: Wide,
}

/// Working memory.
pub(super) struct Single {
    rows: [RowPair; PAIRS],
    columns: [Columns; MAX_PANELS],
    /// 1/(strain_j − strain_i) by panel, then pair of rows.
    inverse: Box<[Wide]>,
}

impl Single {
    pub fn new() -> Self {
        let row = RowPair { sin: NOTHING, cos: NOTHING, sin_p: NOTHING, cos_p: NOTHING, gr: NOTHING, hr: NOTHING };
        Self {
            rows: [row; PAIRS],
            columns: [Columns { sin: NOTHING, cos: NOTHING }; MAX_PANELS],
            inverse: vec![NOTHING; MAX_PANELS * PAIRS].into_boxed_slice(),
        }
    }
}

/// Fills what all angles share.
#[inline(always)]
pub(super) fn prepare<I: Isa>(isa: I, brick: &Brick, inverse: &[Line], single: &mut Single) {
    let n = brick.rows.len();
    for panel in 0..brick.n_panels() {
        for pair in 0..n / 2 {
            let at = panel * n + 2 * pair;
            let two = [isa.load(&inverse[at].0), isa.load(&inverse[at + 1].0)];
            isa.store16(isa.narrow16(two), &mut single.inverse[panel * PAIRS + pair]);
        }
    }
}

/// Fills what belongs to one angle; factors of E below `least` count as zero.
#[inline(always)]
pub(super) fn turn<I: Isa>(isa: I, brick: &Brick, least: f64, scratch: &mut Scratch) {
    let Scratch { rows, columns, single, .. } = scratch;
    for (pair, into) in single.rows[..brick.rows.len() / 2].iter_mut().enumerate() {
        for (values, into) in [
            (&rows.sin, &mut into.sin),
            (&rows.cos, &mut into.cos),
            (&rows.sin_p, &mut into.sin_p),
            (&rows.cos_p, &mut into.cos_p),
        ] {
            let mut two = [isa.zero(); 2];
            for k in 0..2 {
                let i = 2 * pair + k;
                two[k] = isa.splat(if rows.v[i] < least { 0.0 } else { values[i] });
            }
            isa.store16(isa.narrow16(two), into);
        }
        (into.gr, into.hr) = (NOTHING, NOTHING);
    }
    for (column, into) in columns[..brick.n_panels()].iter().zip(&mut single.columns) {
        let seen = isa.at_least(isa.load(&column.u), least);
        for (values, into) in [(&column.sin, &mut into.sin), (&column.cos, &mut into.cos)] {
            let own = isa.keep(seen, isa.load(values));
            isa.store16(isa.narrow16([own, own]), into);
        }
    }
}

/// Least factor of E's root of power `m`.
pub(super) fn least(m: i32) -> f64 {
    LEAST.powf(1.0 / f64::from(m))
}

/// Sums of a group of panels.
struct Own<I: Isa, const P: usize> {
    gr: [I::W; P],
    hr: [I::W; P],
    r: [I::W; P],
    rr: [I::W; P],
}

/// `T` pairs of rows from pair `j` on.
#[inline(always)]
fn pairs<I: Isa, S: Shape, const P: usize, const T: usize>(
    isa: I,
    group: &Group<P>,
    single: &mut Single,
    (contrast, offset): (I::W, I::W),
    j: usize,
    own: &mut Own<I, P>,
) {
    let zero = isa.splat16(0.0);
    let (mut e, mut d, mut g, mut r) = ([[zero; P]; T], [[zero; P]; T], [[zero; P]; T], [[zero; P]; T]);
    for t in 0..T {
        let row = &single.rows[j + t];
        for k in 0..P {
            let Columns { sin, cos } = &single.columns[group.panel + k];
            let (sin, cos) = (isa.load16(sin), isa.load16(cos));
            e[t][k] = isa.fnma16(cos, isa.load16(&row.sin_p), isa.mul16(sin, isa.load16(&row.cos_p)));
            d[t][k] = isa.fma16(cos, isa.load16(&row.cos), isa.mul16(sin, isa.load16(&row.sin)));
        }
    }
    for t in 0..T {
        for k in 0..P {
            let inverse = isa.load16(&single.inverse[(group.panel + k) * PAIRS + j + t]);
            e[t][k] = isa.mul16(e[t][k], inverse);
            d[t][k] = isa.mul16(isa.sub16(d[t][k], e[t][k]), inverse);
        }
    }
    for t in 0..T {
        for k in 0..P {
            let square = isa.mul16(e[t][k], e[t][k]);
            let product = isa.mul16(e[t][k], d[t][k]);
            if S::QUARTIC {
                g[t][k] = isa.mul16(square, square);
                d[t][k] = isa.mul16(square, product);
            } else {
                g[t][k] = square;
                d[t][k] = product;
            }
        }
    }
    for t in 0..T {
        for k in 0..P {
            let at = 2 * (j + t);
            // two lanes, or indexing has panicked
            let y = group.data[k][at..at + 2].first_chunk().map_or(zero, |two| isa.rows16(two));
            r[t][k] = isa.keep16(y, isa.sub16(isa.fnma16(contrast, g[t][k], y), offset));
        }
    }
    for t in 0..T {
        let row = &mut single.rows[j + t];
        let (mut row_gr, mut row_hr) = (isa.load16(&row.gr), isa.load16(&row.hr));
        for k in 0..P {
            isa.prefetch(group.line_ahead(2 * (j + t), k));
            own.gr[k] = isa.fma16(g[t][k], r[t][k], own.gr[k]);
            own.hr[k] = isa.fma16(d[t][k], r[t][k], own.hr[k]);
            own.r[k] = isa.add16(own.r[k], r[t][k]);
            own.rr[k] = isa.fma16(r[t][k], r[t][k], own.rr[k]);
            row_gr = isa.fma16(g[t][k], r[t][k], row_gr);
            row_hr = isa.fma16(d[t][k], r[t][k], row_hr);
        }
        isa.store16(row_gr, &mut row.gr);
        isa.store16(row_hr, &mut row.hr);
    }
}

/// The sum of both rows' lanes, in f64.
#[inline(always)]
fn folded<I: Isa>(isa: I, a: I::W) -> I::V {
    let [a, b] = isa.halves(a);
    isa.add(a, b)
}

/// Sums of a group of panels, widened: g·r and h·r by panel, r and r².
pub(super) struct Widened<I: Isa, const P: usize> {
    pub gr: [I::V; P],
    pub hr: [I::V; P],
    pub r: [I::V; P],
    pub rr: [I::V; P],
}

/// The rows of a group of panels that may be taken in f32: their sums, and how many they are from the first on.
#[inline(always)]
pub(super) fn far_rows<I: Isa, S: Shape, const P: usize>(
    isa: I,
    group: &Group<P>,
    scratch: &mut Scratch,
) -> (Widened<I, P>, usize) {
    let n = group.data[0].len().min(TILE_ROWS);
    // the same for both panels of a pair, however many are worked on together
    let first = scratch.columns[group.panel / GROUP * GROUP].strain[0];
    let is_far = |strain: &f64| (group.p * (first - strain)).abs() >= FAR;
    let n_pairs = scratch.rows.strain[..n].partition_point(is_far) / 2;
    let zero = [isa.splat16(0.0); P];
    let mut own = Own::<I, P> { gr: zero, hr: zero, r: zero, rr: zero };
    let scaling = (isa.splat16(group.scaling.0 as f32), isa.splat16(group.scaling.1 as f32));
    let single = &mut scratch.single;
    let mut j = 0;
    while j + TOGETHER <= n_pairs {
        pairs::<I, S, P, TOGETHER>(isa, group, single, scaling, j, &mut own);
        j += TOGETHER;
    }
    if j < n_pairs {
        pairs::<I, S, P, 1>(isa, group, single, scaling, j, &mut own);
    }
    let none = [isa.zero(); P];
    let mut out = Widened::<I, P> { gr: none, hr: none, r: none, rr: none };
    for k in 0..P {
        out.gr[k] = folded(isa, own.gr[k]);
        out.hr[k] = folded(isa, own.hr[k]);
        out.r[k] = folded(isa, own.r[k]);
        out.rr[k] = folded(isa, own.rr[k]);
    }
    (out, 2 * n_pairs)
}

/// Adds the sums by row to those in f64.
#[inline(always)]
pub(super) fn add_rows<I: Isa>(isa: I, n: usize, scratch: &mut Scratch) {
    let Scratch { single, work, .. } = scratch;
    for (row, two) in single.rows[..n / 2].iter().zip(work.chunks_exact_mut(2)) {
        for (from, at) in [(&row.gr, ROW_GR), (&row.hr, ROW_HR)] {
            let halves = isa.halves(isa.load16(from));
            for k in 0..2 {
                let into = &mut two[k][at];
                isa.store(isa.add(isa.load(into), halves[k]), into);
            }
        }
    }
}

/// Contrast and offset as the pairs see them.
pub(super) fn rounded((contrast, offset): (f64, f64)) -> (f64, f64) {
    (f64::from(contrast as f32), f64::from(offset as f32))
}

/// From sums of residuals against rounded contrast and offset to those against the exact ones, for a rectangle of
/// `n_finite` values.
pub(super) fn put_right((contrast, offset): (f64, f64), n_finite: f64, sums: &mut Sums) {
    let (c, o) = rounded((contrast, offset));
    let (c, o) = (c - contrast, o - offset);
    let sums = &mut sums.0;
    for l in 0..LANES {
        let n = if l == 0 { n_finite } else { 0.0 };
        // r = r32 + o + c·g
        sums[RR][l] +=
            2.0 * (o * sums[R][l] + c * sums[GR][l]) + o * o * n + 2.0 * o * c * sums[G][l] + c * c * sums[GG][l];
        sums[R][l] += o * n + c * sums[G][l];
        sums[GR][l] += o * sums[G][l] + c * sums[GG][l];
        for t in 0..3 {
            sums[GR1 + t][l] += o * sums[G1 + t][l] + c * sums[GG1 + t][l];
        }
        for t in 0..4 {
            sums[HR1 + t][l] += o * sums[H1 + t][l] + c * sums[GH1 + t][l];
        }
    }
}
