//! The pass over the pairs on every instruction set, against the pointwise reference in the same run: `cargo bench`.
//!
//! One item is one pair, so the throughput column is pairs per second. Data: two angles of 3000 frames (9 M pairs, 36 MB,
//! beyond the caches of a core) with noise and 0.1 % missing values. `homodyne-mpi benchmark` measures the same kernels
//! against the FMA peak, and reading, reduction and fits beside them.

use divan::Bencher;
use divan::counter::ItemsCount;
use homodyne_mpi::benchmark::{Engine, PHYSICAL, Sample, pool};
use homodyne_mpi::gram::{Objective, Pass, Precision};
use homodyne_mpi::model::{AnalysisMode, Basis, TimeAxis, reference};

const SHAPE: (usize, usize) = (3000, 2);
/// For the portable instruction set, which is a hundred times slower.
const SMALL: (usize, usize) = (300, 1);

/// Fast engines on one and two threads, the portable one on one.
fn variants() -> Vec<(&'static str, usize)> {
    let threads = |engine: &Engine| if engine.is_slow() { vec![1] } else { vec![1, 2] };
    let exact = |engine: &&Engine| engine.precision == Precision::F64;
    Engine::all().iter().filter(exact).flat_map(|engine| threads(engine).into_iter().map(|n| (engine.isa, n))).collect()
}

fn pass(bencher: Bencher, mode: AnalysisMode, pass: Pass, (isa, threads): (&str, usize)) {
    let sample = Sample::new(mode, if isa == "portable" { SMALL } else { SHAPE });
    let mut objective = sample.objective(pool(threads).expect("threads")).expect("an instruction set");
    objective.engine().set_instruction_set(isa).expect("one that this processor has");
    let point = sample.point();
    bencher
        .counter(ItemsCount::new(sample.experiment.n_pairs()))
        .bench_local(|| objective.evaluate(0, std::slice::from_ref(&point), pass).expect("a CPU pass"));
}

#[divan::bench(args = variants(), max_time = 1)]
fn gram_laminar(bencher: Bencher, variant: (&str, usize)) {
    pass(bencher, AnalysisMode::LaminarFlow, Pass::Gram, variant);
}

#[divan::bench(args = variants(), max_time = 1)]
fn gram_static(bencher: Bencher, variant: (&str, usize)) {
    pass(bencher, AnalysisMode::Static, Pass::Gram, variant);
}

#[divan::bench(args = variants(), max_time = 1)]
fn chi2_laminar(bencher: Bencher, variant: (&str, usize)) {
    pass(bencher, AnalysisMode::LaminarFlow, Pass::Chi2, variant);
}

#[divan::bench(args = variants(), max_time = 1)]
fn chi2_static(bencher: Bencher, variant: (&str, usize)) {
    pass(bencher, AnalysisMode::Static, Pass::Chi2, variant);
}

/// One row of pairs by the pointwise reference, the sums left out.
#[divan::bench]
fn reference_laminar(bencher: Bencher) {
    let experiment = Sample::experiment(AnalysisMode::LaminarFlow, SHAPE);
    let axis = TimeAxis::new(&experiment, &PHYSICAL, Basis::Valley);
    let n = experiment.n_frames;
    bencher
        .counter(ItemsCount::new(n - 2))
        .bench_local(|| (2..n).map(|j| reference::pair(&experiment, &axis, 0, 1, j).dg[3]).sum::<f64>());
}

fn main() {
    divan::main();
}
