//! The values in force, under the names of the configuration file.

use serde_json::{Map, Value, json};

use super::{ColorScale, Config, PlotConfig, ScalingMode, SimulationConfig, Strategy};
use crate::dataset::{Baseline, DataFilter, Layout, Train};
use crate::model::{PHYSICAL, Prior};

/// The configuration in force, defaults and command line included: as YAML (which JSON is) it gives the same fit again.
pub(super) fn effective(config: &Config) -> Value {
    let selection = &config.selection;
    let mut value = json!({
        "analysis_mode": config.mode.name(),
        "analyzer_parameters": {
            "dt": selection.dt,
            "start_frame": selection.start_frame,
            "end_frame": selection.end_frame.map_or(json!(-1), |end| json!(end)),
            "time_origin": config.time_origin.name(),
            "scattering": { "wavevector_q": selection.q, "q_from": selection.q_from.name() },
            "geometry": { "stator_rotor_gap": config.gap },
        },
        "model": { "shear_convention": config.convention.name() },
        "experimental_data": {
            "file_path": config.data_file.as_ref().map(|path| path.to_string_lossy()),
            "file_format": selection.layout.map_or("auto", Layout::key),
            "exchange_key": selection.exchange_key,
            "phi_angles": selection.unsaid.phi,
            "baseline_reference": selection.unsaid.baseline.map(|baseline| i32::from(baseline == Baseline::One)),
            "train": selection.unsaid.train.map(|train| match train {
                Train::Mean => json!("mean"),
                Train::One(number) => json!(number),
            }),
        },
        "q_tolerance_fraction": selection.q_tolerance,
        "phi_filtering": phi_filtering(config),
        "noise_estimation": { "enabled": config.estimate_noise },
        "data_filtering": data_filtering(&selection.filter),
        "initial_parameters": initial_parameters(config),
        "parameter_space": { "bounds": bounds(config) },
        "optimization": {
            "method": config.method.name(),
            "nlsq": {
                "max_iterations": config.fit.max_iterations,
                "tolerance": config.fit.ftol,
                "xtol": config.fit.xtol,
                "gtol": config.fit.gtol,
                "loss": config.fit.loss_name(),
                "anti_degeneracy": {
                    "per_angle_mode": config.fit.scaling.map_or("auto", ScalingMode::name),
                    "constant_scaling_threshold": config.scaling.averaged_from,
                    "fourier_order": match config.fit.scaling {
                        Some(ScalingMode::Fourier { order }) => order,
                        _ => ScalingMode::FOURIER_ORDER,
                    },
                },
                "multi_start": {
                    "enable": config.fit.global_search,
                    "n_starts": config.fit.n_starts,
                    "seed": config.fit.seed,
                },
            },
            "nuts": {
                "num_warmup": config.sampler.n_warmup,
                "num_samples": config.sampler.n_draws,
                "num_chains": config.sampler.n_chains,
                "target_accept_prob": config.sampler.target_accept,
                "max_tree_depth": config.sampler.max_tree_depth,
                "seed": config.sampler.seed,
                "sigma": match config.sampler.sample_sigma {
                    None => "auto",
                    Some(true) => "sampled",
                    Some(false) => "fixed",
                },
            },
            "streaming": {
                "enable_checkpoints": config.streaming.checkpoints,
                "checkpoint_dir": config.streaming.directory.to_string_lossy(),
                "checkpoint_frequency": config.streaming.frequency,
                "keep_last_checkpoints": config.streaming.keep,
                "resume_from_checkpoint": config.streaming.resume,
                "max_retries_per_batch": config.streaming.retries,
                "min_success_rate": config.streaming.min_success_rate,
            },
        },
        "performance": {
            "strategy_override": config.performance.strategy.map(Strategy::name),
            "memory_limit_gb": config.performance.memory_limit_gb,
            "enable_progress": config.performance.progress,
            "fast_mode": !selection.compare_halves,
            "computation": { "cpu_threads": config.performance.threads.map_or(json!("auto"), |n| json!(n)) },
        },
        "device": {
            "kind": config.performance.device.name(),
            "precision": config.performance.precision.name(),
            "memory_fraction": config.performance.memory_fraction,
        },
        "distributed": {
            "io": match config.performance.parallel_reading {
                None => "auto",
                Some(true) => "parallel",
                Some(false) => "root",
            },
            "silence_limit": config.performance.silence_limit,
        },
        "output": {
            "directory": config.output.directory.to_string_lossy(),
            "compress_hdf5": config.output.compression > 0,
            "compression_level": config.output.compression,
            "formats": { "hdf5": config.output.hdf5, "json": config.output.json, "csv": config.output.csv, "html": config.output.html },
            "max_npz_entries": config.output.max_npz_entries,
            "keep_previous": config.output.keep_previous,
        },
        "plotting": plotting(&config.plotting),
        "logging": { "level": config.log_level.map(|level| level.as_str()) },
    });
    if let Some(simulation) = &config.simulation {
        value["simulation"] = simulated(simulation);
    }
    value
}

fn plotting(plotting: &PlotConfig) -> Value {
    let scale = match plotting.scale {
        ColorScale::Legacy => json!({ "mode": "legacy" }),
        ColorScale::Percentiles(low, high) => {
            json!({ "mode": "adaptive", "percentile_min": low, "percentile_max": high })
        }
        ColorScale::Fixed(low, high) => json!({ "mode": "fixed", "fixed_min": low, "fixed_max": high }),
    };
    json!({
        "save_plots": plotting.save,
        "format": plotting.format.name(),
        "dpi": plotting.dpi,
        "color_scale": scale,
    })
}

fn phi_filtering(config: &Config) -> Value {
    let ranges = config.selection.phi_ranges.as_deref();
    let range = |&(min, max): &(f64, f64)| json!({ "min_angle": min, "max_angle": max });
    json!({
        "enabled": ranges.is_some(),
        "target_ranges": ranges.unwrap_or_default().iter().map(range).collect::<Vec<_>>(),
        "fallback_to_all_angles": config.selection.fallback_to_all_angles,
    })
}

fn data_filtering(filter: &DataFilter) -> Value {
    let range = |&(from, to): &(usize, usize)| {
        if from == to { json!(from) } else { json!(format!("{from}-{to}")) }
    };
    json!({
        "exclude_frames": filter.frames.iter().map(range).collect::<Vec<_>>(),
        "min_lag_frames": filter.min_lag,
        "max_lag_frames": filter.max_lag,
    })
}

fn initial_parameters(config: &Config) -> Value {
    let space = &config.parameters;
    let names: Vec<&str> = PHYSICAL[..space.len()].iter().map(|p| p.name).collect();
    let fixed: Map<String, Value> =
        names.iter().zip(&space.fixed).filter_map(|(name, value)| Some((name.to_string(), json!((*value)?)))).collect();
    let [contrast, offset] = config.scaling.listed();
    json!({
        "parameter_names": names,
        "values": space.start,
        "fixed_parameters": fixed,
        "per_angle_scaling": { "contrast": contrast, "offset": offset },
    })
}

fn bounds(config: &Config) -> Value {
    let space = &config.parameters;
    let physical = PHYSICAL.iter().zip(&space.bounds).zip(&space.priors);
    let physical = physical.map(|((p, &b), &prior)| (p.name.to_string(), b, prior));
    let scaling = [("contrast", space.contrast, space.contrast_prior), ("offset", space.offset, space.offset_prior)]
        .map(|(name, b, prior)| (name.to_string(), b, prior));
    let own = config.scaling.own_bounds().map(|(name, b)| (name, b, Prior::Uniform));
    physical
        .chain(scaling)
        .chain(own)
        .map(|(name, (min, max), prior)| {
            let mut entry = json!({ "name": name, "min": min, "max": max });
            if prior != Prior::Uniform {
                entry["type"] = prior.name().into();
            }
            if let Some((mean, sd)) = prior.moments() {
                entry["prior_mu"] = mean.into();
                entry["prior_sigma"] = sd.into();
            }
            entry
        })
        .collect()
}

fn simulated(simulation: &SimulationConfig) -> Value {
    let parameters: Map<String, Value> =
        PHYSICAL.iter().zip(&simulation.parameters).map(|(p, value)| (p.name.to_string(), json!(value))).collect();
    json!({
        "frames": simulation.n_frames,
        "angles": simulation.phi,
        "noise": simulation.noise,
        "seed": simulation.seed,
        "parameters": parameters,
        "contrast": simulation.contrast,
        "offset": simulation.offset,
    })
}
