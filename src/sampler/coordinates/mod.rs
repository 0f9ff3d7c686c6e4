//! From unbounded coordinates, in which chains move, to the physical parameters within their bounds.
//!
//! A power law plus offset is nearly degenerate along a curve (`model/valley`). In the natural parameters the posterior is then
//! a thin curved sheet, in which no sampler gets on. So chains move in the valley's coordinates: A, the rate at t_ref, B, its
//! slope in ln t, and λ = ln f_ref, in which uniform priors of the natural parameters are nearly uniform, too.
//!
//! Where the data say little of the curvature, f_ref may be so small that the exponent's bounds, |B| ≤ f_ref·bound, are narrower
//! than the data's own B ± s: a funnel, in which one length of a step serves nowhere. So B is replaced by u, which is B/s where f_ref is
//! large, and the exponent, spread over the line, where f_ref is small; in between it grows with what a steep exponent adds to the
//! rate at the earliest frame or the last, beyond the slope, in units of what the data know of the curvature, k:
//!
//! ```text
//! f_ref = e^λ    u = c·(Λ⁻¹(exponent) − w₀) + f_ref·exponent/s ± f_ref·2(e^z − 1 − z)/(k·l²)
//! z = exponent·l, l = ln(t/t_ref) at the earliest frame for exponents below 0 (−), at the last for those above (+)
//! amplitude = f_ref·t_ref^(−exponent)    offset = A − f_ref
//! |∂(amplitude, exponent, offset)/∂(A, u, λ)| = amplitude·∂exponent/∂u
//! ```
//!
//! with the logistic function Λ onto the exponent's bounds, 0 at w₀, and c = 1, or more where a prior is narrower than the bounds;
//! where 0 isn't within them, u is Λ⁻¹(exponent) alone.
//!
//! Where the slope isn't 0, the curvature B²/f_ref ends f_ref below: a wall that is exponentially steep in λ. So λ, which for given A and
//! u the bounds of amplitude and offset leave an interval, spread by a logistic function over the whole line, is bent into μ,
//! which is linear in 1/f_ref there, with the fit's B₀:
//!
//! ```text
//! μ = Λ⁻¹(λ) − √(1 + b²) + 1    b = (B₀² − (2s)²)/(k·f_ref), 0 where that is negative
//! ```
//!
//! Where the interval is empty there is no density. Blocks of which something is fixed have fewer coordinates:
//!
//! | fixed | coordinates |
//! | --- | --- |
//! | nothing | A, u, μ |
//! | amplitude | exponent, A |
//! | exponent | A, λ |
//! | offset | exponent, λ |
//! | two | the third; the amplitude by its logarithm |
//!
//! phi0 is spread over the line by itself.

mod bend;
mod block;

use std::ops::Range;

use crate::model::{Block, Experiment, MAX_PHYSICAL, ParameterSpace};
use block::BlockSpace;

/// Share of its interval that a start keeps from the ends.
const MARGIN: f64 = 1e-3;
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

/// What the fit knows of the shape of a block's rate, in its own unit: scales of the coordinates, which may be rough.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Shape {
    /// Its slope B in ln t at t_ref,
    pub slope: f64,
    /// how far the data leave that open; infinite where they say nothing of it,
    pub slope_width: f64,
    /// and the same of the curvature, exponent·B.
    pub curvature_width: f64,
}

/// The map for given bounds and fixed values.
#[derive(Debug, Clone)]
pub struct Coordinates {
    parts: Vec<Part>,
}

/// Parameters that depend on coordinates of their own: a block, or phi0.
#[derive(Debug, Clone)]
pub struct Part {
    /// Which coordinates,
    pub coordinates: Range<usize>,
    /// and which parameters.
    pub parameters: Range<usize>,
    bounds: Vec<(f64, f64)>,
    fixed: Vec<Option<f64>>,
    /// `None`: of phi0.
    block: Option<BlockSpace>,
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

impl Part {
    /// The parameters (as many as it has, from the first) and ln of the Jacobian; `None` where the bounds leave no place. `x`: its
    /// coordinates.
    pub fn place(&self, x: &[f64]) -> Option<([f64; 3], f64)> {
        let (mut values, ln_jacobian) = match (&self.block, self.fixed[0]) {
            (Some(block), _) => block.forward(x)?,
            (None, Some(value)) => ([value, 0.0, 0.0], 0.0),
            (None, None) => {
                let (value, ln) = spread(self.bounds[0], x[0]);
                ([value, 0.0, 0.0], ln)
            }
        };
        for ((value, &(min, max)), fixed) in values.iter_mut().zip(&self.bounds).zip(&self.fixed) {
            if fixed.is_none() {
                if !within(*value, (min, max)) {
                    return None;
                }
                *value = value.clamp(min, max);
            }
        }
        ln_jacobian.is_finite().then_some((values, ln_jacobian))
    }

    /// The same parameters in the valley's coordinates.
    pub fn valley(&self, values: [f64; 3], t_ref: f64) -> [f64; 3] {
        if self.block.is_some() { Block::from_slice(&values).to_valley(t_ref) } else { values }
    }
}

impl Coordinates {
    /// For these bounds and fixed values, and the shape of each block's rate.
    pub fn new(space: &ParameterSpace, experiment: &Experiment, shapes: &[Shape]) -> Self {
        let (mut parts, mut used) = (Vec::new(), 0);
        for first in (0..space.len()).step_by(3) {
            let parameters = first..(first + 3).min(space.len());
            let fixed = space.fixed[parameters.clone()].to_vec();
            let coordinates = used..used + fixed.iter().filter(|f| f.is_none()).count();
            used = coordinates.end;
            let block = (parameters.len() == 3).then(|| BlockSpace::new(space, first, experiment, shapes[first / 3]));
            let bounds = space.bounds[parameters.clone()].to_vec();
            parts.push(Part { coordinates, parameters, bounds, fixed, block });
        }
        Self { parts }
    }

    /// What depends on coordinates of its own.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Number of coordinates: of parameters that aren't fixed.
    pub fn len(&self) -> usize {
        self.parts.last().map_or(0, |part| part.coordinates.end)
    }

    /// Whether everything is fixed.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The physical parameters there; `None` where the bounds leave no place.
    pub fn place(&self, x: &[f64]) -> Option<Place> {
        let mut out = Place { physical: Vec::with_capacity(MAX_PHYSICAL), ln_jacobian: 0.0 };
        for part in &self.parts {
            let (values, ln) = part.place(&x[part.coordinates.clone()])?;
            out.physical.extend(&values[..part.parameters.len()]);
            out.ln_jacobian += ln;
        }
        Some(out)
    }

    /// Coordinates of a point; one on a bound is moved inside.
    pub fn of(&self, physical: &[f64]) -> Vec<f64> {
        let mut out = Vec::with_capacity(self.len());
        for part in &self.parts {
            let own = &physical[part.parameters.clone()];
            match &part.block {
                Some(block) => block.backward(Block::from_slice(own), &mut out),
                None if part.fixed[0].is_none() => out.push(gathered(part.bounds[0], own[0])),
                None => {}
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ShearConvention};
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    /// Measurements whose t_ref is 33 s and 0.2 s.
    fn measured() -> [Experiment; 2] {
        [0.1, 6e-4].map(|dt| Experiment {
            mode: AnalysisMode::LaminarFlow,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 2e6,
            dt,
            phi: vec![0.0],
            n_frames: 1000,
            time_offset: 0,
        })
    }
    const SHAPES: [Shape; 2] = [
        Shape { slope: 2000.0, slope_width: 500.0, curvature_width: 2000.0 },
        Shape { slope: 0.0, slope_width: 1e-3, curvature_width: 3e-3 },
    ];

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
        let (mut moved, mut all) = (0, 0);
        for e in measured() {
            for space in spaces() {
                let map = Coordinates::new(&space, &e, &SHAPES);
                for _ in 0..20 {
                    let p = point(&space, &mut rng);
                    let x = map.of(&p);
                    assert_eq!(x.len(), space.n_free());
                    let Some(back) = map.place(&x) else { panic!("{p:?} has no place") };
                    let range = |k: usize| space.bounds[k].1 - space.bounds[k].0;
                    let same = (0..7).all(|k| (back.physical[k] - p[k]).abs() < 1e-7 * range(k));
                    // a coordinate within a thousandth of its end is moved inside, and stays there
                    let again = map.place(&map.of(&back.physical)).unwrap();
                    let stays = (0..7).all(|k| (again.physical[k] - back.physical[k]).abs() < 1e-7 * range(k));
                    assert!(stays, "{p:?} {back:?} {again:?}");
                    moved += usize::from(!same);
                    all += 1;
                }
            }
        }
        assert!(moved * 10 < all, "{moved} of {all}");
    }

    #[test]
    fn the_jacobian_is_the_finite_difference() {
        let mut rng = ChaCha8Rng::seed_from_u64(2);
        for e in measured() {
            for space in spaces() {
                let map = Coordinates::new(&space, &e, &SHAPES);
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
        for e in measured() {
            let map = Coordinates::new(&space, &e, &SHAPES);
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
        for e in measured() {
            let map = Coordinates::new(&space, &e, &SHAPES);
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
