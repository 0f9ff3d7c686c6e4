//! `config check` and `config init` by the real program, and fits with files of the Python package's users.

use std::fs;
use std::path::Path;

use crate::common::{alone, data, json, scratch};

/// A copy of a configuration of the test data in `folder`.
fn user_file(folder: &Path, name: &str) {
    fs::copy(data(&format!("config/{name}")), folder.join(name)).unwrap();
}

#[test]
fn every_problem_is_shown_with_its_place() {
    let folder = scratch();
    let text = "analysis_mode: static\nanalyzer_parameters:\n  dt: abc\n  strat_frame: 2\n\
                initial_parameters: {fixed_parameters: {contrast: 0.3}}\nplotting: {style: x}\noptimization: {method: nuts}\n";
    fs::write(folder.path().join("c.yaml"), text).unwrap();
    let outcome = alone(folder.path(), &["config", "check", "c.yaml"]).outcome();
    outcome.assert_error(2, &["c.yaml: 3 problems, the first in line 3: `analyzer_parameters.dt` must be a number"]);
    for part in [
        "Problems (2)\n  c.yaml:3:7: `analyzer_parameters.dt` must be a number, found the text \"abc\"\n    3 |   dt: abc\n",
        "c.yaml:4:3: unknown key `analyzer_parameters.strat_frame`; did you mean `analyzer_parameters.start_frame`?",
        "Not available in this version (1)\n  c.yaml:5:",
        "fixing `contrast` isn't available yet",
        "Without effect here (1 key; -v names each)\n  plotting.style: every picture",
        "In force once the problems are solved\n",
        "  sampling    4 chains of 1000 draws after a warm-up of 500; seed 42\n",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome}");
    }
    let quiet = alone(folder.path(), &["config", "check", "-q", "c.yaml"]).outcome();
    quiet.assert_error(2, &["3 problems"]);
    assert!(quiet.stdout.is_empty(), "{quiet}");
    alone(folder.path(), &["config", "check", "none.yaml"]).outcome().assert_error(2, &["none.yaml", "cannot read"]);
}

#[test]
fn a_file_with_all_keys_of_the_python_package_is_fine_unless_strictly_seen() {
    let folder = scratch();
    user_file(folder.path(), "master.yaml");
    let check = |more: &[&str]| {
        let arguments = [&["config", "check", "master.yaml"], more].concat();
        alone(folder.path(), &arguments).outcome()
    };
    let outcome = check(&[]);
    assert_eq!(outcome.code, Some(0), "{outcome}");
    assert_eq!(outcome.stderr, "");
    for part in [
        "master.yaml: a fit can run with it, 73 keys read",
        "264 keys; -v names each",
        "plotting (17 keys): every picture",
        "angles      -10 to 10, 80 to 100, 170 to 190 degree; all where none is inside",
        "gamma_dot_t0        searched     1e-6     0.5  1/s",
    ] {
        assert!(outcome.stdout.contains(part), "{part}: {outcome}");
    }
    let every = check(&["-v"]);
    assert!(every.stdout.contains("\n  plotting.datashader.canvas_width: every picture"), "{every}");
    check(&["--strict"]).assert_error(2, &["264 keys without effect", "--strict"]);
}

#[test]
fn users_files_fit_after_a_change_of_the_data_path() {
    for (name, sample, n_angles) in [
        ("static.yaml", "sta_3x100_apsu.hdf", 3.0),
        ("laminar_flow.yaml", "lam_3x100_apsu.hdf", 2.0),
        ("master.yaml", "lam_3x100_apsu.hdf", 2.0),
    ] {
        let folder = scratch();
        let text = fs::read_to_string(data(&format!("config/{name}"))).unwrap();
        let path = data(sample);
        let changed = text.replace("file_path: ./data/scan.hdf", &format!("file_path: {}", path.display()));
        assert_ne!(text, changed);
        fs::write(folder.path().join(name), changed).unwrap();
        let outcome = alone(folder.path(), &["--config", name]).success();
        assert_eq!(outcome.stderr.matches("keys of other programs have no meaning here").count(), 1, "{outcome}");
        assert!(!outcome.stderr.contains("warn: "), "{outcome}");
        let results = folder.path().join("homodyne_results/nlsq");
        let analysis = json(&results.join("analysis_results_nlsq.json"));
        assert_eq!(analysis["dataset_info"]["n_angles"].as_f64(), Some(n_angles), "{name}");
        // the samples have a noise of 0.01, the value in use: a fit that found the minimum has χ²/DOF near 1
        let reduced = analysis["fit_quality"]["reduced_chi_squared"].as_f64().unwrap();
        assert!((reduced - 1.0).abs() < 0.1, "{name}: {reduced}");
    }
}

#[test]
fn a_file_made_from_data_passes_the_check_and_fits() {
    for (mode, stem) in [("static", "sta_3x100"), ("laminar_flow", "lam_3x100")] {
        let folder = scratch();
        let sample = data(&format!("{stem}_apsu.hdf"));
        let sample = sample.to_str().unwrap();
        let init = ["config", "init", "--mode", mode, "--from-data", sample, "-o", "c.yaml"];
        let made = alone(folder.path(), &init).success();
        // the sample has no time step, and a gap is in no file of this layout
        assert!(made.stderr.contains("put in your own dt"), "{made}");
        assert_eq!(made.stderr.contains("stator_rotor_gap"), mode == "laminar_flow", "{made}");
        let text = fs::read_to_string(folder.path().join("c.yaml")).unwrap();
        for part in ["wavevector_q: 0.0054 ", "dt: null ", "end_frame: -1 ", "#   0, 45, 90\n"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        // a check fails where a fit would
        let check = ["config", "check", "c.yaml", "--strict"];
        alone(folder.path(), &check).outcome().assert_error(3, &["time between frames"]);
        alone(folder.path(), &["--config", "c.yaml"]).outcome().assert_error(3, &["time between frames"]);
        fs::write(folder.path().join("c.yaml"), text.replace("dt: null ", "dt: 0.1 ")).unwrap();
        let checked = alone(folder.path(), &check).success();
        assert!(checked.stdout.contains("which is there") && checked.stderr.is_empty(), "{checked}");
        fs::write(folder.path().join("c.yaml"), &text).unwrap();
        alone(folder.path(), &["--config", "c.yaml", "--set", "analyzer_parameters.dt=0.1"]).success();
        let parameters = json(&folder.path().join("homodyne_results/nlsq/parameters.json"));
        assert_eq!(parameters["convergence_status"], "converged");

        alone(folder.path(), &init).outcome().assert_error(2, &["c.yaml is there already", "--force"]);
        assert_eq!(fs::read_to_string(folder.path().join("c.yaml")).unwrap(), text);
        alone(folder.path(), &[&init[..], &["--force", "--full"]].concat()).success();
        assert!(fs::read_to_string(folder.path().join("c.yaml")).unwrap().len() > text.len());
        alone(folder.path(), &check).outcome().assert_error(3, &["time between frames"]);
    }
}

#[test]
fn a_file_for_another_folder_still_finds_its_data() {
    let folder = scratch();
    fs::create_dir(folder.path().join("deep")).unwrap();
    fs::copy(data("sta_3x100_apsu.hdf"), folder.path().join("x.hdf")).unwrap();
    let init = ["config", "init", "--mode", "static", "--from-data", "x.hdf", "-o", "deep/c.yaml"];
    alone(folder.path(), &init).success();
    let checked = alone(&folder.path().join("deep"), &["config", "check", "c.yaml"]).outcome();
    checked.assert_error(3, &["time between frames"]);
    assert!(checked.stdout.contains("x.hdf, which is there"), "{checked}");
}

#[test]
fn init_prints_and_refuses_what_it_can_not_fill_in() {
    let folder = scratch();
    let printed = alone(folder.path(), &["config", "init", "--mode", "laminar_flow"]).success();
    assert!(
        printed.stdout.contains("analysis_mode: laminar_flow") && printed.stdout.contains("PUT IN YOURS"),
        "{printed}"
    );
    assert!(printed.stderr.contains("put in your own dt, wavevector_q, file_path, stator_rotor_gap"), "{printed}");
    let init = |file: &str| {
        alone(folder.path(), &["config", "init", "--mode", "static", "--from-data", file, "-o", "c.yaml"]).outcome()
    };
    init("none.hdf").assert_error(3, &["none.hdf", "no such file"]);
    assert!(!folder.path().join("c.yaml").exists());
}
