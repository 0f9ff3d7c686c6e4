//! The pass against sums in 128-bit arithmetic, where f64 has least to spare: next to the diagonal, in the far corner, at
//! steep exponents, and where correlations have decayed to nothing.

use astro_float::{BigFloat, Consts, RoundingMode};

use super::*;
use crate::model::{Block, RATE_FLOOR};

/// Bits of the reference.
const P: usize = 128;
const RM: RoundingMode = RoundingMode::ToEven;

/// Arithmetic with the constants it needs.
struct Math(Consts);

impl Math {
    fn new() -> Self {
        Self(Consts::new().unwrap())
    }
    fn exp(&mut self, x: &BigFloat) -> BigFloat {
        x.exp(P, RM, &mut self.0)
    }
    fn ln(&mut self, x: f64) -> BigFloat {
        big(x).ln(P, RM, &mut self.0)
    }
}

fn big(x: f64) -> BigFloat {
    BigFloat::from_f64(x, P)
}

fn add(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.add(b, P, RM)
}

fn sub(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.sub(b, P, RM)
}

fn mul(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.mul(b, P, RM)
}

fn div(a: &BigFloat, b: &BigFloat) -> BigFloat {
    a.div(b, P, RM)
}

fn number(x: &BigFloat) -> f64 {
    x.to_string().parse().unwrap()
}

/// Running integrals by the trapezoid rule of the rate and its derivatives by (A, B, κ).
fn integrals(math: &mut Math, e: &Experiment, block: Block) -> [Vec<BigFloat>; 4] {
    let ln_ref = math.ln(e.t_ref());
    let exponent = big(block.exponent);
    let f_ref = {
        let power = math.exp(&mul(&exponent, &ln_ref));
        mul(&big(block.amplitude), &power)
    };
    let mut out: [Vec<BigFloat>; 4] = Default::default();
    let mut before: Option<[BigFloat; 4]> = None;
    for i in 0..e.n_frames {
        let l = sub(&math.ln(e.tau(i)), &ln_ref);
        let z = mul(&exponent, &l);
        let power = math.exp(&z);
        let rate = add(&mul(&f_ref, &power), &big(block.offset));
        let floored = number(&rate) < RATE_FLOOR;
        let now = if floored {
            [big(RATE_FLOOR), big(0.0), big(0.0), big(0.0)]
        } else {
            // ψ = z·e^z − (e^z − 1): at this precision the difference may be taken
            let psi = add(&mul(&sub(&z, &big(1.0)), &power), &big(1.0));
            [rate, big(1.0), mul(&l, &power), mul(&mul(&f_ref, &f_ref), &psi)]
        };
        for k in 0..4 {
            let last = out[k].last().cloned().unwrap_or(big(0.0));
            let step = before.as_ref().map_or(big(0.0), |b| mul(&add(&b[k], &now[k]), &big(0.5)));
            out[k].push(add(&last, &step));
        }
        before = Some(now);
    }
    out
}

/// Gram matrix over all pairs with a value.
fn by_precise_sums(e: &Experiment, matrix: &TwoTime, point: &Point) -> Gram {
    let mut math = Math::new();
    let diffusion = integrals(&mut math, e, Block::from_slice(&point.physical));
    let shear = integrals(&mut math, e, Block::from_slice(&point.physical[3..]));
    let (p, dp) = e.phase_factors(point.physical[6], 0);
    let k = mul(&mul(&big(e.q), &big(e.q)), &big(e.dt));
    let m = e.convention.power();
    let (contrast, offset) = point.scaling[0];
    let mut sums = vec![big(0.0); PRODUCTS];
    for i in 1..e.n_frames {
        for j in i + 1..e.n_frames {
            let y = f64::from(matrix.at(i, j));
            if y.is_nan() {
                continue;
            }
            let across = |c: &[BigFloat]| sub(&c[j], &c[i]);
            let decay = math.exp(&mul(&k, &across(&diffusion[0])).neg());
            let strain = across(&shear[0]);
            let x = mul(&big(p), &strain);
            let (sinc, slope) = if x.is_zero() {
                (big(1.0), big(0.0))
            } else {
                let sinc = div(&x.sin(P, RM, &mut math.0), &x);
                let slope = div(&sub(&x.cos(P, RM, &mut math.0), &sinc), &x);
                (sinc, slope)
            };
            let mut h = mul(&decay, &slope);
            for _ in 1..m {
                h = mul(&h, &sinc);
            }
            let mut g = decay;
            for _ in 0..m {
                g = mul(&g, &sinc);
            }
            let by_rate = mul(&h, &big(f64::from(m) * p));
            let mut z = Vec::with_capacity(COLUMNS);
            z.extend(diffusion[1..].iter().map(|c| mul(&mul(&k, &g).neg(), &across(c))));
            z.extend(shear[1..].iter().map(|c| mul(&by_rate, &across(c))));
            z.push(mul(&mul(&h, &big(f64::from(m) * dp)), &strain));
            let r = sub(&sub(&big(y), &big(offset)), &mul(&big(contrast), &g));
            z.extend([g, big(1.0), r]);
            for a in 0..COLUMNS {
                for b in a..COLUMNS {
                    let at = Gram::index(a, b);
                    sums[at] = add(&sums[at], &mul(&z[a], &z[b]));
                }
            }
        }
    }
    let mut out = Gram::default();
    for (entry, sum) in out.0.iter_mut().zip(&sums) {
        *entry = number(sum);
    }
    out
}

/// Values only at pairs of `rows` and `columns`.
fn only(n: usize, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) -> TwoTime {
    let mut matrix = data(n, 11, 0.0);
    for i in 0..n {
        for j in 0..n {
            if !(rows.contains(&i) && columns.contains(&j)) {
                matrix.values[i * n + j] = f32::NAN;
            }
        }
    }
    matrix
}

#[test]
fn no_accuracy_is_lost_anywhere() {
    // steep exponents, either sign; floors; slow and fast decay; phases from a hundredth to some hundred
    let points = [
        [30.0, 1.97, 20.0, 2e-6, 1.96, 1e-6, 1.0],
        [4e4, -1.98, 50.0, 2e-3, -1.95, 3e-5, -3.0],
        [30.0, 1.97, -500.0, 2e-3, -1.95, -1e-6, 4.0],
        [3e3, -0.4, 100.0, 2e-4, -0.3, 1e-5, 1.0],
        [9e4, 1.9, 0.0, 5e-5, 0.2, 0.0, 0.5],
        [200.0, 1e-4, 10.0, 3e-3, -1e-4, 1e-4, 0.0],
    ];
    let n = 700;
    let places = [(300..318, 300..330), (1..12, 689..700), (330..345, 520..531), (1..14, 1..14)];
    for convention in CONVENTIONS {
        let e = experiment(AnalysisMode::LaminarFlow, convention, n, vec![25.0]);
        let level = &Level::all(n, 1)[0];
        for physical in points {
            let point = Point { physical: physical.to_vec(), scaling: vec![(0.28, 1.02)] };
            for (rows, columns) in &places {
                let matrix = only(n, rows.clone(), columns.clone());
                let expected = by_precise_sums(&e, &matrix, &point);
                // where everything has decayed beyond 1e-60 the pass takes it as zero
                if expected.at(G, G) < 1e-90 {
                    continue;
                }
                let what = format!("{convention:?} rows {rows:?} columns {columns:?} at {physical:?}");
                let matrices = [matrix];
                assert_close(
                    &whole(&e, level, &matrices, &point, Pass::Exact),
                    &[expected],
                    &[expected],
                    Pass::Exact,
                    &what,
                );
            }
        }
    }
}

#[test]
fn corners_that_decay_to_nothing_add_nothing_wrong() {
    let n = 60;
    let level = &Level::all(n, 1)[0];
    for convention in CONVENTIONS {
        let e = experiment(AnalysisMode::LaminarFlow, convention, n, vec![-40.0]);
        // exponents of 1e-3 to 1e4 within the matrix
        for physical in [
            [9e4, 1.9, 0.0, 1e-3, 0.3, 0.0, 0.5],
            [9e4, -1.99, 1e5, 1e-4, -1.9, 1e-5, 0.5],
            [1e5, 0.0, 1e5, 1e-5, 0.0, 0.0, 2.0],
        ] {
            let point = Point { physical: physical.to_vec(), scaling: vec![(0.28, 1.02)] };
            let matrices = [data(n, 12, 0.02)];
            let expected = by_precise_sums(&e, &matrices[0], &point);
            let what = format!("{convention:?} at {physical:?}");
            assert_close(&whole(&e, level, &matrices, &point, Pass::Gram), &[expected], &[expected], Pass::Gram, &what);
        }
    }
}

#[test]
fn whole_rectangles_are_as_accurate() {
    // one rectangle of 48 × 48 frames, few values missing, so that its sums without data come from nodes
    let n = 97;
    let level = &Level::all(n, 1)[0];
    for convention in CONVENTIONS {
        let e = experiment(AnalysisMode::LaminarFlow, convention, n, vec![25.0]);
        for physical in [
            [3e3, -0.4, 100.0, 2e-4, -0.3, 1e-5, 1.0],
            [4e4, 0.6, 50.0, 2e-3, -1.2, 3e-5, -3.0],
            [30.0, 1.97, -500.0, 1e-3, 1.95, -1e-6, 4.0],
        ] {
            let point = Point { physical: physical.to_vec(), scaling: vec![(0.28, 1.02)] };
            let matrices = [data(n, 13, 0.01)];
            let expected = by_precise_sums(&e, &matrices[0], &point);
            let what = format!("{convention:?} at {physical:?}");
            assert_close(&whole(&e, level, &matrices, &point, Pass::Gram), &[expected], &[expected], Pass::Gram, &what);
        }
    }
}
