//! A rectangle of pairs: its tables, then panel after panel.

use super::elementary::exp;
use super::lanes::{Isa, V};
use super::pack::Lane;
use super::panel::{Group, Shape, chi2, flat, linear};
use super::plan::{Brick, LANES};
use super::products::{Functions, products, row_parts};
use super::scratch::{GROUP, Line, MAX_PANELS, PanelColumns, Rows, Scratch, Sums, ZERO};
use super::tables::{AngleTables, NEGLIGIBLE, Tables, decay, lanes};

/// One angle's share of a rectangle.
#[derive(Clone, Copy)]
pub(super) struct Share<'a> {
    pub angle: usize,
    pub data: &'a [Lane],
    /// What will be read next.
    pub next: *const Lane,
}

/// exp(−share·(C at position `to` − C at the eight positions)), for row and column factors of whole eights.
#[inline(always)]
fn steps<I: Isa>(isa: I, tables: &Tables, share: f64, at: [usize; LANES], to: usize) -> V {
    let mut exponents = ZERO;
    for (e, at) in exponents.iter_mut().zip(at) {
        *e = -share * tables.diffusion.relative(at, to).abs();
    }
    let mut out = ZERO;
    isa.store(exp(isa, isa.load(&exponents)), &mut out);
    out
}

/// Factors below the negligible are none.
#[inline(always)]
pub(super) fn flushed<I: Isa>(isa: I, v: I::V, least: f64) -> I::V {
    isa.keep(isa.at_least(v, least), v)
}

/// Fills what all angles share; false when every correlation in the rectangle is negligible.
#[inline(always)]
pub(super) fn prepare<I: Isa, const SHEAR: bool, const GRAM: bool>(
    isa: I,
    brick: &Brick,
    tables: &Tables,
    scratch: &mut Scratch,
) -> bool {
    let origin = brick.columns.start;
    if decay(-tables.k * tables.diffusion.relative(brick.rows.end - 1, origin)) < NEGLIGIBLE {
        return false;
    }
    let Scratch { rows, columns, inverse, .. } = scratch;
    let share = tables.k / f64::from(tables.power);
    let (n, panels) = (brick.rows.len(), brick.n_panels());
    let (first_row, last) = (brick.rows.start, tables.u.len() - LANES - 1);
    for first in (0..n).step_by(LANES * LANES) {
        let nexts = std::array::from_fn(|b| (first_row + first + (b + 1) * LANES).min(origin));
        let factors = steps(isa, tables, share, nexts, origin);
        for (b, factor) in factors.iter().enumerate() {
            let at = first + b * LANES;
            if at < n {
                let v = isa.mul(isa.load(lanes(&tables.v, first_row + at)), isa.splat(*factor));
                let mut out = ZERO;
                isa.store(flushed(isa, v, tables.least), &mut out);
                let there = LANES.min(n - at);
                rows.v[at..at + there].copy_from_slice(&out[..there]);
            }
        }
    }
    for first in (0..panels).step_by(LANES) {
        let starts = std::array::from_fn(|b| (origin + (first + b) * LANES).min(last));
        let factors = steps(isa, tables, share, starts, origin);
        for (b, factor) in factors.iter().enumerate().take(panels - first) {
            let u = isa.mul(isa.load(lanes(&tables.u, origin + (first + b) * LANES)), isa.splat(*factor));
            isa.store(flushed(isa, u, tables.least), &mut columns[first + b].u);
        }
    }
    if GRAM {
        for (t, f) in tables.functions.iter().enumerate() {
            relative_rows(isa, f, brick, &mut rows.f[t]);
            for panel in 0..panels {
                isa.store(f.difference(isa, origin, origin + panel * LANES), &mut columns[panel].f[t]);
            }
        }
    }
    if SHEAR {
        relative_rows(isa, &tables.strain, brick, &mut rows.strain);
        for panel in 0..panels {
            let strain = tables.strain.difference(isa, origin, origin + panel * LANES);
            isa.store(strain, &mut columns[panel].strain);
        }
        inverses(isa, rows, columns, (n, panels), &mut inverse[..]);
    }
    true
}

/// A function's values at the rows, less that at the first column; as many as fill whole eights.
#[inline(always)]
fn relative_rows<I: Isa>(isa: I, f: &super::tables::Gathered, brick: &Brick, out: &mut [f64]) {
    for (block, out) in out.chunks_exact_mut(LANES).enumerate().take(brick.rows.len().div_ceil(LANES)) {
        let mut v = ZERO;
        isa.store(f.difference(isa, brick.columns.start, brick.rows.start + block * LANES), &mut v);
        out.copy_from_slice(&v);
    }
}

/// 1/(strain_j − strain_i) of all pairs, two panels sharing a division.
#[inline(always)]
fn inverses<I: Isa>(
    isa: I,
    rows: &Rows,
    columns: &[PanelColumns; MAX_PANELS],
    (n, panels): (usize, usize),
    out: &mut [Line],
) {
    for panel in (0..panels).step_by(2) {
        let pair = panel + 1 < panels;
        let (a, b) =
            (isa.load(&columns[panel].strain), isa.load(&columns[if pair { panel + 1 } else { panel }].strain));
        let (first, second) = out[panel * n..].split_at_mut(n);
        for i in 0..n {
            let strain = isa.splat(rows.strain[i]);
            let (x, y) = (isa.sub(a, strain), isa.sub(b, strain));
            let both = isa.div(isa.splat(1.0), isa.mul(x, y));
            isa.store(isa.mul(both, y), &mut first[i].0);
            if pair {
                isa.store(isa.mul(both, x), &mut second[i].0);
            }
        }
    }
}

/// Fills what belongs to one angle.
#[inline(always)]
fn turn<I: Isa>(isa: I, brick: &Brick, angle: &AngleTables, scratch: &mut Scratch) {
    let Scratch { rows, columns, .. } = scratch;
    let inverse = angle.inverse();
    for (i, k) in brick.rows.clone().enumerate() {
        let v = rows.v[i];
        (rows.sin[i], rows.cos[i]) = (v * angle.sin[k], v * angle.cos[k]);
        (rows.sin_p[i], rows.cos_p[i]) = (rows.sin[i] * inverse, rows.cos[i] * inverse);
    }
    for panel in 0..brick.n_panels() {
        let at = brick.columns.start + panel * LANES;
        let u = isa.load(&columns[panel].u);
        isa.store(isa.mul(u, isa.load(lanes(&angle.sin, at))), &mut columns[panel].sin);
        isa.store(isa.mul(u, isa.load(lanes(&angle.cos, at))), &mut columns[panel].cos);
    }
}

/// What a group of panels is put through.
#[inline(always)]
fn group<I: Isa, S: Shape, const GRAM: bool, const P: usize, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    group: &Group<P>,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    if GRAM {
        let which = (&functions.diffusion[..], &functions.shear[..]);
        linear::<I, S, P>(isa, group, which, scratch, sums);
        if S::SHEAR {
            products::<I, true, P, K, KD>(isa, functions, (group.data[0].len(), group.panel), scratch, sums);
        } else {
            products::<I, false, P, K, KD>(isa, functions, (group.data[0].len(), group.panel), scratch, sums);
        }
    } else {
        chi2::<I, S, P>(isa, group, scratch, sums);
    }
}

/// Panels `from` … `from` + P − 1 of a rectangle.
#[inline(always)]
fn panels<'a, const P: usize>(
    from: usize,
    n: usize,
    share: &Share<'a>,
    inverse: &'a [Line],
    scaling: (f64, f64),
    p: f64,
) -> Group<'a, P> {
    let mut data = [share.data; P];
    let mut inverses = [inverse; P];
    for k in 0..P {
        let lanes = (from + k) * n..(from + k + 1) * n;
        data[k] = &share.data[lanes.clone()];
        inverses[k] = if inverse.is_empty() { inverse } else { &inverse[lanes] };
    }
    Group {
        panel: from,
        data,
        inverse: inverses,
        ahead: Group::<P>::ahead_of(&share.data[from * n..], P * n, share.next),
        scaling,
        p,
    }
}

/// All pairs of one angle in a rectangle that is prepared.
#[inline(always)]
pub(super) fn rectangle<I: Isa, S: Shape, const GRAM: bool, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    brick: &Brick,
    tables: &Tables,
    share: &Share,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let (n, n_panels) = (brick.rows.len(), brick.n_panels());
    let scaling = tables.scaling[share.angle];
    let mut p = 0.0;
    if S::SHEAR {
        let angle = &tables.angles[share.angle];
        p = angle.p;
        turn(isa, brick, angle, scratch);
    }
    if GRAM {
        for row in &mut scratch.work[..n.next_multiple_of(LANES)] {
            row.fill(ZERO);
        }
    }
    // taken out so that the rest can be written while it is read
    let inverse = std::mem::take(&mut scratch.inverse);
    let of = if S::SHEAR { &inverse[..] } else { &[] };
    let mut panel = 0;
    if I::WIDE {
        while panel + GROUP <= n_panels {
            let now = panels::<GROUP>(panel, n, share, of, scaling, p);
            group::<I, S, GRAM, GROUP, K, KD>(isa, functions, &now, scratch, sums);
            panel += GROUP;
        }
    }
    while panel < n_panels {
        let now = panels::<1>(panel, n, share, of, scaling, p);
        group::<I, S, GRAM, 1, K, KD>(isa, functions, &now, scratch, sums);
        panel += 1;
    }
    scratch.inverse = inverse;
    if GRAM {
        if S::SHEAR {
            row_parts::<I, true, K, KD>(isa, functions, n, scratch, sums);
        } else {
            row_parts::<I, false, K, KD>(isa, functions, n, scratch, sums);
        }
    }
}

/// All pairs of one angle in a rectangle where nothing is left of the correlation.
#[inline(always)]
pub(super) fn decayed<I: Isa>(isa: I, tables: &Tables, share: &Share, sums: &mut Sums) {
    flat(isa, share.data, tables.scaling[share.angle].1, sums);
}
