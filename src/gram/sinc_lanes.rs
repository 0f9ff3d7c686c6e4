//! sinc and sinc' of eight phases.

use super::lanes::Isa;
use crate::model::{SINC_DERIVATIVE_SERIES, SINC_SERIES};

/// Above this |x| sin(x)/x is formed by division, below it by the series.
pub(super) const FAR: f64 = 0.3;
/// The series is accurate up to here, so that few panels need both.
const SERIES_REACH: f64 = 0.35;

#[inline(always)]
fn horner<I: Isa>(isa: I, c: [f64; 7], y: I::V) -> I::V {
    let mut acc = isa.splat(c[6]);
    for k in (0..6).rev() {
        acc = isa.fma(acc, y, isa.splat(c[k]));
    }
    acc
}

/// From sin x, cos x and 1/x.
#[inline(always)]
pub(super) fn by_division<I: Isa>(isa: I, sin: I::V, cos: I::V, inverse: I::V) -> (I::V, I::V) {
    let sinc = isa.mul(sin, inverse);
    (sinc, isa.mul(isa.sub(cos, sinc), inverse))
}

/// Any phases whose magnitude doesn't decrease along the lanes, `first` and `last` being those of the outer lanes.
#[inline(always)]
pub(super) fn sinc<I: Isa>(isa: I, x: I::V, sin: I::V, cos: I::V, first: f64, last: f64) -> (I::V, I::V) {
    if first.abs() >= FAR {
        return by_division(isa, sin, cos, isa.div(isa.splat(1.0), x));
    }
    let y = isa.mul(x, x);
    let near = (horner(isa, SINC_SERIES, y), isa.mul(x, horner(isa, SINC_DERIVATIVE_SERIES, y)));
    if last.abs() < SERIES_REACH {
        return near;
    }
    let far = by_division(isa, sin, cos, isa.div(isa.splat(1.0), x));
    let m = isa.below(x, FAR);
    (isa.pick(m, near.0, far.0), isa.pick(m, near.1, far.1))
}
