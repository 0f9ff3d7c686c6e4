//! The 8 × 8 triangles on the diagonal: each pair directly, eight columns at a time.

use super::lanes::{Isa, V, sum};
use super::pack::Lane;
use super::plan::{Brick, LANES};
use super::scratch::ZERO;
use super::sinc_lanes::sinc;
use super::tables::{Gathered, Tables};
use super::{COLUMNS, ENTRIES, G, Gram, ONE, PHI0, R};

/// Largest exponent across a triangle for which exp is factored into a row and a column part; beyond it the row part would
/// magnify rounding, and exp is taken pair by pair.
const GENTLE: f64 = 20.0;

/// Sums of all products of z over the triangles of a tile, by lanes.
#[repr(align(64))]
pub(super) struct TriangleSums([V; ENTRIES]);

impl TriangleSums {
    pub fn new() -> Self {
        Self([ZERO; ENTRIES])
    }

    /// Adds them to a Gram matrix.
    pub fn add_to(&self, out: &mut Gram) {
        for (entry, lanes) in out.0.iter_mut().zip(&self.0) {
            *entry += sum(*lanes);
        }
    }
}

/// c_j − c_i for eight columns from `first`.
#[inline(always)]
pub(super) fn difference<I: Isa>(isa: I, c: &Gathered, i: usize, first: usize) -> I::V {
    let hi = isa.sub(isa.load(c.hi_lanes(first)), isa.splat(c.hi[i]));
    let lo = isa.sub(isa.load(c.lo_lanes(first)), isa.splat(c.lo[i]));
    isa.add(hi, lo)
}

/// Adds one triangle.
#[inline(always)]
pub(super) fn triangle<I: Isa, const SHEAR: bool, const GRAM: bool>(
    isa: I,
    brick: &Brick,
    data: &[Lane],
    tables: &Tables,
    angle: usize,
    sums: &mut TriangleSums,
) {
    let first = brick.rows.start;
    let n = brick.rows.len();
    let (contrast, offset) = tables.scaling[angle];
    let power = tables.experiment.convention.power();
    let gentle = tables.k * tables.diffusion.relative(brick.rows.end - 1, first) < GENTLE;
    let (mut u, mut v) = (ZERO, [0.0; LANES]);
    if gentle {
        for l in 0..n {
            let exponent = tables.k * tables.diffusion.relative(first + l, first);
            u[l] = (-exponent).exp();
            v[l] = exponent.exp();
        }
    }
    let zero = isa.zero();
    for (i, lane) in data.iter().enumerate() {
        let row = first + i;
        let e = if gentle {
            isa.mul(isa.splat(v[i]), isa.load(&u))
        } else {
            let mut e = ZERO;
            for l in i + 1..n {
                e[l] = (-tables.k * tables.diffusion.relative(first + l, row)).exp();
            }
            isa.load(&e)
        };
        // the lower half and columns beyond the edge are stored as missing
        let y = isa.widen(lane);
        let m = isa.below(y, f64::INFINITY);
        let (mut g, mut h) = (e, zero);
        if SHEAR {
            let shear = &tables.angles[angle];
            let gamma = &tables.b[3];
            let x = isa.mul(isa.splat(shear.p), difference(isa, gamma, row, first));
            let (sr, cr) = (isa.splat(shear.sin[row]), isa.splat(shear.cos[row]));
            let (sc, cc) = (isa.load(shear.sin_lanes(first)), isa.load(shear.cos_lanes(first)));
            let sin = isa.fnma(cc, sr, isa.mul(sc, cr));
            let cos = isa.fma(cc, cr, isa.mul(sc, sr));
            let last = shear.p * gamma.relative(first + n - 1, row);
            // columns before the row only matter in that nothing of theirs survives the mask
            let (s, d) = sinc(isa, x, sin, cos, 0.0, last.abs().max((shear.p * gamma.relative(first, row)).abs()));
            let es = isa.mul(e, s);
            let es = if power == 4 { isa.mul(es, isa.mul(s, s)) } else { es };
            g = isa.mul(es, s);
            h = isa.mul(es, d);
        }
        let g = isa.keep(m, g);
        let h = isa.keep(m, h);
        let r = isa.keep(m, isa.fnma(isa.splat(contrast), g, isa.sub(y, isa.splat(offset))));
        let mut z = [zero; COLUMNS];
        z[G] = g;
        z[ONE] = isa.keep(m, isa.splat(1.0));
        z[R] = r;
        if GRAM {
            let gd = isa.mul(isa.splat(-tables.k), g);
            for t in 0..3 {
                z[t] = isa.mul(gd, difference(isa, &tables.a[t], row, first));
            }
            if SHEAR {
                let shear = &tables.angles[angle];
                let by_rate = isa.mul(isa.splat(f64::from(power) * shear.p), h);
                let by_angle = isa.mul(isa.splat(f64::from(power) * shear.dp), h);
                for t in 0..4 {
                    let factor = if 3 + t == PHI0 { by_angle } else { by_rate };
                    z[3 + t] = isa.mul(factor, difference(isa, &tables.b[t], row, first));
                }
            }
        }
        let begin = if GRAM { 0 } else { G };
        for a in begin..COLUMNS {
            if !SHEAR && (3..G).contains(&a) {
                continue;
            }
            for b in a..COLUMNS {
                if !SHEAR && (3..G).contains(&b) {
                    continue;
                }
                let into = &mut sums.0[Gram::index(a, b)];
                isa.store(isa.fma(z[a], z[b], isa.load(into)), into);
            }
        }
    }
}
