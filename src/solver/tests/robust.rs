//! Robust losses on data with outliers.

use super::*;
use crate::gram::Loss;

/// Every `one_in`-th pair lies far from where it belongs.
fn with_outliers(mut set: Synthetic, one_in: f64, seed: u64) -> Synthetic {
    let n = set.experiment.n_frames;
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    for matrix in &mut set.matrices {
        for i in 0..n {
            for value in &mut matrix[i * n + i + 1..(i + 1) * n] {
                if rng.random_bool(1.0 / one_in) {
                    let by = rng.random_range(0.2..1.0f32);
                    *value += if rng.random_bool(0.5) { by } else { -by };
                }
            }
        }
    }
    set
}

fn solve_with(set: &Synthetic, mode: ScalingMode, loss: Option<Loss>) -> Fit {
    let space = ParameterSpace::for_mode(set.experiment.mode);
    let mut objective = set.objective();
    objective.engine().set_sigma(&vec![set.noise; set.experiment.n_angles()]);
    let robust = loss.map(|loss| Robust { loss, sigma: set.noise });
    let task = Task { space: &space, config: &config(true), mode, sigma: None, robust };
    fit(&task, &mut objective, &mut |_| ()).unwrap()
}

/// Σ σ²·ρ by the pointwise reference.
fn cost(set: &Synthetic, loss: Loss, physical: &[f64], scaling: &[(f64, f64)]) -> f64 {
    let (e, n) = (&set.experiment, set.experiment.n_frames);
    let axis = TimeAxis::without_derivatives(e, physical);
    let mut total = 0.0;
    for (angle, matrix) in set.matrices.iter().enumerate() {
        for i in 1..n {
            for j in i + 1..n {
                let g = reference::shape(e, &axis, angle, i, j);
                let r = f64::from(matrix[i * n + j]) - scaling[angle].1 - scaling[angle].0 * g;
                let z = (r / set.noise).powi(2);
                total += set.noise.powi(2)
                    * match loss {
                        Loss::SoftL1 => 2.0 * ((1.0 + z).sqrt() - 1.0),
                        Loss::Huber if z <= 1.0 => z,
                        Loss::Huber => 2.0 * z.sqrt() - 1.0,
                        Loss::Cauchy => z.ln_1p(),
                    };
            }
        }
    }
    total
}

fn flow(n: usize, noise: f64, seed: u64) -> Synthetic {
    let experiment = measurement(AnalysisMode::LaminarFlow, n, vec![0.0, 40.0, 88.0]);
    Synthetic::new(experiment, vec![1e4, -0.5, 300.0, 2e-3, -0.3, 1e-4, 2.0], (0.3, 1.0), noise, seed)
}

#[test]
fn the_answer_is_the_minimum_of_the_loss() {
    let set = with_outliers(flow(120, 0.01, 7), 20.0, 3);
    for loss in Loss::ALL {
        for mode in [ScalingMode::Averaged, ScalingMode::Individual] {
            let found = solve_with(&set, mode, Some(loss));
            assert!(found.outcome.converged(), "{loss:?} {mode:?}: {:?}", found.outcome);
            let scaling = &found.projected.scaling;
            let least = cost(&set, loss, &found.physical, scaling);
            let robust = found.robust.unwrap();
            assert!((robust.cost / least - 1.0).abs() < 1e-10, "{loss:?}: {} {least}", robust.cost);
            // nothing nearby is better, along each parameter by a small part of its error
            for k in 0..found.physical.len() {
                for sign in [-0.05, 0.05] {
                    let mut beside = found.physical.clone();
                    beside[k] += sign * found.covariance.physical[k];
                    let there = cost(&set, loss, &beside, scaling);
                    assert!(there >= least * (1.0 - 1e-12), "{loss:?} {mode:?} parameter {k}: {there} {least}");
                }
            }
            for by in [(1e-4, 0.0), (-1e-4, 0.0), (0.0, 1e-4), (0.0, -1e-4)] {
                let beside: Vec<_> = scaling.iter().map(|(c, o)| (c + by.0, o + by.1)).collect();
                assert!(cost(&set, loss, &found.physical, &beside) > least, "{loss:?} {mode:?}");
            }
        }
    }
}

#[test]
fn outliers_rule_least_squares_but_not_robust_fits() {
    let set = with_outliers(static_set(200, vec![0.0, 60.0, 100.0], [1e4, -0.5, 300.0], 0.01, 11), 20.0, 5);
    let values = |found: &Fit| [&found.physical[..], &[found.projected.scaling[0].1]].concat();
    let truth = [&set.truth[..], &[1.0]].concat();
    // in the errors of `by`
    let off = |found: &Fit, by: &Fit| {
        let errors = [&by.covariance.physical[..], &[by.covariance.mean_scaling.1]].concat();
        let pulls = values(found).into_iter().zip(&truth).zip(errors).map(|((v, t), e)| ((v - t) / e).abs());
        pulls.fold(0.0, f64::max)
    };
    let plain = solve_with(&set, ScalingMode::Averaged, None);
    for loss in Loss::ALL {
        let found = solve_with(&set, ScalingMode::Averaged, Some(loss));
        assert!(off(&found, &found) < 3.0, "{loss:?}: {}", off(&found, &found));
        assert!(off(&plain, &found) > 3.0, "{loss:?}: {}", off(&plain, &found));
        assert!(found.projected.chi2 > plain.projected.chi2);
    }
}

#[test]
fn without_outliers_a_robust_fit_agrees_and_its_errors_are_right() {
    let (mut pulls, mut ratio) = (Vec::new(), 0.0);
    let runs = 12;
    for seed in 0..runs {
        let set = static_set(120, vec![0.0, 90.0], [1e4, -0.5, 300.0], 0.01, 100 + seed);
        let plain = solve_with(&set, ScalingMode::Averaged, None);
        let found = solve_with(&set, ScalingMode::Averaged, Some(Loss::SoftL1));
        for k in 0..3 {
            pulls.push((found.physical[k] - set.truth[k]) / found.covariance.physical[k]);
            ratio += found.covariance.physical[k] / plain.covariance.physical[k] / (3 * runs) as f64;
        }
    }
    let spread = (pulls.iter().map(|p| p * p).sum::<f64>() / pulls.len() as f64).sqrt();
    assert!((0.6..1.5).contains(&spread), "{spread}");
    // robustness costs a few per cent of precision (5 % for Gaussian noise)
    assert!((1.0..1.12).contains(&ratio), "{ratio}");
}
