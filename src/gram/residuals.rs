//! The sums of a rectangle that hold data: of r and r², of g·r and h·r alone and with the functions. In a Gram pass all
//! others come from nodes (see `nodes`), so shapes are used as soon as they are formed and nothing of a pair is kept. A χ²
//! pass needs g·r alone and takes g and g² along.

use super::lanes::{Isa, V};
use super::pack::Lane;
use super::panel::{Group, Shape, far_rows, near_rows, powers};
use super::plan::TILE_ROWS;
use super::products::Functions;
use super::scratch::{
    AT_G, AT_H, G, GG, GR, GR1, HR1, Line, MAX_PANELS, PanelColumns, R, ROW_GR, ROW_HR, RR, Scratch, Sums,
};
use super::single;

/// Rows worked through in step: with two panels each they hide the latency of a pair's dozen operations, which follow one
/// another, and leave room in the registers.
const TOGETHER: usize = 2;

/// Sums of a group of panels: h·r in Gram passes, g and g² in χ² passes.
struct Own<I: Isa, const P: usize> {
    gr: [I::V; P],
    hr: [I::V; P],
    g: [I::V; P],
    gg: [I::V; P],
    r: [I::V; P],
    rr: [I::V; P],
}

/// The panels of a group as slices of `to` rows each.
struct Panels<'a, const P: usize> {
    data: [&'a [Lane]; P],
    inverse: [&'a [Line]; P],
}

/// `T` rows from row `i` on. `MASKED`: some may be without a value.
#[inline(always)]
fn rows<I: Isa, S: Shape, const GRAM: bool, const FAR: bool, const MASKED: bool, const P: usize, const T: usize>(
    isa: I,
    group: &Group<P>,
    panels: &Panels<P>,
    column: &[(I::V, I::V); P],
    scratch: &mut Scratch,
    i: usize,
    own: &mut Own<I, P>,
) {
    let Scratch { rows, work, .. } = scratch;
    let (contrast, offset) = (isa.splat(group.scaling.0), isa.splat(group.scaling.1));
    let zero = isa.zero();
    // stage by stage for all pairs in work, as far as the compiler keeps it so
    let (mut e, mut d, mut g, mut r) = ([[zero; P]; T], [[zero; P]; T], [[zero; P]; T], [[zero; P]; T]);
    if !S::SHEAR {
        for t in 0..T {
            for k in 0..P {
                g[t][k] = isa.mul(isa.splat(rows.v[i + t]), column[k].0);
            }
        }
    } else if FAR {
        for t in 0..T {
            let (sp, cp) = (isa.splat(rows.sin_p[i + t]), isa.splat(rows.cos_p[i + t]));
            for k in 0..P {
                e[t][k] = isa.fnma(column[k].1, sp, isa.mul(column[k].0, cp));
            }
        }
        if GRAM {
            for t in 0..T {
                let (sr, cr) = (isa.splat(rows.sin[i + t]), isa.splat(rows.cos[i + t]));
                for k in 0..P {
                    d[t][k] = isa.fma(column[k].1, cr, isa.mul(column[k].0, sr));
                }
            }
        }
        for t in 0..T {
            for k in 0..P {
                e[t][k] = isa.mul(e[t][k], isa.load(&panels.inverse[k][i + t].0));
            }
        }
        if GRAM {
            for t in 0..T {
                for k in 0..P {
                    d[t][k] = isa.mul(isa.sub(d[t][k], e[t][k]), isa.load(&panels.inverse[k][i + t].0));
                }
            }
        }
    } else {
        for t in 0..T {
            for k in 0..P {
                e[t][k] = isa.load(&work[i + t][AT_G + k]);
                d[t][k] = isa.load(&work[i + t][AT_H + k]);
            }
        }
    }
    if MASKED && !GRAM {
        // what is missing has no shape, as early as the mask costs nothing
        let shape = if S::SHEAR { &mut e } else { &mut g };
        for t in 0..T {
            for k in 0..P {
                shape[t][k] = isa.keep(isa.present(isa.widen(&panels.data[k][i + t])), shape[t][k]);
            }
        }
    }
    if S::SHEAR {
        for t in 0..T {
            for k in 0..P {
                // d becomes h
                (g[t][k], d[t][k]) = powers::<I, S>(isa, (e[t][k], d[t][k]));
            }
        }
    }
    for t in 0..T {
        for k in 0..P {
            let y = isa.widen(&panels.data[k][i + t]);
            r[t][k] = isa.sub(isa.fnma(contrast, g[t][k], y), offset);
            if MASKED {
                r[t][k] = isa.keep(isa.present(y), r[t][k]);
            }
        }
    }
    for t in 0..T {
        for k in 0..P {
            if T == TOGETHER && t == 0 {
                isa.prefetch(group.line_ahead(i, k));
            }
            own.gr[k] = isa.fma(g[t][k], r[t][k], own.gr[k]);
            own.r[k] = isa.add(own.r[k], r[t][k]);
            own.rr[k] = isa.fma(r[t][k], r[t][k], own.rr[k]);
            if !GRAM {
                own.g[k] = isa.add(own.g[k], g[t][k]);
                own.gg[k] = isa.fma(g[t][k], g[t][k], own.gg[k]);
            } else if S::SHEAR {
                own.hr[k] = isa.fma(d[t][k], r[t][k], own.hr[k]);
            }
        }
        if GRAM {
            let row = &mut work[i + t];
            let mut row_gr = isa.load(&row[ROW_GR]);
            for k in 0..P {
                row_gr = isa.fma(g[t][k], r[t][k], row_gr);
            }
            isa.store(row_gr, &mut row[ROW_GR]);
            if S::SHEAR {
                let mut row_hr = isa.load(&row[ROW_HR]);
                for k in 0..P {
                    row_hr = isa.fma(d[t][k], r[t][k], row_hr);
                }
                isa.store(row_hr, &mut row[ROW_HR]);
            }
        }
    }
}

/// The rows of a range.
#[inline(always)]
fn range<I: Isa, S: Shape, const GRAM: bool, const FAR: bool, const MASKED: bool, const P: usize>(
    isa: I,
    group: &Group<P>,
    scratch: &mut Scratch,
    (from, to): (usize, usize),
    own: &mut Own<I, P>,
) {
    let to = to.min(group.data[0].len()).min(TILE_ROWS);
    let zero = isa.zero();
    let mut panels = Panels { data: group.data, inverse: group.inverse };
    let mut column = [(zero, zero); P];
    for k in 0..P {
        let of = &scratch.columns[group.panel + k];
        panels.data[k] = &group.data[k][..to];
        if S::SHEAR {
            panels.inverse[k] = &group.inverse[k][..to];
            column[k] = (isa.load(&of.sin), isa.load(&of.cos));
        } else {
            column[k].0 = isa.load(&of.u);
        }
    }
    let mut i = from;
    while i + TOGETHER <= to {
        rows::<I, S, GRAM, FAR, MASKED, P, TOGETHER>(isa, group, &panels, &column, scratch, i, own);
        i += TOGETHER;
    }
    if i < to {
        rows::<I, S, GRAM, FAR, MASKED, P, 1>(isa, group, &panels, &column, scratch, i, own);
    }
}

/// All rows of a group of panels. `holes`: some pair is without a value.
#[inline(always)]
fn whole<I: Isa, S: Shape, const GRAM: bool, const P: usize>(
    isa: I,
    group: &Group<P>,
    holes: bool,
    scratch: &mut Scratch,
) -> Own<I, P> {
    let n = group.data[0].len();
    let zero = [isa.zero(); P];
    let mut own = Own::<I, P> { gr: zero, hr: zero, g: zero, gg: zero, r: zero, rr: zero };
    let far = if S::SHEAR { far_rows(group, &scratch.rows, &scratch.columns) } else { n };
    let mut first = 0;
    if GRAM && S::SHEAR && group.mixed {
        let (sums, n) = single::far_rows::<I, S, P>(isa, group, scratch);
        (own.gr, own.hr, own.r, own.rr) = (sums.gr, sums.hr, sums.r, sums.rr);
        first = n;
    }
    if holes {
        range::<I, S, GRAM, true, true, P>(isa, group, scratch, (first, far), &mut own);
    } else {
        range::<I, S, GRAM, true, false, P>(isa, group, scratch, (first, far), &mut own);
    }
    if far < n {
        near_rows(isa, group, scratch, far);
        range::<I, S, GRAM, false, true, P>(isa, group, scratch, (far, n), &mut own);
    }
    own
}

/// Adds one kind of sum, panel after panel.
#[inline(always)]
fn total<I: Isa, const P: usize>(isa: I, of: [I::V; P], into: &mut V) {
    let mut sum = isa.load(into);
    for k in 0..P {
        sum = isa.add(sum, of[k]);
    }
    isa.store(sum, into);
}

/// The sums of a group of panels in a Gram pass; those by column and by row stay in the working memory.
#[inline(always)]
pub(super) fn residuals<I: Isa, S: Shape, const P: usize>(
    isa: I,
    group: &Group<P>,
    holes: bool,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let own = whole::<I, S, true, P>(isa, group, holes, scratch);
    for k in 0..P {
        let column = &mut scratch.columns[group.panel + k];
        isa.store(own.gr[k], &mut column.gr);
        if S::SHEAR {
            isa.store(own.hr[k], &mut column.hr);
        }
    }
    total(isa, own.r, &mut sums.0[R]);
    total(isa, own.rr, &mut sums.0[RR]);
}

/// The sums of a group of panels in a χ² pass.
#[inline(always)]
pub(super) fn chi2<I: Isa, S: Shape, const P: usize>(
    isa: I,
    group: &Group<P>,
    holes: bool,
    scratch: &mut Scratch,
    sums: &mut Sums,
) {
    let own = whole::<I, S, false, P>(isa, group, holes, scratch);
    for (at, of) in [(GG, own.gg), (G, own.g), (GR, own.gr), (R, own.r), (RR, own.rr)] {
        total(isa, of, &mut sums.0[at]);
    }
}

/// What the columns contribute, once all panels are worked through.
#[inline(always)]
pub(super) fn column_parts<I: Isa, S: Shape, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    columns: &[PanelColumns; MAX_PANELS],
    n_panels: usize,
    sums: &mut Sums,
) {
    let mut gr = isa.load(&sums.0[GR]);
    let (mut of_g, mut of_h) = ([isa.zero(); 3], [isa.zero(); K]);
    for column in &columns[..n_panels] {
        let own = isa.load(&column.gr);
        gr = isa.add(gr, own);
        for t in 0..3 {
            of_g[t] = isa.fma(own, isa.load(&column.f[functions.diffusion[t]]), of_g[t]);
        }
        if S::SHEAR {
            let own = isa.load(&column.hr);
            for t in 0..K {
                of_h[t] = isa.fma(own, isa.load(&column.f[functions.shear[t]]), of_h[t]);
            }
        }
    }
    isa.store(gr, &mut sums.0[GR]);
    for (first, of) in [(GR1, &of_g[..]), (HR1, &of_h[..])] {
        for (t, &sum) in of.iter().enumerate() {
            let into = &mut sums.0[first + t];
            isa.store(isa.add(isa.load(into), sum), into);
        }
    }
}
