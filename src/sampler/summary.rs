//! What the draws say: one marginal distribution per quantity, how far it can be trusted, and whether the fit agrees.

use super::diagnostics::{Diagnosis, E_BFMI_LIMIT, ESS_LIMIT, RHAT_LIMIT, diagnose, e_bfmi, quantile};
use super::{Draw, Record, SamplerConfig};
use crate::model::{Block, CONTRAST, Experiment, OFFSET, PHYSICAL, ParameterSpace, RATE_FLOOR, ScalingMode, derived};
use crate::text::counted;

/// Probabilities of the quantiles that are given: the middle, and the ends of intervals with 68.27 % and 95.45 %.
pub const QUANTILES: [f64; 5] = [0.022_75, 0.158_655, 0.5, 0.841_345, 0.977_25];
/// Names of these.
pub const QUANTILE_NAMES: [&str; 5] = ["q2.3", "q15.9", "median", "q84.1", "q97.7"];
/// Shift of the mean against the fit, in standard deviations, up to which both agree, beside three Monte Carlo errors.
const SAME_MEAN: f64 = 0.2;
/// Ratio of the widths less one up to which both agree, likewise.
const SAME_WIDTH: f64 = 0.1;
/// Share of draws at the greatest depth that is worth a word.
const OFTEN_DEEP: f64 = 0.01;

/// What a quantity is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A parameter that is sampled.
    Parameter,
    /// Follows from parameters.
    Derived,
    /// Contrast or offset, of one angle or of all.
    Scaling,
}

/// One quantity in all draws.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Name in results.
    pub name: String,
    /// Unit, as printed.
    pub unit: &'static str,
    /// What it is.
    pub description: String,
    /// What it is for.
    pub kind: Kind,
    /// Position of the angle, for contrast and offset of single ones.
    pub angle: Option<usize>,
    /// Chain by chain.
    pub chains: Vec<Vec<f64>>,
}

/// How the fit and the draws compare.
#[derive(Debug, Clone, PartialEq)]
pub struct Agreement {
    /// Value and standard error of the fit; the error may be NaN.
    pub fit: (f64, f64),
    /// Shift of the mean against the fit's value, in its standard errors.
    pub shift: f64,
    /// Width of the draws over the fit's error.
    pub width: f64,
    /// Whether that is agreement.
    pub agrees: bool,
}

/// The distribution of one quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Marginal {
    /// The draws.
    pub series: Series,
    /// Mean, standard deviation, and how well they are known.
    pub diagnosis: Diagnosis,
    /// At [`QUANTILES`].
    pub quantiles: [f64; 5],
    /// Against the fit, where it has the quantity.
    pub agreement: Option<Agreement>,
}

/// All of them, and the verdict.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary {
    /// Settings.
    pub config: SamplerConfig,
    /// Every quantity.
    pub marginals: Vec<Marginal>,
    /// Draws whose energy ran away.
    pub diverged: usize,
    /// Draws whose trajectories were cut at the greatest depth.
    pub deepest: usize,
    /// Bayesian fraction of missing information of the energy, by chain.
    pub e_bfmi: Vec<f64>,
    /// Step of every chain.
    pub steps: Vec<f64>,
    /// Mean acceptance of every chain.
    pub acceptance: Vec<f64>,
    /// Points evaluated, warm-up included.
    pub n_points: u64,
    /// What nodes leave of ln of the density, as [`super::verify`] has it.
    pub unresolved: f64,
    /// Whether σ was sampled.
    pub sigma_is_sampled: bool,
    /// Time that it took, s.
    pub seconds: f64,
    /// Draws of all chains, spread evenly, to show what follows from them; at most [`SHOWN`].
    pub shown: Vec<Draw>,
    /// Share of all draws in which a rate is at its floor in some frames: of D, then of γ̇.
    pub floored: Vec<f64>,
}

/// More that nodes leave of ln of the density moves draws by a visible part of their width.
const UNRESOLVED: f64 = 0.1;
/// Most draws kept to show what follows from them.
pub const SHOWN: usize = 400;
/// Share of draws with a rate at its floor that is worth a word.
const OFTEN_FLOORED: f64 = 0.01;

/// The quantities in these draws, `draws` chain by chain.
pub fn series(
    draws: &[&[Draw]],
    experiment: &Experiment,
    space: &ParameterSpace,
    mode: ScalingMode,
    sigma_is_sampled: bool,
) -> Vec<Series> {
    let of = |name: String, unit, description: String, kind, angle, value: &dyn Fn(&Draw) -> f64| Series {
        name,
        unit,
        description,
        kind,
        angle,
        chains: draws.iter().map(|chain| chain.iter().map(value).collect()).collect(),
    };
    let mut out = Vec::new();
    for (k, info) in PHYSICAL.iter().enumerate().take(space.len()).filter(|(k, _)| space.fixed[*k].is_none()) {
        let (name, text) = (info.name.to_string(), info.description.to_string());
        out.push(of(name, info.unit, text, Kind::Parameter, None, &|draw| draw.physical[k]));
    }
    if sigma_is_sampled {
        let text = "standard deviation of the noise".to_string();
        out.push(of("sigma".into(), "1", text, Kind::Parameter, None, &|draw| draw.sigma));
    }
    let follows: Vec<Vec<Vec<f64>>> = draws
        .iter()
        .map(|chain| chain.iter().map(|d| derived(experiment, &d.physical).iter().map(|d| d.value).collect()).collect())
        .collect();
    let example = draws.iter().find_map(|chain| chain.first()).map(|draw| derived(experiment, &draw.physical));
    for (k, one) in example.unwrap_or_default().into_iter().enumerate() {
        let free = (3 * one.block..3 * one.block + 3).any(|k| space.fixed[k].is_none());
        if free {
            let chains = follows.iter().map(|chain| chain.iter().map(|values| values[k]).collect()).collect();
            let description = one.description.to_string();
            out.push(Series {
                name: one.name.into(),
                unit: one.unit,
                description,
                kind: Kind::Derived,
                angle: None,
                chains,
            });
        }
    }
    let k = experiment.n_angles() as f64;
    let pick = |pair: &(f64, f64), which: usize| if which == 0 { pair.0 } else { pair.1 };
    for (which, info) in [CONTRAST, OFFSET].into_iter().enumerate().filter(|_| mode != ScalingMode::Constant) {
        let mean = |draw: &Draw| draw.scaling.iter().map(|pair| pick(pair, which)).sum::<f64>() / k;
        let text = format!("mean {} of the angles", info.name);
        out.push(of(info.name.into(), info.unit, text, Kind::Scaling, None, &mean));
        if mode != ScalingMode::Averaged {
            for angle in 0..experiment.n_angles() {
                let text = format!("{} at φ = {}°", info.name, experiment.phi[angle]);
                let name = format!("{}_{angle}", info.name);
                out.push(of(name, info.unit, text, Kind::Scaling, Some(angle), &|draw| {
                    pick(&draw.scaling[angle], which)
                }));
            }
        }
    }
    out
}

impl Agreement {
    /// The same for people.
    fn words(&self) -> String {
        let word = if self.agrees { "agrees" } else { "differs" };
        format!("{word}: {:+.2} σ, {:.2} × as wide", self.shift, self.width)
    }
}

impl Marginal {
    /// Of a series; `fit` is what the fit has for it, value and standard error.
    pub fn new(series: Series, fit: Option<(f64, f64)>) -> Self {
        let diagnosis = diagnose(&series.chains);
        let mut sorted: Vec<f64> = series.chains.iter().flatten().copied().collect();
        sorted.sort_by(f64::total_cmp);
        let quantiles = QUANTILES.map(|p| quantile(&sorted, p));
        let agreement = fit.map(|fit| {
            let (shift, width) = ((diagnosis.mean - fit.0) / fit.1, diagnosis.sd / fit.1);
            let agrees = shift.abs() <= SAME_MEAN + 3.0 * diagnosis.mcse_mean / fit.1
                && (width - 1.0).abs() <= SAME_WIDTH + 3.0 * diagnosis.mcse_sd / fit.1;
            Agreement { fit, shift, width, agrees }
        });
        Self { series, diagnosis, quantiles, agreement }
    }

    /// What keeps it from being believed; `None` where nothing does.
    fn doubt(&self, n_chains: usize) -> Option<String> {
        let Diagnosis { rhat, ess_bulk, ess_tail, .. } = self.diagnosis;
        let least = ess_limit(n_chains);
        // of a single chain there is none
        if n_chains > 1 && (rhat.is_nan() || rhat > RHAT_LIMIT) {
            return Some(format!("{}: R̂ = {rhat:.3}", self.series.name));
        }
        let ess = ess_bulk.min(ess_tail);
        (ess < least).then(|| format!("{}: ESS = {ess:.0}", self.series.name))
    }
}

/// Share of draws in which each rate is at its floor in some frames. A power law is monotonic: its least value is at an end.
fn floored(experiment: &Experiment, draws: &[&Draw]) -> Vec<f64> {
    let ends = [1, experiment.n_frames - 1].map(|frame| experiment.tau(frame));
    (0..experiment.mode.n_physical() / 3)
        .map(|block| {
            let is_floored = |draw: &&&Draw| {
                let own = Block::from_slice(&draw.physical[3 * block..]);
                ends.iter().any(|&tau| own.rate(tau) <= RATE_FLOOR)
            };
            draws.iter().filter(is_floored).count() as f64 / draws.len().max(1) as f64
        })
        .collect()
}

/// Fewest effective draws of so many chains.
fn ess_limit(n_chains: usize) -> f64 {
    ESS_LIMIT * n_chains as f64 / 4.0
}

/// Most quantities named in a sentence.
const MOST_NAMED: usize = 5;

impl Summary {
    /// Of what was recorded with these settings in so many seconds, and the distributions that it has.
    pub fn new(
        record: &Record,
        experiment: &Experiment,
        config: SamplerConfig,
        marginals: Vec<Marginal>,
        unresolved: f64,
        sigma_is_sampled: bool,
        seconds: f64,
    ) -> Self {
        let draws = record.draws();
        let all: Vec<&Draw> = draws.iter().copied().flatten().collect();
        let n = all.len().min(SHOWN);
        let shown: Vec<Draw> = (0..n).map(|k| all[k * all.len() / n].clone()).collect();
        let count = |f: fn(&Draw, u32) -> bool| {
            draws.iter().copied().flatten().filter(|draw| f(draw, config.max_tree_depth)).count()
        };
        let energies = |chain: &[Draw]| chain.iter().map(|draw| draw.energy).collect::<Vec<_>>();
        let acceptance = |chain: &[Draw]| chain.iter().map(|d| d.acceptance).sum::<f64>() / chain.len() as f64;
        Self {
            diverged: count(|draw, _| draw.diverged),
            deepest: count(|draw, most| draw.depth >= most),
            e_bfmi: draws.iter().map(|chain| e_bfmi(&energies(chain))).collect(),
            steps: draws.iter().filter_map(|chain| chain.last()).map(|draw| draw.step).collect(),
            acceptance: draws.iter().map(|chain| acceptance(chain)).collect(),
            n_points: record.n_points(),
            config,
            marginals,
            unresolved,
            sigma_is_sampled,
            seconds,
            floored: floored(experiment, &all),
            shown,
        }
    }

    /// What is to be known of the draws although it casts no doubt on them, a sentence each.
    pub fn remarks(&self) -> Vec<String> {
        let often = self.floored.iter().enumerate().filter(|(_, share)| **share > OFTEN_FLOORED);
        often
            .map(|(block, share)| {
                let (rate, offset) = [("D", "D_offset"), ("gamma_dot", "gamma_dot_t_offset")][block];
                format!(
                    "in {:.0} % of the draws {rate} is at its floor of {RATE_FLOOR:e} in some frames, the power law with its offset \
                     being negative there; where that can't be, bound {offset} from below (parameter_space.bounds)",
                    100.0 * share
                )
            })
            .collect()
    }

    /// Draws of all chains.
    pub fn n_draws(&self) -> usize {
        self.config.n_chains * self.config.n_draws
    }

    /// What keeps the draws from being believed, a sentence each; none where nothing does.
    pub fn doubts(&self) -> Vec<String> {
        let mut out = Vec::new();
        if self.config.n_chains == 1 {
            out.push(
                "one chain alone can't show whether it has come to the posterior: R̂ compares at least two \
                 (optimization.nuts.num_chains)"
                    .into(),
            );
        }
        let mut doubts: Vec<String> =
            self.marginals.iter().filter_map(|marginal| marginal.doubt(self.config.n_chains)).collect();
        if !doubts.is_empty() {
            let more = doubts.len().saturating_sub(MOST_NAMED);
            doubts.truncate(MOST_NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            out.push(format!(
                "the chains haven't mixed (R̂ at most {RHAT_LIMIT} and ESS at least {:.0} are wanted): {}{more}; draw more \
                 (optimization.nuts.num_warmup, num_samples)",
                ess_limit(self.config.n_chains),
                doubts.join(", ")
            ));
        }
        if self.unresolved > UNRESOLVED {
            out.push(format!(
                "passes over all pairs give another posterior: ln of its density differs by up to {:.1} from what was sampled",
                self.unresolved
            ));
        }
        if self.diverged > 0 {
            out.push(format!(
                "{} of {} trajectories diverged: parts of the posterior may not have been reached; raise \
                 optimization.nuts.target_accept_prob",
                self.diverged,
                self.n_draws()
            ));
        }
        let low: Vec<String> = self.e_bfmi.iter().filter(|&&e| e < E_BFMI_LIMIT).map(|e| format!("{e:.2}")).collect();
        if !low.is_empty() {
            out.push(format!(
                "E-BFMI of {} is below {E_BFMI_LIMIT} ({}): chains wander slowly through the energies; tighter bounds or \
                 priors would help",
                counted(low.len(), "chain"),
                low.join(", ")
            ));
        }
        if self.deepest as f64 > OFTEN_DEEP * self.n_draws() as f64 {
            out.push(format!(
                "{} of {} trajectories were cut at optimization.nuts.max_tree_depth = {}: chains get on slowly",
                self.deepest,
                self.n_draws(),
                self.config.max_tree_depth
            ));
        }
        out
    }

    /// Whether the draws can be believed.
    pub fn is_trusted(&self) -> bool {
        self.doubts().is_empty()
    }

    /// How well nodes served, for people.
    pub fn verified(&self) -> String {
        format!(
            "by passes over all pairs at the last draw of each chain: ln of the density differs by {:.0e} at most",
            self.unresolved
        )
    }

    /// Whether draws are compared with the fit, for people: nothing where they aren't.
    pub fn beside_the_fit(&self, marginal: &Marginal) -> Option<String> {
        let compares = self.marginals.iter().any(|m| m.agreement.is_some());
        compares.then(|| marginal.agreement.as_ref().map_or("the fit gives no error".into(), Agreement::words))
    }

    fn parameters(&self) -> impl Iterator<Item = &Diagnosis> {
        self.marginals.iter().filter(|m| m.series.kind == Kind::Parameter).map(|m| &m.diagnosis)
    }

    /// Least effective sample size of all parameters, bulk or tail.
    pub fn least_ess(&self) -> f64 {
        self.parameters().map(|d| d.ess_bulk.min(d.ess_tail)).fold(f64::INFINITY, f64::min)
    }

    /// Greatest R̂ of all parameters.
    pub fn worst_rhat(&self) -> f64 {
        self.parameters().map(|d| d.rhat).fold(f64::NEG_INFINITY, f64::max)
    }

    /// The least effective sample size, per second.
    pub fn ess_per_second(&self) -> f64 {
        self.least_ess() / self.seconds
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_with_a_rate_at_its_floor_at_either_end_are_counted() {
        let experiment = Experiment::sheared(vec![0.0], 100);
        let draw = |diffusion: [f64; 3], shear: [f64; 3]| Draw {
            physical: [&diffusion[..], &shear, &[0.0]].concat(),
            scaling: vec![(0.3, 1.0)],
            sigma: 0.01,
            ln_density: 0.0,
            energy: 0.0,
            acceptance: 1.0,
            step: 1.0,
            depth: 1,
            n_steps: 1,
            diverged: false,
        };
        let (moves, still) = ([1e3, 0.5, 10.0], [1e-3, -0.5, 1e-4]);
        let draws = [
            draw(moves, still),
            draw([1e3, 0.5, -900.0], still),  // below 0 at the first frames
            draw([1e3, -0.5, -900.0], still), // at the last
            draw(moves, [1e-3, -0.5, -1e-2]), // everywhere
        ];
        assert_eq!(floored(&experiment, &draws.iter().collect::<Vec<_>>()), [0.5, 0.25]);
    }
}
