//! The coordinates in which a step is taken: valley coordinates, narrowed where natural parameters are fixed.
//!
//! Bounds are on the natural parameters. When one of a block's three is fixed, by the user or because a step would leave
//! its bound at once, the block moves in coordinates that keep it exactly:
//!
//! | fixed | coordinates |
//! | --- | --- |
//! | none | A, B, κ |
//! | amplitude | A, exponent |
//! | exponent | A, κ |
//! | offset | f_ref, exponent |
//! | amplitude, exponent | A |
//! | amplitude, offset | exponent |
//! | exponent, offset | f_ref |

use nalgebra::{DMatrix, DVector};

use crate::model::{Block, MAX_PHYSICAL, ParameterSpace, to_valley};

/// What a step can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coordinate {
    /// f_off + f_ref.
    Value,
    /// exponent·f_ref.
    Slope,
    /// 1/f_ref.
    Kappa,
    /// f_ref.
    Reference,
    /// The exponent.
    Exponent,
}

fn coordinates(fixed: [bool; 3]) -> &'static [Coordinate] {
    use Coordinate::*;
    match fixed {
        [false, false, false] => &[Value, Slope, Kappa],
        [true, false, false] => &[Value, Exponent],
        [false, true, false] => &[Value, Kappa],
        [false, false, true] => &[Reference, Exponent],
        [true, true, false] => &[Value],
        [true, false, true] => &[Exponent],
        [false, true, true] => &[Reference],
        [true, true, true] => &[],
    }
}

/// ∂(A, B, κ) by one coordinate, given what else the block keeps.
fn tangent(coordinate: Coordinate, fixed: [bool; 3], block: Block, t_ref: f64) -> [f64; 3] {
    let f = block.at_reference(t_ref);
    let a = block.exponent;
    let ln = t_ref.ln();
    match (coordinate, fixed) {
        (Coordinate::Value, _) => [1.0, 0.0, 0.0],
        (Coordinate::Slope, _) => [0.0, 1.0, 0.0],
        (Coordinate::Kappa, [_, true, _]) => [0.0, -a * f * f, 1.0],
        (Coordinate::Kappa, _) => [0.0, 0.0, 1.0],
        (Coordinate::Reference, _) => [1.0, a, -1.0 / (f * f)],
        // amplitude fixed: f_ref = f0·t_ref^a moves with the exponent; offset free keeps A, offset fixed moves it
        (Coordinate::Exponent, [true, _, offset_fixed]) => {
            [if offset_fixed { f * ln } else { 0.0 }, f + a * f * ln, -ln / f]
        }
        (Coordinate::Exponent, _) => [0.0, f, 0.0],
    }
}

/// Which of a parameter's bounds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The lower one.
    Lower,
    /// The upper one.
    Upper,
}

/// The block after moving along its coordinates by `step`. Where f_ref would not stay positive and finite the map ends: the
/// amplitude then runs to the side named.
fn moved(block: Block, fixed: [bool; 3], step: &[f64], t_ref: f64) -> std::result::Result<Block, Side> {
    let f = block.at_reference(t_ref);
    let valley = block.to_valley(t_ref);
    let on = |c: Coordinate| coordinates(fixed).iter().position(|&x| x == c).map_or(0.0, |k| step[k]);
    let mut out = block;
    match fixed {
        [false, exponent_held, false] => {
            let kappa = valley[2] + on(Coordinate::Kappa);
            // κ = 1/f_ref falls to zero as the amplitude grows without limit
            if kappa.is_nan() || kappa <= 0.0 {
                return Err(Side::Upper);
            }
            if exponent_held {
                out.amplitude = t_ref.powf(-out.exponent) / kappa;
                out.offset = valley[0] + on(Coordinate::Value) - 1.0 / kappa;
            } else {
                let slope = valley[1] + on(Coordinate::Slope);
                out = Block::from_valley([valley[0] + on(Coordinate::Value), slope, kappa], t_ref);
            }
        }
        [true, _, false] => {
            out.exponent += on(Coordinate::Exponent);
            out.offset = valley[0] + on(Coordinate::Value) - out.at_reference(t_ref);
        }
        [false, _, true] => {
            let reference = f + on(Coordinate::Reference);
            if reference.is_nan() || reference <= 0.0 {
                return Err(Side::Lower);
            }
            out.exponent += on(Coordinate::Exponent);
            out.amplitude = reference * t_ref.powf(-out.exponent);
        }
        [true, _, true] => out.exponent += on(Coordinate::Exponent),
    }
    if out.to_array().iter().all(|v| v.is_finite()) { Ok(out) } else { Err(Side::Upper) }
}

/// The physical parameters with bounds: moves points and says which coordinates are free.
#[derive(Debug, Clone)]
pub struct Chart {
    bounds: Vec<(f64, f64)>,
    /// Fixed by the user for good.
    user_fixed: Vec<bool>,
    t_ref: f64,
}

/// Which natural parameters are held, as flags in the order of the parameters.
pub type Held = [bool; MAX_PHYSICAL];

/// Relative distance to a bound that counts as lying on it.
const ON_BOUND: f64 = 1e-9;

impl Chart {
    /// A chart over the parameters of a mode.
    pub fn new(space: &ParameterSpace, t_ref: f64) -> Self {
        Self { bounds: space.bounds.clone(), user_fixed: space.fixed.iter().map(Option::is_some).collect(), t_ref }
    }

    /// Number of physical parameters.
    pub fn n_physical(&self) -> usize {
        self.bounds.len()
    }

    /// What the user holds.
    pub fn user_held(&self) -> Held {
        std::array::from_fn(|k| self.user_fixed.get(k).copied().unwrap_or(true))
    }

    /// Reference time, s.
    pub fn t_ref(&self) -> f64 {
        self.t_ref
    }

    fn blocks(&self) -> usize {
        if self.n_physical() > 3 { 2 } else { 1 }
    }

    fn block_held(held: &Held, block: usize) -> [bool; 3] {
        std::array::from_fn(|k| held[3 * block + k])
    }

    fn has_phi0(&self, held: &Held) -> bool {
        self.n_physical() > 6 && !held[6]
    }

    /// Number of free coordinates.
    pub fn n_free(&self, held: &Held) -> usize {
        (0..self.n_physical()).filter(|&k| !held[k]).count()
    }

    /// ∂(A, B, κ, …, phi0)/∂(free coordinates) at a point; n × free.
    pub fn tangents(&self, physical: &[f64], held: &Held) -> DMatrix<f64> {
        let mut out = DMatrix::zeros(self.n_physical(), self.n_free(held));
        let mut column = 0;
        for block in 0..self.blocks() {
            let fixed = Self::block_held(held, block);
            let at = Block::from_slice(&physical[3 * block..]);
            for &coordinate in coordinates(fixed) {
                let t = tangent(coordinate, fixed, at, self.t_ref);
                for (row, value) in t.into_iter().enumerate() {
                    out[(3 * block + row, column)] = value;
                }
                column += 1;
            }
        }
        if self.has_phi0(held) {
            out[(6, column)] = 1.0;
        }
        out
    }

    /// ∂(natural parameters)/∂(free coordinates) at a point; n × free, exact zeros for held ones.
    pub fn natural_tangents(&self, physical: &[f64], held: &Held) -> DMatrix<f64> {
        let tangents = self.tangents(physical, held);
        let mut to_natural = DMatrix::zeros(self.n_physical(), self.n_physical());
        for block in 0..self.blocks() {
            let j = Block::from_slice(&physical[3 * block..]).jacobian(self.t_ref);
            for row in 0..3 {
                for column in 0..3 {
                    to_natural[(3 * block + row, 3 * block + column)] = j[row][column];
                }
            }
        }
        if self.n_physical() > 6 {
            to_natural[(6, 6)] = 1.0;
        }
        let mut out = to_natural * tangents;
        for k in (0..self.n_physical()).filter(|&k| held[k]) {
            out.row_mut(k).fill(0.0);
        }
        out
    }

    /// For every free coordinate 1/κ where it is κ, else 0: κ is damped extra, because its step may run away where the data
    /// say nothing about the curvature.
    pub fn kappa_weights(&self, physical: &[f64], held: &Held) -> DVector<f64> {
        let mut out = Vec::with_capacity(self.n_free(held));
        for block in 0..self.blocks() {
            let f = Block::from_slice(&physical[3 * block..]).at_reference(self.t_ref);
            let free = coordinates(Self::block_held(held, block));
            out.extend(free.iter().map(|&c| if c == Coordinate::Kappa { f } else { 0.0 }));
        }
        if self.has_phi0(held) {
            out.push(0.0);
        }
        DVector::from_vec(out)
    }

    /// The point moved by a step in free coordinates, or the free parameter that has no value there and the side to which it
    /// runs.
    fn step(&self, physical: &[f64], held: &Held, step: &[f64]) -> std::result::Result<Vec<f64>, (usize, Side)> {
        let mut out = physical.to_vec();
        let mut used = 0;
        for block in 0..self.blocks() {
            let fixed = Self::block_held(held, block);
            let n = coordinates(fixed).len();
            if n == 0 {
                continue;
            }
            let range = 3 * block..3 * block + 3;
            let first_free = range.clone().find(|&k| !held[k]).unwrap_or(range.start);
            let moved = moved(Block::from_slice(&physical[range.clone()]), fixed, &step[used..used + n], self.t_ref)
                .map_err(|side| (first_free, side))?;
            for ((value, new), held) in out[range].iter_mut().zip(moved.to_array()).zip(fixed) {
                // held ones keep their bits
                if !held {
                    *value = new;
                }
            }
            used += n;
        }
        if self.has_phi0(held) {
            out[6] += step[used];
        }
        Ok(out)
    }

    /// First free parameter outside its bounds.
    fn outside(&self, physical: &[f64], held: &Held) -> Option<(usize, Side)> {
        (0..self.n_physical()).filter(|&k| !held[k]).find_map(|k| {
            let (min, max) = self.bounds[k];
            if physical[k] < min {
                Some((k, Side::Lower))
            } else {
                // a NaN is outside, too
                (physical[k].is_nan() || physical[k] > max).then_some((k, Side::Upper))
            }
        })
    }

    /// Moves as far along a step as the bounds allow: the point, the fraction of the step taken, and the free parameter that
    /// stopped it with the side of its bound.
    pub fn advance(
        &self,
        physical: &[f64],
        held: &Held,
        step: &DVector<f64>,
    ) -> (Vec<f64>, f64, Option<(usize, Side)>) {
        let at = |t: f64| {
            let scaled: Vec<f64> = step.iter().map(|s| s * t).collect();
            let moved = self.step(physical, held, &scaled)?;
            self.outside(&moved, held).map_or(Ok(moved), Err)
        };
        let mut culprit = match at(1.0) {
            Ok(moved) => return (moved, 1.0, None),
            Err(culprit) => culprit,
        };
        let (mut inside, mut outside) = (0.0, 1.0);
        let mut best = physical.to_vec();
        for _ in 0..50 {
            let middle = 0.5 * (inside + outside);
            match at(middle) {
                Ok(moved) => (inside, best) = (middle, moved),
                Err(k) => (outside, culprit) = (middle, k),
            }
        }
        (best, inside, Some(culprit))
    }

    /// Moves a parameter onto a bound.
    pub fn snap(&self, physical: &mut [f64], (k, side): (usize, Side)) {
        let (min, max) = self.bounds[k];
        physical[k] = if side == Side::Lower { min } else { max };
    }

    /// Bounds of a parameter.
    pub fn bounds(&self, k: usize) -> (f64, f64) {
        self.bounds[k]
    }

    /// (A, B, κ, …, phi0).
    pub fn valley(&self, physical: &[f64]) -> DVector<f64> {
        DVector::from_vec(to_valley(physical, self.t_ref))
    }

    /// Whether a parameter lies on one of its bounds, to rounding.
    pub fn on_bound(&self, physical: &[f64], k: usize) -> bool {
        let (min, max) = self.bounds[k];
        let near = |bound: f64| (physical[k] - bound).abs() <= ON_BOUND * physical[k].abs().max(bound.abs());
        near(min) || near(max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AnalysisMode;

    fn chart() -> Chart {
        Chart::new(&ParameterSpace::for_mode(AnalysisMode::LaminarFlow), 3.3)
    }

    const POINT: [f64; 7] = [1e4, -0.5, 300.0, 0.02, 0.7, 1e-3, -3.0];

    fn all_holds() -> impl Iterator<Item = Held> {
        (0..128u32).map(|bits| std::array::from_fn(|k| bits >> k & 1 == 1))
    }

    #[test]
    fn tangents_are_the_finite_differences_for_every_set_of_held_parameters() {
        let chart = chart();
        let valley = |p: &[f64]| {
            let mut v = Block::from_slice(p).to_valley(3.3).to_vec();
            v.extend(Block::from_slice(&p[3..]).to_valley(3.3));
            v.push(p[6]);
            v
        };
        for held in all_holds() {
            let t = chart.tangents(&POINT, &held);
            let natural = chart.natural_tangents(&POINT, &held);
            let n = chart.n_free(&held);
            assert_eq!(t.ncols(), n);
            for column in 0..n {
                // a step that changes the largest coordinate by 1e-6 of itself
                let base = valley(&POINT);
                let h = 1e-6 / (0..7).map(|r| (t[(r, column)] / base[r].abs().max(1e-12)).abs()).fold(0.0, f64::max);
                let mut step = vec![0.0; n];
                step[column] = h;
                let up = chart.step(&POINT, &held, &step).unwrap();
                step[column] = -h;
                let down = chart.step(&POINT, &held, &step).unwrap();
                for row in 0..7 {
                    let fd = (valley(&up)[row] - valley(&down)[row]) / (2.0 * h);
                    let size = base[row].abs() * 1e-6 / h;
                    assert!(
                        (fd - t[(row, column)]).abs() < 1e-6 * size,
                        "{held:?} {row} {column}: {fd} {}",
                        t[(row, column)]
                    );
                    let fd = (up[row] - down[row]) / (2.0 * h);
                    let size = natural[(row, column)].abs() + POINT[row].abs() * 1e-6 / h;
                    assert!((fd - natural[(row, column)]).abs() < 1e-6 * size, "{held:?} natural {row} {column}");
                    if held[row] {
                        assert_eq!(up[row], POINT[row]);
                    }
                }
            }
        }
    }

    #[test]
    fn a_step_ends_at_the_bound() {
        let chart = chart();
        let held = chart.user_held();
        let mut step = DVector::zeros(7);
        step[6] = 100.0;
        let (p, fraction, culprit) = chart.advance(&POINT, &held, &step);
        assert_eq!(culprit, Some((6, Side::Upper)));
        assert!((p[6] - 10.0).abs() < 1e-6 && p[6] <= 10.0);
        assert!((fraction - 0.13).abs() < 1e-9);
        step[6] = 1.0;
        assert_eq!(chart.advance(&POINT, &held, &step).2, None);
    }

    #[test]
    fn curvature_beyond_the_end_of_the_map_stops_at_the_amplitude() {
        let chart = chart();
        let held = chart.user_held();
        let mut step = DVector::zeros(7);
        step[2] = -1.0;
        let (p, fraction, culprit) = chart.advance(&POINT, &held, &step);
        assert!(fraction < 1.0 && culprit.is_some());
        assert!(p[0] <= 1e5);
    }
}
