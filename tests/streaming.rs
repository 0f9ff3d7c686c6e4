//! Data that aren't held in memory: the same bits, within the limit, and what becomes of failing reads.

use std::fs;
use std::path::{Path, PathBuf};

use crate::common::draws::{FEW, said};
use crate::common::files::Sample;
use crate::common::{Outcome, Run, alone, json, parameters, scratch, summary, tree, with_ranks};
use serde_json::Value;

/// The program on so many ranks, 0 = alone.
fn run(folder: &Path, ranks: usize, more: &[&str]) -> Run {
    let arguments = [&["--config", "config.yaml", "--threads", "2"], more].concat();
    if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) }
}

fn in_memory(folder: &Path, more: &[&str]) -> Value {
    run(folder, 0, &[&["--output-dir", "memory"], more].concat()).success();
    parameters(&folder.join("memory"))
}

/// Several tiles of more angles than are worked on together.
const WIDE: Sample = Sample {
    frames: 900,
    angles: &[-80.0, -65.0, -50.0, -35.0, -20.0, -5.0, 5.0, 20.0, 35.0, 50.0, 65.0, 80.0, 85.0, 90.0],
    ..Sample::FLOW
};

#[test]
fn streaming_changes_no_bit() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make(folder);
    for more in
        [&[][..], &["--set", "optimization.nlsq.loss=soft_l1", "--set", "data_filtering.exclude_frames=[17, 500-520]"]]
    {
        let expected = in_memory(folder, more);
        for ranks in [0, 1, 2, 4] {
            let streamed = run(folder, ranks, &[&["--strategy", "streaming"], more].concat()).success();
            assert!(streamed.stderr.contains("STREAMING"), "{streamed}");
            assert_eq!(parameters(&folder.join("homodyne_results")), expected, "{ranks} ranks");
            assert_eq!(summary(&folder.join("homodyne_results"))["strategy"], "STREAMING");
            assert!(!folder.join("homodyne_results/checkpoints").exists(), "nothing is left of a finished run");
        }
    }
}

#[test]
fn draws_from_streamed_data_are_the_same_bits() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 1800, ..Sample::STILL }.make(folder);
    let expected = run(folder, 0, &[&["--output-dir", "memory"], &FEW[..]].concat()).outcome();
    assert!(matches!(expected.code, Some(0 | 4)), "{expected}");
    for ranks in [0, 2] {
        let streaming = [&["--strategy", "streaming"], &FEW[..]].concat();
        // the file is read to be compressed, and to verify the answer
        let streamed = run(folder, ranks, &streaming).env("HOMODYNE_READ_FAULT", "2:2").outcome();
        assert_eq!(streamed.code, expected.code, "{streamed}");
        assert_eq!(said(folder, "homodyne_results"), said(folder, "memory"), "{ranks} ranks");
        let own = summary(&folder.join("homodyne_results"));
        assert_eq!(own["strategy"], "STREAMING");
        assert!(own["read_retries"].as_u64().unwrap() >= 2, "{own}");
    }
}

#[test]
fn what_does_not_fit_is_streamed_within_the_limit() {
    const LIMIT: f64 = 0.13;
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 1400, ..WIDE }.make_as(folder, "native");
    let expected = in_memory(folder, &[]);
    for ranks in [0, 1] {
        let limit = format!("performance.memory_limit_gb={LIMIT}");
        run(folder, ranks, &["--set", &limit]).success();
        let results = folder.join("homodyne_results");
        assert_eq!(parameters(&results), expected);
        let (own, ranks) = (summary(&results), json(&results.join("nlsq/convergence_metrics.json")));
        assert_eq!(own["strategy"], "STREAMING");
        assert!(own["kept_bytes_per_rank"].as_u64().unwrap() > 0, "{own}");
        for rank in ranks["device_info"]["ranks"].as_array().unwrap() {
            let peak = rank["peak_memory_bytes"].as_f64().unwrap();
            assert!(peak < LIMIT * f64::from(1 << 30), "{peak}");
            assert!(rank["memory_variation"].as_f64().unwrap() < 0.05, "{rank}");
        }
    }
    let refused = run(folder, 0, &["--set", "performance.memory_limit_gb=0.01"]).outcome();
    refused.assert_error(2, &["streaming needs", "0.01 GB", "memory_limit_gb"]);
    let forced = ["--strategy", "chunked", "--set", "performance.memory_limit_gb=0.12"];
    run(folder, 0, &forced).outcome().assert_error(2, &["the data need", "memory_limit_gb"]);
}

#[test]
fn failed_reads_are_tried_again_and_end_the_job_in_the_end() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make(folder);
    let expected = in_memory(folder, &[]);
    let streaming = ["--strategy", "streaming"];
    for ranks in [0, 2] {
        let faulty = run(folder, ranks, &streaming).env("HOMODYNE_READ_FAULT", "9:2").success();
        assert!(faulty.stderr.contains("trying again"), "{faulty}");
        assert_eq!(parameters(&folder.join("homodyne_results")), expected);
        assert!(summary(&folder.join("homodyne_results"))["read_retries"].as_u64().unwrap() >= 2);
        let failed = run(folder, ranks, &streaming).env("HOMODYNE_READ_FAULT", "9:1000000").outcome();
        assert_eq!(failed.code, Some(5), "{failed}");
        let said = |line: &str| ["data.hdf", "tried 3 times"].iter().all(|part| line.contains(part));
        assert!(failed.stderr.lines().any(|line| line.starts_with("error: ") && said(line)), "{failed}");
    }
}

/// Stops a streamed run with a checkpoint and gives the folder of its nodes.
fn stopped(folder: &Path) -> PathBuf {
    let outcome = run(folder, 2, &["--strategy", "streaming"]).env("HOMODYNE_FAULT", "0:4:signal").outcome();
    assert_eq!(outcome.code, Some(75), "{outcome}");
    let mut entries =
        fs::read_dir(folder.join("homodyne_results/checkpoints")).unwrap().map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_dir()).unwrap()
}

/// How many matrices a run took from an earlier one.
fn taken(outcome: &Outcome) -> usize {
    let line = outcome.stderr.lines().find_map(|line| line.strip_prefix("info: nodes of "));
    line.map_or(0, |line| line.split(' ').next().unwrap().parse().unwrap())
}

#[test]
fn nodes_of_an_earlier_run_are_used_again() {
    let folder = scratch();
    let folder = folder.path();
    WIDE.make(folder);
    let expected = in_memory(folder, &[]);
    let results = folder.join("homodyne_results");
    let all = WIDE.angles.len();
    for ranks in [0, 2, 4] {
        stopped(folder);
        let again = run(folder, ranks, &["--strategy", "streaming"]).success();
        assert!(again.stderr.contains("resumed from"), "{again}");
        assert_eq!(taken(&again), all, "{again}");
        assert_eq!(parameters(&results), expected);
        assert!(!results.join("checkpoints").exists());
    }
    // of matrices of which something is missing or damaged, nothing is used
    let nodes = stopped(folder);
    for (file, left) in [("00002.found", 3), ("00004.00000.nodes", 2)] {
        let file = nodes.join(file);
        let mut bytes = fs::read(&file).unwrap();
        let middle = bytes.len() / left;
        bytes[middle] ^= 1;
        fs::write(&file, &bytes).unwrap();
    }
    fs::remove_file(nodes.join("00007.found")).unwrap();
    let again = run(folder, 2, &["--strategy", "streaming"]).success();
    assert_eq!(taken(&again), all - 3, "{again}");
    assert_eq!(parameters(&results), expected);
    // killed in the middle of the first look
    let busy = run(folder, 0, &["--strategy", "streaming"]).env("HOMODYNE_READ_FAULT", "9:100000").outcome();
    assert_eq!(busy.code, Some(5), "{busy}");
    let again = run(folder, 2, &["--strategy", "streaming"]).success();
    assert!((1..all).contains(&taken(&again)), "{again}");
    assert_eq!(parameters(&results), expected);
    // without checkpoints there are none
    let none = ["--strategy", "streaming", "--set", "optimization.streaming.enable_checkpoints=false"];
    run(folder, 0, &none).success();
    assert!(!results.join("checkpoints").exists());
}

#[test]
fn a_run_that_the_data_end_leaves_nothing() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 3, angles: &[0.0], ..Sample::STILL }.make(folder);
    let before = tree(folder);
    let refused = run(folder, 0, &["--strategy", "streaming"]).outcome();
    refused.assert_error(3, &["can't determine"]);
    assert!(tree(folder) == before, "something stays");
}
