//! The kernels and the engine's logic on the emulated device, against the CPU engine and the pointwise reference.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use proptest::prelude::*;

use super::super::tests::{CONVENTIONS, MODES, assert_close, by_reference, data, engine, experiment, passes, sigma};
use super::super::{CpuEngine, Engine, Gram, Lane, Level, Loss, Pass, Point, Precision, TileStore, pack_angle};
use super::*;
use crate::dataset::TwoTime;
use crate::model::{AnalysisMode, Experiment, ShearConvention, TimeAxis, reference};

/// The kernels built for this host.
fn library() -> &'static Path {
    static BUILT: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = BUILT.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kernels.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../kernels/emulation/library.cpp");
        let mut command = Command::new("c++");
        command.args(["-std=c++20", "-O2", "-march=native", "-ffp-contract=off", "-fPIC", "-shared", "-o"]);
        let status = command.arg(&path).arg(source).status().expect("a C++ compiler");
        assert!(status.success(), "the kernels can't be built for the host");
        (folder, path)
    });
    path
}

fn emulated(reversed: bool, faults: Faults) -> Emulated {
    Emulated::load(library(), reversed, faults).unwrap()
}

/// Room for everything.
const AMPLE: usize = 1 << 30;

fn on_device(host: &CpuEngine, device: Emulated, budget: usize) -> GpuEngine<Emulated> {
    GpuEngine::new(device, host, budget).unwrap()
}

fn evaluate(gpu: &mut GpuEngine<Emulated>, host: &CpuEngine, points: &[Point], pass: Pass) -> crate::Result<Vec<Gram>> {
    gpu.evaluate(host, 0, points, pass)
}

fn cpu(e: &Experiment, level: &Level, matrices: &[TwoTime]) -> CpuEngine {
    part(e, level, matrices, 0..level.plan.n_tiles())
}

fn part(e: &Experiment, level: &Level, matrices: &[TwoTime], tiles: Range<usize>) -> CpuEngine {
    let mut cpu = engine(e, level.clone(), matrices, tiles, 2);
    cpu.set_sigma(&(0..e.n_angles()).map(sigma).collect::<Vec<f64>>());
    cpu
}

/// Compares with the CPU engine at these points, all kinds of passes; `weighted`: pairs have σ of their own.
fn check(e: &Experiment, matrices: &[TwoTime], physical: &[&[f64]], weighted: bool) {
    let n_angles = e.n_angles();
    let scaling: Vec<(f64, f64)> = (0..n_angles).map(|k| (0.25 + 0.02 * k as f64, 1.01 - 0.005 * k as f64)).collect();
    let point = |p: &&[f64]| Point { physical: p[..e.mode.n_physical()].to_vec(), scaling: scaling.clone() };
    let points: Vec<Point> = physical.iter().map(point).collect();
    for level in Level::all(e.n_frames, n_angles) {
        let mut cpu = cpu(e, &level, matrices);
        if weighted {
            let n = level.plan.per_angle();
            let mut store = TileStore::new(&level.plan, 0..level.plan.n_tiles());
            for (angle, matrix) in matrices.iter().enumerate() {
                let spread = TwoTime::from_matrix(e.n_frames, matrix.values.iter().map(|v| v - 0.98).collect());
                let tiles = angle * n..(angle + 1) * n;
                pack_angle(&level, 0..n, &|i| spread.row_after(i), store.lanes_mut(&tiles));
            }
            cpu.weigh(0, store);
        }
        let mut gpu = on_device(&cpu, emulated(false, Faults::default()), AMPLE);
        let scale = cpu.evaluate(0, &points, Pass::Gram).unwrap();
        for pass in passes() {
            let expected = cpu.evaluate(0, &points, pass).unwrap();
            let got = evaluate(&mut gpu, &cpu, &points, pass).unwrap();
            let what = format!("{:?} {:?} N = {} {pass:?} at {physical:?}", e.mode, e.convention, e.n_frames);
            if weighted {
                // the number of pairs is a sum of weights too
                let mut got = got;
                for (got, expected) in got.iter_mut().zip(&expected) {
                    assert!((got.n_pairs() / expected.n_pairs() - 1.0).abs() < 1e-11 || expected.n_pairs() == 0.0);
                    let ones = Gram::index(super::super::ONE, super::super::ONE);
                    got.0[ones] = expected.0[ones];
                }
                assert_close(&got, &expected, &scale, pass, &what);
            } else {
                assert_close(&got, &expected, &scale, pass, &what);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]
    #[test]
    fn sums_are_those_of_the_cpu(
        n in 2usize..200, k in 1usize..4, seed in any::<u64>(), missing in prop_oneof![Just(0.0), 0.0..0.3],
        mode in 0usize..2, convention in 0usize..2, weighted in any::<bool>(),
        d0 in 2.0f64..5.0, alpha in -1.0f64..1.0, d_offset in 0.0f64..1e4,
        gamma in -6.0f64..-0.3, beta in -1.0f64..1.0, gamma_offset in 0.0f64..0.1, phi0 in -10.0f64..10.0,
    ) {
        let e = experiment(MODES[mode], CONVENTIONS[convention], n, (0..k).map(|a| -70.0 + 55.0 * a as f64).collect());
        let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, seed ^ a as u64, missing)).collect();
        let p = [10f64.powf(d0), alpha, d_offset, 10f64.powf(gamma), beta, gamma_offset, phi0];
        let q = [2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0];
        check(&e, &matrices, &[&p, &q], weighted);
    }
}

#[test]
fn extremes_hold_against_the_reference() {
    let n = 500;
    let matrices = vec![data(n, 5, 0.01)];
    for mode in MODES {
        for convention in CONVENTIONS {
            let e = experiment(mode, convention, n, vec![87.0]);
            let level = &Level::all(n, 1)[0];
            let host = cpu(&e, level, &matrices);
            let mut gpu = on_device(&host, emulated(false, Faults::default()), AMPLE);
            for p in [
                [1e5, 2.0, 0.0, 0.5, 2.0, 0.0, 0.0],
                [1e5, 2.0, 1e5, 0.5, -2.0, 0.1, 10.0],
                [1e5, -2.0, -1e5, 0.5, 2.0, -0.1, -10.0],
                [100.0, 2.0, -1e5, 1e-6, -2.0, 1e-3, 0.0],
                [300.0, 0.3, 1e-3, 2e-5, 0.1, 1e-5, 3.0],
            ] {
                let point = Point { physical: p[..mode.n_physical()].to_vec(), scaling: vec![(0.25, 1.01)] };
                let scale = by_reference(&e, level, &matrices, &point, Pass::Gram);
                for pass in passes() {
                    let expected = by_reference(&e, level, &matrices, &point, pass);
                    let got = evaluate(&mut gpu, &host, std::slice::from_ref(&point), pass).unwrap();
                    assert_close(&got, &expected, &scale, pass, &format!("{mode:?} {convention:?} {pass:?} at {p:?}"));
                }
            }
        }
    }
}

/// Three angles of several tiles, and two points.
fn wide() -> (Experiment, Level, Vec<TwoTime>, [Point; 2]) {
    let (n, k) = (1700, 3);
    let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, n, vec![0.0, 40.0, 85.0]);
    let matrices = (0..k).map(|a| data(n, a as u64, 0.002)).collect();
    let level = Level::all(n, k).swap_remove(0);
    let point = |d: f64| Point { physical: vec![d, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0); k] };
    (e, level, matrices, [point(2e3), point(3e3)])
}

#[test]
fn order_of_threads_and_ranks_dont_change_the_bits() {
    let (e, level, matrices, points) = wide();
    let plan = &level.plan;
    let all = cpu(&e, &level, &matrices);
    for pass in [Pass::Gram, Pass::Chi2, Pass::Robust { loss: Loss::SoftL1, doublings: 1 }] {
        let mut whole = on_device(&all, emulated(false, Faults::default()), AMPLE);
        let expected = evaluate(&mut whole, &all, &points, pass).unwrap();
        let mut other = on_device(&all, emulated(true, Faults::default()), AMPLE);
        assert!(evaluate(&mut other, &all, &points, pass).unwrap() == expected);
        for ranks in [2, 5] {
            let mut parts = vec![vec![Vec::new(); e.n_angles()]; points.len()];
            for range in plan.deal(ranks) {
                let host = part(&e, &level, &matrices, range.clone());
                let mut own = on_device(&host, emulated(false, Faults::default()), AMPLE);
                let mut sums = evaluate(&mut own, &host, &points, pass).unwrap().into_iter();
                for of_point in &mut parts {
                    for (angle, parts) in of_point.iter_mut().enumerate() {
                        let within = plan.within_angle(&range, angle);
                        let nodes = super::super::tree::owned_nodes(plan.per_angle(), &within, u32::MAX);
                        parts.extend(nodes.into_iter().zip(sums.by_ref()));
                    }
                }
                assert!(sums.next().is_none());
            }
            let root = super::super::tree::Node::root(plan.per_angle());
            let whole = |parts: Vec<_>| super::super::tree::complete(root, plan.per_angle(), &mut parts.into_iter());
            let got: Vec<Gram> = parts.into_iter().flatten().map(whole).collect();
            assert!(got == expected, "{ranks} ranks");
        }
    }
}

/// Largest difference of mixed precision from f64, in units of √(G_aa·G_bb), in Gram passes and in weighted ones.
fn off_in_mixed(e: &Experiment, matrices: &[TwoTime], physical: &[f64]) -> [f64; 2] {
    let scaling = (0..e.n_angles()).map(|k| (0.25 + 0.02 * k as f64, 1.01 - 0.005 * k as f64)).collect();
    let points = [Point { physical: physical[..e.mode.n_physical()].to_vec(), scaling }];
    let mut off = [0.0f64; 2];
    for level in Level::all(e.n_frames, e.n_angles()) {
        let mut host = cpu(e, &level, matrices);
        let robust = Pass::Robust { loss: Loss::Cauchy, doublings: 0 };
        let scale = host.evaluate(0, &points, Pass::Gram).unwrap();
        for (off, pass) in off.iter_mut().zip([Pass::Gram, robust]) {
            host.set_precision(Precision::F64);
            let expected = host.evaluate(0, &points, pass).unwrap();
            host.set_precision(Precision::Mixed);
            let mut gpu = on_device(&host, emulated(false, Faults::default()), AMPLE);
            let got = evaluate(&mut gpu, &host, &points, pass).unwrap();
            assert!(
                got != expected || expected.iter().all(|gram| gram.n_pairs() < 10.0),
                "pairs were not taken in f32"
            );
            *off = got.iter().zip(&expected).zip(&scale).map(|((a, b), s)| distance(a, b, s)).fold(*off, f64::max);
        }
    }
    off
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20))]
    #[test]
    fn mixed_precision_errs_by_little(
        n in 2usize..400, k in 1usize..3, seed in any::<u64>(), mode in 0usize..2, convention in 0usize..2,
        d0 in 2.0f64..4.0, alpha in -1.0f64..0.5, gamma in -6.0f64..-4.0, beta in -0.5f64..0.5, phi0 in -10.0f64..10.0,
    ) {
        let e = experiment(MODES[mode], CONVENTIONS[convention], n, (0..k).map(|a| -70.0 + 55.0 * a as f64).collect());
        let matrices: Vec<TwoTime> = (0..k).map(|a| data(n, seed ^ a as u64, 0.01)).collect();
        let off = off_in_mixed(&e, &matrices, &[10f64.powf(d0), alpha, 100.0, 10f64.powf(gamma), beta, 1e-4, phi0]);
        println!("{off:?}");
        // weights are rounded, too
        prop_assert!(off[0] < MIXED_ROUNDING && off[1] < 2.0 * MIXED_ROUNDING, "{off:?}");
    }
}

#[test]
fn the_model_is_that_of_the_reference() {
    let n = 500;
    for mode in MODES {
        for convention in CONVENTIONS {
            let e = experiment(mode, convention, n, vec![0.0, 60.0]);
            let level = &Level::all(n, 2)[0];
            let host = cpu(&e, level, &[data(n, 1, 0.1), data(n, 2, 0.0)]);
            let mut gpu = on_device(&host, emulated(false, Faults::default()), AMPLE);
            let physical = [2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0];
            let scaling = vec![(0.25, 1.01), (0.3, 0.99)];
            let point = Point { physical: physical[..mode.n_physical()].to_vec(), scaling };
            let got = gpu.model(&host, 0, &point, true).unwrap();
            let axis = TimeAxis::without_derivatives(&e, &point.physical);
            let mut expected = Vec::new();
            for (angle, (contrast, offset)) in point.scaling.iter().enumerate() {
                let c2 = |i: usize, j: usize| (offset + contrast * reference::shape(&e, &axis, angle, i, j)) as f32;
                let rows: Vec<Vec<f32>> = (0..n).map(|i| (i + 1..n).map(|j| c2(i, j)).collect()).collect();
                let mut lanes = vec![Lane([f32::NAN; 8]); level.plan.tiles.iter().map(|t| t.n_lanes).sum()];
                pack_angle(level, 0..level.plan.per_angle(), &|i| &rows[i], &mut lanes);
                expected.extend(lanes);
            }
            assert_eq!(got.len(), expected.len());
            for (a, b) in got.iter().zip(&expected).flat_map(|(a, b)| a.0.into_iter().zip(b.0)) {
                assert!(
                    (a.is_nan() && b.is_nan()) || (a - b).abs() <= f32::EPSILON,
                    "{mode:?} {convention:?}: {a} {b}"
                );
            }
        }
    }
}

#[test]
fn a_rank_without_tiles_has_nothing_to_send() {
    let (e, level, matrices, points) = wide();
    let host = part(&e, &level, &matrices, 5..5);
    let mut none = on_device(&host, emulated(false, Faults::default()), AMPLE);
    assert_eq!(evaluate(&mut none, &host, &points, Pass::Gram).unwrap(), []);
    assert_eq!(none.device().allocations, [] as [usize; 0]);
}

#[test]
fn too_little_memory_makes_points_fewer_and_other_faults_are_told() {
    let (e, level, matrices, points) = wide();
    let host = cpu(&e, &level, &matrices);
    let mut whole = on_device(&host, emulated(false, Faults::default()), AMPLE);
    let expected = evaluate(&mut whole, &host, &points, Pass::Gram).unwrap();
    let needed = whole.usage().most_bytes;
    // less than the budget says, as where somebody else uses the device
    for memory in [needed, needed - (64 << 10)] {
        let device = emulated(false, Faults { memory, ..Faults::default() });
        let mut gpu = on_device(&host, device, AMPLE);
        assert!(evaluate(&mut gpu, &host, &points, Pass::Gram).unwrap() == expected, "{memory} bytes");
        assert!(gpu.usage().most_bytes <= memory);
    }
    for (memory, budget) in [(1000, AMPLE), (0, level.bytes())] {
        let refused = GpuEngine::new(emulated(false, Faults { memory, ..Faults::default() }), &host, budget);
        let error = refused.err().unwrap();
        assert_eq!(error.exit_code(), 5);
        assert!(error.to_string().starts_with("emulated GPU: no room for "), "{error}");
    }
    let told = |faults: Faults| {
        let made = GpuEngine::new(emulated(false, faults), &host, AMPLE);
        let told = made.and_then(|mut gpu| evaluate(&mut gpu, &host, &points, Pass::Gram));
        told.unwrap_err().to_string()
    };
    for upload in 1..8 {
        assert_eq!(
            told(Faults { upload: Some(upload), ..Faults::default() }),
            "emulated GPU: a copy failed on purpose"
        );
    }
    assert_eq!(told(Faults { launch: Some(1), ..Faults::default() }), "emulated GPU: gram_quartic failed on purpose");
    let no_library = Emulated::load(Path::new("/no/such/library.so"), false, Faults::default()).err().unwrap();
    assert!(no_library.to_string().contains("/no/such/library.so"), "{no_library}");
}

#[test]
fn nothing_grows_with_the_data_but_c2_and_its_tiles() {
    let (mut of_tiles, mut bytes) = (0, 0);
    for n in [500, 1000, 3000] {
        let e = experiment(AnalysisMode::LaminarFlow, ShearConvention::Homodyne, n, vec![0.0, 40.0]);
        let matrices: Vec<TwoTime> = (0..2).map(|a| data(n, a, 0.0)).collect();
        let level = Level::all(n, 2).swap_remove(0);
        let host = cpu(&e, &level, &matrices);
        let mut gpu = on_device(&host, emulated(false, Faults::default()), AMPLE);
        let point = Point { physical: vec![2e3, -0.3, 100.0, 1e-3, 0.2, 1e-4, 1.0], scaling: vec![(0.3, 1.0); 2] };
        evaluate(&mut gpu, &host, &[point], Pass::Gram).unwrap();
        let all: usize = gpu.device().allocations.iter().sum();
        let (tiles, frames) = (level.plan.n_tiles(), level.frames.len());
        // what a strip is and its sums; what a node is and its sums: of every tile, on the way of every 64 tiles of an angle and at its
        // root; the integrals; what the angles are
        let nodes = tiles + e.n_angles() * (level.plan.per_angle().div_ceil(64) + 1);
        let strips = e.n_angles() * level.plan.tiles.iter().map(|tile| tile.strips.len()).sum::<usize>();
        let known = level.bytes() + strips * (40 + 448) + nodes * (12 + 448) + frames * 128 + e.n_angles() * 48;
        assert_eq!(all, known, "{n} frames");
        (of_tiles, bytes) = (strips * 488, level.bytes());
    }
    // some hundredths of the data where tiles are whole
    assert!(of_tiles * 60 < bytes, "{of_tiles} {bytes}");
}
