//! Jobs of several ranks: the same numbers however many there are, and one clear end when one of them fails.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::common::files::Sample;
use crate::common::{Outcome, Run, alone, json, parameters, scratch, tree, with_ranks};

/// The job must end within 5 s of the fault; the rest is for starting several ranks on a busy machine.
const ENDS_WITHIN: Duration = Duration::from_secs(15);

#[test]
fn ranks_and_threads_change_nothing_in_the_result() {
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    let arguments = |threads: usize, output: &str| {
        ["--config", "config.yaml", "--threads", &threads.to_string(), "--output-dir", output].map(String::from)
    };
    let one = folder.join("alone");
    alone(folder, &arguments(1, "alone")).success();
    let expected = parameters(&one);
    assert_eq!(expected["convergence_status"], "converged");
    for ranks in 1..=4 {
        for threads in 1..=2 {
            let output = format!("r{ranks}t{threads}");
            with_ranks(ranks, folder, &arguments(threads, &output)).success();
            let results = folder.join(&output);
            assert_eq!(parameters(&results), expected, "{ranks} ranks of {threads} threads");

            let analysis = |folder: &Path| json(&folder.join("nlsq/analysis_results_nlsq.json"));
            let (own, first) = (analysis(&results), analysis(&one));
            for part in ["fit_quality", "dataset_info"] {
                assert_eq!(own[part], first[part], "{ranks} ranks of {threads} threads");
            }
            assert_eq!(own["optimization_summary"]["iterations"], first["optimization_summary"]["iterations"]);
            assert_eq!(own["optimization_summary"]["ranks"], ranks);
            let metrics = json(&results.join("nlsq/convergence_metrics.json"));
            let used = metrics["device_info"]["ranks"].as_array().unwrap();
            assert!(used.len() == ranks && used.iter().all(|r| r["threads"] == threads), "{used:?}");
        }
    }
}

#[test]
fn more_ranks_than_there_is_work_for_change_nothing_either() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 12, ..Sample::STILL }.make(folder);
    let fit = |ranks: usize, output: &str| {
        let outcome = with_ranks(ranks, folder, &["--config", "config.yaml", "--output-dir", output]).outcome();
        (outcome.code, parameters(&folder.join(output)))
    };
    let one = fit(1, "one");
    assert!(matches!(one.0, Some(0 | 4)));
    assert_eq!(fit(4, "four"), one);
}

/// For docs/scaling.md: far more ranks than cores, each with a sliver of the data.
#[test]
#[ignore = "64 processes; cargo test --release --test program -- mpi:: --ignored"]
fn sixty_four_ranks_change_nothing() {
    let folder = scratch();
    let folder = folder.path();
    Sample { frames: 400, ..Sample::FLOW }.make(folder);
    let fit = |ranks: usize| {
        let output = format!("r{ranks}");
        let arguments = ["--config", "config.yaml", "--threads", "1", "--output-dir", &output];
        let outcome = with_ranks(ranks, folder, &arguments).success();
        println!("{ranks} ranks: {:.1} s", outcome.took.as_secs_f64());
        parameters(&folder.join(&output))
    };
    let one = fit(1);
    assert_eq!(one["convergence_status"], "converged");
    assert_eq!(fit(64), one);
}

#[test]
fn the_node_with_the_least_memory_counts() {
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    let mut command = std::process::Command::new(crate::common::mpirun());
    let program = [crate::common::PROGRAM, "--config", "config.yaml"];
    command.args(["-n", "1"]).args(program).args([":", "-n", "1", "env", "HOMODYNE_MEMORY_LIMIT=0.0001"]).args(program);
    crate::common::other(folder.path(), command).outcome().assert_error(2, &["on the node of rank 1 allows 0.00 GB"]);
}

#[test]
fn the_launcher_of_another_mpi_is_refused() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    // as Debian names them
    let other = if crate::common::srun_plugin() == "pmix" { "mpirun.mpich" } else { "mpirun.openmpi" };
    let is_there = std::process::Command::new(other).arg("--version").output().is_ok();
    if !is_there {
        println!("left out: there is no {other} here");
        return;
    }
    let mut command = std::process::Command::new(other);
    command.args(["-n", "2", crate::common::PROGRAM, "--config", "config.yaml"]);
    let outcome = crate::common::other(folder.path(), command).outcome();
    outcome.assert_error(2, &["mpirun started 2 processes", "that mpirun belongs to another MPI"]);
}

#[test]
fn the_report_is_printed_once() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let outcome = with_ranks(2, folder.path(), &["--config", "config.yaml"]).success();
    let count = |text: &str, what: &str| text.lines().filter(|l| l.starts_with(what)).count();
    assert_eq!(count(&outcome.stdout, "Result:"), 1, "{outcome}");
    assert_eq!(count(&outcome.stderr, "error:"), 0, "{outcome}");
    let quiet = with_ranks(2, folder.path(), &["--config", "config.yaml", "--quiet"]).success();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""), "{quiet}");
}

#[test]
fn without_a_terminal_the_log_says_how_far_it_is() {
    let folder = scratch();
    Sample::FLOW.make(folder.path());
    let outcome = with_ranks(2, folder.path(), &["--config", "config.yaml"]).success();
    for part in ["info: search on ", "info: full resolution, "] {
        assert_eq!(outcome.stderr.lines().filter(|l| l.starts_with(part)).count(), 1, "{part}: {outcome}");
    }
}

#[test]
fn warnings_of_every_rank_are_heard() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let arguments = ["--config", "config.yaml"];
    let run = |more: &[&str]| {
        let arguments = [&arguments, more].concat();
        with_ranks(2, folder.path(), &arguments).env("HOMODYNE_FAULT", "1:1:warn").success().stderr
    };
    let said = run(&[]);
    assert!(said.lines().any(|l| l.starts_with("warning: rank 1: ") || l.starts_with("warn: rank 1: ")), "{said}");
    assert_eq!(run(&["--quiet"]), "");
}

#[test]
fn too_many_threads_are_warned_about_whoever_asked() {
    let folder = scratch();
    Sample::STILL.make(folder.path());
    let warned =
        |outcome: Outcome| outcome.stderr.lines().any(|l| l.starts_with("warn") && l.contains("60 threads on "));
    let arguments = ["--config", "config.yaml"];
    let asked = with_ranks(2, folder.path(), &["--config", "config.yaml", "--threads", "60"]).success();
    let slurm = with_ranks(2, folder.path(), &arguments).env("SLURM_CPUS_PER_TASK", "60").success();
    if std::thread::available_parallelism().is_ok_and(|cores| cores.get() < 60) {
        assert!(warned(asked) && warned(slurm));
    }
}

/// A fit that fails on one rank, with the results of an earlier one in its output folder, which must stay.
struct Failing {
    folder: tempfile::TempDir,
}

impl Failing {
    fn new() -> Self {
        let folder = scratch();
        Sample::FLOW.make(folder.path());
        Self { folder }
    }

    /// An earlier run's results.
    fn put_earlier(&self) {
        let out = self.folder.path().join("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(out.join("nlsq")).unwrap();
        fs::write(out.join("nlsq/parameters.json"), "{\"earlier\": 1}\n").unwrap();
    }

    /// They are as they were, and nothing else is there.
    #[track_caller]
    fn assert_untouched(&self) {
        let out = self.folder.path().join("out");
        let left = tree(&out);
        assert_eq!(fs::read_to_string(out.join("nlsq/parameters.json")).unwrap(), "{\"earlier\": 1}\n");
        // the lock of a job whose ranks were ended stays, and the next one sees that its owner is dead
        let own = left.keys().filter(|path| !path.ends_with(".homodyne-results.lock")).count();
        assert_eq!(own, 2, "something was written: {:?}", left.keys());
    }

    #[track_caller]
    fn run(&self, ranks: usize, fault: &str) -> Outcome {
        self.put_earlier();
        let arguments = ["--config", "config.yaml", "--threads", "1", "--output-dir", "out"];
        let run: Run = with_ranks(ranks, self.folder.path(), &arguments);
        let outcome = run.env("HOMODYNE_FAULT", fault).outcome();
        assert!(outcome.took < ENDS_WITHIN, "{ranks} ranks, {fault}: {outcome}");
        assert!(outcome.code.is_some_and(|code| code != 0), "{ranks} ranks, {fault}: {outcome}");
        self.assert_untouched();
        outcome
    }

    /// Faults on the first rank, the second and the last, at the first pass and at a later one.
    fn everywhere(&self, kind: &str, check: impl Fn(usize, usize, Outcome)) {
        for (ranks, rank, pass) in [(2, 0, 1), (2, 1, 12), (4, 0, 12), (4, 1, 3), (4, 3, 1)] {
            check(ranks, rank, self.run(ranks, &format!("{rank}:{pass}:{kind}")));
        }
    }
}

#[test]
fn an_error_on_a_rank_ends_the_job_with_one_line_that_names_it() {
    Failing::new().everywhere("error", |ranks, rank, outcome| {
        outcome.assert_error(5, &[&format!("rank {rank}")]);
        assert!(outcome.stderr.contains("HOMODYNE_FAULT"), "{ranks} ranks: {outcome}");
    });
}

#[test]
fn a_panic_on_a_rank_ends_the_job_with_one_line_that_names_it() {
    Failing::new().everywhere("panic", |_, rank, outcome| {
        assert_eq!(outcome.code, Some(5), "{outcome}");
        let lines: Vec<&str> = outcome.stderr.lines().filter(|l| l.starts_with("error:")).collect();
        assert!(lines.len() == 1 && lines[0].contains(&format!("rank {rank} panicked")), "{outcome}");
    });
}

#[test]
fn a_rank_that_is_killed_ends_the_job() {
    // the launcher says who it was
    Failing::new().everywhere("kill", |_, _, outcome| {
        assert!(!outcome.stdout.contains("Result:"), "{outcome}");
    });
}

#[test]
fn a_failure_of_the_only_process_is_reported_alike() {
    let failing = Failing::new();
    let run = |fault| {
        failing.put_earlier();
        let arguments = ["--config", "config.yaml", "--threads", "1", "--output-dir", "out"];
        alone(failing.folder.path(), &arguments).env("HOMODYNE_FAULT", fault).outcome()
    };
    run("0:2:error").assert_error(5, &["rank 0"]);
    failing.assert_untouched();
    let panicked = run("0:2:panic");
    assert_eq!(panicked.code, Some(5), "{panicked}");
    assert_eq!(panicked.stderr.lines().filter(|l| l.starts_with("error: rank 0 panicked")).count(), 1, "{panicked}");
    failing.assert_untouched();
}
