//! Result files for scripts and spreadsheets, and results side by side.

use std::path::Path;
use std::process::Command;

use crate::common::files::{ApsU, Sample, c2, change, flow_config, put_matrix, static_config};
use crate::common::python;
use crate::common::{Outcome, alone, data, json, other, scratch, with_ranks};
use homodyne_mpi::model::{AnalysisMode, Experiment, PHYSICAL, ShearConvention, TimeAxis, reference};
use serde_json::{Value, json};

const RESULTS: &str = "homodyne_results/nlsq";

/// Fits with a configuration; options follow.
#[track_caller]
fn fit(folder: &Path, config: &str, options: &[&str]) -> Outcome {
    std::fs::write(folder.join("config.yaml"), config).unwrap();
    let outcome = alone(folder, &[&["--config", "config.yaml"], options].concat()).outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    outcome
}

fn numbers(file: &Path) -> Vec<f64> {
    let bytes = std::fs::read(file).unwrap();
    bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b)).collect()
}

/// Has NumPy check `fitted_data.npz` and take its arrays out.
#[track_caller]
fn checked(folder: &Path, n_angles: usize, n_frames: usize) -> Option<impl Fn(&str) -> Vec<f64>> {
    let mut command = Command::new(python::with("numpy")?);
    command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/fitted_data.py"));
    command.arg(folder.join(RESULTS).join("fitted_data.npz")).arg(folder);
    command.args([n_angles.to_string(), n_frames.to_string()]);
    other(folder, command).success();
    let folder = folder.to_path_buf();
    Some(move |name: &str| numbers(&folder.join(format!("{name}.f64"))))
}

#[test]
fn fitted_data_are_the_measurement_and_the_pointwise_model() {
    const N: usize = 100;
    for (stem, mode) in [("lam", AnalysisMode::LaminarFlow), ("sta", AnalysisMode::Static)] {
        let folder = scratch();
        let file = data(&format!("{stem}_3x100_apsu.hdf"));
        let name = file.to_str().unwrap();
        let config = if mode.has_shear() { flow_config(name) } else { static_config(name) };
        fit(folder.path(), &config, &[]);
        let Some(array) = checked(folder.path(), 3, N) else { return };

        let parameters = json(&folder.path().join(RESULTS).join("parameters.json"));
        let number = |value: &Value| value.as_f64().unwrap();
        let physical: Vec<f64> =
            PHYSICAL[..mode.n_physical()].iter().map(|p| number(&parameters["parameters"][p.name]["value"])).collect();
        let experiment = Experiment {
            mode,
            convention: ShearConvention::Homodyne,
            q: 0.0054,
            gap: 2e6,
            dt: 0.1,
            phi: vec![0.0, 45.0, 90.0],
            n_frames: N,
            time_offset: 0,
        };
        let axis = TimeAxis::without_derivatives(&experiment, &physical);
        assert_eq!((array("q"), array("phi_angles")), (vec![experiment.q], experiment.phi.clone()));
        assert_eq!(array("t1"), (1..N).map(|i| experiment.time(i)).collect::<Vec<_>>());
        let per_angle = parameters["per_angle"].as_array().unwrap();
        let scaling: Vec<f64> = per_angle.iter().flat_map(|a| [number(&a["contrast"]), number(&a["offset"])]).collect();
        assert_eq!(array("per_angle_scaling_solver"), scaling);

        let (raw, solver, measured) = (array("c2_theoretical_raw"), array("c2_solver_scaled"), array("c2_exp"));
        let h5 = hdf5::File::open(&file).unwrap();
        for angle in 0..3 {
            let stored = h5.dataset(&format!("xpcs/twotime/correlation_map/c2_{:05}", angle + 1)).unwrap();
            let stored: Vec<f64> = stored.read_raw().unwrap();
            let pair = |i: usize, j: usize| stored[i.min(j) * N + i.max(j)];
            for i in 1..N {
                for j in 1..N {
                    let at = (angle * (N - 1) + i - 1) * (N - 1) + j - 1;
                    let g = if i == j { 1.0 } else { reference::shape(&experiment, &axis, angle, i.min(j), i.max(j)) };
                    assert_eq!(raw[at], 1.0 + g, "angle {angle}, ({i}, {j})");
                    assert_eq!(solver[at], scaling[2 * angle + 1] + scaling[2 * angle] * g);
                    let expected = match (i == j, i == N - 1) {
                        (false, _) => pair(i, j),
                        (true, true) => pair(i - 1, i),
                        (true, false) => 0.5 * (pair(i - 1, i) + pair(i, i + 1)),
                    };
                    // float32, and the mean of two of them rounded again
                    assert!((measured[at] - expected).abs() < 3e-7, "{} {expected}", measured[at]);
                }
            }
        }
    }
}

#[test]
fn what_is_missing_is_nan_in_fitted_data() {
    const N: usize = 24;
    let folder = scratch();
    ApsU::default().write(&folder.path().join("data.hdf"));
    let dead = |i: usize, j: usize| if i == 7 || j == 7 { 0.0 } else { c2(i, j) };
    change(&folder.path().join("data.hdf"), |h5| put_matrix(h5, 1, N, dead));
    fit(folder.path(), &static_config("data.hdf"), &["--set", "analyzer_parameters.time_origin=acquisition"]);
    let Some(array) = checked(folder.path(), 3, N) else { return };
    let m = N - 1;
    for (at, value) in array("c2_exp").into_iter().enumerate() {
        let (angle, i, j) = (at / (m * m), at / m % m + 1, at % m + 1);
        assert_eq!(value.is_nan(), angle == 1 && (i == 7 || j == 7), "angle {angle}, ({i}, {j})");
    }
}

#[test]
fn fitted_data_are_written_up_to_a_size_and_the_same_on_any_number_of_ranks() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let file = folder.path().join(RESULTS).join("fitted_data.npz");
    // 2 angles × 59² entries
    let arguments =
        |most: &str| ["--config", "config.yaml", "--set"].map(str::to_owned).into_iter().chain([most.to_owned()]);
    let run = |most: &str| alone(folder.path(), &arguments(most).collect::<Vec<_>>()).success();
    let left_out = run("output.max_npz_entries=6961");
    let said = "fitted_data.npz is left out: its arrays would have 6,962 entries, `output.max_npz_entries` is 6,961";
    assert!(left_out.stderr.contains(said) && !file.exists(), "{left_out}");
    let written = run("output.max_npz_entries=6962");
    assert!(written.stdout.contains("fitted_data.npz") && !written.stderr.contains("left out"), "{written}");
    let of_one = std::fs::read(&file).unwrap();
    with_ranks(2, folder.path(), &["--config", "config.yaml"]).success();
    assert_eq!(std::fs::read(&file).unwrap(), of_one);
}

#[test]
fn tables_hold_what_parameters_json_holds() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let config = std::fs::read_to_string(folder.path().join("config.yaml")).unwrap();
    let results = folder.path().join(RESULTS);
    fit(folder.path(), &config, &[]);
    assert!(!results.join("parameters.csv").exists());
    let csv = "output.formats.csv=true";
    let outcome =
        fit(folder.path(), &config, &["--set", csv, "--set", "initial_parameters.fixed_parameters={alpha: -0.4}"]);
    assert!(outcome.stdout.contains("per_angle.csv"), "{outcome}");
    let parameters = json(&results.join("parameters.json"));
    let table = |name: &str| {
        let text = std::fs::read_to_string(results.join(name)).unwrap();
        text.lines().map(|line| line.split(',').map(str::to_owned).collect::<Vec<_>>()).collect::<Vec<_>>()
    };
    let rows = table("parameters.csv");
    assert_eq!(rows[0], ["name", "value", "uncertainty", "unit", "at_bound", "fixed"]);
    assert_eq!(
        rows.iter().skip(1).map(|r| &r[0]).collect::<Vec<_>>(),
        ["D0", "alpha", "D_offset", "contrast", "offset"]
    );
    for row in &rows[1..] {
        let entry = &parameters["parameters"][&row[0]];
        assert_eq!(row[1].parse::<f64>().ok(), entry["value"].as_f64(), "{row:?}");
        assert_eq!(row[2].parse::<f64>().ok(), entry["uncertainty"].as_f64(), "{row:?}");
        assert_eq!((&row[3], &row[5]), (&entry["unit"].as_str().unwrap().to_owned(), &(row[0] == "alpha").to_string()));
    }
    let rows = table("per_angle.csv");
    let angles = parameters["per_angle"].as_array().unwrap();
    assert_eq!(rows.len(), 1 + angles.len());
    for (row, angle) in rows[1..].iter().zip(angles) {
        for (name, cell) in rows[0].iter().zip(row) {
            assert_eq!(cell.parse::<f64>().ok(), angle[name].as_f64(), "{name}");
        }
    }
}

/// Results of the Python package, as it writes them.
fn python_results(folder: &Path) {
    std::fs::create_dir_all(folder.join("nlsq")).unwrap();
    // a number that isn't one stands there as a word
    let parameters = r#"{"timestamp": "2026-01-05T10:00:00", "analysis_mode": "static", "chi_squared": 60000.5,
        "reduced_chi_squared": 2.04, "convergence_status": "converged",
        "parameters": {"contrast": {"value": 0.3, "uncertainty": NaN}, "offset": {"value": 1.0, "uncertainty": null},
        "D0": {"value": 21000.0, "uncertainty": 30.0}, "alpha": {"value": -0.41, "uncertainty": 0.01},
        "D_offset": {"value": 400.0, "uncertainty": 50.0}}}"#;
    std::fs::write(folder.join("nlsq/parameters.json"), parameters).unwrap();
    let analysis = json!({
        "method": "nlsq",
        "dataset_info": {"n_angles": 2, "n_time_points": 3481, "total_data_points": 6962, "q_value": 0.0054},
        "fit_quality": {"quality_flag": "good", "degrees_of_freedom": 6955},
    });
    std::fs::write(folder.join("nlsq/analysis_results_nlsq.json"), analysis.to_string()).unwrap();
}

#[test]
fn results_are_put_side_by_side_in_units_of_sigma() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    alone(folder, &["--config", "config.yaml", "--output-dir", "a"]).success();
    let cut = ["--config", "config.yaml", "--output-dir", "b", "--set", "analyzer_parameters.start_frame=5"];
    alone(folder, &cut).success();
    python_results(&folder.join("python"));

    let outcome = alone(folder, &["compare", "a", "b/nlsq", "--json", "ab.json"]).success();
    for part in [
        "Fits that differ",
        "first frame",
        "! t = 0 lies at the first frame of each (A: 1, B: 5)",
        "! what is fitted of the data file isn't the same",
        "farthest apart:",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome}");
    }
    assert!(!outcome.stdout.contains("analysis_mode") && !outcome.stdout.contains("Python"), "{outcome}");
    let start = "analyzer_parameters.start_frame  1  5  the numbers";
    assert!(words(&outcome.stdout).contains(&words(start)), "{outcome}");
    let comparison = json(&folder.join("ab.json"));
    let [a, b] = ["a", "b"].map(|run| json(&folder.join(run).join("nlsq/parameters.json")));
    let row = comparison["parameters"].as_array().unwrap().iter().find(|row| row["name"] == "contrast").unwrap();
    let number = |from: &Value, key: &str| from["parameters"]["contrast"][key].as_f64().unwrap();
    let difference = number(&b, "value") - number(&a, "value");
    let in_sigma = difference / number(&a, "uncertainty").hypot(number(&b, "uncertainty"));
    assert_eq!(row["difference"].as_f64(), Some(difference));
    assert!((row["in_sigma"].as_f64().unwrap() / in_sigma - 1.0).abs() < 1e-12, "{row}");
    assert_eq!(comparison["per_angle"].as_array().unwrap().len(), 2);
    // at different reference times rates aren't comparable
    let has_reference = |c: &Value| c["parameters"].as_array().unwrap().iter().any(|row| row["name"] == "D_at_t_ref");
    assert!(!has_reference(&comparison));

    let same = alone(folder, &["compare", "a", "a", "--json", "aa.json"]).success();
    assert!(same.stdout.contains("Configuration and data are the same in both."), "{same}");
    let comparison = json(&folder.join("aa.json"));
    assert!(has_reference(&comparison));
    let rows = comparison["parameters"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["difference"] == 0.0), "{comparison}");

    let python = alone(folder, &["compare", "python", "a", "--json", "pa.json"]).success();
    assert!(!python.stdout.contains("layout"), "{python}");
    for part in [
        "A  python, by the Python package homodyne, 2026-01-05",
        "A is of the Python package homodyne, which counts every pair twice",
        "A doesn't hold its configuration",
    ] {
        assert!(python.stdout.contains(part), "{part}: {python}");
    }
    let comparison = json(&folder.join("pa.json"));
    let contrast = &comparison["parameters"][0];
    assert_eq!((&contrast["name"], &contrast["a"]["uncertainty"]), (&"contrast".into(), &Value::Null));
    // against the other error alone
    assert!(contrast["in_sigma"].is_f64() && comparison["of_python"] == json!({"a": true, "b": false}), "{comparison}");
}

#[test]
fn other_conventions_are_pointed_out() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 60, ..Sample::FLOW }.make(folder);
    for convention in ["homodyne", "theory"] {
        let set = format!("model.shear_convention={convention}");
        let arguments = ["--config", "config.yaml", "--output-dir", convention, "--set", &set];
        let outcome = alone(folder, &arguments).outcome();
        assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    }
    let outcome = alone(folder, &["compare", "homodyne", "theory"]).success();
    for part in [
        "model.shear_convention homodyne theory the numbers",
        "the shear conventions differ",
        "the data are the same in both",
    ] {
        assert!(words(&outcome.stdout).contains(part), "{part}: {outcome}");
    }
}

/// Text with single blanks.
fn words(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn every_setting_that_differs_is_named_with_what_it_matters_for() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 60, ..Sample::FLOW }.make(folder);
    let fit = |name: &str, set: &[&str]| {
        let mut arguments = vec!["--config", "config.yaml", "--output-dir", name];
        set.iter().for_each(|set| arguments.extend(["--set", set]));
        let outcome = alone(folder, &arguments).outcome();
        assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    };
    fit("a", &[]);
    fit(
        "b",
        &[
            "analyzer_parameters.geometry.stator_rotor_gap=1.0e6",
            "initial_parameters.fixed_parameters={alpha: -0.5}",
            "parameter_space.bounds=[{name: D0, min: 10.0, max: 2.0e6}]",
            "optimization.nlsq.multi_start.seed=7",
            "optimization.nuts.num_chains=2",
            "output.compression_level=9",
        ],
    );
    let outcome = alone(folder, &["compare", "a", "b", "--json", "ab.json"]).success();
    let text = words(&outcome.stdout);
    for line in [
        "analyzer_parameters.geometry.stator_rotor_gap 2e6 1e6 the numbers",
        "initial_parameters.fixed_parameters.alpha null -0.5 the numbers",
        "parameter_space.bounds.D0.min 100 10 the numbers",
        "optimization.nlsq.multi_start.seed 42 7 which minimum is found",
        "optimization.nuts.num_chains 4 2 draws",
        "without an influence on the numbers differ optimization.streaming.checkpoint_dir,",
        "output.compression_level",
    ] {
        assert!(text.contains(line), "{line}: {outcome}");
    }
    let found = json(&folder.join("ab.json"));
    let gap = &found["configuration_that_differs"]["analyzer_parameters.geometry.stator_rotor_gap"];
    assert_eq!(gap, &json!({"a": 2e6, "b": 1e6, "matters_for": "the numbers"}));
    // results of a version that didn't keep its configuration are compared by what they say
    let file = folder.join("a/nlsq/analysis_results_nlsq.json");
    let mut old = json(&file);
    old.as_object_mut().unwrap().remove("configuration");
    std::fs::write(&file, old.to_string()).unwrap();
    let outcome = alone(folder, &["compare", "a", "b"]).success();
    assert!(outcome.stdout.contains("A doesn't hold its configuration (it is of an older version"), "{outcome}");
    assert!(!outcome.stdout.contains("stator_rotor_gap"), "{outcome}");
}

#[test]
fn results_of_xpcsjax_are_read_with_their_names() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    alone(folder, &["--config", "config.yaml", "--output-dir", "ours"]).success();
    let theirs = folder.join("theirs");
    std::fs::create_dir_all(&theirs).unwrap();
    let parameters = json!({"param_0": {"value": 0.31, "uncertainty": 0.001}});
    std::fs::write(theirs.join("parameters.json"), parameters.to_string()).unwrap();
    let with = |value: f64| json!({"value": value, "uncertainty": 0.01 * value.abs()});
    let result = json!({
        "schema": "xpcsjax.nlsq.result/v1",
        "timestamp": "2026-02-03T04:05:06+00:00",
        "config": {"mode": "static_isotropic", "config_path": "config.yaml"},
        "parameters": {"contrast_0": with(0.3), "offset_0": with(1.0), "D0": with(2e4), "alpha": with(-0.4), "D_offset": with(5e2)},
        "metadata": {"convergence_status": "converged", "chi_squared": 7000.0, "reduced_chi_squared": 1.01, "quality_flag": "good",
                     "execution_time": 3.5, "nlsq_diagnostics": {"per_angle_mode": "averaged"}},
    });
    std::fs::write(theirs.join("nlsq_result.json"), result.to_string()).unwrap();
    for first in ["theirs", "theirs/nlsq_result.json"] {
        let outcome = alone(folder, &["compare", first, "ours", "--json", "both.json", "--force"]).success();
        for part in ["by the Python package xpcsjax", "static_isotropic", "farthest apart:"] {
            assert!(outcome.stdout.contains(part), "{part}: {outcome}");
        }
        let found = json(&folder.join("both.json"));
        let row = |name: &str| {
            let rows = found["parameters"].as_array().unwrap();
            rows.iter().find(|row| row["name"] == name).unwrap_or_else(|| panic!("{name}: {found}")).clone()
        };
        assert_eq!(row("contrast")["a"]["value"], 0.3);
        assert!(row("D0")["in_sigma"].is_f64() && row("offset")["in_sigma"].is_f64(), "{found}");
        assert_eq!(found["statistics"]["chi_squared"]["a"], 7000.0);
    }
    let broken = json!({"schema": "xpcsjax.nlsq.result/v1", "parameters": {}});
    std::fs::write(theirs.join("nlsq_result.json"), broken.to_string()).unwrap();
    let outcome = alone(folder, &["compare", "theirs", "ours"]).outcome();
    outcome.assert_error(3, &["nlsq_result.json, parameters: expected an object of named parameters"]);
}

#[test]
fn folders_without_results_are_named() {
    let folder = scratch();
    let folder = folder.path();
    python_results(&folder.join("good"));
    std::fs::create_dir_all(folder.join("empty")).unwrap();
    for (name, text) in [("cut", "{\"parameters\": {"), ("other", "{\"a\": 1}"), ("binary", "\u{0}\u{1}")] {
        std::fs::create_dir_all(folder.join(name)).unwrap();
        std::fs::write(folder.join(name).join("parameters.json"), text).unwrap();
    }
    for (name, said) in [
        ("none", "none: no such folder"),
        ("empty", "empty: is not a result folder: it holds no nlsq/parameters.json"),
        ("cut", "cut/parameters.json: is damaged: it isn't JSON"),
        ("binary", "binary/parameters.json: is damaged"),
        ("other", "other/parameters.json: is not the file of a result"),
        (
            "binary/parameters.json",
            "binary/parameters.json: is not a result folder, nor parameters.json in one: it isn't JSON",
        ),
    ] {
        for order in [["compare", name, "good"], ["compare", "good", name]] {
            alone(folder, &order).outcome().assert_error(3, &[said]);
        }
    }
}

/// Every dataset below a group, by path.
fn datasets(group: &hdf5::Group, found: &mut Vec<hdf5::Dataset>) {
    found.extend(group.datasets().unwrap());
    group.groups().unwrap().iter().for_each(|deeper| datasets(deeper, found));
}

#[test]
fn everything_in_the_hdf5_file_has_a_unit_and_a_description() {
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    let set = ["--config", "config.yaml", "--set", "optimization.nlsq.anti_degeneracy.per_angle_mode=fourier"];
    let outcome =
        alone(folder.path(), &[&set[..], &["--set", "optimization.nlsq.anti_degeneracy.fourier_order=1"]].concat())
            .outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    let file = hdf5::File::open(folder.path().join(RESULTS).join("result.h5")).unwrap();
    let mut found = Vec::new();
    datasets(&file, &mut found);
    assert!(found.len() > 35, "{}", found.len());
    for dataset in found {
        let words = |name: &str| {
            let attribute = dataset.attr(name).unwrap_or_else(|e| panic!("{}: {name}: {e}", dataset.name()));
            attribute.read_scalar::<hdf5::types::VarLenUnicode>().unwrap().to_string()
        };
        assert!(words("description").len() > 5, "{}", dataset.name());
        words("unit");
    }
}
