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

use super::lanes::{ZERO, sum};
use super::pack::Lane;
use super::panel::{PAIRS_3, PAIRS_4, ROW_SUMS, Scratch, Sums, flat, select};
use super::plan::{Brick, BrickKind, LANES, TILE_COLUMNS, TILE_ROWS, Tile};
use super::tables::{NEGLIGIBLE, Tables, decay};
use super::{COLUMNS, G, Gram, ONE, PHI0, Pass, R};
use crate::model::reference;

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
