//! Which contrasts and offsets a scaling mode can make: every angle's are linear combinations of a few coefficients.
//!
//! Angles form groups. Within a group contrast and offset of member a are Σ_k B[a, k]·coefficient_k, with the same design B
//! (members × m) for both and coefficients of their own:
//!
//! | mode | groups | B |
//! | --- | --- | --- |
//! | `individual` | one for each angle | 1 |
//! | `averaged` | one of all angles | a column of ones |
//! | `fourier` | one of all angles | orthonormal columns that span 1, cos φ, sin φ, cos 2φ, … |
//! | `constant` | none | – |
//!
//! The Fourier series itself would be an ill-conditioned design where the angles cover a small sector. Its orthonormal form
//! makes the same contrasts and offsets; the coefficients of the series follow from its own at the end.

use std::sync::Arc;

use nalgebra::{DMatrix, DVector};

use super::halfspaces::{HalfSpace, nearest};
use crate::model::{AngleBounds, ParameterSpace, ScalingMode};
use crate::{Error, Result};

/// Contrast₀ and offset₀ before anything is known.
const FIRST_SCALING: (f64, f64) = (0.0, 1.0);
/// Diagonal of the triangular factor, relative to the largest, below which the series' functions depend on each other.
const DEPENDENT: f64 = 1e-7;

/// Angles with common coefficients.
#[derive(Debug, Clone)]
pub struct Group {
    /// Members.
    pub angles: Vec<usize>,
    /// Design B, members × m.
    pub design: DMatrix<f64>,
    /// From this design's coefficients to those of the Fourier series, m × m; `None` in other modes.
    pub series: Option<DMatrix<f64>>,
    /// Bounds of every member.
    pub bounds: Vec<AngleBounds>,
}

impl Group {
    /// Bounds that hold for all members.
    pub fn common_bounds(&self) -> AngleBounds {
        let meet = |of: fn(&AngleBounds) -> (f64, f64)| {
            self.bounds.iter().map(of).fold((f64::NEG_INFINITY, f64::INFINITY), |a, b| (a.0.max(b.0), a.1.min(b.1)))
        };
        AngleBounds { contrast: meet(|b| b.contrast), offset: meet(|b| b.offset) }
    }
}

/// A scaling mode for given angles, with its bounds.
#[derive(Debug, Clone)]
pub struct Scaling {
    /// The mode.
    pub mode: ScalingMode,
    /// Groups; angles of none are held.
    pub groups: Vec<Arc<Group>>,
    /// (contrast, offset) of every angle before anything is known; those that `constant` holds.
    pub first: Vec<(f64, f64)>,
}

impl Scaling {
    /// The mode for angles `phi` (degree), bounds and held values from `space`.
    ///
    /// # Errors
    /// Bounds of single angles that no contrast or offset of the mode can meet, angles too near to each other for a series
    /// of the order, held values that are missing.
    pub fn new(mode: ScalingMode, phi: &[f64], space: &ParameterSpace) -> Result<Self> {
        let k = phi.len();
        let bounds = |angles: &[usize]| angles.iter().map(|&a| space.scaling_bounds(a)).collect();
        let group =
            |angles: Vec<usize>, design, series| Arc::new(Group { bounds: bounds(&angles), angles, design, series });
        let ones = |n| DMatrix::from_element(n, 1, 1.0);
        let groups = match mode {
            ScalingMode::Individual => (0..k).map(|a| group(vec![a], ones(1), None)).collect(),
            ScalingMode::Averaged => vec![group((0..k).collect(), ones(k), None)],
            ScalingMode::Constant => Vec::new(),
            ScalingMode::Fourier { order } => {
                let (design, series) = orthonormal_series(phi, order)?;
                vec![group((0..k).collect(), design, Some(series))]
            }
        };
        let first = if mode == ScalingMode::Constant { space.held_scaling.clone() } else { vec![FIRST_SCALING; k] };
        if first.len() != k {
            return Err(Error::Usage("per_angle_mode `constant` needs contrast and offset of every angle".into()));
        }
        let scaling = Self { mode, groups, first };
        scaling.check_bounds()?;
        Ok(scaling)
    }

    /// Refuses bounds that contradict each other.
    fn check_bounds(&self) -> Result<()> {
        for group in &self.groups {
            let fits = [of_contrast as Side, of_offset].map(|side| {
                let spaces: Vec<HalfSpace> = (0..group.angles.len())
                    .flat_map(|member| {
                        let row = group.design.row(member).transpose();
                        let (min, max) = side(&group.bounds[member]);
                        [HalfSpace { least: -max, normal: -&row }, HalfSpace { least: min, normal: row }]
                    })
                    .collect();
                nearest(DVector::zeros(group.design.ncols()), &spaces).feasible
            });
            for (fits, name) in fits.into_iter().zip(["contrast", "offset"]) {
                if !fits {
                    return Err(Error::Usage(format!(
                        "parameter_space.bounds: no {name} of the mode `{}` meets the bounds of all angles; widen them or \
                         set `per_angle_mode: individual`",
                        self.mode.name()
                    )));
                }
            }
        }
        Ok(())
    }
}

/// One of the next two.
pub type Side = fn(&AngleBounds) -> (f64, f64);

/// Bounds of contrast.
pub fn of_contrast(bounds: &AngleBounds) -> (f64, f64) {
    bounds.contrast
}

/// Bounds of offset.
pub fn of_offset(bounds: &AngleBounds) -> (f64, f64) {
    bounds.offset
}

/// 1, cos φ, sin φ, cos 2φ, sin 2φ, … up to `order` at angles in degree; angles × (2·order + 1).
fn series(phi: &[f64], order: usize) -> DMatrix<f64> {
    DMatrix::from_fn(phi.len(), 2 * order + 1, |a, k| {
        let turn = (k.div_ceil(2) as f64) * phi[a].to_radians();
        if k % 2 == 1 || k == 0 { turn.cos() } else { turn.sin() }
    })
}

/// Names of the series' coefficients of contrast or offset, as the Python package has them.
pub fn coefficient_names(of: &str, n: usize) -> Vec<String> {
    (0..n).map(|k| format!("{of}_{}{}", if k % 2 == 1 || k == 0 { "c" } else { "s" }, k.div_ceil(2))).collect()
}

/// Orthonormal columns with the same span as the series, and what makes its coefficients from theirs.
fn orthonormal_series(phi: &[f64], order: usize) -> Result<(DMatrix<f64>, DMatrix<f64>)> {
    let n = 2 * order + 1;
    let near = || {
        Error::Usage(format!(
            "optimization.nlsq.anti_degeneracy.fourier_order: the angles lie too near to each other to tell the {n} terms of \
             a Fourier series of order {order} apart; lower the order or set `per_angle_mode: individual`"
        ))
    };
    if phi.len() < n {
        return Err(near());
    }
    let qr = series(phi, order).qr();
    let (design, triangle) = (qr.q(), qr.r());
    let diagonal = triangle.diagonal().abs();
    if diagonal.min() <= DEPENDENT * diagonal.max() {
        return Err(near());
    }
    let to_series = triangle.solve_upper_triangular(&DMatrix::identity(n, n)).ok_or_else(near)?;
    Ok((design, to_series))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::AnalysisMode;

    fn space() -> ParameterSpace {
        ParameterSpace::for_mode(AnalysisMode::Static)
    }

    #[test]
    fn a_series_is_found_again_from_its_values() {
        for phi in [vec![0.0, 72.0, 144.0, 216.0, 288.0], vec![-9.0, -4.0, 0.0, 3.0, 8.0, 11.0, 12.0]] {
            let scaling = Scaling::new(ScalingMode::Fourier { order: 2 }, &phi, &space()).unwrap();
            let group = &scaling.groups[0];
            let truth = DVector::from_vec(vec![0.3, 0.02, -0.03, 0.01, 0.015]);
            let values: DVector<f64> = DVector::from_fn(phi.len(), |a, _| {
                let p = phi[a].to_radians();
                0.3 + 0.02 * p.cos() - 0.03 * p.sin() + 0.01 * (2.0 * p).cos() + 0.015 * (2.0 * p).sin()
            });
            let own = group.design.tr_mul(&values);
            assert!((&group.design * &own - values).amax() < 1e-14);
            let found = group.series.as_ref().unwrap() * own;
            assert!((found - truth).amax() < 1e-8);
        }
        let names = coefficient_names("contrast", 5);
        assert_eq!(names, ["contrast_c0", "contrast_c1", "contrast_s1", "contrast_c2", "contrast_s2"]);
    }

    #[test]
    fn bounds_that_contradict_each_other_are_refused() {
        let mut space = space();
        let bounds = |contrast| AngleBounds { contrast, offset: (0.5, 1.5) };
        space.angles = vec![bounds((0.0, 0.2)), bounds((0.3, 1.0)), bounds((0.0, 0.2)), bounds((0.0, 1.0))];
        let phi = [0.0, 1.0, 2.0, 90.0];
        let text = |mode| Scaling::new(mode, &phi, &space).map(|_| ()).map_err(|e| e.to_string());
        assert!(text(ScalingMode::Individual).is_ok());
        assert!(text(ScalingMode::Averaged).unwrap_err().contains("no contrast of the mode `averaged`"));
        // no sine rises so fast
        assert!(text(ScalingMode::Fourier { order: 1 }).unwrap_err().contains("no contrast of the mode `fourier`"));
        let close = [0.0, 1e-5, 2e-5, 3e-5, 4e-5];
        let error = Scaling::new(ScalingMode::Fourier { order: 2 }, &close, &space).unwrap_err().to_string();
        assert!(error.contains("too near to each other"), "{error}");
    }

    #[test]
    fn constant_holds_what_it_is_given() {
        let mut space = space();
        assert!(Scaling::new(ScalingMode::Constant, &[0.0, 1.0], &space).is_err());
        space.held_scaling = vec![(0.2, 1.0), (0.3, 1.1)];
        let scaling = Scaling::new(ScalingMode::Constant, &[0.0, 1.0], &space).unwrap();
        assert!(scaling.groups.is_empty());
        assert_eq!(scaling.first, space.held_scaling);
    }
}
