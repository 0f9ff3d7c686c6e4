//! Panels of a rectangle: shapes, residuals, and the sums that are linear in the shapes.
//!
//! With e = g^(1/m) = E^(1/m)·sinc x and d = p·E^(1/m)·sinc' x the shapes are g = e^m and h = e^(m−1)·d, so that the
//! derivatives of g by the shear parameters are m·h times differences of the integrals. E^(1/m) is part of the tables of
//! sines and cosines; 1/strain is the same for all angles. What remains per pair is the angle-difference formula, one
//! product for e, two for d.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use super::lanes::{Isa, V};
use super::loss::{Robust, Seen};
use super::pack::Lane;
use super::plan::{LANES, TILE_ROWS};
use super::scratch::{
    AT_G, AT_H, G, G1, GR, GR1, GROUP, H1, HR1, Line, MAX_PANELS, PanelColumns, R, ROW_G, ROW_GR, ROW_H, ROW_HR, RR,
    Rows, SPREAD, Scratch, Sums, W,
};
use super::sinc_lanes::{FAR, near};

/// Groups of panels ahead that memory is asked for while one is worked on.
const PREFETCH: usize = 2;

/// What a rectangle is, at compile time.
pub(super) trait Shape {
    /// Under shear; otherwise g = E.
    const SHEAR: bool;
    /// m = 4 instead of 2.
    const QUARTIC: bool;
}

/// A group of panels.
#[derive(Clone, Copy)]
pub(super) struct Group<'a, const P: usize> {
    /// Position of the first.
    pub panel: usize,
    /// Data, and inverse strains stored alike.
    pub data: [&'a [Lane]; P],
    pub inverse: [&'a [Line]; P],
    /// What will be read after this group's successor.
    pub ahead: *const Lane,
    /// (contrast₀, offset₀).
    pub scaling: (f64, f64),
    /// Phase per strain.
    pub p: f64,
    /// Pairs far from the columns in phase are taken in f32.
    pub mixed: bool,
    /// What residuals and weights are taken with, if not with squares.
    pub robust: Option<Robust>,
    /// σ of every pair, stored like the data, where they have their own.
    pub sigma: Option<[&'a [Lane]; P]>,
}

impl<const P: usize> Group<'_, P> {
    /// The address of the next panels for prefetching.
    pub fn ahead_of(data: &[Lane], group: usize, next: *const Lane) -> *const Lane {
        let (at, n) = (PREFETCH * group, data.len());
        if at < n { data[at..].as_ptr() } else { next.wrapping_add(at - n) }
    }

    /// The cache line that panel k asks for at rows i and i + 1. All are asked for as they lie, one after another, which is
    /// what the processor's own prefetching follows.
    #[inline(always)]
    pub fn line_ahead(&self, i: usize, k: usize) -> *const Lane {
        self.ahead.wrapping_add(P * i + 2 * k)
    }
}

#[inline(always)]
pub(super) fn accumulate<I: Isa>(isa: I, into: &mut V, v: I::V) {
    isa.store(isa.add(isa.load(into), v), into);
}

/// into + a·b.
#[inline(always)]
pub(super) fn accumulate_product<I: Isa>(isa: I, into: &mut V, a: I::V, b: I::V) {
    isa.store(isa.fma(a, b, isa.load(into)), into);
}

/// into − a·b.
#[inline(always)]
pub(super) fn take_product<I: Isa>(isa: I, into: &mut V, a: I::V, b: I::V) {
    isa.store(isa.fnma(a, b, isa.load(into)), into);
}

/// e and d of the rows from `first` on, which have near phases, into the working memory.
#[inline(always)]
pub(super) fn near_rows<I: Isa, const P: usize>(isa: I, group: &Group<P>, scratch: &mut Scratch, first: usize) {
    let Scratch { rows, columns, work, .. } = scratch;
    let n = group.data[0].len().min(TILE_ROWS);
    let p = isa.splat(group.p);
    for i in first..n {
        for k in 0..P {
            let panel = group.panel + k;
            let strain = columns[panel].strain;
            let x = isa.mul(p, isa.sub(isa.load(&strain), isa.splat(rows.strain[i])));
            let (s, slope) = near(isa, x);
            let root = isa.mul(isa.splat(rows.v[i]), isa.load(&columns[panel].u));
            let (mut e, mut d) = (isa.mul(root, s), isa.mul(isa.mul(root, slope), p));
            // by the very limit of rows that are far, or the result would depend on which panels are worked on together
            if (group.p * (strain[LANES - 1] - rows.strain[i])).abs() >= FAR {
                let column = (isa.load(&columns[panel].sin), isa.load(&columns[panel].cos));
                let far = far(isa, rows.turned(i), column, isa.load(&group.inverse[k][i].0));
                let m = isa.below(x, FAR);
                (e, d) = (isa.pick(m, e, far.0), isa.pick(m, d, far.1));
            }
            isa.store(e, &mut work[i][AT_G + k]);
            isa.store(d, &mut work[i][AT_H + k]);
        }
    }
}

/// Sine and cosine of a row's phase times its part of e, and both over p.
#[derive(Clone, Copy)]
pub(super) struct Turned {
    pub sin: f64,
    pub cos: f64,
    pub sin_p: f64,
    pub cos_p: f64,
}

impl Rows {
    #[inline(always)]
    fn turned(&self, i: usize) -> Turned {
        Turned { sin: self.sin[i], cos: self.cos[i], sin_p: self.sin_p[i], cos_p: self.cos_p[i] }
    }
}

/// e and d of a row against 8 columns far from it, given the columns' (sine, cosine) and 1/strain.
#[inline(always)]
pub(super) fn far<I: Isa>(isa: I, row: Turned, (sin, cos): (I::V, I::V), inverse: I::V) -> (I::V, I::V) {
    let (sr, cr) = (isa.splat(row.sin), isa.splat(row.cos));
    let (sp, cp) = (isa.splat(row.sin_p), isa.splat(row.cos_p));
    let sine = isa.fnma(cos, sp, isa.mul(sin, cp));
    let cosine = isa.fma(cos, cr, isa.mul(sin, sr));
    let e = isa.mul(sine, inverse);
    (e, isa.mul(isa.sub(cosine, e), inverse))
}

/// g and h from e and d.
#[inline(always)]
pub(super) fn powers<I: Isa, S: Shape>(isa: I, (e, d): (I::V, I::V)) -> (I::V, I::V) {
    if S::QUARTIC {
        let square = isa.mul(e, e);
        (isa.mul(square, square), isa.mul(square, isa.mul(e, d)))
    } else {
        (isa.mul(e, e), isa.mul(e, d))
    }
}

/// Rows before this one are far from all columns of the group: |x| grows along the columns and away from the diagonal.
#[inline(always)]
pub(super) fn far_rows<const P: usize>(group: &Group<P>, rows: &Rows, columns: &[PanelColumns; MAX_PANELS]) -> usize {
    let n = group.data[0].len().min(TILE_ROWS);
    let first = columns[group.panel].strain[0];
    let is_far = |strain: &f64| (group.p * (first - strain)).abs() >= FAR;
    // most groups are far altogether
    if is_far(&rows.strain[n - 1]) { n } else { rows.strain[..n].partition_point(is_far) }
}

/// Sums of a group of panels that are linear in g and h.
struct Linear<I: Isa, const P: usize> {
    g: [I::V; P],
    h: [I::V; P],
    gr: [I::V; P],
    hr: [I::V; P],
    r: [I::V; P],
    rr: [I::V; P],
    w: [I::V; P],
    spread: [I::V; P],
}

/// Shapes, residuals and linear sums of the rows of a range.
#[inline(always)]
fn linear_rows<I: Isa, S: Shape, const P: usize, const IS_FAR: bool>(
    isa: I,
    group: &Group<P>,
    scratch: &mut Scratch,
    (from, to): (usize, usize),
    sums: &mut Linear<I, P>,
) {
    let Scratch { rows, columns, work, .. } = scratch;
    let (contrast, offset) = (isa.splat(group.scaling.0), isa.splat(group.scaling.1));
    let zero = isa.zero();
    let mut column = [(zero, zero); P];
    for k in 0..P {
        let at = group.panel + k;
        column[k] = if !S::SHEAR {
            (isa.load(&columns[at].u), zero)
        } else if IS_FAR {
            (isa.load(&columns[at].sin), isa.load(&columns[at].cos))
        } else {
            (zero, zero)
        };
    }
    let n = group.data[0].len();
    let to = to.min(n).min(TILE_ROWS);
    let (mut data, mut inverse) = (group.data, group.inverse);
    for k in 0..P {
        data[k] = &data[k][..to];
        inverse[k] = if S::SHEAR && IS_FAR { &inverse[k][..to] } else { &[] };
    }
    for i in from..to {
        let row = &mut work[i];
        let mut row_gr = isa.load(&row[ROW_GR]);
        let mut row_hr = if S::SHEAR { isa.load(&row[ROW_HR]) } else { zero };
        let mut row_g = isa.load(&row[ROW_G]);
        let mut row_h = if S::SHEAR { isa.load(&row[ROW_H]) } else { zero };
        if P == GROUP {
            isa.prefetch(group.line_ahead(i, 0));
        }
        for k in 0..P {
            let (g, h) = if !S::SHEAR {
                (isa.mul(isa.splat(rows.v[i]), column[k].0), zero)
            } else if IS_FAR {
                powers::<I, S>(isa, far(isa, rows.turned(i), column[k], isa.load(&inverse[k][i].0)))
            } else {
                powers::<I, S>(isa, (isa.load(&row[AT_G + k]), isa.load(&row[AT_H + k])))
            };
            let y = isa.widen(&data[k][i]);
            // a missing value clears everything
            let m = isa.present(y);
            let mut r = isa.keep(m, isa.sub(isa.fnma(contrast, g, y), offset));
            // for products with each other, and for sums of their own
            let (mut root_g, mut root_h) = (isa.keep(m, g), isa.keep(m, h));
            let (mut whole_g, mut whole_h) = (root_g, root_h);
            if let Some(robust) = group.robust {
                let own = match &group.sigma {
                    Some(sigma) => Some(&sigma[k][i]),
                    None => None,
                };
                let Seen { pull, root, cost, bare } = robust.weigh(isa, m, r, own);
                let root = isa.keep(m, root);
                (root_g, root_h) = (isa.mul(root, g), isa.mul(root, h));
                (whole_g, whole_h) = (isa.mul(root, root_g), isa.mul(root, root_h));
                r = pull;
                sums.rr[k] = isa.add(sums.rr[k], cost);
                sums.w[k] = isa.fma(root, root, sums.w[k]);
                sums.spread[k] = isa.fma(bare, bare, sums.spread[k]);
            } else {
                sums.rr[k] = isa.fma(r, r, sums.rr[k]);
            }
            sums.gr[k] = isa.fma(g, r, sums.gr[k]);
            sums.r[k] = isa.add(sums.r[k], r);
            row_gr = isa.fma(g, r, row_gr);
            isa.store(root_g, &mut row[AT_G + k]);
            sums.g[k] = isa.add(sums.g[k], whole_g);
            row_g = isa.add(row_g, whole_g);
            if S::SHEAR {
                sums.hr[k] = isa.fma(h, r, sums.hr[k]);
                row_hr = isa.fma(h, r, row_hr);
                isa.store(root_h, &mut row[AT_H + k]);
                sums.h[k] = isa.add(sums.h[k], whole_h);
                row_h = isa.add(row_h, whole_h);
            }
        }
        isa.store(row_gr, &mut row[ROW_GR]);
        if S::SHEAR {
            isa.store(row_hr, &mut row[ROW_HR]);
        }
        isa.store(row_g, &mut row[ROW_G]);
        if S::SHEAR {
            isa.store(row_h, &mut row[ROW_H]);
        }
    }
}

/// Shapes, residuals and linear sums of a group; `d` and `s` say which functions belong to diffusion and shear.
#[inline(always)]
pub(super) fn linear<I: Isa, S: Shape, const P: usize>(
    isa: I,
    group: &Group<P>,
    (d, s): (&[usize], &[usize]),
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let n = group.data[0].len();
    let zero = [isa.zero(); P];
    let mut own = Linear::<I, P> { g: zero, h: zero, gr: zero, hr: zero, r: zero, rr: zero, w: zero, spread: zero };
    if S::SHEAR {
        let far = far_rows(group, &scratch.rows, &scratch.columns);
        linear_rows::<I, S, P, true>(isa, group, scratch, (0, far), &mut own);
        if far < n {
            near_rows(isa, group, scratch, far);
            linear_rows::<I, S, P, false>(isa, group, scratch, (far, n), &mut own);
        }
    } else {
        linear_rows::<I, S, P, true>(isa, group, scratch, (0, n), &mut own);
    }
    for (t, &f) in d.iter().enumerate() {
        contract(isa, &own.g, &scratch.columns, (group.panel, f), &mut sums.0[G1 + t]);
        contract(isa, &own.gr, &scratch.columns, (group.panel, f), &mut sums.0[GR1 + t]);
    }
    for (t, &f) in s.iter().enumerate() {
        contract(isa, &own.h, &scratch.columns, (group.panel, f), &mut sums.0[H1 + t]);
        contract(isa, &own.hr, &scratch.columns, (group.panel, f), &mut sums.0[HR1 + t]);
    }
    for k in 0..P {
        accumulate(isa, &mut sums.0[G], own.g[k]);
        accumulate(isa, &mut sums.0[GR], own.gr[k]);
        accumulate(isa, &mut sums.0[R], own.r[k]);
        accumulate(isa, &mut sums.0[RR], own.rr[k]);
        accumulate(isa, &mut sums.0[W], own.w[k]);
        accumulate(isa, &mut sums.0[SPREAD], own.spread[k]);
    }
}

/// Column sums times a function, over the panels of a group.
#[inline(always)]
fn contract<I: Isa, const P: usize>(
    isa: I,
    sums: &[I::V; P],
    columns: &[PanelColumns; MAX_PANELS],
    (panel, f): (usize, usize),
    into: &mut V,
) {
    let mut total = isa.load(into);
    for k in 0..P {
        total = isa.fma(sums[k], isa.load(&columns[panel + k].f[f]), total);
    }
    isa.store(total, into);
}

/// A rectangle in which every correlation has decayed: only offsets are left to see.
#[inline(always)]
pub(super) fn flat<I: Isa>(
    isa: I,
    (data, sigma): (&[Lane], Option<&[Lane]>),
    offset: f64,
    robust: Option<Robust>,
    sums: &mut Sums,
) {
    let offset = isa.splat(offset);
    let (mut r1, mut rr) = (isa.zero(), isa.zero());
    let (mut w, mut spread) = (isa.zero(), isa.zero());
    for (at, lane) in data.iter().enumerate() {
        let y = isa.widen(lane);
        let m = isa.present(y);
        let r = isa.keep(m, isa.sub(y, offset));
        if let Some(robust) = robust {
            let own = match sigma {
                Some(sigma) => Some(&sigma[at]),
                None => None,
            };
            let Seen { pull, root, cost, bare } = robust.weigh(isa, m, r, own);
            let root = isa.keep(m, root);
            r1 = isa.add(r1, pull);
            rr = isa.add(rr, cost);
            w = isa.fma(root, root, w);
            spread = isa.fma(bare, bare, spread);
        } else {
            r1 = isa.add(r1, r);
            rr = isa.fma(r, r, rr);
        }
    }
    for (at, of) in [(R, r1), (RR, rr), (W, w), (SPREAD, spread)] {
        accumulate(isa, &mut sums.0[at], of);
    }
}
