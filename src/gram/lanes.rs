//! Arithmetic on 8 virtual lanes: fixed sequences of IEEE operations, the same bits on any instruction set.

use super::plan::LANES;

/// One number per lane.
pub(super) type V = [f64; LANES];

pub(super) const ZERO: V = [0.0; LANES];
/// Above this |x| sin(x)/x is formed by division, below it by the series.
const FAR: f64 = 0.3;
/// The series is accurate up to here, so that lanes around [`FAR`] need no blending.
const SERIES_REACH: f64 = 0.35;

#[inline(always)]
pub(super) fn map(f: impl Fn(usize) -> f64) -> V {
    std::array::from_fn(f)
}

#[inline(always)]
pub(super) fn fma(a: V, b: V, c: V) -> V {
    map(|l| a[l].mul_add(b[l], c[l]))
}

#[inline(always)]
pub(super) fn mul(a: V, b: V) -> V {
    map(|l| a[l] * b[l])
}

#[inline(always)]
pub(super) fn scale(a: f64, b: V) -> V {
    map(|l| a * b[l])
}

#[inline(always)]
pub(super) fn add(a: V, b: V) -> V {
    map(|l| a[l] + b[l])
}

#[inline(always)]
pub(super) fn sum(v: V) -> f64 {
    ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))
}

/// sinc and sinc' of 8 phases given with their sines and cosines; |x| must not decrease along the lanes.
#[inline(always)]
pub(super) fn sinc_lanes(x: V, sin: V, cos: V) -> (V, V) {
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
