//! sinc(x) = sin(x)/x and its derivative, accurate at every x and without dividing by sinc.

/// Below this |x| the series is used; above it sin(x)/x and (cos x − sinc x)/x lose at most a digit.
pub const SINC_SERIES_LIMIT: f64 = 0.35;

/// Coefficients of sinc(x) in powers of x²: (−1)^k/(2k+1)!.
pub(crate) const SINC_SERIES: [f64; 7] =
    [1.0, -1.0 / 6.0, 1.0 / 120.0, -1.0 / 5040.0, 1.0 / 362_880.0, -1.0 / 39_916_800.0, 1.0 / 6_227_020_800.0];

/// Coefficients of sinc'(x)/x in powers of x²: (−1)^(k+1)·2(k+1)/(2k+3)!.
pub(crate) const SINC_DERIVATIVE_SERIES: [f64; 7] = [
    -1.0 / 3.0,
    1.0 / 30.0,
    -1.0 / 840.0,
    1.0 / 45_360.0,
    -1.0 / 3_991_680.0,
    1.0 / 518_918_400.0,
    -1.0 / 93_405_312_000.0,
];

fn horner(coefficients: &[f64], y: f64) -> f64 {
    coefficients.iter().rev().fold(0.0, |acc, &c| acc * y + c)
}

/// (sinc(x + e), sinc'(x + e)) for a phase given as a rounded value x and its tiny remainder e.
///
/// Phases reach 10⁹ rad at the extremes of the bounds, where the rounding of x alone would cost seven digits.
pub fn sinc_and_derivative(x: f64, e: f64) -> (f64, f64) {
    let full = x + e;
    if full.abs() < SINC_SERIES_LIMIT {
        let y = full * full;
        (horner(&SINC_SERIES, y), full * horner(&SINC_DERIVATIVE_SERIES, y))
    } else {
        let (s, c) = x.sin_cos();
        let (s, c) = (s + e * c, c - e * s);
        let sinc = s / full;
        (sinc, (c - sinc) / full)
    }
}

/// sinc(x) = sin(x)/x, sinc(0) = 1.
pub fn sinc(x: f64) -> f64 {
    sinc_and_derivative(x, 0.0).0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_formula_meet() {
        for x in [SINC_SERIES_LIMIT * (1.0 - 1e-15), SINC_SERIES_LIMIT * (1.0 + 1e-15)] {
            let (s, d) = sinc_and_derivative(x, 0.0);
            assert!((s - x.sin() / x).abs() < 2e-16);
            assert!((d - (x.cos() - x.sin() / x) / x).abs() < 1e-15);
        }
    }

    #[test]
    fn derivative_is_the_finite_difference() {
        for k in 0..400 {
            let x = -20.0 + 0.1 * f64::from(k) + 0.003;
            let h = 1e-5;
            let fd = (sinc(x + h) - sinc(x - h)) / (2.0 * h);
            assert!((fd - sinc_and_derivative(x, 0.0).1).abs() < 1e-10, "x = {x}");
        }
    }

    #[test]
    fn zero_is_one_and_flat() {
        assert_eq!(sinc_and_derivative(0.0, 0.0), (1.0, 0.0));
    }
}
