//! Panels of a rectangle: shapes, residuals, and their row and column sums.
//!
//! Loops are short, so that their sums stay in registers: A forms g and h, B the residuals and the sums that are linear in
//! g and h, C the sums of the products W ∈ {g², g·h, h²} with what the rows carry.

use super::lanes::{Isa, V};
use super::pack::Lane;
use super::plan::{LANES, TILE_ROWS};
use super::scratch::{Columns, GROUP, PADDED_ROWS, PAIRS_3, PAIRS_4, Rows, Scratch, Sums};
use super::sinc_lanes::{FAR, by_division, sinc};

/// Groups of panels ahead that memory is asked for while one is worked on.
const PREFETCH: usize = 2;

#[inline(always)]
fn accumulate<I: Isa>(isa: I, into: &mut V, v: I::V) {
    isa.store(isa.add(isa.load(into), v), into);
}

/// Sum over the panels of a group.
#[inline(always)]
fn over<I: Isa, const P: usize>(isa: I, v: [I::V; P]) -> I::V {
    if P == GROUP { isa.add(v[0], v[P - 1]) } else { v[0] }
}

/// Phase of a row against 8 columns, with its sine and cosine by the angle-difference formula.
#[inline(always)]
fn phase<I: Isa>(isa: I, rows: &Rows, i: usize, (x, sin, cos): (I::V, I::V, I::V)) -> (I::V, I::V, I::V) {
    let (sr, cr) = (isa.splat(rows.sin[i]), isa.splat(rows.cos[i]));
    (isa.sub(x, isa.splat(rows.x[i])), isa.fnma(cos, sr, isa.mul(sin, cr)), isa.fma(cos, cr, isa.mul(sin, sr)))
}

/// g = E·s^m and h = E·s^(m−1)·s' from E and (s, s').
#[inline(always)]
fn shape<I: Isa, const QUARTIC: bool>(isa: I, e: I::V, (s, d): (I::V, I::V)) -> (I::V, I::V) {
    let es = isa.mul(e, s);
    let power = if QUARTIC { isa.mul(es, isa.mul(s, s)) } else { es };
    (isa.mul(power, s), isa.mul(power, d))
}

/// A: g and h of `P` panels from `panel` on. (Loops instead of closures here and below: closures would not inherit the
/// instruction set.)
#[inline(always)]
fn shapes<I: Isa, const P: usize, const SHEAR: bool, const QUARTIC: bool>(
    isa: I,
    scratch: &mut Scratch,
    n: usize,
    panel: usize,
) {
    let Scratch { rows, columns, g, h, .. } = scratch;
    let n = n.min(TILE_ROWS);
    let zero = isa.zero();
    let mut u = [zero; P];
    for p in 0..P {
        u[p] = isa.load(&columns.u[panel + p]);
    }
    if !SHEAR {
        for i in 0..n {
            let v = isa.splat(rows.v[i]);
            for p in 0..P {
                isa.store(isa.mul(v, u[p]), &mut g[i][p]);
            }
        }
        return;
    }
    let mut column = [(zero, zero, zero); P];
    for p in 0..P {
        let at = panel + p;
        column[p] = (isa.load(&columns.x[at]), isa.load(&columns.sin[at]), isa.load(&columns.cos[at]));
    }
    // |x| grows along the columns and away from the diagonal: the rows before `far` have no near phase at all
    let first = columns.x[panel][0];
    let far = rows.x[..n].partition_point(|x| (first - x).abs() >= FAR);
    for i in 0..far {
        let mut parts = [(zero, zero, zero); P];
        for p in 0..P {
            parts[p] = phase(isa, rows, i, column[p]);
        }
        let v = isa.splat(rows.v[i]);
        // one division for two phases
        let (x0, x1) = (parts[0].0, parts[P - 1].0);
        let both = isa.div(isa.splat(1.0), if P == GROUP { isa.mul(x0, x1) } else { x0 });
        for p in 0..P {
            let inverse = if P == GROUP { isa.mul(both, if p == 0 { x1 } else { x0 }) } else { both };
            let s = by_division(isa, parts[p].1, parts[p].2, inverse);
            let (gv, hv) = shape::<I, QUARTIC>(isa, isa.mul(v, u[p]), s);
            isa.store(gv, &mut g[i][p]);
            isa.store(hv, &mut h[i][p]);
        }
    }
    for i in far..n {
        let v = isa.splat(rows.v[i]);
        for p in 0..P {
            let (x, sin, cos) = phase(isa, rows, i, column[p]);
            let outer = columns.x[panel + p];
            let s = sinc(isa, x, sin, cos, outer[0] - rows.x[i], outer[LANES - 1] - rows.x[i]);
            let (gv, hv) = shape::<I, QUARTIC>(isa, isa.mul(v, u[p]), s);
            isa.store(gv, &mut g[i][p]);
            isa.store(hv, &mut h[i][p]);
        }
    }
}

/// Residuals of a lane; where the value is missing, everything is cleared.
#[inline(always)]
fn residual<I: Isa, const MASKED: bool>(
    isa: I,
    data: &Lane,
    g: &mut I::V,
    h: &mut I::V,
    contrast: I::V,
    offset: I::V,
) -> (I::V, I::V) {
    let y = isa.widen(data);
    let r = isa.fnma(contrast, *g, isa.sub(y, offset));
    if !MASKED {
        return (r, isa.splat(1.0));
    }
    let m = isa.below(y, f64::INFINITY);
    *g = isa.keep(m, *g);
    *h = isa.keep(m, *h);
    (isa.keep(m, r), isa.keep(m, isa.splat(1.0)))
}

/// B: residuals and linear sums.
#[inline(always)]
fn linear<I: Isa, const P: usize, const SHEAR: bool, const MASKED: bool>(
    isa: I,
    data: [&[Lane]; P],
    scratch: &mut Scratch,
    panel: usize,
    scaling: (f64, f64),
    sums: &mut Sums,
) {
    let Scratch { columns, row_sums, g: gs, h: hs, .. } = scratch;
    let n = data[0].len().min(TILE_ROWS);
    let ahead = data[0].as_ptr().wrapping_add(PREFETCH * GROUP * n);
    let (contrast, offset) = (isa.splat(scaling.0), isa.splat(scaling.1));
    let zero = isa.zero();
    let (mut col_g, mut col_h, mut col_gr, mut col_hr) = ([zero; P], [zero; P], [zero; P], [zero; P]);
    let (mut r1, mut rr, mut count) = ([zero; P], [zero; P], [zero; P]);
    let [row_g, row_h, row_gr, row_hr, ..] = row_sums;
    for i in 0..n {
        let (mut g, mut h, mut gr, mut hr) = ([zero; P], [zero; P], [zero; P], [zero; P]);
        for p in 0..P {
            if P == GROUP {
                // two lanes make a line of memory
                if i % 2 == 0 {
                    isa.prefetch(ahead.wrapping_add(p * n + i));
                }
            }
            g[p] = isa.load(&gs[i][p]);
            h[p] = if SHEAR { isa.load(&hs[i][p]) } else { zero };
            let (r, one) = residual::<I, MASKED>(isa, &data[p][i], &mut g[p], &mut h[p], contrast, offset);
            if MASKED {
                isa.store(g[p], &mut gs[i][p]);
                if SHEAR {
                    isa.store(h[p], &mut hs[i][p]);
                }
                count[p] = isa.add(count[p], one);
            }
            gr[p] = isa.mul(g[p], r);
            col_g[p] = isa.add(col_g[p], g[p]);
            col_gr[p] = isa.add(col_gr[p], gr[p]);
            if SHEAR {
                hr[p] = isa.mul(h[p], r);
                col_h[p] = isa.add(col_h[p], h[p]);
                col_hr[p] = isa.add(col_hr[p], hr[p]);
            }
            r1[p] = isa.add(r1[p], r);
            rr[p] = isa.fma(r, r, rr[p]);
        }
        accumulate(isa, &mut row_g[i], over(isa, g));
        accumulate(isa, &mut row_gr[i], over(isa, gr));
        if SHEAR {
            accumulate(isa, &mut row_h[i], over(isa, h));
            accumulate(isa, &mut row_hr[i], over(isa, hr));
        }
    }
    if !MASKED {
        count = [isa.splat(n as f64); P];
    }
    for p in 0..P {
        for t in 0..3 {
            let a = isa.load(&columns.a[t][panel + p]);
            accumulate(isa, &mut sums.d1[t], isa.mul(col_g[p], a));
            accumulate(isa, &mut sums.dr[t], isa.mul(col_gr[p], a));
        }
        if SHEAR {
            for t in 0..4 {
                let b = isa.load(&columns.b[t][panel + p]);
                accumulate(isa, &mut sums.s1[t], isa.mul(col_h[p], b));
                accumulate(isa, &mut sums.sr[t], isa.mul(col_hr[p], b));
            }
        }
    }
    accumulate(isa, &mut sums.g1, over(isa, col_g));
    accumulate(isa, &mut sums.gr, over(isa, col_gr));
    accumulate(isa, &mut sums.n, over(isa, count));
    accumulate(isa, &mut sums.r1, over(isa, r1));
    accumulate(isa, &mut sums.rr, over(isa, rr));
}

/// W·x'_j·y'_j − (x'_j·Σ W y'_i + y'_j·Σ W x'_i).
#[inline(always)]
fn cross<I: Isa>(isa: I, w: I::V, x: I::V, y: I::V, dot_x: I::V, dot_y: I::V) -> I::V {
    let mixed = isa.fma(x, dot_y, isa.mul(y, dot_x));
    isa.sub(isa.mul(isa.mul(w, x), y), mixed)
}

#[inline(always)]
fn a<I: Isa>(isa: I, columns: &Columns, t: usize, panel: usize) -> I::V {
    isa.load(&columns.a[t][panel])
}

#[inline(always)]
fn b<I: Isa>(isa: I, columns: &Columns, t: usize, panel: usize) -> I::V {
    isa.load(&columns.b[t][panel])
}

/// C: the sums of g², g·h and h².
#[inline(always)]
fn products<I: Isa, const P: usize, const SHEAR: bool>(
    isa: I,
    scratch: &mut Scratch,
    n: usize,
    panel: usize,
    sums: &mut Sums,
) {
    let Scratch { rows, columns, row_sums, g: gs, h: hs } = scratch;
    let n = n.min(TILE_ROWS);
    let zero = isa.zero();
    let [_, _, _, _, row_gg, row_gh, row_hh] = row_sums;

    let (mut w, mut dot) = ([zero; P], [[zero; 3]; P]);
    for i in 0..n {
        let mut gg = [zero; P];
        for p in 0..P {
            let g = isa.load(&gs[i][p]);
            gg[p] = isa.mul(g, g);
            w[p] = isa.add(w[p], gg[p]);
        }
        for t in 0..3 {
            let row = isa.splat(rows.a[t][i]);
            for p in 0..P {
                dot[p][t] = isa.fma(gg[p], row, dot[p][t]);
            }
        }
        accumulate(isa, &mut row_gg[i], over(isa, gg));
    }
    for p in 0..P {
        for (k, (s, t)) in PAIRS_3.into_iter().enumerate() {
            accumulate(
                isa,
                &mut sums.dd[k],
                cross(isa, w[p], a(isa, columns, s, panel + p), a(isa, columns, t, panel + p), dot[p][s], dot[p][t]),
            );
        }
        for t in 0..3 {
            accumulate(isa, &mut sums.dg[t], isa.mul(w[p], a(isa, columns, t, panel + p)));
        }
    }
    accumulate(isa, &mut sums.gg, over(isa, w));
    if !SHEAR {
        return;
    }

    let (mut w, mut dot_a, mut dot_b) = ([zero; P], [[zero; 3]; P], [[zero; 4]; P]);
    for i in 0..n {
        let mut gh = [zero; P];
        for p in 0..P {
            gh[p] = isa.mul(isa.load(&gs[i][p]), isa.load(&hs[i][p]));
            w[p] = isa.add(w[p], gh[p]);
        }
        for t in 0..3 {
            let row = isa.splat(rows.a[t][i]);
            for p in 0..P {
                dot_a[p][t] = isa.fma(gh[p], row, dot_a[p][t]);
            }
        }
        for t in 0..4 {
            let row = isa.splat(rows.b[t][i]);
            for p in 0..P {
                dot_b[p][t] = isa.fma(gh[p], row, dot_b[p][t]);
            }
        }
        accumulate(isa, &mut row_gh[i], over(isa, gh));
    }
    for p in 0..P {
        for s in 0..3 {
            for t in 0..4 {
                let term = cross(
                    isa,
                    w[p],
                    a(isa, columns, s, panel + p),
                    b(isa, columns, t, panel + p),
                    dot_a[p][s],
                    dot_b[p][t],
                );
                accumulate(isa, &mut sums.ds[4 * s + t], term);
            }
        }
        for t in 0..4 {
            accumulate(isa, &mut sums.sg[t], isa.mul(w[p], b(isa, columns, t, panel + p)));
        }
    }

    let (mut w, mut dot) = ([zero; P], [[zero; 4]; P]);
    for i in 0..n {
        let mut hh = [zero; P];
        for p in 0..P {
            let h = isa.load(&hs[i][p]);
            hh[p] = isa.mul(h, h);
            w[p] = isa.add(w[p], hh[p]);
        }
        for t in 0..4 {
            let row = isa.splat(rows.b[t][i]);
            for p in 0..P {
                dot[p][t] = isa.fma(hh[p], row, dot[p][t]);
            }
        }
        accumulate(isa, &mut row_hh[i], over(isa, hh));
    }
    for p in 0..P {
        for (k, (s, t)) in PAIRS_4.into_iter().enumerate() {
            accumulate(
                isa,
                &mut sums.ss[k],
                cross(isa, w[p], b(isa, columns, s, panel + p), b(isa, columns, t, panel + p), dot[p][s], dot[p][t]),
            );
        }
    }
}

/// χ² only: sums among g, 1 and r.
#[inline(always)]
fn chi2<I: Isa, const P: usize, const MASKED: bool>(
    isa: I,
    data: [&[Lane]; P],
    scratch: &Scratch,
    scaling: (f64, f64),
    sums: &mut Sums,
) {
    let n = data[0].len().min(TILE_ROWS);
    let ahead = data[0].as_ptr().wrapping_add(PREFETCH * GROUP * n);
    let (contrast, offset) = (isa.splat(scaling.0), isa.splat(scaling.1));
    let zero = isa.zero();
    let (mut gg, mut g1, mut gr) = ([zero; P], [zero; P], [zero; P]);
    let (mut r1, mut rr, mut count) = ([zero; P], [zero; P], [zero; P]);
    for i in 0..n {
        for p in 0..P {
            if P == GROUP && i % 2 == 0 {
                isa.prefetch(ahead.wrapping_add(p * n + i));
            }
            let mut g = isa.load(&scratch.g[i][p]);
            let (r, one) = residual::<I, MASKED>(isa, &data[p][i], &mut g, &mut isa.zero(), contrast, offset);
            gg[p] = isa.fma(g, g, gg[p]);
            g1[p] = isa.add(g1[p], g);
            gr[p] = isa.fma(g, r, gr[p]);
            r1[p] = isa.add(r1[p], r);
            rr[p] = isa.fma(r, r, rr[p]);
            if MASKED {
                count[p] = isa.add(count[p], one);
            }
        }
    }
    if !MASKED {
        count = [isa.splat(n as f64); P];
    }
    for (into, v) in [
        (&mut sums.gg, gg),
        (&mut sums.g1, g1),
        (&mut sums.gr, gr),
        (&mut sums.n, count),
        (&mut sums.r1, r1),
        (&mut sums.rr, rr),
    ] {
        accumulate(isa, into, over(isa, v));
    }
}

/// One group of panels, from tables to sums.
#[inline(always)]
pub(super) fn group<I: Isa, const P: usize, const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
    isa: I,
    data: [&[Lane]; P],
    clean: bool,
    scratch: &mut Scratch,
    panel: usize,
    scaling: (f64, f64),
    sums: &mut Sums,
) {
    let n = data[0].len();
    shapes::<I, P, SHEAR, QUARTIC>(isa, scratch, n, panel);
    match (GRAM, clean) {
        (true, true) => linear::<I, P, SHEAR, false>(isa, data, scratch, panel, scaling, sums),
        (true, false) => linear::<I, P, SHEAR, true>(isa, data, scratch, panel, scaling, sums),
        (false, true) => chi2::<I, P, false>(isa, data, scratch, scaling, sums),
        (false, false) => chi2::<I, P, true>(isa, data, scratch, scaling, sums),
    }
    if GRAM {
        products::<I, P, SHEAR>(isa, scratch, n, panel, sums);
    }
}

/// A rectangle in which every correlation has decayed: only offsets are left to see.
#[inline(always)]
pub(super) fn flat<I: Isa>(isa: I, data: &[Lane], scaling: (f64, f64), sums: &mut Sums) {
    for lane in data {
        let (mut g, mut h) = (isa.zero(), isa.zero());
        let (r, one) = residual::<I, true>(isa, lane, &mut g, &mut h, isa.zero(), isa.splat(scaling.1));
        accumulate(isa, &mut sums.n, one);
        accumulate(isa, &mut sums.r1, r);
        isa.store(isa.fma(r, r, isa.load(&sums.rr)), &mut sums.rr);
    }
}

/// into − Σ_i W_i·x_i.
#[inline(always)]
fn single<I: Isa>(isa: I, n: usize, into: &mut V, w: &[V; PADDED_ROWS], x: &[f64; TILE_ROWS]) {
    let mut acc = isa.load(into);
    for i in 0..n {
        acc = isa.fnma(isa.load(&w[i]), isa.splat(x[i]), acc);
    }
    isa.store(acc, into);
}

/// into + Σ_i W_i·x_i·y_i.
#[inline(always)]
fn double<I: Isa>(isa: I, n: usize, into: &mut V, w: &[V; PADDED_ROWS], x: &[f64; TILE_ROWS], y: &[f64; TILE_ROWS]) {
    let mut acc = isa.load(into);
    for i in 0..n {
        acc = isa.fma(isa.load(&w[i]), isa.splat(x[i] * y[i]), acc);
    }
    isa.store(acc, into);
}

/// Adds what the rows contribute once all panels are summed: Σ_i rowW·x'_i·y'_i and −Σ_i rowW·x'_i.
#[inline(always)]
pub(super) fn row_parts<I: Isa, const SHEAR: bool>(isa: I, scratch: &Scratch, n: usize, sums: &mut Sums) {
    let Scratch { rows, row_sums, .. } = scratch;
    let n = n.min(TILE_ROWS);
    let [row_g, row_h, row_gr, row_hr, row_gg, row_gh, row_hh] = row_sums;
    for (k, (s, t)) in PAIRS_3.into_iter().enumerate() {
        double(isa, n, &mut sums.dd[k], row_gg, &rows.a[s], &rows.a[t]);
    }
    for t in 0..3 {
        single(isa, n, &mut sums.dg[t], row_gg, &rows.a[t]);
        single(isa, n, &mut sums.d1[t], row_g, &rows.a[t]);
        single(isa, n, &mut sums.dr[t], row_gr, &rows.a[t]);
    }
    if !SHEAR {
        return;
    }
    for s in 0..3 {
        for t in 0..4 {
            double(isa, n, &mut sums.ds[4 * s + t], row_gh, &rows.a[s], &rows.b[t]);
        }
    }
    for (k, (s, t)) in PAIRS_4.into_iter().enumerate() {
        double(isa, n, &mut sums.ss[k], row_hh, &rows.b[s], &rows.b[t]);
    }
    for t in 0..4 {
        single(isa, n, &mut sums.sg[t], row_gh, &rows.b[t]);
        single(isa, n, &mut sums.s1[t], row_h, &rows.b[t]);
        single(isa, n, &mut sums.sr[t], row_hr, &rows.b[t]);
    }
}
