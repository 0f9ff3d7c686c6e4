//! The point nearest to a target inside an intersection of half-spaces: what is left of bounded linear least squares in
//! coordinates in which the sum of squares is a plain distance.
//!
//! Goldfarb and Idnani's dual active-set method (Mathematical Programming 27, 1983): it begins at the target, outside, and
//! takes in one violated constraint after the other, so it needs no feasible point to begin with and finds out where there
//! is none.

use nalgebra::{DMatrix, DVector};

/// Violation that counts as none, in the units of the constraints (contrast and offset are of the order of 1).
const VIOLATION: f64 = 1e-12;
/// Squared share of a normal outside the span of the active ones below which it depends on them.
const DEPENDENT: f64 = 1e-18;
/// Steps allowed for each constraint: several times what ever was needed; only rounding could need more.
const STEPS: usize = 8;

/// The points w with normal·w ≥ least.
#[derive(Debug, Clone)]
pub struct HalfSpace {
    /// Points inwards; of any length.
    pub normal: DVector<f64>,
    /// Least value of normal·w.
    pub least: f64,
}

/// The nearest point.
#[derive(Debug, Clone)]
pub struct Nearest {
    /// Where.
    pub point: DVector<f64>,
    /// Constraints that hold it there, as indices; their normals are linearly independent.
    pub active: Vec<usize>,
    /// Whether all constraints are met. Otherwise there is no such point, or rounding hides it.
    pub feasible: bool,
}

/// Finds the point of the half-spaces that is nearest to `target`.
pub fn nearest(target: DVector<f64>, spaces: &[HalfSpace]) -> Nearest {
    let mut found = Nearest { point: target, active: Vec::new(), feasible: false };
    let mut multipliers: Vec<f64> = Vec::new();
    let missing = |point: &DVector<f64>, k: usize| spaces[k].least - spaces[k].normal.dot(point);
    for _ in 0..STEPS * (spaces.len() + 1) {
        let worst = (0..spaces.len())
            .filter(|k| !found.active.contains(k))
            .map(|k| (k, missing(&found.point, k)))
            .max_by(|a, b| a.1.total_cmp(&b.1));
        let Some((entering, violation)) = worst.filter(|w| w.1 > VIOLATION) else {
            found.feasible = true;
            return found;
        };
        let normal = &spaces[entering].normal;
        let mut left = violation;
        let mut own = 0.0;
        loop {
            let (weights, direction) = split(normal, &found.active, spaces);
            // how far until an active constraint would pull instead of push
            let blocking = (0..found.active.len())
                .filter(|&k| weights[k] > 0.0)
                .map(|k| (k, multipliers[k] / weights[k]))
                .min_by(|a, b| a.1.total_cmp(&b.1));
            let gain = direction.norm_squared();
            let full = if gain > DEPENDENT * normal.norm_squared() { left / gain } else { f64::INFINITY };
            let step = blocking.map_or(full, |b| b.1.min(full));
            if !step.is_finite() {
                return found;
            }
            if full.is_finite() {
                found.point.axpy(step, &direction, 1.0);
                left -= step * gain;
            }
            for (multiplier, weight) in multipliers.iter_mut().zip(weights.iter()) {
                *multiplier -= step * weight;
            }
            own += step;
            match blocking {
                Some((k, at)) if at < full => {
                    found.active.remove(k);
                    multipliers.remove(k);
                }
                _ => break,
            }
        }
        found.active.push(entering);
        multipliers.push(own);
    }
    found
}

/// A normal as a combination of the active ones and a remainder at right angles to them.
fn split(normal: &DVector<f64>, active: &[usize], spaces: &[HalfSpace]) -> (DVector<f64>, DVector<f64>) {
    if active.is_empty() {
        return (DVector::zeros(0), normal.clone());
    }
    let columns: Vec<DVector<f64>> = active.iter().map(|&k| spaces[k].normal.clone()).collect();
    let qr = DMatrix::from_columns(&columns).qr();
    let (q, r) = (qr.q(), qr.r());
    let along = q.tr_mul(normal);
    let weights = r.solve_upper_triangular(&along).unwrap_or_else(|| DVector::zeros(active.len()));
    // twice is enough: the first remainder may still hold rounding of a long part along the others
    let mut rest = normal - &q * along;
    rest -= &q * q.tr_mul(&rest);
    (weights, rest)
}

/// Orthonormal columns at right angles to the active normals: the directions in which the nearest point may still move.
pub fn free_directions(dimensions: usize, active: &[usize], spaces: &[HalfSpace]) -> DMatrix<f64> {
    let mut columns: Vec<DVector<f64>> = active.iter().map(|&k| spaces[k].normal.normalize()).collect();
    let n_active = columns.len();
    columns.extend((0..dimensions).map(|k| DVector::from_fn(dimensions, |i, _| f64::from(u8::from(i == k)))));
    let mut basis: Vec<DVector<f64>> = Vec::new();
    for (k, mut column) in columns.into_iter().enumerate() {
        for _ in 0..2 {
            for other in &basis {
                let share = other.dot(&column);
                column.axpy(-share, other, 1.0);
            }
        }
        let norm = column.norm();
        // of the unit vectors as many as are needed are at a good angle; the active ones are independent
        if k < n_active || (basis.len() < dimensions && norm > 1.0 / (2.0 * dimensions as f64)) {
            basis.push(column / norm);
        }
    }
    let free: Vec<DVector<f64>> = basis.split_off(n_active);
    if free.is_empty() { DMatrix::zeros(dimensions, 0) } else { DMatrix::from_columns(&free) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    fn vector(rng: &mut ChaCha8Rng, n: usize) -> DVector<f64> {
        DVector::from_fn(n, |_, _| 2.0 * rng.random::<f64>() - 1.0)
    }

    /// Asserts the optimality conditions: inside, and the way to the target is a push of the active constraints alone.
    #[track_caller]
    fn assert_nearest(target: &DVector<f64>, spaces: &[HalfSpace], found: &Nearest) {
        assert!(found.feasible);
        for space in spaces {
            assert!(space.normal.dot(&found.point) >= space.least - 2.0 * VIOLATION);
        }
        let (weights, rest) = split(&(&found.point - target), &found.active, spaces);
        assert!(rest.norm() < 1e-9, "{rest}");
        assert!(weights.iter().all(|w| *w > -1e-9), "{weights}");
        for &k in &found.active {
            assert!((spaces[k].normal.dot(&found.point) - spaces[k].least).abs() < 1e-9);
        }
    }

    #[test]
    fn the_conditions_of_an_optimum_hold_in_random_polytopes() {
        let mut rng = ChaCha8Rng::seed_from_u64(1);
        let mut most = 0;
        for trial in 0..400 {
            let n = 1 + trial % 10;
            let inside = vector(&mut rng, n);
            let spaces: Vec<HalfSpace> = (0..4 * n)
                .map(|k| {
                    let normal = vector(&mut rng, n);
                    // every third touches the inner point: many meet there
                    let room = if k % 3 == 0 { 0.0 } else { rng.random::<f64>() };
                    HalfSpace { least: normal.dot(&inside) - room, normal }
                })
                .collect();
            let target = 5.0 * vector(&mut rng, n);
            let found = nearest(target.clone(), &spaces);
            assert_nearest(&target, &spaces, &found);
            let free = free_directions(n, &found.active, &spaces);
            assert_eq!(free.ncols(), n - found.active.len());
            assert!((free.tr_mul(&free) - DMatrix::identity(free.ncols(), free.ncols())).amax() < 1e-12);
            for &k in &found.active {
                assert!(free.tr_mul(&spaces[k].normal).norm() < 1e-9);
            }
            most = most.max(found.active.len());
        }
        assert!(most >= 5, "{most} active at most: too easy");
    }

    #[test]
    fn repeated_and_opposite_constraints_are_no_trouble() {
        let space = |a: f64, b: f64, least: f64| HalfSpace { normal: DVector::from_vec(vec![a, b]), least };
        // a box of no width, given thrice
        let spaces = [space(1.0, 0.0, 0.5), space(-1.0, 0.0, -0.5), space(2.0, 0.0, 1.0), space(1.0, 0.0, 0.5)];
        let target = DVector::from_vec(vec![3.0, 2.0]);
        let found = nearest(target.clone(), &spaces);
        assert_nearest(&target, &spaces, &found);
        assert_eq!(found.point, DVector::from_vec(vec![0.5, 2.0]));
    }

    #[test]
    fn where_no_point_is_inside_it_says_so() {
        let space = |a: f64, least: f64| HalfSpace { normal: DVector::from_vec(vec![a, 0.0]), least };
        let found = nearest(DVector::zeros(2), &[space(1.0, 1.0), space(-1.0, 0.0)]);
        assert!(!found.feasible);
    }
}
