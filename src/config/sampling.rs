//! Sampling of the posterior: method, chains, priors.

use super::Method;
use super::document::{Document, Spot, figure};
use super::node::Node;
use crate::Result;
use crate::model::Prior;
use crate::sampler::SamplerConfig;

/// Our own section.
const OWN: &str = "optimization.nuts";
/// Sections of the Python package in which it may stand, the newer first.
const OTHERS: [&str; 2] = ["optimization.cmc.per_shard_mcmc", "optimization.mcmc"];
/// Most transitions of a chain, and most chains: beyond, draws take more memory than data.
const MOST_DRAWS: i64 = 1_000_000;
const MOST_CHAINS: i64 = 64;
/// Doublings beyond which a trajectory is longer than any use.
const DEEPEST: i64 = 15;
/// Fewest draws of which something can be said.
const FEWEST_DRAWS: i64 = 4;

/// Names of priors in the file, any case, with or without underscores.
const PRIORS: &[&str] = &["Uniform", "Normal", "TruncatedNormal", "LogUniform", "LogNormal"];

/// What is asked for.
pub(super) fn method(document: &Document) -> Result<Method> {
    Ok(match document.choice("optimization.method")? {
        Some("nuts") => Method::Nuts,
        Some("both") => Method::Both,
        _ => Method::Nlsq,
    })
}

/// Where a key stands: in our section, or in one of the Python package's, which count only where something is sampled.
fn whole(document: &Document, key: &str, least: i64, most: i64, samples: bool) -> Result<Option<usize>> {
    let others = OTHERS.iter().filter(|_| samples);
    for section in std::iter::once(&OWN).chain(others) {
        if let Some(spot) = document.whole(&format!("{section}.{key}"), least, most)? {
            return Ok(Some(spot.value as usize));
        }
    }
    Ok(None)
}

/// The section.
pub(super) fn sampler(document: &Document) -> Result<SamplerConfig> {
    let (default, samples) = (SamplerConfig::default(), method(document)?.samples());
    let number = |key, least, most, default| Ok(whole(document, key, least, most, samples)?.unwrap_or(default));
    Ok(SamplerConfig {
        n_warmup: number("num_warmup", 0, MOST_DRAWS, default.n_warmup)?,
        n_draws: number("num_samples", FEWEST_DRAWS, MOST_DRAWS, default.n_draws)?,
        n_chains: number("num_chains", 1, MOST_CHAINS, default.n_chains)?,
        target_accept: target(document, samples)?.unwrap_or(default.target_accept),
        max_tree_depth: number("max_tree_depth", 1, DEEPEST, default.max_tree_depth as usize)? as u32,
        seed: document.whole(&format!("{OWN}.seed"), 0, i64::MAX)?.map_or(default.seed, |spot| spot.value as u64),
        sample_sigma: document
            .choice("optimization.nuts.sigma")?
            .filter(|word| *word != "auto")
            .map(|word| word == "sampled"),
    })
}

fn target(document: &Document, samples: bool) -> Result<Option<f64>> {
    let others = OTHERS.iter().filter(|_| samples);
    for section in std::iter::once(&OWN).chain(others) {
        let path = format!("{section}.target_accept_prob");
        let Some(Spot { value, place }) = document.number(&path)? else { continue };
        if value > 0.0 && value < 1.0 {
            return Ok(Some(value));
        }
        return Err(document.error(place, format!("`{path}` must be between 0 and 1, found {value}")));
    }
    Ok(None)
}

/// The prior in one entry of `parameter_space.bounds`, which is at `path`, over these bounds. `of_scaling`: of contrast or offset.
///
/// # Errors
/// A type that there isn't, numbers that are missing or wrong, a logarithm of bounds that aren't positive.
pub(super) fn prior(
    document: &Document,
    path: &str,
    item: &Node,
    (min, _): (f64, f64),
    of_scaling: bool,
) -> Result<Prior> {
    let given = |key: &str| item.get(key).filter(|node| !node.is_null());
    let number = |key: &str| given(key).map(|node| document.finite(&format!("{path}.{key}"), node)).transpose();
    let (mean, sd) = (number("prior_mu")?, number("prior_sigma")?);
    let kind = given("type");
    let word = match kind {
        // numbers alone are those of the Python package's usual prior
        None if mean.is_some() && sd.is_some() => "truncatednormal".to_string(),
        None => return Ok(Prior::Uniform),
        Some(node) => {
            let word =
                node.as_text().ok_or_else(|| document.wrong(&format!("{path}.type"), node, "the name of a prior"))?;
            word.to_lowercase().replace(['_', '-', ' '], "")
        }
    };
    let place = kind.unwrap_or(item).place;
    let moments = || match (mean, sd) {
        (Some(mean), Some(sd)) if sd.value > 0.0 => Ok((mean.value, sd.value)),
        (Some(_), Some(sd)) => Err(document.error(sd.place, format!("`{path}.prior_sigma` must be greater than 0"))),
        _ => Err(document
            .error(place, format!("`{path}`: this prior needs `prior_mu` and `prior_sigma`; or set `type: Uniform`"))),
    };
    let prior = match word.as_str() {
        "uniform" => Prior::Uniform,
        "normal" | "truncatednormal" => moments().map(|(mean, sd)| Prior::Normal { mean, sd })?,
        "loguniform" => Prior::LogUniform,
        "lognormal" => moments().map(|(mean, sd)| Prior::LogNormal { mean, sd })?,
        _ => {
            let given = kind.and_then(Node::as_text).unwrap_or_default();
            return Err(document.no_such(&format!("{path}.type"), given, place, PRIORS));
        }
    };
    if prior.is_logarithmic() && of_scaling {
        let message =
            format!("`{path}.type`: contrast and offset are integrated out, which needs Uniform or TruncatedNormal");
        return Err(document.error(place, message));
    }
    if prior.is_logarithmic() && min <= 0.0 {
        return Err(document.error(place, format!("`{path}.type`: {} needs bounds above 0", prior.name())));
    }
    Ok(prior)
}

/// What to say of a prior in an entry at `path` whose centre lies outside of the bounds.
pub(super) fn far_prior(
    document: &Document,
    path: &str,
    item: &Node,
    (min, max): (f64, f64),
    prior: Prior,
) -> Option<String> {
    let centre = match prior {
        Prior::Normal { mean, .. } => mean,
        Prior::LogNormal { mean, .. } => mean.exp(),
        Prior::Uniform | Prior::LogUniform => return None,
    };
    let of_logarithm = if prior.is_logarithmic() { "; it is that of ln x" } else { "" };
    let place = document.source.show(item.get("prior_mu").unwrap_or(item).place);
    (!(min..=max).contains(&centre)).then(|| {
        format!(
            "{place}: `{path}.prior_mu` puts the centre of the prior at {}, outside the bounds {} to {}{of_logarithm}",
            figure(centre),
            figure(min),
            figure(max)
        )
    })
}
