//! The model pair by pair in double precision: slow, plain, and what everything faster is tested against.

use super::{Experiment, MAX_PHYSICAL, TimeAxis, sinc_and_derivative};

/// Shape of the correlation at one pair and its derivatives by the physical coordinates of the axis' basis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PairValue {
    /// g = E·sinc(x)^m, so that c2 = offset + contrast·g.
    pub g: f64,
    /// ∂g by the three diffusion coordinates, the three shear coordinates, phi0 (the last four 0 in static modes).
    pub dg: [f64; MAX_PHYSICAL],
}

/// g and its derivatives at frames i < j of one angle. The axis must have been built with derivatives.
pub fn pair(experiment: &Experiment, axis: &TimeAxis, angle: usize, i: usize, j: usize) -> PairValue {
    let k = experiment.diffusion_factor();
    let e = (-k * axis.diffusion.integral.difference(i, j)).exp();
    let (mut g, mut slope) = (e, 0.0);
    let mut dg = [0.0; MAX_PHYSICAL];
    if let Some(shear) = &axis.shear {
        let m = experiment.convention.power();
        let (p, dp) = axis.phase_factors(experiment, angle);
        let (d, d_low) = shear.integral.difference_pair(i, j);
        let x = p * d;
        let (s, ds) = sinc_and_derivative(x, p.mul_add(d, -x) + p * d_low);
        g = e * s.powi(m);
        slope = f64::from(m) * e * s.powi(m - 1) * ds;
        for (column, b) in shear.derivatives.iter().enumerate() {
            dg[3 + column] = slope * p * b.difference(i, j);
        }
        dg[6] = slope * dp * d;
    }
    debug_assert!(slope.is_finite());
    for (column, a) in axis.diffusion.derivatives.iter().enumerate() {
        dg[column] = -k * g * a.difference(i, j);
    }
    PairValue { g, dg }
}

/// g alone at frames i < j of one angle; works on an axis without derivatives.
pub fn shape(experiment: &Experiment, axis: &TimeAxis, angle: usize, i: usize, j: usize) -> f64 {
    let e = (-experiment.diffusion_factor() * axis.diffusion.integral.difference(i, j)).exp();
    match &axis.shear {
        None => e,
        Some(shear) => {
            let (p, _) = axis.phase_factors(experiment, angle);
            let (d, d_low) = shear.integral.difference_pair(i, j);
            let x = p * d;
            e * sinc_and_derivative(x, p.mul_add(d, -x) + p * d_low).0.powi(experiment.convention.power())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{AnalysisMode, Basis, Block, ShearConvention};
    use super::*;

    fn experiment(mode: AnalysisMode, convention: ShearConvention) -> Experiment {
        Experiment {
            mode,
            convention,
            q: 0.0054,
            gap: 2e6,
            dt: 0.1,
            phi: vec![-20.0, 35.0, 93.0],
            n_frames: 41,
            time_offset: 0,
        }
    }

    /// Points with visible decay, several sinc lobes, either sign of the exponents, and exponents near zero.
    const POINTS: [[f64; 7]; 4] = [
        [1e4, -0.5, 100.0, 0.02, -0.3, 2e-4, -3.0],
        [4e3, 0.9, 2e3, 0.05, 0.7, -1e-3, 5.0],
        [2e4, 1e-3, -1e4, 0.01, -1e-3, 0.004, 0.5],
        [500.0, 1.8, 9e3, 1e-3, -1.7, 0.01, 9.0],
    ];

    fn shape_at(e: &Experiment, p: &[f64], angle: usize, i: usize, j: usize) -> f64 {
        shape(e, &TimeAxis::without_derivatives(e, p), angle, i, j)
    }

    #[test]
    fn natural_derivatives_are_the_finite_differences() {
        for mode in [AnalysisMode::Static, AnalysisMode::LaminarFlow] {
            for convention in [ShearConvention::Homodyne, ShearConvention::Theory] {
                let e = experiment(mode, convention);
                let n = mode.n_physical();
                for point in POINTS {
                    let axis = TimeAxis::new(&e, &point[..n], Basis::Natural);
                    for angle in 0..3 {
                        for (i, j) in [(0, 1), (1, 2), (3, 17), (5, 40), (30, 31)] {
                            let value = pair(&e, &axis, angle, i, j);
                            assert!((value.g - shape_at(&e, &point[..n], angle, i, j)).abs() < 1e-15);
                            for k in 0..n {
                                // five-point stencil: error h⁴, so that phases of hundreds of radians don't spoil it
                                let h = 2e-6 * point[k].abs().max(1e-3);
                                let at = |steps: f64| {
                                    let mut moved = point;
                                    moved[k] += steps * h;
                                    shape_at(&e, &moved[..n], angle, i, j)
                                };
                                let fd = (8.0 * (at(1.0) - at(-1.0)) - (at(2.0) - at(-2.0))) / (12.0 * h);
                                // 1e-6 of g's own scale per relative change of the parameter
                                let tolerance = 1e-6 * (value.dg[k].abs() + 1e-3 / point[k].abs().max(1e-3));
                                assert!(
                                    (fd - value.dg[k]).abs() < tolerance,
                                    "{mode:?} {convention:?} parameter {k}, pair ({i}, {j}): {fd} against {}",
                                    value.dg[k]
                                );
                            }
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn valley_derivatives_follow_from_the_natural_ones() {
        let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne);
        let t_ref = e.t_ref();
        for point in POINTS {
            let natural = TimeAxis::new(&e, &point, Basis::Natural);
            let valley = TimeAxis::new(&e, &point, Basis::Valley);
            let (a, b) = (pair(&e, &natural, 1, 4, 30), pair(&e, &valley, 1, 4, 30));
            assert_eq!(a.g, b.g);
            for block in 0..2 {
                let j = Block::from_slice(&point[3 * block..]).jacobian(t_ref);
                for column in 0..3 {
                    let terms: Vec<f64> = (0..3).map(|row| a.dg[3 * block + row] * j[row][column]).collect();
                    let size: f64 = terms.iter().map(|t| t.abs()).sum();
                    let chained: f64 = terms.iter().sum();
                    assert!((chained - b.dg[3 * block + column]).abs() < 1e-11 * size);
                }
            }
        }
    }

    #[test]
    fn floored_frames_have_no_derivative() {
        let e = experiment(AnalysisMode::Static, ShearConvention::Homodyne);
        let axis = TimeAxis::new(&e, &[100.0, 0.5, -1e5], Basis::Natural);
        let value = pair(&e, &axis, 0, 2, 9);
        assert!((value.g - 1.0).abs() < 1e-12);
        assert_eq!(value.dg[..3], [0.0; 3]);
    }

    #[test]
    fn the_two_conventions_differ_by_half_pi_squared_at_small_phase() {
        let mut e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne);
        let p = [100.0, 0.0, -99.9999, 1e-5, 0.0, 0.0, 0.0];
        let loss = |e: &Experiment| {
            let axis = TimeAxis::without_derivatives(e, &p);
            (-e.diffusion_factor() * axis.diffusion.integral.difference(1, 20)).exp() - shape(e, &axis, 0, 1, 20)
        };
        let homodyne = loss(&e);
        e.convention = ShearConvention::Theory;
        let ratio = loss(&e) / homodyne;
        let expected = std::f64::consts::PI.powi(2) / 2.0;
        assert!((ratio / expected - 1.0).abs() < 1e-2, "{ratio}");
    }
}
