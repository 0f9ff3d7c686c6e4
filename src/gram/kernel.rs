//! The pass over the pairs of a tile.
//!
//! Rectangles are worked through panel by panel in lanes of 8 columns. Instead of all products of z with itself, row and
//! column sums are kept: with a' = a − a(first column) and W ∈ {g², g·h, h²},
//!
//! ```text
//! Σ W (a_j − a_i)(b_j − b_i) = Σ_j colW·a'b' + Σ_i rowW·a'b' − Σ_j (a'_j·Σ_i W·b'_i + b'_j·Σ_i W·a'_i)
//! ```
//!
//! Away from the diagonal a'_j ≥ 0 ≥ a'_i, so nothing cancels. Triangles on the diagonal take each pair directly.
//! Every operation is a fixed sequence of IEEE additions, products and fused multiply-adds over 8 virtual lanes: the
//! bits are the same for any instruction set.

use super::pack::Lane;
use super::plan::{Brick, BrickKind, LANES, TILE_COLUMNS, TILE_ROWS, Tile};
use super::tables::{NEGLIGIBLE, Tables, decay};
use super::{COLUMNS, G, Gram, ONE, PHI0, Pass, R};
use crate::model::reference;

type V = [f64; LANES];

const ZERO: V = [0.0; LANES];
const MAX_PANELS: usize = TILE_COLUMNS / LANES;
/// Above this |x| sin(x)/x is formed by division, below it by the series.
const FAR: f64 = 0.3;
/// The series is accurate up to here, so that lanes around [`FAR`] need no blending.
const SERIES_REACH: f64 = 0.35;

#[inline(always)]
fn map(f: impl Fn(usize) -> f64) -> V {
    std::array::from_fn(f)
}

#[inline(always)]
fn fma(a: V, b: V, c: V) -> V {
    map(|l| a[l].mul_add(b[l], c[l]))
}

#[inline(always)]
fn mul(a: V, b: V) -> V {
    map(|l| a[l] * b[l])
}

#[inline(always)]
fn scale(a: f64, b: V) -> V {
    map(|l| a * b[l])
}

#[inline(always)]
fn add(a: V, b: V) -> V {
    map(|l| a[l] + b[l])
}

#[inline(always)]
fn sum(v: V) -> f64 {
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

/// Per-row values of a brick, relative to its first column.
struct Rows {
    v: [f64; TILE_ROWS],
    x: [f64; TILE_ROWS],
    sin: [f64; TILE_ROWS],
    cos: [f64; TILE_ROWS],
    a: [[f64; TILE_ROWS]; 3],
    b: [[f64; TILE_ROWS]; 4],
}

/// Per-column values, panel by panel.
struct Columns {
    u: [V; MAX_PANELS],
    x: [V; MAX_PANELS],
    sin: [V; MAX_PANELS],
    cos: [V; MAX_PANELS],
    a: [[V; MAX_PANELS]; 3],
    b: [[V; MAX_PANELS]; 4],
}

/// Which sums are kept by row: g, h, g·r, h·r, g², g·h, h².
const ROW_SUMS: usize = 7;

/// Working memory of one thread, about 100 KB.
pub(crate) struct Scratch {
    rows: Rows,
    columns: Columns,
    row_sums: [[V; TILE_ROWS]; ROW_SUMS],
    g: [V; TILE_ROWS],
    h: [V; TILE_ROWS],
}

impl Scratch {
    pub fn new() -> Box<Self> {
        Box::new(Self {
            rows: Rows {
                v: [0.0; TILE_ROWS],
                x: [0.0; TILE_ROWS],
                sin: [0.0; TILE_ROWS],
                cos: [0.0; TILE_ROWS],
                a: [[0.0; TILE_ROWS]; 3],
                b: [[0.0; TILE_ROWS]; 4],
            },
            columns: Columns {
                u: [ZERO; MAX_PANELS],
                x: [ZERO; MAX_PANELS],
                sin: [ZERO; MAX_PANELS],
                cos: [ZERO; MAX_PANELS],
                a: [[ZERO; MAX_PANELS]; 3],
                b: [[ZERO; MAX_PANELS]; 4],
            },
            row_sums: [[ZERO; TILE_ROWS]; ROW_SUMS],
            g: [ZERO; TILE_ROWS],
            h: [ZERO; TILE_ROWS],
        })
    }
}

/// Sums of a brick before the angle's factors: D = differences of the diffusion integrals, S = of the shear integrals.
#[derive(Default)]
struct Sums {
    dd: [V; 6],
    ds: [V; 12],
    ss: [V; 10],
    dg: [V; 3],
    sg: [V; 4],
    d1: [V; 3],
    s1: [V; 4],
    dr: [V; 3],
    sr: [V; 4],
    gg: V,
    g1: V,
    gr: V,
    n: V,
    r1: V,
    rr: V,
}

/// Order in which symmetric products of three (four) columns are stored.
const PAIRS_3: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
const PAIRS_4: [(usize, usize); 10] = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)];

/// sinc and sinc' of 8 phases given with their sines and cosines; |x| must not decrease along the lanes.
#[inline(always)]
fn sinc_lanes(x: V, sin: V, cos: V) -> (V, V) {
    let formula = || {
        let inverse = map(|l| 1.0 / x[l]);
        let sinc = mul(sin, inverse);
        (sinc, map(|l| (cos[l] - sinc[l]) * inverse[l]))
    };
    let series = || {
        let y = mul(x, x);
        let horner = |c: [f64; 7]| {
            let mut acc = [c[6]; LANES];
            for k in (0..6).rev() {
                acc = fma(acc, y, [c[k]; LANES]);
            }
            acc
        };
        (horner(crate::model::SINC_SERIES), mul(x, horner(crate::model::SINC_DERIVATIVE_SERIES)))
    };
    if x[0].abs() >= FAR {
        formula()
    } else if x[LANES - 1].abs() < SERIES_REACH {
        series()
    } else {
        let (near, far) = (series(), formula());
        let pick = |n: V, f: V| map(|l| if x[l].abs() < FAR { n[l] } else { f[l] });
        (pick(near.0, far.0), pick(near.1, far.1))
    }
}

/// Fills `scratch.g` and `scratch.h` (= ∂g/∂x / m) for one panel.
#[inline(always)]
fn shapes<const SHEAR: bool, const QUARTIC: bool>(scratch: &mut Scratch, n: usize, panel: usize) {
    let (rows, columns) = (&scratch.rows, &scratch.columns);
    let u = columns.u[panel];
    if !SHEAR {
        for i in 0..n {
            scratch.g[i] = scale(rows.v[i], u);
        }
        return;
    }
    let (xc, sc, cc) = (columns.x[panel], columns.sin[panel], columns.cos[panel]);
    for i in 0..n {
        let (xr, sr, cr) = (rows.x[i], rows.sin[i], rows.cos[i]);
        let x = map(|l| xc[l] - xr);
        let sin = map(|l| sc[l].mul_add(cr, -(cc[l] * sr)));
        let cos = map(|l| cc[l].mul_add(cr, sc[l] * sr));
        let (s, d) = sinc_lanes(x, sin, cos);
        let e = scale(rows.v[i], u);
        let es = mul(e, s);
        if QUARTIC {
            let es3 = mul(es, mul(s, s));
            scratch.g[i] = mul(es3, s);
            scratch.h[i] = mul(es3, d);
        } else {
            scratch.g[i] = mul(es, s);
            scratch.h[i] = mul(es, d);
        }
    }
}

/// Residuals of one row of a panel; missing values are cleared out of everything.
#[inline(always)]
fn residuals<const MASKED: bool>(data: &Lane, g: &mut V, h: &mut V, contrast: f64, offset: f64) -> (V, V) {
    let y: V = map(|l| f64::from(data.0[l]));
    let r = map(|l| (-contrast).mul_add(g[l], y[l] - offset));
    if !MASKED {
        return (r, [1.0; LANES]);
    }
    let keep = |v: V| map(|l| if y[l].is_finite() { v[l] } else { 0.0 });
    *g = keep(*g);
    *h = keep(*h);
    (keep(r), keep([1.0; LANES]))
}

/// One panel of a Gram pass.
#[inline(always)]
fn panel_gram<const SHEAR: bool, const MASKED: bool>(
    data: &[Lane],
    scratch: &mut Scratch,
    panel: usize,
    (contrast, offset): (f64, f64),
    sums: &mut Sums,
) {
    let Scratch { rows, columns, row_sums, g: gs, h: hs } = scratch;
    let n = data.len();
    let (mut col_g, mut col_h, mut col_gr, mut col_hr) = (ZERO, ZERO, ZERO, ZERO);
    let (mut r1, mut rr, mut count) = (ZERO, ZERO, ZERO);
    for i in 0..n {
        let (g, h) = (&mut gs[i], &mut hs[i]);
        let (r, one) = residuals::<MASKED>(&data[i], g, h, contrast, offset);
        let gr = mul(*g, r);
        col_g = add(col_g, *g);
        col_gr = add(col_gr, gr);
        row_sums[0][i] = add(row_sums[0][i], *g);
        row_sums[2][i] = add(row_sums[2][i], gr);
        if SHEAR {
            let hr = mul(*h, r);
            col_h = add(col_h, *h);
            col_hr = add(col_hr, hr);
            row_sums[1][i] = add(row_sums[1][i], *h);
            row_sums[3][i] = add(row_sums[3][i], hr);
        }
        r1 = add(r1, r);
        rr = fma(r, r, rr);
        if MASKED {
            count = add(count, one);
        }
    }
    if !MASKED {
        count = [n as f64; LANES];
    }

    let (mut w_gg, mut w_gh, mut w_hh) = (ZERO, ZERO, ZERO);
    let (mut gg_a, mut gh_a, mut gh_b, mut hh_b) = ([ZERO; 3], [ZERO; 3], [ZERO; 4], [ZERO; 4]);
    for i in 0..n {
        let g = gs[i];
        let gg = mul(g, g);
        w_gg = add(w_gg, gg);
        row_sums[4][i] = add(row_sums[4][i], gg);
        for t in 0..3 {
            gg_a[t] = fma(gg, [rows.a[t][i]; LANES], gg_a[t]);
        }
    }
    if SHEAR {
        for i in 0..n {
            let gh = mul(gs[i], hs[i]);
            w_gh = add(w_gh, gh);
            row_sums[5][i] = add(row_sums[5][i], gh);
            for t in 0..3 {
                gh_a[t] = fma(gh, [rows.a[t][i]; LANES], gh_a[t]);
            }
            for t in 0..4 {
                gh_b[t] = fma(gh, [rows.b[t][i]; LANES], gh_b[t]);
            }
        }
        for i in 0..n {
            let hh = mul(hs[i], hs[i]);
            w_hh = add(w_hh, hh);
            row_sums[6][i] = add(row_sums[6][i], hh);
            for t in 0..4 {
                hh_b[t] = fma(hh, [rows.b[t][i]; LANES], hh_b[t]);
            }
        }
    }

    let a: [V; 3] = std::array::from_fn(|t| columns.a[t][panel]);
    let b: [V; 4] = std::array::from_fn(|t| columns.b[t][panel]);
    // W·x'_j·y'_j − (x'_j·Σ W y'_i + y'_j·Σ W x'_i)
    let cross = |w: V, x: V, y: V, dot_x: V, dot_y: V| -> V {
        map(|l| (w[l] * x[l]).mul_add(y[l], -x[l].mul_add(dot_y[l], y[l] * dot_x[l])))
    };
    for (k, (s, t)) in PAIRS_3.into_iter().enumerate() {
        sums.dd[k] = add(sums.dd[k], cross(w_gg, a[s], a[t], gg_a[s], gg_a[t]));
    }
    for t in 0..3 {
        sums.dg[t] = fma(w_gg, a[t], sums.dg[t]);
        sums.d1[t] = fma(col_g, a[t], sums.d1[t]);
        sums.dr[t] = fma(col_gr, a[t], sums.dr[t]);
    }
    if SHEAR {
        for s in 0..3 {
            for t in 0..4 {
                let k = 4 * s + t;
                sums.ds[k] = add(sums.ds[k], cross(w_gh, a[s], b[t], gh_a[s], gh_b[t]));
            }
        }
        for (k, (s, t)) in PAIRS_4.into_iter().enumerate() {
            sums.ss[k] = add(sums.ss[k], cross(w_hh, b[s], b[t], hh_b[s], hh_b[t]));
        }
        for t in 0..4 {
            sums.sg[t] = fma(w_gh, b[t], sums.sg[t]);
            sums.s1[t] = fma(col_h, b[t], sums.s1[t]);
            sums.sr[t] = fma(col_hr, b[t], sums.sr[t]);
        }
    }
    sums.gg = add(sums.gg, w_gg);
    sums.g1 = add(sums.g1, col_g);
    sums.gr = add(sums.gr, col_gr);
    sums.n = add(sums.n, count);
    sums.r1 = add(sums.r1, r1);
    sums.rr = add(sums.rr, rr);
}

/// One panel of a χ²-only pass.
#[inline(always)]
fn panel_chi2<const MASKED: bool>(
    data: &[Lane],
    scratch: &mut Scratch,
    (contrast, offset): (f64, f64),
    sums: &mut Sums,
) {
    for (i, lane) in data.iter().enumerate() {
        let mut g = scratch.g[i];
        let (r, one) = residuals::<MASKED>(lane, &mut g, &mut ZERO.clone(), contrast, offset);
        sums.gg = fma(g, g, sums.gg);
        sums.g1 = add(sums.g1, g);
        sums.gr = fma(g, r, sums.gr);
        sums.n = add(sums.n, one);
        sums.r1 = add(sums.r1, r);
        sums.rr = fma(r, r, sums.rr);
    }
}

/// A brick in which every correlation has decayed: only offsets are left to see.
fn flat(data: &[Lane], (_, offset): (f64, f64), sums: &mut Sums) {
    for lane in data {
        let (r, one) = residuals::<true>(lane, &mut ZERO.clone(), &mut ZERO.clone(), 0.0, offset);
        sums.n = add(sums.n, one);
        sums.r1 = add(sums.r1, r);
        sums.rr = fma(r, r, sums.rr);
    }
}

/// All panels of a rectangle.
#[inline(always)]
fn panels<const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
    data: &[Lane],
    clean: &[bool],
    n: usize,
    scratch: &mut Scratch,
    scaling: (f64, f64),
    sums: &mut Sums,
) {
    for (panel, (data, &clean)) in data.chunks_exact(n).zip(clean).enumerate() {
        shapes::<SHEAR, QUARTIC>(scratch, n, panel);
        match (GRAM, clean) {
            (true, true) => panel_gram::<SHEAR, false>(data, scratch, panel, scaling, sums),
            (true, false) => panel_gram::<SHEAR, true>(data, scratch, panel, scaling, sums),
            (false, true) => panel_chi2::<false>(data, scratch, scaling, sums),
            (false, false) => panel_chi2::<true>(data, scratch, scaling, sums),
        }
    }
}

type Panels = fn(&[Lane], &[bool], usize, &mut Scratch, (f64, f64), &mut Sums);

/// The instruction sets for which [`panels`] is compiled.
mod isa {
    use super::*;

    pub fn portable<const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
        data: &[Lane],
        clean: &[bool],
        n: usize,
        scratch: &mut Scratch,
        scaling: (f64, f64),
        sums: &mut Sums,
    ) {
        panels::<SHEAR, QUARTIC, GRAM>(data, clean, n, scratch, scaling, sums);
    }

    #[cfg(target_arch = "x86_64")]
    macro_rules! compiled_for {
        ($name:ident, $inner:ident, $features:literal) => {
            #[target_feature(enable = $features)]
            fn $inner<const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
                data: &[Lane],
                clean: &[bool],
                n: usize,
                scratch: &mut Scratch,
                scaling: (f64, f64),
                sums: &mut Sums,
            ) {
                panels::<SHEAR, QUARTIC, GRAM>(data, clean, n, scratch, scaling, sums);
            }

            pub fn $name<const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
                data: &[Lane],
                clean: &[bool],
                n: usize,
                scratch: &mut Scratch,
                scaling: (f64, f64),
                sums: &mut Sums,
            ) {
                // SAFETY: `select` hands this function out only where the processor has these features.
                unsafe { $inner::<SHEAR, QUARTIC, GRAM>(data, clean, n, scratch, scaling, sums) }
            }
        };
    }

    #[cfg(target_arch = "x86_64")]
    compiled_for!(avx512, avx512_inner, "avx512f,avx512vl,avx512dq,avx2,fma");
    #[cfg(target_arch = "x86_64")]
    compiled_for!(avx2, avx2_inner, "avx2,fma");

    pub fn select<const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>() -> Panels {
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512dq")
            {
                return avx512::<SHEAR, QUARTIC, GRAM>;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return avx2::<SHEAR, QUARTIC, GRAM>;
            }
        }
        portable::<SHEAR, QUARTIC, GRAM>
    }
}

/// Name of the instruction set in use.
pub(crate) fn instruction_set() -> &'static str {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512dq")
        {
            return "AVX-512";
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return "AVX2";
        }
    }
    "portable"
}

fn select(shear: bool, quartic: bool, pass: Pass) -> Panels {
    match (shear, quartic, pass) {
        (false, _, Pass::Gram) => isa::select::<false, false, true>(),
        (false, _, Pass::Chi2) => isa::select::<false, false, false>(),
        (true, false, Pass::Gram) => isa::select::<true, false, true>(),
        (true, false, Pass::Chi2) => isa::select::<true, false, false>(),
        (true, true, Pass::Gram) => isa::select::<true, true, true>(),
        (true, true, Pass::Chi2) => isa::select::<true, true, false>(),
    }
}

/// Fills the tables of a rectangle; false when every correlation in it is negligible.
fn prepare(brick: &Brick, tables: &Tables, angle: usize, pass: Pass, scratch: &mut Scratch) -> bool {
    let origin = brick.columns.start;
    let (rows, columns) = (&mut scratch.rows, &mut scratch.columns);
    let nearest = brick.rows.end - 1;
    if decay(-tables.k * tables.diffusion.relative(nearest, origin)) < NEGLIGIBLE {
        return false;
    }
    let derivatives = pass == Pass::Gram;
    for (i, k) in brick.rows.clone().enumerate() {
        rows.v[i] = decay(-tables.k * tables.diffusion.relative(k, origin));
        if derivatives {
            for t in 0..3 {
                rows.a[t][i] = tables.a[t].relative(k, origin);
            }
        }
    }
    let aligned = origin.is_multiple_of(TILE_COLUMNS);
    let last = brick.columns.end - 1;
    for panel in 0..brick.n_panels() {
        for l in 0..LANES {
            // padding repeats the last column: its data are missing, its phases stay in order
            let k = (origin + panel * LANES + l).min(last);
            columns.u[panel][l] =
                if aligned { tables.u[k] } else { decay(tables.k * tables.diffusion.relative(k, origin)) };
            if derivatives {
                for t in 0..3 {
                    columns.a[t][panel][l] = tables.a[t].relative(k, origin);
                }
            }
        }
    }
    let Some(shear) = tables.angles.get(angle) else { return true };
    let first_b = if derivatives { 0 } else { 3 };
    for (i, k) in brick.rows.clone().enumerate() {
        for t in first_b..4 {
            rows.b[t][i] = tables.b[t].relative(k, origin);
        }
        rows.x[i] = shear.p * rows.b[3][i];
        rows.sin[i] = shear.sin[k];
        rows.cos[i] = shear.cos[k];
    }
    for panel in 0..brick.n_panels() {
        for l in 0..LANES {
            let k = (origin + panel * LANES + l).min(last);
            for t in first_b..4 {
                columns.b[t][panel][l] = tables.b[t].relative(k, origin);
            }
            columns.x[panel][l] = shear.p * columns.b[3][panel][l];
            columns.sin[panel][l] = shear.sin[k];
            columns.cos[panel][l] = shear.cos[k];
        }
    }
    true
}

/// Adds a rectangle's sums to the tile's Gram matrix, row parts and the angle's factors applied.
fn finish(
    brick: &Brick,
    tables: &Tables,
    angle: usize,
    scratch: &Scratch,
    sums: &Sums,
    with_derivatives: bool,
    out: &mut Gram,
) {
    let mut put = |a: usize, b: usize, value: f64| out.0[Gram::index(a, b)] += value;
    put(G, G, sum(sums.gg));
    put(G, ONE, sum(sums.g1));
    put(G, R, sum(sums.gr));
    put(ONE, ONE, sum(sums.n));
    put(ONE, R, sum(sums.r1));
    put(R, R, sum(sums.rr));
    if !with_derivatives {
        return;
    }
    let n = brick.rows.len();
    let rows = &scratch.rows;
    let row: [[f64; TILE_ROWS]; ROW_SUMS] =
        std::array::from_fn(|w| std::array::from_fn(|i| if i < n { sum(scratch.row_sums[w][i]) } else { 0.0 }));
    let [row_g, row_h, row_gr, row_hr, row_gg, row_gh, row_hh] = &row;
    let double = |w: &[f64; TILE_ROWS], x: &[f64; TILE_ROWS], y: &[f64; TILE_ROWS]| -> f64 {
        (0..n).fold(0.0, |acc, i| (w[i] * x[i]).mul_add(y[i], acc))
    };
    let single =
        |w: &[f64; TILE_ROWS], x: &[f64; TILE_ROWS]| -> f64 { (0..n).fold(0.0, |acc, i| w[i].mul_add(x[i], acc)) };
    let fd = -tables.k;
    for (k, (s, t)) in PAIRS_3.into_iter().enumerate() {
        put(s, t, fd * fd * (sum(sums.dd[k]) + double(row_gg, &rows.a[s], &rows.a[t])));
    }
    for t in 0..3 {
        put(t, G, fd * (sum(sums.dg[t]) - single(row_gg, &rows.a[t])));
        put(t, ONE, fd * (sum(sums.d1[t]) - single(row_g, &rows.a[t])));
        put(t, R, fd * (sum(sums.dr[t]) - single(row_gr, &rows.a[t])));
    }
    let Some(shear) = tables.angles.get(angle) else { return };
    let m = f64::from(tables.experiment.convention.power());
    let fs = [m * shear.p, m * shear.p, m * shear.p, m * shear.dp];
    for s in 0..3 {
        for t in 0..4 {
            put(s, 3 + t, fd * fs[t] * (sum(sums.ds[4 * s + t]) + double(row_gh, &rows.a[s], &rows.b[t])));
        }
    }
    for (k, (s, t)) in PAIRS_4.into_iter().enumerate() {
        put(3 + s, 3 + t, fs[s] * fs[t] * (sum(sums.ss[k]) + double(row_hh, &rows.b[s], &rows.b[t])));
    }
    for t in 0..4 {
        put(3 + t, G, fs[t] * (sum(sums.sg[t]) - single(row_gh, &rows.b[t])));
        put(3 + t, ONE, fs[t] * (sum(sums.s1[t]) - single(row_h, &rows.b[t])));
        put(3 + t, R, fs[t] * (sum(sums.sr[t]) - single(row_hr, &rows.b[t])));
    }
}

/// Each pair of a triangle directly, by the pointwise reference.
fn triangle(brick: &Brick, data: &[Lane], tables: &Tables, angle: usize, pass: Pass, out: &mut Gram) {
    let (contrast, offset) = tables.scaling[angle];
    let mut z = [0.0; COLUMNS];
    z[ONE] = 1.0;
    for (i, lane) in brick.rows.clone().zip(data) {
        for j in i + 1..brick.columns.end {
            let y = f64::from(lane.0[j - brick.columns.start]);
            if !y.is_finite() {
                continue;
            }
            let (fi, fj) = (tables.frames[i], tables.frames[j]);
            let first = match pass {
                Pass::Gram => {
                    let value = reference::pair(tables.experiment, &tables.axis, angle, fi, fj);
                    z[..=PHI0].copy_from_slice(&value.dg);
                    z[G] = value.g;
                    0
                }
                Pass::Chi2 => {
                    z[G] = reference::shape(tables.experiment, &tables.axis, angle, fi, fj);
                    G
                }
            };
            z[R] = y - offset - contrast * z[G];
            for a in first..COLUMNS {
                for b in a..COLUMNS {
                    let entry = &mut out.0[Gram::index(a, b)];
                    *entry = z[a].mul_add(z[b], *entry);
                }
            }
        }
    }
}

/// The Gram matrix of one tile of one angle.
pub(crate) fn tile_gram(
    tile: &Tile,
    data: &[Lane],
    clean: &[bool],
    tables: &Tables,
    angle: usize,
    pass: Pass,
    scratch: &mut Scratch,
) -> Gram {
    let shear = !tables.angles.is_empty();
    let run = select(shear, tables.experiment.convention.power() == 4, pass);
    let mut out = Gram::default();
    let (mut data, mut clean) = (data, clean);
    for brick in &tile.bricks {
        let (own, rest) = data.split_at(brick.n_lanes());
        let (own_clean, rest_clean) = clean.split_at(brick.n_panels());
        (data, clean) = (rest, rest_clean);
        if brick.kind == BrickKind::Triangle {
            triangle(brick, own, tables, angle, pass, &mut out);
            continue;
        }
        let mut sums = Sums::default();
        let n = brick.rows.len();
        let visible = prepare(brick, tables, angle, pass, scratch);
        if visible {
            for rows in &mut scratch.row_sums {
                rows[..n].fill(ZERO);
            }
            run(own, own_clean, n, scratch, tables.scaling[angle], &mut sums);
        } else {
            flat(own, tables.scaling[angle], &mut sums);
        }
        finish(brick, tables, angle, scratch, &sums, visible && pass == Pass::Gram, &mut out);
    }
    out
}
