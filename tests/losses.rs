//! Robust losses from outside: SciPy's minimum, outliers, ranks.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::common::files::Sample;
use crate::common::python;
use crate::common::{alone, json, scratch, with_ranks};
use serde_json::Value;

/// The script beside this file.
fn script(python: &str, arguments: &[&str]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/losses.py");
    let out = Command::new(python).arg(path).args(arguments).output().unwrap();
    assert!(out.status.success(), "losses.py failed:\n{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// A static sample with outliers among its values, in a native file.
fn make(folder: &Path, python: &str) {
    Sample::STILL.make_as(folder, "native");
    script(python, &["outliers", folder.join("data.hdf").to_str().unwrap(), "0.05"]);
}

fn fit(folder: &Path, loss: &str, ranks: usize, output: &str) -> Value {
    let config = fs::read_to_string(folder.join("config.yaml")).unwrap();
    let own = format!("{loss}.yaml");
    let mode =
        "optimization: {nlsq: {loss: LOSS, anti_degeneracy: {per_angle_mode: averaged}}}\n".replace("LOSS", loss);
    fs::write(folder.join(&own), config + &mode).unwrap();
    let arguments = ["--config", &own, "--output-dir", output, "--threads", "1"];
    match ranks {
        0 => alone(folder, &arguments).success(),
        _ => with_ranks(ranks, folder, &arguments).success(),
    };
    let mut parameters = json(&folder.join(output).join("nlsq/parameters.json"));
    parameters["timestamp"].take();
    parameters
}

/// Largest distance of a physical parameter from the truth, in its errors.
fn off(parameters: &Value) -> f64 {
    let names = ["D0", "alpha", "D_offset"];
    let pull = |(name, truth): (&str, &f64)| {
        let own = &parameters["parameters"][name];
        ((own["value"].as_f64().unwrap() - truth) / own["uncertainty"].as_f64().unwrap_or(f64::NAN)).abs()
    };
    names.into_iter().zip(Sample::STILL.parameters).map(pull).fold(0.0, f64::max)
}

#[test]
fn minima_are_those_of_scipy() {
    let Some(python) = python::with("h5py, numpy, scipy.optimize") else { return };
    let folder = scratch();
    let folder = folder.path();
    make(folder, python);
    for loss in ["linear", "soft_l1", "huber", "cauchy"] {
        let parameters = fit(folder, loss, 0, loss);
        assert_eq!(parameters["convergence_status"], "converged", "{loss}");
        if loss == "linear" {
            continue;
        }
        assert!(off(&parameters) < 3.0, "{loss}: {}", off(&parameters));
        let results = folder.join(loss);
        let data = folder.join("data.hdf");
        let theirs = script(python, &["check", data.to_str().unwrap(), results.to_str().unwrap()]);
        let theirs: Value = serde_json::from_str(&theirs).unwrap();
        let quality = &json(&results.join("nlsq/analysis_results_nlsq.json"))["fit_quality"];
        assert_eq!(quality["loss"], loss);
        assert_eq!(quality["quality_flag"], "good", "{loss}: {quality}");
        let (own, other) = (quality["loss_value"].as_f64().unwrap(), theirs["loss"].as_f64().unwrap());
        assert!((own / other - 1.0).abs() < 1e-9, "{loss}: {own} against {other}");
        for (own, other) in theirs["found"].as_array().unwrap().iter().zip(theirs["parameters"].as_array().unwrap()) {
            let (own, other) = (own.as_f64().unwrap(), other.as_f64().unwrap());
            assert!((own / other - 1.0).abs() < 1e-6, "{loss}: {own} against {other}");
        }
        // χ² is that of the squares, whatever was minimised
        let sigma = quality["loss_sigma"].as_f64().unwrap();
        assert!(quality["chi_squared"].as_f64().unwrap() * 1e-4 / sigma.powi(2) > 2.0 * own, "{quality}");
    }
}

#[test]
fn outliers_rule_least_squares_alone() {
    let Some(python) = python::with("h5py, numpy, scipy.optimize") else { return };
    let folder = scratch();
    let folder = folder.path();
    make(folder, python);
    let plain = fit(folder, "linear", 0, "linear");
    let quality = json(&folder.join("linear/nlsq/analysis_results_nlsq.json"))["fit_quality"]["quality_flag"].take();
    assert_eq!(quality, "poor");
    // the errors that clean data of this noise have
    let clean = fit(folder, "cauchy", 0, "cauchy");
    let error = |name: &str| clean["parameters"][name]["uncertainty"].as_f64().unwrap();
    let far =
        |name: &str, truth: f64| (plain["parameters"][name]["value"].as_f64().unwrap() - truth).abs() / error(name);
    let names = ["D0", "alpha", "D_offset"];
    let farthest = names.into_iter().zip(Sample::STILL.parameters).map(|(n, t)| far(n, *t)).fold(0.0, f64::max);
    assert!(farthest > 3.0, "{farthest}");
}

#[test]
fn ranks_do_not_change_a_robust_fit() {
    let Some(python) = python::with("h5py, numpy, scipy.optimize") else { return };
    let folder = scratch();
    let folder = folder.path();
    make(folder, python);
    for loss in ["soft_l1", "cauchy"] {
        let expected = fit(folder, loss, 0, "alone");
        for ranks in [1, 2, 4] {
            assert_eq!(fit(folder, loss, ranks, &format!("out{ranks}")), expected, "{loss} on {ranks} ranks");
        }
    }
}
