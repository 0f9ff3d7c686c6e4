//! A rectangle of pairs: its tables, then panel after panel.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use super::elementary::exp;
use super::holes::take_back;
use super::lanes::{Isa, V};
use super::loss::Robust;
use super::nodes;
use super::pack::{Lane, Marks};
use super::panel::{Group, Shape, flat, linear};
use super::plan::{Brick, LANES};
use super::products::{Functions, products, row_parts};
use super::residuals::{chi2, column_parts, residuals};
use super::scratch::{GROUP, Line, MAX_PANELS, PanelColumns, ROW_GR, ROW_HR, ROW_SUMS, Rows, Scratch, Sums, ZERO};
use super::single;
use super::tables::{AngleTables, NEGLIGIBLE, Tables, decay, lanes};

/// One angle's share of a rectangle.
#[derive(Clone, Copy)]
pub(super) struct Share<'a> {
    pub angle: usize,
    pub data: &'a [Lane],
    pub marks: &'a Marks,
    /// σ of every pair, stored like the data, where they have their own.
    pub sigma: Option<&'a [Lane]>,
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

/// Fills what all angles share, `nodes` where some of them can do with nodes; false when every correlation in the rectangle
/// is negligible.
#[inline(always)]
pub(super) fn prepare<I: Isa, const SHEAR: bool, const GRAM: bool, const KD: usize>(
    isa: I,
    brick: &Brick,
    tables: &Tables,
    nodes: bool,
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
    if GRAM && nodes {
        nodes::prepare::<I, SHEAR, KD>(isa, brick, tables, &mut scratch.nodes);
        if SHEAR && tables.mixed {
            single::prepare(isa, brick, &scratch.inverse, &mut scratch.single);
        }
    } else {
        scratch.nodes.none();
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

/// Panels that share a division.
const SHARING: usize = 4;

/// 1/(strain_j − strain_i) of all pairs.
#[inline(always)]
fn inverses<I: Isa>(
    isa: I,
    rows: &Rows,
    columns: &[PanelColumns; MAX_PANELS],
    (n, panels): (usize, usize),
    out: &mut [Line],
) {
    for first in (0..panels).step_by(SHARING) {
        let mut strain = [isa.zero(); SHARING];
        for k in 0..SHARING {
            strain[k] = isa.load(&columns[(first + k).min(panels - 1)].strain);
        }
        for i in 0..n {
            let row = isa.splat(rows.strain[i]);
            let mut x = strain;
            for k in 0..SHARING {
                x[k] = isa.sub(strain[k], row);
            }
            let (a, b) = (isa.mul(x[0], x[1]), isa.mul(x[2], x[3]));
            let all = isa.div(isa.splat(1.0), isa.mul(a, b));
            let (a, b) = (isa.mul(all, b), isa.mul(all, a));
            let of = [isa.mul(a, x[1]), isa.mul(a, x[0]), isa.mul(b, x[3]), isa.mul(b, x[2])];
            for k in 0..SHARING.min(panels - first) {
                isa.store(of[k], &mut out[(first + k) * n + i].0);
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

/// How one angle's residuals are taken.
#[derive(Clone, Copy)]
struct Own {
    /// Phase per strain.
    p: f64,
    /// (contrast₀, offset₀).
    scaling: (f64, f64),
    mixed: bool,
    robust: Option<Robust>,
}

/// Panels `from` … `from` + P − 1 of a rectangle.
#[inline(always)]
fn panels<'a, const P: usize>(
    from: usize,
    n: usize,
    share: &Share<'a>,
    inverse: &'a [Line],
    Own { p, scaling, mixed, robust }: Own,
) -> Group<'a, P> {
    let mut data = [share.data; P];
    let mut inverses = [inverse; P];
    let mut sigma = match share.sigma {
        Some(all) => Some([all; P]),
        None => None,
    };
    for k in 0..P {
        let lanes = (from + k) * n..(from + k + 1) * n;
        data[k] = &share.data[lanes.clone()];
        if let Some(sigma) = &mut sigma {
            sigma[k] = &sigma[k][lanes.clone()];
        }
        inverses[k] = if inverse.is_empty() { inverse } else { &inverse[lanes] };
    }
    Group {
        panel: from,
        data,
        inverse: inverses,
        ahead: Group::<P>::ahead_of(&share.data[from * n..], P * n, share.next),
        scaling,
        p,
        mixed,
        robust,
        sigma,
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
    let none = AngleTables::default();
    let angle = if S::SHEAR { &tables.angles[share.angle] } else { &none };
    if S::SHEAR {
        turn(isa, brick, angle, scratch);
    }
    let scaling = tables.scaling[share.angle];
    let nodes = GRAM && scratch.nodes.serve(f64::from(tables.power) * angle.p);
    let mixed = tables.mixed && S::SHEAR && nodes && share.marks.holes.is_some();
    let robust = tables.robust(share.angle);
    let own = Own { p: angle.p, scaling: if mixed { single::rounded(scaling) } else { scaling }, mixed, robust };
    if mixed {
        single::turn(isa, brick, single::least(tables.power), scratch);
    }
    match share.marks.holes.as_deref() {
        _ if !GRAM => panel_by_panel::<I, S, CHI2, K, KD>(isa, functions, brick, own, share, scratch, sums),
        Some(holes) if nodes => {
            panel_by_panel::<I, S, RESIDUALS, K, KD>(isa, functions, brick, own, share, scratch, sums);
            nodes::sums::<I, S, K, KD>(isa, functions, angle, &mut scratch.nodes, sums);
            take_back::<I, S, K, KD>(isa, functions, brick, (angle, holes), scratch, sums);
            if mixed {
                single::put_right(scaling, f64::from(share.marks.n_finite), sums);
            }
        }
        _ => panel_by_panel::<I, S, ALL, K, KD>(isa, functions, brick, own, share, scratch, sums),
    }
}

/// Which sums are formed pair by pair: all of a Gram pass, those of it that hold data, those of a χ² pass.
const ALL: u8 = 0;
const RESIDUALS: u8 = 1;
const CHI2: u8 = 2;

/// One angle's pairs in groups of panels.
#[inline(always)]
fn panel_by_panel<I: Isa, S: Shape, const SUMS: u8, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    brick: &Brick,
    own: Own,
    share: &Share,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let (n, n_panels) = (brick.rows.len(), brick.n_panels());
    let by_row = match SUMS {
        ALL => 0..ROW_SUMS,
        RESIDUALS => ROW_GR..ROW_HR + 1,
        _ => 0..0,
    };
    for row in &mut scratch.work[..n.next_multiple_of(LANES)] {
        row[by_row.clone()].fill(ZERO);
    }
    // taken out so that the rest can be written while it is read
    let inverse = std::mem::take(&mut scratch.inverse);
    let of = if S::SHEAR { &inverse[..] } else { &[] };
    let mut panel = 0;
    let mut later = share.marks.holes.as_deref();
    while panel < n_panels {
        let pair = I::WIDE && panel + GROUP <= n_panels;
        let end = if pair { panel + GROUP } else { panel + 1 };
        // columns beyond the edge are stored as missing
        let mut holes = end * LANES > brick.columns.len();
        if let Some(of) = &mut later {
            let (own, rest) = of.split_at(of.partition_point(|&hole| usize::from(hole) < end * n * LANES));
            holes |= !own.is_empty();
            *of = rest;
        } else {
            holes = true;
        }
        if pair {
            let now = panels::<GROUP>(panel, n, share, of, own);
            group::<I, S, SUMS, GROUP, K, KD>(isa, functions, &now, holes, scratch, sums);
        } else {
            let now = panels::<1>(panel, n, share, of, own);
            group::<I, S, SUMS, 1, K, KD>(isa, functions, &now, holes, scratch, sums);
        }
        panel = end;
    }
    scratch.inverse = inverse;
    if own.mixed {
        single::add_rows(isa, n, scratch);
    }
    if SUMS == RESIDUALS {
        column_parts::<I, S, K, KD>(isa, functions, &scratch.columns, n_panels, sums);
    }
    match (SUMS, S::SHEAR) {
        (ALL, true) => row_parts::<I, true, false, K, KD>(isa, functions, n, scratch, sums),
        (ALL, false) => row_parts::<I, false, false, K, KD>(isa, functions, n, scratch, sums),
        (RESIDUALS, true) => row_parts::<I, true, true, K, KD>(isa, functions, n, scratch, sums),
        (RESIDUALS, false) => row_parts::<I, false, true, K, KD>(isa, functions, n, scratch, sums),
        _ => {}
    }
}

/// What a group of panels is put through.
#[inline(always)]
fn group<I: Isa, S: Shape, const SUMS: u8, const P: usize, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    group: &Group<P>,
    holes: bool,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    match SUMS {
        RESIDUALS => residuals::<I, S, P>(isa, group, holes, scratch, sums),
        CHI2 => chi2::<I, S, P>(isa, group, holes, scratch, sums),
        _ => {
            let which = (&functions.diffusion[..], &functions.shear[..]);
            linear::<I, S, P>(isa, group, which, scratch, sums);
            let at = (group.data[0].len(), group.panel);
            if S::SHEAR {
                products::<I, true, P, K, KD>(isa, functions, at, scratch, sums);
            } else {
                products::<I, false, P, K, KD>(isa, functions, at, scratch, sums);
            }
        }
    }
}

/// All pairs of one angle in a rectangle where nothing is left of the correlation.
#[inline(always)]
pub(super) fn decayed<I: Isa>(isa: I, tables: &Tables, share: &Share, sums: &mut Sums) {
    flat(isa, (share.data, share.sigma), tables.scaling[share.angle].1, tables.robust(share.angle), sums);
}
