//! Figures of `docs/validation.md`, measured on the real program: `cargo test --release --test figures -- --ignored --nocapture`.

mod common;

use std::fs;

use common::{alone, json, scratch, with_ranks};

const GB: f64 = (1u64 << 30) as f64;

/// 23 angles × 1000 frames, laminar, from `values: null`, two ranks of one thread: the whole command.
#[test]
#[ignore = "a timing, for docs/validation.md"]
fn twenty_three_angles_of_a_thousand_frames() {
    let folder = scratch();
    let angles: Vec<String> = (0..23).map(|k| (8 * k - 88).to_string()).collect();
    let config = format!(
        "analysis_mode: laminar_flow
analyzer_parameters:
  dt: 0.1
  scattering: {{ wavevector_q: 0.0054 }}
  geometry: {{ stator_rotor_gap: 2.0e6 }}
experimental_data: {{ file_path: data.hdf }}
initial_parameters: {{ values: null }}
simulation:
  frames: 1000
  angles: [{}]
  noise: 0.01
  seed: 3
  parameters: {{ D0: 4000, alpha: -0.4, D_offset: 300, gamma_dot_t0: 4.0e-4, beta: -0.3, gamma_dot_t_offset: 5.0e-5, phi0: -2 }}
",
        angles.join(", ")
    );
    fs::write(folder.path().join("config.yaml"), config).unwrap();
    alone(folder.path(), &["simulate", "--config", "config.yaml", "--out", "data.hdf"]).success();
    let fit = ["--config", "config.yaml", "--threads", "1", "--truth", "data_truth.json"];
    // the first run warms the file cache
    let mut best: Option<common::Outcome> = None;
    for _ in 0..4 {
        let outcome = with_ranks(2, folder.path(), &fit).success();
        if best.as_ref().is_none_or(|b| outcome.took < b.took) {
            best = Some(outcome);
        }
    }
    let best = best.unwrap();
    println!("{}", best.stdout);
    let metrics = json(&folder.path().join("homodyne_results/nlsq/convergence_metrics.json"));
    let ranks = metrics["device_info"]["ranks"].as_array().unwrap();
    let peak: f64 = ranks.iter().map(|r| r["peak_memory_bytes"].as_f64().unwrap()).sum();
    println!("whole command {:.2} s, peak memory of both ranks {:.3} GB", best.took.as_secs_f64(), peak / GB);
    assert!(best.took.as_secs_f64() < 10.0);
    assert!(peak < 500e6);
    assert_eq!(metrics["convergence"]["status"], "converged");
}

/// Share of a pass in which threads wait: for the tables at its beginning, for the last task of every batch, for the sums
/// at its end. The least of many passes, for other work on the machine makes threads wait, too.
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
        for (batches, pairs) in [("one batch", usize::MAX), ("batches of 4 M pairs", 4_000_000)] {
            objective.engine().set_batches(pairs, None);
            for pass in [Pass::Gram, Pass::Chi2] {
                let mut idle: Vec<f64> = Vec::new();
                for _ in 0..PASSES {
                    objective.evaluate(0, &[sample.point()], pass).unwrap();
                    idle.push(100.0 * objective.engine().idle());
                }
                idle.sort_by(f64::total_cmp);
                println!(
                    "{} × {}, {batches}, {pass:?}: idle {:.1} % at best, median {:.1} %",
                    shape.1,
                    shape.0,
                    idle[0],
                    idle[PASSES / 2]
                );
            }
        }
    }
}
