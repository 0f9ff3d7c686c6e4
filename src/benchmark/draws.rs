//! Draws from the posterior of data in memory: effective ones per second.

use std::cell::RefCell;
use std::time::Instant;

use serde_json::json;

use super::row::{Row, Timings, fields};
use super::{Engine, Sample, pool};
use crate::Result;
use crate::gram::Objective;
use crate::model::{ParameterSpace, ScalingMode};
use crate::sampler::summary::{Marginal, Summary, series};
use crate::sampler::{Noise, Plan, Posterior, Record, SamplerConfig, sample as draw};
use crate::solver::design::Scaling;
use crate::solver::{self, FitConfig, Task};

/// Fits the sample, then draws `n_draws` times from the posterior of all its parameters and σ, in each of the usual number of chains.
/// The time is that of the draws with their warm-up.
///
/// # Errors
/// When threads can't be started, and where no draw is possible around the fit.
pub fn draws(sample: &Sample, engine: Engine, threads: usize, n_draws: usize) -> Result<Row> {
    let e = &sample.experiment;
    let mut objective = sample.objective(pool(threads)?)?;
    engine.choose(objective.engine())?;
    let (space, mode) = (ParameterSpace::for_mode(e.mode), ScalingMode::automatic(e.n_angles()));
    let fit_config = FitConfig { global_search: true, ..FitConfig::default() };
    let task = Task { space: &space, config: &fit_config, mode, sigma: None, robust: None };
    let fit = solver::fit(&task, &mut objective, &mut |_| {})?;

    let config = SamplerConfig { n_draws, ..SamplerConfig::default() };
    let begin = Instant::now();
    let scaling = Scaling::new(mode, &e.phi, &space)?;
    let noise = Noise::Sampled(fit.covariance.s2.sqrt());
    let (posterior, start) = Posterior::around(&space, &scaling, &fit, noise, e);
    let plan = Plan::new(&config, &posterior, start);
    let record = RefCell::new(Record::default());
    draw(&plan, &mut objective, &record, &mut || {})?;
    let seconds = begin.elapsed().as_secs_f64();

    let record = record.into_inner();
    let marginals =
        series(&record.draws(), e, &space, mode, true).into_iter().map(|s| Marginal::new(s, None)).collect();
    let summary = Summary::new(&record, e, config, marginals, 0.0, true, seconds);
    let pairs = objective.levels()[0].plan.n_pairs() as f64 * record.n_points() as f64;
    Ok(Row {
        name: "draws",
        model: e.mode.name(),
        precision: Some("f64"),
        isa: Some(engine.isa),
        threads,
        pairs,
        more: fields([
            ("ess_per_second", json!(summary.ess_per_second())),
            ("ess", json!(summary.least_ess())),
            ("r_hat", json!(summary.worst_rhat())),
            ("draws", json!(summary.n_draws())),
            ("evaluations", json!(record.n_points())),
            ("frames", json!(e.n_frames)),
            ("angles", json!(e.n_angles())),
        ]),
        seconds: Timings::new(vec![seconds]),
    })
}
