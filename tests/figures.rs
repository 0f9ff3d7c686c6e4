//! Figures of `docs/validation.md`, measured on the real program: `cargo test --release --test program -- figures:: --ignored --nocapture
//! --test-threads=1`.

use std::fs;

use crate::common::files::Sample;
use crate::common::{alone, json, scratch, with_ranks};
use serde_json::Value;

const GB: f64 = (1u64 << 30) as f64;
/// Most memory of all ranks together: the data, a third as much again, and an allowance per rank (bytes).
const OVER_DATA: f64 = 1.3;
const PER_RANK: f64 = 150e6;
const RANKS: usize = 2;

/// Simulates laminar data with angles of equal spacing (degree), symmetric around 0, and fits them from `values: null` on two
/// ranks of one thread: the whole command, the best of four. Asserts memory, convergence and a time that leaves room for
/// slower machines.
fn measure(layout: &str, n_angles: i32, spacing: i32, n_frames: usize, seconds: f64) {
    let folder = scratch();
    let angles: Vec<String> = (0..n_angles).map(|k| (spacing * k - spacing * (n_angles - 1) / 2).to_string()).collect();
    let config = format!(
        "analysis_mode: laminar_flow
analyzer_parameters:
  dt: 0.1
  scattering: {{ wavevector_q: 0.0054 }}
  geometry: {{ stator_rotor_gap: 2.0e6 }}
experimental_data: {{ file_path: data.hdf }}
initial_parameters: {{ values: null }}
simulation:
  frames: {n_frames}
  angles: [{}]
  noise: 0.01
  seed: 3
  parameters: {{ D0: 4000, alpha: -0.4, D_offset: 300, gamma_dot_t0: 4.0e-4, beta: -0.3, gamma_dot_t_offset: 5.0e-5, phi0: -2 }}
",
        angles.join(", ")
    );
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    let simulate = ["simulate", "--config", "config.yaml", "--layout", layout, "--out", "data.hdf"];
    alone(folder.path(), &simulate).success();
    let fit = ["--config", "config.yaml", "--threads", "1", "--truth", "data_truth.json"];
    // the first run warms the file cache
    let mut best: Option<(crate::common::Outcome, Value)> = None;
    for _ in 0..4 {
        let outcome = with_ranks(RANKS, folder.path(), &fit).success();
        if best.as_ref().is_none_or(|(b, _)| outcome.took < b.took) {
            best = Some((outcome, json(&folder.path().join("homodyne_results/nlsq/convergence_metrics.json"))));
        }
    }
    let (best, metrics) = best.unwrap();
    println!("{}", best.stdout);
    let ranks = metrics["device_info"]["ranks"].as_array().unwrap();
    let peak: f64 = ranks.iter().map(|r| r["peak_memory_bytes"].as_f64().unwrap()).sum();
    let phase = |name: &str| {
        let phases = metrics["phases"].as_array().unwrap();
        phases.iter().find(|p| p["name"] == name).and_then(|p| p["seconds"].as_f64()).unwrap()
    };
    let read = phase("reading");
    let matrices = f64::from(n_angles) * (n_frames * n_frames * size_of::<f32>()) as f64;
    println!(
        "{layout}, {n_angles} × {n_frames}: whole command {:.2} s, read and dealt in {read:.2} s ({:.2} GB/s of matrices), peak memory of all ranks {:.3} GB",
        best.took.as_secs_f64(),
        matrices / read / GB,
        peak / GB
    );
    assert!(best.took.as_secs_f64() < seconds, "{:?}", best.took);
    let pairs = f64::from(n_angles) * ((n_frames - 1) * (n_frames - 2) / 2) as f64;
    assert!(peak < OVER_DATA * 4.0 * pairs + RANKS as f64 * PER_RANK, "{peak}");
    assert_eq!(metrics["convergence"]["status"], Value::from("converged"));
}

#[test]
#[ignore = "a timing, for docs/validation.md"]
fn twenty_three_angles_of_a_thousand_frames() {
    measure("aps-u", 23, 8, 1000, 10.0);
}

#[test]
#[ignore = "a timing, for docs/validation.md"]
fn eleven_angles_of_three_thousand_frames_native() {
    measure("native", 11, 16, 3000, 10.0);
}

#[test]
#[ignore = "a timing, for docs/validation.md"]
fn eleven_angles_of_three_thousand_frames_packed() {
    measure("aps-u", 11, 16, 3000, 15.0);
}

/// Share of a pass in which threads wait: for the tables at its beginning, for the last task, for the sums at its end. The least of many passes, for other work on the machine makes threads wait, too.
#[test]
#[ignore = "a timing, for docs/scaling.md"]
fn threads_that_wait() {
    use homodyne_mpi::benchmark::{Sample, pool};
    use homodyne_mpi::gram::{Objective, Pass};
    use homodyne_mpi::model::AnalysisMode;

    const PASSES: usize = 40;
    for shape in [(1000, 23), (3000, 11)] {
        let sample = Sample::new(AnalysisMode::LaminarFlow, shape);
        let mut objective = sample.objective(pool(2).unwrap()).unwrap();
        for pass in [Pass::Gram, Pass::Chi2] {
            let mut idle: Vec<f64> = Vec::new();
            for _ in 0..PASSES {
                objective.evaluate(0, &[sample.point()], pass).unwrap();
                idle.push(100.0 * objective.engine().idle());
            }
            idle.sort_by(f64::total_cmp);
            let (best, median) = (idle[0], idle[PASSES / 2]);
            println!("{} × {}, {pass:?}: idle {best:.1} % at best, median {median:.1} %", shape.1, shape.0);
        }
    }
}

/// A streamed fit with little more than a quarter of the memory that its data need, against reading the file twice, in turns.
#[test]
#[ignore = "a timing, for docs/validation.md"]
fn a_streamed_fit_and_two_readings() {
    use std::sync::atomic::AtomicU64;
    use std::time::Instant;

    use homodyne_mpi::benchmark::pool;
    use homodyne_mpi::cluster::reading::{Source, read_ahead};
    use homodyne_mpi::dataset::{Dataset, Selection};

    const N_ANGLES: usize = 48;
    const N_FRAMES: usize = 5000;
    const TURNS: usize = 3;
    let folder = scratch();
    let folder = folder.path();
    const ANGLES: [f64; N_ANGLES] = {
        let mut angles = [0.0; N_ANGLES];
        let mut k = 0;
        while k < N_ANGLES {
            angles[k] = -85.0 + 3.5 * k as f64;
            k += 1;
        }
        angles
    };
    Sample { frames: N_FRAMES, angles: &ANGLES, ..Sample::FLOW }.make_as(folder, "native");
    // a run in memory needs 3.18 GB by its dry run
    let limit = "performance.memory_limit_gb=0.85";
    let dataset = Dataset::open(&folder.join("data.hdf"), &Selection::default()).unwrap();
    let all: Vec<usize> = (0..N_ANGLES).collect();
    let mut best = [f64::INFINITY; 2];
    for _ in 0..TURNS {
        let begin = Instant::now();
        for _ in 0..2 {
            let retried = AtomicU64::new(0);
            let source = Source { dataset: &dataset, judges: false, plateaus: false, retries: 0, retried: &retried };
            read_ahead(&pool(2).unwrap(), source, &all, 2, |ahead| {
                for _ in &all {
                    let loaded = ahead.next(None).unwrap();
                    ahead.begin(loaded.matrix, loaded.sigma);
                }
            });
        }
        let read = begin.elapsed().as_secs_f64();
        let arguments = ["--config", "config.yaml", "--threads", "2", "--set", limit];
        let outcome = alone(folder, &arguments).success();
        assert!(outcome.stderr.contains("STREAMING"), "{outcome}");
        let turn = [read, outcome.took.as_secs_f64()];
        println!("two readings {:.2} s, the streamed command {:.2} s\n{}", turn[0], turn[1], outcome.stdout);
        best = std::array::from_fn(|k| best[k].min(turn[k]));
    }
    let rank = &json(&folder.join("homodyne_results/nlsq/convergence_metrics.json"))["device_info"]["ranks"][0];
    println!("{:.2} of two readings; {limit}; {rank}", best[1] / best[0]);
}
