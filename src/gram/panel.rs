//! One rectangle of pairs, panel by panel: shapes, residuals and their row and column sums.

use super::Pass;
use super::lanes::{V, ZERO, add, fma, map, mul, scale, sinc_lanes};
use super::pack::Lane;
use super::plan::{LANES, TILE_COLUMNS, TILE_ROWS};

/// Most panels of a rectangle.
pub(super) const MAX_PANELS: usize = TILE_COLUMNS / LANES;

/// Per-row values of a brick, relative to its first column.
pub(super) struct Rows {
    pub v: [f64; TILE_ROWS],
    pub x: [f64; TILE_ROWS],
    pub sin: [f64; TILE_ROWS],
    pub cos: [f64; TILE_ROWS],
    pub a: [[f64; TILE_ROWS]; 3],
    pub b: [[f64; TILE_ROWS]; 4],
}

/// Per-column values, panel by panel.
pub(super) struct Columns {
    pub u: [V; MAX_PANELS],
    pub x: [V; MAX_PANELS],
    pub sin: [V; MAX_PANELS],
    pub cos: [V; MAX_PANELS],
    pub a: [[V; MAX_PANELS]; 3],
    pub b: [[V; MAX_PANELS]; 4],
}

/// Which sums are kept by row: g, h, g·r, h·r, g², g·h, h².
pub(super) const ROW_SUMS: usize = 7;

/// Working memory of one thread, about 100 KB.
pub(crate) struct Scratch {
    pub rows: Rows,
    pub columns: Columns,
    pub row_sums: [[V; TILE_ROWS]; ROW_SUMS],
    pub g: [V; TILE_ROWS],
    pub h: [V; TILE_ROWS],
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
pub(super) struct Sums {
    pub dd: [V; 6],
    pub ds: [V; 12],
    pub ss: [V; 10],
    pub dg: [V; 3],
    pub sg: [V; 4],
    pub d1: [V; 3],
    pub s1: [V; 4],
    pub dr: [V; 3],
    pub sr: [V; 4],
    pub gg: V,
    pub g1: V,
    pub gr: V,
    pub n: V,
    pub r1: V,
    pub rr: V,
}

/// Order in which symmetric products of three (four) columns are stored.
pub(super) const PAIRS_3: [(usize, usize); 6] = [(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)];
pub(super) const PAIRS_4: [(usize, usize); 10] =
    [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3), (3, 3)];

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
pub(super) fn flat(data: &[Lane], (_, offset): (f64, f64), sums: &mut Sums) {
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

/// A pass over all panels of a rectangle.
pub(super) type Panels = fn(&[Lane], &[bool], usize, &mut Scratch, (f64, f64), &mut Sums);

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

pub(super) fn select(shear: bool, quartic: bool, pass: Pass) -> Panels {
    match (shear, quartic, pass) {
        (false, _, Pass::Gram) => isa::select::<false, false, true>(),
        (false, _, Pass::Chi2) => isa::select::<false, false, false>(),
        (true, false, Pass::Gram) => isa::select::<true, false, true>(),
        (true, false, Pass::Chi2) => isa::select::<true, false, false>(),
        (true, true, Pass::Gram) => isa::select::<true, true, true>(),
        (true, true, Pass::Chi2) => isa::select::<true, true, false>(),
    }
}
