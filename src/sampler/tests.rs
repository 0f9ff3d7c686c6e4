//! The density against quadrature and finite differences, and chains that are stopped and go on.

use std::cell::RefCell;

use super::coordinates::{Coordinates, Shape};
use super::run::Record;
use super::{Draw, Noise, Plan, Posterior, SamplerConfig, sample, verify};
use crate::gram::{G, Gram, Level, Local, Objective, Pass, Point, R};
use crate::model::{
    AnalysisMode, Experiment, ParameterSpace, Prior, ScalingMode, ShearConvention, TimeAxis, reference,
};
use crate::solver::design::Scaling;
use crate::solver::{Fit, FitConfig, Task, fit};
use crate::{Error, Result};

const NOISE: f64 = 0.02;
/// What a fit of these tests' data knows, roughly.
const SHAPES: [Shape; 2] = [
    Shape { slope: -3e3, slope_width: 500.0, curvature_width: 2000.0 },
    Shape { slope: 1e-3, slope_width: 1e-3, curvature_width: 3e-3 },
];

/// A measurement with its pairs at hand.
struct Measured {
    experiment: Experiment,
    /// By angle, row by row.
    c2: Vec<Vec<Vec<f32>>>,
}

impl Measured {
    fn new(mode: AnalysisMode, n_frames: usize, phi: &[f64], physical: &[f64], contrast: f64) -> Self {
        let experiment = Experiment {
            mode,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 2e6,
            dt: 0.1,
            phi: phi.to_vec(),
            n_frames,
            time_offset: 0,
        };
        let axis = TimeAxis::without_derivatives(&experiment, physical);
        let noise = |angle: usize, i: usize, j: usize| {
            // two uniform numbers by hashing make a normal one
            let hash = |salt: u64| {
                let mut h = (i as u64) << 40 ^ (j as u64) << 20 ^ angle as u64 ^ salt << 60;
                h = (h ^ h >> 31).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                h = (h ^ h >> 29).wrapping_mul(0xBF58_476D_1CE4_E5B9);
                ((h ^ h >> 32) >> 11) as f64 / (1u64 << 53) as f64
            };
            (-2.0 * (1.0 - hash(1)).ln()).sqrt() * (2.0 * std::f64::consts::PI * hash(2)).cos()
        };
        let value = |angle: usize, i: usize, j: usize| {
            (1.0 + contrast * reference::shape(&experiment, &axis, angle, i, j) + NOISE * noise(angle, i, j)) as f32
        };
        let row = |angle, i| (0..n_frames).map(|j| if j > i { value(angle, i, j) } else { 0.0 }).collect();
        let c2 = (0..phi.len()).map(|angle| (0..n_frames).map(|i| row(angle, i)).collect()).collect();
        Self { experiment, c2 }
    }

    fn flow(n_frames: usize, n_angles: usize) -> Self {
        let phi: Vec<f64> = (0..n_angles).map(|k| -60.0 + 37.0 * k as f64).collect();
        Self::new(AnalysisMode::LaminarFlow, n_frames, &phi, &[9e3, -0.4, 300.0, 2e-3, 0.3, 1e-4, 5.0], 0.3)
    }

    fn objective(&self) -> Local {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        Local::new(self.experiment.clone(), pool, |angle, i| &self.c2[angle][i][i + 1..]).unwrap()
    }

    fn fit(&self, space: &ParameterSpace, mode: ScalingMode, sigma: Option<f64>) -> Fit {
        let config = FitConfig { global_search: true, ..FitConfig::default() };
        let task = Task { space, config: &config, mode, sigma, robust: None };
        fit(&task, &mut self.objective(), &mut |_| ()).unwrap()
    }

    /// Σ(r/s)² over the fitted pairs of one angle.
    fn chi2(&self, physical: &[f64], angle: usize, contrast: f64, offset: f64) -> f64 {
        let (e, n) = (&self.experiment, self.experiment.n_frames);
        let axis = TimeAxis::without_derivatives(e, physical);
        (1..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .map(|(i, j)| {
                let g = reference::shape(e, &axis, angle, i, j);
                ((f64::from(self.c2[angle][i][j]) - offset - contrast * g) / NOISE).powi(2)
            })
            .sum()
    }
}

fn grams(objective: &mut Local, posterior: &Posterior, x: &[f64]) -> Vec<Gram> {
    let point = posterior.point(x).unwrap();
    objective.evaluate(0, &[point], Pass::Slopes).unwrap().remove(0)
}

#[test]
fn the_gradient_is_the_finite_difference() {
    let measured = Measured::flow(60, 5);
    let mut objective = measured.objective();
    let mut space = ParameterSpace::for_mode(AnalysisMode::LaminarFlow);
    space.priors[0] = Prior::LogUniform;
    space.priors[1] = Prior::Normal { mean: 0.0, sd: 0.3 };
    space.priors[3] = Prior::LogNormal { mean: -6.0, sd: 0.5 };
    space.offset_prior = Prior::Normal { mean: 1.0, sd: 0.001 };
    let truth = [8.8e3, -0.41, 310.0, 2.1e-3, 0.28, 1.2e-4, 4.0];
    let cut = |space: &ParameterSpace| {
        let mut space = space.clone();
        // near the contrast that the data ask for
        space.contrast = (0.299, 1.0);
        space
    };
    for mode in
        [ScalingMode::Individual, ScalingMode::Averaged, ScalingMode::Fourier { order: 1 }, ScalingMode::Constant]
    {
        for (space, noise) in [
            (space.clone(), Noise::Known(NOISE)),
            (space.clone(), Noise::Sampled(NOISE)),
            (cut(&space), Noise::Sampled(NOISE)),
        ] {
            let mut space = space;
            space.held_scaling = vec![(0.3, 1.0); 5];
            let scaling = Scaling::new(mode, &measured.experiment.phi, &space).unwrap();
            let posterior = Posterior::new(&space, &scaling, vec![(0.3, 1.0); 5], &SHAPES, noise, &measured.experiment);
            let mut x = posterior.coordinates_of(&truth);
            if x.len() > 7 {
                x[7] = 0.03;
            }
            let sums = grams(&mut objective, &posterior, &x);
            let here = posterior.see(&x, &sums).unwrap();
            for k in 0..x.len() {
                let h = 3e-6 * x[k].abs().max(0.1);
                let mut at = |by: f64| {
                    let mut x = x.clone();
                    x[k] += by;
                    let sums = grams(&mut objective, &posterior, &x);
                    posterior.see(&x, &sums).unwrap().ln_density
                };
                let slope = (at(h) - at(-h)) / (2.0 * h);
                // rounding of a density of a few thousand
                let tolerance = 1e-5 * here.gradient[k].abs() + 1e-10 / h;
                assert!(
                    (slope - here.gradient[k]).abs() < tolerance,
                    "{mode:?} {noise:?} {k}: {slope} {}",
                    here.gradient[k]
                );
            }
        }
    }
}

#[test]
fn contrast_and_offset_are_integrated_over_their_bounds() {
    // so few pairs that the bounds matter
    let measured = Measured::new(AnalysisMode::Static, 12, &[0.0], &[9e3, -0.4, 300.0], 0.03);
    let mut objective = measured.objective();
    let mut space = ParameterSpace::for_mode(AnalysisMode::Static);
    space.contrast = (0.0, 0.05);
    space.offset = (0.995, 1.002);
    let scaling = Scaling::new(ScalingMode::Individual, &measured.experiment.phi, &space).unwrap();
    let posterior =
        Posterior::new(&space, &scaling, vec![(0.03, 1.0)], &SHAPES, Noise::Known(NOISE), &measured.experiment);
    let points = [[9e3, -0.4, 300.0], [3e3, 0.2, 1000.0], [4e4, -0.9, 500.0], [2e3, 1.0, 100.0]];
    let mut differences = Vec::new();
    for physical in points {
        let x = posterior.coordinates_of(&physical);
        let place = Coordinates::new(&space, &measured.experiment, &SHAPES).place(&x).unwrap();
        let sums = grams(&mut objective, &posterior, &x);
        let seen = posterior.see(&x, &sums).unwrap();
        // midpoint rule over the box
        let n = 400;
        let at = |k: usize, (low, high): (f64, f64)| low + (high - low) * (k as f64 + 0.5) / n as f64;
        let base = measured.chi2(&place.physical, 0, 0.03, 1.0);
        let (s, h) = quadratic(&measured, &place.physical);
        let sum: f64 = (0..n)
            .flat_map(|a| (0..n).map(move |b| (a, b)))
            .map(|(a, b)| {
                let (dc, d_o) = (at(a, space.contrast) - 0.03, at(b, space.offset) - 1.0);
                let chi2 =
                    base - 2.0 * (h[0] * dc + h[1] * d_o) + s[0] * dc * dc + 2.0 * s[1] * dc * d_o + s[2] * d_o * d_o;
                (-0.5 * chi2 + 0.5 * 60.0).exp()
            })
            .sum();
        differences.push(seen.ln_density - place.ln_jacobian - sum.ln());
    }
    for d in &differences[1..] {
        assert!((d - differences[0]).abs() < 1e-4, "{differences:?}");
    }
}

/// Σ g², Σ g, n and Σ g·r, Σ r against (0.03, 1), divided by σ².
fn quadratic(measured: &Measured, physical: &[f64]) -> ([f64; 3], [f64; 2]) {
    let (e, n) = (&measured.experiment, measured.experiment.n_frames);
    let axis = TimeAxis::without_derivatives(e, physical);
    let (mut s, mut h) = ([0.0; 3], [0.0; 2]);
    for i in 1..n {
        for j in i + 1..n {
            let g = reference::shape(e, &axis, 0, i, j);
            let r = f64::from(measured.c2[0][i][j]) - 1.0 - 0.03 * g;
            for (sum, value) in s.iter_mut().zip([g * g, g, 1.0]) {
                *sum += value / (NOISE * NOISE);
            }
            for (sum, value) in h.iter_mut().zip([g * r, r]) {
                *sum += value / (NOISE * NOISE);
            }
        }
    }
    (s, h)
}

/// An objective that fails after so many passes.
struct Failing<'a> {
    inner: &'a mut Local,
    left: usize,
}

impl Objective for Failing<'_> {
    fn experiment(&self) -> &Experiment {
        self.inner.experiment()
    }

    fn levels(&self) -> &[Level] {
        self.inner.levels()
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        self.left = self.left.checked_sub(1).ok_or_else(|| Error::Usage("stop".into()))?;
        self.inner.evaluate(level, points, pass)
    }
}

/// Nodes that see residuals which pull at g.
struct Spoiled<'o>(&'o mut Local);

impl Objective for Spoiled<'_> {
    fn experiment(&self) -> &Experiment {
        self.0.experiment()
    }

    fn levels(&self) -> &[Level] {
        self.0.levels()
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        let mut sums = self.0.evaluate(level, points, pass)?;
        if pass == Pass::Slopes {
            sums.iter_mut().flatten().for_each(|gram| gram.set(G, R, 1.001 * gram.at(G, R) + 0.01));
        }
        Ok(sums)
    }
}

#[test]
fn draws_of_a_well_determined_set_are_those_of_the_fit_and_go_on_to_the_same_bits() {
    let measured = Measured::new(AnalysisMode::Static, 150, &[0.0, 50.0], &[9e3, -0.6, 2e3], 0.3);
    let space = ParameterSpace::for_mode(AnalysisMode::Static);
    let mode = ScalingMode::Individual;
    let fit = measured.fit(&space, mode, Some(NOISE));
    let scaling = Scaling::new(mode, &measured.experiment.phi, &space).unwrap();
    let t_ref = measured.experiment.t_ref();
    let (posterior, start) = Posterior::around(&space, &scaling, &fit, Noise::Known(NOISE), &measured.experiment);
    let config = SamplerConfig { n_warmup: 150, n_draws: 500, n_chains: 3, ..SamplerConfig::default() };
    let plan = Plan::new(&config, &posterior, start);
    let mut objective = measured.objective();
    let whole = RefCell::new(Record::default());
    sample(&plan, &mut objective, &whole, &mut || ()).unwrap();
    let whole = whole.into_inner();
    let draws = whole.draws();
    assert_eq!(draws.iter().map(|chain| chain.len()).collect::<Vec<_>>(), [500; 3]);
    for (name, of) in [
        ("D_at_t_ref", &(|d: &Draw| d.physical[2] + d.physical[0] * t_ref.powf(d.physical[1])) as &dyn Fn(&_) -> _),
        ("contrast_1", &|d: &Draw| d.scaling[1].0),
        ("offset_0", &|d: &Draw| d.scaling[0].1),
    ] {
        let (value, error) = fit.estimate(&measured.experiment, name).unwrap();
        let all: Vec<f64> = draws.iter().copied().flatten().map(of).collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let sd = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / all.len() as f64).sqrt();
        assert!(((mean - value) / error).abs() < 0.25, "{name}: {mean} {value} ± {error}");
        assert!((sd / error - 1.0).abs() < 0.15, "{name}: {sd} {error}");
    }
    // some of them on all pairs, and where nodes tell something else of the noise
    let last: Vec<Draw> = draws.iter().map(|chain| chain[499].clone()).collect();
    let unresolved = verify(&plan, &mut objective, &last).unwrap();
    assert!(unresolved > 0.0 && unresolved < 1e-4, "{unresolved}");
    let spoiled = verify(&plan, &mut Spoiled(&mut objective), &last).unwrap();
    assert!(spoiled > 0.01 && spoiled.is_finite(), "{spoiled}");
    // stopped again and again, from bytes
    let mut known = Record::default();
    let mut left = 1;
    loop {
        let record = RefCell::new(known.clone());
        let mut failing = Failing { inner: &mut objective, left };
        let done = sample(&plan, &mut failing, &record, &mut || ());
        let bytes = postcard::to_stdvec(&record.into_inner()).unwrap();
        known = postcard::from_bytes(&bytes).unwrap();
        if done.is_ok() {
            break;
        }
        left = left * 3 + 2;
    }
    assert!(known == whole, "other draws");
}
