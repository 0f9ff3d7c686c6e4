//! Global search: where to start, found from the data alone.
//!
//! Points are drawn so that c2 decays inside the window, screened by χ² on the coarsest level, and the best are refined
//! there. A thousand screened points cost less than one full pass.

use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

use crate::model::{Block, Experiment, ParameterSpace};

/// Points drawn and screened.
pub const SCREENED: usize = 1000;
/// Points kept and refined unless the configuration names a number.
pub const REFINED: usize = 16;

/// Exponent of the decay over the whole window, q²·dt·N·D_ref: from hardly visible to a few frames.
const DECAY_RANGE: (f64, f64) = (0.2, 60.0);
/// Phase over the whole window, s·N·γ̇_ref.
const PHASE_RANGE: (f64, f64) = (0.3, 60.0);
/// Share of the offset in the rate at the reference time, for half of the draws.
const OFFSET_SHARE: (f64, f64) = (-0.4, 0.7);
/// The steepest decay (or phase) a frame that is drawn.
const STEEPEST_PER_FRAME: f64 = 0.6;

fn log_uniform(rng: &mut ChaCha8Rng, (low, high): (f64, f64)) -> f64 {
    (low.ln() + rng.random::<f64>() * (high / low).ln()).exp()
}

/// One block drawn so that its rate at the reference time, times `per_window`, lies in `range`.
fn draw_block(
    rng: &mut ChaCha8Rng,
    range: (f64, f64),
    per_window: f64,
    n_frames: f64,
    exponents: (f64, f64),
    t_ref: f64,
) -> Block {
    let range = (range.0, range.1.max(STEEPEST_PER_FRAME * n_frames));
    let total = log_uniform(rng, range) / per_window;
    let exponent = exponents.0 + rng.random::<f64>() * (exponents.1 - exponents.0);
    let share = if rng.random_bool(0.5) {
        0.0
    } else {
        OFFSET_SHARE.0 + rng.random::<f64>() * (OFFSET_SHARE.1 - OFFSET_SHARE.0)
    };
    Block { amplitude: (1.0 - share) * total * t_ref.powf(-exponent), exponent, offset: share * total }
}

/// Draws `count` points inside the bounds.
pub fn draw(experiment: &Experiment, space: &ParameterSpace, count: usize, seed: u64) -> Vec<Vec<f64>> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = experiment.n_frames as f64;
    let t_ref = experiment.t_ref();
    (0..count)
        .map(|_| {
            let decay = experiment.diffusion_factor() * n;
            let mut point = draw_block(&mut rng, DECAY_RANGE, decay, n, space.bounds[1], t_ref).to_array().to_vec();
            if experiment.mode.has_shear() {
                let phase = experiment.shear_factor() * n;
                point.extend(draw_block(&mut rng, PHASE_RANGE, phase, n, space.bounds[4], t_ref).to_array());
                let (min, max) = space.bounds[6];
                point.push(min + rng.random::<f64>() * (max - min));
            }
            space.clamp(&mut point);
            point
        })
        .collect()
}

/// Exponents that are tried again at the same value at t_ref where the first answer lies in the valley.
const OTHER_EXPONENTS: [f64; 4] = [-0.4, -0.1, 0.1, 0.4];
/// |exponent| below which the valley is suspected.
const FLAT_EXPONENT: f64 = 0.02;

/// Further starts beside a minimum that lies in the valley or on a bound: the same rate at t_ref with other exponents.
pub fn alternatives(physical: &[f64], at_bound: &[bool], space: &ParameterSpace, t_ref: f64) -> Vec<Vec<f64>> {
    let mut out = Vec::new();
    for first in (0..physical.len() / 3).map(|b| 3 * b) {
        let block = Block::from_slice(&physical[first..]);
        if block.exponent.abs() >= FLAT_EXPONENT && !at_bound[first..first + 3].contains(&true) {
            continue;
        }
        let value = block.at_reference(t_ref) + block.offset;
        for exponent in OTHER_EXPONENTS {
            // the whole rate in the power law; the solver finds the share of the offset
            let amplitude = value * t_ref.powf(-exponent);
            let mut point = physical.to_vec();
            point[first..first + 3].copy_from_slice(&[amplitude, exponent, 0.0]);
            space.clamp(&mut point);
            out.push(point);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AnalysisMode;

    #[test]
    fn draws_lie_in_the_bounds_keep_fixed_values_and_repeat() {
        let experiment = Experiment::sheared(vec![0.0], 300);
        let mut space = ParameterSpace::for_mode(AnalysisMode::LaminarFlow);
        space.fixed[4] = Some(0.25);
        let points = draw(&experiment, &space, 500, 7);
        for p in &points {
            assert_eq!(p[4], 0.25);
            for (v, b) in p.iter().zip(&space.bounds) {
                assert!(*v >= b.0 && *v <= b.1);
            }
        }
        assert_eq!(points, draw(&experiment, &space, 500, 7));
        assert_ne!(points, draw(&experiment, &space, 500, 8));
        let visible = points
            .iter()
            .filter(|p| {
                let rate = Block::from_slice(p).at_reference(experiment.t_ref()) + p[2];
                (0.1..200.0).contains(&(rate * experiment.diffusion_factor() * 300.0))
            })
            .count();
        assert!(visible > 400, "{visible}");
    }
}
