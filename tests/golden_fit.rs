//! Fits by the real program of files from outside, judged by the pointwise model and plain sums.

use std::path::Path;

use crate::common::files::{MAP, Sample, flow_config, static_config};
use crate::common::{alone, data, json, scratch};
use hdf5::types::VarLenUnicode;
use homodyne_mpi::model::{AnalysisMode, CONTRAST, Experiment, OFFSET, PHYSICAL, ShearConvention, TimeAxis, reference};
use serde_json::Value;

/// σ where the file has none.
const SIGMA: f64 = 0.01;

/// A measurement as this file reads it, without the program's own reader.
struct Measured {
    experiment: Experiment,
    /// One matrix per angle, row-major, rounded to float32 as the program holds them.
    matrices: Vec<Vec<f64>>,
}

/// Contrast and offset of one angle by linear regression, and the sum of squares that is left.
#[derive(Debug)]
struct Line {
    contrast: f64,
    offset: f64,
    squares: f64,
}

impl Measured {
    /// The matrices of the file in the order of their numbers, which `phi` follows.
    fn read(file: &Path, slots: &[usize], mode: AnalysisMode, q: f64, dt: f64, phi: &[f64]) -> Self {
        let h5 = hdf5::File::open(file).unwrap();
        let matrices: Vec<Vec<f64>> = slots
            .iter()
            .map(|slot| h5.dataset(&format!("{MAP}/c2_{slot:05}")).unwrap().read_raw::<f32>().unwrap())
            .map(|matrix| matrix.into_iter().map(f64::from).collect())
            .collect();
        let n_frames = matrices[0].len().isqrt();
        let experiment = Experiment {
            mode,
            convention: ShearConvention::Homodyne,
            q,
            gap: 2e6,
            dt,
            phi: phi.to_vec(),
            n_frames,
            time_offset: 0,
        };
        Self { experiment, matrices }
    }

    /// Regression of one angle's pairs on g at the given parameters; frame 0 takes no part.
    fn line(&self, physical: &[f64], angle: usize) -> Line {
        let (e, n) = (&self.experiment, self.experiment.n_frames);
        let axis = TimeAxis::without_derivatives(e, physical);
        let pairs: Vec<(f64, f64)> = (1..n)
            .flat_map(|i| (i + 1..n).map(move |j| (i, j)))
            .map(|(i, j)| (reference::shape(e, &axis, angle, i, j), self.matrices[angle][i * n + j]))
            .collect();
        let count = pairs.len() as f64;
        let (g0, y0) = (pairs.iter().map(|p| p.0).sum::<f64>() / count, pairs.iter().map(|p| p.1).sum::<f64>() / count);
        let gg: f64 = pairs.iter().map(|p| (p.0 - g0).powi(2)).sum();
        let gy: f64 = pairs.iter().map(|p| (p.0 - g0) * (p.1 - y0)).sum();
        let contrast = gy / gg;
        let squares = pairs.iter().map(|p| (p.1 - y0 - contrast * (p.0 - g0)).powi(2)).sum();
        Line { contrast, offset: y0 - contrast * g0, squares }
    }

    /// χ² with the best contrast and offset for every angle.
    fn chi_squared(&self, physical: &[f64]) -> f64 {
        (0..self.experiment.n_angles()).map(|angle| self.line(physical, angle).squares).sum::<f64>() / (SIGMA * SIGMA)
    }
}

/// The values under the names of the physical parameters.
fn physical(values: &Value, mode: AnalysisMode, value: impl Fn(&Value) -> &Value) -> Vec<f64> {
    PHYSICAL[..mode.n_physical()].iter().map(|p| value(&values[p.name]).as_f64().unwrap()).collect()
}

const INDIVIDUAL: &str = "optimization:\n  nlsq:\n    anti_degeneracy:\n      per_angle_mode: individual\n";

/// Fits with one contrast and offset per angle; results in `homodyne_results`. Returns parameters.json and
/// analysis_results_nlsq.json.
#[track_caller]
fn fit(folder: &Path, config: &str) -> (Value, Value) {
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    alone(folder, &["--config", "config.yaml"]).success();
    let results = folder.join("homodyne_results/nlsq");
    (json(&results.join("parameters.json")), json(&results.join("analysis_results_nlsq.json")))
}

#[test]
fn the_synthetic_measurements_are_fitted_better_than_by_their_truth() {
    for (mode, stem) in [(AnalysisMode::LaminarFlow, "lam_3x100"), (AnalysisMode::Static, "sta_3x100")] {
        let (file, truth) = (data(&format!("{stem}_apsu.hdf")), json(&data(&format!("{stem}_truth.json"))));
        let name = file.to_str().unwrap();
        let config = if mode.has_shear() { flow_config(name) } else { static_config(name) };
        let folder = scratch();
        let (parameters, analysis) = fit(folder.path(), &format!("{config}{INDIVIDUAL}"));

        let info = &analysis["dataset_info"];
        let whole = |key: &str| info[key].as_f64().unwrap();
        assert_eq!((whole("n_angles"), whole("n_frames"), whole("n_missing")), (3.0, 100.0, 0.0));
        assert_eq!((whole("n_pairs"), whole("n_points")), (14_553.0, 29_403.0));
        assert_eq!((whole("n_time_points"), whole("total_data_points")), (1e4, 3e4));
        let free = mode.n_physical() + 6;
        assert_eq!(analysis["fit_quality"]["degrees_of_freedom"].as_f64(), Some(14_553.0 - free as f64));
        assert_eq!(analysis["optimization_summary"]["scaling_mode"], "individual");

        let measured = Measured::read(&file, &[1, 2, 3], mode, 0.0054, 0.1, &[0.0, 45.0, 90.0]);
        let at_truth = measured.chi_squared(&physical(&truth["params"], mode, |v| v));
        let reached = parameters["chi_squared"].as_f64().unwrap();
        assert!(reached <= at_truth, "{stem}: χ² {reached}, at the truth {at_truth}");
        // and the χ² that is reported is that of the parameters that are reported
        let own = measured.chi_squared(&physical(&parameters["parameters"], mode, |v| &v["value"]));
        assert!((reached / own - 1.0).abs() < 1e-9, "{stem}: χ² {reached}, from its parameters {own}");
        // the noise that was put in: 14,540 degrees of freedom leave a deviation of 0.012
        let reduced = parameters["reduced_chi_squared"].as_f64().unwrap();
        assert!((reduced - 1.0).abs() < 0.06, "{stem}: {reduced}");
    }
}

#[test]
fn contrast_and_offset_of_a_real_file_are_the_regression_on_its_own_values() {
    let file = data("aps_u_boost_corr.hdf");
    let mode = AnalysisMode::Static;
    let folder = scratch();
    let config = static_config(file.to_str().unwrap()).replace("dt: 0.1", "dt: null").replace("0.0054", "0.004660727");
    let (parameters, analysis) = fit(folder.path(), &config);
    assert_eq!(analysis["dataset_info"]["dt"], 0.0125);
    // two angles: `auto` gives each its own
    assert_eq!(analysis["optimization_summary"]["scaling_mode"], "individual");

    let angles = parameters["per_angle"].as_array().unwrap();
    let phi: Vec<f64> = angles.iter().map(|a| a["phi"].as_f64().unwrap()).collect();
    assert_eq!(phi, [-88.93904753971458, 30.411345475362054]);
    let q = analysis["dataset_info"]["q_value"].as_f64().unwrap();
    assert!((q / 0.004660727153877447 - 1.0).abs() < 1e-6);
    let measured = Measured::read(&file, &[4, 5], mode, q, 0.0125, &phi);
    let fitted = physical(&parameters["parameters"], mode, |v| &v["value"]);
    for (angle, reported) in angles.iter().enumerate() {
        let line = measured.line(&fitted, angle);
        for (info, expected) in [(CONTRAST, line.contrast), (OFFSET, line.offset)] {
            let value = reported[info.name].as_f64().unwrap();
            let at_bound = value == info.bounds.0 || value == info.bounds.1;
            let off = (value / expected - 1.0).abs();
            assert!(at_bound || off < 1e-9, "φ {}: {} {value}, by regression {expected}", phi[angle], info.name);
        }
    }
    let own = measured.chi_squared(&fitted);
    let reported = parameters["chi_squared"].as_f64().unwrap();
    assert!((reported / own - 1.0).abs() < 1e-9, "χ² {reported}, from its parameters {own}");
}

#[test]
fn clean_data_are_fitted_to_the_rounding_or_not_called_good() {
    let flow = |parameters| Sample { frames: 300, angles: &[0.0, 45.0, 90.0], noise: 0.0, parameters, ..Sample::FLOW };
    let still = |parameters| Sample { mode: "static", ..flow(parameters) };
    for sample in [
        flow(&[1e4, -0.5, 100.0, 0.002, -0.3, 2e-4, -3.0]),
        flow(&[3000.0, 0.3, -500.0, 0.0008, 0.4, 0.0, 2.0]),
        flow(&[5000.0, 0.05, 1000.0, 0.001, -0.04, 1e-4, 0.5]),
        still(&[1e4, -0.5, 100.0]),
        still(&[8000.0, 0.02, -2000.0]),
    ] {
        let folder = scratch();
        sample.make(folder.path());
        let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
        std::fs::write(folder.path().join("config.yaml"), format!("{config}{INDIVIDUAL}")).unwrap();
        let name = format!("{} {:?}", sample.mode, sample.parameters);
        let outcome = alone(folder.path(), &["--config", "config.yaml"]).outcome();
        assert!(matches!(outcome.code, Some(0 | 4)), "{name}: {outcome}");
        let results = folder.path().join("homodyne_results/nlsq");
        let (parameters, analysis) =
            (json(&results.join("parameters.json")), json(&results.join("analysis_results_nlsq.json")));
        let converged = parameters["convergence_status"] == "converged";
        assert_eq!(converged, outcome.code == Some(0), "{name}");
        let good = converged && analysis["fit_quality"]["quality_flag"] == "good";

        let mode = if sample.mode == "static" { AnalysisMode::Static } else { AnalysisMode::LaminarFlow };
        let measured = Measured::read(&folder.path().join("data.hdf"), &[1, 2, 3], mode, 0.0054, 0.1, sample.angles);
        let at_truth = measured.chi_squared(sample.parameters);
        let reached = parameters["chi_squared"].as_f64().unwrap();
        if good {
            assert!(reached <= at_truth * (1.0 + 1e-6), "{name}: χ² {reached:e}, at the truth {at_truth:e}");
            // rounding to float32 isn't as random as noise: ten errors instead of three
            for (info, truth) in PHYSICAL.iter().zip(sample.parameters) {
                let number = |key: &str| parameters["parameters"][info.name][key].as_f64().unwrap();
                let (value, error) = (number("value"), number("uncertainty"));
                assert!((value - truth).abs() <= 10.0 * error, "{name}: {} = {value} ± {error:e}", info.name);
            }
        }
    }
}

#[test]
fn the_gap_of_a_native_file_is_as_good_as_the_configurations() {
    let folder = scratch();
    let folder = folder.path();
    let sample = Sample { frames: 60, ..Sample::FLOW };
    sample.make_as(folder, "native");
    let fit = |gap: &str| {
        let gap = format!("analyzer_parameters.geometry.stator_rotor_gap={gap}");
        let outcome = alone(folder, &["--config", "config.yaml", "--set", &gap]).outcome();
        assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
        let parameters = json(&folder.join("homodyne_results/nlsq/parameters.json"));
        (parameters["parameters"].clone(), outcome)
    };
    let (configured, said) = fit("2e6");
    assert!(!said.stderr.contains("but the file says"), "{said}");
    let (of_file, said) = fit("null");
    assert_eq!(of_file, configured, "{said}");
    // the configuration wins, but not without a word
    let (other, said) = fit("1e6");
    assert_ne!(other, configured);
    assert!(said.stderr.contains("stator_rotor_gap = 1000000 Å is used, but the file says 2000000 Å"), "{said}");
}

#[test]
fn the_files_of_a_run_agree_and_name_what_they_hold() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 60, ..Sample::FLOW }.make(folder);
    let set = "analyzer_parameters.start_frame=3";
    let origin = "analyzer_parameters.time_origin=acquisition";
    let outcome = alone(folder, &["--config", "config.yaml", "--set", set, "--set", origin]).outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    let shown = outcome.stdout.lines().any(|l| l.contains("time origin") && l.ends_with("t = 0 at frame 1"));
    assert!(shown, "{outcome}");
    let results = folder.join("homodyne_results/nlsq");
    let [parameters, analysis, metrics] = ["parameters", "analysis_results_nlsq", "convergence_metrics"]
        .map(|name| json(&results.join(format!("{name}.json"))));
    assert_eq!(
        (&parameters["time_origin"], &analysis["dataset_info"]["time_origin"]),
        (&"acquisition".into(), &"acquisition".into())
    );

    // fitted parameters here, what follows from them there
    let names: Vec<&str> = parameters["parameters"].as_object().unwrap().keys().map(String::as_str).collect();
    let expected: Vec<&str> = PHYSICAL.iter().chain([&CONTRAST, &OFFSET]).map(|p| p.name).collect();
    assert_eq!(names, expected);
    for name in ["D_at_t_ref", "D_slope_at_t_ref", "gamma_dot_at_t_ref", "gamma_dot_slope_at_t_ref"] {
        let entry = &parameters["at_reference"][name];
        assert!(entry["value"].is_f64() && entry["unit"].is_string() && entry["t_ref"].is_f64(), "{name}: {entry}");
        assert!(entry.get("uncertainty").is_some() && entry.get("at_bound").is_none(), "{name}: {entry}");
    }

    let passes = metrics["iterations"].as_array().unwrap();
    assert!(passes.iter().all(|i| i["chi_squared"].as_f64().is_some_and(|chi2| chi2 > 0.0)), "{metrics}");
    // the last pass is over nodes, the final value over all pairs
    let [last, found] = [&passes.last().unwrap()["chi_squared"], &metrics["convergence"]["final_chi_squared"]];
    let [last, found] = [last, found].map(|chi2| chi2.as_f64().unwrap());
    assert!((last / found - 1.0).abs() < 1e-10, "{last} {found}");

    let h5 = hdf5::File::open(results.join("result.h5")).unwrap();
    for (name, value) in
        [("parameters", &parameters), ("analysis_results_nlsq", &analysis), ("convergence_metrics", &metrics)]
    {
        let text = h5.dataset(&format!("json/{name}")).unwrap().read_scalar::<VarLenUnicode>().unwrap();
        assert_eq!(&serde_json::from_str::<Value>(&text).unwrap(), value, "{name}");
    }
    let number = |path: &str| h5.dataset(path).unwrap().read_scalar::<f64>().unwrap();
    let unit = |path: &str| h5.dataset(path).unwrap().attr("unit").unwrap().read_scalar::<VarLenUnicode>().unwrap();
    for (path, value, in_unit) in [("q", 0.0054, "1/Å"), ("dt", 0.1, "s"), ("gap", 2e6, "Å")] {
        let path = format!("experiment/{path}");
        assert_eq!((number(&path), unit(&path).as_str()), (value, in_unit), "{path}");
    }
    for info in PHYSICAL.iter().chain([&CONTRAST, &OFFSET]) {
        let (path, entry) = (format!("parameters/{}", info.name), &parameters["parameters"][info.name]);
        assert_eq!((number(&path), unit(&path).as_str()), (entry["value"].as_f64().unwrap(), info.unit), "{path}");
        let error = h5.dataset(&path).unwrap().attr("uncertainty").unwrap().read_scalar::<f64>().unwrap();
        assert_eq!(Some(error).filter(|e| e.is_finite()), entry["uncertainty"].as_f64(), "{path}");
    }
    let reduced = h5.dataset("angles/reduced_chi_squared").unwrap().read_raw::<f64>().unwrap();
    let expected: Vec<f64> = parameters["per_angle"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["reduced_chi_squared"].as_f64().unwrap())
        .collect();
    assert_eq!(reduced, expected);
}
