//! Errors of the fitted parameters, and what the data do not determine.
//!
//! The covariance is the inverse of the full normal matrix over all free parameters, contrast and offset included. It is
//! formed in the solver's coordinates, where the matrix is well conditioned, and carried to the natural parameters.
//! Held parameters have no error. Directions that the data leave open are named, never hidden behind a pseudo-inverse.

use nalgebra::{DMatrix, DVector, SymmetricEigen};

use super::coordinates::{Chart, Held};
use super::scaling::Projected;
use crate::gram::PHI0;
use crate::model::{Block, PHYSICAL};

/// Relative error of f_ref (equally of κ) beyond which the valley's curvature is not seen: the natural parameters of the
/// block then trade against each other along a curve that no linear error can describe.
const VALLEY_ERROR: f64 = 0.3;
/// Eigenvalue of the scaled normal matrix below which a direction is not determined at all.
const SINGULAR: f64 = 1e-12;
/// An error larger than this share of the bounds' range says that only the bounds determine the parameter.
const WIDE: f64 = 0.5;

/// A rate at the reference time with its slope in ln t: always well determined where the block is visible at all.
#[derive(Debug, Clone, PartialEq)]
pub struct AtReference {
    /// "D" or "gamma_dot".
    pub name: &'static str,
    /// Reference time, s.
    pub t_ref: f64,
    /// Rate there.
    pub value: f64,
    /// Its standard error; NaN where it is not determined.
    pub value_error: f64,
    /// d(rate)/d(ln t) there, power-law part: exponent·f_ref.
    pub slope: f64,
    /// Its standard error.
    pub slope_error: f64,
    /// Unit of both.
    pub unit: &'static str,
}

/// Errors of one fit.
#[derive(Debug, Clone)]
pub struct Covariance {
    /// Of the natural physical parameters, then (contrast, offset) of every angle; (n + 2K)², zeros for held ones, NaN
    /// everywhere when the normal matrix can't be inverted.
    pub matrix: DMatrix<f64>,
    /// Standard errors of the physical parameters; NaN for held and undetermined ones.
    pub physical: Vec<f64>,
    /// Standard errors of (contrast, offset) per angle; NaN where at a bound.
    pub scaling: Vec<(f64, f64)>,
    /// Standard errors of the mean contrast and mean offset.
    pub mean_scaling: (f64, f64),
    /// The rates at the reference time.
    pub at_reference: Vec<AtReference>,
    /// What isn't determined, a sentence each.
    pub undetermined: Vec<String>,
    /// The noise variance used.
    pub s2: f64,
}

/// Inverse of a symmetric positive matrix by its scaled eigenbasis; on failure the direction that has no curvature.
fn invert(normal: &DMatrix<f64>) -> std::result::Result<DMatrix<f64>, DVector<f64>> {
    let n = normal.nrows();
    let scale = normal.diagonal().map(|d| if d > 0.0 { d.sqrt() } else { 1.0 });
    let scaled = DMatrix::from_fn(n, n, |i, j| normal[(i, j)] / (scale[i] * scale[j]));
    let eigen = SymmetricEigen::new(scaled);
    let weakest = eigen.eigenvalues.imin();
    let largest = eigen.eigenvalues.max();
    let determined = eigen.eigenvalues[weakest] > SINGULAR * largest;
    if !determined {
        return Err(eigen.eigenvectors.column(weakest).component_div(&scale));
    }
    let inverse = &eigen.eigenvectors
        * DMatrix::from_diagonal(&eigen.eigenvalues.map(|v| 1.0 / v))
        * eigen.eigenvectors.transpose();
    Ok(DMatrix::from_fn(n, n, |i, j| inverse[(i, j)] / (scale[i] * scale[j])))
}

/// Errors at a minimum with the parameters in `held` kept, for residual variance `s2`.
pub fn covariance(chart: &Chart, physical: &[f64], held: &Held, projected: &Projected, s2: f64) -> Covariance {
    let n = chart.n_physical();
    let k = projected.scaling.len();
    let tangents = chart.tangents(physical, held);
    let mut out = Covariance {
        matrix: DMatrix::from_element(n + 2 * k, n + 2 * k, f64::NAN),
        physical: vec![f64::NAN; n],
        scaling: vec![(f64::NAN, f64::NAN); k],
        mean_scaling: (f64::NAN, f64::NAN),
        at_reference: Vec::new(),
        undetermined: Vec::new(),
        s2,
    };
    let normal = tangents.transpose() * &projected.normal * &tangents;
    let free = match invert(&normal) {
        Ok(inverse) if s2.is_finite() => inverse * s2,
        Ok(_) => {
            out.undetermined.push("there are no degrees of freedom left to estimate errors from".into());
            out.at_reference = at_reference(chart, physical, None);
            return out;
        }
        Err(direction) => {
            out.undetermined.push(name_direction(chart, physical, held, &direction));
            out.at_reference = at_reference(chart, physical, None);
            return out;
        }
    };
    let natural_tangents = chart.natural_tangents(physical, held);
    let valley = &tangents * &free * tangents.transpose();
    let natural = &natural_tangents * &free * natural_tangents.transpose();
    for i in 0..n {
        out.physical[i] = if held[i] { f64::NAN } else { natural[(i, i)].max(0.0).sqrt() };
    }
    out.fill_scaling(&natural, &(&natural_tangents * &free * tangents.transpose()), &valley, projected, s2);
    out.at_reference = at_reference(chart, physical, Some(&valley));
    out.judge(chart, physical, held, &valley);
    out
}

impl Covariance {
    /// Scaling parameters follow the physical ones by −S⁻¹Xᵀ, plus their own variance S⁻¹.
    fn fill_scaling(
        &mut self,
        natural: &DMatrix<f64>,
        natural_valley: &DMatrix<f64>,
        valley: &DMatrix<f64>,
        projected: &Projected,
        s2: f64,
    ) {
        let n = natural.nrows();
        let k = projected.scaling.len();
        self.matrix.view_mut((0, 0), (n, n)).copy_from(natural);
        let responses: Vec<DMatrix<f64>> = projected.groups.iter().map(|g| g.response()).collect();
        for (g, group) in projected.groups.iter().enumerate() {
            let cross = -(natural_valley * responses[g].transpose());
            for &angle in &group.angles {
                self.matrix.view_mut((0, n + 2 * angle), (n, 2)).copy_from(&cross);
                self.matrix.view_mut((n + 2 * angle, 0), (2, n)).copy_from(&cross.transpose());
            }
            for (h, other) in projected.groups.iter().enumerate() {
                let mut block = &responses[g] * valley * responses[h].transpose();
                if g == h {
                    block += DMatrix::from_iterator(2, 2, group.inverse.iter().map(|v| v * s2));
                }
                for &a in &group.angles {
                    for &b in &other.angles {
                        self.matrix.view_mut((n + 2 * a, n + 2 * b), (2, 2)).copy_from(&block);
                    }
                }
            }
            for &angle in &group.angles {
                let error = |free: bool, at: usize| {
                    if free { self.matrix[(at, at)].max(0.0).sqrt() } else { f64::NAN }
                };
                self.scaling[angle] =
                    (error(group.contrast_free, n + 2 * angle), error(group.offset_free, n + 2 * angle + 1));
            }
        }
        let mean = |which: usize| {
            let mut total = 0.0;
            for a in 0..k {
                for b in 0..k {
                    total += self.matrix[(n + 2 * a + which, n + 2 * b + which)];
                }
            }
            total.max(0.0).sqrt() / k as f64
        };
        self.mean_scaling = (mean(0), mean(1));
    }

    /// Names what the linear errors can't be trusted for.
    fn judge(&mut self, chart: &Chart, physical: &[f64], held: &Held, valley: &DMatrix<f64>) {
        for block in 0..chart.n_physical() / 3 {
            let first = 3 * block;
            let free: Vec<&str> = (first..first + 3).filter(|&k| !held[k]).map(|k| PHYSICAL[k].name).collect();
            if free.len() < 2 {
                continue;
            }
            let f_ref = Block::from_slice(&physical[first..]).at_reference(chart.t_ref());
            let relative = valley[(first + 2, first + 2)].max(0.0).sqrt() * f_ref;
            if relative > VALLEY_ERROR {
                let at = &self.at_reference[block];
                self.undetermined.push(format!(
                    "{} are not determined separately; {}(t = {:.4} s) = {:.6e} ± {:.1e} {} and its slope in ln t, {:.6e} ± {:.1e} {}, are",
                    join(&free),
                    at.name,
                    at.t_ref,
                    at.value,
                    at.value_error,
                    at.unit,
                    at.slope,
                    at.slope_error,
                    at.unit
                ));
            }
        }
        for k in 0..chart.n_physical() {
            let (min, max) = chart.bounds(k);
            let seen = self.physical[k] <= WIDE * (max - min);
            if !held[k] && !seen {
                self.undetermined.push(format!(
                    "{} is not determined: its error {:.1e} is as wide as its bounds {min} … {max}",
                    PHYSICAL[k].name, self.physical[k]
                ));
            }
        }
    }
}

fn join(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_string(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

/// Change of phi0, in degree, that counts as much as a change of another parameter by its own size.
const PHI0_SCALE: f64 = 10.0;
/// Share of the largest relative change from which a parameter takes part in a direction.
const TAKES_PART: f64 = 0.2;

/// Names the natural parameters that change along a direction of the free coordinates.
fn name_direction(chart: &Chart, physical: &[f64], held: &Held, direction: &DVector<f64>) -> String {
    let change = chart.natural_tangents(physical, held) * direction;
    let relative: Vec<f64> = (0..chart.n_physical())
        .map(|k| {
            let size = if k == PHI0 { physical[k].abs().max(PHI0_SCALE) } else { physical[k].abs() };
            if held[k] { 0.0 } else { change[k].abs() / size.max(f64::MIN_POSITIVE) }
        })
        .collect();
    let largest = relative.iter().copied().fold(0.0, f64::max);
    let names: Vec<&str> =
        (0..chart.n_physical()).filter(|&k| relative[k] > TAKES_PART * largest).map(|k| PHYSICAL[k].name).collect();
    let what = match names[..] {
        [one] => one.to_string(),
        _ => format!("{} separately", join(&names)),
    };
    format!(
        "the data do not determine {what}: changing them together changes nothing that was measured; no errors can be given"
    )
}

fn at_reference(chart: &Chart, physical: &[f64], valley: Option<&DMatrix<f64>>) -> Vec<AtReference> {
    (0..chart.n_physical() / 3)
        .map(|block| {
            let first = 3 * block;
            let v = Block::from_slice(&physical[first..]).to_valley(chart.t_ref());
            let error = |k: usize| valley.map_or(f64::NAN, |c| c[(k, k)].max(0.0).sqrt());
            AtReference {
                name: ["D", "gamma_dot"][block],
                t_ref: chart.t_ref(),
                value: v[0],
                value_error: error(first),
                slope: v[1],
                slope_error: error(first + 1),
                unit: PHYSICAL[first].unit,
            }
        })
        .collect()
}
