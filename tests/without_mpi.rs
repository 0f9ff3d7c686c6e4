//! The program as it is built for a laptop, without MPI:
//! `cargo test --release --no-default-features --test program -- without_mpi::`.
#![cfg(not(feature = "mpi"))]

use crate::common::files::Sample;
use crate::common::{alone, json, parameters, scratch, summary};

#[test]
fn one_process_fits_and_says_that_there_is_no_mpi() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let arguments = ["--config", "config.yaml", "--truth", "data_truth.json"];
    let outcome = alone(folder, &arguments).success();
    assert!(outcome.stdout.contains("Result:"), "{outcome}");
    let results = folder.join("homodyne_results");
    assert_eq!(parameters(&results)["convergence_status"], "converged");
    assert_eq!(summary(&results)["ranks"], 1);

    let status = alone(folder, &["device", "status", "--json", "device.json"]).success();
    assert!(status.stdout.contains("built without it"), "{status}");
    assert!(json(&folder.join("device.json"))["mpi"].is_null());

    // the other commands that know of ranks
    let plan = alone(folder, &["--config", "config.yaml", "--dry-run"]).success();
    assert!(plan.stdout.contains("rank"), "{plan}");
    alone(folder, &["benchmark", "--points", "1e5", "--parameters", "3"]).success();
}

#[test]
fn several_processes_are_refused() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    for (count, rank, launcher) in [
        ("OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK", "mpirun"),
        ("PMI_SIZE", "PMI_RANK", "mpirun"),
        ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "srun"),
    ] {
        let started = |n: &str| alone(folder, &["--config", "config.yaml"]).env(count, n).env(rank, "0");
        started("4").outcome().assert_error(2, &[&format!("{launcher} started 4 processes"), "built without MPI"]);
        started("1").success();
    }
}
