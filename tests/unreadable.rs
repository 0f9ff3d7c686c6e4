//! Matrices that can't be read: left out where the configuration allows it, named, and the fit is that of the rest.

use std::path::{Path, PathBuf};

use crate::common::files::Sample;
use crate::common::{Outcome, Run, alone, json, parameters, scratch, summary, with_ranks};
use serde_json::Value;

const WIDE: Sample = Sample {
    frames: 300,
    angles: &[-80.0, -65.0, -50.0, -35.0, -20.0, -5.0, 5.0, 20.0, 35.0, 50.0, 65.0, 80.0, 85.0, 90.0],
    ..Sample::FLOW
};
const NO_RETRIES: [&str; 2] = ["--set", "optimization.streaming.max_retries_per_batch=0"];
/// One matrix of the fourteen may be lost, or two.
const BEAR_ONE: [&str; 2] = ["--set", "optimization.streaming.min_success_rate=0.9"];
const BEAR_TWO: [&str; 2] = ["--set", "optimization.streaming.min_success_rate=0.85"];
const STREAMING: [&str; 2] = ["--strategy", "streaming"];

/// The fit on so many ranks, 0 = alone, with one thread each and without a second try.
fn run(folder: &Path, ranks: usize, more: &[&str]) -> Run {
    let arguments = [&["--config", "config.yaml", "--threads", "1"], &NO_RETRIES[..], more].concat();
    if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) }
}

fn results(folder: &Path) -> PathBuf {
    folder.join("homodyne_results")
}

/// The fit of all angles but these, by their number.
fn without(folder: &Path, lost: &[usize]) -> Value {
    let angles = WIDE.angles.iter().enumerate().filter(|(k, _)| !lost.contains(k));
    let ranges: Vec<String> =
        angles.map(|(_, phi)| format!("{{min_angle: {:?}, max_angle: {:?}}}", phi - 1.0, phi + 1.0)).collect();
    let filter = format!("phi_filtering={{enabled: true, target_ranges: [{}]}}", ranges.join(", "));
    alone(folder, &["--config", "config.yaml", "--output-dir", "rest", "--set", &filter]).success();
    parameters(&folder.join("rest"))
}

/// That a run has left these out and says so, and has found what there is without them.
#[track_caller]
fn assert_lost(outcome: &Outcome, folder: &Path, lost: &[usize]) {
    assert!(outcome.stderr.contains("begins anew without what can't be read"), "{outcome}");
    assert_told(outcome, folder, lost);
}

#[track_caller]
fn assert_told(outcome: &Outcome, folder: &Path, lost: &[usize]) {
    let own = summary(&results(folder));
    let told: Vec<f64> = own["lost"].as_array().unwrap().iter().map(|lost| lost["phi"].as_f64().unwrap()).collect();
    let expected: Vec<f64> = lost.iter().map(|&k| WIDE.angles[k]).collect();
    assert_eq!(told, expected, "{own}");
    let share = 1.0 - lost.len() as f64 / WIDE.angles.len() as f64;
    assert!((own["success_rate"].as_f64().unwrap() - share).abs() < 1e-12, "{own}");
    let quality = json(&results(folder).join("nlsq/convergence_metrics.json"));
    let warnings = quality["quality_warnings"].as_array().unwrap();
    assert!(warnings.iter().any(|line| line.as_str().unwrap().contains("couldn't be read")), "{quality}");
    assert_ne!(quality["quality_flag"], "good", "{quality}");
    assert!(outcome.stdout.contains("couldn't be read"), "{outcome}");
    assert_eq!(parameters(&results(folder)), without(folder, lost));
}

#[test]
fn what_cannot_be_read_is_left_out_on_any_ranks_and_strategy() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    let faulty = |ranks: usize, read: &str, more: &[&[&str]]| {
        run(folder, ranks, &more.concat()).env("HOMODYNE_READ_FAULT", read).success()
    };
    assert_lost(&faulty(0, "3:1", &[&BEAR_ONE]), folder, &[2]);
    assert_lost(&faulty(0, "3:2", &[&BEAR_TWO, &STREAMING]), folder, &[2, 3]);
    // found out in the second look, after the fit
    assert_lost(&faulty(0, "19:1", &[&BEAR_ONE, &STREAMING]), folder, &[4]);
    // of every rank that reads one
    let parallel = ["--set", "distributed.io=parallel"];
    let outcome = faulty(2, "3:1", &[&BEAR_TWO, &STREAMING, &parallel]);
    assert_lost(&outcome, folder, &[2, 9]);
    // the same in the second look, of which the other ranks expect sums
    let outcome = faulty(2, "9:1", &[&BEAR_TWO, &STREAMING, &parallel]);
    assert_lost(&outcome, folder, &[1, 8]);
}

#[test]
fn what_is_left_out_stays_out_after_a_restart() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    for (pass, ranks) in [(2, 2), (8, 0), (12, 2)] {
        let leave = [&BEAR_ONE[..], &STREAMING].concat();
        let faulty = run(folder, 0, &leave).env("HOMODYNE_READ_FAULT", "3:1");
        let stopped = faulty.env("HOMODYNE_FAULT", &format!("0:{pass}:signal")).outcome();
        assert_eq!(stopped.code, Some(75), "{stopped}");
        let again = run(folder, ranks, &leave).success();
        assert!(again.stderr.contains("resumed from"), "{again}");
        assert_told(&again, folder, &[2]);
    }
}

#[test]
fn what_may_not_be_left_out_ends_the_run() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    for (more, said) in [(&[][..], &["data.hdf", "/c2[", "Input/output error"][..]), (&BEAR_ONE, &["min_success_rate"])]
    {
        for ranks in [0, 2] {
            let refused = run(folder, ranks, &[more, &STREAMING].concat()).env("HOMODYNE_READ_FAULT", "3:4");
            refused.outcome().assert_error(5, said);
        }
    }
}
