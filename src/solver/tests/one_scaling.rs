//! The test of one contrast and offset against fits with one and with own ones.

use super::modes::varying;
use super::*;
use crate::gram::overview::Smoothness;

const PHI: [f64; 5] = [-60.0, -20.0, 0.0, 30.0, 90.0];
/// Blocks of residuals that scatter as independent pairs let them.
const INDEPENDENT: Smoothness = Smoothness { between: 680.0, blocks: 680 };

/// Fits with one contrast and offset and with own ones; gives what the test says of the former, and by how much χ² fell.
fn tested(spread: f64, smooth: Smoothness, seed: u64) -> (OneScaling, f64) {
    let set = varying(120, &PHI, |phi| (0.3 + spread * (phi / 45.0).sin(), 1.0), 0.01, seed);
    let (space, config) = (ParameterSpace::for_mode(AnalysisMode::Static), config(true));
    let mut objective = set.objective();
    let mut fit = |mode| {
        let task = Task { space: &space, config: &config, mode, sigma: None, robust: None };
        super::super::fit(&task, &mut objective, &mut |_| {}).unwrap()
    };
    let (one, own) = (fit(ScalingMode::Averaged), fit(ScalingMode::Individual));
    let task = Task { space: &space, config: &config, mode: ScalingMode::Averaged, sigma: None, robust: None };
    let found = one_scaling(&task, &mut objective, &one, smooth).unwrap();
    let s2 = own.projected.chi2 / own.degrees_of_freedom;
    (found, (one.projected.chi2 - own.projected.chi2) / s2)
}

#[test]
fn the_gain_is_what_a_fit_with_own_contrasts_gains() {
    for (spread, is_refuted) in [(0.0, false), (0.001, true), (0.01, true)] {
        let (found, gained) = tested(spread, INDEPENDENT, 3);
        assert_eq!((found.coefficients, found.is_refuted()), (8, is_refuted), "{found:?}");
        // a parabola's: exact only for small differences
        assert!((found.gain - gained).abs() < 0.05 * gained.max(1.0), "{found:?} {gained}");
    }
}

#[test]
fn noise_that_pairs_share_is_not_taken_for_differences() {
    // blocks scatter a hundred times as much, and so may contrasts
    let shared = Smoothness { between: 68_000.0, blocks: 680 };
    let (found, _) = tested(0.001, shared, 3);
    assert!(!found.is_refuted() && found.by_noise > 50.0, "{found:?}");
}

#[test]
fn equal_contrasts_are_refuted_as_rarely_as_chance_has_it() {
    let refuted = (0..60).filter(|&seed| tested(0.0, INDEPENDENT, seed).0.probability < 0.1).count();
    // 6 expected, of standard deviation 2.3
    assert!((1..=14).contains(&refuted), "{refuted} of 60 below 10 %");
}
