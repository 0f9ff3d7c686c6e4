//! Passes, and forming the nodes that they go over: seconds of every engine and number of threads, held against the FMA peak.

use std::time::{Duration, Instant};

use serde_json::json;

use super::row::{Row, Timings, fields};
use super::{Engine, Machine, Sample, pool};
use crate::Result;
use crate::arithmetic::fma_per_second;
use crate::gram::{Local, Objective, Pass};

/// Time of one measurement of the peak, between two passes.
const PEAK_TIME: Duration = Duration::from_millis(5);

/// What is measured: the pass, if it is one, and multiply-adds that a plain way of doing it takes for a term, without and with shear. z
/// has 6 or 10 columns, one of which follows from the others: 15 or 45 products with itself, 12 or 24 of derivatives with g, 1
/// and r alone, 6 of those, and about 8 or 25 to form it. From 64 × 64 pairs to 16 × 16 nodes are 20 for a pair.
const KINDS: [(&str, Option<Pass>, [f64; 2]); 5] = [
    ("compress", None, [20.0, 20.0]),
    ("pass", Some(Pass::Gram), [23.0, 70.0]),
    ("slopes", Some(Pass::Slopes), [20.0, 49.0]),
    ("chi2", Some(Pass::Chi2), [14.0, 31.0]),
    ("look", Some(Pass::Exact), [23.0, 70.0]),
];

/// Rows of all of them for one engine and number of threads, the peak measured in turns with them.
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
    let (point, pairs) = (sample.point(), sample.experiment.n_pairs() as f64);
    let mut peak = 0.0f64;
    let mut seconds = KINDS.map(|_| Vec::new());
    let (mut idle, mut terms) = (KINDS.map(|_| f64::INFINITY), KINDS.map(|_| pairs));
    // the first round warms caches and threads and isn't counted
    for round in 0..=repetitions {
        peak = peak.max(fma_per_second(engine.isa, threads, PEAK_TIME)?);
        for (k, (_, pass, _)) in KINDS.into_iter().enumerate() {
            if !engine.is_slow() {
                machine.clear_caches(objective.engine().bytes());
            }
            let begin = Instant::now();
            match pass {
                Some(pass) => drop(objective.evaluate(0, std::slice::from_ref(&point), pass)?),
                None => objective.engine().compress(),
            }
            if round > 0 {
                seconds[k].push(begin.elapsed().as_secs_f64());
            }
            if pass.is_some() {
                idle[k] = idle[k].min(objective.engine().idle());
                terms[k] = objective.engine().terms() as f64;
            }
        }
    }
    let all = KINDS.into_iter().zip(seconds).zip(idle.into_iter().zip(terms));
    let rows = all.map(|(((name, pass, products), seconds), (idle, terms))| {
        let seconds = Timings::new(seconds);
        let products = products[usize::from(sample.experiment.mode.has_shear())];
        let done = terms * products / seconds.best();
        let mut more = fields([
            ("terms", json!(terms)),
            ("products_per_term", json!(products)),
            ("products_over_fma_peak", json!(done / peak)),
            ("products_over_fma_peak_of_one_core", json!(done / (machine.fma_per_core(engine.isa) * threads as f64))),
            ("fma_per_second", json!(peak)),
            ("data_bytes", json!(4.0 * pairs)),
            ("frames", json!(sample.experiment.n_frames)),
            ("angles", json!(sample.experiment.n_angles())),
        ]);
        if pass.is_some() {
            more.insert("idle_share".into(), json!(idle));
        }
        Row {
            name,
            model: sample.experiment.mode.name(),
            precision: Some("f64"),
            isa: Some(engine.isa),
            threads,
            pairs,
            more,
            seconds,
        }
    });
    Ok(rows.collect())
}
