//! Contrast and offset: eliminated after every pass (variable projection).
//!
//! They enter c2 = offset + contrast·g linearly, and the coefficients behind them ([`super::design`]) do, too. So for given
//! physical parameters their optimum within bounds is a tiny quadratic problem ([`super::optimum`]), and the normal
//! equations of the physical parameters follow by the Schur complement (Kaufman's form). Everything comes from the Gram
//! matrices; no pass over the data is needed.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::design::{Group, Scaling};
use super::optimum::{Optimum, Quadratic, optimum};
use crate::gram::{G, Gram, ONE, R};
use crate::model::{AngleBounds, to_valley};

/// Optimal contrasts and offsets of one group of angles and what they do to the normal equations.
#[derive(Debug, Clone)]
pub struct ScalingGroup {
    /// Its angles, design and bounds.
    pub group: Arc<Group>,
    /// The optimum, and the inverse of its normal matrix.
    pub optimum: Optimum,
    /// ∂²(χ²/2) by physical coordinates and coefficients; n × 2m.
    pub cross: DMatrix<f64>,
}

/// A pass seen from the physical parameters: contrast and offset at their optimum.
#[derive(Debug, Clone)]
pub struct Projected {
    /// Σ r² at the optimum (not divided by σ²).
    pub chi2: f64,
    /// Σ r² of the residuals as they were taken, against the reference; of a robust pass Σ σ²·ρ there.
    pub at_reference: f64,
    /// Σ(ρ'·r)² of a robust pass.
    pub spread: f64,
    /// Σ r² per angle.
    pub chi2_per_angle: Vec<f64>,
    /// Pairs per angle; of a robust pass their weights.
    pub pairs_per_angle: Vec<f64>,
    /// Optimal (contrast, offset) per angle.
    pub scaling: Vec<(f64, f64)>,
    /// Normal matrix of the physical coordinates, contrast and offset eliminated.
    pub normal: DMatrix<f64>,
    /// Jᵀr of the physical coordinates.
    pub gradient: DVector<f64>,
    /// The groups; none where contrast and offset are held.
    pub groups: Vec<ScalingGroup>,
}

impl Projected {
    /// Pairs in all.
    pub fn n_pairs(&self) -> f64 {
        self.pairs_per_angle.iter().sum()
    }

    /// √(d·N·d), with the difference d of two points of natural parameters in (A, B, κ, …, phi0) and the normal matrix N at the first,
    /// contrast and offset free: in standard errors, where it is divided by that of the noise.
    pub fn distance(&self, here: &[f64], there: &[f64], t_ref: f64) -> f64 {
        let valley = |physical: &[f64]| DVector::from_vec(to_valley(physical, t_ref));
        let difference = valley(there) - valley(here);
        difference.dot(&(&self.normal * &difference)).max(0.0).sqrt()
    }

    /// Contrast and offset averaged over the angles.
    pub fn mean_scaling(&self) -> (f64, f64) {
        let mean = |f: fn(&(f64, f64)) -> f64| self.scaling.iter().map(f).sum::<f64>() / self.scaling.len() as f64;
        (mean(|s| s.0), mean(|s| s.1))
    }

    /// Scaling parameters that were free.
    pub fn n_free_scaling(&self) -> usize {
        self.groups.iter().map(|g| g.optimum.n_free).sum()
    }

    /// Adds an angle whose contrast and offset lie `shift` beside what its residuals were taken against.
    fn add(&mut self, angle: usize, gram: &Gram, contrast: f64, (dc, d_o): (f64, f64)) {
        let chi2 = Quadratic::of(&[gram]).at(dc, d_o).max(0.0);
        self.chi2_per_angle[angle] = chi2;
        self.chi2 += chi2;
        let n = self.gradient.len();
        for i in 0..n {
            for j in 0..n {
                self.normal[(i, j)] += contrast * contrast * gram.at(i, j);
            }
            self.gradient[i] += contrast * (gram.at(i, R) - dc * gram.at(i, G) - d_o * gram.at(i, ONE));
        }
    }
}

/// Eliminates contrast and offset from the Gram matrices of a pass evaluated against `reference` (contrast₀, offset₀ per
/// angle; in `averaged` mode the same for all, in `constant` those that are held). `n` physical coordinates; 0 for a χ²-only
/// pass. Sums that aren't finite give a χ² of NaN.
pub fn project(grams: &[Gram], reference: &[(f64, f64)], scaling: &Scaling, n: usize) -> Projected {
    let k = grams.len();
    let mut out = Projected {
        chi2: 0.0,
        at_reference: grams.iter().map(|gram| gram.at(R, R)).sum(),
        spread: grams.iter().map(Gram::spread).sum(),
        chi2_per_angle: vec![0.0; k],
        pairs_per_angle: grams.iter().map(Gram::n_pairs).collect(),
        scaling: reference.to_vec(),
        normal: DMatrix::zeros(n, n),
        gradient: DVector::zeros(n),
        groups: Vec::with_capacity(scaling.groups.len()),
    };
    if scaling.groups.is_empty() {
        for (angle, gram) in grams.iter().enumerate() {
            if !Quadratic::of(&[gram]).is_finite() {
                out.chi2 = f64::NAN;
                return out;
            }
            out.add(angle, gram, reference[angle].0, (0.0, 0.0));
        }
    }
    for group in &scaling.groups {
        let own: Vec<&Gram> = group.angles.iter().map(|&a| &grams[a]).collect();
        let against: Vec<(f64, f64)> = group.angles.iter().map(|&a| reference[a]).collect();
        let Some(optimum) = optimum(group, &own, &against) else {
            out.chi2 = f64::NAN;
            return out;
        };
        let m = group.design.ncols();
        let mut cross = DMatrix::zeros(n, 2 * m);
        for (member, (&angle, gram)) in group.angles.iter().zip(&own).enumerate() {
            let contrast = optimum.values[member].0;
            out.scaling[angle] = optimum.values[member];
            out.add(angle, gram, contrast, optimum.shifts[member]);
            for i in 0..n {
                for k in 0..m {
                    let weight = contrast * group.design[(member, k)];
                    cross[(i, k)] += weight * gram.at(i, G);
                    cross[(i, m + k)] += weight * gram.at(i, ONE);
                }
            }
        }
        if n > 0 {
            // along free directions the gradient by the coefficients is zero, so only the matrix changes
            out.normal -= &cross * &optimum.inverse * cross.transpose();
        }
        out.groups.push(ScalingGroup { group: Arc::clone(group), optimum, cross });
    }
    out
}

impl ScalingGroup {
    /// inverse·crossᵀ: how the coefficients follow (negatively) a change of the physical coordinates; 2m × n.
    pub fn response(&self) -> DMatrix<f64> {
        &self.optimum.inverse * self.cross.transpose()
    }

    /// Values of all members after the physical coordinates have moved by `step` and a share of the way from `reference` to
    /// the optimum is gone; at the optimum, whatever the step, where bounds are in the way.
    pub fn following(&self, step: &DVector<f64>, share: f64) -> Vec<(f64, f64)> {
        let change = -(self.response() * step);
        let moved = |(member, (&(contrast, offset), &(dc, d_o)))| {
            let by = self.of_member(member) * &change;
            (contrast - (1.0 - share) * dc + by[0], offset - (1.0 - share) * d_o + by[1])
        };
        let values: Vec<(f64, f64)> =
            self.optimum.values.iter().zip(&self.optimum.shifts).enumerate().map(moved).collect();
        let inside = |(&(contrast, offset), bounds): (&(f64, f64), &AngleBounds)| {
            (bounds.contrast.0..=bounds.contrast.1).contains(&contrast)
                && (bounds.offset.0..=bounds.offset.1).contains(&offset)
        };
        if values.iter().zip(&self.group.bounds).all(inside) { values } else { self.optimum.values.clone() }
    }

    /// From coefficients to (contrast, offset) of a member; 2 × 2m.
    pub fn of_member(&self, member: usize) -> DMatrix<f64> {
        let m = self.group.design.ncols();
        let mut out = DMatrix::zeros(2, 2 * m);
        for k in 0..m {
            out[(0, k)] = self.group.design[(member, k)];
            out[(1, m + k)] = self.group.design[(member, k)];
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{AnalysisMode, ParameterSpace, ScalingMode};

    /// A mode for static angles, with contrast 0 … 1 and offset 0.5 … 1.5.
    fn scaling(mode: ScalingMode, phi: &[f64]) -> Scaling {
        Scaling::new(mode, phi, &ParameterSpace::for_mode(AnalysisMode::Static)).unwrap()
    }

    fn own() -> Scaling {
        scaling(ScalingMode::Individual, &[0.0])
    }

    /// Gram of given (g, y) pairs with one physical column.
    fn gram(points: &[(f64, f64, f64)], c0: f64, o0: f64) -> Gram {
        let mut out = Gram::default();
        for &(g, dg, y) in points {
            let mut z = [0.0; crate::gram::COLUMNS];
            z[0] = dg;
            z[G] = g;
            z[ONE] = 1.0;
            z[R] = y - o0 - c0 * g;
            for a in 0..z.len() {
                for b in a..z.len() {
                    out.set(a, b, out.at(a, b) + z[a] * z[b]);
                }
            }
        }
        out
    }

    fn points(c: f64, o: f64) -> Vec<(f64, f64, f64)> {
        (0..40)
            .map(|k| {
                let g = (-0.1 * f64::from(k)).exp();
                (g, -g * f64::from(k), o + c * g + 0.01 * (f64::from(k) * 1.7).sin())
            })
            .collect()
    }

    fn sum_of_squares(points: &[(f64, f64, f64)], c: f64, o: f64) -> f64 {
        points.iter().map(|&(g, _, y)| (y - o - c * g).powi(2)).sum()
    }

    #[test]
    fn finds_the_optimum_whatever_the_reference() {
        let p = points(0.3, 1.02);
        for reference in [(0.0, 1.0), (0.31, 1.01)] {
            let out = project(&[gram(&p, reference.0, reference.1)], &[reference], &own(), 1);
            let (c, o) = out.scaling[0];
            assert!((out.chi2 - sum_of_squares(&p, c, o)).abs() < 1e-13);
            for (dc, d_o) in [(1e-4, 0.0), (-1e-4, 0.0), (0.0, 1e-4), (0.0, -1e-4)] {
                assert!(sum_of_squares(&p, c + dc, o + d_o) > out.chi2);
            }
        }
    }

    #[test]
    fn bounds_hold_and_are_the_best_in_the_box() {
        for (c, o) in [(-0.2, 1.0), (1.3, 1.0), (0.3, 0.4), (0.3, 1.7), (-0.5, 1.8), (1.4, 0.3)] {
            let p = points(c, o);
            let out = project(&[gram(&p, 0.0, 1.0)], &[(0.0, 1.0)], &own(), 1);
            let (c, o) = out.scaling[0];
            assert!((0.0..=1.0).contains(&c) && (0.5..=1.5).contains(&o));
            for i in 0..=50 {
                for j in 0..=50 {
                    let value = sum_of_squares(&p, f64::from(i) / 50.0, 0.5 + f64::from(j) / 50.0);
                    assert!(value >= out.chi2 - 1e-12);
                }
            }
        }
    }

    #[test]
    fn averaged_shares_one_pair_and_is_never_better() {
        let sets = [points(0.3, 1.0), points(0.35, 1.03)];
        let grams: Vec<Gram> = sets.iter().map(|p| gram(p, 0.3, 1.0)).collect();
        let reference = [(0.3, 1.0); 2];
        let own = project(&grams, &reference, &scaling(ScalingMode::Individual, &[0.0, 90.0]), 1);
        let shared = project(&grams, &reference, &scaling(ScalingMode::Averaged, &[0.0, 90.0]), 1);
        assert_eq!(shared.scaling[0], shared.scaling[1]);
        assert!(shared.chi2 > own.chi2);
        let (c, o) = shared.scaling[0];
        let direct: f64 = sets.iter().map(|p| sum_of_squares(p, c, o)).sum();
        assert!((shared.chi2 - direct).abs() < 1e-13);
    }

    #[test]
    fn projected_normal_matrix_is_that_of_the_projected_column() {
        let p = points(0.3, 1.0);
        let out = project(&[gram(&p, 0.3, 1.0)], &[(0.3, 1.0)], &own(), 1);
        // regress the physical column on (g, 1) and take the sum of squares of what is left
        let c = out.scaling[0].0;
        let column: Vec<(f64, f64, f64)> = p.iter().map(|&(g, dg, _)| (g, 0.0, c * dg)).collect();
        let mut space = ParameterSpace::for_mode(AnalysisMode::Static);
        (space.contrast, space.offset) = ((-1e9, 1e9), (-1e9, 1e9));
        let free = Scaling::new(ScalingMode::Individual, &[0.0], &space).unwrap();
        let left = project(&[gram(&column, 0.0, 0.0)], &[(0.0, 0.0)], &free, 0);
        assert!((out.normal[(0, 0)] / left.chi2 - 1.0).abs() < 1e-10);
    }

    #[test]
    fn a_constant_shape_leaves_contrast_alone() {
        let p: Vec<_> = (0..20).map(|k| (1.0, 0.0, 1.1 + 0.001 * f64::from(k))).collect();
        let out = project(&[gram(&p, 0.2, 1.0)], &[(0.2, 1.0)], &own(), 1);
        let optimum = &out.groups[0].optimum;
        assert!(!optimum.contrast_free[0] && optimum.offset_free[0]);
        assert_eq!(out.scaling[0].0, 0.2);
    }
}
