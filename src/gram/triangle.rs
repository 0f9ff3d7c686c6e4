//! The 8 × 8 triangles on the diagonal: each pair directly, eight columns at a time.

#![allow(clippy::manual_map, reason = "closures would not inherit the instruction set")]

use super::elementary::exp;
use super::lanes::{Isa, V, sum};
use super::loss::Seen;
use super::pack::Lane;
use super::panel::{Shape, powers};
use super::plan::Brick;
use super::rectangle::flushed;
use super::scratch::ZERO;
use super::sinc_lanes::sinc;
use super::tables::{Tables, lanes};
use super::{COLUMNS, ENTRIES, G, Gram, ONE, PHI0, R, SPREAD};

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

/// Adds one triangle.
#[inline(always)]
pub(super) fn triangle<I: Isa, S: Shape, const GRAM: bool>(
    isa: I,
    brick: &Brick,
    (data, sigma): (&[Lane], Option<&[Lane]>),
    tables: &Tables,
    angle: usize,
    sums: &mut TriangleSums,
) {
    let first = brick.rows.start;
    let n = brick.rows.len();
    let (contrast, offset) = tables.scaling[angle];
    let robust = tables.robust(angle);
    let share = tables.k / f64::from(tables.power);
    let gentle = tables.k * tables.diffusion.relative(brick.rows.end - 1, first) < GENTLE;
    let u = lanes(&tables.u, first);
    let zero = isa.zero();
    for (i, lane) in data.iter().enumerate() {
        let row = first + i;
        let root = if gentle {
            isa.mul(isa.load(u), isa.splat(1.0 / u[i]))
        } else {
            exp(isa, isa.mul(isa.splat(-share), tables.diffusion.difference(isa, row, first)))
        };
        let root = flushed(isa, root, tables.least);
        // the lower half and columns beyond the edge are stored as missing
        let y = isa.widen(lane);
        let m = isa.present(y);
        let (mut g, mut h) = (root, zero);
        if S::SHEAR {
            let shear = &tables.angles[angle];
            let x = isa.mul(isa.splat(shear.p), tables.strain.difference(isa, row, first));
            let (sr, cr) = (isa.splat(shear.sin[row]), isa.splat(shear.cos[row]));
            let (sc, cc) = (isa.load(lanes(&shear.sin, first)), isa.load(lanes(&shear.cos, first)));
            let sin = isa.fnma(cc, sr, isa.mul(sc, cr));
            let cos = isa.fma(cc, cr, isa.mul(sc, sr));
            // columns before the row only matter in that nothing of theirs survives the mask
            let behind = tables.strain.relative(first + n - 1, row).max(-tables.strain.relative(first, row));
            let (s, d) = sinc(isa, x, sin, cos, (shear.p * behind).abs());
            (g, h) = powers::<I, S>(isa, (isa.mul(root, s), isa.mul(root, d)));
        }
        let g = isa.keep(m, g);
        let h = isa.keep(m, h);
        let r = isa.keep(m, isa.sub(isa.fnma(isa.splat(contrast), g, y), isa.splat(offset)));
        let mut z = [zero; COLUMNS];
        z[G] = g;
        z[ONE] = isa.keep(m, isa.splat(1.0));
        z[R] = r;
        if GRAM {
            let gd = isa.mul(isa.splat(-tables.k), g);
            for t in 0..3 {
                z[t] = isa.mul(gd, tables.functions[t].difference(isa, row, first));
            }
            if S::SHEAR {
                let shear = &tables.angles[angle];
                let m = f64::from(tables.power);
                let by_rate = isa.mul(isa.splat(m * shear.p), h);
                let by_angle = isa.mul(isa.splat(m * shear.dp), h);
                let shear_functions = if tables.smooth { [0, 3, 4] } else { [3, 4, 5] };
                for t in 0..3 {
                    z[3 + t] = isa.mul(by_rate, tables.functions[shear_functions[t]].difference(isa, row, first));
                }
                z[PHI0] = isa.mul(by_angle, tables.strain.difference(isa, row, first));
            }
        }
        // robust: with each other by the root of the weight, with r by the pull
        let (mut weighted, mut cost) = (z, (r, r));
        if let Some(robust) = robust {
            let pair = match sigma {
                Some(sigma) => Some(&sigma[i]),
                None => None,
            };
            let Seen { pull, root, cost: own, bare } = robust.weigh(isa, m, r, pair);
            for a in 0..R {
                weighted[a] = isa.mul(root, z[a]);
            }
            (z[R], cost) = (pull, (own, isa.splat(1.0)));
            let into = &mut sums.0[SPREAD];
            isa.store(isa.fma(bare, bare, isa.load(into)), into);
        }
        let begin = if GRAM { 0 } else { G };
        for a in begin..COLUMNS {
            if !S::SHEAR && (3..G).contains(&a) {
                continue;
            }
            for b in a..COLUMNS {
                if !S::SHEAR && (3..G).contains(&b) {
                    continue;
                }
                let (x, y) = match (a, b) {
                    (R, _) => cost,
                    (_, R) => (z[a], z[R]),
                    _ => (weighted[a], weighted[b]),
                };
                let into = &mut sums.0[Gram::index(a, b)];
                isa.store(isa.fma(x, y, isa.load(into)), into);
            }
        }
    }
}
