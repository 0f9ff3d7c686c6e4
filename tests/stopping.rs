//! Runs that are stopped from outside while they work, or have their checkpoints taken away.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::disk::on_small_disk;
use crate::common::files::Sample;
use crate::common::kept::{assert_resumed, run, undisturbed};
use crate::common::{Running, parameters, scratch, summary};
use serde_json::Value;

/// The checkpoints that are there.
fn checkpoints(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder.join("homodyne_results/checkpoints"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    let is_checkpoint = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with("checkpoint-");
    entries.filter(is_checkpoint).collect()
}

/// Makes passes from the end of the search on slow.
const SLOW: &str = "0:16:wait=300";

/// A run in no hurry, in the middle of fitting at full resolution.
#[track_caller]
fn at_work(folder: &Path, ranks: usize) -> Running {
    let mut running = run(folder, ranks, &[]).env("HOMODYNE_FAULT", SLOW).start();
    running.wait_for("a checkpoint", || !checkpoints(folder).is_empty());
    running
}

/// Lets another job go on, and compares.
#[track_caller]
fn assert_goes_on(folder: &Path, ranks: usize, expected: &Value) {
    assert_resumed(&run(folder, ranks, &[]).success());
    assert_eq!(parameters(&folder.join("homodyne_results")), *expected);
}

#[test]
fn every_signal_to_one_rank_or_all_stops_a_job() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    for (k, signal) in ["TERM", "INT", "USR1", "USR2"].into_iter().enumerate() {
        for all in [false, true] {
            let running = at_work(folder, 4);
            let ranks = running.ranks();
            assert_eq!(ranks.len(), 4);
            let signalled = if all { &ranks[..] } else { &ranks[k..=k] };
            signalled.iter().for_each(|&rank| running.signal(signal, rank));
            let outcome = running.outcome();
            assert_eq!(outcome.code, Some(75), "{outcome}");
            let line = outcome.stderr.lines().find(|line| line.starts_with("stopped: ")).unwrap();
            let who = if all { "rank " } else { &format!("rank {k}") };
            assert!(line.contains(&format!("by SIG{signal} on {who}")), "{line}");
            assert_goes_on(folder, if all { 0 } else { 2 }, &expected);
        }
    }
}

#[test]
fn a_second_interrupt_ends_a_run_at_once() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let twice = || {
        let running = at_work(folder, 0);
        let rank = running.ranks()[0];
        running.signal("INT", rank);
        running.signal("INT", rank);
        running.outcome()
    };
    // on a busy machine the second one may come too late
    let outcome = (0..5).map(|_| twice()).find(|outcome| outcome.code != Some(75)).expect("a signal in time");
    assert_eq!(outcome.code, Some(130), "{outcome}");
}

#[test]
fn a_signal_to_the_launcher_leaves_a_checkpoint() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    let running = at_work(folder, 2);
    running.signal("TERM", running.launcher());
    // mpirun kills its ranks some two seconds later and ends with a code of its own
    let outcome = running.outcome();
    assert_ne!(outcome.code, Some(0), "{outcome}");
    assert!(outcome.stderr.contains("stopped: by SIGTERM on rank"), "saved before it was killed: {outcome}");
    assert_goes_on(folder, 0, &expected);
}

#[test]
fn files_in_the_output_folder_stop_a_run_or_have_it_saved() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    for ranks in [0, 2] {
        let seldom = ["--set", "optimization.streaming.checkpoint_frequency=1000"];
        let mut running = run(folder, ranks, &seldom).env("HOMODYNE_FAULT", "0:16:wait=1200").start();
        let file = folder.join("homodyne_results/checkpoint");
        // one that is there too early is taken for an old one
        running.wait_for("a checkpoint", || {
            let _ = fs::write(&file, "");
            !checkpoints(folder).is_empty()
        });
        let file = folder.join("homodyne_results/stop");
        fs::write(&file, "").unwrap();
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(75), "{outcome}");
        assert!(outcome.stderr.contains("stopped: by the file"), "{outcome}");
        assert!(!file.exists());
        assert_goes_on(folder, 2 - ranks, &expected);
    }
}

/// The first look at the data, and a later one, which every pass of a robust loss is.
#[test]
fn a_look_at_streamed_data_is_left_between_two_matrices() {
    let folder = scratch();
    let folder = folder.path();
    let angles = &[-80.0, -65.0, -50.0, -35.0, -20.0, -5.0, 5.0, 20.0, 35.0, 50.0, 65.0, 80.0];
    Sample { frames: 500, angles, ..Sample::FLOW }.make_as(folder, "native");
    let expected = undisturbed(folder);
    let loss = ["--set", "optimization.nlsq.loss=soft_l1"];
    run(folder, 0, &[&loss[..], &["--output-dir", "robust"]].concat()).success();
    let robust = parameters(&folder.join("robust"));
    let k = angles.len();
    // of every rank, where each reads its part; the first look, the second, one in the middle of a robust search
    for (ranks, read, next, more) in
        [(0, 5, 2, &[][..]), (2, 3, 0, &[]), (0, k + 4, 2, &[]), (2, k / 2 + 2, 4, &[]), (0, 3 * k + 5, 2, &loss)]
    {
        let streaming = [&["--strategy", "streaming", "--set", "distributed.io=parallel"], more].concat();
        let stopped = run(folder, ranks, &streaming).env("HOMODYNE_READ_FAULT", &format!("{read}:signal")).outcome();
        assert_eq!(stopped.code, Some(75), "{stopped}");
        assert!(stopped.stderr.contains("stopped: by SIGTERM on rank"), "{stopped}");
        let again = run(folder, next, &streaming).success();
        assert_resumed(&again);
        assert!(again.stderr.contains("matrices are there from an earlier run"), "{again}");
        let expected = if more.is_empty() { &expected } else { &robust };
        assert_eq!(parameters(&folder.join("homodyne_results")), *expected, "{read} of {ranks}, then {next}");
    }
}

#[test]
fn a_checkpoint_folder_that_vanishes_is_made_again() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    for ranks in [0, 2] {
        let mut running = at_work(folder, ranks);
        fs::remove_dir_all(folder.join("homodyne_results/checkpoints")).unwrap();
        running.wait_for("another checkpoint", || !checkpoints(folder).is_empty());
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(0), "{outcome}");
        assert_eq!(parameters(&folder.join("homodyne_results")), expected);
        assert!(!folder.join("homodyne_results/checkpoints").exists(), "nothing is left of a finished run");
    }
}

#[test]
fn a_disk_that_is_full_costs_nothing_but_the_checkpoints() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    let arguments = [
        "--config",
        "config.yaml",
        "--set",
        "optimization.streaming.checkpoint_frequency=1",
        "--set",
        "optimization.streaming.checkpoint_dir=disk/checkpoints",
    ];
    let Some(outcome) = on_small_disk(folder, 20, &arguments) else { return };
    assert_eq!(outcome.code, Some(0), "{outcome}");
    let warned =
        |line: &str| line.starts_with("warn: ") && line.contains("isn't saved") && line.contains("disk/checkpoints");
    assert!(outcome.stderr.lines().any(warned), "{outcome}");
    assert_eq!(parameters(&folder.join("homodyne_results")), expected);
    let summary = summary(&folder.join("homodyne_results"));
    assert!(!summary["checkpoint_failures"].as_array().unwrap().is_empty(), "{summary}");
}

#[test]
fn two_jobs_on_one_folder_are_refused() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    let running = at_work(folder, 2);
    run(folder, 0, &[]).outcome().assert_error(5, &["homodyne_results", "writes its results there"]);
    let same = "optimization.streaming.checkpoint_dir=homodyne_results/checkpoints";
    run(folder, 0, &["--output-dir", "other", "--set", same])
        .outcome()
        .assert_error(5, &["checkpoints", "saves its checkpoints there"]);
    // whose owner is killed doesn't bar the way
    assert_ne!(running.killed_after(std::time::Duration::ZERO, false), Some(0));
    assert_goes_on(folder, 0, &expected);
}
