//! Errors of the fitted parameters, and what the data do not determine.
//!
//! The covariance is the inverse of the full normal matrix over all free parameters, contrast and offset included. It is
//! formed in the solver's coordinates, where the matrix is well conditioned, and carried to the natural parameters.
//! Held parameters have no error. Directions that the data leave open are named, never hidden behind a pseudo-inverse.

use std::fmt::Write;

use nalgebra::{DMatrix, DVector};

use super::coordinates::{Chart, Held};
use super::design::coefficient_names;
use super::full_covariance::FullCovariance;
pub use super::one_sided::OneSided;
use super::one_sided::Released;
use super::scaled::Scaled;
use super::scaling::{Projected, ScalingGroup};
use crate::gram::PHI0;
use crate::model::{Block, PHYSICAL};

/// Relative error of f_ref (equally of κ) beyond which the valley's curvature is not seen: the natural parameters of the
/// block then trade against each other along a curve that no linear error can describe. Four standard errors: with a third one
/// block of 600 with an exponent near 0 looked determined by chance.
const VALLEY_ERROR: f64 = 0.25;
/// Change of phi0, in degree, that counts as much as a change of another parameter by its own size.
const PHI0_SCALE: f64 = 10.0;
/// Share of the largest relative change from which a parameter takes part in a direction by name,
const TAKES_PART: f64 = 0.2;
/// and from which its error means nothing any more.
const UNTOUCHED: f64 = 1e-6;
/// Variance, relative to the largest among a series' coefficients, that is rounding.
const ROUNDING: f64 = 1e-14;
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

/// A coefficient of a Fourier series in φ.
#[derive(Debug, Clone, PartialEq)]
pub struct Coefficient {
    /// `contrast_c0` (the mean), `contrast_c1` (of cos φ), `contrast_s1` (of sin φ) …, and `offset_…` alike.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its standard error; NaN where bounds hold it or the data don't determine it.
    pub error: f64,
}

/// Errors of one fit.
#[derive(Debug, Clone)]
pub struct Covariance {
    /// Of the natural physical parameters, then (contrast, offset) of every angle; zeros for held ones, NaN for what the data
    /// don't determine.
    pub full: FullCovariance,
    /// Standard errors of the physical parameters; NaN for held and undetermined ones.
    pub physical: Vec<f64>,
    /// Standard errors of (contrast, offset) per angle; NaN where at a bound or held.
    pub scaling: Vec<(f64, f64)>,
    /// Standard errors of the mean contrast and mean offset.
    pub mean_scaling: (f64, f64),
    /// Coefficients of the Fourier series of contrast, then of offset; empty in other modes.
    pub series: Vec<Coefficient>,
    /// The rates at the reference time.
    pub at_reference: Vec<AtReference>,
    /// Parameters on a bound, with what the data say of them inside it.
    pub one_sided: Vec<OneSided>,
    /// Parameters on a bound that, set free, the data wouldn't determine.
    on_open_bound: Vec<usize>,
    /// Covariance of the physical parameters in valley coordinates, but for [`Self::open`].
    valley: DMatrix<f64>,
    /// Directions in valley coordinates that the data leave open.
    open: Vec<DVector<f64>>,
    /// What isn't determined, a sentence each.
    pub undetermined: Vec<String>,
    /// The noise variance used.
    pub s2: f64,
}

/// Errors at a minimum with the parameters in `held` kept, for residual variance `s2`.
pub fn covariance(chart: &Chart, physical: &[f64], held: &Held, projected: &Projected, s2: f64) -> Covariance {
    let n = chart.n_physical();
    let k = projected.scaling.len();
    let mut out = Covariance {
        full: FullCovariance::unknown(n, projected),
        physical: vec![f64::NAN; n],
        scaling: vec![(f64::NAN, f64::NAN); k],
        mean_scaling: (f64::NAN, f64::NAN),
        series: series(projected),
        at_reference: at_reference(chart, physical, &DMatrix::zeros(n, n)),
        valley: DMatrix::from_element(n, n, f64::NAN),
        open: Vec::new(),
        one_sided: Vec::new(),
        on_open_bound: Vec::new(),
        undetermined: Vec::new(),
        s2,
    };
    if !s2.is_finite() {
        out.undetermined.push("there are no degrees of freedom left to estimate errors from".into());
        return out;
    }
    let tangents = chart.tangents(physical, held);
    let natural_tangents = chart.natural_tangents(physical, held);
    let (free, open) = if chart.n_free(held) == 0 {
        (DMatrix::zeros(0, 0), Vec::new())
    } else {
        Scaled::new(&(tangents.transpose() * &projected.normal * &tangents)).invert()
    };
    let free = free * s2;
    let mut valley = &tangents * &free * tangents.transpose();
    let mut natural = &natural_tangents * &free * natural_tangents.transpose();
    let mut across = &natural_tangents * &free * tangents.transpose();
    let user = chart.user_held();
    let mut judged_by = valley.clone();
    for k in (0..n).filter(|&k| held[k] && !user[k]) {
        let released = Released::new(chart, physical, held, k, (&projected.normal, &projected.gradient), s2);
        let Some(released) = released else {
            // free, it takes others with it
            out.on_open_bound.push(k);
            continue;
        };
        let kappa = 3 * (k / 3) + 2;
        if k < PHI0 && released.free_valley[(kappa, kappa)] > judged_by[(kappa, kappa)] {
            judged_by[(kappa, kappa)] = released.free_valley[(kappa, kappa)];
        }
        released.add(&mut valley, &mut natural, &mut across);
        out.one_sided.push(released.limits);
    }
    for i in (0..n).filter(|&i| !held[i]) {
        out.physical[i] = root(natural[(i, i)]);
    }
    out.full = FullCovariance::new(natural, across, valley.clone(), projected, s2);
    out.fill_scaling(&valley, projected, s2);
    out.at_reference = at_reference(chart, physical, &valley);
    for direction in &open {
        out.leave_open(chart, physical, &(&natural_tangents * direction), &(&tangents * direction), projected);
    }
    out.judge(chart, physical, &user, &judged_by);
    out.open = open.iter().map(|direction| &tangents * direction).collect();
    out.valley = valley;
    out
}

impl Covariance {
    /// Standard error of a rate, D (block 0) or γ̇ (block 1), at any time, from its derivatives there by the valley coordinates
    /// (see [`Block::gradient`]); NaN where the data don't determine it, or nothing of it was free.
    pub fn rate_error(&self, block: usize, gradient: [f64; 3]) -> f64 {
        let gradient = DVector::from_row_slice(&gradient);
        let moves = |direction: &DVector<f64>| {
            let part = direction.rows(3 * block, 3);
            part.dot(&gradient).abs() > UNTOUCHED * part.component_mul(&gradient).amax() && part.amax() > 0.0
        };
        if self.open.iter().any(moves) {
            return f64::NAN;
        }
        let own = self.valley.view((3 * block, 3 * block), (3, 3));
        root((gradient.transpose() * own * &gradient)[(0, 0)])
    }

    /// Errors of contrast and offset: they follow the physical parameters by −S⁻¹Xᵀ and have a variance S⁻¹ of their own.
    fn fill_scaling(&mut self, valley: &DMatrix<f64>, projected: &Projected, s2: f64) {
        let n = self.full.n_physical();
        for group in &projected.groups {
            if group.group.series.is_some() {
                let response = group.response();
                self.fill_series(group, &(&response * valley * response.transpose() + &group.optimum.inverse * s2));
            }
            for (member, &angle) in group.group.angles.iter().enumerate() {
                let error = |free: bool, at: usize| {
                    if free { root(self.full.at(at, at)) } else { f64::NAN }
                };
                let (contrast, offset) = (group.optimum.contrast_free[member], group.optimum.offset_free[member]);
                self.scaling[angle] = (error(contrast, n + 2 * angle), error(offset, n + 2 * angle + 1));
            }
        }
        let mean = |which: usize| {
            let free = |g: &ScalingGroup| {
                let free = if which == 0 { &g.optimum.contrast_free } else { &g.optimum.offset_free };
                free.iter().all(|f| *f)
            };
            if projected.groups.iter().all(free) { root(self.full.variance_of_mean(which)) } else { f64::NAN }
        };
        self.mean_scaling = (mean(0), mean(1));
    }

    /// Errors of the Fourier series' coefficients from the covariance of the design's.
    fn fill_series(&mut self, group: &ScalingGroup, block: &DMatrix<f64>) {
        let Some(series) = &group.group.series else { return };
        let m = series.nrows();
        for which in 0..2 {
            let variances = (series * block.view((which * m, which * m), (m, m)) * series.transpose()).diagonal();
            // what bounds hold leaves rounding, not zero
            let least = variances.max() * ROUNDING;
            for (k, &variance) in variances.iter().enumerate().filter(|(_, v)| **v > least) {
                self.series[which * m + k].error = root(variance);
            }
        }
    }

    /// Takes the errors away from whatever changes along a direction that the data leave open, and names it. `natural` and
    /// `valley` are the direction in those coordinates.
    fn leave_open(
        &mut self,
        chart: &Chart,
        physical: &[f64],
        natural: &DVector<f64>,
        valley: &DVector<f64>,
        projected: &Projected,
    ) {
        let n = chart.n_physical();
        let relative: Vec<f64> = (0..n)
            .map(|k| {
                let size = if k == PHI0 { physical[k].abs().max(PHI0_SCALE) } else { physical[k].abs() };
                natural[k].abs() / size.max(f64::MIN_POSITIVE)
            })
            .collect();
        let largest = relative.iter().copied().fold(f64::MIN_POSITIVE, f64::max);
        let mut names = Vec::new();
        for k in 0..n {
            if relative[k] > UNTOUCHED * largest {
                self.physical[k] = f64::NAN;
                self.full.forget(k);
            }
            if relative[k] > TAKES_PART * largest {
                names.push(PHYSICAL[k].name);
            }
        }
        for (block, at) in self.at_reference.iter_mut().enumerate() {
            let moves = |coordinate: usize, value: f64| {
                valley[3 * block + coordinate].abs() > UNTOUCHED * largest * value.abs().max(f64::MIN_POSITIVE)
            };
            if moves(0, at.value) {
                at.value_error = f64::NAN;
            }
            if moves(1, at.slope) {
                at.slope_error = f64::NAN;
            }
        }
        for group in &projected.groups {
            let change = group.response() * valley;
            for (member, &angle) in group.group.angles.iter().enumerate() {
                let change = group.of_member(member) * &change;
                let moves = |which: usize, value: f64| change[which].abs() > UNTOUCHED * largest * value.abs();
                let (contrast, offset) = projected.scaling[angle];
                if moves(0, contrast) {
                    self.scaling[angle].0 = f64::NAN;
                    self.mean_scaling.0 = f64::NAN;
                    self.leave_series_open("contrast");
                }
                if moves(1, offset) {
                    self.scaling[angle].1 = f64::NAN;
                    self.mean_scaling.1 = f64::NAN;
                    self.leave_series_open("offset");
                }
            }
        }
        self.undetermined.push(match names[..] {
            [] => "the data determine none of the free parameters".to_string(),
            [one] => format!("the data do not determine {one}: changing it changes nothing that was measured"),
            _ => format!(
                "the data do not determine {} separately: changing them together changes nothing that was measured",
                join(&names)
            ),
        });
    }

    fn leave_series_open(&mut self, of: &str) {
        self.series.iter_mut().filter(|c| c.name.starts_with(of)).for_each(|c| c.error = f64::NAN);
    }

    /// Names what the linear errors can't be trusted for, and takes them away. `valley` has κ's variances with parameters on
    /// bounds set free.
    fn judge(&mut self, chart: &Chart, physical: &[f64], held: &Held, valley: &DMatrix<f64>) {
        for block in 0..chart.n_physical() / 3 {
            let first = 3 * block;
            let members: Vec<usize> = (first..first + 3).filter(|&k| !held[k]).collect();
            let free: Vec<&str> = members.iter().map(|&k| PHYSICAL[k].name).collect();
            if free.len() < 2 {
                continue;
            }
            let f_ref = Block::from_slice(&physical[first..]).at_reference(chart.t_ref());
            let relative = valley[(first + 2, first + 2)].max(0.0).sqrt() * f_ref;
            let at_open_bound = self.on_open_bound.iter().any(|k| members.contains(k));
            if relative > VALLEY_ERROR || at_open_bound {
                // along the valley they change by far more than any linear error says
                for &k in &members {
                    self.physical[k] = f64::NAN;
                    self.full.forget(k);
                }
                self.one_sided.retain(|limits| !members.contains(&limits.parameter));
                let at = &self.at_reference[block];
                let mut text = format!("{} are not determined separately", join(&free));
                // along an open direction, or where nothing is left to see, the rate isn't determined either
                if at.value_error < at.value.abs() && at.slope_error.is_finite() {
                    let _ = write!(
                        text,
                        "; {}(t = {:.4} s) = {:.6e} ± {:.1e} {} and its slope in ln t, {:.6e} ± {:.1e} {}, are",
                        at.name, at.t_ref, at.value, at.value_error, at.unit, at.slope, at.slope_error, at.unit
                    );
                }
                self.undetermined.push(text);
            }
        }
        for k in 0..chart.n_physical() {
            let (min, max) = chart.bounds(k);
            if !held[k] && self.physical[k] > WIDE * (max - min) {
                self.undetermined.push(format!(
                    "{} is not determined: its error {:.1e} is as wide as its bounds {min} … {max}",
                    PHYSICAL[k].name, self.physical[k]
                ));
            }
        }
    }
}

/// Standard error of a variance. A variance of zero belongs to what was held or never seen: it has no error.
fn root(variance: f64) -> f64 {
    if variance > 0.0 { variance.sqrt() } else { f64::NAN }
}

/// The coefficients of the Fourier series, without errors.
fn series(projected: &Projected) -> Vec<Coefficient> {
    let mut out = Vec::new();
    for group in &projected.groups {
        let Some(series) = &group.group.series else { continue };
        let m = series.nrows();
        for (which, of) in ["contrast", "offset"].into_iter().enumerate() {
            let values = series * group.optimum.coefficients.rows(which * m, m);
            let named = coefficient_names(of, m).into_iter().zip(values.iter());
            out.extend(named.map(|(name, &value)| Coefficient { name, value, error: f64::NAN }));
        }
    }
    out
}

fn join(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => (*one).to_string(),
        [rest @ .., last] => format!("{} and {last}", rest.join(", ")),
    }
}

fn at_reference(chart: &Chart, physical: &[f64], valley: &DMatrix<f64>) -> Vec<AtReference> {
    (0..chart.n_physical() / 3)
        .map(|block| {
            let first = 3 * block;
            let v = Block::from_slice(&physical[first..]).to_valley(chart.t_ref());
            let error = |k: usize| root(valley[(k, k)]);
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
