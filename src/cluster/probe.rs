//! How fast a rank is: passes over made-up tiles with its own threads and instruction set, in a fraction of a second.

use std::time::{Duration, Instant};

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::setup::thread_pool;
use crate::Result;
use crate::gram::{CpuEngine, Engine, Level, Local, Objective, Pass, Point, Shard, TileStore};
use crate::model::Experiment;

/// Frames of the made-up matrix, unless the measurement has fewer: more would change the rate by a few percent.
const FRAMES: usize = 1000;
/// Pairs a thread gets: some milliseconds of work.
const PAIRS_PER_THREAD: u64 = 2_000_000;
/// Most angles of it, where frames are few.
const MOST_ANGLES: u64 = 1000;
/// Time spent on each kind of pass.
const TIME: Duration = Duration::from_millis(120);
/// Repetitions of a pass without pairs.
const TABLES: usize = 5;
/// Exponent of the decay over the window: nothing is negligible, as in the worst tiles of a measurement.
const DECAY: f64 = 3.0;
/// Phase over the window, rad: some lobes of sinc.
const PHASE: f64 = 6.0;
/// Share of missing values.
const MISSING: f64 = 1e-3;

/// What passes cost on a rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Pairs per second of Gram passes.
    pub gram: f64,
    /// Pairs per second of χ²-only passes.
    pub chi2: f64,
    /// What a full-resolution pass of the measurement costs before the first pair, s: tables per frame and angle.
    pub tables: f64,
}

/// The measurement's model at a point of moderate decay and phase.
fn moderate_point(e: &Experiment) -> Point {
    let n = e.n_frames as f64;
    let mut physical = vec![DECAY / (e.diffusion_factor() * n), 0.0, 0.0];
    if e.mode.has_shear() {
        // a factor of zero leaves nothing to choose
        let factor = e.shear_factor() * n;
        physical.extend([if factor > 0.0 { PHASE / factor } else { 0.0 }, 0.0, 0.0, 0.0]);
    }
    Point { physical, scaling: vec![(0.3, 1.0); e.n_angles()] }
}

/// Measures this rank with so many threads.
///
/// # Errors
/// When threads can't be started.
pub(super) fn rate(experiment: &Experiment, rank: usize, threads: usize) -> Result<Rate> {
    let frames = experiment.n_frames.clamp(3, FRAMES);
    let mut e = Experiment { n_frames: frames, phi: vec![0.0], ..experiment.clone() };
    let angles = (PAIRS_PER_THREAD * threads as u64).div_ceil(e.n_pairs().max(1)).clamp(1, MOST_ANGLES);
    // a few different angles, for the phase differs
    e.phi = (0..angles).map(|k| 7.0 * (k % 10) as f64).collect();
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let mut value = || if rng.random_bool(MISSING) { f32::NAN } else { rng.random_range(1.0..1.3) };
    let row: Vec<f32> = (0..64 * frames).map(|_| value()).collect();
    // rows begin at different places of the made-up values
    let row_after = |angle: usize, i: usize| {
        let start = ((angle + 1) * (i + 1) * 61) % (63 * frames);
        &row[start..start + frames - 1 - i]
    };
    let point = moderate_point(&e);
    let pairs = e.n_pairs() as f64;
    let own_tables = tables(&e, rank, threads)?;
    let mut objective = Local::new(e, thread_pool(rank, threads)?, row_after)?;
    let mut measure = |pass: Pass| -> Result<f64> {
        let mut best = 0.0f64;
        let mut spent = Duration::ZERO;
        while spent < TIME {
            let begin = Instant::now();
            objective.evaluate(0, std::slice::from_ref(&point), pass)?;
            let took = begin.elapsed();
            spent += took;
            // at least half is the pairs', whatever the clock says of very short passes
            best = best.max(pairs / (took.as_secs_f64() - own_tables).max(0.5 * took.as_secs_f64()));
        }
        Ok(best)
    };
    Ok(Rate { gram: measure(Pass::Gram)?, chi2: measure(Pass::Chi2)?, tables: tables(experiment, rank, threads)? })
}

/// Time of a full-resolution Gram pass on a rank that holds no tile, s.
fn tables(experiment: &Experiment, rank: usize, threads: usize) -> Result<f64> {
    let mut levels = Level::all(experiment.n_frames, experiment.n_angles());
    levels.truncate(1);
    let shards = levels
        .into_iter()
        .map(|level| Shard { store: TileStore::new(&level.plan, 0..0), level, sigma: None })
        .collect();
    let mut engine = CpuEngine::new(experiment.clone(), shards, thread_pool(rank, threads)?)?;
    let point = moderate_point(experiment);
    let mut best = f64::INFINITY;
    for _ in 0..TABLES {
        let begin = Instant::now();
        engine.evaluate(0, std::slice::from_ref(&point), Pass::Gram)?;
        best = best.min(begin.elapsed().as_secs_f64());
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ShearConvention};

    #[test]
    fn a_rate_is_found_for_any_shape() {
        for (mode, n_frames, gap) in
            [(AnalysisMode::Static, 3, 0.0), (AnalysisMode::LaminarFlow, 400, 2e6), (AnalysisMode::LaminarFlow, 5, 0.0)]
        {
            let e = Experiment {
                mode,
                convention: ShearConvention::Homodyne,
                q: 0.0054,
                gap,
                dt: 0.1,
                phi: vec![0.0],
                n_frames,
                time_offset: 0,
            };
            let Rate { gram, chi2, tables } = rate(&e, 0, 1).unwrap();
            assert!(tables.is_finite() && tables > 0.0);
            assert!(gram.is_finite() && gram > 0.0 && chi2.is_finite() && chi2 > 0.0, "{n_frames}: {gram} {chi2}");
        }
    }
}
