//! An objective with a weight for every angle, and without coarse levels that have too little to say.
//!
//! χ² = Σ_φ Σ(r/σ_φ)² is a sum over Gram matrices, each times 1/σ_φ²: nothing on the way to them has to know σ. Weights are
//! (σ₀/σ_φ)² with one σ₀ for all, so that everything keeps its size and the solver works in units of σ₀.

use crate::Result;
use crate::gram::{Gram, Level, Objective, Pass, Point};
use crate::model::Experiment;

/// Another objective, weighted and cut.
pub struct Weighted<'o> {
    inner: &'o mut dyn Objective,
    weights: Vec<f64>,
    n_levels: usize,
}

impl<'o> Weighted<'o> {
    /// The squared residuals of every angle times its weight; only the finest `n_levels` levels are offered.
    ///
    /// # Panics
    /// When there isn't one weight per angle, or no level.
    pub fn new(inner: &'o mut dyn Objective, weights: Vec<f64>, n_levels: usize) -> Self {
        assert_eq!(weights.len(), inner.experiment().n_angles(), "one weight per angle");
        assert!((1..=inner.levels().len()).contains(&n_levels), "levels to work on");
        Self { inner, weights, n_levels }
    }
}

impl Objective for Weighted<'_> {
    fn experiment(&self) -> &Experiment {
        self.inner.experiment()
    }

    fn levels(&self) -> &[Level] {
        &self.inner.levels()[..self.n_levels]
    }

    fn evaluate(&mut self, level: usize, points: &[Point], pass: Pass) -> Result<Vec<Vec<Gram>>> {
        let mut sums = self.inner.evaluate(level, points, pass)?;
        for grams in &mut sums {
            for (gram, &weight) in grams.iter_mut().zip(&self.weights).filter(|(_, weight)| **weight != 1.0) {
                gram.0.iter_mut().for_each(|entry| *entry *= weight);
            }
        }
        Ok(sums)
    }
}
