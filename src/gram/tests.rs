//! The Gram pass against sums over the pointwise reference.

mod precise;

use proptest::prelude::*;

use super::*;
use crate::dataset::TwoTime;
use crate::model::{AnalysisMode, Basis, BlockAxis, Experiment, RATE_FLOOR, ShearConvention, TimeAxis, reference};

/// Entries may differ from the reference sum by this much of √(G_aa·G_bb): 1.3e-11 has been seen once in thousands of random points, in the
/// column of an exponent of −1.9,
const TOLERANCE: f64 = 2e-11;
/// and where nodes stand for pairs.
const OF_NODES: f64 = 1e-10;
/// As much looser as draws want them: 1e-7 to 2e-11.
const OF_DRAWS: f64 = 5e3 * OF_NODES;
/// Phases of 1e5 and more lose digits to rounding, singly taken or not, and columns may live on few of the pairs.
const FAR_BEYOND: f64 = 1e-8;
/// Of a rate that is on its floor nearly everywhere, what is left of a column may lie where g is small; errors are small beside g = 1.
const ON_THE_FLOOR: f64 = 1e-6;

pub(super) fn experiment(
    mode: AnalysisMode,
    convention: ShearConvention,
    n_frames: usize,
    phi: Vec<f64>,
) -> Experiment {
    Experiment { mode, convention, q: 0.0054, gap: 2e6, dt: 0.1, phi, n_frames, time_offset: 0 }
}

/// Noise-like data around 1.15 with a share of missing values.
pub(super) fn data(n: usize, seed: u64, missing: f64) -> TwoTime {
    use rand::{Rng, RngExt, SeedableRng};
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(seed);
    let _ = rng.next_u32();
    let values = (0..n * n)
        .map(|_| {
            let value: f32 = rng.random_range(1.0..1.3);
            if rng.random_bool(missing) { f32::NAN } else { value }
        })
        .collect();
    TwoTime::from_matrix(n, values)
}

pub(super) fn engine(
    e: &Experiment,
    level: Level,
    matrices: &[TwoTime],
    range: std::ops::Range<usize>,
    threads: usize,
) -> CpuEngine {
    let mut store = TileStore::new(&level.plan, range.clone());
    for (angle, matrix) in matrices.iter().enumerate() {
        let within = level.plan.within_angle(&range, angle);
        let base = angle * level.plan.per_angle();
        let global = base + within.start..base + within.end;
        if !global.is_empty() {
            pack_angle(&level, within, &|i| matrix.row_after(i), store.lanes_mut(&global));
            store.mark(&level.plan, &global);
        }
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
    CpuEngine::new(e.clone(), vec![Shard::held(level, store)], pool).unwrap()
}

fn whole(e: &Experiment, level: &Level, matrices: &[TwoTime], point: &Point, pass: Pass) -> Vec<Gram> {
    let all = 0..level.plan.n_tiles();
    let mut engine = engine(e, level.clone(), matrices, all, 2);
    engine.set_sigma(&(0..e.n_angles()).map(sigma).collect::<Vec<f64>>());
    engine.evaluate(0, std::slice::from_ref(point), pass).unwrap()
}

/// σ of an angle in robust passes: some of the values of [`data`] lie within it, some beyond.
pub(super) fn sigma(angle: usize) -> f64 {
    0.05 + 0.03 * angle as f64
}

pub(super) fn by_reference(
    e: &Experiment,
    level: &Level,
    matrices: &[TwoTime],
    point: &Point,
    pass: Pass,
) -> Vec<Gram> {
    by_weighted_reference(e, level, matrices, None, point, pass)
}

/// The same of pairs with a σ of their own.
fn by_weighted_reference(
    e: &Experiment,
    level: &Level,
    matrices: &[TwoTime],
    sigmas: Option<&[TwoTime]>,
    point: &Point,
    pass: Pass,
) -> Vec<Gram> {
    let axis = TimeAxis::new(e, &point.physical, Basis::Valley);
    (0..e.n_angles())
        .map(|angle| {
            let mut out = Gram::default();
            let (contrast, offset) = point.scaling[angle];
            for (k, &i) in level.frames.iter().enumerate() {
                for &j in &level.frames[k + 1..] {
                    let y = f64::from(matrices[angle].at(i, j));
                    if !y.is_finite() {
                        continue;
                    }
                    let value = reference::pair(e, &axis, angle, i, j);
                    let mut z = [0.0; COLUMNS];
                    z[..7].copy_from_slice(&value.dg);
                    z[G] = value.g;
                    z[ONE] = 1.0;
                    z[R] = y - offset - contrast * value.g;
                    if let Some(sigmas) = sigmas {
                        let k = sigma(angle) / f64::from(sigmas[angle].at(i, j));
                        z.iter_mut().for_each(|z| *z *= k);
                    }
                    let factor =
                        if let Pass::Robust { doublings, .. } = pass { f64::from(doublings).exp2() } else { 1.0 };
                    let (r, variance) = (z[R], (factor * sigma(angle)).powi(2));
                    let [rho, first, second] = match pass {
                        Pass::Robust { loss, .. } => loss::tests::rho(loss, r * r / variance),
                        Pass::Gram | Pass::Exact | Pass::Chi2 | Pass::Slopes => [r * r / variance, 1.0, 0.0],
                    };
                    let weight = (first + 2.0 * r * r / variance * second).max(0.0);
                    for a in 0..COLUMNS {
                        for b in a..COLUMNS {
                            let v = match (a, b) {
                                (R, _) => variance * rho,
                                (_, R) => z[a] * first * r,
                                _ => weight * z[a] * z[b],
                            };
                            out.set(a, b, out.at(a, b) + v);
                        }
                    }
                    if matches!(pass, Pass::Robust { .. }) {
                        out.0[SPREAD] += (first * r).powi(2);
                    }
                }
            }
            out
        })
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(30))]
    #[test]
    fn pairs_with_a_sigma_of_their_own_are_weighed(
        n in 2usize..200, k in 1usize..4, seed in any::<u64>(), missing in prop_oneof![Just(0.0), 0.0..0.3],
        mode in 0usize..2, convention in 0usize..2, gamma in -6.0f64..-0.3, d0 in 2.0f64..5.0, threads in 1usize..3,
    ) {
        let e = experiment(MODES[mode], CONVENTIONS[convention], n, (0..k).map(|a| -70.0 + 55.0 * a as f64).collect());
        let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, seed ^ a as u64, missing)).collect();
        // from 0.02 to 0.32
        let spread = |m: TwoTime| TwoTime::from_matrix(n, m.values.iter().map(|v| v - 0.98).collect());
        let sigmas: Vec<TwoTime> = (0..k).map(|a| spread(data(n, seed ^ 77 ^ a as u64, 0.0))).collect();
        let p = [10f64.powf(d0), -0.4, 100.0, 10f64.powf(gamma), 0.3, 0.001, 3.0][..e.mode.n_physical()].to_vec();
        let point = Point { physical: p, scaling: vec![(0.25, 1.01); k] };
        for level in Level::all(n, k) {
            let all = 0..level.plan.n_tiles();
            let mut weighted = engine(&e, level.clone(), &matrices, all.clone(), threads);
            let mut store = TileStore::new(&level.plan, all);
            for (angle, sigma) in sigmas.iter().enumerate() {
                let per = level.plan.per_angle();
                let tiles = angle * per..(angle + 1) * per;
                pack_angle(&level, 0..per, &|i| sigma.row_after(i), store.lanes_mut(&tiles));
            }
            weighted.weigh(0, store);
            weighted.set_sigma(&(0..k).map(sigma).collect::<Vec<f64>>());
            let of = |pass| by_weighted_reference(&e, &level, &matrices, Some(&sigmas), &point, pass);
            let scale = of(Pass::Gram);
            for pass in passes() {
                let got = weighted.evaluate(0, std::slice::from_ref(&point), pass).unwrap();
                let mut expected = of(pass);
                for (got, expected) in got.iter().zip(&mut expected) {
                    let error = (got.n_pairs() - expected.n_pairs()).abs();
                    prop_assert!(error <= TOLERANCE * scale[0].n_pairs().max(expected.n_pairs()));
                    expected.set(ONE, ONE, got.n_pairs());
                }
                assert_close(&got, &expected, &scale, pass, &format!("{pass:?}"));
            }
        }
    }
}

#[test]
fn pairs_that_pass_by_give_the_same_bits() {
    let (n, k) = (700, 3);
    let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, n, vec![0.0, 40.0, 85.0]);
    let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, a as u64, 0.002)).collect();
    let level = Level::all(n, k).swap_remove(0);
    let plan = &level.plan;
    let point =
        |d: f64, g: f64| Point { physical: vec![d, -0.3, 100.0, g, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0); k] };
    // the second one turns faster than nodes resolve, at most angles
    let points = [point(2e3, 2e-5), point(3e3, 1e-3)];
    for range in [0..plan.n_tiles(), 1..plan.n_tiles() - 2, 4..5] {
        let mut held = engine(&e, level.clone(), &matrices, range.clone(), 2);
        let shard = Shard::by_nodes(level.clone(), range.clone());
        let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().unwrap();
        let mut passing = CpuEngine::new(e.clone(), vec![shard], pool).unwrap();
        let windows: Vec<TileStore> = (0..k)
            .map(|angle| {
                let within = plan.within_angle(&range, angle);
                let base = angle * plan.per_angle();
                engine(&e, level.clone(), &matrices, base + within.start..base + within.end, 1).shards()[0]
                    .store
                    .clone()
            })
            .collect();
        let mut compressor = crate::nodes::compressor::Compressor::new(
            crate::arithmetic::InstructionSet::select().unwrap(),
            plan,
            range.clone(),
            true,
        );
        for window in windows.iter().rev() {
            window.compress(&mut compressor);
        }
        passing.set_nodes(compressor.finish());
        let mut waited = Vec::new();
        for pass in
            [Pass::Gram, Pass::Chi2, Pass::Slopes, Pass::Exact, Pass::Robust { loss: Loss::Huber, doublings: 0 }]
        {
            for points in [&points[..1], &points[..]] {
                let expected = held.evaluate(0, points, pass).unwrap();
                let mut partial = passing.partial(0, points, pass);
                waited.push(partial.waiting.len());
                for angle in partial.waiting.clone() {
                    let window = windows[angle].clone();
                    passing.with_pairs(window, |passing| passing.complete(&mut partial, points, pass, angle));
                }
                assert!(partial.waiting.is_empty());
                assert!(partial.sums == expected, "{range:?} {pass:?} at {} points", points.len());
            }
        }
        let angles = passing.angles().len();
        assert_eq!((waited[0], waited[6]), (0, angles), "{waited:?}");
        assert!(waited[1] > 0, "{waited:?}");
    }
}

/// Entries may be off by a share of what `scale`, a pass without weights, has on the diagonal.
pub(super) fn assert_close(got: &[Gram], expected: &[Gram], scale: &[Gram], pass: Pass, what: &str) {
    let tolerance = match pass {
        Pass::Gram | Pass::Chi2 => OF_NODES,
        Pass::Slopes => OF_DRAWS,
        Pass::Exact | Pass::Robust { .. } => TOLERANCE,
    };
    assert_within(tolerance, got, expected, scale, pass, what);
}

fn assert_within(tolerance: f64, got: &[Gram], expected: &[Gram], scale: &[Gram], pass: Pass, what: &str) {
    assert_eq!(got.len(), expected.len());
    for (angle, ((x, y), all)) in got.iter().zip(expected).zip(scale).enumerate() {
        if !matches!(pass, Pass::Robust { .. }) {
            assert_eq!(x.n_pairs(), y.n_pairs());
        }
        assert!((x.spread() - y.spread()).abs() <= TOLERANCE * all.at(R, R), "{what}: {} {}", x.spread(), y.spread());
        for a in 0..COLUMNS {
            for b in a..COLUMNS {
                // products of two derivatives may be there or not
                if pass == Pass::Slopes && b < G {
                    continue;
                }
                if !pass.filled().contains(&Gram::index(a, b)) {
                    assert_eq!(x.at(a, b), 0.0);
                    continue;
                }
                let scale = (all.at(a, a) * all.at(b, b)).sqrt();
                let error = (x.at(a, b) - y.at(a, b)).abs();
                assert!(
                    error <= tolerance * scale,
                    "{what}: angle {angle}, entry ({a}, {b}): {} against {}, {:.1e} of the scale",
                    x.at(a, b),
                    y.at(a, b),
                    error / scale
                );
            }
        }
    }
}

fn check(e: &Experiment, level: &Level, matrices: &[TwoTime], physical: &[f64]) {
    let physical = physical[..e.mode.n_physical()].to_vec();
    let scaling = (0..e.n_angles()).map(|k| (0.25 + 0.02 * k as f64, 1.01 - 0.005 * k as f64)).collect();
    let point = Point { physical, scaling };
    let scale = by_reference(e, level, matrices, &point, Pass::Gram);
    for pass in passes() {
        let expected = by_reference(e, level, matrices, &point, pass);
        let what = format!("{:?} {:?} N = {} {pass:?} at {:?}", e.mode, e.convention, e.n_frames, point.physical);
        assert_close(&whole(e, level, matrices, &point, pass), &expected, &scale, pass, &what);
    }
}

/// All kinds.
pub(super) fn passes() -> Vec<Pass> {
    let robust = Loss::ALL.into_iter().enumerate().map(|(k, loss)| Pass::Robust { loss, doublings: k as u8 });
    [Pass::Gram, Pass::Chi2, Pass::Exact, Pass::Slopes].into_iter().chain(robust).collect()
}

#[test]
fn kinds_of_passes_survive_being_sent() {
    for pass in passes() {
        assert_eq!(Pass::from_code(pass.code()), pass);
    }
}

pub(super) const MODES: [AnalysisMode; 2] = [AnalysisMode::Static, AnalysisMode::LaminarFlow];
pub(super) const CONVENTIONS: [ShearConvention; 2] = [ShearConvention::Homodyne, ShearConvention::Theory];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn equals_the_sum_over_the_reference(
        n in 2usize..200, k in 1usize..4, seed in any::<u64>(), missing in prop_oneof![Just(0.0), 0.0..0.3],
        mode in 0usize..2, convention in 0usize..2,
        d0 in 2.0f64..5.0, alpha in -2.0f64..2.0, d_offset in -1e5f64..1e5,
        gamma in -6.0f64..-0.3, beta in -2.0f64..2.0, gamma_offset in -0.1f64..0.1, phi0 in -10.0f64..10.0,
    ) {
        let e = experiment(MODES[mode], CONVENTIONS[convention], n, (0..k).map(|a| -70.0 + 55.0 * a as f64).collect());
        let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, seed ^ a as u64, missing)).collect();
        let p = [10f64.powf(d0), alpha, d_offset, 10f64.powf(gamma), beta, gamma_offset, phi0];
        // with four frames the reference time is that of frame 1; where all rates after it are at the floor, derivatives by B
        // and κ are rounding alone, and so is the scale that they would be measured by
        let axis = TimeAxis::without_derivatives(&e, &p[..e.mode.n_physical()]);
        let is_floored = |block: &BlockAxis| n == 4 && block.rate[2] <= RATE_FLOOR;
        prop_assume!(!is_floored(&axis.diffusion) && !axis.shear.as_ref().is_some_and(is_floored));
        for level in Level::all(n, k) {
            check(&e, &level, &matrices, &p);
        }
    }
}

#[test]
fn holds_at_the_extremes_of_the_bounds() {
    let n = 700;
    let matrices = vec![data(n, 5, 0.01)];
    for mode in MODES {
        for convention in CONVENTIONS {
            for phi in [0.0, 90.0, 87.0] {
                let e = experiment(mode, convention, n, vec![phi]);
                let level = &Level::all(n, 1)[0];
                for p in [
                    [1e5, 2.0, 0.0, 0.5, 2.0, 0.0, 0.0],
                    [1e5, 2.0, 1e5, 0.5, -2.0, 0.1, 10.0],
                    [100.0, -2.0, 0.0, 1e-6, 2.0, 0.0, 0.0],
                    [1e5, -2.0, -1e5, 0.5, 2.0, -0.1, -10.0],
                    [100.0, 2.0, -1e5, 1e-6, -2.0, 1e-3, 0.0],
                    [2e3, 0.0, 0.0, 1e-3, 0.0, 0.0, 0.0],
                    [300.0, 0.3, 1e-3, 2e-5, 0.1, 1e-5, 3.0],
                ] {
                    check(&e, level, &matrices, &p);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]
    // points far beyond the bounds: where nodes don't resolve the model, single pairs are taken
    #[test]
    fn nodes_stand_for_pairs_only_where_they_resolve_the_model(
        n in 60usize..1300, seed in any::<u64>(), missing in prop_oneof![Just(0.0), 0.0..0.02, 0.0..0.3],
        dead in prop_oneof![Just(0.0), 0.0..0.3], mode in 0usize..2, convention in 0usize..2, phi in -80.0f64..80.0,
        d0 in 0.0f64..7.0, alpha in -4.0f64..4.0, d_offset in -1e6f64..1e6, small_offset in any::<bool>(),
        gamma in -9.0f64..2.0, beta in -4.0f64..4.0, gamma_offset in -1.0f64..1.0,
    ) {
        let e = experiment(MODES[mode], CONVENTIONS[convention], n, vec![phi]);
        let mut matrix = data(n, seed, missing);
        for frame in (0..n).filter(|&i| (i as u64).wrapping_mul(seed | 1).wrapping_mul(0x9e37_79b9) >> 40 & 1023 < (dead * 1024.0) as u64) {
            (0..n).for_each(|j| (matrix.values[frame * n + j], matrix.values[j * n + frame]) = (f32::NAN, f32::NAN));
        }
        let share = if small_offset { 1e-3 } else { 1.0 };
        let p = [10f64.powf(d0), alpha, share * d_offset, 10f64.powf(gamma), beta, share * gamma_offset, 1.0];
        let point = Point { physical: p[..e.mode.n_physical()].to_vec(), scaling: vec![(0.27, 1.01)] };
        let level = &Level::all(n, 1)[0];
        let matrices = [matrix];
        let expected = whole(&e, level, &matrices, &point, Pass::Exact);
        // of floors alone: derivatives are nothing but rounding, or where g is nothing
        prop_assume!((0..COLUMNS).map(|a| expected[0].at(a, a)).all(|x| x == 0.0 || (1e-30..f64::INFINITY).contains(&x)));
        let ends = |block: &[f64]| [0, n - 1].map(|i| block[0] * e.tau(i).powf(block[1]) + block[2]);
        let is_floored = point.physical.chunks_exact(3).flat_map(ends).any(|rate| rate < RATE_FLOOR);
        let tolerance = if is_floored { ON_THE_FLOOR } else { FAR_BEYOND };
        for (pass, tolerance) in [(Pass::Gram, tolerance), (Pass::Chi2, tolerance), (Pass::Slopes, 5e3 * tolerance)] {
            let what = format!("{pass:?} of {n} frames at {:?}", point.physical);
            let mut expected = expected.clone();
            expected.iter_mut().for_each(|gram| gram.keep(&pass.filled()));
            let scale = whole(&e, level, &matrices, &point, Pass::Exact);
            assert_within(tolerance, &whole(&e, level, &matrices, &point, pass), &expected, &scale, pass, &what);
        }
    }
}

#[test]
fn wide_tiles_hold_too() {
    let n = 1300;
    let matrices = vec![data(n, 6, 0.001)];
    for convention in CONVENTIONS {
        let e = experiment(AnalysisMode::LaminarFlow, convention, n, vec![20.0]);
        let level = &Level::all(n, 1)[0];
        check(&e, level, &matrices, &[3000.0, -0.4, 200.0, 2e-4, -0.3, 1e-5, 1.0]);
        check(&e, level, &matrices, &[100.0, -0.9, 0.0, 1e-6, 0.5, 1e-6, 1.0]);
    }
}

#[test]
fn instruction_sets_give_the_same_bits() {
    let n = 700;
    for mode in MODES {
        for convention in CONVENTIONS {
            let e = experiment(mode, convention, n, vec![0.0, 86.0]);
            let matrices: Vec<TwoTime> = (0..2).map(|a| data(n, a, 0.003)).collect();
            for level in Level::all(n, 2) {
                for physical in [
                    [2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0],
                    [1e5, 2.0, 0.0, 0.5, 2.0, 0.0, 0.0],
                    [100.0, 2.0, -1e5, 1e-6, -2.0, 1e-3, 0.0],
                ] {
                    let physical = physical[..mode.n_physical()].to_vec();
                    let point = Point { physical, scaling: vec![(0.3, 1.0); 2] };
                    for pass in passes() {
                        let mut results = crate::arithmetic::InstructionSet::available().into_iter().map(|set| {
                            let all = 0..level.plan.n_tiles();
                            let mut engine = engine(&e, level.clone(), &matrices, all, 1);
                            engine.force(set);
                            (set.name(), engine.evaluate(0, std::slice::from_ref(&point), pass).unwrap())
                        });
                        let (first, expected) = results.next().unwrap();
                        for (name, result) in results {
                            assert_eq!(result, expected, "{name} against {first}, {mode:?} {convention:?} {pass:?}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn a_matrix_without_any_value_gives_zero() {
    let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, 90, vec![0.0]);
    let matrices = vec![TwoTime::from_matrix(90, vec![f32::NAN; 8100])];
    let point = Point { physical: vec![1e3, 0.1, 10.0, 1e-3, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0)] };
    let level = &Level::all(90, 1)[0];
    assert_eq!(whole(&e, level, &matrices, &point, Pass::Gram)[0], Gram::default());
}

#[test]
fn ranks_threads_and_grouping_of_points_dont_change_the_bits() {
    let (n, k) = (900, 3);
    let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, n, vec![0.0, 40.0, 85.0]);
    let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, a as u64, 0.002)).collect();
    let level = &Level::all(n, k)[0];
    let point = Point { physical: vec![2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0); k] };
    let expected = whole(&e, level, &matrices, &point, Pass::Gram);
    let plan = &level.plan;
    for ranks in [1, 2, 3, 7, 40] {
        for n_points in [1, 2] {
            let ranges = plan.deal(ranks);
            let mut parts: Vec<Vec<(tree::Node, Gram)>> = vec![Vec::new(); k];
            for range in ranges {
                let mut engine = engine(&e, level.clone(), &matrices, range.clone(), 1 + ranks % 2);
                let points = vec![point.clone(); n_points];
                let mut sums = engine.evaluate(0, &points, Pass::Gram).unwrap().into_iter();
                for (angle, parts) in parts.iter_mut().enumerate() {
                    let nodes = tree::owned_nodes(plan.per_angle(), &plan.within_angle(&range, angle), u32::MAX);
                    parts.extend(nodes.into_iter().zip(sums.by_ref()));
                }
            }
            for (angle, parts) in parts.into_iter().enumerate() {
                let root = tree::Node::root(plan.per_angle());
                let total = tree::complete(root, plan.per_angle(), &mut parts.into_iter());
                assert_eq!(total, expected[angle], "{ranks} ranks, {n_points} points");
            }
        }
    }
}
