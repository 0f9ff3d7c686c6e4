//! One chain: warm-up, draws, and all that it has to remember between two transitions.

use nalgebra::DMatrix;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};
use serde::{Deserialize, Serialize};

use super::adaptation::{Metric, Schedule, StepSize, Window};
use super::nuts::{Position, transition};
use super::posterior::{Posterior, Seen, Start, rectangle};
use super::truncated::Bivariate;
use super::{Draw, SamplerConfig};

/// Step to begin with, in units of the metric, before the dimension is taken into account.
const FIRST_STEP: f64 = 0.9;
/// How many times wider than the fit's errors chains begin.
const WIDER: f64 = 1.5;
/// Tries of a start, each at half the distance of the one before; the last is the fit itself.
const TRIES: usize = 12;
/// Tries of a draw of contrast and offset inside bounds that cut several coefficients.
const INSIDE_TRIES: usize = 1000;

/// A chain between two transitions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Chain {
    /// Transitions made, warm-up included.
    made: usize,
    rng: ChaCha8Rng,
    metric: Metric,
    step: StepSize,
    window: Window,
    /// Where it is; `None` before the first evaluation.
    at: Option<(Vec<f64>, Seen)>,
}

/// What a transition brought.
#[derive(Debug, Clone)]
pub struct Told {
    /// The chain after it.
    pub chain: Chain,
    /// The draw; `None` while warming up.
    pub draw: Option<Draw>,
    /// Steps that it took.
    pub n_steps: u32,
}

/// What all chains are given.
#[derive(Debug)]
pub struct Plan<'a> {
    /// Lengths, target, seed.
    pub config: &'a SamplerConfig,
    /// The density.
    pub posterior: &'a Posterior<'a>,
    /// Where it begins.
    pub start: Start,
    /// When windows end.
    pub schedule: Schedule,
}

impl<'a> Plan<'a> {
    /// From a start.
    pub fn new(config: &'a SamplerConfig, posterior: &'a Posterior<'a>, start: Start) -> Self {
        Self { config, posterior, start, schedule: Schedule::new(config.n_warmup) }
    }

    /// Transitions of a chain.
    pub fn length(&self) -> usize {
        self.config.n_warmup + self.config.n_draws
    }

    /// A chain that hasn't begun; `None` where the covariance isn't positive.
    pub fn chain(&self, number: usize) -> Option<Chain> {
        let mut rng = ChaCha8Rng::seed_from_u64(self.config.seed);
        rng.set_stream(number as u64);
        let step = FIRST_STEP * (self.start.centre.len().max(1) as f64).powf(-0.25);
        Some(Chain {
            made: 0,
            rng,
            metric: Metric::new(self.start.centre.clone(), &self.start.covariance)?,
            step: StepSize::new(step, self.config.target_accept),
            window: Window::default(),
            at: None,
        })
    }
}

impl Chain {
    /// Transitions made, warm-up included.
    pub fn made(&self) -> usize {
        self.made
    }

    /// The step in use.
    pub fn step(&self) -> f64 {
        self.step.get()
    }

    /// Whether it has a place.
    pub fn has_begun(&self) -> bool {
        self.at.is_some()
    }

    /// Looks for a start around the centre, the farthest first; it stays without one where the density is zero everywhere.
    pub async fn begin(&mut self, plan: &Plan<'_>, look: &mut impl AsyncFnMut(&[f64]) -> Option<Seen>) {
        let away: Vec<f64> = plan.start.centre.iter().map(|_| StandardNormal.sample(&mut self.rng)).collect();
        for k in 0..TRIES {
            let scale = if k + 1 == TRIES { 0.0 } else { WIDER * 0.5f64.powi(k as i32) };
            let x = self.metric.x(&away.iter().map(|z| scale * z).collect::<Vec<_>>());
            if let Some(seen) = look(&x).await {
                self.at = Some((x, seen));
                break;
            }
        }
    }

    /// Makes a transition.
    ///
    /// # Panics
    /// Where the chain has no place.
    pub async fn go_on(mut self, plan: &Plan<'_>, look: &mut impl AsyncFnMut(&[f64]) -> Option<Seen>) -> Told {
        let (config, step) = (plan.config, self.step.get());
        let (x, seen) = self.at.take().expect("a chain that has begun");
        let metric = &self.metric;
        let position = |z: &[f64], seen: Option<Seen>| match seen {
            Some(seen) => {
                let gradient = metric.gradient(&seen.gradient);
                Position { z: z.to_vec(), ln_density: seen.ln_density, gradient, what: Some(seen) }
            }
            None => Position { z: z.to_vec(), ln_density: f64::NEG_INFINITY, gradient: vec![0.0; z.len()], what: None },
        };
        let from = position(&metric.z(&x), Some(seen));
        // it stays exactly where it was unless it moves
        let stays = from.z.clone();
        let look_there = async |z: &[f64]| position(z, look(&metric.x(z)).await);
        let done = transition(&from, step, config.max_tree_depth, &mut self.rng, look_there).await;
        let x = if done.to.z == stays { x } else { metric.x(&done.to.z) };
        let seen = done.to.what.expect("a place with density");
        self.made += 1;
        let draw = (self.made > config.n_warmup).then(|| Draw {
            scaling: scaling(plan.posterior, &seen, &mut self.rng),
            physical: seen.physical.clone(),
            sigma: seen.sigma,
            ln_density: seen.ln_density,
            energy: done.energy,
            acceptance: done.acceptance,
            step,
            depth: done.depth,
            n_steps: done.n_steps,
            diverged: done.diverged,
        });
        if draw.is_none() {
            self.learn(plan, done.acceptance, &x);
        }
        self.at = Some((x, seen));
        Told { chain: self, draw, n_steps: done.n_steps }
    }

    /// Warms up by a transition.
    fn learn(&mut self, plan: &Plan, acceptance: f64, x: &[f64]) {
        self.step.learn(acceptance);
        if plan.schedule.in_window(self.made) {
            self.window.push(x);
        }
        if plan.schedule.ends(self.made) {
            if let Some(metric) = std::mem::take(&mut self.window).metric(plan.start.covariance.as_slice()) {
                self.metric = metric;
            }
            self.step.restart();
        }
        if self.made == plan.config.n_warmup {
            self.step.settle();
        }
    }
}

/// (contrast, offset) of every angle, drawn from what is known of them there.
fn scaling(posterior: &Posterior, seen: &Seen, rng: &mut impl Rng) -> Vec<(f64, f64)> {
    let reference = posterior.reference();
    let mut out = reference.to_vec();
    for (group, given) in posterior.groups().iter().zip(&seen.conditional) {
        let n = given.mean.len();
        let covariance = |i: usize, j: usize| given.covariance[j * n + i];
        if n == 2 {
            let normal = Bivariate {
                mean: [given.mean[0], given.mean[1]],
                covariance: [[covariance(0, 0), covariance(0, 1)], [covariance(1, 0), covariance(1, 1)]],
            };
            let at = reference[group.angles[0]];
            let [contrast, offset] = normal.draw_inside(&rectangle(group, at), rng);
            group.angles.iter().for_each(|&angle| out[angle] = (at.0 + contrast, at.1 + offset));
            continue;
        }
        let Some(factor) = DMatrix::from_fn(n, n, covariance).cholesky() else { continue };
        let m = n / 2;
        for _ in 0..INSIDE_TRIES {
            let z = nalgebra::DVector::from_fn(n, |_, _| StandardNormal.sample(rng));
            let delta = nalgebra::DVector::from_column_slice(&given.mean) + factor.l_dirty().lower_triangle() * z;
            let mut inside = true;
            for (member, (&angle, bounds)) in group.angles.iter().zip(&group.bounds).enumerate() {
                let row = group.design.row(member).transpose();
                let (at_c, at_o) = reference[angle];
                let value = (at_c + row.dot(&delta.rows(0, m)), at_o + row.dot(&delta.rows(m, m)));
                inside &= (bounds.contrast.0..=bounds.contrast.1).contains(&value.0)
                    && (bounds.offset.0..=bounds.offset.1).contains(&value.1);
                let clamped = |v: f64, (low, high): (f64, f64)| v.clamp(low, high);
                out[angle] = (clamped(value.0, bounds.contrast), clamped(value.1, bounds.offset));
            }
            if inside {
                break;
            }
        }
    }
    out
}
