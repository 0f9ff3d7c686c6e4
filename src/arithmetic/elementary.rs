//! exp, ln, sin and cos of eight numbers at once: the same bits on every instruction set, within two units in the last place.

use super::horner;
use super::lanes::{Isa, SHIFT};

/// Beyond this |x| exp is taken as 0: nothing here needs it, and its exponent would leave the normal numbers.
pub(crate) const EXP_LIMIT: f64 = 690.0;
/// Largest |x| that [`sin_cos`] reduces without loss.
pub(crate) const PHASE_LIMIT: f64 = 1e13;

/// ln 2 in two parts, the first with zeros at its end so that small multiples are exact.
pub(crate) const LN2: [f64; 2] = [6.931_471_803_691_238e-1, 1.908_214_929_270_587_7e-10];
/// π/2 in three parts.
const HALF_PI: [f64; 3] = [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_6e-33];

/// 1/n! for n = 2 … 13.
const EXP: [f64; 12] = [
    1.0 / 2.0,
    1.0 / 6.0,
    1.0 / 24.0,
    1.0 / 120.0,
    1.0 / 720.0,
    1.0 / 5040.0,
    1.0 / 40_320.0,
    1.0 / 362_880.0,
    1.0 / 3_628_800.0,
    1.0 / 39_916_800.0,
    1.0 / 479_001_600.0,
    1.0 / 6_227_020_800.0,
];
/// (−1)^k/(2k+1)! for k = 1 … 8.
const SIN: [f64; 8] = [
    -1.0 / 6.0,
    1.0 / 120.0,
    -1.0 / 5040.0,
    1.0 / 362_880.0,
    -1.0 / 39_916_800.0,
    1.0 / 6_227_020_800.0,
    -1.0 / 1_307_674_368_000.0,
    1.0 / 355_687_428_096_000.0,
];
/// (−1)^k/(2k)! for k = 2 … 8.
const COS: [f64; 7] = [
    1.0 / 24.0,
    -1.0 / 720.0,
    1.0 / 40_320.0,
    -1.0 / 3_628_800.0,
    1.0 / 479_001_600.0,
    -1.0 / 87_178_291_200.0,
    1.0 / 20_922_789_888_000.0,
];

/// 2/(2k + 1) for k = 1 … 10.
const ARTANH: [f64; 10] = [
    2.0 / 3.0,
    2.0 / 5.0,
    2.0 / 7.0,
    2.0 / 9.0,
    2.0 / 11.0,
    2.0 / 13.0,
    2.0 / 15.0,
    2.0 / 17.0,
    2.0 / 19.0,
    2.0 / 21.0,
];

/// 2^k from which numbers are divided by 2^k, and k; at last √2 and 1.
const HALVINGS: [(f64, i32); 11] = {
    let mut out = [(std::f64::consts::SQRT_2, 1); 11];
    let mut k = 0;
    while k < 10 {
        let exponent = 512 >> k;
        out[k] = (f64::from_bits(((1023 + exponent) as u64) << 52), exponent);
        k += 1;
    }
    out
};

/// Nearest integers, as they are and still shifted (see [`Isa::scale`]).
#[inline(always)]
fn round<I: Isa>(isa: I, x: I::V, factor: f64) -> (I::V, I::V) {
    let shifted = isa.fma(x, isa.splat(factor), isa.splat(SHIFT));
    (isa.sub(shifted, isa.splat(SHIFT)), shifted)
}

/// e^x; 0 where |x| ≥ [`EXP_LIMIT`] or x is NaN.
#[inline(always)]
pub(crate) fn exp<I: Isa>(isa: I, x: I::V) -> I::V {
    let usable = isa.below(x, EXP_LIMIT);
    let x = isa.keep(usable, x);
    let (n, shifted) = round(isa, x, std::f64::consts::LOG2_E);
    let r = isa.fnma(n, isa.splat(LN2[1]), isa.fnma(n, isa.splat(LN2[0]), x));
    let tail = isa.fma(isa.mul(r, r), horner(isa, &EXP, r), r);
    isa.keep(usable, isa.scale(isa.add(isa.splat(1.0), tail), shifted))
}

/// ln x of finite x ≥ 1.
#[inline(always)]
pub(crate) fn ln<I: Isa>(isa: I, x: I::V) -> I::V {
    let (mut m, mut n) = (x, isa.zero());
    // powers of two are exact; what is left lies around 1
    for (limit, exponent) in HALVINGS {
        let large = isa.at_least(m, limit);
        m = isa.pick(large, isa.mul(m, isa.splat(1.0 / f64::from_bits(((1023 + exponent) as u64) << 52))), m);
        n = isa.add(n, isa.keep(large, isa.splat(f64::from(exponent))));
    }
    // ln m = 2·artanh s
    let one = isa.splat(1.0);
    let s = isa.div(isa.sub(m, one), isa.add(m, one));
    let y = isa.mul(s, s);
    let tail = isa.mul(isa.mul(s, y), horner(isa, &ARTANH, y));
    let small = isa.fma(n, isa.splat(LN2[1]), isa.fma(isa.splat(2.0), s, tail));
    isa.fma(n, isa.splat(LN2[0]), small)
}

/// (sin x, cos x) for |x| below [`PHASE_LIMIT`].
#[inline(always)]
pub(crate) fn sin_cos<I: Isa>(isa: I, x: I::V) -> (I::V, I::V) {
    let (n, _) = round(isa, x, std::f64::consts::FRAC_2_PI);
    let mut r = x;
    for part in HALF_PI {
        r = isa.fnma(n, isa.splat(part), r);
    }
    let y = isa.mul(r, r);
    let sin = isa.fma(isa.mul(r, y), horner(isa, &SIN, y), r);
    let cos = isa.fma(isa.mul(y, y), horner(isa, &COS, y), isa.fnma(y, isa.splat(0.5), isa.splat(1.0)));
    // the quadrant q = −2 … 2: odd ones swap sine and cosine
    let (fours, _) = round(isa, n, 0.25);
    let q = isa.fnma(fours, isa.splat(4.0), n);
    let q2 = isa.mul(q, q);
    let odd = isa.below(isa.sub(q2, isa.splat(1.0)), 0.5);
    let even_sign = isa.fnma(q2, isa.splat(0.5), isa.splat(1.0));
    let sine = isa.pick(odd, isa.mul(q, cos), isa.mul(even_sign, sin));
    let cosine = isa.pick(odd, isa.fnma(q, sin, isa.zero()), isa.mul(even_sign, cos));
    (sine, cosine)
}

#[cfg(test)]
mod tests {
    use super::super::lanes::Portable;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn exp_is_the_librarys(x in prop_oneof![-689.0f64..689.0, -1.0f64..1.0, -1e-9f64..1e-9]) {
            let got = exp(Portable, [x; 8])[5];
            prop_assert!((got / x.exp() - 1.0).abs() < 5e-16, "{x}: {got} {}", x.exp());
        }

        #[test]
        fn ln_is_the_librarys(e in prop_oneof![0.0f64..300.0, 0.0f64..1.0, 0.0f64..1e-6]) {
            let x = 10f64.powf(e);
            let got = ln(Portable, [x; 8])[3];
            prop_assert!((got - x.ln()).abs() <= 4e-16 * x.ln(), "{x}: {got} {}", x.ln());
        }

        #[test]
        fn sine_and_cosine_are_the_librarys(x in prop_oneof![-1e12f64..1e12, -1e4f64..1e4, -4.0f64..4.0, -1e-9f64..1e-9]) {
            let (s, c) = sin_cos(Portable, [x; 8]);
            prop_assert!((s[2] - x.sin()).abs() < 3e-16, "{x}: {} {}", s[2], x.sin());
            prop_assert!((c[2] - x.cos()).abs() < 3e-16, "{x}: {} {}", c[2], x.cos());
        }
    }

    #[test]
    fn what_lies_outside_is_zero() {
        assert_eq!(exp(Portable, [-1e9, 1e9, f64::NAN, f64::NEG_INFINITY, -691.0, 0.0, -0.0, 690.5]), {
            let mut expected = [0.0; 8];
            (expected[5], expected[6]) = (1.0, 1.0);
            expected
        });
    }
}
