//! Bounded Levenberg–Marquardt from one start on one level, as a machine that asks for passes and is fed their results, so
//! that many starts can share a pass.
//!
//! Steps are scaled to unit diagonal, damped with Nielsen's update, and undamped (Gauss–Newton) as soon as the point is
//! within a few standard errors of the minimum. Progress is measured by the decrement λ = √(gᵀH⁻¹g)/s: the distance to the
//! minimum in standard errors. χ² decides about steps while its change is above rounding; below that the decrement does.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::coordinates::{Chart, Held, Side};
use super::design::Scaling;
use super::scaled::Scaled;
use super::scaling::{Projected, project};
use crate::gram::{Gram, Point};

/// Damping of κ in the step, as a share of s²/κ²: it holds where the data leave the curvature undetermined.
const KAPPA_DAMPING: f64 = 0.01;
/// A step shorter than this share, because of a bound, means that the bound is active.
const SHORTEST_CUT: f64 = 1e-4;
/// Squared decrement below which steps are tried undamped.
const NEAR: f64 = 10.0;
/// Predicted relative decrease of χ² below which rounding hides it and the decrement decides.
const CHI2_RESOLUTION: f64 = 1e-10;
/// Largest decrement at which the user's tolerances may declare convergence: a hundredth of a standard error.
const LARGEST_FINAL_DECREMENT: f64 = 1e-2;
/// Decrement at which a final fit is as good as double precision makes it.
const POLISHED: f64 = 1e-7;
/// Passes after the stopping test that may be spent on polishing.
const POLISH_PASSES: usize = 2;
/// Decrement from which a parameter at a bound that could move back inside is let go before the goal counts as reached.
const RELEASE: f64 = 1e-2;

/// What is fixed for all starts.
#[derive(Debug, Clone)]
pub struct Problem {
    /// Bounds and coordinates.
    pub chart: Chart,
    /// What contrast and offset can be.
    pub scaling: Arc<Scaling>,
}

/// When to stop.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Find the way: the decrement falls below this.
    Approach(f64),
    /// The final answer: the three tolerances, then polishing.
    Finish {
        /// Relative decrease of χ².
        ftol: f64,
        /// Relative step.
        xtol: f64,
        /// Scaled projected gradient.
        gtol: f64,
    },
}

/// How a start ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The decrement, or the decrease of χ², became negligible.
    Function,
    /// The projected gradient became negligible.
    Gradient,
    /// The step became negligible.
    Step,
    /// c2 doesn't depend on the parameters at the point reached.
    Insensitive,
    /// The model isn't finite at the start.
    NotFinite,
    /// All passes were used.
    MaxIterations,
    /// No step led further although the gradient isn't zero.
    Stalled,
}

impl Outcome {
    /// Whether a minimum was reached.
    pub fn converged(self) -> bool {
        matches!(self, Self::Function | Self::Gradient | Self::Step)
    }

    /// Why it stopped, for people.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Function => "the decrease of χ² that is left is negligible (function tolerance)",
            Self::Gradient => "the projected gradient is zero to rounding (gradient tolerance)",
            Self::Step => "the step is negligible (parameter tolerance)",
            Self::Insensitive => {
                "c2 doesn't depend on the parameters here: without correlation there is nothing to fit"
            }
            Self::NotFinite => "the model is not finite at these parameters: check bounds and fixed values",
            Self::MaxIterations => "the largest number of iterations was reached",
            Self::Stalled => "no step lowers χ² although the gradient isn't zero",
        }
    }
}

/// The step planned from the current point.
#[derive(Debug, Clone)]
struct Plan {
    physical: Vec<f64>,
    /// What residuals are to be taken against there.
    scaling: Vec<(f64, f64)>,
    /// Decrease of the cost that the quadratic model predicts for the step as cut; `None` for a move onto bounds that is taken
    /// whatever it brings.
    predicted: Option<f64>,
}

/// A step from a point with some parameters held.
struct Step {
    physical: Vec<f64>,
    scaling: Vec<(f64, f64)>,
    fraction: f64,
    culprit: Option<(usize, Side)>,
    predicted: f64,
    decrement: f64,
    /// Largest component of the gradient in its own scale.
    steepest: f64,
}

impl Step {
    fn into_plan(self) -> Plan {
        Plan { physical: self.physical, scaling: self.scaling, predicted: Some(self.predicted) }
    }
}

/// One start on one level.
#[derive(Debug, Clone)]
pub struct Trust {
    problem: Problem,
    goal: Goal,
    max_passes: usize,
    /// Pairs, where passes are robust ones, which count weights.
    pairs: Option<f64>,
    physical: Vec<f64>,
    reference: Vec<(f64, f64)>,
    current: Option<Projected>,
    plan: Option<Plan>,
    held: Held,
    decrement: f64,
    mu: f64,
    nu: f64,
    undamped_allowed: bool,
    passes: usize,
    polishing: Option<(Outcome, usize)>,
    outcome: Option<Outcome>,
}

impl Trust {
    /// A start at `physical` (inside the bounds), residuals first taken against `reference`, damping `mu`.
    pub fn new(
        problem: Problem,
        goal: Goal,
        max_passes: usize,
        mu: f64,
        physical: Vec<f64>,
        reference: Vec<(f64, f64)>,
    ) -> Self {
        let held = problem.chart.user_held();
        Self {
            problem,
            goal,
            max_passes: max_passes.max(1),
            pairs: None,
            physical,
            reference,
            current: None,
            plan: None,
            held,
            decrement: f64::INFINITY,
            mu,
            nu: 2.0,
            undamped_allowed: true,
            passes: 0,
            polishing: None,
            outcome: None,
        }
    }

    /// The same with a robust loss, over so many pairs: contrast and offset are no longer known after a pass, so they move with
    /// the step, and the cost is that of the residuals as they were taken.
    pub fn robust(self, pairs: f64) -> Self {
        Self { pairs: Some(pairs), ..self }
    }

    /// The point at which a pass is wanted; `None` when finished.
    pub fn request(&self) -> Option<Point> {
        if self.outcome.is_some() {
            return None;
        }
        Some(match &self.plan {
            Some(plan) => Point { physical: plan.physical.clone(), scaling: plan.scaling.clone() },
            None => Point { physical: self.physical.clone(), scaling: self.reference.clone() },
        })
    }

    /// The result of the pass asked for.
    pub fn receive(&mut self, grams: &[Gram]) {
        self.passes += 1;
        let n = self.problem.chart.n_physical();
        let against = self.plan.as_ref().map_or(&self.reference, |plan| &plan.scaling);
        let new = project(grams, against, &self.problem.scaling, n);
        let usable = self.cost(&new).is_finite() && new.normal.iter().chain(new.gradient.iter()).all(|v| v.is_finite());
        let plan = self.plan.take();
        match (plan, usable) {
            (None, true) => self.accept(self.physical.clone(), new),
            // nothing to step back to: asked for once more, in case that the fault was the engine's
            (None, false) if self.passes == 1 => {}
            (None, false) => self.outcome = Some(Outcome::NotFinite),
            (Some(_), false) => self.reject(),
            (Some(plan), true) => self.judge(plan, new),
        }
        if self.outcome.is_none() && self.passes >= self.max_passes {
            self.outcome = Some(self.polishing.map_or(Outcome::MaxIterations, |(outcome, _)| outcome));
        }
    }

    fn judge(&mut self, plan: Plan, new: Projected) {
        let Some(current) = &self.current else { return };
        let actual = self.cost(current) - self.cost(&new);
        let Some(predicted) = plan.predicted else {
            self.accept(plan.physical, new);
            return;
        };
        if predicted > CHI2_RESOLUTION * self.cost(current) {
            let ratio = actual / predicted;
            if actual > 0.0 {
                self.mu *= (1.0f64 - (2.0 * ratio - 1.0).powi(3)).max(1.0 / 3.0);
                self.nu = 2.0;
                // a step that gained far less than promised isn't near enough for undamped ones
                self.undamped_allowed = ratio > 0.25;
                self.accept(plan.physical, new);
            } else {
                self.reject();
            }
            return;
        }
        // χ² can't tell any more: the decrement must fall
        let mut ahead = self.clone();
        ahead.accept(plan.physical, new);
        if ahead.outcome.is_some() || ahead.decrement < 0.5 * self.decrement {
            *self = ahead;
        } else {
            self.outcome = Some(self.polishing.map_or(
                if self.decrement < LARGEST_FINAL_DECREMENT { Outcome::Function } else { Outcome::Stalled },
                |(outcome, _)| outcome,
            ));
        }
    }

    fn accept(&mut self, physical: Vec<f64>, new: Projected) {
        self.reference.clone_from(&new.scaling);
        self.physical = physical;
        self.current = Some(new);
        self.prepare();
    }

    fn reject(&mut self) {
        if self.polishing.is_some() {
            self.outcome = self.polishing.map(|(outcome, _)| outcome);
            return;
        }
        self.undamped_allowed = false;
        self.mu = self.mu.max(1e-6) * self.nu;
        self.nu *= 2.0;
        if self.mu > 1e12 {
            self.outcome =
                Some(if self.decrement < LARGEST_FINAL_DECREMENT { Outcome::Function } else { Outcome::Stalled });
            return;
        }
        self.prepare();
    }

    /// Plans the next step from the current point, and tests whether one is needed.
    fn prepare(&mut self) {
        let Some(current) = self.current.clone() else { return };
        let user = self.problem.chart.user_held();
        if self.problem.chart.n_free(&user) > 0 && current.normal.diagonal().amax() == 0.0 {
            (self.held, self.outcome) = (user, Some(Outcome::Insensitive));
            return;
        }
        let mut held = user;
        let mut base = self.physical.clone();
        loop {
            let Some(step) = self.step(&current, &base, &held) else {
                let nowhere = DVector::zeros(self.problem.chart.n_physical());
                let left = self.left_to_scaling(&current);
                let (scaling, predicted) = self.follow(&current, &nowhere, self.undamped_allowed);
                (self.held, self.decrement) = (held, (left / self.noise_variance()).sqrt());
                if base != self.physical {
                    self.plan = Some(Plan { physical: base, scaling, predicted: None });
                } else if self.decrement > POLISHED && self.polishing.is_none() {
                    self.plan = Some(Plan { physical: base, scaling, predicted: Some(predicted) });
                } else if !self.release(&current, &held) {
                    self.outcome = Some(Outcome::Gradient);
                }
                return;
            };
            if let Some(culprit) = step.culprit.filter(|_| step.fraction < SHORTEST_CUT) {
                held[culprit.0] = true;
                self.problem.chart.snap(&mut base, culprit);
                continue;
            }
            (self.held, self.decrement) = (held, step.decrement);
            // a step cut short by a bound, however small its gain, is no sign of a minimum
            let outcome = if step.fraction == 1.0 { self.reached(&current, &step) } else { None };
            match outcome {
                Some(_) if self.release(&current, &held) => (),
                Some(_) => self.outcome = outcome,
                None => self.plan = Some(step.into_plan()),
            }
            return;
        }
    }

    /// The step from `base` with `held` kept; `None` when nothing is free.
    fn step(&self, current: &Projected, base: &[f64], held: &Held) -> Option<Step> {
        let chart = &self.problem.chart;
        if chart.n_free(held) == 0 {
            return None;
        }
        let s2 = self.noise_variance();
        let tangents = chart.tangents(base, held);
        let normal = tangents.transpose() * &current.normal * &tangents;
        let gradient = tangents.transpose() * &current.gradient;
        let kappa = chart.kappa_weights(base, held);
        let damped = &normal + DMatrix::from_diagonal(&kappa.map(|k| KAPPA_DAMPING * s2 * k * k));
        let system = Scaled::new(&damped);
        let newton: DVector<f64> = system.solve(&gradient, 0.0);
        let left = self.left_to_scaling(current);
        let decrement2 = (gradient.dot(&newton).max(0.0) + left) / s2;
        let steepest = system.scaled_gradient(&gradient);
        let undamped = self.undamped_allowed && decrement2 < NEAR;
        let step = if undamped { newton } else { system.solve(&gradient, self.mu) };
        let (physical, fraction, culprit) = chart.advance(base, held, &step);
        let taken = &step * fraction;
        let (scaling, own) = self.follow(current, &(&tangents * &taken), undamped);
        let predicted = 2.0 * gradient.dot(&taken) - taken.dot(&(&normal * &taken)) + own;
        Some(Step { physical, scaling, fraction, culprit, predicted, decrement: decrement2.sqrt(), steepest })
    }

    /// Before the goal counts as reached: a parameter may have been held because a step in more dimensions ran into its bound,
    /// and yet gain by moving back inside now that others are held. Plans the step of the one that gains most.
    fn release(&mut self, current: &Projected, held: &Held) -> bool {
        let user = self.problem.chart.user_held();
        let best = (0..self.problem.chart.n_physical())
            .filter(|&k| held[k] && !user[k])
            .filter_map(|k| {
                let mut fewer = *held;
                fewer[k] = false;
                self.step(current, &self.physical, &fewer)
            })
            .filter(|step| step.fraction > SHORTEST_CUT && step.decrement > RELEASE + self.decrement)
            .max_by(|a, b| a.predicted.total_cmp(&b.predicted));
        let Some(step) = best else { return false };
        self.plan = Some(step.into_plan());
        self.polishing = None;
        true
    }

    /// Whether the goal is reached at the current point, with an uncut step planned.
    fn reached(&mut self, current: &Projected, step: &Step) -> Option<Outcome> {
        let (ftol, xtol, gtol) = match self.goal {
            Goal::Approach(decrement) => return (self.decrement < decrement).then_some(Outcome::Function),
            Goal::Finish { ftol, xtol, gtol } => (ftol, xtol, gtol),
        };
        if self.decrement < POLISHED {
            return Some(self.polishing.map_or(Outcome::Gradient, |(outcome, _)| outcome));
        }
        if let Some((outcome, left)) = self.polishing {
            self.polishing = Some((outcome, left.saturating_sub(1)));
            return (left == 0).then_some(outcome);
        }
        if self.decrement >= LARGEST_FINAL_DECREMENT {
            return None;
        }
        let cost = self.cost(current);
        let left = self.decrement * self.decrement * self.noise_variance() / cost;
        let longest = (self.physical.iter().zip(&step.physical))
            .map(|(a, b)| (a - b).abs() / a.abs().max(f64::MIN_POSITIVE))
            .fold(0.0, f64::max);
        let test = if step.steepest / cost.sqrt() <= gtol {
            Some(Outcome::Gradient)
        } else if left <= ftol {
            Some(Outcome::Function)
        } else {
            (longest <= xtol).then_some(Outcome::Step)
        };
        self.polishing = test.map(|outcome| (outcome, POLISH_PASSES - 1));
        None
    }

    /// What is to be minimised: Σr² with the best contrast and offset, or Σ σ²·ρ.
    fn cost(&self, of: &Projected) -> f64 {
        if self.pairs.is_some() { of.at_reference } else { of.chi2 }
    }

    /// Decrease of the cost that contrast and offset alone promise, where they aren't at their best after every pass.
    fn left_to_scaling(&self, current: &Projected) -> f64 {
        if self.pairs.is_some() { (current.at_reference - current.chi2).max(0.0) } else { 0.0 }
    }

    /// Contrasts and offsets to go with a step of the physical coordinates, and the decrease that they promise.
    fn follow(&self, current: &Projected, step: &DVector<f64>, undamped: bool) -> (Vec<(f64, f64)>, f64) {
        let mut scaling = current.scaling.clone();
        if self.pairs.is_none() {
            return (scaling, 0.0);
        }
        let share = if undamped { 1.0 } else { 1.0 / (1.0 + self.mu) };
        for group in &current.groups {
            for (&angle, value) in group.group.angles.iter().zip(group.following(step, share)) {
                scaling[angle] = value;
            }
        }
        (scaling, self.left_to_scaling(current) * share * (2.0 - share))
    }

    /// s², the factor from the inverse normal matrix to the covariance: Σr² over the degrees of freedom. Of a robust loss
    /// Σ(ρ'·r)² over them and over the mean weight (Huber, *Robust Statistics*, § 7.6, for errors of one kind).
    pub fn noise_variance(&self) -> f64 {
        self.current.as_ref().map_or(f64::INFINITY, |c| {
            let free = self.problem.chart.n_free(&self.problem.chart.user_held()) + c.n_free_scaling();
            let dof = |pairs: f64| (pairs - free as f64).max(1.0);
            let s2 = match self.pairs {
                None => c.chi2 / dof(c.n_pairs()),
                Some(pairs) => c.spread / dof(pairs) * pairs / c.n_pairs().max(f64::MIN_POSITIVE),
            };
            // noise-free data leave only their rounding; zero would make every distance infinite
            s2.max(1e-30)
        })
    }

    /// The point reached, with contrasts and offsets.
    pub fn point(&self) -> Point {
        Point { physical: self.physical.clone(), scaling: self.reference.clone() }
    }

    /// The physical parameters reached.
    pub fn physical(&self) -> &[f64] {
        &self.physical
    }

    /// Normal equations there; `None` before the first usable pass.
    pub fn projected(&self) -> Option<&Projected> {
        self.current.as_ref()
    }

    /// Σr² there; Σ σ²·ρ with a robust loss.
    pub fn chi2(&self) -> f64 {
        self.current.as_ref().map_or(f64::INFINITY, |c| self.cost(c))
    }

    /// Parameters held, by the user or at a bound.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Distance to the minimum in standard errors, as the quadratic model sees it.
    pub fn decrement(&self) -> f64 {
        self.decrement
    }

    /// Damping in force.
    pub fn damping(&self) -> f64 {
        self.mu
    }

    /// Passes so far.
    pub fn passes(&self) -> usize {
        self.passes
    }

    /// How it ended; `None` while running.
    pub fn outcome(&self) -> Option<Outcome> {
        self.outcome
    }

    /// Contrast and offset that residuals are taken against.
    pub fn reference(&self) -> &[(f64, f64)] {
        &self.reference
    }
}
