//! Runs that are stopped or killed and started again: the same bits as one that was left alone.

use std::fs;
use std::path::Path;

use crate::common::files::Sample;
use crate::common::kept::{assert_resumed, run, undisturbed};
use crate::common::{parameters, scratch, summary};

/// Where checkpoints are without a word about it.
const CHECKPOINTS: &str = "homodyne_results/checkpoints";

#[test]
fn a_signal_to_any_rank_stops_the_job_and_another_goes_on_to_the_same_bits() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    let passes = summary(&folder.join("undisturbed"))["passes"].clone();
    // (ranks of the job, which one gets a signal in which pass, ranks of the next job)
    for (ranks, signalled, pass, next) in [(0, 0, 2, 2), (2, 1, 9, 4), (4, 3, 14, 0), (1, 0, 1, 0)] {
        let output = format!("of{ranks}");
        let fault = format!("{signalled}:{pass}:signal");
        let stopped = run(folder, ranks, &["--output-dir", &output]).env("HOMODYNE_FAULT", &fault).outcome();
        assert_eq!(stopped.code, Some(75), "{stopped}");
        let line = stopped.stderr.lines().find(|line| line.starts_with("stopped: ")).unwrap();
        assert!(line.contains(&format!("SIGTERM on rank {signalled}")) && line.contains("checkpoints"), "{line}");
        assert!(!folder.join(&output).join("nlsq").exists());

        let again = run(folder, next, &["--output-dir", &output]).success();
        assert_resumed(&again);
        assert_eq!(parameters(&folder.join(&output)), expected, "{fault} of {ranks}, then {next}");
        let summary = summary(&folder.join(&output));
        assert_eq!(summary["passes"][0], passes[0], "no full pass is made twice");
        assert!(summary["resumed_from"].as_str().unwrap().contains("checkpoint-"));
        assert!(!folder.join(&output).join("checkpoints").exists(), "nothing is left of a finished run");
    }
}

#[test]
fn a_killed_job_goes_on_from_its_last_checkpoint() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    for (ranks, killed, next) in [(0, 0, 2), (2, 0, 0), (2, 1, 4)] {
        // so that there is a checkpoint however fast the passes are
        stopped(folder, "0:6:signal");
        let outcome = run(folder, ranks, &[]).env("HOMODYNE_FAULT", &format!("{killed}:2:kill")).outcome();
        assert_ne!(outcome.code, Some(0), "{outcome}");
        assert_resumed(&run(folder, next, &[]).success());
        assert_eq!(parameters(&folder.join("homodyne_results")), expected, "{killed} of {ranks}, then {next}");
    }
}

/// A job that a fault stops with a checkpoint.
#[track_caller]
fn stopped(folder: &Path, fault: &str) {
    let outcome = run(folder, 0, &[]).env("HOMODYNE_FAULT", fault).outcome();
    assert_eq!(outcome.code, Some(75), "{outcome}");
}

/// The newest checkpoint.
fn newest(folder: &Path) -> std::path::PathBuf {
    let entries = fs::read_dir(folder.join(CHECKPOINTS)).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.is_file() && path.extension().is_some_and(|e| e == "h5")).max().unwrap()
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_the_difference() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    stopped(folder, "0:2:signal");
    let other = ["--set", "optimization.nlsq.loss=cauchy"];
    let refused = run(folder, 0, &other).outcome();
    refused
        .assert_error(2, &["checkpoints/checkpoint-", "optimization.nlsq.loss", "linear", "cauchy", "--resume never"]);
    assert!(!folder.join("homodyne_results/nlsq").exists());
    // what doesn't change the result doesn't matter
    let data =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).find(|p| p.extension().is_some_and(|e| e == "hdf"));
    let data = data.unwrap();
    let moved = folder.join("moved.hdf");
    fs::rename(&data, &moved).unwrap();
    assert_resumed(&run(folder, 0, &["--data-file", "moved.hdf"]).success());
    fs::rename(&moved, &data).unwrap();

    stopped(folder, "0:2:signal");
    let anew = run(folder, 0, &[&other[..], &["--resume", "never"]].concat()).success();
    assert!(!anew.stderr.contains("resumed"), "{anew}");

    stopped(folder, "0:2:signal");
    Sample { frames: Sample::STILL.frames + 1, ..Sample::STILL }.make(folder);
    run(folder, 0, &[]).outcome().assert_error(2, &["checkpoints/checkpoint-", "size of the data file was"]);
}

#[test]
fn a_checkpoint_may_be_named_or_left_alone() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    stopped(folder, "0:2:signal");
    let file = folder.join("kept.h5");
    fs::rename(newest(folder), &file).unwrap();
    fs::remove_dir_all(folder.join(CHECKPOINTS)).unwrap();
    assert_resumed(&run(folder, 0, &["--resume", "kept.h5"]).success());
    let configured = run(folder, 0, &["--set", "optimization.streaming.resume_from_checkpoint=false"]).success();
    assert!(!configured.stderr.contains("resumed"), "{configured}");
    fs::write(&file, "no checkpoint").unwrap();
    run(folder, 0, &["--resume", "kept.h5"]).outcome().assert_error(3, &["kept.h5", "damaged or no checkpoint"]);
    run(folder, 0, &["--resume", "nowhere.h5"]).outcome().assert_error(5, &["nowhere.h5"]);
}

#[test]
fn checkpoints_that_a_run_passes_by_are_moved_aside_and_their_run_goes_on() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let expected = undisturbed(folder);
    stopped(folder, "0:2:signal");
    let (name, bytes) = (newest(folder).file_name().unwrap().to_owned(), fs::read(newest(folder)).unwrap());
    let never = ["--set", "optimization.nlsq.loss=cauchy", "--resume", "never"];
    let anew = run(folder, 0, &never).success();
    let mut aside = fs::read_dir(folder.join(CHECKPOINTS)).unwrap().map(|entry| entry.unwrap().path());
    let kept = aside.next().unwrap().join(name);
    assert!(aside.next().is_none(), "nothing of the finished run is left");
    assert_eq!(fs::read(&kept).unwrap(), bytes);
    let file = kept.strip_prefix(folder).unwrap().to_str().unwrap();
    let said = |line: &str| line.starts_with("warn: ") && line.contains(&format!("`--resume ./{file}`"));
    assert!(anew.stderr.lines().any(said), "{file}: {anew}");
    // one that is going on from a named one leaves the others alone, too
    stopped(folder, "0:1:signal");
    let other = newest(folder);
    assert_resumed(&run(folder, 0, &["--resume", file]).success());
    assert_eq!(parameters(&folder.join("homodyne_results")), expected);
    assert!(kept.exists() && !other.exists());
    let asides = fs::read_dir(folder.join(CHECKPOINTS)).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(asides.filter(|aside| aside.join(other.file_name().unwrap()).exists()).count(), 2);
}

#[test]
fn a_damaged_checkpoint_is_passed_over() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let expected = undisturbed(folder);
    stopped(folder, "0:6:signal");
    let first = newest(folder);
    stopped(folder, "0:2:signal");
    let newest = newest(folder);
    assert_ne!(first, newest);
    let mut bytes = fs::read(&newest).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&newest, &bytes).unwrap();
    let outcome = run(folder, 0, &[]).success();
    assert_resumed(&outcome);
    let warned = outcome.stderr.lines().any(|line| {
        line.starts_with("warn: ")
            && line.contains(newest.file_name().unwrap().to_str().unwrap())
            && line.contains("damaged")
    });
    assert!(warned, "{outcome}");
    assert_eq!(parameters(&folder.join("homodyne_results")), expected);
}

#[test]
fn a_deadline_ends_a_run_in_time() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let outcome = run(folder, 0, &["--max-time", "0.001"]).outcome();
    assert_eq!(outcome.code, Some(75), "{outcome}");
    assert!(outcome.stderr.contains("stopped: in time before --max-time"), "{outcome}");
    let end = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 5;
    let job = run(folder, 0, &[]).env("SLURM_JOB_ID", "1").env("SLURM_JOB_END_TIME", &end.to_string()).outcome();
    assert_eq!(job.code, Some(75), "{job}");
    assert!(job.stderr.contains("the end of Slurm's job"), "{job}");
    assert_resumed(&run(folder, 0, &["--max-time", "10m"]).success());
}

#[test]
fn without_checkpoints_a_signal_ends_the_run_and_says_so() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let none = ["--set", "optimization.streaming.enable_checkpoints=false"];
    let outcome = run(folder, 0, &none).env("HOMODYNE_FAULT", "0:1:signal").outcome();
    outcome.assert_error(5, &["SIGTERM", "enable_checkpoints"]);
    assert!(!folder.join(CHECKPOINTS).exists());
}

/// For docs/validation.md: killed a hundred times at random moments, on changing numbers of ranks, streamed or not, with a save
/// every 10 ms, so that kills come inside looks at the data and saves.
#[test]
#[ignore = "some minutes; cargo test --release --test program -- restart:: --ignored --nocapture"]
fn killed_a_hundred_times() {
    use rand::{RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(5);
    let folder = scratch();
    let folder = folder.path();
    let angles = &[-80.0, -65.0, -50.0, -35.0, -20.0, -5.0, 5.0, 20.0, 35.0, 50.0, 65.0, 80.0];
    Sample { frames: 1500, angles, ..Sample::FLOW }.make_as(folder, "native");
    let expected = undisturbed(folder);
    let (mut kills, mut runs, mut resumed, mut nodes, mut finished) = (0, 0, 0, 0, 0);
    while kills < 100 {
        let streaming = rng.random_bool(0.5);
        let strategy = if streaming { ["--strategy", "streaming"] } else { ["--strategy", "chunked"] };
        let mut killed = 0;
        // a chain of kills, then one that is left alone
        for _ in 0..rng.random_range(1..=4) {
            let ranks = [0, 1, 2, 4][rng.random_range(0..4)];
            let time = std::time::Duration::from_millis(rng.random_range(150..3000));
            let busy = run(folder, ranks, &strategy).env("HOMODYNE_SAVE_MS", "10");
            // passes that begin late, so that most kills come while the fit is made
            let code = busy.env("HOMODYNE_FAULT", "0:1:wait=30").start().killed_after(time, rng.random_bool(0.5));
            runs += 1;
            if code == Some(0) {
                assert_eq!(parameters(&folder.join("homodyne_results")), expected);
                finished += 1;
            } else {
                killed += 1;
            }
        }
        kills += killed;
        let left = folder.join(CHECKPOINTS).exists()
            && fs::read_dir(folder.join(CHECKPOINTS))
                .unwrap()
                .any(|entry| entry.unwrap().file_name().to_string_lossy().starts_with("checkpoint-"));
        let ranks = [0, 1, 2, 4][rng.random_range(0..4)];
        let end = run(folder, ranks, &strategy).success();
        assert_eq!(parameters(&folder.join("homodyne_results")), expected, "after {kills} kills");
        assert_eq!(end.stderr.contains("info: resumed from "), left, "{end}");
        resumed += usize::from(left);
        nodes += usize::from(end.stderr.contains("matrices are there from an earlier run"));
    }
    println!(
        "{kills} kills of {runs} runs ({finished} were faster); {resumed} of the last runs resumed, {nodes} found nodes; the same bits always"
    );
}
