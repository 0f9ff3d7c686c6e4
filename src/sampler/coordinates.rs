//! From unbounded coordinates, in which chains move, to the physical parameters within their bounds.
//!
//! A power law plus offset is nearly degenerate along a curve (`model/valley`). In the natural parameters the posterior is then
//! a thin curved sheet, in which no sampler gets on. So chains move in the valley's coordinates: A, the rate at t_ref, B, its
//! slope in ln t, and λ = ln f_ref, in which uniform priors of the natural parameters are nearly uniform, too:
//!
//! ```text
//! f_ref = e^λ    exponent = B/f_ref    amplitude = f_ref·t_ref^(−exponent)    offset = A − f_ref
//! |∂(amplitude, exponent, offset)/∂(A, B, λ)| = t_ref^(−exponent)
//! ```
//!
//! Where λ makes the exponent large, the data end it: their χ² grows with the curvature B²/f_ref, a wall that is exponentially steep
//! in λ. So λ is bent into μ, which becomes linear in 1/f_ref there:
//!
//! ```text
//! μ = λ − √(1 + (exponent/¼)²) + 1
//! ```
//!
//! For given A and B the bounds of amplitude and offset leave μ an interval, which a logistic function spreads over the whole
//! line. Where that is empty, and where the exponent is out of its bounds, there is no density. Blocks of which something is fixed
//! have fewer coordinates:
//!
//! | fixed | coordinates |
//! | --- | --- |
//! | nothing | A, B, μ |
//! | amplitude | exponent, A |
//! | exponent | A, λ |
//! | offset | exponent, λ |
//! | two | the third; the amplitude by its logarithm |
//!
//! phi0 is spread over the line by itself.

use crate::model::{Block, MAX_PHYSICAL, ParameterSpace};

/// Share of its interval that a start keeps from the ends.
const MARGIN: f64 = 1e-3;
/// Exponent from which on μ bends.
const BEND: f64 = 0.25;
/// Newton steps for the upper end of λ's interval, of which a few suffice.
const NEWTON: usize = 60;
/// Tries to find a place near a point on bounds; the last is the middle of all bounds.
const NUDGES: i32 = 53;
/// Relative distance beyond a bound that is rounding.
const ROUNDING: f64 = 1e-9;

/// A point in both worlds.
#[derive(Debug, Clone, PartialEq)]
pub struct Place {
    /// Natural physical parameters, in the order of [`crate::model::PHYSICAL`].
    pub physical: Vec<f64>,
    /// ln |∂(free natural parameters)/∂(coordinates)|.
    pub ln_jacobian: f64,
}

/// The map for given bounds and fixed values.
#[derive(Debug, Clone)]
pub struct Coordinates {
    bounds: Vec<(f64, f64)>,
    fixed: Vec<Option<f64>>,
    t_ref: f64,
}

/// A value within an interval from a coordinate on the line: (value, ln of its derivative).
fn spread((low, high): (f64, f64), x: f64) -> (f64, f64) {
    // both shares by the smaller exponential, so that neither end loses digits
    let e = (-x.abs()).exp();
    let (small, large) = (e / (1.0 + e), 1.0 / (1.0 + e));
    let value = if x < 0.0 { low + (high - low) * small } else { high - (high - low) * small };
    (value, (high - low).ln() + small.ln() + large.ln())
}

/// The coordinate of a value, of one near an end or beyond it that of a value inside.
fn gathered((low, high): (f64, f64), value: f64) -> f64 {
    let share = ((value - low) / (high - low)).clamp(MARGIN, 1.0 - MARGIN);
    // where the value lies inside its own digits count
    let inside = value > low + MARGIN * (high - low) && value < high - MARGIN * (high - low);
    if inside { ((value - low) / (high - value)).ln() } else { (share / (1.0 - share)).ln() }
}

/// Whether a value lies within bounds, up to rounding.
fn within(value: f64, (min, max): (f64, f64)) -> bool {
    let slack = ROUNDING * (max - min);
    (min - slack..=max + slack).contains(&value)
}

/// Bounds and fixed values of one block.
struct BlockSpace {
    amplitude: (f64, f64),
    exponent: (f64, f64),
    offset: (f64, f64),
    fixed: [Option<f64>; 3],
    ln_ref: f64,
}

impl BlockSpace {
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

    /// An interval of μ for A and B that holds all that the bounds allow; `None` where there is none. Its upper end is exact.
    /// At its lower end the exponent's bounds cut off a wedge |B| < e^λ·bound: an end that followed it would run to −∞ around
    /// B = 0, where chains are often, and has no weight.
    fn of_all(&self, a: f64, b: f64) -> Option<(f64, f64)> {
        let (by_offset, high) = self.of_offset(a);
        let steepest = self.exponent.0.abs().max(self.exponent.1.abs());
        // ln amplitude = λ − c·e^(−λ), which for negative c has its minimum, 1 + ln(−c), at ln(−c)
        let (c, most) = (b * self.ln_ref, self.amplitude.1.ln());
        if c < 0.0 && (-c).ln() + 1.0 >= most {
            return None;
        }
        let high = bent(high.min(root(c, most, most)), b);
        let least = self.amplitude.0.ln() - steepest * self.ln_ref.abs();
        let low = least - (1.0 + (steepest / BEND).powi(2)).sqrt() + 1.0;
        let low = if by_offset.is_finite() { low.max(bent(by_offset, b)) } else { low };
        (low < high).then_some((low, high))
    }

    /// Whether values lie within the bounds, up to rounding.
    fn allows(&self, values: &[f64; 3]) -> bool {
        let bounds = [self.amplitude, self.exponent, self.offset];
        values.iter().zip(bounds).all(|(&value, bounds)| within(value, bounds))
    }

    /// (amplitude, exponent, offset) and ln of the Jacobian; `None` outside.
    fn forward(&self, x: &[f64]) -> Option<([f64; 3], f64)> {
        let t = |exponent: f64| -exponent * self.ln_ref;
        Some(match self.fixed {
            [None, None, None] => {
                let (a, b) = (x[0], x[1]);
                let (mu, ln) = spread(self.of_all(a, b)?, x[2]);
                let lambda = unbent(mu, b);
                let ln = ln - slope(lambda, b).ln();
                let f = lambda.exp();
                let exponent = b / f;
                let amplitude = (lambda + t(exponent)).exp();
                ([amplitude, exponent, a - f], t(exponent) + ln)
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
    fn backward(&self, block: Block, t_ref: f64, into: &mut Vec<f64>) {
        let [a, b, _] = block.to_valley(t_ref);
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
                    let [a, b, _] = own.to_valley(t_ref);
                    let x = [a, b, gathered(self.of_all(a, b)?, bent(self.ln_reference(amplitude, exponent), b))];
                    self.forward(&x).is_some_and(|(values, _)| self.allows(&values)).then_some(x)
                };
                into.extend((0..NUDGES).find_map(moved).unwrap_or([a, b, 0.0]));
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

    fn n_free(&self) -> usize {
        self.fixed.iter().filter(|f| f.is_none()).count()
    }
}

/// μ of λ.
fn bent(lambda: f64, b: f64) -> f64 {
    lambda - (1.0 + (b * (-lambda).exp() / BEND).powi(2)).sqrt() + 1.0
}

/// dμ/dλ.
fn slope(lambda: f64, b: f64) -> f64 {
    let square = (b * (-lambda).exp() / BEND).powi(2);
    1.0 + square / (1.0 + square).sqrt()
}

/// λ of μ, by Newton's steps; μ is concave in λ and less than it, so they come from below.
fn unbent(mu: f64, b: f64) -> f64 {
    let mut lambda = mu;
    for _ in 0..NEWTON {
        let step = (mu - bent(lambda, b)) / slope(lambda, b);
        if !step.is_finite() {
            break;
        }
        lambda += step;
        if step.abs() <= f64::EPSILON * lambda.abs().max(1.0) {
            break;
        }
    }
    lambda
}

/// Solution of λ − c·e^(−λ) = `level` from a start from which Newton's steps approach it from one side.
fn root(c: f64, level: f64, start: f64) -> f64 {
    let mut lambda = start;
    for _ in 0..NEWTON {
        let e = c * (-lambda).exp();
        let step = (lambda - e - level) / (1.0 + e);
        if !step.is_finite() {
            break;
        }
        lambda -= step;
        if step.abs() <= f64::EPSILON * lambda.abs().max(1.0) {
            break;
        }
    }
    lambda
}

impl Coordinates {
    /// For these bounds and fixed values, with the experiment's reference time (s).
    pub fn new(space: &ParameterSpace, t_ref: f64) -> Self {
        Self { bounds: space.bounds.clone(), fixed: space.fixed.clone(), t_ref }
    }

    /// Number of coordinates: of parameters that aren't fixed.
    pub fn len(&self) -> usize {
        self.fixed.iter().filter(|f| f.is_none()).count()
    }

    /// Whether everything is fixed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn blocks(&self) -> impl Iterator<Item = BlockSpace> + '_ {
        (0..self.bounds.len() / 3).map(|block| {
            let first = 3 * block;
            BlockSpace {
                amplitude: self.bounds[first],
                exponent: self.bounds[first + 1],
                offset: self.bounds[first + 2],
                fixed: std::array::from_fn(|k| self.fixed[first + k]),
                ln_ref: self.t_ref.ln(),
            }
        })
    }

    /// The physical parameters there; `None` where the bounds leave no place.
    pub fn place(&self, x: &[f64]) -> Option<Place> {
        let mut physical = Vec::with_capacity(MAX_PHYSICAL);
        let (mut ln_jacobian, mut used) = (0.0, 0);
        for block in self.blocks() {
            let n = block.n_free();
            let (values, ln) = block.forward(&x[used..used + n])?;
            physical.extend(values);
            ln_jacobian += ln;
            used += n;
        }
        if self.bounds.len() > physical.len() {
            let k = physical.len();
            let (value, ln) = self.fixed[k].map_or_else(|| spread(self.bounds[k], x[used]), |value| (value, 0.0));
            physical.push(value);
            ln_jacobian += ln;
        }
        for (k, value) in physical.iter_mut().enumerate().filter(|(k, _)| self.fixed[*k].is_none()) {
            if !within(*value, self.bounds[k]) {
                return None;
            }
            *value = value.clamp(self.bounds[k].0, self.bounds[k].1);
        }
        ln_jacobian.is_finite().then_some(Place { physical, ln_jacobian })
    }

    /// Coordinates of a point; one on a bound is moved inside.
    pub fn of(&self, physical: &[f64]) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.len());
        for (k, block) in self.blocks().enumerate() {
            block.backward(Block::from_slice(&physical[3 * k..]), self.t_ref, &mut out);
        }
        let k = self.bounds.len() / 3 * 3;
        if self.bounds.len() > k && self.fixed[k].is_none() {
            out.push(gathered(self.bounds[k], physical[k]));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AnalysisMode;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    const T_REFS: [f64; 2] = [33.0, 0.2];

    fn spaces() -> impl Iterator<Item = ParameterSpace> {
        (0..127u32).map(|bits| {
            let mut space = ParameterSpace::for_mode(AnalysisMode::LaminarFlow);
            let values = [3e3, -0.4, 200.0, 0.02, 0.3, 1e-3, -2.0];
            space.fixed = (0..7).map(|k| (bits >> k & 1 == 1).then_some(values[k])).collect();
            space
        })
    }

    /// A point inside the bounds, fixed values in place.
    fn point(space: &ParameterSpace, rng: &mut ChaCha8Rng) -> Vec<f64> {
        let inside = |&(min, max): &(f64, f64)| min + (max - min) * rng.random_range(0.03..0.97);
        let mut out: Vec<f64> = space.bounds.iter().map(inside).collect();
        space.clamp(&mut out);
        out
    }

    #[test]
    fn there_and_back_for_every_set_of_fixed_parameters() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        for t_ref in T_REFS {
            for space in spaces() {
                let map = Coordinates::new(&space, t_ref);
                for _ in 0..20 {
                    let p = point(&space, &mut rng);
                    let x = map.of(&p);
                    assert_eq!(x.len(), space.n_free());
                    let Some(back) = map.place(&x) else { panic!("{p:?} has no place") };
                    for k in 0..7 {
                        let range = space.bounds[k].1 - space.bounds[k].0;
                        // μ may lie within a thousandth of its interval's end although all parameters are well inside
                        let near = (back.physical[k] - p[k]).abs() < 1e-9 * range;
                        let nudged = x.iter().any(|v| (v.abs() - 6.906_754_8).abs() < 1e-3);
                        assert!(near || nudged, "{k}: {} {}", back.physical[k], p[k]);
                    }
                }
            }
        }
    }

    #[test]
    fn the_jacobian_is_the_finite_difference() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for t_ref in T_REFS {
            for space in spaces() {
                let map = Coordinates::new(&space, t_ref);
                let free: Vec<usize> = (0..7).filter(|&k| space.fixed[k].is_none()).collect();
                let x = map.of(&point(&space, &mut rng));
                let here = map.place(&x).unwrap();
                let column = |k: usize| {
                    let h = 1e-6 * x[k].abs().max(1e-3);
                    let at = |by: f64| {
                        let mut x = x.clone();
                        x[k] += by;
                        map.place(&x).unwrap().physical
                    };
                    let (up, down) = (at(h), at(-h));
                    nalgebra::DVector::from_iterator(
                        free.len(),
                        free.iter().map(|&f| (up[f] - down[f]) / (2.0 * h) / (space.bounds[f].1 - space.bounds[f].0)),
                    )
                };
                let columns: Vec<_> = (0..x.len()).map(column).collect();
                let ranges: f64 = free.iter().map(|&f| (space.bounds[f].1 - space.bounds[f].0).ln()).sum();
                let numeric = nalgebra::DMatrix::from_columns(&columns).determinant().abs().ln() + ranges;
                assert!((numeric - here.ln_jacobian).abs() < 1e-3, "{:?} {numeric} {}", space.fixed, here.ln_jacobian);
            }
        }
    }

    #[test]
    fn points_on_bounds_find_a_place_inside() {
        let space = ParameterSpace::for_mode(AnalysisMode::LaminarFlow);
        for t_ref in T_REFS {
            let map = Coordinates::new(&space, t_ref);
            for bits in 0..128u32 {
                let side = |k: usize| if bits >> k & 1 == 1 { space.bounds[k].1 } else { space.bounds[k].0 };
                let corner: Vec<f64> = (0..7).map(side).collect();
                let x = map.of(&corner);
                assert!(map.place(&x).is_some(), "{corner:?}");
            }
        }
    }

    #[test]
    fn everything_inside_is_reached_and_nothing_outside() {
        // λ from its middle upwards for given A and B: all parameters stay inside, and at the end one of them is at its bound
        let mut rng = ChaCha8Rng::seed_from_u64(3);
        let space = ParameterSpace::for_mode(AnalysisMode::Static);
        for t_ref in T_REFS {
            let map = Coordinates::new(&space, t_ref);
            for _ in 0..500 {
                let p = point(&space, &mut rng);
                let mut x = map.of(&p);
                x[2] = 30.0;
                // where the slope is steep the exponent may end it first
                let Some(place) = map.place(&x) else { continue };
                let near = |k: usize| {
                    let (min, max) = space.bounds[k];
                    let (low, high) = (place.physical[k] - min, max - place.physical[k]);
                    low.min(high) < 1e-6 * (max - min)
                };
                assert!(near(0) || near(2), "{:?}", place.physical);
            }
        }
    }
}
