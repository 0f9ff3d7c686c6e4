//! The scaling mode of a run: which one, why, within which bounds, and at which values `constant` holds contrast and offset.

use std::path::Path;

use crate::config::{Config, Given};
use crate::dataset::{Dataset, Plateaus};
use crate::model::{Experiment, ParameterSpace, ScalingMode, directions};
use crate::solver::OneScaling;
use crate::solver::design::Scaling;
use crate::{Error, Result};

/// What a user of `constant` must know.
const ESTIMATED: &str = "per_angle_mode `constant` holds contrast and offset at quantiles of the data, which noise shifts by \
                         about 1.3σ each: this biases the parameters, and their errors don't include it";

/// What was chosen.
pub(super) struct Choice {
    /// The mode in use.
    pub mode: ScalingMode,
    /// Why, for the report.
    pub reason: String,
    /// What to say where it isn't the mode that was asked for, or one that shifts the answer.
    pub warning: Option<String>,
    /// The parameter space with the bounds of every angle.
    pub space: ParameterSpace,
    given: Given,
    /// Whether the data decide.
    is_automatic: bool,
}

impl Choice {
    /// Decides by the configuration and the angles selected.
    ///
    /// # Errors
    /// Values or bounds of single angles that don't go with their number or with each other.
    pub fn new(config: &Config, experiment: &Experiment) -> Result<Self> {
        let k = experiment.n_angles();
        let (space, given) = config.scaling.resolve(&experiment.phi, &config.parameters)?;
        let threshold = config.scaling.averaged_from;
        let (mode, reason, warning) = match config.fit.scaling {
            None => (
                ScalingMode::automatic_from(k, threshold),
                format!("auto averages from {threshold} angles on where the data accept it"),
                None,
            ),
            Some(asked) => match (asked.feasible(&experiment.phi), asked) {
                (used, ScalingMode::Fourier { order }) if used != asked => {
                    let reason = format!(
                        "{} different angle(s) are too few for the {} coefficients of a Fourier series of order {order}",
                        directions(&experiment.phi),
                        2 * order + 1
                    );
                    let warning = format!("per_angle_mode `{}` instead of `{}`: {reason}", used.name(), asked.name());
                    (used, reason, Some(warning))
                }
                (ScalingMode::Constant, _) => {
                    let estimated = given.contrast.is_none() || given.offset.is_none();
                    (asked, given_reason(&given), estimated.then(|| ESTIMATED.into()))
                }
                (ScalingMode::Fourier { order }, _) => (asked, format!("as configured, order {order}"), None),
                _ => (asked, "as configured".into(), None),
            },
        };
        if mode != ScalingMode::Constant {
            Scaling::new(mode, &experiment.phi, &space)?;
        }
        if (given.contrast.is_some() || given.offset.is_some()) && mode != ScalingMode::Constant {
            log::info!(
                "initial_parameters.per_angle_scaling has no influence: in the mode `{}` contrast and offset are solved for \
                 in closed form",
                mode.name()
            );
        }
        Ok(Self { mode, reason, warning, space, given, is_automatic: config.fit.scaling.is_none() })
    }

    /// Refuses data that leave no degree of freedom: `pairs` of `k` angles.
    ///
    /// # Errors
    /// [`Error::Data`] with both numbers.
    pub fn check_size(&self, file: &Path, pairs: u64, k: usize) -> Result<()> {
        let parameters = self.space.n_free() + self.mode.n_parameters(k);
        if pairs > parameters as u64 {
            return Ok(());
        }
        let message = format!(
            "{pairs} pairs of frames have a value, which can't determine {parameters} parameters; select more frames or \
             angles, or fix parameters"
        );
        Err(Error::data(file, message))
    }

    /// One contrast and offset for all angles have been tested: `auto` goes by that.
    pub fn tested(&mut self, found: &OneScaling) {
        let asked = if self.is_automatic { "auto" } else { "as configured" };
        let finding = if found.is_refuted() { "differ between the angles" } else { "may be the same at all angles" };
        self.reason = format!("{asked}: contrast and offset {finding}; {}", found.text());
        if self.is_automatic && found.is_refuted() {
            self.mode = ScalingMode::Individual;
        }
    }

    /// Whether the data must be asked where c2 lies at short and long lags.
    pub fn needs_plateaus(&self) -> bool {
        self.mode == ScalingMode::Constant && (self.given.contrast.is_none() || self.given.offset.is_none())
    }

    /// Sets what `constant` holds: the values given, else those estimated from the data, moved into the bounds.
    ///
    /// # Errors
    /// Angles with too few values for an estimate.
    pub fn hold(&mut self, dataset: &Dataset, phi: &[f64], plateaus: &[Option<Plateaus>]) -> Result<()> {
        if self.mode != ScalingMode::Constant {
            return Ok(());
        }
        let within = |value: f64, (min, max): (f64, f64)| value.clamp(min, max);
        self.space.held_scaling = (0..phi.len())
            .map(|a| {
                let bounds = self.space.scaling_bounds(a);
                let found = || {
                    plateaus.get(a).copied().flatten().ok_or_else(|| {
                        let path = &dataset.slots[dataset.selected[a]].path;
                        let message = "too few values to estimate contrast and offset from, which `per_angle_mode: constant` \
                                       holds; give them in initial_parameters.per_angle_scaling, or choose another mode";
                        Error::data_at(&dataset.file, path.as_str(), message)
                    })
                };
                let offset = match &self.given.offset {
                    Some(given) => given[a],
                    None => within(found()?.floor, bounds.offset),
                };
                let contrast = match &self.given.contrast {
                    Some(given) => given[a],
                    None => within(found()?.ceiling - offset, bounds.contrast),
                };
                Ok((contrast, offset))
            })
            .collect::<Result<_>>()?;
        for (phi, (contrast, offset)) in phi.iter().zip(&self.space.held_scaling) {
            log::debug!("φ = {phi}°: contrast is held at {contrast}, offset at {offset}");
        }
        Ok(())
    }
}

fn given_reason(given: &Given) -> String {
    let from = |given: bool| if given { "initial_parameters.per_angle_scaling" } else { "quantiles of the data" };
    match (given.contrast.is_some(), given.offset.is_some()) {
        (contrast, offset) if contrast == offset => {
            format!("as configured; contrast and offset are held at {}", from(contrast))
        }
        (contrast, offset) => {
            format!("as configured; contrast is held at {}, offset at {}", from(contrast), from(offset))
        }
    }
}
