//! The posterior density of the physical parameters, with its gradient, from the Gram matrices of one pass.
//!
//! The noise is Gaussian, of standard deviation s, the data's σ or sampled with the prior 1/s. Given the physical parameters and
//! s, the coefficients δ of contrast and offset (counted from those of the fit, against which residuals r are taken) have a
//! Gaussian distribution, so they are integrated out. For every group of angles with common coefficients
//!
//! ```text
//! H = S/s² + P     h = b/s² + P·μ     S, b: Σ g², Σ g, n and Σ g·r, Σ r through the design     P, μ: priors of contrast and offset
//! ln L = −N·ln s − ½ Σ_groups [Σ r²/s² + μᵀPμ − hᵀH⁻¹h + ln|H|] + Σ_groups ln P(δ within its bounds | mean H⁻¹h, covariance H⁻¹)
//! ```
//!
//! The last term matters only near a bound. A series in φ has more coefficients than can be integrated over within bounds: its
//! draws are taken within them, but the density counts them as unbounded.
//!
//! All derivatives by the physical parameters are sums that the Gram matrix holds. Those of priors and of the map from the chains'
//! coordinates are central differences: they cost no pass, and what a gradient lacks in digits costs acceptance, never exactness.

use std::ops::Range;
use std::sync::Arc;

use nalgebra::{DMatrix, DVector};
use serde::{Deserialize, Serialize};

use super::Draw;
use super::coordinates::{Coordinates, Place, Shape};
use super::truncated::{Bivariate, Rectangle};
use crate::gram::{G, Gram, ONE, Point, R};
use crate::model::{Experiment, ParameterSpace, Prior, to_valley};
use crate::solver::Fit;
use crate::solver::design::{Group, Scaling};
use crate::solver::scaling::Projected;

/// A uniform prior of contrast or offset is a normal one of so many times the range of its bounds: flat to 10⁻⁶ between them, and
/// proper where the data say nothing.
const FLAT: f64 = 1000.0;
/// Step of central differences, in standard deviations of the fit.
const STEP: f64 = 1e-3;
/// Step of central differences before these are known, relative to the coordinate,
const FIRST_STEP: f64 = 1e-7;
/// and to one of this size where it is smaller.
const SMALL: f64 = 1e-3;

/// The noise of the data.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Noise {
    /// Known.
    Known(f64),
    /// A parameter, with the prior 1/s; this is where to begin.
    Sampled(f64),
}

/// A Gaussian distribution of one group's coefficients.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Conditional {
    /// Mean, counted from the fit's; contrast's coefficients, then offset's.
    pub mean: Vec<f64>,
    /// Covariance, column by column.
    pub covariance: Vec<f64>,
}

/// The posterior at a point.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// ln of the density in the chains' coordinates, but for a constant.
    pub ln_density: f64,
    /// Its gradient.
    pub gradient: Vec<f64>,
    /// Physical parameters.
    pub physical: Vec<f64>,
    /// Standard deviation of the noise.
    pub sigma: f64,
    /// What is known of contrast and offset there, by group.
    pub conditional: Vec<Conditional>,
}

/// The density, seen from the chains.
#[derive(Debug)]
pub struct Posterior<'a> {
    space: &'a ParameterSpace,
    coordinates: Coordinates,
    t_ref: f64,
    noise: Noise,
    groups: Vec<Arc<Group>>,
    /// Contrast and offset of the fit, against which residuals are taken, by angle.
    reference: Vec<(f64, f64)>,
    /// Steps of central differences.
    steps: Vec<f64>,
}

/// Where chains begin.
#[derive(Debug, Clone)]
pub struct Start {
    /// Coordinates of the fit.
    pub centre: Vec<f64>,
    /// Their covariance as the fit has it.
    pub covariance: DMatrix<f64>,
}

/// Derivatives of a place by the chains' coordinates.
struct Slopes {
    /// ∂(A, B, κ, …, phi0)/∂x; n × d.
    valley: DMatrix<f64>,
    /// Gradient of ln prior + ln Jacobian.
    ln_prior: Vec<f64>,
}

/// Derivatives of one group's sums by one thing.
struct Change {
    rr: f64,
    h: DVector<f64>,
    matrix: DMatrix<f64>,
}

impl<'a> Posterior<'a> {
    /// Around a fit of these parameters, and where to begin.
    pub fn around(
        space: &'a ParameterSpace,
        scaling: &Scaling,
        fit: &Fit,
        noise: Noise,
        experiment: &Experiment,
    ) -> (Self, Start) {
        let (Noise::Known(sigma) | Noise::Sampled(sigma)) = noise;
        let shapes = shapes(&fit.projected, &fit.physical, sigma, experiment.t_ref());
        let mut out = Self::new(space, scaling, fit.projected.scaling.clone(), &shapes, noise, experiment);
        let centre = out.coordinates_of(&fit.physical);
        let covariance = out.laplace(&centre, &fit.projected);
        (out, Start { centre, covariance })
    }

    /// With residuals taken against this scaling and coordinates for these shapes.
    pub(super) fn new(
        space: &'a ParameterSpace,
        scaling: &Scaling,
        reference: Vec<(f64, f64)>,
        shapes: &[Shape],
        noise: Noise,
        experiment: &Experiment,
    ) -> Self {
        let coordinates = Coordinates::new(space, experiment, shapes);
        let dim = coordinates.len() + usize::from(matches!(noise, Noise::Sampled(_)));
        let (groups, t_ref) = (scaling.groups.clone(), experiment.t_ref());
        Self { space, coordinates, t_ref, noise, groups, reference, steps: vec![0.0; dim] }
    }

    /// Number of coordinates.
    pub fn dim(&self) -> usize {
        self.steps.len()
    }

    /// Groups of angles with common coefficients.
    pub fn groups(&self) -> &[Arc<Group>] {
        &self.groups
    }

    /// Contrast and offset of the fit, by angle.
    pub fn reference(&self) -> &[(f64, f64)] {
        &self.reference
    }

    /// Coordinates of physical parameters, with the noise to begin with.
    pub(super) fn coordinates_of(&self, physical: &[f64]) -> Vec<f64> {
        let mut x = self.coordinates.of(physical);
        x.resize(self.dim(), 0.0);
        x
    }

    /// Coordinates of a draw.
    pub(super) fn place_of(&self, draw: &Draw) -> Vec<f64> {
        let mut x = self.coordinates_of(&draw.physical);
        if let Noise::Sampled(sigma) = self.noise {
            x[self.coordinates.len()] = (draw.sigma / sigma).ln();
        }
        x
    }

    /// Standard deviation of the noise at a point.
    fn sigma(&self, x: &[f64]) -> f64 {
        match self.noise {
            Noise::Known(sigma) => sigma,
            Noise::Sampled(sigma) => sigma * x[self.coordinates.len()].exp(),
        }
    }

    /// Where the pass is to be made; `None` where the density is zero.
    pub fn point(&self, x: &[f64]) -> Option<Point> {
        let Place { physical, .. } = self.coordinates.place(x)?;
        Some(Point { physical, scaling: self.reference.clone() })
    }

    /// ln of the prior of some parameters, from the first of `range` on.
    fn ln_prior(&self, range: Range<usize>, values: &[f64]) -> f64 {
        range
            .zip(values)
            .filter(|(k, _)| self.space.fixed[*k].is_none())
            .map(|(k, &x)| self.space.priors[k].ln_density(x))
            .sum()
    }

    fn step(&self, x: &[f64], k: usize) -> f64 {
        if self.steps[k] > 0.0 { self.steps[k] } else { FIRST_STEP * x[k].abs().max(SMALL) }
    }

    fn slopes(&self, x: &[f64]) -> Option<Slopes> {
        let (n, d) = (self.space.len(), self.coordinates.len());
        let mut out = Slopes { valley: DMatrix::zeros(n, d), ln_prior: vec![0.0; d] };
        for part in self.coordinates.parts() {
            let mut own = x[part.coordinates.clone()].to_vec();
            let look = |own: &[f64]| {
                let (values, ln_jacobian) = part.place(own)?;
                Some((part.valley(values, self.t_ref), self.ln_prior(part.parameters.clone(), &values) + ln_jacobian))
            };
            let here = look(&own)?;
            for (position, k) in part.coordinates.clone().enumerate() {
                let h = self.step(x, k);
                let mut at = |by: f64| {
                    own[position] = x[k] + by;
                    let seen = look(&own);
                    own[position] = x[k];
                    seen
                };
                // beside an edge one side has to do
                let (up, down) = (at(h), at(-h));
                let width = if up.is_some() && down.is_some() { 2.0 * h } else { h };
                let (up, down) = (up.unwrap_or(here), down.unwrap_or(here));
                for (i, (up, down)) in part.parameters.clone().zip(up.0.into_iter().zip(down.0)) {
                    out.valley[(i, k)] = (up - down) / width;
                }
                out.ln_prior[k] = (up.1 - down.1) / width;
            }
        }
        Some(out)
    }

    /// The density at a point from the Gram matrices there; `None` where it is zero or a sum isn't finite.
    pub fn see(&self, x: &[f64], grams: &[Gram]) -> Option<Seen> {
        let place = self.coordinates.place(x)?;
        let slopes = self.slopes(x)?;
        let (n, d) = (place.physical.len(), self.coordinates.len());
        let sigma = self.sigma(x);
        let precision = 1.0 / (sigma * sigma);
        let pairs: f64 = grams.iter().map(Gram::n_pairs).sum();
        // changes by the valley coordinates, then by ln s
        let mut by = DVector::zeros(n + 1);
        let mut ln = -pairs * sigma.ln();
        by[n] = -pairs;
        let mut conditional = Vec::with_capacity(self.groups.len());
        if self.groups.is_empty() {
            for (gram, &(contrast, _)) in grams.iter().zip(&self.reference) {
                ln -= 0.5 * precision * gram.at(R, R);
                by[n] += precision * gram.at(R, R);
                for i in 0..n {
                    by[i] += precision * contrast * gram.at(i, R);
                }
            }
        }
        for group in &self.groups {
            let sums = Sums::new(group, grams, &self.reference, n);
            let (value, changes, given) = sums.integrated(group, &self.reference, &self.scaling_priors(), precision)?;
            ln += value;
            by += changes;
            conditional.push(given);
        }
        let ln_density = ln + self.ln_prior(0..n, &place.physical) + place.ln_jacobian;
        let valley = by.rows(0, n);
        let mut gradient: Vec<f64> =
            (0..d).map(|k| slopes.valley.column(k).dot(&valley) + slopes.ln_prior[k]).collect();
        if matches!(self.noise, Noise::Sampled(_)) {
            gradient.push(by[n]);
        }
        let is_finite = ln_density.is_finite() && gradient.iter().all(|g| g.is_finite());
        is_finite.then_some(Seen { ln_density, gradient, physical: place.physical, sigma, conditional })
    }

    fn scaling_priors(&self) -> [Prior; 2] {
        [self.space.contrast_prior, self.space.offset_prior]
    }

    /// Covariance of the chains' coordinates as the fit's normal matrix has it (contrast and offset eliminated, not divided by
    /// σ²; valley coordinates), and where the data say nothing as the bounds have it. The steps of differences follow from it.
    fn laplace(&mut self, x: &[f64], fit: &Projected) -> DMatrix<f64> {
        let (d, dim) = (self.coordinates.len(), self.dim());
        let mut hessian = DMatrix::zeros(dim, dim);
        if let Some(slopes) = self.slopes(x) {
            let sigma = self.sigma(x);
            let own = slopes.valley.transpose() * &fit.normal * &slopes.valley / (sigma * sigma);
            hessian.view_mut((0, 0), (d, d)).copy_from(&own);
        }
        if dim > d {
            hessian[(d, d)] = 2.0 * fit.n_pairs();
        }
        for k in 0..dim {
            // a logistic coordinate alone has a variance of 3.3, one in units of its own is as wide as it is large
            let least = if x[k].abs() > 100.0 { 1.0 / (x[k] * x[k]) } else { 0.3 };
            hessian[(k, k)] += least;
        }
        let scale = hessian.diagonal().map(|v: f64| 1.0 / v.sqrt());
        let unit = DMatrix::from_fn(dim, dim, |i, j| hessian[(i, j)] * scale[i] * scale[j]);
        let eigen = nalgebra::SymmetricEigen::new(unit);
        // what is smaller is rounding
        let least = eigen.eigenvalues.max() * 1e-13;
        let inverse = eigen.eigenvalues.map(|v| 1.0 / v.max(least));
        let unit = &eigen.eigenvectors * DMatrix::from_diagonal(&inverse) * eigen.eigenvectors.transpose();
        let covariance = DMatrix::from_fn(dim, dim, |i, j| unit[(i, j)] * scale[i] * scale[j]);
        self.steps = (0..dim).map(|k| STEP * covariance[(k, k)].sqrt()).collect();
        covariance
    }
}

/// What a fit knows of each block: widths with all that is more certain free, contrast and offset, too.
fn shapes(fit: &Projected, physical: &[f64], sigma: f64, t_ref: f64) -> Vec<Shape> {
    let valley = to_valley(physical, t_ref);
    (0..physical.len() / 3)
        .map(|block| {
            let own = fit.normal.view((3 * block, 3 * block), (3, 3));
            // what is left of the precision of one coordinate when those before it are eliminated
            let pivot = |k: usize| {
                let corner = own.view((0, 0), (k, k)).into_owned().cholesky();
                let cross = own.view((0, k), (k, 1)).into_owned();
                own[(k, k)] - corner.map_or(f64::NAN, |corner| (cross.transpose() * corner.solve(&cross))[(0, 0)])
            };
            let open = |precision: f64| if precision > 0.0 { sigma / precision.sqrt() } else { f64::INFINITY };
            // the curvature is B²·κ
            let slope = valley[3 * block + 1];
            Shape { slope, slope_width: open(pivot(1)), curvature_width: open(pivot(2)) * slope * slope }
        })
        .collect()
}

/// Sums of one group through its design, and their derivatives by the valley coordinates.
struct Sums {
    rr: f64,
    b: DVector<f64>,
    s: DMatrix<f64>,
    changes: Vec<Change>,
}

impl Sums {
    fn new(group: &Group, grams: &[Gram], reference: &[(f64, f64)], n: usize) -> Self {
        let m = group.design.ncols();
        let zero = || (DVector::zeros(2 * m), DMatrix::zeros(2 * m, 2 * m));
        let (mut b, mut s) = zero();
        let mut rr = 0.0;
        let mut changes: Vec<Change> =
            (0..n).map(|_| zero()).map(|(h, matrix)| Change { rr: 0.0, h, matrix }).collect();
        for (member, &angle) in group.angles.iter().enumerate() {
            let (gram, c0) = (&grams[angle], reference[angle].0);
            rr += gram.at(R, R);
            for (i, change) in changes.iter_mut().enumerate() {
                change.rr -= 2.0 * c0 * gram.at(i, R);
            }
            for k in 0..m {
                let own = group.design[(member, k)];
                b[k] += own * gram.at(G, R);
                b[m + k] += own * gram.at(ONE, R);
                for (i, change) in changes.iter_mut().enumerate() {
                    change.h[k] += own * (gram.at(i, R) - c0 * gram.at(i, G));
                    change.h[m + k] -= own * c0 * gram.at(i, ONE);
                }
                for l in 0..m {
                    let weight = own * group.design[(member, l)];
                    let add = |to: &mut DMatrix<f64>, gg: f64, g1: f64, n: f64| {
                        to[(k, l)] += weight * gg;
                        to[(k, m + l)] += weight * g1;
                        to[(m + l, k)] += weight * g1;
                        to[(m + k, m + l)] += weight * n;
                    };
                    add(&mut s, gram.at(G, G), gram.at(G, ONE), gram.at(ONE, ONE));
                    for (i, change) in changes.iter_mut().enumerate() {
                        add(&mut change.matrix, 2.0 * gram.at(i, G), gram.at(i, ONE), 0.0);
                    }
                }
            }
        }
        Self { rr, b, s, changes }
    }

    /// ln of the group's share of the density, its changes by the valley coordinates and by ln s (less N), and the distribution
    /// that the coefficients have.
    fn integrated(
        mut self,
        group: &Group,
        reference: &[(f64, f64)],
        priors: &[Prior; 2],
        precision: f64,
    ) -> Option<(f64, DVector<f64>, Conditional)> {
        let m = group.design.ncols();
        let mut h = &self.b * precision;
        let mut matrix = &self.s * precision;
        let mut constant = 0.0;
        // one coefficient for all members has one prior
        let members = if m == 1 { 1 } else { group.angles.len() };
        let common = group.common_bounds();
        for member in 0..members {
            let bounds = if m == 1 { common } else { group.bounds[member] };
            let at = reference[group.angles[member]];
            let sides = [(bounds.contrast, at.0), (bounds.offset, at.1)];
            for (which, ((low, high), at)) in sides.into_iter().enumerate() {
                let (mean, sd) = match priors[which] {
                    Prior::Normal { mean, sd } => (mean, sd),
                    _ => (0.5 * (low + high), FLAT * (high - low)),
                };
                let (mean, weight) = (mean - at, 1.0 / (sd * sd));
                constant += weight * mean * mean;
                for k in 0..m {
                    let own = group.design[(member, k)] * weight;
                    h[which * m + k] += own * mean;
                    for l in 0..m {
                        matrix[(which * m + k, which * m + l)] += own * group.design[(member, l)];
                    }
                }
            }
        }
        let cholesky = matrix.cholesky()?;
        let mean = cholesky.solve(&h);
        let covariance = cholesky.inverse();
        let ln_determinant = 2.0 * cholesky.l_dirty().diagonal().iter().map(|v| v.ln()).sum::<f64>();
        let mut value = -0.5 * (self.rr * precision + constant - h.dot(&mean) + ln_determinant);
        // ln s moves all that is divided by s²
        let all = Change { rr: -2.0 * self.rr, h: -2.0 * &self.b, matrix: -2.0 * &self.s };
        self.changes.push(all);
        let inside = (m == 1).then(|| {
            let at = reference[group.angles[0]];
            let normal = Bivariate {
                mean: [mean[0], mean[1]],
                covariance: [[covariance[(0, 0)], covariance[(0, 1)]], [covariance[(1, 0)], covariance[(1, 1)]]],
            };
            normal.log_probability(&rectangle(group, at))
        });
        value += inside.as_ref().map_or(0.0, |p| p.value);
        let mut by = DVector::zeros(self.changes.len());
        for (by, change) in by.iter_mut().zip(&self.changes) {
            let moved = &change.matrix * &mean;
            let spread = &covariance * &change.matrix;
            *by = -0.5 * precision * (change.rr - 2.0 * change.h.dot(&mean) + mean.dot(&moved) + spread.trace());
            if let Some(p) = inside.as_ref().filter(|p| p.value != 0.0) {
                let mean = &covariance * (&change.h - moved) * precision;
                let covariance = -precision * &spread * &covariance;
                *by += p.by_mean[0] * mean[0]
                    + p.by_mean[1] * mean[1]
                    + p.by_covariance[0] * covariance[(0, 0)]
                    + p.by_covariance[1] * covariance[(0, 1)]
                    + p.by_covariance[2] * covariance[(1, 1)];
            }
        }
        let given = Conditional { mean: mean.as_slice().to_vec(), covariance: covariance.as_slice().to_vec() };
        value.is_finite().then_some((value, by, given))
    }
}

/// Bounds of a group's one contrast and one offset, counted from the fit's.
pub(super) fn rectangle(group: &Group, (contrast, offset): (f64, f64)) -> Rectangle {
    let bounds = group.common_bounds();
    Rectangle {
        low: [bounds.contrast.0 - contrast, bounds.offset.0 - offset],
        high: [bounds.contrast.1 - contrast, bounds.offset.1 - offset],
    }
}
