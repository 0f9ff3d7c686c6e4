//! What is picked from a file and says so: the ring and its q, where time begins, ranges of angles.

use std::fs;
use std::path::Path;

use crate::common::files::{ApsU, Sample, change, static_config};
use crate::common::{Outcome, alone, json, scratch};
use serde_json::Value;

/// Rings at 0.004 and 0.0054 Å⁻¹ with matrices of the first, and a configuration that asks for q = 0.0043 and fits D0 alone.
fn rings(folder: &Path) {
    let file = folder.join("data.hdf");
    ApsU { n_frames: 60, q: vec![0.004, 0.0054], ..ApsU::default() }.write(&file);
    change(&file, |h5| {
        h5.unlink("xpcs/twotime/processed_bins").unwrap();
        h5.new_dataset_builder().with_data(&[1_i64, 2, 3]).create("xpcs/twotime/processed_bins").unwrap();
    });
    let only_d0 = "initial_parameters: {fixed_parameters: {alpha: 0.0, D_offset: 0.0}}\n";
    fs::write(folder.join("config.yaml"), static_config("data.hdf").replace("0.0054", "0.0043") + only_d0).unwrap();
}

/// D0 of a fit, what is known of its data, and its warnings.
fn fit(folder: &Path, more: &[&str]) -> (f64, Value, String) {
    alone(folder, &[&["--config", "config.yaml"], more].concat()).success();
    let nlsq = folder.join("homodyne_results/nlsq");
    let d0 = json(&nlsq.join("parameters.json"))["parameters"]["D0"]["value"].as_f64().unwrap();
    let info = json(&nlsq.join("analysis_results_nlsq.json"))["dataset_info"].clone();
    (d0, info, json(&nlsq.join("convergence_metrics.json"))["warnings"].to_string())
}

#[test]
fn the_model_takes_q_of_the_ring_unless_told_otherwise_and_either_way_says_what_that_is_to_d() {
    let folder = scratch();
    let folder = folder.path();
    rings(folder);
    // as `exp(-0.05·lag)` and dt = 0.1 s want it
    let d_of = |q: f64| 0.05 / (0.1 * q * q);
    let (d0, info, said) = fit(folder, &[]);
    assert!((d0 / d_of(0.004) - 1.0).abs() < 0.02, "{d0} {}", d_of(0.004));
    assert_eq!((info["q_value"].as_f64(), info["q_source"].as_str()), (Some(0.004), Some("the ring of the file")));
    for part in ["q = 0.004 Å⁻¹ is taken", "= 0.0043 Å⁻¹ by 7 %", "q_from: config) D would be 13 % smaller"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let report = fs::read_to_string(folder.join("homodyne_results/nlsq/report.txt")).unwrap();
    assert!(report.contains("at q = 0.004 1/Å (the ring of the file)"), "{report}");

    let as_typed = ["--set", "analyzer_parameters.scattering.q_from=config"];
    let (other, info, said) = fit(folder, &as_typed);
    assert!((other / d0 - (0.004f64 / 0.0043).powi(2)).abs() < 1e-6, "{other} {d0}");
    let q_key = "analyzer_parameters.scattering.wavevector_q";
    assert_eq!(info["q_value"].as_f64(), Some(0.0043));
    assert_eq!(info["q_source"].as_str(), Some(format!("configuration: {q_key}").as_str()));
    assert!(said.contains("q = 0.0043 Å⁻¹ is taken as configured"), "{said}");
    assert!(said.contains("q_from: file) D would be 16 % larger"), "{said}");

    // the ring's own value: nothing to say, and the same fit
    let (same, info, said) = fit(folder, &["--set", &format!("{q_key}=0.004")]);
    assert_eq!((same, info["q_value"].as_f64()), (d0, Some(0.004)));
    assert!(!said.contains("D would be"), "{said}");
}

#[test]
fn the_q_in_force_is_checked_kept_and_refused_like_any_other_setting() {
    let folder = scratch();
    let folder = folder.path();
    rings(folder);
    let text = fs::read_to_string(folder.join("config.yaml")).unwrap();
    let check = |word: &str| {
        let changed = text.replace("    wavevector_q", &format!("    q_from: {word}\n    wavevector_q"));
        fs::write(folder.join("changed.yaml"), changed).unwrap();
        alone(folder, &["config", "check", "changed.yaml"]).outcome()
    };
    let seen = check("file");
    assert!(seen.stdout.contains("q           of the file's ring nearest to 0.0043 1/Å\n"), "{seen}");
    let seen = check("config");
    assert!(seen.stdout.contains("q           0.0043 1/Å\n"), "{seen}");
    check("ring").assert_error(2, &["q_from` can be `file`, `config`", "found `ring`"]);
}

#[test]
fn a_configuration_made_for_a_q_has_that_of_the_ring_and_all_frames() {
    let folder = scratch();
    let folder = folder.path();
    rings(folder);
    let init =
        ["config", "init", "--mode", "static", "--from-data", "data.hdf", "--q", "0.0043", "-o", "made.yaml", "--full"];
    alone(folder, &init).success();
    let text = fs::read_to_string(folder.join("made.yaml")).unwrap();
    for part in ["wavevector_q: 0.004 ", "q_from: file ", "end_frame: -1 ", "the last one of the file, 60 now"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// A dry run, which opens the file and says what there is to say.
fn dry(folder: &Path, set: &[&str]) -> Outcome {
    let sets: Vec<&str> = set.iter().flat_map(|value| ["--set", value]).collect();
    alone(folder, &[&["--config", "config.yaml", "--dry-run"], &sets[..]].concat()).success()
}

#[test]
fn a_later_first_frame_says_that_it_moves_the_origin_of_the_power_law() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let start = "analyzer_parameters.start_frame=11";
    let said =
        "t = 0 is moved to frame 11, the first selected one, 1 s after frame 1: t in D0·t^alpha counts from there";
    let level = |outcome: &Outcome| {
        let line = outcome.stderr.lines().find(|line| line.contains("t = 0 is moved"));
        assert!(line.is_none_or(|line| line.contains(said) && line.contains("time_origin: acquisition")), "{outcome}");
        line.map(|line| line.split(':').next().unwrap().to_owned())
    };
    assert_eq!(level(&dry(folder, &[start])).as_deref(), Some("warn"));
    assert_eq!(level(&dry(folder, &[])), None);
    assert_eq!(level(&dry(folder, &[start, "analyzer_parameters.time_origin=acquisition"])), None);
    // who writes it down means it
    let meant = dry(folder, &[start, "analyzer_parameters.time_origin=selection"]);
    assert_eq!(level(&meant).as_deref(), Some("info"));
    // a constant has no origin
    assert_eq!(level(&dry(folder, &[start, "initial_parameters.fixed_parameters={alpha: 0.0}"])), None);
}

#[test]
fn ranges_of_angles_that_nothing_turns_on_are_pointed_out() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let ranges = "phi_filtering.target_ranges=[{min_angle: -10, max_angle: 10}]";
    let said = "warn: --set: `phi_filtering.target_ranges` has no effect, and all angles are fitted";
    let count = |set: &[&str]| dry(folder, set).stderr.matches(said).count();
    assert_eq!(count(&[ranges]), 1);
    for decided in ["phi_filtering.enabled=true", "phi_filtering.enabled=false"] {
        assert_eq!(count(&[ranges, decided]), 0, "{decided}");
    }
    let text = fs::read_to_string(folder.join("config.yaml")).unwrap();
    let ranges = "phi_filtering: {target_ranges: [{min_angle: -10, max_angle: 10}]}\n";
    fs::write(folder.join("config.yaml"), text + ranges).unwrap();
    let checked = alone(folder, &["config", "check", "config.yaml"]).success();
    assert!(checked.stdout.contains("`phi_filtering.target_ranges` has no effect"), "{checked}");
}
