//! Scaling modes from outside: what is held or fitted, what results say about it, and that ranks change nothing.

use std::fs;
use std::path::Path;

use crate::common::files::flow_config;
use crate::common::{alone, json, scratch, with_ranks};
use serde_json::Value;

const CONTRAST: [f64; 6] = [0.30, 0.26, 0.22, 0.25, 0.29, 0.33];
const OFFSET: [f64; 6] = [1.0, 1.01, 1.02, 1.01, 1.0, 0.99];

/// Six angles, not in order, whose contrast and offset differ.
fn make(folder: &Path) {
    let simulation = format!(
        "simulation: {{frames: 120, angles: [60, 0, -60, -120, 180, 120], noise: 0.005, seed: 5, contrast: {CONTRAST:?}, \
         offset: {OFFSET:?}, parameters: {{D0: 6000, alpha: -0.4, D_offset: 500, gamma_dot_t0: 0.0012, beta: -0.3, \
         gamma_dot_t_offset: 0.0002, phi0: 3}}}}\n"
    );
    fs::write(folder.join("simulate.yaml"), flow_config("data.h5") + &simulation).unwrap();
    alone(folder, &["simulate", "--config", "simulate.yaml", "--out", "data.h5", "--layout", "native"]).success();
}

fn config(folder: &Path, mode: &str, more: &str) {
    let text = flow_config("data.h5")
        + &format!("optimization: {{nlsq: {{anti_degeneracy: {{per_angle_mode: {mode}}}}}}}\n{more}\n");
    fs::write(folder.join("config.yaml"), text).unwrap();
}

/// parameters.json without its time, and the summary of the optimisation.
fn fit(folder: &Path, ranks: usize) -> (Value, Value) {
    let output = format!("out{ranks}");
    let arguments = ["--config", "config.yaml", "--threads", "1", "--output-dir", &output];
    match ranks {
        0 => alone(folder, &arguments).outcome(),
        _ => with_ranks(ranks, folder, &arguments).outcome(),
    };
    let results = folder.join(output).join("nlsq");
    let mut parameters = json(&results.join("parameters.json"));
    parameters.as_object_mut().unwrap().remove("timestamp");
    (parameters, json(&results.join("analysis_results_nlsq.json"))["optimization_summary"].clone())
}

fn per_angle(parameters: &Value, key: &str) -> Vec<f64> {
    parameters["per_angle"].as_array().unwrap().iter().map(|a| a[key].as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn a_series_is_fitted_and_reported_the_same_on_all_ranks() {
    let folder = scratch();
    let folder = folder.path();
    make(folder);
    config(folder, "fourier", "");
    let (parameters, summary) = fit(folder, 0);
    assert_eq!((&summary["scaling_mode"], &summary["n_scaling_parameters"]), (&"fourier".into(), &10.into()));
    assert_eq!(parameters["convergence_status"], "converged");
    let coefficients = parameters["fourier"]["coefficients"].as_object().unwrap();
    assert_eq!((coefficients.len(), parameters["fourier"]["order"].as_u64()), (10, Some(2)));
    assert!(coefficients.values().all(|c| c["uncertainty"].as_f64().unwrap() > 0.0));
    let (found, error) = (per_angle(&parameters, "contrast"), per_angle(&parameters, "contrast_uncertainty"));
    for ((found, error), truth) in found.iter().zip(&error).zip(CONTRAST) {
        // no series of order 2 goes through all six
        assert!((found - truth).abs() < 4.0 * error + 0.01, "{found} ± {error} instead of {truth}");
    }
    let file = hdf5::File::open(folder.join("out0/nlsq/result.h5")).unwrap();
    for (name, entry) in coefficients {
        let dataset = file.dataset(&format!("fourier/{name}")).unwrap();
        assert_eq!(Some(dataset.read_scalar::<f64>().unwrap()), entry["value"].as_f64());
        let uncertainty: f64 = dataset.attr("uncertainty").unwrap().read_scalar().unwrap();
        assert_eq!(Some(uncertainty), entry["uncertainty"].as_f64());
    }
    drop(file);
    for ranks in [1, 2] {
        assert_eq!(fit(folder, ranks).0, parameters, "{ranks} ranks");
    }
}

#[test]
fn constant_holds_the_quantiles_of_the_data_or_what_is_given() {
    let folder = scratch();
    let folder = folder.path();
    make(folder);
    config(folder, "constant", "");
    let (parameters, summary) = fit(folder, 0);
    assert_eq!((&summary["scaling_mode"], &summary["n_scaling_parameters"]), (&"constant".into(), &0.into()));
    assert!(summary["scaling_mode_reason"].as_str().unwrap().contains("quantiles of the data"), "{summary}");
    // by hand, from the matrix of the first angle
    let (frames, file) = (120, hdf5::File::open(folder.join("data.h5")).unwrap());
    let c2 = file.dataset("c2").unwrap().read_raw::<f32>().unwrap();
    drop(file);
    let mut pairs: Vec<(usize, f64)> = (1..frames)
        .flat_map(|i| (i + 1..frames).map(move |j| (i, j)))
        .map(|(i, j)| (j - i, f64::from(c2[i * frames + j])))
        .collect();
    pairs.sort_by_key(|pair| pair.0);
    let last = (pairs.len() - 1) as f64;
    let (short, long) = (pairs[(0.2 * last).floor() as usize].0, pairs[(0.8 * last).ceil() as usize].0);
    let percentile = |keep: &dyn Fn(usize) -> bool, share: f64| {
        let mut values: Vec<f64> = pairs.iter().filter(|p| keep(p.0)).map(|p| p.1).collect();
        values.sort_by(f64::total_cmp);
        let at = share * (values.len() - 1) as f64;
        values[at as usize] + (values[at as usize + 1] - values[at as usize]) * at.fract()
    };
    let offset = percentile(&|lag| lag >= long, 0.1);
    let contrast = percentile(&|lag| lag <= short, 0.9) - offset;
    assert!((per_angle(&parameters, "offset")[0] - offset).abs() < 1e-12);
    assert!((per_angle(&parameters, "contrast")[0] - contrast).abs() < 1e-12);
    assert!(parameters["per_angle"][0]["contrast_uncertainty"].is_null());
    for ranks in [1, 2] {
        assert_eq!(fit(folder, ranks).0, parameters, "{ranks} ranks");
    }

    // by ascending φ: −120, −60, 0, 60, 120, 180
    let given = "initial_parameters: {per_angle_scaling: {contrast: [0.25, 0.22, 0.26, 0.30, 0.33, 0.29], \
                 offset: [1.01, 1.02, 1.01, 1.0, 0.99, 1.0]}}";
    config(folder, "constant", given);
    let (parameters, summary) = fit(folder, 0);
    assert_eq!(
        (per_angle(&parameters, "contrast"), per_angle(&parameters, "offset")),
        (CONTRAST.into(), OFFSET.into())
    );
    assert!(summary["scaling_mode_reason"].as_str().unwrap().contains("per_angle_scaling"), "{summary}");
    let d0 = &parameters["parameters"]["D0"];
    let (value, error) = (d0["value"].as_f64().unwrap(), d0["uncertainty"].as_f64().unwrap());
    assert!((value - 6000.0).abs() < 4.0 * error, "{value} ± {error}");

    config(folder, "constant", "initial_parameters: {per_angle_scaling: {contrast: [0.3]}}");
    let outcome = alone(folder, &["--config", "config.yaml", "--output-dir", "none"]).outcome();
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("has 1 value(s), but 6 angle(s) are selected"), "{}", outcome.stderr);
    assert!(outcome.stderr.contains("config.yaml:13:") && !folder.join("none").exists(), "{}", outcome.stderr);
}

#[test]
fn auto_goes_by_its_threshold_and_a_series_by_its_angles() {
    let folder = scratch();
    let folder = folder.path();
    make(folder);
    // from its threshold on it tries one contrast, which these data refute
    for (threshold, reason) in
        [(6, "auto: contrast and offset differ between the angles"), (7, "auto averages from 7 angles on")]
    {
        config(folder, &format!("auto, constant_scaling_threshold: {threshold}"), "");
        let (_, summary) = fit(folder, 0);
        assert_eq!((&summary["scaling_mode"], &summary["n_scaling_parameters"]), (&"individual".into(), &12.into()));
        assert!(summary["scaling_mode_reason"].as_str().unwrap().starts_with(reason), "{summary}");
    }
    let some = "phi_filtering: {enabled: true, target_ranges: [{min_angle: -70, max_angle: 70}]}";
    config(folder, "fourier", some);
    let arguments = ["--config", "config.yaml", "--output-dir", "few"];
    let outcome = alone(folder, &arguments).outcome();
    assert!(outcome.stderr.contains("3 different angle(s) are too few for the 5 coefficients"), "{}", outcome.stderr);
    let results = json(&folder.join("few/nlsq/analysis_results_nlsq.json"));
    assert_eq!(results["optimization_summary"]["scaling_mode"], "individual");
}
