//! Which σ a fit counts with: the file's, else the estimate where it is asked for, else the default.

use crate::Error;
use crate::Result;
use crate::config::Config;
use crate::dataset::Dataset;
use crate::solver::{Sigma, SigmaSource};

/// Where the configuration asks for the estimate.
const KEY: &str = "noise_estimation.enabled";

/// σ of every angle, and what a user should be warned of. `noise` is the estimate by angle, `pairs` what is fitted of
/// each, `by_pair` σ of every angle where pairs have their own.
///
/// # Errors
/// [`Error::Data`] where an estimate is asked for and no angle has enough values for one.
pub(super) fn sigma(
    config: &Config,
    dataset: &Dataset,
    noise: &[f64],
    pairs: &[u64],
    by_pair: Option<&[f64]>,
) -> Result<(Sigma, Option<String>)> {
    if let Some(stored) = by_pair.map(<[f64]>::to_vec).or_else(|| dataset.sigma()) {
        if config.estimate_noise {
            log::info!("`{KEY}` has no effect: σ of the file is used");
        }
        let known = Sigma::known(SigmaSource::File, stored, pairs);
        return Ok((if by_pair.is_some() { known.by_pair() } else { known }, None));
    }
    if !config.estimate_noise {
        return Ok((Sigma::default_of(noise.len()), None));
    }
    let seen = |estimate: &f64| estimate.is_finite() && *estimate > 0.0;
    let found: Vec<f64> = noise.iter().copied().filter(seen).collect();
    if found.is_empty() {
        let message = format!("has too few values to estimate the noise from; set `{KEY}: false`");
        return Err(Error::data(&dataset.file, message));
    }
    let mean = (found.iter().map(|x| x * x).sum::<f64>() / found.len() as f64).sqrt();
    let warning = (found.len() < noise.len()).then(|| {
        format!(
            "{} of {} angles have too few values to estimate their noise from; that of the others is used, {mean:.4e}",
            noise.len() - found.len(),
            noise.len()
        )
    });
    let per_angle = noise.iter().map(|x| if seen(x) { *x } else { mean }).collect();
    Ok((Sigma::known(SigmaSource::Estimated, per_angle, pairs), warning))
}
