//! The JSON files. Floats round-trip exactly; a number that isn't finite is null.

use serde_json::{Map, Value, json};

use super::Report;
use crate::model::{PHYSICAL, ScalingMode};
use crate::version::{VERSION, commit};

/// A number, or null where it isn't finite.
pub(super) fn number(x: f64) -> Value {
    serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number)
}

fn parameter(value: f64, uncertainty: f64, unit: &str, at_bound: bool) -> Value {
    json!({ "value": number(value), "uncertainty": number(uncertainty), "unit": unit, "at_bound": at_bound })
}

pub(super) fn provenance(report: &Report) -> Map<String, Value> {
    let mut out = Map::new();
    out.insert("timestamp".into(), report.timestamp.clone().into());
    out.insert("version".into(), VERSION.into());
    out.insert("git_commit".into(), commit().into());
    out.insert("data_hash".into(), report.data.hash.clone().into());
    out.insert("analysis_mode".into(), report.experiment.mode.name().into());
    out
}

/// All JSON files by name, without `.json`.
pub fn all(report: &Report) -> [(&'static str, Value); 3] {
    [
        ("parameters", parameters(report)),
        ("analysis_results_nlsq", analysis(report)),
        ("convergence_metrics", convergence(report)),
    ]
}

/// The text of a file.
pub fn text(value: &Value) -> String {
    // a tree of plain values always has a JSON form; `#` writes it on many lines
    format!("{value:#}\n")
}

/// `parameters.json`: nothing in it depends on ranks, threads or time but the timestamp.
pub(super) fn parameters(report: &Report) -> Value {
    let (fit, k) = (report.fit, report.experiment.n_angles());
    let mut values = Map::new();
    for (i, info) in PHYSICAL.iter().enumerate().take(report.space.len()) {
        let fixed = report.space.fixed[i].is_some();
        let mut entry = parameter(fit.physical[i], fit.covariance.physical[i], info.unit, fit.at_bound[i]);
        entry["fixed"] = fixed.into();
        if let Some(limits) = fit.covariance.one_sided.iter().find(|limits| limits.parameter == i) {
            entry["limit_68"] = number(limits.limit_68);
            entry["limit_95"] = number(limits.limit_95);
        }
        values.insert(info.name.into(), entry);
    }
    let scaling = &fit.projected.scaling;
    let at_bounds = report.at_bounds();
    for (info, value, error) in report.mean_scaling() {
        let at_bound = at_bounds.iter().any(|b| b.starts_with(info.name));
        values.insert(info.name.into(), parameter(value, error, info.unit, at_bound));
    }
    // not fitted, but what the data determine best of every rate
    let mut at_reference = Map::new();
    for at in &fit.covariance.at_reference {
        for (suffix, value, error) in
            [("at_t_ref", at.value, at.value_error), ("slope_at_t_ref", at.slope, at.slope_error)]
        {
            let entry = json!({
                "value": number(value),
                "uncertainty": number(error),
                "unit": at.unit,
                "t_ref": number(at.t_ref),
            });
            at_reference.insert(format!("{}_{suffix}", at.name), entry);
        }
    }
    let follows: Map<String, Value> = report
        .derived()
        .into_iter()
        .map(|(derived, error)| {
            let entry = json!({
                "value": number(derived.value),
                "uncertainty": number(error),
                "unit": derived.unit,
                "description": derived.description,
            });
            (derived.name.to_string(), entry)
        })
        .collect();
    let per_angle: Vec<Value> = (0..k)
        .map(|a| {
            json!({
                "phi": number(report.experiment.phi[a]),
                "contrast": number(scaling[a].0),
                "contrast_uncertainty": number(fit.covariance.scaling[a].0),
                "offset": number(scaling[a].1),
                "offset_uncertainty": number(fit.covariance.scaling[a].1),
                "reduced_chi_squared": number(report.reduced_of_angle(a)),
            })
        })
        .collect();
    let mut out = provenance(report);
    out.insert("chi_squared".into(), number(report.chi_squared()));
    out.insert("reduced_chi_squared".into(), number(report.reduced_chi_squared()));
    out.insert("convergence_status".into(), report.convergence_status().into());
    out.insert("shear_convention".into(), report.experiment.convention.name().into());
    out.insert("time_origin".into(), report.config.time_origin.name().into());
    out.insert("parameters".into(), values.into());
    out.insert("at_reference".into(), at_reference.into());
    out.insert("derived".into(), follows.into());
    out.insert("scaling_mode".into(), report.scaling.name().into());
    out.insert("per_angle".into(), per_angle.into());
    if let ScalingMode::Fourier { order } = report.scaling {
        let coefficients: Map<String, Value> = fit
            .covariance
            .series
            .iter()
            .map(|c| {
                let entry = json!({ "value": number(c.value), "uncertainty": number(c.error), "unit": "1" });
                (c.name.clone(), entry)
            })
            .collect();
        out.insert("fourier".into(), json!({ "order": order, "coefficients": coefficients }));
    }
    out.into()
}

/// `analysis_results_nlsq.json`.
fn analysis(report: &Report) -> Value {
    let (fit, e) = (report.fit, report.experiment);
    let frames2 = (e.n_frames as u64).pow(2);
    json!({
        "method": "nlsq",
        "timestamp": report.timestamp,
        "analysis_mode": e.mode.name(),
        "fit_quality": {
            "chi_squared": number(report.chi_squared()),
            "reduced_chi_squared": number(report.reduced_chi_squared()),
            "reduced_chi_squared_against_noise": number(report.reduced_against_noise()),
            "smooth_part": report.smooth.map(|smooth| json!({
                "ratio": number(smooth.ratio),
                "agrees_below": number(smooth.limit()),
                "degrees_of_freedom": smooth.degrees_of_freedom,
            })),
            "one_scaling": report.one_scaling.map(|found| json!({
                "gain_in_chi_squared": number(found.gain),
                "coefficients": found.coefficients,
                "gain_by_noise": number(found.by_noise * found.coefficients as f64),
                "probability": number(found.probability),
            })),
            "degrees_of_freedom": fit.degrees_of_freedom as u64,
            "sigma": number(report.sigma.reference),
            "sigma_per_angle": report.sigma.per_angle.iter().map(|&s| number(s)).collect::<Vec<_>>(),
            "sigma_source": report.sigma.source.name(),
            "sigma_is_default": report.sigma.is_default(),
            "noise_estimate": number(report.noise()),
            "noise_estimate_per_angle": report.data.noise.iter().map(|&n| number(n)).collect::<Vec<_>>(),
            "loss": report.config.fit.loss_name(),
            "loss_value": number(report.loss_value()),
            "reduced_chi_squared_without_outliers": report.reduced_without_outliers().map(number),
            "loss_sigma": fit.robust.as_ref().map(|robust| number(robust.sigma)),
            "quality_flag": report.quality_flag(),
        },
        "dataset_info": {
            "file": report.data.file.display().to_string(),
            "layout": report.data.layout,
            "n_angles": e.n_angles(),
            "n_frames": e.n_frames,
            "n_time_points": frames2,
            "total_data_points": frames2 * e.n_angles() as u64,
            "n_points": e.n_points(),
            "n_pairs": fit.projected.n_pairs() as u64,
            "n_missing": report.data.n_missing,
            "n_excluded": report.data.n_excluded,
            "excluded": report.data.left_out,
            "q_value": number(e.q),
            "q_source": report.data.q_source,
            "dt": number(e.dt),
            "dt_source": report.data.dt_source,
            "start_frame": report.data.first_frame,
            "time_origin": report.config.time_origin.name(),
            "bins": report.data.bins,
        },
        "optimization_summary": {
            "convergence_status": report.convergence_status(),
            "iterations": fit.fine_iterations,
            "passes": report.passes,
            "verification": fit.correction.map(|correction| json!({
                "n_pairs": fit.projected.n_pairs() as u64,
                "largest_correction": number(correction),
            })),
            "execution_time": number(report.seconds),
            "strategy": report.strategy.name(),
            "shear_convention": e.convention.name(),
            "scaling_mode": report.scaling.name(),
            "scaling_mode_reason": report.scaling_reason,
            "n_physical_parameters": report.n_parameters().0,
            "n_scaling_parameters": report.n_parameters().1,
            "ranks": report.ranks.len(),
            "threads": report.ranks[0].plan.threads,
            "device": report.device(),
            "instruction_set": report.instruction_set,
            // matrix entries, both triangles, as the Python package counts points
            "points_per_second": number(2.0 * report.pairs_evaluated / report.pass_seconds),
            "n_batches": report.n_batches,
            "kept_bytes_per_rank": report.kept,
            "success_rate": number(report.readable()),
            "lost": report.lost.iter().map(|lost| json!({ "phi": number(lost.phi), "path": lost.path })).collect::<Vec<_>>(),
            "read_retries": report.ranks.iter().map(|rank| rank.retries).sum::<u64>(),
            "checkpoints": report.keeping.saved.saved,
            "checkpoint_seconds": number(report.keeping.saved.seconds),
            "checkpoint_failures": report.keeping.saved.failures,
            "resumed_from": report.keeping.resumed_from.as_ref().map(|path| path.display().to_string()),
            "seconds_before_resuming": number(report.keeping.seconds_before),
        },
        "configuration": report.config.effective,
    })
}

/// `convergence_metrics.json`.
fn convergence(report: &Report) -> Value {
    let fit = report.fit;
    json!({
        "convergence": {
            "status": report.convergence_status(),
            "reason": fit.outcome.reason(),
            "iterations": fit.fine_iterations,
            "execution_time": number(report.seconds),
            "final_chi_squared": number(report.chi_squared()),
        },
        "iterations": fit.iterations.iter().map(|i| json!({
            "level": i.level,
            "n_pairs": report.level_pairs[i.level],
            "pass": i.pass,
            "residual_variance": number(i.residual_variance),
            "chi_squared": number(report.in_sigma(i.chi2)),
            "decrement": number(i.decrement),
            "damping": number(i.damping),
        })).collect::<Vec<_>>(),
        "other_minima": fit.other_minima.iter().map(|o| json!({
            "level": o.level,
            "excess_chi_squared": number(o.excess),
            "distance": number(fit.distance(o)),
            "parameters": PHYSICAL.iter().zip(&o.physical)
                .map(|(p, v)| (p.name.to_string(), number(*v))).collect::<Map<_, _>>(),
        })).collect::<Vec<_>>(),
        "recovery_actions": report.keeping.resumed_from.iter()
            .map(|path| format!("resumed from {}", path.display())).collect::<Vec<_>>(),
        "quality_flag": report.quality_flag(),
        "quality_warnings": report.quality_warnings(),
        "warnings": report.warnings,
        "device_info": {
            "kind": report.device(),
            "gpu": report.gpu,
            "instruction_set": report.instruction_set,
            "ranks": report.ranks.iter().enumerate().map(|(k, r)| json!({
                "host": report.places.get(k).map(|place| &place.host),
                "threads": r.plan.threads,
                "cores": r.plan.cores,
                "peak_memory_bytes": r.peak_memory,
                "steady_memory_bytes": r.steady_memory.0 as u64,
                "memory_variation": number(r.steady_memory.1),
                "read_retries": r.retries,
                "worked_share": number(report.worked_share(k)),
                "gpu": r.gpu.map(|usage| json!({
                    "peak_memory_bytes": usage.most_bytes,
                    "sent_bytes": usage.sent,
                    "kernel_seconds": number(usage.kernels),
                })),
            })).collect::<Vec<_>>(),
        },
        "phases": report.phases.iter()
            .map(|p| json!({ "name": p.name, "calls": p.calls, "seconds": number(p.time.as_secs_f64()) }))
            .collect::<Vec<_>>(),
    })
}
