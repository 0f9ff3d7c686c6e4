//! Runs that keep checkpoints, and go on from them.

use std::path::Path;

use serde_json::Value;

use super::{Outcome, Run, alone, parameters, with_ranks};

/// The program on so many ranks, 0 = alone, that saves after every full pass.
pub fn run(folder: &Path, ranks: usize, more: &[&str]) -> Run {
    let arguments = ["--config", "config.yaml", "--threads", "1", "--set"];
    let frequency = "optimization.streaming.checkpoint_frequency=1";
    let arguments = [&arguments[..], &[frequency], more].concat();
    if ranks == 0 { alone(folder, &arguments) } else { with_ranks(ranks, folder, &arguments) }
}

/// What a run finds that is left alone; it is in `undisturbed`.
#[track_caller]
pub fn undisturbed(folder: &Path) -> Value {
    run(folder, 0, &["--output-dir", "undisturbed"]).success();
    let expected = parameters(&folder.join("undisturbed"));
    assert_eq!(expected["convergence_status"], "converged");
    expected
}

/// That a run has gone on from a checkpoint, and said so once.
#[track_caller]
pub fn assert_resumed(outcome: &Outcome) {
    let lines = outcome.stderr.lines().filter(|line| line.starts_with("info: resumed from ")).count();
    assert_eq!(lines, 1, "{outcome}");
}
