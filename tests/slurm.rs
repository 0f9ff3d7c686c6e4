//! The program in a real Slurm: two nodes, the templates of `slurm/`, jobs that are cut off.

mod cluster;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::draws::{FEW, said};
use crate::common::files::Sample;
use crate::common::{Outcome, PROGRAM, parameters, scratch, srun_plugin, summary};
use cluster::{Cluster, Job, parent, ranks_in, signal};

/// What a job has written.
fn log(folder: &Path, job: impl std::fmt::Display) -> String {
    fs::read_to_string(folder.join(format!("homodyne-{job}.log"))).unwrap_or_default()
}

/// A sample with the results of one process in `alone`.
fn prepared(folder: &Path) -> serde_json::Value {
    Sample::FLOW.make(folder);
    crate::common::alone(folder, &["--config", "config.yaml", "--output-dir", "alone"]).success();
    parameters(&folder.join("alone"))
}

/// The program under srun with one of its plugins.
#[track_caller]
fn under_srun(cluster: &Cluster, folder: &Path, (plugin, srun): (&str, &[&str]), own: &[&str]) -> Outcome {
    let plugin = format!("--mpi={plugin}");
    let arguments = [&[plugin.as_str()], srun, &[PROGRAM, "--config", "config.yaml"], own].concat();
    let run = || cluster.command(folder, "srun", &arguments).outcome();
    let first = run();
    if has_raced(&first.stderr) { run() } else { first }
}

#[test]
fn two_nodes_give_the_bits_of_one_process() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    let expected = prepared(folder);
    let plugin = srun_plugin();
    let fit = |plugin: &str, srun: &[&str], own: &[&str]| under_srun(&cluster, folder, (plugin, srun), own);
    for (nodes, tasks) in [("-N1", "-n2"), ("-N2", "-n2"), ("-N2", "-n4")] {
        let outcome = fit(plugin, &[nodes, tasks], &[]);
        assert_eq!(outcome.code, Some(0), "{nodes} {tasks}: {outcome}");
        assert_eq!(parameters(&folder.join("homodyne_results")), expected, "{nodes} {tasks}");
        assert!(!outcome.stderr.contains("warning: "), "{outcome}");
    }
    let outcome = fit(plugin, &["-N2", "-n4"], &["--set", "distributed.io=parallel"]);
    assert!(outcome.code == Some(0) && outcome.stderr.contains("info: 4 of 4 ranks read "), "{outcome}");
    assert_eq!(parameters(&folder.join("homodyne_results")), expected, "reading in parallel");
    // more threads than the job has processors for
    let many = fit(plugin, &["-N1", "-n2", "--cpus-per-task=2"], &["--threads", "3"]);
    assert_eq!(many.code, Some(0), "{many}");
    assert!(many.stderr.contains("but Slurm has ") && many.stderr.contains("--cpus-per-task=3"), "{many}");
    // ranks that don't find each other
    let refused = fit("none", &["-N2", "-n2"], &[]);
    assert_eq!(refused.code, Some(2), "{refused}");
    let cure = format!("try `srun --mpi={plugin}`");
    assert!(refused.stderr.contains("srun started 2 tasks") && refused.stderr.contains(&cure), "{refused}");
    // the plugin of others: some know it, some end by themselves, some don't see it
    let other = fit(if plugin == "pmix" { "pmi2" } else { "pmix" }, &["-N2", "-n2"], &[]);
    assert!(other.code == Some(0) || other.stderr.contains(&cure), "{other}");
}

#[test]
fn draws_in_slurm_are_the_bits_of_one_process() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    Sample::STILL.make(folder);
    let own = ["--config", "config.yaml", "--output-dir", "alone"];
    let alone = crate::common::alone(folder, &[&own[..], &FEW].concat()).outcome();
    assert!(matches!(alone.code, Some(0 | 4)), "{alone}");
    let nodes = under_srun(&cluster, folder, (srun_plugin(), &["-N2", "-n4"]), &FEW);
    assert_eq!(nodes.code, alone.code, "{nodes}");
    assert_eq!(said(folder, "homodyne_results"), said(folder, "alone"));
    assert_eq!(summary(&folder.join("homodyne_results"))["ranks"], 4);
}

#[test]
fn every_template_runs() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    let expected = prepared(folder);
    let kernels = crate::common::kernels::built("library.cpp", "kernels-for-slurm.so");

    let jobs = [
        ("one-node.sh", &["--cpus-per-task=1"][..], &[][..]),
        ("many-nodes.sh", &["--nodes=2", "--cpus-per-task=1"], &[]),
        ("streaming.sh", &["--nodes=2", "--cpus-per-task=1"], &[]),
        (
            "gpu.sh",
            &["--nodes=2", "--ntasks-per-node=2", "--cpus-per-task=1"],
            &[("HOMODYNE_EMULATED_GPU", kernels.to_str().unwrap())],
        ),
    ];
    for (template, options, variables) in jobs {
        let results = folder.join("of").join(template);
        let arguments = ["config.yaml", "--output-dir", results.to_str().unwrap()];
        let (job, ended) =
            waited(&cluster, folder, &|| cluster.submit(folder, template, (options, variables, &arguments)));
        assert_eq!(
            (ended.state.as_str(), ended.exit.as_str()),
            ("COMPLETED", "0:0"),
            "{template}: {}",
            log(folder, job)
        );
        if template == "gpu.sh" {
            assert_eq!(summary(&results)["device"], "cuda");
            assert_eq!(parameters(&results)["convergence_status"], "converged");
        } else {
            assert_eq!(parameters(&results), expected, "{template}");
        }
        assert_eq!(summary(&results)["ranks"], if template == "one-node.sh" { 2 } else { 4 });
    }

    let names = ["a", "b", "c", "d"];
    for name in names {
        fs::copy(folder.join("data.hdf"), folder.join(format!("{name}.hdf"))).unwrap();
    }
    fs::write(folder.join("files.txt"), names.map(|name| format!("{name}.hdf\n")).concat()).unwrap();
    let options = ["--array=1-4%2", "--cpus-per-task=1", "--mem=500M"];
    let job = cluster.submit(folder, "array.sh", (&options, &[], &["config.yaml", "files.txt"]));
    for (k, name) in names.into_iter().enumerate() {
        let task = format!("{job}_{}", k + 1);
        let begin = std::time::Instant::now();
        while cluster.job(&task).state != "COMPLETED" {
            assert!(begin.elapsed().as_secs() < 60, "{task}: {:?}", cluster.job(&task));
            std::thread::sleep(std::time::Duration::from_millis(200));
        }
        assert_eq!(parameters(&folder.join("results").join(name)), expected, "{name}");
        assert!(log(folder, format!("{job}-{}", k + 1)).contains(&format!("{name}.hdf -> results/{name}")));
    }
}

/// Whether Open MPI has met one of its own races in the last start of a job: ranks of one machine that connect with each other at the
/// same moment, which real nodes aren't; a message that comes while `MPI_Init` hasn't registered who is to receive it, which it
/// calls anyway.
fn has_raced(text: &str) -> bool {
    let last = text.rsplit_once("homodyne: not done").or_else(|| text.rsplit_once("homodyne: NOT done"));
    let last = last.map_or(text, |(_, last)| last);
    let is_in_init = last.contains("Segmentation fault") && !last.contains("info: ");
    is_in_init || last.contains("Open MPI failed to TCP connect to a peer")
}

/// Most jobs that are submitted because of it.
const TRIES: usize = 3;

/// What becomes of a job; once more where Open MPI has met a race.
#[track_caller]
fn without_race(folder: &Path, run: &dyn Fn() -> (u32, Job)) -> (u32, Job) {
    let mut tries = 0;
    loop {
        let (job, ended) = run();
        tries += 1;
        if tries == TRIES || !has_raced(&log(folder, job)) {
            return (job, ended);
        }
    }
}

/// Submits a job and waits for its end.
#[track_caller]
fn waited(cluster: &Cluster, folder: &Path, submit: &dyn Fn() -> u32) -> (u32, Job) {
    without_race(folder, &|| {
        let job = submit();
        (job, cluster.wait(job))
    })
}

/// Two ranks on each of two nodes.
const WIDE: [&str; 2] = ["--nodes=2", "--cpus-per-task=1"];

/// Submits the template that goes on by itself, with passes so slow that there is time to do something to it, and waits until it
/// has kept something.
#[track_caller]
fn at_work(cluster: &Cluster, folder: &Path, (options, wait): (&[&str], &str), more: &[&str]) -> u32 {
    let arguments = [&["config.yaml", "--set", "optimization.streaming.checkpoint_frequency=1"], more].concat();
    let options = [&WIDE, options].concat();
    let mut tries = 0;
    loop {
        let job = cluster.submit(folder, "streaming.sh", (&options, &[("HOMODYNE_FAULT", wait)], &arguments));
        let is_at_work = |now: &Job| ["PENDING", "RUNNING", "CONFIGURING"].contains(&now.state.as_str());
        let now = cluster.wait_until(job, "a checkpoint", |now| {
            let entries = fs::read_dir(folder.join("homodyne_results/checkpoints")).into_iter().flatten().flatten();
            let kept = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("checkpoint-")).count();
            kept > 0 || !is_at_work(now)
        });
        tries += 1;
        if is_at_work(&now) {
            return job;
        }
        assert!(tries < TRIES && has_raced(&log(folder, job)), "{now:?}\n{}", log(folder, job));
    }
}

const SLOW: &str = "0:16:wait=2000";

/// That the same command goes on to the bits of a run that was left alone.
#[track_caller]
fn assert_goes_on(cluster: &Cluster, folder: &Path, expected: &serde_json::Value) {
    let (job, ended) =
        waited(cluster, folder, &|| cluster.submit(folder, "streaming.sh", (&WIDE, &[], &["config.yaml"])));
    let text = log(folder, job);
    assert_eq!(ended.state, "COMPLETED", "{ended:?}\n{text}");
    assert!(text.contains("info: resumed from ") && text.contains("homodyne: done after 0 restart(s)"), "{text}");
    assert_eq!(parameters(&folder.join("homodyne_results")), *expected);
}

#[test]
fn a_job_crosses_wall_limits() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    Sample::FLOW.make(folder);
    // a minute is the shortest limit there is, and the program ends 20 s before it: so eleven passes of nine seconds
    let start = "initial_parameters.values=[2000.0, -0.2, 100.0, 0.0005, -0.1, 0.0001, 0.0]";
    let names =
        "initial_parameters.parameter_names=[D0, alpha, D_offset, gamma_dot_t0, beta, gamma_dot_t_offset, phi0]";
    let start = ["--config", "config.yaml", "--set", names, "--set", start];
    crate::common::alone(folder, &[&start[..], &["--output-dir", "alone"]].concat()).success();
    let expected = parameters(&folder.join("alone"));
    let options = [&WIDE[..], &["--time=1", "--signal=B:USR1@5"]].concat();
    let (job, ended) = waited(&cluster, folder, &|| {
        let _ = fs::remove_dir_all(folder.join("homodyne_results/checkpoints"));
        cluster.submit(folder, "streaming.sh", (&options, &[("HOMODYNE_FAULT", "0:1:wait=9000")], &start[1..]))
    });
    let text = log(folder, job);
    assert!(ended.state == "COMPLETED" && ended.restarts >= 2, "{ended:?}\n{text}");
    assert!(text.contains("homodyne: not done yet, restart 2 of at most 50 is queued"), "{text}");
    assert!(text.trim_end().ends_with(&format!("homodyne: done after {} restart(s)", ended.restarts)), "{text}");
    assert_eq!(parameters(&folder.join("homodyne_results")), expected);
}

#[test]
fn a_preempted_job_goes_on_and_tries_are_bounded() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    let expected = prepared(folder);
    let (job, ended) = without_race(folder, &|| {
        let _ = fs::remove_dir_all(folder.join("homodyne_results/checkpoints"));
        let job = at_work(&cluster, folder, (&[], SLOW), &[]);
        let urgent =
            ["--parsable", "--partition=urgent", "--nodes=2", "--exclusive", "--output=urgent.log", "--wrap=sleep 2"];
        let urgent: u32 = cluster.command(folder, "sbatch", &urgent).success().stdout.trim().parse().unwrap();
        assert_eq!(cluster.wait(urgent).state, "COMPLETED");
        (job, cluster.wait(job))
    });
    let text = log(folder, job);
    assert!(ended.state == "COMPLETED" && ended.restarts >= 1, "{ended:?}\n{text}");
    assert!(text.contains("info: resumed from "), "{text}");
    assert_eq!(parameters(&folder.join("homodyne_results")), expected);

    // told to stop by hand, and not allowed to try again
    let _ = fs::remove_dir_all(folder.join("homodyne_results/checkpoints"));
    let job = at_work(&cluster, folder, (&["--export=ALL,MAX_RESTARTS=0"], SLOW), &[]);
    cluster.ask("scancel", &["--signal=USR1", "--full", &job.to_string()]);
    let ended = cluster.wait(job);
    let text = log(folder, job);
    assert!(ended.state == "FAILED" && ended.exit == "75:0", "{ended:?}\n{text}");
    assert!(text.contains("homodyne: NOT done after 0 restarts: allow more with MAX_RESTARTS"), "{text}");
}

#[test]
fn jobs_that_lose_a_rank_end_and_go_on() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    let expected = prepared(folder);
    let limit = ["--set", "distributed.silence_limit=3"];
    // (signal to a rank, the rank, what is said, most time to the end in s: the limit, what Slurm waits for the rest, and a slow machine)
    let cases = [
        ("KILL", 3, "task 3", 30),
        ("KILL", 0, "task 0", 30),
        ("STOP", 2, "rank 2 on ", 40),
        ("STOP", 0, "rank 0 on ", 40),
    ];
    for (name, rank, said, most) in cases {
        let _ = fs::remove_dir_all(folder.join("homodyne_results/checkpoints"));
        let job = at_work(&cluster, folder, (&[], SLOW), &limit);
        let ranks = ranks_in(folder);
        assert_eq!(ranks.len(), 4, "{ranks:?}");
        let begin = Instant::now();
        signal(name, ranks[rank]);
        let ended = cluster.wait(job);
        let (took, text) = (begin.elapsed(), log(folder, job));
        println!("{name} to rank {rank}: {} after {:.1} s", ended.state, took.as_secs_f64());
        assert_eq!(ended.state, "FAILED", "{ended:?}\n{text}");
        assert!(took < Duration::from_secs(most), "{name} {rank}: {took:?}\n{text}");
        assert!(text.contains(said) && text.contains("homodyne: FAILED with exit code "), "{name} {rank}:\n{text}");
        if name == "STOP" {
            assert!(
                text.contains("has been silent for 3 s") && text.contains("goes on from the last checkpoint"),
                "{text}"
            );
        }
        assert!(ranks_in(folder).is_empty(), "ranks stay behind");
        assert_goes_on(&cluster, folder, &expected);
    }
}

#[test]
fn jobs_that_are_cancelled_or_lose_a_node_go_on() {
    let Some(cluster) = Cluster::start() else { return };
    let folder = scratch();
    let folder = folder.path();
    let expected = prepared(folder);
    let job = at_work(&cluster, folder, (&[], SLOW), &[]);
    let begin = Instant::now();
    cluster.ask("scancel", &[job.to_string()]);
    let ended = cluster.wait(job);
    println!("scancel: {} after {:.1} s", ended.state, begin.elapsed().as_secs_f64());
    assert_eq!(ended.state, "CANCELLED", "{ended:?}");
    assert_goes_on(&cluster, folder, &expected);

    // the daemon of a node that isn't the first one's: Slurm gives the node up after ten seconds and queues the job again
    let job = at_work(&cluster, folder, (&[], "0:16:wait=8000"), &[]);
    // what that daemon has started for the job outlives it
    let left = parent(ranks_in(folder)[2]);
    cluster.kill_node(2);
    let begin = Instant::now();
    let queued =
        cluster.wait_until(job, "the node to be given up", |now: &Job| now.restarts > 0 || now.state != "RUNNING");
    println!("lost node: {} after {:.1} s", queued.state, begin.elapsed().as_secs_f64());
    while !ranks_in(folder).is_empty() {
        assert!(begin.elapsed() < Duration::from_secs(60), "ranks stay behind: {:?}", ranks_in(folder));
        std::thread::sleep(Duration::from_millis(100));
    }
    println!("lost node: the last rank is gone after {:.1} s", begin.elapsed().as_secs_f64());
    // the node comes back as after a reboot
    if Path::new(&format!("/proc/{left}")).exists() {
        signal("KILL", left);
    }
    // a daemon that comes back refuses the job that it is told to forget at the same moment, so another one goes on
    cluster.ask("scancel", &[job.to_string()]);
    cluster.wait(job);
    cluster.restart_node(2);
    assert_goes_on(&cluster, folder, &expected);
}
