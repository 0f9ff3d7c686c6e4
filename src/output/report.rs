//! Everything a finished run knows, in one place for all outputs.

use std::path::PathBuf;

use super::diagnosis;
use super::quality::{self, Finding, GOOD, MARGINAL, MARGINAL_AT_BOUNDS, SmoothPart, TOO_SMALL, Weight};
use crate::checkpoint::Statistics;
use crate::cluster::{Place, RankStatus, Strategy};
use crate::config::Config;
use crate::dataset::Digest;
use crate::gram::gpu::Usage;
use crate::model::{
    Block, CONTRAST, Derived, Experiment, OFFSET, PHYSICAL, ParameterInfo, ParameterSpace, RATE_FLOOR, ScalingMode,
    TimeAxis, derived,
};
use crate::sampler::summary::Summary;
use crate::solver::{Fit, OneScaling, OtherMinimum, Sigma, SigmaSource};
use crate::telemetry::Phase;
use crate::text::grouped;

/// Excess χ² (in units of the residual variance) below which another minimum is worth a warning.
const NEAR_MINIMUM: f64 = 25.0;
/// Standard errors from which on another minimum is another answer: along a direction that the data leave open there is no end of
/// minima, none of them any distance away.
const ELSEWHERE: f64 = 2.0;
/// Most other minima named in warnings.
const MOST_MINIMA: usize = 3;

/// What was read.
#[derive(Debug, Clone)]
pub struct DataSummary {
    /// The file.
    pub file: PathBuf,
    /// Its layout.
    pub layout: &'static str,
    /// Where q came from.
    pub q_source: String,
    /// Where dt came from.
    pub dt_source: String,
    /// Frames in the file.
    pub n_file_frames: usize,
    /// First selected frame, from 1.
    pub first_frame: usize,
    /// Bin of every angle, where the layout has bins.
    pub bins: Vec<Option<i64>>,
    /// Pairs without a value, all angles.
    pub n_missing: u64,
    /// Pairs that the configuration leaves out, all angles.
    pub n_excluded: u64,
    /// What it leaves out, for people; empty where nothing is.
    pub left_out: String,
    /// Estimated noise per angle.
    pub noise: Vec<f64>,
    /// Digest of the matrix of every angle.
    pub digests: Vec<Digest>,
    /// Hash of what is fitted: q, dt, φ, σ of the file and all pairs.
    pub hash: String,
}

impl DataSummary {
    /// Estimated noise over all angles (root mean square); NaN without an estimate.
    pub fn noise(&self) -> f64 {
        let finite: Vec<f64> = self.noise.iter().copied().filter(|n| n.is_finite()).collect();
        (finite.iter().map(|x| x * x).sum::<f64>() / finite.len() as f64).sqrt()
    }
}

/// Most matrices that couldn't be read that a warning names.
const NAMED_PLACES: usize = 3;

/// A matrix that couldn't be read.
#[derive(Debug, Clone, PartialEq)]
pub struct LostMatrix {
    /// Its φ, degree.
    pub phi: f64,
    /// Where it stands in the file.
    pub path: String,
}

/// What was done so that a killed run loses little.
#[derive(Debug, Clone, Default)]
pub struct Keeping {
    /// Checkpoints.
    pub saved: Statistics,
    /// The checkpoint that the run went on from.
    pub resumed_from: Option<PathBuf>,
    /// Time that was worked before it, s.
    pub seconds_before: f64,
}

/// A finished run.
pub struct Report<'a> {
    /// What was asked for.
    pub config: &'a Config,
    /// The measurement.
    pub experiment: &'a Experiment,
    /// Bounds, start and fixed values in force.
    pub space: &'a ParameterSpace,
    /// What was read.
    pub data: &'a DataSummary,
    /// σ of every angle.
    pub sigma: &'a Sigma,
    /// The answer; its χ² are in units of `sigma.reference` squared.
    pub fit: &'a Fit,
    /// Scaling mode in use.
    pub scaling: ScalingMode,
    /// Why that one.
    pub scaling_reason: String,
    /// Strategy in use.
    pub strategy: Strategy,
    /// Every rank, 0 first.
    pub ranks: Vec<RankStatus>,
    /// Where they are, in the same order.
    pub places: Vec<Place>,
    /// Instruction set in use.
    pub instruction_set: &'static str,
    /// The GPU on which rank 0 made its passes.
    pub gpu: Option<String>,
    /// Passes by level, finest first.
    pub passes: Vec<u64>,
    /// Pairs by level.
    pub level_pairs: Vec<usize>,
    /// Pairs evaluated, all passes.
    pub pairs_evaluated: f64,
    /// Wall time of all passes, s.
    pub pass_seconds: f64,
    /// The same of full-resolution passes alone, s.
    pub finest_seconds: f64,
    /// Matrices that are read and compressed one by one; 1 where that takes a moment.
    pub n_batches: usize,
    /// Bytes of packed data of all ranks.
    pub data_bytes: usize,
    /// Where pairs aren't kept: bytes of the nodes that stand for them, and of all else that rank 0 holds of the data.
    pub kept: Option<usize>,
    /// Matrices that couldn't be read and are left out.
    pub lost: Vec<LostMatrix>,
    /// Checkpoints.
    pub keeping: Keeping,
    /// What draws from the posterior say, where there are any.
    pub posterior: Option<Summary>,
    /// What looking at the residuals has said.
    pub seen: Vec<Finding>,
    /// The smooth part of the residuals; `None` where they couldn't be looked at, or there are too few of them.
    pub smooth: Option<SmoothPart>,
    /// What own contrasts and offsets for all angles would bring, where one for all was tried.
    pub one_scaling: Option<OneScaling>,
    /// Time by phase.
    pub phases: Vec<Phase>,
    /// Wall time of the run, s.
    pub seconds: f64,
    /// When it ended, RFC 3339.
    pub timestamp: String,
    /// Warnings of all rooms.
    pub warnings: Vec<String>,
}

impl Report<'_> {
    /// Σ(r/σ)² over the pairs.
    pub fn chi_squared(&self) -> f64 {
        self.in_sigma(self.fit.projected.chi2)
    }

    /// A sum of squares as the solver gives it, with residuals in units of σ.
    pub fn in_sigma(&self, sum: f64) -> f64 {
        sum / (self.sigma.reference * self.sigma.reference)
    }

    /// χ² per degree of freedom with the σ in use.
    pub fn reduced_chi_squared(&self) -> f64 {
        self.chi_squared() / self.fit.degrees_of_freedom
    }

    /// χ² per degree of freedom of one angle, its share of the degrees of freedom by pairs.
    pub fn reduced_of_angle(&self, angle: usize) -> f64 {
        let p = &self.fit.projected;
        let share = self.fit.degrees_of_freedom * p.pairs_per_angle[angle] / p.n_pairs();
        self.in_sigma(p.chi2_per_angle[angle]) / share
    }

    /// χ² per degree of freedom against the noise estimated from the data, angle by angle.
    /// Angles with too few values for an estimate are left out; NaN when that is all of them.
    pub fn reduced_against_noise(&self) -> f64 {
        let p = &self.fit.projected;
        let (mut chi2, mut pairs) = (0.0, 0.0);
        for (angle, noise) in self.data.noise.iter().enumerate().filter(|(_, n)| n.is_finite()) {
            chi2 += self.in_sigma(p.chi2_per_angle[angle]) * (self.sigma.per_angle[angle] / noise).powi(2);
            pairs += p.pairs_per_angle[angle];
        }
        chi2 / (self.fit.degrees_of_freedom * pairs / p.n_pairs())
    }

    /// Estimated noise over all angles (root mean square).
    pub fn noise(&self) -> f64 {
        self.data.noise()
    }

    /// What was minimised: Σ ρ((r/σ)²) with a robust loss, χ² otherwise.
    pub fn loss_value(&self) -> f64 {
        self.fit.robust.as_ref().map_or(self.chi_squared(), |robust| robust.cost / robust.sigma.powi(2))
    }

    /// With a robust loss: variance of the residuals but for outliers, in units of σ², from the mean weight of the pairs.
    pub fn reduced_without_outliers(&self) -> Option<f64> {
        let robust = self.fit.robust.as_ref()?;
        Some(robust.loss.variance_at(robust.weight / self.fit.projected.n_pairs()))
    }

    /// Share of the frames in which each rate is at its floor.
    fn floored(&self) -> Vec<(&'static str, f64)> {
        let axis = TimeAxis::without_derivatives(self.experiment, &self.fit.physical);
        let share = |rate: &[f64]| rate.iter().filter(|&&r| r <= RATE_FLOOR).count() as f64 / rate.len() as f64;
        let mut out = vec![("D", share(&axis.diffusion.rate))];
        out.extend(axis.shear.iter().map(|s| ("gamma_dot", share(&s.rate))));
        out.retain(|(_, share)| *share > 0.0);
        out
    }

    /// What the GPUs of ranks that have one were used for.
    pub fn gpus(&self) -> impl Iterator<Item = Usage> + '_ {
        self.ranks.iter().filter_map(|rank| rank.gpu)
    }

    /// Kind of device that passes were made on.
    pub fn device(&self) -> &'static str {
        if self.gpus().next().is_some() { "cuda" } else { "cpu" }
    }

    /// What passes were made on, for people.
    pub fn engine(&self) -> String {
        let name = self.gpu.as_deref().unwrap_or("GPU");
        match self.gpus().count() {
            0 => format!("CPU, {}", self.instruction_set),
            n if n == self.ranks.len() => name.into(),
            n => format!("{name} on {n} of {} ranks, CPU on the others", self.ranks.len()),
        }
    }

    /// How the fit ended, and how its answer was verified.
    pub fn reason(&self) -> String {
        let reason = self.fit.outcome.reason();
        match self.fit.correction {
            Some(correction) => format!(
                "{reason}; verified on all {} pairs, largest correction {correction:.0e} standard errors",
                grouped(self.fit.projected.n_pairs() as u64)
            ),
            None => reason.to_owned(),
        }
    }

    /// `converged`, `max_iterations` or `failed`.
    pub fn convergence_status(&self) -> &'static str {
        use crate::solver::trust::Outcome;
        match self.fit.outcome {
            o if o.converged() && self.fit.projected.chi2.is_finite() => "converged",
            Outcome::MaxIterations => "max_iterations",
            _ => "failed",
        }
    }

    /// Contrast and offset averaged over the angles, with their standard errors.
    pub fn mean_scaling(&self) -> [(ParameterInfo, f64, f64); 2] {
        let (means, errors) = (self.fit.projected.mean_scaling(), self.fit.covariance.mean_scaling);
        [(CONTRAST, means.0, errors.0), (OFFSET, means.1, errors.1)]
    }

    /// Standard errors of D (block 0) or γ̇ (1) at every frame.
    pub fn rate_errors(&self, block: usize) -> Vec<f64> {
        let e = self.experiment;
        let own = Block::from_slice(&self.fit.physical[3 * block..]);
        (0..e.n_frames).map(|i| self.fit.covariance.rate_error(block, own.gradient(e.tau(i), e.t_ref()))).collect()
    }

    /// Quantities that follow from the parameters, with their standard errors.
    pub fn derived(&self) -> Vec<(Derived, f64)> {
        let all = derived(self.experiment, &self.fit.physical);
        all.into_iter()
            .map(|one| {
                let error = self.fit.covariance.rate_error(one.block, one.gradient);
                (one, error)
            })
            .collect()
    }

    /// The same without what [`crate::solver::covariance::AtReference`] has already.
    pub fn derived_elsewhere(&self) -> impl Iterator<Item = (Derived, f64)> {
        self.derived().into_iter().filter(|(derived, _)| !derived.name.ends_with("at_t_ref"))
    }

    /// Names of parameters at a bound, contrast and offset with their angle.
    pub fn at_bounds(&self) -> Vec<String> {
        let mut out: Vec<String> =
            PHYSICAL.iter().zip(&self.fit.at_bound).filter(|(_, b)| **b).map(|(p, _)| p.name.to_string()).collect();
        for group in &self.fit.projected.groups {
            let shared = group.group.design.ncols() == 1 && group.group.angles.len() > 1;
            let mut push = |name: &str, angle: usize| {
                out.push(if shared { name.into() } else { format!("{name} at φ = {}°", self.experiment.phi[angle]) });
            };
            let on = |v: f64, (min, max): (f64, f64)| v <= min || v >= max;
            let common = group.group.common_bounds();
            for (&angle, &own) in group.group.angles.iter().zip(&group.group.bounds) {
                let (contrast, offset) = self.fit.projected.scaling[angle];
                let bounds = if shared { common } else { own };
                if on(contrast, bounds.contrast) {
                    push(CONTRAST.name, angle);
                }
                if on(offset, bounds.offset) {
                    push(OFFSET.name, angle);
                }
                if shared {
                    break;
                }
            }
        }
        out
    }

    /// Minima that describe the data nearly as well and lie elsewhere, the best first.
    pub fn near_minima(&self) -> impl Iterator<Item = &OtherMinimum> {
        let elsewhere =
            |other: &OtherMinimum| self.fit.distance(other).partial_cmp(&ELSEWHERE).is_none_or(|at| at.is_ge());
        self.fit.other_minima.iter().filter(move |o| o.refined && o.excess < NEAR_MINIMUM && elsewhere(o))
    }

    /// What quality is judged by, per degree of freedom: χ² with the σ in use, or with a default one against the estimated noise;
    /// with a robust loss, which grants that some values are outliers, what it would be without them.
    fn judged_by(&self) -> f64 {
        match (self.reduced_without_outliers(), self.sigma.is_default()) {
            (Some(reduced), _) => reduced,
            (None, true) => self.reduced_against_noise(),
            (None, false) => self.reduced_chi_squared(),
        }
    }

    /// Share of the selected matrices that could be read.
    pub fn readable(&self) -> f64 {
        let n = self.experiment.n_angles();
        n as f64 / (n + self.lost.len()) as f64
    }

    /// What couldn't be read, the first of them by name.
    fn lost_places(&self) -> String {
        let place = |lost: &LostMatrix| format!("φ = {}° ({})", lost.phi, lost.path);
        let mut places: Vec<String> = self.lost.iter().take(NAMED_PLACES).map(place).collect();
        if self.lost.len() > NAMED_PLACES {
            places.push(format!("and {} more, in analysis_results_nlsq.json", self.lost.len() - NAMED_PLACES));
        }
        places.join("; ")
    }

    /// `good`, `marginal` or `poor`: the worst of what was found.
    pub fn quality_flag(&self) -> &'static str {
        quality::flag(&self.findings())
    }

    /// What was found in words.
    pub fn quality_warnings(&self) -> Vec<String> {
        self.findings().into_iter().map(|finding| finding.text).collect()
    }

    /// What a reader must know before using the numbers; `good` is a fit that nothing was found against.
    pub fn findings(&self) -> Vec<Finding> {
        let mut out: Vec<Finding> = self.fit.covariance.undetermined.iter().cloned().map(Finding::doubt).collect();
        let at_bounds = self.at_bounds();
        if !at_bounds.is_empty() {
            let weight = if at_bounds.len() > MARGINAL_AT_BOUNDS { Weight::Failure } else { Weight::Doubt };
            let text = format!(
                "at a bound, so without an error: {}; widen parameter_space.bounds if the bound isn't physical",
                at_bounds.join(", ")
            );
            out.push(Finding { weight, text });
        }
        out.extend(self.against_noise());
        out.extend(self.smooth_misfit());
        out.extend(self.unequal_scaling());
        out.extend(diagnosis::angles_out_of_line(self).map(Finding::doubt));
        out.extend(diagnosis::shear_unseen(self).map(Finding::doubt));
        out.extend(self.seen.iter().cloned());
        out.extend(self.floored().into_iter().map(|(name, share)| {
            Finding::doubt(format!(
                "{name} is at its floor of {RATE_FLOOR:e} in {:.0} % of the frames: the power law with its offset is negative there",
                100.0 * share
            ))
        }));
        if !self.lost.is_empty() {
            out.push(Finding::doubt(format!(
                "{} of {} matrices couldn't be read and are left out: {}",
                self.lost.len(),
                self.lost.len() + self.experiment.n_angles(),
                self.lost_places()
            )));
        }
        if self.fit.searched_instead {
            let text =
                "at the start values c2 doesn't depend on the parameters; a global search was made instead".into();
            out.push(Finding { weight: Weight::Remark, text });
        }
        out.extend(self.near_minima().take(MOST_MINIMA).map(|other| {
            let values: Vec<String> =
                PHYSICAL.iter().zip(&other.physical).map(|(p, v)| format!("{} = {v:.4e}", p.name)).collect();
            Finding::doubt(format!(
                "another minimum lies only {:.1} above in χ² (units of the residual variance) and {:.0} standard errors away: {}",
                other.excess,
                self.fit.distance(other),
                values.join(", ")
            ))
        }));
        if !self.fit.covariance.s2.is_finite() {
            out.push(Finding { weight: Weight::Failure, text: "no degree of freedom is left for errors".into() });
        }
        if self.convergence_status() != "converged" {
            let text = format!("not converged: {}", self.fit.outcome.reason());
            out.push(Finding { weight: Weight::Failure, text });
        }
        out
    }

    /// Residuals that are larger than the noise, or smaller than a σ that errors rest on.
    fn against_noise(&self) -> Option<Finding> {
        let reduced = self.judged_by();
        let of_file = self.sigma.source == SigmaSource::File;
        let text = if reduced.is_nan() {
            "the noise can't be estimated from so few values, so the fit can't be judged against it".into()
        } else if reduced >= GOOD {
            let cause = match self.reduced_against_noise() {
                noise if of_file && noise < GOOD => "σ is too small by that factor, and so are the errors",
                _ => "the model doesn't describe them",
            };
            let measure = if of_file { "σ in the file" } else { "the noise estimated from the data" };
            format!("the residuals are {:.2} times {measure}: {cause}", reduced.sqrt())
        } else if reduced < TOO_SMALL && !self.sigma.is_default() {
            format!(
                "the residuals are only {:.2} times σ {}: σ is {:.1} times too large, and so are the errors",
                reduced.sqrt(),
                self.sigma.source.words(),
                1.0 / reduced.sqrt()
            )
        } else {
            return None;
        };
        let weight = if reduced < MARGINAL { Weight::Doubt } else { Weight::Failure };
        Some(Finding { weight, text })
    }

    /// A smooth part of the residuals that noise doesn't explain, or that nobody knows.
    fn smooth_misfit(&self) -> Option<Finding> {
        let Some(smooth) = self.smooth else {
            let text = "the smooth part of the residuals couldn't be judged: there are too few values, or they couldn't be read again";
            return Some(Finding::doubt(text.into()));
        };
        (!smooth.agrees()).then(|| {
            Finding::doubt(format!(
                "averaged over blocks of frames, the residuals are {:.1} times what noise independent from pair to pair leaves \
                 (squares {:.1} times, {:.2} would agree): the model misses something smooth, and parameters can be off by \
                 many of their errors; or pairs share noise, and then errors are too small",
                smooth.ratio.sqrt(),
                smooth.ratio,
                smooth.limit()
            ))
        })
    }

    /// One contrast and offset for all angles that the data refute.
    fn unequal_scaling(&self) -> Option<Finding> {
        let found = self.one_scaling.filter(|found| found.is_refuted() && self.scaling == ScalingMode::Averaged)?;
        Some(Finding::doubt(format!(
            "contrast or offset differs between the angles: {}; `per_angle_mode: averaged` gives them one each, which shifts the \
             other parameters: use `auto` or `individual`",
            found.text()
        )))
    }

    /// Share of the full-resolution passes in which a rank's threads worked; the rest they waited for others.
    pub fn worked_share(&self, rank: usize) -> f64 {
        self.ranks[rank].worked / self.finest_seconds
    }

    /// Peak memory of all ranks together, bytes.
    pub fn peak_memory(&self) -> u64 {
        self.ranks.iter().map(|r| r.peak_memory).sum()
    }

    /// Parameters of the fit: physical ones that aren't fixed, and those of contrast and offset.
    pub fn n_parameters(&self) -> (usize, usize) {
        (self.space.n_free(), self.scaling.n_parameters(self.experiment.n_angles()))
    }

    /// The specification's estimate for a conventional solver, GB: n_points × (1 + n_parameters) × 16 bytes.
    pub fn conventional_memory_gb(&self) -> f64 {
        let n_parameters = self.space.n_free() + self.fit.projected.n_free_scaling();
        self.experiment.n_points() as f64 * (1 + n_parameters) as f64 * 16.0 / crate::cluster::GB
    }
}
