//! Whether the data accept one contrast and one offset for all angles.
//!
//! At the minimum with one of each, own ones for every angle would lower χ² by so much, the physical parameters following: a
//! step that needs one pass, since contrast and offset are eliminated anyway (a score test; Rao, 1948). Where the angles
//! don't differ, noise alone brings a decrease of one s² for every coefficient more. What noise means here is what the smooth part
//! of the residuals shows: where pairs share noise, blocks of them scatter by more than their pairs explain, and so do contrasts. What the
//! differences themselves add to the smooth part isn't noise and is taken off first.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ContinuousCDF, FisherSnedecor};

use super::coordinates::Chart;
use super::design::Scaling;
use super::trust::{Goal, Problem, Trust};
use super::{Fit, REFINE_DAMPING, Task};
use crate::Result;
use crate::gram::overview::Smoothness;
use crate::gram::{Objective, Pass, Point};
use crate::model::ScalingMode;

/// Probability below which differences this large are not put down to noise. Own contrasts cost precision, not truth, so the doubt
/// weighs little.
const REFUTED_BELOW: f64 = 0.01;

/// What own contrasts and offsets would bring.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct OneScaling {
    /// Decrease of χ², in units of the variance of the residuals.
    pub gain: f64,
    /// Contrasts and offsets more than now.
    pub coefficients: usize,
    /// What each of them would bring by noise alone, in the same units.
    pub by_noise: f64,
    /// Probability of a gain this large where the angles don't differ.
    pub probability: f64,
}

impl OneScaling {
    /// Whether the angles differ.
    pub fn is_refuted(&self) -> bool {
        self.probability < REFUTED_BELOW
    }

    /// The finding in numbers.
    pub fn text(&self) -> String {
        let Self { gain, coefficients, by_noise, probability } = self;
        let expected = *coefficients as f64 * by_noise;
        let chance = match *probability {
            p if p < 1e-9 => "p < 1e-9".to_owned(),
            p if p < 0.001 => format!("p = {p:.0e}"),
            p => format!("p = {p:.3}"),
        };
        format!("own ones would lower χ² by {gain:.1} s², noise explains {expected:.1} ({chance})")
    }
}

/// Tests a fit with one contrast and one offset; a pass at full resolution. `smooth`: of its residuals,
/// all angles together.
///
/// # Errors
/// What the objective fails with, and bounds of single angles that contradict each other.
pub fn one_scaling(task: &Task, objective: &mut dyn Objective, fit: &Fit, smooth: Smoothness) -> Result<OneScaling> {
    let experiment = objective.experiment();
    let problem = Problem {
        chart: Chart::new(task.space, experiment.t_ref()),
        scaling: Arc::new(Scaling::new(ScalingMode::Individual, &experiment.phi, task.space)?),
    };
    let point = Point { physical: fit.physical.clone(), scaling: fit.projected.scaling.clone() };
    let goal = Goal::Approach(0.0);
    let mut own = Trust::new(problem, goal, usize::MAX, REFINE_DAMPING, point.physical.clone(), point.scaling.clone());
    let pass = match task.robust {
        Some(robust) => {
            own = own.robust(fit.projected.n_pairs());
            Pass::Robust { loss: robust.loss, doublings: 0 }
        }
        None => Pass::Gram,
    };
    let sums = objective.evaluate(0, std::slice::from_ref(&point), pass)?;
    own.receive(&sums[0]);
    let s2 = own.noise_variance();
    // of squares contrast and offset are at their best already, and the decrement is that of the physical parameters alone
    let eliminated = if task.robust.is_some() { 0.0 } else { fit.projected.chi2 - own.chi2() };
    let gain = (eliminated.max(0.0) / s2 + own.decrement().powi(2)).max(0.0);
    let coefficients =
        own.projected().map_or(0, |own| own.n_free_scaling()).saturating_sub(fit.projected.n_free_scaling());
    let free = fit.projected.n_free_scaling() + task.space.n_free();
    let left = smooth.blocks.saturating_sub(free + coefficients);
    let by_noise = if left > 0 { ((smooth.between - gain) / left as f64).max(1.0) } else { 1.0 };
    let probability = match FisherSnedecor::new(coefficients as f64, left.max(1) as f64) {
        Ok(f) => f.sf(gain / (coefficients as f64 * by_noise)),
        // nothing to test
        Err(_) => 1.0,
    };
    Ok(OneScaling { gain, coefficients, by_noise, probability })
}
