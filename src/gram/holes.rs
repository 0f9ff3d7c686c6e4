//! Pairs without a value, taken back from the sums that were formed as if there were none (see `nodes`).

use super::lanes::{Isa, V};
use super::panel::{Shape, powers, take_product};
use super::plan::{Brick, LANES};
use super::products::Functions;
use super::scratch::{FUNCTIONS, G, G1, GG, GG1, GG2, GH1, GH2, H1, HH2, Scratch, Sums, ZERO};
use super::sinc_lanes::sinc;
use super::tables::AngleTables;

/// What eight pairs need.
#[repr(align(64))]
struct Eight {
    v: V,
    u: V,
    across: V,
    row: (V, V),
    column: (V, V),
    f: [V; FUNCTIONS],
}

/// Gathers up to eight pairs; beyond the last, E is 0.
#[inline(always)]
fn gather<const SHEAR: bool, const F: usize>(
    brick: &Brick,
    angle: &AngleTables,
    scratch: &Scratch,
    holes: &[u16],
) -> Eight {
    let Scratch { rows, columns, .. } = scratch;
    let mut out =
        Eight { v: ZERO, u: ZERO, across: ZERO, row: (ZERO, ZERO), column: (ZERO, ZERO), f: [ZERO; FUNCTIONS] };
    let n = brick.rows.len();
    for (k, &hole) in holes.iter().enumerate() {
        let (at, l) = (usize::from(hole) / LANES, usize::from(hole) % LANES);
        let (panel, i) = (at / n, at % n);
        let column = &columns[panel];
        out.v[k] = rows.v[i];
        out.u[k] = column.u[l];
        for t in 0..F {
            out.f[t][k] = column.f[t][l] - rows.f[t][i];
        }
        if SHEAR {
            out.across[k] = column.strain[l] - rows.strain[i];
            let (row, at) = (brick.rows.start + i, brick.columns.start + panel * LANES + l);
            (out.row.0[k], out.row.1[k]) = (angle.sin[row], angle.cos[row]);
            (out.column.0[k], out.column.1[k]) = (angle.sin[at], angle.cos[at]);
        }
    }
    out
}

/// Takes back the holes of one angle in a rectangle that is prepared.
#[inline(always)]
pub(super) fn take_back<I: Isa, S: Shape, const K: usize, const KD: usize>(
    isa: I,
    functions: &Functions<K, KD>,
    brick: &Brick,
    (angle, holes): (&AngleTables, &[u16]),
    scratch: &Scratch,
    sums: &mut Sums,
) {
    let one = isa.splat(1.0);
    let sums = &mut sums.0;
    for holes in holes.chunks(LANES) {
        let eight = if S::SHEAR {
            gather::<true, KD>(brick, angle, scratch, holes)
        } else {
            gather::<false, KD>(brick, angle, scratch, holes)
        };
        let root = isa.mul(isa.load(&eight.v), isa.load(&eight.u));
        let (mut g, mut h) = (root, isa.zero());
        if S::SHEAR {
            let p = isa.splat(angle.p);
            let x = isa.mul(p, isa.load(&eight.across));
            let (sr, cr) = (isa.load(&eight.row.0), isa.load(&eight.row.1));
            let (sc, cc) = (isa.load(&eight.column.0), isa.load(&eight.column.1));
            let sin = isa.fnma(cc, sr, isa.mul(sc, cr));
            let cos = isa.fma(cc, cr, isa.mul(sc, sr));
            let (s, slope) = sinc(isa, x, sin, cos, f64::INFINITY);
            (g, h) = powers::<I, S>(isa, (isa.mul(root, s), isa.mul(root, isa.mul(slope, p))));
        }
        let gg = isa.mul(g, g);
        take_product(isa, &mut sums[G], g, one);
        take_product(isa, &mut sums[GG], gg, one);
        let mut f = [isa.zero(); KD];
        for t in 0..KD {
            f[t] = isa.load(&eight.f[t]);
        }
        let d = functions.diffusion;
        let mut pair = 0;
        for a in 0..3 {
            take_product(isa, &mut sums[G1 + a], g, f[d[a]]);
            take_product(isa, &mut sums[GG1 + a], gg, f[d[a]]);
            let weighted = isa.mul(gg, f[d[a]]);
            for b in a..3 {
                take_product(isa, &mut sums[GG2 + pair], weighted, f[d[b]]);
                pair += 1;
            }
        }
        if !S::SHEAR {
            continue;
        }
        let (gh, hh) = (isa.mul(g, h), isa.mul(h, h));
        let mut pair = 0;
        for s in 0..K {
            let own = f[functions.shear[s]];
            take_product(isa, &mut sums[H1 + s], h, own);
            take_product(isa, &mut sums[GH1 + s], gh, own);
            let weighted = isa.mul(gh, own);
            for a in 0..3 {
                take_product(isa, &mut sums[GH2 + 4 * a + s], weighted, f[d[a]]);
            }
            let weighted = isa.mul(hh, own);
            for other in s..K {
                take_product(isa, &mut sums[HH2 + pair], weighted, f[functions.shear[other]]);
                pair += 1;
            }
        }
    }
}
