//! Data and settings on which a fit can't be right, or can't say all that it is asked for: none of them may carry small errors and
//! a good flag, and each gets its words.

use crate::common::files::{flow_config, static_config};
use crate::common::{alone, json, scratch};
use serde_json::Value;

/// A set, made by `simulate` and fitted with something changed.
struct Set {
    name: &'static str,
    /// Laminar flow, or static.
    flow: bool,
    /// The simulation section.
    simulation: String,
    /// What the fit is told besides.
    told: &'static [&'static str],
    /// Words, one of which must be among the warnings; none where the flag alone tells.
    words: &'static [&'static str],
    /// Parameters that must have no error.
    without_error: &'static [&'static str],
}

fn simulation(frames: usize, angles: &str, noise: f64, contrast: f64, parameters: &str) -> String {
    format!(
        "{{frames: {frames}, angles: {angles}, noise: {noise}, seed: 11, contrast: {contrast}, offset: 1.0, parameters: {{{parameters}}}}}"
    )
}

const STILL: &str = "D0: 20000, alpha: -0.6, D_offset: 3000";
const CONSTANT: &str = "D0: 20000, alpha: 0, D_offset: 0";
const FLOW: &str =
    "D0: 6000, alpha: -0.4, D_offset: 500, gamma_dot_t0: 0.003, beta: -0.3, gamma_dot_t_offset: 0.0002, phi0: 3";
const STEADY: &str =
    "D0: 6000, alpha: -0.4, D_offset: 500, gamma_dot_t0: 0.003, beta: 0, gamma_dot_t_offset: 0, phi0: 3";
const WEAK: &str = "D0: 6000, alpha: -0.4, D_offset: 500, gamma_dot_t0: 1e-6, beta: 0, gamma_dot_t_offset: 0, phi0: 3";
const NEGATIVE: &str = "D0: 9000, alpha: -0.8, D_offset: -2500";
const SLOW: &str = "D0: 100, alpha: 0.0, D_offset: 0";
const FAST: &str = "D0: 100000, alpha: -0.1, D_offset: 90000";
const THREE: &str = "[-40, 0, 50]";

fn sets() -> Vec<Set> {
    let set =
        |name, flow, simulation, told, words, without_error| Set { name, flow, simulation, told, words, without_error };
    let still = |noise| simulation(80, "[0, 60]", noise, 0.3, STILL);
    let flow = |angles: &str, parameters: &str| simulation(100, angles, 0.01, 0.3, parameters);
    const APART: &[&str] = &["not determine"];
    vec![
        set("flat data", false, simulation(80, "[0, 60]", 1e-4, 0.0, STILL), &[], &[], &[]),
        set("flat data under shear", true, simulation(60, THREE, 1e-3, 0.0, FLOW), &[], &[], &[]),
        set("noise ten times the contrast", false, still(3.0), &[], &[], &[]),
        set("noise as large as the contrast, few frames", false, simulation(12, "[0]", 0.3, 0.3, STILL), &[], &[], &[]),
        set("noise under shear", true, simulation(40, THREE, 3.0, 0.3, FLOW), &[], &[], &[]),
        set("one angle for a shear fit", true, flow("[20]", FLOW), &[], &["one product", "not determine"], &["phi0"]),
        set(
            "one angle, phi0 fixed",
            true,
            flow("[20]", STEADY),
            &["initial_parameters.fixed_parameters={phi0: 3}"],
            APART,
            &["beta"],
        ),
        set("two angles across the flow", true, flow("[92, 94]", FLOW), &[], &[], &[]),
        set("no shear at all", true, flow(THREE, WEAK), &[], &["shear", "not determine"], &[]),
        set(
            "exponent fixed at 0 with a free offset",
            false,
            simulation(80, "[0, 60]", 0.01, 0.3, CONSTANT),
            &["initial_parameters.fixed_parameters={alpha: 0.0}"],
            APART,
            &["D0", "D_offset"],
        ),
        set(
            "shear exponent fixed at 0 with a free offset",
            true,
            flow(THREE, STEADY),
            &["initial_parameters.fixed_parameters={beta: 0.0}"],
            APART,
            &["gamma_dot_t0", "gamma_dot_t_offset"],
        ),
        set(
            "constant D",
            false,
            simulation(80, "[0, 60]", 0.01, 0.3, CONSTANT),
            &[],
            APART,
            &["D0", "alpha", "D_offset"],
        ),
        set(
            "constant shear rate",
            true,
            flow(THREE, STEADY),
            &[],
            APART,
            &["gamma_dot_t0", "beta", "gamma_dot_t_offset"],
        ),
        set("decay long after the window", false, simulation(40, "[0, 60]", 0.05, 0.3, SLOW), &[], &[], &["D0"]),
        set(
            "nothing left of the decay",
            false,
            simulation(60, "[0, 60]", 0.01, 0.3, FAST),
            &["data_filtering.min_lag_frames=25"],
            &[],
            &[],
        ),
        set(
            "negative offset, D at its floor",
            false,
            simulation(120, "[0, 60]", 0.01, 0.3, NEGATIVE),
            &[],
            &["floor", "not determine"],
            &[],
        ),
        set(
            "truth above D0's bound",
            false,
            still(0.01),
            &["parameter_space.bounds=[{name: D0, min: 100, max: 8000}]"],
            &["at a bound"],
            &["D0"],
        ),
        set(
            "truth below alpha's bound",
            false,
            still(0.01),
            &["parameter_space.bounds=[{name: alpha, min: -0.2, max: 2}]"],
            &["at a bound", "not determine"],
            &["alpha"],
        ),
        set(
            "truth outside the offset's bound",
            false,
            still(0.01),
            &["parameter_space.bounds=[{name: offset, min: 1.02, max: 1.5}]"],
            &["at a bound"],
            &[],
        ),
        set(
            "contrast held too small",
            false,
            still(0.01),
            &["parameter_space.bounds=[{name: contrast, min: 0.0, max: 0.2}]"],
            &["at a bound"],
            &[],
        ),
        set(
            "phi0 outside its bounds",
            true,
            flow(THREE, FLOW),
            &["parameter_space.bounds=[{name: phi0, min: -10, max: 1}]"],
            &["at a bound"],
            &["phi0"],
        ),
        set(
            "shear bound below the truth",
            true,
            flow(THREE, FLOW),
            &[
                "parameter_space.bounds=[{name: gamma_dot_t0, min: 1e-6, max: 0.0005}, {name: gamma_dot_t_offset, min: -0.0001, max: 0.0001}]",
            ],
            &["at a bound"],
            &[],
        ),
        set(
            "a static model for sheared data",
            true,
            flow(THREE, FLOW),
            &["analysis_mode=static"],
            &["model doesn't describe", "correlated"],
            &[],
        ),
        set(
            "a wrong exponent held",
            false,
            still(0.003),
            &["initial_parameters.fixed_parameters={alpha: 0.9, D_offset: 0.0}"],
            &["model doesn't describe", "correlated"],
            &[],
        ),
        set(
            "one pass allowed",
            true,
            flow(THREE, FLOW),
            &[
                "optimization.nlsq.max_iterations=1",
                "initial_parameters.values=[50000, 1.5, -20000, 0.1, -1.5, 0.05, 9]",
            ],
            &[],
            &[],
        ),
        set("hardly more pairs than parameters", false, simulation(6, "[0]", 0.05, 0.3, STILL), &[], &[], &[]),
        set(
            "a start where nothing decays",
            false,
            still(0.01),
            &["initial_parameters.values=[100, 2.0, 100000]", "analyzer_parameters.end_frame=7"],
            &[],
            &[],
        ),
        set(
            "constant D, averaged scaling, three angles",
            false,
            simulation(80, THREE, 0.01, 0.3, CONSTANT),
            &[],
            APART,
            &["D0", "alpha"],
        ),
        set(
            "constant D with outliers' loss",
            false,
            simulation(80, "[0, 60]", 0.01, 0.3, CONSTANT),
            &["optimization.nlsq.loss=soft_l1"],
            APART,
            &["D0", "alpha"],
        ),
        set(
            "both exponents 0",
            true,
            simulation(
                80,
                THREE,
                0.01,
                0.3,
                "D0: 12000, alpha: 0, D_offset: 0, gamma_dot_t0: 0.003, beta: 0, gamma_dot_t_offset: 0, phi0: 3",
            ),
            &[],
            APART,
            &["alpha", "beta"],
        ),
    ]
}

/// What is wrong with the answer; empty where it says what it must.
fn faults(set: &Set, parameters: &Value, analysis: &Value, metrics: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let flag = analysis["fit_quality"]["quality_flag"].as_str().unwrap();
    if flag == "good" {
        out.push("is called good".into());
    }
    let warnings: Vec<&str> =
        metrics["quality_warnings"].as_array().unwrap().iter().map(|w| w.as_str().unwrap()).collect();
    if warnings.is_empty() {
        out.push("has no word of warning".into());
    }
    if !set.words.is_empty() && !set.words.iter().any(|word| warnings.iter().any(|w| w.contains(word))) {
        out.push(format!("says none of {:?} but {warnings:?}", set.words));
    }
    for name in set.without_error {
        let error = &parameters["parameters"][*name]["uncertainty"];
        if !error.is_null() {
            out.push(format!("gives {name} the error {error}"));
        }
    }
    out
}

#[test]
fn thirty_hopeless_sets_get_their_words_and_no_small_errors() {
    let sets = sets();
    assert_eq!(sets.len(), 30);
    let mut wrong = Vec::new();
    for set in &sets {
        let folder = scratch();
        let folder = folder.path();
        let config = if set.flow { flow_config("data.hdf") } else { static_config("data.hdf") };
        std::fs::write(folder.join("config.yaml"), format!("{config}simulation: {}\n", set.simulation)).unwrap();
        alone(folder, &["simulate", "--config", "config.yaml", "--out", "data.hdf", "-q"]).success();
        let mut arguments =
            vec!["--config", "config.yaml", "-q", "--threads", "1", "--set", "plotting.save_plots=false"];
        set.told.iter().for_each(|told| arguments.extend(["--set", told]));
        let outcome = alone(folder, &arguments).outcome();
        if !matches!(outcome.code, Some(0 | 4)) {
            wrong.push(format!("{}: {outcome}", set.name));
            continue;
        }
        let results = folder.join("homodyne_results/nlsq");
        let read = |name: &str| json(&results.join(name));
        let (parameters, analysis) = (read("parameters.json"), read("analysis_results_nlsq.json"));
        let faults = faults(set, &parameters, &analysis, &read("convergence_metrics.json"));
        wrong.extend(faults.into_iter().map(|fault| format!("{}: {fault}", set.name)));
    }
    assert!(wrong.is_empty(), "{} faults:\n{}", wrong.len(), wrong.join("\n"));
}
