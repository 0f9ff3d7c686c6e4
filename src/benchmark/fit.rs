//! A whole fit of data in memory, from a global search to the last full-resolution pass.

use std::time::Instant;

use serde_json::json;

use super::row::{Row, Timings, fields};
use super::{Engine, Sample, pool};
use crate::Result;
use crate::gram::Local;
use crate::model::{ParameterSpace, ScalingMode};
use crate::solver::{self, FitConfig, Task};

/// Fits the sample `repetitions` times.
///
/// # Errors
/// When threads can't be started.
pub fn fit(sample: &Sample, objective: &mut Local, engine: Engine, threads: usize, repetitions: usize) -> Result<Row> {
    engine.choose(objective.engine())?;
    objective.engine().set_pool(pool(threads)?);
    let e = &sample.experiment;
    let (space, mode) = (ParameterSpace::for_mode(e.mode), ScalingMode::automatic(e.n_angles()));
    let config = &FitConfig { global_search: true, ..FitConfig::default() };
    let task = Task { space: &space, config, mode, sigma: None, robust: None };
    let (mut seconds, mut passes, mut converged) = (Vec::new(), Vec::new(), true);
    for _ in 0..repetitions {
        objective.passes.fill(0);
        let begin = Instant::now();
        let fit = solver::fit(&task, objective, &mut |_| {})?;
        seconds.push(begin.elapsed().as_secs_f64());
        passes.clone_from(&objective.passes);
        converged &= fit.outcome.converged();
    }
    let levels = crate::gram::Objective::levels(objective);
    let pairs: f64 = levels.iter().zip(&passes).map(|(l, &n)| l.plan.n_pairs() as f64 * n as f64).sum();
    let seconds = Timings::new(seconds);
    Ok(Row {
        name: "fit",
        model: e.mode.name(),
        precision: Some("f64"),
        isa: Some(engine.isa),
        threads,
        pairs,
        more: fields([
            // as in the results: both triangles count
            ("points_per_second", json!(2.0 * pairs / seconds.best())),
            ("converged", json!(converged)),
            ("passes", json!(passes.iter().sum::<usize>())),
            ("full_resolution_passes", json!(passes[0])),
            ("data_pairs", json!(e.n_pairs())),
            ("frames", json!(e.n_frames)),
            ("angles", json!(e.n_angles())),
        ]),
        seconds,
    })
}
