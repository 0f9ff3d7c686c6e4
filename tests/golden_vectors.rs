//! The pointwise model against values and derivatives computed by the Python package `homodyne` 2.23.3.
//!
//! `c2_vectors.json.gz` holds c2 and its derivatives by contrast, offset and the physical parameters for regular cases
//! and edges (exponents negative at t = 0, 90°, the series switch of sinc, underflow, both floors, many sinc lobes).
//! The package smooths |ΔC| as √(ΔC² + 1e-12) and floors g1 = √g at 1e-10; we do neither.

use std::io::Read;
use std::path::Path;

use homodyne_mpi::model::{AnalysisMode, Basis, BlockAxis, Experiment, ShearConvention, TimeAxis, reference};
use serde_json::Value;

/// What the package adds to ΔC² before it takes the root.
const SMOOTHING: f64 = 1e-12;
/// Below this the package takes g1 for constant.
const G1_FLOOR: f64 = 1e-10;
/// The case in which time step and times contradict each other: no file can produce it.
const LEFT_OUT: &str = "dt_inferred_vs_config";

struct Case {
    name: String,
    experiment: Experiment,
    contrast: f64,
    offset: f64,
    physical: Vec<f64>,
    c2: Vec<f64>,
    jacobian: Vec<f64>,
}

/// c2 of one pair with its derivatives by contrast, offset and the physical parameters.
struct Row {
    c2: f64,
    derivatives: Vec<f64>,
}

impl Case {
    fn from_json(case: &Value) -> Self {
        let numbers =
            |key: &str| -> Vec<f64> { case[key].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect() };
        let mode =
            if case["mode"] == "laminar_flow" { AnalysisMode::LaminarFlow } else { AnalysisMode::StaticAnisotropic };
        let (params, t, dt) = (numbers("params"), numbers("t"), case["dt"].as_f64().unwrap());
        Self {
            name: format!("{} ({})", case["name"].as_str().unwrap(), mode.name()),
            experiment: Experiment {
                mode,
                convention: ShearConvention::Homodyne,
                q: case["q"].as_f64().unwrap(),
                gap: case["L"].as_f64().unwrap(),
                dt,
                phi: numbers("phi_deg"),
                n_frames: t.len(),
                time_offset: (t[0] / dt).round() as usize,
            },
            contrast: params[0],
            offset: params[1],
            physical: params[2..].to_vec(),
            c2: numbers("c2"),
            jacobian: numbers("jac"),
        }
    }

    fn axis(&self) -> TimeAxis {
        TimeAxis::new(&self.experiment, &self.physical, Basis::Natural)
    }

    fn n_parameters(&self) -> usize {
        2 + self.physical.len()
    }

    /// All pairs i < j of all angles.
    fn pairs(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let (k, n) = (self.experiment.n_angles(), self.experiment.n_frames);
        (0..k).flat_map(move |angle| (0..n).flat_map(move |i| (i + 1..n).map(move |j| (angle, i, j))))
    }

    fn expected(&self, (angle, i, j): (usize, usize, usize)) -> Row {
        let (n, p) = (self.experiment.n_frames, self.n_parameters());
        let entry = (angle * n + i) * n + j;
        Row { c2: self.c2[entry], derivatives: self.jacobian[entry * p..(entry + 1) * p].to_vec() }
    }

    /// The largest value of every derivative among the pairs.
    fn largest(&self) -> Vec<f64> {
        let mut largest = vec![0.0_f64; self.n_parameters()];
        for pair in self.pairs() {
            for (max, value) in largest.iter_mut().zip(self.expected(pair).derivatives) {
                *max = max.max(value.abs());
            }
        }
        largest
    }

    fn row(&self, g: f64, dg: &[f64]) -> Row {
        let scaled = dg[..self.physical.len()].iter().map(|d| self.contrast * d);
        Row { c2: self.offset + self.contrast * g, derivatives: [g, 1.0].into_iter().chain(scaled).collect() }
    }

    /// Whether the package's floor is at work: there its derivatives are exactly zero.
    fn floored(&self, g: f64) -> bool {
        g.sqrt() < G1_FLOOR
    }
}

fn cases() -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/c2_vectors.json.gz");
    let mut text = String::new();
    flate2::read::GzDecoder::new(std::fs::File::open(file).unwrap()).read_to_string(&mut text).unwrap();
    let all: Value = serde_json::from_str(&text).unwrap();
    let cases: Vec<Case> =
        all["cases"].as_array().unwrap().iter().filter(|c| c["name"] != LEFT_OUT).map(Case::from_json).collect();
    assert_eq!(cases.len(), 33);
    cases
}

/// Smoothed ΔC and how much a change of ΔC changes it.
fn smoothed(block: &BlockAxis, i: usize, j: usize) -> (f64, f64) {
    let d = block.integral.difference(i, j);
    let smooth = (d * d + SMOOTHING).sqrt();
    (smooth, d / smooth)
}

/// The package's formulas, smoothing and floor included, on our time axis.
fn as_the_package(case: &Case, axis: &TimeAxis, (angle, i, j): (usize, usize, usize)) -> Row {
    let k = case.experiment.diffusion_factor();
    let (delta, slope) = smoothed(&axis.diffusion, i, j);
    let e = (-k * delta).exp();
    let mut dg = [0.0; 7];
    let mut g = e;
    if let Some(shear) = &axis.shear {
        let (p, dp) = axis.phase_factors(&case.experiment, angle);
        let (gamma, gamma_slope) = smoothed(shear, i, j);
        let x = p * gamma;
        // the series where cos x − sin(x)/x cancels, as the package has one
        let (sinc, dsinc) = if x.abs() < 1e-2 {
            (1.0 - x * x / 6.0 * (1.0 - x * x / 20.0), -x / 3.0 * (1.0 - x * x / 10.0 * (1.0 - x * x / 28.0)))
        } else {
            (x.sin() / x, (x.cos() - x.sin() / x) / x)
        };
        g = e * sinc.powi(4);
        let by_x = 4.0 * e * sinc.powi(3) * dsinc;
        for (d, b) in dg[3..6].iter_mut().zip(&shear.derivatives) {
            *d = by_x * p * gamma_slope * b.difference(i, j);
        }
        dg[6] = by_x * dp * gamma;
    }
    for (d, a) in dg.iter_mut().zip(&axis.diffusion.derivatives) {
        *d = -k * g * slope * a.difference(i, j);
    }
    if case.floored(g) {
        return case.row(G1_FLOOR * G1_FLOOR, &[0.0; 7]);
    }
    case.row(g, &dg)
}

/// How far rounding may take two ways of computing the same, relative to the largest value.
///
/// The package rounds its running integrals once per frame, which moves the exponent k·C and the phase p·C by that many
/// ulps of their largest value, and a derivative relatively by as much again; 4 for the operations that follow.
fn rounding(case: &Case, axis: &TimeAxis) -> f64 {
    let n = case.experiment.n_frames;
    let exponent = case.experiment.diffusion_factor() * axis.diffusion.integral.difference(0, n - 1);
    let phase = axis.shear.as_ref().map_or(0.0, |s| case.experiment.shear_factor() * s.integral.difference(0, n - 1));
    4.0 * n as f64 * f64::EPSILON * (1.0 + exponent + phase)
}

/// What the package loses in sinc'(x) = cos(x)/x − sin(x)/x² at small x, as an error of every physical derivative.
///
/// Each of the two terms is about 1/x and carries a few roundings. Below |x| = 1e-4 it has 1 − x²/6 instead, whose
/// derivative lacks the next term, x³/30.
fn cancellation(case: &Case, axis: &TimeAxis, (angle, i, j): (usize, usize, usize)) -> [f64; 7] {
    let mut lost = [0.0; 7];
    let Some(shear) = &axis.shear else { return lost };
    let (p, dp) = axis.phase_factors(&case.experiment, angle);
    let gamma = smoothed(shear, i, j).0;
    let x = (p * gamma).abs();
    let of_sinc = if x < 1e-4 { x.powi(3) / 30.0 } else { 8.0 * f64::EPSILON / x };
    for (lost, b) in lost[3..6].iter_mut().zip(&shear.derivatives) {
        *lost = 4.0 * case.contrast * of_sinc * (p * b.difference(i, j)).abs();
    }
    lost[6] = 4.0 * case.contrast * of_sinc * (dp * gamma).abs();
    lost
}

#[test]
fn with_the_packages_smoothing_values_and_derivatives_agree_to_rounding() {
    for case in cases() {
        let axis = case.axis();
        let (largest, rounding) = (case.largest(), rounding(&case, &axis));
        for pair in case.pairs() {
            let (own, expected) = (as_the_package(&case, &axis, pair), case.expected(pair));
            let difference = (own.c2 - expected.c2).abs();
            assert!(difference <= rounding * expected.c2, "{} {pair:?}: c2 differs by {difference:e}", case.name);
            let lost = cancellation(&case, &axis, pair);
            for (p, (a, b)) in own.derivatives.iter().zip(&expected.derivatives).enumerate() {
                let tolerance = rounding * largest[p] + p.checked_sub(2).map_or(0.0, |p| lost[p]);
                assert!((a - b).abs() <= tolerance, "{} {pair:?}, parameter {p}: {a:e}, expected {b:e}", case.name);
            }
        }
    }
}

#[test]
fn the_reference_agrees_but_for_the_smoothing() {
    for case in cases() {
        let axis = case.axis();
        let largest = case.largest();
        // At small x the phase enters as −(2/3)·x²: smoothing adds its constant to ΔC². Where shear is as small as
        // that, it is all there is of the derivative by phi0.
        let phi0 = 4.0 / 3.0 * case.contrast * case.experiment.shear_factor().powi(2) * 1_f64.to_radians() * SMOOTHING;
        for pair @ (angle, i, j) in case.pairs() {
            let value = reference::pair(&case.experiment, &axis, angle, i, j);
            assert_eq!(value.g, reference::shape(&case.experiment, &axis, angle, i, j));
            let (own, expected) = (case.row(value.g, &value.dg), case.expected(pair));
            let difference = (own.c2 - expected.c2).abs();
            assert!(difference <= 1e-8, "{} {pair:?}: c2 differs by {difference:e}", case.name);
            for (p, (a, b)) in own.derivatives.iter().zip(&expected.derivatives).enumerate() {
                let context = format!("{} {pair:?}, parameter {p}: {a:e}, expected {b:e}", case.name);
                if case.floored(value.g) && p != 1 {
                    // g < 1e-20, and exponent and phase change by less than 1e5 for a unit of any parameter
                    assert!(a.abs() < 1e-15 && b.abs() <= 1.01 * G1_FLOOR.powi(2), "{context}");
                } else {
                    let tolerance = 1e-7 * largest[p] + if p == 8 { phi0 } else { 0.0 };
                    assert!((a - b).abs() <= tolerance, "{context}");
                }
            }
        }
    }
}
