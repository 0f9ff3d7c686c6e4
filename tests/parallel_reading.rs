//! Every rank reads its part of the file, and nothing else changes.

use std::fs;
use std::path::Path;

use crate::common::files::Sample;
use crate::common::{Outcome, alone, alone_with_files, json, parameters, scratch, tree, with_ranks};
use serde_json::Value;

const PARALLEL: [&str; 4] = ["--config", "config.yaml", "--set", "distributed.io=parallel"];

/// Parameters and what is known of the data.
fn results(folder: &Path) -> (Value, Value) {
    let mut info = json(&folder.join("nlsq/analysis_results_nlsq.json"))["dataset_info"].clone();
    assert!(info.as_object_mut().unwrap().remove("file").is_some());
    (parameters(folder), info)
}

/// That ranks that read in parallel find what one process finds.
#[track_caller]
fn assert_nothing_changes(folder: &Path, more: &[&str]) {
    alone(folder, &[&["--config", "config.yaml", "--output-dir", "alone"], more].concat()).success();
    let expected = results(&folder.join("alone"));
    for ranks in 1..=4 {
        let output = format!("r{ranks}");
        let outcome = with_ranks(ranks, folder, &[&PARALLEL[..], &["--output-dir", &output], more].concat()).success();
        assert_eq!(results(&folder.join(&output)), expected, "{ranks} ranks: {outcome}");
        let readers = ranks.min(expected.0["per_angle"].as_array().unwrap().len());
        let said = outcome.stderr.contains(&format!("info: {readers} of {ranks} ranks read "));
        assert_eq!(said, ranks > 1, "{outcome}");
    }
}

#[test]
fn parallel_readers_find_the_same() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    assert_nothing_changes(folder, &[]);
    // frames and lags left out, quantiles of the data asked for, one angle less than ranks
    let constant = "optimization.nlsq.anti_degeneracy.per_angle_mode=constant";
    let angles = "phi_filtering={enabled: true, target_ranges: [{min_angle: -65, max_angle: 40}]}";
    let filter = "data_filtering={exclude_frames: [20, 31-40], min_lag_frames: 2, max_lag_frames: 150}";
    assert_nothing_changes(folder, &["--set", constant, "--set", angles, "--set", filter]);
}

#[test]
fn sigma_of_every_pair_is_read_in_parallel_too() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 90, ..Sample::STILL }.make_as(folder, "native");
    alone_with_files(|| {
        let file = hdf5::File::open_rw(folder.join("data.hdf")).unwrap();
        let sigma = ndarray::Array3::from_shape_fn((2, 90, 90), |(k, i, j)| match (i * 90 + j) % 53 {
            0 => 0.0,
            _ => 0.01 * (1.0 + 0.5 * k as f32 + (i + j) as f32 / 200.0),
        });
        file.new_dataset_builder().with_data(&sigma).create("sigma").unwrap();
    });
    assert_nothing_changes(folder, &[]);
}

/// Angles of [`Sample::FLOW`] by the rank that reads them, on four ranks: one each.
#[test]
fn a_matrix_that_cannot_be_read_is_named_with_the_rank() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    for (ranks, matrix, reader) in [(4, 3, 2), (2, 4, 1), (4, 1, 0), (2, 1, 0)] {
        fs::copy(folder.join("data.hdf"), folder.join("damaged.hdf")).unwrap();
        crate::common::files::destroy(&folder.join("damaged.hdf"), matrix);
        let before = tree(folder);
        let outcome = with_ranks(ranks, folder, &[&PARALLEL[..], &["--data-file", "damaged.hdf"]].concat()).outcome();
        let path = format!("damaged.hdf, /xpcs/twotime/correlation_map/c2_{matrix:05}: the matrix cannot be read");
        let by = format!("(read by rank {reader})");
        outcome.assert_error(3, &[&path]);
        assert_eq!(outcome.error_line().contains(&by), reader > 0, "{outcome}");
        assert_eq!(tree(folder), before, "nothing is left behind");
    }
}

#[test]
fn reading_can_be_stopped() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let stopped = |outcome: &Outcome| outcome.code == Some(75) && outcome.stderr.contains("stopped: in time before");
    let arguments = [&PARALLEL[..], &["--max-time", "0.001", "--strategy", "large"]].concat();
    let outcome = with_ranks(3, folder, &arguments).outcome();
    assert!(stopped(&outcome), "{outcome}");
    let kept = tree(&folder.join("homodyne_results"));
    assert!(kept.keys().all(|path| path.starts_with(folder.join("homodyne_results/checkpoints"))), "{:?}", kept.keys());
}

#[test]
fn what_is_streamed_is_read_in_parallel_too() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let fit = |more: &[&str]| with_ranks(2, folder, &[&PARALLEL[..], more].concat()).success();
    fit(&[]);
    let expected = parameters(&folder.join("homodyne_results"));
    let streamed = fit(&["--strategy", "streaming", "--output-dir", "streamed"]);
    assert!(streamed.stderr.contains("info: 2 of 2 ranks read 4 matrices"), "{streamed}");
    assert_eq!(parameters(&folder.join("streamed")), expected);
}

#[test]
fn rank_0_reads_where_memory_has_no_room_for_several() {
    let folder = scratch();
    let folder = folder.path();
    // packed data 2.6 MB and their nodes, a matrix on its way 2.2 MB: rank 0 would hold three of them, two readers two each
    Sample { frames: 600, angles: &[-60.0, 0.0, 90.0], ..Sample::FLOW }.make(folder);
    let fit = |limit: &str| with_ranks(2, folder, &[&PARALLEL[..], &["--set", limit]].concat()).success().stderr;
    let tight = fit("performance.memory_limit_gb=0.011");
    assert!(tight.contains("info: reading in parallel would take") && !tight.contains(" ranks read "), "{tight}");
    assert!(!tight.contains("STREAMING"), "{tight}");
    let wide = fit("performance.memory_limit_gb=0.02");
    assert!(wide.contains("info: 2 of 2 ranks read 3 matrices"), "{wide}");
}

#[test]
fn a_rank_that_sees_another_file_is_refused() {
    let (first, second) = (scratch(), scratch());
    Sample::FLOW.make(first.path());
    Sample { frames: 100, ..Sample::FLOW }.make(second.path());
    // a name that means another file in every working directory, as that of a node's own disk does on every node
    let program = [&[crate::common::PROGRAM][..], &PARALLEL, &["--data-file", "/proc/self/cwd/data.hdf"]].concat();
    let mut command = std::process::Command::new(crate::common::mpirun());
    command.arg("-wdir").arg(first.path()).args(["-n", "1"]).args(&program);
    command.args([":", "-wdir"]).arg(second.path()).args(["-n", "1"]).args(&program);
    let outcome = crate::common::other(first.path(), command).outcome();
    outcome.assert_error(3, &["this rank sees another file", "distributed.io: root", "(read by rank 1)"]);
    // unless parallel reading was asked for rank 0 then reads all
    let program = [&[crate::common::PROGRAM][..], &PARALLEL[..2], &["--data-file", "/proc/self/cwd/data.hdf"]].concat();
    for more in [&[][..], &["--strategy", "streaming"]] {
        let mut command = std::process::Command::new(crate::common::mpirun());
        command.arg("-wdir").arg(first.path()).args(["-n", "1"]).args(&program).args(more);
        command.args([":", "-wdir"]).arg(second.path()).args(["-n", "1"]).args(&program).args(more);
        let outcome = crate::common::other(first.path(), command).success();
        assert!(outcome.stderr.contains("info: rank 0 reads all matrices: "), "{outcome}");
    }
}
