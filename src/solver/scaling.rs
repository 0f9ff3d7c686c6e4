//! Contrast and offset: eliminated in closed form after every pass (variable projection).
//!
//! They enter c2 = offset + contrast·g linearly, so for given physical parameters their optimum within bounds is a tiny
//! quadratic problem per angle (or one for all angles), and the normal equations of the physical parameters follow by
//! the Schur complement (Kaufman's form). Everything comes from the Gram matrices; no pass over the data is needed.

use nalgebra::{DMatrix, DVector, Matrix2};

use crate::gram::{G, Gram, ONE, R};
use crate::model::ScalingMode;

/// Relative determinant of the 2×2 block below which contrast can't be told from offset: g is constant to rounding.
const DEGENERATE: f64 = 1e-13;

/// Bounds of contrast and offset.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScalingBounds {
    /// Of contrast.
    pub contrast: (f64, f64),
    /// Of offset.
    pub offset: (f64, f64),
}

/// Optimal contrast and offset of one group of angles and what they do to the normal equations.
#[derive(Debug, Clone)]
pub struct ScalingGroup {
    /// Angles that share them.
    pub angles: Vec<usize>,
    /// The optimum.
    pub contrast: f64,
    /// The optimum.
    pub offset: f64,
    /// Whether contrast is inside its bounds and determined.
    pub contrast_free: bool,
    /// Whether offset is inside its bounds.
    pub offset_free: bool,
    /// Inverse of the normal matrix of the free ones, zeros elsewhere.
    pub inverse: Matrix2<f64>,
    /// ∂²(χ²/2) by physical coordinates and (contrast, offset), zero columns where not free; n × 2.
    pub cross: DMatrix<f64>,
}

/// A pass seen from the physical parameters: contrast and offset at their optimum.
#[derive(Debug, Clone)]
pub struct Projected {
    /// Σ r² at the optimum (not divided by σ²).
    pub chi2: f64,
    /// Σ r² per angle.
    pub chi2_per_angle: Vec<f64>,
    /// Pairs per angle.
    pub pairs_per_angle: Vec<f64>,
    /// Optimal (contrast, offset) per angle.
    pub scaling: Vec<(f64, f64)>,
    /// Normal matrix of the physical coordinates, contrast and offset eliminated.
    pub normal: DMatrix<f64>,
    /// Jᵀr of the physical coordinates.
    pub gradient: DVector<f64>,
    /// The groups, one per angle or one for all.
    pub groups: Vec<ScalingGroup>,
}

impl Projected {
    /// Pairs in all.
    pub fn n_pairs(&self) -> f64 {
        self.pairs_per_angle.iter().sum()
    }

    /// Contrasts and offsets that were free.
    pub fn n_free_scaling(&self) -> usize {
        self.groups.iter().map(|g| usize::from(g.contrast_free) + usize::from(g.offset_free)).sum()
    }
}

/// The quadratic q(δc, δo) = rr − 2(δc·gr + δo·r1) + δc²·gg + 2δc·δo·g1 + δo²·n of one group.
#[derive(Clone, Copy)]
struct Quadratic {
    gg: f64,
    g1: f64,
    n: f64,
    gr: f64,
    r1: f64,
    rr: f64,
}

impl Quadratic {
    fn of(grams: &[&Gram]) -> Self {
        let total = |a, b| grams.iter().map(|g| g.at(a, b)).sum::<f64>();
        Self {
            gg: total(G, G),
            g1: total(G, ONE),
            n: total(ONE, ONE),
            gr: total(G, R),
            r1: total(ONE, R),
            rr: total(R, R),
        }
    }

    fn is_finite(&self) -> bool {
        [self.gg, self.g1, self.n, self.gr, self.r1, self.rr].iter().all(|v| v.is_finite())
    }

    fn at(&self, dc: f64, d_o: f64) -> f64 {
        self.rr - 2.0 * (dc * self.gr + d_o * self.r1)
            + dc * dc * self.gg
            + 2.0 * dc * d_o * self.g1
            + d_o * d_o * self.n
    }

    fn offset_for(&self, dc: f64) -> f64 {
        if self.n > 0.0 { (self.r1 - dc * self.g1) / self.n } else { 0.0 }
    }

    fn contrast_for(&self, d_o: f64) -> f64 {
        if self.gg > 0.0 { (self.gr - d_o * self.g1) / self.gg } else { 0.0 }
    }

    /// Optimal (δc, δo) in a box and which of the two are free.
    fn minimise(&self, c: (f64, f64), o: (f64, f64)) -> (f64, f64, bool, bool) {
        let det = self.gg * self.n - self.g1 * self.g1;
        if det <= DEGENERATE * self.gg * self.n {
            let dc = 0f64.clamp(c.0, c.1);
            let d_o = self.offset_for(dc);
            let clamped = d_o.clamp(o.0, o.1);
            return (dc, clamped, false, clamped == d_o && self.n > 0.0);
        }
        let dc = (self.gr * self.n - self.r1 * self.g1) / det;
        let d_o = (self.r1 * self.gg - self.gr * self.g1) / det;
        if (c.0..=c.1).contains(&dc) && (o.0..=o.1).contains(&d_o) {
            return (dc, d_o, true, true);
        }
        let mut best: Option<(f64, (f64, f64, bool, bool))> = None;
        let mut offer = |candidate: (f64, f64, bool, bool)| {
            let value = self.at(candidate.0, candidate.1);
            if best.is_none_or(|(b, _)| value < b) {
                best = Some((value, candidate));
            }
        };
        for dc in [c.0, c.1] {
            let free = self.offset_for(dc);
            let clamped = free.clamp(o.0, o.1);
            offer((dc, clamped, false, clamped == free));
        }
        for d_o in [o.0, o.1] {
            let free = self.contrast_for(d_o);
            let clamped = free.clamp(c.0, c.1);
            offer((clamped, d_o, clamped == free, false));
        }
        best.map_or((0.0, 0.0, false, false), |(_, candidate)| candidate)
    }
}

/// Eliminates contrast and offset from the Gram matrices of a pass evaluated against `reference` (contrast₀, offset₀ per
/// angle; in `averaged` mode the same for all). `n` physical coordinates; 0 for a χ²-only pass. Sums that aren't finite give
/// a χ² of NaN.
pub fn project(
    grams: &[Gram],
    reference: &[(f64, f64)],
    mode: ScalingMode,
    bounds: ScalingBounds,
    n: usize,
) -> Projected {
    let k = grams.len();
    let members: Vec<Vec<usize>> = match mode {
        ScalingMode::Individual => (0..k).map(|a| vec![a]).collect(),
        ScalingMode::Averaged => vec![(0..k).collect()],
    };
    let mut out = Projected {
        chi2: 0.0,
        chi2_per_angle: vec![0.0; k],
        pairs_per_angle: grams.iter().map(Gram::n_pairs).collect(),
        scaling: reference.to_vec(),
        normal: DMatrix::zeros(n, n),
        gradient: DVector::zeros(n),
        groups: Vec::with_capacity(members.len()),
    };
    for angles in members {
        let own: Vec<&Gram> = angles.iter().map(|&a| &grams[a]).collect();
        let (c0, o0) = reference[angles[0]];
        let q = Quadratic::of(&own);
        if !q.is_finite() {
            out.chi2 = f64::NAN;
            return out;
        }
        let box_of = |(min, max): (f64, f64), at: f64| (min - at, max - at);
        let (dc, d_o, contrast_free, offset_free) = q.minimise(box_of(bounds.contrast, c0), box_of(bounds.offset, o0));
        let (contrast, offset) = (c0 + dc, o0 + d_o);
        let mut cross = DMatrix::zeros(n, 2);
        for (&angle, gram) in angles.iter().zip(&own) {
            out.scaling[angle] = (contrast, offset);
            let chi2 = Quadratic::of(&[gram]).at(dc, d_o).max(0.0);
            out.chi2_per_angle[angle] = chi2;
            out.chi2 += chi2;
            for i in 0..n {
                for j in 0..n {
                    out.normal[(i, j)] += contrast * contrast * gram.at(i, j);
                }
                out.gradient[i] += contrast * (gram.at(i, R) - dc * gram.at(i, G) - d_o * gram.at(i, ONE));
                if contrast_free {
                    cross[(i, 0)] += contrast * gram.at(i, G);
                }
                if offset_free {
                    cross[(i, 1)] += contrast * gram.at(i, ONE);
                }
            }
        }
        let inverse = match (contrast_free, offset_free) {
            (true, true) => {
                let det = q.gg * q.n - q.g1 * q.g1;
                Matrix2::new(q.n, -q.g1, -q.g1, q.gg) / det
            }
            (true, false) => Matrix2::new(1.0 / q.gg, 0.0, 0.0, 0.0),
            (false, true) => Matrix2::new(0.0, 0.0, 0.0, 1.0 / q.n),
            (false, false) => Matrix2::zeros(),
        };
        if n > 0 {
            // the gradient by contrast and offset is zero where they are free, so only the matrix changes
            out.normal -= &cross * inverse * cross.transpose();
        }
        out.groups.push(ScalingGroup { angles, contrast, offset, contrast_free, offset_free, inverse, cross });
    }
    out
}

impl ScalingGroup {
    /// inverse·crossᵀ: how contrast and offset follow (negatively) a change of the physical coordinates; 2 × n.
    pub fn response(&self) -> DMatrix<f64> {
        DMatrix::from_iterator(2, 2, self.inverse.iter().copied()) * self.cross.transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: ScalingBounds = ScalingBounds { contrast: (0.0, 1.0), offset: (0.5, 1.5) };

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
            let out = project(&[gram(&p, reference.0, reference.1)], &[reference], ScalingMode::Individual, BOUNDS, 1);
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
            let out = project(&[gram(&p, 0.0, 1.0)], &[(0.0, 1.0)], ScalingMode::Individual, BOUNDS, 1);
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
        let own = project(&grams, &reference, ScalingMode::Individual, BOUNDS, 1);
        let shared = project(&grams, &reference, ScalingMode::Averaged, BOUNDS, 1);
        assert_eq!(shared.scaling[0], shared.scaling[1]);
        assert!(shared.chi2 > own.chi2);
        let (c, o) = shared.scaling[0];
        let direct: f64 = sets.iter().map(|p| sum_of_squares(p, c, o)).sum();
        assert!((shared.chi2 - direct).abs() < 1e-13);
    }

    #[test]
    fn projected_normal_matrix_is_that_of_the_projected_column() {
        let p = points(0.3, 1.0);
        let out = project(&[gram(&p, 0.3, 1.0)], &[(0.3, 1.0)], ScalingMode::Individual, BOUNDS, 1);
        // regress the physical column on (g, 1) and take the sum of squares of what is left
        let c = out.scaling[0].0;
        let column: Vec<(f64, f64, f64)> = p.iter().map(|&(g, dg, _)| (g, 0.0, c * dg)).collect();
        let free = ScalingBounds { contrast: (-1e9, 1e9), offset: (-1e9, 1e9) };
        let left = project(&[gram(&column, 0.0, 0.0)], &[(0.0, 0.0)], ScalingMode::Individual, free, 0);
        assert!((out.normal[(0, 0)] / left.chi2 - 1.0).abs() < 1e-10);
    }

    #[test]
    fn a_constant_shape_leaves_contrast_alone() {
        let p: Vec<_> = (0..20).map(|k| (1.0, 0.0, 1.1 + 0.001 * f64::from(k))).collect();
        let out = project(&[gram(&p, 0.2, 1.0)], &[(0.2, 1.0)], ScalingMode::Individual, BOUNDS, 1);
        assert!(!out.groups[0].contrast_free && out.groups[0].offset_free);
        assert_eq!(out.scaling[0].0, 0.2);
    }
}
