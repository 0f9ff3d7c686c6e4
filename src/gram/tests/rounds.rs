//! Passes left in the middle and gone on with by others.

use std::time::Duration;

use super::*;
use crate::gram::rounds::{Finished, Known, Part, Rounds, left};

/// Nodes of a rank that finished a pass.
fn parts(plan: &TilePlan, range: &std::ops::Range<usize>, known: &Known, points: usize, sums: &[Gram]) -> Vec<Part> {
    let mut sums = sums.iter();
    let mut parts = Vec::new();
    for point in 0..points {
        for angle in 0..plan.n_angles {
            for node in tree::owned_nodes(plan.per_angle(), &plan.within_angle(range, angle), u32::MAX) {
                let &sum = sums.next().unwrap();
                if known.covering(point, angle, node).is_none() {
                    parts.push(Part { point, angle, node, sum });
                }
            }
        }
    }
    assert!(sums.next().is_none());
    parts
}

#[test]
fn a_pass_left_anywhere_is_gone_on_with_by_any_ranks() {
    let (n, k) = (900, 3);
    let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, n, vec![0.0, 40.0, 85.0]);
    let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, a as u64, 0.002)).collect();
    let level = &Level::all(n, k)[0];
    let plan = &level.plan;
    let point = |d: f64| Point { physical: vec![d, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0); k] };
    let points = [point(2e3), point(3e3)];
    for pass in [Pass::Exact] {
        let expected: Vec<Vec<Gram>> = points.iter().map(|p| whole(&e, level, &matrices, p, pass)).collect();
        let mut seen = (false, false);
        for (first, then) in [(1, 1), (1, 2), (3, 2), (2, 5), (7, 1)] {
            // each time left after a round more, gone on with as far again, and then finished
            for most in [1, 3, 9, 30, 80] {
                let mut known = Known::default();
                for (ranks, most) in [(first, most), (then, most), (first, usize::MAX)] {
                    let mut all: Vec<Part> = known.parts().collect();
                    for (rank, range) in plan.deal(ranks).into_iter().enumerate() {
                        let mut engine = engine(&e, level.clone(), &matrices, range.clone(), 1 + rank % 2);
                        let (mut rounds, mut finished) = (0, Vec::new());
                        let mut between = |now: Finished<'_>| {
                            rounds += 1;
                            if rounds < most {
                                return Ok(());
                            }
                            finished = now();
                            Err(left())
                        };
                        let mut short = Rounds::of(Duration::ZERO, &mut between);
                        let sums = engine.evaluate_in_rounds(0, &points, pass, &known, &mut short);
                        seen = (seen.0 || sums.is_err(), seen.1 || sums.is_ok());
                        all.extend(match sums {
                            Ok(sums) => parts(plan, &range, &known, points.len(), &sums),
                            Err(_) => finished,
                        });
                    }
                    known = Known::new(all);
                }
                for (p, expected) in expected.iter().enumerate() {
                    for (angle, expected) in expected.iter().enumerate() {
                        let own = known.parts().filter(|part| (part.point, part.angle) == (p, angle));
                        let joined = tree::join(plan.per_angle(), own.map(|part| (part.node, part.sum)));
                        assert_eq!(joined, [(tree::Node::root(plan.per_angle()), *expected)], "{first} {then} {most}");
                    }
                }
            }
        }
        assert_eq!(seen, (true, true));
    }
}

#[test]
fn what_is_known_is_not_done_again() {
    let e = experiment(AnalysisMode::Static, ShearConvention::Homodyne, 1700, vec![0.0, 40.0]);
    let matrices: Vec<TwoTime> = (0..2).map(|a| data(1700, a, 0.0)).collect();
    let level = &Level::all(1700, 2)[0];
    let points = [Point { physical: vec![2e3, -0.3, 100.0], scaling: vec![(0.3, 1.0); 2] }];
    let mut engine = engine(&e, level.clone(), &matrices, 0..level.plan.n_tiles(), 1);
    let mut run = |known: &Known, most: usize| {
        let (mut rounds, mut finished) = (0, Vec::new());
        let mut between = |now: Finished<'_>| {
            rounds += 1;
            finished = now();
            if rounds < most { Ok(()) } else { Err(left()) }
        };
        // one thread, so each round is a task
        let mut short = Rounds::of(Duration::ZERO, &mut between);
        let _ = engine.evaluate_in_rounds(0, &points, Pass::Exact, known, &mut short);
        (rounds, Known::new(finished))
    };
    let (all, _) = run(&Known::default(), usize::MAX);
    let (some, known) = run(&Known::default(), all / 2);
    let (rest, _) = run(&known, usize::MAX);
    assert!(all > 10 && some == all / 2, "{all}");
    assert_eq!(some + rest, all);
}
