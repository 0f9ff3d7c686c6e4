//! Packed data that can't be read any more: left out where the configuration allows it, named, and the fit is that of the rest.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::files::Sample;
use crate::common::{Outcome, alone, json, parameters, scratch, summary, with_ranks};
use serde_json::Value;

/// More angles than are worked on together.
const WIDE: Sample = Sample {
    // tiles of 512 frames a side: an angle has three
    frames: 700,
    angles: &[-80.0, -65.0, -50.0, -35.0, -20.0, -5.0, 5.0, 20.0, 35.0, 50.0, 65.0, 80.0, 85.0, 90.0],
    ..Sample::FLOW
};
const STREAMING: [&str; 4] = ["--strategy", "streaming", "--set", "optimization.streaming.checkpoint_frequency=1"];
const BEAR: [&str; 2] = ["--set", "optimization.streaming.min_success_rate=0.9"];
const KEEP: [&str; 2] = ["--set", "optimization.streaming.keep_scratch=true"];

/// The streamed fit on so many ranks, 0 = alone, with one thread each.
fn run(folder: &Path, ranks: usize, more: &[&str]) -> crate::common::Run {
    let arguments = [&["--config", "config.yaml", "--threads", "1"], &STREAMING[..], more].concat();
    if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) }
}

fn results(folder: &Path) -> PathBuf {
    folder.join("homodyne_results")
}

/// Packs the data and flips bits of a level's file.
fn damaged(folder: &Path, level: usize, bytes: &[usize]) {
    let _ = fs::remove_dir_all(folder.join("homodyne_results/checkpoints"));
    run(folder, 0, &KEEP).success();
    let entries = fs::read_dir(folder.join("homodyne_results/checkpoints")).unwrap();
    let packed = entries.map(|entry| entry.unwrap().path()).find(|path| path.is_dir()).unwrap();
    let file = packed.join(format!("level-{level}.tiles"));
    let mut contents = fs::read(&file).unwrap();
    bytes.iter().for_each(|&byte| contents[byte] ^= 1);
    fs::write(&file, &contents).unwrap();
}

/// The fit in memory of a file in which the pairs of these places are missing.
fn without(folder: &Path, lost: &[Value]) -> Value {
    let file = hdf5::File::open(folder.join("data.hdf")).unwrap();
    let mut c2: ndarray::Array3<f32> = file.dataset("c2").unwrap().read().unwrap();
    drop(file);
    for place in lost {
        let phi = place["phi"].as_f64().unwrap();
        let angle = WIDE.angles.iter().position(|own| *own == phi).unwrap();
        let frames = |key: &str| {
            let ends = place[key].as_array().unwrap();
            ends[0].as_u64().unwrap() as usize - 1..ends[1].as_u64().unwrap() as usize
        };
        for i in frames("t1_frames") {
            for j in frames("t2_frames").filter(|&j| j > i) {
                (c2[[angle, i, j]], c2[[angle, j, i]]) = (f32::NAN, f32::NAN);
            }
        }
    }
    fs::copy(folder.join("data.hdf"), folder.join("holes.hdf")).unwrap();
    let file = hdf5::File::append(folder.join("holes.hdf")).unwrap();
    file.dataset("c2").unwrap().write(&c2).unwrap();
    drop(file);
    let arguments = ["--config", "config.yaml", "--data-file", "holes.hdf", "--output-dir", "holes"];
    alone(folder, &arguments).success();
    parameters(&folder.join("holes"))
}

/// That two fits have found the same.
#[track_caller]
fn assert_same_minimum(found: &Value, expected: &Value) {
    assert_eq!(found["convergence_status"], "converged");
    for (name, own) in expected["parameters"].as_object().unwrap() {
        let (a, b) = (&found["parameters"][name], own);
        let number = |value: &Value, key: &str| value[key].as_f64().unwrap_or(f64::NAN);
        let (value, error) = (number(b, "value"), number(b, "uncertainty"));
        assert!((number(a, "value") - value).abs() < 1e-3 * error, "{name}: {a} {b}");
        assert!((number(a, "uncertainty") / error - 1.0).abs() < 1e-4, "{name}: {a} {b}");
    }
}

/// What a run says of the pairs that it left out.
fn lost(outcome: &Outcome, folder: &Path) -> Vec<Value> {
    assert!(outcome.stderr.contains("is left out of the fit"), "{outcome}");
    let own = summary(&results(folder));
    let lost = own["lost"].as_array().unwrap().clone();
    let readable = own["success_rate"].as_f64().unwrap();
    assert_eq!(readable < 1.0, !lost.is_empty());
    let quality = json(&results(folder).join("nlsq/convergence_metrics.json"));
    let told = quality["quality_warnings"]
        .as_array()
        .unwrap()
        .iter()
        .any(|line| line.as_str().unwrap().contains("couldn't be read"));
    assert_eq!((told, quality["quality_flag"] == "good"), (!lost.is_empty(), lost.is_empty()), "{quality}");
    assert_eq!(outcome.stdout.contains("couldn't be read"), !lost.is_empty(), "{outcome}");
    lost
}

#[test]
fn what_stays_unreadable_is_left_out_on_any_ranks_and_after_a_restart() {
    left_out_after_restarts(5);
}

#[test]
#[ignore = "a minute; cargo test --release --test program -- unreadable:: --ignored"]
fn what_stays_unreadable_is_left_out_after_a_restart_from_any_pass() {
    left_out_after_restarts(1);
}

/// Stopped in every pass, or every so many.
fn left_out_after_restarts(step: usize) {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    damaged(folder, 0, &[60_000, 4_000_000]);
    let leave = [&BEAR[..], &KEEP].concat();
    let first = run(folder, 0, &leave).success();
    let places = lost(&first, folder);
    assert_eq!(places.len(), 2, "{places:?}");
    let expected = parameters(&results(folder));
    assert_same_minimum(&expected, &without(folder, &places));
    for ranks in [1, 2, 4] {
        let other = run(folder, ranks, &leave).success();
        assert_eq!(lost(&other, folder), places);
        assert_eq!(parameters(&results(folder)), expected, "{ranks} ranks");
    }
    // stopped before it is found out, when it has just been, and later
    let mut resumed = 0;
    for pass in (1..40).step_by(step) {
        let fault = format!("0:{pass}:signal");
        let stopped = run(folder, 0, &leave).env("HOMODYNE_FAULT", &fault).outcome();
        if stopped.code == Some(0) {
            break;
        }
        let again = run(folder, 2, &leave).success();
        assert_eq!(parameters(&results(folder)), expected, "{fault}");
        assert_eq!(summary(&results(folder))["lost"].as_array(), Some(&places), "{fault}");
        resumed += usize::from(again.stderr.contains("resumed from"));
    }
    assert!(resumed * step > 8, "{resumed}");
    // not allowed, or not so much of it
    let refused = run(folder, 0, &[&KEEP[..], &["--set", "optimization.streaming.min_success_rate=0.9999"]].concat());
    refused.outcome().assert_error(5, &["min_success_rate", "level-0.tiles"]);
    run(folder, 0, &KEEP).outcome().assert_error(5, &["level-0.tiles", "aren't as they were"]);
}

#[test]
fn a_lost_piece_of_a_coarse_level_costs_nothing() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    damaged(folder, 1, &[30_000]);
    let outcome = run(folder, 2, &BEAR).success();
    assert_eq!(lost(&outcome, folder), [] as [Value; 0]);
    assert_same_minimum(&parameters(&results(folder)), &without(folder, &[]));
}

#[test]
fn reads_that_fail_in_the_middle_of_a_fit_cost_their_pairs_and_the_passes_of_a_level() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make_as(folder, "native");
    run(folder, 0, &[]).success();
    let retries = ["--set", "optimization.streaming.max_retries_per_batch=0"];
    let mut seen = 0;
    for (ranks, first) in [(0, 60), (0, 75), (0, 90), (2, 35), (2, 45)] {
        // the read of several angles, and of the first of them alone
        let fault = format!("{first}:2");
        let run = run(folder, ranks, &[&BEAR[..], &retries].concat()).env("HOMODYNE_READ_FAULT", &fault);
        // in rounds too
        let outcome = if ranks == 0 { run } else { run.env("HOMODYNE_ROUND_MS", "3") }.success();
        if !outcome.stderr.contains("from where this level began") {
            continue;
        }
        seen += 1;
        let places = lost(&outcome, folder);
        assert_same_minimum(&parameters(&results(folder)), &without(folder, &places));
    }
    assert!(seen >= 2, "{seen}");
}
