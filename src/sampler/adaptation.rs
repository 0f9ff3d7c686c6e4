//! What a chain learns while it warms up: the length of a step and the metric.
//!
//! Step: dual averaging of its logarithm towards an acceptance (Hoffman and Gelman 2014, section 3.2, with their constants).
//! Metric: the covariance of the coordinates, at first the fit's own, then that of the draws of windows which double in length,
//! as Stan's reference manual has it (section "HMC algorithm parameters", automatic parameter tuning).

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

/// Share of the warm-up before the first window, which only moves chains to where the posterior is.
const BEFORE: f64 = 0.15;
/// Share after the last window, which only finds the step.
const AFTER: f64 = 0.1;
/// Draws of the first window.
const FIRST_WINDOW: usize = 25;
/// So many draws' worth counts the fit's covariance in that of a window.
const WORTH: f64 = 5.0;
/// Constants of dual averaging: γ, t₀, κ.
const GAMMA: f64 = 0.05;
const DELAY: f64 = 10.0;
const FORGETTING: f64 = 0.75;

/// Coordinates in which the covariance is one: x = centre + factor·z.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Metric {
    centre: Vec<f64>,
    /// Lower triangular, row by row.
    factor: Vec<f64>,
}

impl Metric {
    /// Of a covariance; `None` where it isn't positive.
    pub fn new(centre: Vec<f64>, covariance: &DMatrix<f64>) -> Option<Self> {
        let factor = covariance.clone().cholesky()?.unpack();
        let d = centre.len();
        let row_by_row = (0..d * d).map(|k| if k % d <= k / d { factor[(k / d, k % d)] } else { 0.0 }).collect();
        Some(Self { centre, factor: row_by_row })
    }

    fn dim(&self) -> usize {
        self.centre.len()
    }

    /// x of z.
    pub fn x(&self, z: &[f64]) -> Vec<f64> {
        let d = self.dim();
        (0..d).map(|i| self.centre[i] + (0..=i).map(|k| self.factor[i * d + k] * z[k]).sum::<f64>()).collect()
    }

    /// z of x.
    pub fn z(&self, x: &[f64]) -> Vec<f64> {
        let d = self.dim();
        let mut z = vec![0.0; d];
        for i in 0..d {
            let known: f64 = (0..i).map(|k| self.factor[i * d + k] * z[k]).sum();
            z[i] = (x[i] - self.centre[i] - known) / self.factor[i * d + i];
        }
        z
    }

    /// Gradient by z from the one by x.
    pub fn gradient(&self, by_x: &[f64]) -> Vec<f64> {
        let d = self.dim();
        (0..d).map(|k| (k..d).map(|i| self.factor[i * d + k] * by_x[i]).sum()).collect()
    }
}

/// The step's length.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepSize {
    target: f64,
    /// ln of what is used while adapting,
    now: f64,
    /// and of what is used then.
    averaged: f64,
    /// Towards which it is drawn.
    towards: f64,
    shortfall: f64,
    count: f64,
}

impl StepSize {
    /// Begins at a step.
    pub fn new(step: f64, target: f64) -> Self {
        let mut out = Self { target, now: step.ln(), averaged: 0.0, towards: 0.0, shortfall: 0.0, count: 0.0 };
        out.restart();
        out
    }

    /// Begins anew from the step in use, after the metric has changed.
    pub fn restart(&mut self) {
        *self = Self { averaged: self.now, towards: self.now + 10f64.ln(), shortfall: 0.0, count: 0.0, ..*self };
    }

    /// Learns from a transition.
    pub fn learn(&mut self, acceptance: f64) {
        self.count += 1.0;
        let weight = 1.0 / (self.count + DELAY);
        self.shortfall += weight * (self.target - acceptance - self.shortfall);
        self.now = self.towards - self.count.sqrt() / GAMMA * self.shortfall;
        let weight = self.count.powf(-FORGETTING);
        self.averaged += weight * (self.now - self.averaged);
    }

    /// Ends: from now on it stays.
    pub fn settle(&mut self) {
        self.now = self.averaged;
    }

    /// The step to take.
    pub fn get(&self) -> f64 {
        self.now.exp()
    }
}

/// Mean and covariance of what is pushed (Welford's recurrence).
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Window {
    n: f64,
    mean: Vec<f64>,
    /// Sums of squares and products, column by column.
    sums: Vec<f64>,
}

impl Window {
    /// Takes a draw in.
    pub fn push(&mut self, x: &[f64]) {
        let d = x.len();
        self.mean.resize(d, 0.0);
        self.sums.resize(d * d, 0.0);
        self.n += 1.0;
        let before: Vec<f64> = x.iter().zip(&self.mean).map(|(x, m)| x - m).collect();
        for (mean, by) in self.mean.iter_mut().zip(&before) {
            *mean += by / self.n;
        }
        for i in 0..d {
            for j in 0..d {
                self.sums[j * d + i] += before[i] * (x[j] - self.mean[j]);
            }
        }
    }

    /// The metric that follows, drawn a little towards a first guess of the covariance; `None` from too few draws.
    pub fn metric(&self, guess: &[f64]) -> Option<Metric> {
        if self.n < 2.0 {
            return None;
        }
        let d = self.mean.len();
        let share = self.n / (self.n + WORTH);
        let covariance = DMatrix::from_fn(d, d, |i, j| {
            let own = 0.5 * (self.sums[j * d + i] + self.sums[i * d + j]) / (self.n - 1.0);
            share * own + (1.0 - share) * guess[j * d + i]
        });
        Metric::new(DVector::from_column_slice(&self.mean).as_slice().to_vec(), &covariance)
    }
}

/// After which transitions of a warm-up windows begin and end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    /// Ends of windows, as the number of transitions made by then; the first is where the first begins.
    edges: Vec<usize>,
}

impl Schedule {
    /// Of a warm-up of so many transitions.
    pub fn new(n_warmup: usize) -> Self {
        let begin = (BEFORE * n_warmup as f64) as usize;
        let end = n_warmup - (AFTER * n_warmup as f64) as usize;
        let mut edges = vec![begin];
        let (mut at, mut length) = (begin, FIRST_WINDOW);
        while at < end {
            // the last one takes what would be too little for another
            at = if at + length + 2 * length > end { end } else { at + length };
            edges.push(at);
            length *= 2;
        }
        Self { edges }
    }

    /// Whether draws after so many transitions are in a window.
    pub fn in_window(&self, made: usize) -> bool {
        self.edges.first().is_some_and(|&first| made > first) && self.edges.last().is_some_and(|&last| made <= last)
    }

    /// Whether a window ends after so many transitions.
    pub fn ends(&self, made: usize) -> bool {
        self.edges.get(1..).is_some_and(|ends| ends.contains(&made))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_metric_goes_there_and_back() {
        let covariance = DMatrix::from_row_slice(2, 2, &[4.0, 1.2, 1.2, 1e-6 + 0.36]);
        let metric = Metric::new(vec![1.0, -2.0], &covariance).unwrap();
        let z = [0.3, -1.7];
        let x = metric.x(&z);
        for (a, b) in metric.z(&x).iter().zip(z) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        // ∂f/∂z of f = x·g is factorᵀ·g
        let g = [0.7, -3.0];
        let h = 1e-6;
        for (k, slope) in metric.gradient(&g).into_iter().enumerate() {
            let f = |by: f64| {
                let mut z = z;
                z[k] += by;
                metric.x(&z).iter().zip(g).map(|(x, g)| x * g).sum::<f64>()
            };
            assert!(((f(h) - f(-h)) / (2.0 * h) - slope).abs() < 1e-7);
        }
    }

    #[test]
    fn a_window_learns_mean_and_covariance() {
        let mut window = Window::default();
        let draws: Vec<[f64; 2]> = (0..4000u32)
            .map(|k| {
                let (a, b) = (f64::from(k * 7919 % 4001) / 4001.0 - 0.5, f64::from(k * 104_729 % 4003) / 4003.0 - 0.5);
                [10.0 + a, 3.0 * a + 0.1 * b]
            })
            .collect();
        draws.iter().for_each(|x| window.push(x));
        let metric = window.metric(&[1.0, 0.0, 0.0, 1.0]).unwrap();
        let twelfth = 1.0 / 12.0;
        assert!((metric.factor[0].powi(2) - twelfth).abs() < 3e-3, "{metric:?}");
        assert!((metric.factor[0] * metric.factor[2] - 3.0 * twelfth).abs() < 5e-3, "{metric:?}");
        assert!((metric.centre[0] - 10.0).abs() < 1e-2);
    }

    #[test]
    fn the_step_settles_where_acceptance_is_as_asked() {
        // a sampler whose acceptance falls as the step grows
        let mut step = StepSize::new(5.0, 0.8);
        for _ in 0..500 {
            let acceptance = (-0.5 * step.get()).exp();
            step.learn(acceptance);
        }
        step.settle();
        let expected = -2.0 * 0.8f64.ln();
        assert!((step.get() / expected - 1.0).abs() < 0.05, "{} {expected}", step.get());
    }

    #[test]
    fn windows_double_and_fill_the_warm_up() {
        let schedule = Schedule::new(1000);
        assert_eq!(schedule.edges, [150, 175, 225, 325, 900]);
        assert!(
            !schedule.in_window(150) && schedule.in_window(151) && schedule.in_window(900) && !schedule.in_window(901)
        );
        assert!(schedule.ends(900) && !schedule.ends(150) && !schedule.ends(151));
        for n in 0..40 {
            assert!(Schedule::new(n).edges.last().is_some_and(|&last| last <= n));
        }
    }
}
