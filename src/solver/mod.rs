//! Finds the minimum of χ²: coarse to fine, from the user's start or from a global search, within bounds.
//!
//! The solver sees the data only through [`Objective`]: it asks for Gram matrices at points and does small dense algebra.
//! Contrast and offset are eliminated after every pass ([`scaling`]); the physical parameters move in valley coordinates
//! ([`coordinates`]) by Levenberg–Marquardt ([`trust`]). The recipe and its evidence: `docs/solver.md`.

pub mod coordinates;
pub mod covariance;
pub mod design;
pub mod full_covariance;
mod halfspaces;
mod one_scaling;
mod one_sided;
pub mod optimum;
mod robust;
mod scaled;
pub mod scaling;
pub mod search;
mod sigma;
mod stage;
#[cfg(test)]
mod tests;
pub mod trust;
mod weighted;

use std::sync::Arc;

use crate::Result;
use crate::gram::{Gram, Loss, Objective, Pass, Point};
use crate::model::{Experiment, PHYSICAL, ParameterSpace, ScalingMode, derived};
use coordinates::Chart;
use covariance::Covariance;
use design::Scaling;
pub use one_scaling::{OneScaling, one_scaling};
use robust::Plain;
pub use robust::{Robust, RobustFit};
use scaling::{Projected, project};
use trust::{Goal, Outcome, Problem, Trust};

pub use sigma::{Sigma, SigmaSource};
pub use stage::{Part, Stage};
pub use weighted::Weighted;

/// Damping at which searching begins.
const SEARCH_DAMPING: f64 = 1e-2;
/// Bytes of the Gram matrices of points that are screened together: of all of them, thousands of angles would take gigabytes.
const SCREENING: usize = 64 << 20;
/// Damping at which refining begins.
const REFINE_DAMPING: f64 = 1e-4;
/// Most passes of one start on a coarse level.
const COARSE_PASSES: usize = 60;
/// Decrement at which a coarse level has nothing more to say: the next level's minimum is a standard error away.
const COARSE_DECREMENT: f64 = 0.02;
/// Minima whose χ² is within this many s² of the best are carried to the next level: coarse noise may prefer the wrong one.
const CARRIED_WITHIN: f64 = 25.0;
/// Most minima carried.
const MOST_CARRIED: usize = 4;
/// Largest step, in standard errors, that may be left from the answer to the minimum as all pairs have it.
const VERIFIED: f64 = 1e-3;
/// Two answers nearer than this, in standard errors, are the same minimum.
const SAME_MINIMUM: f64 = 1.0;
/// A point farther than this from an answer of noisy data, in its standard errors, isn't the truth: with eight parameters one in 1000 is.
const UNCERTAIN: f64 = 5.1;

/// Iterations allowed unless the configuration says otherwise.
const MAX_ITERATIONS: usize = 100;
/// Tolerances, likewise: those of the Python package.
const TOLERANCE: f64 = 1e-8;
/// Seed of the search, likewise.
const SEED: u64 = 42;

/// Settings of the solver.
#[derive(Debug, Clone, PartialEq)]
pub struct FitConfig {
    /// Most iterations on the finest level.
    pub max_iterations: usize,
    /// Relative decrease of χ² that counts as none.
    pub ftol: f64,
    /// Step in units of the parameters' scale that counts as none.
    pub xtol: f64,
    /// Scaled projected gradient that counts as zero.
    pub gtol: f64,
    /// Scaling mode asked for; `None` = `auto`.
    pub scaling: Option<ScalingMode>,
    /// A robust loss; `None` = least squares.
    pub loss: Option<Loss>,
    /// Whether the program searches globally for its start.
    pub global_search: bool,
    /// Number of points kept after screening and refined; `None` = the program's choice.
    pub n_starts: Option<usize>,
    /// Seed of the search.
    pub seed: u64,
}

impl Default for FitConfig {
    /// The settings in force unless the configuration says otherwise.
    fn default() -> Self {
        Self {
            max_iterations: MAX_ITERATIONS,
            ftol: TOLERANCE,
            xtol: TOLERANCE,
            gtol: TOLERANCE,
            scaling: None,
            loss: None,
            global_search: false,
            n_starts: None,
            seed: SEED,
        }
    }
}

impl FitConfig {
    /// The loss by its name in the configuration.
    pub fn loss_name(&self) -> &'static str {
        self.loss.map_or("linear", Loss::name)
    }
}

/// What the solver tells while it works.
#[derive(Debug, Clone)]
pub enum Event {
    /// The global search begins on a level.
    Search {
        /// Level, 0 the finest.
        level: usize,
        /// Pairs of the level.
        n_pairs: usize,
        /// Points screened.
        screened: usize,
        /// Points refined.
        refined: usize,
    },
    /// Work begins on a level.
    Level {
        /// Level, 0 the finest.
        level: usize,
        /// Pairs of the level.
        n_pairs: usize,
        /// Minima carried.
        carried: usize,
        /// A robust loss, where it is what is minimised there.
        loss: Option<Loss>,
    },
    /// A pass was judged.
    Iteration(Iteration),
    /// A level is done with: what comes next depends on this alone, and on the data.
    Stage(Stage),
}

/// The best point after a pass.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Iteration {
    /// Level, 0 the finest.
    pub level: usize,
    /// Pass on this level, from 1.
    pub pass: usize,
    /// Σr² of the best start (not divided by σ²).
    pub chi2: f64,
    /// The same per degree of freedom.
    pub residual_variance: f64,
    /// Distance to the minimum in standard errors, as the quadratic model sees it.
    pub decrement: f64,
    /// Damping.
    pub damping: f64,
}

/// Another minimum that the search found.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct OtherMinimum {
    /// Where.
    pub physical: Vec<f64>,
    /// Σr² there less Σr² at the answer, in units of s².
    pub excess: f64,
    /// Level on which it was last compared, 0 the finest.
    pub level: usize,
    /// Whether it was refined to the end at full resolution.
    pub refined: bool,
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Fit {
    /// Natural physical parameters.
    pub physical: Vec<f64>,
    /// Which of them lie on a bound.
    pub at_bound: Vec<bool>,
    /// χ², contrast, offset and normal equations there (residuals not divided by σ).
    pub projected: Projected,
    /// Degrees of freedom: pairs less free parameters, scaling ones included.
    pub degrees_of_freedom: f64,
    /// How the final level ended.
    pub outcome: Outcome,
    /// Every judged pass.
    pub iterations: Vec<Iteration>,
    /// Passes of the final refinement.
    pub fine_iterations: usize,
    /// Whether the start values were useless and a global search was made instead.
    pub searched_instead: bool,
    /// Other minima.
    pub other_minima: Vec<OtherMinimum>,
    /// Errors and what the data don't determine.
    pub covariance: Covariance,
    /// The loss, if it isn't that of least squares.
    pub robust: Option<RobustFit>,
    /// How far the answer from nodes was from the minimum as all pairs have it, in standard errors; it has been corrected by that
    /// where it was more than a thousandth. Nothing where every pass went over all pairs, or found no minimum.
    pub correction: Option<f64>,
    /// Where all pairs were looked at for that, with the contrasts and offsets against which residuals were taken; nothing where that
    /// isn't the answer.
    pub verified_at: Option<Point>,
}

/// What the solver needs beside the data.
#[derive(Debug, Clone)]
pub struct Task<'a> {
    /// Bounds, start, fixed values.
    pub space: &'a ParameterSpace,
    /// Tolerances, search.
    pub config: &'a FitConfig,
    /// Scaling mode in use.
    pub mode: ScalingMode,
    /// σ of the data where it is known; `None` scales errors by the residuals' own variance.
    pub sigma: Option<f64>,
    /// A robust loss; `None` = least squares.
    pub robust: Option<Robust>,
}

impl Fit {
    /// Value and standard error of a quantity by its name in results: parameters, mean contrast and offset, those of single angles
    /// (`contrast_0` …), σ, and what follows from parameters. `None` where the fit has no such quantity or no error for it.
    pub fn estimate(&self, experiment: &Experiment, name: &str) -> Option<(f64, f64)> {
        let (scaling, errors) = (&self.projected.scaling, &self.covariance);
        let angle = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok().filter(|&a| a < scaling.len());
        let found = if let Some(k) = PHYSICAL.iter().position(|p| p.name == name) {
            (*self.physical.get(k)?, errors.physical[k])
        } else if let Some(derived) = derived(experiment, &self.physical).iter().find(|d| d.name == name) {
            (derived.value, errors.rate_error(derived.block, derived.gradient))
        } else if let Some(a) = angle("contrast_") {
            (scaling[a].0, errors.scaling[a].0)
        } else if let Some(a) = angle("offset_") {
            (scaling[a].1, errors.scaling[a].1)
        } else {
            match name {
                "contrast" => (self.projected.mean_scaling().0, errors.mean_scaling.0),
                "offset" => (self.projected.mean_scaling().1, errors.mean_scaling.1),
                "sigma" => (errors.s2.sqrt(), (0.5 * errors.s2 / self.degrees_of_freedom).sqrt()),
                _ => return None,
            }
        };
        (found.1 > 0.0).then_some(found)
    }

    /// How far another minimum lies from the answer, in standard errors of the answer along the way there. A parabola alone would
    /// raise χ² by the square of it.
    pub fn distance(&self, other: &OtherMinimum) -> f64 {
        let Some(t_ref) = self.covariance.at_reference.first().map(|at| at.t_ref) else { return f64::NAN };
        self.projected.distance(&self.physical, &other.physical, t_ref) / self.covariance.s2.sqrt()
    }
}

struct Solver<'a, 'o> {
    task: &'a Task<'a>,
    objective: &'o mut dyn Objective,
    observe: &'o mut dyn FnMut(&Event),
    problem: Problem,
    iterations: Vec<Iteration>,
}

/// Fits the physical parameters, contrast and offset.
///
/// # Errors
/// What the objective fails with, and bounds or angles that don't go with the scaling mode; a fit that finds no minimum is an [`Outcome`], not an error.
pub fn fit(task: &Task, objective: &mut dyn Objective, observe: &mut dyn FnMut(&Event)) -> Result<Fit> {
    fit_from(None, task, objective, observe)
}

/// As [`fit`], from a stage on that an earlier run of the same task on the same data has told of by [`Event::Stage`].
///
/// # Errors
/// As [`fit`].
pub fn fit_from(
    stage: Option<Stage>,
    task: &Task,
    objective: &mut dyn Objective,
    observe: &mut dyn FnMut(&Event),
) -> Result<Fit> {
    let problem = Problem {
        chart: Chart::new(task.space, objective.experiment().t_ref()),
        scaling: Arc::new(Scaling::new(task.mode, &objective.experiment().phi, task.space)?),
    };
    let mut solver = Solver { task, objective, observe, problem, iterations: Vec::new() };
    let mut stage = match stage {
        Some(stage) => stage,
        None => solver.open()?,
    };
    loop {
        solver.iterations.clone_from(&stage.iterations);
        (solver.observe)(&Event::Stage(stage.clone()));
        let mut found = match (stage.part, task.robust) {
            (Part::Robust, Some(robust)) => solver.robust(robust, stage.level, &stage.carried)?,
            _ => solver.refine(stage.level, &stage.carried)?,
        };
        // minima that a loss gives up aren't comparable with those of least squares
        let given_up = if stage.part == Part::Squares { &mut stage.others } else { &mut Vec::new() };
        solver.prune(&mut found, stage.level, stage.level == 0, given_up);
        let coarsest = solver.coarsest();
        let from_squares = stage.part == Part::Robust && stage.level == coarsest;
        (stage.part, stage.level) = match (stage.part, stage.level, task.robust) {
            (Part::Squares, 0, Some(_)) => (Part::Robust, coarsest),
            (_, 0, robust) => {
                let plain = robust.map(|_| solver.plain(0, &found[0].point())).transpose()?;
                let verified = if robust.is_none() { solver.verify(&found[0])? } else { None };
                return Ok(solver.conclude(found, stage, plain, verified));
            }
            (part, level, _) => (part, level - 1),
        };
        // a coarse level that can't tell the loss's minimum from that of least squares on the finest one knows less of it
        let nearer = |start: &Trust| {
            stage.carried.iter().find(|point| solver.distance(start, &point.physical) < UNCERTAIN).cloned()
        };
        let point = |start: &Trust| nearer(start).filter(|_| from_squares).unwrap_or_else(|| start.point());
        stage.carried = found.iter().map(point).collect();
        stage.iterations.clone_from(&solver.iterations);
    }
}

impl Solver<'_, '_> {
    fn coarsest(&self) -> usize {
        self.objective.levels().len() - 1
    }

    /// The first stage: what the coarsest level says, from the user's start or from a search.
    fn open(&mut self) -> Result<Stage> {
        let coarsest = self.coarsest();
        let asked = self.task.config.global_search;
        let mut found = self.begin(coarsest, asked)?;
        let useless = |starts: &[Trust]| starts.iter().all(|s| s.outcome() == Some(Outcome::Insensitive));
        let searched_instead = !asked && useless(&found);
        if searched_instead {
            found = self.begin(coarsest, true)?;
        }
        let mut others = Vec::new();
        self.prune(&mut found, coarsest, false, &mut others);
        Ok(Stage {
            part: Part::Squares,
            level: coarsest.saturating_sub(1),
            carried: found.iter().map(Trust::point).collect(),
            others,
            iterations: self.iterations.clone(),
            searched_instead,
        })
    }

    fn n_pairs(&self, level: usize) -> usize {
        self.objective.levels()[level].plan.n_pairs()
    }

    fn start(&self, physical: Vec<f64>, reference: Vec<(f64, f64)>, goal: Goal, passes: usize, mu: f64) -> Trust {
        Trust::new(self.problem.clone(), goal, passes, mu, physical, reference)
    }

    /// Runs all starts to their end on one level, a pass for all that still want one at a time.
    fn run(&mut self, level: usize, starts: &mut [Trust], kind: Pass) -> Result<()> {
        let mut pass = 0;
        loop {
            let (running, points): (Vec<usize>, Vec<Point>) =
                starts.iter().enumerate().filter_map(|(k, s)| Some((k, s.request()?))).unzip();
            if points.is_empty() {
                return Ok(());
            }
            pass += 1;
            let sums = self.objective.evaluate(level, &points, kind)?;
            for (k, grams) in running.into_iter().zip(&sums) {
                starts[k].receive(grams);
            }
            if let Some(best) = starts.iter().min_by(|a, b| a.chi2().total_cmp(&b.chi2())) {
                let iteration = Iteration {
                    level,
                    pass,
                    chi2: best.chi2(),
                    residual_variance: best.noise_variance(),
                    decrement: best.decrement(),
                    damping: best.damping(),
                };
                (self.observe)(&Event::Iteration(iteration.clone()));
                self.iterations.push(iteration);
            }
        }
    }

    /// First answers on the coarsest level: from the search, or from the user's start.
    fn begin(&mut self, level: usize, search: bool) -> Result<Vec<Trust>> {
        let task = self.task;
        let n_pairs = self.n_pairs(level);
        let goal = Goal::Approach(COARSE_DECREMENT);
        let unscaled = self.problem.scaling.first.clone();
        let user: Vec<Vec<f64>> = task
            .space
            .start
            .iter()
            .map(|start| {
                let mut point = start.clone();
                task.space.clamp(&mut point);
                point
            })
            .collect();
        if !search {
            (self.observe)(&Event::Level { level, n_pairs, carried: 1, loss: None });
            let mut starts: Vec<Trust> = user
                .into_iter()
                .map(|p| self.start(p, unscaled.clone(), goal, COARSE_PASSES, SEARCH_DAMPING))
                .collect();
            self.run(level, &mut starts, Pass::Gram)?;
            return Ok(starts);
        }
        let refined = task.config.n_starts.unwrap_or(search::REFINED).max(1);
        let screened = search::SCREENED.max(refined);
        (self.observe)(&Event::Search { level, n_pairs, screened, refined });
        let drawn = search::draw(self.objective.experiment(), task.space, screened, task.config.seed);
        let mut ranked: Vec<(f64, Point)> = Vec::new();
        let together = (SCREENING / (unscaled.len() * size_of::<Gram>())).max(1);
        for drawn in drawn.chunks(together) {
            let point = |physical: &Vec<f64>| Point { physical: physical.clone(), scaling: unscaled.clone() };
            let points: Vec<Point> = drawn.iter().map(point).collect();
            let sums = self.objective.evaluate(level, &points, Pass::Chi2)?;
            ranked.extend(sums.iter().zip(points).map(|(grams, point)| {
                let seen = self.screen(grams, &point);
                (seen.chi2, Point { physical: point.physical, scaling: seen.scaling })
            }));
            // points without a finite χ² come last
            ranked.sort_by(|a, b| a.0.abs().total_cmp(&b.0.abs()));
            ranked.truncate(refined);
        }
        let mut starts: Vec<Trust> = ranked
            .into_iter()
            .map(|(_, p)| self.start(p.physical, p.scaling, goal, COARSE_PASSES, SEARCH_DAMPING))
            .collect();
        starts.extend(user.into_iter().map(|p| self.start(p, unscaled.clone(), goal, COARSE_PASSES, SEARCH_DAMPING)));
        self.run(level, &mut starts, Pass::Gram)?;
        if let Some(best) = starts.iter().min_by(|a, b| a.chi2().total_cmp(&b.chi2())) {
            let at_bound = self.at_bound(best);
            let others = search::alternatives(best.physical(), &at_bound, task.space, self.problem.chart.t_ref());
            let reference = best.reference().to_vec();
            let mut more: Vec<Trust> = others
                .into_iter()
                .map(|p| self.start(p, reference.clone(), goal, COARSE_PASSES, SEARCH_DAMPING))
                .collect();
            self.run(level, &mut more, Pass::Gram)?;
            starts.extend(more);
        }
        Ok(starts)
    }

    fn screen(&self, grams: &[Gram], point: &Point) -> Projected {
        project(grams, &point.scaling, &self.problem.scaling, 0)
    }

    fn at_bound(&self, answer: &Trust) -> Vec<bool> {
        let chart = &self.problem.chart;
        let user = chart.user_held();
        (0..chart.n_physical())
            .map(|k| !user[k] && (answer.held()[k] || chart.on_bound(answer.physical(), k)))
            .collect()
    }

    /// Goal and passes of the final answer.
    fn finish(&self) -> (Goal, usize) {
        let config = self.task.config;
        let goal = Goal::Finish { ftol: config.ftol, xtol: config.xtol, gtol: config.gtol };
        (goal, config.max_iterations.saturating_add(1))
    }

    /// Takes what was found on a coarser level to this one.
    fn refine(&mut self, level: usize, carried: &[Point]) -> Result<Vec<Trust>> {
        let (goal, passes) = if level == 0 { self.finish() } else { (Goal::Approach(COARSE_DECREMENT), COARSE_PASSES) };
        let n_pairs = self.n_pairs(level);
        (self.observe)(&Event::Level { level, n_pairs, carried: carried.len(), loss: None });
        let mut starts: Vec<Trust> = carried
            .iter()
            .map(|c| self.start(c.physical.clone(), c.scaling.clone(), goal, passes, REFINE_DAMPING))
            .collect();
        self.run(level, &mut starts, Pass::Gram)?;
        Ok(starts)
    }

    /// Looks at an answer once more, pair by pair, and goes on from there where that shows another minimum; what is reported then
    /// depends on no node.
    fn verify(&mut self, found: &Trust) -> Result<Option<Verified>> {
        if !found.outcome().is_some_and(Outcome::converged) {
            return Ok(None);
        }
        let at = found.point();
        let Point { physical, scaling } = at.clone();
        let goal = Goal::Approach(VERIFIED);
        let mut exact = self.start(physical, scaling, goal, COARSE_PASSES, REFINE_DAMPING);
        let sums = self.objective.evaluate(0, std::slice::from_ref(&at), Pass::Exact)?;
        exact.receive(&sums[0]);
        let correction = exact.decrement();
        let mut exact = [exact];
        self.run(0, &mut exact, Pass::Exact)?;
        let [exact] = exact;
        let at = (exact.passes() == 1).then_some(at);
        Ok(exact.projected().is_some().then_some(Verified { exact, correction, at }))
    }

    /// Sorts by χ², drops repeated minima and those too far above the best; the latter are remembered.
    fn prune(&self, found: &mut Vec<Trust>, level: usize, refined: bool, others: &mut Vec<OtherMinimum>) {
        found.sort_by(|a, b| a.chi2().total_cmp(&b.chi2()));
        let mut kept: Vec<Trust> = Vec::new();
        for candidate in found.drain(..) {
            if kept.iter().any(|k| self.same(k, &candidate)) {
                continue;
            }
            let excess = kept.first().map_or(0.0, |best| (candidate.chi2() - best.chi2()) / best.noise_variance());
            let usable = candidate.projected().is_some();
            if kept.is_empty() || (usable && excess < CARRIED_WITHIN && kept.len() < MOST_CARRIED) {
                kept.push(candidate);
            } else if usable && candidate.outcome().is_some_and(Outcome::converged) {
                others.push(OtherMinimum { physical: candidate.physical().to_vec(), excess, level, refined });
            }
        }
        *found = kept;
    }

    /// Whether two answers are the same minimum, by the metric of the better one.
    fn same(&self, best: &Trust, other: &Trust) -> bool {
        let excess = (other.chi2() - best.chi2()).abs() / best.noise_variance();
        excess < SAME_MINIMUM && self.distance(best, other.physical()) < SAME_MINIMUM
    }

    /// How far a point is from an answer, in standard errors of that.
    fn distance(&self, answer: &Trust, physical: &[f64]) -> f64 {
        answer.projected().map_or(f64::INFINITY, |projected| {
            let distance = projected.distance(answer.physical(), physical, self.problem.chart.t_ref());
            distance / answer.noise_variance().sqrt()
        })
    }

    /// `plain`: sums without weights, of a robust fit; `verified`: the best one as all pairs have it.
    fn conclude(self, mut found: Vec<Trust>, stage: Stage, plain: Option<Plain>, verified: Option<Verified>) -> Fit {
        let Stage { mut others, searched_instead, .. } = stage;
        let by_nodes = found.remove(0);
        let outcome = by_nodes.outcome().unwrap_or(Outcome::Stalled);
        let fine_iterations = by_nodes.passes();
        let (best, correction, verified_at) = match verified {
            Some(Verified { exact, correction, at }) => (exact, Some(correction), at),
            None => (by_nodes, None, None),
        };
        for other in found {
            let excess = (other.chi2() - best.chi2()) / best.noise_variance();
            others.push(OtherMinimum { physical: other.physical().to_vec(), excess, level: 0, refined: true });
        }
        others.sort_by(|a, b| a.level.cmp(&b.level).then(a.excess.total_cmp(&b.excess)));
        let at_bound = self.at_bound(&best);
        let n = self.problem.chart.n_physical();
        let mut projected = best.projected().cloned().unwrap_or_else(|| {
            // no pass gave a finite χ²: report that instead of numbers
            let grams = vec![Gram::default(); self.objective.experiment().n_angles()];
            let mut empty = project(&grams, &self.problem.scaling.first, &self.problem.scaling, n);
            empty.chi2 = f64::NAN;
            empty
        });
        let mut held = *best.held();
        for (flag, &bound) in held.iter_mut().zip(&at_bound) {
            *flag |= bound;
        }
        let robust = self.task.robust.map(|robust| RobustFit {
            loss: robust.loss,
            sigma: robust.sigma,
            cost: projected.at_reference,
            weight: projected.n_pairs(),
        });
        if let Some(plain) = plain {
            (projected.chi2, projected.chi2_per_angle) = (plain.chi2(), plain.chi2_per_angle);
            projected.pairs_per_angle = plain.pairs_per_angle;
        }
        let free = self.problem.chart.n_free(&held) + projected.n_free_scaling();
        let degrees_of_freedom = (projected.n_pairs() - free as f64).max(0.0);
        let s2 = match (self.task.robust, self.task.sigma) {
            // outliers say nothing about the errors of the others
            (Some(_), _) if degrees_of_freedom > 0.0 => best.noise_variance(),
            (None, Some(sigma)) => sigma * sigma,
            (None, None) if degrees_of_freedom > 0.0 => projected.chi2 / degrees_of_freedom,
            _ => f64::NAN,
        };
        let covariance = covariance::covariance(&self.problem.chart, best.physical(), &held, &projected, s2);
        Fit {
            physical: best.physical().to_vec(),
            at_bound,
            projected,
            degrees_of_freedom,
            outcome,
            iterations: self.iterations,
            fine_iterations,
            searched_instead,
            other_minima: others,
            covariance,
            robust,
            correction,
            verified_at,
        }
    }
}

/// An answer as all pairs have it.
struct Verified {
    exact: Trust,
    /// The distance that the answer from nodes had from there, in standard errors.
    correction: f64,
    /// Where it was looked at, if that is still the answer.
    at: Option<Point>,
}
