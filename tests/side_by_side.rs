//! Many small fits at once, started from one folder.

use std::path::Path;

use crate::common::files::Sample;
use crate::common::kept::run;
use crate::common::{alone, parameters, scratch};

/// Every one saves after every pass and takes its time, so that each begins while others have something saved.
fn fit(folder: &Path, output: &str) -> crate::common::Run {
    run(folder, 0, &["--output-dir", output]).env("HOMODYNE_SAVE_MS", "0").env("HOMODYNE_FAULT", "0:1:wait=20")
}

#[test]
fn twelve_fits_from_one_folder_succeed_and_leave_only_their_results() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let names: Vec<String> = (0..12).map(|k| format!("of{k}")).collect();
    let begin = |name: &String| {
        std::thread::sleep(std::time::Duration::from_millis(20));
        fit(folder, name).start()
    };
    let running: Vec<_> = names.iter().map(begin).collect();
    for (running, name) in running.into_iter().zip(&names) {
        let outcome = running.outcome();
        assert_eq!(outcome.code, Some(0), "{name}: {outcome}");
        assert!(!outcome.stderr.contains("warn: no checkpoint"), "{outcome}");
        assert_eq!(parameters(&folder.join(name)), parameters(&folder.join("of0")));
        let left = std::fs::read_dir(folder.join(name)).unwrap().count();
        assert_eq!(left, 1, "{name} holds more than nlsq");
    }
    assert!(!folder.join("checkpoints").exists());
}

#[test]
fn a_process_that_no_launcher_has_started_does_not_start_mpi() {
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    // as in the shell of a job; with these Open MPI doesn't start at all
    let broken = |run: crate::common::Run| run.env("OMPI_MCA_pml", "nosuch").env("OMPI_MCA_ess", "nosuch");
    let job = |run: crate::common::Run| run.env("SLURM_JOB_ID", "1").env("SLURM_PROCID", "0").env("SLURM_NTASKS", "12");
    let far = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 10_000;
    broken(alone(folder, &["--config", "config.yaml"])).success();
    let in_job = job(broken(alone(folder, &["--config", "config.yaml"])));
    in_job.env("SLURM_JOB_END_TIME", &far.to_string()).success();
}
