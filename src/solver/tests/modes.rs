//! Scaling modes against dense least squares over all pairs, which know nothing of Gram matrices.

use nalgebra::{DMatrix, DVector};

use super::*;
use crate::model::AngleBounds;

const PHI: [f64; 7] = [-80.0, -35.0, 0.0, 20.0, 70.0, 130.0, 200.0];
const ORDER: ScalingMode = ScalingMode::Fourier { order: 1 };
const TRUTH: [f64; 3] = [1e4, -0.5, 100.0];
/// contrast_c0, c1, s1, offset_c0, c1, s1.
const SERIES: [f64; 6] = [0.3, 0.05, -0.04, 1.0, 0.01, 0.02];

/// Contrast and offset of the series.
fn series(phi: f64) -> (f64, f64) {
    let (s, c) = phi.to_radians().sin_cos();
    (SERIES[0] + SERIES[1] * c + SERIES[2] * s, SERIES[3] + SERIES[4] * c + SERIES[5] * s)
}

/// A static set whose contrast and offset depend on the angle.
pub(super) fn varying(n: usize, phi: &[f64], of: impl Fn(f64) -> (f64, f64), noise: f64, seed: u64) -> Synthetic {
    let experiment = measurement(AnalysisMode::Static, n, phi.to_vec());
    let mut set = Synthetic::new(experiment, TRUTH.to_vec(), (1.0, 0.0), 0.0, seed);
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for (matrix, &phi) in set.matrices.iter_mut().zip(phi) {
        let (contrast, offset) = of(phi);
        for value in matrix.iter_mut() {
            use rand_distr::{Distribution, StandardNormal};
            let e: f64 = StandardNormal.sample(&mut rng);
            *value = (offset + contrast * f64::from(*value) + noise * e) as f32;
        }
    }
    Synthetic { noise, ..set }
}

/// Every fitted pair: angle, shape g and c2.
fn pairs(set: &Synthetic, physical: &[f64]) -> Vec<(usize, f64, f64)> {
    let (e, n) = (&set.experiment, set.experiment.n_frames);
    let axis = TimeAxis::without_derivatives(e, physical);
    (0..e.n_angles())
        .flat_map(|a| (1..n).flat_map(move |i| (i + 1..n).map(move |j| (a, i, j))))
        .map(|(a, i, j)| (a, reference::shape(e, &axis, a, i, j), f64::from(set.matrices[a][i * n + j])))
        .collect()
}

/// 1, cos φ, sin φ.
fn functions(phi: f64) -> [f64; 3] {
    [1.0, phi.to_radians().cos(), phi.to_radians().sin()]
}

fn projected(set: &Synthetic, physical: &[f64], scaling: &Scaling) -> Projected {
    let point = Point { physical: physical.to_vec(), scaling: scaling.first.clone() };
    let grams = set.objective().evaluate(0, std::slice::from_ref(&point), Pass::Gram).unwrap().remove(0);
    project(&grams, &point.scaling, scaling, physical.len())
}

fn space() -> ParameterSpace {
    ParameterSpace::for_mode(AnalysisMode::Static)
}

#[test]
fn the_best_series_is_that_of_dense_least_squares() {
    let set = varying(40, &PHI, series, 0.01, 1);
    let found = projected(&set, &[2e4, -0.2, 50.0], &Scaling::new(ORDER, &PHI, &space()).unwrap());
    let pairs = pairs(&set, &[2e4, -0.2, 50.0]);
    let design = DMatrix::from_fn(pairs.len(), 6, |row, k| {
        let (a, g, _) = pairs[row];
        functions(PHI[a])[k % 3] * if k < 3 { g } else { 1.0 }
    });
    let data = DVector::from_iterator(pairs.len(), pairs.iter().map(|p| p.2));
    let dense = design.clone().svd(true, true).solve(&data, 1e-14).unwrap();
    let chi2 = (&data - &design * &dense).norm_squared();
    assert!((found.chi2 / chi2 - 1.0).abs() < 1e-9, "{} {chi2}", found.chi2);
    for (a, &(contrast, offset)) in found.scaling.iter().enumerate() {
        let f = functions(PHI[a]);
        let of = |first: usize| (0..3).map(|k| f[k] * dense[first + k]).sum::<f64>();
        assert!((contrast - of(0)).abs() < 1e-8 && (offset - of(3)).abs() < 1e-8, "{a}");
    }
    assert_eq!(found.n_free_scaling(), 6);
}

/// Covariance by the dense Jacobian at a fit, physical parameters by central differences; `columns` gives the derivatives by
/// the scaling parameters for an angle and shape.
fn dense_covariance(set: &Synthetic, fit: &Fit, columns: impl Fn(usize, f64) -> Vec<f64>) -> DMatrix<f64> {
    let at = pairs(set, &fit.physical);
    let n = fit.physical.len();
    let shifted: Vec<[Vec<(usize, f64, f64)>; 2]> = (0..n)
        .map(|k| {
            [-1.0, 1.0].map(|sign| {
                let mut p = fit.physical.clone();
                p[k] += sign * 1e-5 * p[k].abs();
                pairs(set, &p)
            })
        })
        .collect();
    let m = columns(0, 1.0).len();
    let jacobian = DMatrix::from_fn(at.len(), n + m, |row, k| {
        let (a, g, _) = at[row];
        if k < n {
            let slope = (shifted[k][1][row].1 - shifted[k][0][row].1) / (2e-5 * fit.physical[k].abs());
            fit.projected.scaling[a].0 * slope
        } else {
            columns(a, g)[k - n]
        }
    });
    let scale: Vec<f64> = jacobian.column_iter().map(|c| c.norm()).collect();
    let unit = DMatrix::from_fn(at.len(), n + m, |i, j| jacobian[(i, j)] / scale[j]);
    let inverse = (unit.transpose() * &unit).try_inverse().unwrap();
    DMatrix::from_fn(n + m, n + m, |i, j| inverse[(i, j)] * fit.covariance.s2 / (scale[i] * scale[j]))
}

#[track_caller]
fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found / expected - 1.0).abs() < 1e-3, "{what}: {found} instead of {expected}");
}

#[test]
fn errors_of_a_series_are_those_of_the_dense_jacobian() {
    let set = varying(60, &PHI, series, 0.003, 2);
    let fit = solve(&set, &space(), ORDER);
    assert!(fit.outcome.converged() && fit.covariance.undetermined.is_empty(), "{:?}", fit.covariance.undetermined);
    assert_eq!(fit.degrees_of_freedom, (7 * 59 * 58 / 2 - 9) as f64);
    let dense = dense_covariance(&set, &fit, |a, g| {
        let f = functions(PHI[a]);
        f.iter().map(|f| f * g).chain(f).collect()
    });
    let c = &fit.covariance;
    for k in 0..3 {
        assert_near(c.physical[k], dense[(k, k)].sqrt(), "physical");
    }
    let names: Vec<&str> = c.series.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["contrast_c0", "contrast_c1", "contrast_s1", "offset_c0", "offset_c1", "offset_s1"]);
    for (k, (found, truth)) in c.series.iter().zip(SERIES).enumerate() {
        assert_near(found.error, dense[(3 + k, 3 + k)].sqrt(), &found.name);
        assert!((found.value - truth).abs() < 4.0 * found.error, "{found:?} {truth}");
    }
    for (a, phi) in PHI.into_iter().enumerate() {
        let f = DVector::from_row_slice(&functions(phi));
        for (first, error) in [(3, c.scaling[a].0), (6, c.scaling[a].1)] {
            let block = dense.view((first, first), (3, 3));
            assert_near(error, f.dot(&(block * &f)).sqrt(), "angle");
        }
        assert_near(c.full.at(0, 3 + 2 * a), f.dot(&dense.view((0, 3), (1, 3)).transpose()), "cross");
    }
}

#[test]
fn as_many_angles_as_coefficients_are_the_mode_individual() {
    let phi = [0.0, 100.0, 250.0];
    let set = varying(60, &phi, |p| if p > 200.0 { (0.2, 1.05) } else { (0.35, 0.98) }, 0.005, 3);
    let (own, series) = (solve(&set, &space(), ScalingMode::Individual), solve(&set, &space(), ORDER));
    assert!((series.projected.chi2 / own.projected.chi2 - 1.0).abs() < 1e-9);
    for a in 0..3 {
        let (error, other) = (own.covariance.scaling[a], series.covariance.scaling[a]);
        assert!((own.projected.scaling[a].0 - series.projected.scaling[a].0).abs() < 1e-4 * error.0);
        assert_near(other.0, error.0, "contrast");
        assert_near(other.1, error.1, "offset");
    }
    // fewer angles leave nothing to fit a series to
    assert!(Scaling::new(ORDER, &phi[..2], &space()).is_err());
    assert_eq!(ORDER.feasible(&phi[..2]), ScalingMode::Individual);
}

#[test]
fn held_scaling_has_no_parameters_and_no_errors() {
    for k in [1, 2, 7] {
        let set = varying(60, &PHI[..k], series, 0.003, 4);
        let mut space = space();
        space.held_scaling = PHI[..k].iter().map(|&p| series(p)).collect();
        let fit = solve(&set, &space, ScalingMode::Constant);
        assert!(fit.outcome.converged(), "{:?}", fit.outcome);
        assert_eq!(fit.projected.scaling, space.held_scaling);
        assert_eq!(fit.degrees_of_freedom, (k * 59 * 58 / 2 - 3) as f64);
        let chi2: f64 = pairs(&set, &fit.physical)
            .iter()
            .map(|&(a, g, value)| (value - space.held_scaling[a].1 - space.held_scaling[a].0 * g).powi(2))
            .sum();
        assert!((fit.projected.chi2 / chi2 - 1.0).abs() < 1e-9);
        let dense = dense_covariance(&set, &fit, |_, _| Vec::new());
        let c = &fit.covariance;
        for (i, truth) in TRUTH.into_iter().enumerate() {
            assert_near(c.physical[i], dense[(i, i)].sqrt(), "physical");
            assert!((fit.physical[i] - truth).abs() < 4.0 * c.physical[i]);
        }
        assert!(c.scaling.iter().all(|e| e.0.is_nan() && e.1.is_nan()) && c.mean_scaling.0.is_nan());
        assert!((3..3 + 2 * k).all(|i| c.full.row(i).iter().all(|v| *v == 0.0)));
    }
    assert!(Scaling::new(ScalingMode::Constant, &PHI, &space()).is_err());
}

#[test]
fn within_bounds_nothing_near_the_best_series_is_better() {
    let set = varying(40, &PHI, series, 0.01, 5);
    let mut rng = ChaCha8Rng::seed_from_u64(6);
    let mut most = 0;
    for trial in 0..30 {
        let mut space = space();
        // about the truth, so that some bind: contrast 0.24 to 0.36, offset 0.98 to 1.02
        space.angles = PHI
            .iter()
            .map(|&phi| {
                let (c, o) = series(phi);
                let mut around = |v: f64, w: f64| (v - w * rng.random::<f64>(), v + w * rng.random::<f64>());
                AngleBounds { contrast: around(c, 0.03), offset: around(o, 0.01) }
            })
            .collect();
        let scaling = Scaling::new(ORDER, &PHI, &space).unwrap();
        let physical = [1e4 * (1.0 + 0.3 * f64::from(trial % 5)), -0.4, 150.0];
        let found = projected(&set, &physical, &scaling);
        let pairs = pairs(&set, &physical);
        let chi2 = |at: &[(f64, f64)]| pairs.iter().map(|&(a, g, v)| (v - at[a].1 - at[a].0 * g).powi(2)).sum::<f64>();
        let inside = |at: &[(f64, f64)]| {
            at.iter()
                .zip(&space.angles)
                .all(|(v, b)| (b.contrast.0..=b.contrast.1).contains(&v.0) && (b.offset.0..=b.offset.1).contains(&v.1))
        };
        assert!(inside(&found.scaling));
        assert!((found.chi2 / chi2(&found.scaling) - 1.0).abs() < 1e-9);
        let optimum = &found.groups[0].optimum;
        let held = optimum.contrast_free.iter().chain(&optimum.offset_free).filter(|f| !**f).count();
        assert_eq!(optimum.n_free, 6 - held);
        most = most.max(held);
        let mut tried = 0;
        for k in 0..4000 {
            let size = [1e-2, 1e-3, 1e-4, 1e-5][k % 4];
            let step: Vec<f64> = (0..6).map(|_| size * (2.0 * rng.random::<f64>() - 1.0)).collect();
            let at: Vec<(f64, f64)> = (found.scaling.iter().zip(PHI))
                .map(|(v, phi)| {
                    let f = functions(phi);
                    let of = |first: usize| (0..3).map(|k| f[k] * step[first + k]).sum::<f64>();
                    (v.0 + of(0), v.1 + of(3))
                })
                .collect();
            if inside(&at) {
                tried += 1;
                assert!(chi2(&at) >= found.chi2 * (1.0 - 1e-12), "trial {trial}, step {k}");
            }
        }
        assert!(tried > 0, "trial {trial} held {held}");
    }
    assert!(most >= 4, "{most} held at most: too easy");
}

#[test]
fn a_fit_along_active_bounds_ends_and_names_them() {
    let set = varying(60, &PHI, series, 0.003, 7);
    let mut space = space();
    // the series rises to 0.364 at −35° and falls to 0.236 at 130°
    space.contrast = (0.25, 0.35);
    let fit = solve(&set, &space, ORDER);
    assert!(fit.outcome.converged(), "{:?}", fit.outcome);
    let held: Vec<usize> = (0..7).filter(|&a| fit.covariance.scaling[a].0.is_nan()).collect();
    assert!(!held.is_empty() && held.len() < 4, "{held:?}");
    for &a in &held {
        assert!([0.25, 0.35].contains(&fit.projected.scaling[a].0));
    }
    assert_eq!(fit.projected.n_free_scaling(), 6 - held.len());
    let free = (0..7).filter(|a| !held.contains(a));
    assert!(free.clone().all(|a| fit.covariance.scaling[a].0 > 0.0 && fit.covariance.scaling[a].1 > 0.0));
    assert!(fit.covariance.mean_scaling.0.is_nan() && fit.covariance.mean_scaling.1 > 0.0);
    // bounds so far off that all of them bind
    space.angles = vec![AngleBounds { contrast: (0.6, 0.7), offset: (0.5, 0.6) }; 7];
    let far = solve(&set, &space, ORDER);
    assert!(far.projected.scaling.iter().all(|v| (0.6..=0.7).contains(&v.0) && (0.5..=0.6).contains(&v.1)));
}

#[test]
fn intervals_of_a_series_cover_the_truth() {
    // 40 sets of 6 coefficients and 2 rates: expected shares 68.3 % and 95.4 %, bounds at three standard errors
    let (mut inside, mut twice, mut total) = (0.0, 0.0, 0.0);
    for seed in 0..40 {
        let set = varying(50, &PHI, series, 0.003, 300 + seed);
        let fit = solve(&set, &space(), ORDER);
        let c = &fit.covariance;
        let block = crate::model::Block::from_slice(&set.truth);
        let [value, slope, _] = block.to_valley(set.experiment.t_ref());
        let at = &c.at_reference[0];
        let rates = [(at.value, at.value_error, value), (at.slope, at.slope_error, slope)];
        let series = c.series.iter().zip(SERIES).map(|(c, truth)| (c.value, c.error, truth));
        for (found, error, truth) in series.chain(rates) {
            let pull = (found - truth).abs() / error;
            inside += f64::from(u8::from(pull < 1.0));
            twice += f64::from(u8::from(pull < 2.0));
            total += 1.0;
        }
    }
    // the coefficients of one set depend on each other: the spread is that of about half as many
    let margin = |p: f64| 3.0 * (p * (1.0 - p) / (0.5 * total)).sqrt();
    assert!((inside / total - 0.683f64).abs() < margin(0.683), "{}", inside / total);
    assert!((twice / total - 0.954f64).abs() < margin(0.954), "{}", twice / total);
}
