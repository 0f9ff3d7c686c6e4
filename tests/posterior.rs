//! Draws from the posterior by the real program: the same on any ranks and after any stop, and as the fit has them.

use std::path::Path;

use crate::common::draws::said;
use crate::common::files::Sample;
use crate::common::kept::assert_resumed;
use crate::common::python;
use crate::common::{alone, json, scratch, with_ranks};
use serde_json::Value;

const SETTINGS: [&str; 8] = [
    "--set",
    "optimization.nuts.num_warmup=60",
    "--set",
    "optimization.nuts.num_samples=100",
    "--set",
    "optimization.nuts.num_chains=3",
    "--set",
    "plotting.save_plots=false",
];

/// The program on so many ranks, 0 = alone.
fn run(folder: &Path, ranks: usize, output: &str, method: &str) -> crate::common::Run {
    let arguments = ["--config", "config.yaml", "--threads", "1", "--method", method, "--output-dir", output];
    let arguments = [&arguments[..], &SETTINGS].concat();
    if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) }
}

#[test]
fn draws_are_the_same_bits_on_any_ranks_and_after_any_stop() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 90, ..Sample::FLOW }.make(folder);
    let alone = run(folder, 0, "alone", "nuts").outcome();
    // so few draws may be too few for the verdict, which is code 4
    assert!(matches!(alone.code, Some(0 | 4)), "{alone}");
    let expected = said(folder, "alone");
    assert_eq!(expected["sampler"]["draws_per_chain"], 100);
    for (ranks, output) in [(2, "two"), (4, "four")] {
        let outcome = run(folder, ranks, output, "nuts").outcome();
        assert_eq!(outcome.code, alone.code, "{outcome}");
        assert_eq!(said(folder, output), expected, "{ranks} ranks");
    }
    // in the warm-up, and among the draws
    for (ranks, fault, next) in [(0, "0:150:signal", 2), (2, "1:900:signal", 0)] {
        let stopped = run(folder, ranks, "stopped", "nuts").env("HOMODYNE_FAULT", fault).outcome();
        assert_eq!(stopped.code, Some(75), "{stopped}");
        let again = run(folder, next, "stopped", "nuts").outcome();
        assert_eq!(again.code, alone.code, "{again}");
        assert_resumed(&again);
        assert_eq!(said(folder, "stopped"), expected, "{fault} of {ranks}, then {next}");
        std::fs::remove_dir_all(folder.join("stopped")).unwrap();
    }
    // killed without a word, with a checkpoint now and then
    let killed =
        run(folder, 0, "killed", "nuts").env("HOMODYNE_FAULT", "0:700:kill").env("HOMODYNE_SAVE_MS", "20").outcome();
    assert!(killed.code != Some(0) && killed.code != Some(4), "{killed}");
    assert_resumed(&run(folder, 0, "killed", "nuts").outcome());
    assert_eq!(said(folder, "killed"), expected);
}

#[test]
fn both_say_whether_fit_and_draws_agree() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let outcome = run(folder, 0, "out", "both").outcome();
    let summary = said(folder, "out");
    let parameters = json(&folder.join("out/nlsq/parameters.json"));
    let quantities = summary["quantities"].as_object().unwrap();
    for name in ["D0", "alpha", "D_offset", "sigma", "D_at_t_ref", "D_slope_at_t_ref", "D0_plus_D_offset", "contrast_1"]
    {
        assert!(quantities.contains_key(name), "{name} {:?}", quantities.keys().collect::<Vec<_>>());
    }
    let at = &quantities["D_at_t_ref"];
    assert_eq!(at["fit"]["value"], parameters["at_reference"]["D_at_t_ref"]["value"]);
    assert_eq!(at["fit"]["uncertainty"], parameters["at_reference"]["D_at_t_ref"]["uncertainty"]);
    assert_eq!(at["fit"]["agrees"], true, "{at}");
    assert!(outcome.stdout.contains("Posterior") && outcome.stdout.contains("agrees: "), "{outcome}");
    // where only draws are asked for nothing is compared
    run(folder, 0, "nuts", "nuts").outcome();
    assert!(said(folder, "nuts")["quantities"]["D0"].get("fit").is_none());
    // and a fit alone afterwards keeps draws with the fit that they are of, so that they don't pass for its own
    run(folder, 0, "nuts", "nlsq").success();
    let earlier = std::fs::read_dir(folder.join("nuts/previous")).unwrap().map(|entry| entry.unwrap().path());
    let earlier: Vec<_> = earlier.collect();
    assert!(!folder.join("nuts/nuts").exists() && earlier.len() == 1, "{earlier:?}");
    assert!(earlier[0].join("nuts/samples.h5").exists() && earlier[0].join("nlsq/parameters.json").exists());
}

#[test]
fn one_chain_alone_is_not_trusted_and_undetermined_parameters_are_said_to_have_no_error() {
    let folder = scratch();
    let folder = folder.path();
    // a constant D: amplitude and offset can't be told apart
    Sample { parameters: &[8e3, 0.0, 500.0], ..Sample::STILL }.make(folder);
    let arguments = ["--config", "config.yaml", "--method", "both", "--output-dir", "out"];
    let outcome =
        alone(folder, &[&arguments[..], &SETTINGS, &["--set", "optimization.nuts.num_chains=1"]].concat()).outcome();
    assert_eq!(outcome.code, Some(4), "{outcome}");
    assert!(outcome.stdout.contains("1 chain of 100 draws"), "{outcome}");
    let of = |name: &str| outcome.stdout.lines().filter(|l| l.trim().starts_with(name)).any(|l| l.contains("no error"));
    assert!(of("D0 ") && of("alpha ") && !of("D_at_t_ref "), "{outcome}");
    let summary = said(folder, "out");
    let doubts = summary["doubts"].as_array().unwrap();
    assert!(doubts.iter().any(|d| d.as_str().unwrap().starts_with("one chain alone")), "{doubts:?}");
    assert!(doubts.iter().all(|d| !d.as_str().unwrap().contains("NaN")), "{doubts:?}");
    assert!(summary["quantities"]["D0"]["fit"].is_null() && summary["quantities"]["D_at_t_ref"]["fit"].is_object());
}

#[test]
fn arviz_reads_the_draws_and_comes_to_the_same_diagnostics() {
    // before any HDF5 file is open in this process
    let Some(mut arviz) = python::with_sampling_packages() else { return };
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    run(folder, 0, "out", "nuts").outcome();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/arviz_reads.py");
    let read = arviz.arg(script).arg(folder.join("out/nuts/samples.h5")).output().unwrap();
    assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
    let found: Value = serde_json::from_slice(&read.stdout).unwrap();
    let posterior = &found["groups"]["posterior"];
    assert_eq!(posterior["D0"]["dims"], serde_json::json!(["chain", "draw"]));
    assert_eq!(posterior["D0"]["shape"], serde_json::json!([3, 100]));
    assert_eq!(
        (&posterior["D0"]["attrs"]["units"], &posterior["alpha"]["attrs"]["units"]),
        (&"Å²/s".into(), &"1".into())
    );
    assert_eq!(posterior["contrast_by_angle"]["dims"], serde_json::json!(["chain", "draw", "phi"]));
    assert_eq!(found["groups"]["posterior/coords"]["phi"], serde_json::json!([0.0, 90.0]));
    let stats = found["groups"]["sample_stats"].as_object().unwrap();
    for name in ["lp", "energy", "acceptance_rate", "step_size", "tree_depth", "n_steps", "diverging"] {
        assert_eq!(stats[name]["shape"], serde_json::json!([3, 100]), "{name}");
    }
    let own = said(folder, "out");
    for (name, theirs) in found["summary"].as_object().unwrap() {
        for (key, value) in theirs.as_object().unwrap() {
            let (own, value) = (own["quantities"][name][key].as_f64().unwrap(), value.as_f64().unwrap());
            assert!((own / value - 1.0).abs() < 1e-8, "{name} {key}: {own} {value}");
        }
    }
    for (own, theirs) in own["sampler"]["e_bfmi"].as_array().unwrap().iter().zip(found["bfmi"].as_array().unwrap()) {
        assert!((own.as_f64().unwrap() / theirs.as_f64().unwrap() - 1.0).abs() < 1e-10);
    }
    assert_eq!(found["diverging"], own["sampler"]["divergent"]);
}

#[test]
fn a_prior_moves_what_the_data_leave_open() {
    let folder = scratch();
    let folder = folder.path();
    // a constant D: amplitude and offset can't be told apart
    Sample { parameters: &[8e3, 0.0, 500.0], ..Sample::STILL }.make(folder);
    let prior = "parameter_space.bounds=[{name: D_offset, type: TruncatedNormal, prior_mu: 500, prior_sigma: 50}]";
    let outcome = alone(
        folder,
        &[&["--config", "config.yaml", "--method", "nuts", "--output-dir", "out", "--set", prior], &SETTINGS[..]]
            .concat(),
    )
    .outcome();
    assert!(matches!(outcome.code, Some(0 | 4)), "{outcome}");
    let offset = &said(folder, "out")["quantities"]["D_offset"];
    let (mean, sd) = (offset["mean"].as_f64().unwrap(), offset["sd"].as_f64().unwrap());
    assert!((mean - 500.0).abs() < 40.0 && (30.0..70.0).contains(&sd), "{offset}");
}
