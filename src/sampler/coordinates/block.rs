//! One block within its bounds: from its coordinates and back, whatever of it is fixed.

use super::bend::{Bend, LAST, STEPS};
use super::{ROUNDING, Shape, gathered, spread, within};
use crate::model::{Block, Experiment, ParameterSpace};

/// Tries to find a place near a point on bounds; the last is the middle of all bounds.
const NUDGES: i32 = 53;

/// Bounds and fixed values of one block.
#[derive(Debug, Clone)]
pub(super) struct BlockSpace {
    amplitude: (f64, f64),
    exponent: (f64, f64),
    offset: (f64, f64),
    fixed: [Option<f64>; 3],
    t_ref: f64,
    ln_ref: f64,
    bend: Bend,
}

impl BlockSpace {
    /// The block whose amplitude has this position among the parameters.
    pub(super) fn new(space: &ParameterSpace, first: usize, experiment: &Experiment, shape: Shape) -> Self {
        let (exponent, t_ref) = (space.bounds[first + 1], experiment.t_ref());
        let ln_time = |frame: usize| (experiment.tau(frame) / t_ref).ln();
        Self {
            amplitude: space.bounds[first],
            exponent,
            offset: space.bounds[first + 2],
            fixed: std::array::from_fn(|k| space.fixed[first + k]),
            t_ref,
            ln_ref: t_ref.ln(),
            bend: Bend::new(exponent, space.priors[first + 1], shape, (ln_time(1), ln_time(experiment.n_frames - 1))),
        }
    }

    /// ln f_ref for an exponent and an amplitude.
    fn ln_reference(&self, amplitude: f64, exponent: f64) -> f64 {
        amplitude.ln() + exponent * self.ln_ref
    }

    /// Interval of λ for an exponent: from the amplitude's bounds.
    fn of_amplitude(&self, exponent: f64) -> (f64, f64) {
        (self.ln_reference(self.amplitude.0, exponent), self.ln_reference(self.amplitude.1, exponent))
    }

    /// Interval of λ for a value A: offset = A − e^λ within its bounds.
    fn of_offset(&self, a: f64) -> (f64, f64) {
        let ln = |f: f64| if f > 0.0 { f.ln() } else { f64::NEG_INFINITY };
        (ln(a - self.offset.1), ln(a - self.offset.0))
    }

    /// Where the amplitude reaches a bound while λ goes on towards it from outside: the outermost such place, or one beyond it, so
    /// that the interval holds all that the bounds allow.
    fn end(&self, u: f64, amplitude: f64, is_upper: bool) -> f64 {
        let level = amplitude.ln();
        let (a, b) = (self.exponent.0 * self.ln_ref, self.exponent.1 * self.ln_ref);
        let outside = level + if is_upper { a.max(b) } else { a.min(b) };
        let mut lambda = outside;
        let mut near = None;
        for _ in 0..STEPS {
            let exponent = self.bend.exponent(u, lambda, near.as_ref());
            let beyond = lambda - self.ln_ref * exponent.value - level;
            // by Newton where the amplitude grows faster than λ; else by less, which keeps to this side
            lambda -= beyond / (1.0 - self.ln_ref * exponent.by_lambda).max(1.0);
            if beyond.abs() <= LAST {
                return lambda;
            }
            near = Some(exponent);
        }
        outside
    }

    /// Interval of λ for A and u; `None` where there is none.
    fn of_all(&self, a: f64, u: f64) -> Option<(f64, f64)> {
        let (low, high) = self.of_offset(a);
        let (low, high) =
            (low.max(self.end(u, self.amplitude.0, false)), high.min(self.end(u, self.amplitude.1, true)));
        (low < high).then_some((low, high))
    }

    /// Whether values lie within the bounds, up to rounding.
    fn allows(&self, values: &[f64; 3]) -> bool {
        let bounds = [self.amplitude, self.exponent, self.offset];
        values.iter().zip(bounds).all(|(&value, bounds)| within(value, bounds))
    }

    /// (amplitude, exponent, offset) and ln of the Jacobian; `None` outside.
    pub(super) fn forward(&self, x: &[f64]) -> Option<([f64; 3], f64)> {
        let t = |exponent: f64| -exponent * self.ln_ref;
        Some(match self.fixed {
            [None, None, None] => {
                let (a, u) = (x[0], x[1]);
                let (lambda, ln) = self.bend.straight(self.of_all(a, u)?, x[2]);
                let exponent = self.bend.exponent(u, lambda, None);
                let ln_amplitude = lambda + t(exponent.value);
                ([ln_amplitude.exp(), exponent.value, a - lambda.exp()], ln_amplitude + exponent.ln_slope + ln)
            }
            [Some(amplitude), None, None] => {
                let (exponent, ln) = spread(self.exponent, x[0]);
                let f = self.ln_reference(amplitude, exponent).exp();
                let (a, ln_a) = spread((f + self.offset.0, f + self.offset.1), x[1]);
                ([amplitude, exponent, a - f], ln + ln_a)
            }
            [None, Some(exponent), None] => {
                let (by_offset, by_amplitude) = (self.of_offset(x[0]), self.of_amplitude(exponent));
                let interval = (by_offset.0.max(by_amplitude.0), by_offset.1.min(by_amplitude.1));
                if interval.0.is_nan() || interval.0 >= interval.1 {
                    return None;
                }
                let (lambda, ln) = spread(interval, x[1]);
                let ln_amplitude = lambda + t(exponent);
                ([ln_amplitude.exp(), exponent, x[0] - lambda.exp()], ln_amplitude + ln)
            }
            [None, None, Some(offset)] => {
                let (exponent, ln) = spread(self.exponent, x[0]);
                let (lambda, ln_l) = spread(self.of_amplitude(exponent), x[1]);
                let ln_amplitude = lambda + t(exponent);
                ([ln_amplitude.exp(), exponent, offset], ln_amplitude + ln + ln_l)
            }
            [None, Some(exponent), Some(offset)] => {
                let (ln_amplitude, ln) = spread((self.amplitude.0.ln(), self.amplitude.1.ln()), x[0]);
                ([ln_amplitude.exp(), exponent, offset], ln_amplitude + ln)
            }
            [Some(amplitude), None, Some(offset)] => {
                let (exponent, ln) = spread(self.exponent, x[0]);
                ([amplitude, exponent, offset], ln)
            }
            [Some(amplitude), Some(exponent), None] => {
                let (offset, ln) = spread(self.offset, x[0]);
                ([amplitude, exponent, offset], ln)
            }
            [Some(amplitude), Some(exponent), Some(offset)] => ([amplitude, exponent, offset], 0.0),
        })
    }

    /// Coordinates of a block, moved inside where it lies on bounds.
    pub(super) fn backward(&self, block: Block, into: &mut Vec<f64>) {
        let [a, ..] = block.to_valley(self.t_ref);
        let lambda = self.ln_reference(block.amplitude, block.exponent);
        match self.fixed {
            [None, None, None] => {
                // on bounds, above all where several meet, there may be no place: look further and further in
                let moved = |k: i32| {
                    let by = if k == 0 { 0.0 } else { (ROUNDING * 1.5f64.powi(k)).min(1.0) };
                    let inside = |(low, high): (f64, f64), value: f64| value + by * (0.5 * (low + high) - value);
                    let amplitude = inside(self.amplitude, block.amplitude);
                    let exponent = inside(self.exponent, block.exponent);
                    let own = Block { amplitude, exponent, offset: inside(self.offset, block.offset) };
                    let [a, ..] = own.to_valley(self.t_ref);
                    let lambda = self.ln_reference(amplitude, exponent);
                    let u = self.bend.u(exponent, lambda);
                    let x = [a, u, self.bend.bent(self.of_all(a, u)?, lambda)];
                    self.forward(&x).is_some_and(|(values, _)| self.allows(&values)).then_some(x)
                };
                into.extend((0..NUDGES).find_map(moved).unwrap_or([a, 0.0, 0.0]));
            }
            [Some(amplitude), None, None] => {
                let f = self.ln_reference(amplitude, block.exponent).exp();
                into.push(gathered(self.exponent, block.exponent));
                into.push(gathered((f + self.offset.0, f + self.offset.1), a));
            }
            [None, Some(exponent), None] => {
                let (low, high) = self.of_offset(a);
                let (least, most) = self.of_amplitude(exponent);
                into.extend([a, gathered((low.max(least), high.min(most)), lambda)]);
            }
            [None, None, Some(_)] => {
                into.push(gathered(self.exponent, block.exponent));
                into.push(gathered(self.of_amplitude(block.exponent), lambda));
            }
            [None, Some(_), Some(_)] => {
                into.push(gathered((self.amplitude.0.ln(), self.amplitude.1.ln()), block.amplitude.ln()));
            }
            [Some(_), None, Some(_)] => into.push(gathered(self.exponent, block.exponent)),
            [Some(_), Some(_), None] => into.push(gathered(self.offset, block.offset)),
            [Some(_), Some(_), Some(_)] => {}
        }
    }
}
