//! Mixed precision: what it leaves alone, and by how much it may err.

use super::*;

fn passes(e: &Experiment, level: &Level, matrices: &[TwoTime], point: &Point, precision: Precision) -> Vec<Vec<Gram>> {
    let of = |set| {
        let mut engine = engine(e, level.clone(), matrices, 0..level.plan.n_tiles(), 1);
        engine.force(set);
        engine.set_precision(precision);
        engine.evaluate(0, std::slice::from_ref(point), Pass::Gram).unwrap()
    };
    isa::InstructionSet::available().into_iter().map(of).collect()
}

#[test]
fn only_sums_of_residuals_differ_and_by_little() {
    let n = 700;
    for convention in CONVENTIONS {
        let e = experiment(AnalysisMode::LaminarFlow, convention, n, vec![0.0, 40.0, 86.0]);
        let matrices: Vec<TwoTime> = (0..3).map(|a| data(n, a, 0.003)).collect();
        let level = &Level::all(n, 3)[0];
        for physical in [[2e3, -0.3, 100.0, 1e-4, 0.2, 1e-5, 1.0], [300.0, -0.9, 10.0, 3e-4, -0.5, 2e-5, -2.0]] {
            let point = Point { physical: physical.to_vec(), scaling: vec![(0.3, 1.1); 3] };
            let exact = passes(&e, level, &matrices, &point, Precision::F64);
            let mixed = passes(&e, level, &matrices, &point, Precision::Mixed);
            for (k, own) in mixed.iter().enumerate() {
                for (angle, (x, y)) in own.iter().zip(&mixed[0]).enumerate() {
                    for (at, (x, y)) in x.0.iter().zip(&y.0).enumerate() {
                        assert_eq!(
                            x, y,
                            "{convention:?}: instruction set {k}, angle {angle}, entry {at} at {physical:?}"
                        );
                    }
                }
            }
            let mut differ = 0;
            for (x, y) in mixed[0].iter().zip(&exact[0]) {
                for a in 0..COLUMNS {
                    for b in a..COLUMNS {
                        if b != R {
                            assert_eq!(x.at(a, b), y.at(a, b), "({a}, {b})");
                            continue;
                        }
                        let scale = (y.at(a, a) * y.at(R, R)).sqrt();
                        let error = (x.at(a, R) - y.at(a, R)).abs();
                        assert!(error <= 1e-7 * scale, "{convention:?} ({a}, R): {:.1e}", error / scale);
                        differ += usize::from(error > 0.0);
                    }
                }
            }
            assert!(differ > COLUMNS, "pairs were not taken in f32");
        }
    }
}
