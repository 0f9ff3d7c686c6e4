//! No pass becomes slow unnoticed: its rate against the pointwise reference, both measured in turns in this run. Ratios, for
//! seconds say more about the machine than about the program.

use std::time::Instant;

use homodyne_mpi::arithmetic::instruction_sets;
use homodyne_mpi::benchmark::{Sample, pool};
use homodyne_mpi::gram::{Local, Objective, Pass};
use homodyne_mpi::model::{AnalysisMode, Basis, TimeAxis, reference};

/// Rounds; the best of each side counts, for other work on the machine can only slow it down.
const ROUNDS: usize = 7;
/// Rows of the matrix that the reference works through in a round.
const ROWS: std::ops::Range<usize> = 1..40;

/// Pairs per second of (Gram passes, χ² passes, the pointwise reference with all derivatives), one thread.
fn rates(mode: AnalysisMode) -> [f64; 3] {
    let sample = Sample::new(mode, (1000, 3));
    let (e, point) = (&sample.experiment, sample.point());
    let mut objective: Local = sample.objective(pool(1).unwrap()).unwrap();
    let axis = TimeAxis::new(e, &point.physical, Basis::Valley);
    let mut best = [0.0f64; 3];
    for _ in 0..ROUNDS {
        for (k, pass) in [Pass::Gram, Pass::Chi2].into_iter().enumerate() {
            let begin = Instant::now();
            objective.evaluate(0, std::slice::from_ref(&point), pass).unwrap();
            best[k] = best[k].max(e.n_pairs() as f64 / begin.elapsed().as_secs_f64());
        }
        let begin = Instant::now();
        let (mut pairs, mut sum) = (0, 0.0);
        for i in ROWS {
            for j in i + 1..e.n_frames {
                let value = reference::pair(e, &axis, 0, i, j);
                sum += value.g + value.dg.iter().sum::<f64>();
                pairs += 1;
            }
        }
        std::hint::black_box(sum);
        best[2] = best[2].max(f64::from(pairs) / begin.elapsed().as_secs_f64());
    }
    best
}

#[test]
fn passes_keep_their_distance_from_the_pointwise_reference() {
    let fastest = instruction_sets()[0];
    if fastest == "portable" || cfg!(debug_assertions) {
        // without vectors, or compiled for debugging, there is nothing to keep
        return;
    }
    // about half of what was measured on an idle machine
    let (laminar, still) = if fastest == "avx512" { (10.0, 5.0) } else { (6.0, 4.0) };
    for (mode, least) in [(AnalysisMode::LaminarFlow, laminar), (AnalysisMode::Static, still)] {
        let [gram, chi2, reference] = rates(mode);
        let said = format!(
            "{}, {fastest}: Gram {:.0} times, χ² {:.0} times the reference's {:.1} M pairs/s",
            mode.name(),
            gram / reference,
            chi2 / reference,
            reference / 1e6
        );
        println!("{said}");
        assert!(gram > least * reference, "{said}");
        assert!(chi2 > 1.3 * gram, "{said}");
    }
}
