//! Gram and χ² passes: pairs per second of every engine and number of threads, held against the FMA peak.

use std::time::{Duration, Instant};

use serde_json::json;

use super::row::{Row, Timings, fields};
use super::{Engine, Machine, Sample, pool};
use crate::Result;
use crate::arithmetic::fma_per_second;
use crate::gram::{Local, Objective, Pass, Precision};

/// Products that a plain pass would count for a pair under shear: z has 10 columns, one of them follows from the others, so
/// 9·10/2 = 45 products with itself, and about 25 to form it.
pub const PLAIN_PRODUCTS: f64 = 70.0;
/// Time of one measurement of the peak, between two passes.
const PEAK_TIME: Duration = Duration::from_millis(5);

/// The two kinds of pass.
const KINDS: [(&str, Pass); 2] = [("gram", Pass::Gram), ("chi2", Pass::Chi2)];

/// Rows of both kinds of pass for one engine and number of threads, the peak measured in turns with them.
///
/// # Errors
/// When threads can't be started.
pub fn passes(
    sample: &Sample,
    objective: &mut Local,
    machine: &Machine,
    engine: Engine,
    threads: usize,
    repetitions: usize,
) -> Result<Vec<Row>> {
    engine.choose(objective.engine())?;
    objective.engine().set_pool(pool(threads)?);
    let point = sample.point();
    // only Gram passes under shear know mixed precision
    let kinds = if engine.precision == Precision::F64 { KINDS.len() } else { 1 };
    if engine.precision == Precision::Mixed && !sample.experiment.mode.has_shear() {
        return Ok(Vec::new());
    }
    let mut seconds = [Vec::new(), Vec::new()];
    let mut idle = [f64::INFINITY; 2];
    let mut ratios = [Vec::new(), Vec::new()];
    let (mut peak, pairs) = (0.0f64, sample.experiment.n_pairs() as f64);
    // the first round warms caches and threads and isn't counted
    for round in 0..=repetitions {
        let now = fma_per_second(engine.isa, threads, PEAK_TIME)?;
        peak = peak.max(now);
        for (k, (_, pass)) in KINDS.into_iter().enumerate().take(kinds) {
            if !engine.is_slow() {
                machine.clear_caches(objective.engine().bytes());
            }
            let begin = Instant::now();
            objective.evaluate(0, std::slice::from_ref(&point), pass)?;
            let took = begin.elapsed().as_secs_f64();
            if round > 0 {
                seconds[k].push(took);
                ratios[k].push(pairs / took * PLAIN_PRODUCTS / now);
                idle[k] = idle[k].min(objective.engine().idle());
            }
        }
    }
    let rows = KINDS.into_iter().enumerate().take(kinds).map(|(k, (name, _))| {
        let seconds = Timings::new(std::mem::take(&mut seconds[k]));
        let products = pairs / seconds.best() * PLAIN_PRODUCTS;
        let median = Timings::new(std::mem::take(&mut ratios[k])).median();
        let one_core = machine.fma_per_core(engine.isa) * threads as f64;
        Row {
            name,
            model: sample.experiment.mode.name(),
            precision: Some(engine.precision.name()),
            isa: Some(engine.isa),
            threads,
            pairs,
            more: fields([
                ("pairs_x70_over_fma_peak", json!(products / peak)),
                ("pairs_x70_over_fma_peak_median", json!(median)),
                ("pairs_x70_over_fma_peak_of_one_core", json!(products / one_core)),
                ("fma_per_second", json!(peak)),
                ("idle_share", json!(idle[k])),
                ("data_bytes", json!(4.0 * pairs)),
                ("frames", json!(sample.experiment.n_frames)),
                ("angles", json!(sample.experiment.n_angles())),
            ]),
            seconds,
        }
    });
    Ok(rows.collect())
}
