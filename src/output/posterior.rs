//! What is written of draws from the posterior: `posterior_summary.json`, and `samples.h5` with the draws themselves.

use std::path::Path;

use serde_json::{Map, Value, json};

use super::Report;
use super::inference_data::{self, Arrays, Dimension, Values, Variable};
use super::json::{number, provenance};
use crate::error::hdf5_reason;
use crate::model::PHYSICAL;
use crate::sampler::Draw;
use crate::sampler::diagnostics::{E_BFMI_LIMIT, ESS_LIMIT, RHAT_LIMIT};
use crate::sampler::summary::{Kind, Marginal, QUANTILE_NAMES, Summary};
use crate::version::{VERSION, commit};
use crate::{Result, files};

/// One quantity.
fn marginal(marginal: &Marginal) -> Value {
    let (series, d) = (&marginal.series, &marginal.diagnosis);
    let quantiles: Map<String, Value> =
        QUANTILE_NAMES.iter().zip(marginal.quantiles).map(|(name, value)| (name.to_string(), number(value))).collect();
    let mut out = json!({
        "mean": number(d.mean),
        "sd": number(d.sd),
        "unit": series.unit,
        "description": series.description,
        "kind": match series.kind {
            Kind::Parameter => "parameter",
            Kind::Derived => "derived",
            Kind::Scaling => "scaling",
        },
        "quantiles": quantiles,
        "rhat": number(d.rhat),
        "ess_bulk": number(d.ess_bulk),
        "ess_tail": number(d.ess_tail),
        "mcse_mean": number(d.mcse_mean),
        "mcse_sd": number(d.mcse_sd),
    });
    if let Some(agreement) = &marginal.agreement {
        out["fit"] = json!({
            "value": number(agreement.fit.0),
            "uncertainty": number(agreement.fit.1),
            "shift": number(agreement.shift),
            "width_ratio": number(agreement.width),
            "agrees": agreement.agrees,
        });
    }
    out
}

/// `posterior_summary.json`.
pub(super) fn summary(report: &Report, summary: &Summary) -> Value {
    let config = &summary.config;
    let mut out = provenance(report);
    out.insert("method".into(), "nuts".into());
    out.insert("shear_convention".into(), report.experiment.convention.name().into());
    out.insert("time_origin".into(), report.config.time_origin.name().into());
    out.insert("scaling_mode".into(), report.scaling.name().into());
    out.insert("verdict".into(), if summary.is_trusted() { "converged" } else { "not converged" }.into());
    out.insert("doubts".into(), summary.doubts().into());
    out.insert("remarks".into(), summary.remarks().into());
    let marginals: Map<String, Value> =
        summary.marginals.iter().map(|m| (m.series.name.clone(), marginal(m))).collect();
    out.insert("quantities".into(), marginals.into());
    let priors: Map<String, Value> = PHYSICAL
        .iter()
        .zip(&report.space.priors)
        .zip(&report.space.bounds)
        .map(|((info, prior), &(min, max))| {
            let mut entry = json!({ "type": prior.name(), "min": number(min), "max": number(max) });
            if let Some((mean, sd)) = prior.moments() {
                entry["mu"] = number(mean);
                entry["sigma"] = number(sd);
            }
            (info.name.to_string(), entry)
        })
        .collect();
    out.insert("priors".into(), priors.into());
    let numbers = |values: &[f64]| values.iter().map(|&v| number(v)).collect::<Vec<_>>();
    out.insert(
        "sampler".into(),
        json!({
            "chains": config.n_chains,
            "warmup": config.n_warmup,
            "draws_per_chain": config.n_draws,
            "seed": config.seed,
            "target_accept_prob": number(config.target_accept),
            "max_tree_depth": config.max_tree_depth,
            "sigma_is_sampled": summary.sigma_is_sampled,
            "divergent": summary.diverged,
            "at_max_tree_depth": summary.deepest,
            "e_bfmi": numbers(&summary.e_bfmi),
            "step_size": numbers(&summary.steps),
            "acceptance": numbers(&summary.acceptance),
            "evaluations": summary.n_points,
            "unresolved": number(summary.unresolved),
            "seconds": number(summary.seconds),
            "ess_per_second": number(summary.ess_per_second()),
        }),
    );
    out.insert("thresholds".into(), json!({ "rhat": RHAT_LIMIT, "ess": ESS_LIMIT, "e_bfmi": E_BFMI_LIMIT }));
    out.into()
}

/// Writes `samples.h5`: `posterior` with every quantity by chain and draw (contrast and offset of single angles by φ, too),
/// `sample_stats` under the names that ArviZ knows, `constant_data` with the measurement.
///
/// # Errors
/// [`Error::Io`] naming the file.
pub(super) fn write_samples(report: &Report, summary: &Summary, draws: &[&[Draw]], path: &Path) -> Result<()> {
    let e = report.experiment;
    let counted = |name, n: usize| Dimension { name, coordinates: (0..n).map(|k| k as f64).collect(), unit: "" };
    let by_draw = || vec![counted("chain", summary.config.n_chains), counted("draw", summary.config.n_draws)];
    let phi = || Dimension { name: "phi", coordinates: e.phi.clone(), unit: "degree" };
    let mut posterior = Arrays { name: "posterior", dimensions: by_draw(), variables: Vec::new() };
    for series in summary.marginals.iter().map(|m| &m.series).filter(|series| series.angle.is_none()) {
        posterior.variables.push(Variable {
            name: &series.name,
            dimensions: vec![0, 1],
            values: Values::Numbers(series.chains.concat()),
            unit: series.unit,
            description: &series.description,
        });
    }
    if summary.marginals.iter().any(|m| m.series.angle.is_some()) {
        posterior.dimensions.push(phi());
        let all =
            |f: fn(&(f64, f64)) -> f64| draws.iter().copied().flatten().flat_map(move |d| d.scaling.iter().map(f));
        for (name, values, description) in [
            ("contrast_by_angle", all(|s| s.0).collect(), "contrast of every angle"),
            ("offset_by_angle", all(|s| s.1).collect(), "offset of every angle"),
        ] {
            let (dimensions, values) = (vec![0, 1, 2], Values::Numbers(values));
            posterior.variables.push(Variable { name, dimensions, values, unit: "1", description });
        }
    }
    let each = || draws.iter().copied().flatten();
    let numbers = |f: fn(&Draw) -> f64| Values::Numbers(each().map(f).collect());
    let whole = |f: fn(&Draw) -> i64| Values::Whole(each().map(f).collect());
    let stats = [
        ("lp", numbers(|d| d.ln_density), "ln of the density in the chains' coordinates, but for a constant"),
        ("energy", numbers(|d| d.energy), "energy of the trajectory at the draw"),
        ("acceptance_rate", numbers(|d| d.acceptance), "mean acceptance probability along the trajectory"),
        ("step_size", numbers(|d| d.step), "length of a step, in units of the metric"),
        ("tree_depth", whole(|d| i64::from(d.depth)), "doublings of the trajectory"),
        ("n_steps", whole(|d| i64::from(d.n_steps)), "steps of the trajectory"),
        ("diverging", Values::Flags(each().map(|d| d.diverged).collect()), "whether the energy ran away"),
    ];
    let variables = stats
        .into_iter()
        .map(|(name, values, description)| Variable { name, dimensions: vec![0, 1], values, unit: "", description })
        .collect();
    let sample_stats = Arrays { name: "sample_stats", dimensions: by_draw(), variables };
    let n_pairs = report.fit.projected.pairs_per_angle.iter().map(|&n| n as i64).collect();
    let constant = [
        ("n_pairs", Values::Whole(n_pairs), "1", "pairs of frames that count"),
        ("noise", Values::Numbers(report.data.noise.clone()), "1", "noise estimated from the data"),
    ];
    let variables = constant
        .into_iter()
        .map(|(name, values, unit, description)| Variable { name, dimensions: vec![0], values, unit, description })
        .collect();
    let constant_data = Arrays { name: "constant_data", dimensions: vec![phi()], variables };
    let attributes = [
        ("created_at", report.timestamp.clone()),
        ("inference_library", "homodyne-mpi".to_string()),
        ("inference_library_version", VERSION.to_string()),
        ("git_commit", commit().to_string()),
        ("data_hash", report.data.hash.clone()),
        ("analysis_mode", e.mode.name().to_string()),
        ("shear_convention", e.convention.name().to_string()),
        ("t_ref_seconds", e.t_ref().to_string()),
        ("configuration", report.config.effective.to_string()),
    ];
    let groups = [posterior, sample_stats, constant_data];
    let compression = report.config.output.compression;
    files::replace(path, |file| {
        inference_data::write(&files::name_of(file), &groups, &attributes, compression).map_err(hdf5_reason)
    })
}
