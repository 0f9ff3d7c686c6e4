//! The pass over the pairs, against the pointwise reference in the same run: `cargo bench`.
//!
//! One item is one pair, so the throughput column is pairs per second. Data: two angles of 3000 frames (9 M pairs, 36 MB,
//! far beyond the caches) with 0.1 % missing values.

use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use homodyne_mpi::gram::{Local, Objective, Pass, Point};
use homodyne_mpi::model::{AnalysisMode, Basis, Experiment, ShearConvention, TimeAxis, reference};
use rand::{RngExt, SeedableRng};

const FRAMES: usize = 3000;
const ANGLES: [f64; 6] = [-50.0, -30.0, -10.0, 10.0, 30.0, 50.0];
const PHYSICAL: [f64; 7] = [300.0, -0.1, 10.0, 1e-5, 0.2, 1e-6, 1.0];

/// Noise-like c2 around 1.15, shared by both angles.
static DATA: LazyLock<Vec<f32>> = LazyLock::new(|| {
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(1);
    (0..FRAMES * FRAMES).map(|_| if rng.random_bool(0.001) { f32::NAN } else { rng.random_range(1.0..1.3) }).collect()
});

fn experiment(mode: AnalysisMode) -> Experiment {
    Experiment {
        mode,
        convention: ShearConvention::Homodyne,
        q: 0.0054,
        gap: 2e6,
        dt: 0.1,
        phi: ANGLES.to_vec(),
        n_frames: FRAMES,
        time_offset: 0,
    }
}

fn pass(bencher: Bencher, mode: AnalysisMode, pass: Pass, threads: usize) {
    let experiment = experiment(mode);
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
    let row_after = |_: usize, i: usize| &DATA[i * FRAMES + i + 1..(i + 1) * FRAMES];
    let mut objective = Local::new(experiment.clone(), pool, row_after).expect("an instruction set");
    let point =
        Point { physical: PHYSICAL[..experiment.mode.n_physical()].to_vec(), scaling: vec![(0.3, 1.0); ANGLES.len()] };
    bencher
        .counter(ItemsCount::new(experiment.n_pairs()))
        .bench_local(|| objective.evaluate(0, std::slice::from_ref(&point), pass).expect("a CPU pass"));
}

#[divan::bench(args = [1, 2])]
fn gram_laminar(bencher: Bencher, threads: usize) {
    pass(bencher, AnalysisMode::LaminarFlow, Pass::Gram, threads);
}

#[divan::bench(args = [1, 2])]
fn gram_static(bencher: Bencher, threads: usize) {
    pass(bencher, AnalysisMode::Static, Pass::Gram, threads);
}

#[divan::bench(args = [1, 2])]
fn chi2_laminar(bencher: Bencher, threads: usize) {
    pass(bencher, AnalysisMode::LaminarFlow, Pass::Chi2, threads);
}

/// One row of pairs by the pointwise reference, the sums left out.
#[divan::bench]
fn reference_laminar(bencher: Bencher) {
    let experiment = experiment(AnalysisMode::LaminarFlow);
    let axis = TimeAxis::new(&experiment, &PHYSICAL, Basis::Valley);
    bencher
        .counter(ItemsCount::new(FRAMES - 2))
        .bench_local(|| (2..FRAMES).map(|j| reference::pair(&experiment, &axis, 0, 1, j).dg[3]).sum::<f64>());
}

fn main() {
    divan::main();
}
