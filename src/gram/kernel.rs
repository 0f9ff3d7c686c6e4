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
//! Everything is written once against [`Isa`] and compiled for each instruction set; the bits are the same on all.

use super::isa::InstructionSet;
#[cfg(target_arch = "x86_64")]
use super::lanes::{Avx2, Avx512};
use super::lanes::{Isa, Portable, sum};
use super::pack::Lane;
use super::panel::{flat, group, row_parts};
use super::plan::{Brick, BrickKind, LANES, TILE_COLUMNS, Tile};
use super::scratch::{GROUP, PAIRS_3, PAIRS_4, Scratch, Sums, ZERO};
use super::tables::{NEGLIGIBLE, Tables, decay};
use super::triangle::{TriangleSums, difference, triangle};
use super::{G, Gram, ONE, Pass, R};

/// One tile of one angle at one point.
#[derive(Clone, Copy)]
pub(crate) struct Job<'a> {
    pub tile: &'a Tile,
    pub data: &'a [Lane],
    /// Per panel: whether every value is finite.
    pub clean: &'a [bool],
    pub tables: &'a Tables<'a>,
    pub angle: usize,
    pub pass: Pass,
}

/// Fills the tables of a rectangle; false when every correlation in it is negligible.
#[inline(always)]
fn prepare<I: Isa, const SHEAR: bool, const GRAM: bool>(
    isa: I,
    brick: &Brick,
    tables: &Tables,
    angle: usize,
    scratch: &mut Scratch,
) -> bool {
    let origin = brick.columns.start;
    let Scratch { rows, columns, .. } = scratch;
    let nearest = brick.rows.end - 1;
    if decay(-tables.k * tables.diffusion.relative(nearest, origin)) < NEGLIGIBLE {
        return false;
    }
    for (i, k) in brick.rows.clone().enumerate() {
        rows.v[i] = decay(-tables.k * tables.diffusion.relative(k, origin));
        if GRAM {
            for t in 0..3 {
                rows.a[t][i] = tables.a[t].relative(k, origin);
            }
        }
    }
    // from the start of a column block the exponentials are shared by all tiles of the block
    let aligned = origin.is_multiple_of(TILE_COLUMNS);
    for panel in 0..brick.n_panels() {
        let first = origin + panel * LANES;
        columns.u[panel] = if aligned {
            *tables.u_lanes(first)
        } else {
            let last = brick.columns.end - 1;
            std::array::from_fn(|l| decay(tables.k * tables.diffusion.relative((first + l).min(last), origin)))
        };
        if GRAM {
            for t in 0..3 {
                isa.store(difference(isa, &tables.a[t], origin, first), &mut columns.a[t][panel]);
            }
        }
    }
    if !SHEAR {
        return true;
    }
    let shear = &tables.angles[angle];
    let first_b = if GRAM { 0 } else { 3 };
    for (i, k) in brick.rows.clone().enumerate() {
        for t in first_b..4 {
            rows.b[t][i] = tables.b[t].relative(k, origin);
        }
        rows.x[i] = shear.p * rows.b[3][i];
        rows.sin[i] = shear.sin[k];
        rows.cos[i] = shear.cos[k];
    }
    let p = isa.splat(shear.p);
    for panel in 0..brick.n_panels() {
        let first = origin + panel * LANES;
        for t in first_b..4 {
            let b = difference(isa, &tables.b[t], origin, first);
            isa.store(b, &mut columns.b[t][panel]);
            if t == 3 {
                isa.store(isa.mul(p, b), &mut columns.x[panel]);
            }
        }
        columns.sin[panel] = *shear.sin_lanes(first);
        columns.cos[panel] = *shear.cos_lanes(first);
    }
    true
}

/// All pairs of a rectangle.
#[inline(always)]
fn rectangle<I: Isa, const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
    isa: I,
    brick: &Brick,
    job: &Job,
    scratch: &mut Scratch,
    out: &mut Gram,
) {
    let mut sums = Sums::default();
    let scaling = job.tables.scaling[job.angle];
    let n = brick.rows.len();
    let visible = prepare::<I, SHEAR, GRAM>(isa, brick, job.tables, job.angle, scratch);
    if visible {
        if GRAM {
            for rows in &mut scratch.row_sums {
                rows[..n].fill(ZERO);
            }
        }
        let panels = brick.n_panels();
        let data = |panel: usize| &job.data[panel * n..(panel + 1) * n];
        for panel in (0..panels - panels % GROUP).step_by(GROUP) {
            let clean = job.clean[panel] && job.clean[panel + 1];
            let own = [data(panel), data(panel + 1)];
            group::<I, GROUP, SHEAR, QUARTIC, GRAM>(isa, own, clean, scratch, panel, scaling, &mut sums);
        }
        if !panels.is_multiple_of(GROUP) {
            let panel = panels - 1;
            let own = [data(panel)];
            group::<I, 1, SHEAR, QUARTIC, GRAM>(isa, own, job.clean[panel], scratch, panel, scaling, &mut sums);
        }
        if GRAM {
            row_parts::<I, SHEAR>(isa, scratch, n, &mut sums);
        }
    } else {
        flat(isa, job.data, scaling, &mut sums);
    }
    finish::<SHEAR>(job, &sums, visible && GRAM, out);
}

/// Adds a rectangle's sums to the tile's Gram matrix with the angle's factors.
fn finish<const SHEAR: bool>(job: &Job, sums: &Sums, with_derivatives: bool, out: &mut Gram) {
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
    let fd = -job.tables.k;
    for (k, (s, t)) in PAIRS_3.into_iter().enumerate() {
        put(s, t, fd * fd * sum(sums.dd[k]));
    }
    for t in 0..3 {
        put(t, G, fd * sum(sums.dg[t]));
        put(t, ONE, fd * sum(sums.d1[t]));
        put(t, R, fd * sum(sums.dr[t]));
    }
    if !SHEAR {
        return;
    }
    let shear = &job.tables.angles[job.angle];
    let m = f64::from(job.tables.experiment.convention.power());
    let fs = [m * shear.p, m * shear.p, m * shear.p, m * shear.dp];
    for s in 0..3 {
        for t in 0..4 {
            put(s, 3 + t, fd * fs[t] * sum(sums.ds[4 * s + t]));
        }
    }
    for (k, (s, t)) in PAIRS_4.into_iter().enumerate() {
        put(3 + s, 3 + t, fs[s] * fs[t] * sum(sums.ss[k]));
    }
    for t in 0..4 {
        put(3 + t, G, fs[t] * sum(sums.sg[t]));
        put(3 + t, ONE, fs[t] * sum(sums.s1[t]));
        put(3 + t, R, fs[t] * sum(sums.sr[t]));
    }
}

/// All bricks of a tile.
#[inline(always)]
fn bricks<I: Isa, const SHEAR: bool, const QUARTIC: bool, const GRAM: bool>(
    isa: I,
    job: &Job,
    scratch: &mut Scratch,
) -> Gram {
    let mut out = Gram::default();
    let mut triangles = TriangleSums::new();
    let mut own = *job;
    for brick in &job.tile.bricks {
        let (data, rest) = own.data.split_at(brick.n_lanes());
        let (clean, rest_clean) = own.clean.split_at(brick.n_panels());
        let this = Job { data, clean, ..own };
        match brick.kind {
            BrickKind::Triangle => {
                triangle::<I, SHEAR, GRAM>(isa, brick, data, job.tables, job.angle, &mut triangles);
            }
            BrickKind::Rectangle => rectangle::<I, SHEAR, QUARTIC, GRAM>(isa, brick, &this, scratch, &mut out),
        }
        (own.data, own.clean) = (rest, rest_clean);
    }
    triangles.add_to(&mut out);
    out
}

#[inline(always)]
fn tile<I: Isa>(isa: I, job: &Job, scratch: &mut Scratch) -> Gram {
    let quartic = job.tables.experiment.convention.power() == 4;
    match (!job.tables.angles.is_empty(), quartic, job.pass) {
        (false, _, Pass::Gram) => bricks::<I, false, false, true>(isa, job, scratch),
        (false, _, Pass::Chi2) => bricks::<I, false, false, false>(isa, job, scratch),
        (true, false, Pass::Gram) => bricks::<I, true, false, true>(isa, job, scratch),
        (true, false, Pass::Chi2) => bricks::<I, true, false, false>(isa, job, scratch),
        (true, true, Pass::Gram) => bricks::<I, true, true, true>(isa, job, scratch),
        (true, true, Pass::Chi2) => bricks::<I, true, true, false>(isa, job, scratch),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512dq,avx512vl,avx2,fma")]
fn tile_avx512(isa: Avx512, job: &Job, scratch: &mut Scratch) -> Gram {
    tile(isa, job, scratch)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn tile_avx2(isa: Avx2, job: &Job, scratch: &mut Scratch) -> Gram {
    tile(isa, job, scratch)
}

/// The Gram matrix of one tile, on the instruction set given.
pub(crate) fn tile_gram(set: InstructionSet, job: &Job, scratch: &mut Scratch) -> Gram {
    match set {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the token shows that the processor has the features this was compiled for.
        InstructionSet::Avx512(isa) => unsafe { tile_avx512(isa, job, scratch) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: as above.
        InstructionSet::Avx2(isa) => unsafe { tile_avx2(isa, job, scratch) },
        InstructionSet::Portable(isa) => portable(isa, job, scratch),
    }
}

fn portable(isa: Portable, job: &Job, scratch: &mut Scratch) -> Gram {
    tile(isa, job, scratch)
}
