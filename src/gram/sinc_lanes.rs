//! sinc and sinc' of eight phases.

use super::elementary::horner;
use super::lanes::Isa;
use crate::model::{SINC_DERIVATIVE_SERIES, SINC_SERIES};

/// Above this |x| sin(x)/x is formed by division, below it by the series: at the border sinc' keeps twelve digits.
pub(super) const FAR: f64 = 0.15;
/// The series is accurate up to here, so that few panels need both.
pub(super) const SERIES_REACH: f64 = 0.2;
/// Terms that this takes.
const TERMS: usize = 6;

/// The first terms of a series.
const fn leading(c: [f64; 7]) -> [f64; TERMS] {
    let mut out = [0.0; TERMS];
    let mut k = 0;
    while k < TERMS {
        out[k] = c[k];
        k += 1;
    }
    out
}

const SINC: [f64; TERMS] = leading(SINC_SERIES);
const SLOPE: [f64; TERMS] = leading(SINC_DERIVATIVE_SERIES);

/// By the series.
#[inline(always)]
pub(super) fn near<I: Isa>(isa: I, x: I::V) -> (I::V, I::V) {
    let y = isa.mul(x, x);
    (horner(isa, &SINC, y), isa.mul(x, horner(isa, &SLOPE, y)))
}

/// Any phases: x with sin x and cos x; `largest` bounds |x|.
#[inline(always)]
pub(super) fn sinc<I: Isa>(isa: I, x: I::V, sin: I::V, cos: I::V, largest: f64) -> (I::V, I::V) {
    let near = near(isa, x);
    if largest < SERIES_REACH {
        return near;
    }
    let inverse = isa.div(isa.splat(1.0), x);
    let far = isa.mul(sin, inverse);
    let slope = isa.mul(isa.sub(cos, far), inverse);
    let m = isa.below(x, FAR);
    (isa.pick(m, near.0, far), isa.pick(m, near.1, slope))
}
