//! One transition of the No-U-Turn sampler.
//!
//! Hoffman and Gelman, J. Mach. Learn. Res. 15 (2014) 1593, with draws weighed along the trajectory as in Betancourt,
//! arXiv:1701.02434 (appendix A.3), and its turn judged by the sum of momenta, across halves, too (section A.4.2). Chains move in
//! coordinates in which the metric is one ([`super::adaptation::Metric`]), so that momentum and velocity are the same.

use rand::{Rng, RngExt};
use rand_distr::{Distribution, StandardNormal};

/// Rise of the energy at which a trajectory has left the level set that it should follow.
const DIVERGENT: f64 = 1000.0;

/// A place that a trajectory has come to.
#[derive(Debug, Clone)]
pub struct Position<T> {
    /// Coordinates.
    pub z: Vec<f64>,
    /// ln of the density; −∞ outside of its support.
    pub ln_density: f64,
    /// Its gradient.
    pub gradient: Vec<f64>,
    /// What else is known there.
    pub what: T,
}

/// How a transition went.
#[derive(Debug, Clone)]
pub struct Transition<T> {
    /// Where it ended.
    pub to: Position<T>,
    /// Energy there, with the momentum that the trajectory had.
    pub energy: f64,
    /// Mean acceptance probability along the trajectory.
    pub acceptance: f64,
    /// Doublings.
    pub depth: u32,
    /// Steps.
    pub n_steps: u32,
    /// Whether the energy ran away.
    pub diverged: bool,
}

/// A place with a momentum.
#[derive(Clone)]
struct Moving<T> {
    at: Position<T>,
    momentum: Vec<f64>,
}

impl<T> Moving<T> {
    fn energy(&self) -> f64 {
        0.5 * dot(&self.momentum, &self.momentum) - self.at.ln_density
    }
}

/// A stretch of a trajectory, in the order of time.
struct Stretch<T> {
    first: Moving<T>,
    last: Moving<T>,
    /// Sum of all momenta.
    sum: Vec<f64>,
    /// One of its places, by weight, and the energy there.
    chosen: (Position<T>, f64),
    /// ln of the sum of all weights.
    ln_weight: f64,
}

/// Everything that one transition counts.
struct Walk<'a, T, R, F> {
    step: f64,
    begin: f64,
    rng: &'a mut R,
    density: F,
    acceptance: f64,
    n_steps: u32,
    diverged: bool,
    _of: std::marker::PhantomData<T>,
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn sum(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a + b).collect()
}

/// ln(e^a + e^b).
fn ln_sum(a: f64, b: f64) -> f64 {
    let (small, large) = if a < b { (a, b) } else { (b, a) };
    if small == f64::NEG_INFINITY { large } else { large + (small - large).exp().ln_1p() }
}

/// Whether a stretch with these momenta at its ends and this sum of momenta still runs ahead.
fn runs(first: &[f64], last: &[f64], sum: &[f64]) -> bool {
    dot(first, sum) > 0.0 && dot(last, sum) > 0.0
}

/// Whether two neighbouring stretches together still run ahead.
fn run_together<T>(left: &Stretch<T>, right: &Stretch<T>) -> bool {
    let whole = sum(&left.sum, &right.sum);
    runs(&left.first.momentum, &right.last.momentum, &whole)
        && runs(&left.first.momentum, &right.first.momentum, &sum(&left.sum, &right.first.momentum))
        && runs(&left.last.momentum, &right.last.momentum, &sum(&right.sum, &left.last.momentum))
}

/// Moves from a position by steps of this length, along at most 2^`most_doublings` of them. `density` gives the position at
/// coordinates.
pub async fn transition<T: Clone, R: Rng>(
    from: &Position<T>,
    step: f64,
    most_doublings: u32,
    rng: &mut R,
    density: impl AsyncFnMut(&[f64]) -> Position<T>,
) -> Transition<T> {
    let momentum = from.z.iter().map(|_| StandardNormal.sample(rng)).collect();
    let start = Moving { at: from.clone(), momentum };
    let begin = start.energy();
    let mut walk =
        Walk { step, begin, rng, density, acceptance: 0.0, n_steps: 0, diverged: false, _of: std::marker::PhantomData };
    let mut all = Stretch {
        sum: start.momentum.clone(),
        chosen: (from.clone(), begin),
        ln_weight: 0.0,
        first: start.clone(),
        last: start,
    };
    let mut depth = 0;
    while depth < most_doublings {
        let forward = walk.rng.random::<bool>();
        let edge = if forward { &all.last } else { &all.first };
        let Some(more) = walk.stretch(edge, depth, forward).await else { break };
        depth += 1;
        // the new half is preferred by its weight against the old one's, which moves farther than a fair draw from both
        let share = (more.ln_weight - all.ln_weight).exp();
        if walk.rng.random::<f64>() < share {
            all.chosen = more.chosen.clone();
        }
        let (left, right) = if forward { (all, more) } else { (more, all) };
        let ahead = run_together(&left, &right);
        let chosen = if forward { left.chosen } else { right.chosen };
        all = Stretch {
            sum: sum(&left.sum, &right.sum),
            ln_weight: ln_sum(left.ln_weight, right.ln_weight),
            chosen,
            first: left.first,
            last: right.last,
        };
        if !ahead {
            break;
        }
    }
    let (to, energy) = all.chosen;
    Transition {
        to,
        energy,
        acceptance: walk.acceptance / f64::from(walk.n_steps.max(1)),
        depth,
        n_steps: walk.n_steps,
        diverged: walk.diverged,
    }
}

impl<T: Clone, R: Rng, F: AsyncFnMut(&[f64]) -> Position<T>> Walk<'_, T, R, F> {
    /// One step of the leapfrog.
    async fn leap(&mut self, from: &Moving<T>, forward: bool) -> Moving<T> {
        let step = if forward { self.step } else { -self.step };
        let kick = |momentum: &[f64], gradient: &[f64]| -> Vec<f64> {
            momentum.iter().zip(gradient).map(|(p, g)| p + 0.5 * step * g).collect()
        };
        let half = kick(&from.momentum, &from.at.gradient);
        let z: Vec<f64> = from.at.z.iter().zip(&half).map(|(z, p)| z + step * p).collect();
        let at = (self.density)(&z).await;
        Moving { momentum: kick(&half, &at.gradient), at }
    }

    /// 2^`depth` steps on from `edge`; `None` where they turn back or leave the support.
    async fn stretch(&mut self, edge: &Moving<T>, depth: u32, forward: bool) -> Option<Stretch<T>> {
        if depth == 0 {
            let to = self.leap(edge, forward).await;
            self.n_steps += 1;
            let energy = to.energy();
            let rise = if energy.is_finite() { energy - self.begin } else { f64::INFINITY };
            self.acceptance += (-rise).exp().min(1.0);
            if rise > DIVERGENT {
                // a wall is no fault of the integration
                self.diverged |= to.at.ln_density > f64::NEG_INFINITY;
                return None;
            }
            return Some(Stretch {
                sum: to.momentum.clone(),
                chosen: (to.at.clone(), energy),
                ln_weight: -rise,
                first: to.clone(),
                last: to,
            });
        }
        let near = Box::pin(self.stretch(edge, depth - 1, forward)).await?;
        let edge = if forward { &near.last } else { &near.first };
        let far = Box::pin(self.stretch(edge, depth - 1, forward)).await?;
        let ln_weight = ln_sum(near.ln_weight, far.ln_weight);
        let takes_far = self.rng.random::<f64>() < (far.ln_weight - ln_weight).exp();
        let (left, right) = if forward { (near, far) } else { (far, near) };
        let ahead = run_together(&left, &right);
        let sum = sum(&left.sum, &right.sum);
        let chosen = if takes_far == forward { right.chosen } else { left.chosen };
        ahead.then_some(Stretch { sum, chosen, ln_weight, first: left.first, last: right.last })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand_chacha::ChaCha8Rng;
    use std::task::{Context, Poll, Waker};

    /// What a future comes to that needn't wait.
    fn at_once<T>(future: impl Future<Output = T>) -> T {
        match std::pin::pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => done,
            Poll::Pending => panic!("it waits"),
        }
    }

    /// Draws from a density on the line given by ln and its derivative.
    fn draws(
        step: f64,
        n: usize,
        seed: u64,
        d: usize,
        density: impl Fn(&[f64]) -> (f64, Vec<f64>),
    ) -> (Vec<Vec<f64>>, f64) {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let at = |z: &[f64]| {
            let (ln_density, gradient) = density(z);
            Position { z: z.to_vec(), ln_density, gradient, what: () }
        };
        let mut position = at(&vec![0.1; d]);
        let (mut out, mut acceptance) = (Vec::new(), 0.0);
        for _ in 0..n {
            let done = at_once(transition(&position, step, 10, &mut rng, async |z: &[f64]| at(z)));
            acceptance += done.acceptance;
            position = done.to;
            out.push(position.z.clone());
        }
        (out, acceptance / n as f64)
    }

    fn normal(z: &[f64]) -> (f64, Vec<f64>) {
        (-0.5 * dot(z, z), z.iter().map(|z| -z).collect())
    }

    fn moments(draws: &[Vec<f64>], k: usize) -> (f64, f64) {
        let n = draws.len() as f64;
        let mean = draws.iter().map(|z| z[k]).sum::<f64>() / n;
        (mean, draws.iter().map(|z| (z[k] - mean).powi(2)).sum::<f64>() / n)
    }

    #[test]
    fn normal_draws_have_mean_variance_and_quantiles() {
        for step in [0.3, 0.9, 1.4] {
            let (draws, acceptance) = draws(step, 20_000, 7, 3, normal);
            assert!(acceptance > 0.5, "{acceptance}");
            for k in 0..3 {
                let (mean, variance) = moments(&draws, k);
                assert!(mean.abs() < 0.04 && (variance - 1.0).abs() < 0.05, "{step} {k}: {mean} {variance}");
                let beyond = draws.iter().filter(|z| z[k].abs() > 1.959_964).count() as f64 / draws.len() as f64;
                assert!((beyond - 0.05).abs() < 0.007, "{step} {k}: {beyond}");
            }
        }
    }

    #[test]
    fn walls_and_wrong_gradients_cost_no_exactness() {
        // a half-normal with its wall at 0, and forces that are 20 % too weak
        let half = |z: &[f64]| {
            if z[0] > 0.0 { (-0.5 * z[0] * z[0], vec![-0.8 * z[0]]) } else { (f64::NEG_INFINITY, vec![0.0]) }
        };
        let (draws, _) = draws(0.5, 60_000, 11, 1, half);
        let (mean, variance) = moments(&draws, 0);
        let expected = (2.0 / std::f64::consts::PI).sqrt();
        assert!((mean - expected).abs() < 0.02, "{mean} {expected}");
        assert!((variance - (1.0 - expected * expected)).abs() < 0.02, "{variance}");
    }

    #[test]
    fn an_energy_that_runs_away_is_told() {
        let steep = |z: &[f64]| (-1e6 * z[0] * z[0], vec![-2e6 * z[0]]);
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let at = |z: &[f64]| {
            let (ln_density, gradient) = steep(z);
            Position { z: z.to_vec(), ln_density, gradient, what: () }
        };
        let from = at(&[1e-3]);
        let done = at_once(transition(&from, 1.0, 10, &mut rng, async |z: &[f64]| at(z)));
        assert!(done.diverged && done.to.z == from.z && done.n_steps == 1);
    }
}
